//! Ownership: which of the configured numbers are this process' own, and for how long.
//!
//! One task renews one lease for all of them. From every snapshot it computes the division that all processes agree
//! on ([`crate::policy::assign`]), asks for free numbers that shall be ours, and has those given back that shall be
//! somebody else's. It tells the shards how long the lease lasts, counted from before the renewal was sent, and control
//! which numbers come and go; what a number still has under way is control's and the shards' business.

mod state;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Mutex, Notify};

use self::state::{Asked, State};
use super::store::Store;
use crate::clock::{self, Mono};
use crate::config::{Config, NumberConfig};
use crate::domain::ids::NumberId;
use crate::policy::shard::Input;
use crate::queue::QueueError;
use crate::queue::link::{Link, Timeouts};
use crate::queue::owner::{self, Ask, Beat, Kept, Renewal, Snapshot};
use crate::sender::driver::Event;

/// A lease is renewed so often within its time.
const BEATS_PER_LEASE: u32 = 4;

/// Sending stops before the lease ends by this share of it, for what was handed to the kernel to leave the machine.
const MARGIN_SHARE: u32 = 10;

/// The margin is no more than this.
const MARGIN_MAX: Duration = Duration::from_secs(1);

/// How long after the end of another process' lease we look for what it had.
const AFTER_END: Duration = Duration::from_millis(20);

/// Questions at most within one heartbeat; what is left is for the next.
const ROUNDS_MAX: usize = 16;

/// What a number weighs that has no limit: Meta's highest.
const UNLIMITED_PER_S: f64 = 1000.0;

/// What control is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A number is ours.
    Gained {
        /// The number.
        number: NumberId,
        /// Nothing may be sent on it before; None: its last owner was lost, and what it was sending is in doubt.
        next: Option<Mono>,
    },
    /// A number is to be let go of: nothing new may begin; [`Ownership::dropped`] hears of its end.
    Drop(NumberId),
}

/// Why a process cannot become a node.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Redis refused.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// The name is in use.
    #[error(
        "another serve is running under the name {node}: give this one another name (--node), or leave it out"
    )]
    NameTaken {
        /// The name.
        node: String,
    },
}

/// This process as one of those that own numbers. Shared within the control thread.
#[derive(Debug)]
pub(super) struct Ownership {
    node: String,
    lease: Duration,
    capacity: u32,
    link: Link,
    /// One heartbeat at a time, so that an older answer never follows a newer one.
    turn: Mutex<()>,
    poked: Notify,
    /// Told after every answer.
    answered: Notify,
    news: UnboundedSender<News>,
    shards: RefCell<Vec<UnboundedSender<Event>>>,
    acknowledged: Cell<u64>,
    token: Cell<u64>,
    lease_until: Cell<Mono>,
    state: RefCell<State>,
}

/// A new name for this process, for those who gave it none, and for every time that it joins.
fn random_name() -> String {
    format!("{:08x}", rand::random::<u32>())
}

impl Ownership {
    /// Becomes a node that owns nothing yet. A process of the same name that died is waited for.
    pub(super) async fn join(
        store: &Store,
        config: &Config,
        capacity: usize,
    ) -> Result<(Rc<Self>, UnboundedReceiver<News>), JoinError> {
        let lease = config.ownership.lease;
        let soon = lease / BEATS_PER_LEASE;
        let timeouts = Timeouts {
            connect: store.timeouts.connect.min(soon),
            response: store.timeouts.response.min(soon),
        };
        let (news, told) = mpsc::unbounded_channel();
        let all = Self {
            node: config.ownership.node.clone().unwrap_or_else(random_name),
            lease,
            capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
            link: Link::new(store.client.clone(), timeouts, |_| ()),
            turn: Mutex::new(()),
            poked: Notify::new(),
            answered: Notify::new(),
            news,
            shards: RefCell::default(),
            acknowledged: Cell::new(0),
            token: Cell::new(0),
            lease_until: Cell::new(clock::mono()),
            state: RefCell::new(State { outside: true, incarnation: random_name(), ..State::default() }),
        };
        all.offer(&config.numbers);
        let mut waited = false;
        while let Some(left) = all.beat().await? {
            if std::mem::replace(&mut waited, true) {
                return Err(JoinError::NameTaken { node: all.node });
            }
            tracing::warn!(
                node = all.node,
                left_ms = left.as_millis(),
                "waiting for the lease of its last process to end"
            );
            tokio::time::sleep(left + AFTER_END).await;
        }
        Ok((Rc::new(all), told))
    }

    /// The shards hear of the lease from now on, and numbers are taken.
    pub(super) fn attach(&self, shards: Vec<UnboundedSender<Event>>) {
        self.shards.replace(shards);
    }

    /// Renews the lease until it is aborted.
    pub(super) async fn run(self: Rc<Self>) {
        let mut next = clock::mono();
        loop {
            tokio::select! {
                () = self.poked.notified() => {}
                () = tokio::time::sleep_until(next.to_tokio()) => {}
            }
            next = match self.beat_or_say_why().await {
                Ok(None) => clock::mono().after(self.pause()),
                Ok(Some(left)) => {
                    tracing::error!(
                        node = self.node,
                        "another serve took this name meanwhile; nothing is sent"
                    );
                    clock::mono().after(left + AFTER_END)
                }
                Err(error) => {
                    tracing::error!(%error, "the lease cannot be renewed");
                    clock::mono().after(self.lease / BEATS_PER_LEASE)
                }
            };
        }
    }

    /// Its name.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// The newest fencing token.
    pub(super) fn token(&self) -> u64 {
        self.token.get()
    }

    /// Makes a heartbeat now: something has changed.
    pub(super) fn poke(&self) {
        self.poked.notify_one();
    }

    /// Draws a token above all that were given until now.
    pub(super) async fn refresh(&self) -> Result<u64, QueueError> {
        self.beat().await?;
        Ok(self.token.get())
    }

    /// Says at once that everything up to this version was acted on.
    pub(super) fn acknowledge(&self, version: u64) {
        if version > self.acknowledged.get() {
            self.acknowledged.set(version);
            self.poked.notify_one();
        }
    }

    /// The numbers of the configuration, now.
    pub(super) fn offer(&self, numbers: &[NumberConfig]) {
        let weight = |number: &NumberConfig| number.rate_per_s.unwrap_or(UNLIMITED_PER_S);
        let offers = owner::offers(numbers.iter().map(|number| (&number.id, weight(number))));
        let mut state = self.state.borrow_mut();
        if state.offers != offers {
            state.offers = offers;
            self.poked.notify_one();
        }
    }

    /// Nothing of a number is under way any more; `next` is when its next message would be due.
    pub(super) fn dropped(&self, number: NumberId, next: Mono) {
        let mut state = self.state.borrow_mut();
        if state.dropping.remove(&number) == Some(false) {
            state.give_back.insert(number, Some(next));
        }
        self.poked.notify_one();
    }

    /// A number that was granted and never used: from now on it is a stray, taken anew or given back.
    pub(super) fn forget(&self, number: &NumberId) {
        self.state.borrow_mut().dropping.remove(number);
    }

    /// Begins to leave. Returns the numbers that must be let go of now, whether Redis hears of it or not.
    pub(super) fn leave(&self) -> Vec<NumberId> {
        let mut state = self.state.borrow_mut();
        state.leaving = true;
        let held: Vec<NumberId> = state.held.iter().cloned().collect();
        held.iter().for_each(|number| state.part_with(number, false));
        self.poked.notify_one();
        held
    }

    /// Whether nothing is owned or on its way out.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.borrow();
        state.held.is_empty() && state.dropping.is_empty() && state.give_back.is_empty()
    }

    /// Returns when Redis has answered the next heartbeat.
    pub(super) async fn heard(&self) {
        self.answered.notified().await;
    }

    /// Whether what one process does for all is ours to do.
    pub(super) fn leads(&self) -> bool {
        self.state.borrow().snapshot.leader() == Some(self.node.as_str())
    }

    /// The other processes.
    pub(super) fn others(&self) -> Vec<String> {
        let state = self.state.borrow();
        state.snapshot.nodes.keys().filter(|name| **name != self.node).cloned().collect()
    }

    /// Since when a number is ours, in wall ms by Redis' clock.
    pub(super) fn since_ms(&self, number: &NumberId) -> Option<u64> {
        let state = self.state.borrow();
        state.snapshot.owners.get(number).filter(|owned| owned.node == self.node).map(|owned| owned.since_ms)
    }

    /// Whether another process has this number in its configuration.
    pub(super) fn others_offer(&self, number: &NumberId) -> bool {
        let state = self.state.borrow();
        state.snapshot.nodes.iter().any(|(name, node)| *name != self.node && node.offers.contains_key(number))
    }

    /// Whether a number on its way out was lost: it is somebody else's by now, or may be.
    pub(super) fn has_lost(&self, number: &NumberId) -> bool {
        self.state.borrow().dropping.get(number) == Some(&true)
    }

    /// The last word to Redis: what is still owned counts as lost.
    pub(super) async fn end(&self, store: &mut Store) -> Result<(), QueueError> {
        let incarnation = self.state.borrow().incarnation.clone();
        let last = Beat { ask: Ask::Leave, offers: None, ..self.bare(&incarnation) };
        owner::beat(&mut store.connection, &last).await.map(|_| ())
    }

    fn bare<'a>(&'a self, incarnation: &'a str) -> Beat<'a> {
        Beat {
            node: &self.node,
            incarnation,
            ask: Ask::Keep,
            lease: self.lease,
            acknowledged: self.acknowledged.get(),
            capacity: self.capacity,
            leaving: false,
            offers: None,
            revision: None,
            give_back: &[],
            take: &[],
        }
    }

    fn margin(&self) -> Duration {
        (self.lease / MARGIN_SHARE).min(MARGIN_MAX)
    }

    /// Time to the next heartbeat: sooner when the lease of another process is about to end.
    fn pause(&self) -> Duration {
        let usual = self.lease / BEATS_PER_LEASE;
        self.state.borrow().next_end.map_or(usual, |end| usual.min(end + AFTER_END))
    }

    /// One heartbeat; says so when the lease ends before it is answered.
    async fn beat_or_say_why(&self) -> Result<Option<Duration>, QueueError> {
        let beat = self.beat();
        tokio::pin!(beat);
        if self.lease_until.get() <= clock::mono() {
            return beat.await;
        }
        tokio::select! {
            biased;
            done = &mut beat => return done,
            () = tokio::time::sleep_until(self.lease_until.get().to_tokio()) => {}
        }
        tracing::error!("the lease ends before redis answers: nothing is sent until it does");
        beat.await
    }

    /// Heartbeats until there is nothing left to say. Returns how long the name is taken, if it is.
    async fn beat(&self) -> Result<Option<Duration>, QueueError> {
        let _turn = self.turn.lock().await;
        for _ in 0..ROUNDS_MAX {
            let (sent, asked, renewal) = self.ask().await?;
            match renewal {
                Renewal::Held(left) => return Ok(Some(left)),
                Renewal::Gone => self.lose_everything(),
                Renewal::Kept(kept) => {
                    let token = kept.token;
                    let more = self.go_on(kept, &asked);
                    // After what was lost is known: the shards must not go on with that.
                    self.renewed(sent, token);
                    if !more {
                        return Ok(None);
                    }
                }
            }
        }
        self.poked.notify_one();
        Ok(None)
    }

    /// Makes one heartbeat with everything there is to say.
    async fn ask(&self) -> Result<(Mono, Asked, Renewal), QueueError> {
        let (incarnation, offers, revision, leaving, outside, back, asked) = {
            let state = self.state.borrow();
            let back: Vec<(NumberId, Option<Mono>)> =
                state.give_back.iter().map(|(id, next)| (id.clone(), *next)).collect();
            let unattached = self.shards.borrow().is_empty();
            let asked = if unattached { Asked::default() } else { state.asks(&self.node) };
            let State { incarnation, offers, offered, revision, leaving, outside, .. } = &*state;
            let news = (offered.as_ref() != Some(offers)).then(|| offers.clone());
            (incarnation.clone(), news, *revision, *leaving, *outside, back, asked)
        };
        let answer = self.link.call(async |redis| {
            // Counted from here: whatever the answer's way takes is time in which the lease runs.
            let sent = clock::mono();
            let give_back: Vec<(NumberId, Option<Duration>)> =
                back.iter().map(|(id, next)| (id.clone(), next.map(|next| next.since(sent)))).collect();
            let beat = Beat {
                ask: if outside { Ask::Join } else { Ask::Keep },
                leaving,
                offers: offers.as_deref(),
                revision,
                give_back: &give_back,
                take: &asked.numbers,
                ..self.bare(&incarnation)
            };
            Ok((sent, owner::beat(redis, &beat).await?))
        });
        let (sent, renewal) = answer.await?;
        if matches!(renewal, Renewal::Kept(_)) {
            let mut state = self.state.borrow_mut();
            for (number, _) in &back {
                state.give_back.remove(number);
            }
            if offers.is_some() {
                state.offered = offers;
            }
            self.answered.notify_one();
        }
        Ok((sent, asked, renewal))
    }

    fn renewed(&self, sent: Mono, token: u64) {
        self.token.set(token);
        for shard in self.shards.borrow().iter() {
            let _gone = shard.send(Event::Token(token));
        }
        self.lease_until.set(sent.after(self.lease - self.margin()));
        self.tell_lease();
    }

    /// Tells the shards how long the lease lasts, unless they still believe that something is ours which is not.
    fn tell_lease(&self) {
        if !self.state.borrow().misled() {
            for shard in self.shards.borrow().iter() {
                let _gone = shard.send(Event::Input(Input::Lease(self.lease_until.get())));
            }
        }
    }

    /// The shard of a number has been told to let go of it.
    pub(super) fn told(&self, number: &NumberId) {
        let before = self.state.borrow().misled();
        self.state.borrow_mut().untold.remove(number);
        if before {
            self.tell_lease();
        }
    }

    /// Acts on an answer. True: there is more to say at once.
    fn go_on(&self, kept: Kept, asked: &Asked) -> bool {
        let mut state = self.state.borrow_mut();
        (state.outside, state.next_end) = (false, kept.next_end);
        state.revision = Some(kept.revision);
        if let Some(snapshot) = kept.snapshot {
            state.snapshot = snapshot;
        }
        let now = clock::mono();
        // What comes after we began to leave is left for the others: it counts as lost when we are gone.
        let taken = if state.leaving { Vec::new() } else { kept.taken };
        for taken in taken {
            if state.held.insert(taken.number.clone()) {
                tracing::info!(number = %taken.number, given_back = taken.given_back, "a number is ours");
                let next = asked.whole(&taken).then(|| now.after(taken.wait));
                let _gone = self.news.send(News::Gained { number: taken.number, next });
            }
        }
        for number in state.lost(&self.node) {
            tracing::warn!(%number, "a number is not ours any more");
            state.part_with(&number, true);
            let _gone = self.news.send(News::Drop(number));
        }
        for number in state.surplus(&self.node) {
            tracing::info!(%number, "a number goes to another process");
            state.part_with(&number, false);
            let _gone = self.news.send(News::Drop(number));
        }
        for number in state.strays(&self.node) {
            tracing::warn!(%number, "redis takes a number for ours that is not; it is given back");
            state.give_back.insert(number, None);
        }
        !self.shards.borrow().is_empty() && state.more(&self.node, asked)
    }

    /// The lease ended, and somebody noticed: nothing is ours until we have joined again.
    fn lose_everything(&self) {
        let mut state = self.state.borrow_mut();
        tracing::error!(numbers = state.held.len(), "the lease has ended; joining again");
        for number in state.held.clone() {
            state.part_with(&number, true);
            let _gone = self.news.send(News::Drop(number));
        }
        state.dropping.values_mut().for_each(|lost| *lost = true);
        state.give_back.clear();
        (state.outside, state.incarnation) = (true, random_name());
        (state.revision, state.snapshot, state.offered) = (None, Snapshot::default(), None);
    }
}
