//! Everything Redis: keys, chunks, lanes, campaign records, ownership.
//!
//! One function per script. A lost connection, a full or loading server and a refused token are values of
//! [`QueueError`], because the callers treat each of them as a state, not as a failure.

pub mod agenda;
pub mod campaigns;
pub mod codec;
pub mod error;
pub mod halts;
pub mod keys;
pub mod lane;
pub mod link;
pub mod owner;
pub mod script;

pub use error::QueueError;
