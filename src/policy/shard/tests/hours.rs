//! Hours: what a closing stops and gives back, and that an opening needs nobody.

use std::time::Duration;

use super::world::*;
use crate::clock::{Mono, WallMs};
use crate::domain::record::State;
use crate::policy::shard::{Blocked, CampaignSetup, ClassHours, LaneHours, Output};

const MINUTE: Duration = Duration::from_secs(60);

/// Campaign 1 with lane 0 in one class and lane 1 in another.
fn setup(one: ClassHours, other: ClassHours) -> CampaignSetup {
    CampaignSetup { hours: LaneHours::new(vec![0, 1], vec![one, other]), ..campaign(1) }
}

fn open(until_ms: u64) -> ClassHours {
    ClassHours { open: true, until: Some(WallMs(EPOCH_MS + until_ms)) }
}

fn closed(until_ms: u64) -> ClassHours {
    ClassHours { open: false, until: Some(WallMs(EPOCH_MS + until_ms)) }
}

fn world(one: ClassHours, other: ClassHours) -> World {
    let mut world = World::new(config());
    world.number(number("a", Some(80.0)));
    world.campaign(setup(one, other));
    world.load(lane(1, 0), "a", 400);
    world.load(lane(1, 1), "a", 400);
    world
}

fn sent_of(world: &World, of: u32) -> usize {
    world.sent.iter().filter(|sent| sent.lane == lane(1, of)).count()
}

#[test]
fn a_closed_lane_costs_redis_nothing_and_opens_when_told() {
    let mut world = world(closed(60_000), closed(90_000));
    world.run(Duration::from_secs(30));
    let to_redis = |order: &Output<()>| {
        matches!(
            order,
            Output::Adopt { .. } | Output::Claim { .. } | Output::Release { .. } | Output::Settle { .. }
        )
    };
    assert_eq!(world.times(to_redis), []);
    let blocked = world.shard.numbers().next().unwrap().blocked;
    assert_eq!(blocked, Some((Blocked::Hours, Some(Mono(MINUTE)))));
    world.run(Duration::from_secs(30));
    world.campaign(setup(open(900_000), closed(90_000)));
    world.run(Duration::from_secs(10));
    assert!(sent_of(&world, 0) > 300 && sent_of(&world, 1) == 0);
    world.campaign(setup(open(900_000), open(900_000)));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn what_was_claimed_before_the_close_is_not_sent_after_it() {
    // Nobody tells the machine of the close: it looks at the clock itself.
    let mut world = world(open(2_000), open(4_000));
    world.run(Duration::from_secs(10));
    let last =
        |of| world.sent.iter().filter(|sent| sent.lane == lane(1, of)).map(|sent| sent.at).max().unwrap();
    assert!(last(0) < Mono(ms(2_000)) && last(1) < Mono(ms(4_000)), "{:?} {:?}", last(0), last(1));
    assert!(last(1) > Mono(ms(2_000)), "the other class goes on");
    assert_eq!(world.count(State::Sending), 0);
    let orders = world.orders.len();
    world.run(MINUTE);
    assert_eq!(world.orders.len(), orders, "nothing is claimed and given back while it is closed");
    assert_eq!(world.blocked("a"), Some(Blocked::Hours));
}

#[test]
fn a_closing_gives_back_what_was_not_begun() {
    let mut world = world(open(900_000), open(900_000));
    world.run_until(MINUTE, |world| world.shard.numbers().next().unwrap().claimed > 1);
    let begun = world.sent.len();
    world.campaign(setup(closed(900_000), closed(900_000)));
    world.run(Duration::from_secs(1));
    assert_eq!((world.sent.len(), world.count(State::Sending)), (begun, 0));
}

#[test]
fn retries_wait_for_the_hours_too() {
    let mut world = world(open(900_000), closed(900_000));
    world.reply = Box::new(|_| {
        verdict(crate::policy::classify::Kind::Transient, crate::policy::classify::Scope::Person, false)
    });
    world.run(ms(500));
    let begun = world.sent.len();
    assert!(world.count(State::Waiting) > 0);
    world.campaign(setup(closed(900_000), closed(900_000)));
    world.reply = Box::new(|_| accepted());
    world.run(MINUTE);
    assert_eq!(world.sent.len(), begun);
    world.campaign(setup(open(900_000), open(900_000)));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn past_its_fixed_end_a_message_is_expired_at_any_hour() {
    let mut world = world(open(900_000), open(900_000));
    world.campaign(CampaignSetup {
        valid_until: Some(WallMs(EPOCH_MS + 2_000)),
        ..setup(open(900_000), open(900_000))
    });
    world.run(Duration::from_secs(30));
    assert!(world.sent.iter().all(|sent| sent.at < Mono(ms(2_000))));
    assert_eq!(world.count(State::Expired) + world.sent.len(), 800);
}
