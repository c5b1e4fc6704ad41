//! Anything in any order, as the contract allows it: nothing panics, every claimed message is given back, settled
//! or both begun and settled exactly once, and once the trouble is over everything comes to its end.

use std::time::Duration;

use proptest::prelude::*;

use super::world::*;
use crate::clock::WallMs;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::record::State;
use crate::policy::classify::{Kind, Scope, Verdict};
use crate::policy::shard::{
    Blocked, ClassHours, Input, LaneHours, NumberSetup, Output, ShardConfig, Throttled,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Running(u32, bool),
    TemplateStopped(u32, bool),
    Stopped(usize, bool),
    Load(u32, u32, usize),
    Drop(u32, u32),
    Redis(bool),
    Clock(bool),
    /// A campaign's lanes of the first and of the second class: open or not, and for how long that holds.
    Hours(u32, bool, bool, u64),
    Throttled(bool, u64),
    Line(bool),
    Probes(bool),
    Barrier(u64),
    Replies(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..3_000).prop_map(Step::Pass),
        1 => (1u32..4, any::<bool>()).prop_map(|(seq, on)| Step::Running(seq, on)),
        1 => (1u32..4, any::<bool>()).prop_map(|(seq, on)| Step::TemplateStopped(seq, on)),
        1 => (0usize..3, any::<bool>()).prop_map(|(at, on)| Step::Stopped(at, on)),
        2 => (1u32..4, 0u32..4, 1usize..60).prop_map(|(seq, lane, count)| Step::Load(seq, lane, count)),
        1 => (1u32..4, 0u32..4).prop_map(|(seq, lane)| Step::Drop(seq, lane)),
        1 => any::<bool>().prop_map(Step::Redis),
        1 => any::<bool>().prop_map(Step::Clock),
        2 => (1u32..4, any::<bool>(), any::<bool>(), 0u64..4_000)
            .prop_map(|(seq, one, other, wait)| Step::Hours(seq, one, other, wait)),
        1 => (any::<bool>(), 0u64..5_000).prop_map(|(account, wait)| Step::Throttled(account, wait)),
        1 => any::<bool>().prop_map(Step::Line),
        1 => any::<bool>().prop_map(Step::Probes),
        1 => (0u64..9).prop_map(Step::Barrier),
        2 => any::<u64>().prop_map(Step::Replies),
    ]
}

/// A mix of verdicts that depends on the seed and the message.
fn mixed(seed: u64) -> Box<dyn FnMut(&Sent) -> Verdict> {
    let mut state = seed;
    Box::new(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match state >> 33 & 63 {
            0 => verdict(Kind::Transient, Scope::App, true),
            1 | 2 => verdict(Kind::Unknown, Scope::App, true),
            3 => verdict(Kind::Transient, Scope::Person, false),
            4 => verdict(Kind::Throttled, Scope::Number, false),
            5 => verdict(Kind::Throttled, Scope::Pair, false),
            6 => verdict(Kind::Throttled, Scope::Account, false),
            7 => verdict(Kind::Permanent, Scope::Person, false),
            8 => verdict(Kind::Permanent, Scope::Template, false),
            9 => verdict(Kind::Doubtful, Scope::Person, false),
            10 => verdict(Kind::Held, Scope::Person, false),
            11 => verdict(Kind::Halt, Scope::Number, false),
            12 => verdict(Kind::Halt, Scope::Template, false),
            _ => accepted(),
        }
    })
}

/// The number that has a lane: it never changes here but by dropping.
fn home(id: LaneId) -> &'static str {
    NAMES[(id.lane as usize + id.campaign.0 as usize) % 3]
}

fn take(world: &mut World, step: &Step) {
    match *step {
        Step::Pass(wait) => world.run(ms(wait)),
        Step::Running(seq, running) => {
            let mut setup = campaign(seq);
            setup.running = running;
            world.campaign(setup);
        }
        Step::TemplateStopped(seq, template_stopped) => {
            let mut setup = campaign(seq);
            setup.template_stopped = template_stopped;
            world.campaign(setup);
        }
        Step::Stopped(at, stopped) => {
            let stopped = stopped.then_some(Blocked::Paused);
            world.number(NumberSetup { stopped, ..number(NAMES[at], rate(at)) });
        }
        Step::Load(seq, at, count) => world.load(lane(seq, at), home(lane(seq, at)), count),
        Step::Drop(seq, at) => {
            // As control does it: only lanes that were told, and told again once they are at rest.
            let id = lane(seq, at);
            if world.lanes.contains_key(&id) {
                world.input(Input::DropLane(id));
                world.run(ms(2_500));
                world.tell_lane(id, home(id));
            }
        }
        Step::Redis(up) => world.input(Input::Redis(up)),
        Step::Clock(right) => world.input(Input::Clock(right)),
        Step::Hours(seq, one, other, wait) => {
            let until = Some(WallMs(world.wall().0 + wait));
            let class = |open| ClassHours { open, until };
            let mut setup = campaign(seq);
            setup.hours = LaneHours::new(vec![0, 2], vec![class(one), class(other)]);
            world.campaign(setup);
        }
        Step::Throttled(account, wait) => {
            let account = account.then(|| "waba".to_owned());
            let until = world.now.after(ms(wait));
            world.input(Input::Throttled(Throttled { account, until }));
        }
        Step::Line(up) => world.line_up = up,
        Step::Probes(answered) => world.probes_answered = answered,
        Step::Barrier(version) => {
            world.input(Input::Barrier(version));
            assert!(world.ordered(|order| *order == Output::Reached(version)));
        }
        Step::Replies(seed) => world.reply = mixed(seed),
    }
}

fn rate(at: usize) -> Option<f64> {
    [Some(20.0), Some(80.0), None][at]
}

fn check(steps: &[Step], config: ShardConfig, jitter_ms: u64, breadth: usize) {
    let mut world = World::new(config);
    world.breadth = breadth;
    world.redis = (ms(1), ms(jitter_ms));
    for (at, name) in NAMES.into_iter().enumerate() {
        world.number(number(name, rate(at)));
    }
    for seq in 1..4 {
        world.campaign(campaign(seq));
    }
    for step in steps {
        take(&mut world, step);
    }
    // The trouble is over; an operator lets everything go on.
    (world.line_up, world.probes_answered) = (true, true);
    world.reply = Box::new(|_| accepted());
    world.input(Input::Redis(true));
    world.input(Input::Clock(true));
    for round in 0..4 {
        // Halts of requests that were still under way come after the first round.
        for (at, name) in NAMES.into_iter().enumerate() {
            world.number(number(name, rate(at)));
        }
        (1..4).for_each(|seq| world.campaign(campaign(seq)));
        let all: Vec<LaneId> = world.lanes.keys().copied().collect();
        all.into_iter().for_each(|id| world.tell_lane(id, home(id)));
        world.run(Duration::from_secs(300 * (round + 1)));
    }
    let open = [State::Queued, State::Waiting, State::Sending]
        .into_iter()
        .map(|state| world.count(state))
        .sum::<usize>();
    assert_eq!(open, 0, "{:?}", world.states());
    world.input(Input::Forget(CampaignSeq(2)));
    world.input(Input::Drain);
    world.run_until(Duration::from_secs(60), |world| world.ordered(|order| *order == Output::Drained));
    assert!(world.shard.numbers().all(|view| view.claimed == 0 && view.in_flight == 0));
    assert!(world.sent.iter().all(|sent| sent.number != NumberId::from("?")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_nothing_is_lost_or_twice_and_it_ends(
        steps in prop::collection::vec(any_step(), 1..60),
        jitter_ms in 0u64..80,
        connections in 1usize..12,
        unsettled in 1usize..200,
        breadth in 1usize..6,
    ) {
        let config = ShardConfig { max_connections: connections, max_unsettled: unsettled, ..config() };
        check(&steps, config, jitter_ms, breadth);
    }
}
