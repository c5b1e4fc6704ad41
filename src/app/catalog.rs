//! What control knows of the campaigns: their definitions read once, and what a shard needs of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::hours::Hours;
use crate::clock::WallMs;
use crate::cloud::body::Body;
use crate::domain::campaign::{Campaign, CampaignState, RetryPolicy};
use crate::domain::ids::{CampaignSeq, NumberId};
use crate::domain::template::Value;
use crate::intake::campaign_file::{self, Settings};
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

/// What was set on a definition, the id of its one medium (empty without), and the request that comes of both.
type Parsed = (Settings, String, Arc<Campaign>, Arc<Body>);

/// Reads definitions, each text once for as long as nothing is set on it.
#[derive(Debug, Default)]
pub struct Catalog {
    parsed: HashMap<CampaignSeq, Parsed>,
}

impl Catalog {
    /// The campaign of a record. None when its text cannot be read by this program, which is logged.
    pub fn know(&mut self, record: CampaignRecord) -> Option<Known> {
        let media = record.media.as_ref().map(|media| media.medium.id.clone()).unwrap_or_default();
        if let Some((settings, known, campaign, body)) = self.parsed.get(&record.seq)
            && *settings == record.settings
            && *known == media
        {
            return Some(Known { record, campaign: campaign.clone(), body: body.clone() });
        }
        let campaign = campaign_file::parse_set(&record.definition, &record.settings, &record.id)
            .inspect_err(
                |error| tracing::error!(campaign = record.id, %error, "a stored campaign cannot be read"),
            )
            .ok()?;
        if media.is_empty() && matches!(campaign.template.media_file(), Some((Value::Fixed(_), _))) {
            tracing::error!(
                campaign = record.id,
                "its document was never uploaded, so nothing of it is sent"
            );
            return None;
        }
        let (body, campaign) = (Arc::new(Body::compile_with(&campaign, &media)), Arc::new(campaign));
        let parsed = (record.settings.clone(), media, campaign.clone(), body.clone());
        self.parsed.insert(record.seq, parsed);
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
    pub fn setup(
        &self,
        halts: &BTreeMap<Scope, Why>,
        time_scale: u32,
        civil: WallMs,
        Hours { lanes: hours, valid_until }: Hours,
    ) -> CampaignSetup {
        let RetryPolicy { max_attempts, base, max } = self.campaign.retry;
        let scaled = |wait: Duration| wait / time_scale.max(1);
        CampaignSetup {
            seq: self.record.seq,
            rank: self.campaign.priority.rank(),
            running: self.record.state == CampaignState::Running,
            template: self.template(),
            template_stopped: halts.contains_key(&Scope::Template(self.template())),
            validity: scaled(self.campaign.validity),
            valid_until,
            hours,
            retry: RetryPolicy { max_attempts, base: scaled(base), max: scaled(max) },
            open: self.campaign.hours.as_ref().is_none_or(|hours| super::hours::within(hours, civil)),
            first: self.record.first.clone().map(Arc::new),
            pace_share_per_mille: self.campaign.pace_share_per_mille,
            weight: self.campaign.weight,
            cap: self.campaign.cap,
        }
    }

    /// The numbers that may send it, of those that are configured.
    pub fn pool<'a>(&self, configured: impl Iterator<Item = (&'a NumberId, &'a str)>) -> Vec<NumberId> {
        let named = |id: &NumberId| self.campaign.numbers.is_empty() || self.campaign.numbers.contains(id);
        let ours = configured.filter(|(id, account)| *account == self.campaign.account && named(id));
        ours.map(|(id, _)| id.clone()).collect()
    }
}
