//! A load: rows in, chunks in Redis, rejects beside the input.
//!
//! ```text
//!  reader thread: parse, check, hash, gather by lane ─► packer thread: compress ─► uploaders: append, one at a time per lane
//! ```
//!
//! Memory is bounded by the channels and by [`GATHERED_MAX_BYTES`]. A load that breaks off leaves whole chunks
//! only; loading the file again adds what is missing. A repeated append is recognised by its tag.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel;
use redis::Client;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use super::csv::{InputError, RowReader};
use super::lanes::{HashKey, Lanes, dedup_hash};
use super::reject::{RejectError, RejectWriter};
use super::row::{Outcome, Row};
use crate::clock;
use crate::domain::campaign::Campaign;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::queue::campaigns::{self, LoadTotals};
use crate::queue::codec::{CHUNK_MAX, ChunkBuilder, Packer};
use crate::queue::lane::{self, Append, Appended};
use crate::queue::link::{Link, Timeouts};
use crate::queue::{QueueError, agenda};

/// Text gathered at most before the fullest lane is sent on although its chunk is not full.
pub const GATHERED_MAX_BYTES: usize = 24 << 20;

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
    /// Redis refused.
    #[error("{0}")]
    Queue(#[from] QueueError),
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
    /// Name of this load, unique.
    pub load: String,
    /// Where rejects go.
    pub rejects: PathBuf,
    /// Redis.
    pub redis: Client,
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
}

/// A chunk on its way.
struct Batch {
    lane: u32,
    builder: ChunkBuilder,
    hashes: Vec<i64>,
    packed: Vec<u8>,
}

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

/// Loads `input` from the calling thread, which reads; returns when everything is in Redis.
pub fn load<R: Read>(plan: LoadPlan, input: R, progress: &Arc<Progress>) -> Result<Loaded, LoadError> {
    let reader = RowReader::new(input, &plan.campaign)?;
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
        scope.spawn(move || {
            // A closed line means that uploading failed: the reader finds out by its own closed channel.
            for mut batch in from_reader {
                batch.packed = batch.builder.encode(&mut packer, loaded_at_ms);
                let line = &lines[batch.lane as usize % lines.len()];
                if line.blocking_send(batch).is_err() {
                    break;
                }
            }
        });
        let uploading = {
            let (plan, progress) = (plan.clone(), progress.clone());
            scope.spawn(move || LocalSet::new().block_on(&runtime, upload(plan, incoming, progress)))
        };
        let read = Gather::new(&plan, to_packer, progress).run(reader);
        let uploaded = uploading.join().expect("the uploading thread does not panic");
        // If uploading failed, that is the cause; the reader only saw its channel close.
        uploaded?;
        let (reasons, rejects) = read?;
        Ok(Loaded { totals: progress.totals(), reasons, rejects })
    })
}

/// Gathers rows into chunks by lane.
struct Gather<'a> {
    plan: &'a LoadPlan,
    out: channel::Sender<Batch>,
    progress: &'a Progress,
    lanes: Vec<Option<(ChunkBuilder, Vec<i64>)>>,
    gathered_bytes: usize,
    duplicate: u64,
}

type Read_ = (BTreeMap<&'static str, u64>, Option<PathBuf>);

impl<'a> Gather<'a> {
    fn new(plan: &'a LoadPlan, out: channel::Sender<Batch>, progress: &'a Progress) -> Self {
        let lanes = (0..plan.lanes.count()).map(|_| None).collect();
        Self { plan, out, progress, lanes, gathered_bytes: 0, duplicate: 0 }
    }

    fn run<R: Read>(mut self, mut reader: RowReader<R>) -> Result<Read_, LoadError> {
        let mut rejects = RejectWriter::new(self.plan.rejects.clone(), reader.layout().clone());
        let mut reasons = BTreeMap::new();
        let (mut rows, mut rejected) = (0u64, 0u64);
        while let Some(outcome) = reader.next_row()? {
            rows += 1;
            let open = match outcome {
                Outcome::Row(row) => self.row(&row),
                Outcome::Reject(reject) => {
                    rejects.write(&reject)?;
                    *reasons.entry(reject.error.reason_code()).or_default() += 1;
                    rejected += 1;
                    true
                }
            };
            if rows.is_multiple_of(1024) {
                self.show(rows, rejected, reader.bytes_read());
            }
            if !open {
                break;
            }
        }
        for lane in 0..self.lanes.len() {
            self.flush(lane);
        }
        self.show(rows, rejected, reader.bytes_read());
        Ok((reasons, rejects.finish()?))
    }

    fn show(&mut self, rows: u64, rejected: u64, bytes: u64) {
        self.progress.rows.store(rows, Ordering::Relaxed);
        self.progress.rejected.store(rejected, Ordering::Relaxed);
        self.progress.bytes.store(bytes, Ordering::Relaxed);
        self.progress.duplicate.fetch_add(std::mem::take(&mut self.duplicate), Ordering::Relaxed);
    }

    /// False: nobody takes chunks any more.
    fn row(&mut self, row: &Row<'_>) -> bool {
        let plan = self.plan;
        let lane = plan.lanes.lane_of(row.class, row.person, plan.key) as usize;
        let hash = dedup_hash(plan.campaign.dedup, row.person, row.reference, plan.key);
        let (builder, hashes) = self.lanes[lane].get_or_insert_with(|| {
            (ChunkBuilder::new(plan.campaign.variables.len()), Vec::with_capacity(CHUNK_MAX))
        });
        if hashes.contains(&hash) {
            self.duplicate += 1;
            return true;
        }
        let before = builder.text_bytes();
        let texts = [row.reference, row.debtor].into_iter().chain(row.values.iter());
        builder.push(row.line, row.phone.digits(), texts);
        hashes.push(hash);
        self.gathered_bytes += builder.text_bytes() - before;
        if hashes.len() == CHUNK_MAX {
            return self.flush(lane);
        }
        if self.gathered_bytes > GATHERED_MAX_BYTES {
            let bytes = |lane: &Option<(ChunkBuilder, Vec<i64>)>| {
                lane.as_ref().map_or(0, |(builder, _)| builder.text_bytes())
            };
            let fullest = (0..self.lanes.len()).max_by_key(|lane| bytes(&self.lanes[*lane]));
            return fullest.is_none_or(|fullest| self.flush(fullest));
        }
        true
    }

    fn flush(&mut self, lane: usize) -> bool {
        let Some((builder, hashes)) = self.lanes[lane].take() else {
            return true;
        };
        self.gathered_bytes -= builder.text_bytes();
        let lane = u32::try_from(lane).expect("lanes are bounded by LANES_MAX");
        self.out.send(Batch { lane, builder, hashes, packed: Vec::new() }).is_ok()
    }
}

async fn upload(
    plan: Arc<LoadPlan>,
    incoming: Vec<mpsc::Receiver<Batch>>,
    progress: Arc<Progress>,
) -> Result<(), LoadError> {
    let link = Link::new(plan.redis.clone(), plan.timeouts, |_| ());
    register(&plan, &link).await?;
    let mut uploaders = JoinSet::new();
    for (line, mut batches) in incoming.into_iter().enumerate() {
        let (plan, link, progress) = (plan.clone(), link.clone(), progress.clone());
        uploaders.spawn_local(async move {
            let mut packer = Packer::new()?;
            let mut appends = 0u64;
            while let Some(batch) = batches.recv().await {
                appends += 1;
                let tag = format!("{}.{line}.{appends}", plan.load);
                append(&plan, &link, &progress, &mut packer, batch, &tag).await?;
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
    tell(&plan, &link, &progress, None).await
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
    plan: &LoadPlan,
    link: &Link,
    progress: &Progress,
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
        for hash in &batch.hashes {
            by_bucket.entry(u32::try_from(hash % buckets).unwrap_or(0)).or_default().push(*hash);
        }
        let round_tag = format!("{tag}.{round}");
        let order = Append {
            tag: &round_tag,
            number: &plan.numbers[batch.lane as usize],
            class,
            capacity: plan.lanes.capacity(class),
            rows: batch.hashes.len(),
            chunk: &batch.packed,
            buckets: &by_bucket,
        };
        match link.call(async |redis| lane::append(redis, lane, &order).await).await? {
            Appended::Done(_) => {
                progress.loaded.fetch_add(batch.hashes.len() as u64, Ordering::Relaxed);
                return Ok(());
            }
            Appended::Duplicates(known) => {
                progress.duplicate.fetch_add(known.len() as u64, Ordering::Relaxed);
                let drop: Vec<bool> = batch.hashes.iter().map(|hash| known.contains(hash)).collect();
                batch.builder.remove(&drop);
                batch.hashes.retain(|hash| !known.contains(hash));
                if batch.hashes.is_empty() {
                    return Ok(());
                }
                batch.packed = batch.builder.encode(packer, clock::wall().0);
            }
        }
    }
    Ok(())
}
