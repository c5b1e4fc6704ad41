//! The operator's hands while the engine runs: the first N, a time to begin, the brake, settings, trying again, one test.

use carteiro::clock;
use serde_json::{Value, json};

use crate::rig::{Rig, get, plan, sim, wait_until};

/// Wall time in so many seconds, as RFC 3339.
fn in_seconds(seconds: u64) -> String {
    let second = i64::try_from(clock::wall().0 / 1_000 + seconds).unwrap();
    jiff::Timestamp::from_second(second).unwrap().to_string()
}

fn undeliverable(share: f64) -> carteiro::sim::FaultPlan {
    plan(&format!("[[fault]]\nkind = \"error\"\ncode = 131026\nshare = {share}\n"))
}

/// Attempts of a number so far.
fn attempts(http: &str, number: &str) -> u64 {
    let metrics = get(http, "/metrics").1;
    let ours = format!("carteiro_attempts_total{{number=\"{number}\"");
    let lines = metrics.lines().filter(|line| line.starts_with(&ours));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn exactly_the_first_are_sent_and_the_rest_after_resume() {
    let rig = Rig::new(3, "300/s", sim(|_| ()));
    let serve = rig.serve();
    rig.ready("a", "", 0, 900);
    let first = rig.json(&["campaign", "start", "a", "--first", "25", "--yes"], 0);
    assert_eq!(
        (&first["state"], &first["granted"], &first["states"]),
        (&json!("paused"), &json!(25), &json!({"accepted": 25}))
    );
    assert_eq!(rig.ledger().requests, 25);
    let status = rig.status("a");
    assert_eq!((&status["state"], &status["why"]), (&json!("paused"), &json!("first 25 sent")));
    // Once more, and with recipients that came after.
    rig.load("a", 900, 100);
    let again = rig.json(&["campaign", "start", "a", "--first", "10", "--yes"], 0);
    assert_eq!((&again["states"], rig.ledger().requests), (&json!({"accepted": 10}), 35));
    rig.ok(&["campaign", "resume", "a"]);
    let states = rig.done("a");
    assert_eq!((&states["accepted"], &rig.status("a")["why"]), (&json!(1_000), &Value::Null), "{states}");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn the_first_say_how_they_fared_and_a_refusal_can_be_tried_again() {
    let rig = Rig::new(2, "unlimited", sim(|config| config.plan = undeliverable(0.4)));
    let serve = rig.serve();
    rig.ready("a", "stop_if = false", 0, 300);
    let first = rig.json(&["campaign", "start", "a", "--first", "40", "--yes"], 3);
    let failed = first["states"]["failed"].as_u64().unwrap();
    assert_eq!(failed + first["states"]["accepted"].as_u64().unwrap(), 40, "{first}");
    assert_eq!(
        (&first["reasons"][0]["codes"], &first["reasons"][0]["messages"]),
        (&json!("131026"), &json!(failed))
    );
    rig.ok(&["campaign", "resume", "a"]);
    let states = rig.done("a");
    let failed = states["failed"].as_u64().unwrap();
    assert!(failed > 50, "{states}");

    let dry = rig.json(&["campaign", "retry", "a", "--code", "131026", "--dry-run"], 0);
    assert_eq!(
        (&dry["messages"], &dry["changed"], rig.count("a", "failed")),
        (&json!(failed), &json!(false), failed)
    );
    assert_eq!(rig.run(&["campaign", "retry", "a", "--code", "131000"]).status.code(), Some(4));
    let retried = rig.json(&["campaign", "retry", "a", "--code", "131026"], 0);
    assert_eq!(retried["messages"], json!(failed));
    wait_until("they were tried again", || rig.ledger().requests == 300 + failed);
    let states = rig.done("a");
    assert!(states["failed"].as_u64().unwrap() < failed, "{states}");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn the_brake_pauses_says_why_and_counts_anew_after_resume() {
    let rig = Rig::new(2, "150/s", sim(|config| config.plan = undeliverable(0.5)));
    let serve = rig.serve();
    rig.ready("a", "stop_if = { after = 60, failed = \"10%\" }", 0, 3_000);
    rig.ok(&["campaign", "start", "a", "--yes"]);
    wait_until("the brake stops it", || rig.status("a")["state"] == "paused");
    let status = rig.status("a");
    let why = status["why"].as_str().unwrap();
    assert!(why.starts_with("stop_if: ") && why.contains("more than 10%"), "{why}");
    assert!(status["left"].as_u64().unwrap() > 1_000, "{status}");
    serve.must_say("a campaign pauses by itself");
    let metrics = get(&serve.http().unwrap(), "/metrics").1;
    assert!(
        metrics.contains("carteiro_campaign_stops_total{campaign=\"a\",reason=\"stop_if\"} 1"),
        "{metrics}"
    );
    // It begins to count anew: it runs for another sixty.
    let before = rig.ledger().requests;
    rig.ok(&["campaign", "resume", "a"]);
    assert_eq!(rig.status("a")["why"], Value::Null);
    wait_until("the brake stops it again", || rig.status("a")["state"] == "paused");
    assert!(rig.ledger().requests >= before + 60);
    rig.ok(&["campaign", "set", "a", "stop_if=off"]);
    rig.ok(&["campaign", "resume", "a"]);
    let states = rig.done("a");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn a_campaign_begins_at_its_time_even_if_the_engine_came_later() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    rig.ready("a", "", 0, 50);
    rig.ready("b", "", 100, 50);
    let past = rig.run(&["campaign", "start", "a", "--at", "2020-01-01T00:00:00Z", "--yes"]);
    assert_eq!(past.status.code(), Some(2));
    let at = in_seconds(3);
    assert_eq!(rig.json(&["campaign", "start", "a", "--at", &at, "--yes"], 0)["starts_at"], json!(at));
    rig.ok(&["campaign", "start", "b", "--at", &in_seconds(3_600), "--yes"]);
    let status = rig.status("a");
    assert_eq!((&status["state"], &status["starts_at"]), (&json!("ready"), &json!(at)));
    let serve = rig.serve();
    let states = rig.done("a");
    assert_eq!(states["accepted"], 50, "{states}");
    assert!(in_seconds(0) >= at, "it began before its time");
    assert_eq!(rig.status("a")["starts_at"], Value::Null);
    rig.ok(&["campaign", "pause", "b"]);
    let status = rig.status("b");
    assert_eq!((&status["state"], &status["starts_at"]), (&json!("ready"), &Value::Null));
    rig.ok(&["campaign", "start", "b", "--yes"]);
    let states = rig.done("b");
    assert_eq!((&states["accepted"], rig.ledger().taken), (&json!(50), 100), "{states}");
    serve.stop();
}

#[test]
fn a_smaller_pool_takes_effect_while_it_runs() {
    let rig = Rig::new(2, "150/s", sim(|_| ()));
    let serve = rig.serve();
    let http = serve.http().unwrap();
    rig.campaign("a", 0, 2_400);
    rig.taken(200);
    let only = rig.numbers[1].clone();
    let set = rig.json(&["campaign", "set", "a", &format!("pool={only}")], 0);
    assert_eq!((&set["changed"], &set["acknowledged"]), (&json!(true), &json!(true)));
    wait_until("its lanes move", || serve.says("a lane's number left the pool"));
    let states = rig.done("a");
    assert_eq!(states["accepted"], 2_400, "{states}");
    rig.judge("a", &states);
    let (left, stayed) = (attempts(&http, &rig.numbers[0]), attempts(&http, &only));
    assert!(left < 600 && stayed > 1_800, "{left} and {stayed}");
    serve.stop();
}

#[test]
fn hours_and_priority_are_set_while_it_runs() {
    let rig = Rig::new(1, "200/s", sim(|_| ()));
    let serve = rig.serve();
    rig.campaign("a", 0, 1_500);
    rig.taken(50);
    let now = jiff::Timestamp::from_millisecond(i64::try_from(clock::wall().0).unwrap()).unwrap();
    let now = now.to_zoned(jiff::tz::TimeZone::UTC);
    let day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        [(now.weekday().to_monday_zero_offset() as usize + 3) % 7];
    let set = rig.json(&["campaign", "set", "a", &format!("hours={day} 09:00-18:00"), "priority=urgent"], 0);
    assert_eq!(set["acknowledged"], json!(true));
    let at_return = rig.ledger().requests;
    wait_until("what was in flight has its answer", || rig.count("a", "sending") == 0);
    assert_eq!(rig.ledger().requests, at_return, "a request came outside its hours");
    let status = rig.status("a");
    assert_eq!(
        (&status["state"], &status["blocked"][0]["reason"]),
        (&json!("running"), &json!("hours")),
        "{status}"
    );
    assert_eq!((&status["priority"], &status["settings"]["priority"]), (&json!("urgent"), &json!("urgent")));
    rig.ok(&["campaign", "set", "a", "hours=default"]);
    let states = rig.done("a");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn one_test_message_is_sent_and_counted_nowhere() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    rig.ready("a", "", 0, 10);
    let to = "+5531999990000";
    assert_eq!(rig.run(&["campaign", "test", "a", "--to", to]).status.code(), Some(4));
    let dry = rig.json(&["campaign", "test", "a", "--to", to, "--dry-run"], 0);
    assert_eq!((&dry["sent"], rig.ledger().requests), (&json!(false), 0));
    let sent = rig.json(&["campaign", "test", "a", "--to", to, "--value", "nome=Gerente", "--yes"], 0);
    assert!(sent["wamid"].as_str().unwrap().starts_with("wamid."), "{sent}");
    assert_eq!(
        (&sent["sent"], &sent["to"], rig.ledger().requests),
        (&json!(true), &json!("+5531*****0000"), 1)
    );
    assert_eq!(rig.status("a")["states"]["queued"], 10);
    let refused = rig.run(&["campaign", "test", "a", "--to", to, "--value", "nome=a     b", "--yes"]);
    assert_eq!((refused.status.code(), rig.ledger().requests), (Some(2), 1));
}
