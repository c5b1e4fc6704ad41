//! Budgets of portfolios: what they may use by the configuration and by Meta's word, and whether they have room.
//!
//! Shards are told of every change, and of room that has come back: a process that found a budget used up does not see what
//! another one takes back. A look now and then at each portfolio with a running campaign finds out; it costs the same for any
//! number of messages that wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Control;
use crate::app;
use crate::clock::{self, Mono};
use crate::domain::ids::{CampaignSeq, NumberId};
use crate::policy::facts::{NumberFacts, PeopleLimit};
use crate::policy::shard::{Blocked, Input};
use crate::queue::budget::{self, Budget, Budgets, Standing};
use crate::queue::{QueueError, campaigns};
use crate::sender::driver::Event;

/// What control knows of budgets.
#[derive(Default)]
pub(super) struct BudgetBook {
    /// What the shards were told.
    told: Arc<Budgets>,
    /// Changes that the shards were told of, over all portfolios.
    changes: u64,
    /// How each stood at the last look.
    standings: BTreeMap<Arc<str>, Look>,
}

/// How a budget stood.
#[derive(Clone, Copy, Debug)]
struct Look {
    standing: Standing,
    /// When it was to have room again, if that was known.
    room_at: Option<Mono>,
    /// When to look again.
    next: Mono,
}

/// A budget that is used up is looked at again after this time, or when there is to be room. Nothing but what others take
/// back can happen to it before.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Looks that differ by less about when there is room again mean the same instant.
const SAME_INSTANT: Duration = Duration::from_millis(250);

impl Control {
    /// Reads what Meta said of the portfolios, and tells the shards what has changed.
    pub(super) async fn read_budgets(&mut self) -> Result<(), QueueError> {
        let config = &self.config;
        let budgets = self.link.call(async |redis| app::budget::read(redis, config).await).await?;
        if budgets == *self.state.budgets.told {
            return Ok(());
        }
        let told = Arc::new(budgets);
        let before = std::mem::replace(&mut self.state.budgets.told, told.clone());
        for shard in 0..self.shards.len() {
            self.tell(shard, Event::Budgets(told.clone()));
        }
        let limits = |budgets: &Budgets| -> BTreeMap<Arc<str>, Option<u64>> {
            budgets.values().map(|budget| (budget.portfolio.clone(), budget.terms.people)).collect()
        };
        let (mut changed, now) = (limits(&before), limits(&told));
        changed.extend(now.iter().map(|(portfolio, people)| (portfolio.clone(), *people)));
        for portfolio in changed.into_keys() {
            let people_per_day = now.get(&portfolio).copied().flatten();
            let people_per_day = people_per_day.map_or("unlimited".to_owned(), |people| people.to_string());
            tracing::info!(%portfolio, people_per_day, "the budget of a portfolio is another one");
            self.state.budgets.standings.remove(&portfolio);
            self.reopen(&portfolio);
        }
        Ok(())
    }

    /// Notes what the fields of numbers say of their portfolios, as of the time when the reading began: a webhook that came
    /// meanwhile is newer.
    pub(super) async fn note_people(
        &mut self,
        found: &[(NumberId, NumberFacts)],
        began_ms: u64,
    ) -> Result<(), QueueError> {
        let mut news = false;
        for (id, facts) in found {
            let people = facts.messaging_limit.as_deref().and_then(PeopleLimit::parse);
            let Some((people, portfolio)) = people.zip(self.portfolio_of(id)) else { continue };
            let said =
                async |redis: &mut _| budget::note_said(redis, &portfolio, people.people(), began_ms).await;
            if self.link.call(said).await? {
                tracing::info!(%portfolio, ?people, "meta says how many people a portfolio may write to a day");
                news = true;
            }
        }
        if news {
            self.link.call(async |redis| campaigns::announce(redis).await).await?;
        }
        Ok(())
    }

    /// The portfolio of a number of the configuration.
    fn portfolio_of(&self, id: &NumberId) -> Option<Arc<str>> {
        let number = self.config.numbers.iter().find(|number| number.id == *id)?;
        let account = self.config.accounts.iter().find(|account| account.id == number.account)?;
        account.portfolio.clone()
    }

    /// Once a round: which portfolios have room, and which have room again.
    pub(super) async fn look_at_budgets(&mut self) -> Result<(), QueueError> {
        let running = self.state.told.iter().filter(|(_, setup)| setup.running).map(|(seq, _)| *seq);
        let budgets = running.filter_map(|seq| self.budget_of(seq));
        let looked: BTreeMap<Arc<str>, Arc<Budget>> =
            budgets.map(|budget| (budget.portfolio.clone(), budget.clone())).collect();
        self.state.budgets.standings.retain(|portfolio, _| looked.contains_key(portfolio));
        for (portfolio, budget) in looked {
            let known = self.state.budgets.standings.get(&portfolio);
            if known.is_some_and(|look| look.next > clock::mono()) {
                continue;
            }
            let standing = self.link.call(async |redis| budget::look(redis, &budget).await).await?;
            let look = Look::new(standing, clock::mono());
            let before = self.state.budgets.standings.insert(portfolio.clone(), look);
            if standing.has_room() && self.waits_for(&portfolio) {
                self.reopen(&portfolio);
            } else if before.is_some_and(|before| look.has_moved_since(before)) {
                self.count_again(&portfolio);
            }
        }
        Ok(())
    }

    /// Whether all that a campaign has left waits for its portfolio's budget.
    pub(super) fn campaign_used_up(&self, seq: CampaignSeq) -> bool {
        let standing =
            self.budget_of(seq).and_then(|budget| self.state.budgets.standings.get(&budget.portfolio));
        standing.is_some_and(|look| !look.standing.has_room())
    }

    fn budget_of(&self, seq: CampaignSeq) -> Option<&Arc<Budget>> {
        self.state.budgets.told.get(&self.state.campaigns.get(&seq)?.campaign.account)
    }

    /// Whether numbers of ours said last that they wait for a portfolio's budget.
    fn waits_for(&self, portfolio: &Arc<str>) -> bool {
        let Some((board, _)) = &self.state.said else { return false };
        let budget = app::board::word(Blocked::Budget);
        let waiting = board.numbers.iter().filter(|number| number.blocked.as_deref() == Some(budget));
        let mut accounts = waiting.filter_map(|shown| {
            self.config.numbers.iter().find(|number| *number.id.0 == *shown.id).map(|number| &number.account)
        });
        accounts.any(|account| {
            self.state.budgets.told.get(account).is_some_and(|budget| budget.portfolio == *portfolio)
        })
    }

    /// Lets the numbers of a portfolio claim again, and its campaigns be counted again.
    fn reopen(&mut self, portfolio: &Arc<str>) {
        self.state.budgets.changes += 1;
        let changes = self.state.budgets.changes;
        self.broadcast(|| Input::Budget(portfolio.clone(), changes));
        self.count_again(portfolio);
    }

    /// Has the campaigns of a portfolio counted again: something can have happened to them.
    fn count_again(&mut self, portfolio: &Arc<str>) {
        let portfolios = &self.config.accounts;
        let of = |account: &str| {
            let known = portfolios.iter().find(|known| known.id == account);
            known.and_then(|known| known.portfolio.as_ref()) == Some(portfolio)
        };
        let campaigns = &self.state.campaigns;
        let theirs = |seq: &CampaignSeq| campaigns.get(seq).is_some_and(|known| of(&known.campaign.account));
        self.state.quiet.retain(|seq, _| !theirs(seq));
    }
}

impl Look {
    fn new(standing: Standing, now: Mono) -> Self {
        let room_at = standing.wait.map(|wait| now.after(wait));
        let rest = if standing.has_room() { Duration::ZERO } else { LOOK_AGAIN };
        let next = now.after(rest).min(room_at.unwrap_or(now.after(rest)));
        Self { standing, room_at, next }
    }

    /// Whether people have left a budget that was used up since an earlier look, even if others have taken their places:
    /// numbers wake by themselves when the first has left, and may have sent all that was left by now.
    fn has_moved_since(self, before: Self) -> bool {
        let same = match (before.room_at, self.room_at) {
            (Some(before), Some(now)) => now.since(before).max(before.since(now)) < SAME_INSTANT,
            (before, now) => before == now,
        };
        !before.standing.has_room() && (self.standing.has_room() || !same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_has_moved_when_somebody_has_left() {
        let look = |used, room_at: Option<u64>| {
            let standing = Standing { used, people: Some(10), wait: room_at.map(Duration::from_millis) };
            Look::new(standing, Mono::default())
        };
        let check = |before: Look, now: Look, expect| {
            assert_eq!(now.has_moved_since(before), expect, "{before:?} {now:?}")
        };
        check(look(10, Some(5_000)), look(10, Some(5_100)), false);
        check(look(10, Some(5_000)), look(10, Some(4_900)), false);
        check(look(10, Some(5_000)), look(10, Some(9_000)), true);
        check(look(10, Some(5_000)), look(9, None), true);
        check(look(9, None), look(9, None), false);
        check(look(9, None), look(10, Some(5_000)), false);
        check(look(10, None), look(10, None), false);
    }

    #[test]
    fn a_budget_that_is_used_up_is_looked_at_now_and_then_and_when_there_is_to_be_room() {
        let next = |used, wait_ms: Option<u64>| {
            let standing = Standing { used, people: Some(10), wait: wait_ms.map(Duration::from_millis) };
            Look::new(standing, Mono::default()).next.0
        };
        assert_eq!(next(9, None), Duration::ZERO);
        assert_eq!(next(10, Some(60_000)), LOOK_AGAIN);
        assert_eq!(next(10, Some(700)), Duration::from_millis(700));
        assert_eq!(next(10, None), LOOK_AGAIN);
    }
}
