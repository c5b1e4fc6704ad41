//! Tables of the doubt clock. Instants are seconds.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits =
    Limits { silent_after: Duration::from_secs(30), give_up: Duration::from_secs(7 * DAY) };
const DAY: u64 = 86_400;
const KEEP: DoubtRules = DoubtRules { policy: DoubtPolicy::Keep, wait: Duration::from_secs(DAY) };
const RESEND: DoubtRules = DoubtRules { policy: DoubtPolicy::Resend, wait: Duration::from_secs(DAY) };

/// A number that was looked at every second: it sent within `sends`, and receipts came within `receipts`, at once.
fn hearing(until: u64, sends: &[(u64, u64)], receipts: &[(u64, u64)]) -> Hearing {
    let within = |spans: &[(u64, u64)], at: u64| spans.iter().any(|(from, to)| (*from..*to).contains(&at));
    let (mut one, mut left, mut heard) = (Hearing::default(), None, None);
    for at in 1..=until {
        if within(sends, at) {
            left = Some(at * 1000);
        }
        if within(receipts, at) {
            heard = left;
        }
        one.look(at * 1000, left, heard, &LIMITS);
    }
    one
}

fn unknown(since: u64) -> Doubt {
    Doubt { since_ms: since * 1000, doubtful: None, sendable: true }
}

fn doubtful(since: u64) -> Doubt {
    Doubt { doubtful: Some(Duration::from_secs(60)), ..unknown(since) }
}

fn check(doubt: &Doubt, one: &Hearing, rules: &DoubtRules, now: u64, expect: Decision) {
    assert_eq!(decide(doubt, one, rules, &LIMITS, now * 1000), expect, "at {now} s, {doubt:?}, {one:?}");
}

#[test]
fn the_clock_runs_while_receipts_of_later_sends_come() {
    let one = hearing(200, &[(1, 200)], &[(1, 200)]);
    check(&unknown(10), &one, &KEEP, 200, Decision::Waits((10 + DAY) * 1000));
    check(&unknown(10), &one, &KEEP, 10 + DAY - 1, Decision::Waits((10 + DAY) * 1000));
    check(&unknown(10), &one, &KEEP, 10 + DAY, Decision::Unresolved);
    check(&unknown(10), &one, &RESEND, 10 + DAY - 1, Decision::Waits((10 + DAY) * 1000));
    check(&unknown(10), &one, &RESEND, 10 + DAY, Decision::Again);
    // Doubtful ones are tried again whatever the policy, after their own wait.
    check(&doubtful(10), &one, &KEEP, 69, Decision::Waits(70_000));
    check(&doubtful(10), &one, &KEEP, 70, Decision::Again);
}

#[test]
fn nothing_later_heard_of_means_that_the_clock_stands() {
    // The last send of all is the one in doubt.
    let one = hearing(100, &[(1, 11)], &[(1, 100)]);
    check(&doubtful(10), &one, &KEEP, 100, Decision::Silent);
    check(&unknown(10), &one, &RESEND, 6 * DAY, Decision::Silent);
    // Another campaign sends through the number a day later.
    let mut later = one;
    later.look(DAY * 1000, Some(DAY * 1000), Some(DAY * 1000), &LIMITS);
    check(&doubtful(10), &later, &KEEP, DAY, Decision::Again);
}

#[test]
fn without_webhooks_nothing_is_ever_sent_again() {
    for one in [Hearing::default(), hearing(100, &[(1, 100)], &[])] {
        for doubt in [unknown(10), doubtful(10)] {
            for rules in [KEEP, RESEND] {
                check(&doubt, &one, &rules, 100, Decision::Silent);
                check(&doubt, &one, &rules, 9 + 7 * DAY, Decision::Silent);
                check(&doubt, &one, &rules, 10 + 7 * DAY, Decision::Unresolved);
            }
        }
    }
}

#[test]
fn a_silence_stops_the_clock_and_its_end_lets_it_go_on() {
    // Receipts stop at 20 and come again at 500: the first that is owed left at 25, since a few seconds do not count.
    let sends = [(1, 1_000)];
    let receipts = [(1, 20), (500, 1_000)];
    check(&doubtful(10), &hearing(70, &sends, &receipts), &KEEP, 70, Decision::Silent);
    check(&doubtful(10), &hearing(499, &sends, &receipts), &KEEP, 499, Decision::Silent);
    let back = hearing(510, &sends, &receipts);
    check(&doubtful(10), &back, &KEEP, 510, Decision::Waits(545_000));
    check(&doubtful(10), &hearing(545, &sends, &receipts), &KEEP, 545, Decision::Again);
    // One that began to be in doubt after the silence knows nothing of it.
    check(&doubtful(505), &hearing(565, &sends, &receipts), &KEEP, 565, Decision::Again);
}

#[test]
fn an_idle_number_is_not_silent() {
    let one = hearing(5_000, &[(1, 20)], &[(1, 20)]);
    assert!(!one.silent(5_000_000, &LIMITS));
    // The first send after a pause has the usual time for its receipt.
    let one = hearing(5_029, &[(1, 20), (5_000, 5_029)], &[(1, 20)]);
    assert!(!one.silent(5_029_000, &LIMITS));
    assert_eq!(
        hearing(5_040, &[(1, 20), (5_000, 5_040)], &[(1, 20)]).silent_since(5_040_000, &LIMITS),
        Some(5_000_000)
    );
}

#[test]
fn receipts_that_lag_are_no_silence() {
    let mut one = Hearing::default();
    for at in 100..400u64 {
        one.look(at * 1000, Some(at * 1000), Some((at - 20) * 1000), &LIMITS);
        assert!(!one.silent(at * 1000, &LIMITS), "{at}");
    }
    check(&doubtful(110), &one, &KEEP, 399, Decision::Again);
}

#[test]
fn who_may_not_send_again_ends_unresolved() {
    let one = hearing(200, &[(1, 200)], &[(1, 200)]);
    check(&Doubt { sendable: false, ..doubtful(10) }, &one, &KEEP, 70, Decision::Unresolved);
    check(&Doubt { sendable: false, ..unknown(10) }, &one, &RESEND, 10 + DAY, Decision::Unresolved);
}

#[test]
fn it_comes_back_from_its_text_and_forgets_no_silence() {
    let mut one = hearing(600, &[(1, 600)], &[(1, 20), (500, 600)]);
    assert_eq!(Hearing::from_text(&one.to_text()), one);
    assert_eq!(Hearing::from_text(""), Hearing::default());
    assert_eq!(Hearing::from_text("x 7 - 1-"), Hearing { heard_ms: Some(7), ..Hearing::default() });
    let stood = one.ran(0, 600_000, &LIMITS).unwrap();
    // Far more silences than are kept: the clock may only become slower by that.
    let mut at = 600_000;
    for _ in 0..3 * SILENCES_MAX {
        one.look(at, Some(at), None, &LIMITS);
        at += 100_000;
        one.look(at, Some(at), Some(at), &LIMITS);
        at += 10_000;
    }
    assert_eq!(one.silences.len(), SILENCES_MAX);
    let heard_for = 100_000 + 3 * SILENCES_MAX as u64 * 10_000;
    assert!(one.ran(0, at, &LIMITS).unwrap() <= stood + heard_for, "{one:?}");
}

proptest! {
    /// Whatever happens, nothing is sent again before its wait, nor without a receipt of something later.
    #[test]
    fn never_again_too_early(
        steps in prop::collection::vec((1u64..400, any::<bool>(), any::<bool>()), 1..40), since in 0u64..2_000,
        is_doubtful: bool,
    ) {
        let (mut one, mut now, mut left, mut heard) = (Hearing::default(), 0, None, None);
        for (step, sends, hears) in steps {
            now += step;
            if sends { left = Some(now * 1000) }
            if hears { heard = left }
            one.look(now * 1000, left, heard, &LIMITS);
            let doubt = if is_doubtful { doubtful(since) } else { unknown(since) };
            let decision = decide(&doubt, &one, &RESEND, &LIMITS, now * 1000);
            if decision == Decision::Again {
                prop_assert!(now >= since + 60);
                prop_assert!(heard.is_some_and(|heard| heard > since * 1000));
            }
            if is_doubtful && now < since + 7 * DAY {
                prop_assert_ne!(decision, Decision::Unresolved);
            }
        }
    }
}
