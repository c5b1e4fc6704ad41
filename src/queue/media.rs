//! Media ids that Meta gave us: by account and content, so that the same file goes up once, and by campaign.

use super::connection::Connection;
use redis::AsyncCommands;

use super::{QueueError, keys};
use crate::domain::ids::CampaignSeq;

/// Entries looked at in one step while old ones are removed.
const STEP: usize = 500;

/// A medium at Meta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// Meta's id.
    pub id: String,
    /// When it was uploaded, in wall ms.
    pub uploaded_ms: u64,
}

/// The one medium of all messages of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignMedium {
    /// At Meta.
    pub medium: Medium,
    /// What it was made of, as [`name`] has it.
    pub content: String,
    /// The file, absolute.
    pub path: String,
}

impl Medium {
    fn to_text(&self) -> String {
        format!("{} {}", self.id, self.uploaded_ms)
    }

    fn parse(text: &str) -> Option<Self> {
        let (id, uploaded_ms) = text.split_once(' ')?;
        Some(Self { id: id.to_owned(), uploaded_ms: uploaded_ms.parse().ok()? })
    }
}

impl CampaignMedium {
    /// As the campaign's record holds it; the path comes last, since it may hold spaces.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let (id, uploaded_ms) = (parts.next()?, parts.next()?);
        let medium = Medium { id: id.to_owned(), uploaded_ms: uploaded_ms.parse().ok()? };
        Some(Self { medium, content: parts.next()?.to_owned(), path: parts.next()?.to_owned() })
    }
}

/// The name of a content: its hash and type.
pub fn name(sha256: &str, mime: &str) -> String {
    format!("{sha256}:{mime}")
}

/// The medium of a content, if it went up before.
pub async fn find(
    connection: &mut Connection,
    account: &str,
    content: &str,
) -> Result<Option<Medium>, QueueError> {
    let text: Option<String> = connection.hget(keys::media(account), content).await?;
    Ok(text.as_deref().and_then(Medium::parse))
}

/// Remembers an upload.
pub async fn keep(
    connection: &mut Connection,
    account: &str,
    content: &str,
    medium: &Medium,
) -> Result<(), QueueError> {
    Ok(connection.hset(keys::media(account), content, medium.to_text()).await?)
}

/// Forgets uploads older than `before_ms`: Meta has forgotten them too.
pub async fn prune(connection: &mut Connection, account: &str, before_ms: u64) -> Result<(), QueueError> {
    let mut cursor = 0u64;
    loop {
        let mut scan = redis::cmd("HSCAN");
        scan.arg(keys::media(account)).arg(cursor).arg("COUNT").arg(STEP);
        let (next, fields): (u64, Vec<(String, String)>) = scan.query_async(connection).await?;
        let old = |text: &str| Medium::parse(text).is_none_or(|medium| medium.uploaded_ms < before_ms);
        let gone: Vec<String> =
            fields.into_iter().filter(|(_, text)| old(text)).map(|(name, _)| name).collect();
        if !gone.is_empty() {
            let _: i64 = connection.hdel(keys::media(account), gone).await?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

/// Fixes the medium of all messages of a campaign.
pub async fn set_campaign(
    connection: &mut Connection,
    seq: CampaignSeq,
    CampaignMedium { medium, content, path }: &CampaignMedium,
) -> Result<(), QueueError> {
    let text = format!("{} {content} {path}", medium.to_text());
    Ok(connection.hset(keys::campaign(seq), "media", text).await?)
}

/// Notes when the oldest medium of a campaign's rows was uploaded.
pub async fn note_oldest(
    connection: &mut Connection,
    seq: CampaignSeq,
    uploaded_ms: u64,
) -> Result<(), QueueError> {
    let known: Option<u64> = connection.hget(keys::campaign(seq), "media_oldest_ms").await?;
    if known.is_none_or(|known| uploaded_ms < known) {
        let _: () = connection.hset(keys::campaign(seq), "media_oldest_ms", uploaded_ms).await?;
    }
    Ok(())
}
