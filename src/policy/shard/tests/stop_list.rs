//! The stop list: what is in it is never begun, whenever it came in, and nothing is begun by a copy that is too old.

use std::time::Duration;

use super::world::*;
use crate::domain::record::State;
use crate::policy::shard::{Blocked, Input};

const MINUTE: Duration = Duration::from_secs(60);

/// Number a with a campaign of a hundred messages, of which the driver finds these in the stop list.
fn world(stopped: impl IntoIterator<Item = u32>) -> World {
    let mut world = World::new(config());
    world.stop_list = stopped.into_iter().map(|index| ((lane(1, 0), index), 31)).collect();
    world.number(number("a", Some(80.0)));
    world.campaign(campaign(1));
    world
}

fn sent(world: &World) -> Vec<u32> {
    world.sent.iter().map(|sent| sent.index).collect()
}

fn blocked(world: &World) -> Option<Blocked> {
    world.shard.numbers().next().and_then(|view| view.blocked).map(|(why, _)| why)
}

#[test]
fn what_is_stopped_is_suppressed_with_its_reason_and_takes_no_place_in_the_pace() {
    let mut world = world((0..100).filter(|index| index % 2 == 0));
    world.load(lane(1, 0), "a", 100);
    world.run_until(MINUTE, |world| world.count(State::Accepted) + world.count(State::Suppressed) == 100);
    assert_eq!(world.count(State::Suppressed), 50);
    assert!(sent(&world).iter().all(|index| index % 2 == 1));
    let last = world.sent.last().unwrap().at.since(world.sent[0].at);
    assert!(last < Duration::from_millis(720), "fifty at 80 a second, in spite of a hundred: {last:?}");
    let stored = &world.lanes[&lane(1, 0)].records;
    let reasons = stored.iter().filter(|record| record.state == State::Suppressed).map(|one| one.reason);
    assert!(reasons.eq(std::iter::repeat_n(31, 50)));
    assert!(stored.iter().filter(|record| record.state == State::Suppressed).all(|one| one.attempt == 0));
}

#[test]
fn what_is_stopped_after_its_claim_is_not_begun() {
    let mut world = world([]);
    world.load(lane(1, 0), "a", 100);
    world.run(ms(400));
    let before = world.sent.len();
    assert!(before > 10);
    world.stop_list = (0..100).map(|index| ((lane(1, 0), index), 31)).collect();
    world.run_until(MINUTE, |world| world.count(State::Accepted) + world.count(State::Suppressed) == 100);
    assert_eq!((world.sent.len(), world.count(State::Accepted)), (before, before));
}

#[test]
fn a_retry_that_waits_is_stopped_when_its_time_comes() {
    use crate::policy::classify::{Kind, Scope};
    let mut world = world([]);
    world.reply = Box::new(|_| verdict(Kind::Transient, Scope::Person, false));
    world.load(lane(1, 0), "a", 5);
    world.run_until(MINUTE, |world| world.count(State::Waiting) == 5);
    world.stop_list = (0..5).map(|index| ((lane(1, 0), index), 35)).collect();
    world.run_until(MINUTE, |world| world.count(State::Suppressed) == 5);
    assert_eq!(world.sent.len(), 5);
    assert!(world.lanes[&lane(1, 0)].records.iter().all(|record| (record.attempt, record.reason) == (1, 35)));
}

#[test]
fn a_copy_that_is_too_old_stops_claiming_and_gives_back() {
    let mut world = world([]);
    world.input(Input::StopList(world.now.after(ms(400))));
    world.load(lane(1, 0), "a", 100);
    world.run(MINUTE);
    let sent = world.sent.len();
    assert!((10..40).contains(&sent), "{sent}");
    assert_eq!(blocked(&world), Some(Blocked::StopList));
    assert_eq!((world.count(State::Queued), world.count(State::Accepted)), (100 - sent, sent));
    // An older answer that comes late says nothing.
    world.input(Input::StopList(world.now));
    world.run(MINUTE);
    assert_eq!(world.sent.len(), sent);
    world.input(Input::StopList(world.now.after(MINUTE)));
    world.run_until(MINUTE, |world| world.count(State::Accepted) == 100);
    assert_eq!(blocked(&world), None);
}
