//! People of whom a reply of Meta said that they are not to be written to: into the stop list, for the account that asked.

use super::Control;
use crate::clock;
use crate::domain::ids::CampaignSeq;
use crate::domain::person::{Phone, Pii};
use crate::domain::stop::{StopDay, StopKind};
use crate::queue::QueueError;
use crate::queue::stops::{Batch, Op, Who, log};

impl Control {
    /// Adds the person, unless the list has them. The message's own record says the code, whatever becomes of this.
    pub(super) async fn on_suppress(
        &self,
        campaign: CampaignSeq,
        phone: &Pii<u64>,
        kind: StopKind,
    ) -> Result<(), QueueError> {
        let Some(known) = self.state.campaigns.get(&campaign) else { return Ok(()) };
        let Some(person) = Phone::from_digits(*phone.expose()).map(Phone::person) else { return Ok(()) };
        let account = known.campaign.account.as_str();
        let stops = self.stops.list.of_person(person);
        if stops.iter().any(|(known, of, _)| *known == kind && of.as_deref() == Some(account)) {
            return Ok(());
        }
        let who = Who::People(vec![(person, StopDay::AT_ONCE)]);
        let batch = Batch { op: Op::Add, kind, account: Some(account.into()), who };
        self.link.call(async |redis| log::append(redis, &batch, clock::wall().0).await).await?;
        tracing::info!(%campaign, kind = kind.as_str(), "a person was put into the stop list by Meta's word");
        Ok(())
    }
}
