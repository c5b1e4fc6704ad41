//! Changes of valid inputs: trees of JSON node by node, texts line by line and token by token, bytes.

use proptest::prelude::*;
use serde_json::Value;

/// What breaks parsers.
pub(crate) const NASTY: [&str; 30] = [
    "",
    " ",
    "\0",
    "-1",
    "0",
    "1e999",
    "18446744073709551616",
    "9223372036854775807",
    "NaN",
    "true",
    "null",
    "é",
    "\u{feff}",
    "\u{202e}",
    "🦀🦀🦀",
    "\"",
    "\"\"",
    "'",
    "\\",
    "\\u0000",
    "\r\n",
    "\n",
    "\t",
    ";",
    ",",
    "{{",
    "}}",
    "{{1}}",
    "=1+1",
    "ct1.abc.4294967296.0.0.1",
];

/// One change of a tree: which node, and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Bend {
    at: prop::sample::Index,
    how: u8,
    with: Value,
}

/// One change of a text or of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    at: prop::sample::Index,
    to: prop::sample::Index,
    how: u8,
    with: String,
}

/// Some changes of a tree.
pub(crate) fn bends() -> impl Strategy<Value = Vec<Bend>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(&NASTY[..]).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(Value::Array(Vec::new())),
        Just(serde_json::json!({})),
        Just(nested(100)),
        Just(Value::from("x".repeat(5_000))),
    ];
    let bend =
        (any::<prop::sample::Index>(), any::<u8>(), leaf).prop_map(|(at, how, with)| Bend { at, how, with });
    prop::collection::vec(bend, 1..6)
}

/// Some changes of a text.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let with = prop_oneof![
        prop::sample::select(&NASTY[..]).prop_map(str::to_owned),
        ".{0,12}",
        Just("[".repeat(300)),
        Just("x".repeat(70_000)),
    ];
    let cut = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), with)
        .prop_map(|(at, to, how, with)| Cut { at, to, how, with });
    prop::collection::vec(cut, 1..6)
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::from(1), |inner, _| Value::Array(vec![inner]))
}

/// The tree with all changes, one after the other.
pub(crate) fn bent(mut tree: Value, bends: &[Bend]) -> Value {
    for bend in bends {
        let at = bend.at.index(count(&tree));
        change(&mut tree, &mut { at }, bend);
    }
    tree
}

fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(all) => all.iter().map(count).sum::<usize>(),
        Value::Object(all) => all.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// Changes the node that `left` leads to, counted depth first. True: it was found.
fn change(tree: &mut Value, left: &mut usize, bend: &Bend) -> bool {
    if *left == 0 {
        bend.apply(tree);
        return true;
    }
    *left -= 1;
    match tree {
        Value::Array(all) => all.iter_mut().any(|one| change(one, left, bend)),
        Value::Object(all) => all.values_mut().any(|one| change(one, left, bend)),
        _ => false,
    }
}

impl Bend {
    fn apply(&self, node: &mut Value) {
        match (self.how % 6, &mut *node) {
            (0, Value::Array(all)) => all.clear(),
            (0, Value::Object(all)) => {
                let first = all.keys().next().cloned();
                first.into_iter().for_each(|key| drop(all.remove(&key)));
            }
            (1, Value::Array(all)) => {
                let again = all.clone();
                all.extend(again);
            }
            (1, Value::Object(all)) => drop(all.insert("more".to_owned(), self.with.clone())),
            (2, Value::String(text)) => text.push_str(&self.with.to_string()),
            (2, Value::Number(number)) => *node = Value::from(number.to_string()),
            (3, _) => *node = Value::Array(vec![node.clone(), self.with.clone()]),
            (4, _) => *node = serde_json::json!({"id": node.clone()}),
            _ => *node = self.with.clone(),
        }
    }
}

/// The bytes with all changes. Cuts of a text fall on its characters.
pub(crate) fn cut(text: &str, cuts: &[Cut]) -> String {
    let mut text = text.to_owned();
    for one in cuts {
        let place = |index: &prop::sample::Index| {
            let mut at = index.index(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (one_end, other_end) = (place(&one.at), place(&one.to));
        let (from, to) = (one_end.min(other_end), one_end.max(other_end).min(one_end.min(other_end) + 200));
        let to = (from..=to).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(from);
        match one.how % 5 {
            0 => text.insert_str(from, &one.with),
            1 => text.replace_range(from..to, ""),
            2 => text.replace_range(from..to, &one.with),
            3 => {
                let again = text[from..to].to_owned();
                text.insert_str(to, &again);
            }
            _ => lines(&mut text, one),
        }
    }
    text
}

/// Moves, doubles or changes a whole line, which is where such files have their structure.
fn lines(text: &mut String, cut: &Cut) {
    let mut all: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let (at, to) = (cut.at.index(all.len()), cut.to.index(all.len()));
    match cut.how / 5 % 4 {
        0 => all.swap(at, to),
        1 => all.insert(to, all[at].clone()),
        2 => drop(all.remove(at)),
        _ => {
            let value =
                |mark: char| all[at].split_once(mark).map(|(key, _)| format!("{key}{mark} {}", cut.with));
            all[at] = value('=').or_else(|| value(';')).unwrap_or_else(|| cut.with.clone());
        }
    }
    *text = all.join("\n");
}

/// The bytes with all changes.
pub(crate) fn cut_bytes(bytes: &[u8], cuts: &[Cut]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for one in cuts {
        let (at, to) = (one.at.index(bytes.len() + 1), one.to.index(bytes.len() + 1));
        let (from, to) = (at.min(to), at.max(to).min(at.min(to) + 64));
        match one.how % 4 {
            0 if from < bytes.len() => bytes[from] ^= 1 << (one.how / 4 % 8),
            1 => drop(bytes.drain(from..to)),
            2 => drop(bytes.splice(from..to, one.with.bytes().take(64))),
            _ if from < bytes.len() => bytes[from] = 255 - one.how,
            _ => {}
        }
    }
    bytes
}
