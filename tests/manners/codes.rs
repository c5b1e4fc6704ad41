//! One real situation for each exit code.

use std::io::{BufRead, BufReader, Read};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::place::{Place, file};

#[test]
fn code_0_done() {
    let place = Place::with_campaign();
    assert_eq!(place.run(&["campaign", "list"]).code, 0);
    // What is so already is done, too.
    assert_eq!(place.run(&["campaign", "create", "teste.toml"]).code, 0);
}

#[test]
fn code_1_failed() {
    let place = Place::with_campaign();
    let error = place.error(&["campaign", "report", "teste", "-o", "no/such/folder.csv"], 1);
    assert_eq!((&error["code"], &error["file"]), (&json!("unwritable"), &json!("no/such/folder.csv")));
}

#[test]
fn code_2_usage_or_an_invalid_file() {
    let place = Place::with_campaign();
    assert_eq!(place.error(&["campaign", "stop", "teste"], 2)["code"], "usage");
    place.write("bad.toml", "id = 3\n");
    assert_eq!(place.error(&["campaign", "create", "bad.toml"], 2)["line"], 1);
}

#[test]
fn code_3_done_in_part() {
    let place = Place::with_campaign();
    place.write("a.csv", &(file(0..3) + "123,X,Ana\n"));
    let loaded = place.json(&["campaign", "load", "teste", "a.csv"], 3);
    assert_eq!((&loaded["loaded"], &loaded["rejected"]), (&json!(3), &json!(1)));
}

#[test]
fn code_4_refused_or_not_confirmed() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..3));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    for verb in ["start", "cancel"] {
        let error = place.error(&["campaign", verb, "teste"], 4);
        assert_eq!(error["code"], "not_confirmed");
        assert!(error["hint"].as_str().unwrap().contains("--yes"), "{error}");
    }
    assert_eq!(place.status()["state"], "ready");
}

#[test]
fn code_5_redis_or_the_engine_cannot_be_reached() {
    let place = Place::new();
    let url = "redis.url=redis+unix:///nonexistent/socket";
    assert_eq!(place.error(&["--set", url, "campaign", "list"], 5)["code"], "redis_lost");
}

#[test]
fn code_130_interrupted() {
    let place = Place::with_campaign();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut child = place.command(&["--json", "campaign", "status", "--watch"]).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["state"], "draft");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let error: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "interrupted");
        assert_eq!(error["error"]["hint"], "nothing was changed");
    }
}
