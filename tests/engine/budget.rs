//! The budget of a portfolio with real processes against the simulator, whose ledger counts people by itself.

use nix::sys::signal::Signal;

use carteiro::sim::SimConfig;

use crate::rig::{Rig, Serve, get, post, sim, wait_until};

/// A rig whose simulator and configuration allow so many people.
fn rig(numbers: usize, rate: &'static str, people: u64, change: impl FnOnce(&mut SimConfig)) -> Rig {
    let sim = sim(|config| {
        config.people_per_day = people;
        change(config);
    });
    let mut rig = Rig::new(numbers, rate, sim);
    rig.extra = "[ownership]\nlease = \"3s\"".to_owned();
    rig.people_per_day = Some(people);
    rig
}

/// Meta allows so many from now on, and so does the configuration of all.
fn raise(rig: &mut Rig, people: u64, all: &[&Serve]) {
    post(&rig.sim.control_url, &format!("/_sim/people_per_day?people={people}"));
    rig.people_per_day = Some(people);
    rig.configuration();
    for serve in all {
        serve.signal(Signal::SIGHUP);
    }
}

fn used_up(rig: &Rig, people: u64) {
    wait_until("the budget is used up", || {
        rig.count("a", "accepted") == people && rig.count("a", "sending") == 0
    });
    wait_until("what blocks is shown", || rig.status("a")["blocked"].to_string().contains("budget"));
    let ledger = rig.ledger();
    assert_eq!((ledger.budget_exceeded, ledger.people_max, ledger.taken), (0, people, people), "{ledger:?}");
}

#[test]
fn a_budget_that_is_used_up_stops_all_processes_and_a_raise_wakes_all() {
    let mut rig = rig(4, "200/s", 150, |_| ());
    let (a, b) = (rig.serve_as("a", &[]), rig.serve_as("b", &[]));
    wait_until("the numbers are divided", || rig.shares().values().eq(&[2, 2]));
    rig.campaign("a", 0, 1_000);
    used_up(&rig, 150);
    raise(&mut rig, 400, &[&a, &b]);
    used_up(&rig, 400);
    for serve in [&a, &b] {
        wait_until("its metrics show it", || {
            get(&serve.http().unwrap(), "/metrics").1.contains("reason=\"budget\"} 1")
        });
    }
    raise(&mut rig, 5_000, &[&a, &b]);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 1_000, "{states}");
    let ledger = rig.judge("a", &states);
    assert_eq!((ledger.budget_exceeded, ledger.people_max), (0, 1_000), "{ledger:?}");
    assert!(a.attempts() > 100 && b.attempts() > 100, "both went on");
    a.stop();
    b.stop();
}
