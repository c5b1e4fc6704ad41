//! From the text of an error table to its validated rows.
//!
//! The kinds of our own outcomes are fixed here: a table that called a timeout "transient" would send messages
//! twice. The input is `config/errors.toml`, or the operator's copy of it.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use super::table::{ErrorTableError, Limits, Row, WaitBounds, own};
use super::{Kind, Scope};
use crate::domain::stop::StopKind;

/// Longest `wait` a row may have: longer ones are meant for a person to look at, which is `halt`.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Most rows: a reason is one byte of the record and zero means none.
const ROWS_MAX: usize = 255;

/// Longest text of a row.
const TEXT_MAX_CHARS: usize = 200;

/// Highest reason of our own outcomes; the rows of Meta's codes come after it.
const OWN_REASON_MAX: u8 = 39;

/// The rows that must be there: reason, name, kind, not_own.
const MANDATORY: [(u8, &str, Kind, bool); 14] = [
    (own::TIMEOUT, "timeout", Kind::Unknown, true),
    (own::RESET_AFTER_BEGIN, "reset_after_begin", Kind::Unknown, true),
    (own::SERVER_ERROR_WITHOUT_BODY, "server_error_without_body", Kind::Unknown, true),
    (own::SUCCESS_WITHOUT_ID, "success_without_id", Kind::Unknown, true),
    (own::NEVER_BEGUN, "never_begun", Kind::Transient, true),
    (own::EXPIRED, "expired", Kind::Permanent, false),
    (own::ATTEMPTS_USED_UP, "attempts_used_up", Kind::Permanent, false),
    (own::CANCELLED, "cancelled", Kind::Permanent, false),
    (own::GENERATION_LIMIT, "generation_limit", Kind::Permanent, false),
    (own::OWNER_LOST, "owner_lost", Kind::Unknown, false),
    (own::UNKNOWN_CODE, "unknown_code", Kind::Permanent, false),
    (own::UNKNOWN_CODE_DOUBTFUL, "unknown_code_doubtful", Kind::Doubtful, false),
    (own::TOO_MANY_REQUESTS, "too_many_requests", Kind::Throttled, false),
    (own::REFUSED_WITHOUT_BODY, "refused_without_body", Kind::Transient, true),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    limits: RawLimits,
    row: Vec<RawRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    retry_after_min: String,
    retry_after_max: String,
    pair_base: String,
    pair_max: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    reason: u64,
    #[serde(default)]
    codes: Vec<i64>,
    code_range: Option<[i64; 2]>,
    name: String,
    meaning: String,
    action: String,
    kind: String,
    scope: String,
    #[serde(default)]
    not_own: bool,
    #[serde(default)]
    slows: bool,
    attempts: Option<u8>,
    wait: Option<RawWait>,
    backoff: Option<String>,
    suppress: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawWait {
    Fixed(String),
    Bounds { min: String, max: String },
}

/// Reads and validates a table; the rows come by reason, ascending.
pub(super) fn parse(text: &str) -> Result<(Vec<Row>, Limits), ErrorTableError> {
    let raw: RawTable = toml::from_str(text).map_err(|e| ErrorTableError::Syntax(syntax(&e, text)))?;
    if raw.row.len() > ROWS_MAX {
        let problem = format!("{} rows, at most {ROWS_MAX} fit into a record", raw.row.len());
        return Err(ErrorTableError::Syntax(problem));
    }
    let limits = parse_limits(&raw.limits)?;
    let mut rows: Vec<Row> = Vec::with_capacity(raw.row.len());
    for (position, raw_row) in raw.row.into_iter().enumerate() {
        let (number, reason) = (position + 1, raw_row.reason);
        let row = parse_row(raw_row)
            .and_then(|row| check_against(&row, &rows).map(|()| row))
            .map_err(|(field, problem)| ErrorTableError::Row { row: number, reason, field, problem })?;
        rows.push(row);
    }
    for (reason, name, ..) in MANDATORY {
        if !rows.iter().any(|row| row.reason == reason) {
            return Err(ErrorTableError::Missing { reason, name });
        }
    }
    rows.sort_by_key(|row| row.reason);
    Ok((rows, limits))
}

/// A field and what is wrong with it.
type Problem = (&'static str, String);

fn parse_row(raw: RawRow) -> Result<Row, Problem> {
    let reason = u8::try_from(raw.reason)
        .ok()
        .filter(|&reason| reason > 0)
        .ok_or(("reason", "must be 1 to 255: it is one byte of a record, and 0 means none".to_owned()))?;
    let name_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if raw.name.is_empty() || raw.name.len() > 40 || !raw.name.chars().all(name_ok) {
        return Err(("name", "must be 1 to 40 of a-z 0-9 _".to_owned()));
    }
    for (field, text) in [("meaning", &raw.meaning), ("action", &raw.action)] {
        if text.trim().is_empty() || text.chars().count() > TEXT_MAX_CHARS {
            return Err((field, format!("must be a text of 1 to {TEXT_MAX_CHARS} characters")));
        }
    }
    let mut codes: Vec<_> = raw.codes.iter().map(|&code| code..=code).collect();
    if let Some([first, last]) = raw.code_range {
        if first > last {
            return Err(("code_range", format!("starts at {first} and ends before it, at {last}")));
        }
        codes.push(first..=last);
    }
    if codes.is_empty() != (reason <= OWN_REASON_MAX) {
        let problem =
            format!("reasons 1 to {OWN_REASON_MAX} are our own and have no code; all others need one");
        return Err(("codes", problem));
    }
    let kind = parse_kind(&raw.kind)?;
    let wait = raw.wait.as_ref().map(parse_wait).transpose()?;
    let pair_backoff = match raw.backoff.as_deref() {
        None => false,
        Some("pair") => true,
        Some(_) => return Err(("backoff", "must be \"pair\" or left out".to_owned())),
    };
    let row = Row {
        reason,
        codes,
        name: raw.name,
        meaning: raw.meaning,
        action: raw.action,
        kind,
        scope: parse_scope(&raw.scope)?,
        not_own: raw.not_own,
        slows: raw.slows,
        attempts: raw.attempts,
        wait,
        pair_backoff,
        suppress: raw.suppress.as_deref().map(parse_suppress).transpose()?,
    };
    check_row(&row).map(|()| row)
}

/// Relations between the fields of one row.
fn check_row(row: &Row) -> Result<(), Problem> {
    let waits = matches!(row.kind, Kind::Throttled | Kind::Doubtful | Kind::Transient);
    if row.wait.is_some() && !waits {
        return Err(("wait", "only throttled, doubtful and transient rows wait".to_owned()));
    }
    if row.pair_backoff && (row.kind, row.scope) != (Kind::Throttled, Scope::Pair) {
        return Err(("backoff", "\"pair\" needs kind \"throttled\" and scope \"pair\"".to_owned()));
    }
    if row.kind == Kind::Throttled && row.wait.is_some() == row.pair_backoff {
        return Err(("wait", "a throttled row needs either a wait or backoff = \"pair\"".to_owned()));
    }
    if row.kind == Kind::Doubtful && row.wait.is_none() {
        return Err(("wait", "a doubtful row needs a wait: its message is in doubt until then".to_owned()));
    }
    if row.kind == Kind::Halt && matches!(row.scope, Scope::Person | Scope::Pair) {
        return Err(("scope", "a halt stops a number or something wider".to_owned()));
    }
    if row.suppress.is_some() && (row.kind, row.scope) != (Kind::Permanent, Scope::Person) {
        return Err(("suppress", "needs kind \"permanent\" and scope \"person\"".to_owned()));
    }
    if row.not_own && !matches!(row.kind, Kind::Unknown | Kind::Doubtful | Kind::Transient) {
        return Err(("not_own", "only unknown, doubtful and transient rows can be not our own".to_owned()));
    }
    if row.slows && (row.kind, row.scope) != (Kind::Throttled, Scope::Number) {
        return Err(("slows", "only throttled rows of scope \"number\" slow a number".to_owned()));
    }
    if row
        .attempts
        .is_some_and(|most| !(2..=15).contains(&most) || row.kind != Kind::Transient || row.not_own)
    {
        let problem = "must be 2 to 15, and only transient rows that cost attempts have it";
        return Err(("attempts", problem.to_owned()));
    }
    Ok(())
}

/// Relations with the rows before it and with the rows the program needs.
fn check_against(row: &Row, before: &[Row]) -> Result<(), Problem> {
    if before.iter().any(|other| other.reason == row.reason) {
        return Err(("reason", "another row has it already".to_owned()));
    }
    if before.iter().any(|other| other.name == row.name) {
        return Err(("name", "another row has it already".to_owned()));
    }
    let overlap =
        |a: &RangeInclusive<i64>, b: &RangeInclusive<i64>| a.start() <= b.end() && b.start() <= a.end();
    for (at, range) in row.codes.iter().enumerate() {
        let others = before.iter().flat_map(|other| &other.codes).chain(&row.codes[..at]);
        for other in others {
            if overlap(range, other) {
                let code = range.start().max(other.start());
                return Err(("codes", format!("code {code} is listed already")));
            }
        }
    }
    if let Some((_, name, kind, not_own)) = MANDATORY.iter().find(|own| own.0 == row.reason) {
        if row.name != *name {
            return Err(("name", format!("reason {} is ours and is named {name:?}", row.reason)));
        }
        if row.kind != *kind {
            let kind = kind.name();
            return Err((
                "kind",
                format!("of {name:?} must be {kind:?}: another one could send twice or lose"),
            ));
        }
        if row.not_own != *not_own {
            return Err(("not_own", format!("of {name:?} must be {not_own}")));
        }
    }
    Ok(())
}

fn parse_kind(text: &str) -> Result<Kind, Problem> {
    Ok(match text {
        "throttled" => Kind::Throttled,
        "doubtful" => Kind::Doubtful,
        "transient" => Kind::Transient,
        "permanent" => Kind::Permanent,
        "halt" => Kind::Halt,
        "unknown" => Kind::Unknown,
        _ => {
            let allowed = "must be throttled, doubtful, transient, permanent, halt or unknown";
            return Err(("kind", allowed.to_owned()));
        }
    })
}

fn parse_scope(text: &str) -> Result<Scope, Problem> {
    Ok(match text {
        "person" => Scope::Person,
        "pair" => Scope::Pair,
        "number" => Scope::Number,
        "template" => Scope::Template,
        "account" => Scope::Account,
        "portfolio" => Scope::Portfolio,
        "app" => Scope::App,
        _ => {
            let allowed = "must be person, pair, number, template, account, portfolio or app";
            return Err(("scope", allowed.to_owned()));
        }
    })
}

/// Only what is said of a person, and stops.
fn parse_suppress(text: &str) -> Result<StopKind, Problem> {
    StopKind::parse(text).filter(|kind| !kind.is_of_debt() && *kind != StopKind::Exempt).ok_or_else(|| {
        ("suppress", "must be optout, marketing, do_not_contact or wrong_person, or left out".to_owned())
    })
}

fn parse_wait(raw: &RawWait) -> Result<WaitBounds, Problem> {
    let (min, max) = match raw {
        RawWait::Fixed(text) => (text, text),
        RawWait::Bounds { min, max } => (min, max),
    };
    bounds(min, max).map_err(|problem| ("wait", problem))
}

fn parse_limits(raw: &RawLimits) -> Result<Limits, ErrorTableError> {
    let limit =
        |field, min, max| bounds(min, max).map_err(|problem| ErrorTableError::Limits { field, problem });
    Ok(Limits {
        retry_after: limit("retry_after_min, retry_after_max", &raw.retry_after_min, &raw.retry_after_max)?,
        pair: limit("pair_base, pair_max", &raw.pair_base, &raw.pair_max)?,
    })
}

fn bounds(min: &str, max: &str) -> Result<WaitBounds, String> {
    let (min, max) = (duration(min)?, duration(max)?);
    if min > max {
        return Err("the shortest wait is longer than the longest".to_owned());
    }
    Ok(WaitBounds { min, max })
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|parsed| Duration::try_from(parsed).ok())
        .filter(|wait| !wait.is_zero() && *wait <= WAIT_MAX)
        .ok_or_else(|| {
            format!("{text:?} is not a duration such as \"60s\" or \"10m\", above zero and at most 24h")
        })
}

/// The parser's message with the line, on one line.
fn syntax(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
    let message = error.message().replace('\n', " ");
    line.map_or(message.clone(), |line| format!("line {line}: {message}"))
}
