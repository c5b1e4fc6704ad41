//! The record of a campaign: one hash that says what it is and where it stands.
//!
//! A campaign's lanes are fixed at its first load (`lanes`, a list of slices per calendar class): a person's lane
//! must never change. The definition is kept as the text of its file, so that it is read by one parser only.

use std::collections::BTreeMap;

use super::connection::Connection;
use redis::AsyncCommands;

use super::archive::{self, Leaving};
use super::media::CampaignMedium;
use super::{QueueError, keys, script};
use crate::domain::campaign::CampaignState;
use crate::domain::ids::CampaignSeq;
use crate::policy::brake::Tally;
use crate::policy::first::First;

/// A load counts as running for this long after its last sign of life.
pub const LOAD_SIGN_OF_LIFE_MS: u64 = 30_000;

/// A campaign as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignRecord {
    /// Sequence number.
    pub seq: CampaignSeq,
    /// The operator's id.
    pub id: String,
    /// Where it stands.
    pub state: CampaignState,
    /// Text of the campaign file.
    pub definition: String,
    /// Slices per calendar class, in the order of classes; empty before the first load.
    pub slices: Vec<u32>,
    /// Rows for which the lanes were planned.
    pub expected: u64,
    /// Last sign of life of each load in wall ms (0: it ended), and what it has read.
    pub loads: BTreeMap<String, (u64, LoadTotals)>,
    /// Since when it is in this state, in wall ms.
    pub since_ms: u64,
    /// Raised whenever lanes were added or grew.
    pub grown: u64,
    /// The one medium of all its messages, if they carry a file.
    pub media: Option<CampaignMedium>,
    /// When the oldest medium of its rows was uploaded, in wall ms, if they carry files of their own.
    pub media_oldest_ms: Option<u64>,
    /// It is being archived.
    pub archive: Option<Leaving>,
    /// What was set since it was created, by key of the campaign file.
    pub settings: BTreeMap<String, String>,
    /// How far into its lanes it may send; None: to the end.
    pub first: Option<First>,
    /// When a ready campaign begins by itself, in wall ms.
    pub start_at_ms: Option<u64>,
    /// Why it paused by itself.
    pub why: Option<String>,
    /// What had become of its messages at the last start or resume.
    pub baseline: Tally,
    /// The stay in its state, by its begin, in which nothing of it can be in doubt any more.
    pub undoubted_ms: Option<u64>,
    /// Whether it takes no more recipients.
    pub closed: bool,
}

/// What must still be as it was seen for a state to move: news that came meanwhile are not overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing but the state.
    State,
    /// Nothing was added: `grown` as seen.
    Grown(u64),
    /// It is the same stay in this state: `since_ms` as seen.
    Since(u64),
    /// It is to begin at the same time: `start_at_ms` as seen.
    StartAt(u64),
}

/// Fields of a campaign's record that go with its state, as they are written: an empty value deletes one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// None of them.
    pub fn none() -> Self {
        Self::default()
    }

    /// What goes with the begin of sending: no time, no reason, and the counts to measure from.
    pub fn begin(baseline: Tally, first: Option<&First>) -> Self {
        let first = first.map(First::to_text).unwrap_or_default();
        Self::none()
            .with("start_at_ms", "")
            .with("why", "")
            .with("first", &first)
            .with("base", &baseline.to_text())
    }

    /// What goes with an end of sending: why, if nobody asked for it.
    pub fn stop(why: &str) -> Self {
        Self::none().with("start_at_ms", "").with("why", why)
    }

    /// What goes with the end of everything: recipients that come later are not held back.
    pub fn done() -> Self {
        Self::none().with("first", "")
    }

    /// When it begins by itself; None: never.
    pub fn start_at(at_ms: Option<u64>) -> Self {
        Self::none().with("start_at_ms", &at_ms.map(|at| at.to_string()).unwrap_or_default())
    }

    /// Whether it takes no more recipients.
    pub fn closed() -> Self {
        Self::none().with("closed", "1")
    }

    /// That nothing of it can be in doubt any more, for as long as it stays in a state.
    pub fn undoubted(since_ms: u64) -> Self {
        Self::none().with("undoubted", &since_ms.to_string())
    }

    /// One setting; None: what the campaign file says.
    #[must_use]
    pub fn setting(self, key: &str, value: Option<&str>) -> Self {
        self.with(&format!("set:{key}"), value.unwrap_or_default())
    }

    #[must_use]
    fn with(mut self, field: &str, value: &str) -> Self {
        self.0.push((field.to_owned(), value.to_owned()));
        self
    }
}

/// Rows seen by the loads of a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadTotals {
    /// Rows read.
    pub rows: u64,
    /// Rows put in the queue.
    pub loaded: u64,
    /// Rows that were there already.
    pub duplicate: u64,
    /// Rows that cannot be sent.
    pub rejected: u64,
}

impl LoadTotals {
    fn to_text(self, seen_ms: u64) -> String {
        format!("{seen_ms} {} {} {} {}", self.rows, self.loaded, self.duplicate, self.rejected)
    }

    fn from_text(text: &str) -> Option<(u64, Self)> {
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        let seen_ms = next()?;
        Some((seen_ms, Self { rows: next()?, loaded: next()?, duplicate: next()?, rejected: next()? }))
    }
}

impl CampaignRecord {
    /// Lanes of the campaign.
    pub fn lanes(&self) -> u32 {
        self.slices.iter().sum()
    }

    /// Whether a load shows signs of life.
    pub fn loading(&self, now_ms: u64) -> bool {
        self.loads.values().any(|(seen, _)| now_ms.saturating_sub(*seen) < LOAD_SIGN_OF_LIFE_MS)
    }

    /// Totals over all loads.
    pub fn totals(&self) -> LoadTotals {
        self.loads.values().fold(LoadTotals::default(), |sum, (_, one)| LoadTotals {
            rows: sum.rows + one.rows,
            loaded: sum.loaded + one.loaded,
            duplicate: sum.duplicate + one.duplicate,
            rejected: sum.rejected + one.rejected,
        })
    }

    fn from_fields(seq: CampaignSeq, fields: &BTreeMap<String, String>) -> Result<Self, QueueError> {
        let text = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let state = CampaignState::parse(&text("state")).ok_or_else(|| QueueError::Corrupt {
            key: keys::campaign(seq),
            what: "its state is none that this program knows".to_owned(),
        })?;
        let loads = fields.iter().filter_map(|(name, text)| {
            Some((name.strip_prefix("load:")?.to_owned(), LoadTotals::from_text(text)?))
        });
        let lanes = text("slices");
        let (expected, slices) = lanes.split_once(':').unwrap_or_default();
        Ok(Self {
            seq,
            id: text("id"),
            state,
            definition: text("definition"),
            expected: expected.parse().unwrap_or(0),
            slices: slices.split_whitespace().filter_map(|slices| slices.parse().ok()).collect(),
            loads: loads.collect(),
            since_ms: number("since_ms"),
            grown: number("grown"),
            settings: fields
                .iter()
                .filter_map(|(name, text)| Some((name.strip_prefix("set:")?.to_owned(), text.clone())))
                .collect(),
            first: fields.get("first").and_then(|text| First::from_text(text)),
            start_at_ms: fields.get("start_at_ms").and_then(|text| text.parse().ok()),
            why: fields.get("why").cloned(),
            baseline: Tally::from_text(&text("base")),
            undoubted_ms: fields.get("undoubted").and_then(|text| text.parse().ok()),
            closed: fields.contains_key("closed"),
            media: fields.get("media").and_then(|text| CampaignMedium::parse(text)),
            archive: fields.get("archive").and_then(|text| Leaving::parse(text)),
            media_oldest_ms: fields.get("media_oldest_ms").and_then(|text| text.parse().ok()),
        })
    }
}

/// Stores a new campaign as a draft.
pub async fn create(
    connection: &mut Connection,
    id: &str,
    definition: &str,
    now_ms: u64,
) -> Result<CampaignSeq, QueueError> {
    if let Some(gone) = archive::gone(connection, id).await? {
        let what = format!("was archived ({}); give the new one another `id`", gone.folder);
        return Err(QueueError::Archived { id: id.to_owned(), what });
    }
    let seq: u32 = connection.incr(keys::CAMPAIGNS_SEQ, 1).await?;
    // The record is there before its name: a creation that breaks off leaves a record nobody can see.
    let fields = [
        ("id", id),
        ("definition", definition),
        ("state", CampaignState::Draft.as_str()),
        ("since_ms", &now_ms.to_string()),
    ];
    let _: () = connection.hset_multiple(keys::campaign(CampaignSeq(seq)), &fields).await?;
    let new: bool = connection.hset_nx(keys::CAMPAIGNS, id, seq).await?;
    if !new {
        let _: i64 = connection.del(keys::campaign(CampaignSeq(seq))).await?;
        return Err(QueueError::CampaignExists(id.to_owned()));
    }
    announce(connection).await?;
    Ok(CampaignSeq(seq))
}

/// Seq and id of every campaign, oldest first.
pub async fn list(connection: &mut Connection) -> Result<Vec<(CampaignSeq, String)>, QueueError> {
    let ids: BTreeMap<String, u32> = connection.hgetall(keys::CAMPAIGNS).await?;
    let mut all: Vec<_> = ids.into_iter().map(|(id, seq)| (CampaignSeq(seq), id)).collect();
    all.sort_unstable();
    Ok(all)
}

/// Reads campaigns in one round trip; those that are gone are left out.
pub async fn read_all(
    connection: &mut Connection,
    seqs: &[CampaignSeq],
) -> Result<Vec<CampaignRecord>, QueueError> {
    if seqs.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = redis::pipe();
    for seq in seqs {
        pipeline.hgetall(keys::campaign(*seq));
    }
    let all: Vec<BTreeMap<String, String>> = pipeline.query_async(connection).await?;
    let there = seqs.iter().zip(all).filter(|(_, fields)| !fields.is_empty());
    there.map(|(seq, fields)| CampaignRecord::from_fields(*seq, &fields)).collect()
}

/// Reads the campaign of an operator's id; an unknown one is answered with the nearest.
pub async fn find(connection: &mut Connection, id: &str) -> Result<CampaignRecord, QueueError> {
    let seq: Option<u32> = connection.hget(keys::CAMPAIGNS, id).await?;
    if let Some(seq) = seq
        && let Some(record) = read_all(connection, &[CampaignSeq(seq)]).await?.pop()
    {
        return match &record.archive {
            None => Ok(record),
            Some(_) => {
                let what =
                    format!("is being archived; `carteiro campaign archive {id}` brings that to its end");
                Err(QueueError::Archived { id: id.to_owned(), what })
            }
        };
    }
    if let Some(gone) = archive::gone(connection, id).await? {
        let what = format!("was archived; it is in {}", gone.folder);
        return Err(QueueError::Archived { id: id.to_owned(), what });
    }
    let ids = list(connection).await?;
    let nearest = ids.iter().max_by(|(_, one), (_, other)| {
        strsim::jaro_winkler(one, id).total_cmp(&strsim::jaro_winkler(other, id))
    });
    let hint = match nearest {
        Some((_, near)) if strsim::jaro_winkler(near, id) > 0.7 => format!(": did you mean {near}?"),
        Some(_) => ": `carteiro campaign list` shows all".to_owned(),
        None => ": there is none yet, create one with `carteiro campaign create`".to_owned(),
    };
    Err(QueueError::NoCampaign { id: id.to_owned(), hint })
}

/// Moves a campaign from the state seen to another. Returns false when somebody else moved it meanwhile.
pub async fn set_state(
    connection: &mut Connection,
    seq: CampaignSeq,
    (seen, new): (CampaignState, CampaignState),
    now_ms: u64,
) -> Result<bool, QueueError> {
    move_to(connection, seq, (seen, new), now_ms, &Fields::none(), Guard::State).await
}

/// The same with fields that change together with the state, which may stay; only if what the guard names is as it was seen.
pub async fn move_to(
    connection: &mut Connection,
    seq: CampaignSeq,
    (seen, new): (CampaignState, CampaignState),
    now_ms: u64,
    fields: &Fields,
    guard: Guard,
) -> Result<bool, QueueError> {
    let mut call = script::CAMPAIGN_SET.prepare_invoke();
    call.key(keys::campaign(seq)).arg(seen.as_str()).arg(new.as_str()).arg(now_ms);
    let (field, seen) = match guard {
        Guard::State => ("", 0),
        Guard::Grown(seen) => ("grown", seen),
        Guard::Since(seen) => ("since_ms", seen),
        Guard::StartAt(seen) => ("start_at_ms", seen),
    };
    call.arg(field).arg(seen);
    for (field, value) in &fields.0 {
        call.arg(field).arg(value);
    }
    let words: Vec<String> = script::run(connection, &call).await?;
    Ok(words.first().is_some_and(|word| word == "ok"))
}

/// Lets a campaign that is done go on, since something of it is left again.
pub async fn reopen(connection: &mut Connection, seq: CampaignSeq, now_ms: u64) -> Result<(), QueueError> {
    let _moved = set_state(connection, seq, (CampaignState::Done, CampaignState::Running), now_ms).await?;
    announce(connection).await.map(|_| ())
}

/// Fixes the lanes of a campaign at its first load: the rows expected and the slices of each class. Returns those
/// in force, which may be an earlier load's.
pub async fn freeze_slices(
    connection: &mut Connection,
    seq: CampaignSeq,
    expected: u64,
    slices: &[u32],
) -> Result<(u64, Vec<u32>), QueueError> {
    let words: Vec<String> = slices.iter().map(u32::to_string).collect();
    let lanes = format!("{expected}:{}", words.join(" "));
    let _new: bool = connection.hset_nx(keys::campaign(seq), "slices", lanes).await?;
    let record = read_all(connection, &[seq]).await?.pop();
    let record = record.ok_or_else(|| QueueError::Corrupt {
        key: keys::campaign(seq),
        what: "the campaign's record is gone".to_owned(),
    })?;
    Ok((record.expected, record.slices))
}

/// Sign of life of a load with what it has read so far; without `now_ms` its last. Saying it twice changes nothing.
pub async fn load_progress(
    connection: &mut Connection,
    seq: CampaignSeq,
    load: &str,
    totals: LoadTotals,
    now_ms: Option<u64>,
) -> Result<(), QueueError> {
    let mut pipeline = redis::pipe();
    pipeline.hset(keys::campaign(seq), format!("load:{load}"), totals.to_text(now_ms.unwrap_or(0))).ignore();
    pipeline.hincr(keys::campaign(seq), "grown", 1).ignore();
    let _: () = pipeline.query_async(connection).await?;
    announce(connection).await.map(|_| ())
}

/// Counts a message that came by itself, and says that its lane has more to send if it is new.
pub async fn count_one(connection: &mut Connection, seq: CampaignSeq, new: bool) -> Result<(), QueueError> {
    let mut call = script::COUNT_ONE.prepare_invoke();
    call.key(keys::campaign(seq)).arg(u8::from(new));
    script::run(connection, &call).await
}

/// Says that lanes have more to send than before.
pub async fn grow(connection: &mut Connection, seq: CampaignSeq) -> Result<(), QueueError> {
    Ok(connection.hincr(keys::campaign(seq), "grown", 1).await?)
}

/// Tells every node that something changed. Returns the version that they will acknowledge.
pub async fn announce(connection: &mut Connection) -> Result<u64, QueueError> {
    let mut call = script::ANNOUNCE.prepare_invoke();
    call.key(keys::VERSION).arg(keys::EVENTS);
    script::run_alone(connection, &call).await
}

/// The version of everything.
pub async fn version(connection: &mut Connection) -> Result<u64, QueueError> {
    let version: Option<u64> = connection.get(keys::VERSION).await?;
    Ok(version.unwrap_or(0))
}
