//! Claim, release, adopt.

use carteiro::domain::record::{Record, State};
use carteiro::queue::QueueError;
use carteiro::queue::claims;
use carteiro::queue::keys::LaneKeys;
use carteiro::queue::lane::{self, FRESH_CLAIMED, reasons};
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, id, number, settlement, stored};

fn indices(claimed: &lane::Claimed) -> Vec<u32> {
    claimed.messages.iter().map(|(index, _)| *index).collect()
}

#[tokio::test]
async fn untouched_messages_are_claimed_in_order_and_once() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    let claimed = lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (4, 4)).await.unwrap();
    assert_eq!(claimed.messages, (0..4).map(|index| (index, FRESH_CLAIMED)).collect::<Vec<_>>());
    assert_eq!((claimed.standing.count, claimed.standing.next, claimed.standing.next_due_ms), (10, 4, None));
    let claimed = lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS, (100, 0)).await.unwrap();
    assert_eq!(indices(&claimed), (4..10).collect::<Vec<_>>());
    let claimed = lane::claim(&mut lab.redis, id(0), (1, 3), NOW_MS, (100, 100)).await.unwrap();
    assert_eq!(claimed.messages, []);
    assert!(stored(&mut lab.redis, id(0)).await.records.iter().all(|record| *record == FRESH_CLAIMED));
}

#[tokio::test]
async fn due_messages_come_first_and_only_when_they_are_due() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (4, 0)).await.unwrap();
    let mut waiting: Vec<_> = (0..3).map(|index| settlement(index, 1, State::Waiting)).collect();
    waiting[2].due_ms = NOW_MS + 1_000;
    lane::settle(&mut lab.redis, id(0), &mut waiting).await.unwrap();
    let early = lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS, (0, 5)).await.unwrap();
    assert_eq!((early.messages.len(), early.standing.next_due_ms), (0, Some(NOW_MS + 1_000)));
    let both = lane::claim(&mut lab.redis, id(0), (1, 3), NOW_MS + 5_000, (2, 2)).await.unwrap();
    assert_eq!(indices(&both), [2, 0, 4, 5], "the one due first, then a due one, then two untouched");
    let again = Record { state: State::Sending, attempt: 1, generation: 2, reason: 42, flags: 0 };
    assert_eq!(both.messages[0].1, again);
    assert_eq!(both.standing.next_due_ms, Some(NOW_MS + 5_000));
    stored(&mut lab.redis, id(0)).await;
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_asked_again_and_answers_the_same() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (3, 0)).await.unwrap();
    let mut waiting = [settlement(0, 1, State::Waiting), settlement(2, 1, State::Waiting)];
    lane::settle(&mut lab.redis, id(0), &mut waiting).await.unwrap();
    let later = NOW_MS + 9_000;
    let first = lane::claim(&mut lab.redis, id(0), (1, 2), later, (2, 2)).await.unwrap();
    let before = stored(&mut lab.redis, id(0)).await;
    let mut again = lane::claim(&mut lab.redis, id(0), (1, 2), later + 50, (2, 2)).await.unwrap();
    again.messages.sort_by_key(|(index, _)| *index);
    let mut expect = first.messages.clone();
    expect.sort_by_key(|(index, _)| *index);
    assert_eq!((again.messages, again.standing), (expect, first.standing));
    assert_eq!(stored(&mut lab.redis, id(0)).await, before, "asking again changes nothing");
    // What was settled meanwhile is not handed out a second time.
    lane::settle(&mut lab.redis, id(0), &mut [settlement(3, 1, State::Accepted)]).await.unwrap();
    let again = lane::claim(&mut lab.redis, id(0), (1, 2), later, (2, 2)).await.unwrap();
    assert!(!indices(&again).contains(&3));
}

#[tokio::test]
async fn an_older_request_and_another_token_get_nothing() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 5), NOW_MS, (2, 0)).await.unwrap();
    let before = stored(&mut lab.redis, id(0)).await;
    assert!(lane::claim(&mut lab.redis, id(0), (1, 4), NOW_MS, (2, 0)).await.is_err());
    for token in [0, 2] {
        let other = lane::claim(&mut lab.redis, id(0), (token, 6), NOW_MS, (2, 0)).await;
        assert!(matches!(other, Err(QueueError::Fenced)), "{other:?}");
        let other = lane::release(&mut lab.redis, id(0), (token, 6), NOW_MS, &mut [(0, 1)]).await;
        assert!(matches!(other, Err(QueueError::Fenced)), "{other:?}");
    }
    assert_eq!(stored(&mut lab.redis, id(0)).await, before);
}

#[tokio::test]
async fn a_message_claimed_too_often_fails_and_says_why() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 2).await;
    for generation in 1..=255u8 {
        let (fresh, due) = if generation == 1 { (1, 0) } else { (0, 1) };
        let request = (1, u64::from(generation));
        let claimed =
            lane::claim(&mut lab.redis, id(0), request, NOW_MS + 5_000, (fresh, due)).await.unwrap();
        assert_eq!(claimed.messages[0].1.generation, generation);
        lane::settle(&mut lab.redis, id(0), &mut [settlement(0, generation, State::Waiting)]).await.unwrap();
    }
    let worn = lane::claim(&mut lab.redis, id(0), (1, 256), NOW_MS + 5_000, (0, 1)).await.unwrap();
    assert_eq!((worn.messages.len(), worn.standing.next_due_ms), (0, None));
    let record = stored(&mut lab.redis, id(0)).await.records[0];
    assert_eq!(
        (record.state, record.reason, record.generation),
        (State::Failed, reasons::GENERATION_LIMIT, 255)
    );
}

#[tokio::test]
async fn the_untouched_tail_that_is_given_back_is_untouched_again() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (6, 0)).await.unwrap();
    let mut back = [(3, 1), (5, 1), (4, 1)];
    let standing = lane::release(&mut lab.redis, id(0), (1, 2), NOW_MS, &mut back).await.unwrap();
    assert_eq!((standing.next, standing.next_due_ms), (3, None));
    let lane = stored(&mut lab.redis, id(0)).await;
    assert!(lane.records[3..].iter().all(|record| *record == Record::FRESH) && lane.retry.is_empty());
    let claimed = lane::claim(&mut lab.redis, id(0), (1, 3), NOW_MS, (2, 0)).await.unwrap();
    assert_eq!(indices(&claimed), [3, 4]);
}

#[tokio::test]
async fn what_is_given_back_from_the_middle_is_due_at_once() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (6, 0)).await.unwrap();
    let standing = lane::release(&mut lab.redis, id(0), (1, 2), NOW_MS, &mut [(1, 1), (2, 1)]).await.unwrap();
    assert_eq!((standing.next, standing.next_due_ms), (6, Some(NOW_MS)));
    let before = stored(&mut lab.redis, id(0)).await;
    assert_eq!(before.retry.keys().copied().collect::<Vec<_>>(), [1, 2]);
    // Asked again, or with a generation that is not theirs, it changes nothing.
    let again = lane::release(&mut lab.redis, id(0), (1, 2), NOW_MS + 1, &mut [(1, 1), (2, 1), (3, 1)])
        .await
        .unwrap();
    assert_eq!(again, standing);
    lane::release(&mut lab.redis, id(0), (1, 3), NOW_MS + 1, &mut [(0, 2), (1, 1), (9, 1), (400, 1)])
        .await
        .unwrap();
    assert_eq!(stored(&mut lab.redis, id(0)).await, before);
    let claimed = lane::claim(&mut lab.redis, id(0), (1, 4), NOW_MS, (0, 9)).await.unwrap();
    assert_eq!(claimed.messages, [(1, FRESH_CLAIMED), (2, FRESH_CLAIMED)]);
}

#[tokio::test]
async fn a_retry_that_is_given_back_keeps_its_attempts_and_its_generation() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 1).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (1, 0)).await.unwrap();
    lane::settle(&mut lab.redis, id(0), &mut [settlement(0, 1, State::Waiting)]).await.unwrap();
    lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS + 5_000, (0, 1)).await.unwrap();
    lane::release(&mut lab.redis, id(0), (1, 3), NOW_MS + 6_000, &mut [(0, 2)]).await.unwrap();
    let lane = stored(&mut lab.redis, id(0)).await;
    assert_eq!(
        (lane.records[0].attempt, lane.records[0].generation, lane.records[0].state),
        (1, 1, State::Queued)
    );
    assert_eq!((lane.next, lane.retry[&0]), (1, NOW_MS + 6_000));
}

#[tokio::test]
async fn a_new_owner_puts_what_was_sending_in_doubt_slice_by_slice() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 2_500).await;
    for request in 1..=3 {
        lane::claim(&mut lab.redis, id(0), (1, request), NOW_MS, (800, 0)).await.unwrap();
    }
    let mut settled: Vec<_> =
        (0..2_400).step_by(3).map(|index| settlement(index, 1, State::Accepted)).collect();
    lane::settle(&mut lab.redis, id(0), &mut settled).await.unwrap();
    let adopted = lane::adopt(&mut lab.redis, id(0), 2, true).await.unwrap();
    assert_eq!((adopted.in_doubt, adopted.number.clone()), (1_600, number()));
    assert_eq!((adopted.standing.count, adopted.standing.next), (2_500, 2_400));
    let lane = stored(&mut lab.redis, id(0)).await;
    let doubt = |record: &&Record| record.state == State::InDoubt && record.reason == reasons::OWNER_LOST;
    assert_eq!(lane.records.iter().filter(doubt).count(), 1_600);
    assert_eq!(lane::adopt(&mut lab.redis, id(0), 2, true).await.unwrap().in_doubt, 0);
    // A fact is a fact: the old owner's settle still counts, its claims do not.
    assert_eq!(
        lane::settle(&mut lab.redis, id(0), &mut [settlement(1, 1, State::Accepted)]).await.unwrap(),
        (1, 0)
    );
    let old = lane::claim(&mut lab.redis, id(0), (1, 9), NOW_MS, (1, 0)).await;
    assert!(matches!(old, Err(QueueError::Fenced)), "{old:?}");
    stored(&mut lab.redis, id(0)).await;
}

#[tokio::test]
async fn a_token_never_goes_back_and_the_owner_asking_again_sweeps_nothing() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::adopt(&mut lab.redis, id(0), 7, true).await.unwrap();
    lane::claim(&mut lab.redis, id(0), (7, 1), NOW_MS, (3, 0)).await.unwrap();
    let older = lane::adopt(&mut lab.redis, id(0), 6, true).await;
    assert!(matches!(older, Err(QueueError::Fenced)), "{older:?}");
    let same = lane::adopt(&mut lab.redis, id(0), 7, false).await.unwrap();
    assert_eq!((same.in_doubt, same.standing.next), (0, 3));
    let lane = stored(&mut lab.redis, id(0)).await;
    assert_eq!(lane.records.iter().filter(|record| record.state == State::Sending).count(), 3);
    let token: String = lab.redis.hget("ct:{1.0}:meta", "tok").await.unwrap();
    assert_eq!(token, "7");
}

#[tokio::test]
async fn tokens_as_large_as_time_in_microseconds_stay_exact() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 3).await;
    let token = 1_795_555_555_555_557;
    lane::adopt(&mut lab.redis, id(0), token, true).await.unwrap();
    lane::claim(&mut lab.redis, id(0), (token, 1), NOW_MS, (1, 0)).await.unwrap();
    for other in [token - 1, token + 1] {
        let fenced = lane::claim(&mut lab.redis, id(0), (other, 2), NOW_MS, (1, 0)).await;
        assert!(matches!(fenced, Err(QueueError::Fenced)), "{fenced:?}");
    }
}

#[tokio::test]
async fn whose_claims_are_is_told_only_where_nothing_else_can_be_sending() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 3_000).await;
    let (run, meta) = (claims::run(), LaneKeys::new(id(0)).meta);
    for request in 1..=2 {
        lane::claim(&mut lab.redis, id(0), (1, request), NOW_MS, (1_000, 0)).await.unwrap();
    }
    lane::settle(&mut lab.redis, id(0), &mut [settlement(1, 1, State::Accepted)]).await.unwrap();
    let found = claims::of_run(&mut lab.redis, id(0), run).await.unwrap().unwrap();
    assert_eq!((found.token, found.request, found.sending.len()), (1, 2, 1_999));
    assert_eq!(found.sending[..2], [(0, 1), (2, 1)]);
    assert_eq!(claims::of_run(&mut lab.redis, id(0), "other").await.unwrap(), None);
    // Adopted anew by the same run, it is still all its own.
    lane::adopt(&mut lab.redis, id(0), 2, false).await.unwrap();
    let found = claims::of_run(&mut lab.redis, id(0), run).await.unwrap().unwrap();
    assert_eq!((found.token, found.request, found.sending.len()), (2, 0, 1_999));
    // A program that knows nothing of runs changes the token alone.
    let _: () = lab.redis.hset(&meta, "tok", 3).await.unwrap();
    assert_eq!(claims::of_run(&mut lab.redis, id(0), run).await.unwrap(), None);
    // Ours again, but what is sending is still of the one before, until the sweep is over.
    lane::adopt(&mut lab.redis, id(0), 4, false).await.unwrap();
    assert_eq!(claims::of_run(&mut lab.redis, id(0), run).await.unwrap(), None);
    assert_eq!(lane::adopt(&mut lab.redis, id(0), 4, true).await.unwrap().in_doubt, 1_999);
    lane::claim(&mut lab.redis, id(0), (4, 1), NOW_MS, (2, 0)).await.unwrap();
    let found = claims::of_run(&mut lab.redis, id(0), run).await.unwrap().unwrap();
    assert_eq!((found.token, found.request, found.sending), (4, 1, vec![(2_000, 1), (2_001, 1)]));
}
