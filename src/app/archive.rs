//! Archiving a campaign that is over: exported whole, to disk and not merely to a cache, then freed in slices.
//!
//! Broken off anywhere it can be done again: before the archive is whole it is written anew, afterwards only the freeing
//! goes on. The archive holds personal data, for its owner's eyes only, and none of a person who was erased.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::queue::connection::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::store::Installation;
use crate::clock;
use crate::domain::campaign::CampaignState;
use crate::domain::ids::{LaneId, NumberId};
use crate::domain::record::State;
use crate::intake::guards::Erased;
use crate::intake::lanes::Lanes;
use crate::journal;
use crate::policy::classify::ErrorTable;
use crate::queue::archive::{self, Found, Leaving};
use crate::queue::campaigns::{self, CampaignRecord};
use crate::queue::{QueueError, erasure, lane};
use crate::report::{self, CsvSink, ReportError, ReportPlan, Sources, Totals};

/// Lanes freed between two pauses.
const LANES_AT_ONCE: u32 = 32;

/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 256 << 10;

/// Why a campaign was not archived, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Redis.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// The report.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// It is not over.
    #[error(
        "campaign {id} is {state}: only one that is done or cancelled can be archived; nothing was changed"
    )]
    NotOver {
        /// The campaign.
        id: String,
        /// Where it stands.
        state: CampaignState,
    },
    /// Something of it is not settled.
    #[error("campaign {id} has {what}; nothing was changed, try again when that is over")]
    Busy {
        /// The campaign.
        id: String,
        /// What is going on.
        what: String,
    },
    /// Receipts may still tell what became of messages.
    #[error(
        "campaign {id} has {in_doubt} messages in doubt and {held} that Meta holds back; nothing was changed. They end by \
         themselves when their wait is over; or give your word on those in doubt: carteiro campaign resolve {id} --in-doubt"
    )]
    Doubted {
        /// The campaign.
        id: String,
        /// How many are in doubt.
        in_doubt: u64,
        /// How many are held.
        held: u64,
    },
    /// Somebody else is at it.
    #[error("another archiving is under way here (it holds {}); try again when it is done", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// The place is taken.
    #[error("{} is there already, and not this campaign's; name another place with -o; nothing was changed", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
    },
    /// The disk.
    #[error("cannot write {}: {source}; nothing was freed", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An archive that was whole is not there any more.
    #[error(
        "campaign {id} was exported to {}, but that archive is not there or not whole any more: put it back, then \
         archive again; what is left of the campaign was not freed", folder.display()
    )]
    Lost {
        /// The campaign.
        id: String,
        /// Where it was.
        folder: PathBuf,
    },
}

/// A campaign that is archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Where.
    pub folder: PathBuf,
    /// Rows of its report; None: it was archived before.
    pub rows: Option<u64>,
}

/// Everything that archiving needs.
#[derive(Debug)]
pub struct Archiver<'a> {
    /// Redis.
    pub redis: &'a mut Connection,
    /// This installation.
    pub installation: &'a Installation,
    /// Where the lock is.
    pub data_dir: &'a Path,
    /// The numbers that are configured.
    pub numbers: BTreeSet<NumberId>,
    /// What the reasons mean.
    pub table: &'a ErrorTable,
    /// The journal's folder, from which the report has its times.
    pub journal: &'a Path,
    /// A pause between two slices.
    pub pause: Duration,
}

/// The folder of a campaign's archive: below `place` if that is a folder, else `place` itself.
pub fn folder_of(place: &Path, record: &CampaignRecord) -> PathBuf {
    let name = format!("{}-{}", record.id, record.seq);
    if place.is_dir() { place.join(name) } else { place.to_owned() }
}

/// Why a campaign cannot be archived now; None: it can.
pub async fn obstacle(
    redis: &mut Connection,
    record: &CampaignRecord,
) -> Result<Option<ArchiveError>, QueueError> {
    let id = || record.id.clone();
    if !matches!(record.state, CampaignState::Done | CampaignState::Cancelled) {
        return Ok(Some(ArchiveError::NotOver { id: id(), state: record.state }));
    }
    if record.loading(clock::wall().0) {
        return Ok(Some(ArchiveError::Busy { id: id(), what: "a load under way".to_owned() }));
    }
    let lanes: Vec<LaneId> = lanes(record).collect();
    let counters = lane::counters(redis, &lanes).await?;
    let of = |state| counters.iter().map(|lane| lane.of(state)).sum::<u64>();
    let [sending, in_doubt, held] = [State::Sending, State::InDoubt, State::Held].map(of);
    if sending > 0 {
        let what = format!("{sending} messages whose replies are awaited");
        return Ok(Some(ArchiveError::Busy { id: id(), what }));
    }
    Ok((in_doubt + held > 0).then(|| ArchiveError::Doubted { id: id(), in_doubt, held }))
}

impl Archiver<'_> {
    /// Archives a campaign at `place`, or goes on where an earlier archiving broke off.
    pub async fn run(&mut self, id: &str, place: &Path) -> Result<Archived, ArchiveError> {
        let _lock = lock(self.data_dir)?;
        let record = match archive::find(self.redis, id).await? {
            Found::Gone(gone) => return Ok(Archived { folder: gone.folder.into(), rows: None }),
            Found::Here(record) => record,
        };
        let done = match &record.archive {
            Some(Leaving { folder, exported: true }) => {
                let folder = PathBuf::from(folder);
                let rows = whole(&folder, &record);
                let lost = || ArchiveError::Lost { id: id.to_owned(), folder: folder.clone() };
                Archived { rows: Some(rows.ok_or_else(lost)?), folder }
            }
            _ => self.export(&record, &folder_of(place, &record)).await?,
        };
        self.free(&record).await?;
        let folder = done.folder.display().to_string();
        archive::forget(self.redis, &record, &folder, clock::wall().0).await?;
        Ok(done)
    }

    async fn export(&mut self, record: &CampaignRecord, folder: &Path) -> Result<Archived, ArchiveError> {
        let absolute = std::path::absolute(folder).map_err(|source| unwritable(folder, source))?;
        if absolute.exists() && whole(&absolute, record).is_none() {
            return Err(ArchiveError::Taken { path: absolute });
        }
        let mut leaving = Leaving { folder: absolute.display().to_string(), exported: false };
        archive::mark(self.redis, record.seq, &leaving).await?;
        // Looked at only now: a load that begins afterwards sees the mark, one that began before is seen here.
        let again = campaigns::read_all(self.redis, &[record.seq]).await?.pop();
        if let Some(obstacle) = obstacle(self.redis, again.as_ref().unwrap_or(record)).await? {
            archive::unmark(self.redis, record.seq).await?;
            return Err(obstacle);
        }
        let written = self.write(record, &absolute).await;
        let rows = match written {
            Ok(rows) => rows,
            Err(error) => {
                archive::unmark(self.redis, record.seq).await?;
                return Err(error);
            }
        };
        leaving.exported = true;
        archive::mark(self.redis, record.seq, &leaving).await?;
        Ok(Archived { folder: absolute, rows: Some(rows) })
    }

    /// Writes everything beside the folder, then puts it in its place at once.
    async fn write(&mut self, record: &CampaignRecord, folder: &Path) -> Result<u64, ArchiveError> {
        let mut draft = folder.as_os_str().to_owned();
        draft.push(".part~");
        let draft = PathBuf::from(draft);
        let failed = |source| unwritable(folder, source);
        let parent = folder.parent().unwrap_or(Path::new("/")).to_owned();
        fs::create_dir_all(&parent).map_err(failed)?;
        // What an archiving left that broke off; nobody else is at it, since we hold the lock.
        for old in [&draft, &folder.to_owned()] {
            match fs::remove_dir_all(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        DirBuilder::new().mode(0o700).create(&draft).map_err(failed)?;
        let kept = self.fill(record, &draft).await;
        let place = || {
            sync(&draft)?;
            fs::rename(&draft, folder)?;
            sync(&parent)
        };
        match kept.and_then(|rows| place().map(|()| rows).map_err(failed)) {
            Ok(rows) => Ok(rows),
            Err(error) => {
                drop(fs::remove_dir_all(&draft));
                Err(error)
            }
        }
    }

    async fn fill(&mut self, record: &CampaignRecord, draft: &Path) -> Result<u64, ArchiveError> {
        let erased = Erased::new(erasure::all(self.redis).await?, self.installation.key);
        let plan = ReportPlan {
            installation: &self.installation.name,
            seq: record.seq,
            lanes: record.lanes(),
            cancelled: record.state == CampaignState::Cancelled,
            table: self.table,
            erased: Some(&erased),
        };
        let failed = |name: &str| {
            let path = draft.join(name);
            move |source| unwritable(&path, source)
        };
        let mut out = Hashed::create(&draft.join("report.csv")).map_err(failed("report.csv"))?;
        let journal = Some(self.journal).filter(|dir| journal::holds_attempts(dir));
        let sources = Sources { journal, original: None, spill: draft };
        let totals = {
            let mut sink = CsvSink::new(&mut out);
            report::export(self.redis, &plan, &sources, &mut sink).await?.totals
        };
        let mut files = vec![out.finish("report.csv", Some(totals.rows)).map_err(failed("report.csv"))?];
        let at = jiff::Timestamp::from_millisecond(i64::try_from(clock::wall().0).unwrap_or(i64::MAX));
        let at = at.map(|at| at.to_string()).unwrap_or_default();
        let summary = summary(record, &totals, &at);
        let texts = [("campaign.toml", record.definition.clone()), ("totals.json", format!("{summary:#}\n"))];
        for (name, text) in texts {
            files.push(write_text(draft, name, &text).map_err(failed(name))?);
        }
        let manifest = json!({
            "schema": 1, "campaign": record.id, "seq": record.seq.0, "archived_at": at, "rows": totals.rows,
            "files": files,
        });
        write_text(draft, "manifest.json", &format!("{manifest:#}\n")).map_err(failed("manifest.json"))?;
        Ok(totals.rows)
    }

    /// Frees the lanes, a few at a time.
    async fn free(&mut self, record: &CampaignRecord) -> Result<(), ArchiveError> {
        let frozen = Lanes::frozen(record.expected, &record.slices);
        let buckets = |lane| frozen.as_ref().map_or(0, |lanes| lanes.buckets(lanes.class_of(lane)));
        let all: Vec<LaneId> = lanes(record).collect();
        for slice in all.chunks(LANES_AT_ONCE as usize) {
            let counters = lane::counters(self.redis, slice).await?;
            let mut numbers: BTreeSet<NumberId> = self.numbers.clone();
            numbers.extend(counters.into_iter().filter_map(|lane| lane.number));
            archive::free(self.redis, slice, &numbers, buckets).await?;
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        Ok(())
    }
}

fn lanes(record: &CampaignRecord) -> impl Iterator<Item = LaneId> {
    let campaign = record.seq;
    (0..record.lanes()).map(move |lane| LaneId { campaign, lane })
}

fn summary(record: &CampaignRecord, totals: &Totals, at: &str) -> Value {
    let loads = record.totals();
    let states: serde_json::Map<String, Value> =
        State::ALL.into_iter().map(|state| (state.as_str().to_owned(), json!(totals.of(state)))).collect();
    json!({
        "schema": 1, "id": record.id, "seq": record.seq.0, "state": record.state.as_str(), "archived_at": at,
        "rows": loads.rows, "loaded": totals.rows, "duplicate": loads.duplicate, "rejected": loads.rejected,
        "states": states,
    })
}

/// Rows of an archive that is whole and this campaign's.
fn whole(folder: &Path, record: &CampaignRecord) -> Option<u64> {
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).ok()?).ok()?;
    let ours = manifest["campaign"] == record.id.as_str() && manifest["seq"] == record.seq.0;
    let there = |file: &Value| {
        let path = file["name"].as_str().map(|name| folder.join(name));
        path.and_then(|path| fs::metadata(path).ok())
            .is_some_and(|meta| Some(meta.len()) == file["bytes"].as_u64())
    };
    let files = manifest["files"].as_array()?;
    (ours && !files.is_empty() && files.iter().all(there)).then(|| manifest["rows"].as_u64())?
}

/// A file whose bytes are counted and hashed as they are written.
struct Hashed {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Hashed {
    fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER_BYTES, file), hash: Sha256::new(), bytes: 0 })
    }

    /// Waits until it is on disk; its line of the manifest.
    fn finish(mut self, name: &str, rows: Option<u64>) -> io::Result<Value> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        let sha256: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(json!({ "name": name, "bytes": self.bytes, "sha256": sha256, "rows": rows }))
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write_text(folder: &Path, name: &str, text: &str) -> io::Result<Value> {
    let mut file = Hashed::create(&folder.join(name))?;
    file.write_all(text.as_bytes())?;
    file.finish(name, None)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// One archiving at a time on this machine; let go of when dropped.
fn lock(data_dir: &Path) -> Result<File, ArchiveError> {
    let path = data_dir.join("archive.lock");
    let open = || {
        fs::create_dir_all(data_dir)?;
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)
    };
    let file = open().map_err(|source| unwritable(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(ArchiveError::Locked { path }),
        Err(fs::TryLockError::Error(source)) => Err(unwritable(&path, source)),
    }
}

fn unwritable(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Write { path: path.to_owned(), source }
}
