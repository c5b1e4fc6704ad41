//! From the raw file to the domain: every bound of a campaign, field by field.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;

use super::formats;
use super::hours;
use super::pacing;
use super::raw::{RawCampaign, RawColumns, RawDoubt, RawRetry, RawVariable, Words};
use super::template::template;
use super::text::{self, Slots};
use super::{Fault, ID_MAX_CHARS, VARIABLES_MAX, did_you_mean};
use crate::domain::campaign::{ATTEMPTS_MAX, Campaign, Columns, DedupKey, Priority, RetryPolicy, Variable};
use crate::domain::contact::CapChoice;
use crate::domain::doubt::{DoubtPolicy, DoubtRules, RESEND_WAIT_MIN};
use crate::domain::ids::NumberId;

const EXPECTED_MAX: i64 = 100_000_000;
const NUMBERS_MAX: usize = 10_000;
const COLUMN_MAX_CHARS: usize = 256;
const VALIDITY_DEFAULT: Duration = Duration::from_secs(24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The variables that the file declares, and the order in which slots asked for them.
struct Declared<'a> {
    columns: &'a BTreeMap<Words, Spanned<RawVariable>>,
    used: Vec<Variable>,
}

pub(super) fn campaign(raw: RawCampaign) -> Result<Campaign, Fault> {
    check_id(&raw.id)?;
    digits(&raw.account, "account")?;
    let dedup = named(raw.dedup.as_ref(), "dedup", DedupKey::Person, &DedupKey::ALL, DedupKey::as_str)?;
    let priority =
        named(raw.priority.as_ref(), "priority", Priority::Normal, &Priority::ALL, Priority::as_str)?;
    let columns = columns(&raw.columns)?;
    if dedup == DedupKey::PersonRef && columns.reference.is_none() {
        let at = raw.dedup.as_ref().map(|words| words.span().start);
        return Err(Fault::new(at, "dedup", "`person_ref` needs a column that tells debts apart")
            .hint("add ref = \"…\" to [columns]"));
    }
    let mut declared = Declared { columns: &raw.columns.variables, used: Vec::new() };
    let template = template(&raw.template, &mut declared)?;
    let checks = formats::payments(&raw.template, &template, &mut declared)?;
    let mut variables = declared.finish()?;
    formats::settle(&raw.template, &template, &checks, &mut variables)?;
    let validity =
        duration(raw.validity.as_ref(), "validity", VALIDITY_DEFAULT, Duration::from_secs(60), 30 * DAY)?;
    Ok(Campaign {
        id: raw.id.into_inner(),
        account: raw.account.into_inner(),
        numbers: numbers(raw.numbers)?,
        template,
        columns,
        variables,
        checks,
        dedup,
        expected: expected(raw.expected)?,
        priority,
        retry: retry(&raw.retry)?,
        doubt: doubt(&raw.doubt)?,
        validity,
        valid_until: raw.valid_until.as_ref().map(hours::valid_until).transpose()?,
        calendar: hours::own_hours(&raw.calendar)?,
        stop_if: pacing::stop_if(raw.stop_if.as_ref())?,
        hours: pacing::hours(raw.hours.as_ref())?,
        pace_share_per_mille: pacing::share(raw.pace_share.as_ref())?,
        weight: pacing::weight(raw.weight.as_ref())?,
        cap: named(raw.cap.as_ref(), "cap", CapChoice::Defer, &CapChoice::ALL, CapChoice::as_str)?,
    })
}

impl Slots for Declared<'_> {
    fn has(&self, name: &str) -> bool {
        self.columns.keys().any(|key| key.get_ref() == name)
    }

    fn find(&mut self, name: &str, at: usize, field: &str) -> Result<usize, Fault> {
        if let Some(found) = self.used.iter().position(|variable| variable.name == name) {
            return Ok(found);
        }
        let Some((_, column)) = self.columns.iter().find(|(key, _)| key.get_ref() == name) else {
            let known = self.columns.keys().map(|key| key.get_ref().as_str());
            let hint = did_you_mean(name, known)
                .unwrap_or_else(|| format!("add {name} = \"<column>\" to [columns.variables]"));
            return Err(
                Fault::new(Some(at), field, format!("no column fills the slot {{{{{name}}}}}")).hint(hint)
            );
        };
        let format = formats::format(name, column.get_ref())?;
        let column = column.get_ref().column.trim().to_owned();
        self.used.push(Variable { name: name.to_owned(), column, format });
        Ok(self.used.len() - 1)
    }
}

impl Declared<'_> {
    /// The variables in the order of their slots, or the one that no slot uses.
    fn finish(self) -> Result<Vec<Variable>, Fault> {
        let is_used = |name: &str| self.used.iter().any(|variable| variable.name == name);
        if let Some(unused) = self.columns.keys().find(|key| !is_used(key.get_ref())) {
            let field = format!("columns.variables.{}", unused.get_ref());
            return Err(Fault::new(Some(unused.span().start), &field, "no slot of the template uses it")
                .hint("remove it, or correct the slot's name"));
        }
        Ok(self.used)
    }
}

fn check_id(id: &Words) -> Result<(), Fault> {
    let text = id.get_ref();
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if (1..=ID_MAX_CHARS).contains(&text.len()) && text.bytes().all(good) {
        return Ok(());
    }
    Err(Fault::new(Some(id.span().start), "id", "is no name of a campaign")
        .hint(format!("use 1 to {ID_MAX_CHARS} of a-z, 0-9, - and _, such as \"vencimento-amanha\"")))
}

fn digits(words: &Words, field: &str) -> Result<(), Fault> {
    let text = words.get_ref();
    if (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    Err(Fault::new(Some(words.span().start), field, "is no id of Meta's: 1 to 32 digits")
        .hint("copy it from the WhatsApp Manager; it is not the phone number itself"))
}

fn named<T: Copy>(
    words: Option<&Words>,
    field: &str,
    default: T,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, Fault> {
    let Some(words) = words else { return Ok(default) };
    if let Some(found) = all.iter().find(|one| name(**one) == words.get_ref()) {
        return Ok(*found);
    }
    let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
    let message = format!("`{}` is none of {}", words.get_ref(), names.join(", "));
    Err(Fault::new(Some(words.span().start), field, message).maybe_hint(did_you_mean(words.get_ref(), names)))
}

fn numbers(raw: Option<Spanned<Vec<Words>>>) -> Result<Vec<NumberId>, Fault> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let at = Some(raw.span().start);
    let words = raw.into_inner();
    if words.is_empty() || words.len() > NUMBERS_MAX {
        return Err(Fault::new(
            at,
            "numbers",
            format!("holds {} numbers, not 1 to {NUMBERS_MAX}", words.len()),
        )
        .hint("leave `numbers` out to use all of the account"));
    }
    let mut numbers: Vec<NumberId> = Vec::with_capacity(words.len());
    let mut seen = std::collections::HashSet::new();
    for word in &words {
        digits(word, "numbers")?;
        if !seen.insert(word.get_ref()) {
            let message = format!("{} is there twice", word.get_ref());
            return Err(Fault::new(Some(word.span().start), "numbers", message));
        }
        numbers.push(word.get_ref().as_str().into());
    }
    Ok(numbers)
}

fn expected(raw: Option<Spanned<i64>>) -> Result<Option<u64>, Fault> {
    raw.map(|raw| within(&raw, "expected", 1, EXPECTED_MAX)).transpose()
}

fn within(raw: &Spanned<i64>, field: &str, min: i64, max: i64) -> Result<u64, Fault> {
    let value = *raw.get_ref();
    match u64::try_from(value) {
        Ok(good) if (min..=max).contains(&value) => Ok(good),
        _ => Err(Fault::new(Some(raw.span().start), field, format!("{value} is not within {min} to {max}"))),
    }
}

fn duration(
    words: Option<&Words>,
    field: &str,
    default: Duration,
    min: Duration,
    max: Duration,
) -> Result<Duration, Fault> {
    let Some(words) = words else { return Ok(default) };
    let invalid = |message: String| Fault::new(Some(words.span().start), field, message);
    let text = words.get_ref();
    let days = text.strip_suffix('d').and_then(|days| days.trim().parse::<u32>().ok());
    let parsed = match days {
        Some(days) => jiff::SignedDuration::from_hours(24 * i64::from(days)),
        None => text.parse().map_err(|_| {
            invalid(format!("`{text}` is no duration"))
                .hint("write it like \"500ms\", \"90s\", \"10m\", \"24h\" or \"7d\"")
        })?,
    };
    match Duration::try_from(parsed) {
        Ok(good) if (min..=max).contains(&good) => Ok(good),
        _ => Err(invalid(format!("{text} is not within {} to {}", in_words(min), in_words(max)))),
    }
}

/// A bound as somebody would write it.
fn in_words(bound: Duration) -> String {
    match bound.as_secs() {
        seconds if seconds > 0 && seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds > 0 && seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{bound:?}"),
    }
}

fn retry(raw: &RawRetry) -> Result<RetryPolicy, Fault> {
    let default = RetryPolicy::default();
    let attempts = raw.max_attempts.as_ref();
    let max_attempts = attempts
        .map(|raw| within(raw, "retry.max_attempts", 1, i64::from(ATTEMPTS_MAX)))
        .transpose()?
        .and_then(|attempts| u8::try_from(attempts).ok())
        .unwrap_or(default.max_attempts);
    let least = Duration::from_millis(100);
    let base = duration(raw.base.as_ref(), "retry.base", default.base, least, Duration::from_secs(600))?;
    let max = duration(raw.max.as_ref(), "retry.max", default.max.max(base), least, DAY)?;
    if max < base {
        let at = raw.max.as_ref().or(raw.base.as_ref()).map(|words| words.span().start);
        return Err(Fault::new(at, "retry.max", format!("{max:?} is shorter than retry.base, {base:?}")));
    }
    Ok(RetryPolicy { max_attempts, base, max })
}

/// What is sent again waits for at least a day, or the receipts of a bad day come too late.
fn doubt(raw: &RawDoubt) -> Result<DoubtRules, Fault> {
    let default = DoubtRules::default();
    let policy =
        named(raw.policy.as_ref(), "doubt.policy", default.policy, &DoubtPolicy::ALL, DoubtPolicy::as_str)?;
    let least = match policy {
        DoubtPolicy::Keep => Duration::from_secs(60),
        DoubtPolicy::Resend => RESEND_WAIT_MIN,
    };
    let wait = duration(raw.wait.as_ref(), "doubt.wait", default.wait, least, 7 * DAY)?;
    Ok(DoubtRules { policy, wait })
}

fn columns(raw: &RawColumns) -> Result<Columns, Fault> {
    let named = |text: &str, at: usize, field: &str| {
        let text = text.trim();
        if (1..=COLUMN_MAX_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            return Ok(text.to_owned());
        }
        let message =
            format!("is no name of a column: 1 to {COLUMN_MAX_CHARS} characters, no control character");
        Err(Fault::new(Some(at), field, message))
    };
    let column = |words: &Words, field: &str| named(words.get_ref(), words.span().start, field);
    if raw.variables.len() > VARIABLES_MAX {
        let at = raw.variables.keys().map(|key| key.span().start).min();
        return Err(Fault::new(
            at,
            "columns.variables",
            format!("holds {} variables, more than {VARIABLES_MAX}", raw.variables.len()),
        ));
    }
    for (name, words) in &raw.variables {
        text::check_name(name.get_ref(), name.span().start, "columns.variables")?;
        let field = format!("columns.variables.{}", name.get_ref());
        named(&words.get_ref().column, words.span().start, &field)?;
    }
    let optional =
        |words: &Option<Words>, field| words.as_ref().map(|words| column(words, field)).transpose();
    Ok(Columns {
        phone: column(&raw.phone, "columns.phone")?,
        reference: optional(&raw.r#ref, "columns.ref")?,
        debtor: optional(&raw.debtor, "columns.debtor")?,
    })
}
