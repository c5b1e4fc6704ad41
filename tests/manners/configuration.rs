//! Which file, which value, where from: as the program itself says it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::place::{CONFIG, Place};

/// Every line of `config show --json`.
fn shown(place: &Place, args: &[&str], env: &[(&str, &str)]) -> Vec<Value> {
    let mut all = vec!["--json", "config", "show", "--origin"];
    all.extend(args);
    let output = place.command(&all).envs(env.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(lines: &'a [Value], key: &str) -> &'a Value {
    lines.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("{key} is not shown"))
}

#[test]
fn every_kind_of_origin_is_named() {
    let place = Place::new();
    let env = [("CARTEIRO_CLOUD__TIMEOUT", "12s"), ("CARTEIRO_HTTP__LISTEN", "127.0.0.1:1")];
    let lines = shown(&place, &["--set", "http.listen=127.0.0.1:2"], &env);
    let check = |key: &str, value: &str, origin: &str| {
        let line = of(&lines, key);
        assert_eq!((&line["value"], &line["origin"]), (&json!(value), &json!(origin)), "{line}");
        line
    };
    check("pace.claim_ahead", "50ms", "default");
    let file = check("cloud.url", "http://127.0.0.1:9", "file");
    assert_eq!(file["line"], 4);
    assert!(file["file"].as_str().unwrap().ends_with("carteiro.toml"));
    let variable = check("cloud.timeout", "12s", "environment");
    assert_eq!(variable["variable"], "CARTEIRO_CLOUD__TIMEOUT");
    check("http.listen", "127.0.0.1:2", "command_line");
    let text = place.ok(&["config", "show", "--origin", "--set", "cloud.timeout=9s"]);
    for words in ["(default)", "(command line)", "carteiro.toml, line 4)"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    assert!(!place.ok(&["config", "show"]).contains("(default)"));
}

#[test]
fn secrets_are_stars_wherever_they_come_from() {
    let place = Place::new();
    place.write("token", "s3cret-in-a-file");
    fs::set_permissions(place.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    place.write("carteiro.toml", &CONFIG.replace("{ env = \"TEST_TOKEN\" }", "{ file = \"token\" }"));
    let env = [("CARTEIRO_REDIS__URL", "redis://:s3cret-of-redis@127.0.0.1:1/0")];
    let lines = shown(&place, &[], &env);
    assert_eq!(of(&lines, "account[1].token")["value"], "***");
    assert_eq!(of(&lines, "redis.url")["value"], "***");
    assert!(!format!("{lines:?}").contains("s3cret"));
    // Neither do errors and logs tell them, at any level.
    let mut command = place.command(&["campaign", "list"]);
    let output = command.envs(env).env("CARTEIRO_LOG", "trace").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("s3cret"));
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let place = Place::new();
    place.write("token", "s3cret");
    place.write("carteiro.toml", &CONFIG.replace("{ env = \"TEST_TOKEN\" }", "{ file = \"token\" }"));
    for mode in [0o644, 0o640, 0o660] {
        fs::set_permissions(place.path("token"), fs::Permissions::from_mode(mode)).unwrap();
        let error = place.error(&["campaign", "list"], 2);
        assert_eq!((&error["code"], &error["field"]), (&json!("config_invalid"), &json!("account[1].token")));
        assert!(error["message"].as_str().unwrap().contains("chmod 600"), "{error}");
        assert!(!error.to_string().contains("s3cret"));
    }
    fs::set_permissions(place.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    place.ok(&["campaign", "list"]);
}

#[test]
fn the_file_that_counts() {
    let place = Place::new();
    let file = |name: &str, timeout: &str| {
        let path = place.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("[cloud]\ntimeout = \"{timeout}\"\n")).unwrap();
    };
    let counts = |args: &[&str], env: &[(&str, &str)]| {
        of(&shown(&place, args, env), "cloud.timeout")["value"].as_str().unwrap().to_owned()
    };
    file("carteiro.toml", "11s");
    file("named.toml", "12s");
    file("flag.toml", "13s");
    file(".config/carteiro/carteiro.toml", "14s");
    file("xdg/carteiro/carteiro.toml", "15s");
    let named = [("CARTEIRO_CONFIG", "named.toml")];
    assert_eq!(counts(&["--config", "flag.toml"], &named), "13s");
    assert_eq!(counts(&[], &named), "12s");
    assert_eq!(counts(&[], &[]), "11s");
    fs::remove_file(place.path("carteiro.toml")).unwrap();
    assert_eq!(counts(&[], &[]), "14s");
    let xdg = place.path("xdg");
    assert_eq!(counts(&[], &[("XDG_CONFIG_HOME", xdg.to_str().unwrap())]), "15s");
    // A file that was named and is not there is not passed over.
    let error = place.error(&["--config", "missing.toml", "config", "show"], 2);
    assert!(error["file"].as_str().unwrap().ends_with("missing.toml"), "{error}");
}

#[test]
fn the_operators_error_table_is_checked_and_named() {
    let place = Place::new();
    let own = include_str!("../../config/errors.toml");
    place.write("errors.toml", own);
    let set = ["--set", "cloud.errors_file=errors.toml"];
    let checked = place.json(&[&set[..], &["config", "check"]].concat(), 0);
    assert!(checked["errors_file"].as_str().unwrap().ends_with("errors.toml"), "{checked}");
    place.write("errors.toml", &own.replacen("kind = ", "kin = ", 1));
    for verb in [&["config", "check"][..], &["number", "list"], &["serve"]] {
        let error = place.error(&[&set[..], verb].concat(), 2);
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!("error_table_invalid"), &json!("cloud.errors_file"))
        );
        assert!(error["file"].as_str().unwrap().ends_with("errors.toml"), "{error}");
    }
}
