//! The record of a campaign: one hash that says what it is and where it stands.
//!
//! A campaign's lanes are fixed at its first load (`lanes`, a list of slices per calendar class): a person's lane
//! must never change. The definition is kept as the text of its file, so that it is read by one parser only.

use std::collections::BTreeMap;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::{QueueError, keys, script};
use crate::domain::campaign::CampaignState;
use crate::domain::ids::CampaignSeq;

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
        })
    }
}

/// Stores a new campaign as a draft.
pub async fn create(
    connection: &mut MultiplexedConnection,
    id: &str,
    definition: &str,
    now_ms: u64,
) -> Result<CampaignSeq, QueueError> {
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
pub async fn list(connection: &mut MultiplexedConnection) -> Result<Vec<(CampaignSeq, String)>, QueueError> {
    let ids: BTreeMap<String, u32> = connection.hgetall(keys::CAMPAIGNS).await?;
    let mut all: Vec<_> = ids.into_iter().map(|(id, seq)| (CampaignSeq(seq), id)).collect();
    all.sort_unstable();
    Ok(all)
}

/// Reads campaigns in one round trip; those that are gone are left out.
pub async fn read_all(
    connection: &mut MultiplexedConnection,
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
pub async fn find(connection: &mut MultiplexedConnection, id: &str) -> Result<CampaignRecord, QueueError> {
    let seq: Option<u32> = connection.hget(keys::CAMPAIGNS, id).await?;
    if let Some(seq) = seq
        && let Some(record) = read_all(connection, &[CampaignSeq(seq)]).await?.pop()
    {
        return Ok(record);
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
    connection: &mut MultiplexedConnection,
    seq: CampaignSeq,
    (seen, new): (CampaignState, CampaignState),
    now_ms: u64,
) -> Result<bool, QueueError> {
    let mut call = script::CAMPAIGN_SET.prepare_invoke();
    call.key(keys::campaign(seq)).arg(seen.as_str()).arg(new.as_str()).arg(now_ms);
    let words: Vec<String> = script::run(connection, &call).await?;
    Ok(words.first().is_some_and(|word| word == "ok"))
}

/// Fixes the lanes of a campaign at its first load: the rows expected and the slices of each class. Returns those
/// in force, which may be an earlier load's.
pub async fn freeze_slices(
    connection: &mut MultiplexedConnection,
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
    connection: &mut MultiplexedConnection,
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

/// Tells every node that something changed. Returns the version that they will acknowledge.
pub async fn announce(connection: &mut MultiplexedConnection) -> Result<u64, QueueError> {
    let mut call = script::ANNOUNCE.prepare_invoke();
    call.key(keys::VERSION).arg(keys::EVENTS);
    script::run(connection, &call).await
}

/// The version of everything.
pub async fn version(connection: &mut MultiplexedConnection) -> Result<u64, QueueError> {
    let version: Option<u64> = connection.get(keys::VERSION).await?;
    Ok(version.unwrap_or(0))
}
