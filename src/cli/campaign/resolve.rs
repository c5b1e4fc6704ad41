//! `carteiro campaign resolve ID --resend | --as-sent`: an operator's word on messages of which nobody knows whether they
//! reached the person.
//!
//! What Meta's receipts prove is not asked: a message with a receipt is accepted already, and one that gets it between
//! our look and our write is left alone.

use clap::Args;
use serde_json::json;

use super::super::context::{Acknowledged, Context, announce};
use super::super::exit::{CliError, Exit};
use super::super::output::{count, counted};
use super::hours;
use super::retry::go_on;
use super::verbs::transition;
use super::world::View;
use crate::app::store::Store;
use crate::clock;
use crate::domain::campaign::Verb;
use crate::domain::ids::LaneId;
use crate::domain::record::{GENERATION_MAX, State};
use crate::queue::campaigns::{self, CampaignRecord};
use crate::queue::doubts::{self, Ending, Message};
use crate::queue::lane::BATCH_MAX;

/// Arguments of `resolve`.
#[derive(Args, Clone, Debug)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["resend", "as_sent"])))]
pub struct ResolveArgs {
    /// The campaign.
    pub id: String,
    /// Send the unresolved ones once more: who got them may get them twice.
    #[arg(long)]
    pub resend: bool,
    /// Count the unresolved ones as sent: who did not get them never will.
    #[arg(long)]
    pub as_sent: bool,
    /// Also those in doubt, whose receipts may still come.
    #[arg(long)]
    pub in_doubt: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Count them, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

impl ResolveArgs {
    fn states(&self) -> &'static [State] {
        if self.in_doubt { &[State::Unresolved, State::InDoubt] } else { &[State::Unresolved] }
    }

    fn concerned(&self, view: &View) -> u64 {
        self.states().iter().map(|state| view.counters.of(*state)).sum()
    }

    /// How such a message ends; None: it was claimed as often as can be counted.
    fn ending(&self, seen: Message) -> Option<Ending> {
        if self.as_sent {
            return Some(Ending { seen, to: State::Accepted, attempt: seen.record.attempt });
        }
        // Attempts are counted anew, as with a retry.
        let can = seen.record.generation < GENERATION_MAX;
        can.then_some(Ending { seen, to: State::Waiting, attempt: 0 })
    }
}

/// Runs the command.
pub async fn run(args: &ResolveArgs, context: &Context) -> Result<Exit, CliError> {
    context.with_store(async |store| resolve(args, store, context).await).await
}

async fn resolve(args: &ResolveArgs, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
    let redis = &mut store.connection;
    let mut record = campaigns::find(redis, &args.id).await?;
    if args.resend {
        transition(&record, Verb::Resend)?;
    }
    let view = View::read(redis, record.clone(), clock::wall().0).await?;
    let concerned = args.concerned(&view);
    if args.resend && concerned > 0 {
        context.out.about_to(summary(args, &view, context), !args.yes && !args.dry_run);
        if !args.dry_run {
            let question =
                format!("Send {} of campaign {} once more?", counted(concerned, "message"), record.id);
            context.confirm(&question, args.yes).await?;
        }
    }
    let (mut changed, mut heard) = (0, Acknowledged::NobodyRuns);
    if !args.dry_run && concerned > 0 {
        if args.resend {
            // Before anything moves, so that an engine that is about to call it done sees that there is more to do.
            campaigns::grow(redis, record.seq).await?;
        }
        changed = end(args, &record, store).await?;
        let redis = &mut store.connection;
        if args.resend {
            campaigns::grow(redis, record.seq).await?;
            record = go_on(redis, record, Verb::Resend, changed).await?;
            heard = announce(redis, &context.config).await?;
        }
    }
    let after = View::read(&mut store.connection, record, clock::wall().0).await?;
    say(args, &after, if args.dry_run { concerned } else { changed }, &heard, context)?;
    heard.check()?;
    let left = !args.dry_run && after.counters.of(State::Unresolved) > 0;
    Ok(if left { Exit::Partial } else { Exit::Done })
}

/// Ends them lane by lane. Returns how many were as they had been seen.
async fn end(args: &ResolveArgs, record: &CampaignRecord, store: &mut Store) -> Result<u64, CliError> {
    let redis = &mut store.connection;
    let lanes: Vec<LaneId> = (0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect();
    let (mut changed, step) = (0, u32::try_from(BATCH_MAX).unwrap_or(u32::MAX));
    for lane in lanes {
        let mut from = 0;
        while let Some(found) = doubts::records(redis, lane, from, args.states()).await? {
            let endings: Vec<Ending> = found.into_iter().filter_map(|one| args.ending(one)).collect();
            if !endings.is_empty() {
                changed += doubts::end(redis, lane, clock::wall().0, &endings).await?;
            }
            from = from.saturating_add(step);
        }
    }
    Ok(changed)
}

fn summary(args: &ResolveArgs, view: &View, context: &Context) -> String {
    let campaign = &view.campaign;
    let doubtful = view.counters.of(State::InDoubt);
    let still = match (args.in_doubt, doubtful) {
        (true, 1..) => format!(", {} of them still in doubt", count(doubtful)),
        _ => String::new(),
    };
    format!(
        "campaign {}: {}{still} may have reached the person and would be sent once more\n  template {} ({}), account {}\n  \
         hours: {}",
        campaign.id,
        counted(args.concerned(view), "message"),
        campaign.template.name,
        campaign.template.language,
        campaign.account,
        hours::words(campaign, &context.config, clock::wall()),
    )
}

fn say(
    args: &ResolveArgs,
    after: &View,
    messages: u64,
    heard: &Acknowledged,
    context: &Context,
) -> Result<(), CliError> {
    let (out, record) = (&context.out, &after.record);
    let of = |state| after.counters.of(state);
    if out.json {
        let how = if args.resend { "resend" } else { "as_sent" };
        return out.object(&json!({
            "schema": 1, "id": record.id, "verb": "resolve", "how": how, "state": record.state.as_str(),
            "messages": messages, "changed": messages > 0 && !args.dry_run, "dry_run": args.dry_run,
            "unresolved": of(State::Unresolved), "in_doubt": of(State::InDoubt),
            "node": heard.node(), "acknowledged": matches!(heard, Acknowledged::By(_)),
        }));
    }
    let what = if args.in_doubt { "unresolved or in doubt" } else { "unresolved" };
    let fate = if args.resend { "sent once more" } else { "counted as sent" };
    out.line(match (messages, args.dry_run) {
        (0, _) => format!("campaign {}: no message is {what}", record.id),
        (_, true) => {
            format!(
                "campaign {}: {} {what} would be {fate}; nothing was changed",
                record.id,
                counted(messages, "message")
            )
        }
        (_, false) => {
            let tense = if args.resend { "will be" } else { "are" };
            format!(
                "campaign {}: {} {tense} {fate} ({})",
                record.id,
                counted(messages, "message"),
                record.state
            )
        }
    })?;
    if !args.in_doubt && of(State::InDoubt) > 0 {
        out.hint(format!(
            "{} still wait for receipts; --in-doubt is for those, too",
            counted(of(State::InDoubt), "message")
        ));
    }
    Ok(())
}
