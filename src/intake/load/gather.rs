//! The reading side of a load: rows gathered into chunks by lane, rejects and repeats of the same input written down.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use crossbeam::channel;

use super::raw::{Head, RawRows};
use super::{Batch, GATHERED_MAX_BYTES, LoadError, LoadPlan, Progress, Repeats};
use crate::intake::duplicates::{Duplicates, fingerprint};
use crate::intake::lanes::dedup_hash;
use crate::intake::packed::pack;
use crate::intake::reject::RejectWriter;
use crate::intake::row::{Outcome, Row};
use crate::intake::rows::RowSource;

/// Gathers rows into chunks by lane.
pub(super) struct Gather<'a> {
    plan: &'a LoadPlan,
    out: channel::Sender<Batch>,
    progress: &'a Progress,
    repeats: &'a Repeats,
    seen: Duplicates,
    lanes: Vec<Option<RawRows>>,
    gathered_bytes: usize,
    duplicate: u64,
    /// Texts of one row.
    texts: Vec<u8>,
}

/// Rejects by reason, and the file they are in.
type Read = (BTreeMap<&'static str, u64>, Option<PathBuf>);

impl<'a> Gather<'a> {
    pub(super) fn new(
        plan: &'a LoadPlan,
        out: channel::Sender<Batch>,
        progress: &'a Progress,
        repeats: &'a Repeats,
    ) -> Self {
        let lanes = (0..plan.lanes.count()).map(|_| None).collect();
        let seen = Duplicates::new(0);
        Self { plan, out, progress, repeats, seen, lanes, gathered_bytes: 0, duplicate: 0, texts: Vec::new() }
    }

    pub(super) fn run(mut self, mut source: RowSource) -> Result<Read, LoadError> {
        let mut rejects = RejectWriter::new(self.plan.rejects.clone(), source.layout().clone());
        let mut reasons = BTreeMap::new();
        let (mut rows, mut rejected) = (0u64, 0u64);
        while let Some(outcome) = source.next_row()? {
            rows += 1;
            let open = match outcome {
                Outcome::Row(row) => self.row(&row)?,
                Outcome::Reject(reject) => {
                    rejects.write(&reject)?;
                    *reasons.entry(reject.error.reason_code()).or_default() += 1;
                    rejected += 1;
                    true
                }
            };
            if rows.is_multiple_of(1024) {
                self.show(rows, rejected, source.bytes_read());
            }
            if !open {
                break;
            }
        }
        for lane in 0..self.lanes.len() {
            self.flush(lane);
        }
        self.show(rows, rejected, source.bytes_read());
        Ok((reasons, rejects.finish()?))
    }

    fn show(&mut self, rows: u64, rejected: u64, bytes: u64) {
        self.progress.rows.store(rows, Ordering::Relaxed);
        self.progress.rejected.store(rejected, Ordering::Relaxed);
        self.progress.bytes.store(bytes, Ordering::Relaxed);
        self.progress.duplicate.fetch_add(std::mem::take(&mut self.duplicate), Ordering::Relaxed);
    }

    /// False: nobody takes chunks any more.
    fn row(&mut self, row: &Row<'_>) -> Result<bool, LoadError> {
        let plan = self.plan;
        let values = row.values.iter().enumerate().map(|(at, value)| plan.guards.stored(at, value));
        self.texts.clear();
        pack([row.reference, row.debtor].into_iter().chain(values).map(str::as_bytes), &mut self.texts);
        let hash = dedup_hash(plan.campaign.dedup, row.person, row.reference, plan.key);
        let print = fingerprint(&self.texts, plan.key);
        if let Some(repeat) = self.seen.see(hash, row.line, print) {
            self.duplicate += 1;
            self.progress.differs.fetch_add(u64::from(repeat.differs), Ordering::Relaxed);
            let mut repeats = self.repeats.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            repeats.here(row.record.fields(), row.line, repeat)?;
            return Ok(true);
        }
        let lane = plan.lanes.lane_of(row.class, row.person, plan.key) as usize;
        let gathered = self.lanes[lane].get_or_insert_with(RawRows::new);
        // Only a row that the index had no room for can be in its lane's chunk already.
        if self.seen.is_full() && gathered.hashes().any(|known| known == hash) {
            self.duplicate += 1;
            let mut repeats = self.repeats.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            repeats.unknown(row.record.fields(), row.line)?;
            return Ok(true);
        }
        let before = gathered.bytes();
        let line = u32::try_from(row.line).unwrap_or(u32::MAX);
        let head = Head { line, fingerprint: print, hash, phone: row.phone.digits() };
        gathered.push(head, &self.texts, row.record.fields());
        self.gathered_bytes += gathered.bytes() - before;
        if gathered.is_full() {
            return Ok(self.flush(lane));
        }
        if self.gathered_bytes > GATHERED_MAX_BYTES {
            let bytes = |lane: &Option<RawRows>| lane.as_ref().map_or(0, RawRows::bytes);
            let fullest = (0..self.lanes.len()).max_by_key(|lane| bytes(&self.lanes[*lane]));
            return Ok(fullest.is_none_or(|fullest| self.flush(fullest)));
        }
        Ok(true)
    }

    fn flush(&mut self, lane: usize) -> bool {
        let Some(rows) = self.lanes[lane].take() else {
            return true;
        };
        self.gathered_bytes -= rows.bytes();
        let lane = u32::try_from(lane).expect("lanes are bounded by LANES_MAX");
        self.out.send(Batch { lane, rows, packed: Vec::new() }).is_ok()
    }
}
