//! The engine and a Meta that tells by webhooks what became of the messages: doubts are settled, nobody gets one twice.

use std::time::Duration;

use carteiro::sim::{Server, SimConfig, WebhookConfig};
use serde_json::Value;

use crate::rig::{ACCOUNT, APP_SECRET, Rig, plan, sim, wait_until};

/// A port that is free now: the simulator has to know the engine's before there is one.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A rig whose simulator tells, by this plan.
pub(crate) fn telling(
    numbers: usize,
    rate: &'static str,
    text: &str,
    change: impl FnOnce(&mut SimConfig),
) -> Rig {
    let port = free_port();
    let sim: Server = sim(|config| {
        config.plan = plan(text);
        config.time_scale = 20;
        config.webhook = Some(WebhookConfig {
            url: format!("http://127.0.0.1:{port}/webhooks/whatsapp"),
            app_secret: APP_SECRET.into(),
            account: ACCOUNT.to_owned(),
        });
        change(config);
    });
    let mut rig = Rig::new(numbers, rate, sim);
    rig.extra = "time_scale = 20".to_owned();
    rig.webhooks = Some(port);
    rig
}

/// Waits until every receipt was acknowledged.
fn told(rig: &Rig) {
    wait_until("every receipt is acknowledged", || {
        let webhooks = rig.ledger().webhooks;
        webhooks.planned > 0 && webhooks.pending == 0
    });
}

fn count(states: &Value, state: &str) -> u64 {
    states[state].as_u64().unwrap()
}

#[test]
fn every_message_that_was_taken_ends_accepted_with_its_receipts() {
    let rig =
        telling(2, "300/s", "[webhooks]\ntwice = 0.2\nswapped = 0.2\nlate = 0.1\nlate_by = \"5s\"\n", |_| ());
    let serve = rig.serve();
    rig.campaign("a", 0, 900);
    let states = rig.done("a");
    assert_eq!(count(&states, "accepted"), 900, "{states}");
    told(&rig);
    let (ledger, status) = (rig.judge("a", &states), rig.status("a"));
    let of = |name: &str| status["receipts"][name].as_u64().unwrap();
    let webhooks = &ledger.webhooks;
    assert_eq!((webhooks.dropped, webhooks.silent, webhooks.sent), (0, 0, 900));
    // Read implies delivered, and delivered alone may stand where sent was overtaken.
    assert_eq!(
        (of("sent"), of("delivered"), of("read")),
        (900, webhooks.delivered, webhooks.read),
        "{status}"
    );
    assert_eq!((of("failed"), status["duplicates_detected"].as_u64()), (0, Some(0)));
    let checked = rig.ok(&["webhooks", "check", "--json"]);
    let checked: Value = serde_json::from_str(checked.lines().last().unwrap()).unwrap();
    assert_eq!(checked["ok"], true, "{checked}");
    let receipts = checked["checks"].as_array().unwrap().iter().filter(|check| check["check"] == "receipts");
    assert!(
        receipts.clone().count() == 2 && receipts.into_iter().all(|check| check["ok"] == true),
        "{checked}"
    );
    serve.stop();
    what_the_journal_knows(&rig, [900, webhooks.delivered, webhooks.read]);
}

/// The columns of the report that come from receipts, and the story of a message that was delivered.
fn what_the_journal_knows(rig: &Rig, expect: [u64; 3]) {
    let path = rig.path("told.csv");
    rig.ok(&["campaign", "report", "a", "-o", path.to_str().unwrap()]);
    let mut reader = csv::Reader::from_path(path).unwrap();
    let headers = reader.headers().unwrap().clone();
    let at = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let [id, sent, delivered, read] = ["message_id", "sent_at", "delivered_at", "read_at"].map(at);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let filled = |column: usize| rows.iter().filter(|row| row[column].ends_with('Z')).count() as u64;
    assert_eq!([sent, delivered, read].map(filled), expect);
    let told = rows.iter().find(|row| !row[delivered].is_empty()).unwrap();
    let why: Value =
        serde_json::from_str(rig.ok(&["why", &told[id], "--json"]).lines().last().unwrap()).unwrap();
    let entries = why["entries"].as_array().unwrap();
    let receipt =
        entries.iter().find(|entry| entry["status"] == "delivered").unwrap_or_else(|| panic!("{why}"));
    assert_eq!((&receipt["kind"], &receipt["status_at"]), (&"receipt".into(), &told[delivered].into()));
    assert!(rig.ok(&["why", &told[id]]).contains("delivered at"));
}

#[test]
fn doubts_from_lost_replies_are_settled_and_none_is_sent_twice() {
    let faults = "[[fault]]\nkind = \"http_5xx_empty\"\nstatus = 502\nshare = 0.03\n\
        [[fault]]\nkind = \"reset_before\"\nshare = 0.01\n\
        [[fault]]\nkind = \"reset_after\"\nshare = 0.03\n\
        [[fault]]\nkind = \"stall\"\nshare = 0.005\n\
        [[fault]]\nkind = \"success_without_wamid\"\nshare = 0.02\n\
        [[fault]]\nkind = \"held\"\nshare = 0.03\n\
        [[fault]]\nkind = \"error_after_taking\"\ncode = 131000\nshare = 0.02\n\
        [webhooks]\nswapped = 0.1\ntwice = 0.1\nheld_for = \"10s\"\n";
    let rig = telling(3, "400/s", faults, |_| ());
    let serve = rig.serve();
    rig.campaign("a", 0, 1_500);
    rig.done("a");
    told(&rig);
    let states = rig.status("a")["states"].clone();
    let ledger = rig.judge("a", &states);
    assert!(ledger.reset_after > 0 && ledger.empty_5xx > 0 && ledger.held > 0, "{ledger:?}");
    assert_eq!(ledger.taken, count(&states, "accepted"), "all that was taken is known: {states}");
    assert_eq!(count(&states, "held"), 0, "{states}");
    // What is left in doubt are those that Meta never took: nobody told of them, and nobody will.
    assert!(count(&states, "in_doubt") <= ledger.reset_before, "{states} {ledger:?}");
    assert_eq!(rig.status("a")["duplicates_detected"], 0);
    serve.stop();
}

#[test]
fn an_engine_that_was_killed_learns_afterwards_what_became_of_its_messages() {
    let rig = telling(2, "150/s", "", |config| config.latency = Duration::from_millis(150));
    let serve = rig.serve();
    rig.campaign("a", 0, 600);
    rig.taken(150);
    serve.kill();
    let serve = rig.serve_after_a_crash();
    rig.done("a");
    told(&rig);
    let states = rig.status("a")["states"].clone();
    let ledger = rig.judge("a", &states);
    assert!(ledger.webhooks.refused > 0, "webhooks came while nobody was there");
    assert_eq!(ledger.taken, count(&states, "accepted"), "{states}");
    serve.stop();
}

#[test]
fn what_fails_later_is_final_with_its_code() {
    let rig = telling(2, "unlimited", "[webhooks]\nfailed = 0.2\nfailed_code = 131026\n", |_| ());
    let serve = rig.serve();
    rig.campaign("a", 0, 400);
    rig.done("a");
    told(&rig);
    let (status, ledger) = (rig.status("a"), rig.ledger());
    let failed = ledger.webhooks.failed;
    assert!(failed > 40, "{ledger:?}");
    assert_eq!(count(&status["states"], "failed"), failed, "{status}");
    assert_eq!(count(&status["states"], "accepted"), 400 - failed, "{status}");
    assert_eq!(status["reasons"][0]["codes"], "131026");
    assert_eq!((ledger.taken, ledger.failed_later, ledger.duplicate_ids), (400, failed, 0));
    serve.stop();
}

#[test]
fn held_messages_that_meta_drops_stop_the_template_and_wait_for_its_resumption() {
    // All of the first second are held, dropped half a second later, and then nothing is held any more.
    let faults = "[[fault]]\nkind = \"held\"\nshare = 1.0\nto = \"20s\"\n[webhooks]\nheld_for = \"30s\"\nheld_dropped = 1.0\n";
    let rig = telling(1, "20/s", faults, |_| ());
    let serve = rig.serve();
    rig.campaign("a", 0, 100);
    wait_until("every held message is dropped and waits", || {
        let (status, ledger) = (rig.status("a"), rig.ledger());
        let halted = status["blocked"].as_array().unwrap().iter().any(|block| block["reason"] == "halted");
        halted && ledger.held > 0 && count(&status["states"], "waiting") == ledger.held
    });
    let status = rig.status("a");
    assert_eq!((&status["state"], &status["states"]["failed"]), (&"running".into(), &0.into()), "{status}");
    rig.ok(&["template", "resume", &format!("{ACCOUNT}/template_a")]);
    let states = rig.done("a");
    assert_eq!(count(&states, "accepted"), 100, "{states}");
    told(&rig);
    let ledger = rig.judge("a", &states);
    assert_eq!((ledger.failed_later, ledger.taken), (ledger.held, 100 + ledger.held));
    serve.must_say("halted by a webhook");
    serve.stop();
}
