//! Real processes under faults, judged by the simulator's ledger: engines and Redis are killed, frozen and cut off again
//! and again, and nothing may be lost or sent twice. `make chaos` runs it at length; its short form is a test.
//!
//! Everything is drawn from one seed. When a promise is broken, the seed and the folder with all logs are printed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fleet;
mod guard;
mod judge;
mod meta;
mod settings;
mod store;
mod storm;
mod trial;
mod way;

use std::panic::{AssertUnwindSafe, catch_unwind};

use settings::Settings;
use trial::Trial;

/// Runs a trial and says what came of it; panics when a promise was broken.
fn run(settings: Settings) {
    let seed = settings.seed;
    // Below the system's folder for temporary files: the path of a socket must be short.
    let folder = tempfile::Builder::new().prefix("carteiro-chaos-").tempdir().unwrap().keep();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut trial = Trial::start(settings, &folder);
        storm::orderly_stops(&mut trial);
        storm::storm(&mut trial);
        judge::heal(&mut trial);
        judge::judge(&trial)
    }));
    let broken = match outcome {
        Ok(verdict) => {
            say(&verdict.json.to_string());
            if let Some(path) = std::env::var_os("CHAOS_REPORT") {
                std::fs::write(path, format!("{}\n", verdict.json)).unwrap();
            }
            verdict.broken
        }
        Err(_) => vec!["the trial did not come to its end".to_owned()],
    };
    assert!(broken.is_empty(), "seed {seed}, logs in {}: {}", folder.display(), broken.join("; "));
    let _left = std::fs::remove_dir_all(&folder);
}

#[allow(clippy::print_stdout, reason = "the verdict is what a trial is for")]
fn say(line: &str) {
    println!("{line}");
}

#[test]
fn a_short_storm_loses_nothing_and_sends_nothing_twice() {
    run(Settings::new(1, 8, 2));
}

/// `make chaos`: as long as the environment says.
#[test]
#[ignore = "takes minutes: make chaos"]
fn storm() {
    run(Settings::of_environment());
}
