//! The connection over which everything here speaks to Redis: to one server, or to every master of a cluster.
//!
//! Nothing is ever repeated here: a script whose reply was lost may have run, and a slot that has moved may have moved to
//! a server that has forgotten. Such answers are errors, and [`super::link::Link`] makes a new connection.

use std::sync::Arc;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisFuture, Value};

use super::cluster::Cluster;

/// A connection that many calls share at once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connection(Servers);

#[derive(Clone, Debug)]
enum Servers {
    One(MultiplexedConnection),
    Cluster(Arc<Cluster>),
}

impl Connection {
    pub(super) fn cluster(cluster: Cluster) -> Self {
        Self(Servers::Cluster(Arc::new(cluster)))
    }

    /// A connection of its own to every server that takes writes.
    pub fn masters(&self) -> Vec<MultiplexedConnection> {
        match &self.0 {
            Servers::One(one) => vec![one.clone()],
            Servers::Cluster(cluster) => cluster.masters(),
        }
    }
}

impl From<MultiplexedConnection> for Connection {
    fn from(one: MultiplexedConnection) -> Self {
        Self(Servers::One(one))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.0 {
            Servers::One(one) => one.req_packed_command(cmd),
            Servers::Cluster(cluster) => Box::pin(cluster.command(cmd)),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.0 {
            Servers::One(one) => one.req_packed_commands(pipeline, offset, count),
            Servers::Cluster(cluster) => Box::pin(cluster.pipeline(pipeline)),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.0 {
            Servers::One(one) => one.get_db(),
            Servers::Cluster(_) => 0,
        }
    }
}
