//! Ownership of the whole installation, campaigns and what is stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use carteiro::domain::campaign::CampaignState;
use carteiro::domain::ids::NumberId;
use carteiro::domain::record::State;
use carteiro::queue::campaigns::{self, LoadTotals};
use carteiro::queue::halts::{self, Scope, Why};
use carteiro::queue::owner::{self, Ask, Beat, Kept, Renewal, Taken};
use carteiro::queue::{QueueError, agenda, keys, lane};
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, id, number, stored};

fn bare(node: &str) -> Beat<'_> {
    Beat {
        node,
        incarnation: node,
        ask: Ask::Keep,
        lease: owner::LEASE,
        acknowledged: 0,
        capacity: 1,
        leaving: false,
        offers: Some("1 80 2 80 "),
        revision: None,
        give_back: &[],
        take: &[],
    }
}

fn ids(names: &[&str]) -> Vec<NumberId> {
    names.iter().map(|name| NumberId::from(*name)).collect()
}

async fn kept(lab: &mut Lab, beat: Beat<'_>) -> Kept {
    match owner::beat(&mut lab.redis, &beat).await.unwrap() {
        Renewal::Kept(kept) => kept,
        other => panic!("{other:?}"),
    }
}

async fn join(lab: &mut Lab, node: &str) -> Kept {
    kept(lab, Beat { ask: Ask::Join, ..bare(node) }).await
}

/// Asks for numbers; those that were granted.
async fn take(lab: &mut Lab, node: &str, names: &[&str]) -> Vec<Taken> {
    let take = ids(names);
    kept(lab, Beat { take: &take, ..bare(node) }).await.taken
}

/// Lets the lease of a node end, as if its process had died.
async fn end_lease(lab: &mut Lab, node: &str) {
    let entry: String = lab.redis.hget(keys::OWN_NODES, node).await.unwrap();
    let mut words: Vec<&str> = entry.split(' ').collect();
    words[1] = "1000";
    let () = lab.redis.hset(keys::OWN_NODES, node, words.join(" ")).await.unwrap();
}

async fn owners(lab: &mut Lab) -> BTreeMap<String, String> {
    let all = owner::division(&mut lab.redis).await.unwrap().0.owners;
    all.into_iter().map(|(number, owned)| (number.to_string(), owned.node)).collect()
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(number, node)| ((*number).to_owned(), (*node).to_owned())).collect()
}

#[tokio::test]
async fn a_number_has_one_owner_until_it_is_given_back() {
    let mut lab = Lab::start().await;
    join(&mut lab, "a").await;
    join(&mut lab, "b").await;
    let first = take(&mut lab, "a", &["1", "2"]).await;
    assert!(
        first.iter().all(|one| !one.given_back && one.wait.is_zero()),
        "nobody gave them back: {first:?}"
    );
    assert_eq!(first.len(), 2);
    assert_eq!(take(&mut lab, "b", &["1"]).await, []);
    let back = [(NumberId::from("1"), Some(Duration::from_secs(3)))];
    kept(&mut lab, Beat { give_back: &back, ..bare("b") }).await;
    assert_eq!(
        owners(&mut lab).await,
        owned(&[("1", "a"), ("2", "a")]),
        "only its owner gives a number back"
    );
    kept(&mut lab, Beat { give_back: &back, ..bare("a") }).await;
    assert_eq!(owners(&mut lab).await, owned(&[("2", "a")]));
    let taken = take(&mut lab, "b", &["1", "2"]).await;
    assert_eq!((taken.len(), &*taken[0].number.0, taken[0].given_back), (1, "1", true));
    assert!(
        taken[0].wait > Duration::from_secs(2) && taken[0].wait <= Duration::from_secs(3),
        "the pace goes with it: {taken:?}"
    );
    assert_eq!(owners(&mut lab).await, owned(&[("1", "b"), ("2", "a")]));
    // A copy of the release that comes late frees nothing, and a question asked again is answered again.
    kept(&mut lab, Beat { give_back: &back, ..bare("a") }).await;
    assert_eq!(take(&mut lab, "b", &["1"]).await.len(), 1);
    assert_eq!(owners(&mut lab).await, owned(&[("1", "b"), ("2", "a")]));
}

#[tokio::test]
async fn what_a_dead_node_had_is_lost_and_free() {
    let mut lab = Lab::start().await;
    join(&mut lab, "a").await;
    take(&mut lab, "a", &["1", "2"]).await;
    let joined = join(&mut lab, "b").await;
    assert!(joined.next_end.is_some_and(|end| end <= owner::LEASE), "{joined:?}");
    end_lease(&mut lab, "a").await;
    assert_eq!(owners(&mut lab).await, owned(&[]), "a dead node owns nothing to those who only look");
    let taken = take(&mut lab, "b", &["1", "2"]).await;
    assert_eq!(taken.iter().filter(|one| !one.given_back).count(), 2, "{taken:?}");
    assert_eq!(owner::beat(&mut lab.redis, &bare("a")).await.unwrap(), Renewal::Gone);
    let again = kept(&mut lab, Beat { ask: Ask::Join, incarnation: "a2", ..bare("a") }).await;
    assert_eq!(again.snapshot.unwrap().leader(), Some("b"));
    let take = ids(&["1"]);
    let asked = kept(&mut lab, Beat { incarnation: "a2", take: &take, ..bare("a") }).await;
    assert_eq!(asked.taken, []);
    assert_eq!(
        owner::beat(&mut lab.redis, &bare("a")).await.unwrap(),
        Renewal::Gone,
        "the first one stays out"
    );
}

#[tokio::test]
async fn a_heartbeat_that_is_late_and_unnoticed_keeps_everything() {
    let mut lab = Lab::start().await;
    join(&mut lab, "a").await;
    take(&mut lab, "a", &["1"]).await;
    end_lease(&mut lab, "a").await;
    kept(&mut lab, bare("a")).await;
    assert_eq!(owners(&mut lab).await, owned(&[("1", "a")]));
}

#[tokio::test]
async fn after_a_failover_nobody_is_granted_anything_for_a_lease() {
    let mut lab = Lab::start().await;
    join(&mut lab, "a").await;
    join(&mut lab, "b").await;
    take(&mut lab, "a", &["1"]).await;
    // The new master knows 1 as a's. That a gave it back and b took it may be what it forgot: who asks does not hold it.
    let () = lab.redis.hset(keys::OWN, "replid", "0").await.unwrap();
    assert_eq!(take(&mut lab, "a", &["1", "2"]).await, []);
    assert_eq!(take(&mut lab, "b", &["2"]).await, []);
    assert_eq!(owners(&mut lab).await, owned(&[("1", "a")]), "who holds it keeps it");
    let grace: u64 = lab.redis.hget(keys::OWN, "grace").await.unwrap();
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut lab.redis).await.unwrap();
    assert!(grace > 1000 * seconds && grace <= 1000 * (seconds + 1) + 10_000, "{grace} at {seconds} s");
    let () = lab.redis.hset(keys::OWN, "grace", 0).await.unwrap();
    assert_eq!(take(&mut lab, "a", &["1"]).await.len(), 1);
    // Given back as lost, it is lost to the next.
    let back = [(NumberId::from("1"), None)];
    kept(&mut lab, Beat { give_back: &back, ..bare("a") }).await;
    let taken = take(&mut lab, "b", &["1"]).await;
    assert!(!taken[0].given_back && taken[0].wait.is_zero(), "{taken:?}");
}

#[tokio::test]
async fn what_others_have_to_say_after_a_failover_is_awaited_where_there_are_others() {
    let mut lab = Lab::start().await;
    async fn left(lab: &mut Lab) -> Duration {
        owner::grace_left(&mut lab.redis, owner::LEASE).await.unwrap()
    }
    let fail_over =
        async |lab: &mut Lab| lab.redis.hset::<_, _, _, ()>(keys::OWN, "replid", "0").await.unwrap();
    assert_eq!(left(&mut lab).await, Duration::ZERO, "nobody has ever been there");
    join(&mut lab, "a").await;
    assert_eq!(left(&mut lab).await, Duration::ZERO);
    fail_over(&mut lab).await;
    let first = left(&mut lab).await;
    assert!(first > owner::LEASE / 2 && first <= owner::LEASE, "{first:?}");
    // It is noted: whoever asks later waits no longer, and nothing is granted before.
    assert!(left(&mut lab).await <= first);
    assert!(take(&mut lab, "a", &["1"]).await.is_empty());
    let () = lab.redis.hset(keys::OWN, "grace", 0).await.unwrap();
    end_lease(&mut lab, "a").await;
    fail_over(&mut lab).await;
    assert_eq!(left(&mut lab).await, Duration::ZERO, "whoever was there is long dead");
}

#[tokio::test]
async fn a_version_never_repeats_on_a_redis_that_forgot_it() {
    let mut lab = Lab::start().await;
    assert_eq!(campaigns::version(&mut lab.redis).await.unwrap(), 0);
    let first = campaigns::announce(&mut lab.redis).await.unwrap();
    let then: Vec<u8> = redis::cmd("DUMP").arg(keys::VERSION).query_async(&mut lab.redis).await.unwrap();
    let heard = campaigns::announce(&mut lab.redis).await.unwrap();
    let mut restore = redis::cmd("RESTORE");
    restore.arg(keys::VERSION).arg(0).arg(then).arg("REPLACE");
    let () = restore.query_async(&mut lab.redis).await.unwrap();
    assert_eq!(campaigns::version(&mut lab.redis).await.unwrap(), first);
    // Who acted on what is forgotten has not acted on this.
    let next = campaigns::announce(&mut lab.redis).await.unwrap();
    assert!(first < heard && heard < next, "{first} {heard} {next}");
    assert_eq!(campaigns::version(&mut lab.redis).await.unwrap(), next);
    // Also when the clock of Redis goes back.
    let () = lab.redis.set(keys::VERSION, 8_000_000_000_000_000u64).await.unwrap();
    assert_eq!(campaigns::announce(&mut lab.redis).await.unwrap(), 8_000_000_000_000_001);
}

#[tokio::test]
async fn a_name_is_used_by_one_process_at_a_time() {
    let mut lab = Lab::start().await;
    join(&mut lab, "a").await;
    take(&mut lab, "a", &["1"]).await;
    let second = Beat { ask: Ask::Join, incarnation: "second", ..bare("a") };
    let held = owner::beat(&mut lab.redis, &second).await.unwrap();
    assert!(matches!(held, Renewal::Held(left) if left <= owner::LEASE), "{held:?}");
    assert_eq!(owners(&mut lab).await, owned(&[("1", "a")]));
    end_lease(&mut lab, "a").await;
    kept(&mut lab, second.clone()).await;
    assert_eq!(owners(&mut lab).await, owned(&[]), "the second one is another process");
    let taken = ids(&["1"]);
    let taken = kept(&mut lab, Beat { take: &taken, ask: Ask::Keep, ..second }).await.taken;
    assert!(!taken[0].given_back);
}

#[tokio::test]
async fn a_node_that_leaves_gets_nothing_and_leaves_the_rest_lost() {
    let mut lab = Lab::start().await;
    join(&mut lab, "a").await;
    join(&mut lab, "b").await;
    take(&mut lab, "a", &["1"]).await;
    let take_2 = ids(&["2"]);
    let leaving = kept(&mut lab, Beat { leaving: true, take: &take_2, ..bare("a") }).await;
    assert_eq!(leaving.taken, []);
    let snapshot = leaving.snapshot.unwrap();
    assert!(snapshot.nodes["a"].leaving && snapshot.leader() == Some("b"), "{snapshot:?}");
    kept(&mut lab, Beat { ask: Ask::Leave, ..bare("a") }).await;
    assert_eq!(owner::live_nodes(&mut lab.redis).await.unwrap().len(), 1);
    assert!(!take(&mut lab, "b", &["1"]).await[0].given_back);
}

#[tokio::test]
async fn every_answer_has_a_token_of_its_own_even_when_the_clock_of_redis_goes_back() {
    let mut lab = Lab::start().await;
    let first = join(&mut lab, "a").await.token;
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut lab.redis).await.unwrap();
    let now = seconds * 1_000_000 + micros;
    assert!(first <= now && now - first < 60_000_000, "{first} is redis' time in microseconds");
    let second = join(&mut lab, "b").await.token;
    let third = kept(&mut lab, bare("a")).await.token;
    assert!(first < second && second < third);
    let far = 8_000_000_000_000_000u64;
    let () = lab.redis.hset(keys::OWN, "token", far).await.unwrap();
    assert_eq!(kept(&mut lab, bare("b")).await.token, far + 1);
    assert_eq!(kept(&mut lab, bare("a")).await.token, far + 2);
}

#[tokio::test]
async fn a_snapshot_comes_with_every_change_and_with_nothing_else() {
    let mut lab = Lab::start().await;
    let mut heard = lab.client.pubsub(crate::lab::timeouts()).await.unwrap();
    heard.subscribe(keys::OWN_EVENTS).await.unwrap();
    let first = join(&mut lab, "a").await;
    let snapshot = first.snapshot.unwrap();
    assert_eq!(
        snapshot.nodes["a"].offers,
        [("1", 80.0), ("2", 80.0)].map(|(id, rate)| (NumberId::from(id), rate)).into()
    );
    let mut known = first.revision;
    let mut look = async |lab: &mut Lab, beat: Beat<'_>| {
        let kept = kept(lab, Beat { revision: Some(known), ..beat }).await;
        let changed = kept.revision != known;
        assert_eq!(kept.snapshot.is_some(), changed);
        known = kept.revision;
        changed
    };
    let (one, back) = (ids(&["1"]), [(NumberId::from("1"), Some(Duration::ZERO))]);
    assert!(
        !look(&mut lab, Beat { acknowledged: 7, ..bare("a") }).await,
        "a plain heartbeat changes nothing"
    );
    assert!(look(&mut lab, Beat { take: &one, ..bare("a") }).await);
    assert!(!look(&mut lab, Beat { take: &one, ..bare("a") }).await);
    assert!(look(&mut lab, Beat { give_back: &back, ..bare("a") }).await);
    assert!(look(&mut lab, Beat { offers: Some("1 20 "), ..bare("a") }).await);
    assert!(look(&mut lab, Beat { offers: None, leaving: true, ..bare("a") }).await);
    use futures_util::StreamExt as _;
    let published: Vec<u64> =
        heard.on_message().take(5).map(|message| message.get_payload::<u64>().unwrap()).collect().await;
    assert!(published.is_sorted_by(|one, next| one < next), "{published:?}");
    assert_eq!(published.last(), Some(&known));
}

#[tokio::test]
async fn a_node_lives_until_its_lease_ends_and_says_what_it_acted_on() {
    let mut lab = Lab::start().await;
    assert_eq!(owner::live_nodes(&mut lab.redis).await.unwrap(), []);
    join(&mut lab, "a").await;
    join(&mut lab, "b").await;
    kept(&mut lab, Beat { acknowledged: 9, ..bare("a") }).await;
    kept(&mut lab, Beat { acknowledged: 4, ..bare("b") }).await;
    let acted_on = |nodes: Vec<owner::Owner>| -> Vec<(String, u64)> {
        assert!(nodes.iter().all(|node| node.age < Duration::from_secs(5)), "{nodes:?}");
        nodes.into_iter().map(|node| (node.node, node.acknowledged)).collect()
    };
    let (a, b) = (("a".to_owned(), 9), ("b".to_owned(), 4));
    assert_eq!(acted_on(owner::live_nodes(&mut lab.redis).await.unwrap()), [a.clone(), b]);
    end_lease(&mut lab, "b").await;
    assert_eq!(acted_on(owner::live_nodes(&mut lab.redis).await.unwrap()), [a]);
}

#[tokio::test]
async fn a_lease_that_a_command_saw_ended_is_not_renewed() {
    let mut lab = Lab::start().await;
    join(&mut lab, "a").await;
    join(&mut lab, "b").await;
    end_lease(&mut lab, "b").await;
    // Within the grace of another master a lease may run that it has forgotten: nothing is ended.
    let () = lab.redis.hset(keys::OWN, "grace", 8_000_000_000_000u64).await.unwrap();
    assert!(!owner::expire(&mut lab.redis).await.unwrap().is_zero());
    kept(&mut lab, bare("b")).await;
    let () = lab.redis.hset(keys::OWN, "grace", 0).await.unwrap();
    end_lease(&mut lab, "b").await;
    assert!(owner::expire(&mut lab.redis).await.unwrap().is_zero());
    assert!(matches!(owner::beat(&mut lab.redis, &bare("b")).await.unwrap(), Renewal::Gone));
    kept(&mut lab, bare("a")).await;
}

#[tokio::test]
async fn what_never_left_is_queued_again_although_the_lane_has_a_new_owner() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (4, 0)).await.unwrap();
    assert_eq!(lane::adopt(&mut lab.redis, id(0), 2, true).await.unwrap().in_doubt, 4);
    let mut unbegun = [(1, 1), (3, 1)];
    let refused = lane::release(&mut lab.redis, id(0), (1, 2), NOW_MS, &mut unbegun).await;
    assert!(matches!(refused, Err(QueueError::Fenced)), "{refused:?}");
    assert_eq!(lane::unsent(&mut lab.redis, id(0), NOW_MS, &unbegun).await.unwrap(), 2);
    let counters = lane::counters(&mut lab.redis, &[id(0)]).await.unwrap().remove(0);
    assert_eq!((counters.of(State::InDoubt), counters.of(State::Queued), counters.token), (2, 8, 2));
    // Claimed by the new owner, and lost once more: a copy of the call that comes late must not touch it.
    let claimed = lane::claim(&mut lab.redis, id(0), (2, 1), NOW_MS, (0, 9)).await.unwrap().messages;
    assert_eq!(
        claimed.iter().map(|(index, record)| (*index, record.generation)).collect::<Vec<_>>(),
        [(1, 2), (3, 2)]
    );
    lane::adopt(&mut lab.redis, id(0), 3, true).await.unwrap();
    assert_eq!(lane::unsent(&mut lab.redis, id(0), NOW_MS, &unbegun).await.unwrap(), 0);
    stored(&mut lab.redis, id(0)).await;
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
