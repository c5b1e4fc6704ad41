//! Ownership of the whole installation, campaigns and what is stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use carteiro::domain::campaign::CampaignState;
use carteiro::queue::campaigns::{self, LoadTotals};
use carteiro::queue::halts::{self, Scope, Why};
use carteiro::queue::owner::{self, Ask, Ownership};
use carteiro::queue::{QueueError, agenda, keys};
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, id, number};

fn token(ownership: &Ownership) -> u64 {
    match ownership {
        Ownership::Ours(token) => *token,
        Ownership::Held { node, .. } => panic!("{node} has it"),
    }
}

/// Makes the owner's heartbeat as old as a dead process' would be.
async fn age_heartbeat(lab: &mut Lab) {
    let beat: u64 = lab.redis.hget(keys::OWN, "beat").await.unwrap();
    let old = beat - u64::try_from(owner::LEASE.as_millis()).unwrap() - 1;
    let () = lab.redis.hset(keys::OWN, "beat", old).await.unwrap();
}

#[tokio::test]
async fn one_process_owns_and_the_second_waits_for_its_death() {
    let mut lab = Lab::start().await;
    let first = token(&owner::own(&mut lab.redis, "one", Ask::Take, 0).await.unwrap());
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut lab.redis).await.unwrap();
    let now = seconds * 1_000_000 + micros;
    assert!(first <= now && now - first < 60_000_000, "{first} is redis' time in microseconds");
    let second = owner::own(&mut lab.redis, "two", Ask::Take, 0).await.unwrap();
    assert!(
        matches!(&second, Ownership::Held { node, age } if node == "one" && *age < owner::LEASE),
        "{second:?}"
    );
    assert_eq!(token(&owner::own(&mut lab.redis, "one", Ask::Keep, 4).await.unwrap()), first);
    let live = owner::live_owner(&mut lab.redis).await.unwrap().unwrap();
    assert_eq!((live.node.as_str(), live.acknowledged), ("one", 4));
    age_heartbeat(&mut lab).await;
    assert_eq!(owner::live_owner(&mut lab.redis).await.unwrap(), None);
    let taken = token(&owner::own(&mut lab.redis, "two", Ask::Take, 0).await.unwrap());
    assert!(taken > first);
    let late = owner::own(&mut lab.redis, "one", Ask::Keep, 5).await.unwrap();
    assert!(
        matches!(late, Ownership::Held { .. }),
        "a heartbeat that came too late takes nothing back: {late:?}"
    );
}

#[tokio::test]
async fn a_heartbeat_of_a_stranger_takes_nothing() {
    let mut lab = Lab::start().await;
    let stranger = owner::own(&mut lab.redis, "one", Ask::Keep, 0).await.unwrap();
    assert!(matches!(stranger, Ownership::Held { .. }), "{stranger:?}");
    assert_eq!(owner::live_owner(&mut lab.redis).await.unwrap(), None);
}

#[tokio::test]
async fn a_token_never_repeats_even_when_the_clock_of_redis_goes_back() {
    let mut lab = Lab::start().await;
    let far = 9_000_000_000_000_000u64;
    let () = lab.redis.hset(keys::OWN, "token", far).await.unwrap();
    let first = token(&owner::own(&mut lab.redis, "one", Ask::Take, 0).await.unwrap());
    assert_eq!(first, far + 1);
    owner::own(&mut lab.redis, "one", Ask::Leave, 0).await.unwrap();
    assert_eq!(owner::live_owner(&mut lab.redis).await.unwrap(), None);
    assert_eq!(token(&owner::own(&mut lab.redis, "two", Ask::Take, 0).await.unwrap()), far + 2);
}

#[tokio::test]
async fn a_status_fades_with_its_node() {
    let mut lab = Lab::start().await;
    owner::publish_status(&mut lab.redis, "one", "{}").await.unwrap();
    assert_eq!(owner::read_status(&mut lab.redis, "one").await.unwrap().as_deref(), Some("{}"));
    let left: i64 =
        redis::cmd("PTTL").arg(keys::node_status("one")).query_async(&mut lab.redis).await.unwrap();
    assert!(left > 0 && Duration::from_millis(left.unsigned_abs()) <= owner::LEASE);
}

#[tokio::test]
async fn campaigns_are_named_once_and_moved_from_where_they_were_seen() {
    let mut lab = Lab::start().await;
    let seq = campaigns::create(&mut lab.redis, "lembrete", "text", NOW_MS).await.unwrap();
    let again = campaigns::create(&mut lab.redis, "lembrete", "text", NOW_MS).await;
    assert!(matches!(again, Err(QueueError::CampaignExists(_))), "{again:?}");
    let unknown = campaigns::find(&mut lab.redis, "lembrette").await.unwrap_err();
    assert_eq!(unknown.to_string(), "no campaign lembrette: did you mean lembrete?");
    let (draft, ready) = (CampaignState::Draft, CampaignState::Ready);
    assert!(campaigns::set_state(&mut lab.redis, seq, (draft, ready), NOW_MS).await.unwrap());
    assert!(!campaigns::set_state(&mut lab.redis, seq, (draft, ready), NOW_MS).await.unwrap());
    let totals = LoadTotals { rows: 9, loaded: 5, duplicate: 3, rejected: 1 };
    for _ in 0..2 {
        campaigns::load_progress(&mut lab.redis, seq, "load", totals, Some(NOW_MS)).await.unwrap();
    }
    let record = campaigns::find(&mut lab.redis, "lembrete").await.unwrap();
    assert_eq!((record.totals(), record.state, record.grown), (totals, ready, 2));
    assert!(record.loading(NOW_MS + 29_999) && !record.loading(NOW_MS + 30_000));
    let frozen = campaigns::freeze_slices(&mut lab.redis, seq, 100, &[2, 1]).await.unwrap();
    assert_eq!(frozen, (100, vec![2, 1]));
    let later = campaigns::freeze_slices(&mut lab.redis, seq, 900, &[7, 7]).await.unwrap();
    assert_eq!(later, frozen, "the first load's lanes are the campaign's");
}

#[tokio::test]
async fn what_is_stopped_is_kept_and_an_operator_has_the_last_word() {
    let mut lab = Lab::start().await;
    let scopes = [
        Scope::Number(number()),
        Scope::Template("1/a:b".to_owned()),
        Scope::Account("1".to_owned()),
        Scope::App,
    ];
    for scope in &scopes {
        assert!(halts::stop(&mut lab.redis, scope, &Why::Halted(33)).await.unwrap());
    }
    let () = lab.redis.hset(keys::HALTS, "nonsense", "x").await.unwrap();
    let read = halts::read(&mut lab.redis).await.unwrap();
    assert_eq!(
        read,
        scopes.iter().cloned().map(|scope| (scope, Why::Halted(33))).collect::<BTreeMap<_, _>>()
    );
    assert!(!halts::stop(&mut lab.redis, &Scope::App, &Why::Operator).await.unwrap());
    assert!(!halts::stop(&mut lab.redis, &Scope::App, &Why::Halted(34)).await.unwrap());
    assert_eq!(halts::read(&mut lab.redis).await.unwrap()[&Scope::App], Why::Operator);
    assert!(halts::resume(&mut lab.redis, &Scope::App).await.unwrap());
    assert!(!halts::resume(&mut lab.redis, &Scope::App).await.unwrap());
}

#[tokio::test]
async fn an_agenda_holds_lanes_by_urgency_and_lanes_move() {
    use carteiro::domain::campaign::Priority;
    use carteiro::domain::ids::NumberId;
    let mut lab = Lab::start().await;
    let other = NumberId::from("2");
    agenda::register(&mut lab.redis, &number(), &[id(1), id(2)], Priority::Bulk).await.unwrap();
    agenda::register(&mut lab.redis, &number(), &[id(3)], Priority::Urgent).await.unwrap();
    agenda::register(&mut lab.redis, &number(), &[], Priority::Urgent).await.unwrap();
    assert_eq!(agenda::read(&mut lab.redis, &number()).await.unwrap(), [id(3), id(1), id(2)]);
    agenda::reassign(&mut lab.redis, id(1), (&number(), &other), Priority::Bulk).await.unwrap();
    agenda::remove(&mut lab.redis, &number(), &[id(2)]).await.unwrap();
    assert_eq!(agenda::read(&mut lab.redis, &number()).await.unwrap(), [id(3)]);
    assert_eq!(agenda::read(&mut lab.redis, &other).await.unwrap(), [id(1)]);
}
