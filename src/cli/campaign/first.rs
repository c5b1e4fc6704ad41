//! `carteiro campaign start ID --first N`: exactly N messages leave, the campaign pauses, and this says how they fared.
//!
//! The engine pauses it, whether this command still watches or not; `resume` goes on with the rest. A message that waits for
//! a retry when the others are through is reported as waiting and goes on with the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::queue::connection::Connection;
use serde_json::{Map, Value, json};

use super::super::context::{Acknowledged, Context, announce};
use super::super::exit::{CliError, Exit};
use super::super::output::{count, counted};
use super::AskedArgs;
use super::verbs::{moved, somebody_else, summary, transition};
use super::world::View;
use crate::app::control::stops;
use crate::app::store::Store;
use crate::clock;
use crate::domain::campaign::{CampaignState, Verb};
use crate::domain::ids::LaneId;
use crate::domain::record::State;
use crate::policy::classify::table::Row;
use crate::policy::first::{First, Room};
use crate::queue::campaigns::{self, CampaignRecord, Fields};
use crate::queue::lane::{self, LaneCounters};

/// How often the campaign is looked at; not divided by `time_scale`, since it is work for Redis.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// How often progress is told.
const TELL_EVERY: u64 = 50;

/// Without any news for so long, the command stops waiting; the campaign does not. Divided by `time_scale`.
const PATIENCE: Duration = Duration::from_secs(300);

/// What became of the first ones.
struct Fared {
    state: CampaignState,
    why: Option<String>,
    states: BTreeMap<State, u64>,
    reasons: BTreeMap<(State, u8), u64>,
    /// Whether it waited until they were through.
    through: bool,
}

/// Runs the command.
pub async fn run(wanted: u64, args: &AskedArgs, context: &Context) -> Result<Exit, CliError> {
    context.with_store(async |store| apply(wanted, args, store, context).await).await
}

async fn apply(
    wanted: u64,
    args: &AskedArgs,
    store: &mut Store,
    context: &Context,
) -> Result<Exit, CliError> {
    let redis = &mut store.connection;
    let record = campaigns::find(redis, &args.id).await?;
    let starts = transition(&record, Verb::First)?;
    refuse_others(&record)?;
    let view = View::read(redis, record.clone(), clock::wall().0).await?;
    let before = baseline(&record, &view.counters);
    let first = match (&record.first, starts) {
        (Some(running), None) => running.clone(),
        _ => First::grant(&rooms(redis, &record).await?, wanted),
    };
    if starts.is_some() && first.granted == 0 {
        let message =
            format!("campaign {} has no message that was never begun; nothing was changed", record.id);
        return Err(CliError::usage("nothing_left", message));
    }
    if starts.is_some() {
        let first = counted(first.granted, "message");
        context.out.hint(format!(
            "{}\n  only the first {first}, then a pause",
            summary(Verb::Start, &view, &context.config)
        ));
        if !args.dry_run {
            context.confirm(&format!("Send the first {first} of campaign {}?", args.id), args.yes).await?;
        }
    }
    if args.dry_run {
        return would(&record, &first, wanted, context);
    }
    if let Some(new) = starts {
        let fields = Fields::begin(stops::tally(&view.counters), Some(&first));
        if !moved(redis, &record, new, &fields).await? {
            return Err(somebody_else(&record.id));
        }
    }
    let heard = announce(redis, &context.config).await?;
    heard.check()?;
    let fared = watch(&record.id, &first, &before, &heard, redis, context).await?;
    say(&record.id, (wanted, first.granted), &fared, &heard, context)
}

/// A paused campaign must have paused after its first ones, a running one must be at them.
fn refuse_others(record: &CampaignRecord) -> Result<(), CliError> {
    let what = match record.state {
        CampaignState::Paused if record.first.is_none() => {
            "is paused and was not at its first messages; use `campaign resume`"
        }
        CampaignState::Running if record.first.is_none() => "is running with all of its messages",
        _ => return Ok(()),
    };
    let message = format!("cannot start --first campaign {}: it {what}", record.id);
    Err(CliError::usage("not_now", message))
}

/// Untouched messages by lane.
async fn rooms(redis: &mut Connection, record: &CampaignRecord) -> Result<Vec<Room>, CliError> {
    let ids: Vec<LaneId> = (0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect();
    let counters = lane::counters(redis, &ids).await?;
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let room = |(id, one): (&LaneId, LaneCounters)| {
        Some(Room { lane: id.lane, number: one.number?, next: small(one.next), count: small(one.count) })
    };
    Ok(ids.iter().zip(counters).filter_map(room).collect())
}

/// What is not to be counted: how everything stood before the first ones began.
fn baseline(record: &CampaignRecord, now: &LaneCounters) -> LaneCounters {
    if record.state != CampaignState::Running {
        return now.clone();
    }
    // Joined while they are on their way: of what came before, only this was kept.
    let mut before = LaneCounters::default();
    before.states[usize::from(State::Accepted.number())] = record.baseline.sent;
    before.states[usize::from(State::Failed.number())] = record.baseline.failed;
    before
}

fn would(record: &CampaignRecord, first: &First, wanted: u64, context: &Context) -> Result<Exit, CliError> {
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": record.id, "verb": Verb::First.as_str(), "state": record.state.as_str(), "why": null,
            "wanted": wanted, "granted": first.granted, "through": false, "states": {}, "reasons": [], "dry_run": true,
            "node": null, "acknowledged": false,
        }))?;
    } else {
        let first = counted(first.granted, "message");
        context.out.line(format!(
            "campaign {}: would send its first {first} and pause; nothing was changed",
            record.id
        ))?;
    }
    Ok(Exit::Done)
}

/// Waits until the engine has paused it. Ctrl-C ends the waiting, not the campaign.
async fn watch(
    id: &str,
    first: &First,
    before: &LaneCounters,
    heard: &Acknowledged,
    redis: &mut Connection,
    context: &Context,
) -> Result<Fared, CliError> {
    let patience = PATIENCE / context.config.time_scale.max(1);
    let mut ticks = tokio::time::interval(LOOK_PERIOD);
    let (mut last, mut news_at, mut looks) = (None, clock::mono(), 0u64);
    loop {
        ticks.tick().await;
        let record = campaigns::find(redis, id).await?;
        let view = View::read(redis, record, clock::wall().0).await?;
        let fared = since(before, &view);
        if *heard == Acknowledged::NobodyRuns || fared.through {
            return Ok(fared);
        }
        if last.as_ref() != Some(&view.counters.states) {
            (last, news_at) = (Some(view.counters.states), clock::mono());
        }
        if clock::mono().since(news_at) > patience {
            context.out.hint("nothing has happened for a while; see `carteiro campaign status`");
            return Ok(fared);
        }
        if looks.is_multiple_of(TELL_EVERY) {
            let begun: u64 = fared.states.values().sum();
            context.out.hint(format!("first {}: {} begun", count(first.granted), count(begun)));
        }
        looks += 1;
    }
}

fn since(before: &LaneCounters, view: &View) -> Fared {
    let gained = |state: &State| view.counters.of(*state).saturating_sub(before.of(*state));
    let shown = State::ALL.into_iter().filter(|state| *state != State::Queued && *state != State::Cancelled);
    let reasons = view
        .counters
        .reasons
        .iter()
        .map(|(key, now)| (*key, now.saturating_sub(before.reasons.get(key).copied().unwrap_or(0))));
    Fared {
        state: view.record.state,
        why: view.record.why.clone(),
        states: shown.map(|state| (state, gained(&state))).filter(|(_, messages)| *messages > 0).collect(),
        reasons: reasons.filter(|(_, messages)| *messages > 0).collect(),
        through: view.record.state != CampaignState::Running && view.counters.of(State::Sending) == 0,
    }
}

fn say(
    id: &str,
    (wanted, granted): (u64, u64),
    fared: &Fared,
    heard: &Acknowledged,
    context: &Context,
) -> Result<Exit, CliError> {
    let (out, table) = (&context.out, context.error_table()?);
    let of = |state: State| fared.states.get(&state).copied().unwrap_or(0);
    let good = of(State::Accepted) + of(State::Held);
    if out.json {
        let states: Map<String, Value> = fared
            .states
            .iter()
            .map(|(state, messages)| (state.as_str().to_owned(), json!(messages)))
            .collect();
        let reasons = fared.reasons.iter().map(|((state, reason), messages)| {
            let row = table.reason(*reason);
            json!({
                "state": state.as_str(), "reason": reason, "name": row.map(|row| &row.name),
                "codes": row.map(Row::codes_text), "meaning": row.map(|row| &row.meaning),
                "action": row.map(|row| &row.action), "messages": messages,
            })
        });
        out.object(&json!({
            "schema": 1, "id": id, "verb": Verb::First.as_str(), "state": fared.state.as_str(), "why": fared.why,
            "wanted": wanted, "granted": granted, "through": fared.through, "states": states,
            "reasons": reasons.collect::<Vec<_>>(), "dry_run": false, "node": heard.node(),
            "acknowledged": matches!(heard, Acknowledged::By(_)),
        }))?;
    } else {
        let states: Vec<String> = fared
            .states
            .iter()
            .map(|(state, messages)| format!("{} {}", state.as_str(), count(*messages)))
            .collect();
        let states = if states.is_empty() { "none of them begun yet".to_owned() } else { states.join("  ") };
        out.line(format!("campaign {id}: {}, first {}: {states}", fared.state, count(granted)))?;
        for ((state, reason), messages) in &fared.reasons {
            let words = table
                .reason(*reason)
                .map(|row| format!("{} {}: {}; {}", row.codes_text(), row.name, row.meaning, row.action));
            let words = words.unwrap_or_else(|| format!("reason {reason}"));
            out.line(format!("  {} {} {}", count(*messages), state.as_str(), words.trim()))?;
        }
        if *heard == Acknowledged::NobodyRuns {
            out.hint(
                "no serve is running: start one with `carteiro serve`, it sends them and pauses the campaign",
            );
        } else if fared.state == CampaignState::Paused {
            out.hint(format!("next: carteiro campaign resume {id}, or start --first again"));
        }
    }
    let waits_for_serve = *heard == Acknowledged::NobodyRuns;
    Ok(if waits_for_serve || (fared.through && good == granted) { Exit::Done } else { Exit::Partial })
}
