//! Erasure of one person: nothing more is sent to them, nothing tells of them, and it can be proven.

use serde_json::{Value, json};

use crate::rig::{Rig, sim};

/// The seventh recipient of every campaign here, written in two ways.
const PHONE: [&str; 2] = ["+55 (31) 96000-0007", "(31) 6000-0007"];

fn erase(rig: &Rig, phone: &str, more: &[&str]) -> (Option<i32>, Value) {
    let words =
        [&["person", "erase", phone, "--json", "--reason", "pedido 12", "--actor", "ana"], more].concat();
    let output = rig.run(&words);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!all.contains("6000-0007") && !all.contains("60000007"), "{all}");
    (
        output.status.code(),
        said.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap()),
    )
}

fn report(rig: &Rig, id: &str) -> String {
    let path = rig.path(&format!("{id}.report.csv"));
    rig.ok(&["campaign", "report", id, "-o", path.to_str().unwrap()]);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn an_erased_person_gets_nothing_more_and_is_told_of_nowhere() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    let path = rig.path("a.toml");
    rig.campaign("a", 0, 200);
    rig.ok(&["campaign", "pause", "a"]);
    rig.campaign("b", 5, 5);
    assert!(report(&rig, "a").contains("+5531960000007"));
    assert!(rig.ok(&["why", "a/9"]).contains("it has not been sent"));
    let (code, said) = erase(&rig, PHONE[0], &["--dry-run"]);
    assert_eq!((code, &said["dry_run"], &said["suppressed"]), (Some(0), &json!(true), &json!(0)), "{said}");
    let (code, _) = erase(&rig, PHONE[0], &[]);
    assert_eq!(code, Some(4), "nobody confirmed");
    let (code, said) = erase(&rig, PHONE[0], &["--yes"]);
    assert_eq!((code, &said["suppressed"], &said["already"]), (Some(0), &json!(2), &json!(false)), "{said}");
    let (code, said) = erase(&rig, PHONE[1], &["--yes"]);
    assert_eq!((code, &said["suppressed"], &said["already"]), (Some(0), &json!(0), &json!(true)), "{said}");
    // What is queued before and behind them still goes out.
    let serve = rig.serve();
    rig.ok(&["campaign", "resume", "a"]);
    let states = rig.done("a");
    assert_eq!((&states["accepted"], &states["suppressed"]), (&json!(199), &json!(1)), "{states}");
    assert_eq!(rig.done("b")["suppressed"], 1);
    assert_eq!(rig.ledger().taken, 199 + 4);
    let text = report(&rig, "a");
    assert!(
        !text.contains("5531960000007") && !text.contains("C7,") && text.lines().count() == 201,
        "{text}"
    );
    assert!(text.contains(",suppressed,"), "the row itself is not lost");
    let id = text.lines().find(|line| line.contains(",suppressed,")).unwrap().split(',').nth(4).unwrap();
    for asked in [PHONE[0], PHONE[1], "a/9", "b/4", id] {
        let told = rig.run(&["why", asked]);
        let said = String::from_utf8_lossy(&told.stderr);
        assert_eq!((told.status.code(), told.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
        assert!(said.contains("this person was erased") && !said.contains("60000007"), "{said}");
    }
    assert!(rig.ok(&["why", "a/10"]).contains("Meta took it"));
    // Later loads keep them out, whatever the campaign.
    let loaded = rig.run(&["campaign", "load", "a", rig.path("a-0.csv").to_str().unwrap(), "--json"]);
    let said: Value = serde_json::from_slice(&loaded.stdout).unwrap();
    assert_eq!((loaded.status.code(), &said["reasons"]), (Some(3), &json!({"erased": 1})), "{said}");
    rig.done("a");
    rig.ok(&["campaign", "archive", "a", "--yes"]);
    let archived = std::fs::read_to_string(rig.path("data/archive/a-1/report.csv")).unwrap();
    assert!(!archived.contains("5531960000007") && archived.lines().count() == 201);
    let proof: Vec<Value> = proofs(&rig);
    assert_eq!(proof.len(), 2);
    let text = format!("{proof:?}");
    assert!(
        text.contains("pedido 12") && text.contains("suppressed") && !text.contains("60000007"),
        "{text}"
    );
    assert!(text.contains("\"ana\""), "{text}");
    the_journal_proves_it(&rig);
    assert!(path.exists());
    serve.stop();
}

/// One line per erasure that was done, with who and why, and nothing of the person.
fn the_journal_proves_it(rig: &Rig) {
    let said = rig.ok(&["journal", "show", "--actions", "--json"]);
    assert!(!said.contains("60000007") && !said.contains("6000-0007"), "{said}");
    let all = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let erased: Vec<Value> = all.filter(|entry| entry["verb"] == "person erase").collect();
    let details: Vec<&str> = erased.iter().map(|entry| entry["detail"].as_str().unwrap()).collect();
    let expect = [
        "erased: 2 messages suppressed, traces in 2 campaigns; pedido 12",
        "erased: 0 messages suppressed, traces in 2 campaigns; pedido 12",
    ];
    assert_eq!(details, expect, "{erased:?}");
    assert!(erased.iter().all(|entry| entry["actor"] == "ana"), "{erased:?}");
}

fn proofs(rig: &Rig) -> Vec<Value> {
    let entries: Vec<(String, Vec<String>)> = rig.redis(&["XRANGE", "ct:erasures", "-", "+"]);
    entries.into_iter().map(|(_, fields)| json!(fields)).collect()
}

#[test]
fn a_person_whose_message_is_on_its_way_or_waits_is_found_too() {
    // Every request is refused for the moment, so that messages wait for their retry.
    let faults = "[[fault]]\nkind = \"error\"\ncode = 131053\nshare = 1.0";
    let rig = Rig::new(1, "unlimited", sim(|config| config.plan = crate::rig::plan(faults)));
    let serve = rig.serve();
    rig.campaign("a", 0, 20);
    crate::rig::wait_until("they wait", || {
        let states = rig.status("a")["states"].clone();
        states["queued"] == 0 && states["waiting"] != 0
    });
    rig.ok(&["campaign", "pause", "a"]);
    let (code, said) = erase(&rig, PHONE[0], &["--yes"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        (&said["suppressed"], &said["campaigns"][0]["states"]),
        (&json!(1), &json!({"suppressed": 1})),
        "{said}"
    );
    assert_eq!(rig.count("a", "suppressed"), 1);
    serve.stop();
}

#[test]
fn what_is_no_phone_is_refused_without_repeating_it() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    let output = rig.run(&["person", "erase", "96000", "--yes"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("96000"), "{output:?}");
}
