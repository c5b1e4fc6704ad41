//! Pace, priorities, turns, what is claimed ahead, connections, lanes that grow and leave.

use std::time::Duration;

use super::world::*;
use crate::clock::Mono;
use crate::domain::ids::{CampaignSeq, NumberId};
use crate::domain::record::State;
use crate::policy::classify::{Kind, Scope};
use crate::policy::shard::{Blocked, CampaignSetup, Input, Output, ShardConfig};

const MINUTE: Duration = Duration::from_secs(60);

/// One number `a` and one running campaign 1.
fn one(rate_per_s: Option<f64>, config: ShardConfig) -> World {
    let mut world = World::new(config);
    world.number(number("a", rate_per_s));
    world.campaign(campaign(1));
    world
}

#[test]
fn every_number_keeps_its_pace_and_uses_it() {
    let mut world = World::new(config());
    world.campaign(campaign(1));
    let rates = [("a", 20.0), ("b", 80.0), ("c", 300.0)];
    for (at, (name, rate)) in rates.into_iter().enumerate() {
        world.number(number(name, Some(rate)));
        world.load(lane(1, u32::try_from(at).unwrap()), name, 4_000);
    }
    world.run(Duration::from_secs(10));
    for (name, rate) in rates {
        let sent: Vec<Mono> =
            world.sent.iter().filter(|sent| &*sent.number.0 == name).map(|sent| sent.at).collect();
        #[allow(clippy::cast_precision_loss, reason = "small counts")]
        let (worst, used) = (worst_second(&sent) as f64, sent.len() as f64 / 10.0 / rate);
        assert!(worst <= rate, "{name}: {worst} in one second");
        assert!(used > 0.97, "{name}: {used} of its pace");
    }
}

#[test]
fn priorities_are_strict() {
    let mut world = one(Some(80.0), config());
    let mut urgent = campaign(2);
    urgent.rank = 0;
    world.load(lane(1, 0), "a", 500);
    world.run(Duration::from_secs(1));
    let before = world.sent.len();
    world.campaign(urgent);
    world.load(lane(2, 0), "a", 100);
    world.run_until(MINUTE, |world| world.sent.len() >= before + 104);
    let after = &world.sent[before..];
    let last = after.iter().rposition(|sent| sent.lane.campaign == CampaignSeq(2)).unwrap();
    let others = after[..last].iter().filter(|sent| sent.lane.campaign == CampaignSeq(1)).count();
    assert!(others <= 4, "{others} bulk messages before the last urgent one, more than were claimed already");
}

#[test]
fn campaigns_of_one_priority_take_turns() {
    let mut world = one(Some(80.0), config());
    world.campaign(campaign(2));
    // Many lanes in one campaign and one in the other: the turns are the campaigns', not the lanes'.
    for at in 0..8 {
        world.load(lane(1, at), "a", 100);
    }
    world.load(lane(2, 0), "a", 400);
    world.run_until(MINUTE, |world| world.sent.len() >= 400);
    let of_two = world.sent.iter().filter(|sent| sent.lane.campaign == CampaignSeq(2)).count();
    assert!((180..=220).contains(&of_two), "{of_two} of 400");
}

#[test]
fn without_a_pace_slots_bound_what_is_claimed_and_in_flight() {
    let mut world = one(None, ShardConfig { max_in_flight: 8, ..config() });
    world.load(lane(1, 0), "a", 300);
    world.latency = ms(200);
    world.run_until(MINUTE, |world| world.blocked("a") == Some(Blocked::Slots));
    world.run_until(MINUTE, World::all_accepted);
    let sending = world.orders.iter().filter_map(|(_, order)| match order {
        Output::Claim { fresh, due, .. } => Some(fresh + due),
        _ => None,
    });
    assert!(sending.max().unwrap() <= 8);
}

#[test]
fn unsettled_messages_are_bounded_and_every_number_goes_on_after_it() {
    let mut world = one(None, ShardConfig { max_unsettled: 16, ..config() });
    world.number(number("b", None));
    world.load(lane(1, 0), "a", 400);
    world.run(ms(40));
    // B comes while A's outcomes fill the bound; nothing but their settling can wake it.
    world.load(lane(1, 1), "b", 40);
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn a_number_that_was_held_by_the_bound_of_unsettled_is_woken() {
    let mut world = one(None, ShardConfig { max_unsettled: 1, max_in_flight: 1, ..config() });
    world.load(lane(1, 0), "a", 1);
    world.run_until(MINUTE, |world| world.ordered(|order| matches!(order, Output::Settle { .. })));
    world.number(number("b", None));
    world.load(lane(1, 1), "b", 1);
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn no_number_starves_when_connections_are_scarce() {
    let mut world = World::new(ShardConfig { max_connections: 2, ..config() });
    world.campaign(campaign(1));
    for (at, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        world.number(number(name, None));
        world.load(lane(1, u32::try_from(at).unwrap()), name, 200);
    }
    world.run_until(MINUTE, |world| world.sent.len() >= 200);
    for name in ["a", "b", "c", "d", "e"] {
        let sent = world.sent.iter().filter(|sent| &*sent.number.0 == name).count();
        assert!((30..=50).contains(&sent), "{name} sent {sent} of 200");
    }
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn a_connection_that_takes_many_at_once_is_filled_before_another_is_opened() {
    let mut world = World::new(ShardConfig { max_in_flight: 1_000, ..config() });
    (world.breadth, world.latency) = (50, ms(400));
    world.campaign(campaign(1));
    world.number(number("a", Some(100.0)));
    world.load(lane(1, 0), "a", 400);
    world.run_until(MINUTE, World::all_accepted);
    let opened = world.orders.iter().map(|(_, order)| match order {
        Output::Connect(count) => *count,
        _ => 0,
    });
    // The first wish is spoken before the breadth is known; 40 in flight need one connection.
    assert!(opened.sum::<usize>() <= 6, "{:?}", world.orders.len());
}

#[test]
fn a_number_with_nothing_to_send_swallows_no_connection() {
    let mut world = World::new(ShardConfig { max_connections: 1, ..config() });
    world.campaign(campaign(1));
    world.campaign(campaign(2));
    world.latency = ms(2000);
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        world.number(number(name, None));
        world.load(lane(u32::from(at == 1) + 1, u32::try_from(at).unwrap()), name, 2);
    }
    world.run(ms(500));
    assert_eq!(
        (world.blocked("b"), world.blocked("c")),
        (Some(Blocked::Connection), Some(Blocked::Connection))
    );
    // B waits in line first, and has nothing to send any more when its turn comes.
    let mut paused = campaign(2);
    paused.running = false;
    world.campaign(paused);
    world.run_until(MINUTE, |world| world.count(State::Accepted) == 4);
    world.campaign(campaign(2));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn a_lane_that_grew_is_looked_at_again() {
    let mut world = one(Some(80.0), config());
    world.load(lane(1, 0), "a", 10);
    world.run_until(MINUTE, World::all_accepted);
    assert!(world.ordered(|order| matches!(order, Output::Dry(_))));
    world.load(lane(1, 0), "a", 10);
    world.run_until(MINUTE, |world| world.count(State::Accepted) == 20);
}

#[test]
fn a_dropped_lane_comes_to_rest_and_may_be_sent_by_another_number() {
    let mut world = one(Some(80.0), config());
    world.number(number("b", Some(80.0)));
    world.load(lane(1, 0), "a", 100);
    world.run(ms(500));
    world.input(Input::DropLane(lane(1, 0)));
    let sent = world.sent.len();
    world.run_until(MINUTE, |world| world.ordered(|order| *order == Output::Dropped(lane(1, 0))));
    assert_eq!((world.sent.len(), world.count(State::Sending)), (sent, 0));
    world.tell_lane(lane(1, 0), "b");
    world.run_until(MINUTE, World::all_accepted);
    assert!(world.sent[sent..].iter().all(|sent| sent.number == NumberId::from("b")));
}

#[test]
fn an_unknown_lane_is_dropped_at_once() {
    let mut world = one(Some(80.0), config());
    world.input(Input::DropLane(lane(1, 9)));
    assert!(world.ordered(|order| *order == Output::Dropped(lane(1, 9))));
}

#[test]
fn a_campaign_that_was_over_and_is_loaded_again_goes_on() {
    let mut world = one(Some(80.0), config());
    world.load(lane(1, 0), "a", 30);
    world.run_until(MINUTE, World::all_accepted);
    world.run(ms(500));
    world.input(Input::Forget(CampaignSeq(1)));
    assert!(!world.shard.knows(lane(1, 0)));
    world.run(ms(500));
    world.campaign(campaign(1));
    world.load(lane(1, 0), "a", 30);
    world.run_until(MINUTE, |world| world.count(State::Accepted) == 60);
}

#[test]
fn an_urgent_message_overtakes_what_is_claimed_and_what_is_left() {
    let mut world = one(Some(80.0), config());
    world.campaign(CampaignSetup { rank: 3, ..campaign(1) });
    world.campaign(CampaignSetup { rank: 0, ..campaign(2) });
    world.load(lane(1, 0), "a", 5_000);
    world.run(Duration::from_secs(2));
    for at in 0..20 {
        let asked = world.now;
        world.load(lane(2, at), "a", 1);
        let of_two = |world: &World| world.sent.iter().filter(|sent| sent.lane == lane(2, at)).count() == 1;
        world.run_until(MINUTE, of_two);
        let waited = world.now.since(asked);
        assert!(waited <= Duration::from_millis(50) + Duration::from_secs_f64(1.0 / 80.0), "{waited:?}");
        world.run(Duration::from_millis(137));
    }
}

#[test]
fn a_lower_priority_gets_its_guaranteed_share_and_no_more() {
    let mut world = one(Some(80.0), ShardConfig { guaranteed_share: 0.05, ..config() });
    world.campaign(CampaignSetup { rank: 0, ..campaign(1) });
    world.campaign(CampaignSetup { rank: 3, ..campaign(2) });
    world.load(lane(1, 0), "a", 5_000);
    world.load(lane(2, 0), "a", 5_000);
    world.run(Duration::from_secs(40));
    let of_two = world.sent.iter().filter(|sent| sent.lane.campaign == CampaignSeq(2)).count();
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    let share = of_two as f64 / world.sent.len() as f64;
    assert!((0.04..0.06).contains(&share), "{share} of {}", world.sent.len());
}

#[test]
fn what_a_lower_priority_is_owed_does_not_let_the_rest_of_its_lane_go_first() {
    let mut world = one(Some(80.0), ShardConfig { guaranteed_share: 0.05, ..config() });
    world.campaign(CampaignSetup { rank: 0, ..campaign(1) });
    world.campaign(CampaignSetup { rank: 3, ..campaign(2) });
    world.load(lane(2, 0), "a", 5_000);
    world.run(Duration::from_secs(2));
    // One at a time, so that lanes below have their claimed messages in line whenever one comes; more than it takes to
    // owe them something several times.
    for _ in 0..100 {
        let before = world.sent.len();
        world.load(lane(1, 0), "a", 1);
        let urgent = |sent: &super::world::Sent| sent.lane.campaign == CampaignSeq(1);
        world.run_until(MINUTE, |world| world.sent[before..].iter().any(urgent));
        let ahead = world.sent.len() - before - 1;
        // What leaves while it is claimed, and what is owed.
        assert!(ahead <= 3, "{ahead} went ahead of an urgent message");
        world.run(ms(100));
    }
}

#[test]
fn campaigns_of_one_priority_get_messages_by_their_weights() {
    let mut world = one(Some(80.0), config());
    world.campaign(CampaignSetup { weight: 3, ..campaign(1) });
    world.campaign(campaign(2));
    // One lane against many: messages count, not lanes.
    world.load(lane(1, 0), "a", 4_000);
    for at in 0..8 {
        world.load(lane(2, at), "a", 500);
    }
    world.run_until(MINUTE, |world| world.sent.len() >= 1_600);
    let of_one = world.sent.iter().filter(|sent| sent.lane.campaign == CampaignSeq(1)).count();
    assert!((1_150..=1_250).contains(&of_one), "{of_one} of 1600");
}

#[test]
fn a_campaign_that_was_away_saves_up_no_turns() {
    let mut world = one(Some(80.0), config());
    world.campaign(campaign(2));
    world.load(lane(1, 0), "a", 5_000);
    world.run(Duration::from_secs(10));
    let before = world.sent.len();
    world.load(lane(2, 0), "a", 5_000);
    world.run(Duration::from_secs(5));
    let of_two = world.sent[before..].iter().filter(|sent| sent.lane.campaign == CampaignSeq(2)).count();
    let all = world.sent.len() - before;
    assert!(of_two.abs_diff(all / 2) <= 10, "{of_two} of {all}");
}

#[test]
fn a_retry_does_not_wait_for_the_whole_backlog() {
    let mut world = one(Some(80.0), config());
    for at in 0..4 {
        world.load(lane(1, at), "a", 2_000);
    }
    let mut refused = false;
    world.reply = Box::new(move |_| {
        let first = !std::mem::replace(&mut refused, true);
        if first { verdict(Kind::Transient, Scope::Person, false) } else { accepted() }
    });
    world.run(Duration::from_secs(10));
    let again = world.sent.iter().filter(|sent| sent.generation == 2).count();
    assert_eq!(again, 1, "its backoff is 2 s at most, and 8000 others wait");
}
