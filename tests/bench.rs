//! `carteiro bench`, small: every variant runs, and says what it measured. The figures themselves mean nothing here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use serde_json::Value;

/// Keys that are in the object of every variant.
const KEYS: [&str; 45] = [
    "schema",
    "recipients",
    "numbers",
    "rate_per_s",
    "load_rows_per_s",
    "sends_per_s",
    "wrk_per_s",
    "ratio_to_wrk",
    "engine_cpu_us_per_send",
    "redis_cpu_us_per_send",
    "redis_bytes_per_message",
    "redis_bytes_per_message_peak",
    "rss_mb",
    "serve_rss_mb",
    "load_rss_mb",
    "taken",
    "requests",
    "duplicate_ids",
    "duplicate_people",
    "over_rate",
    "worst_second",
    "pace_used",
    "pace_used_min",
    "sim_lag_ms",
    "void_runs",
    "void",
    "failed",
    "pause_commands_10",
    "pause_commands_n",
    "webhook_updates",
    "webhook_updates_per_s",
    "webhook_ratio_to_sends",
    "webhook_median_ms",
    "webhook_p99_ms",
    "webhooks_refused",
    "webhook_updates_lost",
    "engine_cpu_us_per_webhook_update",
    "redis_cpu_us_per_webhook_update",
    "pace",
    "held",
    "pause_ms_p99",
    "pause_returns_ms_p99",
    "cancel_ms_p99",
    "urgent_ms_p99",
    "optout_ms_p99",
];

fn bench(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carteiro"));
    let output = command.arg("bench").args(arguments).arg("--json").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    for key in KEYS {
        assert!(figures.get(key).is_some(), "no {key} in {figures}");
    }
    for key in ["duplicate_ids", "duplicate_people"] {
        assert_eq!(figures[key], 0, "{figures}");
    }
    figures
}

fn positive(figures: &Value, keys: &[&str]) {
    for key in keys {
        assert!(figures[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {figures}");
    }
}

#[test]
fn an_unlimited_run_says_everything_it_measured() {
    let figures = bench(&["--recipients", "2000", "--numbers", "4"]);
    assert_eq!((&figures["taken"], &figures["schema"]), (&Value::from(2_000), &Value::from(1)));
    positive(&figures, &["load_rows_per_s", "sends_per_s", "redis_bytes_per_message", "worst_second"]);
    if cfg!(target_os = "linux") {
        positive(&figures, &["rss_mb", "serve_rss_mb", "load_rss_mb"]);
    }
    assert!(figures["wrk_per_s"].is_null() && figures["pace_used"].is_null());
}

#[test]
fn a_load_alone_sends_nothing() {
    let figures = bench(&["--load", "--recipients", "2000", "--numbers", "4"]);
    positive(&figures, &["load_rows_per_s", "redis_bytes_per_message"]);
    assert_eq!((&figures["recipients"], &figures["requests"]), (&Value::from(2_000), &Value::from(0)));
}

#[test]
fn a_paced_run_stops_in_time_and_keeps_the_limit() {
    let figures = bench(&["--rate", "50", "--numbers", "2", "--duration", "2s", "--latency", "20ms"]);
    let requests = figures["requests"].as_u64().unwrap();
    assert!((100..=260).contains(&requests), "{figures}");
    positive(&figures, &["pace_used", "pace_used_min"]);
    // A simulator that was late itself does not judge.
    let exact = figures["worst_second"].as_u64().unwrap() <= 50 && figures["over_rate"] == 0;
    assert!(exact || figures["void"] == true, "{figures}");
}

#[test]
fn memory_is_measured_through_failures_and_an_outage() {
    let figures = bench(&["--memory", "--recipients", "3000", "--numbers", "4"]);
    positive(&figures, &["redis_bytes_per_message", "redis_bytes_per_message_peak", "failed"]);
}

#[test]
fn a_pause_costs_as_much_with_few_messages_as_with_many() {
    let figures = bench(&["--pause-commands", "--recipients", "5000"]);
    positive(&figures, &["pause_commands_10"]);
    assert_eq!(figures["pause_commands_10"], figures["pause_commands_n"], "{figures}");
}

#[test]
fn webhooks_are_taken_and_none_is_lost() {
    let figures = bench(&["--webhooks", "--recipients", "2000", "--numbers", "4"]);
    assert_eq!((&figures["webhook_updates"], &figures["taken"]), (&Value::from(6_000), &Value::from(2_000)));
    assert_eq!(
        (&figures["webhook_updates_lost"], &figures["webhooks_refused"]),
        (&Value::from(0), &Value::from(0))
    );
    positive(
        &figures,
        &["webhook_updates_per_s", "webhook_ratio_to_sends", "webhook_median_ms", "webhook_p99_ms"],
    );
}

/// The smallest that still does everything takes minutes: nine runs, each with several changes of hands.
#[test]
#[ignore = "minutes; `carteiro bench --limits --duration 12s --recipients 20000`"]
fn limits_are_kept_and_cost_little() {
    let figures = bench(&["--limits", "--recipients", "20000", "--duration", "12s"]);
    let cases = figures["pace"].as_array().unwrap();
    assert_eq!(cases.len(), 9, "{figures}");
    for case in cases {
        assert!(
            case["worst_second"].as_u64() <= case["rate_per_s"].as_u64() || case["void"] == true,
            "{case}"
        );
        assert!(case["processes"] == 1 || case["handovers"].as_u64().unwrap() > 0, "{case}");
    }
    positive(
        &figures,
        &["pause_ms_p99", "pause_returns_ms_p99", "cancel_ms_p99", "optout_ms_p99", "urgent_ms_p99"],
    );
}

#[test]
fn one_of_the_limits_can_be_measured_alone() {
    let figures = bench(&["--limits", "--only", "urgent", "--recipients", "100000"]);
    positive(&figures, &["urgent_ms_p99"]);
    for key in ["pace", "held", "pause_ms_p99", "cancel_ms_p99", "optout_ms_p99"] {
        assert!(figures[key].is_null(), "{key}: {figures}");
    }
}

#[test]
fn a_baseline_without_wrk_says_how_to_get_it() {
    let empty = tempfile::tempdir().unwrap();
    let bin = empty.path();
    for program in ["redis-server", "sh"] {
        let path = std::env::var_os("PATH").unwrap();
        let found =
            std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(found, bin.join(program)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_carteiro"));
    let output =
        command.args(["bench", "--baseline", "--recipients", "100"]).env("PATH", bin).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("apt-get install wrk"), "{shown}");
}
