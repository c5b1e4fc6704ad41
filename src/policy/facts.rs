//! What Meta's own fields of a number mean for sending through it: the throughput that Meta grants, how many people its
//! portfolio may write to, and whether it may send at all. Pure; `app::control::facts` reads the fields.
//!
//! Throughput and states are those of the platform's pages on throughput and on phone numbers: 80 messages a second is the
//! default, 1,000 after the free upgrade.

/// Messages a second at the default throughput.
const STANDARD_PER_S: f64 = 80.0;

/// Messages a second after the upgrade.
const HIGH_PER_S: f64 = 1_000.0;

/// What the fields of a number say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberFacts {
    /// `CONNECTED`, `RESTRICTED`, …
    pub status: Option<String>,
    /// `GREEN`, `YELLOW`, `RED`, `UNKNOWN`.
    pub quality: Option<String>,
    /// `STANDARD`, `HIGH`.
    pub throughput: Option<String>,
    /// `TIER_2K`, `TIER_UNLIMITED`, …: of the whole portfolio.
    pub messaging_limit: Option<String>,
}

/// How many people a portfolio may write to within a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeopleLimit {
    /// Any number.
    Unlimited,
    /// So many.
    AtMost(u64),
}

impl PeopleLimit {
    /// As fields and webhooks of Meta write it: `TIER_2K`, `2000`, `-1`. None: that says nothing.
    pub fn parse(word: &str) -> Option<Self> {
        let tier = |word: &str| match word.strip_suffix('K') {
            Some(thousands) => thousands.parse::<u64>().ok().map(|thousands| thousands.saturating_mul(1_000)),
            None => word.parse().ok(),
        };
        match word.trim() {
            "-1" | "TIER_UNLIMITED" => Some(Self::Unlimited),
            word => tier(word.strip_prefix("TIER_").unwrap_or(word)).map(Self::AtMost),
        }
    }

    /// As a number of people; None: without a limit.
    pub fn people(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::AtMost(people) => Some(people),
        }
    }
}

/// What follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged {
    /// Messages a second at most, as far as Meta says.
    pub limit_per_s: Option<f64>,
    /// Meta's code whose row of the error table says why the number must stop; None: it may send.
    pub stop: Option<i64>,
    /// Somebody should look at it.
    pub warns: bool,
}

/// What the fields mean. What is not known changes nothing.
pub fn judge(facts: &NumberFacts) -> Judged {
    let limit_per_s = match facts.throughput.as_deref() {
        Some("STANDARD") => Some(STANDARD_PER_S),
        Some("HIGH") => Some(HIGH_PER_S),
        _ => None,
    };
    let stop = match facts.status.as_deref() {
        Some("RESTRICTED" | "BANNED") => Some(131_048),
        Some("DELETED" | "MIGRATED") => Some(33),
        Some("DISCONNECTED" | "UNLINKED" | "UNVERIFIED") => Some(133_010),
        _ => None,
    };
    let flagged = facts.status.as_deref() == Some("FLAGGED");
    let warns = flagged || matches!(facts.quality.as_deref(), Some("RED" | "YELLOW"));
    Judged { limit_per_s, stop, warns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::classify::{ErrorTable, Kind, Scope};

    fn check(status: &str, quality: &str, throughput: &str, expect: (Option<f64>, Option<i64>, bool)) {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let facts = NumberFacts {
            status: some(status),
            quality: some(quality),
            throughput: some(throughput),
            ..NumberFacts::default()
        };
        let Judged { limit_per_s, stop, warns } = judge(&facts);
        assert_eq!((limit_per_s, stop, warns), expect, "{facts:?}");
    }

    #[test]
    fn fields_mean_a_limit_a_stop_or_a_warning() {
        check("CONNECTED", "GREEN", "STANDARD", (Some(80.0), None, false));
        check("CONNECTED", "GREEN", "HIGH", (Some(1_000.0), None, false));
        check("FLAGGED", "RED", "STANDARD", (Some(80.0), None, true));
        check("CONNECTED", "YELLOW", "NOT_APPLICABLE", (None, None, true));
        check("RESTRICTED", "RED", "", (None, Some(131_048), true));
        check("BANNED", "UNKNOWN", "", (None, Some(131_048), false));
        check("DISCONNECTED", "", "", (None, Some(133_010), false));
        check("DELETED", "", "", (None, Some(33), false));
        check("", "", "", (None, None, false));
        check("SOMETHING_NEW", "X", "Y", (None, None, false));
    }

    #[test]
    fn a_limit_of_people_is_a_tier_or_a_number() {
        use PeopleLimit::{AtMost, Unlimited};
        let check = |word: &str, expect| assert_eq!(PeopleLimit::parse(word), expect, "{word}");
        check("TIER_250", Some(AtMost(250)));
        check("TIER_2K", Some(AtMost(2_000)));
        check("TIER_100K", Some(AtMost(100_000)));
        check("TIER_UNLIMITED", Some(Unlimited));
        check("TIER_NOT_SET", None);
        check("2000", Some(AtMost(2_000)));
        check("-1", Some(Unlimited));
        check("-2", None);
        check("", None);
        check("K", None);
        assert_eq!((AtMost(7).people(), Unlimited.people()), (Some(7), None));
    }

    #[test]
    fn every_stop_is_a_halt_of_the_number_in_the_table() {
        for code in [131_048, 33, 133_010] {
            let row = ErrorTable::builtin().code(code).cloned().unwrap();
            assert_eq!((row.kind, row.scope), (Kind::Halt, Scope::Number), "{code}");
        }
    }
}
