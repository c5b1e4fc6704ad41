//! Numbers that come and go, and the lease on them.

use std::time::Duration;

use super::world::*;
use crate::clock::Mono;
use crate::domain::ids::NumberId;
use crate::domain::record::State;
use crate::policy::shard::{Blocked, Input, Output, ShardConfig};

const MINUTE: Duration = Duration::from_secs(60);

/// Numbers a and b with a campaign each, of 400 messages in two lanes.
fn two() -> World {
    let mut world = World::new(config());
    for (seq, name) in [(1, "a"), (2, "b")] {
        world.number(number(name, Some(80.0)));
        world.campaign(campaign(seq));
        world.load(lane(seq, 0), name, 200);
        world.load(lane(seq, 1), name, 200);
    }
    world
}

fn a() -> NumberId {
    NumberId::from("a")
}

fn sent_by_a(world: &World) -> Vec<Mono> {
    world.sent.iter().filter(|sent| sent.number == a()).map(|sent| sent.at).collect()
}

/// When a was said to be at rest, and when its next message would be due.
fn dropped(world: &World) -> Option<(Mono, Mono)> {
    world.orders.iter().find_map(|(at, order)| match order {
        Output::NumberDropped(id, next) if *id == a() => Some((*at, *next)),
        _ => None,
    })
}

#[test]
fn a_number_that_goes_leaves_nothing_behind_and_the_others_go_on() {
    let mut world = two();
    world.run(Duration::from_secs(1));
    let before = sent_by_a(&world).len();
    assert!(before > 50);
    world.input(Input::DropNumber(a()));
    world.input(Input::DropNumber(a()));
    world.run_until(MINUTE, |world| dropped(world).is_some());
    let (rested, next) = dropped(&world).unwrap();
    assert!(
        rested.since(Mono(Duration::from_secs(1))) < ms(100),
        "it takes a reply and a settle: {rested:?}"
    );
    assert_eq!(sent_by_a(&world).len(), before, "nothing new begins");
    assert!(next >= sent_by_a(&world)[before - 1].after(ms(7)), "the next message has its distance");
    let states: Vec<State> =
        [0, 1].iter().flat_map(|at| &world.lanes[&lane(1, *at)].records).map(|record| record.state).collect();
    assert_eq!(states.iter().filter(|state| **state == State::Accepted).count(), before);
    assert!(
        states.iter().all(|state| matches!(state, State::Accepted | State::Queued)),
        "nothing stays claimed"
    );
    world.run(MINUTE);
    assert_eq!(sent_by_a(&world).len(), before);
    assert!(world.shard.numbers().all(|view| view.id != a()), "it is shown no more");
    assert_eq!(world.times(|order| matches!(order, Output::NumberDropped(..))).len(), 1);
    assert!(
        [0, 1]
            .iter()
            .all(|at| world.lanes[&lane(2, *at)].records.iter().all(|one| one.state == State::Accepted))
    );
}

#[test]
fn a_number_that_goes_does_not_wait_for_the_company_of_settles() {
    let config = ShardConfig { settle_delay: Duration::from_secs(5), ..config() };
    let mut world = World::new(config);
    world.number(number("a", Some(80.0)));
    world.campaign(campaign(1));
    world.load(lane(1, 0), "a", 400);
    world.run(Duration::from_secs(1));
    world.input(Input::DropNumber(a()));
    world.run_until(MINUTE, |world| dropped(world).is_some());
    let rested = dropped(&world).unwrap().0;
    assert!(rested.since(Mono(Duration::from_secs(1))) < ms(100), "{rested:?}");
}

#[test]
fn a_number_that_comes_back_goes_on_at_its_pace() {
    let mut world = two();
    for round in 0..4 {
        world.run(ms(700));
        world.orders.clear();
        world.input(Input::DropNumber(a()));
        world.run_until(MINUTE, |world| dropped(world).is_some());
        let (_, next) = dropped(&world).unwrap();
        world.number(number("a", Some(80.0)));
        world.input(Input::Resume(a(), next));
        let sent = sent_by_a(&world).len();
        for at in 0..2 {
            world.tell_lane(lane(1, at), "a");
        }
        world.run_until(MINUTE, |world| sent_by_a(world).len() > sent);
        assert!(sent_by_a(&world)[sent] >= next, "round {round}");
        assert!(
            world.ordered(|order| matches!(order, Output::Adopt { sweep: true, .. })),
            "its lanes are adopted anew"
        );
    }
    world.run_until(MINUTE, World::all_accepted);
    assert!(worst_second(&sent_by_a(&world)) <= 80);
}

#[test]
fn a_number_that_is_not_here_is_at_rest_at_once() {
    let mut world = two();
    world.input(Input::DropNumber(NumberId::from("x")));
    assert!(world.ordered(|order| matches!(order, Output::NumberDropped(id, _) if &*id.0 == "x")));
    world.number(number("idle", Some(80.0)));
    world.input(Input::DropNumber(NumberId::from("idle")));
    assert!(world.ordered(|order| matches!(order, Output::NumberDropped(id, _) if &*id.0 == "idle")));
    world.load(lane(1, 7), "idle", 10);
    assert!(!world.shard.knows(lane(1, 7)), "a lane of a number that is gone is not taken");
}

#[test]
fn when_the_lease_ends_nothing_is_claimed_or_begun_until_it_is_renewed() {
    let mut world = two();
    let end = Mono(ms(1500));
    world.input(Input::Lease(end));
    world.run(Duration::from_secs(10));
    assert!(world.sent.iter().all(|sent| sent.at < end), "nothing leaves after the lease");
    assert!(world.sent.iter().any(|sent| end.since(sent.at) < ms(30)), "and until then everything goes on");
    assert!(world.times(|order| matches!(order, Output::Claim { .. })).iter().all(|at| *at < end));
    assert_eq!(world.blocked("a"), Some(Blocked::Ownership));
    assert_eq!(world.count(State::Sending), 0, "what was claimed is given back");
    // A renewal that was answered late is no shorter lease, and one that is over already no lease at all.
    world.input(Input::Lease(Mono(ms(1200))));
    world.run(ms(100));
    let sent = world.sent.len();
    world.input(Input::Lease(world.now.after(MINUTE)));
    world.run_until(MINUTE, World::all_accepted);
    assert!(world.sent.len() > sent);
    assert!(worst_second(&sent_by_a(&world)) <= 80);
}
