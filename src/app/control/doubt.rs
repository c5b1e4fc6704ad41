//! The doubt clock carried out: every owner of numbers looks now and then at the messages in doubt on their lanes, also of
//! campaigns that are over, and ends those whose clock is.
//!
//! What it costs does not depend on messages but on lanes: three fields of each are read, a bounded number of lanes at a
//! time, and nothing more where nothing is in doubt. A campaign that waits for its hours costs nothing once all of it is
//! settled. A campaign that is over is forgotten when nothing of it can be in doubt any more; its record says so.
//!
//! What Meta holds back waits for its receipt by the same clock, from when its campaign was over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::Control;
use crate::clock::{self, Mono, WallMs};
use crate::domain::campaign::{Campaign, CampaignState};
use crate::domain::doubt::{DoubtRules, RESEND_WAIT_MIN};
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::record::{GENERATION_MAX, State};
use crate::intake::campaign_file;
use crate::policy::classify::Kind;
use crate::policy::doubt::{self, Decision, Doubt, Hearing, Limits};
use crate::queue::campaigns::{CampaignRecord, Fields, Guard};
use crate::queue::connection::Connection;
use crate::queue::doubts::{self, Ending, Message};
use crate::queue::lane::BATCH_MAX;
use crate::queue::{QueueError, campaigns, receipt};

/// How often doubts are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// What Meta holds back goes out within hours, or is dropped; a campaign's shorter wait for doubts is none for this.
const HELD_WAIT_MIN: Duration = RESEND_WAIT_MIN;

/// Lanes looked at in one go, beyond those of the first campaign.
const LANES_MAX: usize = 4_096;

/// What control keeps for the doubt clock.
#[derive(Default)]
pub(super) struct DoubtBook {
    next: Mono,
    /// The campaign that comes next.
    cursor: Option<CampaignSeq>,
    /// When something last left through our numbers, in wall ms.
    left: HashMap<NumberId, u64>,
    /// Numbers that send without receipts, and since when.
    silent: BTreeMap<NumberId, u64>,
    /// Campaigns that wait for their hours, with nothing in doubt and nothing that could come to be.
    calm: BTreeSet<CampaignSeq>,
    /// Campaigns that are over and may have messages in doubt.
    over: BTreeMap<CampaignSeq, Over>,
}

struct Over {
    record: CampaignRecord,
    rules: Rules,
}

/// What a campaign wants done.
#[derive(Clone, Copy, Debug)]
struct Rules {
    doubt: DoubtRules,
    max_attempts: u8,
    /// Nothing of a cancelled one is ever sent again.
    sendable: bool,
    state: CampaignState,
}

/// One campaign that is looked at.
struct Watched {
    seq: CampaignSeq,
    lanes: u32,
    rules: Rules,
    /// Since when it is over, in wall ms.
    over_ms: Option<u64>,
}

impl Rules {
    fn new(campaign: &Campaign, state: CampaignState, time_scale: u32) -> Self {
        let DoubtRules { policy, wait } = campaign.doubt;
        let doubt = DoubtRules { policy, wait: wait / time_scale.max(1) };
        let sendable = state != CampaignState::Cancelled;
        Self { doubt, max_attempts: campaign.retry.max_attempts, sendable, state }
    }
}

impl DoubtBook {
    /// Something left through a number.
    pub(super) fn left(&mut self, number: &NumberId, now: WallMs) {
        self.left.insert(number.clone(), now.0);
    }

    /// Since when a number sends and no receipts come.
    pub(super) fn silent_since_ms(&self, number: &NumberId) -> Option<u64> {
        self.silent.get(number).copied()
    }

    /// Takes in a campaign's record: one that is over is looked at until nothing of it is in doubt.
    pub(super) fn know(&mut self, record: &CampaignRecord, time_scale: u32) {
        let over = matches!(record.state, CampaignState::Done | CampaignState::Cancelled);
        if !over || record.undoubted_ms == Some(record.since_ms) || record.archive.is_some() {
            self.over.remove(&record.seq);
            return;
        }
        let known = self.over.get(&record.seq);
        if known.is_some_and(|known| known.record.since_ms == record.since_ms) {
            return;
        }
        // What cannot be read is said where it is sent.
        let read = campaign_file::parse_set(&record.definition, &record.settings, &record.id);
        if let Ok(campaign) = read {
            let rules = Rules::new(&campaign, record.state, time_scale);
            self.over.insert(record.seq, Over { record: record.clone(), rules });
        }
    }
}

impl Control {
    /// Looks at messages in doubt, if it is time.
    pub(super) async fn look_at_doubts(&mut self) -> Result<(), QueueError> {
        if clock::mono() < self.state.doubts.next {
            return Ok(());
        }
        self.state.doubts.next = clock::mono().after(EVERY / self.config.time_scale.max(1));
        let hearings = self.listen().await?;
        let watched = self.watched();
        let mut looked = 0;
        for (at, campaign) in watched.iter().enumerate() {
            self.look_at_campaign(campaign, &hearings).await?;
            looked += campaign.lanes as usize;
            if looked >= LANES_MAX {
                self.state.doubts.cursor = watched.get(at + 1).map(|next| next.seq);
                return Ok(());
            }
        }
        self.state.doubts.cursor = None;
        Ok(())
    }

    /// What is known of the receipts of our numbers, brought up to date and noted for whoever owns them next.
    async fn listen(&mut self) -> Result<BTreeMap<NumberId, Hearing>, QueueError> {
        let numbers: Vec<NumberId> = self.state.owned.iter().cloned().collect();
        let known = self.link.call(async |redis| doubts::hearings(redis, &numbers).await).await?;
        let (now_ms, limits) = (clock::wall().0, self.limits());
        let (mut all, mut news) = (BTreeMap::new(), Vec::new());
        for (number, (sent, before)) in numbers.into_iter().zip(known) {
            let mut hearing = before.clone();
            hearing.look(now_ms, self.state.doubts.left.get(&number).copied(), sent, &limits);
            match hearing.silent_since(now_ms, &limits) {
                Some(since_ms) => drop(self.state.doubts.silent.insert(number.clone(), since_ms)),
                None => drop(self.state.doubts.silent.remove(&number)),
            }
            if hearing != before {
                news.push((number.clone(), hearing.clone()));
            }
            all.insert(number, hearing);
        }
        // A full Redis must not keep control from hearing a pause.
        let note = async |redis: &mut Connection| match doubts::note_hearings(redis, &news).await {
            Err(QueueError::Full) => Ok(()),
            other => other,
        };
        self.link.call(note).await?;
        Ok(all)
    }

    fn limits(&self) -> Limits {
        Limits { silent_after: self.config.doubt.silent_after, give_up: self.config.doubt.give_up }
    }

    /// The campaigns to look at, from the cursor on.
    fn watched(&self) -> Vec<Watched> {
        let scale = self.config.time_scale;
        let calm = |seq: &CampaignSeq| self.quiet(*seq) && self.state.doubts.calm.contains(seq);
        let going = self.state.campaigns.iter().filter(|(seq, _)| !calm(seq)).map(|(seq, known)| {
            let rules = Rules::new(&known.campaign, known.record.state, scale);
            Watched { seq: *seq, lanes: known.record.lanes(), rules, over_ms: None }
        });
        let over = self.state.doubts.over.iter().map(|(seq, over)| Watched {
            seq: *seq,
            lanes: over.record.lanes(),
            rules: over.rules,
            over_ms: Some(over.record.since_ms),
        });
        let mut all: Vec<Watched> = going.chain(over).collect();
        all.sort_unstable_by_key(|one| {
            (self.state.doubts.cursor.is_some_and(|cursor| one.seq < cursor), one.seq)
        });
        all
    }

    async fn look_at_campaign(
        &mut self,
        campaign: &Watched,
        hearings: &BTreeMap<NumberId, Hearing>,
    ) -> Result<(), QueueError> {
        let lanes: Vec<LaneId> =
            (0..campaign.lanes).map(|lane| LaneId { campaign: campaign.seq, lane }).collect();
        let found = self.link.call(async |redis| doubts::look(redis, &lanes).await).await?;
        let leads = self.ownership.leads();
        let (mut again, mut left) = (0, false);
        for (lane, one) in lanes.into_iter().zip(found) {
            // What Meta holds is followed once the campaign is over: nothing of it was sent later than that.
            let held_ms = campaign.over_ms.filter(|_| one.held > 0);
            left |= one.in_doubt > 0 || one.sending > 0 || held_ms.is_some();
            let Some(number) = one.number.filter(|_| one.in_doubt > 0 || held_ms.is_some()) else { continue };
            // A number that nobody has any more is not heard of either: what it left in doubt is given up in the end.
            let nobodys =
                || leads && !self.state.owned.contains(&number) && !self.ownership.others_offer(&number);
            let hearing = match hearings.get(&number) {
                Some(hearing) => hearing.clone(),
                None if nobodys() => Hearing::default(),
                None => continue,
            };
            let looked = async || {
                if let Some(since_ms) = held_ms {
                    self.look_at_held(lane, since_ms, &campaign.rules, &hearing).await?;
                }
                self.look_at_lane(lane, &campaign.rules, &hearing).await
            };
            match looked().await {
                Ok(sent) => again += sent,
                // One lane that cannot be read must not keep the others waiting.
                Err(error) => tracing::error!(%lane, %error, "its doubts cannot be looked at"),
            }
        }
        if !left && self.quiet(campaign.seq) {
            self.state.doubts.calm.insert(campaign.seq);
        } else {
            self.state.doubts.calm.remove(&campaign.seq);
        }
        if again > 0 {
            self.wake(campaign).await?;
        }
        if let Some(since_ms) = campaign.over_ms.filter(|_| leads && !left) {
            self.forget_doubts(campaign, since_ms).await?;
        }
        Ok(())
    }

    /// Ends what Meta has held back for so long that its receipt would have come.
    async fn look_at_held(
        &self,
        lane: LaneId,
        since_ms: u64,
        rules: &Rules,
        hearing: &Hearing,
    ) -> Result<(), QueueError> {
        let now_ms = clock::wall().0;
        let wait = rules.doubt.wait.max(HELD_WAIT_MIN / self.config.time_scale.max(1));
        let doubt = Doubt { since_ms, doubtful: None, sendable: false };
        let rules = DoubtRules { wait, ..rules.doubt };
        if doubt::decide(&doubt, hearing, &rules, &self.limits(), now_ms) != Decision::Unresolved {
            return Ok(());
        }
        let (mut from, mut unresolved) = (0, 0);
        let next = |from| {
            self.link.call(async move |redis| doubts::records(redis, lane, from, &[State::Held]).await)
        };
        while let Some(held) = next(from).await? {
            let end = |seen: Message| Ending { seen, to: State::Unresolved, attempt: seen.record.attempt };
            let endings: Vec<Ending> = held.into_iter().map(end).collect();
            unresolved +=
                self.link.call(async |redis| doubts::end(redis, lane, now_ms, &endings).await).await?;
            from = from.saturating_add(u32::try_from(BATCH_MAX).unwrap_or(u32::MAX));
        }
        self.metrics.doubts().unresolved.increment(unresolved);
        tracing::info!(%lane, unresolved, "held by Meta, and never heard of again");
        Ok(())
    }

    /// Ends the doubts of a lane that are over. Returns how many messages are sent again.
    async fn look_at_lane(&self, lane: LaneId, rules: &Rules, hearing: &Hearing) -> Result<u64, QueueError> {
        let (mut rank, mut again, mut unresolved) = (0, 0, 0);
        loop {
            let page = self.link.call(async |redis| doubts::page(redis, lane, rank).await).await?;
            if rank == 0 && page.counted != page.indexed {
                tracing::info!(%lane, in_doubt = page.counted, indexed = page.indexed, "the index of doubts is made anew");
                self.link.call(async |redis| doubts::reindex(redis, lane).await).await?;
                return Ok(0);
            }
            let now_ms = clock::wall().0;
            let endings: Vec<Ending> =
                page.messages.iter().filter_map(|one| self.ending(one, rules, hearing, now_ms)).collect();
            let ended =
                self.link.call(async |redis| doubts::end(redis, lane, now_ms, &endings).await).await?;
            if ended > 0 {
                let sent = endings.iter().filter(|one| one.to == State::Waiting).count() as u64;
                again += sent.min(ended);
                unresolved += ended.saturating_sub(sent);
            }
            // What ended is out of the index, so the next page begins that much earlier.
            rank += page.messages.len() as u64 - ended;
            if page.messages.is_empty() || rank >= page.indexed {
                break;
            }
        }
        if again + unresolved > 0 {
            let meters = self.metrics.doubts();
            meters.again.increment(again);
            meters.unresolved.increment(unresolved);
            tracing::info!(%lane, again, unresolved, "doubts are over");
        }
        Ok(again)
    }

    /// How the doubt of a message ends now, if it does.
    fn ending(&self, one: &Message, rules: &Rules, hearing: &Hearing, now_ms: u64) -> Option<Ending> {
        let Message { record, since_ms, .. } = *one;
        if record.state != State::InDoubt {
            return None;
        }
        let table = self.table();
        let row = table.reason(record.reason).filter(|row| row.kind == Kind::Doubtful);
        let sendable =
            rules.sendable && record.attempt < rules.max_attempts && record.generation < GENERATION_MAX;
        let doubtful = row.and_then(|row| row.wait).map(|wait| wait.min);
        let doubt = Doubt { since_ms, doubtful, sendable };
        let to = match doubt::decide(&doubt, hearing, &rules.doubt, &self.limits(), now_ms) {
            Decision::Again => State::Waiting,
            Decision::Unresolved => State::Unresolved,
            Decision::Waits(_) | Decision::Silent => return None,
        };
        Some(Ending { seen: *one, to, attempt: record.attempt })
    }

    /// Has the owner of a campaign's lanes look at them again, and lets a campaign that was done go on. Whoever calls it
    /// done looks at the counters after that, we look at its state after we have written: one sees the other.
    async fn wake(&self, campaign: &Watched) -> Result<(), QueueError> {
        let seq = campaign.seq;
        self.link
            .call(async |redis| {
                campaigns::reopen(redis, seq, clock::wall().0).await?;
                match receipt::look_again(redis, seq).await {
                    // All lanes are looked at anew every minute in any case.
                    Err(QueueError::Full) => Ok(()),
                    other => other,
                }
            })
            .await
    }

    /// Nothing of a campaign that is over can be in doubt any more.
    async fn forget_doubts(&mut self, campaign: &Watched, since_ms: u64) -> Result<(), QueueError> {
        let (seq, state) = (campaign.seq, campaign.rules.state);
        let (fields, guard) = (Fields::undoubted(since_ms), Guard::Since(since_ms));
        let now_ms = clock::wall().0;
        self.link
            .call(async |redis| campaigns::move_to(redis, seq, (state, state), now_ms, &fields, guard).await)
            .await?;
        self.state.doubts.over.remove(&seq);
        Ok(())
    }
}
