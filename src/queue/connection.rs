//! The connection over which everything here speaks to Redis.

/// A connection that many calls share at once. Cheap to clone.
pub type Connection = redis::aio::MultiplexedConnection;
