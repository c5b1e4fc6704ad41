//! Meta's Cloud API: what is written, what is read, and the connections.
//!
//! The send path uses hyper connections directly, since the pace may only be taken when one is ready to write;
//! what is rare (probes, templates, media) uses reqwest.

pub mod body;
pub mod connection;
pub mod endpoint;
pub mod manage;
pub mod probe;
pub mod proxy;
pub mod single;
pub mod streams;
pub mod usage;
pub mod webhook;
pub mod wire;
