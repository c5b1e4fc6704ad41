//! The seeded simulation: the real machine of three processes, four numbers and two hundred messages, on a model of Redis
//! and of the Cloud API, in virtual time, with everything that can break. One seed makes one run, always the same.
//!
//! Redis may come back without its last moments: its writers say them again (`node/forgetting.rs` has what is promised
//! then). Doubts end by their clock, a person may be written to again, and people leave a budget, after a shorter time than in
//! earnest (`node/doubts.rs`, `contacts.rs`, `budget.rs`).
//!
//! `SEED=17 cargo test --test simulation -- --nocapture replay` plays one again.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]
#![allow(clippy::print_stderr, reason = "what happened is told to whoever runs it")]

mod budget;
#[allow(dead_code, reason = "the queue's tests ask it for more")]
#[path = "../support/budget_model.rs"]
mod budget_model;
mod contacts;
mod faults;
mod judge;
#[allow(dead_code, reason = "the queue's tests ask it for more")]
#[path = "../support/lane_model.rs"]
mod lane_model;
mod meta;
mod mutants;
mod node;
#[allow(dead_code, reason = "the queue's tests ask it for more")]
#[path = "../support/own_model.rs"]
mod own_model;
mod plan;
mod store;
mod world;

// The view of the division is compiled from the program's own source, where these stand at the root.
use carteiro::{clock, domain, policy, queue};

use self::faults::Tally;
use self::mutants::Mutant;
use self::store::{LANES, NUMBERS, PER_LANE};
use self::world::{NODES, World};

/// Seeds of the short run: the rarest edge, a release that is written again, takes some hundreds.
const SEEDS: u64 = 400;

/// Each deliberate defect must be found by so many.
const DEFECT_SEEDS: u64 = 120;

fn one(seed: u64, mutant: Option<Mutant>) -> Result<Tally, String> {
    World::new(seed, mutant).run()
}

fn sweep(seeds: std::ops::Range<u64>) -> Tally {
    let mut all = Tally::default();
    for seed in seeds {
        match one(seed, None) {
            Ok(tally) => all.add(&tally),
            Err(wrong) => {
                panic!("{wrong}\nreplay it: SEED={seed} cargo test --test simulation -- --nocapture replay")
            }
        }
    }
    all
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_breaks_nothing_is_lost_or_twice_and_it_ends() {
    let first = from_env("SEED").unwrap_or(1);
    let all = sweep(first..first + from_env("SEEDS").unwrap_or(SEEDS));
    eprintln!("{all}");
    assert_eq!(all.missing(), [""; 0], "these never happened");
}

#[test]
fn a_seed_makes_the_same_run_again() {
    for seed in 1..4 {
        let [first, again] = [one(seed, None), one(seed, None)].map(|run| run.map(|tally| tally.to_string()));
        assert_eq!(first, again, "seed {seed}");
    }
}

/// Each is found within so many seeds.
#[test]
fn every_deliberate_defect_is_found() {
    for mutant in Mutant::ALL {
        let found = (1..=DEFECT_SEEDS).find_map(|seed| Some((seed, one(seed, Some(mutant)).err()?)));
        match found {
            Some((seed, wrong)) => eprintln!("{mutant:?}: seed {seed}: {wrong}"),
            None => panic!("{mutant:?} was not found by {DEFECT_SEEDS} seeds"),
        }
    }
}

#[test]
#[ignore = "measures: one line of JSON, for a release build"]
#[allow(clippy::print_stdout, reason = "the figure is what it is for")]
fn figure() {
    let seeds = from_env("SEEDS").unwrap_or(1000);
    let began = clock::mono();
    let all = sweep(1..seeds + 1);
    let seconds = clock::mono().since(began).as_secs_f64();
    let missing = all.missing().len();
    println!(
        "{{\"seeds\":{seeds},\"seconds\":{seconds:.1},\"seeds_per_minute\":{:.0},\"nodes\":{NODES},\"numbers\":{NUMBERS},\
         \"messages\":{},\"requests\":{},\"violations\":0,\"never_happened\":{missing}}}",
        seeds as f64 / seconds * 60.0,
        LANES * PER_LANE,
        all.sent,
    );
}

#[test]
#[ignore = "plays one seed again: SEED says which"]
fn replay() {
    let seed = from_env("SEED").unwrap_or(1);
    let played = one(seed, None);
    eprintln!("{}", played.as_ref().map_or_else(Clone::clone, ToString::to_string));
    assert!(played.is_ok(), "seed {seed}: {played:?}");
}
