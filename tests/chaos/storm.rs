//! What befalls a trial, drawn from its seed: kills, freezes, and ways that are cut, stalled, reset and torn.

use std::collections::BTreeSet;
use std::time::Duration;

use carteiro::clock;
use nix::sys::signal::Signal;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use crate::fleet::outcome;
use crate::guard::{PATIENCE, pause};
use crate::settings::Kind;
use crate::trial::{CAMPAIGN, Deed, Trial};
use crate::way::Mode;

/// One of so many kills of engines is made in calm weather, to measure how long the others take.
const CALM_ONE_OF: u32 = 10;

/// Longest wait for a moment that may never come.
const MOMENT_MAX: Duration = Duration::from_millis(1_500);

/// What can befall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillEngine,
    KillRedis,
    /// Engine and Redis in the same moment.
    KillBoth,
    FreezeEngine,
    FreezeRedis,
    StopEngine,
    /// The way of one engine to Redis.
    Way,
    Api,
    /// The way of the receipts.
    Hooks,
    /// An operator pauses the campaign, and resumes it.
    Pause,
}

/// Stops engines gracefully, one after the other, and measures.
pub(crate) fn orderly_stops(trial: &mut Trial) {
    for round in 0..trial.settings.stops {
        trial.calm();
        let taken = trial.taken;
        trial.until("messages are sent", |trial| trial.taken > taken + 60);
        let at = round as usize % trial.settings.engines;
        let Some(mut engine) = trial.fleet.slots[at].engine.take() else { continue };
        let before = trial.store.owners().unwrap_or_default();
        let theirs = before.into_iter().filter(|(_, owner)| *owner == engine.name).map(|(number, _)| number);
        let theirs: BTreeSet<String> = theirs.collect();
        engine.signal(Signal::SIGTERM);
        if let Some(took) = others_have(trial, &theirs, &engine.name) {
            trial.tally.handovers_ms.push(took);
            trial.note(&format!("{} handed over in {took} ms", engine.name));
        }
        let status = engine.ended();
        assert!(status.success(), "an engine that was asked to stop ended with {status}");
        trial.fleet.start(at, false);
        trial.count("stop_engine");
    }
    trial.calm();
    trial.tally.doubted_by_stops = trial.fleet.said.lock().unwrap().doubted;
}

/// Milliseconds until other processes that run own all of these numbers; None when we were late ourselves.
fn others_have(trial: &mut Trial, numbers: &BTreeSet<String>, gone: &str) -> Option<u64> {
    let (begun, names) = (clock::mono(), trial.names());
    let (mut last, mut late) = (begun, Duration::ZERO);
    loop {
        let owners = trial.store.owners().unwrap_or_default();
        let now = clock::mono();
        late = late.max(now.since(last));
        last = now;
        let other = |number| owners.get(number).is_some_and(|owner| owner != gone && names.contains(owner));
        if numbers.iter().all(other) {
            let took = u64::try_from(now.since(begun).as_millis()).unwrap_or(u64::MAX);
            return (late < Duration::from_millis(150)).then_some(took);
        }
        assert!(now.since(begun) < PATIENCE, "the numbers of {gone} are not adopted: {owners:?}");
        pause(Duration::from_millis(3));
    }
}

/// Until every kill is made. In the first half nothing but engines and Redis is disturbed: there the pace must hold.
pub(crate) fn storm(trial: &mut Trial) {
    let (engines, redis) = (trial.settings.engine_kills, trial.settings.redis_kills);
    kills(trial, (engines / 2, redis / 2), false);
    let ledger = trial.meta.ledger();
    trial.tally.worst_second = ledger.worst_second_max;
    trial.tally.over_rate = ledger.over_rate;
    trial.tally.lag_ms = ledger.lag_ms.max;
    kills(trial, (engines - engines / 2, redis - redis / 2), true);
}

fn kills(trial: &mut Trial, (mut engines, mut redis): (u32, u32), weather: bool) {
    let mut until_calm = trial.rng.random_range(0..3);
    while engines > 0 || redis > 0 {
        await_moment(trial);
        let Some(fault) = draw(trial, (engines, redis), weather) else { continue };
        trial.count(name_of(fault));
        match fault {
            Fault::KillEngine if until_calm == 0 => {
                until_calm = CALM_ONE_OF;
                engines -= 1;
                calm_kill(trial);
            }
            Fault::KillEngine => {
                until_calm -= 1;
                engines -= 1;
                kill_engine(trial);
            }
            Fault::KillRedis => {
                redis -= 1;
                kill_redis(trial);
            }
            Fault::KillBoth => {
                (engines, redis) = (engines - 1, redis - 1);
                kill_engine(trial);
                kill_redis(trial);
            }
            other => disturb(trial, other),
        }
    }
}

/// The next moment: after a time, or when so many more were taken, or at once.
fn await_moment(trial: &mut Trial) {
    let (begun, taken) = (clock::mono(), trial.taken);
    let (wait, more) = match trial.rng.random_range(0..10) {
        0 => (Duration::ZERO, 0),
        1..=4 => (Duration::from_millis(trial.rng.random_range(0..500)), 0),
        _ => (MOMENT_MAX, trial.rng.random_range(1..60)),
    };
    while clock::mono().since(begun) < wait && (more == 0 || trial.taken < taken + more) {
        trial.step();
    }
    // Somewhere within what a step takes.
    let within = trial.rng.random_range(0..3_000);
    pause(Duration::from_micros(within));
}

/// Something that can befall now.
fn draw(trial: &mut Trial, (engines, redis): (u32, u32), weather: bool) -> Option<Fault> {
    let up = trial.store.is_up();
    let some = !trial.fleet.running().is_empty();
    // Engines have a way of their own to one server; to several they find it themselves.
    let alone = trial.settings.kind == Kind::Alone;
    let weights = [
        (Fault::KillEngine, 40 * u32::from(engines > 0 && some)),
        (Fault::KillRedis, 8 * u32::from(redis > 0 && up)),
        (Fault::KillBoth, 3 * u32::from(redis > 0 && engines > 0 && some && up)),
        (Fault::FreezeEngine, 6 * u32::from(some)),
        (Fault::FreezeRedis, 2 * u32::from(up)),
        (Fault::StopEngine, 4 * u32::from(some)),
        (Fault::Way, 8 * u32::from(alone)),
        (Fault::Hooks, 4),
        (Fault::Api, 12 * u32::from(weather)),
        // What the way to Meta holds back arrives late, and nobody could tell it from what was sent too late.
        (Fault::Pause, 5 * u32::from(!weather)),
    ];
    weights.choose_weighted(&mut trial.rng, |(_, weight)| *weight).ok().map(|(fault, _)| *fault)
}

fn name_of(fault: Fault) -> &'static str {
    match fault {
        Fault::KillEngine => "kill_engine",
        Fault::KillRedis => "kill_redis",
        Fault::KillBoth => "kill_both",
        Fault::FreezeEngine => "freeze_engine",
        Fault::FreezeRedis => "freeze_redis",
        Fault::StopEngine => "stop_engine",
        Fault::Way => "way_to_redis",
        Fault::Api => "way_to_meta",
        Fault::Hooks => "way_of_receipts",
        Fault::Pause => "pause",
    }
}

fn one_running(trial: &mut Trial) -> Option<usize> {
    trial.fleet.running().choose(&mut trial.rng).copied()
}

fn millis(trial: &mut Trial, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(trial.rng.random_range(range))
}

pub(crate) fn kill_engine(trial: &mut Trial) {
    let Some(at) = one_running(trial) else { return };
    let Some(name) = trial.fleet.kill(at) else { return };
    trial.note(&format!("killed {name}"));
    let wait = millis(trial, 0..400);
    trial.later(wait, Deed::Start(at));
}

pub(crate) fn kill_redis(trial: &mut Trial) {
    let which = trial.rng.random_range(0..usize::MAX);
    trial.store.kill(which);
    trial.note("killed redis");
    let wait = millis(trial, 0..900);
    trial.later(wait, Deed::StartRedis);
}

/// Kills an engine when everything else is up, and measures how long the others take to have its numbers.
pub(crate) fn calm_kill(trial: &mut Trial) {
    trial.calm();
    await_moment(trial);
    trial.calm();
    let Some(at) = one_running(trial) else { return };
    let before = trial.store.owners().unwrap_or_default();
    let Some(name) = trial.fleet.kill(at) else { return };
    let theirs = before.into_iter().filter(|(_, owner)| *owner == name).map(|(number, _)| number).collect();
    if let Some(took) = others_have(trial, &theirs, &name) {
        trial.note(&format!("killed {name}, its numbers are adopted after {took} ms"));
        trial.tally.takeovers_ms.push(took);
    }
    trial.later(Duration::ZERO, Deed::Start(at));
}

fn disturb(trial: &mut Trial, fault: Fault) {
    let lease = u64::try_from(trial.settings.lease.as_millis()).unwrap_or(u64::MAX);
    match fault {
        Fault::FreezeEngine => {
            let Some(at) = one_running(trial) else { return };
            let Some(engine) = &mut trial.fleet.slots[at].engine else { return };
            engine.signal(Signal::SIGSTOP);
            let wait = millis(trial, 50..3 * lease);
            trial.note(&format!("froze the engine of slot {at} for {wait:?}"));
            trial.later(wait, Deed::Thaw(at));
        }
        Fault::FreezeRedis => {
            trial.store.signal(Signal::SIGSTOP);
            let wait = millis(trial, 50..2 * lease);
            trial.note(&format!("froze redis for {wait:?}"));
            trial.later(wait, Deed::ThawRedis);
        }
        Fault::StopEngine => {
            let Some(at) = one_running(trial) else { return };
            // It ends by itself, and is started again when that is seen.
            if let Some(engine) = &mut trial.fleet.slots[at].engine {
                engine.signal(Signal::SIGTERM);
            }
            trial.note(&format!("asked the engine of slot {at} to stop"));
        }
        Fault::Way => {
            let at = trial.rng.random_range(0..trial.settings.engines);
            let how = trial.rng.random_range(0..5);
            let wait = millis(trial, 20..3 * lease);
            let (way, rng) = (trial.fleet.slots[at].way.clone(), &mut trial.rng);
            trouble(&way, how, || rng.random_bool(0.5));
            trial.note(&format!("way of slot {at} to redis: trouble {how} for {wait:?}"));
            trial.later(wait, Deed::Mend(at));
        }
        Fault::Api => {
            let how = trial.rng.random_range(0..5);
            let wait = millis(trial, 20..900);
            let (way, rng) = (trial.api.clone(), &mut trial.rng);
            trouble(&way, how, || rng.random_bool(0.3));
            trial.note(&format!("way to meta: trouble {how} for {wait:?}"));
            trial.later(wait, Deed::MendApi);
        }
        Fault::Hooks => {
            let how = trial.rng.random_range(0..5);
            let wait = millis(trial, 20..2 * lease);
            let (way, rng) = (trial.hooks.clone(), &mut trial.rng);
            trouble(&way, how, || rng.random_bool(0.5));
            trial.note(&format!("way of the receipts: trouble {how} for {wait:?}"));
            trial.later(wait, Deed::MendHooks);
        }
        Fault::Pause => pause_and_resume(trial),
        Fault::KillEngine | Fault::KillRedis | Fault::KillBoth => {}
    }
}

/// When a pause has returned, no new request leaves. What had left before may be on its way for a moment.
fn pause_and_resume(trial: &mut Trial) {
    let mut child = trial.fleet.begin(&["campaign", "pause", CAMPAIGN]);
    trial.until("the pause returns", |_| child.try_wait().unwrap().is_some());
    let (code, said) = outcome(child);
    trial.note(&format!("paused: {code} {said}"));
    if code == 0 {
        trial.pass(Duration::from_millis(100));
        let before = trial.meta.ledger().requests;
        trial.pass(Duration::from_millis(400));
        let after = trial.meta.ledger().requests - before;
        trial.tally.after_pause += after;
        trial.note(&format!("{after} requests after the pause"));
    }
    let mut resumed = false;
    while !resumed {
        let mut child = trial.fleet.begin(&["campaign", "resume", CAMPAIGN]);
        trial.until("the resume returns", |_| child.try_wait().unwrap().is_some());
        resumed = outcome(child).0 == 0;
    }
}

fn trouble(way: &crate::way::Way, how: u32, chosen: impl FnMut() -> bool) {
    match how {
        0 => way.set(Mode::Stalled),
        1 => way.set(Mode::Swallowing),
        2 => {
            way.set(Mode::Refusing);
            way.reset(|| true);
        }
        3 => way.reset(chosen),
        _ => way.tear(chosen),
    }
}
