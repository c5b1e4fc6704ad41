//! What a file would become: every row read and checked as a load would, nothing queued.
//!
//! Duplicates within the file are found in memory; people who are in the campaign already are asked of Redis, where that
//! is there. Three good rows are kept to be shown.

use std::collections::BTreeMap;

use crate::queue::connection::Connection;

use super::super::super::exit::CliError;
use super::hours::States;
use crate::domain::campaign::Campaign;
use crate::domain::ids::{CampaignSeq, LaneId};
use crate::intake::duplicates::{Duplicates, fingerprint};
use crate::intake::lanes::{HashKey, Lanes, dedup_hash};
use crate::intake::packed::pack;
use crate::intake::row::{Outcome, Row};
use crate::intake::rows::RowSource;
use crate::queue::codec::{CHUNK_MAX, ChunkBuilder, Packer};
use crate::queue::seen::{self, Entry};

/// Lines named per reason.
const LINES_MAX: usize = 3;

/// People asked for at once.
const ASKED_AT_ONCE: usize = 1_000;

/// Chunks packed to learn how well the rows pack.
const SAMPLED_CHUNKS: u64 = 64;

/// Bytes of Redis for what a lane has beside its messages, and for a chunk beside its rows (measured, rounded up).
const LANE_BYTES: u64 = 1_500;
const CHUNK_BYTES: u64 = 80;

/// Bytes of a message beside its text: its record with the room kept for growing, and its place in the dedup set.
const MESSAGE_BYTES: u64 = 15;

/// What became of rows of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// How many.
    pub rows: u64,
    /// The first lines of them.
    pub lines: Vec<u64>,
    /// What is wrong with the first of them, in words; None where the kind says it.
    pub reason: Option<String>,
}

/// A good row to be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its line.
    pub line: u64,
    /// Its phone.
    pub phone: u64,
    /// Its values, in the order of the campaign's variables.
    pub values: Vec<String>,
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sample").field("line", &self.line).finish_non_exhaustive()
    }
}

/// A file by fates: `rows` is the sum of all others.
#[derive(Clone, Debug, Default)]
pub struct Scanned {
    /// All rows.
    pub rows: u64,
    /// Rows that would be queued.
    pub new: u64,
    /// Rows of people, or debts, that the campaign has already; None: that could not be asked.
    pub known: Option<Fate>,
    /// Rows that repeat an earlier one of the file in all that is kept.
    pub repeated: Fate,
    /// Rows that repeat the person, or the debt, of an earlier one with other values.
    pub differing: Fate,
    /// Rejected rows by reason.
    pub rejected: BTreeMap<&'static str, Fate>,
    /// The first, the longest and the last good row.
    pub samples: Vec<Sample>,
    /// Bytes of text that a good row packs into.
    pub packed_bytes: u64,
    /// Of the rows that would be queued, by state.
    pub states: States,
}

/// Where people who are loaded already are known.
pub struct Known<'a> {
    /// Redis.
    pub redis: &'a mut Connection,
    /// The campaign.
    pub seq: CampaignSeq,
    /// Its lanes.
    pub lanes: Lanes,
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl Fate {
    fn note(&mut self, line: u64) {
        self.rows += 1;
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        }
    }
}

impl Scanned {
    /// Rejected rows, over all reasons.
    pub fn rejected_rows(&self) -> u64 {
        self.rejected.values().map(|fate| fate.rows).sum()
    }

    /// Bytes of Redis that the new rows need, about, in lanes planned for `expected`.
    pub fn memory_bytes(&self, expected: u64) -> u64 {
        let lanes = u64::from(Lanes::plan(expected).count()).min(self.new);
        let chunks = self.new.div_ceil(CHUNK_MAX as u64).max(lanes);
        self.new * (MESSAGE_BYTES + self.packed_bytes) + chunks * CHUNK_BYTES + lanes * LANE_BYTES
    }
}

/// Reads the whole file.
pub async fn scan(
    source: &mut RowSource,
    campaign: &Campaign,
    key: HashKey,
    mut known: Option<Known<'_>>,
) -> Result<Scanned, CliError> {
    let mut scanned = Scanned { known: known.is_some().then(Fate::default), ..Scanned::default() };
    let mut duplicates = Duplicates::new(0);
    let mut packing = Packing::new(campaign)?;
    let mut keeper = Keeper::default();
    let mut texts = Vec::new();
    let mut asked: Vec<(u64, Entry)> = Vec::with_capacity(ASKED_AT_ONCE);
    while let Some(outcome) = source.next_row()? {
        scanned.rows += 1;
        let row = match outcome {
            Outcome::Row(row) => row,
            Outcome::Reject(reject) => {
                let fate = scanned.rejected.entry(reject.reason_code()).or_default();
                fate.note(reject.line);
                fate.reason.get_or_insert_with(|| reject.reason());
                continue;
            }
        };
        let hash = dedup_hash(campaign.dedup, row.person, row.reference, key);
        texts.clear();
        let kept = [row.reference, row.debtor].into_iter().chain(row.values.iter());
        pack(kept.map(str::as_bytes), &mut texts);
        if let Some(repeat) = duplicates.see(hash, row.line, fingerprint(&texts, key)) {
            let fate = if repeat.differs { &mut scanned.differing } else { &mut scanned.repeated };
            fate.note(row.line);
            continue;
        }
        scanned.new += 1;
        scanned.states[usize::from(row.class.index())] += 1;
        packing.add(&row);
        keeper.keep(&row);
        if let Some(known) = &mut known {
            asked.push((row.line, known.entry(&row, hash, key)));
            if asked.len() == ASKED_AT_ONCE {
                known.ask(&mut asked, &mut scanned).await?;
            }
        }
    }
    if let Some(known) = &mut known {
        known.ask(&mut asked, &mut scanned).await?;
    }
    scanned.samples = keeper.samples();
    scanned.packed_bytes = packing.bytes_per_row();
    Ok(scanned)
}

impl Known<'_> {
    fn entry(&self, row: &Row<'_>, hash: i64, key: HashKey) -> Entry {
        let lane = self.lanes.lane_of(row.class, row.person, key);
        let buckets = i64::from(self.lanes.buckets(self.lanes.class_of(lane)));
        let bucket = u32::try_from(hash % buckets).unwrap_or(0);
        Entry { lane: LaneId { campaign: self.seq, lane }, bucket, hash }
    }

    async fn ask(&mut self, asked: &mut Vec<(u64, Entry)>, scanned: &mut Scanned) -> Result<(), CliError> {
        let entries: Vec<Entry> = asked.iter().map(|(_, entry)| *entry).collect();
        let there = seen::known(self.redis, &entries).await?;
        for ((line, entry), _) in asked.drain(..).zip(there).filter(|(_, there)| *there) {
            let class = usize::from(self.lanes.class_of(entry.lane.lane));
            scanned.new -= 1;
            scanned.states[class] -= 1;
            scanned.known.get_or_insert_default().note(line);
        }
        Ok(())
    }
}

/// Packs the first rows as a load would, to learn how much room they take.
struct Packing {
    builder: ChunkBuilder,
    packer: Packer,
    chunks: u64,
    rows: u64,
    bytes: u64,
}

impl Packing {
    fn new(campaign: &Campaign) -> Result<Self, CliError> {
        let packer = Packer::new().map_err(crate::intake::load::LoadError::System)?;
        Ok(Self {
            builder: ChunkBuilder::new(campaign.variables.len()),
            packer,
            chunks: 0,
            rows: 0,
            bytes: 0,
        })
    }

    fn add(&mut self, row: &Row<'_>) {
        if self.chunks >= SAMPLED_CHUNKS {
            return;
        }
        let texts = [row.reference, row.debtor].into_iter().chain(row.values.iter());
        self.builder.push(row.line, row.phone.digits(), texts);
        if self.builder.len() == CHUNK_MAX {
            self.pack();
        }
    }

    fn pack(&mut self) {
        self.rows += self.builder.len() as u64;
        self.bytes += self.builder.encode(&mut self.packer, 0).len() as u64;
        self.chunks += 1;
        self.builder.clear();
    }

    fn bytes_per_row(mut self) -> u64 {
        if !self.builder.is_empty() {
            self.pack();
        }
        self.bytes.div_ceil(self.rows.max(1))
    }
}

/// Keeps the first, the longest and the last row.
#[derive(Default)]
struct Keeper {
    first: Option<Sample>,
    longest: Option<(usize, Sample)>,
    last: Option<Sample>,
}

impl Keeper {
    fn keep(&mut self, row: &Row<'_>) {
        let sample = || Sample {
            line: row.line,
            phone: row.phone.digits(),
            values: row.values.iter().map(str::to_owned).collect(),
        };
        if self.first.is_none() {
            self.first = Some(sample());
            return;
        }
        let bytes = row.values.iter().map(str::len).sum();
        if self.longest.as_ref().is_none_or(|(most, _)| bytes > *most) {
            self.longest = Some((bytes, sample()));
        }
        match &mut self.last {
            Some(last) => {
                (last.line, last.phone) = (row.line, row.phone.digits());
                last.values.clear();
                last.values.extend(row.values.iter().map(str::to_owned));
            }
            None => self.last = Some(sample()),
        }
    }

    fn samples(self) -> Vec<Sample> {
        let mut samples: Vec<Sample> =
            [self.first, self.longest.map(|(_, sample)| sample), self.last].into_iter().flatten().collect();
        samples.sort_by_key(|sample| sample.line);
        samples.dedup_by_key(|sample| sample.line);
        samples
    }
}
