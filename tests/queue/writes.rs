//! Append and settle.

use carteiro::domain::record::{Record, State};
use carteiro::queue::lane::{self, Appended};
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, append, id, number, settlement, stored};

#[tokio::test]
async fn rows_follow_each_other_and_the_first_append_names_the_number() {
    let mut lab = Lab::start().await;
    assert_eq!(append(&mut lab.redis, id(0), "a", 0..30).await, Appended::Done(0));
    assert_eq!(append(&mut lab.redis, id(0), "b", 30..40).await, Appended::Done(30));
    let entries: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg("ct:{1.0}:log").arg("-").arg("+").query_async(&mut lab.redis).await.unwrap();
    let ids: Vec<&str> = entries.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["1-0", "31-0"]);
    let counters = lane::counters(&mut lab.redis, &[id(0), id(9)]).await.unwrap();
    assert_eq!((counters[0].count, counters[0].number.clone(), counters[1].count), (40, Some(number()), 0));
    let state: Vec<u8> = lab.redis.get("ct:{1.0}:state").await.unwrap();
    assert_eq!(state, vec![0; 200], "allocated at once for the 50 that were expected");
}

#[tokio::test]
async fn a_row_that_is_known_keeps_the_whole_chunk_out_and_is_named() {
    let mut lab = Lab::start().await;
    append(&mut lab.redis, id(0), "a", 0..10).await;
    let before = stored(&mut lab.redis, id(0)).await;
    let known = |row: i64| row + (1 << 61);
    let Appended::Duplicates(mut duplicates) = append(&mut lab.redis, id(0), "b", 7..15).await else {
        panic!("three rows are known")
    };
    duplicates.sort_unstable();
    assert_eq!(duplicates, [known(7), known(8), known(9)]);
    assert_eq!(stored(&mut lab.redis, id(0)).await, before);
    let members: u64 = redis::cmd("SCARD").arg("ct:{1.0}:seen:0").query_async(&mut lab.redis).await.unwrap();
    assert_eq!(members, 5, "nothing of the refused chunk is there");
    assert_eq!(
        append(&mut lab.redis, id(0), "b", 10..15).await,
        Appended::Done(10),
        "the rest goes in under its tag"
    );
}

#[tokio::test]
async fn an_append_asked_again_answers_as_before_and_adds_nothing() {
    let mut lab = Lab::start().await;
    append(&mut lab.redis, id(0), "a", 0..10).await;
    assert_eq!(append(&mut lab.redis, id(0), "b", 10..12).await, Appended::Done(10));
    for _ in 0..2 {
        assert_eq!(append(&mut lab.redis, id(0), "b", 10..12).await, Appended::Done(10));
    }
    assert_eq!(stored(&mut lab.redis, id(0)).await.records.len(), 12);
    let length: u64 = redis::cmd("XLEN").arg("ct:{1.0}:log").query_async(&mut lab.redis).await.unwrap();
    assert_eq!(length, 2);
}

#[tokio::test]
async fn a_lane_that_outgrows_what_was_expected_keeps_its_records() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 40).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (40, 0)).await.unwrap();
    lane::settle(&mut lab.redis, id(0), &mut [settlement(39, 1, State::Failed)]).await.unwrap();
    let before = stored(&mut lab.redis, id(0)).await;
    assert_eq!(append(&mut lab.redis, id(0), "more", 40..120).await, Appended::Done(40));
    assert_eq!(append(&mut lab.redis, id(0), "and more", 120..240).await, Appended::Done(120));
    let after = stored(&mut lab.redis, id(0)).await;
    assert_eq!((&after.records[..40], after.records.len()), (&before.records[..], 240));
    assert!(after.records[40..].iter().all(|record| *record == Record::FRESH));
    let claimed = lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS, (500, 0)).await.unwrap();
    assert_eq!(claimed.messages.len(), 200);
}

#[tokio::test]
async fn settlements_are_written_by_runs_and_one_by_one() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 40).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (40, 0)).await.unwrap();
    let mut mixed: Vec<_> = (0..40).rev().map(|index| settlement(index, 1, State::Accepted)).collect();
    mixed[10].state = State::Failed;
    mixed[11].state = State::InDoubt;
    mixed[20].state = State::Waiting;
    mixed[20].due_ms = NOW_MS + 77;
    assert_eq!(lane::settle(&mut lab.redis, id(0), &mut mixed).await.unwrap(), (40, 0));
    let lane = stored(&mut lab.redis, id(0)).await;
    for one in &mixed {
        let record = lane.records[one.index as usize];
        assert_eq!(
            (record.state, record.attempt, record.generation, record.reason),
            (one.state, 1, 1, one.reason)
        );
    }
    assert_eq!(lane.retry.into_iter().collect::<Vec<_>>(), [(19, NOW_MS + 77)]);
}

#[tokio::test]
async fn a_settle_asked_again_or_of_another_generation_changes_nothing() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (5, 0)).await.unwrap();
    let batch = [
        settlement(0, 1, State::Accepted),
        settlement(1, 1, State::InDoubt),
        settlement(2, 1, State::Waiting),
        settlement(3, 1, State::Failed),
    ];
    assert_eq!(lane::settle(&mut lab.redis, id(0), &mut batch.to_vec()).await.unwrap(), (4, 0));
    let before = stored(&mut lab.redis, id(0)).await;
    lane::settle(&mut lab.redis, id(0), &mut batch.to_vec()).await.unwrap();
    // Another generation, never claimed, beyond the lane's end, beyond the string's end, and a run over all of them.
    let mut wrong: Vec<_> = (4..12).map(|index| settlement(index, 2, State::Accepted)).collect();
    wrong.extend((5..10).map(|index| settlement(index, 0, State::Failed)));
    wrong.push(settlement(60, 0, State::Accepted));
    wrong.push(settlement(4_000_000, 0, State::Accepted));
    assert_eq!(lane::settle(&mut lab.redis, id(0), &mut wrong).await.unwrap(), (0, 15));
    assert_eq!(stored(&mut lab.redis, id(0)).await, before);
}

#[tokio::test]
async fn doubt_is_settled_by_the_same_generation_and_success_stays() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 4).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (4, 0)).await.unwrap();
    let doubts = |state| (0..4).map(|index| settlement(index, 1, state)).collect::<Vec<_>>();
    lane::settle(&mut lab.redis, id(0), &mut doubts(State::InDoubt)).await.unwrap();
    lane::settle(
        &mut lab.redis,
        id(0),
        &mut [settlement(0, 1, State::Waiting), settlement(1, 1, State::Accepted)],
    )
    .await
    .unwrap();
    lane::settle(&mut lab.redis, id(0), &mut doubts(State::Failed)).await.unwrap();
    let states: Vec<State> =
        stored(&mut lab.redis, id(0)).await.records.iter().map(|record| record.state).collect();
    assert_eq!(states, [State::Waiting, State::Accepted, State::Failed, State::Failed]);
}
