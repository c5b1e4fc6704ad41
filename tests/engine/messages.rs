//! Single messages: into a campaign of their own, ahead of bulk, never twice.

use serde_json::json;

use crate::rig::{Rig, sim, wait_until};

fn send<'a>(id: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["message", "send", id, "--to", to, "--value", "nome=Maria", "--value", "contrato=C9"];
    [&words, more].concat()
}

#[test]
fn a_campaign_begins_with_its_first_message_and_takes_each_person_once() {
    let rig = Rig::new(2, "80/s", sim(|_| ()));
    let serve = rig.serve();
    rig.ready("u", "priority = \"urgent\"", 0, 0);
    let tried = rig.json(&send("u", "31961234567", &["--dry-run"]), 0);
    assert_eq!((&tried["queued"], rig.status("u")["state"].clone()), (&json!(false), json!("draft")));
    let queued = rig.json(&send("u", "31961234567", &[]), 0);
    assert_eq!(rig.done("u")["accepted"], json!(1));
    let why = rig.ok(&["why", queued["message"].as_str().unwrap()]);
    assert!(why.contains("accepted"), "{why}");
    // In another spelling it is the same person.
    let again = rig.run(&send("u", "+55 (31) 96123-4567", &[]));
    assert_eq!(again.status.code(), Some(4), "{}", String::from_utf8_lossy(&again.stderr));
    rig.json(&send("u", "31961234568", &[]), 0);
    wait_until("the campaign that was done sends the next one", || rig.ledger().taken == 2);
    let states = rig.done("u");
    assert_eq!(states["accepted"], json!(2), "{states}");
    let rows = rig.status("u");
    assert_eq!(
        (&rows["rows"], &rows["loaded"], &rows["duplicate"]),
        (&json!(3), &json!(2), &json!(1)),
        "{rows}"
    );
    rig.judge("u", &states);
    serve.stop();
}

#[test]
fn an_urgent_message_does_not_wait_for_bulk() {
    let rig = Rig::new(1, "40/s", sim(|_| ()));
    let serve = rig.serve();
    rig.ready("bulk", "priority = \"bulk\"", 0, 4_000);
    rig.ok(&["campaign", "start", "bulk", "--yes"]);
    rig.ready("u", "priority = \"urgent\"", 0, 0);
    rig.taken(20);
    rig.json(&send("u", "31961234567", &[]), 0);
    assert_eq!(rig.done("u")["accepted"], json!(1));
    let left = rig.count("bulk", "queued");
    assert!(left > 2_000, "{left} of 4000 bulk messages were left when it had been sent");
    serve.stop();
}

#[test]
fn what_may_not_be_sent_is_not_queued() {
    let rig = Rig::new(1, "80/s", sim(|_| ()));
    let serve = rig.serve();
    rig.ready("a", "", 0, 10);
    let code = |words: &[&str]| rig.run(words).status.code();
    assert_eq!(code(&send("a", "31961234567", &[])), Some(2), "it is not started");
    rig.ok(&["campaign", "start", "a", "--yes"]);
    rig.done("a");
    assert_eq!(code(&send("a", "3133334444", &[])), Some(2), "a landline");
    assert_eq!(
        code(&["message", "send", "a", "--to", "31961234567", "--value", "nome=M"]),
        Some(2),
        "a value is missing"
    );
    assert_eq!(code(&send("a", "31961234567", &["--value", "nome=a\nb"])), Some(2), "a line break");
    rig.ok(&["campaign", "close", "a"]);
    assert_eq!(code(&send("a", "31961234567", &[])), Some(2), "it is closed");
    assert_eq!(rig.ledger().taken, 10);
    serve.stop();
}
