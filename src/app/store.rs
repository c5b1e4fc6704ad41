//! Redis as every command finds it: joined or reached by URL, checked, with this installation's name in it.

use std::time::Duration;

use crate::config::{Config, RedisConfig, RedisMode, WaitFor};
use crate::intake::lanes::HashKey;
use crate::queue::client::Client;
use crate::queue::connection::Connection;
use crate::queue::link::Timeouts;
use crate::queue::{QueueError, keys, layout};
use crate::redis_server::{self, RedisServer, RedisServerError, ServerFacts};

/// Why there is no Redis to work with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server cannot be used.
    #[error("{0}")]
    Server(#[from] RedisServerError),
    /// The server answered, and not as it should.
    #[error("{0}")]
    Queue(#[from] QueueError),
}

/// Redis, ready to be used.
#[derive(Debug)]
pub struct Store {
    /// Our share in the private child; None when Redis is reached by URL.
    pub server: Option<RedisServer>,
    /// For more connections.
    pub client: Client,
    /// How long to wait for it.
    pub timeouts: Timeouts,
    /// What the start checks found.
    pub facts: ServerFacts,
    /// One connection, for rare calls.
    pub connection: Connection,
    /// This installation.
    pub installation: Installation,
}

/// What names an installation: stored once in its Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Part of every message's id on the wire.
    pub name: String,
    /// Key of the hashes by which people are known.
    pub key: HashKey,
}

impl Store {
    /// Joins or reaches Redis and checks it.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        let server = match &config.redis.url {
            Some(_) => None,
            None => Some(RedisServer::join_or_start(&config.data_dir).await?),
        };
        let client = redis_server::client(&config.redis, server.as_ref().map(RedisServer::socket))?;
        let timeouts =
            Timeouts { connect: config.redis.connect_timeout, response: config.redis.response_timeout };
        let mut connection = client.connect(timeouts).await?;
        let facts = redis_server::check_all(&connection, &config.redis).await?;
        layout::check(&mut connection, config.cap).await?;
        let installation = installation(&mut connection).await?;
        Ok(Self { server, client, timeouts, facts, connection, installation })
    }

    /// How much of what it acknowledged Redis may forget; None: nothing, it is on disk or at a replica.
    pub fn forgets(&self, config: &RedisConfig) -> Option<Duration> {
        let alone = config.mode == RedisMode::Standalone || config.wait_replicas != WaitFor::Nobody;
        (!self.facts.durable || !alone).then_some(config.replay_window)
    }

    /// Lets go of Redis; the last one out stops a private child.
    pub async fn close(self) -> Result<(), StoreError> {
        drop(self.connection);
        if let Some(server) = self.server {
            server.close().await?;
        }
        Ok(())
    }
}

async fn installation(connection: &mut Connection) -> Result<Installation, QueueError> {
    let (name, one, other): (u32, u64, u64) = (rand::random(), rand::random(), rand::random());
    let mut pipeline = redis::pipe();
    pipeline.hset_nx(keys::INSTALLATION, "name", format!("{name:07x}")).ignore();
    pipeline.hset_nx(keys::INSTALLATION, "key", format!("{one} {other}")).ignore();
    pipeline.cmd("HMGET").arg(keys::INSTALLATION).arg("name").arg("key");
    let ((name, key),): ((String, String),) = pipeline.query_async(connection).await?;
    let corrupt =
        || QueueError::Corrupt { key: keys::INSTALLATION.to_owned(), what: "its key is no pair".to_owned() };
    let (one, other) = key.split_once(' ').ok_or_else(corrupt)?;
    let number = |text: &str| text.parse().map_err(|_| corrupt());
    Ok(Installation { name, key: HashKey(number(one)?, number(other)?) })
}
