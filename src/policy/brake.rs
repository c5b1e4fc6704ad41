//! The brake: whether so many messages failed since the start that a campaign should stop by itself.
//!
//! A wrong column or a wrong template shows in the first hundreds; the rest of the list is worth keeping. What is counted
//! comes from the lanes' counters.

use crate::domain::campaign::StopIf;

/// What became of messages that have an end for Meta.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Accepted and held.
    pub sent: u64,
    /// Failed.
    pub failed: u64,
}

impl Tally {
    /// As it is stored.
    pub fn to_text(self) -> String {
        format!("{} {}", self.sent, self.failed)
    }

    /// What was stored; nothing when it is no tally.
    pub fn from_text(text: &str) -> Self {
        let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0));
        Self { sent: numbers.next().unwrap_or(0), failed: numbers.next().unwrap_or(0) }
    }

    /// What came since `before`. A retry takes failed ones back, so nothing goes below zero.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            failed: self.failed.saturating_sub(before.failed),
        }
    }

    /// Both together.
    pub fn all(self) -> u64 {
        self.sent + self.failed
    }
}

/// Why the brake stops a campaign whose messages since the start became `since`; None lets it go on.
pub fn trips(stop: StopIf, since: Tally) -> Option<String> {
    let all = since.all();
    let over = u128::from(since.failed) * 1000 > u128::from(all) * u128::from(stop.failed_per_mille);
    (all >= stop.after && over).then(|| {
        let tenths = since.failed * 1000 / all.max(1);
        format!(
            "stop_if: {} of {all} failed ({}.{}%, more than {})",
            since.failed,
            tenths / 10,
            tenths % 10,
            percent(stop.failed_per_mille)
        )
    })
}

/// Per mille as people write it: `5%`, `0.5%`.
pub fn percent(per_mille: u16) -> String {
    match per_mille % 10 {
        0 => format!("{}%", per_mille / 10),
        tenth => format!("{}.{tenth}%", per_mille / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sent: u64, failed: u64, expect: Option<&str>) {
        let stop = StopIf { after: 500, failed_per_mille: 50 };
        assert_eq!(trips(stop, Tally { sent, failed }).as_deref(), expect, "{sent} {failed}");
    }

    #[test]
    fn it_waits_for_enough_and_then_looks_at_the_share() {
        check(0, 499, None);
        check(0, 500, Some("stop_if: 500 of 500 failed (100.0%, more than 5%)"));
        check(475, 25, None);
        check(474, 26, Some("stop_if: 26 of 500 failed (5.2%, more than 5%)"));
        check(1_000_000, 50_000, None);
        check(0, 0, None);
    }

    #[test]
    fn a_tally_comes_back_and_never_goes_below_nothing() {
        let tally = Tally { sent: 7, failed: 3 };
        assert_eq!(Tally::from_text(&tally.to_text()), tally);
        assert_eq!(Tally::from_text("x"), Tally::default());
        assert_eq!(tally.since(Tally { sent: 2, failed: 9 }), Tally { sent: 5, failed: 0 });
        assert_eq!([percent(50), percent(5), percent(1000)], ["5%", "0.5%", "100%"]);
    }
}
