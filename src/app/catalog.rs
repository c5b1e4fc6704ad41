//! What control knows of the campaigns: their definitions read once, and what a shard needs of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::cloud::body::Body;
use crate::domain::campaign::{Campaign, CampaignState, RetryPolicy};
use crate::domain::ids::{CampaignSeq, NumberId};
use crate::intake::campaign_file;
use crate::policy::shard::CampaignSetup;
use crate::queue::campaigns::CampaignRecord;
use crate::queue::halts::{Scope, Why};

/// A campaign that this process knows.
#[derive(Clone, Debug)]
pub struct Known {
    /// As stored.
    pub record: CampaignRecord,
    /// As its file says.
    pub campaign: Arc<Campaign>,
    /// Its request, compiled.
    pub body: Arc<Body>,
}

/// Reads definitions, each text once.
#[derive(Debug, Default)]
pub struct Catalog {
    parsed: HashMap<CampaignSeq, (Arc<Campaign>, Arc<Body>)>,
}

impl Catalog {
    /// The campaign of a record. None when its text cannot be read by this program, which is logged.
    pub fn know(&mut self, record: CampaignRecord) -> Option<Known> {
        if let Some((campaign, body)) = self.parsed.get(&record.seq) {
            return Some(Known { record, campaign: campaign.clone(), body: body.clone() });
        }
        let campaign = campaign_file::parse(&record.definition, &record.id)
            .inspect_err(
                |error| tracing::error!(campaign = record.id, %error, "a stored campaign cannot be read"),
            )
            .ok()?;
        let (body, campaign) = (Arc::new(Body::compile(&campaign)), Arc::new(campaign));
        self.parsed.insert(record.seq, (campaign.clone(), body.clone()));
        Some(Known { record, campaign, body })
    }

    /// Forgets a campaign that is over.
    pub fn forget(&mut self, seq: CampaignSeq) {
        self.parsed.remove(&seq);
    }
}

impl Known {
    /// `account/name` of its template: what a halt of the template names.
    pub fn template(&self) -> String {
        format!("{}/{}", self.campaign.account, self.campaign.template.name)
    }

    /// What the shards need.
    pub fn setup(&self, halts: &BTreeMap<Scope, Why>, time_scale: u32) -> CampaignSetup {
        let RetryPolicy { max_attempts, base, max } = self.campaign.retry;
        let scaled = |wait: Duration| wait / time_scale.max(1);
        CampaignSetup {
            seq: self.record.seq,
            rank: self.campaign.priority.rank(),
            running: self.record.state == CampaignState::Running,
            template: self.template(),
            template_stopped: halts.contains_key(&Scope::Template(self.template())),
            validity: scaled(self.campaign.validity),
            retry: RetryPolicy { max_attempts, base: scaled(base), max: scaled(max) },
        }
    }

    /// The numbers that may send it, of those that are configured.
    pub fn pool<'a>(&self, configured: impl Iterator<Item = (&'a NumberId, &'a str)>) -> Vec<NumberId> {
        let named = |id: &NumberId| self.campaign.numbers.is_empty() || self.campaign.numbers.contains(id);
        let ours = configured.filter(|(id, account)| *account == self.campaign.account && named(id));
        ours.map(|(id, _)| id.clone()).collect()
    }
}
