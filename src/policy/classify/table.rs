//! The error table: every reason a message can have, as data, read from `config/errors.toml` and validated.
//!
//! It does not decide anything; [`classify`](super) does. The rows of our own outcomes are named here because
//! the program cannot run without them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Kind, Scope, raw};
use crate::domain::stop::StopKind;

/// The table that is part of the program.
const BUILTIN: &str = include_str!("../../../config/errors.toml");

/// Reasons of our own outcomes, as stored in records.
pub mod own {
    /// No reply in time.
    pub const TIMEOUT: u8 = 1;
    /// The connection broke after the request had begun to leave.
    pub const RESET_AFTER_BEGIN: u8 = 2;
    /// A 5xx without a Graph error.
    pub const SERVER_ERROR_WITHOUT_BODY: u8 = 3;
    /// A 2xx without a message id.
    pub const SUCCESS_WITHOUT_ID: u8 = 4;
    /// Not one byte of the request left.
    pub const NEVER_BEGUN: u8 = 5;
    /// Older than the campaign's validity.
    pub const EXPIRED: u8 = 6;
    /// Every allowed attempt was refused for the moment.
    pub const ATTEMPTS_USED_UP: u8 = 7;
    /// The campaign was cancelled.
    pub const CANCELLED: u8 = 8;
    /// Claimed as often as the record can count.
    pub const GENERATION_LIMIT: u8 = 9;
    /// The process died between claim and reply.
    pub const OWNER_LOST: u8 = 10;
    /// A code that the table does not list.
    pub const UNKNOWN_CODE: u8 = 11;
    /// A code that the table does not list, with a 5xx or marked as transient.
    pub const UNKNOWN_CODE_DOUBTFUL: u8 = 12;
    /// An HTTP 429 without a listed code.
    pub const TOO_MANY_REQUESTS: u8 = 13;
    /// A 3xx or 4xx without a Graph error.
    pub const REFUSED_WITHOUT_BODY: u8 = 14;
    /// The person was erased.
    pub const ERASED: u8 = 30;
    /// The person asked to hear no more.
    pub const OPTED_OUT: u8 = 31;
    /// The person asked to hear no more marketing.
    pub const OPTED_OUT_OF_MARKETING: u8 = 32;
    /// A list forbids to write to the person.
    pub const DO_NOT_CONTACT: u8 = 33;
    /// The phone is not the debtor's.
    pub const WRONG_PERSON: u8 = 34;
    /// The debt is paid.
    pub const PAID: u8 = 35;
    /// The debt is disputed.
    pub const DISPUTED: u8 = 36;
    /// The person was written to often enough.
    pub const CONTACT_CAP: u8 = 37;
    /// The number wrote to the person a moment ago.
    pub const PAIR_WAIT: u8 = 38;
}

/// How long a scope or a message waits: `min` unless Meta's hint says more, never above `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitBounds {
    /// Without a hint.
    pub min: Duration,
    /// At most.
    pub max: Duration,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number stored in records, never reused.
    pub reason: u8,
    /// Meta's codes; empty for our own outcomes.
    pub codes: Vec<RangeInclusive<i64>>,
    /// Name in reports and metrics, snake_case.
    pub name: String,
    /// What it means, in plain English.
    pub meaning: String,
    /// What an operator should do.
    pub action: String,
    /// What it means for the message.
    pub kind: Kind,
    /// Who slows or stops.
    pub scope: Scope,
    /// See [`Verdict::not_own`](super::Verdict::not_own).
    pub not_own: bool,
    /// See [`Verdict::slows`](super::Verdict::slows).
    pub slows: bool,
    /// See [`Verdict::attempts`](super::Verdict::attempts).
    pub attempts: Option<u8>,
    /// How long to wait; None: the usual backoff.
    pub wait: Option<WaitBounds>,
    /// The wait of the pair is 4^x seconds.
    pub pair_backoff: bool,
    /// What the code says of the person: the stop list has it from then on, for the account that was refused.
    pub suppress: Option<StopKind>,
}

/// Bounds that hold for the whole table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of a `Retry-After` where the row has none of its own.
    pub retry_after: WaitBounds,
    /// First wait of a pair, which grows fourfold up to the longest.
    pub pair: WaitBounds,
}

/// The validated table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorTable {
    /// By reason, ascending.
    rows: Vec<Row>,
    /// First code, last code, position in `rows`; ascending and without overlaps.
    by_code: Vec<(i64, i64, usize)>,
    limits: Limits,
}

/// Why a text is not an error table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorTableError {
    /// Not TOML, or keys of the wrong name or type.
    #[error("error table: {0}")]
    Syntax(String),
    /// A row that cannot be.
    #[error("error table, row {row} (reason {reason}), field {field}: {problem}")]
    Row {
        /// Position in the file, from 1.
        row: usize,
        /// The row's reason.
        reason: u64,
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// A bound of `[limits]` that cannot be.
    #[error("error table, [limits], field {field}: {problem}")]
    Limits {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// A row the program cannot run without.
    #[error(
        "error table: the row with reason {reason} and name {name:?} is missing; copy it from config/errors.toml"
    )]
    Missing {
        /// Its reason.
        reason: u8,
        /// Its name.
        name: &'static str,
    },
}

impl ErrorTable {
    /// The table that is part of the program.
    pub fn builtin() -> Self {
        Self::parse(BUILTIN).expect("config/errors.toml is part of the program, and a test parses it")
    }

    /// Reads and validates a table.
    ///
    /// # Errors
    /// Names the row and the field that cannot be, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, ErrorTableError> {
        let (rows, limits) = raw::parse(text)?;
        let mut by_code: Vec<_> = rows
            .iter()
            .enumerate()
            .flat_map(|(at, row)| row.codes.iter().map(move |r| (*r.start(), *r.end(), at)))
            .collect();
        by_code.sort_unstable();
        Ok(Self { rows, by_code, limits })
    }

    /// The same table with every wait divided by `scale`, for tests against a simulator that runs fast.
    #[must_use]
    pub fn scaled(mut self, scale: u32) -> Self {
        let scale = scale.max(1);
        let divide = |w: WaitBounds| WaitBounds { min: w.min / scale, max: w.max / scale };
        for row in &mut self.rows {
            row.wait = row.wait.map(divide);
        }
        self.limits = Limits { retry_after: divide(self.limits.retry_after), pair: divide(self.limits.pair) };
        self
    }

    /// The row of a reason; None for 0 and for reasons of a newer table.
    pub fn reason(&self, reason: u8) -> Option<&Row> {
        let at = self.rows.binary_search_by_key(&reason, |row| row.reason).ok()?;
        self.rows.get(at)
    }

    /// The row that lists a code of Meta.
    pub fn code(&self, code: i64) -> Option<&Row> {
        let after = self.by_code.partition_point(|&(first, ..)| first <= code);
        let &(_, last, at) = self.by_code.get(after.checked_sub(1)?)?;
        (code <= last).then(|| &self.rows[at])
    }

    /// All rows by reason, ascending.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Bounds that hold for the whole table.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A row that [`ErrorTable::parse`] made sure of.
    pub(super) fn own(&self, reason: u8) -> &Row {
        self.reason(reason).expect("parse refuses a table without the rows of our own outcomes")
    }
}

impl Row {
    /// The codes as a report shows them: `131026`, `200-299`, empty for our own outcomes.
    pub fn codes_text(&self) -> String {
        let one = |r: &RangeInclusive<i64>| match r.start() == r.end() {
            true => r.start().to_string(),
            false => format!("{}-{}", r.start(), r.end()),
        };
        self.codes.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replaces the first `from` of the built-in table and expects the message to contain `expect`.
    fn check(from: &str, to: &str, expect: &str) {
        assert!(BUILTIN.contains(from), "{from}");
        let error = ErrorTable::parse(&BUILTIN.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn the_builtin_table_is_valid_and_every_reason_finds_its_row() {
        let table = ErrorTable::builtin();
        for row in table.rows() {
            assert_eq!(table.reason(row.reason), Some(row));
            for range in &row.codes {
                assert_eq!(table.code(*range.start()), Some(row));
                assert_eq!(table.code(*range.end()), Some(row));
            }
        }
        assert_eq!(table.reason(0), None);
        assert_eq!(table.reason(255), None);
    }

    #[test]
    fn codes_are_shown_as_in_the_file() {
        let table = ErrorTable::builtin();
        assert_eq!(table.code(131_026).unwrap().codes_text(), "131026");
        assert_eq!(table.code(237).unwrap().codes_text(), "200-299");
        assert_eq!(table.reason(own::TIMEOUT).unwrap().codes_text(), "");
    }

    #[test]
    fn gaps_between_codes_find_nothing() {
        let table = ErrorTable::builtin();
        for code in [i64::MIN, -1, 5, 199, 300, 131_001, 2_389_000, i64::MAX] {
            assert_eq!(table.code(code), None, "{code}");
        }
    }

    #[test]
    fn bad_tables_are_refused_by_row_and_field() {
        check("reason = 41", "reason = 40", "row 16 (reason 40), field reason: another row");
        check("reason = 40", "reason = 0", "row 15 (reason 0), field reason: must be 1 to 255");
        check("reason = 40", "reason = 256", "field reason: must be 1 to 255");
        check("codes = [190]", "codes = [104]", "field codes: code 104 is listed already");
        check("codes = [190]", "codes = [250, 190]", "field codes: code 250 is listed already");
        check("codes = [190]", "codes = [190, 190]", "field codes: code 190 is listed already");
        check("codes = [190]", "", "field codes: reasons 1 to 39 are our own");
        check("code_range = [200, 299]", "code_range = [299, 200]", "field code_range: starts at 299");
        check(
            "name = \"timeout\"",
            "name = \"time_out\"",
            "field name: reason 1 is ours and is named \"timeout\"",
        );
        check("name = \"token_expired\"", "name = \"Token\"", "field name: must be 1 to 40");
        check("name = \"token_expired\"", "name = \"auth_failed\"", "field name: another row");
    }

    #[test]
    fn rows_that_contradict_themselves_are_refused() {
        check("kind = \"unknown\"", "kind = \"transient\"", "field kind: of \"timeout\" must be \"unknown\"");
        check("not_own = true", "", "field not_own: of \"timeout\" must be true");
        check("kind = \"halt\"", "kind = \"stop\"", "field kind: must be throttled");
        check("scope = \"account\"", "scope = \"person\"", "field scope: a halt stops");
        check("scope = \"account\"", "scope = \"planet\"", "field scope: must be person");
        check("wait = \"60s\"", "wait = \"60\"", "field wait: \"60\" is not a duration");
        check("wait = \"60s\"", "", "field wait: a doubtful row needs a wait");
        check("backoff = \"pair\"", "backoff = \"cubic\"", "field backoff: must be");
        check("backoff = \"pair\"", "", "field wait: a throttled row needs either");
        check("pair_max = \"1h\"", "pair_max = \"1ms\"", "[limits], field pair_base, pair_max: the shortest");
        check("pair_max = \"1h\"", "pair_max = \"1h\"\ncolour = 1", "unknown field `colour`");
    }

    #[test]
    fn a_missing_row_of_our_own_is_named() {
        let cut = BUILTIN.find("[[row]]\nreason = 10\n").unwrap();
        let end = cut + BUILTIN[cut..].find("[[row]]\nreason = 11\n").unwrap();
        let text = format!("{}{}", &BUILTIN[..cut], &BUILTIN[end..]);
        let expect = ErrorTableError::Missing { reason: own::OWNER_LOST, name: "owner_lost" };
        assert_eq!(ErrorTable::parse(&text), Err(expect));
    }

    #[test]
    fn scaling_divides_every_wait() {
        let table = ErrorTable::builtin().scaled(10);
        let wait = table.code(131_000).unwrap().wait.unwrap();
        assert_eq!(wait.min, Duration::from_secs(6));
        assert_eq!(table.limits().pair.min, Duration::from_millis(100));
        assert_eq!(table.limits().retry_after.max, Duration::from_secs(360));
    }
}
