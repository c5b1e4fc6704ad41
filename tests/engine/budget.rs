//! The budget of a portfolio with real processes against the simulator, whose ledger counts people by itself.

use std::time::Duration;

use carteiro::sim::SimConfig;
use nix::sys::signal::Signal;

use crate::hooks::telling;
use crate::rig::{Rig, Serve, get, plan, post, sim, wait_until};

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

/// What `campaign status` and the ledger say once so many people were written to and no more may be.
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

#[test]
fn what_meta_says_by_webhook_is_heard_by_every_process() {
    let mut rig = telling(2, "200/s", "", |config| config.people_per_day = 0);
    rig.people_per_day = Some(5_000);
    // Only one of them is told by Meta.
    let a = rig.serve_as("a", &[]);
    let hook = rig.webhooks.take();
    let b = rig.serve_as("b", &[]);
    rig.webhooks = hook;
    wait_until("the numbers are divided", || rig.shares().values().eq(&[1, 1]));
    let say = |people: u64| post(&rig.sim.control_url, &format!("/_sim/people_per_day?people={people}"));
    say(100);
    wait_until("both have heard", || [&a, &b].iter().all(|one| one.says("\"people_per_day\":\"100\"")));
    rig.campaign("a", 0, 600);
    used_up(&rig, 100);
    say(250);
    used_up(&rig, 250);
    // Without a limit of Meta's the configuration's is in force.
    say(0);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 600, "{states}");
    assert_eq!(rig.ledger().budget_exceeded, 0);
    a.stop();
    b.stop();
}

/// What goes wrong before and after a message is taken.
const ROUGH: &str = "[[fault]]\nkind = \"throttle\"\nshare = 0.02\n\
    [[fault]]\nkind = \"reset_before\"\nshare = 0.02\n\
    [[fault]]\nkind = \"reset_after\"\nshare = 0.02\n\
    [[fault]]\nkind = \"http_5xx_empty\"\nstatus = 502\nshare = 0.02\n\
    [[fault]]\nkind = \"error\"\ncode = 131053\nshare = 0.04\n\
    [[fault]]\nkind = \"error_after_taking\"\ncode = 131000\nshare = 0.02\n";

#[test]
fn nobody_too_many_while_people_leave_and_processes_come_and_go() {
    let people = 60;
    let mut rig = rig(8, "40/s", people, |config| {
        config.people_window = Duration::from_secs(2);
        config.plan = plan(ROUGH);
    });
    // Their margin is longer than any of these machines is late.
    rig.extra += "\n[budget]\nwindow = \"2s\"\nmargin = \"2s\"";
    let eight = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| rig.serve_as(name, &[]));
    wait_until("the numbers are divided", || rig.shares().values().eq(&[1; 8]));
    rig.campaign("a", 0, 300);
    let [a, b, c, d, rest @ ..] = eight;
    rig.taken(50);
    b.kill();
    rig.taken(90);
    d.kill();
    rig.taken(110);
    c.stop();
    rig.taken(150);
    let i = rig.serve_as("i", &[]);
    let states = rig.done("a");
    let ledger = rig.judge("a", &states);
    assert_eq!(ledger.budget_exceeded, 0, "{ledger:?}");
    assert!((people * 3 / 4..=people).contains(&ledger.people_max), "{ledger:?}");
    [a, i].into_iter().chain(rest).for_each(Serve::stop);
}

#[test]
fn people_to_whom_nothing_was_sent_make_room_for_others() {
    let rig = rig(2, "20/s", 60, |_| ());
    let all = ["a", "b"].map(|name| rig.serve_as(name, &[]));
    wait_until("the numbers are divided", || rig.shares().values().eq(&[1, 1]));
    rig.campaign("a", 0, 400);
    for taken in [10, 25, 40] {
        rig.taken(taken);
        // What is claimed and not begun goes back.
        rig.ok(&["campaign", "pause", "a"]);
        wait_until("nothing is in flight", || rig.count("a", "sending") == 0);
        rig.ok(&["campaign", "resume", "a"]);
    }
    used_up(&rig, 60);
    // A message past the queue has no room either.
    let test = |phone: &str| rig.run(&["campaign", "test", "a", "--to", phone, "--yes", "--json"]);
    let refused = test("+5531960009999");
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("\"code\":\"budget\""), "{refused:?}");
    all.into_iter().for_each(Serve::stop);
}

#[test]
fn the_fields_of_numbers_are_not_read_when_most_requests_of_the_hour_are_used() {
    let sim = sim(|config| {
        config.requests_per_hour = 20;
        config.time_scale = 20;
    });
    let mut rig = Rig::new(3, "80/s", sim);
    rig.extra = "time_scale = 20".to_owned();
    rig.pace = "read_every = \"10s\"".to_owned();
    let serve = rig.serve();
    serve.must_say("most of an account's requests are used");
    // Every half second it would ask for three numbers; ten minutes of rest are thirty seconds here.
    let asked = rig.ledger().management_requests;
    assert!((15..=18).contains(&asked), "{asked}");
    rig.campaign("a", 0, 300);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 300, "{states}");
    let ledger = rig.ledger();
    assert!(ledger.management_requests <= asked + 1 && ledger.over_requests == 0, "{ledger:?}");
    serve.stop();
}
