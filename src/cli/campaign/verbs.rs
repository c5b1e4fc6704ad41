//! `carteiro campaign start|pause|resume|cancel`: moves a campaign's state and waits until the engine acts on it.

use std::time::Duration;

use serde_json::json;

use super::super::context::{Acknowledged, Context, announce};
use super::super::exit::{CliError, Exit};
use super::super::output::{count, counted, span};
use super::AskedArgs;
use super::world::{View, pool};
use crate::app::store::Store;
use crate::clock;
use crate::config::Config;
use crate::domain::campaign::{CampaignState, Transition, Verb, after};
use crate::domain::record::State;
use crate::queue::campaigns::{self, CampaignRecord};

/// How often a state that somebody else moved is looked at again.
const MOVES_MAX: usize = 16;

/// Runs a verb.
pub async fn run(verb: Verb, args: &AskedArgs, context: &Context) -> Result<Exit, CliError> {
    context.with_store(async |store| apply(verb, args, store, context).await).await
}

async fn apply(verb: Verb, args: &AskedArgs, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
    let redis = &mut store.connection;
    let record = campaigns::find(redis, &args.id).await?;
    let wanted = transition(&record, verb)?;
    let asks = matches!(verb, Verb::Start | Verb::Cancel) && wanted.is_some();
    if asks {
        let view = View::read(redis, record.clone(), clock::wall().0).await?;
        context.out.hint(summary(verb, &view, &context.config));
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
    let (record, changed) = change(verb, record, store).await?;
    // Told in any case: an engine that missed it the first time acknowledges it now.
    let heard = announce(&mut store.connection, &context.config).await?;
    let exit = say(&Said { verb, record: &record, changed, dry_run: false }, &heard, context)?;
    heard.check()?;
    Ok(exit)
}

/// The state that the verb leads to; None: it is there already.
fn transition(record: &CampaignRecord, verb: Verb) -> Result<Option<CampaignState>, CliError> {
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
        let Some(new) = transition(&record, verb)? else {
            return Ok((record, None));
        };
        let now_ms = clock::wall().0;
        if campaigns::set_state(&mut store.connection, record.seq, (record.state, new), now_ms).await? {
            return Ok((record, Some(new)));
        }
        record = campaigns::find(&mut store.connection, &record.id).await?;
    }
    let message = format!("campaign {} is being moved by somebody else; it was not changed", record.id);
    Err(CliError::new(Exit::Failed, "moved", message).hint("try again"))
}

/// What is about to happen, before it is confirmed.
fn summary(verb: Verb, view: &View, config: &Config) -> String {
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
    let hours = match config.cloud.is_loopback() {
        true => format!("any hour, to {} on this machine", config.cloud.url),
        false => "Monday to Friday 13:00-20:00 UTC, on no national holiday".to_owned(),
    };
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
