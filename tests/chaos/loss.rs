//! What befalls the memory of Redis: acknowledged writes that a kill takes away, a replica that missed some, everything
//! flushed, an old backup restored.

use std::path::Path;
use std::time::Duration;

use crate::guard::{PATIENCE, poll};
use crate::storm::{calm_kill, kill_engine, kill_redis};
use crate::trial::Trial;
use crate::way::Mode;

/// Longer than Redis holds back what it acknowledged.
const WRITTEN: Duration = Duration::from_millis(3_500);

/// How long nothing may leave when Redis has forgotten.
const STILL: Duration = Duration::from_secs(3);

/// How engines come to know a Redis that has forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgetting {
    /// FLUSHALL while they run.
    Flushed,
    /// It is killed and comes back with files from before, while they run.
    OldFiles,
    /// The same, and they are killed and started again, too.
    OldFilesAndEngines,
}

/// Kills Redis when every writer lives and has for a while, so that each can say again what was forgotten; and engines
/// when Redis has written down what they did.
pub(crate) fn kill_by_turns(trial: &mut Trial) {
    let (mut engines, mut redis) = (trial.settings.engine_kills, trial.settings.redis_kills);
    while engines > 0 || redis > 0 {
        trial.calm();
        let more = Duration::from_millis(trial.draw(0..600));
        trial.pass(WRITTEN + more);
        if redis > 0 {
            redis -= 1;
            kill_redis(trial);
            trial.count("kill_redis");
            trial.calm();
            trial.pass(WRITTEN);
        }
        for _ in 0..engines.min(4) {
            engines -= 1;
            kill_engine(trial);
            trial.count("kill_engine");
            let wait = Duration::from_millis(trial.draw(50..500));
            trial.pass(wait);
        }
    }
}

/// Kills masters whose replica has missed the last seconds.
pub(crate) fn fail_over(trial: &mut Trial) {
    for round in 0..trial.settings.redis_kills {
        trial.calm();
        let taken = trial.taken;
        trial.until("messages are sent", |trial| trial.taken > taken + 100);
        let behind = Duration::from_millis(trial.draw(1_000..5_000));
        trial.note(&format!("failover with a replica {behind:?} behind"));
        trial.fail_over(behind);
        trial.count("failover");
        if round < trial.settings.engine_kills {
            calm_kill(trial);
            trial.count("kill_engine");
        }
    }
}

/// Redis forgets, in each way once: nothing may leave until what it knew is back, and then all goes on.
pub(crate) fn forget_all(trial: &mut Trial) {
    for how in [Forgetting::Flushed, Forgetting::OldFiles, Forgetting::OldFilesAndEngines] {
        trial.calm();
        forget(trial, how);
    }
}

fn forget(trial: &mut Trial, how: Forgetting) {
    let folder = trial.folder.join("redis");
    let [files, old, right] = ["appendonlydir", "old", "right"].map(|name| folder.join(name));
    send_some(trial);
    exchange(&files, &old);
    send_some(trial);
    // Older than what engines take for the last moments of a Redis that crashed.
    trial.pass(Duration::from_secs(15));
    trial.full = true;
    trial.until("no file is being loaded", |trial| !trial.is_loading());
    match how {
        Forgetting::Flushed => {
            // What stands in the files in this moment shall be what engines know.
            trial.fleet.slots.iter().for_each(|slot| slot.way.set(Mode::Stalled));
            trial.pass(Duration::from_millis(100));
            exchange(&files, &right);
            assert!(trial.store.ask::<String>(&["FLUSHALL"]).is_some(), "redis is not flushed");
            trial.fleet.slots.iter().for_each(|slot| slot.way.set(Mode::Open));
        }
        Forgetting::OldFiles | Forgetting::OldFilesAndEngines => {
            trial.store.kill(0);
            exchange(&files, &right);
            exchange(&old, &files);
            let engines = 0..trial.settings.engines * usize::from(how == Forgetting::OldFilesAndEngines);
            for at in engines.clone() {
                if trial.fleet.kill(at).is_some() {
                    trial.count("kill_engine");
                }
            }
            trial.store.up();
            engines.for_each(|at| trial.fleet.start(at, false));
        }
    }
    trial.count("forget");
    trial.note(&format!("redis forgets: {how:?}"));
    // What had left is on its way for as long as an answer may take.
    trial.pass(4 * trial.settings.latency.1 + Duration::from_millis(500));
    let before = trial.meta.ledger().requests;
    trial.pass(STILL);
    let after = trial.meta.ledger().requests - before;
    trial.note(&format!("{after} requests since"));
    trial.tally.after_forgetting += after;
    trial.store.kill(0);
    exchange(&right, &files);
    trial.store.up();
    trial.note("redis knows again");
    trial.full = false;
    send_some(trial);
}

fn send_some(trial: &mut Trial) {
    let taken = trial.taken;
    trial.until("messages are sent", |trial| trial.taken > taken + 150);
}

/// Puts the files of one folder in the place of another's.
fn exchange(from: &Path, to: &Path) {
    let _nothing = std::fs::remove_dir_all(to);
    copy(from, to);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    // A rewrite may take a file away in this moment: then the manifest has changed, too, and everything is copied again.
    let whole = poll(PATIENCE, || {
        let all = std::fs::read_dir(from).ok()?.map_while(Result::ok);
        all.map(|file| std::fs::copy(file.path(), to.join(file.file_name())).ok().map(drop))
            .collect::<Option<()>>()
    });
    assert!(whole.is_some(), "the files of redis cannot be copied");
}
