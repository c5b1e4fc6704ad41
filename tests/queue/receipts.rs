//! Receipts on real lanes: what they lift, what they count, and what they leave alone.

use carteiro::domain::receipt::{Outcome, Receipt, ReceiptKind, flags};
use carteiro::domain::record::State;
use carteiro::queue::{lane, receipt};
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, id, number, settlement, stored};

const ATTEMPTS: u8 = 3;

fn of(index: u32, kind: ReceiptKind) -> Receipt {
    Receipt { index, generation: 1, kind, again: false, reason: 70, due_ms: 0 }
}

fn lost(index: u32) -> Receipt {
    Receipt { again: true, reason: 82, due_ms: NOW_MS + 500, ..of(index, ReceiptKind::Failed) }
}

async fn hear(lab: &mut Lab, mut receipts: Vec<Receipt>) -> Vec<Outcome> {
    receipt::receive(&mut lab.redis, id(0), &mut receipts, ATTEMPTS).await.unwrap()
}

/// A lane of 20, of which the first 12 are claimed.
async fn claimed(lab: &mut Lab) {
    lab.lane(id(0), 20).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (12, 0)).await.unwrap();
}

#[tokio::test]
async fn a_run_of_a_thousand_is_one_write_and_heard_again_changes_nothing() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 1_500).await;
    for request in 1..3 {
        lane::claim(&mut lab.redis, id(0), (1, request), NOW_MS, (750, 0)).await.unwrap();
    }
    let all: Vec<Receipt> = (0..1_500).map(|index| of(index, ReceiptKind::Delivered)).collect();
    let first = hear(&mut lab, all.clone()).await;
    assert!(first.iter().all(|one| one.news && one.moved && one.before == State::Sending));
    let before = stored(&mut lab.redis, id(0)).await;
    let again = hear(&mut lab, all).await;
    assert!(again.iter().all(|one| !one.news && !one.moved && !one.twice && !one.nowhere));
    assert_eq!(stored(&mut lab.redis, id(0)).await, before);
    let counters = lane::counters(&mut lab.redis, &[id(0)]).await.unwrap().remove(0);
    assert_eq!((counters.of(State::Accepted), counters.receipts[1]), (1_500, 1_500));
}

#[tokio::test]
async fn a_receipt_before_the_reply_makes_the_settle_a_no_op() {
    let mut lab = Lab::start().await;
    claimed(&mut lab).await;
    hear(&mut lab, vec![of(3, ReceiptKind::Sent)]).await;
    let mut late = [settlement(3, 1, State::InDoubt), settlement(4, 1, State::Accepted)];
    assert_eq!(lane::settle(&mut lab.redis, id(0), &mut late).await.unwrap(), (1, 1));
    let lane = stored(&mut lab.redis, id(0)).await;
    assert_eq!((lane.records[3].state, lane.records[3].attempt), (State::Accepted, 1));
    // A claim that is asked again answers only what is still being sent.
    let again = lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (12, 0)).await.unwrap();
    let indices: Vec<u32> = again.messages.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]);
}

#[tokio::test]
async fn a_doubt_is_settled_and_a_retry_cancelled() {
    let mut lab = Lab::start().await;
    claimed(&mut lab).await;
    let mut settles = [settlement(0, 1, State::InDoubt), settlement(1, 1, State::Waiting)];
    lane::settle(&mut lab.redis, id(0), &mut settles).await.unwrap();
    let outcomes = hear(&mut lab, vec![of(1, ReceiptKind::Read), of(0, ReceiptKind::Sent)]).await;
    let before: Vec<State> = outcomes.iter().map(|one| one.before).collect();
    assert_eq!(before, [State::InDoubt, State::Waiting]);
    let lane = stored(&mut lab.redis, id(0)).await;
    assert!(lane.records[..2].iter().all(|record| record.state == State::Accepted && record.reason == 0));
    assert_eq!(lane.records[1].flags & 15, flags::DELIVERED | flags::READ);
    assert!(lane.retry.is_empty());
    let due = lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS + 9_000, (0, 5)).await.unwrap();
    assert_eq!((due.messages.len(), due.standing.next_due_ms), (0, None));
}

#[tokio::test]
async fn what_failed_later_waits_once_and_is_claimed_again() {
    let mut lab = Lab::start().await;
    claimed(&mut lab).await;
    let mut settles = [settlement(0, 1, State::Accepted), settlement(1, 1, State::Held)];
    lane::settle(&mut lab.redis, id(0), &mut settles).await.unwrap();
    hear(&mut lab, vec![lost(0), of(1, ReceiptKind::Failed)]).await;
    let lane = stored(&mut lab.redis, id(0)).await;
    assert_eq!((lane.records[0].state, lane.records[0].reason), (State::Waiting, 82));
    assert_eq!((lane.records[1].state, lane.records[1].reason), (State::Failed, 70));
    assert_eq!(lane.retry, [(0, NOW_MS + 500)].into());
    let due = lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS + 500, (0, 5)).await.unwrap();
    assert_eq!(due.messages.len(), 1);
    let second = Receipt { generation: 2, ..lost(0) };
    hear(&mut lab, vec![second]).await;
    assert_eq!(stored(&mut lab.redis, id(0)).await.records[0].state, State::Failed, "once, not twice");
}

#[tokio::test]
async fn a_second_delivery_is_proved_once() {
    let mut lab = Lab::start().await;
    claimed(&mut lab).await;
    lane::settle(&mut lab.redis, id(0), &mut [settlement(0, 1, State::Waiting)]).await.unwrap();
    lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS + 9_000, (0, 1)).await.unwrap();
    let second = Receipt { generation: 2, ..of(0, ReceiptKind::Sent) };
    let twice = |outcomes: &[Outcome]| outcomes.iter().filter(|one| one.twice).count();
    assert_eq!(twice(&hear(&mut lab, vec![second]).await), 0);
    let older = vec![of(0, ReceiptKind::Delivered), of(0, ReceiptKind::Read), second];
    assert_eq!(twice(&hear(&mut lab, older).await), 1);
    let counters = lane::counters(&mut lab.redis, &[id(0)]).await.unwrap().remove(0);
    assert_eq!(counters.duplicates, 1);
}

#[tokio::test]
async fn messages_that_are_not_there_are_left_alone() {
    let mut lab = Lab::start().await;
    claimed(&mut lab).await;
    let before = stored(&mut lab.redis, id(0)).await;
    let beyond = vec![of(20, ReceiptKind::Sent), of(4_000_000_000, ReceiptKind::Read), lost(19)];
    let outcomes = hear(&mut lab, beyond).await;
    assert!(outcomes.iter().all(|one| one.nowhere), "{outcomes:?}");
    assert_eq!(stored(&mut lab.redis, id(0)).await, before);
    let elsewhere =
        receipt::receive(&mut lab.redis, id(77), &mut [of(0, ReceiptKind::Sent)], 1).await.unwrap();
    assert!(elsewhere[0].nowhere);
    let exists: bool = lab.redis.exists("ct:{1.77}:state").await.unwrap();
    assert!(!exists, "a receipt of nobody creates nothing");
}

#[tokio::test]
async fn a_forgotten_claim_is_not_sent_again() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    hear(&mut lab, vec![of(0, ReceiptKind::Sent), of(1, ReceiptKind::Sent), of(4, ReceiptKind::Delivered)])
        .await;
    let mut claimed = Vec::new();
    for request in 1..9 {
        let more = lane::claim(&mut lab.redis, id(0), (1, request), NOW_MS, (5, 0)).await.unwrap();
        claimed.extend(more.messages.iter().map(|(index, _)| *index));
    }
    assert_eq!(claimed, [2, 3, 5, 6, 7, 8, 9]);
    assert_eq!(stored(&mut lab.redis, id(0)).await.next, 10);
}

#[tokio::test]
async fn when_receipts_were_heard_is_kept() {
    let mut lab = Lab::start().await;
    assert_eq!(receipt::heard(&mut lab.redis).await.unwrap(), receipt::Heard::default());
    receipt::note_heard(&mut lab.redis, &[(number(), 5)], &[], 7).await.unwrap();
    receipt::note_listen(&mut lab.redis, "127.0.0.1:9").await.unwrap();
    receipt::note_heard(&mut lab.redis, &[], &[], 8).await.unwrap();
    let heard = receipt::heard(&mut lab.redis).await.unwrap();
    assert_eq!((heard.receipts, heard.request_ms), (vec![(number(), 5)], Some(8)));
    assert_eq!(heard.listen.as_deref(), Some("127.0.0.1:9"));
}
