//! One connection to Redis that comes back: calls are made again, in the state that their errors name.
//!
//! Every call that goes through here may be made twice (its script says why that is safe). A call waits while
//! Redis is away; what a caller needs bounded, it bounds by what it has under way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::QueueError;
use super::client::Client;
use super::connection::Connection;
use super::guard::Guard;
use super::replay::{Recent, Replayed, Wrote};
use crate::clock::{self, Mono};
use crate::domain::ids::LaneId;

/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What is written again goes back so much further than what Redis may forget: a process remembers how far Redis was at its
/// last look before that, and it looks every two seconds, later on a busy machine.
const BEYOND: Duration = Duration::from_secs(10);

/// How often it is looked whether Redis is another one when nobody asks it anything.
const WATCHED_EVERY: Duration = Duration::from_secs(1);

/// How long the chunks are awaited of which messages were claimed, when their lanes end before them: the load that put them
/// there has noticed, too, and puts them there again. And how often it is looked.
const CHUNKS_AWAITED: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(100));

/// What [`LinkNews::Down`] says of a Redis that the guard does not believe.
pub const ROLLED_BACK: &str = "rolled_back";

/// A connection that comes back. Cheap to clone within its thread.
#[derive(Clone)]
pub struct Link {
    inner: Rc<Inner>,
}

struct Inner {
    client: Client,
    timeouts: Timeouts,
    /// The connection and its number: who finds it broken lets go of this one only.
    connection: RefCell<Option<(u64, Connection)>>,
    connections: Cell<u64>,
    connecting: RefCell<bool>,
    /// Too few replicas have what was written, and they are waited for.
    awaiting: Cell<bool>,
    /// What was written lately, if it is to be written again to another server.
    recent: Option<RefCell<Recent>>,
    /// The servers of the last connection.
    servers: RefCell<Vec<String>>,
    /// Somebody looks whether Redis is another one.
    watching: Cell<bool>,
    /// Rows that could not be put in their places again.
    lost: Cell<u64>,
    /// When it was last noticed that Redis is another one.
    another_at: Cell<Option<Mono>>,
    changed: Notify,
    /// Told when Redis goes and comes, and every trouble by its kind.
    tell: Box<dyn Fn(LinkNews)>,
}

/// What a link tells its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkNews {
    /// Redis answers again.
    Up,
    /// Redis does not answer, or takes no writes.
    Down(&'static str),
}

/// How long to wait for Redis.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the reply to a command.
    pub response: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// A link that connects at its first call. Needs a `LocalSet` around it.
    pub fn new(client: impl Into<Client>, timeouts: Timeouts, tell: impl Fn(LinkNews) + 'static) -> Self {
        let client = client.into();
        let inner = Inner {
            recent: client.window().map(|window| RefCell::new(Recent::new(window + BEYOND))),
            servers: RefCell::default(),
            watching: Cell::new(false),
            lost: Cell::new(0),
            another_at: Cell::new(None),
            client,
            timeouts,
            connection: RefCell::new(None),
            connections: Cell::new(0),
            connecting: RefCell::new(false),
            awaiting: Cell::new(false),
            changed: Notify::new(),
            tell: Box::new(tell),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Makes a call until Redis has answered it. Errors that no waiting mends are returned.
    pub async fn call<T>(
        &self,
        mut call: impl AsyncFnMut(&mut Connection) -> Result<T, QueueError>,
    ) -> Result<T, QueueError> {
        let mut pause = PAUSE.0;
        loop {
            let (number, mut connection) = self.connection().await;
            if self.inner.client.guard().is_some_and(Guard::stopped) {
                // Somebody found that this Redis must not be believed: look again, until it may be.
                self.inner.let_go(number);
                continue;
            }
            match call(&mut connection).await {
                Err(error @ QueueError::Forgotten(_)) => {
                    self.inner.let_go(number);
                    return Err(error);
                }
                Err(error) if error.passes() => {
                    (self.inner.tell)(LinkNews::Down(error.kind()));
                    if error.reconnects() {
                        // Whoever noticed first lets go of it; the others find the next one.
                        self.inner.let_go(number);
                    }
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE.1);
                }
                // The answer of a server that another one has replaced: that one has not heard of it.
                Ok(_) if self.inner.recent.is_some() && self.inner.connections.get() != number => {}
                answer => {
                    // Whatever it says: Redis answers again.
                    if pause > PAUSE.0 {
                        (self.inner.tell)(LinkNews::Up);
                    }
                    return answer;
                }
            }
        }
    }

    /// Keeps what Redis acknowledged for as long as it may be forgotten.
    pub fn wrote(&self, lane: LaneId, wrote: impl FnOnce() -> Wrote) {
        if let Some(recent) = &self.inner.recent {
            recent.borrow_mut().push(clock::mono(), lane, wrote());
            if !self.inner.watching.replace(true) {
                let link = self.clone();
                tokio::task::spawn_local(async move { link.watch().await });
            }
        }
    }

    /// Looks at Redis when nobody else does, for as long as it may forget something: who has nothing more to ask would not
    /// hear that it is another one.
    async fn watch(&self) {
        let Some(recent) = &self.inner.recent else { return };
        let mut seen = 0;
        loop {
            tokio::time::sleep(WATCHED_EVERY).await;
            let (count, some) = recent.borrow_mut().count(clock::mono());
            if !some {
                break;
            }
            if std::mem::replace(&mut seen, count) == count {
                let _refused = self.call(async |redis| redis.identity().await).await;
            }
        }
        self.inner.watching.set(false);
    }

    /// When it was last noticed that Redis is another one, or began anew: others who wrote to it may not have said again yet
    /// what it forgot.
    pub fn another_at(&self) -> Option<Mono> {
        self.inner.another_at.get()
    }

    /// Waits until more chunks can be kept.
    pub async fn room(&self) {
        let room_at = || self.inner.recent.as_ref().and_then(|kept| kept.borrow_mut().room_at(clock::mono()));
        while let Some(at) = room_at() {
            tokio::time::sleep_until(at.to_tokio()).await;
        }
    }

    /// Returns when all that was written can be forgotten no more: when a Redis has answered and not been exchanged for as
    /// long as it may hold something back. Returns how many rows that it forgot could not be put in their places again.
    ///
    /// # Errors
    /// Those that no waiting mends.
    pub async fn kept(&self) -> Result<u64, QueueError> {
        while let Some(window) = self.inner.client.window() {
            let connection = self.inner.connections.get();
            tokio::time::sleep(window).await;
            // Whoever has gone meanwhile is missed only now.
            self.call(async |redis| redis.identity().await).await?;
            if self.inner.connections.get() == connection {
                break;
            }
        }
        Ok(self.inner.lost.get())
    }

    /// Says that Redis is down until enough replicas have everything that their masters have.
    pub fn await_replicas(&self) {
        (self.inner.tell)(LinkNews::Down("replicas"));
        if self.inner.awaiting.replace(true) {
            return;
        }
        let link = self.clone();
        tokio::task::spawn_local(async move {
            let _refused = link.call(async |redis| redis.replicated().await).await;
            link.inner.awaiting.set(false);
            (link.inner.tell)(LinkNews::Up);
        });
    }

    async fn connection(&self) -> (u64, Connection) {
        loop {
            if let Some(connection) = self.inner.connection.borrow().as_ref() {
                return connection.clone();
            }
            let changed = self.inner.changed.notified();
            if !self.inner.connecting.replace(true) {
                let inner = self.inner.clone();
                tokio::task::spawn_local(async move { inner.connect().await });
            }
            changed.await;
        }
    }
}

impl Inner {
    fn let_go(&self, number: u64) {
        self.connection.borrow_mut().take_if(|(current, _)| *current == number);
    }

    async fn connect(&self) {
        let mut pause = PAUSE.0;
        loop {
            match self.connected().await {
                Ok(connection) => {
                    self.connections.set(self.connections.get() + 1);
                    *self.connection.borrow_mut() = Some((self.connections.get(), connection));
                    break;
                }
                Err(error) => {
                    (self.tell)(LinkNews::Down(error.kind()));
                    if !matches!(error, QueueError::RolledBack(_)) {
                        tracing::warn!(%error, "no connection to redis, trying again");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE.1);
                }
            }
        }
        self.connecting.replace(false);
        (self.tell)(LinkNews::Up);
        self.changed.notify_waiters();
    }

    /// A connection that may be believed.
    async fn connected(&self) -> Result<Connection, QueueError> {
        let mut connection = self.client.connect(self.timeouts).await?;
        if let Some(guard) = self.client.guard() {
            guard.check(&mut connection).await?;
        }
        self.write_again(&mut connection).await?;
        Ok(connection)
    }

    /// Before anything else is asked of a server that is not the one that acknowledged it.
    #[allow(
        clippy::await_holding_refcell_ref,
        reason = "who writes waits for the connection that is being made here"
    )]
    async fn write_again(&self, connection: &mut Connection) -> Result<(), QueueError> {
        let Some(recent) = &self.recent else { return Ok(()) };
        let servers = connection.identity().await?;
        let known = self.servers.replace(Vec::new());
        if known != servers && !known.is_empty() {
            // Until it is done they are still another's.
            self.servers.replace(known);
            self.another_at.set(Some(clock::mono()));
            let patience = clock::mono().after(CHUNKS_AWAITED.0);
            loop {
                let again = recent.borrow().again();
                let replayed = again.replay(connection, clock::wall().0).await?;
                let Replayed { written, homeless, missing } = replayed;
                tracing::warn!(
                    written,
                    homeless,
                    missing,
                    "redis is another one or began anew; its last seconds are written again, what changed hands in them rests for a lease"
                );
                self.lost.set(self.lost.get() + homeless);
                // An answer of the old server may have come meanwhile.
                if recent.borrow().is_newer_than(&again) {
                    continue;
                }
                if missing == 0 || clock::mono() >= patience {
                    break;
                }
                tokio::time::sleep(CHUNKS_AWAITED.1).await;
            }
        }
        self.servers.replace(servers);
        Ok(())
    }
}
