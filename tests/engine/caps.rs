//! How often people are written to, with real processes and several campaigns to the same people; the simulator's ledger
//! counts by itself.

use carteiro::sim::{ContactCap, SimConfig};
use serde_json::json;

use crate::rig::{Rig, sim, wait_until};

/// As it is without a word in the configuration.
const DEFAULT: &str = "";

fn rig(numbers: usize, rate: &'static str, change: impl FnOnce(&mut SimConfig)) -> Rig {
    let sim = sim(|config| {
        config.contacts = ContactCap { per_day: Some(1), per_week: Some(2) };
        change(config);
    });
    let mut rig = Rig::new(numbers, rate, sim);
    rig.extra = "[ownership]\nlease = \"3s\"".to_owned();
    rig.cap = DEFAULT;
    rig
}

/// Nothing of a campaign is to be claimed now.
fn at_rest(rig: &Rig, id: &str) -> bool {
    rig.count(id, "queued") == 0 && rig.count(id, "sending") == 0
}

#[test]
fn two_campaigns_and_two_processes_reach_everybody_once() {
    let rig = rig(4, "200/s", |_| ());
    let (a, b) = (rig.serve_as("a", &[]), rig.serve_as("b", &[]));
    wait_until("the numbers are divided", || rig.shares().values().eq(&[2, 2]));
    // Lanes of the one are spread over the numbers in another way than those of the other.
    rig.ready("later", "", 0, 800);
    rig.ready("never", "cap = \"suppress\"\nweight = 2", 0, 800);
    for id in ["later", "never"] {
        rig.ok(&["campaign", "start", id, "--yes"]);
    }
    let never = rig.done("never");
    wait_until("the other one is at rest", || at_rest(&rig, "later"));
    let (accepted, waiting) = (rig.count("later", "accepted"), rig.count("later", "waiting"));
    let (reached, suppressed) = (never["accepted"].as_u64().unwrap(), never["suppressed"].as_u64().unwrap());
    assert_eq!((reached + suppressed, accepted + waiting, reached + accepted), (800, 800, 800), "{never}");
    assert!(suppressed > 0 && waiting > 0, "both reached some first: {suppressed} {waiting}");
    let ledger = rig.ledger();
    assert_eq!((ledger.taken, ledger.cap_exceeded, ledger.duplicate_people), (800, 0, 0), "{ledger:?}");
    let reasons = rig.status("never")["reasons"].to_string();
    assert!(reasons.contains("contact_cap"), "{reasons}");
    a.stop();
    b.stop();
}

#[test]
fn who_was_written_to_gets_the_next_one_when_the_gap_is_over() {
    let mut rig = Rig::new(2, "200/s", sim(|_| ()));
    rig.extra = "time_scale = 100".to_owned();
    // Not shortened as much as the gap: the machine is not faster.
    rig.cloud = "timeout = \"300s\"\nconnect_timeout = \"60s\"\n".to_owned();
    rig.cap = "per_day = \"unlimited\"\nper_week = \"unlimited\"\ngap = \"5m\"";
    let serve = rig.serve();
    rig.campaign("a", 0, 50);
    assert_eq!(rig.done("a")["accepted"], json!(50));
    rig.ready("b", "", 0, 60);
    rig.ok(&["campaign", "start", "b", "--yes"]);
    wait_until("only the others got one", || rig.count("b", "accepted") == 10 && at_rest(&rig, "b"));
    let why = rig.ok(&["why", "b/2"]);
    assert!(
        why.contains("waiting: it waits: this person was written to at ")
            && why.contains("Z; may be sent from"),
        "{why}"
    );
    let told = rig.json(&["why", "b/2"], 0);
    assert_eq!((&told["reason"], &told["attempts"]), (&json!("contact_cap"), &json!(0)), "{told}");
    assert_eq!(told["contacts"].as_array().map(Vec::len), Some(1), "{told}");
    let states = rig.done("b");
    assert_eq!(states["accepted"], json!(60), "{states}");
    let waited = rig.ledger();
    assert_eq!(waited.taken, 110, "{waited:?}");
    serve.stop();
}

#[test]
fn what_meta_refused_is_no_contact() {
    let faults = "[[fault]]\nkind = \"error\"\ncode = 131026\nshare = 1.0\nnumbers = [\"106540352242920\"]";
    let rig = rig(2, "200/s", |config| config.plan = crate::rig::plan(faults));
    let serve = rig.serve();
    rig.ready("a", "numbers = [\"106540352242920\"]\nstop_if = false", 0, 100);
    rig.ok(&["campaign", "start", "a", "--yes"]);
    assert_eq!(rig.done("a")["failed"], json!(100));
    rig.ready("b", "numbers = [\"106540352242921\"]", 0, 100);
    rig.ok(&["campaign", "start", "b", "--yes"]);
    assert_eq!(rig.done("b")["accepted"], json!(100));
    serve.stop();
}

#[test]
fn a_process_that_dies_between_asking_and_sending_loses_nobody() {
    let rig = rig(4, "40/s", |config| config.latency = std::time::Duration::from_millis(40));
    let (a, b) = (rig.serve_as("a", &[]), rig.serve_as("b", &[]));
    wait_until("the numbers are divided", || rig.shares().values().eq(&[2, 2]));
    rig.ready("one", "", 0, 500);
    rig.ready("two", "cap = \"suppress\"", 0, 500);
    for id in ["one", "two"] {
        rig.ok(&["campaign", "start", id, "--yes"]);
    }
    rig.taken(150);
    a.kill();
    let again = rig.serve_after_a_crash();
    wait_until("all that can be sent is sent", || at_rest(&rig, "one") && at_rest(&rig, "two"));
    let ledger = rig.ledger();
    let count = |state: &str| rig.count("one", state) + rig.count("two", state);
    let (in_doubt, sum) = (count("in_doubt"), count("accepted") + count("in_doubt"));
    assert_eq!((ledger.cap_exceeded, ledger.duplicate_people), (0, 0), "{ledger:?}");
    assert_eq!(sum + count("waiting") + count("suppressed"), 1_000);
    // Nobody is left out: whoever got nothing has a message of which nobody knows.
    assert!(ledger.taken <= 500 && ledger.taken + in_doubt >= 500 && sum >= 500, "{in_doubt} {ledger:?}");
    b.stop();
    again.stop();
}
