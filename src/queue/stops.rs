//! The stop list: a versioned log in Redis that every process follows into memory, so that looking a message up costs no
//! round trip.
//!
//! ```text
//!  stop add, stop import, webhooks ─► log::append ─► ct:{stop} (entry n = version n, up to 1,000 stops)
//!                                                      └─► follow::advance, in every process ─► StopList ◄─ looked up
//!  now and then: follow::compact ─► a base of everything up to version n, and the log before it is trimmed
//! ```
//!
//! Versions have no gaps, and the last entry always stays: whoever is left behind notices, and reads the base again. An
//! entry says what shall be so, so reading one twice changes nothing. People who were erased are not here: they are known
//! by hash alone (`queue::erasure`), are taken out of the queue one by one, and refused by every load.

mod batch;
pub mod follow;
mod list;
pub mod log;

use crate::domain::stop::StopKind;

pub use batch::{BATCH_MAX, Batch, Op, Who};
pub use list::{StopList, Tally};

/// What a stop is called in the journal: entries that speak of the same stop begin alike.
pub fn words(kind: StopKind, account: Option<&str>) -> String {
    match account {
        Some(account) => format!("{}, account {account}", kind.as_str()),
        None => format!("{}, all accounts", kind.as_str()),
    }
}
