//! The connection over which everything here speaks to Redis: to one server, or to every master of a cluster.
//!
//! Nothing is ever repeated here: a script whose reply was lost may have run, and a slot that has moved may have moved to
//! a server that has forgotten. Such answers are errors, and [`super::link::Link`] makes a new connection.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisFuture, Value};

use super::QueueError;
use super::cluster::Cluster;

/// A connection that many calls share at once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connection {
    servers: Servers,
    /// How long replicas are waited for.
    patience: Duration,
}

#[derive(Clone, Debug)]
enum Servers {
    /// With the replicas that must have a write before it counts.
    One(MultiplexedConnection, u32),
    Cluster(Arc<Cluster>),
}

impl Connection {
    pub(super) fn one(one: MultiplexedConnection, (replicas, patience): (u32, Duration)) -> Self {
        Self { servers: Servers::One(one, replicas), patience }
    }

    pub(super) fn cluster(cluster: Cluster, patience: Duration) -> Self {
        Self { servers: Servers::Cluster(Arc::new(cluster)), patience }
    }

    /// Replicas that must have what is written to a key before it counts, and how long they are waited for.
    pub(super) fn promise(&self, key: &[u8]) -> (u32, Duration) {
        let replicas = match &self.servers {
            Servers::One(_, replicas) => *replicas,
            Servers::Cluster(cluster) => cluster.replicas_of(key),
        };
        (replicas, self.patience)
    }

    /// Which servers these are: another one after a failover, and the same one after a restart, is another.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn identity(&self) -> Result<Vec<String>, QueueError> {
        let mut all = Vec::new();
        for mut master in self.masters() {
            let info: String = redis::cmd("INFO").query_async(&mut master).await?;
            let named =
                |name: &str| info.lines().find(|line| line.starts_with(name)).unwrap_or_default().trim();
            all.push(format!("{} {}", named("run_id:"), named("master_replid:")));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Whether enough replicas have everything that their masters have now; they are waited for as always.
    ///
    /// # Errors
    /// [`QueueError::Unkept`] when they have not.
    pub async fn replicated(&self) -> Result<(), QueueError> {
        self.replicated_within(self.patience).await
    }

    /// The same for who has no time.
    ///
    /// # Errors
    /// [`QueueError::Unkept`] when they have not.
    pub async fn replicated_within(&self, patience: Duration) -> Result<(), QueueError> {
        let wanted: Vec<u32> = match &self.servers {
            Servers::One(_, replicas) => vec![*replicas],
            Servers::Cluster(cluster) => cluster.replicas().collect(),
        };
        for (mut master, wanted) in self.masters().into_iter().zip(wanted).filter(|(_, wanted)| *wanted > 0) {
            let mut pipeline = redis::pipe();
            // Whatever a connection says last is what it waits for.
            pipeline.cmd("PING").ignore().add_command(wait(wanted, patience));
            let (acked,): (u32,) = pipeline.query_async(&mut master).await?;
            kept(acked, wanted)?;
        }
        Ok(())
    }

    /// A connection of its own to every server that takes writes.
    pub fn masters(&self) -> Vec<MultiplexedConnection> {
        match &self.servers {
            Servers::One(one, _) => vec![one.clone()],
            Servers::Cluster(cluster) => cluster.masters(),
        }
    }
}

/// Waits until so many replicas have what the connection wrote last.
pub(super) fn wait(replicas: u32, patience: Duration) -> Cmd {
    let mut wait = redis::cmd("WAIT");
    // Zero would wait for ever.
    wait.arg(replicas).arg(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).max(1));
    wait
}

pub(super) fn kept(acked: u32, wanted: u32) -> Result<(), QueueError> {
    if acked < wanted { Err(QueueError::Unkept { acked, wanted }) } else { Ok(()) }
}

impl From<MultiplexedConnection> for Connection {
    fn from(one: MultiplexedConnection) -> Self {
        Self::one(one, (0, Duration::ZERO))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.servers {
            Servers::One(one, _) => one.req_packed_command(cmd),
            Servers::Cluster(cluster) => Box::pin(cluster.command(cmd)),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.servers {
            Servers::One(one, _) => one.req_packed_commands(pipeline, offset, count),
            Servers::Cluster(cluster) => Box::pin(cluster.pipeline(pipeline)),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.servers {
            Servers::One(one, _) => one.get_db(),
            Servers::Cluster(_) => 0,
        }
    }
}
