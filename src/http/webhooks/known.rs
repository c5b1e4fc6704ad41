//! What a failed receipt needs to know of its campaign: whether it is still sent, its account and template, its retries.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::queue::connection::Connection;

use crate::domain::campaign::{Campaign, CampaignState};
use crate::domain::ids::CampaignSeq;
use crate::intake::campaign_file;
use crate::queue::{QueueError, campaigns};

/// Definitions kept at most; beyond it all are read anew.
const CAMPAIGNS_MAX: usize = 1_000;

/// A campaign as it is now.
#[derive(Clone, Debug)]
pub(super) struct Now {
    pub(super) state: CampaignState,
    pub(super) campaign: Arc<Campaign>,
}

/// Reads campaigns; each definition once.
#[derive(Debug, Default)]
pub(super) struct Known {
    parsed: RefCell<HashMap<CampaignSeq, Arc<Campaign>>>,
}

impl Now {
    /// Whether a message of it may be tried again by itself.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.state, CampaignState::Running | CampaignState::Paused)
    }
}

impl Known {
    /// The campaigns as they are now; those that are gone or cannot be read are left out.
    pub(super) async fn read(
        &self,
        connection: &mut Connection,
        seqs: &BTreeSet<CampaignSeq>,
    ) -> Result<HashMap<CampaignSeq, Now>, QueueError> {
        if seqs.is_empty() {
            return Ok(HashMap::new());
        }
        let seqs: Vec<CampaignSeq> = seqs.iter().copied().collect();
        let records = campaigns::read_all(connection, &seqs).await?;
        let mut parsed = self.parsed.borrow_mut();
        if parsed.len() > CAMPAIGNS_MAX {
            parsed.clear();
        }
        let mut all = HashMap::new();
        for record in records {
            let campaign = match parsed.get(&record.seq) {
                Some(known) => known.clone(),
                None => match campaign_file::parse(&record.definition, &record.id) {
                    Ok(campaign) => Arc::new(campaign),
                    Err(error) => {
                        tracing::error!(campaign = record.id, %error, "a stored campaign cannot be read");
                        continue;
                    }
                },
            };
            parsed.insert(record.seq, campaign.clone());
            all.insert(record.seq, Now { state: record.state, campaign });
        }
        Ok(all)
    }
}
