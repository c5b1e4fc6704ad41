//! Taking a campaign out of Redis: the mark that it is leaving, its keys freed in slices, and what stays of it.
//!
//! ```text
//!  record: archive = "begun <folder>" ─► "exported <folder>" ─► lanes freed ─► record gone, ct:archived has the id
//! ```
//!
//! Every step may be made again. From the first mark on every other command refuses the campaign.

use std::collections::BTreeSet;

use super::connection::Connection;
use redis::AsyncCommands;

use super::campaigns::{self, CampaignRecord};
use super::keys::{self, LaneKeys};
use super::{QueueError, agenda};
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};

/// Keys freed in one round trip; each is a command of its own, so none is long.
const FREED_AT_ONCE: usize = 64;

/// How far a campaign is on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The folder of its archive.
    pub folder: String,
    /// The archive is whole: from here on its keys are freed.
    pub exported: bool,
}

/// A campaign that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its sequence number.
    pub seq: CampaignSeq,
    /// When, in wall ms.
    pub at_ms: u64,
    /// The folder of its archive.
    pub folder: String,
}

/// A campaign that may or may not have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is here, perhaps on its way out.
    Here(Box<CampaignRecord>),
    /// It left.
    Gone(Gone),
}

impl Leaving {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (word, folder) = text.split_once(' ')?;
        Some(Self { folder: folder.to_owned(), exported: word == "exported" })
    }
}

impl Gone {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (seq, at_ms) = (u32::try_from(number()?).ok()?, number()?);
        Some(Self { seq: CampaignSeq(seq), at_ms, folder: parts.next()?.to_owned() })
    }
}

/// A campaign, wherever it is.
pub async fn find(connection: &mut Connection, id: &str) -> Result<Found, QueueError> {
    let seq: Option<u32> = connection.hget(keys::CAMPAIGNS, id).await?;
    if let Some(seq) = seq
        && let Some(record) = campaigns::read_all(connection, &[CampaignSeq(seq)]).await?.pop()
    {
        return Ok(Found::Here(Box::new(record)));
    }
    match gone(connection, id).await? {
        Some(gone) => {
            // A last step that broke off left the name.
            let _: i64 = connection.hdel(keys::CAMPAIGNS, id).await?;
            Ok(Found::Gone(gone))
        }
        // Says which names are like it.
        None => Ok(Found::Here(Box::new(campaigns::find(connection, id).await?))),
    }
}

/// Where an id went, if it was archived.
pub async fn gone(connection: &mut Connection, id: &str) -> Result<Option<Gone>, QueueError> {
    let text: Option<String> = connection.hget(keys::ARCHIVED, id).await?;
    Ok(text.as_deref().and_then(Gone::parse))
}

/// How many campaigns left.
pub async fn count(connection: &mut Connection) -> Result<u64, QueueError> {
    Ok(connection.hlen(keys::ARCHIVED).await?)
}

/// Marks a campaign as leaving; with `exported` its archive is whole.
pub async fn mark(
    connection: &mut Connection,
    seq: CampaignSeq,
    leaving: &Leaving,
) -> Result<(), QueueError> {
    let word = if leaving.exported { "exported" } else { "begun" };
    let text = format!("{word} {}", leaving.folder);
    Ok(connection.hset(keys::campaign(seq), "archive", text).await?)
}

/// Takes the mark back: it stays.
pub async fn unmark(connection: &mut Connection, seq: CampaignSeq) -> Result<(), QueueError> {
    let _: i64 = connection.hdel(keys::campaign(seq), "archive").await?;
    Ok(())
}

/// Frees everything of some lanes, which may be on the agenda of any of `numbers`: a lane that stayed empty does not say
/// on whose. `buckets` says how many dedup sets a lane has.
pub async fn free(
    connection: &mut Connection,
    lanes: &[LaneId],
    numbers: &BTreeSet<NumberId>,
    buckets: impl Fn(u32) -> u32,
) -> Result<(), QueueError> {
    let mut names = Vec::new();
    for number in numbers {
        agenda::remove(connection, number, lanes).await?;
    }
    for lane in lanes {
        let keys = LaneKeys::new(*lane);
        let sets: Vec<String> = (0..buckets(lane.lane)).map(|bucket| keys.seen(bucket)).collect();
        // The counters last: as long as they are there, the lane is known to have been freed in part only.
        names.extend([keys.log, keys.state, keys.retry, keys.doubt, keys.asked].into_iter().chain(sets));
        names.push(keys.meta);
    }
    for slice in names.chunks(FREED_AT_ONCE) {
        let mut pipeline = redis::pipe();
        for name in slice {
            pipeline.cmd("UNLINK").arg(name).ignore();
        }
        let () = pipeline.query_async(connection).await?;
    }
    Ok(())
}

/// Forgets a campaign whose lanes are freed, but for its id and where its archive is.
pub async fn forget(
    connection: &mut Connection,
    record: &CampaignRecord,
    folder: &str,
    now_ms: u64,
) -> Result<(), QueueError> {
    let text = format!("{} {now_ms} {folder}", record.seq);
    let _: () = connection.hset(keys::ARCHIVED, &record.id, text).await?;
    let _: i64 = connection.unlink(keys::campaign(record.seq)).await?;
    let _: i64 = connection.hdel(keys::CAMPAIGNS, &record.id).await?;
    campaigns::announce(connection).await.map(|_| ())
}
