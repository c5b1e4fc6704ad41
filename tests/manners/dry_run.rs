//! `--dry-run`: on every command that changes something; it says what would be done, and changes nothing in Redis.

use std::collections::{BTreeMap, BTreeSet};

use carteiro::app::store::Store;
use carteiro::cli::Cli;
use carteiro::queue::connection::Connection;
use clap::CommandFactory;
use serde_json::Value;

use crate::commands;
use crate::place::{CAMPAIGN, Place, file};

/// Commands that change something, and arguments for which they would; `draft`, `ready`, … are campaigns in that state.
const CHANGING: &[(&str, &[&str])] = &[
    ("account pause", &["100"]),
    ("account resume", &["100"]),
    ("campaign archive", &["over"]),
    ("campaign cancel", &["running"]),
    ("campaign close", &["ready"]),
    ("campaign create", &["new.toml"]),
    ("campaign load", &["draft", "a.csv"]),
    ("campaign pause", &["running"]),
    ("campaign resume", &["paused"]),
    ("campaign retry", &["running", "--code", "131026"]),
    ("campaign resolve", &["running", "--as-sent", "--in-doubt"]),
    ("campaign set", &["running", "priority=high", "pace_share=50%"]),
    ("campaign start", &["ready"]),
    ("campaign test", &["ready", "--to", "11987654321"]),
    ("message send", &["running", "--to", "11987654321", "--value", "nome=Ana"]),
    ("number pause", &["202"]),
    ("number resume", &["201"]),
    ("pause", &["--all"]),
    ("person erase", &["11981000001"]),
    ("redis accept", &[]),
    ("resume", &["--all"]),
    ("stop add", &["--ref", "C1", "--kind", "paid"]),
    ("stop import", &["dnc.csv", "--kind", "do_not_contact"]),
    ("stop remove", &["--ref", "C9", "--kind", "paid"]),
    ("template pause", &["100/aviso"]),
    ("template resume", &["100/aviso"]),
];

/// Other ways of the same commands.
const ALSO: &[(&str, &[&str])] =
    &[("campaign start", &["ready", "--first", "5"]), ("campaign start", &["ready", "--at", "09:00"])];

/// What is said where there is nothing to do: these rows of [`CHANGING`] would change nothing here.
const NOTHING_TO_DO: [&str; 3] = ["is not paused", "no message failed", "no message is unresolved"];

/// Commands that change nothing that is kept.
const READING: &[&str] = &[
    "account list",
    "bench",
    "campaign list",
    "campaign plan",
    "campaign report",
    "campaign status",
    "completions",
    "config check",
    "config show",
    "demo",
    "journal show",
    "man",
    "number list",
    "recipients generate",
    "serve",
    "sim",
    "stop list",
    "template list",
    "webhooks check",
    "why",
];

/// Everything in Redis, byte by byte.
async fn dump(redis: &mut Connection) -> BTreeMap<String, Vec<u8>> {
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(redis).await.unwrap();
    let mut all = BTreeMap::new();
    for key in keys {
        let bytes: Option<Vec<u8>> = redis::cmd("DUMP").arg(&key).query_async(redis).await.unwrap();
        all.insert(key, bytes.unwrap_or_default());
    }
    all
}

/// Campaigns in every state, a paused number, a paused account and a paused template.
fn full() -> Place {
    let place = Place::new();
    place.write("a.csv", &file(0..20));
    for state in ["draft", "ready", "running", "paused", "over"] {
        place.write("campaign.toml", &CAMPAIGN.replace("\"teste\"", &format!("\"{state}\"")));
        place.ok(&["campaign", "create", "campaign.toml"]);
        if state != "draft" {
            place.ok(&["campaign", "load", state, "a.csv"]);
        }
        if state == "running" || state == "paused" {
            place.ok(&["campaign", "start", state, "--yes"]);
        }
    }
    place.ok(&["campaign", "pause", "paused"]);
    place.ok(&["campaign", "cancel", "over", "--yes"]);
    place.ok(&["number", "pause", "201"]);
    place.ok(&["stop", "add", "--ref", "C9", "--kind", "paid"]);
    place.write("dnc.csv", "telefone,from\n11987654321,2026-01-01\n");
    place.write("new.toml", &CAMPAIGN.replace("\"teste\"", "\"new\""));
    place
}

#[test]
fn every_command_has_it_or_changes_nothing() {
    let has = |path: &str| {
        let mut all = Cli::command();
        all.build();
        let command = path.split(' ').fold(all, |above, word| above.find_subcommand(word).unwrap().clone());
        command.get_arguments().any(|argument| argument.get_long() == Some("dry-run"))
    };
    let listed =
        |path: &String| (CHANGING.iter().any(|(one, _)| one == path), READING.contains(&path.as_str()));
    for path in commands() {
        match listed(&path) {
            (true, false) => assert!(has(&path), "`{path}` changes something and has no --dry-run"),
            (false, true) => assert!(!has(&path), "`{path}` has --dry-run: it belongs to CHANGING"),
            _ => panic!("`{path}` is new: add a line to CHANGING or to READING in tests/manners/dry_run.rs"),
        }
    }
    assert_eq!(commands().len(), CHANGING.len() + READING.len());
}

#[test]
fn it_says_what_would_be_done_and_does_nothing() {
    let place = full();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut store = Store::open(&place.config()).await.unwrap();
        let before = dump(&mut store.connection).await;
        assert!(before.len() > 10, "{:?}", before.keys());
        let mut changed = BTreeSet::new();
        for (command, args) in CHANGING.iter().chain(ALSO) {
            // Everything is paused for the resumes that would otherwise have nothing to do.
            let words: Vec<&str> = command.split(' ').chain(args.iter().copied()).collect();
            let dry = [&words[..], &["--dry-run"]].concat();
            let ran = place.run(&dry);
            assert_eq!(ran.code, 0, "{dry:?}: {}{}", ran.out, ran.err);
            let nothing = NOTHING_TO_DO.iter().any(|words| ran.out.contains(words));
            let said =
                ["nothing was changed", "nothing was loaded", "nothing was sent", "nothing was queued"];
            assert!(nothing || said.iter().any(|words| ran.out.contains(words)), "{dry:?}: {}", ran.out);
            if !nothing {
                changed.insert(*command);
            }
            let told = place.json(&dry, 0);
            assert_eq!(told["dry_run"], true, "{dry:?}: {told}");
            let after = dump(&mut store.connection).await;
            let differ: Vec<&String> =
                before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key)).collect();
            assert!(differ.is_empty(), "{dry:?} changed {differ:?}");
        }
        assert!(changed.len() + 5 >= CHANGING.len(), "{changed:?} would change something");
        store.close().await.unwrap();
    });
    assert!(!place.path("a.csv.rejects.csv").exists());
    // The same without --dry-run does what was said, so that the comparison above could have failed.
    let told: Value = place.json(&["campaign", "pause", "running"], 0);
    assert_eq!((&told["dry_run"], &told["changed"]), (&Value::Bool(false), &Value::Bool(true)));
}

#[test]
fn scopes_that_are_paused_would_be_resumed() {
    let place = full();
    place.ok(&["account", "pause", "100"]);
    place.ok(&["template", "pause", "100/aviso"]);
    place.ok(&["pause", "--all"]);
    let check = |args: &[&str], expect: &str| {
        let dry = [args, &["--dry-run"]].concat();
        assert_eq!(place.ok(&dry), format!("{expect}: would be resumed; nothing was changed\n"));
        let told = place.json(&dry, 0);
        assert_eq!((&told["changed"], &told["dry_run"]), (&Value::Bool(true), &Value::Bool(true)));
        // It is still there: asked again, it says the same.
        assert_eq!(place.ok(&dry), format!("{expect}: would be resumed; nothing was changed\n"));
    };
    check(&["number", "resume", "201"], "number 201");
    check(&["account", "resume", "100"], "account 100");
    check(&["template", "resume", "100/aviso"], "template 100/aviso");
    check(&["resume", "--all"], "everything");
}
