//! A random walk over one small lane, against a model made of the record's own rules: after every step all records,
//! counters, due times and answers must be the model's.

use std::collections::BTreeMap;

use carteiro::domain::ids::{CampaignSeq, LaneId};
use carteiro::domain::receipt::{Outcome, Receipt, ReceiptKind};
use carteiro::domain::record::{GENERATION_MAX, Record, Settlement, State};
use carteiro::queue::lane::{self, Appended, Standing, reasons};
use carteiro::queue::{QueueError, receipt};
use proptest::prelude::*;

use crate::lab::{Lab, NOW_MS, Stored, append, stored};

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    AppendAgain,
    Claim { fresh: usize, due: usize, later_ms: u64 },
    ClaimAgain,
    ClaimUnder { token: i64, request: i64 },
    Release(Vec<(u32, u8)>),
    ReleaseAgain,
    Settle(Vec<(u32, u8, State, u8, u8, u64)>),
    Receive { receipts: Vec<Receipt>, max_attempts: u8 },
    Adopt { newer: u64, sweep: bool },
}

fn any_state() -> impl Strategy<Value = State> {
    use State::*;
    prop::sample::select(vec![Accepted, Held, Waiting, Waiting, Failed, InDoubt, Expired, Suppressed])
}

fn any_step() -> impl Strategy<Value = Step> {
    let message = (0u32..34, 0u8..4);
    let settlement = (0u32..34, 0u8..4, any_state(), 0u8..16, 0u8..5, 0u64..40);
    prop_oneof![
        2 => (1usize..6).prop_map(Step::Append),
        1 => Just(Step::AppendAgain),
        4 => (0usize..7, 0usize..5, 0u64..30).prop_map(|(fresh, due, later_ms)| Step::Claim { fresh, due, later_ms }),
        1 => Just(Step::ClaimAgain),
        1 => (-1i64..2, -1i64..2).prop_map(|(token, request)| Step::ClaimUnder { token, request }),
        3 => prop::collection::vec(message, 0..12).prop_map(Step::Release),
        1 => Just(Step::ReleaseAgain),
        4 => prop::collection::vec(settlement, 0..14).prop_map(Step::Settle),
        4 => (prop::collection::vec(any_receipt(), 0..14), 1u8..5)
            .prop_map(|(receipts, max_attempts)| Step::Receive { receipts, max_attempts }),
        1 => (0u64..2, any::<bool>()).prop_map(|(newer, sweep)| Step::Adopt { newer, sweep }),
    ]
}

/// Of a few messages, so that several meet the same one; some of none that is there.
fn any_receipt() -> impl Strategy<Value = Receipt> {
    let what = (0..4usize, any::<bool>(), 1u8..5, 0u64..40);
    (0u32..34, 0u8..5, what).prop_map(|(index, generation, (kind, again, reason, wait))| {
        let kind = ReceiptKind::ALL[kind];
        Receipt { index, generation, kind, again, reason, due_ms: NOW_MS + wait }
    })
}

#[derive(Debug)]
struct Model {
    lane: LaneId,
    records: Vec<Record>,
    next: u32,
    retry: BTreeMap<u32, u64>,
    now_ms: u64,
    token: u64,
    request: u64,
    appends: u32,
    duplicates: u64,
    last_append: Option<(String, std::ops::Range<usize>)>,
    /// What the last call of this kind asked for, as long as no other call came after it.
    last_claim: Option<(Vec<u32>, usize, usize)>,
    last_release: Option<Vec<(u32, u8)>>,
}

impl Model {
    fn new(lane: LaneId) -> Self {
        Self {
            lane,
            records: Vec::new(),
            next: 0,
            retry: BTreeMap::new(),
            now_ms: NOW_MS,
            token: 1,
            request: 0,
            appends: 0,
            duplicates: 0,
            last_append: None,
            last_claim: None,
            last_release: None,
        }
    }

    fn standing(&self) -> Standing {
        let count = u32::try_from(self.records.len()).unwrap();
        Standing { count, next: self.next, next_due_ms: self.retry.values().min().copied() }
    }

    fn stored(&self) -> Stored {
        Stored { records: self.records.clone(), next: u64::from(self.next), retry: self.retry.clone() }
    }

    /// Claims as the rules say; the messages in the order of the answer.
    fn claim(&mut self, fresh: usize, due: usize) -> Vec<(u32, Record)> {
        let mut ready: Vec<(u64, String, u32)> = self
            .retry
            .iter()
            .filter(|(_, at)| **at <= self.now_ms)
            .map(|(at, due)| (*due, at.to_string(), *at))
            .collect();
        ready.sort();
        let mut claimed = Vec::new();
        for (_, _, index) in ready.into_iter().take(due) {
            self.retry.remove(&index);
            let record = &mut self.records[index as usize];
            if record.generation == GENERATION_MAX {
                *record = Record { state: State::Failed, reason: reasons::GENERATION_LIMIT, ..*record };
            } else {
                *record = record.claimed().unwrap();
                claimed.push((index, *record));
            }
        }
        // Of so many places: those that a receipt lifted are passed over, and what follows the next such is for later.
        let mut claiming = false;
        for _ in 0..fresh {
            let Some(record) = self.records.get_mut(self.next as usize) else {
                break;
            };
            if *record == Record::FRESH {
                *record = record.claimed().unwrap();
                claimed.push((self.next, *record));
                claiming = true;
            } else if claiming {
                break;
            }
            self.next += 1;
        }
        claimed
    }

    fn release(&mut self, messages: &[(u32, u8)]) {
        let mut messages = messages.to_vec();
        messages.sort_unstable_by(|one, other| other.cmp(one));
        for (index, generation) in messages {
            let Some(record) = self.records.get_mut(index as usize) else {
                continue;
            };
            let Some(released) = record.released(generation) else {
                continue;
            };
            *record = released;
            if index + 1 == self.next && released == Record::FRESH {
                self.next = index;
            } else {
                self.retry.insert(index, self.now_ms);
            }
        }
    }

    fn settle(&mut self, settlements: &[Settlement]) -> (u32, u32) {
        let mut counts = (0, 0);
        for one in settlements {
            let record = self.records.get_mut(one.index as usize);
            match record.and_then(|record| record.settled(one).map(|settled| (record, settled))) {
                Some((record, settled)) => {
                    *record = settled;
                    if one.state == State::Waiting {
                        self.retry.insert(one.index, one.due_ms);
                    }
                    counts.0 += 1;
                }
                None => counts.1 += 1,
            }
        }
        counts
    }

    fn receive(&mut self, receipts: &[Receipt], max_attempts: u8) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for one in receipts {
            let Some(record) = self.records.get_mut(one.index as usize) else {
                outcomes.push(Outcome::NOWHERE);
                continue;
            };
            let (after, outcome) = record.received(one, max_attempts);
            *record = after;
            if outcome.moved {
                match after.state {
                    State::Waiting => drop(self.retry.insert(one.index, one.due_ms)),
                    _ => drop(self.retry.remove(&one.index)),
                }
            }
            self.duplicates += u64::from(outcome.twice);
            outcomes.push(outcome);
        }
        outcomes
    }

    fn forget_calls(&mut self) {
        (self.last_claim, self.last_release) = (None, None);
    }
}

async fn append_step(model: &mut Model, lab: &mut Lab, again: bool, count: usize) {
    let (tag, rows) = match model.last_append.clone().filter(|_| again) {
        Some(last) => last,
        None => {
            model.appends += 1;
            let from = model.records.len();
            (format!("tag{}", model.appends), from..from + count)
        }
    };
    let done = append(&mut lab.redis, model.lane, &tag, rows.clone()).await;
    assert_eq!(done, Appended::Done(u32::try_from(rows.start).unwrap()));
    let length = model.records.len().max(rows.end);
    model.records.resize(length, Record::FRESH);
    model.last_append = Some((tag, rows));
}

async fn claim_step(model: &mut Model, lab: &mut Lab, fresh: usize, due: usize) {
    model.request += 1;
    let call = (model.token, model.request);
    let claimed = lane::claim(&mut lab.redis, model.lane, call, model.now_ms, (fresh, due)).await.unwrap();
    assert_eq!(claimed.messages, model.claim(fresh, due));
    assert_eq!(claimed.standing, model.standing());
    model.forget_calls();
    model.last_claim = Some((claimed.messages.iter().map(|(index, _)| *index).collect(), fresh, due));
}

async fn claim_again_step(model: &mut Model, lab: &mut Lab) {
    let Some((asked, fresh, due)) = model.last_claim.clone() else {
        return;
    };
    let call = (model.token, model.request);
    let mut again =
        lane::claim(&mut lab.redis, model.lane, call, model.now_ms + 9, (fresh, due)).await.unwrap();
    again.messages.sort_by_key(|(index, _)| *index);
    let still = |index: &u32| (*index, model.records[*index as usize]);
    let mut expect: Vec<_> =
        asked.iter().map(still).filter(|(_, record)| record.state == State::Sending).collect();
    expect.sort_by_key(|(index, _)| *index);
    assert_eq!((again.messages, again.standing), (expect, model.standing()));
}

async fn release_step(model: &mut Model, lab: &mut Lab, messages: &[(u32, u8)]) {
    model.request += 1;
    let call = (model.token, model.request);
    let standing =
        lane::release(&mut lab.redis, model.lane, call, model.now_ms, &mut messages.to_vec()).await.unwrap();
    model.release(messages);
    assert_eq!(standing, model.standing());
    model.forget_calls();
    model.last_release = Some(messages.to_vec());
}

async fn settle_step(model: &mut Model, lab: &mut Lab, picks: &[(u32, u8, State, u8, u8, u64)]) {
    let mut settlements: Vec<Settlement> = picks
        .iter()
        .map(|&(index, generation, state, attempt, reason, wait)| {
            let due_ms = if state == State::Waiting { model.now_ms + wait } else { 0 };
            Settlement { index, generation, state, attempt, reason, due_ms }
        })
        .collect();
    // One settlement for one claim, as the machine has it.
    settlements.sort_by_key(|one| (one.index, one.generation));
    settlements.dedup_by_key(|one| (one.index, one.generation));
    let counts = lane::settle(&mut lab.redis, model.lane, &mut settlements.clone()).await.unwrap();
    assert_eq!(counts, model.settle(&settlements));
}

async fn receive_step(model: &mut Model, lab: &mut Lab, receipts: &[Receipt], max_attempts: u8) {
    let mut receipts = receipts.to_vec();
    let outcomes = receipt::receive(&mut lab.redis, model.lane, &mut receipts, max_attempts).await.unwrap();
    assert_eq!(outcomes, model.receive(&receipts, max_attempts), "{receipts:?}");
    let counters = lane::counters(&mut lab.redis, &[model.lane]).await.unwrap().remove(0);
    assert_eq!(counters.duplicates, model.duplicates);
}

async fn adopt_step(model: &mut Model, lab: &mut Lab, newer: u64, sweep: bool) {
    model.token += newer;
    let adopted = lane::adopt(&mut lab.redis, model.lane, model.token, sweep || newer > 0).await.unwrap();
    let mut in_doubt = 0;
    if sweep || newer > 0 {
        for record in &mut model.records {
            if let Some(lost) = record.owner_lost(reasons::OWNER_LOST) {
                *record = lost;
                in_doubt += 1;
            }
        }
    }
    assert_eq!((adopted.in_doubt, adopted.standing), (in_doubt, model.standing()));
    if newer > 0 {
        model.request = 0;
        model.forget_calls();
    }
}

async fn take(model: &mut Model, lab: &mut Lab, step: &Step) {
    match step {
        Step::Append(count) => append_step(model, lab, false, *count).await,
        Step::AppendAgain => append_step(model, lab, true, 1).await,
        Step::Claim { fresh, due, later_ms } => {
            model.now_ms += later_ms;
            claim_step(model, lab, *fresh, *due).await;
        }
        Step::ClaimAgain => claim_again_step(model, lab).await,
        Step::ClaimUnder { token, request } => {
            let (other, earlier) = (*token != 0, *request < 0 && model.request > 0);
            let call =
                (model.token.saturating_add_signed(*token), model.request.saturating_add_signed(*request));
            if other || earlier {
                let refused = lane::claim(&mut lab.redis, model.lane, call, model.now_ms, (3, 3)).await;
                assert!(refused.is_err(), "{refused:?}");
                assert!(!other || matches!(refused, Err(QueueError::Fenced)), "{refused:?}");
            }
        }
        Step::Release(messages) => release_step(model, lab, messages).await,
        Step::ReleaseAgain => {
            if let Some(mut messages) = model.last_release.clone() {
                let call = (model.token, model.request);
                let again =
                    lane::release(&mut lab.redis, model.lane, call, model.now_ms + 9, &mut messages).await;
                assert_eq!(again.unwrap(), model.standing());
            }
        }
        Step::Settle(picks) => settle_step(model, lab, picks).await,
        Step::Receive { receipts, max_attempts } => {
            receive_step(model, lab, receipts, *max_attempts).await;
        }
        Step::Adopt { newer, sweep } => adopt_step(model, lab, *newer, *sweep).await,
    }
    assert_eq!(stored(&mut lab.redis, model.lane).await, model.stored(), "after {step:?}");
}

#[test]
fn a_lane_in_redis_is_what_the_rules_of_the_record_make_of_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut lab = runtime.block_on(Lab::start());
    let mut case = 0;
    let steps = prop::collection::vec(any_step(), 1..50);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 120,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let lab = std::cell::RefCell::new(&mut lab);
    let case = std::cell::RefCell::new(&mut case);
    let walked = runner.run(&steps, |steps| {
        **case.borrow_mut() += 1;
        let lane = LaneId { campaign: CampaignSeq(1_000), lane: **case.borrow() };
        let mut lab = lab.borrow_mut();
        let lab = &mut **lab;
        runtime.block_on(async move {
            let mut model = Model::new(lane);
            append_step(&mut model, lab, false, 4).await;
            adopt_step(&mut model, lab, 1, true).await;
            for step in &steps {
                take(&mut model, lab, step).await;
            }
        });
        Ok(())
    });
    walked.unwrap();
}
