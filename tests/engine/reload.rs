//! SIGHUP: the running engine takes over tokens, numbers, rates, the error table and stop words, or refuses them and goes on.

use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;

use crate::hooks::telling;
use crate::pace::within_pace;
use crate::rig::{ACCOUNT, Rig, Serve, get, plan, sim, wait_until};
use crate::stopping::says;

const OLD: &str = "EAAsecretTokenOfTheTest.old";
const NEW: &str = "EAAsecretTokenOfTheTest.new";

fn write_token(rig: &Rig, token: &str) {
    let path = rig.path("token");
    std::fs::write(&path, token).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Value of a counter.
fn reloads(serve: &Serve, outcome: &str) -> u64 {
    let text = get(&serve.http().unwrap(), "/metrics").1;
    let line = format!("carteiro_reloads_total{{outcome=\"{outcome}\"}} ");
    let value = text.lines().find_map(|one| one.strip_prefix(line.as_str()));
    value.unwrap_or_else(|| panic!("{line} is not in {text}")).parse().unwrap()
}

/// Writes the configuration as the rig has it now, and has it read again.
fn reload(rig: &Rig, serve: &Serve) {
    let before = reloads(serve, "taken");
    rig.configuration();
    serve.signal(Signal::SIGHUP);
    wait_until("the configuration is taken over", || reloads(serve, "taken") == before + 1);
}

#[test]
fn a_new_token_is_taken_over_without_a_restart() {
    let faults = format!("[validity]\ntokens = [\"{NEW}\"]\n");
    let mut rig = Rig::new(2, "100/s", sim(|config| config.plan = plan(&faults)));
    rig.token = "{ file = \"token\" }";
    write_token(&rig, OLD);
    let serve = rig.serve();
    rig.campaign("a", 0, 300);
    wait_until("the old token is refused", || serve.says("halted until an operator resumes it"));
    wait_until("nothing is in flight", || rig.count("a", "sending") == 0);
    assert!(rig.status("a")["blocked"].to_string().contains("halted"));
    assert_eq!(rig.ledger().taken, 0);
    // A token alone lifts nothing: what Meta refused waits for a person.
    write_token(&rig, NEW);
    reload(&rig, &serve);
    rig.ok(&["account", "resume", ACCOUNT]);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 300, "{states}");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn numbers_come_go_and_change_their_pace_while_it_sends() {
    let mut rig = Rig::new(2, "20/s", sim(|_| ())).paced();
    let serve = rig.serve();
    rig.campaign("a", 0, 1_500);
    rig.taken(20);
    let of = |rig: &Rig, number: &str| rig.ledger().per_number.get(number).map_or(0, |one| one.requests);
    let board = |rig: &Rig| -> Vec<serde_json::Value> {
        let out = rig.ok(&["number", "list", "--json"]);
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // The one that has the most to send goes, another comes, and all may send faster.
    let most = (0..2).max_by_key(|at| of(&rig, &rig.numbers[*at])).unwrap();
    let gone = rig.numbers.remove(most);
    let came = "106540352242929".to_owned();
    rig.numbers.push(came.clone());
    rig.rate = "200/s";
    reload(&rig, &serve);
    wait_until("the engine shows the numbers that it has", || {
        let shown = board(&rig);
        shown.len() == 2 && shown.iter().all(|number| number["rate_per_s"].is_number())
    });
    let states = rig.done("a");
    assert_eq!(states["accepted"], 1_500, "{states}");
    let ledger = rig.judge("a", &states);
    let by_gone = of(&rig, &gone);
    assert!(by_gone < 400, "the number that went sent {by_gone}");
    within_pace(&ledger, 200);
    serve.must_say("the configuration was read again");
    let text = get(&serve.http().unwrap(), "/metrics").1;
    let pace = format!("carteiro_pace_limit_per_s{{number=\"{came}\"}} 200");
    assert!(text.contains(&pace), "{text}");
    serve.stop();
}

#[test]
fn the_last_number_goes_and_another_comes_later() {
    let mut rig = Rig::new(1, "50/s", sim(|_| ()));
    let serve = rig.serve();
    rig.campaign("a", 0, 400);
    rig.taken(20);
    let gone = std::mem::take(&mut rig.numbers);
    reload(&rig, &serve);
    wait_until("nothing is in flight", || rig.count("a", "sending") == 0);
    let before = rig.ledger().requests;
    assert!(before < 400, "all was sent before the number went");
    wait_until("what blocks it is shown", || {
        rig.status("a")["blocked"].to_string().contains("not_configured")
    });
    rig.numbers = vec!["106540352242929".to_owned()];
    rig.rate = "200/s";
    reload(&rig, &serve);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 400, "{states}");
    let ledger = rig.judge("a", &states);
    assert!(ledger.per_number[&gone[0]].requests <= before);
    serve.stop();
}

#[test]
fn what_is_not_valid_is_refused_and_the_old_stays() {
    let rig = Rig::new(1, "100/s", sim(|_| ()));
    let serve = rig.serve();
    let refuse = |words: &str, count: u64| {
        serve.signal(Signal::SIGHUP);
        wait_until("it is refused", || reloads(&serve, "refused") == count);
        wait_until("the log says why", || serve.says(words));
    };
    std::fs::write(rig.path("carteiro.toml"), "[cloud]\ntimeut = 3\n").unwrap();
    refuse("did you mean", 1);
    // Nothing is sent to another place while the engine runs.
    let text = std::fs::read_to_string(rig.configuration()).unwrap();
    let elsewhere = text.replace(&rig.sim.url, "http://127.0.0.1:9");
    std::fs::write(rig.path("carteiro.toml"), elsewhere).unwrap();
    refuse("cloud.url changed", 2);
    let table = rig.path("errors.toml");
    std::fs::write(&table, "row = 1\n").unwrap();
    let with_table = text.replace("[cloud]\n", &format!("[cloud]\nerrors_file = {table:?}\n"));
    std::fs::write(rig.path("carteiro.toml"), &with_table).unwrap();
    refuse("errors.toml", 3);
    // The same with a table that can be read.
    let own = include_str!("../../config/errors.toml");
    std::fs::write(&table, own).unwrap();
    serve.signal(Signal::SIGHUP);
    wait_until("it is taken over", || reloads(&serve, "taken") == 1);
    rig.campaign("a", 0, 50);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 50, "{states}");
    serve.stop();
}

#[test]
fn a_changed_error_table_decides_about_the_next_reply() {
    let faults = "[[fault]]\nkind = \"error\"\ncode = 131026\nshare = 1.0\n";
    let mut rig = Rig::new(1, "20/s", sim(|config| config.plan = plan(faults)));
    let own = include_str!("../../config/errors.toml");
    let table = rig.path("errors.toml");
    std::fs::write(&table, own).unwrap();
    rig.cloud = format!("errors_file = {table:?}\n");
    let serve = rig.serve();
    rig.campaign("a", 0, 400);
    wait_until("some have failed", || rig.count("a", "failed") > 5);
    assert!(!serve.says("halted until an operator resumes it"));
    // From now on the same refusal waits for a person.
    let (before, row) = own.split_once("codes = [131026]").unwrap();
    let row =
        row.replacen("kind = \"permanent\"\nscope = \"person\"", "kind = \"halt\"\nscope = \"template\"", 1);
    std::fs::write(&table, format!("{before}codes = [131026]{row}")).unwrap();
    reload(&rig, &serve);
    wait_until("it is halted", || serve.says("halted until an operator resumes it"));
    wait_until("nothing is in flight", || rig.count("a", "sending") == 0);
    assert!(rig.count("a", "queued") > 100, "{}", rig.status("a"));
    serve.stop();
}

#[test]
fn changed_stop_words_are_heard_without_a_restart() {
    let rig = telling(1, "50/s", "", |_| ());
    let own = include_str!("../../config/stop_words.toml");
    let words = rig.path("words.toml");
    std::fs::write(&words, own).unwrap();
    let serve = rig.serve_as("a", &["--set", &format!("stops.words_file={}", words.display())]);
    rig.ready("a", "", 0, 10);
    let stops = || rig.json(&["stop", "list"], 0)["stops"].as_u64();
    let read_again = |outcome: &str| {
        serve.signal(Signal::SIGHUP);
        wait_until("it is read again", || reloads(&serve, outcome) == 1);
    };
    assert_eq!(says(&rig, 1, "xadrez")["answered"], true);
    assert_eq!(says(&rig, 2, "pare")["answered"], true);
    wait_until("only what is a stop word was heard", || stops() == Some(1));
    std::fs::write(&words, format!("{own}\n[[words]]\nkind = \"optout\"\ntexts = [\"Xadrez\"]\n")).unwrap();
    read_again("taken");
    assert_eq!(says(&rig, 3, "xadrez")["answered"], true);
    wait_until("the new word is heard", || stops() == Some(2));
    // What cannot be read changes nothing.
    std::fs::write(&words, "[[words]]\nkind = 3\n").unwrap();
    read_again("refused");
    assert_eq!(says(&rig, 4, "xadrez")["answered"], true);
    wait_until("the last good words are kept", || stops() == Some(3));
    serve.stop();
}
