//! Retries, limits, doubt, expiry and outages.

use std::time::Duration;

use super::world::*;
use crate::clock::Mono;
use crate::domain::campaign::RetryPolicy;
use crate::domain::ids::CampaignSeq;
use crate::domain::record::State;
use crate::policy::classify::{Kind, Scope, Verdict};
use crate::policy::shard::{Blocked, Input, Output};

const MINUTE: Duration = Duration::from_secs(60);

fn one(rate_per_s: f64) -> World {
    let mut world = World::new(config());
    world.number(number("a", Some(rate_per_s)));
    world.campaign(campaign(1));
    world
}

#[test]
fn what_fails_for_the_moment_is_tried_again_with_backoff_until_its_attempts_are_used_up() {
    let mut world = one(80.0);
    world.reply = Box::new(|_| verdict(Kind::Transient, Scope::Person, false));
    world.load(lane(1, 0), "a", 20);
    world.run_until(MINUTE, |world| world.count(State::Failed) == 20);
    assert_eq!(world.sent.len(), 60);
    for index in 0..20 {
        let tries: Vec<&Sent> = world.sent.iter().filter(|sent| sent.index == index).collect();
        assert_eq!(tries.iter().map(|sent| sent.attempt).collect::<Vec<_>>(), [0, 1, 2]);
        // Full jitter: anything up to 2 s and 4 s, and then its turn in the pace.
        for (pair, longest) in tries.windows(2).zip([2_500, 4_500]) {
            assert!(pair[1].at.since(pair[0].at) <= ms(longest), "{pair:?}");
        }
    }
    assert!(world.lanes[&lane(1, 0)].records.iter().all(|record| (record.attempt, record.reason) == (3, 77)));
}

#[test]
fn a_retry_that_comes_after_the_validity_expires() {
    let mut world = one(80.0);
    let mut short = campaign(1);
    short.validity = ms(3_000);
    short.retry = RetryPolicy { max_attempts: 15, base: ms(1_000_000), max: ms(1_000_000) };
    world.campaign(short);
    world.reply = Box::new(|_| verdict(Kind::Transient, Scope::Person, false));
    world.load(lane(1, 0), "a", 20);
    world.run(Duration::from_secs(2_000));
    assert_eq!(world.count(State::Expired), 20, "{:?}", world.states());
    assert!(world.sent.iter().all(|sent| sent.at <= Mono(ms(3_000))));
}

#[test]
fn what_is_older_than_its_validity_is_never_begun() {
    let mut world = one(20.0);
    let mut short = campaign(1);
    short.validity = ms(1_000);
    world.campaign(short);
    world.load(lane(1, 0), "a", 100);
    world.run_until(MINUTE, |world| world.count(State::Queued) + world.count(State::Sending) == 0);
    assert!(world.sent.iter().all(|sent| sent.at <= Mono(ms(1_001))));
    assert_eq!(world.count(State::Expired), 100 - world.sent.len());
    assert!(world.count(State::Expired) > 70);
}

#[test]
fn a_throttle_costs_no_attempt_and_moves_nothing() {
    let mut world = one(80.0);
    let mut refusals = 0;
    world.reply = Box::new(move |sent| {
        let refuse = sent.index == 10 && refusals < 4;
        refusals += u32::from(refuse);
        if refuse { verdict(Kind::Throttled, Scope::Number, false) } else { accepted() }
    });
    world.load(lane(1, 0), "a", 40);
    world.run_until(MINUTE, |world| world.blocked("a") == Some(Blocked::Throttle));
    world.run_until(MINUTE, World::all_accepted);
    assert!(
        world.lanes[&lane(1, 0)].records.iter().all(|record| (record.attempt, record.generation) == (1, 1))
    );
}

#[test]
fn throttles_in_a_row_make_the_number_rest_longer() {
    let mut world = one(80.0);
    world.latency = ms(1);
    world.reply = Box::new(|_| verdict(Kind::Throttled, Scope::Number, false));
    world.load(lane(1, 0), "a", 40);
    world.run(Duration::from_secs(30));
    let at: Vec<Mono> = world.sent.iter().map(|sent| sent.at).collect();
    let rests: Vec<Duration> = at.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    let expect = [250, 500, 1_000, 2_000, 4_000, 8_000];
    for (rest, expect) in rests.iter().zip(expect) {
        assert!((ms(expect)..ms(expect + 60)).contains(rest), "{rests:?}");
    }
}

#[test]
fn a_limit_of_the_account_rests_its_numbers_and_tells_the_others() {
    let mut world = one(80.0);
    world.number(number("b", Some(80.0)));
    world.campaign(campaign(2));
    world.load(lane(1, 0), "a", 40);
    world.load(lane(2, 0), "b", 40);
    let mut left = 1;
    world.reply = Box::new(move |sent| {
        let refuse = sent.lane.campaign == CampaignSeq(1) && std::mem::take(&mut left) == 1;
        if refuse { verdict(Kind::Throttled, Scope::Account, false) } else { accepted() }
    });
    world.run_until(MINUTE, |world| world.ordered(|order| matches!(order, Output::Throttle(_))));
    assert_eq!((world.blocked("a"), world.blocked("b")), (Some(Blocked::Throttle), Some(Blocked::Throttle)));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn a_pair_that_was_refused_waits_fourfold_and_alone() {
    let mut world = one(80.0);
    world.latency = ms(1);
    world.reply = Box::new(|sent| {
        if sent.index == 3 && sent.generation < 5 {
            verdict(Kind::Throttled, Scope::Pair, false)
        } else {
            accepted()
        }
    });
    world.load(lane(1, 0), "a", 80);
    world.run_until(Duration::from_secs(200), World::all_accepted);
    let tries: Vec<Mono> = world.sent.iter().filter(|sent| sent.index == 3).map(|sent| sent.at).collect();
    let waits: Vec<u64> = tries.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect();
    assert_eq!(waits, [1, 4, 16, 64]);
    let last = world.sent.iter().filter(|sent| sent.index != 3).map(|sent| sent.at).max().unwrap();
    assert!(last < Mono(ms(1_200)), "the others did not wait: {last:?}");
    assert_eq!(world.lanes[&lane(1, 0)].records[3].attempt, 1);
}

#[test]
fn an_unknown_outcome_is_in_doubt_and_never_sent_again() {
    let mut world = one(80.0);
    world.reply = Box::new(|sent| match sent.index % 10 {
        0 => verdict(Kind::Unknown, Scope::Person, false),
        5 => verdict(Kind::Doubtful, Scope::Person, false),
        _ => accepted(),
    });
    world.load(lane(1, 0), "a", 100);
    world.run(Duration::from_secs(600));
    assert_eq!((world.count(State::InDoubt), world.count(State::Accepted), world.sent.len()), (20, 80, 100));
}

/// Gaps between neighbours, the shortest.
fn shortest(times: &[Mono]) -> Duration {
    times.windows(2).map(|pair| pair[1].since(pair[0])).min().unwrap_or(Duration::MAX)
}

#[test]
fn ten_minutes_without_connections_fail_nothing_and_see_one_probe_a_second_at_most() {
    let mut world = World::new(config());
    world.campaign(campaign(1));
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        world.number(number(name, Some(80.0)));
        world.load(lane(1, u32::try_from(at).unwrap()), name, 200);
    }
    world.line_up = false;
    world.run(Duration::from_secs(600));
    assert_eq!((world.sent.len(), world.count(State::Queued)), (0, 600));
    assert_eq!(world.blocked("b"), Some(Blocked::Breaker));
    let probes = world.times(|order| matches!(order, Output::Probe(_)));
    assert!(probes.len() >= 10 && shortest(&probes) >= ms(1_000), "{} probes", probes.len());
    world.line_up = true;
    world.run_until(Duration::from_secs(200), World::all_accepted);
    assert!(world.lanes.values().flat_map(|lane| &lane.records).all(|record| record.attempt == 1));
}

#[test]
fn an_outage_that_resets_requests_leaves_no_more_in_doubt_than_were_in_flight() {
    let mut world = World::new(config());
    world.campaign(campaign(1));
    world.latency = ms(100);
    for (at, name) in ["a", "b"].into_iter().enumerate() {
        world.number(number(name, Some(80.0)));
        world.load(lane(1, u32::try_from(at).unwrap()), name, 300);
    }
    world.run(Duration::from_secs(1));
    (world.line_up, world.probes_answered) = (true, false);
    world.reply = Box::new(|_| verdict(Kind::Unknown, Scope::App, true));
    world.run(Duration::from_secs(300));
    // At 80/s and 100 ms about 8 are in flight; the breaker needs three answers, another 100 ms away.
    assert!(world.count(State::InDoubt) <= 2 * 14, "{:?}", world.states());
    for name in ["a", "b"] {
        let probes = world.times(|order| matches!(order, Output::Probe(id) if &*id.0 == name));
        assert!(probes.len() >= 5 && shortest(&probes) >= ms(1_000), "{name}: {} probes", probes.len());
    }
    let before = world.sent.len();
    world.run(Duration::from_secs(60));
    assert_eq!(world.sent.len(), before, "while probes are not answered no message goes");
    world.probes_answered = true;
    world.reply = Box::new(|_| accepted());
    world.run_until(Duration::from_secs(200), |world| {
        world.count(State::InDoubt) + world.count(State::Accepted) == 600
    });
    assert_eq!(world.count(State::Failed), 0);
}

#[test]
fn a_request_that_never_began_goes_back_without_an_attempt() {
    let mut world = one(80.0);
    let mut left = 2;
    world.reply = Box::new(move |_| {
        let broken = left > 0;
        left -= i32::from(broken);
        if broken { verdict(Kind::Transient, Scope::App, true) } else { accepted() }
    });
    world.load(lane(1, 0), "a", 30);
    world.run_until(MINUTE, World::all_accepted);
    assert!(
        world.lanes[&lane(1, 0)].records.iter().all(|record| (record.attempt, record.generation) == (1, 1))
    );
}

#[test]
fn without_a_journal_nothing_is_claimed_and_nothing_is_lost_or_counted() {
    let mut world = one(80.0);
    world.load(lane(1, 0), "a", 200);
    world.run_until(MINUTE, |world| world.sent.len() >= 20);
    // The journal fails under requests that were ordered already, then says so.
    world.journal_up = false;
    world.run(ms(30));
    world.input(Input::Journal(false));
    assert_eq!(world.blocked("a"), Some(Blocked::Journal));
    let (sent, claims) = (world.sent.len(), world.times(|order| matches!(order, Output::Claim { .. })).len());
    world.run(MINUTE);
    assert_eq!(world.sent.len(), sent);
    assert_eq!(
        world.times(|order| matches!(order, Output::Claim { .. })).len(),
        claims,
        "nothing is claimed"
    );
    assert_eq!(
        (world.count(State::Sending), world.count(State::InDoubt)),
        (0, 0),
        "what was claimed is given back"
    );
    world.journal_up = true;
    world.input(Input::Journal(true));
    world.run_until(MINUTE, World::all_accepted);
    assert!(
        world.lanes[&lane(1, 0)].records.iter().all(|record| (record.attempt, record.generation) == (1, 1))
    );
}

/// Meta takes 40 a second of a number that may send 80.
#[test]
fn a_pace_that_is_refused_sinks_to_what_is_taken_and_recovers() {
    let mut world = one(80.0);
    let too_fast =
        Verdict { slows: true, wait: Some(ms(1000)), ..verdict(Kind::Throttled, Scope::Number, false) };
    let mut taken: std::collections::VecDeque<Mono> = std::collections::VecDeque::new();
    world.reply = Box::new(move |sent| {
        // The limit is 40 for a minute, and 80 afterwards.
        let limit = if sent.at.0 < Duration::from_secs(60) { 40 } else { 80 };
        while taken.front().is_some_and(|at| sent.at.since(*at) >= Duration::from_secs(1)) {
            taken.pop_front();
        }
        if taken.len() >= limit {
            return too_fast;
        }
        taken.push_back(sent.at);
        accepted()
    });
    world.load(lane(1, 0), "a", 50_000);
    world.run(Duration::from_secs(60));
    let accepted = world.count(State::Accepted);
    assert!((1_500..=2_400).contains(&accepted), "{accepted} of 2400 that were possible");
    let refused = world.sent.len() - accepted;
    assert!(refused * 10 < accepted, "{refused} refusals for {accepted} messages");
    world.run(Duration::from_secs(120));
    let view = world.shard.numbers().next().unwrap();
    assert_eq!((view.rate_per_s, view.limit_per_s), (Some(80.0), Some(80.0)), "all of it again");
    let at: Vec<Mono> = world.sent.iter().map(|sent| sent.at).collect();
    assert!(worst_second(&at) <= 80, "also while it changed");
    assert_eq!(world.sent.iter().map(|sent| sent.attempt).max(), Some(0), "a refusal costs no attempt");
}

#[test]
fn what_meta_withholds_is_tried_once_more_and_no_more() {
    let mut world = one(80.0);
    let withheld = Verdict {
        attempts: Some(2),
        wait: Some(ms(5_000)),
        ..verdict(Kind::Transient, Scope::Person, false)
    };
    world.reply = Box::new(move |_| withheld);
    world.load(lane(1, 0), "a", 3);
    world.run(Duration::from_secs(120));
    assert_eq!((world.sent.len(), world.count(State::Failed)), (6, 3));
}
