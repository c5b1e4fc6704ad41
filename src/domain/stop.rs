//! Stops: who is not to be written to, or about which debt, and why. Plain data and its rules.
//!
//! A stop speaks of a person (by phone, in any spelling), of a person whom Meta names by an id only, or of a debt by the
//! creditor's own reference. It holds for one account, which is one creditor, or for all.

use jiff::civil::Date;

use super::format::{DateInput, Fact, Format};
use crate::clock::WallMs;

/// Why somebody is not to be written to. The numbers are stored: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum StopKind {
    /// The person asked to hear no more.
    OptedOut = 1,
    /// The person asked to hear no more marketing; anything else may go.
    Marketing = 2,
    /// A list, such as São Paulo's "Não Me Ligue", forbids it from a day on.
    DoNotContact = 3,
    /// The phone is not the debtor's.
    WrongPerson = 4,
    /// The debt is paid.
    Paid = 5,
    /// The debt is disputed.
    Disputed = 6,
    /// The person allowed one creditor to write in spite of a do-not-contact list. Stops nothing.
    Exempt = 7,
}

/// What a stop speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A person by phone.
    Person,
    /// A debt by the creditor's reference.
    Debt,
    /// A person by Meta's id.
    User,
}

/// A civil day of Brasília, counted from the last day of 2019: `0` is before every other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StopDay(u16);

/// The first day that is counted.
const FIRST: Date = Date::constant(2020, 1, 1);

/// Days from 1970-01-01 to 2019-12-31.
const DAY_ZERO: u64 = 18_261;

/// Brasília is behind UTC by this, all year since 2019.
const BEHIND_UTC_MS: u64 = 3 * 60 * 60 * 1_000;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

impl StopKind {
    /// Every kind, by its number.
    pub const ALL: [Self; 7] = [
        Self::OptedOut,
        Self::Marketing,
        Self::DoNotContact,
        Self::WrongPerson,
        Self::Paid,
        Self::Disputed,
        Self::Exempt,
    ];

    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number.checked_sub(1)?)).copied()
    }

    /// The word on the command line, in JSON and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OptedOut => "optout",
            Self::Marketing => "marketing",
            Self::DoNotContact => "do_not_contact",
            Self::WrongPerson => "wrong_person",
            Self::Paid => "paid",
            Self::Disputed => "disputed",
            Self::Exempt => "exempt",
        }
    }

    /// The kind of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The words for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::OptedOut => "opted out",
            Self::Marketing => "opted out of marketing",
            Self::DoNotContact => "do not contact",
            Self::WrongPerson => "wrong person",
            Self::Paid => "paid",
            Self::Disputed => "disputed",
            Self::Exempt => "exempt from do not contact",
        }
    }

    /// Whether it speaks of a debt; otherwise it speaks of a person.
    pub const fn is_of_debt(self) -> bool {
        matches!(self, Self::Paid | Self::Disputed)
    }

    /// Whether it may begin on a later day.
    pub const fn may_begin_later(self) -> bool {
        matches!(self, Self::DoNotContact)
    }
}

impl Subject {
    /// The stored letter.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Person => "p",
            Self::Debt => "d",
            Self::User => "u",
        }
    }

    /// The subject of a stored letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        [Self::Person, Self::Debt, Self::User].into_iter().find(|one| one.letter() == letter)
    }
}

impl StopDay {
    /// From the beginning of time on.
    pub const AT_ONCE: Self = Self(0);

    /// The highest day: 15 bits.
    pub const MAX: Self = Self(0x7fff);

    /// The day of a date; None: before 2020 or after 2109.
    pub fn of(date: Date) -> Option<Self> {
        let days = Date::constant(2019, 12, 31).until(date).ok()?.get_days();
        u16::try_from(days).ok().map(Self).filter(|day| (Self(1)..=Self::MAX).contains(day))
    }

    /// A day as files write it, `aaaa-mm-dd` or `dd/mm/aaaa`, and so many days behind it; None: it is no day.
    pub fn parse(text: &str, days_after: u16) -> Option<Self> {
        let mut shown = String::new();
        let Ok(Fact::Date(date)) = Format::Date(DateInput::DayMonthYear).apply(text, &mut shown) else {
            return None;
        };
        let date = date.checked_add(jiff::Span::new().days(i64::from(days_after))).ok()?;
        // Before the first day that is counted, it is always.
        Some(Self::of(date).unwrap_or(if date < FIRST { Self::AT_ONCE } else { Self::MAX }))
    }

    /// The day at an instant.
    pub fn at(now: WallMs) -> Self {
        let days = (now.0.saturating_sub(BEHIND_UTC_MS) / DAY_MS).saturating_sub(DAY_ZERO);
        u16::try_from(days).map_or(Self::MAX, |days| Self(days).min(Self::MAX))
    }

    /// The date; None: from the beginning of time on.
    pub fn date(self) -> Option<Date> {
        let days = jiff::Span::new().try_days(i64::from(self.0)).ok()?;
        Date::constant(2019, 12, 31).checked_add(days).ok().filter(|_| self.0 > 0)
    }

    /// As it is stored.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// From what was stored.
    pub fn from_number(number: u16) -> Self {
        Self(number).min(Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keep_their_numbers_and_words() {
        let all = StopKind::ALL.map(|kind| (kind.number(), kind.as_str()));
        let expect = [
            (1, "optout"),
            (2, "marketing"),
            (3, "do_not_contact"),
            (4, "wrong_person"),
            (5, "paid"),
            (6, "disputed"),
            (7, "exempt"),
        ];
        assert_eq!(all, expect);
        assert!(StopKind::ALL.iter().all(|kind| StopKind::from_number(kind.number()) == Some(*kind)));
        assert_eq!((StopKind::from_number(0), StopKind::from_number(8)), (None, None));
    }

    #[test]
    fn days_are_those_of_brasilia() {
        let day = |text: &str| StopDay::of(text.parse().unwrap());
        let at = |text: &str| {
            let ms = text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            StopDay::at(WallMs(u64::try_from(ms).unwrap()))
        };
        assert_eq!(Some(at("2026-11-28T02:59:59Z")), day("2026-11-27"));
        assert_eq!(Some(at("2026-11-28T03:00:00Z")), day("2026-11-28"));
        assert_eq!(day("2020-01-01"), Some(StopDay(1)));
        assert_eq!((day("2019-12-31"), day("2110-01-01")), (None, None));
        assert_eq!(day("2027-02-09").and_then(StopDay::date), Some(Date::constant(2027, 2, 9)));
        let parsed = |text| StopDay::parse(text, 30).and_then(StopDay::date);
        assert_eq!(parsed("2026-01-10"), Some(Date::constant(2026, 2, 9)));
        assert_eq!(parsed("10/01/2026"), parsed("2026-01-10"));
        assert_eq!((parsed("01/10/2009"), parsed("10/1/2026"), parsed("")), (None, None, None));
        assert_eq!((StopDay::AT_ONCE.date(), at("1999-01-01T00:00:00Z")), (None, StopDay::AT_ONCE));
    }
}
