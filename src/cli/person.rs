//! `carteiro person erase`: one person is forgotten, and what was not sent to them never will be.
//!
//! Nothing here prints or keeps the phone: it comes in, becomes a keyed hash, and is gone.

use std::time::Duration;

use crate::queue::connection::Connection;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::Context;
use super::deeds;
use super::exit::{CliError, Exit};
use super::output::{count, counted, span};
use super::phone;
use crate::app::erasure::{self as people, Traces};
use crate::app::stops;
use crate::app::store::Store;
use crate::clock;
use crate::domain::person::Phone;
use crate::domain::record::State;
use crate::domain::stop::{StopDay, StopKind};
use crate::intake::guards::erased_hash;
use crate::journal::operators::{self, Who};
use crate::queue::erasure::{self, Proof};
use crate::queue::stops::{Batch, Op, StopList, follow, log};
use crate::queue::{self, archive, campaigns};

/// Characters of a reason at most.
const REASON_MAX_CHARS: usize = 200;

/// How often, and how long at most, messages on their way are waited for: a few replies, or a release.
const WAIT: (Duration, u32) = (Duration::from_millis(250), 60);

/// `carteiro person …`
#[derive(Debug, Subcommand)]
pub enum PersonCommand {
    /// Erase a person: suppressed at once everywhere, refused in later loads, left out of reports and archives.
    Erase(EraseArgs),
}

/// Arguments of `erase`.
#[derive(Args, Clone, Debug)]
pub struct EraseArgs {
    /// The person's phone, however it is written; - reads it from standard input, where no history keeps it.
    #[arg(value_name = "PHONE", allow_hyphen_values = true)]
    pub phone: String,
    /// Why, for the proof, such as the number of the request; no personal data.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the command.
pub async fn run(command: PersonCommand, context: &Context) -> Result<Exit, CliError> {
    let PersonCommand::Erase(args) = command;
    if args.reason.chars().count() > REASON_MAX_CHARS || args.reason.contains(char::is_control) {
        let message = format!("the reason must be one line of at most {REASON_MAX_CHARS} characters");
        return Err(CliError::usage("usage", message).field("--reason"));
    }
    if args.phone == "-" && !args.yes && !args.dry_run {
        let message = "the phone comes from standard input, so nobody can be asked; nothing was changed";
        return Err(CliError::not_confirmed(message).hint("add --yes if it shall be done"));
    }
    let phone = phone::read(&args.phone, "no_phone", "PHONE")?;
    context.with_store(async |store| erase(phone, &args, store, context).await).await
}

async fn erase(
    phone: Phone,
    args: &EraseArgs,
    store: &mut Store,
    context: &Context,
) -> Result<Exit, CliError> {
    let list = stops::list(store, 0);
    let (redis, key) = (&mut store.connection, store.installation.key);
    let hash = erased_hash(phone.person(), key);
    let before = people::find(redis, phone, key, clock::wall().0).await?;
    let messages: u64 = before.iter().map(|traces| traces.indices.len() as u64).sum();
    let places = counted(before.len() as u64, "campaign");
    context.out.hint(format!("the person has {} in {places}", counted(messages, "message")));
    if args.dry_run {
        let done = Done { traces: &before, suppressed: &[], new: false, dry_run: true, archives: 0 };
        return done.say(context);
    }
    context.confirm("Erase this person for good?", args.yes).await?;
    // First the door is shut, then what is inside is found: a load in between is caught by one or the other.
    let new = erasure::add(redis, hash).await?;
    campaigns::announce(redis).await?;
    forget_stops(phone, &list, redis).await?;
    let mut traces = people::find(redis, phone, key, clock::wall().0).await?;
    let suppressed = suppress(redis, &mut traces, context).await?;
    let (who, touched) = (Who::of_process(context.actor.as_deref()), touched(&traces, &suppressed));
    let proof = Proof {
        at_ms: clock::wall().0,
        hash,
        actor: &who.actor,
        reason: &args.reason,
        touched: &touched.to_string(),
    };
    erasure::prove(redis, &proof).await?;
    prove(&proof, &suppressed, &who, context);
    let archives = archive::count(redis).await?;
    Done { traces: &traces, suppressed: &suppressed, new, dry_run: false, archives }.say(context)
}

/// Takes the person out of the stop list, which knows people by their phone: who is erased is refused by a hash from now on.
/// A new base takes the place of the log, so that the phone is nowhere in it.
async fn forget_stops(phone: Phone, list: &StopList, redis: &mut Connection) -> Result<(), CliError> {
    follow::load(redis, list).await?;
    if list.of_person(phone.person()).is_empty() {
        return Ok(());
    }
    let who = queue::stops::Who::People(vec![(phone.person(), StopDay::AT_ONCE)]);
    let batch = Batch { op: Op::Forget, kind: StopKind::OptedOut, account: None, who };
    log::append(redis, &batch, clock::wall().0).await?;
    follow::advance(redis, list).await?;
    follow::compact(redis, list, rand::random(), clock::wall().0).await?;
    Ok(())
}

/// The same proof for the journal, where it outlives Redis: who, when, why and how much, and nothing of the person. A
/// journal that cannot be written undoes no erasure.
fn prove(proof: &Proof<'_>, suppressed: &[u64], who: &Who, context: &Context) {
    let sum = suppressed.iter().sum::<u64>();
    let campaigns = counted(suppressed.len() as u64, "campaign");
    let reason = if proof.reason.is_empty() { "no reason given" } else { proof.reason };
    let detail = format!("erased: {} suppressed, traces in {campaigns}; {reason}", counted(sum, "message"));
    let entry = who.did(proof.at_ms, deeds::ERASE, "", &detail);
    if let Err(error) = operators::append(&context.config.journal.dir, "", &entry) {
        tracing::warn!(%error, "the proof of the erasure is in redis, but not in the journal");
    }
}

/// Suppresses everywhere. What is on its way may come back to the queue, so it is waited for, for a while.
async fn suppress(
    redis: &mut Connection,
    traces: &mut [Traces],
    context: &Context,
) -> Result<Vec<u64>, CliError> {
    let mut suppressed = vec![0; traces.len()];
    for _ in 0..WAIT.1 {
        for (one, sum) in traces.iter_mut().zip(&mut suppressed) {
            *sum += people::suppress(redis, one).await?;
        }
        if traces.iter().all(|one| one.of(State::Sending) == 0) {
            break;
        }
        tokio::time::sleep(WAIT.0 / context.config.time_scale.max(1)).await;
    }
    Ok(suppressed)
}

fn touched(traces: &[Traces], suppressed: &[u64]) -> Value {
    let one = |(at, traces): (usize, &Traces)| {
        let suppressed = suppressed.get(at).copied().unwrap_or(0);
        json!({
            "campaign": traces.id, "seq": traces.lane.campaign.0, "suppressed": suppressed, "states": traces.states,
        })
    };
    traces.iter().enumerate().map(one).collect()
}

/// What was done, or would be.
struct Done<'a> {
    traces: &'a [Traces],
    suppressed: &'a [u64],
    new: bool,
    dry_run: bool,
    archives: u64,
}

impl Done<'_> {
    fn say(&self, context: &Context) -> Result<Exit, CliError> {
        let sum = |state| self.traces.iter().map(|one| one.of(state)).sum::<u64>();
        let (sending, doubt) = (sum(State::Sending), sum(State::InDoubt));
        let loading: Vec<&str> =
            self.traces.iter().filter(|one| one.loading).map(|one| one.id.as_str()).collect();
        let suppressed: u64 = self.suppressed.iter().sum();
        let again = !self.dry_run && (sending > 0 || !loading.is_empty());
        if context.out.json {
            context.out.object(&json!({
                "schema": 1, "erased": !self.dry_run, "already": !self.dry_run && !self.new, "dry_run": self.dry_run,
                "suppressed": suppressed, "sending": sending, "in_doubt": doubt,
                "campaigns": touched(self.traces, self.suppressed), "loading": loading,
                "archives_before": self.archives,
            }))?;
            return Ok(if again { Exit::Partial } else { Exit::Done });
        }
        context.out.line(match (self.dry_run, self.new) {
            (true, _) => "the person would be erased; nothing was changed".to_owned(),
            (false, true) => format!("the person is erased: {} suppressed", counted(suppressed, "message")),
            (false, false) => format!("the person was erased before: {} more suppressed", count(suppressed)),
        })?;
        for one in self.traces {
            let states: Vec<String> =
                one.states.iter().map(|(state, n)| format!("{} {state}", count(*n))).collect();
            context.out.line(format!("  {}: {}", one.id, states.join(", ")))?;
        }
        if doubt > 0 {
            context
                .out
                .hint(format!("{} in doubt: nobody knows whether they reached the person", count(doubt)));
        }
        if sending > 0 {
            context.out.hint("some are on their way right now: give the same command again in a minute");
        }
        if !loading.is_empty() {
            let loading = loading.join(", ");
            context
                .out
                .hint(format!("a load of {loading} is running: give the same command again when it ended"));
        }
        if !self.dry_run && !self.traces.is_empty() {
            context.out.hint(format!(
                "the journal keeps what Meta answered and no name or phone; Meta's ids of messages in it hold the phone in \
                 code, for journal.keep ({})",
                span(context.config.journal.keep)
            ));
        }
        if self.archives > 0 {
            let archives = counted(self.archives, "campaign");
            context
                .out
                .hint(format!("{archives} archived earlier may name the person: erase them there, too"));
        }
        Ok(if again { Exit::Partial } else { Exit::Done })
    }
}
