//! `campaign plan` as a manager meets it: without Redis, without Meta, with both; and the verbs that need no engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::fs;

use carteiro::sim::{Server, SimConfig};
use place::{CAMPAIGN, CONFIG, Place, file, totals};
use serde_json::json;

const BAD: &str = "1131234567,L1,Ana\n1198100,S1,Bia\n11981000005,C5,Maria\n11981000006,C6,Outra\n";

#[test]
fn a_plan_needs_neither_redis_nor_meta_and_leaves_nothing() {
    let place = Place::new();
    place.write("teste.toml", CAMPAIGN);
    place.write("a.csv", &(file(0..300) + BAD));
    let plan = place.json(&["campaign", "plan", "teste.toml", "a.csv"], 3);
    assert_eq!(
        (&plan["rows"], &plan["new"], &plan["rejected"]),
        (&json!(304), &json!(300), &json!(2)),
        "{plan}"
    );
    assert_eq!(
        (&plan["repeated"], &plan["differing"]),
        (&json!({"rows": 1, "lines": [304]}), &json!({"rows": 1, "lines": [305]}))
    );
    let landline = json!({"rows": 1, "lines": [302], "reason": "telefone: the phone is a landline"});
    assert_eq!(plan["reasons"]["phone_landline"], landline);
    assert_eq!((&plan["known"], &plan["template"]), (&json!(null), &json!(null)));
    assert!(plan["template_not_compared"].as_str().unwrap().contains("cannot read the templates"), "{plan}");
    assert!(
        plan["redis_not_compared"].is_string() && plan["memory_bytes"].as_u64().unwrap() > 300 * 20,
        "{plan}"
    );
    assert_eq!(plan["costs"].as_array().unwrap().len(), 3);
    assert!(!place.path("data").join("redis").exists(), "no redis was started");
    assert!(!place.path("a.csv.rejects.csv").exists());

    let ran = place.run(&["campaign", "plan", "teste.toml", "a.csv", "--offline"]);
    assert_eq!(ran.code, 3);
    assert!(
        ran.out.contains("300 would be queued") && ran.out.contains("| Olá, Maria! Há uma"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("+5511*****0000") && !ran.out.contains("981000000"), "{}", ran.out);
    assert!(ran.out.contains("not compared with Meta's: --offline"), "{}", ran.out);
}

#[test]
fn a_plan_compares_with_meta_and_with_what_is_loaded() {
    let sim = Server::start(SimConfig { rate_per_s: 0, ..SimConfig::default() }).unwrap();
    let place = Place::new();
    place.write(
        "carteiro.toml",
        &CONFIG.replace("http://127.0.0.1:9", &sim.url).replace("\"100\"", "\"100000000000001\""),
    );
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/campaigns/vencimento-amanha.toml"))
            .unwrap();
    place.write("v.toml", &text);
    place.ok(&[
        "recipients",
        "generate",
        "--count",
        "500",
        "--bad",
        "0",
        "--duplicates",
        "0",
        "-o",
        "all.csv",
    ]);
    let plan = place.json(&["campaign", "plan", "v.toml", "all.csv"], 0);
    assert_eq!(
        (&plan["new"], &plan["template"]["status"], &plan["template"]["problems"]),
        (&json!(500), &json!("APPROVED"), &json!([])),
        "{plan}"
    );
    assert_eq!((plan["messages"].as_array().unwrap().len(), plan["costs"].as_array().unwrap().len()), (3, 1));

    place.ok(&["campaign", "create", "v.toml"]);
    let all = fs::read_to_string(place.path("all.csv")).unwrap();
    let half: String = all.lines().take(201).map(|line| format!("{line}\n")).collect();
    place.write("half.csv", &half);
    assert_eq!(
        totals(&place.json(&["campaign", "load", "vencimento-amanha", "half.csv"], 0)),
        [200, 200, 0, 0]
    );
    let plan = place.json(&["campaign", "plan", "v.toml", "all.csv"], 0);
    assert_eq!(
        (&plan["state"], &plan["new"], &plan["known"]["rows"]),
        (&json!("ready"), &json!(300), &json!(200))
    );
    assert!(plan["redis_free_bytes"].as_u64().unwrap() > 0 && plan["redis_not_compared"].is_null());

    place.write("other.toml", &text.replace("vence amanhã", "venceu ontem"));
    let other = place.json(&["campaign", "plan", "other.toml", "all.csv"], 3);
    assert_eq!(other["template"]["problems"][0]["field"], "body_text", "{other}");
}

#[test]
fn a_plan_says_when_the_last_would_leave_and_what_would_expire() {
    let place = Place::new();
    let kept =
        CONFIG.replace("[calendar]\nenforce = false\n", "").replace("\"201\"", "\"201\"\nrate = \"1/s\"");
    place.write("carteiro.toml", &kept.replace("\"202\"", "\"202\"\nrate = \"1/s\""));
    // 300 of São Paulo and one of Acre, two hours behind.
    place.write("a.csv", &(file(0..300) + "68981000001,AC1,Bia\n"));
    let words = ["campaign", "plan", "teste.toml", "a.csv", "--offline", "--at"];
    let at = |time: &'static str| place.json(&[&words[..], &[time]].concat(), 3)["hours"].clone();
    let monday = at("2027-03-01T08:00:00-03:00");
    assert_eq!(
        (&monday["begins"], &monday["ends"], &monday["expired"]),
        (&json!("2027-03-01T11:00:00Z"), &json!("2027-03-01T13:00:00Z"), &json!(0)),
        "{monday}"
    );
    assert_eq!(monday["states"][0], json!({"state": "AC", "rows": 1, "hours": "mon-fri 08:00-18:00"}));
    // On a Saturday all of it would expire before anybody may be written to.
    let saturday = at("2027-02-27 09:00");
    assert_eq!(
        (&saturday["begins"], &saturday["expires"], &saturday["expired"]),
        (&json!("2027-03-01T11:00:00Z"), &json!("2027-02-28T12:00:00Z"), &json!(301)),
        "{saturday}"
    );
    let ran = place.run(&[&words[..], &["2027-02-27 09:00"]].concat());
    assert!(
        ran.out.contains("mon-fri 08:00-18:00: SP 300, AC 1")
            && ran.out.contains("it waits until Mon 08:00 (2027-03-01, São Paulo)")
            && ran.out.contains("301 messages would expire unsent on Sun 09:00"),
        "{}",
        ran.out
    );
    place.write("teste.toml", &CAMPAIGN.replace("expected", "hours = \"tue 14:00-15:00\"\nexpected"));
    let own = at("2027-03-01T08:00:00-03:00");
    assert_eq!(
        (&own["brasilia"], &own["begins"]),
        (&json!("tue 14:00-15:00"), &json!("2027-03-02T17:00:00Z")),
        "{own}"
    );
    let past = place.error(&[&words[..], &["2020-01-01 09:00"]].concat(), 2);
    assert_eq!((&past["code"], &past["field"]), (&json!("bad_time"), &json!("--at")), "{past}");
}

#[test]
fn a_plan_reads_its_file_as_a_load_would() {
    let place = Place::new();
    place.write("rows", "{\"telefone\":11981000001,\"contrato\":\"C1\",\"nome\":\"Maria\"}\n");
    let words = ["campaign", "plan", "teste.toml", "rows", "--offline"];
    let with = |more: &[&'static str], code| place.json(&[&words[..], more].concat(), code)["new"].clone();
    assert_eq!(with(&["--format", "ndjson"], 3), 1);
    let error = place.error(&[&words[..], &["--format", "csv"]].concat(), 2);
    assert_eq!(error["file"], "rows", "{error}");
    fs::write(place.path("rows"), b"telefone,contrato,nome\n11981000001,C1,Jos\xe9\n").unwrap();
    assert_eq!(with(&["--encoding", "windows-1252"], 3), 1);
    assert_eq!(place.error(&[&words[..], &["--encoding", "ebcdic"]].concat(), 2)["field"], "--encoding");
    let both = place.error(&["campaign", "plan", "-", "-", "--offline"], 2);
    assert_eq!(both["field"], "FILE", "{both}");
}

#[test]
fn a_closed_campaign_takes_no_more() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..10));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    assert_eq!(place.json(&["campaign", "close", "teste", "--dry-run"], 0)["changed"], true);
    assert_eq!(place.status()["closed"], false);
    assert_eq!(place.json(&["campaign", "close", "teste"], 0)["changed"], true);
    assert_eq!(place.json(&["campaign", "close", "teste"], 0)["changed"], false);
    assert_eq!(place.error(&["campaign", "load", "teste", "a.csv"], 2)["code"], "closed");
    assert_eq!(place.status()["closed"], true);
}

#[test]
fn verbs_say_what_they_would_do_and_what_cannot_be() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..10));
    assert_eq!(place.error(&["campaign", "start", "teste", "--first", "3", "--yes"], 2)["code"], "not_now");
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    assert_eq!(place.error(&["campaign", "start", "teste", "--first", "3"], 4)["code"], "not_confirmed");
    let would = place.json(&["campaign", "start", "teste", "--first", "30", "--dry-run"], 0);
    assert_eq!(
        (&would["wanted"], &would["granted"], &would["state"]),
        (&json!(30), &json!(10), &json!("ready"))
    );
    place.error(&["campaign", "start", "teste", "--first", "3", "--at", "09:00"], 2);
    assert_eq!(place.error(&["campaign", "start", "teste", "--at", "soon", "--yes"], 2)["code"], "bad_time");
    assert_eq!(place.error(&["campaign", "retry", "teste", "--code", "131026"], 2)["code"], "not_now");

    let unset = place.error(&["campaign", "set", "teste", "priorty=high"], 2);
    assert_eq!(
        (&unset["code"], &unset["field"], &unset["hint"]),
        (&json!("bad_setting"), &json!("priorty"), &json!("did you mean `priority`?"))
    );
    assert_eq!(place.error(&["campaign", "set", "teste", "numbers=999"], 2)["code"], "unknown_number");
    let set = place.json(&["campaign", "set", "teste", "priority=high", "validity=2h", "--dry-run"], 0);
    assert_eq!((&set["changed"], &place.status()["settings"]), (&json!(true), &json!({})));
    place.ok(&["campaign", "set", "teste", "priority=high", "validity=2h"]);
    let status = place.status();
    assert_eq!(
        (&status["priority"], &status["settings"]),
        (&json!("high"), &json!({"priority": "high", "validity": "2h"}))
    );
    assert_eq!(place.json(&["campaign", "set", "teste", "priority=high"], 0)["changed"], false);
    place.ok(&["campaign", "set", "teste", "priority=default", "validity=default"]);
    assert_eq!(place.status()["settings"], json!({}));

    let first = place.json(&["campaign", "start", "teste", "--first", "4", "--yes"], 0);
    assert_eq!(
        (&first["state"], &first["node"], &first["through"]),
        (&json!("running"), &json!(null), &json!(false))
    );
    assert_eq!(place.status()["first"], 4);
    // The rest too, and nothing is left of the first.
    assert_eq!(place.json(&["campaign", "resume", "teste"], 0)["state"], "running");
    assert_eq!(place.status()["first"], json!(null));
    assert_eq!(place.error(&["campaign", "start", "teste", "--first", "4", "--yes"], 2)["code"], "not_now");
}

#[test]
fn what_is_refused_or_gone_says_where_to_look() {
    let place = Place::with_campaign();
    let share = place.error(&["campaign", "set", "teste", "pace_share=0%"], 2);
    assert!(share["message"].as_str().unwrap().starts_with("pace_share: is no share"), "{share}");
    let header = file(0..0);
    place.write("empty.csv", &header);
    let empty = place.run(&["campaign", "load", "teste", "empty.csv"]);
    assert!(empty.code == 0 && empty.err.contains("a header and no rows"), "{}", empty.err);
    place.write("a.csv", &file(0..3));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    let line = place.error(&["why", "teste/99"], 1);
    assert!(line["hint"].as_str().unwrap().contains("line 99 in FILE.rejects.csv"), "{line}");
    for args in [&["person", "erase"][..], &["campaign", "test", "teste", "--to"]] {
        let refused = place.error(&[args, &["1133334444", "--dry-run"]].concat(), 2);
        assert!(refused["message"].as_str().unwrap().starts_with("the phone is a landline"), "{refused}");
    }

    place.ok(&["campaign", "cancel", "teste", "--yes"]);
    place.ok(&["campaign", "archive", "teste", "-o", "kept", "--yes"]);
    assert!(place.run(&["campaign", "list"]).err.contains("1 campaign left for an archive"));
    // What was done to it is asked months later.
    let journal = place.run(&["journal", "show", "--campaign", "teste"]);
    assert!(journal.code == 0 && journal.out.contains("campaign cancel teste"), "{}", journal.out);
}

#[test]
fn a_plan_says_how_many_days_the_people_of_a_file_take() {
    let place = Place::new();
    let portfolio = "[[portfolio]]\nid = \"acme\"\npeople_per_day = 100\n[[account]]\nportfolio = \"acme\"\n";
    place.write("carteiro.toml", &CONFIG.replace("[[account]]\n", portfolio));
    place.write("a.csv", &file(0..250));
    let plan = place.json(&["campaign", "plan", "teste.toml", "a.csv", "--offline"], 3);
    let expect = json!({"portfolio": "acme", "people_per_day": 100, "used": null, "days": 3});
    assert_eq!(plan["people"], expect, "{plan}");
    // With Redis it knows who was written to already.
    place.ok(&["campaign", "create", "teste.toml"]);
    let plan = place.json(&["campaign", "plan", "teste.toml", "a.csv", "--offline"], 3);
    assert_eq!((&plan["people"]["used"], &plan["people"]["days"]), (&json!(0), &json!(3)));
    let said = place.run(&["campaign", "plan", "teste.toml", "a.csv", "--offline"]).out;
    assert!(
        said.contains(
            "people: portfolio acme may write to 100 a day, 0 within the last day: these rows take 3 days"
        ),
        "{said}"
    );
}
