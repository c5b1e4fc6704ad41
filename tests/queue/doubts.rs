//! Doubts on real lanes: their index, and how they end.

use carteiro::domain::receipt::{Receipt, ReceiptKind};
use carteiro::domain::record::State;
use carteiro::policy::doubt::{Hearing, Limits};
use carteiro::queue::doubts::{self, Ending, Message};
use carteiro::queue::keys::LaneKeys;
use carteiro::queue::{lane, receipt};
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, id, number, settlement, stored};

/// A lane of 20 whose first 12 are claimed and whose first 8 are in doubt.
async fn doubted(lab: &mut Lab) {
    lab.lane(id(0), 20).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (12, 0)).await.unwrap();
    let mut settles: Vec<_> = (0..8).map(|index| settlement(index, 1, State::InDoubt)).collect();
    lane::settle(&mut lab.redis, id(0), &mut settles).await.unwrap();
}

async fn page(lab: &mut Lab) -> Vec<Message> {
    doubts::page(&mut lab.redis, id(0), 0).await.unwrap().messages
}

fn indices(messages: &[Message]) -> Vec<u32> {
    let mut all: Vec<u32> = messages.iter().map(|one| one.index).collect();
    all.sort_unstable();
    all
}

async fn hear(lab: &mut Lab, index: u32, kind: ReceiptKind) {
    let mut one = [Receipt { index, generation: 1, kind, again: false, reason: 70, due_ms: 0 }];
    receipt::receive(&mut lab.redis, id(0), &mut one, 3).await.unwrap();
}

#[tokio::test]
async fn what_is_in_doubt_is_in_the_index_and_what_is_settled_is_not() {
    let mut lab = Lab::start().await;
    doubted(&mut lab).await;
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut lab.redis).await.unwrap();
    let all = page(&mut lab).await;
    assert_eq!(indices(&all), (0..8).collect::<Vec<_>>());
    assert!(
        all.iter().all(|one| one.since_ms / 1000 <= seconds && one.since_ms / 1000 + 60 > seconds),
        "{all:?}"
    );
    // A reply that comes late, a receipt, and a failed receipt.
    let mut late = [settlement(0, 1, State::Accepted), settlement(1, 1, State::Waiting)];
    lane::settle(&mut lab.redis, id(0), &mut late).await.unwrap();
    hear(&mut lab, 2, ReceiptKind::Delivered).await;
    hear(&mut lab, 3, ReceiptKind::Failed).await;
    assert_eq!(indices(&page(&mut lab).await), [4, 5, 6, 7]);
    // What a lost owner was sending, and what of it certainly never left.
    lane::adopt(&mut lab.redis, id(0), 2, true).await.unwrap();
    assert_eq!(indices(&page(&mut lab).await), [4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(lane::unsent(&mut lab.redis, id(0), NOW_MS, &[(9, 1), (10, 1)]).await.unwrap(), 2);
    assert_eq!(indices(&page(&mut lab).await), [4, 5, 6, 7, 8, 11]);
    let found = doubts::look(&mut lab.redis, &[id(0), id(1)]).await.unwrap();
    assert_eq!((found[0].in_doubt, found[0].sending, found[0].number.clone()), (6, 0, Some(number())));
    assert_eq!(found[1], doubts::Doubtful::default());
    stored(&mut lab.redis, id(0)).await;
}

#[tokio::test]
async fn a_doubt_ends_once_and_only_as_it_was_seen() {
    let mut lab = Lab::start().await;
    doubted(&mut lab).await;
    let seen = page(&mut lab).await;
    let end = |index: usize, to| Ending { seen: seen[index], to, attempt: 1 };
    let endings = [
        end(0, State::Unresolved),
        end(1, State::Waiting),
        end(2, State::Accepted),
        end(3, State::Unresolved),
        end(4, State::Waiting),
    ];
    // Between the look and the write a receipt comes, and a reply.
    hear(&mut lab, 3, ReceiptKind::Sent).await;
    lane::settle(&mut lab.redis, id(0), &mut [settlement(4, 1, State::Failed)]).await.unwrap();
    assert_eq!(doubts::end(&mut lab.redis, id(0), NOW_MS, &endings).await.unwrap(), 3);
    assert_eq!(doubts::end(&mut lab.redis, id(0), NOW_MS, &endings).await.unwrap(), 0);
    let lane = stored(&mut lab.redis, id(0)).await;
    let states: Vec<State> = lane.records[..5].iter().map(|record| record.state).collect();
    assert_eq!(states, [State::Unresolved, State::Waiting, State::Accepted, State::Accepted, State::Failed]);
    assert_eq!((lane.records[0].reason, lane.records[2].reason), (42, 0));
    assert_eq!(lane.retry, [(1, NOW_MS)].into());
    let due = lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS, (0, 5)).await.unwrap();
    assert_eq!((due.messages[0].0, due.messages[0].1.generation), (1, 2));
    // An operator's word on the unresolved one, and a receipt that comes after all.
    let unresolved = doubts::records(&mut lab.redis, id(0), 0, &[State::Unresolved]).await.unwrap().unwrap();
    assert_eq!(indices(&unresolved), [0]);
    let resend = [Ending { seen: unresolved[0], to: State::Waiting, attempt: 0 }];
    assert_eq!(doubts::end(&mut lab.redis, id(0), NOW_MS, &resend).await.unwrap(), 1);
    assert_eq!(doubts::records(&mut lab.redis, id(0), 20, &[State::Unresolved]).await.unwrap(), None);
    let last = [Ending { seen: seen[5], to: State::Unresolved, attempt: 1 }];
    assert_eq!(doubts::end(&mut lab.redis, id(0), NOW_MS, &last).await.unwrap(), 1);
    hear(&mut lab, 5, ReceiptKind::Delivered).await;
    let lane = stored(&mut lab.redis, id(0)).await;
    assert_eq!((lane.records[5].state, lane.records[0].state), (State::Accepted, State::Waiting));
}

#[tokio::test]
async fn a_lane_from_before_the_index_gets_one() {
    let mut lab = Lab::start().await;
    doubted(&mut lab).await;
    let keys = LaneKeys::new(id(0));
    let _: i64 = lab.redis.del(&keys.doubt).await.unwrap();
    let _: i64 = lab.redis.zadd(&keys.doubt, 3, 77).await.unwrap();
    let _: i64 = lab.redis.zadd(&keys.doubt, 15, 77).await.unwrap();
    let found = doubts::page(&mut lab.redis, id(0), 0).await.unwrap();
    assert_eq!((found.counted, found.indexed), (8, 2));
    doubts::reindex(&mut lab.redis, id(0)).await.unwrap();
    let all = page(&mut lab).await;
    assert_eq!((all.len(), all[0].index, all[0].since_ms), (8, 3, 77), "what is known keeps its time");
    stored(&mut lab.redis, id(0)).await;
}

#[tokio::test]
async fn what_is_known_of_receipts_outlives_its_owner() {
    let mut lab = Lab::start().await;
    let limits = Limits {
        silent_after: std::time::Duration::from_secs(30),
        give_up: std::time::Duration::from_secs(86_400),
    };
    let mut hearing = Hearing::default();
    hearing.look(NOW_MS, Some(NOW_MS), Some(NOW_MS - 60_000), &limits);
    doubts::note_hearings(&mut lab.redis, &[(number(), hearing.clone())]).await.unwrap();
    receipt::note_heard(&mut lab.redis, &[(number(), NOW_MS)], &[(number(), NOW_MS - 1_000)], NOW_MS)
        .await
        .unwrap();
    let other = "9".into();
    let known = doubts::hearings(&mut lab.redis, &[number(), other]).await.unwrap();
    assert_eq!(known, [(Some(NOW_MS - 1_000), hearing), (None, Hearing::default())]);
    assert_eq!(receipt::heard(&mut lab.redis).await.unwrap().receipts, [(number(), NOW_MS)]);
}

#[tokio::test]
async fn what_meta_holds_ends_unresolved_and_a_receipt_counts_all_the_same() {
    let mut lab = Lab::start().await;
    doubted(&mut lab).await;
    let mut held: Vec<_> = (8..12).map(|index| settlement(index, 1, State::Held)).collect();
    held.iter_mut().for_each(|one| one.reason = 0);
    lane::settle(&mut lab.redis, id(0), &mut held).await.unwrap();
    let found = doubts::look(&mut lab.redis, &[id(0)]).await.unwrap().remove(0);
    assert_eq!((found.in_doubt, found.sending, found.held), (8, 0, 4));
    let seen = doubts::records(&mut lab.redis, id(0), 0, &[State::Held]).await.unwrap().unwrap();
    assert_eq!(indices(&seen), [8, 9, 10, 11]);
    let end = |at: usize, to| Ending { seen: seen[at], to, attempt: 1 };
    let again = [end(0, State::Waiting)];
    let refused = doubts::end(&mut lab.redis, id(0), NOW_MS, &again).await;
    assert!(refused.is_err(), "Meta took it: nothing of it is ever sent again by itself");
    hear(&mut lab, 9, ReceiptKind::Sent).await;
    let all = [end(0, State::Unresolved), end(1, State::Unresolved), end(2, State::Unresolved)];
    assert_eq!(doubts::end(&mut lab.redis, id(0), NOW_MS, &all).await.unwrap(), 2);
    hear(&mut lab, 10, ReceiptKind::Delivered).await;
    let lane = stored(&mut lab.redis, id(0)).await;
    let states: Vec<State> = lane.records[8..12].iter().map(|record| record.state).collect();
    assert_eq!(states, [State::Unresolved, State::Accepted, State::Accepted, State::Held]);
    assert_eq!(lane.records[8].reason, lane::reasons::HELD_UNHEARD);
}
