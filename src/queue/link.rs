//! One connection to Redis that comes back: calls are made again, in the state that their errors name.
//!
//! Every call that goes through here may be made twice (its script says why that is safe). A call waits while
//! Redis is away; what a caller needs bounded, it bounds by what it has under way.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::QueueError;
use super::client::Client;
use super::connection::Connection;

/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A connection that comes back. Cheap to clone within its thread.
#[derive(Clone)]
pub struct Link {
    inner: Rc<Inner>,
}

struct Inner {
    client: Client,
    timeouts: Timeouts,
    connection: RefCell<Option<Connection>>,
    connecting: RefCell<bool>,
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
        let inner = Inner {
            client: client.into(),
            timeouts,
            connection: RefCell::new(None),
            connecting: RefCell::new(false),
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
            let mut connection = self.connection().await;
            match call(&mut connection).await {
                Err(error) if error.passes() => {
                    (self.inner.tell)(LinkNews::Down(error.kind()));
                    if error.reconnects() {
                        // Whoever noticed first lets go of it; the others find the next one.
                        self.inner.connection.borrow_mut().take();
                    }
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE.1);
                }
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

    async fn connection(&self) -> Connection {
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
    async fn connect(&self) {
        let mut pause = PAUSE.0;
        loop {
            match self.client.connect(self.timeouts).await {
                Ok(connection) => {
                    *self.connection.borrow_mut() = Some(connection);
                    break;
                }
                Err(error) => {
                    (self.tell)(LinkNews::Down(error.kind()));
                    tracing::warn!(%error, "no connection to redis, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE.1);
                }
            }
        }
        self.connecting.replace(false);
        (self.tell)(LinkNews::Up);
        self.changed.notify_waiters();
    }
}
