//! `carteiro campaign start|pause|resume|cancel`: moves a campaign's state and waits until the engine acts on it.
//! What goes with the state (a time to begin at, ceilings of the first N, the brake's counts) moves in the same step.

use std::time::Duration;

use crate::queue::connection::Connection;
use serde_json::json;

use super::super::context::{Acknowledged, Context, announce};
use super::super::exit::{CliError, Exit};
use super::super::output::{count, counted, span};
use super::AskedArgs;
use super::hours;
use super::world::{View, definition, pool};
use crate::app::control::stops;
use crate::app::media;
use crate::app::store::Store;
use crate::clock;
use crate::config::Config;
use crate::domain::campaign::{CampaignState, Transition, Verb, after};
use crate::domain::record::State;
use crate::policy::brake::Tally;
use crate::queue::campaigns::{self, CampaignRecord, Fields, Guard};

/// How often a state that somebody else moved is looked at again.
const MOVES_MAX: usize = 16;

/// Runs a verb.
pub async fn run(verb: Verb, args: &AskedArgs, context: &Context) -> Result<Exit, CliError> {
    context.with_store(async |store| apply(verb, args, store, context).await).await
}

async fn apply(verb: Verb, args: &AskedArgs, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
    let redis = &mut store.connection;
    let record = campaigns::find(redis, &args.id).await?;
    if verb == Verb::Pause && record.state == CampaignState::Ready && record.start_at_ms.is_some() {
        return unschedule(&record, args.dry_run, store, context).await;
    }
    let wanted = transition(&record, verb)?;
    let asks = matches!(verb, Verb::Start | Verb::Cancel) && wanted.is_some();
    if asks {
        let view = View::read(redis, record.clone(), clock::wall().0).await?;
        let shown = summary(verb, &view, &context.config);
        context.out.about_to(shown, !args.yes && !args.dry_run);
        if !args.dry_run {
            let question = format!("{} campaign {}?", capital(verb), args.id);
            context.confirm(&question, args.yes).await?;
        }
    }
    if args.dry_run {
        return say(
            &Said { verb, record: &record, changed: wanted, dry_run: true },
            &Acknowledged::NobodyRuns,
            context,
        );
    }
    if wanted == Some(CampaignState::Running) {
        media::ready(redis, &record, &definition(&record)?, &context.config).await?;
    }
    let (record, changed) = change(verb, record, store).await?;
    // Told in any case: an engine that missed it the first time acknowledges it now.
    let heard = announce(&mut store.connection, &context.config).await?;
    let exit = say(&Said { verb, record: &record, changed, dry_run: false }, &heard, context)?;
    heard.check()?;
    Ok(exit)
}

/// The state that the verb leads to; None: it is there already.
pub fn transition(record: &CampaignRecord, verb: Verb) -> Result<Option<CampaignState>, CliError> {
    match after(record.state, verb) {
        Transition::Changed(new) => Ok(Some(new)),
        Transition::Already => Ok(None),
        Transition::Refused { why } => {
            let message = format!("cannot {verb} campaign {} ({}): {why}", record.id, record.state);
            Err(CliError::usage("not_now", message))
        }
    }
}

/// Moves the state from where it was seen, and looks again when somebody else was faster.
async fn change(
    verb: Verb,
    mut record: CampaignRecord,
    store: &mut Store,
) -> Result<(CampaignRecord, Option<CampaignState>), CliError> {
    for _ in 0..MOVES_MAX {
        // A running one that is at its first N goes on with the rest when it is resumed.
        let lifts = verb == Verb::Resume && record.first.is_some();
        let new = transition(&record, verb)?;
        let Some(target) = new.or(lifts.then_some(record.state)) else {
            return Ok((record, None));
        };
        let redis = &mut store.connection;
        let fields = match verb {
            Verb::Start | Verb::Resume => Fields::begin(counted_now(redis, &record).await?, None),
            _ => Fields::stop(""),
        };
        if moved(redis, &record, target, &fields).await? {
            return Ok((record, Some(target)));
        }
        record = campaigns::find(redis, &record.id).await?;
    }
    Err(somebody_else(&record.id))
}

/// Moves a campaign that is as it was seen.
pub async fn moved(
    redis: &mut Connection,
    record: &CampaignRecord,
    new: CampaignState,
    fields: &Fields,
) -> Result<bool, CliError> {
    let (now_ms, ways) = (clock::wall().0, (record.state, new));
    Ok(campaigns::move_to(redis, record.seq, ways, now_ms, fields, Guard::Since(record.since_ms)).await?)
}

/// Changes fields of a record whose state stays, whatever it is by then.
pub async fn write(redis: &mut Connection, record: &CampaignRecord, fields: &Fields) -> Result<(), CliError> {
    let mut state = record.state;
    for _ in 0..MOVES_MAX {
        let now_ms = clock::wall().0;
        if campaigns::move_to(redis, record.seq, (state, state), now_ms, fields, Guard::State).await? {
            return Ok(());
        }
        state = campaigns::find(redis, &record.id).await?.state;
    }
    Err(somebody_else(&record.id))
}

/// Somebody else moved it as often as we looked.
pub fn somebody_else(id: &str) -> CliError {
    let message = format!("campaign {id} is being moved by somebody else; it was not changed");
    CliError::new(Exit::Failed, "moved", message).hint("try again")
}

/// What has become of its messages by now: what the brake measures from.
async fn counted_now(redis: &mut Connection, record: &CampaignRecord) -> Result<Tally, CliError> {
    Ok(stops::tally(&View::read(redis, record.clone(), clock::wall().0).await?.counters))
}

/// Takes away the time at which it was to begin.
async fn unschedule(
    record: &CampaignRecord,
    dry_run: bool,
    store: &mut Store,
    context: &Context,
) -> Result<Exit, CliError> {
    let mut heard = Acknowledged::NobodyRuns;
    if !dry_run {
        write(&mut store.connection, record, &Fields::start_at(None)).await?;
        heard = announce(&mut store.connection, &context.config).await?;
    }
    let id = &record.id;
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": id, "verb": "pause", "state": record.state.as_str(), "changed": true, "dry_run": dry_run,
            "node": heard.node(), "acknowledged": matches!(heard, Acknowledged::By(_)),
        }))?;
    } else if dry_run {
        context
            .out
            .line(format!("campaign {id}: would not start by itself any more; nothing was changed"))?;
    } else {
        context.out.line(format!("campaign {id}: does not start by itself any more ({})", record.state))?;
    }
    heard.check()?;
    Ok(Exit::Done)
}

/// What is about to happen, before it is confirmed.
pub fn summary(verb: Verb, view: &View, config: &Config) -> String {
    let campaign = &view.campaign;
    let left = counted(view.left(), "message");
    if verb == Verb::Cancel {
        let gone = view.counters.of(State::Accepted) + view.counters.of(State::Held);
        let gone = counted(gone, "message");
        return format!("campaign {}: {gone} sent; {left} will never be sent", campaign.id);
    }
    let numbers = pool(campaign, config);
    let rates: Option<Vec<f64>> = numbers.iter().map(|number| number.rate_per_s).collect();
    let pace = rates.map(|rates| rates.iter().sum::<f64>()).filter(|pace| *pace > 0.0);
    let (pace, time) = match pace {
        Some(pace) => {
            (format!("{pace:.0}/s at most"), format!("about {}", span(duration(view.left(), pace))))
        }
        None => ("unlimited".to_owned(), "as long as it takes".to_owned()),
    };
    let hours = hours::words(campaign, config, clock::wall());
    format!(
        "campaign {}: {left} of template {} ({}), account {}\n  numbers {}  pace {pace}  time {time}\n  hours: {hours}",
        campaign.id,
        campaign.template.name,
        campaign.template.language,
        campaign.account,
        count(numbers.len() as u64),
    )
}

/// What a verb did, or would do.
struct Said<'a> {
    verb: Verb,
    record: &'a CampaignRecord,
    changed: Option<CampaignState>,
    dry_run: bool,
}

fn say(said: &Said<'_>, heard: &Acknowledged, context: &Context) -> Result<Exit, CliError> {
    let Said { verb, record, changed, dry_run } = *said;
    let (out, id) = (&context.out, &record.id);
    let state = changed.unwrap_or(record.state);
    if out.json {
        out.object(&json!({
            "schema": 1, "id": id, "verb": verb.as_str(), "state": state.as_str(), "changed": changed.is_some(),
            "dry_run": dry_run, "node": heard.node(), "acknowledged": matches!(heard, Acknowledged::By(_)),
        }))?;
        return Ok(Exit::Done);
    }
    out.line(match (changed, dry_run) {
        (None, _) => format!("campaign {id}: is {state} already"),
        (Some(new), true) => format!("campaign {id}: would be {new}; nothing was changed"),
        (Some(new), false) => format!("campaign {id}: {new}"),
    })?;
    if !dry_run && state == CampaignState::Running && *heard == Acknowledged::NobodyRuns {
        out.hint("no serve is running: start one with `carteiro serve`, it sends what is started");
    }
    Ok(Exit::Done)
}

fn capital(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "Start",
        Verb::Cancel => "Cancel",
        Verb::Load => "Load",
        Verb::Pause => "Pause",
        Verb::Resume => "Resume",
        Verb::First | Verb::Schedule | Verb::Set | Verb::Close | Verb::Retry | Verb::Resend => "Change",
    }
}

/// How long so many messages take at a pace.
pub fn duration(messages: u64, per_s: f64) -> Duration {
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let seconds = messages as f64 / per_s;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_never_panics() {
        assert_eq!(duration(100, 20.0), Duration::from_secs(5));
        assert_eq!(duration(1, 0.0), Duration::MAX);
        assert_eq!(duration(0, 0.0), Duration::MAX);
    }
}
