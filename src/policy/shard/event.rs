//! The closed set of what a shard hears and what it orders. The contract between the two is in the module above.

use std::sync::Arc;

use super::setup::{CampaignSetup, LaneSetup, NumberSetup};
use crate::clock::{Mono, WallMs};
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::record::Settlement;
use crate::policy::classify::Verdict;

/// A claimed message as the driver gives it to the machine. `P` is what the driver needs to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<P> {
    /// Position in the lane.
    pub index: u32,
    /// Generation of this claim.
    pub generation: u8,
    /// Attempts so far.
    pub attempt: u8,
    /// When it was loaded.
    pub loaded_at: WallMs,
    /// It is in the stop list, for this reason of the error table: it is suppressed and never begun.
    pub stopped: Option<u8>,
    /// A limit that is shared with others does not admit it now: it is not begun.
    pub held: Option<Held>,
    /// From then on those limits must be asked again before it is begun; None: they have no say.
    pub admitted_until: Option<Mono>,
    /// The driver's.
    pub payload: P,
}

impl<P> Message<P> {
    /// A limit that is shared with others admits it until then. Of several limits the first to end counts.
    pub fn admit_until(&mut self, until: Mono) {
        self.admitted_until = Some(self.admitted_until.map_or(until, |known| known.min(until)));
    }
}

/// Which limit that is shared with others does not admit a claimed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Its portfolio has written to as many people as it may.
    Budget {
        /// Until then, as far as is known.
        until: Option<Mono>,
        /// So many changes of the budget were known when it was asked ([`Input::Budget`]).
        changes: u64,
    },
    /// Its number wrote to the person a moment ago: it waits until then.
    Pair {
        /// By the wall clock of this machine.
        until: WallMs,
    },
    /// The person was written to as often as the creditor allows: it waits until then, or is never sent, as its campaign
    /// says.
    Cap {
        /// By the wall clock of this machine.
        until: WallMs,
    },
}

/// What a lane looked like when it was adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// Messages in the lane.
    pub count: u32,
    /// First message never claimed.
    pub next: u32,
    /// When the next retry is due.
    pub next_due: Option<WallMs>,
}

/// Names a request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlightId(pub u32);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<P> {
    /// A deadline came.
    Time,
    /// A number is new or changed.
    Number(NumberSetup),
    /// A campaign is new or changed.
    Campaign(CampaignSetup),
    /// A campaign is over: nothing of it is kept.
    Forget(CampaignSeq),
    /// A lane is new here, or may have grown.
    Lane(LaneSetup),
    /// The lane is to move elsewhere.
    DropLane(LaneId),
    /// The number is to move elsewhere, with all its lanes: claim no more, give back, finish.
    DropNumber(NumberId),
    /// A number that was handed over: nothing may be sent on it before then.
    Resume(NumberId, Mono),
    /// The lease on everything here was renewed until then: from there on nothing is claimed or begun.
    Lease(Mono),
    /// The copy of the stop list was found current: from there on nothing is claimed or begun by it.
    StopList(Mono),
    /// Answer to `Adopt`; None: it belongs to somebody else.
    Adopted(LaneId, Option<LaneView>),
    /// Answer to `Claim`; None: it belongs to somebody else.
    Claimed(LaneId, Option<(Vec<Message<P>>, LaneView)>),
    /// Answer to `Claim`, instead of `Claimed`: too few replicas of Redis have it. Nothing is sent on it, and it is given back.
    Unkept(LaneId, Vec<(u32, u8)>, LaneView),
    /// Answer to `Release`: how the lane stands now.
    Released(LaneId, Option<LaneView>),
    /// Answer to `Settle`.
    Settled(LaneId, usize),
    /// Answer to `Send`: what the reply means, and whether the connection can be used again.
    Replied(FlightId, Verdict, bool),
    /// A connection is ready, for one request at a time.
    Connected,
    /// The connection just made takes so many more at once: each counts as a connection of its own.
    Widened(usize),
    /// A connection could not be made.
    ConnectFailed,
    /// An idle connection was closed.
    Closed,
    /// Answer to `Probe`.
    Probed(NumberId, bool),
    /// Redis answers, or does not.
    Redis(bool),
    /// Redis is not as far as it was, or is again: until then nothing is claimed or begun.
    RolledBack(bool),
    /// The journal takes writes, or does not: without it nothing is claimed.
    Journal(bool),
    /// Answer to `Send`, instead of `Replied`: the request was not begun, and its connection is ready again.
    Unbegun(FlightId),
    /// Answer to `Send`, instead of `Replied`: the message is in the stop list by now, for this reason of the error table. It
    /// was not begun, and its connection is ready again.
    Stopped(FlightId, u8),
    /// This node's wall clock agrees with Redis', or does not: hours cannot be judged by one that is wrong.
    Clock(bool),
    /// There may be room in a portfolio's budget again: so many changes of it are known.
    Budget(Arc<str>, u64),
    /// A limit wider than one number was refused elsewhere.
    Throttled(Throttled),
    /// Everything before this has been acted on.
    Barrier(u64),
    /// Claim no more, give back what has not begun, finish what has.
    Drain,
}

/// A limit wider than one number, refused until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// The account; None: everything.
    pub account: Option<String>,
    /// Until when.
    pub until: Mono,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the sentence of a variant names its fields")]
pub enum Output<P> {
    /// Make a lane ours. With `sweep`, what is sending there belongs to a lost owner.
    Adopt { lane: LaneId, sweep: bool },
    /// Claim messages for a number: request number, untouched ones, due ones.
    Claim { lane: LaneId, number: NumberId, request: u64, fresh: usize, due: usize },
    /// Give messages back: request number, index and generation of each.
    Release { lane: LaneId, request: u64, messages: Vec<(u32, u8)> },
    /// Record what became of messages.
    Settle { lane: LaneId, settlements: Vec<Settlement> },
    /// Write one request on a ready connection.
    Send { flight: FlightId, number: NumberId, lane: LaneId, message: Message<P> },
    /// Open this many connections.
    Connect(usize),
    /// Connect anew and ask for the number's own fields.
    Probe(NumberId),
    /// Tell everybody: this scope must stop until a person looks. The number, if that is the scope.
    Halt { verdict: Verdict, number: NumberId, account: String, template: String },
    /// Tell the other shards.
    Throttle(Throttled),
    /// A number has nothing to claim.
    Dry(NumberId),
    /// A dropped lane is at rest: it may move.
    Dropped(LaneId),
    /// A dropped number is at rest: it may move, and its next message is due then.
    NumberDropped(NumberId, Mono),
    /// Everything before this barrier has been acted on.
    Reached(u64),
    /// After `Drain`: nothing is claimed, in flight or unsettled.
    Drained,
    /// Nothing to do until then, or until the next input.
    Sleep(Option<Mono>),
}
