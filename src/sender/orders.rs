//! The machine's orders to Redis, carried out until Redis has answered, and the answer as an input.
//!
//! A call that no waiting mends (a newer token, a corrupt chunk) loses the lane: nothing more of it is sent by
//! this process, and the log says why.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::{self, WallMs};
use crate::cloud::body::Body;
use crate::domain::ids::{CampaignSeq, LaneId, MessageId, NumberId};
use crate::domain::record::Settlement;
use crate::policy::shard::{Input, LaneView, Message};
use crate::queue::QueueError;
use crate::queue::codec::{Chunk, Unpacker};
use crate::queue::connection::Connection;
use crate::queue::lane::{self, Claimed, Standing};
use crate::queue::link::Link;
use crate::queue::replay::{Held, Wrote};

use super::admission::Admission;
use super::chunks::Chunks;
use super::contacts::{self, Contacts};
use super::stops::Stops;

/// What the driver needs to write a message: its chunk and its row there.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The chunk.
    pub chunk: Chunk,
    /// The row.
    pub row: usize,
    /// Version of the stop list under which it was looked up.
    pub looked_up: u64,
}

/// Carries out orders on one link.
#[derive(Clone, Debug)]
pub struct Orders {
    link: Link,
    chunks: Rc<Chunks>,
    unpacker: Rc<RefCell<Unpacker>>,
    token: Rc<Cell<u64>>,
    /// How long after a failover another process may not have said yet what Redis forgot of it.
    grace: Duration,
    /// The token under which each lane was adopted: it stays the lane's until it is adopted anew.
    adopted: Rc<RefCell<HashMap<LaneId, u64>>>,
    /// Who is not to be written to.
    pub stops: Stops,
    /// How often people may be written to.
    contacts: Contacts,
    /// Limits that are shared with others.
    pub admission: Admission,
}

/// How long calls took, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// A claim.
    Claim(Duration),
    /// A settle.
    Settle(Duration),
}

impl Orders {
    /// Orders under this fencing token. After a failover others have `grace` to say what Redis forgot of them.
    pub fn new(
        link: Link,
        chunks: Rc<Chunks>,
        unpacker: Unpacker,
        (token, grace): (u64, Duration),
        (stops, contacts): (Stops, Contacts),
    ) -> Self {
        let (unpacker, token) = (Rc::new(RefCell::new(unpacker)), Rc::new(Cell::new(token)));
        let (adopted, admission) = (Rc::default(), Admission::default());
        Self { link, chunks, unpacker, token, grace, adopted, stops, contacts, admission }
    }

    /// Learns what a campaign is to the limits of its messages.
    pub fn know(&self, campaign: CampaignSeq, body: &Body) {
        self.stops.know(campaign, body.account(), body.is_marketing());
        self.admission.know(campaign, body.account());
    }

    /// Forgets a campaign that is over.
    pub fn forget_campaign(&self, campaign: CampaignSeq) {
        self.stops.forget(campaign);
        self.admission.forget(campaign);
    }

    /// Lanes are adopted under this token from now on; tokens only grow.
    pub fn set_token(&self, token: u64) {
        self.token.set(token.max(self.token.get()));
    }

    /// Forgets a lane that was let go of.
    pub fn forget(&self, lane: LaneId) {
        self.adopted.borrow_mut().remove(&lane);
        self.admission.forget_lane(lane);
    }

    fn token_of(&self, lane: LaneId) -> u64 {
        self.adopted.borrow().get(&lane).copied().unwrap_or(self.token.get())
    }

    /// Adopts a lane.
    pub async fn adopt(&self, id: LaneId, sweep: bool) -> Input<Payload> {
        let token = self.token.get();
        let adopt = async |redis: &mut Connection| {
            self.await_others(redis, id).await?;
            lane::adopt(redis, id, token, sweep).await
        };
        let adopted = self.link.call(adopt).await;
        if adopted.is_ok() {
            self.adopted.borrow_mut().insert(id, token);
        }
        Input::Adopted(id, kept(id, adopted).map(|adopted| view(adopted.standing)))
    }

    /// A Redis that forgot that a lane became ours may have forgotten more of whoever had it before: until they have said it
    /// again its messages may be under way.
    async fn await_others(&self, redis: &mut Connection, id: LaneId) -> Result<(), QueueError> {
        let Some(until) = self.link.another_at().map(|at| at.after(self.grace)) else { return Ok(()) };
        if clock::mono() < until {
            let ours = self.adopted.borrow().get(&id).copied();
            if ours.is_none() || lane::token(redis, id).await? != ours {
                tracing::debug!(lane = %id, "others may have to say what redis forgot of it");
                tokio::time::sleep_until(until.to_tokio()).await;
            }
        }
        Ok(())
    }

    /// Claims messages that a number is to send, reads what they say, and asks the limits that are shared with others.
    pub async fn claim(
        &self,
        (id, number): (LaneId, &NumberId),
        request: u64,
        counts: (usize, usize),
    ) -> (Input<Payload>, Timed) {
        let (began, token) = (clock::mono(), self.token_of(id));
        let claimed = self
            .link
            .call(async |redis| {
                let now_ms = clock::wall().0;
                lane::claim(redis, id, (token, request), now_ms, counts).await
            })
            .await;
        let took = clock::mono().since(began);
        let messages = match kept(id, claimed) {
            Some(claimed) if !claimed.kept => {
                self.link.await_replicas();
                let all =
                    claimed.messages.iter().map(|(index, record)| (*index, record.generation)).collect();
                return (Input::Unkept(id, all, view(claimed.standing)), Timed::Claim(took));
            }
            Some(claimed) => {
                // At once: while its chunks are read Redis may become another one.
                self.link.wrote(id, || wrote((token, request), &claimed));
                let mut read = kept(id, self.read(id, &claimed).await);
                self.link.wrote(id, || chunks_of((token, request), read.as_deref().unwrap_or_default()));
                let messages = read.as_deref_mut().unwrap_or_default();
                self.contacts.admit(&self.link, (id, number), messages).await;
                self.admission.admit(&self.link, id, messages).await;
                read.map(|all| (all, view(claimed.standing)))
            }
            None => None,
        };
        (Input::Claimed(id, messages), Timed::Claim(took))
    }

    async fn read(&self, id: LaneId, claimed: &Claimed) -> Result<Vec<Message<Payload>>, QueueError> {
        let mut messages = Vec::with_capacity(claimed.messages.len());
        let mut last: Option<Chunk> = None;
        for (index, record) in &claimed.messages {
            let chunk = match last.take().filter(|chunk| chunk.holds(*index)) {
                Some(chunk) => chunk,
                None => self.chunk(id, *index).await?,
            };
            let row = (*index - chunk.first) as usize;
            // The version first: what is added while we look is looked up again.
            let looked_up = self.stops.version();
            messages.push(Message {
                index: *index,
                generation: record.generation,
                attempt: record.attempt,
                loaded_at: WallMs(chunk.loaded_at_ms),
                stopped: self.stops.look(id.campaign, &chunk, row, clock::wall()),
                held: None,
                admitted_until: None,
                payload: Payload { chunk: chunk.clone(), row, looked_up },
            });
            last = Some(chunk);
        }
        Ok(messages)
    }

    async fn chunk(&self, id: LaneId, index: u32) -> Result<Chunk, QueueError> {
        if let Some(chunk) = self.chunks.get(id, index) {
            return Ok(chunk);
        }
        let (first, packed) = self.link.call(async |redis| lane::chunk(redis, id, index).await).await?;
        let unpacked = self.unpacker.borrow_mut().chunk(first, &packed);
        let chunk = unpacked.map_err(|error| lane::undecodable(id, first, &error))?;
        if !chunk.holds(index) {
            let what = format!("no chunk holds index {index}");
            return Err(QueueError::Corrupt { key: crate::queue::keys::LaneKeys::new(id).log, what });
        }
        self.chunks.put(id, chunk.clone());
        Ok(chunk)
    }

    /// Takes the contacts of messages back that were certainly not taken, before anybody can claim them anew.
    async fn not_contacted(&self, id: LaneId, messages: impl Iterator<Item = (u32, u8)>) {
        let mut asks = Vec::new();
        for (index, generation) in messages {
            match self.chunk(id, index).await {
                Ok(chunk) => {
                    let phone = chunk.phone((index - chunk.first) as usize);
                    asks.extend(contacts::ask(phone, 0, MessageId { lane: id, index }, generation));
                }
                Err(error) => tracing::warn!(lane = %id, %error, "a person counts as written to who was not"),
            }
        }
        self.contacts.take_back(&self.link, &asks).await;
    }

    /// Gives messages back.
    pub async fn release(&self, id: LaneId, request: u64, mut messages: Vec<(u32, u8)>) -> Input<Payload> {
        let (token, unsent) = (self.token_of(id), self.admission.unsent(id, &messages));
        self.not_contacted(id, messages.iter().copied()).await;
        let released = self
            .link
            .call(async |redis| {
                let now_ms = clock::wall().0;
                lane::release(redis, id, (token, request), now_ms, &mut messages).await
            })
            .await;
        if matches!(released, Err(QueueError::Fenced)) {
            // Its new owner could not know that they never left, and put them in doubt.
            let now_ms = clock::wall().0;
            let back = self.link.call(async |redis| lane::unsent(redis, id, now_ms, &messages).await).await;
            tracing::warn!(lane = %id, messages = messages.len(), back = back.unwrap_or(0), "given back to its new owner");
        }
        if matches!(released, Ok(_) | Err(QueueError::Fenced)) {
            self.admission.take_back(&self.link, unsent).await;
        }
        if released.is_ok() {
            self.link.wrote(id, || Wrote::Released { token, request, messages });
        }
        Input::Released(id, kept(id, released).map(view))
    }

    /// Records what became of messages.
    pub async fn settle(&self, id: LaneId, mut settlements: Vec<Settlement>) -> (Input<Payload>, Timed) {
        let began = clock::mono();
        let unsent = self.admission.settling(id, &settlements);
        let refused = settlements.iter().filter(|one| contacts::not_taken(one));
        self.not_contacted(id, refused.map(|one| (one.index, one.generation))).await;
        let settled = self.link.call(async |redis| lane::settle(redis, id, &mut settlements).await).await;
        let count = settlements.len();
        match settled {
            Ok(_) => self.link.wrote(id, || Wrote::Settled(settlements)),
            Err(error) => {
                tracing::error!(lane = %id, %error, "a settle was refused; its messages stay in doubt");
            }
        }
        let took = clock::mono().since(began);
        self.admission.take_back(&self.link, unsent).await;
        (Input::Settled(id, count), Timed::Settle(took))
    }
}

/// A claim as it may have to be written again.
fn wrote(call: (u64, u64), claimed: &Claimed) -> Wrote {
    let messages = claimed.messages.iter().map(|(index, record)| (*index, record.generation, record.attempt));
    Wrote::Claimed { call, messages: messages.collect(), chunks: Vec::new() }
}

/// The chunks that were read for it.
fn chunks_of(call: (u64, u64), read: &[Message<Payload>]) -> Wrote {
    let mut chunks: Vec<Held> = Vec::new();
    for Message { payload: Payload { chunk, .. }, .. } in read {
        if chunks.last().is_none_or(|held| held.first != chunk.first) {
            let rows = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            chunks.push(Held { first: chunk.first, rows, tail: chunk.tail });
        }
    }
    Wrote::Claimed { call, messages: Vec::new(), chunks }
}

fn view(standing: Standing) -> LaneView {
    LaneView { count: standing.count, next: standing.next, next_due: standing.next_due_ms.map(WallMs) }
}

fn kept<T>(lane: LaneId, result: Result<T, QueueError>) -> Option<T> {
    result.inspect_err(|error| tracing::error!(%lane, %error, "this process lets go of a lane")).ok()
}
