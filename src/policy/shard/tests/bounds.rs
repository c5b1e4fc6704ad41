//! What a campaign may not do though it runs: more than its first N, more than its share, outside its hours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::world::*;
use crate::clock::Mono;
use crate::domain::ids::CampaignSeq;
use crate::domain::record::State;
use crate::policy::classify::{Kind, Scope};
use crate::policy::first::First;
use crate::policy::shard::{CampaignSetup, Input, Output};

const MINUTE: Duration = Duration::from_secs(60);

/// Campaign 1 with these ceilings.
fn up_to(ceilings: &[(u32, u32)]) -> CampaignSetup {
    let ceilings: BTreeMap<u32, u32> = ceilings.iter().copied().collect();
    let granted = ceilings.values().map(|ceiling| u64::from(*ceiling)).sum();
    CampaignSetup { first: Some(Arc::new(First { granted, ceilings })), ..campaign(1) }
}

fn two_numbers() -> World {
    let mut world = World::new(config());
    world.number(number("a", Some(80.0)));
    world.number(number("b", None));
    world
}

fn sent_by(world: &World, seq: u32) -> usize {
    world.sent.iter().filter(|sent| sent.lane.campaign == CampaignSeq(seq)).count()
}

#[test]
fn exactly_the_first_leave_and_the_rest_when_the_ceilings_go() {
    let mut world = two_numbers();
    world.campaign(up_to(&[(0, 7), (1, 3)]));
    for (at, name) in [(0, "a"), (1, "b"), (2, "b")] {
        world.load(lane(1, at), name, 50);
    }
    world.run(MINUTE);
    assert_eq!(world.sent.len(), 10);
    assert!(
        world
            .sent
            .iter()
            .all(|sent| sent.index < if sent.lane.lane == 0 { 7 } else { 3 } && sent.lane.lane < 2)
    );
    // Higher ceilings let more go, and what is loaded meanwhile does not.
    world.campaign(up_to(&[(0, 8), (2, 1)]));
    world.load(lane(1, 1), "b", 50);
    world.run(MINUTE);
    assert_eq!(world.sent.len(), 12);
    world.campaign(campaign(1));
    world.run_until(MINUTE, |world| world.count(State::Accepted) == 200);
}

#[test]
fn a_pause_in_the_middle_of_the_first_neither_adds_nor_loses_one() {
    let mut world = two_numbers();
    world.redis = (ms(1), ms(30));
    world.campaign(up_to(&[(0, 60), (1, 40)]));
    world.load(lane(1, 0), "a", 200);
    world.load(lane(1, 1), "b", 200);
    for _ in 0..6 {
        world.run(ms(37));
        world.campaign(CampaignSetup { running: false, ..up_to(&[(0, 60), (1, 40)]) });
        world.run(ms(111));
        world.campaign(up_to(&[(0, 60), (1, 40)]));
    }
    world.run(MINUTE);
    assert_eq!((world.sent.len(), world.count(State::Accepted)), (100, 100));
}

#[test]
fn a_retry_of_the_first_is_sent_below_the_ceiling() {
    let mut world = two_numbers();
    let mut refused = false;
    world.reply = Box::new(move |sent| {
        let again = sent.index == 2 && !std::mem::replace(&mut refused, true);
        if again { verdict(Kind::Transient, Scope::Person, false) } else { accepted() }
    });
    world.campaign(up_to(&[(0, 5)]));
    world.load(lane(1, 0), "a", 50);
    world.run(MINUTE);
    assert_eq!((world.sent.len(), world.count(State::Accepted), world.count(State::Queued)), (6, 5, 45));
}

#[test]
fn a_campaign_keeps_to_its_share_and_leaves_the_rest_to_others() {
    let mut world = two_numbers();
    world.campaign(CampaignSetup { pace_share_per_mille: Some(250), ..campaign(1) });
    world.load(lane(1, 0), "a", 2_000);
    world.run(Duration::from_secs(10));
    let alone = sent_by(&world, 1);
    assert!((190..=201).contains(&alone), "{alone} of 800 in ten seconds at a quarter");
    let dry = |(at, order): &(Mono, Output<()>)| {
        *at > Mono::default() && matches!(order, Output::Dry(number) if &*number.0 == "a")
    };
    assert!(!world.orders.iter().any(dry), "a number that is held back is not dry");
    world.campaign(campaign(2));
    world.load(lane(2, 0), "a", 2_000);
    world.run(Duration::from_secs(10));
    let (ours, others) = (sent_by(&world, 1) - alone, sent_by(&world, 2));
    assert!((185..=205).contains(&ours), "{ours}");
    assert!(others >= 570, "{others}");
    // Taken away, it is all again.
    world.campaign(campaign(1));
    world.campaign(CampaignSetup { running: false, ..campaign(2) });
    let before = sent_by(&world, 1);
    world.run(Duration::from_secs(10));
    assert!(sent_by(&world, 1) - before > 770);
}

#[test]
fn a_campaign_outside_its_hours_gives_back_what_it_claimed() {
    let mut world = two_numbers();
    world.campaign(campaign(1));
    world.campaign(campaign(2));
    world.load(lane(1, 0), "a", 200);
    world.load(lane(2, 0), "a", 200);
    world.run(ms(500));
    world.campaign(CampaignSetup { open: false, ..campaign(1) });
    let before = sent_by(&world, 1);
    world.run(Duration::from_secs(2));
    assert_eq!(sent_by(&world, 1), before);
    assert!(sent_by(&world, 2) > 100);
    let states = world.lanes[&lane(1, 0)].records.iter().map(|record| record.state);
    assert_eq!(states.filter(|state| *state == State::Sending).count(), 0);
    world.campaign(campaign(1));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn a_campaign_that_becomes_urgent_is_sent_first() {
    let mut world = two_numbers();
    world.campaign(campaign(1));
    world.campaign(campaign(2));
    world.load(lane(1, 0), "a", 400);
    world.load(lane(2, 0), "a", 400);
    world.run(Duration::from_secs(1));
    world.campaign(CampaignSetup { rank: 0, ..campaign(2) });
    world.run(ms(200));
    let before = sent_by(&world, 1);
    world.run(Duration::from_secs(2));
    assert_eq!(sent_by(&world, 1), before);
}

#[test]
fn what_became_due_behind_our_back_is_found_when_told() {
    let mut world = two_numbers();
    world.reply = Box::new(|sent| {
        let first = sent.generation == 1 && sent.index == 3;
        if first { verdict(Kind::Permanent, Scope::Person, false) } else { accepted() }
    });
    world.campaign(campaign(1));
    world.load(lane(1, 0), "a", 10);
    world.run_until(MINUTE, |world| world.count(State::Failed) == 1);
    world.run(MINUTE);
    // As the retry script does it.
    let now_ms = world.wall().0;
    let stored = world.lanes.get_mut(&lane(1, 0)).unwrap();
    let record = &mut stored.records[3];
    (record.state, record.attempt) = (State::Waiting, 0);
    stored.retry.insert(3, now_ms);
    world.tell_lane(lane(1, 0), "a");
    world.run_until(MINUTE, World::all_accepted);
    world.input(Input::Time);
}
