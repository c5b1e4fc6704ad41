//! `carteiro demo` as a new user meets it: in an empty folder, small, judged by its exit code and its words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn demo(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carteiro"));
    command.current_dir(folder).arg("demo").args(arguments);
    // What the user's environment would configure must not reach the trial.
    command.env("CARTEIRO_REDIS__URL", "redis://127.0.0.1:1").env("CARTEIRO_CLOUD__TIMEOUT", "nonsense");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_small_campaign_goes_from_the_file_to_a_good_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--recipients", "600", "--numbers", "4", "--rate", "200/s"]);
    let (said, shown) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{shown}");
    assert!(said.contains("0 messages and 0 people got it twice"), "{said}");
    assert!(said.contains("600 rows = "), "{said}");
    assert!(said.trim_end().ends_with("carteiro campaign status ID --watch"), "{said}");
    assert!(shown.contains("recipients 600 rows"), "{shown}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the folder is as it was");
}

#[test]
fn faults_leave_the_books_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("faults.toml");
    std::fs::write(&plan, FAULTS).unwrap();
    let kept = folder.path().join("kept");
    let arguments =
        ["--recipients", "1500", "--numbers", "2", "--rate", "300", "--time-scale", "20", "--json"];
    let paths = ["--faults", plan.to_str().unwrap(), "--keep", kept.to_str().unwrap()];
    let output = demo(folder.path(), &[&arguments[..], &paths].concat());
    let (said, shown) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{shown}");
    let verdict: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(verdict["good"], true, "{verdict}");
    assert!(verdict["failed"].as_u64().unwrap() > 0, "{verdict}");
    assert!(verdict["in_doubt_taken"].as_u64().unwrap() > 0, "{verdict}");
    assert!(verdict["faults"].as_object().unwrap().keys().any(|fault| fault.contains("outage")), "{verdict}");
    let report = std::fs::read_to_string(kept.join("report.csv")).unwrap();
    assert_eq!(report.lines().count() as u64, 1 + verdict["loaded"].as_u64().unwrap());
}

/// An outage that begins a second after the first request and lasts two, among smaller troubles.
const FAULTS: &str = r#"
[[fault]]
kind = "outage"
from = "20s"
to = "60s"

[[fault]]
kind = "throttle"
share = 0.01

[[fault]]
kind = "error"
code = 131026
share = 0.02

[[fault]]
kind = "reset_after"
share = 0.005
"#;

#[test]
fn what_cannot_be_is_refused_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expect) in [
        (&["--faults", "missing.toml"][..], "missing.toml"),
        (&["--rate", "5000"], "1 to 1000"),
        (&["--recipients", "0"], "--recipients"),
    ] {
        let output = demo(folder.path(), arguments);
        let shown = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{shown}");
        assert!(shown.contains(expect), "{shown}");
    }
    std::fs::write(folder.path().join("full"), "x").unwrap();
    let output = demo(folder.path(), &["--keep", "."]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not empty"));
}
