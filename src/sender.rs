//! The sender: one thread per shard, with its own runtime, connections to the Cloud API and connection to Redis.
//!
//! It decides nothing: `policy::shard` does. It turns the machine's orders into calls, and what comes of them
//! into inputs.

pub mod admission;
pub mod chunks;
pub mod contacts;
pub mod driver;
pub mod meters;
pub mod orders;
pub mod pool;
pub mod report;
pub mod stops;
pub mod thread;
mod turn;
