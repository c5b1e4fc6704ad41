//! How Redis is reached: one server, the master that sentinels name, or a cluster. Makes connections and
//! subscriptions, as often as they are needed: after a failover the next one leads to the new master.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    TlsCertificates, Value,
};

use super::QueueError;
use super::cluster::Cluster;
use super::connection::Connection;
use super::guard::Guard;
use super::link::Timeouts;
use crate::config::WaitFor;

/// Makes connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    way: Way,
    promise: Promise,
    guard: Option<Arc<Guard>>,
    /// How much of what its links wrote they keep, to write it again.
    window: Option<Duration>,
}

/// What a write must have reached before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// How many replicas.
    pub replicas: WaitFor,
    /// How long they are waited for.
    pub timeout: Duration,
}

impl Promise {
    /// Replicas to wait for at this master.
    pub(super) async fn replicas_of(&self, master: &mut MultiplexedConnection) -> Result<u32, QueueError> {
        match self.replicas {
            WaitFor::Nobody => Ok(0),
            WaitFor::Count(count) => Ok(count),
            WaitFor::All => {
                let info: String = redis::cmd("INFO").arg("replication").query_async(master).await?;
                let in_sync =
                    info.lines().filter(|line| line.starts_with("slave") && line.contains("state=online"));
                Ok(u32::try_from(in_sync.count()).unwrap_or(u32::MAX).max(1))
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Way {
    One(redis::Client),
    Sentinel { master: Arc<str>, sentinels: Arc<[Address]>, make: Maker },
    Cluster { seeds: Arc<[Address]>, make: Maker },
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Makes clients of servers that are reached alike: same user, password and TLS.
#[derive(Clone, Debug)]
pub struct Maker {
    like: ConnectionInfo,
    root: Option<Arc<[u8]>>,
}

impl Address {
    /// Of a host and a port.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    /// Of a URL; None: it leads to no TCP port.
    pub fn of(info: &ConnectionInfo) -> Option<Self> {
        match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self::new(host, *port))
            }
            _ => None,
        }
    }
}

impl Maker {
    /// Servers that are reached as `like` is, but for their address. `root` is an authority (PEM) that signs for them.
    pub fn new(like: ConnectionInfo, root: Option<Vec<u8>>) -> Self {
        Self { like, root: root.map(Arc::from) }
    }

    fn client(&self, address: &Address, with_password: bool) -> RedisResult<redis::Client> {
        let (host, port) = (address.host.clone(), address.port);
        let to = match self.like.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let mut info = self.like.clone().set_addr(to);
        if !with_password {
            info = info.set_redis_settings(redis::RedisConnectionInfo::default());
        }
        match &self.root {
            Some(root) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(root.to_vec()) };
                redis::Client::build_with_tls(info, certificates)
            }
            None => redis::Client::open(info),
        }
    }

    pub(super) async fn open(
        &self,
        address: &Address,
        timeouts: Timeouts,
    ) -> RedisResult<MultiplexedConnection> {
        open(&self.client(address, true)?, timeouts).await
    }

    /// The same, with the address in the error: a node that cannot be reached is to be known by it.
    pub(super) async fn connect(
        &self,
        address: &Address,
        timeouts: Timeouts,
    ) -> Result<MultiplexedConnection, QueueError> {
        self.open(address, timeouts).await.map_err(|error| at(address, error))
    }
}

impl From<redis::Client> for Client {
    fn from(client: redis::Client) -> Self {
        Way::One(client).into()
    }
}

impl From<Way> for Client {
    fn from(way: Way) -> Self {
        Self { way, promise: Promise::default(), guard: None, window: None }
    }
}

impl Client {
    /// The same, whose connections keep a promise.
    #[must_use]
    pub fn promising(self, promise: Promise) -> Self {
        Self { promise, ..self }
    }

    /// The same, with a guard that links ask before they let anybody use a connection.
    #[must_use]
    pub fn guarded(self, guard: Arc<Guard>) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// The same, whose links write the last of what they wrote again to a server that may have forgotten it.
    #[must_use]
    pub fn remembering(self, window: Duration) -> Self {
        Self { window: Some(window), ..self }
    }

    pub(super) fn window(&self) -> Option<Duration> {
        self.window
    }

    pub(super) fn guard(&self) -> Option<&Guard> {
        self.guard.as_deref()
    }

    /// Of the master that sentinels know under a name.
    pub fn sentinel(master: &str, sentinels: Vec<Address>, make: Maker) -> Self {
        Way::Sentinel { master: master.into(), sentinels: sentinels.into(), make }.into()
    }

    /// Of a cluster, by some of its nodes.
    pub fn cluster(seeds: Vec<Address>, make: Maker) -> Self {
        Way::Cluster { seeds: seeds.into(), make }.into()
    }

    /// Connects once. Retries of the client library stay off: a script whose reply was lost may have run.
    ///
    /// # Errors
    /// When no server answers that takes writes.
    pub async fn connect(&self, timeouts: Timeouts) -> Result<Connection, QueueError> {
        let one = async |mut connection: MultiplexedConnection| {
            let replicas = self.promise.replicas_of(&mut connection).await?;
            Ok(Connection::one(connection, (replicas, self.promise.timeout)))
        };
        match &self.way {
            Way::One(client) => one(open(client, timeouts).await?).await,
            Way::Sentinel { master, sentinels, make } => {
                let find = async |sentinel: &Address| {
                    let address = named_by(sentinel, master, make, timeouts).await?;
                    let mut connection = make.connect(&address, timeouts).await?;
                    // Sentinels may be slow to notice: what a server says of itself counts.
                    let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
                    match role.first() {
                        Some(Value::BulkString(role)) if role == b"master" => one(connection).await,
                        _ => Err(QueueError::ReadOnly(format!("{} is no master yet", address.host))),
                    }
                };
                first_of(sentinels, "sentinel", find).await
            }
            Way::Cluster { seeds, make } => {
                let find =
                    async |seed: &Address| Cluster::connect(seed, make.clone(), timeouts, self.promise).await;
                let cluster = first_of(seeds, "node of the cluster", find).await?;
                Ok(Connection::cluster(cluster, self.promise.timeout))
            }
        }
    }

    /// Something to subscribe with: any node of a cluster hears what is published on another.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn pubsub(&self, timeouts: Timeouts) -> Result<PubSub, QueueError> {
        let subscribe = async |address: &Address, make: &Maker| {
            let client = make.client(address, true)?;
            client.get_async_pubsub().await.map_err(|error| at(address, error))
        };
        match &self.way {
            Way::One(client) => Ok(client.get_async_pubsub().await?),
            Way::Sentinel { master, sentinels, make } => {
                let find = async |sentinel: &Address| {
                    let address = named_by(sentinel, master, make, timeouts).await?;
                    subscribe(&address, make).await
                };
                first_of(sentinels, "sentinel", find).await
            }
            Way::Cluster { seeds, make } => {
                first_of(seeds, "node of the cluster", async |seed: &Address| subscribe(seed, make).await)
                    .await
            }
        }
    }
}

async fn open(client: &redis::Client, timeouts: Timeouts) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeouts.connect))
        .set_response_timeout(Some(timeouts.response));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// The first that succeeds, else why the last one did not.
async fn first_of<T>(
    addresses: &[Address],
    what: &str,
    mut find: impl AsyncFnMut(&Address) -> Result<T, QueueError>,
) -> Result<T, QueueError> {
    let mut last = QueueError::Lost(format!("no {what} is configured"));
    for address in addresses {
        match find(address).await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The master as one sentinel knows it.
async fn named_by(
    sentinel: &Address,
    master: &str,
    make: &Maker,
    timeouts: Timeouts,
) -> Result<Address, QueueError> {
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer = async |with_password| {
        let mut connection = open(&make.client(sentinel, with_password)?, timeouts).await?;
        ask.query_async::<Option<(String, u16)>>(&mut connection).await
    };
    let named = match answer(true).await {
        // Sentinels often ask for no password where the servers do.
        Err(error) if error.kind() == ErrorKind::AuthenticationFailed => answer(false).await,
        named => named,
    };
    match named.map_err(|error| at(sentinel, error))? {
        Some((host, port)) => Ok(Address::new(&host, port)),
        None => Err(QueueError::Refused(format!("the sentinel {} knows no master {master}", sentinel.host))),
    }
}

fn at(address: &Address, error: RedisError) -> QueueError {
    match QueueError::from(error) {
        QueueError::Lost(text) => QueueError::Lost(format!("{}:{}: {text}", address.host, address.port)),
        other => other,
    }
}
