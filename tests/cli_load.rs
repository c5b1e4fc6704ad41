//! Loading as an operator meets it: the real program, whole and broken loads, rejects, changed numbers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use place::{CAMPAIGN, CONFIG, Place, file, totals};
use serde_json::json;

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
        (0, "campaign teste: 300 rows, 0 loaded, 300 duplicate, 0 rejected\n")
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

/// Rows fed to a load that is stopped half way: more than it reads ahead to find the header.
const FED_ROWS: u32 = 4_000;

/// Those of them in full chunks, which are sent on at once.
const FED_CHUNKED: u64 = 4_000 / 128 * 128;

/// A load whose input does not end. It is stopped in any case, so that a failing test leaves nothing running.
struct Fed {
    child: Child,
    _input: std::process::ChildStdin,
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
        let there = (0..LOOKS).any(|_| place.status()["loaded"].as_u64() == Some(FED_CHUNKED));
        assert!(there, "the first rows never arrived");
        Self { child, _input: input }
    }
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
    assert!(said.ends_with("error: interrupted\n"), "{said}");
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
