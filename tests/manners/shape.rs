//! The shape of JSON: its keys and the types of its values, without the values.
//!
//! A shape is itself JSON, so that it can be kept and read: a value is the names of its types (`"null|text"`), an
//! object its keys, a list the shape of its members, and an object whose keys are data has the one key `*`.

use carteiro::domain::record::State;
use serde_json::{Map, Value, json};

/// Objects whose keys are data: codes, reasons, numbers.
const MAPS: [&str; 4] = ["faults", "reasons", "refused", "settings"];

/// Objects whose keys are states: a map, unless all of them are there.
const STATES: &str = "states";

/// The shape of a value under a key.
pub(crate) fn of(key: &str, value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(number) if number.is_f64() => json!("number"),
        Value::Number(_) => json!("integer"),
        Value::String(text) if is_time(text) => json!("time"),
        Value::String(_) => json!("text"),
        // Entries of the journal, whose kinds are kept with `journal show`.
        Value::Array(members) if members.iter().any(|member| member.get("kind").is_some()) => {
            json!(["entry"])
        }
        Value::Array(members) => {
            let merged =
                members.iter().map(|member| of("", member)).reduce(|one, other| merged(&one, &other));
            Value::Array(merged.into_iter().collect())
        }
        Value::Object(fields)
            if MAPS.contains(&key) || (key == STATES && fields.len() < State::ALL.len()) =>
        {
            let shapes = fields.values().map(|value| of("", value));
            let any = shapes.reduce(|one, other| merged(&one, &other));
            Value::Object(any.map(|any| ("*".to_owned(), any)).into_iter().collect())
        }
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), of(key, value))).collect())
        }
    }
}

/// RFC 3339 in UTC, such as `2026-11-18T11:06:40Z`.
fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z')
}

/// A shape that both fit.
pub(crate) fn merged(one: &Value, other: &Value) -> Value {
    match (one, other) {
        (Value::String(one), Value::String(other)) => {
            let mut types: Vec<&str> = one.split('|').chain(other.split('|')).collect();
            types.sort_unstable();
            types.dedup();
            json!(types.join("|"))
        }
        (Value::Array(one), Value::Array(other)) => {
            let members = one.iter().chain(other).cloned().reduce(|one, other| merged(&one, &other));
            Value::Array(members.into_iter().collect())
        }
        // One of them was seen missing as a whole.
        (Value::Object(maybe), whole @ Value::Object(fields))
        | (whole @ Value::Object(fields), Value::Object(maybe))
            if maybe.contains_key("?") && !fields.contains_key("?") =>
        {
            json!({"?": merged(&maybe["?"], whole)})
        }
        (Value::Object(one), Value::Object(other)) => {
            let mut all: Map<String, Value> = one.clone();
            for (key, shape) in other {
                let known = all.get(key).map(|known| merged(known, shape));
                all.insert(key.clone(), known.unwrap_or_else(|| shape.clone()));
            }
            Value::Object(all)
        }
        // Something that may be missing as a whole.
        (Value::String(null), shape) | (shape, Value::String(null)) if null == "null" => match shape {
            Value::Object(fields) if fields.contains_key("?") => shape.clone(),
            shape => json!({"?": shape}),
        },
        (one, other) => panic!("{one} and {other} cannot be the same key"),
    }
}

/// What of `seen` is not as `golden` says.
pub(crate) fn differences(golden: &Value, seen: &Value, path: &str, found: &mut Vec<String>) {
    match (golden, seen) {
        (Value::String(golden), Value::String(seen)) => {
            let allowed = |one: &str| {
                golden.split('|').any(|known| known == one || (known == "number" && one == "integer"))
            };
            for one in seen.split('|').filter(|one| !allowed(one)) {
                found.push(format!("{path} is {one}, and the golden file says {golden}"));
            }
        }
        (Value::Array(golden), Value::Array(seen)) => match (golden.first(), seen.first()) {
            (Some(golden), Some(seen)) => differences(golden, seen, &format!("{path}[]"), found),
            (None, Some(_)) => found.push(format!("{path} has members: add their shape to the golden file")),
            (_, None) => {}
        },
        (Value::Object(golden), _) if golden.contains_key("?") => {
            let seen = seen.get("?").unwrap_or(seen);
            if *seen != json!("null") {
                differences(&golden["?"], seen, path, found);
            }
        }
        (Value::Object(golden), Value::Object(seen)) => objects(golden, seen, path, found),
        _ => found.push(format!("{path} is {seen}, and the golden file says {golden}")),
    }
}

fn objects(golden: &Map<String, Value>, seen: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    if golden.is_empty() || golden.contains_key("*") {
        match (golden.get("*"), seen.get("*")) {
            (Some(golden), Some(seen)) => differences(golden, seen, &format!("{path}.*"), found),
            (None, _) if !seen.is_empty() => {
                found.push(format!("{path} has keys: add them to the golden file"))
            }
            _ => {}
        }
        return;
    }
    for (key, shape) in golden {
        match seen.get(key) {
            Some(seen) => differences(shape, seen, &format!("{path}.{key}"), found),
            None => found.push(format!("{path}.{key} is missing: a key is never taken away")),
        }
    }
    for key in seen.keys().filter(|key| !golden.contains_key(*key)) {
        found.push(format!("{path}.{key} is new: add it to the golden file (CARTEIRO_GOLDEN=write does)"));
    }
}

#[test]
fn a_missing_and_a_new_key_are_told_apart() {
    let check = |golden: &str, seen: Value, expect: &[&str]| {
        let golden: Value = serde_json::from_str(golden).unwrap();
        let mut found = Vec::new();
        differences(&golden, &of("", &seen), "$", &mut found);
        let starts = found.iter().zip(expect).all(|(found, expect)| found.starts_with(expect));
        assert!(found.len() == expect.len() && starts, "{found:?}");
    };
    let golden = r#"{"id": "text", "eta": "null|time", "rate": "number", "reasons": {"*": "integer"}, "all": [{"a": "text"}]}"#;
    let seen = || json!({"id": "a", "eta": null, "rate": 1, "reasons": {"x": 1, "y": 2}, "all": []});
    check(golden, seen(), &[]);
    let with = |key: &str, value: Value| {
        let mut seen = seen();
        seen[key] = value;
        seen
    };
    check(golden, with("eta", json!("2026-11-18T11:06:40Z")), &[]);
    check(golden, with("eta", json!("2026-11-18 11:06")), &["$.eta is text"]);
    check(golden, with("more", json!(1)), &["$.more is new: add it to the golden file"]);
    check(golden, with("all", json!([{"b": "x"}])), &["$.all[].a is missing", "$.all[].b is new"]);
    check(golden, with("reasons", json!({"x": "1"})), &["$.reasons.* is text"]);
    check(golden, json!({"id": "a"}), &["$.all", "$.eta", "$.rate", "$.reasons"]);
    let shape = merged(&of("", &json!({"a": null})), &of("", &json!({"a": {"b": 1}})));
    assert_eq!(shape, json!({"a": {"?": {"b": "integer"}}}));
    assert_eq!(merged(&shape, &of("", &json!({"a": {"b": 1}}))), shape);
    assert_eq!(merged(&of("", &json!({"a": {"b": 1}})), &shape), shape);
    check(&shape.to_string(), json!({"a": null}), &[]);
    check(&shape.to_string(), json!({"a": {"b": null}}), &["$.a.b is null"]);
}
