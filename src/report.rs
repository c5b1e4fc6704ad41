//! The report of a campaign: what became of every loaded row, streamed from the lanes as CSV.
//!
//! Memory is bounded by [`CHUNKS_MAX`] chunks, whatever the campaign holds. Rows come lane by lane; the line says
//! where in its file a row stood. It reads while an engine may be sending: each row is true for its own moment.
//! It holds personal data: whoever opens the file keeps it from others.

use std::io::{self, Write};

use redis::aio::MultiplexedConnection;

use crate::domain::ids::{CampaignSeq, LaneId, MessageId};
use crate::domain::record::{RECORD_BYTES, Record, State};
use crate::policy::classify::ErrorTable;
use crate::queue::codec::{Chunk, Unpacker};
use crate::queue::keys::LaneKeys;
use crate::queue::{QueueError, lane};

/// Chunks read at once.
pub const CHUNKS_MAX: usize = 100;

/// The columns, in order.
pub const COLUMNS: [&str; 10] =
    ["line", "ref", "debtor", "person", "message_id", "state", "attempts", "code", "reason", "number"];

/// Why there is no whole report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Redis.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// Whatever is written to.
    #[error("cannot write the report: {0}")]
    Write(#[from] io::Error),
}

/// What to report on.
#[derive(Clone, Copy, Debug)]
pub struct ReportPlan<'a> {
    /// Name of the installation: part of every message's id.
    pub installation: &'a str,
    /// The campaign.
    pub seq: CampaignSeq,
    /// Its lanes.
    pub lanes: u32,
    /// It was cancelled: what was not sent never will be.
    pub cancelled: bool,
    /// Names of the reasons.
    pub table: &'a ErrorTable,
}

/// Rows by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All of them.
    pub rows: u64,
    /// By the number of the state.
    pub states: [u64; State::ALL.len()],
}

/// One lane with the texts that its rows share.
struct Lane<'a> {
    plan: &'a ReportPlan<'a>,
    id: LaneId,
    keys: LaneKeys,
    number: String,
    /// Code and reason by the record's reason.
    reasons: &'a [(String, String)],
}

type Entries = Vec<(String, Vec<Vec<u8>>)>;

/// Writes a header and one row per loaded message.
pub async fn write(
    connection: &mut MultiplexedConnection,
    plan: &ReportPlan<'_>,
    out: impl Write,
) -> Result<Totals, ReportError> {
    let mut out = csv::Writer::from_writer(out);
    out.write_record(COLUMNS).map_err(io_error)?;
    let reasons: Vec<(String, String)> = (0..=u8::MAX).map(|reason| words(plan.table, reason)).collect();
    let mut totals = Totals::default();
    for lane in 0..plan.lanes {
        let id = LaneId { campaign: plan.seq, lane };
        let mut lane = Lane { plan, id, keys: LaneKeys::new(id), number: String::new(), reasons: &reasons };
        lane.write(connection, &mut out, &mut totals).await?;
    }
    out.flush()?;
    Ok(totals)
}

impl Lane<'_> {
    async fn write(
        &mut self,
        connection: &mut MultiplexedConnection,
        out: &mut csv::Writer<impl Write>,
        totals: &mut Totals,
    ) -> Result<(), ReportError> {
        let mut unpacker = Unpacker::new()?;
        let mut from = "-".to_owned();
        loop {
            let entries = self.entries(connection, &from).await?;
            let whole = entries.len() == CHUNKS_MAX;
            let Some((last, _)) = entries.last() else {
                return Ok(());
            };
            from = format!("({last}");
            let decode = |(id, fields): (String, Vec<Vec<u8>>)| {
                let (first, packed) = lane::entry(&self.keys.log, &id, fields)?;
                unpacker.chunk(first, &packed).map_err(|error| lane::undecodable(self.id, first, &error))
            };
            let chunks: Vec<Chunk> = entries.into_iter().map(decode).collect::<Result<_, _>>()?;
            let records = self.records(connection, &chunks).await?;
            self.rows(&chunks, &records, out, totals)?;
            if !whole {
                return Ok(());
            }
        }
    }

    /// The next entries of the log, and the lane's number.
    async fn entries(
        &mut self,
        connection: &mut MultiplexedConnection,
        from: &str,
    ) -> Result<Entries, QueueError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("XRANGE").arg(&self.keys.log).arg(from).arg("+").arg("COUNT").arg(CHUNKS_MAX);
        pipeline.cmd("HGET").arg(&self.keys.meta).arg("num");
        let (entries, number): (Entries, Option<String>) = pipeline.query_async(connection).await?;
        self.number = number.unwrap_or_default();
        Ok(entries)
    }

    /// The records of consecutive chunks.
    async fn records(
        &self,
        connection: &mut MultiplexedConnection,
        chunks: &[Chunk],
    ) -> Result<Vec<u8>, QueueError> {
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else {
            return Ok(Vec::new());
        };
        let (from, to) = (first.first as usize, last.first as usize + last.len());
        let mut call = redis::cmd("GETRANGE");
        call.arg(&self.keys.state).arg(from * RECORD_BYTES).arg(to * RECORD_BYTES - 1);
        let records: Vec<u8> = call.query_async(connection).await?;
        let rows: usize = chunks.iter().map(Chunk::len).sum();
        if rows != to - from || records.len() != rows * RECORD_BYTES {
            return Err(self.corrupt(format!(
                "{rows} messages from {from} to {to} have {} bytes of records",
                records.len()
            )));
        }
        Ok(records)
    }

    fn rows(
        &self,
        chunks: &[Chunk],
        records: &[u8],
        out: &mut csv::Writer<impl Write>,
        totals: &mut Totals,
    ) -> Result<(), ReportError> {
        let mut records = records.chunks_exact(RECORD_BYTES);
        for chunk in chunks {
            for row in 0..chunk.len() {
                let record = records.next().and_then(|bytes| Record::from_bytes(bytes.try_into().ok()?));
                let record = record.ok_or_else(|| self.corrupt("a record has no known state".to_owned()))?;
                self.row(chunk, row, record, out, totals).map_err(io_error)?;
            }
        }
        Ok(())
    }

    fn row(
        &self,
        chunk: &Chunk,
        row: usize,
        record: Record,
        out: &mut csv::Writer<impl Write>,
        totals: &mut Totals,
    ) -> csv::Result<()> {
        let state =
            if self.plan.cancelled && record.state.claimable() { State::Cancelled } else { record.state };
        let index = chunk.first + u32::try_from(row).unwrap_or(u32::MAX);
        let (code, reason) = &self.reasons[usize::from(record.reason)];
        let message = MessageId { lane: self.id, index };
        // The number of the lane is the one that sends it from now on; of an untouched message it is a plan.
        let fields = [
            &chunk.line(row).to_string(),
            chunk.reference(row),
            chunk.debtor(row),
            &format!("+{}", chunk.phone(row)),
            &format!("ct1.{}.{message}", self.plan.installation),
            state.as_str(),
            &record.attempt.to_string(),
            code,
            reason,
            &self.number,
        ];
        out.write_record(fields)?;
        totals.rows += 1;
        totals.states[usize::from(state.number())] += 1;
        Ok(())
    }

    fn corrupt(&self, what: String) -> QueueError {
        QueueError::Corrupt { key: self.keys.state.clone(), what }
    }
}

impl Totals {
    /// Rows in `state`.
    pub fn of(&self, state: State) -> u64 {
        self.states[usize::from(state.number())]
    }
}

/// Meta's code and the reason in words; empty where there is none.
fn words(table: &ErrorTable, reason: u8) -> (String, String) {
    match (table.reason(reason), reason) {
        (Some(row), _) => (row.codes_text(), format!("{}: {}", row.name, row.meaning)),
        (None, 0) => (String::new(), String::new()),
        (None, reason) => (String::new(), format!("reason {reason} of another version's error table")),
    }
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_code_and_words() {
        let table = ErrorTable::builtin();
        assert_eq!(words(&table, 0), (String::new(), String::new()));
        let row = table.code(131_026).unwrap();
        let (code, reason) = words(&table, row.reason);
        assert_eq!(code, "131026");
        assert!(reason.starts_with(&format!("{}: ", row.name)), "{reason}");
        assert!(words(&table, 254).1.contains("254"));
    }
}
