//! A random walk over one small lane, against the model on which the simulation runs: after every step all records,
//! counters, due times and answers must be the model's.

use carteiro::clock;
use carteiro::domain::ids::{CampaignSeq, LaneId};
use carteiro::domain::receipt::{Receipt, ReceiptKind};
use carteiro::domain::record::{Record, Settlement, State};
use carteiro::queue::again::{self, Ask};
use carteiro::queue::doubts::{self, Ending, Message};
use carteiro::queue::lane::{self, Appended};
use carteiro::queue::replay::{GIVEN_BACK, Recent, Wrote};
use carteiro::queue::{QueueError, claims, erasure, receipt};
use proptest::prelude::*;

use crate::lab::{Lab, NOW_MS, Stored, append, stored};
use crate::lane_model::LaneModel;

/// The run of this process in the model.
const RUN: u64 = 1;

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    AppendAgain,
    /// Rows of which some are there already.
    AppendKnown(usize),
    Claim {
        fresh: usize,
        due: usize,
        later_ms: u64,
    },
    ClaimAgain,
    ClaimUnder {
        token: i64,
        request: i64,
    },
    Release(Vec<(u32, u8)>),
    ReleaseAgain,
    Settle(Vec<(u32, u8, State, u8, u8, u64)>),
    Receive {
        receipts: Vec<Receipt>,
        max_attempts: u8,
    },
    Adopt {
        newer: u64,
        sweep: bool,
    },
    Unsent(Vec<(u32, u8)>),
    Suppress(Vec<u32>),
    Retry(u8),
    /// Index, generation, state seen, state to be, attempts.
    Resolve(Vec<(u32, u8, State, State, u8)>),
    /// What is said again of messages: index, generation, state (15: given back), attempts, wait; how much newer than the
    /// lane's the tokens of its claims and of what was given back are; the last request.
    Replay(Vec<(u32, u8, u8, u8, u64)>, (u64, u64), i64),
    /// What a process that restarts asks.
    LastRun,
}

fn any_state() -> impl Strategy<Value = State> {
    use State::*;
    prop::sample::select(vec![Accepted, Held, Waiting, Waiting, Failed, InDoubt, Expired, Suppressed])
}

fn any_step() -> impl Strategy<Value = Step> {
    let message = || (0u32..34, 0u8..4);
    let settlement = (0u32..34, 0u8..4, any_state(), 0u8..16, 0u8..5, 0u64..40);
    prop_oneof![
        2 => (1usize..6).prop_map(Step::Append),
        1 => Just(Step::AppendAgain),
        1 => (1usize..6).prop_map(Step::AppendKnown),
        4 => (0usize..7, 0usize..5, 0u64..30).prop_map(|(fresh, due, later_ms)| Step::Claim { fresh, due, later_ms }),
        1 => Just(Step::ClaimAgain),
        1 => (-1i64..2, -1i64..2).prop_map(|(token, request)| Step::ClaimUnder { token, request }),
        3 => prop::collection::vec(message(), 0..12).prop_map(Step::Release),
        1 => Just(Step::ReleaseAgain),
        4 => prop::collection::vec(settlement, 0..14).prop_map(Step::Settle),
        4 => (prop::collection::vec(any_receipt(), 0..14), 1u8..5)
            .prop_map(|(receipts, max_attempts)| Step::Receive { receipts, max_attempts }),
        1 => (0u64..2, any::<bool>()).prop_map(|(newer, sweep)| Step::Adopt { newer, sweep }),
        2 => prop::collection::vec(message(), 0..12).prop_map(Step::Unsent),
        1 => prop::collection::vec(0u32..40, 0..4).prop_map(Step::Suppress),
        1 => (0u8..5).prop_map(Step::Retry),
        2 => prop::collection::vec(any_ending(), 0..8).prop_map(Step::Resolve),
        2 => (prop::collection::btree_map(0u32..36, any_said(), 0..8), (0u64..2, 0u64..2), -1i64..2).prop_map(
            |(said, newer, request)| {
                let said = said.into_iter().map(|(at, (generation, state, attempt, wait))| (at, generation, state, attempt, wait));
                Step::Replay(said.collect(), newer, request)
            }
        ),
        1 => Just(Step::LastRun),
    ]
}

fn any_ending() -> impl Strategy<Value = (u32, u8, State, State, u8)> {
    use State::*;
    let how = prop::sample::select(vec![
        (InDoubt, Accepted),
        (InDoubt, Waiting),
        (InDoubt, Unresolved),
        (Unresolved, Accepted),
        (Unresolved, Waiting),
        (Held, Unresolved),
    ]);
    (0u32..34, 0u8..4, how, 0u8..16)
        .prop_map(|(index, generation, (seen, to), attempt)| (index, generation, seen, to, attempt))
}

/// Generation, state, attempts, wait.
fn any_said() -> impl Strategy<Value = (u8, u8, u8, u64)> {
    let state = prop::sample::select(vec![1u8, 1, 2, 3, 4, 5, 6, 8, 9, GIVEN_BACK]);
    (1u8..5, state, 0u8..16, 0u64..40)
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
struct Walk {
    id: LaneId,
    lane: LaneModel,
    now_ms: u64,
    appends: u64,
    last_append: Option<(u64, std::ops::Range<usize>)>,
    /// What the last call of this kind asked for, as long as no other call came after it.
    last_claim: Option<(usize, usize)>,
    last_release: Option<Vec<(u32, u8)>>,
}

impl Walk {
    fn new(id: LaneId) -> Self {
        let lane = LaneModel::default();
        Self { id, lane, now_ms: NOW_MS, appends: 0, last_append: None, last_claim: None, last_release: None }
    }

    fn stored(&self) -> Stored {
        let (records, retry) = (self.lane.records.clone(), self.lane.retry.clone());
        Stored { records, next: u64::from(self.lane.next), retry }
    }

    fn call(&self) -> (u64, u64) {
        (self.lane.token, self.lane.request)
    }

    fn next_call(&mut self) -> (u64, u64) {
        (self.last_claim, self.last_release) = (None, None);
        (self.lane.token, self.lane.request + 1)
    }
}

async fn append_step(walk: &mut Walk, lab: &mut Lab, tag: u64, rows: std::ops::Range<usize>) {
    let hashes: Vec<u64> = rows.clone().map(|row| row as u64).collect();
    let expect = walk.lane.append(tag, &hashes);
    match append(&mut lab.redis, walk.id, &format!("tag{tag}"), rows.clone()).await {
        Appended::Done(first) => {
            assert_eq!(expect, Ok(first));
            walk.last_append = Some((tag, rows));
        }
        Appended::Duplicates(hashes) => {
            let mut known: Vec<u64> =
                hashes.into_iter().map(|hash| u64::try_from(hash - (1 << 61)).unwrap()).collect();
            known.sort_unstable();
            assert_eq!(expect, Err(known));
        }
    }
}

async fn claim_step(walk: &mut Walk, lab: &mut Lab, call: (u64, u64), counts: (usize, usize)) {
    let claimed = lane::claim(&mut lab.redis, walk.id, call, walk.now_ms, counts).await.unwrap();
    assert_eq!(Ok(claimed.messages), walk.lane.claim(call, walk.now_ms, counts));
    assert_eq!(claimed.standing, walk.lane.standing());
    walk.last_claim = Some(counts);
}

async fn release_step(walk: &mut Walk, lab: &mut Lab, call: (u64, u64), messages: &[(u32, u8)]) {
    let standing = lane::release(&mut lab.redis, walk.id, call, walk.now_ms, &mut messages.to_vec()).await;
    walk.lane.release(call, walk.now_ms, messages).unwrap();
    assert_eq!(standing.unwrap(), walk.lane.standing());
    walk.last_release = Some(messages.to_vec());
}

async fn settle_step(walk: &mut Walk, lab: &mut Lab, picks: &[(u32, u8, State, u8, u8, u64)]) {
    let mut settlements: Vec<Settlement> = picks
        .iter()
        .map(|&(index, generation, state, attempt, reason, wait)| {
            let due_ms = if state == State::Waiting { walk.now_ms + wait } else { 0 };
            Settlement { index, generation, state, attempt, reason, due_ms }
        })
        .collect();
    // One settlement for one claim, as the machine has it.
    settlements.sort_by_key(|one| (one.index, one.generation));
    settlements.dedup_by_key(|one| (one.index, one.generation));
    let counts = lane::settle(&mut lab.redis, walk.id, &mut settlements.clone()).await.unwrap();
    assert_eq!(counts, walk.lane.settle(&settlements));
}

async fn receive_step(walk: &mut Walk, lab: &mut Lab, receipts: &[Receipt], max_attempts: u8) {
    let mut receipts = receipts.to_vec();
    let outcomes = receipt::receive(&mut lab.redis, walk.id, &mut receipts, max_attempts).await.unwrap();
    assert_eq!(outcomes, walk.lane.receive(&receipts, max_attempts), "{receipts:?}");
    let counters = lane::counters(&mut lab.redis, &[walk.id]).await.unwrap().remove(0);
    assert_eq!(counters.duplicates, walk.lane.duplicates);
}

async fn adopt_step(walk: &mut Walk, lab: &mut Lab, newer: u64, sweep: bool) {
    let (token, sweep) = (walk.lane.token + newer, sweep || newer > 0);
    let adopted = lane::adopt(&mut lab.redis, walk.id, token, sweep).await.unwrap();
    assert_eq!(Ok(adopted.in_doubt), walk.lane.adopt(token, sweep, RUN));
    assert_eq!(adopted.standing, walk.lane.standing());
    if newer > 0 {
        (walk.last_claim, walk.last_release) = (None, None);
    }
}

async fn resolve_step(walk: &mut Walk, lab: &mut Lab, picks: &[(u32, u8, State, State, u8)]) {
    let ending = |&(index, generation, state, to, attempt): &(u32, u8, State, State, u8)| {
        let record = Record { state, attempt: 0, generation, reason: 0, flags: 0 };
        Ending { seen: Message { index, record, since_ms: 0 }, to, attempt }
    };
    let endings: Vec<Ending> = picks.iter().map(ending).collect();
    let changed = doubts::end(&mut lab.redis, walk.id, walk.now_ms, &endings).await.unwrap();
    assert_eq!(changed, u64::from(walk.lane.resolve(walk.now_ms, &endings)));
}

async fn replay_step(
    walk: &mut Walk,
    lab: &mut Lab,
    said: &[(u32, u8, u8, u8, u64)],
    (claims, releases): (u64, u64),
    request: i64,
) {
    let mut recent = Recent::new(std::time::Duration::from_secs(5));
    let (token, later) = (walk.lane.token + claims, walk.lane.token + releases);
    let claimed = Wrote::Claimed { call: (token, 0), messages: Vec::new(), chunks: Vec::new() };
    recent.push(clock::mono(), walk.id, claimed);
    let request = walk.lane.request.saturating_add_signed(request);
    for &(index, generation, state, attempt, wait) in said {
        let wrote = match (State::from_number(state), state) {
            (_, GIVEN_BACK) => {
                // How many attempts it had is known by its claim, if that is.
                if wait % 2 == 0 {
                    let messages = vec![(index, generation, attempt)];
                    let claimed = Wrote::Claimed { call: (later, request), messages, chunks: Vec::new() };
                    recent.push(clock::mono(), walk.id, claimed);
                }
                Wrote::Released { token: later, request, messages: vec![(index, generation)] }
            }
            (_, 1) => Wrote::Claimed {
                call: (token, request),
                messages: vec![(index, generation, attempt)],
                chunks: Vec::new(),
            },
            (state, _) => {
                let (state, due_ms) = (state.unwrap(), walk.now_ms + wait);
                let due_ms = if state == State::Waiting { due_ms } else { 0 };
                Wrote::Settled(vec![Settlement { index, generation, state, attempt, reason: 3, due_ms }])
            }
        };
        recent.push(clock::mono(), walk.id, wrote);
    }
    let again = recent.again();
    let replayed = again.replay(&mut lab.redis, walk.now_ms).await.unwrap();
    let expect: u32 = again.batches().iter().map(|batch| walk.lane.replay(batch, walk.now_ms)).sum();
    let count = walk.lane.count();
    let beyond =
        said.iter().filter(|one| one.0 >= count && (one.2 != GIVEN_BACK || one.1 > 1)).count() as u64;
    assert_eq!((replayed.written, replayed.homeless, replayed.missing), (u64::from(expect), 0, beyond));
    // Whoever has the token that Redis knows is its owner no more; the one who said a newer one adopts it anew.
    let newer = walk.lane.newest() - walk.lane.token;
    if newer > 0 {
        let call = walk.next_call();
        assert!(lane::claim(&mut lab.redis, walk.id, call, walk.now_ms, (1, 1)).await.is_err());
        assert!(walk.lane.claim(call, walk.now_ms, (1, 1)).is_err());
        assert!(lane::release(&mut lab.redis, walk.id, call, walk.now_ms, &mut []).await.is_err());
        assert!(walk.lane.release(call, walk.now_ms, &[]).is_err());
        last_run_step(walk, lab).await;
        adopt_step(walk, lab, newer, false).await;
    }
}

async fn last_run_step(walk: &mut Walk, lab: &mut Lab) {
    let claims = claims::of_run(&mut lab.redis, walk.id, claims::run()).await.unwrap();
    let claims = claims.map(|claims| (claims.token, claims.request, claims.sending));
    assert_eq!(claims, walk.lane.claims_of(RUN));
}

async fn claim_under_step(walk: &mut Walk, lab: &mut Lab, token: i64, request: i64) {
    let (other, earlier) = (token != 0, request < 0 && walk.lane.request > 0);
    if other || earlier {
        let (ours, last) = walk.call();
        let call = (ours.saturating_add_signed(token), last.saturating_add_signed(request));
        let refused = lane::claim(&mut lab.redis, walk.id, call, walk.now_ms, (3, 3)).await;
        assert!(refused.is_err() && walk.lane.claim(call, walk.now_ms, (3, 3)).is_err(), "{refused:?}");
        assert!(!other || matches!(refused, Err(QueueError::Fenced)), "{refused:?}");
    }
}

async fn take(walk: &mut Walk, lab: &mut Lab, step: &Step) {
    match step {
        Step::Append(count) => {
            walk.appends += 1;
            let from = walk.lane.records.len();
            append_step(walk, lab, walk.appends, from..from + count).await;
        }
        Step::AppendAgain => {
            if let Some((tag, rows)) = walk.last_append.clone() {
                append_step(walk, lab, tag, rows).await;
            }
        }
        Step::AppendKnown(count) => {
            walk.appends += 1;
            let from = walk.lane.records.len();
            append_step(walk, lab, walk.appends, from - 1..from + count).await;
        }
        Step::Claim { fresh, due, later_ms } => {
            walk.now_ms += later_ms;
            let call = walk.next_call();
            claim_step(walk, lab, call, (*fresh, *due)).await;
        }
        Step::ClaimAgain => {
            if let Some(counts) = walk.last_claim {
                claim_step(walk, lab, walk.call(), counts).await;
            }
        }
        Step::ClaimUnder { token, request } => claim_under_step(walk, lab, *token, *request).await,
        Step::Release(messages) => {
            let call = walk.next_call();
            release_step(walk, lab, call, messages).await;
        }
        Step::ReleaseAgain => {
            if let Some(messages) = walk.last_release.clone() {
                release_step(walk, lab, walk.call(), &messages).await;
            }
        }
        Step::Settle(picks) => settle_step(walk, lab, picks).await,
        Step::Receive { receipts, max_attempts } => receive_step(walk, lab, receipts, *max_attempts).await,
        Step::Adopt { newer, sweep } => adopt_step(walk, lab, *newer, *sweep).await,
        Step::Unsent(messages) => {
            let back = lane::unsent(&mut lab.redis, walk.id, walk.now_ms, messages).await.unwrap();
            assert_eq!(back, walk.lane.unsent(walk.now_ms, messages));
        }
        Step::Suppress(indices) => {
            let gone = erasure::suppress(&mut lab.redis, walk.id, indices).await.unwrap();
            assert_eq!(gone, u64::from(walk.lane.suppress(erasure::REASON, indices)));
        }
        Step::Retry(reason) => {
            let turned =
                again::retry(&mut lab.redis, walk.id, *reason, walk.now_ms, Ask::Turn).await.unwrap();
            let (end, expect) = walk.lane.retry_failed(0, 1000, *reason, walk.now_ms);
            assert_eq!((turned, end), (u64::from(expect), -1));
        }
        Step::Resolve(picks) => resolve_step(walk, lab, picks).await,
        Step::Replay(said, newer, request) => replay_step(walk, lab, said, *newer, *request).await,
        Step::LastRun => last_run_step(walk, lab).await,
    }
    assert_eq!(stored(&mut lab.redis, walk.id).await, walk.stored(), "after {step:?}");
}

#[test]
fn a_lane_in_redis_is_what_the_model_of_the_simulation_makes_of_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lab = std::cell::RefCell::new(runtime.block_on(Lab::start()));
    let case = std::cell::Cell::new(0);
    let steps = prop::collection::vec(any_step(), 1..60);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let walked = runner.run(&steps, |steps| {
        case.set(case.get() + 1);
        let id = LaneId { campaign: CampaignSeq(1_000), lane: case.get() };
        let mut lab = lab.borrow_mut();
        runtime.block_on(async {
            let mut walk = Walk::new(id);
            take(&mut walk, &mut lab, &Step::Append(4)).await;
            take(&mut walk, &mut lab, &Step::Adopt { newer: 1, sweep: true }).await;
            for step in &steps {
                take(&mut walk, &mut lab, step).await;
            }
        });
        Ok(())
    });
    walked.unwrap();
}
