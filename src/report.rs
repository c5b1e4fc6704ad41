//! The report of a campaign: what became of every loaded row, streamed from the lanes; with number, Meta's id and times
//! from the journal, and with the columns of the recipients file, where these are given.
//!
//! Memory is bounded by [`CHUNKS_MAX`] chunks and one part of the lanes, whatever the campaign holds: journal and
//! file are set aside on disk by the part of each message's lane, and joined part by part. Rows come lane by lane; the line
//! says where in its file a row stood. It reads while an engine may be sending: each row is true for its own moment.
//! It holds personal data: whoever opens the file keeps it from others.

mod original;
mod parquet;
mod past;
mod sink;
mod spill;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::queue::connection::Connection;

use crate::domain::ids::{CampaignSeq, LaneId, MessageId};
use crate::domain::person::Phone;
use crate::domain::receipt::flags;
use crate::domain::record::{RECORD_BYTES, Record, State};
use crate::intake::csv::InputError;
use crate::intake::guards::Erased;
use crate::journal::{JournalError, Scanned};
use crate::policy::classify::ErrorTable;
use crate::queue::codec::{Chunk, Unpacker};
use crate::queue::keys::LaneKeys;
use crate::queue::{QueueError, lane};

pub use self::original::Original;
use self::original::{Fate, Part, Rows};
pub use self::parquet::ParquetSink;
pub use self::past::Past;
use self::past::Pasts;
use self::spill::Spill;
pub use sink::{Cell, Column, CsvSink, ExcelSink, Kind, Sink};

/// Messages that a part should hold: some dozen megabytes with everything that is joined to them.
const PART_ROWS: u64 = 40_000;

/// Parts at most; each is up to two open files.
const PARTS_MAX: u64 = 256;

/// Chunks read at once.
pub const CHUNKS_MAX: usize = 100;

/// The columns, in order.
pub const COLUMNS: [&str; 17] = [
    "line",
    "ref",
    "debtor",
    "person",
    "message_id",
    "state",
    "attempts",
    "code",
    "reason",
    "number",
    "receipt",
    "wamid",
    "begun_at",
    "replied_at",
    "sent_at",
    "delivered_at",
    "read_at",
];

/// Why there is no whole report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Redis.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// Whatever is written to.
    #[error("cannot write the report: {0}")]
    Write(#[from] io::Error),
    /// The journal.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// The file that the report is joined with, as recipients.
    #[error("the file of --join: {0}")]
    Input(#[from] InputError),
    /// The file that the report is joined with, or one beside it.
    #[error("cannot read {}: {source}", path.display())]
    Original {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
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
    /// People of whom nothing is told but what became of their messages.
    pub erased: Option<&'a Erased>,
}

/// What a report takes besides Redis.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The journal's folder; None: the columns that come from it are empty.
    pub journal: Option<&'a Path>,
    /// The recipients file.
    pub original: Option<Original<'a>>,
    /// Where parts are set aside.
    pub spill: &'a Path,
}

/// Rows by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All of them.
    pub rows: u64,
    /// By the number of the state.
    pub states: [u64; State::ALL.len()],
}

/// What a report holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Loaded rows.
    pub totals: Totals,
    /// What the journal gave.
    pub journal: Option<Scanned>,
    /// Loaded rows that have their columns of the file.
    pub joined: u64,
    /// Rows of the file that are not loaded: duplicates, rejected ones, others.
    pub duplicates: u64,
    /// See there.
    pub rejected: u64,
    /// See there.
    pub not_loaded: u64,
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

/// What is joined to the rows of a part, and where they go.
struct Joint<'a> {
    sink: &'a mut dyn Sink,
    pasts: HashMap<MessageId, Past>,
    journaled: bool,
    part: Option<Part>,
    /// Columns of the file.
    extra: usize,
    exported: Exported,
}

type Entries = Vec<(String, Vec<Vec<u8>>)>;

/// Writes a header and one row per loaded message as CSV, from Redis alone.
pub async fn write(
    connection: &mut Connection,
    plan: &ReportPlan<'_>,
    out: impl Write,
) -> Result<Totals, ReportError> {
    let sources = Sources { journal: None, original: None, spill: Path::new(".") };
    let mut sink = CsvSink::new(out);
    Ok(export(connection, plan, &sources, &mut sink).await?.totals)
}

/// Writes a header, one row per loaded message, and the rows of the joined file that are not loaded.
pub async fn export(
    connection: &mut Connection,
    plan: &ReportPlan<'_>,
    sources: &Sources<'_>,
    sink: &mut dyn Sink,
) -> Result<Exported, ReportError> {
    let (parts, part_of) = parts(connection, plan, sources).await?;
    let mut pasts = match sources.journal {
        Some(dir) => Some(Pasts::gather(dir, plan.seq, &part_of, Spill::new(sources.spill, parts)?)?),
        None => None,
    };
    let mut rows = match &sources.original {
        Some(original) => {
            let spill = Spill::new(sources.spill, parts + 1)?;
            Some(Rows::gather(original, &part_of, parts, spill)?)
        }
        None => None,
    };
    let own = rows.as_ref().map_or(&[][..], |rows| &rows.columns);
    sink.columns(&columns(own))?;
    let reasons: Vec<(String, String)> = (0..=u8::MAX).map(|reason| words(plan.table, reason)).collect();
    let mut joint = Joint {
        sink,
        pasts: HashMap::new(),
        journaled: pasts.is_some(),
        part: None,
        extra: own.len(),
        exported: Exported {
            journal: pasts.as_ref().map(|pasts| pasts.scanned.clone()),
            ..Exported::default()
        },
    };
    let mut lanes = (0..plan.lanes).peekable();
    for part in 0..parts {
        joint.pasts = pasts.as_mut().map(|pasts| pasts.take(part)).transpose()?.unwrap_or_default();
        joint.part = rows.as_mut().map(|rows| rows.take(part)).transpose()?;
        let in_part = |lane: &u32| part_of.get(*lane as usize).is_none_or(|of| usize::from(*of) == part);
        while let Some(lane) = lanes.next_if(in_part) {
            let id = LaneId { campaign: plan.seq, lane };
            let keys = LaneKeys::new(id);
            let mut lane = Lane { plan, id, keys, number: String::new(), reasons: &reasons };
            lane.write(connection, &mut joint).await?;
        }
        if let (Some(rows), Some(left)) = (&rows, joint.part.take()) {
            joint.not_loaded(rows, &left)?;
        }
    }
    if let Some(rows) = &mut rows {
        let left = rows.take_rejects()?;
        joint.not_loaded(rows, &left)?;
    }
    joint.sink.finish()?;
    Ok(joint.exported)
}

/// How many parts, and which part each lane is in: neighbours, of about one size.
async fn parts(
    connection: &mut Connection,
    plan: &ReportPlan<'_>,
    sources: &Sources<'_>,
) -> Result<(usize, Vec<u16>), ReportError> {
    if sources.journal.is_none() && sources.original.is_none() {
        return Ok((1, vec![0; plan.lanes as usize]));
    }
    let lanes: Vec<LaneId> = (0..plan.lanes).map(|lane| LaneId { campaign: plan.seq, lane }).collect();
    let counts: Vec<u64> =
        lane::counters(connection, &lanes).await?.into_iter().map(|lane| lane.count).collect();
    let all: u64 = counts.iter().sum();
    let parts = all.div_ceil(PART_ROWS).clamp(1, PARTS_MAX);
    let mut before = 0;
    let part = |count: u64| {
        let part = before * parts / all.max(1);
        before += count;
        u16::try_from(part.min(parts - 1)).unwrap_or(0)
    };
    Ok((usize::try_from(parts).unwrap_or(1), counts.into_iter().map(part).collect()))
}

/// Our columns, then the file's; one that has the name of an earlier one is marked.
fn columns(own: &[String]) -> Vec<Column> {
    let kind = |name: &str| match name {
        "line" | "attempts" => Kind::Number,
        _ if name.ends_with("_at") => Kind::Time,
        _ => Kind::Text,
    };
    let mut all: Vec<Column> =
        COLUMNS.map(|name| Column { name: name.to_owned(), kind: kind(name) }).to_vec();
    for name in own {
        let mut name = name.clone();
        while all.iter().any(|column| column.name == name) {
            name = format!("file_{name}");
        }
        all.push(Column { name, kind: Kind::Text });
    }
    all
}

impl Joint<'_> {
    /// Writes the rows of the file that no message was made of.
    fn not_loaded(&mut self, rows: &Rows, part: &Part) -> Result<(), ReportError> {
        for row in part.left()? {
            let Fate { state, code, reason } = rows.fate(part, &row);
            let own: Vec<_> = row.fields().collect();
            let mut cells = vec![Cell::Empty; COLUMNS.len()];
            (cells[0], cells[5]) = (Cell::Number(row.line), Cell::Text(state));
            (cells[7], cells[8]) = (Cell::Text(&code), Cell::Text(&reason));
            cells.extend(own.iter().map(|field| Cell::Text(field)));
            cells.resize(COLUMNS.len() + self.extra, Cell::Empty);
            self.sink.row(&cells)?;
            match state {
                "duplicate" => self.exported.duplicates += 1,
                "rejected" => self.exported.rejected += 1,
                _ => self.exported.not_loaded += 1,
            }
        }
        Ok(())
    }
}

impl Lane<'_> {
    async fn write(&mut self, connection: &mut Connection, joint: &mut Joint<'_>) -> Result<(), ReportError> {
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
            self.rows(&chunks, &records, joint)?;
            if !whole {
                return Ok(());
            }
        }
    }

    /// The next entries of the log, and the lane's number.
    async fn entries(&mut self, connection: &mut Connection, from: &str) -> Result<Entries, QueueError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("XRANGE").arg(&self.keys.log).arg(from).arg("+").arg("COUNT").arg(CHUNKS_MAX);
        pipeline.cmd("HGET").arg(&self.keys.meta).arg("num");
        let (entries, number): (Entries, Option<String>) = pipeline.query_async(connection).await?;
        self.number = number.unwrap_or_default();
        Ok(entries)
    }

    /// The records of consecutive chunks.
    async fn records(&self, connection: &mut Connection, chunks: &[Chunk]) -> Result<Vec<u8>, QueueError> {
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

    fn rows(&self, chunks: &[Chunk], records: &[u8], joint: &mut Joint<'_>) -> Result<(), ReportError> {
        let mut records = records.chunks_exact(RECORD_BYTES);
        for chunk in chunks {
            for row in 0..chunk.len() {
                let record = records.next().and_then(|bytes| Record::from_bytes(bytes.try_into().ok()?));
                let record = record.ok_or_else(|| self.corrupt("a record has no known state".to_owned()))?;
                self.row(chunk, row, record, joint)?;
            }
        }
        Ok(())
    }

    fn row(&self, chunk: &Chunk, row: usize, record: Record, joint: &mut Joint<'_>) -> io::Result<()> {
        let state =
            if self.plan.cancelled && record.state.claimable() { State::Cancelled } else { record.state };
        let index = chunk.first + u32::try_from(row).unwrap_or(u32::MAX);
        let (code, reason) = &self.reasons[usize::from(record.reason)];
        let message = MessageId { lane: self.id, index };
        // The log still holds an erased person until the campaign is archived; nothing reads them out.
        let told = self.plan.erased.is_none_or(|erased| !erased.holds_phone(chunk.phone(row)));
        let tell = |text| if told { Cell::Text(text) } else { Cell::Empty };
        let person = format!("+{}", chunk.phone(row));
        let message_id = format!("ct1.{}.{message}", self.plan.installation);
        let past = joint.pasts.remove(&message).unwrap_or_default();
        // Without a journal the lane's number is all there is: it sends the lane from now on, and of an untouched
        // message it is a plan.
        let number =
            if joint.journaled { past.number.as_ref().map(|id| &*id.0) } else { Some(self.number.as_str()) };
        let time = |ms: Option<u64>| ms.map_or(Cell::Empty, Cell::Time);
        let own = joint.part.as_mut().filter(|_| told).and_then(|part| {
            let person = Phone::from_digits(chunk.phone(row))?.person();
            Some(
                part.row_of(chunk, row, person.0)?
                    .fields()
                    .map(std::borrow::Cow::into_owned)
                    .collect::<Vec<_>>(),
            )
        });
        let mut cells = Vec::with_capacity(COLUMNS.len() + joint.extra);
        cells.extend([
            if told { Cell::Number(u64::from(chunk.line(row))) } else { Cell::Empty },
            tell(chunk.reference(row)),
            tell(chunk.debtor(row)),
            tell(&person),
            Cell::Text(&message_id),
            Cell::Text(state.as_str()),
            Cell::Number(u64::from(record.attempt)),
            Cell::Text(code),
            Cell::Text(reason),
            number.map_or(Cell::Empty, Cell::Text),
            Cell::Text(furthest(record.flags)),
            // Meta makes its id from the phone.
            past.wamid.as_deref().filter(|_| told).map_or(Cell::Empty, Cell::Text),
            time(past.begun_ms),
            time(past.replied_ms),
            time(past.sent_ms),
            time(past.delivered_ms),
            time(past.read_ms),
        ]);
        cells.extend(own.iter().flatten().map(|field| Cell::Text(field)));
        cells.resize(COLUMNS.len() + joint.extra, Cell::Empty);
        joint.sink.row(&cells)?;
        joint.exported.joined += u64::from(own.is_some());
        joint.exported.totals.rows += 1;
        joint.exported.totals.states[usize::from(state.number())] += 1;
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

/// The furthest that Meta's receipts say the message got; empty before the first.
fn furthest(all: u8) -> &'static str {
    let order = [
        (flags::READ, "read"),
        (flags::DELIVERED, "delivered"),
        (flags::FAILED, "failed"),
        (flags::SENT, "sent"),
    ];
    order.iter().find(|(flag, _)| all & flag != 0).map_or("", |(_, word)| word)
}

/// Meta's code and the reason in words; empty where there is none.
fn words(table: &ErrorTable, reason: u8) -> (String, String) {
    match (table.reason(reason), reason) {
        (Some(row), _) => (row.codes_text(), format!("{}: {}", row.name, row.meaning)),
        (None, 0) => (String::new(), String::new()),
        (None, reason) => (String::new(), format!("reason {reason} of another version's error table")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_furthest_receipt_is_told() {
        use crate::domain::receipt::flags::{DELIVERED, FAILED, READ, SENT};
        let told = [0, SENT, SENT | FAILED, SENT | DELIVERED | FAILED, READ | DELIVERED, 64].map(furthest);
        assert_eq!(told, ["", "sent", "failed", "delivered", "read", ""]);
    }

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
