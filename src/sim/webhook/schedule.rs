//! Which receipts a message gets, and when. Pure: drawn from the seed and the message.

use std::time::Duration;

use super::plan::WebhookPlan;
use super::{Counts, Taken};
use crate::sim::hash::{Domain, Keys, unit};

/// A held message that is dropped fails with this code.
const HELD_DROPPED: i64 = 132_015;

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Sent,
    Delivered,
    Read,
    Failed(i64),
}

/// One receipt to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) status: Status,
    /// When it happens, from the taking of the message on.
    pub(super) happens: Duration,
    /// When it is told.
    pub(super) told: Duration,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed(_) => "failed",
        }
    }

    /// The status of a word; what is told of a failure needs a code, so it has none here.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "delivered" => Self::Delivered,
            "read" => Self::Read,
            _ => Self::Sent,
        }
    }

    fn number(self) -> usize {
        match self {
            Self::Sent => 0,
            Self::Delivered => 1,
            Self::Read => 2,
            Self::Failed(_) => 3,
        }
    }
}

/// Whether a message will be given up although it was taken: it never reaches the person.
pub(super) fn fails(plan: &WebhookPlan, keys: Keys, draw: [u64; 2], held: bool) -> bool {
    let draw = |what| drawn(keys, draw, what);
    let share = if held { (3, plan.held_dropped) } else { (4, plan.failed) };
    // Of a held one that is sent in the end the usual fate is drawn.
    let fate = draw(share.0) < share.1 || (held && draw(4) < plan.failed);
    fate && draw(0) >= plan.never
}

fn drawn(keys: Keys, [subject, attempt]: [u64; 2], what: u64) -> f64 {
    unit(keys.words(Domain::Webhook, [subject, attempt, what]))
}

/// When the person of a message asks to hear no more, from the taking of the message on: some time after it was delivered.
pub(super) fn opts_out(
    plan: &WebhookPlan,
    keys: Keys,
    taken: &Taken,
    receipts: &[Planned],
) -> Option<Duration> {
    let draw = |what: u64| drawn(keys, taken.draw, what);
    let delivered = receipts.iter().find(|one| one.status == Status::Delivered)?;
    let after = plan.opt_out_after.mul_f64(0.5 + draw(13));
    (draw(12) < plan.opt_out).then_some(delivered.happens + after)
}

/// The receipts of a message.
pub(super) fn receipts(plan: &WebhookPlan, keys: Keys, taken: &Taken, counts: &Counts) -> Vec<Planned> {
    let draw = |what: u64| drawn(keys, taken.draw, what);
    if draw(0) < plan.never {
        counts.add(&counts.silent, 1);
        return Vec::new();
    }
    let about = |time: Duration, what: u64| time.mul_f64(0.5 + draw(what));
    let held = if taken.held { plan.held_for } else { Duration::ZERO };
    let sent = held + about(plan.sent_after, 1);
    let later = sent + about(plan.delivered_after, 2);
    let mut happening = Vec::with_capacity(6);
    if taken.held && draw(3) < plan.held_dropped {
        happening.push((Status::Failed(HELD_DROPPED), held));
    } else {
        happening.push((Status::Sent, sent));
        if draw(4) < plan.failed {
            happening.push((Status::Failed(plan.failed_code), later));
        } else if draw(5) < plan.delivered {
            happening.push((Status::Delivered, later));
            if draw(6) < plan.read {
                happening.push((Status::Read, later + about(plan.read_after, 7)));
            }
        }
    }
    for (status, _) in &happening {
        counts.add(&counts.by_status[status.number()], 1);
    }
    let late = if draw(8) < plan.late { plan.late_by } else { Duration::ZERO };
    let mut told: Vec<Duration> = happening.iter().map(|(_, at)| *at + late).collect();
    if draw(9) < plan.swapped {
        told.reverse();
    }
    let mut all: Vec<Planned> = happening
        .into_iter()
        .zip(told)
        .map(|((status, happens), told)| Planned { status, happens, told })
        .collect();
    if draw(10) < plan.twice {
        let again = all.clone().into_iter();
        let delay = about(plan.delivered_after, 11);
        all.extend(again.map(|one| Planned { told: one.told + delay, ..one }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::identity::Phone;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(change: impl FnOnce(&mut WebhookPlan)) -> WebhookPlan {
        let mut plan = WebhookPlan {
            sent_after: SECOND,
            delivered_after: 10 * SECOND,
            read_after: 100 * SECOND,
            delivered: 1.0,
            read: 1.0,
            ..WebhookPlan::default()
        };
        change(&mut plan);
        plan
    }

    fn of(plan: &WebhookPlan, held: bool) -> Vec<Planned> {
        let phone = Phone::parse("+5511987654321").unwrap();
        let taken = Taken { number: "1".into(), phone, opaque: None, draw: [7, 0], held };
        receipts(plan, Keys(1), &taken, &Counts::default())
    }

    fn words(all: &[Planned]) -> Vec<&'static str> {
        all.iter().map(|one| one.status.word()).collect()
    }

    #[test]
    fn the_usual_fate() {
        let all = of(&plan(|_| ()), false);
        assert_eq!(words(&all), ["sent", "delivered", "read"]);
        assert!(all.iter().all(|one| one.told == one.happens));
        assert!(all.is_sorted_by_key(|one| one.told));
        assert!((SECOND / 2..SECOND * 3 / 2).contains(&all[0].happens));
        assert_eq!(words(&of(&plan(|plan| plan.read = 0.0), false)), ["sent", "delivered"]);
        assert_eq!(words(&of(&plan(|plan| plan.delivered = 0.0), false)), ["sent"]);
    }

    #[test]
    fn what_goes_wrong() {
        assert_eq!(of(&plan(|plan| plan.never = 1.0), false), []);
        let failed = of(&plan(|plan| plan.failed = 1.0), false);
        assert_eq!(words(&failed), ["sent", "failed"]);
        assert_eq!(failed[1].status, Status::Failed(131_026));
        let late = of(&plan(|plan| plan.late = 1.0), false);
        assert!(late.iter().all(|one| one.told == one.happens + 60 * SECOND));
        let swapped = of(&plan(|plan| plan.swapped = 1.0), false);
        assert!(swapped[0].told > swapped[1].told && swapped[1].told > swapped[2].told);
        let twice = of(&plan(|plan| plan.twice = 1.0), false);
        assert_eq!(words(&twice), ["sent", "delivered", "read", "sent", "delivered", "read"]);
        assert!(twice[3].told > twice[0].told && twice[3].happens == twice[0].happens);
    }

    #[test]
    fn who_fails_is_known_beforehand() {
        for held in [false, true] {
            for subject in 0..400 {
                let phone = Phone::parse("+5511987654321").unwrap();
                let taken = Taken { number: "1".into(), phone, opaque: None, draw: [subject, 0], held };
                let plan = plan(|plan| (plan.failed, plan.held_dropped, plan.never) = (0.3, 0.3, 0.3));
                let all = receipts(&plan, Keys(1), &taken, &Counts::default());
                let failed = all.iter().any(|one| matches!(one.status, Status::Failed(_)));
                assert_eq!(fails(&plan, Keys(1), taken.draw, held), failed, "{all:?}");
            }
        }
    }

    #[test]
    fn held_messages_are_sent_later_or_dropped() {
        let sent = of(&plan(|plan| plan.held_for = 500 * SECOND), true);
        assert_eq!(words(&sent), ["sent", "delivered", "read"]);
        assert!(sent[0].happens > 500 * SECOND);
        let dropped = of(&plan(|plan| plan.held_dropped = 1.0), true);
        assert_eq!(dropped[0].status, Status::Failed(HELD_DROPPED));
        assert_eq!(dropped.len(), 1);
    }
}
