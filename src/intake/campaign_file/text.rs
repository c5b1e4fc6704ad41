//! Texts with slots: `{{1}}` and `{{2}}`, or `{{nome}}`, and values that are fixed or exactly one `{{variable}}`.

use super::Fault;
use super::raw::Words;
use crate::domain::template::{Param, Piece, Text, Value};

/// Longest value that is fixed in the file, in characters.
const FIXED_MAX_CHARS: usize = 1024;

/// Finds the variable of a slot: the position of its name among the campaign's variables.
pub(super) trait Slots {
    fn has(&self, name: &str) -> bool;

    fn find(&mut self, name: &str, at: usize, field: &str) -> Result<usize, Fault>;
}

/// Cuts `words` at its slots.
pub(super) fn text(words: &Words, field: &str, slots: &mut dyn Slots) -> Result<Text, Fault> {
    let at = words.span().start;
    let mut names: Vec<&str> = Vec::new();
    let mut cut = Vec::new();
    let mut rest = words.get_ref().trim_end_matches(['\n', '\r']);
    while let Some((literal, from)) = rest.split_once("{{") {
        let (name, after) = from.split_once("}}").ok_or_else(|| {
            Fault::new(Some(at), field, "`{{` without `}}`").hint("a slot is written {{nome}} or {{1}}")
        })?;
        check_name(name, at, field)?;
        if !names.contains(&name) {
            names.push(name);
        }
        cut.push((literal, name));
        rest = after;
    }
    order(&mut names, at, field)?;
    let mut pieces = Vec::new();
    for (literal, name) in cut {
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_owned()));
        }
        let slot = names.iter().position(|known| *known == name).expect("every name was collected");
        pieces.push(Piece::Param(slot));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    let mut params = Vec::with_capacity(names.len());
    for name in names {
        params.push(Param {
            name: (!is_number(name)).then(|| name.to_owned()),
            value: Value::Variable(slots.find(name, at, field)?),
        });
    }
    Ok(Text { pieces, params })
}

/// A value that is fixed, or exactly one variable.
pub(super) fn value(words: &Words, field: &str, slots: &mut dyn Slots) -> Result<Value, Fault> {
    let at = words.span().start;
    let text = words.get_ref().as_str();
    let invalid = |message: String| Fault::new(Some(at), field, message);
    if let Some(name) = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"))
        && !name.contains("{{")
    {
        check_name(name, at, field)?;
        return Ok(Value::Variable(slots.find(name, at, field)?));
    }
    if text.contains("{{") || text.contains("}}") {
        return Err(invalid("holds a slot and other text".into())
            .hint("give a fixed text or exactly one {{variable}}; join columns in the recipients file"));
    }
    if text.trim().is_empty() {
        return Err(invalid("is empty".into()));
    }
    if text.chars().count() > FIXED_MAX_CHARS {
        return Err(invalid(format!("is longer than {FIXED_MAX_CHARS} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid("holds a newline, a tab or another control character".into()));
    }
    Ok(Value::Fixed(text.to_owned()))
}

/// Whether this is a positional slot's name.
pub(super) fn is_number(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit())
}

/// Refuses what Meta takes for no parameter name.
pub(super) fn check_name(name: &str, at: usize, field: &str) -> Result<(), Fault> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if (1..=64).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(Fault::new(Some(at), field, format!("`{shown}` is no name of a variable"))
        .hint("use 1 to 64 of a-z, 0-9 and _, without spaces"))
}

/// Puts positional slots in the order of their numbers, which run from 1 without a gap; named ones stay in the order
/// of their first appearance.
fn order(names: &mut [&str], at: usize, field: &str) -> Result<(), Fault> {
    let numbers = names.iter().filter(|name| is_number(name)).count();
    if numbers == 0 {
        return Ok(());
    }
    if numbers < names.len() {
        return Err(Fault::new(Some(at), field, "mixes numbered and named slots")
            .hint("use only {{1}}, {{2}}, … or only names, as the template at Meta does"));
    }
    names.sort_by_key(|name| (name.len(), *name));
    for (name, expect) in names.iter().zip(1_usize..) {
        if *name != expect.to_string() {
            return Err(Fault::new(
                Some(at),
                field,
                format!("has slot {{{{{name}}}}} where {{{{{expect}}}}} is expected"),
            )
            .hint("number the slots from 1 without a gap"));
        }
    }
    Ok(())
}
