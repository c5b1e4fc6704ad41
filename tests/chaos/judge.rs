//! What came of a trial: the end is awaited with everything up, and the ledger is held against the engines' own report.

use std::collections::BTreeMap;
use std::time::Duration;

use carteiro::clock;
use carteiro::domain::record::State;
use serde_json::{Value, json};

use crate::guard::PATIENCE;
use crate::trial::{CAMPAIGN, Trial};

/// A measured pace counts if the ledger was not late itself by more than this: the slack of the engines' pace. Ten times the
/// default, since the ledger does not know how late an engine was, which a busy machine may put aside before a write.
pub(crate) const SLACK_MS: u32 = 100;

/// A graceful stop hands over within this.
const HANDOVER_MAX_MS: u64 = 1_000;

/// The verdict.
pub(crate) struct Verdict {
    pub(crate) json: Value,
    /// Promises that were not kept.
    pub(crate) broken: Vec<String>,
}

/// Rows of the report, held against the ledger.
#[derive(Debug, Default)]
struct Rows {
    /// By state.
    states: BTreeMap<String, u64>,
    /// In doubt, and unresolved, whose message was taken.
    doubtful_taken: u64,
    /// The same whose message was not taken.
    doubtful_not_taken: u64,
    /// Said to be accepted, and never taken.
    accepted_not_taken: u64,
    /// Neither accepted nor in doubt, and taken: a message that would be sent twice.
    other_taken: u64,
}

/// Waits until nothing is left to do. Whatever takes long may, as long as something goes on.
pub(crate) fn heal(trial: &mut Trial) {
    trial.full = true;
    trial.calm();
    trial.until("the last file is loaded", |trial| !trial.is_loading());
    let (mut seen, mut changed) = (Value::Null, clock::mono());
    loop {
        trial.pass(Duration::from_millis(300));
        let (status, receipts) = (trial.status(), trial.meta.ledger().webhooks);
        if status["state"] == "done" && receipts.pending == 0 {
            return;
        }
        let now = json!([status["states"], status["state"], receipts.pending]);
        if now != seen {
            (seen, changed) = (now, clock::mono());
        }
        if clock::mono().since(changed) > PATIENCE {
            trial.note(&format!("nothing goes on any more: {seen}"));
            return;
        }
    }
}

/// Judges it.
pub(crate) fn judge(trial: &Trial) -> Verdict {
    let (status, ledger, rows) = (trial.status(), trial.meta.ledger(), rows(trial));
    let (settings, tally) = (&trial.settings, &trial.tally);
    let of = |state: State| rows.states.get(state.as_str()).copied().unwrap_or(0);
    let open: u64 = State::ALL.into_iter().filter(|state| state.open()).map(of).sum();
    let all: u64 = rows.states.values().sum();
    let lost = (trial.people as u64).abs_diff(all) + open;
    let killed = |name: &str| tally.faults.get(name).copied().unwrap_or(0);
    let engine_kills = killed("kill_engine") + killed("kill_both");
    // A killed engine had its share of the numbers, and all of them when it was the last one.
    let bound = engine_kills * settings.numbers as u64 * settings.under_way_max() + ledger.reset_before;
    let worst = |all: &[u64]| all.iter().copied().max().unwrap_or(0);
    let (takeover, handover) = (worst(&tally.takeovers_ms), worst(&tally.handovers_ms));
    let said = trial.fleet.said.lock().unwrap();
    let json = json!({
        "seed": settings.seed, "settings": settings.shown(),
        "engine_kills": engine_kills, "redis_kills": trial.store.kills,
        "loaded": trial.people, "taken": ledger.taken,
        "duplicate_ids": ledger.duplicate_ids, "duplicate_people": ledger.duplicate_people, "lost": lost,
        "in_doubt": of(State::InDoubt),
        "unresolved_taken": rows.doubtful_taken, "unresolved_not_taken": rows.doubtful_not_taken,
        "worst_second": tally.worst_second, "lag_ms": tally.lag_ms, "pace_counts": tally.lag_ms <= f64::from(SLACK_MS),
        "takeover_ms_max": takeover, "takeovers": tally.takeovers_ms.len(),
        "handover_ms_max": handover, "handovers": tally.handovers_ms.len(),
        "states": rows.states, "faults": tally.faults,
        "after_forgetting": tally.after_forgetting, "after_pause": tally.after_pause, "given_back_by_journal": said.given_back, "put_in_doubt": said.doubted,
        "failed_starts": tally.failed_starts, "failed_loads": tally.failed_loads,
    });
    let mut broken = Vec::new();
    let mut must = |kept: bool, what: String| broken.extend((!kept).then_some(what));
    let twice = (ledger.duplicate_ids, ledger.duplicate_people, ledger.untracked);
    must(twice == (0, 0, 0), format!("sent twice (ids, people, untracked): {twice:?}"));
    must(lost == 0, format!("{lost} lost: {:?} of {}", rows.states, trial.people));
    must(status["loaded"] == trial.people, format!("{} loaded of {}", status["loaded"], trial.people));
    must(rows.doubtful_taken == 0, format!("{} taken and in doubt for ever", rows.doubtful_taken));
    let not_taken = rows.doubtful_not_taken;
    must(not_taken <= bound, format!("{not_taken} in doubt that were never taken, {bound} allowed"));
    must(rows.accepted_not_taken == 0, format!("{} accepted, never taken", rows.accepted_not_taken));
    must(rows.other_taken == 0, format!("{} taken, and not known to be", rows.other_taken));
    must(of(State::Failed) + of(State::Expired) == 0, format!("failed without a cause: {:?}", rows.states));
    must(tally.after_pause == 0, format!("{} requests after a pause had returned", tally.after_pause));
    let forgotten = tally.after_forgetting;
    must(forgotten == 0, format!("{forgotten} requests although redis had forgotten what was sent"));
    let limit = settings.takeover_max().as_millis();
    must(u128::from(takeover) <= limit, format!("adopted after {takeover} ms, {limit} allowed"));
    must(handover <= HANDOVER_MAX_MS, format!("handed over after {handover} ms"));
    let doubted = tally.doubted_by_stops;
    must(doubted == 0, format!("graceful stops put {doubted} in doubt"));
    let paced = tally.worst_second <= u64::from(settings.rate_per_s) && tally.over_rate == 0;
    must(paced || tally.lag_ms > f64::from(SLACK_MS), format!("worst second {}", tally.worst_second));
    must(tally.exits.is_empty(), format!("engines ended by themselves: {:?}", tally.exits));
    must(said.bugs.is_empty(), format!("bugs: {:?}", said.bugs));
    Verdict { json, broken }
}

/// Several verdicts as one: sums, the worst of each measure, and each of them below `trials`.
pub(crate) fn sum(all: &[Value]) -> Value {
    let mut whole = json!({ "seed": all.first().map_or(&Value::Null, |one| &one["seed"]) });
    for key in all.iter().filter_map(Value::as_object).flat_map(|one| one.keys()) {
        let values: Vec<u64> = all.iter().filter_map(|one| one[key.as_str()].as_u64()).collect();
        if key != "seed" && !values.is_empty() {
            let worst = key == "worst_second" || key.ends_with("_max");
            let both: u64 =
                if worst { values.iter().copied().max().unwrap_or(0) } else { values.iter().sum() };
            whole[key.as_str()] = both.into();
        }
    }
    whole["trials"] = all.into();
    whole
}

fn rows(trial: &Trial) -> Rows {
    let path = trial.folder.join("report.csv");
    trial.must(&["campaign", "report", CAMPAIGN, "-o", path.to_str().unwrap()]);
    let taken = trial.meta.taken();
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let headers = reader.headers().unwrap().clone();
    let at = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let (state, id) = (at("state"), at("message_id"));
    let mut rows = Rows::default();
    for row in reader.records().map(Result::unwrap) {
        *rows.states.entry(row[state].to_owned()).or_default() += 1;
        match (&row[state], taken.contains(&row[id])) {
            ("in_doubt" | "unresolved", true) => rows.doubtful_taken += 1,
            ("in_doubt" | "unresolved", false) => rows.doubtful_not_taken += 1,
            ("accepted" | "held", false) => rows.accepted_not_taken += 1,
            ("accepted" | "held", true) | (_, false) => {}
            (_, true) => rows.other_taken += 1,
        }
    }
    rows
}
