//! Wrong usage ends with exit 2 and a hint, whatever was typed.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::panic::catch_unwind;

use carteiro::cli::Cli;
use clap::{CommandFactory, FromArgMatches};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::place::Place;

/// Exit codes that a command may end with.
const CODES: [i32; 6] = [0, 1, 2, 3, 4, 5];

/// Commands that run until they are stopped, or for long.
const LONG: [&str; 4] = ["serve", "sim", "demo", "bench"];

/// Every word that the command line knows.
fn words() -> Vec<String> {
    fn below(command: &clap::Command, words: &mut BTreeSet<String>) {
        words.insert(command.get_name().to_owned());
        words.extend(command.get_arguments().filter_map(clap::Arg::get_long).map(|long| format!("--{long}")));
        command.get_subcommands().for_each(|one| below(one, words));
    }
    let mut words = BTreeSet::new();
    below(&Cli::command(), &mut words);
    words.into_iter().filter(|word| !LONG.contains(&word.as_str())).collect()
}

fn argument() -> impl Strategy<Value = String> {
    let known = prop::sample::select(words());
    let odd = prop::sample::select(vec![
        "",
        "-",
        "--",
        "---",
        "-0",
        "=",
        "--=",
        "--json=1",
        "a=b",
        "teste",
        "teste.toml",
        "é",
        "\u{202e}",
        "0",
        "-1",
        "99999999999999999999",
        "NaN",
        "--set=",
        "--config=",
        "--color=blue",
        "../..",
        "a\nb",
        "{}",
        "%s%n",
        "~",
        "*",
    ]);
    prop_oneof![6 => known, 2 => odd.prop_map(str::to_owned), 1 => "[^\\x00]{0,12}"]
}

#[test]
fn no_arguments_make_the_parser_panic() {
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&vec(argument(), 0..8), |args| {
        let line = std::iter::once("carteiro".to_owned()).chain(args);
        let parsed = catch_unwind(|| {
            let matches = Cli::command().try_get_matches_from(line)?;
            Cli::from_arg_matches(&matches)
        });
        prop_assert!(parsed.is_ok());
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn no_arguments_end_otherwise_than_with_a_known_code_and_a_hint() {
    let place = Place::new();
    let mut runner = TestRunner::new(Config { cases: 96, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&vec(argument(), 0..6), |args| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = place.command(&args);
        let output = command.env("CARTEIRO_REDIS__URL", "redis+unix:///nonexistent/socket").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().unwrap_or(-1);
        prop_assert!(CODES.contains(&code), "{args:?} ended with {code}: {said}");
        prop_assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{args:?}: {said}");
        if code == 2 {
            let json = said.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
            match json {
                Some(error) => prop_assert!(error["error"]["hint"].is_string(), "{args:?}: {said}"),
                // Without a command the whole help is shown.
                None => prop_assert!(
                    ["hint: ", "try '--help'", "did you mean", "Usage: "]
                        .iter()
                        .any(|one| said.contains(one)),
                    "{args:?}: {said}"
                ),
            }
        }
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn what_was_meant_is_guessed() {
    let place = Place::with_campaign();
    let guess = |args: &[&str], meant: &str| {
        let error = place.error(args, 2);
        let said = format!("{} {}", error["message"], error["hint"]);
        assert!(said.contains(meant), "{args:?}: {error}");
        assert!(error["hint"].is_string(), "{error}");
    };
    guess(&["campagin", "list"], "'campaign'");
    guess(&["campaign", "laod", "teste", "a.csv"], "'load'");
    guess(&["campaign", "list", "--colour", "never"], "'--color'");
    guess(&["campaign", "start", "teste", "--dryrun"], "'--dry-run'");
    guess(&["campaign", "status", "tetse"], "teste");
    guess(&["number", "pause", "2001"], "201");
    guess(&["account", "resume", "1000"], "100");
    guess(&["template", "pause", "100/avizo"], "100/aviso");
    guess(&["--set", "cloud.timeut=3s", "config", "check"], "cloud.timeout");
    place.write("number.toml", "[[number]]\nphone_number_i = \"1\"\n");
    guess(&["--config", "number.toml", "config", "check"], "number.phone_number_id");
    place.write("account.toml", "[[acount]]\nid = \"1\"\n");
    guess(&["--config", "account.toml", "config", "check"], "account");
    place.write("campaign.toml", "id = \"a\"\npriorty = \"high\"\n");
    guess(&["campaign", "create", "campaign.toml"], "priority");
}

#[test]
fn an_error_has_every_key_and_names_the_argument() {
    let place = Place::new();
    let error = place.error(&["campaign", "load"], 2);
    assert!(error["message"].as_str().unwrap().contains("<ID> <FILE>"), "{error}");
    assert_eq!(error["field"], "<ID>");
    assert!(error["file"].is_null() && error["line"].is_null());
    assert_eq!(place.error(&["sim", "--rate", "fast"], 2)["field"], "--rate <RATE>");
    let error = place.error(&["campaign"], 2);
    assert_eq!(error["message"], "a command is missing");
    assert!(error["hint"].as_str().unwrap().contains("`carteiro campaign --help`"), "{error}");
    // What is no text at all.
    let mut command = place.command(&["campaign", "status"]);
    let output = command.arg(std::ffi::OsStr::from_bytes(b"\xff\xfe")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    // A secret that lost its key is not repeated.
    let error = place.error(&["--set", "s3cret-token", "config", "check"], 2);
    assert!(!error.to_string().contains("s3cret"), "{error}");
}
