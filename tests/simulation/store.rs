//! Redis: lanes, ownership, campaigns and halts, and the calls on them. Each call is carried out wholly or not at all, as
//! a script is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carteiro::domain::ids::{CampaignSeq, LaneId, NumberId};
use carteiro::domain::receipt::{Outcome, Receipt};
use carteiro::domain::record::{Record, Settlement, State};
use carteiro::policy::contacts::Hold;
use carteiro::policy::doubt::Hearing;
use carteiro::policy::shard::{Input, LaneView, Message};
use carteiro::queue::doubts::{self, Ending};
use carteiro::queue::lane::Standing;
use carteiro::queue::owner::{Ask, Beat, Renewal};

use crate::budget::{Counted, Portfolio};
use crate::budget_model;
use crate::contacts::Notes;
use crate::lane_model::{LaneModel, Refused};
use crate::mutants::Mutant;
use crate::own_model::OwnModel;
use crate::world::EPOCH_MS;

pub(crate) const NUMBERS: usize = 4;
pub(crate) const LANES: usize = 8;
pub(crate) const PER_LANE: usize = 25;
pub(crate) const CAMPAIGNS: usize = 2;

/// The first lane of the second campaign.
const SECOND: usize = 5;

/// Attempts at most.
pub(crate) const ATTEMPTS: u8 = 4;

pub(crate) fn campaign_of(lane: usize) -> usize {
    usize::from(lane >= SECOND)
}

/// The first lane of a campaign.
pub(crate) fn first_lane(campaign: usize) -> usize {
    campaign * SECOND
}

pub(crate) fn lane_id(lane: usize) -> LaneId {
    let campaign = campaign_of(lane);
    let seq = u32::try_from(campaign + 1).unwrap();
    LaneId { campaign: CampaignSeq(seq), lane: u32::try_from(lane - campaign * SECOND).unwrap() }
}

pub(crate) fn lane_at(id: LaneId) -> usize {
    id.lane as usize + (id.campaign.0 as usize - 1) * SECOND
}

/// One heartbeat, as it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) struct BeatCall {
    pub(crate) node: String,
    pub(crate) incarnation: String,
    pub(crate) ask: Ask,
    pub(crate) lease: Duration,
    pub(crate) acknowledged: u64,
    pub(crate) leaving: bool,
    pub(crate) offers: Option<String>,
    pub(crate) revision: Option<u64>,
    pub(crate) give_back: Vec<(NumberId, Option<Duration>)>,
    pub(crate) take: Vec<NumberId>,
}

impl BeatCall {
    pub(crate) fn beat(&self) -> Beat<'_> {
        Beat {
            node: &self.node,
            incarnation: &self.incarnation,
            ask: self.ask,
            lease: self.lease,
            acknowledged: self.acknowledged,
            capacity: 1,
            leaving: self.leaving,
            offers: self.offers.as_deref(),
            revision: self.revision,
            give_back: &self.give_back,
            take: &self.take,
        }
    }
}

/// What a process asks of Redis.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Beat(Box<BeatCall>),
    Look,
    Adopt {
        lane: usize,
        token: u64,
        sweep: bool,
        run: u64,
        /// The token under which the process had it.
        known: Option<u64>,
    },
    /// The same, by control, for a lane whose last owner was lost.
    Sweep {
        lane: usize,
        token: u64,
        run: u64,
    },
    Claim {
        lane: usize,
        number: usize,
        token: u64,
        request: u64,
        fresh: usize,
        due: usize,
    },
    Release {
        lane: usize,
        token: u64,
        request: u64,
        messages: Vec<(u32, u8)>,
        /// Whom it takes back afterwards.
        counted: Vec<Counted>,
    },
    Unsent {
        lane: usize,
        messages: Vec<(u32, u8)>,
        counted: Vec<Counted>,
    },
    Settle {
        lane: usize,
        settlements: Vec<Settlement>,
        counted: Vec<Counted>,
    },
    Reassign {
        lane: usize,
        from: usize,
        to: usize,
    },
    Halt(Halt),
    /// Nothing: whoever asks hears whether Redis is another one.
    Ping,
    /// Messages in doubt on these numbers, and what is known of their receipts.
    Doubts(Vec<usize>),
    NoteHearings(Vec<(usize, Hearing)>),
    EndDoubts {
        lane: usize,
        endings: Vec<Ending>,
    },
    LastRun {
        run: u64,
    },
    /// Asks for messages that were claimed whether their people may be written to.
    Admit {
        lane: usize,
        number: usize,
        claimed: Vec<(u32, Record)>,
        standing: Standing,
        /// When it was asked first.
        began_us: u64,
    },
    /// Takes contacts back that did not happen, and goes on with another call.
    TakeBack {
        lane: usize,
        messages: Vec<(u32, u8)>,
        then: Box<Call>,
    },
    /// Counts people of claimed messages against the budget.
    Count {
        lane: usize,
        messages: Vec<Message<()>>,
        view: LaneView,
        people: Vec<u64>,
        /// Changes of the budget that were known when it was asked first, and when that was.
        changes: u64,
        began_us: u64,
    },
    /// Takes people back to whom nothing was sent; then the machine hears of what it waits for.
    Uncount {
        counted: Vec<Counted>,
        then: Input<()>,
    },
    LookAtBudget,
}

/// What a run left sending in a lane.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) lane: usize,
    pub(crate) token: u64,
    pub(crate) request: u64,
    pub(crate) messages: Vec<(u32, u8)>,
}

/// What control reads.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) version: u64,
    pub(crate) campaigns: [CampaignRow; CAMPAIGNS],
    pub(crate) halts: BTreeSet<Halt>,
    pub(crate) lanes: [LaneRow; LANES],
    /// What Meta said of the portfolio.
    pub(crate) said: Option<Option<u64>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneRow {
    pub(crate) number: usize,
    pub(crate) token: u64,
    pub(crate) sending: bool,
    pub(crate) open: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CampaignRow {
    pub(crate) running: bool,
    pub(crate) grown: u64,
}

/// A scope that is stopped until somebody resumes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Halt {
    Number(usize),
    Template(usize),
    Account,
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Beat(Renewal),
    Look(Box<View>),
    Adopted(Result<Standing, Refused>),
    Claimed(Result<(Vec<(u32, Record)>, Standing), Refused>),
    Released(Result<Standing, Refused>),
    Unsent,
    Settled,
    Reassigned,
    Halted,
    Done,
    Doubts(Vec<Doubted>),
    LastRun(Vec<Left>),
    Admitted(Vec<Option<Hold>>),
    TakenBack,
    Budget(budget_model::Answer),
}

/// What is in doubt on one number, by lane, and what is known of its receipts.
#[derive(Clone, Debug)]
pub(crate) struct Doubted {
    pub(crate) number: usize,
    pub(crate) heard_ms: Option<u64>,
    pub(crate) hearing: Hearing,
    pub(crate) lanes: Vec<(usize, Vec<doubts::Message>)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) lane: LaneModel,
    pub(crate) number: usize,
    /// Since when messages are in doubt, in wall ms.
    pub(crate) since: BTreeMap<u32, u64>,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) up: bool,
    /// How often it began anew without its last moments.
    pub(crate) epoch: u32,
    pub(crate) own: OwnModel,
    pub(crate) lanes: Vec<Stored>,
    pub(crate) version: u64,
    pub(crate) campaigns: [CampaignRow; CAMPAIGNS],
    pub(crate) halts: BTreeSet<Halt>,
    /// Of each number: the latest send that a receipt spoke of, in wall ms, and what its owners noted.
    pub(crate) heard: [Option<u64>; NUMBERS],
    pub(crate) hearings: [Hearing; NUMBERS],
    notes: Notes,
    pub(crate) budget: Portfolio,
    pub(crate) mutant: Option<Mutant>,
}

impl Store {
    pub(crate) fn new(people: Option<u64>, mutant: Option<Mutant>) -> Self {
        let lane =
            |at: usize| Stored { lane: LaneModel::default(), number: at % NUMBERS, since: BTreeMap::new() };
        Self {
            up: true,
            epoch: 0,
            own: OwnModel::default(),
            lanes: (0..LANES).map(lane).collect(),
            version: 1,
            campaigns: [CampaignRow { running: true, grown: 0 }; CAMPAIGNS],
            halts: BTreeSet::new(),
            heard: [None; NUMBERS],
            hearings: Default::default(),
            notes: Notes::default(),
            budget: Portfolio::new(people, mutant),
            mutant,
        }
    }

    /// Carries out a call that was sent at this wall time and arrives now; `late`: it is a copy that nobody waits for.
    pub(crate) fn run(&mut self, call: &Call, sent_ms: u64, now_us: u64, late: bool) -> Answer {
        let mutant = self.mutant;
        let (now_ms, late_from) = (EPOCH_MS + now_us / 1000, late.then_some(sent_ms));
        match call {
            Call::Beat(call) => Answer::Beat(self.own.beat(now_us, &call.beat())),
            Call::Look => Answer::Look(Box::new(self.view())),
            Call::Adopt { lane, token, sweep, run, .. } => {
                let lane = &mut self.lanes[*lane].lane;
                let sweep = *sweep && mutant != Some(Mutant::AdoptLeavesSending);
                Answer::Adopted(lane.adopt(*token, sweep, *run).map(|_| lane.standing()))
            }
            Call::Sweep { lane, token, run } => {
                let lane = &mut self.lanes[*lane].lane;
                let swept = lane.adopt(*token, mutant != Some(Mutant::AdoptLeavesSending), *run);
                Answer::Adopted(swept.map(|_| lane.standing()))
            }
            Call::Claim { lane, token, request, fresh, due, .. } => {
                let lane = &mut self.lanes[*lane].lane;
                let call = Mutant::claim(mutant, lane, (*token, *request));
                let claimed = lane.claim(call, sent_ms, (*fresh, *due));
                Answer::Claimed(claimed.map(|messages| (messages, lane.standing())))
            }
            Call::Release { lane, token, request, messages, .. } => {
                self.release(*lane, (*token, *request), messages, sent_ms)
            }
            Call::Unsent { lane, messages, .. } => {
                self.lanes[*lane].lane.unsent(sent_ms, messages);
                Answer::Unsent
            }
            Call::Settle { lane, settlements, .. } => {
                let lane = &mut self.lanes[*lane].lane;
                lane.settle(&Mutant::settle(mutant, lane, settlements, sent_ms));
                Answer::Settled
            }
            Call::Reassign { lane, to, .. } => {
                self.lanes[*lane].number = *to;
                Answer::Reassigned
            }
            Call::Halt(halt) => {
                self.halts.insert(*halt);
                self.version += 1;
                Answer::Halted
            }
            Call::Ping => Answer::Done,
            Call::Doubts(numbers) => {
                Answer::Doubts(numbers.iter().map(|number| self.doubted(*number)).collect())
            }
            Call::NoteHearings(all) => {
                all.iter().for_each(|(number, one)| self.hearings[*number] = one.clone());
                Answer::Done
            }
            Call::EndDoubts { lane, endings } => self.end_doubts(*lane, endings, sent_ms),
            Call::LastRun { run } => Answer::LastRun(self.left(*run)),
            Call::Admit { lane, number, claimed, .. } => {
                let messages: Vec<(u32, u8)> =
                    claimed.iter().map(|(index, record)| (*index, record.generation)).collect();
                let how = (late_from, mutant);
                Answer::Admitted(self.notes.admit((*lane, *number), &messages, now_ms, how))
            }
            Call::TakeBack { lane, messages, .. } => {
                self.notes.take_back(*lane, messages, now_ms, late_from);
                Answer::TakenBack
            }
            Call::Count { people, .. } => Answer::Budget(self.budget.take(now_us, people)),
            Call::Uncount { counted, .. } => Answer::Budget(self.budget.give_back(now_us, counted)),
            Call::LookAtBudget => Answer::Budget(self.budget.take(now_us, &[])),
        }
    }

    fn release(&mut self, lane: usize, call: (u64, u64), messages: &[(u32, u8)], sent_ms: u64) -> Answer {
        let lane = &mut self.lanes[lane].lane;
        let (call, messages) = Mutant::release(self.mutant, lane, call, messages);
        let released = lane.release(call, sent_ms, &messages);
        if self.mutant == Some(Mutant::ReleaseForgetsRetry) {
            lane.retry.retain(|index, _| messages.iter().all(|(released, _)| released != index));
        }
        Answer::Released(released.map(|_| lane.standing()))
    }

    /// Ends doubts: the campaign has grown when one of their messages waits anew.
    fn end_doubts(&mut self, lane: usize, endings: &[Ending], sent_ms: u64) -> Answer {
        let again = endings.iter().any(|one| one.to == State::Waiting);
        if self.lanes[lane].lane.resolve(sent_ms, endings) > 0 && again {
            self.campaigns[campaign_of(lane)].grown += 1;
            self.version += 1;
        }
        Answer::Done
    }

    /// Writes a receipt: the campaign has grown when its message waits anew.
    pub(crate) fn receive(&mut self, lane: usize, receipt: Receipt) -> Outcome {
        let receipt = Mutant::receipt(self.mutant, &mut self.lanes[lane].lane, receipt);
        let outcome = self.lanes[lane].lane.receive(&[receipt], ATTEMPTS)[0];
        let record = self.lanes[lane].lane.records.get(receipt.index as usize);
        if outcome.moved && record.is_some_and(|record| record.state == State::Waiting) {
            self.campaigns[campaign_of(lane)].grown += 1;
            self.version += 1;
        }
        outcome
    }

    /// Whether a message was claimed again or settled since this claim.
    pub(crate) fn is_another_claim(&self, lane: usize, (index, generation): (u32, u8)) -> bool {
        let record = self.lanes[lane].lane.records.get(index as usize);
        record.is_some_and(|one| one.state != State::Sending || one.generation != generation)
    }

    fn doubted(&self, number: usize) -> Doubted {
        let in_doubt = |stored: &Stored| {
            let message = |(index, since_ms): (&u32, &u64)| doubts::Message {
                index: *index,
                record: stored.lane.records[*index as usize],
                since_ms: *since_ms,
            };
            stored.since.iter().map(message).collect::<Vec<_>>()
        };
        let ours = self.lanes.iter().enumerate().filter(|(_, stored)| stored.number == number);
        let lanes = ours.map(|(at, stored)| (at, in_doubt(stored)));
        Doubted {
            number,
            heard_ms: self.heard[number],
            hearing: self.hearings[number].clone(),
            lanes: lanes.filter(|(_, messages)| !messages.is_empty()).collect(),
        }
    }

    fn left(&self, run: u64) -> Vec<Left> {
        let of = |(lane, stored): (usize, &Stored)| {
            let (token, request, messages) = stored.lane.claims_of(run)?;
            (!messages.is_empty()).then_some(Left { lane, token, request, messages })
        };
        self.lanes.iter().enumerate().filter_map(of).collect()
    }

    fn view(&self) -> View {
        let mut lanes = [LaneRow::default(); LANES];
        for (row, stored) in lanes.iter_mut().zip(&self.lanes) {
            let open = stored.lane.records.iter().any(|record| record.state.open());
            let sending = stored.lane.sending() > 0;
            *row = LaneRow { number: stored.number, token: stored.lane.token, sending, open };
        }
        View {
            version: self.version,
            campaigns: self.campaigns,
            halts: self.halts.clone(),
            lanes,
            said: self.budget.said(),
        }
    }

    /// Whether a message is queued, waiting, sending or in doubt.
    pub(crate) fn open(&self) -> bool {
        let open = |record: &Record| record.state.open() || record.state == State::InDoubt;
        self.lanes.iter().flat_map(|stored| &stored.lane.records).any(open)
    }
}
