//! A budget that is shared with others and used up: nothing of it is sent, nothing is asked again in vain, and whoever may
//! act again does at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::world::*;
use crate::clock::{Mono, WallMs};
use crate::domain::ids::LaneId;
use crate::domain::record::State;
use crate::policy::shard::{Blocked, Held, Input, Message, NumberSetup, Output};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// People a portfolio has written to, each message to somebody else, and what control has said.
#[derive(Debug)]
struct Budget {
    limit: usize,
    window: Duration,
    counted: BTreeMap<(LaneId, u32), Mono>,
    /// Changes that the driver knows of.
    changes: u64,
    asked: usize,
    /// Those that were held.
    held: usize,
}

fn world(limit: usize, names: &[&str]) -> (World, Rc<RefCell<Budget>>) {
    let mut world = World::new(config());
    let counted = BTreeMap::new();
    let budget =
        Rc::new(RefCell::new(Budget { limit, window: HOUR, counted, changes: 0, asked: 0, held: 0 }));
    let shared = budget.clone();
    world.admit = Box::new(move |now, lane, index| {
        let budget = &mut *shared.borrow_mut();
        budget.asked += 1;
        budget.counted.retain(|_, at| now.since(*at) < budget.window);
        let known = budget.counted.contains_key(&(lane, index));
        if !known && budget.counted.len() >= budget.limit {
            budget.held += 1;
            let until = budget.counted.values().min().map(|at| at.after(budget.window));
            return (Some(Held::Budget { until, changes: budget.changes }), None);
        }
        budget.counted.insert((lane, index), now);
        (None, Some(now.after(Duration::from_secs(30))))
    });
    for name in names {
        world.number(NumberSetup { portfolio: Some("p".into()), ..number(name, Some(80.0)) });
    }
    world.campaign(campaign(1));
    (world, budget)
}

fn claims(world: &World) -> usize {
    world.times(|order| matches!(order, Output::Claim { .. })).len()
}

fn change(world: &mut World, budget: &RefCell<Budget>, limit: usize) {
    budget.borrow_mut().limit = limit;
    budget.borrow_mut().changes += 1;
    let changes = budget.borrow().changes;
    world.input(Input::Budget(Arc::from("p"), changes));
}

#[test]
fn exactly_the_limit_is_sent_and_then_nothing_is_asked_until_the_first_has_left() {
    let (mut world, budget) = world(50, &["a", "b"]);
    world.load(lane(1, 0), "a", 60);
    world.load(lane(1, 1), "b", 60);
    world.run(MINUTE);
    assert_eq!((world.sent.len(), world.count(State::Queued)), (50, 70));
    assert_eq!((world.blocked("a"), world.blocked("b")), (Some(Blocked::Budget), Some(Blocked::Budget)));
    let first = world.sent[0].at;
    let until = world.shard.numbers().filter_map(|view| view.blocked?.1).min().unwrap();
    assert!(until.since(first) <= HOUR && until.since(first) > HOUR - ms(200), "{until:?} {first:?}");
    let (before, asked) = (world.orders.len(), budget.borrow().asked);
    world.run(HOUR - 2 * MINUTE);
    assert_eq!((world.orders.len(), budget.borrow().asked), (before, asked), "it costs nothing");
    world.run(5 * MINUTE);
    assert_eq!(world.sent.len(), 100);
    world.run(HOUR);
    assert!(world.all_accepted());
    let attempts = world.lanes.values().flat_map(|lane| &lane.records).map(|record| record.attempt);
    assert!(attempts.eq(std::iter::repeat_n(1, 120)), "being held costs no attempt");
}

#[test]
fn where_people_leave_one_after_the_other_it_asks_about_once_a_second() {
    let (mut world, budget) = world(20, &["a"]);
    // They were written to ten a second, and so they leave.
    let spread = (0..20u32).map(|one| ((lane(9, 0), one), Mono(ms(100) * one)));
    budget.borrow_mut().counted = spread.collect();
    world.load(lane(1, 0), "a", 20);
    world.run(HOUR - MINUTE);
    let before = claims(&world);
    world.run_until(2 * MINUTE, World::all_accepted);
    assert!(claims(&world) - before < 25, "{}", claims(&world) - before);
}

#[test]
fn a_raise_wakes_everybody_at_once_though_an_older_answer_comes_later() {
    let (mut world, budget) = world(10, &["a", "b"]);
    world.redis = (ms(40), ms(0));
    world.load(lane(1, 0), "a", 100);
    world.load(lane(1, 1), "b", 100);
    // A claim that was judged by the old limit is on its way back now.
    world.run_until(MINUTE, |_| budget.borrow().held > 0);
    change(&mut world, &budget, 60);
    assert_eq!((world.blocked("a"), world.blocked("b")), (None, None));
    world.run(Duration::from_secs(3));
    assert_eq!(world.sent.len(), 60);
    assert_eq!((world.blocked("a"), world.blocked("b")), (Some(Blocked::Budget), Some(Blocked::Budget)));
    let raised = world.now;
    change(&mut world, &budget, 200);
    world.run_until(Duration::from_secs(1), |world| world.sent.len() > 62);
    assert!(world.now.since(raised) < ms(300), "{:?}", world.now.since(raised));
    world.run_until(MINUTE, World::all_accepted);
}

#[test]
fn what_was_admitted_too_long_ago_is_admitted_anew() {
    let (mut world, budget) = world(10, &[]);
    world.number(NumberSetup { portfolio: Some("p".into()), ..number("slow", Some(0.01)) });
    world.load(lane(1, 0), "slow", 2);
    world.run_until(HOUR, World::all_accepted);
    for sent in &world.sent {
        let admitted = budget.borrow().counted[&(sent.lane, sent.index)];
        assert!(sent.at.since(admitted) <= Duration::from_secs(30), "{sent:?} was admitted at {admitted:?}");
    }
}

#[test]
fn a_number_of_another_portfolio_goes_on() {
    let (mut world, _) = world(0, &["a"]);
    world.number(NumberSetup { portfolio: Some("other".into()), ..number("b", Some(80.0)) });
    let inner = std::mem::replace(&mut world.admit, Box::new(|_, _, _| (None, None)));
    let mut inner = inner;
    world.admit =
        Box::new(move |now, id, index| if id == lane(1, 0) { inner(now, id, index) } else { (None, None) });
    world.load(lane(1, 0), "a", 10);
    world.load(lane(1, 1), "b", 10);
    world.run_until(MINUTE, |world| world.sent.len() == 10);
    world.run(MINUTE);
    assert_eq!((world.blocked("a"), world.blocked("b")), (Some(Blocked::Budget), None));
    assert!(world.sent.iter().all(|sent| sent.lane == lane(1, 1)));
}

#[test]
fn of_several_limits_the_first_to_end_counts() {
    let mut message = Message {
        index: 0,
        generation: 1,
        attempt: 0,
        loaded_at: WallMs(0),
        stopped: None,
        held: None,
        admitted_until: None,
        payload: (),
    };
    for (asked_ms, first_ms) in [(2_000, 2_000), (30_000, 2_000), (1_000, 1_000)] {
        message.admit_until(Mono(ms(asked_ms)));
        assert_eq!(message.admitted_until, Some(Mono(ms(first_ms))));
    }
}
