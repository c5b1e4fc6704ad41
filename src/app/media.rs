//! Documents and images by file: uploaded once to Meta's media endpoint, known by their content from then on.
//!
//! Meta keeps a medium for 30 days. An id with less than two of them left is not used again, and a campaign whose ids
//! are that old is not started: every message would be refused.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::queue::connection::Connection;
use tokio::task::JoinSet;

use crate::clock;
use crate::cloud::manage::{Content, Manage, ManageError};
use crate::config::Config;
use crate::domain::campaign::Campaign;
use crate::domain::template::{MediaKind, Value};
use crate::intake::files::{self, FileFacts, FileFault};
use crate::queue::campaigns::CampaignRecord;
use crate::queue::media::{self, CampaignMedium, Medium};
use crate::queue::{QueueError, campaigns};

/// Different files of one load at most.
pub const FILES_MAX: usize = 10_000;

/// Uploads at the same time.
const UPLOADS_AT_ONCE: usize = 8;

/// How long Meta keeps a medium, and how much of that must be left when an id is used.
const KEPT: (Duration, Duration) =
    (Duration::from_secs(30 * 24 * 3_600), Duration::from_secs(2 * 24 * 3_600));

/// Why documents cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// Meta.
    #[error("{0}")]
    Manage(#[from] ManageError),
    /// Redis.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// The account or its numbers are not configured.
    #[error("account {0} or a number of it is not in the configuration, so nothing can be uploaded for it")]
    NoNumber(String),
    /// The campaign's file.
    #[error("template.header {fault} ({path})")]
    File {
        /// As the campaign file names it.
        path: String,
        /// What is wrong with it.
        fault: FileFault,
    },
    /// The file of a campaign is not the one that it was created with.
    #[error(
        "campaign {id}: the document it was created with must be uploaded again, but {path} {problem}; put the file \
         back, or create a new campaign"
    )]
    Changed {
        /// The campaign.
        id: String,
        /// The file.
        path: String,
        /// What became of it.
        problem: String,
    },
    /// The ids in the rows are too old.
    #[error(
        "campaign {id}: the documents of its rows were uploaded {days} days ago and Meta keeps them for 30, so their \
         messages would be refused; create it again and load it anew"
    )]
    Expired {
        /// The campaign.
        id: String,
        /// How long ago.
        days: u64,
    },
}

/// Uploads for the account of one campaign.
#[derive(Clone, Debug)]
pub struct Uploader {
    manage: Manage,
    account: String,
    number: String,
    time_scale: u32,
}

impl Uploader {
    /// Through the first number that may send the campaign.
    pub fn new(config: &Config, campaign: &Campaign) -> Result<Self, MediaError> {
        let named =
            |id: &crate::domain::ids::NumberId| campaign.numbers.is_empty() || campaign.numbers.contains(id);
        let account = config.accounts.iter().find(|account| account.id == campaign.account);
        let mut ours = config.numbers.iter().filter(|one| one.account == campaign.account && named(&one.id));
        let (Some(account), Some(number)) = (account, ours.next()) else {
            return Err(MediaError::NoNumber(campaign.account.clone()));
        };
        Ok(Self {
            manage: Manage::new(&config.cloud, &account.token)?,
            account: account.id.clone(),
            number: number.id.to_string(),
            time_scale: config.time_scale,
        })
    }

    /// The medium of a file: the known one while it is young enough, else a new upload.
    pub async fn ensure(&self, redis: &mut Connection, file: &FileFacts) -> Result<Medium, MediaError> {
        let content = media::name(&file.sha256, file.mime);
        let known = media::find(redis, &self.account, &content).await?;
        if let Some(known) = known.filter(|known| good(known.uploaded_ms, clock::wall().0, self.time_scale)) {
            return Ok(known);
        }
        // The clock is read first: Meta counts from the upload, which comes later.
        let uploaded_ms = clock::wall().0;
        // The file's own name may hold personal data, and nobody needs it there.
        let name = format!("{}.{}", &file.sha256[..16], file.mime.rsplit('/').next().unwrap_or("bin"));
        let id =
            self.manage.upload(&self.number, &name, file.mime, &Content::File(file.path.clone())).await?;
        let medium = Medium { id, uploaded_ms };
        media::keep(redis, &self.account, &content, &medium).await?;
        Ok(medium)
    }

    /// The media of many files, a few at a time, by the content's name.
    pub async fn ensure_all(
        &self,
        redis: &Connection,
        files: Vec<FileFacts>,
    ) -> Result<HashMap<String, Medium>, MediaError> {
        let old = clock::wall().0.saturating_sub(ms(KEPT.0 / self.time_scale.max(1)));
        media::prune(&mut redis.clone(), &self.account, old).await?;
        let mut todo: HashMap<String, FileFacts> = HashMap::new();
        for file in files {
            todo.insert(media::name(&file.sha256, file.mime), file);
        }
        let (mut todo, mut running, mut done) = (todo.into_iter(), JoinSet::new(), HashMap::new());
        loop {
            while running.len() < UPLOADS_AT_ONCE {
                let Some((content, file)) = todo.next() else { break };
                let (uploader, mut redis) = (self.clone(), redis.clone());
                running.spawn(async move { (content, uploader.ensure(&mut redis, &file).await) });
            }
            // A task that panicked would be our own mistake; it then panics here, too.
            match running.join_next().await {
                Some(Ok((content, medium))) => drop(done.insert(content, medium?)),
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => return Ok(done),
            }
        }
    }
}

/// The one file of all messages of a campaign, looked at; None: it has none. Relative paths begin at the campaign file.
pub fn fixed_file(campaign: &Campaign, campaign_file: &Path) -> Result<Option<FileFacts>, MediaError> {
    let Some((Value::Fixed(text), kind)) = campaign.template.media_file() else {
        return Ok(None);
    };
    let folder = campaign_file.parent().unwrap_or(Path::new("."));
    let facts = files::inspect(&folder.join(text), kind);
    facts.map(Some).map_err(|fault| MediaError::File { path: text.clone(), fault })
}

/// Uploads the one file of a campaign, if that is needed, and fixes it in the campaign's record.
pub async fn fix(
    redis: &mut Connection,
    uploader: &Uploader,
    record: &CampaignRecord,
    file: &FileFacts,
) -> Result<(), MediaError> {
    let medium = uploader.ensure(redis, file).await?;
    let content = media::name(&file.sha256, file.mime);
    let path = file.path.display().to_string();
    media::set_campaign(redis, record.seq, &CampaignMedium { medium, content, path }).await?;
    campaigns::announce(redis).await?;
    Ok(())
}

/// Before a start: the campaign's media are good for a while yet, or are made so; else nothing may be sent.
pub async fn ready(
    redis: &mut Connection,
    record: &CampaignRecord,
    campaign: &Campaign,
    config: &Config,
) -> Result<(), MediaError> {
    let now_ms = clock::wall().0;
    let (id, good) = (record.id.clone(), |uploaded_ms| good(uploaded_ms, now_ms, config.time_scale));
    match campaign.template.media_file() {
        None => Ok(()),
        Some((Value::Variable(_), _)) => match record.media_oldest_ms {
            Some(oldest_ms) if !good(oldest_ms) => {
                let age = now_ms.saturating_sub(oldest_ms).saturating_mul(u64::from(config.time_scale));
                Err(MediaError::Expired { id, days: age / 86_400_000 })
            }
            _ => Ok(()),
        },
        Some((Value::Fixed(text), kind)) => {
            let changed = |path: &str, problem: &str| MediaError::Changed {
                id: id.clone(),
                path: path.to_owned(),
                problem: problem.to_owned(),
            };
            let Some(known) = &record.media else {
                return Err(changed(text, "was never uploaded"));
            };
            if good(known.medium.uploaded_ms) {
                return Ok(());
            }
            renew(redis, (record, known), campaign, kind, config).await.map_err(|error| match error {
                MediaError::File { fault, .. } => changed(&known.path, &fault.to_string()),
                other => other,
            })
        }
    }
}

async fn renew(
    redis: &mut Connection,
    (record, known): (&CampaignRecord, &CampaignMedium),
    campaign: &Campaign,
    kind: MediaKind,
    config: &Config,
) -> Result<(), MediaError> {
    let path = known.path.clone();
    let facts = files::inspect(Path::new(&path), kind).map_err(|fault| MediaError::File { path, fault })?;
    if media::name(&facts.sha256, facts.mime) != known.content {
        let (id, path) = (record.id.clone(), known.path.clone());
        return Err(MediaError::Changed { id, path, problem: "holds something else now".to_owned() });
    }
    fix(redis, &Uploader::new(config, campaign)?, record, &facts).await
}

/// Whether Meta will keep a medium for a while yet.
fn good(uploaded_ms: u64, now_ms: u64, time_scale: u32) -> bool {
    now_ms.saturating_sub(uploaded_ms) < ms((KEPT.0 - KEPT.1) / time_scale.max(1))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_used_while_two_days_are_left() {
        let days = |days: u64| days * 86_400_000;
        assert!(good(0, days(28) - 1, 1) && !good(0, days(28), 1));
        assert!(!good(0, days(14), 2) && good(days(5), 0, 1));
    }
}
