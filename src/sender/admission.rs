//! Limits that this process shares with others: asked for every message that was claimed, and told what became of it.
//!
//! Whoever is not admitted is given back by the machine. Whoever was admitted and certainly never left is taken back here,
//! if the process lives; a process that dies leaves too many counted, never too few. What a limit does not concern costs
//! nothing: an account without a budget makes no call.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::orders::Payload;
use crate::clock;
use crate::domain::ids::{CampaignSeq, LaneId};
use crate::domain::person::Phone;
use crate::domain::record::{Settlement, State};
use crate::policy::shard::{Held, Message};
use crate::queue::budget::{self, Budget, Budgets, Counted};
use crate::queue::link::Link;

/// How long a portfolio rests when its budget cannot be read for a reason that no waiting mends.
const UNREADABLE_REST: Duration = Duration::from_secs(10);

/// What a shard asks before it sends. Cheap to clone within its thread.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The account of each campaign.
    campaigns: HashMap<CampaignSeq, Box<str>>,
    budgets: Arc<Budgets>,
    /// Changes of each budget that are known.
    changes: HashMap<Arc<str>, u64>,
    /// Who was counted for messages that are claimed or under way: no more than there are of those.
    counted: HashMap<(LaneId, u32), (Arc<Budget>, Counted)>,
}

/// People who were counted, and to whom nothing was sent.
#[derive(Debug)]
#[must_use]
pub struct Unsent {
    budget: Arc<Budget>,
    counted: Vec<Counted>,
}

impl Admission {
    /// Learns for which account a campaign sends.
    pub fn know(&self, campaign: CampaignSeq, account: &str) {
        self.inner.borrow_mut().campaigns.insert(campaign, account.into());
    }

    /// Forgets a campaign that is over.
    pub fn forget(&self, campaign: CampaignSeq) {
        self.inner.borrow_mut().campaigns.remove(&campaign);
    }

    /// Forgets what is known of a lane that was let go of.
    pub fn forget_lane(&self, lane: LaneId) {
        self.inner.borrow_mut().counted.retain(|(of, _), _| *of != lane);
    }

    /// The budgets of accounts from now on.
    pub fn set_budgets(&self, budgets: Arc<Budgets>) {
        self.inner.borrow_mut().budgets = budgets;
    }

    /// So many changes of a budget are known; whoever is held from now on says that it was asked after them.
    pub fn note_changes(&self, portfolio: &Arc<str>, changes: u64) {
        self.inner.borrow_mut().changes.insert(portfolio.clone(), changes);
    }

    /// Asks for messages that were just claimed, all at once.
    pub async fn admit(&self, link: &Link, lane: LaneId, messages: &mut [Message<Payload>]) {
        let Some((budget, changes)) = self.budget_of(lane.campaign) else { return };
        let person = |message: &Message<Payload>| {
            let Payload { chunk, row, .. } = &message.payload;
            Phone::from_digits(chunk.phone(*row)).map(Phone::person)
        };
        let mut asked: Vec<&mut Message<Payload>> = messages
            .iter_mut()
            .filter(|message| message.stopped.is_none() && message.held.is_none())
            .collect();
        // Whoever has no plausible phone was rejected when the row was loaded.
        let people: Vec<_> = asked.iter().filter_map(|message| person(message)).collect();
        if people.is_empty() {
            return;
        }
        let began = clock::mono();
        let taken = link.call(async |redis| budget::take(redis, &budget, &people).await).await;
        let (until, counted) = match taken {
            Ok((standing, counted)) => (standing.wait.map(|wait| clock::mono().after(wait)), counted),
            Err(error) => {
                tracing::error!(portfolio = %budget.portfolio, %error, "a budget cannot be read; nothing of it is sent");
                (Some(began.after(UNREADABLE_REST)), vec![None; people.len()])
            }
        };
        // What arrives later than its person is counted must still arrive within the margin, of which the request's own time
        // is the other half.
        let admitted_until = began.after(budget.terms.margin / 2);
        let with_person = asked.iter_mut().filter(|message| person(message).is_some());
        for (message, counted) in with_person.zip(counted) {
            match counted {
                Some(counted) => {
                    message.admit_until(admitted_until);
                    let key = (lane, message.index);
                    self.inner.borrow_mut().counted.insert(key, (budget.clone(), counted));
                }
                None => message.held = Some(Held::Budget { until, changes }),
            }
        }
    }

    /// Messages are about to be given back. Whoever was counted for them, to be taken back once they are.
    pub fn unsent(&self, lane: LaneId, messages: &[(u32, u8)]) -> Option<Unsent> {
        self.remove(lane, messages.iter().map(|(index, _)| *index))
    }

    /// It is about to be written down what became of messages. Whoever of them was certainly not written to, to be taken
    /// back.
    pub fn settling(&self, lane: LaneId, settlements: &[Settlement]) -> Option<Unsent> {
        let unsent = |one: &&Settlement| matches!(one.state, State::Expired | State::Suppressed);
        let back = self.remove(lane, settlements.iter().filter(unsent).map(|one| one.index));
        let _stays_counted = self.remove(lane, settlements.iter().map(|one| one.index));
        back
    }

    /// Takes people back.
    pub async fn take_back(&self, link: &Link, unsent: Option<Unsent>) {
        let Some(Unsent { budget, mut counted }) = unsent else { return };
        let back = link.call(async |redis| budget::give_back(redis, &budget, &mut counted).await).await;
        if let Err(error) = back {
            tracing::warn!(portfolio = %budget.portfolio, %error, "people stay counted to whom nothing was sent");
        }
    }

    fn budget_of(&self, campaign: CampaignSeq) -> Option<(Arc<Budget>, u64)> {
        let inner = self.inner.borrow();
        let budget = inner.budgets.get(&**inner.campaigns.get(&campaign)?)?;
        Some((budget.clone(), inner.changes.get(&budget.portfolio).copied().unwrap_or(0)))
    }

    fn remove(&self, lane: LaneId, indices: impl Iterator<Item = u32>) -> Option<Unsent> {
        let mut inner = self.inner.borrow_mut();
        if inner.counted.is_empty() {
            return None;
        }
        let found: Vec<_> = indices.filter_map(|index| inner.counted.remove(&(lane, index))).collect();
        // A lane is of one account, so of one budget; of another one only if it has just got that.
        let budget = found.last()?.0.clone();
        let ours = found.into_iter().filter(|(of, _)| of.portfolio == budget.portfolio);
        Some(Unsent { counted: ours.map(|(_, counted)| counted).collect(), budget })
    }
}
