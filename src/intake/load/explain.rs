//! Duplicates that Redis named: which row of the campaign each repeats, whether its values are the same, and from which load
//! that row came.
//!
//! Redis keeps a hash of each row only, so the lane's log is read for the rest: once for all duplicates of the lane that
//! wait together. At most [`SUSPECTS_MAX`] wait; their rows wait in a file without a name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::sync::atomic::Ordering;

use super::raw::RawRows;
use super::{LoadError, LoadPlan, Progress, Repeats};
use crate::domain::ids::LaneId;
use crate::domain::person::Phone;
use crate::intake::duplicates::{Repeat, fingerprint};
use crate::intake::lanes::dedup_hash;
use crate::intake::packed::{fields, pack};
use crate::queue::codec::{Chunk, Unpacker};
use crate::queue::keys::LaneKeys;
use crate::queue::lane;
use crate::queue::link::Link;

/// Duplicates that wait to be explained at most: about 25 MB.
const SUSPECTS_MAX: usize = 400_000;

/// Entries of a log that are read at once.
const CHUNKS_MAX: usize = 16;

/// Duplicates that wait.
pub(super) struct Explainer {
    repeats: Repeats,
    waiting: Vec<Suspect>,
    spool: Option<BufWriter<File>>,
}

/// Duplicates to be explained now.
pub(super) struct Suspects {
    repeats: Repeats,
    waiting: Vec<Suspect>,
    spool: File,
}

/// A duplicate, in the order of the spool.
struct Suspect {
    lane: u32,
    line: u32,
    fingerprint: u32,
    length: u32,
    hash: i64,
    found: Option<(Repeat, u64)>,
}

/// The duplicates of one lane by their hash: positions among all.
type ByHash = HashMap<i64, Vec<usize>>;

impl Explainer {
    pub(super) fn new(repeats: Repeats) -> Self {
        Self { repeats, waiting: Vec::new(), spool: None }
    }

    /// Notes the rows at the positions where `known` says so. Some to be explained when enough wait.
    pub(super) fn note(
        &mut self,
        lane: u32,
        rows: &RawRows,
        known: &[bool],
    ) -> Result<Option<Suspects>, LoadError> {
        let repeats = self.repeats.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => self.spool.insert(BufWriter::new(repeats.spool()?)),
        };
        for ((row, packed), _) in rows.records().zip(known).filter(|(_, known)| **known) {
            spool.write_all(packed).map_err(|source| repeats.error(source))?;
            self.waiting.push(Suspect {
                lane,
                line: row.line,
                fingerprint: row.fingerprint,
                length: u32::try_from(packed.len()).unwrap_or(u32::MAX),
                hash: row.hash,
                found: None,
            });
        }
        drop(repeats);
        Ok(if self.waiting.len() >= SUSPECTS_MAX { self.take()? } else { None })
    }

    /// All that wait, if any.
    pub(super) fn take(&mut self) -> Result<Option<Suspects>, LoadError> {
        let Some(spool) = self.spool.take() else {
            return Ok(None);
        };
        let failed = |error: std::io::IntoInnerError<_>| {
            let repeats = self.repeats.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            repeats.error(error.into_error())
        };
        let spool = spool.into_inner().map_err(failed)?;
        Ok(Some(Suspects {
            repeats: self.repeats.clone(),
            waiting: std::mem::take(&mut self.waiting),
            spool,
        }))
    }
}

/// Finds what each repeats, and writes them down.
pub(super) async fn explain(
    suspects: Option<Suspects>,
    plan: &LoadPlan,
    link: &Link,
    progress: &Progress,
) -> Result<(), LoadError> {
    let Some(mut suspects) = suspects else {
        return Ok(());
    };
    let mut order: Vec<usize> = (0..suspects.waiting.len()).collect();
    order.sort_unstable_by_key(|at| suspects.waiting[*at].lane);
    let mut unpacker = Unpacker::new()?;
    let same_lane = |one: &usize, other: &usize| suspects.waiting[*one].lane == suspects.waiting[*other].lane;
    let lanes: Vec<Vec<usize>> = order.chunk_by(same_lane).map(<[usize]>::to_vec).collect();
    for positions in lanes {
        let lane = suspects.waiting[positions[0]].lane;
        let mut by_hash = ByHash::new();
        for at in positions {
            by_hash.entry(suspects.waiting[at].hash).or_default().push(at);
        }
        find(&mut suspects.waiting, by_hash, LaneId { campaign: plan.seq, lane }, plan, link, &mut unpacker)
            .await?;
    }
    suspects.write(progress)
}

/// Reads the log of a lane until everything is found.
async fn find(
    waiting: &mut [Suspect],
    mut by_hash: ByHash,
    lane: LaneId,
    plan: &LoadPlan,
    link: &Link,
    unpacker: &mut Unpacker,
) -> Result<(), LoadError> {
    let log = LaneKeys::new(lane).log;
    let mut from = "-".to_owned();
    while !by_hash.is_empty() {
        let entries = link
            .call(async |redis| {
                let mut call = redis::cmd("XRANGE");
                call.arg(&log).arg(&from).arg("+").arg("COUNT").arg(CHUNKS_MAX);
                Ok(call.query_async::<Vec<(String, Vec<Vec<u8>>)>>(redis).await?)
            })
            .await?;
        let Some((last, _)) = entries.last() else {
            return Ok(());
        };
        from = format!("({last}");
        for (id, fields) in entries {
            let (first, packed) = lane::entry(&log, &id, fields)?;
            let chunk =
                unpacker.chunk(first, &packed).map_err(|error| lane::undecodable(lane, first, &error))?;
            look(&chunk, waiting, &mut by_hash, plan);
        }
    }
    Ok(())
}

/// Looks through a chunk for the rows that are repeated.
fn look(chunk: &Chunk, waiting: &mut [Suspect], by_hash: &mut ByHash, plan: &LoadPlan) {
    let mut texts = Vec::new();
    for row in 0..chunk.len() {
        let Some(phone) = Phone::from_digits(chunk.phone(row)) else { continue };
        let hash = dedup_hash(plan.campaign.dedup, phone.person(), chunk.reference(row), plan.key);
        let Some(positions) = by_hash.remove(&hash) else { continue };
        let values = (0..chunk.variables()).map(|variable| chunk.value(row, variable));
        texts.clear();
        let kept = [chunk.reference(row), chunk.debtor(row)].into_iter().chain(values);
        pack(kept.map(str::as_bytes), &mut texts);
        let print = fingerprint(&texts, plan.key);
        for at in positions {
            let suspect = &mut waiting[at];
            let differs = suspect.fingerprint != print;
            let repeat = Repeat { line: u64::from(chunk.line(row)), differs };
            suspect.found = Some((repeat, chunk.loaded_at_ms));
        }
    }
}

impl Suspects {
    fn write(mut self, progress: &Progress) -> Result<(), LoadError> {
        let mut repeats = self.repeats.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.spool.rewind().map_err(|source| repeats.error(source))?;
        let mut spool = BufReader::new(self.spool);
        let mut packed = Vec::new();
        for suspect in &self.waiting {
            packed.resize(suspect.length as usize, 0);
            spool.read_exact(&mut packed).map_err(|source| repeats.error(source))?;
            let line = u64::from(suspect.line);
            match suspect.found {
                Some((repeat, loaded_at_ms)) => {
                    progress.differs.fetch_add(u64::from(repeat.differs), Ordering::Relaxed);
                    repeats.stored(fields(&packed), line, repeat, loaded_at_ms)?;
                }
                None => repeats.unknown(fields(&packed), line)?,
            }
        }
        Ok(())
    }
}
