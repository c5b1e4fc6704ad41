//! Campaigns from load to done, rough days, pauses, a second process, the end.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::pace::within_pace;
use crate::rig::{Rig, get, plan, sim, wait_until};

#[test]
fn a_campaign_is_sent_once_to_everybody_within_the_pace() {
    let rig = Rig::new(2, "300/s", sim(|config| config.rate_per_s = 300)).paced();
    let serve = rig.serve();
    rig.campaign("a", 0, 900);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 900, "{states}");
    let ledger = rig.judge("a", &states);
    // What was refused for its pace is asked again, and nothing else is.
    assert_eq!((ledger.taken, ledger.requests), (900, 900 + ledger.over_rate));
    within_pace(&ledger, 300);
    let http = serve.http().unwrap();
    assert_eq!(get(&http, "/livez").0, 200);
    let metrics = get(&http, "/metrics").1;
    for name in [
        "carteiro_attempts_total",
        "carteiro_send_seconds",
        "carteiro_pace_limit_per_s",
        "carteiro_build_info",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    assert!(!metrics.contains("3196"), "no phone in the metrics");
    serve.stop();
}

#[test]
fn a_campaign_that_is_done_is_loaded_again_and_goes_on() {
    let rig = Rig::new(2, "unlimited", sim(|_| ()));
    let serve = rig.serve();
    rig.campaign("a", 0, 200);
    rig.done("a");
    for round in 1..3 {
        rig.load("a", 200 * round, 200);
        rig.taken(200 * (round as u64 + 1));
        let states = rig.done("a");
        assert_eq!(states["accepted"], 200 * (round + 1), "{states}");
    }
    let states = rig.done("a");
    rig.judge("a", &states);
    assert!(!serve.says("lets go of a lane"));
}

#[test]
fn after_a_rough_day_the_sums_hold_and_nobody_got_it_twice() {
    let faults = "[[fault]]\nkind = \"throttle\"\nshare = 0.02\n\
        [[fault]]\nkind = \"error\"\ncode = 131000\nshare = 0.02\n\
        [[fault]]\nkind = \"http_5xx_empty\"\nstatus = 502\nshare = 0.01\n\
        [[fault]]\nkind = \"reset_before\"\nshare = 0.01\n\
        [[fault]]\nkind = \"reset_after\"\nshare = 0.01\n\
        [[fault]]\nkind = \"stall\"\nshare = 0.003\n\
        [[fault]]\nkind = \"held\"\nshare = 0.02\n\
        [[fault]]\nkind = \"success_without_wamid\"\nshare = 0.01\n\
        [[fault]]\nkind = \"error_after_taking\"\ncode = 131000\nshare = 0.01\n\
        [[fault]]\nkind = \"error\"\ncode = 131026\nshare = 0.02\n";
    let mut rig = Rig::new(3, "400/s", sim(|config| config.plan = plan(faults)));
    rig.extra = "time_scale = 20".to_owned();
    let serve = rig.serve();
    rig.campaign("a", 0, 2_000);
    let states = rig.done("a");
    let ledger = rig.judge("a", &states);
    assert!(states["in_doubt"].as_u64().unwrap() > 20 && states["failed"].as_u64().unwrap() > 10, "{states}");
    assert_eq!(
        ledger.refused.get(&131_026),
        states["failed"].as_u64().as_ref(),
        "only the undeliverable failed"
    );
    assert!(
        ledger.reset_after > 0 && ledger.stalled > 0 && ledger.empty_5xx > 0 && ledger.held > 0,
        "{ledger:?}"
    );
    serve.stop();
}

#[test]
fn an_outage_leaves_nothing_failed_and_is_probed_gently() {
    let faults = "[[fault]]\nkind = \"outage\"\nfrom = \"10s\"\nto = \"70s\"\n";
    let mut rig = Rig::new(
        3,
        "200/s",
        sim(|config| {
            config.plan = plan(faults).scaled(20);
            config.time_scale = 20;
        }),
    );
    rig.extra = "time_scale = 20".to_owned();
    let serve = rig.serve();
    rig.campaign("a", 0, 1_500);
    let states = rig.done("a");
    let ledger = rig.judge("a", &states);
    assert_eq!(states["failed"], 0, "{states}");
    assert!(ledger.worst_probes_per_scaled_s <= 1, "{ledger:?}");
    assert!(states["in_doubt"].as_u64().unwrap() < 100, "{states}");
    serve.stop();
}

#[test]
fn once_a_pause_has_returned_no_request_begins() {
    let rig = Rig::new(4, "150/s", sim(|config| config.latency = Duration::from_millis(40)));
    let serve = rig.serve();
    rig.campaign("a", 0, 3_000);
    for round in 1..=4 {
        rig.taken(round * 100);
        rig.ok(&["campaign", "pause", "a"]);
        let at_return = rig.ledger().requests;
        wait_until("what was in flight has its answer", || rig.count("a", "sending") == 0);
        assert_eq!(rig.ledger().requests, at_return, "a request came after the pause had returned");
        assert_eq!(rig.status("a")["state"], "paused");
        rig.ok(&["campaign", "resume", "a"]);
    }
    rig.ok(&["campaign", "cancel", "a", "--yes"]);
    let at_return = rig.ledger().requests;
    assert!(at_return < 3_000);
    wait_until("what was in flight has its answer", || rig.count("a", "sending") == 0);
    assert_eq!(rig.ledger().requests, at_return);
    serve.stop();
}

#[test]
fn sigterm_drains_and_the_next_process_sends_the_rest() {
    let rig = Rig::new(2, "150/s", sim(|config| config.latency = Duration::from_millis(200)));
    let serve = rig.serve();
    rig.campaign("a", 0, 800);
    rig.taken(200);
    serve.stop();
    let states = rig.status("a")["states"].clone();
    assert_eq!((states["sending"].as_u64(), states["in_doubt"].as_u64()), (Some(0), Some(0)), "{states}");
    assert_eq!(states["accepted"], rig.ledger().taken, "{states}");
    let serve = rig.serve();
    let states = rig.done("a");
    assert_eq!(states["accepted"], 800, "{states}");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn a_second_signal_stops_at_once_and_leaves_the_rest_in_doubt() {
    let rig = Rig::new(1, "150/s", sim(|config| config.latency = Duration::from_secs(20)));
    let mut serve = rig.serve();
    rig.campaign("a", 0, 50);
    wait_until("requests are in flight", || rig.ledger().requests >= 50);
    serve.signal(Signal::SIGTERM);
    wait_until("it drains", || serve.says("draining"));
    serve.signal(Signal::SIGTERM);
    assert!(!serve.wait().success());
    let again = rig.serve_after_a_crash();
    let states = rig.done("a");
    assert_eq!(states["in_doubt"], 50, "{states}");
    assert_eq!(rig.ledger().requests, 50);
    again.stop();
}

#[test]
fn over_tls_with_an_authority_of_its_own() {
    let rig = Rig::new(2, "unlimited", sim(|config| config.tls = true));
    let serve = rig.serve();
    rig.campaign("a", 0, 300);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 300, "{states}");
    rig.judge("a", &states);
    serve.stop();
}
