//! The dashboard and the alerts speak of the metrics that exist, with the labels they have, and the dashboard
//! shows every one of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use carteiro::metrics::{FAMILIES, Family, FamilyKind};
use serde_json::Value;

const DASHBOARD: &str = include_str!("../grafana/carteiro.json");
const ALERTS: &str = include_str!("../config/alerts.yml");
const PROMETHEUS: &str = include_str!("../config/prometheus.yml");

/// Labels that Prometheus itself adds.
const FOREIGN_LABELS: [&str; 3] = ["le", "job", "instance"];

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// The family of a series' name: histograms come as `_bucket`, `_sum` and `_count`.
fn family(series: &str) -> Option<Family> {
    FAMILIES.into_iter().find(|family| {
        let ends: &[&str] = match family.kind {
            FamilyKind::Histogram => &["_bucket", "_sum", "_count"],
            FamilyKind::Counter | FamilyKind::Gauge => &[""],
        };
        ends.iter().any(|end| series.strip_prefix(family.name) == Some(end))
    })
}

/// Checks an expression and returns the names of the families in it.
fn check_expression(expression: &str) -> BTreeSet<&'static str> {
    let series: Vec<&str> = words(expression).filter(|word| word.starts_with("carteiro_")).collect();
    let families: Vec<Family> = series
        .iter()
        .map(|name| family(name).unwrap_or_else(|| panic!("{name} is no series, in {expression}")))
        .collect();
    let known: BTreeSet<&str> =
        families.iter().flat_map(|family| family.labels).copied().chain(FOREIGN_LABELS).collect();
    for label in labels(expression) {
        assert!(known.contains(label), "{label} is no label of any series in {expression}");
    }
    families.iter().map(|family| family.name).collect()
}

/// Labels in `by (…)` and in `{…}`.
fn labels(expression: &str) -> Vec<&str> {
    let groups =
        expression.split("by (").skip(1).flat_map(|rest| words(rest.split(')').next().unwrap_or_default()));
    let selectors = expression.split('{').skip(1).flat_map(|rest| {
        let inner = rest.split('}').next().unwrap_or_default();
        // Odd pieces stand in quotes, so the words of even ones are label names.
        inner.split('"').step_by(2).flat_map(words)
    });
    groups.chain(selectors).collect()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().unwrap();
    all.iter().filter(|panel| panel["type"] != "row").collect()
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut shown = BTreeSet::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            shown.extend(check_expression(target["expr"].as_str().unwrap()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["definition"].as_str() {
            let (series, label) = query.strip_prefix("label_values(").unwrap().split_once(", ").unwrap();
            let family = family(series).unwrap();
            assert!(family.labels.contains(&label.trim_end_matches(')')), "{query}");
        }
    }
    let all: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(shown, all);
}

#[test]
fn every_panel_says_what_it_is_and_has_its_place() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(
            !title.is_empty() && panel["description"].as_str().is_some_and(|text| text.len() > 20),
            "{title}"
        );
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24 && places.insert((x, y)), "{title} covers another panel at {x}, {y}");
            }
        }
    }
}

#[test]
fn alerts_speak_of_metrics_that_exist_and_say_what_to_do() {
    let mut alerts = 0;
    for rule in ALERTS.split("- alert: ").skip(1) {
        let name = words(rule).next().unwrap();
        let expression = rule.split("expr:").nth(1).unwrap().split("labels:").next().unwrap();
        let expression = expression.split("\n        for:").next().unwrap();
        let families = check_expression(expression);
        assert!(!families.is_empty() || name == "CarteiroDown", "{name}");
        assert!(rule.contains("severity: page") || rule.contains("severity: ticket"), "{name}");
        assert!(rule.contains("summary: ") && rule.contains("description: "), "{name}");
        alerts += 1;
    }
    assert!(alerts >= 8, "{alerts} alerts were found");
}

#[test]
fn prometheus_reads_the_default_address_and_the_alerts() {
    assert!(PROMETHEUS.contains("127.0.0.1:9464") && PROMETHEUS.contains("- alerts.yml"));
}

#[test]
fn names_and_helps_keep_the_rules() {
    for family in FAMILIES {
        let name = family.name;
        assert_eq!(family.kind == FamilyKind::Counter, name.ends_with("_total"), "{name}");
        assert!(
            family.help.ends_with('.') && !family.help.contains("  ") && family.help.len() > 25,
            "{name}"
        );
    }
}
