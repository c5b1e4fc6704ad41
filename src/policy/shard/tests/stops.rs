//! Pause, halts, drain, hours, Redis away: what stops, what goes on, and the words for it.

use std::time::Duration;

use super::world::*;
use crate::clock::Mono;
use crate::domain::ids::{CampaignSeq, NumberId};
use crate::domain::record::State;
use crate::policy::classify::{Kind, Scope, Verdict};
use crate::policy::shard::{Blocked, Input, NumberSetup, Output, ShardConfig, TEMPLATE_STRIKES, Throttled};

const MINUTE: Duration = Duration::from_secs(60);

/// Numbers a, b (account waba) and c (another); campaigns 1 on a, 2 on b, 3 on c, of a hundred each.
fn three() -> World {
    let mut world = World::new(config());
    for (seq, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let account = if name == "c" { "other" } else { "waba" }.to_owned();
        world.number(NumberSetup { account, ..number(name, Some(80.0)) });
        world.campaign(campaign(seq));
        world.load(lane(seq, 0), name, 100);
    }
    world
}

/// Answers once with `verdict` to campaign 1, and accepts the rest.
fn once(verdict: Verdict) -> Box<dyn FnMut(&Sent) -> Verdict> {
    let mut left = Some(verdict);
    Box::new(move |sent| match sent.lane.campaign {
        CampaignSeq(1) => left.take().unwrap_or_else(accepted),
        _ => accepted(),
    })
}

fn sent_by(world: &World, seq: u32) -> usize {
    world.sent.iter().filter(|sent| sent.lane.campaign == CampaignSeq(seq)).count()
}

#[test]
fn after_a_pause_is_reached_nothing_of_it_begins_and_nothing_stays_claimed() {
    let mut world = three();
    world.run(ms(400));
    let mut paused = campaign(1);
    paused.running = false;
    world.campaign(paused);
    world.input(Input::Barrier(9));
    assert!(world.ordered(|order| *order == Output::Reached(9)));
    let (ours, others) = (sent_by(&world, 1), sent_by(&world, 2));
    world.run(Duration::from_secs(10));
    assert_eq!(sent_by(&world, 1), ours);
    assert!(sent_by(&world, 2) > others);
    let states: Vec<State> = world.lanes[&lane(1, 0)].records.iter().map(|record| record.state).collect();
    assert_eq!(states.iter().filter(|state| **state == State::Accepted).count(), ours);
    assert!(states.iter().all(|state| matches!(state, State::Accepted | State::Queued)));
    assert!(
        world.lanes[&lane(1, 0)]
            .records
            .iter()
            .all(|record| record.state != State::Queued || record.generation == 0)
    );
    world.campaign(campaign(1));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn a_claim_answered_after_the_pause_is_given_back() {
    let mut world = three();
    world.redis = (ms(200), ms(0));
    world.run_until(MINUTE, |world| {
        world.ordered(|order| matches!(order, Output::Claim { lane: id, .. } if *id == lane(1, 0)))
    });
    let mut paused = campaign(1);
    paused.running = false;
    world.campaign(paused);
    world.run(Duration::from_secs(5));
    assert_eq!(sent_by(&world, 1), 0);
    assert!(world.lanes[&lane(1, 0)].records.iter().all(|record| record.to_bytes() == [0; 4]));
}

#[test]
fn what_a_paused_campaign_has_claimed_is_given_back_though_it_stands_behind_another() {
    let mut world = World::new(ShardConfig { max_connections: 1, ..config() });
    world.latency = ms(60_000);
    world.number(number("a", None));
    for seq in [1, 2] {
        world.campaign(campaign(seq));
        world.load(lane(seq, 0), "a", 20);
    }
    // One request holds the only connection; what both campaigns have claimed waits behind it.
    let claimed = |world: &World, seq| {
        world.lanes[&lane(seq, 0)].records.iter().filter(|record| record.state == State::Sending).count()
    };
    world.run_until(MINUTE, |world| world.sent.len() == 1 && claimed(world, 1) > 1 && claimed(world, 2) > 1);
    let behind = if world.sent[0].lane == lane(1, 0) { 2 } else { 1 };
    let mut paused = campaign(behind);
    paused.running = false;
    world.campaign(paused);
    world.run(ms(500));
    assert_eq!(claimed(&world, behind), 0);
    assert!(claimed(&world, 3 - behind) > 1);
}

#[test]
fn a_halt_of_a_number_stops_that_number() {
    let mut world = three();
    world.reply = once(verdict(Kind::Halt, Scope::Number, false));
    world.run(Duration::from_secs(20));
    assert_eq!((world.blocked("a"), world.blocked("b")), (Some(Blocked::Halted), None));
    assert_eq!((sent_by(&world, 2), sent_by(&world, 3)), (100, 100));
    assert!(sent_by(&world, 1) < 10);
    assert_eq!(
        world
            .times(|order| matches!(order, Output::Halt { number, .. } if *number == NumberId::from("a")))
            .len(),
        1
    );
    let left = world.lanes[&lane(1, 0)].records.iter().filter(|record| record.state == State::Queued).count();
    assert!(left > 90 && world.count(State::Sending) == 0 && world.count(State::Failed) == 0);
    world.number(number("a", Some(80.0)));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn a_halt_of_an_account_stops_its_numbers() {
    let mut world = three();
    world.reply = once(verdict(Kind::Halt, Scope::Account, false));
    world.run(Duration::from_secs(20));
    assert_eq!((world.blocked("a"), world.blocked("b")), (Some(Blocked::Halted), Some(Blocked::Halted)));
    assert_eq!((world.blocked("c"), sent_by(&world, 3)), (None, 100));
    assert!(sent_by(&world, 1) < 10 && sent_by(&world, 2) < 10);
}

#[test]
fn a_halt_of_the_app_stops_everything() {
    let mut world = three();
    world.reply = once(verdict(Kind::Halt, Scope::App, false));
    world.run(Duration::from_secs(20));
    assert!(world.sent.len() < 20, "{}", world.sent.len());
}

#[test]
fn a_halt_of_a_template_stops_its_campaigns() {
    let mut world = three();
    let mut same = campaign(2);
    same.template = campaign(1).template;
    world.campaign(same.clone());
    world.reply = once(verdict(Kind::Halt, Scope::Template, false));
    world.run(Duration::from_secs(20));
    assert!(sent_by(&world, 1) < 10 && sent_by(&world, 2) < 10);
    assert_eq!((sent_by(&world, 3), world.blocked("a")), (100, None));
    assert_eq!(world.count(State::Sending), 0);
    world.campaign(campaign(1));
    world.campaign(same);
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn refusals_in_a_row_that_blame_the_template_halt_it() {
    let mut world = three();
    world.latency = ms(1);
    let permanent = verdict(Kind::Permanent, Scope::Template, false);
    world.reply =
        Box::new(move |sent| if sent.lane.campaign == CampaignSeq(1) { permanent } else { accepted() });
    world.run(Duration::from_secs(20));
    assert_eq!(world.count(State::Failed), TEMPLATE_STRIKES as usize);
    assert_eq!((sent_by(&world, 2), sent_by(&world, 3)), (100, 100));
    assert_eq!(world.times(|order| matches!(order, Output::Halt { .. })).len(), 1);
}

#[test]
fn refusals_that_are_not_in_a_row_halt_nothing() {
    let mut world = three();
    world.latency = ms(1);
    let mut count = 0;
    world.reply = Box::new(move |sent| {
        count += u32::from(sent.lane.campaign == CampaignSeq(1));
        let refuse = sent.lane.campaign == CampaignSeq(1) && !count.is_multiple_of(TEMPLATE_STRIKES);
        if refuse { verdict(Kind::Permanent, Scope::Template, false) } else { accepted() }
    });
    world.run(Duration::from_secs(20));
    assert_eq!((world.count(State::Failed), world.count(State::Accepted)), (80, 220));
}

#[test]
fn drain_gives_back_what_was_not_begun_and_ends() {
    let mut world = three();
    world.run(ms(300));
    world.input(Input::Drain);
    let begun = world.sent.len();
    world.run_until(MINUTE, |world| world.ordered(|order| *order == Output::Drained));
    assert_eq!((world.sent.len(), world.count(State::Accepted)), (begun, begun));
    assert_eq!(world.count(State::Sending), 0);
    world.run(Duration::from_secs(5));
    assert_eq!(world.times(|order| *order == Output::Drained).len(), 1);
    assert_eq!(world.sent.len(), begun);
}

#[test]
fn a_drain_with_a_claim_under_way_waits_for_it() {
    let mut world = three();
    world.redis = (ms(300), ms(0));
    world.run_until(MINUTE, |world| world.ordered(|order| matches!(order, Output::Claim { .. })));
    world.input(Input::Drain);
    assert!(!world.ordered(|order| *order == Output::Drained));
    world.run_until(MINUTE, |world| world.ordered(|order| *order == Output::Drained));
    assert_eq!((world.sent.len(), world.count(State::Queued)), (0, 300));
}

#[test]
fn an_idle_shard_drains_at_once() {
    let mut world = World::new(config());
    world.input(Input::Drain);
    assert!(world.ordered(|order| *order == Output::Drained));
}

#[test]
fn without_redis_nothing_is_claimed_and_with_it_all_goes_on() {
    let mut world = three();
    world.run(ms(300));
    world.input(Input::Redis(false));
    let claims = world.times(|order| matches!(order, Output::Claim { .. })).len();
    world.run(Duration::from_secs(5));
    assert_eq!(world.times(|order| matches!(order, Output::Claim { .. })).len(), claims);
    assert_eq!(world.blocked("a"), Some(Blocked::Redis));
    world.input(Input::Redis(true));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn a_clock_that_is_wrong_sends_nothing() {
    let mut world = three();
    world.run(ms(300));
    world.input(Input::Clock(false));
    let begun = world.sent.len();
    world.run(Duration::from_secs(5));
    assert_eq!((world.sent.len(), world.count(State::Sending)), (begun, 0));
    assert_eq!(world.blocked("a"), Some(Blocked::Clock));
    world.input(Input::Clock(true));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn the_words_for_being_blocked() {
    let mut world = three();
    assert_eq!(world.blocked("a"), None);
    world.number(NumberSetup { stopped: Some(Blocked::Paused), ..number("a", Some(80.0)) });
    assert_eq!(world.blocked("a"), Some(Blocked::Paused));
    let until = Mono(Duration::from_secs(3));
    world.input(Input::Throttled(Throttled { account: Some("waba".to_owned()), until }));
    assert_eq!((world.blocked("a"), world.blocked("b")), (Some(Blocked::Paused), Some(Blocked::Throttle)));
    assert_eq!(world.blocked("c"), None);
    world.run(Duration::from_secs(4));
    assert_eq!(world.blocked("b"), None);
    world.input(Input::Drain);
    assert_eq!(world.blocked("c"), Some(Blocked::Draining));
}
