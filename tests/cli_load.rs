//! Loading as an operator meets it: the real program, whole and broken loads, rejects, changed numbers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;
#[path = "support/servers.rs"]
mod servers;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use place::{CAMPAIGN, CONFIG, Place, file, rows, totals};
use serde_json::json;
use servers::Server;

/// How often something is looked at before a test gives up.
const LOOKS: usize = 2_000;

#[test]
fn a_campaign_from_its_file_to_its_report() {
    let place = Place::with_campaign();
    assert_eq!(place.status()["state"], "draft");
    let bad = "1131234567,L1,Ana\n11981000001,D1,\"Maria \"\n1198100,S1,Bia\n11981000009,V1,\n";
    place.write("a.csv", &(file(0..300) + bad));

    let loaded = place.json(&["campaign", "load", "teste", "a.csv"], 3);
    assert_eq!(totals(&loaded), [304, 300, 1, 3]);
    let reasons = json!({"phone_landline": 1, "phone_length": 1, "value_empty": 1});
    assert_eq!((&loaded["reasons"], &loaded["state"]), (&reasons, &json!("ready")));
    let rejects = place.path("a.csv.rejects.csv");
    assert_eq!(fs::metadata(&rejects).unwrap().permissions().mode() & 0o777, 0o600);

    let again = place.json(&["campaign", "load", "teste", "a.csv"], 3);
    assert_eq!(totals(&again), [304, 0, 301, 3]);

    let text = fs::read_to_string(&rejects).unwrap();
    let corrected = text
        .replace("1131234567", "11981700001")
        .replace("1198100,", "11981700002,")
        .replace("V1,,", "V1,Caio,");
    place.write("corrected.csv", &corrected);
    assert_eq!(totals(&place.json(&["campaign", "load", "teste", "corrected.csv"], 0)), [3, 2, 1, 0]);
    place.write("good.csv", &file(0..300));
    let ran = place.run(&["campaign", "load", "teste", "good.csv"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (
            0,
            "campaign teste: 300 rows, 0 loaded, 300 duplicate, 0 rejected\nduplicates: good.csv.duplicates.csv\n"
        )
    );

    what_the_report_says(&place);
}

/// After 911 rows of which 302 were loaded.
fn what_the_report_says(place: &Place) {
    let status = place.status();
    assert_eq!(totals(&status), [911, 302, 603, 6]);
    let states: u64 =
        status["states"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((states, status["left"].as_u64()), (302, Some(302)));

    let report = place.report();
    assert_eq!(fs::metadata(place.path("report.csv")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(report.len(), 302);
    let first = report.iter().find(|row| row[1] == "C0").unwrap();
    assert_eq!((first[0].as_str(), first[3].as_str()), ("2", "+5511981000000"));
    assert!(first[4].starts_with("ct1.") && first[4].split('.').count() == 5, "{}", first[4]);
    assert_eq!(&first[5..9], ["queued", "0", "", ""]);
    let piped = place.ok(&["campaign", "report", "teste", "-o", "-"]);
    assert_eq!(piped, fs::read_to_string(place.path("report.csv")).unwrap());
    let left_over = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().ends_with('~');
    let kept: Vec<_> =
        fs::read_dir(place.dir.path()).unwrap().map(Result::unwrap).filter(left_over).collect();
    assert_eq!(kept.len(), 1, "only the first rejects file, kept beside the second: {kept:?}");
}

/// The duplicates file without the input's own columns: line, code, repeated line, load.
fn duplicates(place: &Place, name: &str) -> Vec<[String; 4]> {
    let path = place.path(name);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(header, ["telefone", "contrato", "nome", "line", "code", "repeats_line", "repeats_load"]);
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| [3, 4, 5, 6].map(|at| row[at].to_owned())).collect()
}

#[test]
fn every_duplicate_says_what_it_repeats() {
    let place = Place::with_campaign();
    let again = "11981000001,C1,Maria\n(11) 8100-0002,C2,Mariana\n";
    place.write("a.csv", &(file(0..300) + again));
    let loaded = place.json(&["campaign", "load", "teste", "a.csv"], 0);
    assert_eq!(totals(&loaded), [302, 300, 2, 0]);
    assert_eq!(loaded["duplicate_differs"], 1);
    assert_eq!(loaded["duplicates_file"], "a.csv.duplicates.csv");
    let expect = [["302", "duplicate", "3", "this"], ["303", "duplicate_differs", "4", "this"]];
    assert_eq!(duplicates(&place, "a.csv.duplicates.csv"), expect.map(|row| row.map(str::to_owned)));

    // Another file repeats rows of the first, one with another contract, and one row of its own.
    let rows = "telefone,contrato,nome\n11981000299,C299,Maria\n11981000005,C9,Maria\n11981999999,N,Bia\n11981000005,C9,Maria\n";
    place.write("b.csv", rows);
    let loaded = place.json(&["campaign", "load", "teste", "b.csv"], 0);
    assert_eq!(totals(&loaded), [4, 1, 3, 0]);
    assert_eq!(loaded["duplicate_differs"], 1);
    let mut found = duplicates(&place, "b.csv.duplicates.csv");
    found.sort();
    let began = found[0][3].clone();
    assert!(began.starts_with("20") && began.ends_with('Z'), "{began}");
    let expect = [
        ["2", "duplicate", "301", began.as_str()],
        ["3", "duplicate_differs", "7", began.as_str()],
        ["5", "duplicate", "3", "this"],
    ];
    assert_eq!(found, expect.map(|row| row.map(str::to_owned)));

    // The same file again: all of it, without a second set of files.
    let loaded = place.json(&["campaign", "load", "teste", "a.csv"], 0);
    assert_eq!((totals(&loaded), &loaded["duplicate_differs"]), ([302, 0, 302, 0], &json!(1)));
    let found = duplicates(&place, "a.csv.duplicates.csv");
    assert_eq!(found.len(), 302);
    assert!(
        found.iter().all(|row| row[2] == row[0] || row[3] == "this"),
        "each repeats itself of the first load"
    );
    let left: Vec<_> =
        fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("waiting")), "{left:?}");
}

#[test]
fn a_dry_run_counts_what_the_load_then_counts() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..300));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    let bad = "11981000290,C290,Maria\n11981000350,C350,Maria\n11981000351,C351,Outra\n1131234567,L1,Ana\n";
    place.write("b.csv", &(file(280..400) + bad));
    let dry = place.json(&["campaign", "load", "teste", "b.csv", "--dry-run"], 3);
    let of = |name: &str| dry[name].as_u64().unwrap();
    assert_eq!(["rows", "new", "loaded", "duplicate", "rejected"].map(of), [124, 100, 0, 23, 1], "{dry}");
    assert_eq!(["known", "duplicate_differs"].map(of), [20, 1], "{dry}");
    let said = place.run(&["campaign", "load", "teste", "b.csv", "--dry-run"]).out;
    assert!(
        said.contains("124 rows, 100 would be loaded, 23 duplicate, 1 rejected; nothing was loaded"),
        "{said}"
    );
    assert!(
        said.contains("20 duplicate of what is loaded already") && said.contains("1 duplicate_differs"),
        "{said}"
    );
    assert_eq!(totals(&place.status()), [300, 300, 0, 0]);
    let loaded = place.json(&["campaign", "load", "teste", "b.csv"], 3);
    assert_eq!((totals(&loaded), &loaded["duplicate_differs"]), ([124, 100, 23, 1], &json!(1)));
}

#[test]
fn what_is_loaded_may_be_ndjson_or_in_windows_1252() {
    let place = Place::with_campaign();
    let ndjson = "{\"telefone\":11981000001,\"contrato\":\"C1\",\"nome\":\"Zé\"}\n{\"telefone\":\"1131234567\",\"nome\":\"Ana\"}\n";
    place.write("a.ndjson", ndjson);
    let loaded = place.json(&["campaign", "load", "teste", "a.ndjson"], 3);
    assert_eq!(totals(&loaded), [2, 1, 0, 1]);
    fs::write(place.path("b.csv"), b"telefone;contrato;nome\n11981000002;C2;Jo\xe3o\n").unwrap();
    let loaded = place.json(&["campaign", "load", "teste", "b.csv", "--format", "csv"], 0);
    assert_eq!(totals(&loaded), [1, 1, 0, 0]);
    let loaded = place.json(&["campaign", "load", "teste", "b.csv", "--encoding", "utf-8"], 3);
    assert_eq!(loaded["reasons"], json!({"not_utf8": 1}));
    for (args, field) in [(["--format", "xls"], "--format"), (["--encoding", "latin9"], "--encoding")] {
        let all = ["campaign", "load", "teste", "b.csv", args[0], args[1]];
        assert_eq!(place.error(&all, 2)["field"], field);
    }
    let refused = place.error(&["campaign", "load", "teste", "b.csv", "--sheet", "Plan1"], 2);
    assert_eq!(refused["message"], "--sheet does not apply to csv");
}

/// Rows fed to a load that is stopped half way: more than it reads ahead to find the header.
const FED_ROWS: u32 = 4_000;

/// Those of them in full chunks, which are sent on at once.
const FED_CHUNKED: u64 = 4_000 / 128 * 128;

/// A load whose input does not end. It is stopped in any case, so that a failing test leaves nothing running.
struct Fed {
    child: Child,
    input: Option<std::process::ChildStdin>,
}

impl Drop for Fed {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Fed {
    /// Feeds rows and waits until every full chunk of them is in Redis.
    fn half_way(place: &Place) -> Self {
        let mut child =
            place.command(&["campaign", "load", "teste", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(file(0..FED_ROWS).as_bytes()).unwrap();
        let fed = Self { child, input: Some(input) };
        fed.has_loaded(place, FED_CHUNKED);
        fed
    }

    fn feed(&mut self, range: std::ops::Range<u32>) {
        self.input.as_mut().unwrap().write_all(rows(range).as_bytes()).unwrap();
    }

    /// Waits until so many rows are in Redis.
    fn has_loaded(&self, place: &Place, count: u64) {
        let there = (0..LOOKS).any(|_| place.status()["loaded"].as_u64() == Some(count));
        assert!(there, "{count} rows never arrived");
    }
}

/// Redis dies, and had not yet written the last that it said it has: its file ends before.
#[test]
fn a_load_puts_there_again_what_redis_forgot() {
    let weak = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""];
    let mut redis = Server::start(&weak);
    let place = Place::new();
    let url = redis.url();
    let keys = format!("[redis]\nurl = \"{url}\"\nallow_weak_durability = true\nreplay_window = \"2s\"\n");
    place.write("carteiro.toml", &(CONFIG.to_owned() + &keys));
    place.ok(&["campaign", "create", "teste.toml"]);
    let mut fed = Fed::half_way(&place);
    let aof = redis.folder().join("appendonlydir/appendonly.aof.1.incr.aof");
    let written = fs::metadata(&aof).unwrap().len();
    fed.feed(FED_ROWS..FED_ROWS + 1_280);
    let chunked = u64::from(FED_ROWS + 1_280) / 128 * 128;
    fed.has_loaded(&place, chunked);
    redis.kill();
    let file = fs::File::options().write(true).open(&aof).unwrap();
    assert!(file.metadata().unwrap().len() > written);
    file.set_len(written).unwrap();
    redis.again(&[]);
    fed.feed(FED_ROWS + 1_280..6_000);
    drop(fed.input.take());
    let mut said = String::new();
    fed.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let mut why = String::new();
    fed.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert!(fed.child.wait().unwrap().success(), "{said}{why}");
    assert!(said.contains("6,000 rows, 6,000 loaded, 0 duplicate"), "{said}");
    let status = place.status();
    assert_eq!((totals(&status), status["left"].as_u64()), ([6_000, 6_000, 0, 0], Some(6_000)));
    let persons: BTreeSet<String> = place.report().into_iter().map(|mut row| row.swap_remove(3)).collect();
    assert_eq!(persons.len(), 6_000);
}

#[test]
fn a_load_killed_in_the_middle_is_completed_by_loading_again() {
    let place = Place::with_campaign();
    // SIGKILL
    drop(Fed::half_way(&place));
    let status = place.status();
    assert_eq!((&status["loaded"], &status["state"]), (&json!(FED_CHUNKED), &json!("draft")));
    place.write("whole.csv", &file(0..5_000));
    let loaded = place.json(&["campaign", "load", "teste", "whole.csv"], 0);
    assert_eq!(totals(&loaded), [5_000, 5_000 - FED_CHUNKED, FED_CHUNKED, 0]);
    let persons: BTreeSet<String> = place.report().into_iter().map(|mut row| row.swap_remove(3)).collect();
    assert_eq!(persons.len(), 5_000);
    assert_eq!(place.status()["state"], "ready");
    place.ok(&["campaign", "start", "teste", "--yes"]);
}

#[test]
fn an_interrupted_load_ends_with_130_and_can_be_loaded_again() {
    let place = Place::with_campaign();
    let mut fed = Fed::half_way(&place);
    kill(Pid::from_raw(i32::try_from(fed.child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(fed.child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    fed.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let hint =
        "hint: what was loaded until then stays; loading the same file again adds only what is missing\n";
    assert!(said.ends_with(&format!("error: interrupted\n{hint}")), "{said}");
    place.write("whole.csv", &file(0..FED_ROWS));
    let rest = u64::from(FED_ROWS) - FED_CHUNKED;
    assert_eq!(
        totals(&place.json(&["campaign", "load", "teste", "whole.csv"], 0)),
        [4_000, rest, FED_CHUNKED, 0]
    );
}

#[test]
fn nobody_twice_when_the_numbers_change_between_loads() {
    let place = Place::new();
    // Without `expected` the first load fixes the lanes by the size of its half.
    place.write("teste.toml", &CAMPAIGN.replace("expected = 1000\n", ""));
    place.ok(&["campaign", "create", "teste.toml"]);
    place.ok(&[
        "recipients",
        "generate",
        "--count",
        "6000",
        "--bad",
        "0",
        "--duplicates",
        "0",
        "-o",
        "all.csv",
    ]);
    let all = fs::read_to_string(place.path("all.csv")).unwrap();
    let half: String = all.lines().take(3_001).map(|line| format!("{line}\n")).collect();
    place.write("half.csv", &half);
    assert_eq!(totals(&place.json(&["campaign", "load", "teste", "half.csv"], 0)), [3_000, 3_000, 0, 0]);
    let before: BTreeSet<String> = place.report().into_iter().map(|row| row[9].clone()).collect();
    assert_eq!(before, BTreeSet::from(["201".to_owned(), "202".to_owned()]));

    place.write("carteiro.toml", &CONFIG.replace("\"202\"", "\"203\""));
    assert_eq!(totals(&place.json(&["campaign", "load", "teste", "all.csv"], 0)), [6_000, 3_000, 3_000, 0]);
    let report = place.report();
    let persons: BTreeSet<&String> = report.iter().map(|row| &row[3]).collect();
    let messages: BTreeSet<&String> = report.iter().map(|row| &row[4]).collect();
    assert_eq!((report.len(), persons.len(), messages.len()), (6_000, 6_000, 6_000));
}
