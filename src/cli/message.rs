//! `carteiro message send CAMPAIGN --to PHONE`: one message into the queue, by itself.
//!
//! It becomes a message of its campaign like a row of a file: found by dedup, paced, held to hours and stops, in status, report
//! and journal. A campaign without recipients starts with its first message. Whoever wants it ahead of everything gives the
//! campaign `priority = "urgent"`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::json;

use super::campaign::test::given;
use super::campaign::world::{definition, pool};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::phone;
use crate::app::media;
use crate::app::store::Store;
use crate::clock;
use crate::config::Config;
use crate::domain::campaign::{Campaign, CampaignState};
use crate::domain::ids::{LaneId, MessageId, NumberId};
use crate::domain::person::Phone;
use crate::intake::guards::Erased;
use crate::intake::lanes::{Lanes, dedup_hash};
use crate::intake::render::RenderChecks;
use crate::policy::route;
use crate::queue::campaigns::{self, CampaignRecord};
use crate::queue::codec::{ChunkBuilder, Packer};
use crate::queue::connection::Connection;
use crate::queue::lane::{self, Append, Appended};
use crate::queue::{agenda, erasure};

/// Weight of a number without a limit, among numbers that have one.
const UNLIMITED_WEIGHT: f64 = 1_000.0;

/// Bytes of a reference at most.
const REFERENCE_MAX_BYTES: usize = 256;

/// How often a state that somebody else moved is looked at again.
const MOVES_MAX: usize = 16;

/// `carteiro message …`
#[derive(Debug, Subcommand)]
pub enum MessageCommand {
    /// Put one message into the queue of a campaign; it leaves as soon as pace, hours and stops allow.
    #[command(after_help = super::examples::MESSAGE)]
    Send(SendArgs),
}

/// Arguments of `send`.
#[derive(Args, Clone, Debug)]
pub struct SendArgs {
    /// The campaign: it says template, numbers, priority and what a duplicate is.
    pub id: String,
    /// Who gets it; - reads the phone from standard input, where no history keeps it.
    #[arg(long, value_name = "PHONE", allow_hyphen_values = true)]
    pub to: String,
    /// A value of the template, as the debtor reads it; one for each of its variables.
    #[arg(long, value_name = "NAME=TEXT")]
    pub value: Vec<String>,
    /// The reference of the debt; with dedup = "person_ref" it tells messages to one person apart.
    #[arg(long = "ref", value_name = "TEXT", default_value = "")]
    pub reference: String,
    /// Check everything, and queue nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the command.
pub async fn run(command: MessageCommand, context: &Context) -> Result<Exit, CliError> {
    let MessageCommand::Send(args) = command;
    let phone = phone::read(&args.to, "bad_phone", "--to")?;
    if args.reference.len() > REFERENCE_MAX_BYTES || args.reference.contains(char::is_control) {
        let message = format!("the reference must be one line of at most {REFERENCE_MAX_BYTES} bytes");
        return Err(CliError::usage("usage", message).field("--ref"));
    }
    context.with_store(async |store| send(phone, &args, store, context).await).await
}

async fn send(phone: Phone, args: &SendArgs, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
    let key = store.installation.key;
    let redis = &mut store.connection;
    let record = campaigns::find(redis, &args.id).await?;
    takes_one(&record)?;
    let campaign = definition(&record)?;
    let values = values(args, &campaign)?;
    if Erased::new(erasure::all(redis).await?, key).holds(phone.person()) {
        let message = "this person was erased and is not written to again; nothing was queued";
        return Err(CliError::new(Exit::Refused, "erased", message).field("--to"));
    }
    media::ready(redis, &record, &campaign, &context.config).await?;
    if args.dry_run {
        return say(&record, None, true, context);
    }
    let lanes = lanes(&record, &campaign, redis).await?;
    let slice = lanes.lane_of(phone.class(), phone.person(), key);
    let id = LaneId { campaign: record.seq, lane: slice };
    let number = number(id, &lanes, &campaign, &context.config, redis).await?;
    agenda::register(redis, &number, &[id], campaign.priority).await?;
    let hash = dedup_hash(campaign.dedup, phone.person(), &args.reference, key);
    let appended = append(id, &number, &lanes, (phone, &args.reference, &values), hash, redis).await?;
    campaigns::count_one(redis, record.seq, appended.is_some()).await?;
    let Some(index) = appended else {
        let message =
            format!("campaign {}: this person has this message already; nothing was queued", record.id);
        return Err(CliError::new(Exit::Refused, "duplicate", message).field("--to").hint(
            "with dedup = \"person_ref\" in its file, a message for each --ref of a person is another one",
        ));
    };
    go_on(&record, redis).await?;
    say(&record, Some(MessageId { lane: id, index }), false, context)
}

/// Whether a campaign in this state takes a message by itself: one that sends, is done, or was never given recipients.
fn takes_one(record: &CampaignRecord) -> Result<(), CliError> {
    let refused = |why: &str| {
        Err(CliError::usage("not_now", format!("campaign {}: {why}; nothing was queued", record.id)))
    };
    if record.closed {
        return refused("it is closed: it takes no more recipients");
    }
    match record.state {
        CampaignState::Draft | CampaignState::Running | CampaignState::Done => Ok(()),
        CampaignState::Ready => refused("it has recipients and is not started; use `campaign start`"),
        CampaignState::Paused => refused("it is paused; use `campaign resume`"),
        CampaignState::Cancelled => refused("it is cancelled, for good"),
    }
}

fn values(args: &SendArgs, campaign: &Campaign) -> Result<Vec<String>, CliError> {
    let mut values = Vec::with_capacity(campaign.variables.len());
    for (value, variable) in given(&args.value, campaign)?.into_iter().zip(&campaign.variables) {
        values.push(value.ok_or_else(|| {
            let message = format!("the template's {} has no value; nothing was queued", variable.name);
            CliError::usage("no_value", message)
                .field("--value")
                .hint(format!("add --value {}=TEXT", variable.name))
        })?);
    }
    RenderChecks::new(campaign).check(values.iter().map(String::as_str)).map_err(|misfit| {
        let name = &campaign.variables[misfit.variable].name;
        CliError::usage("bad_value", format!("the value of {name} {}; nothing was queued", misfit.error))
            .field("--value")
    })?;
    Ok(values)
}

/// The lanes of the campaign: as its first load fixed them, or the fewest.
async fn lanes(
    record: &CampaignRecord,
    campaign: &Campaign,
    redis: &mut Connection,
) -> Result<Lanes, CliError> {
    let (expected, slices) = match record.slices.as_slice() {
        [] => {
            let expected = campaign.expected.unwrap_or(1);
            campaigns::freeze_slices(redis, record.seq, expected, Lanes::plan(expected).slices()).await?
        }
        fixed => (record.expected, fixed.to_vec()),
    };
    let corrupt = || {
        CliError::new(Exit::Failed, "corrupt", format!("campaign {}: its lanes cannot be read", record.id))
    };
    Lanes::frozen(expected, &slices).ok_or_else(corrupt)
}

/// The number of a lane: the one it has while that is in the pool, else the one it likes best.
async fn number(
    lane: LaneId,
    lanes: &Lanes,
    campaign: &Campaign,
    config: &Config,
    redis: &mut Connection,
) -> Result<NumberId, CliError> {
    let weight = |rate: Option<f64>| rate.unwrap_or(UNLIMITED_WEIGHT);
    let pool: Vec<(NumberId, f64)> =
        pool(campaign, config).into_iter().map(|one| (one.id.clone(), weight(one.rate_per_s))).collect();
    let stored = lane::counters(redis, &[lane]).await?.pop().and_then(|counters| counters.number);
    if let Some(stored) = stored.filter(|number| pool.iter().any(|(known, _)| known == number)) {
        return Ok(stored);
    }
    let liked = route::assign(&lanes.loads(), &pool).get(lane.lane as usize).and_then(|at| pool.get(*at));
    liked.map(|(number, _)| number.clone()).ok_or_else(|| {
        let message = format!(
            "no number of account {} that campaign {} may use is in the configuration",
            campaign.account, campaign.id
        );
        CliError::usage("no_number", message).field("number").hint("add a [[number]] for it")
    })
}

/// The index of the message in its lane; None: it is there already.
async fn append(
    id: LaneId,
    number: &NumberId,
    lanes: &Lanes,
    (phone, reference, values): (Phone, &str, &[String]),
    hash: i64,
    redis: &mut Connection,
) -> Result<Option<u32>, CliError> {
    let system = |error: std::io::Error| CliError::new(Exit::Failed, "failed", error.to_string());
    let mut builder = ChunkBuilder::new(values.len());
    builder.push(0, phone.digits(), [reference, ""].into_iter().chain(values.iter().map(String::as_str)));
    let chunk = builder.encode(&mut Packer::new().map_err(system)?, clock::wall().0);
    let class = lanes.class_of(id.lane);
    let bucket = u32::try_from(hash % i64::from(lanes.buckets(class))).unwrap_or(0);
    let tag = format!("single.{:012x}{:016x}", clock::wall().0, rand::random::<u64>());
    let order = Append {
        tag: &tag,
        number,
        class,
        capacity: lanes.capacity(class),
        rows: 1,
        chunk: &chunk,
        buckets: &BTreeMap::from([(bucket, vec![hash])]),
    };
    Ok(match lane::append(redis, id, &order).await? {
        Appended::Done(index) => Some(index),
        Appended::Duplicates(_) => None,
    })
}

/// A campaign that is done, or had nothing before, sends from now on; and everybody hears that there is more.
async fn go_on(record: &CampaignRecord, redis: &mut Connection) -> Result<(), CliError> {
    let mut seen = record.state;
    for _ in 0..MOVES_MAX {
        let next = match seen {
            CampaignState::Draft | CampaignState::Done => CampaignState::Running,
            _ => break,
        };
        if campaigns::set_state(redis, record.seq, (seen, next), clock::wall().0).await? {
            break;
        }
        seen = campaigns::find(redis, &record.id).await?.state;
    }
    campaigns::announce(redis).await?;
    Ok(())
}

fn say(
    record: &CampaignRecord,
    message: Option<MessageId>,
    dry_run: bool,
    context: &Context,
) -> Result<Exit, CliError> {
    let message = message.map(|message| message.to_string());
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": record.id, "verb": "send", "message": message, "queued": !dry_run, "dry_run": dry_run,
        }))?;
        return Ok(Exit::Done);
    }
    match message {
        Some(message) => {
            context.out.line(format!("campaign {}: message {message} is queued", record.id))?;
            context.out.hint(format!("what becomes of it: carteiro why {message}"));
        }
        None => context
            .out
            .line(format!("campaign {}: the message can be sent; nothing was queued", record.id))?,
    }
    Ok(Exit::Done)
}
