//! The stop list of this process: read whole at the start, then followed entry by entry as they are added. Shards are told
//! for how long they may trust it; a list that could not be followed for [`StopsConfig::stale_after`] stops them.
//!
//! Following is a blocking read on a connection of its own, so that an opt-out is in force within milliseconds and an
//! idle process asks Redis every other second.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::store::Store;
use crate::clock::{self, Mono};
use crate::config::StopsConfig;
use crate::metrics::Metrics;
use crate::policy::shard::Input;
use crate::queue::QueueError;
use crate::queue::client::Client;
use crate::queue::connection::Connection;
use crate::queue::link::Timeouts;
use crate::queue::stops::follow::{self, LOG_MAX, Taken};
use crate::queue::stops::{StopList, log};
use crate::sender::driver::Event;

/// How long Redis may let us wait for an entry at most; less where the list must be fresher than twice that.
const WAIT_MOST: Duration = Duration::from_secs(2);

/// Pause after a look that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the length of the log is looked at.
const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// The list, and who is told that it is current.
pub struct Stops {
    /// The list.
    pub list: Arc<StopList>,
    stale_after: Duration,
    client: Client,
    timeouts: Timeouts,
    shards: RefCell<Vec<UnboundedSender<Event>>>,
    /// Until when the list is current.
    until: Cell<Mono>,
    metrics: Arc<Metrics>,
    looked_at_length: Cell<Mono>,
}

impl std::fmt::Debug for Stops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stops").field("version", &self.list.version()).finish_non_exhaustive()
    }
}

impl Stops {
    /// Reads the whole list.
    ///
    /// # Errors
    /// When Redis refuses it, or holds entries of a newer program.
    pub async fn start(
        store: &mut Store,
        config: &StopsConfig,
        clock_shift_ms: i64,
        metrics: Arc<Metrics>,
    ) -> Result<Rc<Self>, QueueError> {
        let list = Arc::new(list(store, clock_shift_ms));
        let began = clock::mono();
        follow::load(&mut store.connection, &list).await?;
        let stops = Self {
            list,
            stale_after: config.stale_after,
            client: store.client.clone(),
            timeouts: store.timeouts,
            shards: RefCell::default(),
            until: Cell::new(began.after(config.stale_after)),
            metrics,
            looked_at_length: Cell::new(began),
        };
        stops.show();
        Ok(Rc::new(stops))
    }

    /// From now on these shards are told. They claim nothing that was not looked up.
    pub fn attach(&self, shards: Vec<UnboundedSender<Event>>) {
        *self.shards.borrow_mut() = shards;
        self.tell();
    }

    /// Reads what is new, so that everything that was added before this call is in the list after it.
    pub async fn advance(&self, redis: &mut Connection) -> Result<(), QueueError> {
        let began = clock::mono();
        follow::advance(redis, &self.list).await?;
        self.current_at(began);
        Ok(())
    }

    /// Follows the log until it is dropped. `leads`: whether this process writes bases for all.
    pub async fn run(self: Rc<Self>, leads: impl Fn() -> bool) {
        let mut works = true;
        loop {
            let told = self.follow(&leads, &mut works).await;
            if let Err(error) = told
                && std::mem::replace(&mut works, false)
            {
                tracing::warn!(%error, "the stop list cannot be followed now; trying again");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow(&self, leads: &impl Fn() -> bool, works: &mut bool) -> Result<(), QueueError> {
        // Beyond this a connection is as good as broken, and the next may work.
        let response = self.timeouts.response.min(self.stale_after) + self.wait();
        let mut redis = self.client.connect(Timeouts { response, ..self.timeouts }).await?;
        loop {
            let began = clock::mono();
            let entries = log::wait(&mut redis, self.list.version(), self.wait()).await?;
            let (idle, whole) = (entries.is_empty(), entries.len() < log::SLICE);
            if follow::take(&self.list, entries) == Taken::Gap {
                follow::load(&mut redis, &self.list).await?;
            }
            if idle {
                self.look_at_end(&mut redis).await?;
            } else if whole {
                self.current_at(began);
            }
            if !std::mem::replace(works, true) {
                tracing::info!("the stop list is followed again");
            }
            if leads() {
                self.look_at_length(&mut redis).await;
            }
        }
    }

    fn wait(&self) -> Duration {
        WAIT_MOST.min(self.stale_after / 2)
    }

    /// Nothing came: either nothing was added, or Redis has lost what it had.
    async fn look_at_end(&self, redis: &mut Connection) -> Result<(), QueueError> {
        let began = clock::mono();
        let (last, known) = (log::last(redis).await?, self.list.version());
        if last < known {
            tracing::error!(
                last,
                known,
                "redis has lost entries of the stop list; what this process knows stays in force here"
            );
            follow::rejoin(redis, &self.list).await?;
        }
        // Entries that came just now are taken in the next round.
        if last <= known {
            self.current_at(began);
        }
        Ok(())
    }

    async fn look_at_length(&self, redis: &mut Connection) {
        let now = clock::mono();
        if now.since(self.looked_at_length.get()) < COMPACT_EVERY {
            return;
        }
        self.looked_at_length.set(now);
        match log::length(redis).await {
            Ok(length) if length > LOG_MAX => {
                let (list, redis) = (self.list.clone(), redis.clone());
                tokio::task::spawn_local(compact(list, redis));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the length of the stop list's log is not known"),
        }
    }

    fn current_at(&self, at: Mono) {
        let until = at.after(self.stale_after);
        if until > self.until.get() {
            self.until.set(until);
            self.tell();
        }
        self.show();
    }

    fn tell(&self) {
        for shard in self.shards.borrow().iter() {
            let _gone = shard.send(Event::Input(Input::StopList(self.until.get())));
        }
    }

    fn show(&self) {
        self.metrics.set_stops(&self.list.counts(), self.list.version(), clock::wall());
    }
}

/// An empty list of this installation.
pub fn list(store: &Store, clock_shift_ms: i64) -> StopList {
    let key = store.installation.key;
    StopList::new((key.0, key.1), clock_shift_ms)
}

async fn compact(list: Arc<StopList>, mut redis: Connection) {
    match follow::compact(&mut redis, &list, rand::random(), clock::wall().0).await {
        Ok(true) => tracing::info!(version = list.version(), "the stop list's log was trimmed to a base"),
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "the stop list's log was not trimmed; it is tried again"),
    }
}
