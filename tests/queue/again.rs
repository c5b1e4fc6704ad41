//! Trying again what failed, and moving a campaign only as it was seen.

use carteiro::domain::campaign::CampaignState;
use carteiro::domain::ids::CampaignSeq;
use carteiro::domain::record::{Record, Settlement, State};
use carteiro::policy::brake::Tally;
use carteiro::policy::first::First;
use carteiro::queue::again::{Ask, retry};
use carteiro::queue::campaigns::{self, Fields, Guard};
use carteiro::queue::lane;

use crate::lab::{Lab, NOW_MS, id, settlement, stored};

fn failed(index: u32, reason: u8) -> Settlement {
    Settlement { reason, attempt: 15, ..settlement(index, 1, State::Failed) }
}

#[tokio::test]
async fn only_what_failed_for_the_reason_is_due_again_and_only_once() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 2_500).await;
    for request in 1..=3 {
        lane::claim(&mut lab.redis, id(0), (1, request), NOW_MS, (1_000, 0)).await.unwrap();
    }
    // Failed for 42 and 43, accepted, in doubt for 42, still sending; on both sides of a slice's end.
    let mut batch: Vec<Settlement> = (990..1_010).map(|index| failed(index, 42)).collect();
    batch.extend([
        failed(3, 43),
        settlement(4, 1, State::Accepted),
        settlement(5, 1, State::InDoubt),
        failed(2_499, 42),
    ]);
    lane::settle(&mut lab.redis, id(0), &mut batch).await.unwrap();
    let before = stored(&mut lab.redis, id(0)).await;

    assert_eq!(retry(&mut lab.redis, id(0), 42, NOW_MS, Ask::Count).await.unwrap(), 21);
    assert_eq!(stored(&mut lab.redis, id(0)).await, before, "counting changes nothing");
    assert_eq!(retry(&mut lab.redis, id(0), 42, NOW_MS, Ask::Turn).await.unwrap(), 21);
    let after = stored(&mut lab.redis, id(0)).await;
    for (index, (was, is)) in before.records.iter().zip(&after.records).enumerate() {
        let turned = (was.state, was.reason) == (State::Failed, 42);
        let expect = if turned { Record { state: State::Waiting, attempt: 0, ..*was } } else { *was };
        assert_eq!(*is, expect, "{index}");
        assert_eq!(after.retry.get(&u32::try_from(index).unwrap()), turned.then_some(&NOW_MS), "{index}");
    }
    assert_eq!(retry(&mut lab.redis, id(0), 42, NOW_MS, Ask::Turn).await.unwrap(), 0);
    let claimed = lane::claim(&mut lab.redis, id(0), (1, 4), NOW_MS, (0, 1_000)).await.unwrap();
    assert_eq!(claimed.messages.len(), 21);
    assert!(claimed.messages.iter().all(|(_, record)| (record.generation, record.attempt) == (2, 0)));
}

#[tokio::test]
async fn a_campaign_moves_with_its_fields_and_only_as_it_was_seen() {
    let mut lab = Lab::start().await;
    let redis = &mut lab.redis;
    let seq = campaigns::create(redis, "a", "text", 7).await.unwrap();
    let start = (CampaignState::Draft, CampaignState::Running);
    let first = First { granted: 3, ceilings: [(0, 3)].into() };
    let begin = Fields::begin(Tally { sent: 5, failed: 1 }, Some(&first)).setting("priority", Some("high"));
    assert!(!campaigns::move_to(redis, seq, start, 9, &begin, Guard::Since(6)).await.unwrap());
    assert!(!campaigns::move_to(redis, seq, start, 9, &begin, Guard::Grown(1)).await.unwrap());
    assert!(!campaigns::move_to(redis, seq, start, 9, &begin, Guard::StartAt(1)).await.unwrap());
    assert_eq!(campaigns::find(redis, "a").await.unwrap().first, None);
    assert!(campaigns::move_to(redis, seq, start, 9, &begin, Guard::Grown(0)).await.unwrap());
    let record = campaigns::find(redis, "a").await.unwrap();
    assert_eq!((record.state, record.since_ms, record.first), (CampaignState::Running, 9, Some(first)));
    assert_eq!(
        (record.baseline, record.settings["priority"].as_str()),
        (Tally { sent: 5, failed: 1 }, "high")
    );

    let stop = (CampaignState::Running, CampaignState::Paused);
    campaigns::grow(redis, seq).await.unwrap();
    assert!(!campaigns::move_to(redis, seq, stop, 11, &Fields::none(), Guard::Grown(0)).await.unwrap());
    assert!(
        campaigns::move_to(redis, seq, stop, 11, &Fields::stop("because"), Guard::Since(9)).await.unwrap()
    );
    assert_eq!(campaigns::find(redis, "a").await.unwrap().why.as_deref(), Some("because"));
    let stay = (CampaignState::Paused, CampaignState::Paused);
    let fields = Fields::closed().setting("priority", None);
    assert!(campaigns::move_to(redis, seq, stay, 13, &fields, Guard::State).await.unwrap());
    let record = campaigns::find(redis, "a").await.unwrap();
    assert_eq!((record.closed, record.settings.len(), record.since_ms), (true, 0, 11), "it stays since then");
    assert_eq!(record.seq, CampaignSeq(seq.0));
}
