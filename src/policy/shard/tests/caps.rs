//! People who were written to often enough, or a moment ago: their messages wait or are suppressed, and nobody else's.

use std::time::Duration;

use super::world::*;
use crate::clock::{Mono, WallMs};
use crate::domain::contact::CapChoice;
use crate::domain::record::State;
use crate::policy::classify::table::own;
use crate::policy::shard::{CampaignSetup, Held, Output};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn one(cap: CapChoice) -> World {
    let mut world = World::new(config());
    world.number(number("a", Some(80.0)));
    world.campaign(CampaignSetup { cap, ..campaign(1) });
    world
}

/// Every second person was written to, and may be again after `wait` from the start.
fn capped(world: &mut World, wait: Duration, held: fn(WallMs) -> Held) {
    let (start, until) = (Mono::default(), world.wall().0 + u64::try_from(wait.as_millis()).unwrap());
    world.admit = Box::new(move |now, _, index| {
        let free = index % 2 == 1 || now.since(start) >= wait;
        if free { (None, Some(now.after(Duration::from_secs(2)))) } else { (Some(held(WallMs(until))), None) }
    });
}

#[test]
fn who_was_written_to_often_enough_waits_and_the_others_do_not_wait_for_them() {
    let mut world = one(CapChoice::Defer);
    capped(&mut world, HOUR, |until| Held::Cap { until });
    world.load(lane(1, 0), "a", 100);
    world.run(MINUTE);
    assert_eq!((world.sent.len(), world.count(State::Waiting)), (50, 50));
    let last = world.sent.last().unwrap().at.since(world.sent[0].at);
    assert!(last < Duration::from_millis(720), "fifty at 80 a second, in spite of a hundred: {last:?}");
    let waiting = |world: &World| {
        let records = world.lanes[&lane(1, 0)].records.clone();
        records.into_iter().filter(|record| record.state == State::Waiting).collect::<Vec<_>>()
    };
    assert!(waiting(&world).iter().all(|one| (one.attempt, one.reason) == (0, own::CONTACT_CAP)));
    let before = world.orders.len();
    world.run(HOUR - 2 * MINUTE);
    assert_eq!(world.orders.len(), before, "it costs nothing");
    world.run(5 * MINUTE);
    assert!(world.all_accepted());
    let attempts = world.lanes.values().flat_map(|lane| &lane.records).map(|record| record.attempt);
    assert!(attempts.eq(std::iter::repeat_n(1, 100)), "being held costs no attempt");
}

#[test]
fn a_campaign_may_leave_them_out() {
    let mut world = one(CapChoice::Suppress);
    capped(&mut world, HOUR, |until| Held::Cap { until });
    world.load(lane(1, 0), "a", 100);
    world.run_until(MINUTE, |world| world.count(State::Accepted) + world.count(State::Suppressed) == 100);
    assert_eq!(world.count(State::Suppressed), 50);
    let suppressed = world.lanes.values().flat_map(|lane| &lane.records);
    let suppressed: Vec<_> = suppressed.filter(|record| record.state == State::Suppressed).collect();
    assert!(suppressed.iter().all(|one| (one.attempt, one.reason) == (0, own::CONTACT_CAP)));
}

#[test]
fn a_pair_waits_whatever_its_campaign_says_of_caps() {
    let mut world = one(CapChoice::Suppress);
    capped(&mut world, Duration::from_secs(8), |until| Held::Pair { until });
    world.load(lane(1, 0), "a", 100);
    world.run(Duration::from_secs(5));
    assert_eq!((world.sent.len(), world.count(State::Waiting)), (50, 50));
    let waiting = world.lanes.values().flat_map(|lane| &lane.records);
    let waiting: Vec<_> = waiting.filter(|record| record.state == State::Waiting).collect();
    assert!(waiting.iter().all(|one| (one.attempt, one.reason) == (0, own::PAIR_WAIT)));
    world.run_until(MINUTE, World::all_accepted);
    let late = world.sent.iter().filter(|sent| sent.index % 2 == 0).map(|sent| sent.at).min().unwrap();
    assert!(late.since(Mono::default()) >= Duration::from_secs(8), "{late:?}");
}

#[test]
fn a_message_that_waits_for_its_person_expires_in_its_time() {
    let mut world = World::new(config());
    world.number(number("a", Some(80.0)));
    world.campaign(CampaignSetup { validity: HOUR / 2, ..campaign(1) });
    capped(&mut world, HOUR, |until| Held::Cap { until });
    world.load(lane(1, 0), "a", 10);
    world.run(2 * HOUR);
    assert_eq!((world.count(State::Accepted), world.count(State::Expired)), (5, 5));
}

#[test]
fn what_waits_in_the_line_for_too_long_is_asked_again() {
    let mut world = World::new(config());
    world.number(number("a", Some(0.2)));
    world.campaign(campaign(1));
    capped(&mut world, Duration::ZERO, |until| Held::Pair { until });
    world.load(lane(1, 0), "a", 4);
    world.run(MINUTE);
    assert!(world.all_accepted());
    let claims = world.times(|order| matches!(order, Output::Claim { .. })).len();
    assert!((5..=9).contains(&claims), "four messages, one in five seconds: {claims} claims");
}
