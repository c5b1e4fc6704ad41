//! Habits of a shell: pipes, `-`, quiet, plain lines where no bar can be drawn, nothing cut.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use serde_json::Value;

use crate::place::{CAMPAIGN, Place, file};

/// Reads one line of a command's output and goes away.
fn head(place: &Place, args: &[&str]) -> String {
    let mut child = place.command(args).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{args:?}: {said}");
    assert!(!said.contains("error") && !said.contains("panicked"), "{args:?}: {said}");
    line
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..3_000));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    place.ok(&["campaign", "start", "teste", "--yes"]);
    assert!(head(&place, &["campaign", "report", "teste", "-o", "-"]).starts_with("line,"));
    assert!(head(&place, &["recipients", "generate", "--count", "20000"]).starts_with("contrato;"));
    assert!(head(&place, &["config", "show"]).contains(" = "));
    assert!(head(&place, &["--help"]).starts_with("Sends"));
    assert!(head(&place, &["man"]).starts_with(".ie"));
    head(&place, &["completions", "bash"]);
    // Without its reader a watch would go on for as long as the campaign runs.
    let scaled = ["--time-scale", "100", "--json", "campaign", "status", "--watch"];
    assert!(head(&place, &scaled).starts_with('{'));
}

#[test]
fn a_dash_is_standard_input_or_output() {
    let place = Place::new();
    let feed = |args: &[&str], text: &str, code: i32| {
        let mut child = place.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{err}");
        out + &err
    };
    feed(&["config", "check", "-"], CAMPAIGN, 0);
    feed(&["campaign", "create", "-"], CAMPAIGN, 0);
    let said = feed(&["campaign", "create", "-"], "id = 7\n", 2);
    assert!(said.contains("standard input"), "{said}");
    feed(&["campaign", "load", "teste", "-"], &file(0..5), 0);
    assert_eq!(place.ok(&["campaign", "report", "teste", "-o", "-"]).lines().count(), 6);
    assert!(place.ok(&["recipients", "generate", "--count", "5", "-o", "-"]).lines().count() > 4);
    // Rejected rows are personal data: they never go where anybody reads along.
    assert_eq!(place.error(&["campaign", "load", "teste", "-", "--rejects", "-"], 2)["field"], "--rejects");
    assert!(!place.path("-").exists());
}

#[test]
fn a_report_replaces_an_older_one_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..5));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    place.write("report.csv", "older");
    place.ok(&["campaign", "report", "teste", "-o", "report.csv"]);
    let text = fs::read_to_string(place.path("report.csv")).unwrap();
    assert_eq!(text.lines().count(), 6);
    assert_eq!(fs::metadata(place.path("report.csv")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn progress_is_a_plain_line_now_and_then() {
    let place = Place::with_campaign();
    // Ten seconds, a thousand times faster.
    let args = ["--time-scale", "1000", "campaign", "load", "teste", "-"];
    let mut child = place.command(&args).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(file(0..4_000).as_bytes()).unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("loading: ") && line.ends_with(" rows/s\n"), "{line:?}");
    assert!(!line.contains('\r') && !line.contains('\x1b'), "{line:?}");
    drop(input);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(rest.lines().all(|line| line.starts_with("loading: ") || line.starts_with("next: ")), "{rest}");
    // As it is, a load of a few seconds says nothing before its end.
    place.write("a.csv", &file(0..10));
    let ran = place.run(&["campaign", "load", "teste", "a.csv"]);
    assert!(!ran.err.contains("loading"), "{}", ran.err);
}

#[test]
fn quiet_says_data_and_errors_alone() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..10));
    for args in [
        &["campaign", "load", "teste", "a.csv"][..],
        &["campaign", "start", "teste", "--yes"],
        &["number", "list"],
    ] {
        let ran = place.run(&[&["--quiet"], args].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        assert!(!ran.out.is_empty(), "{args:?}");
    }
    let ran = place.run(&["-q", "campaign", "status", "unknown"]);
    assert!(ran.code == 2 && ran.err.contains("unknown"), "{}", ran.err);
    assert!(place.run(&["number", "list"]).err.contains("no serve is running"));
}

#[test]
fn no_value_is_cut_and_data_is_data_alone() {
    let place = Place::new();
    let id = "c".repeat(60);
    place.write(
        "long.toml",
        &CAMPAIGN.replace("\"teste\"", &format!("\"{id}\"")).replace("aviso", &"t".repeat(120)),
    );
    let mut command = place.command(&["campaign", "create", "long.toml"]);
    assert!(command.env("COLUMNS", "20").output().unwrap().status.success());
    for args in [&["campaign", "list"][..], &["campaign", "status"]] {
        let mut command = place.command(args);
        let output = command.env("COLUMNS", "20").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(&id), "{args:?}");
    }
    let output = place.command(&["template", "list"]).env("COLUMNS", "20").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(&"t".repeat(120)));
    // Every line of a list is an object of its own; hints stay out of it.
    let listed = place.ok(&["--json", "number", "list"]);
    let ids: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, ["201", "202"]);
}
