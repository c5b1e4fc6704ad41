//! What its writers say again to a Redis that may have forgotten it, wherever it stands.

use std::time::Duration;

use carteiro::clock;
use carteiro::domain::campaign::Priority;
use carteiro::domain::ids::NumberId;
use carteiro::domain::record::{Settlement, State};
use carteiro::queue::keys::LaneKeys;
use carteiro::queue::replay::{Held, Move, Recent, Wrote};
use carteiro::queue::{agenda, lane};
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, id, number, settlement, stored};

#[tokio::test]
async fn what_the_next_owner_claimed_again_is_not_given_back_by_the_one_before() {
    for the_next_says_first in [true, false] {
        let mut lab = Lab::start().await;
        lab.lane(id(0), 10).await;
        // All that Redis has: the first owner claims. That it gave back, and that the next one adopted and claimed, is forgotten.
        lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (1, 0)).await.unwrap();
        let claimed =
            |token| Wrote::Claimed { call: (token, 1), messages: vec![(0, 1, 0)], chunks: Vec::new() };
        let released = Wrote::Released { token: 1, request: 2, messages: vec![(0, 1)] };
        let recent = |all: Vec<Wrote>| {
            let mut recent = Recent::new(Duration::from_secs(60));
            all.into_iter().for_each(|wrote| recent.push(clock::mono(), id(0), wrote));
            recent
        };
        let mut both = vec![recent(vec![claimed(5)]), recent(vec![claimed(1), released])];
        if !the_next_says_first {
            both.reverse();
        }
        for one in &both {
            one.again().replay(&mut lab.redis, NOW_MS).await.unwrap();
        }
        let after = stored(&mut lab.redis, id(0)).await;
        assert_eq!((after.records[0].state, after.records[0].generation), (State::Sending, 1));
        assert!(after.retry.is_empty(), "nobody may claim it beside the one who sends it");
    }
}

#[tokio::test]
async fn a_claim_that_was_given_back_stays_so_although_its_owner_has_not_heard_of_it() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (1, 0)).await.unwrap();
    lane::release(&mut lab.redis, id(0), (1, 2), NOW_MS, &mut [(0, 1)]).await.unwrap();
    let said = async |lab: &mut Lab, request| {
        let mut recent = Recent::new(Duration::from_secs(60));
        let claimed = Wrote::Claimed { call: (1, request), messages: vec![(0, 1, 0)], chunks: Vec::new() };
        recent.push(clock::mono(), id(0), claimed);
        recent.again().replay(&mut lab.redis, NOW_MS).await.unwrap().written
    };
    assert_eq!(said(&mut lab, 1).await, 0, "Redis heard the claim, and more");
    assert_eq!(stored(&mut lab.redis, id(0)).await.records[0].state, State::Queued);
    assert_eq!(said(&mut lab, 3).await, 1, "it has forgotten a later claim");
    assert_eq!(stored(&mut lab.redis, id(0)).await.records[0].state, State::Sending);
}

#[tokio::test]
async fn a_lane_whose_move_was_forgotten_is_moved_again_unless_it_went_elsewhere() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lab.lane(id(1), 10).await;
    let named = |name: &str| NumberId::from(name);
    let order = |to: &str| Move { from: number(), to: named(to), priority: Priority::High };
    let mut recent = Recent::new(Duration::from_secs(60));
    for lane in 0..3 {
        recent.push(clock::mono(), id(lane), Wrote::Moved(order("healthy")));
    }
    let ways = (&number(), &named("third"));
    agenda::reassign(&mut lab.redis, id(1), ways, Priority::High).await.unwrap();
    for _ in 0..2 {
        let replayed = recent.again().replay(&mut lab.redis, NOW_MS).await.unwrap();
        assert_eq!(replayed.missing, 1, "of one lane nothing is there yet");
    }
    let counters = lane::counters(&mut lab.redis, &[id(0), id(1)]).await.unwrap();
    let numbers: Vec<_> = counters.into_iter().map(|lane| lane.number).collect();
    assert_eq!(numbers, [Some(named("healthy")), Some(named("third"))]);
    assert_eq!(agenda::read(&mut lab.redis, &named("healthy")).await.unwrap(), [id(0)]);
}

#[tokio::test]
async fn another_chunk_in_the_same_place_is_left_alone() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    let mut recent = Recent::new(Duration::from_secs(5));
    let held = |tail: &[u8; 4]| Held { first: 0, rows: 10, tail: *tail };
    let claimed = |tail| Wrote::Claimed {
        call: (1, 1),
        messages: vec![(2, 1, 0), (4, 1, 0)],
        chunks: vec![held(tail)],
    };
    recent.push(clock::mono(), id(0), claimed(b"????"));
    let replayed = recent.again().replay(&mut lab.redis, NOW_MS).await.unwrap();
    assert_eq!((replayed.written, replayed.homeless), (0, 2));
    assert_eq!(stored(&mut lab.redis, id(0)).await.next, 0);
    // Of another owner nobody waits for the end.
    lane::adopt(&mut lab.redis, id(0), 2, true).await.unwrap();
    recent.push(clock::mono(), id(0), claimed(b"0..10"[1..].try_into().unwrap()));
    let replayed = recent.again().replay(&mut lab.redis, NOW_MS).await.unwrap();
    assert_eq!((replayed.written, replayed.homeless), (2, 0));
    let stored = stored(&mut lab.redis, id(0)).await;
    assert_eq!((stored.records[2].state, stored.next), (State::InDoubt, 5));
    assert_eq!(stored.retry.keys().copied().collect::<Vec<_>>(), [0, 1, 3], "none is passed over");
}

#[tokio::test]
async fn what_was_tried_and_then_given_back_is_claimed_again_wherever_redis_stands() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    // 0: forgotten wholly. 1: forgotten since its first claim. 2: that it was given back is forgotten.
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (3, 0)).await.unwrap();
    let waiting = |index| Settlement { due_ms: NOW_MS, ..settlement(index, 1, State::Waiting) };
    lane::settle(&mut lab.redis, id(0), &mut [waiting(2)]).await.unwrap();
    lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS, (0, 1)).await.unwrap();
    let before = stored(&mut lab.redis, id(0)).await.records;
    assert_eq!((before[1].generation, before[2].generation), (1, 2));
    let redis = &mut lab.redis;
    let () = redis.setrange(LaneKeys::new(id(0)).state, 0, [0u8; 4].as_slice()).await.unwrap();
    let () = redis.hincr(LaneKeys::new(id(0)).meta, "s1", -1).await.unwrap();
    let mut recent = Recent::new(Duration::from_secs(60));
    let mut say = |wrote| recent.push(clock::mono(), id(0), wrote);
    let claimed = |messages| Wrote::Claimed { call: (1, 2), messages, chunks: Vec::new() };
    say(claimed(vec![(0, 1, 0), (1, 1, 0), (2, 1, 0)]));
    say(Wrote::Settled((0..3).map(waiting).collect()));
    say(claimed(vec![(0, 2, 1), (1, 2, 1), (2, 2, 1)]));
    say(Wrote::Released { token: 1, request: 3, messages: vec![(0, 2), (1, 2), (2, 2)] });
    let replayed = recent.again().replay(&mut lab.redis, NOW_MS).await.unwrap();
    assert_eq!((replayed.written, replayed.missing), (3, 0));
    let after = stored(&mut lab.redis, id(0)).await;
    for record in &after.records[..3] {
        assert_eq!((record.state, record.generation, record.attempt), (State::Queued, 1, 1));
    }
    assert_eq!(after.retry.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "all are due");
    // Nothing is said twice, and what came after it stays.
    assert_eq!(recent.again().replay(&mut lab.redis, NOW_MS).await.unwrap().written, 0);
    lane::claim(&mut lab.redis, id(0), (1, 4), NOW_MS, (0, 3)).await.unwrap();
    assert_eq!(recent.again().replay(&mut lab.redis, NOW_MS).await.unwrap().written, 0);
}
