//! The verdict over a demonstration: what was asked for, what the engine says and what the simulator's ledger saw,
//! compared. Pure. A check that does not hold is a fault of the engine, or of this program's books.

use serde_json::Value;

use super::DemoPlan;
use super::join::Joined;
use crate::intake::generate::Generated;
use crate::sim::LedgerReport;

/// A simulator that was later than this cannot judge times: arrivals may jitter by as much.
const LAG_MAX_MS: f64 = 10.0;

/// Everything that is compared with the ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What was written.
    pub generated: Generated,
    /// Rows that the loads read, and what became of them.
    pub rows: u64,
    /// Rows put in the queue.
    pub loaded: u64,
    /// Rows that were there already.
    pub duplicate: u64,
    /// Rows that cannot be sent.
    pub rejected: u64,
    /// State of the campaign at the end.
    pub state: String,
    /// Messages by state: accepted, held, in doubt, failed, and all others.
    pub accepted: u64,
    /// Held by Meta.
    pub held: u64,
    /// In doubt.
    pub in_doubt: u64,
    /// Failed.
    pub failed: u64,
    /// Neither of these.
    pub other: u64,
    /// Failed messages by Graph codes, as the error table writes them; empty: not Meta's own refusal.
    pub failures: Vec<(String, u64)>,
    /// The report against the ids that were taken.
    pub joined: Joined,
    /// The limit of a number.
    pub rate_per_s: u32,
    /// Whether faults were planned.
    pub faults: bool,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A name for programs.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// The comparison in words and numbers.
    pub text: String,
}

impl Facts {
    /// From the last status of the campaign.
    pub(super) fn new(generated: Generated, status: &Value, joined: Joined, plan: &DemoPlan) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let states = &status["states"];
        let all: u64 = states.as_object().map(|states| states.values().map(number).sum()).unwrap_or(0);
        let [accepted, held, in_doubt, failed] =
            ["accepted", "held", "in_doubt", "failed"].map(|state| number(&states[state]));
        let reasons = status["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_failed = reasons.iter().filter(|reason| reason["state"] == "failed");
        let failure = |reason: &Value| {
            (reason["codes"].as_str().unwrap_or_default().to_owned(), number(&reason["messages"]))
        };
        Self {
            generated,
            rows: number(&status["rows"]),
            loaded: number(&status["loaded"]),
            duplicate: number(&status["duplicate"]),
            rejected: number(&status["rejected"]),
            state: status["state"].as_str().unwrap_or_default().to_owned(),
            accepted,
            held,
            in_doubt,
            failed,
            other: all - accepted - held - in_doubt - failed,
            failures: of_failed.map(failure).collect(),
            joined,
            rate_per_s: plan.rate_per_s,
            faults: plan.faults.is_some(),
        }
    }
}

/// Every comparison.
pub fn checks(facts: &Facts, ledger: &LedgerReport) -> Vec<Check> {
    let mut checks = vec![
        duplicates(ledger),
        pace(facts, ledger),
        rows(facts),
        states(facts),
        taken(facts, ledger),
        answers(facts, ledger),
        failures(facts, ledger),
    ];
    if !ledger.probes.is_empty() {
        checks.push(probes(ledger));
    }
    checks
}

fn duplicates(ledger: &LedgerReport) -> Check {
    let (ids, people) = (ledger.duplicate_ids, ledger.duplicate_people);
    let unjudged = ledger.untracked + ledger.without_id;
    let text = format!("{ids} messages and {people} people got it twice, {unjudged} could not be told");
    Check { name: "duplicates", holds: ids + people + unjudged == 0, text }
}

fn pace(facts: &Facts, ledger: &LedgerReport) -> Check {
    let (worst, limit) = (ledger.worst_second_max, u64::from(facts.rate_per_s));
    let kept = worst <= limit && ledger.over_rate == 0;
    let text =
        format!("{worst} in the worst second of any number ({limit} allowed), {} over it", ledger.over_rate);
    timed("pace", kept, text, ledger)
}

fn probes(ledger: &LedgerReport) -> Check {
    let worst = ledger.worst_probes_per_scaled_s;
    timed(
        "probes",
        worst <= 1,
        format!("{worst} a second at most of a number in trouble (1 allowed)"),
        ledger,
    )
}

/// A comparison of times: a simulator that was late itself saw things closer together than they were.
fn timed(name: &'static str, kept: bool, mut text: String, ledger: &LedgerReport) -> Check {
    let lag = ledger.lag_ms.max;
    let void = !kept && lag > LAG_MAX_MS;
    if void {
        text += &format!("; not judged, since the simulator itself was late by {lag:.0} ms");
    }
    Check { name, holds: kept || void, text }
}

fn rows(facts: &Facts) -> Check {
    let Facts { generated, rows, loaded, duplicate, rejected, .. } = facts;
    let sums = *rows == loaded + duplicate + rejected;
    let known = (generated.rows, generated.unique, generated.duplicates, generated.bad)
        == (*rows, *loaded, *duplicate, *rejected);
    let text =
        format!("{rows} rows = {loaded} loaded + {duplicate} duplicate + {rejected} rejected, as written");
    Check { name: "rows", holds: sums && known, text }
}

fn states(facts: &Facts) -> Check {
    let Facts { loaded, accepted, held, in_doubt, failed, other, joined, .. } = facts;
    let sums = *loaded == accepted + held + in_doubt + failed && *other == 0 && facts.state == "done";
    let reported = Joined {
        rows: *loaded,
        accepted: *accepted,
        held: *held,
        failed: *failed,
        in_doubt_not_taken: in_doubt.saturating_sub(joined.in_doubt_taken),
        ..*joined
    };
    let text = format!(
        "{loaded} loaded = {accepted} accepted + {held} held + {failed} failed + {in_doubt} in doubt, and {other} left"
    );
    Check { name: "states", holds: sums && reported == *joined, text }
}

/// Message by message: what the engine says was sent was taken, and nothing else was but what it has in doubt.
fn taken(facts: &Facts, ledger: &LedgerReport) -> Check {
    let Joined { accepted, held, in_doubt_taken, invented, unknown, .. } = facts.joined;
    let sum = accepted + held + in_doubt_taken;
    let holds = ledger.taken == sum && facts.joined.taken == sum && invented + unknown == 0;
    let text = format!(
        "{} taken = {accepted} accepted + {held} held + {in_doubt_taken} in doubt that were taken; {invented} invented, {unknown} unknown to us",
        ledger.taken
    );
    Check { name: "taken", holds, text }
}

/// The same by the ledger's own counters. An answer may be lost on its way only where faults were planned.
fn answers(facts: &Facts, ledger: &LedgerReport) -> Check {
    let own = ledger.taken == ledger.accepted + ledger.taken_unanswered && ledger.answering == 0;
    let with_id = ledger.accepted - ledger.without_wamid.min(ledger.accepted);
    let heard = facts.joined.accepted + facts.joined.held;
    let lost = with_id.checked_sub(heard);
    let holds = own && lost.is_some_and(|lost| lost == 0 || facts.faults);
    let text = format!(
        "{with_id} good answers given, {heard} heard, {} lost on the way; {} taken without one",
        lost.map_or_else(|| "too few".to_owned(), |lost| lost.to_string()),
        ledger.taken_unanswered + ledger.without_wamid,
    );
    Check { name: "answers", holds, text }
}

/// Every failed message was refused by the simulator itself, with the code it failed by; none by an outage.
fn failures(facts: &Facts, ledger: &LedgerReport) -> Check {
    let refused = |codes: &str| -> u64 {
        let ranges: Vec<(i64, i64)> = codes.split_whitespace().filter_map(range).collect();
        let within = |code: i64| ranges.iter().any(|(first, last)| (*first..=*last).contains(&code));
        ledger.refused.iter().filter(|(code, _)| within(**code)).map(|(_, count)| count).sum()
    };
    let own: u64 = facts.failures.iter().map(|(codes, count)| (*count).min(refused(codes))).sum();
    let counted: u64 = facts.failures.iter().map(|(_, count)| count).sum();
    let others = facts.failed - own.min(facts.failed);
    let text = format!("{} failed: {own} refused for themselves, {others} by anything else", facts.failed);
    Check { name: "failures", holds: others == 0 && counted == facts.failed, text }
}

/// `131026` or `200-299`.
fn range(text: &str) -> Option<(i64, i64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> (Facts, LedgerReport) {
        let generated = Generated { rows: 14, unique: 10, duplicates: 3, bad: 1 };
        let status = json!({
            "state": "done", "rows": 14, "loaded": 10, "duplicate": 3, "rejected": 1,
            "states": {"accepted": 5, "held": 1, "in_doubt": 2, "failed": 2, "queued": 0},
            "reasons": [
                {"state": "failed", "codes": "131026", "messages": 1},
                {"state": "failed", "codes": "200-299", "messages": 1},
                {"state": "in_doubt", "codes": "", "messages": 2},
            ],
        });
        let joined = Joined {
            rows: 10,
            taken: 7,
            accepted: 5,
            held: 1,
            in_doubt_taken: 1,
            in_doubt_not_taken: 1,
            failed: 2,
            ..Joined::default()
        };
        let plan = DemoPlan {
            recipients: 14,
            numbers: 1,
            rate_per_s: 80,
            faults: Some("plan.toml".into()),
            time_scale: 1,
            keep: None,
        };
        let ledger = LedgerReport {
            taken: 7,
            accepted: 6,
            taken_unanswered: 1,
            worst_second_max: 80,
            refused: [(131_026, 1), (250, 1)].into(),
            ..LedgerReport::default()
        };
        (Facts::new(generated, &status, joined, &plan), ledger)
    }

    /// Names of the checks that do not hold after a change.
    fn check(change: impl FnOnce(&mut Facts, &mut LedgerReport), expect: &[&str]) {
        let (mut facts, mut ledger) = good();
        change(&mut facts, &mut ledger);
        let all = checks(&facts, &ledger);
        let broken: Vec<&str> = all.iter().filter(|check| !check.holds).map(|check| check.name).collect();
        assert_eq!(broken, expect, "{all:#?}");
    }

    #[test]
    fn books_that_agree_hold() {
        check(|_, _| {}, &[]);
    }

    #[test]
    fn each_disagreement_is_found() {
        check(|_, ledger| ledger.duplicate_people = 1, &["duplicates"]);
        check(|_, ledger| ledger.untracked = 1, &["duplicates"]);
        check(|_, ledger| ledger.worst_second_max = 81, &["pace"]);
        check(|_, ledger| ledger.over_rate = 1, &["pace"]);
        check(|facts, _| facts.rows = 15, &["rows"]);
        check(|facts, _| facts.generated.bad = 2, &["rows"]);
        check(|facts, _| facts.other = 1, &["states"]);
        check(|facts, _| facts.state = "paused".to_owned(), &["states"]);
        check(|facts, _| facts.joined.unknown = 1, &["taken"]);
        check(|facts, _| facts.joined.invented = 1, &["taken"]);
        check(|_, ledger| ledger.taken = 8, &["taken", "answers"]);
        check(|facts, _| facts.joined.in_doubt_taken = 0, &["states", "taken"]);
        check(|_, ledger| ledger.answering = 1, &["answers"]);
        check(|_, ledger| ledger.refused = [(131_026, 1)].into(), &["failures"]);
        check(|facts, _| facts.failures[1].0 = String::new(), &["failures"]);
        check(|_, ledger| ledger.probes = [("1".to_owned(), 9)].into(), &[]);
        let two = |_: &mut Facts, ledger: &mut LedgerReport| {
            ledger.probes = [("1".to_owned(), 9)].into();
            ledger.worst_probes_per_scaled_s = 2;
        };
        check(two, &["probes"]);
    }

    #[test]
    fn an_answer_is_lost_only_where_faults_were_planned() {
        let lose = |facts: &mut Facts| {
            (facts.joined.accepted, facts.joined.in_doubt_taken) = (4, 2);
            (facts.accepted, facts.in_doubt) = (4, 3);
        };
        check(|facts, _| lose(facts), &[]);
        check(|facts, _| (lose(facts), facts.faults = false).0, &["answers"]);
    }

    #[test]
    fn a_late_simulator_does_not_judge_times() {
        let late = |_: &mut Facts, ledger: &mut LedgerReport| {
            ledger.worst_second_max = 81;
            ledger.probes = [("1".to_owned(), 9)].into();
            ledger.worst_probes_per_scaled_s = 2;
            ledger.lag_ms.max = 10.5;
        };
        check(late, &[]);
    }
}
