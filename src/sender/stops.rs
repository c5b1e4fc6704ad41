//! What a shard asks the stop list: one look per message when it is claimed, and one more when it is begun if the list has
//! changed since. Neither allocates nor leaves the process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::WallMs;
use crate::domain::ids::CampaignSeq;
use crate::policy::stops::{Scope, reason};
use crate::queue::codec::Chunk;
use crate::queue::stops::StopList;

/// The list, and what each campaign is to it. Cheap to clone within its thread.
#[derive(Clone, Debug)]
pub struct Stops {
    list: Arc<StopList>,
    campaigns: Rc<RefCell<HashMap<CampaignSeq, Sending>>>,
}

/// A campaign as far as stops go.
#[derive(Clone, Debug, Default)]
struct Sending {
    account: Box<str>,
    scope: Scope,
}

impl Stops {
    /// Asks this list.
    pub fn new(list: Arc<StopList>) -> Self {
        Self { list, campaigns: Rc::default() }
    }

    /// Learns for which account a campaign sends, and whether it is marketing.
    pub fn know(&self, campaign: CampaignSeq, account: &str, marketing: bool) {
        let scope = self.list.scope(account, marketing);
        self.campaigns.borrow_mut().insert(campaign, Sending { account: account.into(), scope });
    }

    /// Forgets a campaign that is over.
    pub fn forget(&self, campaign: CampaignSeq) {
        self.campaigns.borrow_mut().remove(&campaign);
    }

    /// The version of the list, to be kept with what is looked up next.
    pub fn version(&self) -> u64 {
        self.list.version()
    }

    /// Why a message is not to be sent, as its record shall say; None: it may be.
    pub fn look(&self, campaign: CampaignSeq, chunk: &Chunk, row: usize, now: WallMs) -> Option<u8> {
        let campaigns = self.campaigns.borrow();
        // A campaign that nobody told us of sends nothing; the stops that hold for every account still count.
        let (account, scope) = campaigns
            .get(&campaign)
            .map_or(("", Scope::default()), |sending| (&*sending.account, sending.scope));
        let debt = self.list.debt(account, chunk.reference(row));
        self.list.look(scope, chunk.phone(row), debt, self.list.today(now)).map(reason)
    }
}
