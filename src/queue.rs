//! Everything Redis: keys, chunks, lanes, campaign records, ownership.
//!
//! One function per script. A lost connection, a full or loading server and a refused token are values of
//! [`QueueError`], because the callers treat each of them as a state, not as a failure.

pub mod again;
pub mod agenda;
pub mod archive;
pub mod budget;
pub mod campaigns;
pub mod cap;
pub mod claims;
pub mod client;
mod cluster;
pub mod codec;
pub mod connection;
pub mod doubts;
pub mod erasure;
pub mod error;
pub mod guard;
pub mod halts;
pub mod keys;
pub mod lane;
pub mod layout;
pub mod link;
pub mod media;
pub mod owner;
pub mod receipt;
pub mod replay;
pub mod script;
pub mod seen;
pub mod stops;
pub mod time;

pub use error::QueueError;
