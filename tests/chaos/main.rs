//! Real processes under faults, judged by the simulator's ledger: engines and Redis are killed, frozen and cut off again
//! and again, and nothing may be lost or sent twice. `make chaos` runs it at length; its short form is a test.
//!
//! Everything is drawn from one seed. When a promise is broken, the seed and the folder with all logs are printed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fleet;
mod guard;
mod judge;
mod loss;
mod meta;
#[path = "../support/servers.rs"]
mod servers;
mod settings;
mod store;
mod storm;
mod trial;
mod way;

use std::panic::{AssertUnwindSafe, catch_unwind};

use judge::Verdict;
use serde_json::{Value, json};
use settings::{Fsync, Kind, Settings};
use trial::Trial;

/// The trials of `make chaos`.
const TRIALS: &str = "storm,everysec,cluster,failover,forgetting";

/// Runs a trial. Its verdict, with the promises that were not kept in `broken`.
fn run(name: &str, settings: Settings, course: impl FnOnce(&mut Trial)) -> Value {
    let seed = settings.seed;
    // Below the system's folder for temporary files: the path of a socket must be short.
    let folder = tempfile::Builder::new().prefix("carteiro-chaos-").tempdir().unwrap().keep();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut trial = Trial::start(settings, &folder);
        course(&mut trial);
        judge::heal(&mut trial);
        judge::judge(&trial)
    }));
    let gave_up = vec!["the trial did not come to its end".to_owned()];
    let Verdict { mut json, broken } = outcome.unwrap_or(Verdict { json: json!({}), broken: gave_up });
    if broken.is_empty() {
        let _left = std::fs::remove_dir_all(&folder);
    } else {
        say(&format!("{name}, seed {seed}, logs in {}: {}", folder.display(), broken.join("; ")));
    }
    json["trial"] = name.into();
    json["broken"] = broken.into();
    say(&json.to_string());
    json
}

fn the_storm(trial: &mut Trial) {
    storm::orderly_stops(trial);
    storm::storm(trial);
}

/// Runs a trial of this name; the kills are those of the whole.
fn named(name: &str, settings: Settings) -> Value {
    let part = Settings {
        stops: 0,
        engine_kills: settings.engine_kills / 5,
        redis_kills: settings.redis_kills / 5,
        ..settings.clone()
    };
    match name {
        "storm" => run(name, settings, the_storm),
        "cluster" => run(name, Settings { kind: Kind::Cluster, ..part }, storm::storm),
        "everysec" => run(name, Settings { fsync: Fsync::EverySecond, ..part }, loss::kill_by_turns),
        "failover" => run(name, Settings { kind: Kind::Sentinel, ..part }, loss::fail_over),
        "forgetting" => run(name, part, loss::forget_all),
        other => panic!("there is no trial {other:?}: {TRIALS}"),
    }
}

#[allow(clippy::print_stdout, reason = "the verdict is what a trial is for")]
fn say(line: &str) {
    println!("{line}");
}

#[test]
fn a_short_storm_loses_nothing_and_sends_nothing_twice() {
    let verdict = run("storm", Settings::new(1, 8, 2), the_storm);
    assert_eq!(verdict["broken"], json!([]), "{verdict}");
}

/// `make chaos`: as long as the environment says.
#[test]
#[ignore = "takes minutes: make chaos"]
fn chaos() {
    let trials = std::env::var("TRIALS").unwrap_or_default();
    let trials = if trials.is_empty() { TRIALS } else { &trials };
    let all: Vec<Value> =
        trials.split(',').map(|name| named(name.trim(), Settings::of_environment())).collect();
    let kept = all.iter().all(|verdict| verdict["broken"] == json!([]));
    if let Some(path) = std::env::var_os("CHAOS_REPORT") {
        std::fs::write(path, format!("{}\n", judge::sum(&all))).unwrap();
    }
    assert!(kept, "a promise was broken: see above");
}
