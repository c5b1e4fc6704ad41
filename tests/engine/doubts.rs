//! Doubts that no receipt settles: kept and given up while webhooks are silent, tried again when receipts of later sends
//! come, and ended by an operator's word.

use serde_json::json;

use crate::hooks::telling;
use crate::rig::{Rig, plan, sim, wait_until};

#[test]
fn with_webhooks_lost_for_good_exactly_the_doubts_end_unresolved_and_none_is_resent() {
    let faults = "[[fault]]\nkind = \"http_5xx_empty\"\nstatus = 502\nshare = 0.05\n\
        [[fault]]\nkind = \"reset_after\"\nshare = 0.05\n\
        [[fault]]\nkind = \"error\"\ncode = 131000\nshare = 0.05\n";
    let mut rig = Rig::new(2, "unlimited", sim(|config| config.plan = plan(faults)));
    rig.extra = "time_scale = 1000\n[doubt]\ngive_up = \"1h\"".to_owned();
    rig.cloud = "timeout = \"300s\"\nconnect_timeout = \"60s\"\n".to_owned();
    let serve = rig.serve();
    rig.campaign("a", 0, 300);
    let states = rig.done("a");
    let of = |state: &str| states[state].as_u64().unwrap();
    let (doubted, requests) = (of("in_doubt") + of("unresolved"), rig.ledger().requests);
    assert!(doubted > 10, "{states}");
    wait_until("no doubt is left", || rig.count("a", "in_doubt") == 0);
    let status = rig.status("a");
    assert_eq!(
        (&status["state"], &status["states"]["unresolved"]),
        (&json!("done"), &json!(doubted)),
        "{status}"
    );
    let ledger = rig.judge("a", &status["states"]);
    assert_eq!(ledger.requests, requests, "nothing was sent again");
    serve.must_say("doubts are over");

    // The operator's word: counted, refused without a yes, done, and done once.
    let dry = rig.json(&["campaign", "resolve", "a", "--resend", "--dry-run"], 0);
    assert_eq!((&dry["messages"], &dry["changed"]), (&json!(doubted), &json!(false)), "{dry}");
    assert_eq!(rig.run(&["campaign", "resolve", "a", "--resend"]).status.code(), Some(4));
    assert_eq!(rig.run(&["campaign", "resolve", "a"]).status.code(), Some(2));
    let resent = rig.json(&["campaign", "resolve", "a", "--resend", "--yes"], 0);
    assert_eq!((&resent["messages"], &resent["unresolved"]), (&json!(doubted), &json!(0)), "{resent}");
    wait_until("they are sent again", || {
        let status = rig.status("a");
        status["state"] == "done" && rig.ledger().requests >= requests + doubted
    });
    wait_until("no doubt is left", || rig.count("a", "in_doubt") == 0);
    let left = rig.count("a", "unresolved");
    assert!(left < doubted, "{left} of {doubted}");
    let sent = rig.json(&["campaign", "resolve", "a", "--as-sent"], 0);
    assert_eq!((&sent["messages"], &sent["how"]), (&json!(left), &json!("as_sent")), "{sent}");
    assert_eq!(rig.json(&["campaign", "resolve", "a", "--as-sent"], 0)["messages"], 0);
    assert_eq!(rig.count("a", "accepted"), 300);
    assert!(rig.ok(&["journal", "show"]).contains("campaign resolve"));
    serve.stop();
}

#[test]
fn doubtful_ones_are_tried_again_once_receipts_of_later_sends_come() {
    let rig = telling(2, "50/s", "[[fault]]\nkind = \"error\"\ncode = 131000\nshare = 0.03\n", |_| ());
    let serve = rig.serve();
    rig.campaign("a", 0, 200);
    rig.done("a");
    // Later sends of the same numbers.
    rig.campaign("b", 10_000, 1_000);
    wait_until("nothing of it is in doubt", || {
        let status = rig.status("a");
        status["state"] == "done" && status["states"]["accepted"] == 200
    });
    serve.must_say("doubts are over");
    let ledger = rig.ledger();
    assert_eq!((ledger.duplicate_ids, ledger.duplicate_people), (0, 0), "{ledger:?}");
    rig.ok(&["campaign", "cancel", "b", "--yes"]);
    serve.stop();
}
