//! Retention: campaigns that ended long enough ago are archived by themselves, one at a time and slowly.
//!
//! A thread of its own, so that writing a large report never keeps control from hearing a pause. Stopping in the middle
//! is no loss: the next start goes on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::archive::{ArchiveError, Archiver};
use super::error_table::error_table;
use super::store::Installation;
use crate::clock;
use crate::config::Config;
use crate::domain::campaign::CampaignState;
use crate::domain::ids::{CampaignSeq, NumberId};
use crate::policy::classify::ErrorTable;
use crate::queue::campaigns::{self, CampaignRecord};
use crate::queue::client::Client;
use crate::queue::link::Timeouts;

/// How often it is looked for campaigns that are due.
const EVERY: Duration = Duration::from_secs(60);

/// Between two slices of freeing, so that senders always come first.
const PAUSE: Duration = Duration::from_millis(20);

/// Archives what is due until it is dropped.
#[derive(Debug)]
pub struct Retention {
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What the thread needs.
struct Work {
    client: Client,
    timeouts: Timeouts,
    installation: Installation,
    data_dir: PathBuf,
    numbers: BTreeSet<NumberId>,
    table: ErrorTable,
    journal: PathBuf,
    keep: Duration,
    every: Duration,
}

impl Retention {
    /// Starts it, if the configuration says how long campaigns are kept.
    pub fn start(
        config: &Config,
        (client, timeouts): (Client, Timeouts),
        installation: Installation,
    ) -> std::io::Result<Option<Self>> {
        let Some(keep) = config.retention.campaigns else {
            return Ok(None);
        };
        let (stop, mut stopped) = watch::channel(false);
        let every = (EVERY / config.time_scale.max(1)).max(Duration::from_millis(200));
        let numbers = config.numbers.iter().map(|number| number.id.clone()).collect();
        let work = Work {
            client,
            timeouts,
            installation,
            data_dir: config.data_dir.clone(),
            numbers,
            table: error_table(config).map_err(std::io::Error::other)?,
            journal: config.journal.dir.clone(),
            keep,
            every,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("retention".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    // A closed channel is a stop, too.
                    _ = stopped.changed() => {}
                    () = work.run() => {}
                }
            });
        })?;
        Ok(Some(Self { stop, thread: Some(thread) }))
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // It panicked: that was said already.
            let _ = thread.join();
        }
    }
}

impl Work {
    async fn run(&self) {
        loop {
            if let Err(error) = self.round().await {
                tracing::error!(%error, "a campaign that is due cannot be archived; tried again later");
            }
            tokio::time::sleep(self.every).await;
        }
    }

    async fn round(&self) -> Result<(), ArchiveError> {
        let mut redis = self.client.connect(self.timeouts).await?;
        let seqs: Vec<CampaignSeq> =
            campaigns::list(&mut redis).await?.into_iter().map(|(seq, _)| seq).collect();
        let now_ms = clock::wall().0;
        let records = campaigns::read_all(&mut redis, &seqs).await?;
        for record in records.iter().filter(|record| due(record, now_ms, self.keep)) {
            let place = self.data_dir.join("archive").join(format!("{}-{}", record.id, record.seq));
            let mut archiver = Archiver {
                redis: &mut redis,
                installation: &self.installation,
                data_dir: &self.data_dir,
                numbers: self.numbers.clone(),
                table: &self.table,
                journal: &self.journal,
                pause: PAUSE,
            };
            match archiver.run(&record.id, &place).await {
                Ok(done) => {
                    let folder = done.folder.display();
                    tracing::info!(campaign = record.id, rows = done.rows, %folder, "archived");
                }
                // Its time will come; the others need not wait for it.
                Err(
                    error @ (ArchiveError::Busy { .. }
                    | ArchiveError::NotOver { .. }
                    | ArchiveError::Doubted { .. }),
                ) => {
                    tracing::debug!(%error, "not archived yet");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether a campaign ended long enough ago, or is on its way out already.
fn due(record: &CampaignRecord, now_ms: u64, keep: Duration) -> bool {
    let over = matches!(record.state, CampaignState::Done | CampaignState::Cancelled);
    let age_ms = u128::from(now_ms.saturating_sub(record.since_ms));
    over && (record.archive.is_some() || age_ms >= keep.as_millis())
}
