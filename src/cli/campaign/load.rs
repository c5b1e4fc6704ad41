//! `carteiro campaign load`: recipients of a file into the lanes of a campaign.
//!
//! The header is read before anything is changed, so a file that cannot be used changes nothing. A load that breaks
//! off leaves whole chunks; the campaign stays where it was (a draft stays a draft), and loading again adds the rest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::queue::connection::Connection;
use serde_json::json;
use tokio::sync::oneshot;

use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::output::{Paint, count, counted};
use super::LoadArgs;
use super::documents::Documents;
use super::input::{open, options, paths_beside};
use super::meter::Meter;
use super::plan::rows::{Known, Scanned, scan};
use super::world::{definition, pool};
use crate::app::media;
use crate::app::store::{Store, StoreError};
use crate::clock::{self, Mono};
use crate::config::Config;
use crate::domain::campaign::{Campaign, CampaignState, Transition, Verb, after};
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::intake::guards::{Erased, Guards};
use crate::intake::lanes::{EXPECTED_DEFAULT, Lanes};
use crate::intake::load::{LoadError, LoadPlan, Loaded, Progress, load};
use crate::intake::rows::RowSource;
use crate::policy::route;
use crate::queue::campaigns::{self, CampaignRecord, LoadTotals};
use crate::queue::{erasure, lane};
use crate::redis_server::RedisServer;

/// Weight of a number without a limit, among numbers that have one.
const UNLIMITED_WEIGHT: f64 = 1_000.0;

/// How often a state that somebody else moved is looked at again.
const MOVES_MAX: usize = 16;

/// Runs the command.
pub async fn run(args: &LoadArgs, context: &Context) -> Result<Exit, CliError> {
    let (beside, options) = (paths_beside(args)?, options(&args.input)?);
    let begun = clock::mono();
    context
        .with_store(async |store| {
            let record = campaigns::find(&mut store.connection, &args.id).await?;
            if let Transition::Refused { why } = after(record.state, Verb::Load) {
                return Err(CliError::usage("not_now", format!("campaign {}: {why}", record.id)));
            }
            if record.closed {
                let message = format!(
                    "campaign {} is closed: it takes no more recipients; nothing was loaded",
                    record.id
                );
                return Err(CliError::usage("closed", message).hint("create another campaign for them"));
            }
            let campaign = definition(&record)?;
            let input = open(&args.file, &campaign, &options)
                .map_err(|error| CliError::from(error).in_file(args.file.display()))?;
            let documents = Documents::gather(&args.file, &campaign, &options)?;
            let key = store.installation.key;
            let erased = Erased::new(erasure::all(&mut store.connection).await?, key);
            if args.dry_run {
                let guards = Guards { erased, files: documents.map(Documents::unsent) };
                let lanes = Lanes::frozen(record.expected, &record.slices);
                let redis = &mut store.connection;
                let known = lanes.map(|lanes| Known { redis, seq: record.seq, lanes });
                let mut rows = input.guarded(Arc::new(guards));
                let scanned = scan(&mut rows, &campaign, key, known).await?;
                return would(&record, &scanned, begun, context);
            }
            let files = match documents {
                Some(documents) => {
                    Some(documents.upload(&store.connection, (record.seq, &campaign), context).await?)
                }
                None => None,
            };
            if record.state != CampaignState::Draft {
                media::ready(&mut store.connection, &record, &campaign, &context.config).await?;
            }
            let guards = Guards { erased, files };
            let loaded = into_lanes(input, &record, (campaign, guards), beside, store, context).await?;
            say(&record, &loaded, begun, &mut store.connection, context).await
        })
        .await
}

/// Says what a load would do. Whether a row differs from one that is loaded already is not known: only that it repeats
/// it.
fn would(
    record: &CampaignRecord,
    scanned: &Scanned,
    begun: Mono,
    context: &Context,
) -> Result<Exit, CliError> {
    let reasons: BTreeMap<&str, u64> = scanned.rejected.iter().map(|(why, fate)| (*why, fate.rows)).collect();
    let (rejected, known) = (scanned.rejected_rows(), scanned.known.as_ref().map_or(0, |fate| fate.rows));
    let (rows, differs) = (scanned.rows, scanned.differing.rows);
    let duplicate = known + scanned.repeated.rows + differs;
    let out = &context.out;
    if out.json {
        out.object(&json!({
            "schema": 1, "id": record.id, "state": record.state.as_str(), "rows": rows, "loaded": 0,
            "new": scanned.new, "duplicate": duplicate, "known": known, "duplicate_differs": differs,
            "rejected": rejected, "reasons": reasons, "rejects_file": null, "duplicates_file": null, "dry_run": true,
            "elapsed_ms": elapsed_ms(begun),
        }))?;
    } else {
        let [new, duplicate, refused] = [scanned.new, duplicate, rejected].map(count);
        out.line(format!(
            "campaign {}: {}, {new} would be loaded, {duplicate} duplicate, {refused} rejected; nothing was loaded",
            record.id,
            counted(rows, "row"),
        ))?;
        if known > 0 {
            let known = out.paint(Paint::Yellow, &count(known));
            out.line(format!("  {known} duplicate of what is loaded already"))?;
        }
        say_differs(differs, context)?;
        say_reasons(&reasons, context)?;
    }
    Ok(if rejected > 0 { Exit::Partial } else { Exit::Done })
}

async fn into_lanes(
    input: RowSource,
    record: &CampaignRecord,
    (campaign, guards): (Campaign, Guards),
    (rejects, duplicates): (PathBuf, PathBuf),
    store: &mut Store,
    context: &Context,
) -> Result<Loaded, CliError> {
    let redis = &mut store.connection;
    let expected = campaign.expected.or(input.rows_expected()).unwrap_or(EXPECTED_DEFAULT);
    let lanes = freeze(record, expected, redis).await?;
    let numbers = numbers(record.seq, &lanes, &campaign, &context.config, redis).await?;
    // The time comes first, so that loads sort by it.
    let began_ms = clock::wall().0;
    let name = format!("{began_ms:012x}{:08x}", rand::random::<u32>());
    let began = |name: &String| u64::from_str_radix(name.get(..12)?, 16).ok();
    let loads = record.loads.keys().filter_map(began).chain([began_ms]).collect();
    // A sign of life before the state is looked at: an engine that sees it does not call the campaign done.
    let nothing = LoadTotals::default();
    campaigns::load_progress(redis, record.seq, &name, nothing, Some(clock::wall().0)).await?;
    move_on(record, false, redis).await?;
    let plan = LoadPlan {
        seq: record.seq,
        campaign,
        lanes,
        numbers,
        key: store.installation.key,
        guards: Arc::new(guards),
        load: name,
        rejects,
        duplicates,
        loads,
        redis: store.client.clone(),
        window: store.forgets(&context.config.redis),
        timeouts: store.timeouts,
    };
    let forgets = plan.window.is_some();
    let loaded = in_thread(plan, input, store.server.as_mut(), context).await?;
    // Redis may have been away meanwhile, and this connection with it.
    store.connection = store.client.connect(store.timeouts).await?;
    if forgets {
        // The lanes of a new campaign may have been among it.
        freeze(record, expected, &mut store.connection).await?;
    }
    let LoadTotals { loaded: new, duplicate, .. } = loaded.totals;
    if new + duplicate > 0 {
        // Again: the engine may have found the campaign done just before the load was heard of.
        move_on(record, true, &mut store.connection).await?;
    }
    Ok(loaded)
}

/// The lanes of the campaign: as its first load fixed them, or as this one does.
async fn freeze(record: &CampaignRecord, expected: u64, redis: &mut Connection) -> Result<Lanes, CliError> {
    let (expected, slices) = match record.slices.as_slice() {
        [] => campaigns::freeze_slices(redis, record.seq, expected, Lanes::plan(expected).slices()).await?,
        fixed => (record.expected, fixed.to_vec()),
    };
    let lanes = Lanes::frozen(expected, &slices);
    lanes.ok_or_else(|| {
        CliError::new(Exit::Failed, "corrupt", format!("campaign {}: its lanes cannot be read", record.id))
    })
}

/// The number of each lane: the one it has while that is in the pool, else the one it likes best.
async fn numbers(
    seq: CampaignSeq,
    lanes: &Lanes,
    campaign: &Campaign,
    config: &Config,
    redis: &mut Connection,
) -> Result<Vec<NumberId>, CliError> {
    let weight = |rate: Option<f64>| rate.unwrap_or(UNLIMITED_WEIGHT);
    let pool =
        pool(campaign, config).into_iter().map(|number| (number.id.clone(), weight(number.rate_per_s)));
    let pool: Vec<(NumberId, f64)> = pool.collect();
    if pool.is_empty() {
        let message = format!(
            "no number of account {} that campaign {} may use is in the configuration",
            campaign.account, campaign.id
        );
        return Err(CliError::usage("no_number", message).field("number").hint("add a [[number]] for it"));
    }
    let ids: Vec<LaneId> = (0..lanes.count()).map(|lane| LaneId { campaign: seq, lane }).collect();
    let stored = lane::counters(redis, &ids).await?.into_iter().map(|counters| counters.number);
    let liked = route::assign(&lanes.loads(), &pool);
    let choose = |(stored, liked): (Option<NumberId>, usize)| {
        let still = stored.filter(|number| pool.iter().any(|(known, _)| known == number));
        still.unwrap_or_else(|| pool[liked].0.clone())
    };
    Ok(stored.zip(liked).map(choose).collect())
}

/// Reopens a campaign that is done; makes a draft ready once something is `loaded`.
async fn move_on(record: &CampaignRecord, loaded: bool, redis: &mut Connection) -> Result<(), CliError> {
    for _ in 0..MOVES_MAX {
        let seen = campaigns::find(redis, &record.id).await?.state;
        match after(seen, Verb::Load) {
            Transition::Changed(CampaignState::Ready) if !loaded => return Ok(()),
            Transition::Changed(new) => {
                if campaigns::set_state(redis, record.seq, (seen, new), clock::wall().0).await? {
                    campaigns::announce(redis).await?;
                    return Ok(());
                }
            }
            // Cancelled meanwhile: what was loaded is cancelled with the rest.
            Transition::Already | Transition::Refused { .. } => return Ok(()),
        }
    }
    let message = format!("campaign {} is being moved by somebody else; try again", record.id);
    Err(CliError::new(Exit::Failed, "moved", message))
}

/// Loads from a thread of its own, so that Ctrl-C and the progress are served meanwhile.
async fn in_thread(
    plan: LoadPlan,
    input: RowSource,
    mut server: Option<&mut RedisServer>,
    context: &Context,
) -> Result<Loaded, CliError> {
    let progress = Arc::new(Progress::default());
    let mut meter = Meter::new(&context.out, input.size(), context.config.time_scale);
    let (tell, mut told) = oneshot::channel::<Result<Loaded, LoadError>>();
    let shared = progress.clone();
    let work = move || drop(tell.send(load(plan, input, &shared)));
    let thread = std::thread::Builder::new().name("load".to_owned()).spawn(work);
    thread.map_err(|error| CliError::from(LoadError::System(error)))?;
    let mut exited = std::pin::pin!(exit_of(server.as_deref()));
    let done = loop {
        tokio::select! {
            done = &mut told => break done,
            () = meter.tick() => meter.show(&progress),
            // The load waits for its private Redis to be back; somebody has to bring it back.
            () = &mut exited => if let Some(server) = &mut server {
                server.ensure_alive().await.map_err(StoreError::Server)?;
                exited.set(exit_of(Some(server)));
            },
        }
    };
    meter.finish();
    let died = || {
        CliError::new(Exit::Failed, "failed", "the loading thread died; loading again adds what is missing")
    };
    Ok(done.map_err(|_| died())??)
}

/// Ends when the private Redis does; never without one.
fn exit_of(server: Option<&RedisServer>) -> impl Future<Output = ()> + use<> {
    let exited = server.map(RedisServer::exited);
    async move {
        match exited {
            Some(exited) => exited.await,
            None => std::future::pending().await,
        }
    }
}

async fn say(
    record: &CampaignRecord,
    loaded: &Loaded,
    begun: Mono,
    redis: &mut Connection,
    context: &Context,
) -> Result<Exit, CliError> {
    let state = campaigns::find(redis, &record.id).await.map_or(record.state, |record| record.state);
    let LoadTotals { rows, loaded: new, duplicate, rejected } = loaded.totals;
    let out = &context.out;
    if out.json {
        out.object(&json!({
            "schema": 1, "id": record.id, "state": state.as_str(), "rows": rows, "loaded": new, "duplicate": duplicate,
            "rejected": rejected, "reasons": loaded.reasons, "rejects_file": loaded.rejects,
            "dry_run": false, "elapsed_ms": elapsed_ms(begun), "new": new, "known": null,
            "duplicate_differs": loaded.duplicate_differs, "duplicates_file": loaded.duplicates,
        }))?;
    } else {
        let [new, duplicate, refused] = [new, duplicate, rejected].map(count);
        let rows = counted(rows, "row");
        out.line(format!(
            "campaign {}: {rows}, {new} loaded, {duplicate} duplicate, {refused} rejected",
            record.id
        ))?;
        say_differs(loaded.duplicate_differs, context)?;
        say_reasons(&loaded.reasons, context)?;
        if loaded.totals.rows == 0 {
            out.hint("the input has a header and no rows: was its export empty?");
        }
        if let Some(path) = &loaded.duplicates {
            out.line(format!("duplicates: {}", path.display()))?;
        }
        if let Some(path) = &loaded.rejects {
            out.line(format!("rejects: {}", path.display()))?;
            out.hint("correct them there and load that file");
        }
        if state == CampaignState::Ready {
            out.hint(format!("next: carteiro campaign start {}", record.id));
        }
    }
    Ok(if rejected > 0 { Exit::Partial } else { Exit::Done })
}

fn elapsed_ms(begun: Mono) -> u64 {
    u64::try_from(clock::mono().since(begun).as_millis()).unwrap_or(u64::MAX)
}

fn say_differs(differs: u64, context: &Context) -> Result<(), CliError> {
    if differs > 0 {
        let differs = context.out.paint(Paint::Yellow, &count(differs));
        context.out.line(format!("  {differs} duplicate_differs: repeat a row with other values"))?;
    }
    Ok(())
}

fn say_reasons(reasons: &BTreeMap<&str, u64>, context: &Context) -> Result<(), CliError> {
    for (reason, rows) in reasons {
        context.out.line(format!("  {} {reason}", context.out.paint(Paint::Yellow, &count(*rows))))?;
    }
    Ok(())
}
