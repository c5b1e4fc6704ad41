//! The command line as an operator meets it: the real program, a private Redis, files, exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use carteiro::app::board::{Board, BoardNumber};
use carteiro::app::store::Store;
use carteiro::queue::owner::{self, Ask, Beat};
use carteiro::queue::{campaigns, keys};
use futures_util::StreamExt;
use place::{CAMPAIGN, CONFIG, Place, Ran, file, totals};
use serde_json::{Value, json};

#[test]
fn verbs_without_an_engine() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..10));
    let refused = place.error(&["campaign", "start", "teste", "--yes"], 2);
    assert_eq!(refused["code"], "not_now");
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    assert_eq!(place.error(&["campaign", "pause", "teste"], 2)["code"], "not_now");
    assert_eq!(place.error(&["campaign", "start", "teste"], 4)["code"], "not_confirmed");
    assert_eq!(place.status()["state"], "ready");
    assert_eq!(place.json(&["campaign", "start", "teste", "--dry-run"], 0)["state"], "running");
    assert_eq!(place.status()["state"], "ready");

    let ran = place.run(&["campaign", "start", "teste", "--yes"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "campaign teste: running\n"));
    assert!(
        ran.err.contains("10 messages of template aviso") && ran.err.contains("no serve is running"),
        "{}",
        ran.err
    );
    assert_eq!(place.ok(&["campaign", "start", "teste"]), "campaign teste: is running already\n");
    let status = place.status();
    assert_eq!((&status["blocked"][0]["reason"], &status["rate_per_s"]), (&json!("no_serve"), &Value::Null));
    assert_eq!(place.ok(&["campaign", "pause", "teste"]), "campaign teste: paused\n");
    assert_eq!(place.ok(&["campaign", "pause", "teste"]), "campaign teste: is paused already\n");
    assert_eq!(place.ok(&["campaign", "resume", "teste"]), "campaign teste: running\n");
    assert_eq!(place.error(&["campaign", "cancel", "teste"], 4)["code"], "not_confirmed");
    place.ok(&["campaign", "cancel", "teste", "--yes"]);
    place.ok(&["campaign", "cancel", "teste"]);
    assert_eq!(place.error(&["campaign", "load", "teste", "a.csv"], 2)["code"], "not_now");

    let status = place.status();
    assert_eq!((&status["states"]["cancelled"], &status["left"]), (&json!(10), &json!(0)));
    assert!(place.report().iter().all(|row| row[5] == "cancelled"));
    // A watch ends when everything that it shows is over.
    assert_eq!(place.ok(&["campaign", "status", "--watch"]), "teste: cancelled, 100.0%  10 of 10\n");
    assert_eq!(place.ok(&["campaign", "list"]), "teste  cancelled  10 messages\n");
}

/// Expects a command to fail with an exit code and an error's code; returns the error.
fn check(place: &Place, args: &[&str], exit: i32, code: &str) -> Value {
    let error = place.error(args, exit);
    assert_eq!(error["code"], code, "{args:?}: {error}");
    error
}

#[test]
fn what_is_wrong_is_said_by_code_file_line_and_field() {
    let place = Place::with_campaign();
    let check = |args: &[&str], exit, code: &str| check(&place, args, exit, code);
    let unknown = check(&["campaign", "stat", "teste"], 2, "usage");
    assert!(
        unknown["hint"].as_str().unwrap().contains("'status'")
            || unknown["hint"].as_str().unwrap().contains("'start'")
    );
    let unknown = check(&["campaign", "status", "testa"], 2, "no_campaign");
    assert!(unknown["message"].as_str().unwrap().contains("did you mean teste?"));
    let key = check(&["--set", "cloud.timeut=3s", "campaign", "list"], 2, "config_invalid");
    assert_eq!(
        (&key["field"], &key["hint"]),
        (&json!("cloud.timeut"), &json!("did you mean \"cloud.timeout\"?"))
    );
    place.write("broken.toml", "\n[cloud]\ntimeout = 3\n");
    let broken = check(&["--config", "broken.toml", "campaign", "list"], 2, "config_invalid");
    assert_eq!((&broken["line"], &broken["field"]), (&json!(3), &json!("cloud.timeout")));
    assert!(broken["file"].as_str().unwrap().ends_with("broken.toml"));
}

#[test]
fn a_campaign_file_that_cannot_be_is_named() {
    let place = Place::with_campaign();
    let check = |args: &[&str], exit, code: &str| check(&place, args, exit, code);
    place.write("bad.toml", &CAMPAIGN.replace("expected = 1000", "expectd = 1000"));
    let bad = check(&["campaign", "create", "bad.toml"], 2, "campaign_file_invalid");
    assert_eq!((&bad["file"], &bad["line"]), (&json!("bad.toml"), &json!(4)), "{bad}");
    assert!(bad["message"].as_str().unwrap().contains("expectd"), "{bad}");
    place.write("other.toml", &CAMPAIGN.replace("\"100\"", "\"101\"").replace("teste", "outra"));
    let other = check(&["campaign", "create", "other.toml"], 2, "unknown_account");
    assert_eq!((&other["file"], &other["field"]), (&json!("other.toml"), &json!("account")));
    place.write(
        "number.toml",
        &CAMPAIGN.replace("account =", "numbers = [\"999\"]\naccount =").replace("teste", "outra"),
    );
    check(&["campaign", "create", "number.toml"], 2, "unknown_number");
    check(&["config", "check", "number.toml"], 2, "unknown_number");
    place.write("same.toml", &CAMPAIGN.replace("aviso", "outro"));
    check(&["campaign", "create", "same.toml"], 2, "campaign_exists");
    assert!(place.ok(&["campaign", "create", "teste.toml"]).contains("exists already"));
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let place = Place::with_campaign();
    let check = |args: &[&str], exit, code: &str| check(&place, args, exit, code);
    place.write("a.csv", &file(0..3));
    check(&["campaign", "load", "teste", "none.csv"], 2, "recipients_unusable");
    place.write("columns.csv", "fone,contrato,nome\n");
    let missing = check(&["campaign", "load", "teste", "columns.csv"], 2, "recipients_unusable");
    assert_eq!((&missing["file"], &missing["field"]), (&json!("columns.csv"), &json!("columns.phone")));
    let input = fs::read(place.path("a.csv")).unwrap();
    check(&["campaign", "load", "teste", "a.csv", "--rejects", "./a.csv"], 2, "rejects_is_input");
    assert_eq!(fs::read(place.path("a.csv")).unwrap(), input);
    check(&["campaign", "report", "teste", "-o", "no/such/folder.csv"], 1, "unwritable");
    check(&["recipients", "generate", "--count", "0"], 2, "usage");
    check(&["number", "pause", "203"], 2, "unknown_scope");
    let url = "redis.url=redis+unix:///nonexistent/socket";
    check(&["--set", url, "campaign", "list"], 5, "redis_lost");
    // Nothing of all this changed the campaign.
    let status = place.status();
    assert_eq!((&status["state"], totals(&status)), (&json!("draft"), [0; 4]));
}

#[test]
fn verbs_speak_the_words_of_the_operators_error_table() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..5));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    place.ok(&["campaign", "start", "teste", "--yes"]);
    let words = ["campaign", "retry", "teste", "--code", "131026", "--dry-run"];
    assert_eq!(place.json(&words, 0)["name"], "undeliverable");
    let table = include_str!("../config/errors.toml").replace("\"undeliverable\"", "\"unreachable\"");
    place.write("errors.toml", &table);
    place.write("carteiro.toml", &CONFIG.replace("[cloud]\n", "[cloud]\nerrors_file = \"errors.toml\"\n"));
    assert_eq!(place.json(&words, 0)["name"], "unreachable");
    // A table that is not valid stops every verb that needs its words, before anything is sent or asked.
    place.write("errors.toml", "[[row]]\n");
    assert_eq!(place.error(&words, 2)["code"], "error_table_invalid");
    let words = ["campaign", "test", "teste", "--to", "11987654321", "--yes"];
    assert_eq!(place.error(&words, 2)["code"], "error_table_invalid");
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::new();
    place.write("a.csv", &(file(0..5) + "123,X,Ana\n"));
    assert_eq!(place.json(&["campaign", "create", "teste.toml", "--dry-run"], 0)["created"], false);
    assert_eq!(place.error(&["campaign", "status", "teste"], 2)["code"], "no_campaign");
    place.ok(&["campaign", "create", "teste.toml"]);
    let dry = place.json(&["campaign", "load", "teste", "a.csv", "--dry-run"], 3);
    assert_eq!((&dry["rows"], &dry["rejected"]), (&json!(6), &json!(1)));
    place.ok(&["number", "pause", "201", "--dry-run"]);
    let number: Value = place.json(&["number", "list"], 0);
    assert_eq!((&number["id"], &number["stopped"]), (&json!("202"), &Value::Null));
    assert_eq!((place.status()["state"].as_str(), totals(&place.status())), (Some("draft"), [0; 4]));
    assert!(!place.path("a.csv.rejects.csv").exists());
}

#[test]
fn scopes_are_paused_once_and_shown() {
    let place = Place::with_campaign();
    assert_eq!(place.ok(&["number", "pause", "201"]), "number 201: paused\n");
    assert_eq!(place.ok(&["number", "pause", "201"]), "number 201: is paused already\n");
    assert_eq!(
        place.ok(&["number", "list"]),
        "201  account 100  limit 80/s  paused\n202  account 100  limit 80/s\n"
    );
    assert_eq!(place.ok(&["number", "resume", "201"]), "number 201: resumed\n");
    assert_eq!(place.ok(&["number", "resume", "201"]), "number 201: is not paused\n");
    assert_eq!(place.ok(&["template", "pause", "aviso"]), "template 100/aviso: paused\n");
    assert_eq!(place.json(&["template", "list"], 0)["stopped"], "paused");
    assert_eq!(place.json(&["account", "pause", "100"], 0)["scope"], "account:100");
    assert_eq!(place.json(&["account", "list"], 0)["numbers"], 2);
    assert_eq!(place.error(&["pause"], 2)["code"], "usage");
    assert_eq!(place.ok(&["pause", "--all"]), "everything: paused\n");
    place.write("a.csv", &file(0..3));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    place.ok(&["campaign", "start", "teste", "--yes"]);
    let status = place.status();
    let blocked: Vec<&Value> =
        status["blocked"].as_array().unwrap().iter().map(|block| &block["scope"]).collect();
    assert_eq!(
        blocked,
        [&json!("template:100/aviso"), &json!("account:100"), &json!("app:all"), &Value::Null]
    );
    assert_eq!(place.ok(&["resume", "--all"]), "everything: resumed\n");
}

/// Plays an engine that owns everything, from joining Redis to leaving it, while `command` runs.
fn beside_an_engine(place: &Place, acknowledges: bool, args: &[&str]) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut store = Store::open(&place.config()).await.unwrap();
        let redis = &mut store.connection;
        let beat = |ask, acknowledged| Beat {
            node: "fake",
            incarnation: "i",
            ask,
            lease: owner::LEASE,
            acknowledged,
            capacity: 1,
            leaving: false,
            offers: None,
            revision: None,
            give_back: &[],
            take: &[],
        };
        owner::beat(redis, &beat(Ask::Join, 0)).await.unwrap();
        let throttled = |id: &str| BoardNumber {
            id: id.to_owned(),
            blocked: Some("throttle".to_owned()),
            blocked_until_ms: Some(1_795_000_000_000),
            ..BoardNumber::default()
        };
        let numbers = vec![throttled("201"), throttled("202")];
        let board = Board { node: "fake".to_owned(), numbers, ..Board::default() };
        owner::publish_status(redis, "fake", &serde_json::to_string(&board).unwrap()).await.unwrap();
        let mut events = store.client.pubsub(store.timeouts).await.unwrap();
        events.subscribe(keys::EVENTS).await.unwrap();
        let mut events = events.on_message();
        let mut command = place.command(args);
        let mut running = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = loop {
            tokio::select! {
                output = &mut running => break output.unwrap(),
                Some(_) = events.next(), if acknowledges => {
                    let version = campaigns::version(redis).await.unwrap();
                    owner::beat(redis, &beat(Ask::Keep, version)).await.unwrap();
                }
            }
        };
        owner::beat(redis, &beat(Ask::Leave, 0)).await.unwrap();
        drop(events);
        store.close().await.unwrap();
        Ran::of(&output)
    })
}

#[test]
fn a_verb_returns_when_the_engine_has_acknowledged() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..200));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    let ran = beside_an_engine(&place, true, &["campaign", "start", "teste", "--yes", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let started: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&started["acknowledged"], &started["node"]), (&json!(true), &json!("fake")));

    let ran =
        beside_an_engine(&place, false, &["--time-scale", "100", "campaign", "pause", "teste", "--json"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let error: Value = serde_json::from_str(ran.err.lines().last().unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "not_acknowledged");
    assert_eq!(place.status()["state"], "paused");
    place.ok(&["campaign", "resume", "teste"]);

    let ran = beside_an_engine(&place, true, &["campaign", "status", "teste"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.out.contains("  blocked: 1 number by throttle until 2026-11-18T11:06:40Z (20"),
        "{}",
        ran.out
    );
}

#[test]
fn webhooks_check_names_every_link_that_is_missing() {
    let place = Place::new();
    let report = place.json(&["webhooks", "check"], 1);
    let checks: Vec<(&str, &str, Option<bool>)> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["check"].as_str().unwrap(), one["subject"].as_str().unwrap(), one["ok"].as_bool()))
        .collect();
    let expect = [
        ("listening", "webhooks.listen", Some(false)),
        ("app_secret", "100", Some(false)),
        ("subscribed", "100", None),
        ("receipts", "201", None),
        ("receipts", "202", None),
    ];
    assert_eq!((report["ok"].as_bool(), checks.as_slice()), (Some(false), expect.as_slice()));
    assert!(report["checks"].as_array().unwrap().iter().all(|one| one["action"].is_string()), "{report}");
    let ran = place.run(&["webhooks", "check"]);
    assert!(ran.out.starts_with("no  listening webhooks.listen: is not set"), "{}", ran.out);
    check(&place, &["webhooks", "check", "--account", "9"], 2, "unknown_account");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let place = Place::new();
    let args = ["recipients", "generate", "--count", "100000"];
    let mut child = place.command(&args).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("contrato;"));
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn generated_recipients_come_back_by_seed() {
    let place = Place::new();
    let made = place.json(&["recipients", "generate", "--count", "1000", "--seed", "7", "-o", "a.csv"], 0);
    let sum = ["unique", "duplicates", "bad"].iter().map(|key| made[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((made["rows"].as_u64(), sum), (Some(1_000), 1_000));
    let mut piped = String::new();
    let mut child =
        place.command(&["recipients", "generate", "--count", "1000", "--seed", "7"]).spawn().unwrap();
    child.stdout.take().unwrap().read_to_string(&mut piped).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(piped, fs::read_to_string(place.path("a.csv")).unwrap());
}

#[test]
fn the_configuration_is_shown_with_its_origins_and_without_secrets() {
    let place = Place::new();
    let shown = place.ok(&["config", "show", "--origin", "--set", "cloud.timeout=20s"]);
    assert!(shown.contains("cloud.timeout = 20s  (command line)\n"), "{shown}");
    assert!(shown.contains("account[1].token = ***") && shown.contains("carteiro.toml, line"), "{shown}");
    let checked = place.ok(&["config", "check", "teste.toml"]);
    assert!(checked.contains("teste.toml: valid, campaign teste\n"), "{checked}");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/carteiro.toml");
    place.write(
        "carteiro.toml",
        &fs::read_to_string(repository).unwrap().replace("CARTEIRO_TOKEN", "TEST_TOKEN"),
    );
    place.ok(&["config", "check"]);
}

#[test]
fn help_names_the_exit_codes() {
    let place = Place::new();
    let help = place.ok(&["--help"]);
    assert!(help.contains("130  interrupted") && help.contains("4    refused by a safety rule"), "{help}");
    assert_eq!(place.ok(&["--version"]), format!("carteiro {}\n", env!("CARGO_PKG_VERSION")));
}
