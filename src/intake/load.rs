//! A load: rows in, chunks in Redis, rejects beside the input.
//!
//! ```text
//!  reader thread: parse, check, hash, gather by lane ─► packer thread: compress ─► uploaders: append, one at a time per lane
//! ```
//!
//! A row that repeats an earlier one of the same input is known at once ([`super::duplicates`]); what Redis names besides is
//! explained from the lanes' logs (`explain`). Memory is bounded by the channels and by [`GATHERED_MAX_BYTES`]. A load that breaks off leaves whole chunks
//! only; loading the file again adds what is missing. A repeated append is recognised by its tag.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::queue::client::Client;
use crossbeam::channel;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use self::explain::Explainer;
use self::gather::Gather;
use self::raw::RawRows;
use self::repeats::RepeatWriter;
use super::csv::InputError;
use super::guards::Guards;
use super::lanes::{HashKey, Lanes};
use super::reject::RejectError;
use super::rows::RowSource;
use crate::clock;
use crate::domain::campaign::Campaign;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::queue::campaigns::{self, LoadTotals};
use crate::queue::codec::{CHUNK_MAX, ChunkBuilder, Packer};
use crate::queue::lane::{self, Append, Appended};
use crate::queue::link::{Link, Timeouts};
use crate::queue::replay::{Chunk, Wrote};
use crate::queue::{QueueError, agenda};

mod explain;
mod gather;
mod raw;
mod repeats;

/// Text gathered at most before the fullest lane is sent on although its chunk is not full.
pub const GATHERED_MAX_BYTES: usize = 40 << 20;

/// Appends under way at once.
const UPLOADERS: usize = 32;

/// Chunks that wait between two stages at most.
const QUEUED_CHUNKS: usize = 32;

/// How often a load gives a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Why a load ended early. What was appended until then stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The input cannot be read.
    #[error("{0}")]
    Input(#[from] InputError),
    /// The rejects file cannot be written.
    #[error("{0}")]
    Rejects(#[from] RejectError),
    /// The duplicates file cannot be written.
    #[error("cannot write the duplicates file {}: {source}", path.display())]
    Duplicates {
        /// Where it should be.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Redis refused.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// Redis forgot its last seconds, and somebody else took the places of rows meanwhile.
    #[error("redis forgot {rows} rows that it had, and they could not be put in their places again")]
    Forgotten {
        /// How many.
        rows: u64,
    },
    /// The system refused a thread or a buffer.
    #[error("cannot start the load: {0}")]
    System(#[from] std::io::Error),
}

/// Everything a load needs.
#[derive(Debug)]
pub struct LoadPlan {
    /// The campaign's number.
    pub seq: CampaignSeq,
    /// The campaign.
    pub campaign: Campaign,
    /// Its lanes as frozen.
    pub lanes: Lanes,
    /// The number of each lane.
    pub numbers: Vec<NumberId>,
    /// Key of the hashes.
    pub key: HashKey,
    /// Who and what is kept out.
    pub guards: Arc<Guards>,
    /// Name of this load, unique.
    pub load: String,
    /// Where rejects go.
    pub rejects: PathBuf,
    /// Where duplicates go.
    pub duplicates: PathBuf,
    /// When this load and each earlier one began, in wall ms, ascending: tells which load a duplicate repeats.
    pub loads: Vec<u64>,
    /// Redis.
    pub redis: Client,
    /// How long it may forget what it acknowledged; None: not at all.
    pub window: Option<Duration>,
    /// How long to wait for it.
    pub timeouts: Timeouts,
}

/// How far a load got; shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes read.
    pub bytes: AtomicU64,
    /// Rows read.
    pub rows: AtomicU64,
    /// Rows appended.
    pub loaded: AtomicU64,
    /// Rows that were there already.
    pub duplicate: AtomicU64,
    /// Of those, rows with other values than the row that they repeat.
    pub differs: AtomicU64,
    /// Rows rejected.
    pub rejected: AtomicU64,
}

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Totals.
    pub totals: LoadTotals,
    /// Rejects by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// The rejects file, if there were rejects.
    pub rejects: Option<PathBuf>,
    /// Duplicates whose values differ from those of the row that they repeat.
    pub duplicate_differs: u64,
    /// The duplicates file, if there were duplicates.
    pub duplicates: Option<PathBuf>,
}

/// A chunk on its way.
struct Batch {
    lane: u32,
    rows: RawRows,
    packed: Vec<u8>,
}

/// Shared by the thread that reads and the one that uploads.
type Repeats = Arc<Mutex<RepeatWriter>>;

impl Progress {
    fn totals(&self) -> LoadTotals {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LoadTotals {
            rows: of(&self.rows),
            loaded: of(&self.loaded),
            duplicate: of(&self.duplicate),
            rejected: of(&self.rejected),
        }
    }
}

/// Loads `rows` from the calling thread, which reads; returns when everything is in Redis.
pub fn load(plan: LoadPlan, rows: RowSource, progress: &Arc<Progress>) -> Result<Loaded, LoadError> {
    let rows = rows.guarded(plan.guards.clone());
    let repeats = RepeatWriter::new(plan.duplicates.clone(), rows.layout().clone(), plan.loads.clone());
    let repeats: Repeats = Arc::new(Mutex::new(repeats));
    let plan = Arc::new(plan);
    let mut packer = Packer::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (to_packer, from_reader) = channel::bounded::<Batch>(QUEUED_CHUNKS);
    let mut lines = Vec::new();
    let mut incoming = Vec::new();
    for _ in 0..UPLOADERS {
        let (line, end) = mpsc::channel::<Batch>(1);
        lines.push(line);
        incoming.push(end);
    }
    std::thread::scope(|scope| {
        let loaded_at_ms = clock::wall().0;
        let variables = plan.campaign.variables.len();
        scope.spawn(move || {
            let mut chunk = ChunkBuilder::new(variables);
            // A closed line means that uploading failed: the reader finds out by its own closed channel.
            for mut batch in from_reader {
                batch.rows.fill(&mut chunk);
                batch.packed = chunk.encode(&mut packer, loaded_at_ms);
                let line = &lines[batch.lane as usize % lines.len()];
                if line.blocking_send(batch).is_err() {
                    break;
                }
            }
        });
        let uploading = {
            let (plan, progress, repeats) = (plan.clone(), progress.clone(), repeats.clone());
            scope.spawn(move || LocalSet::new().block_on(&runtime, upload(plan, incoming, progress, repeats)))
        };
        let read = Gather::new(&plan, to_packer, progress, &repeats).run(rows);
        let uploaded = uploading.join().expect("the uploading thread does not panic");
        // If uploading failed, that is the cause; the reader only saw its channel close.
        uploaded?;
        let (reasons, rejects) = read?;
        let mut repeats = repeats.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let duplicates = repeats.finish()?;
        let duplicate_differs = progress.differs.load(Ordering::Relaxed);
        Ok(Loaded { totals: progress.totals(), reasons, rejects, duplicate_differs, duplicates })
    })
}

async fn upload(
    plan: Arc<LoadPlan>,
    incoming: Vec<mpsc::Receiver<Batch>>,
    progress: Arc<Progress>,
    repeats: Repeats,
) -> Result<(), LoadError> {
    let explainer = Rc::new(RefCell::new(Explainer::new(repeats)));
    let client = plan.redis.clone();
    let client = if let Some(window) = plan.window { client.remembering(window) } else { client };
    let link = Link::new(client, plan.timeouts, |_| ());
    register(&plan, &link).await?;
    let mut uploaders = JoinSet::new();
    for (line, mut batches) in incoming.into_iter().enumerate() {
        let (plan, link, progress) = (plan.clone(), link.clone(), progress.clone());
        let explainer = explainer.clone();
        uploaders.spawn_local(async move {
            let mut packer = Packer::new()?;
            let mut appends = 0u64;
            while let Some(batch) = batches.recv().await {
                appends += 1;
                let tag = format!("{}.{line}.{appends}", plan.load);
                append((&plan, &progress, &explainer), &link, &mut packer, batch, &tag).await?;
            }
            Ok::<(), LoadError>(())
        });
    }
    let mut tick = tokio::time::interval(SIGN_OF_LIFE);
    loop {
        tokio::select! {
            biased;
            ended = uploaders.join_next() => match ended {
                Some(ended) => ended.map_err(|error| LoadError::System(std::io::Error::other(error)))??,
                None => break,
            },
            _ = tick.tick() => tell(&plan, &link, &progress, Some(clock::wall().0)).await?,
        }
    }
    let suspects = explainer.borrow_mut().take()?;
    explain::explain(suspects, &plan, &link, &progress).await?;
    // Rows count as loaded only when Redis can forget them no more.
    tell(&plan, &link, &progress, Some(clock::wall().0)).await?;
    match link.kept().await? {
        0 => tell(&plan, &link, &progress, None).await,
        rows => Err(LoadError::Forgotten { rows }),
    }
}

/// Every lane is on its number's agenda before its first append.
async fn register(plan: &LoadPlan, link: &Link) -> Result<(), LoadError> {
    let mut by_number: BTreeMap<&NumberId, Vec<LaneId>> = BTreeMap::new();
    for (lane, number) in (0..).zip(&plan.numbers) {
        by_number.entry(number).or_default().push(LaneId { campaign: plan.seq, lane });
    }
    for (number, lanes) in by_number {
        let priority = plan.campaign.priority;
        link.call(async |redis| agenda::register(redis, number, &lanes, priority).await).await?;
    }
    Ok(())
}

async fn tell(
    plan: &LoadPlan,
    link: &Link,
    progress: &Progress,
    now_ms: Option<u64>,
) -> Result<(), LoadError> {
    let totals = progress.totals();
    link.call(async |redis| campaigns::load_progress(redis, plan.seq, &plan.load, totals, now_ms).await)
        .await?;
    Ok(())
}

async fn append(
    (plan, progress, explainer): (&LoadPlan, &Progress, &RefCell<Explainer>),
    link: &Link,
    packer: &mut Packer,
    mut batch: Batch,
    tag: &str,
) -> Result<(), LoadError> {
    let class = plan.lanes.class_of(batch.lane);
    let lane = LaneId { campaign: plan.seq, lane: batch.lane };
    let buckets = i64::from(plan.lanes.buckets(class));
    // Twice at most: what is left after the known ones are taken out is known to be new, unless another load of the
    // same campaign runs at the same time; then the bound is the chunk itself, since each round takes out a row.
    for round in 0..=CHUNK_MAX {
        let mut by_bucket: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for hash in batch.rows.hashes() {
            by_bucket.entry(u32::try_from(hash % buckets).unwrap_or(0)).or_default().push(hash);
        }
        let round_tag = format!("{tag}.{round}");
        let order = Append {
            tag: &round_tag,
            number: &plan.numbers[batch.lane as usize],
            class,
            capacity: plan.lanes.capacity(class),
            rows: batch.rows.len(),
            chunk: &batch.packed,
            buckets: &by_bucket,
        };
        link.room().await;
        match link.call(async |redis| lane::append(redis, lane, &order).await).await? {
            Appended::Done(first) => {
                link.wrote(lane, || Wrote::Appended(Rc::new(Chunk::of(&order, first))));
                progress.loaded.fetch_add(batch.rows.len() as u64, Ordering::Relaxed);
                return Ok(());
            }
            Appended::Duplicates(known) => {
                progress.duplicate.fetch_add(known.len() as u64, Ordering::Relaxed);
                let drop: Vec<bool> = batch.rows.hashes().map(|hash| known.contains(&hash)).collect();
                let suspects = explainer.borrow_mut().note(batch.lane, &batch.rows, &drop)?;
                explain::explain(suspects, plan, link, progress).await?;
                batch.rows.remove(&drop);
                if batch.rows.len() == 0 {
                    return Ok(());
                }
                let mut chunk = ChunkBuilder::new(plan.campaign.variables.len());
                batch.rows.fill(&mut chunk);
                batch.packed = chunk.encode(packer, clock::wall().0);
            }
        }
    }
    Ok(())
}
