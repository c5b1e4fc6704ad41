//! What control does once a round: counters, ends of campaigns, lanes for numbers that have none, and the board.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Control, LaneInfo, MOVE_LEAST, stops};
use crate::app::board::{self, Board, BoardNumber};

use crate::clock;
use crate::domain::campaign::CampaignState;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::receipt::flags;
use crate::domain::record::State;
use crate::policy::shard::{Blocked, Input, NumberView};
use crate::queue::campaigns::{Fields, Guard};
use crate::queue::lane::{self, LaneCounters};
use crate::queue::{QueueError, campaigns, owner};
use crate::sender::driver::{Event, ShardView};

/// A board that says nothing new is published so often; it is kept for ten seconds.
const SAY_AGAIN: Duration = Duration::from_secs(3);

impl Control {
    /// Once a second: counters, ends, boards, and lanes for numbers that have none.
    pub(super) async fn round(&mut self) -> Result<(), QueueError> {
        self.look_at_hours();
        self.look_at_clock().await?;
        self.look_how_far().await?;
        if self.look_at_failing() || clock::mono() >= self.state.reread_at {
            self.reload().await?;
        }
        for seq in self.state.told.keys().copied().collect::<Vec<_>>() {
            self.tell_campaign(seq);
        }
        let running: Vec<CampaignSeq> =
            self.state.told.iter().filter(|(_, setup)| setup.running).map(|(seq, _)| *seq).collect();
        self.look_at_facts().await?;
        self.look_at_budgets().await?;
        self.ownership.offer(&self.config.numbers);
        // One process watches campaigns to their end for all.
        let leads = self.ownership.leads();
        if leads {
            self.begin_scheduled().await?;
        }
        if std::mem::replace(&mut self.state.leads, leads) && !leads {
            self.stop_leading();
        }
        for seq in running {
            if self.quiet(seq) {
                continue;
            }
            if leads {
                self.count(seq).await?;
            } else {
                self.count_own(seq).await?;
            }
        }
        self.look_at_doubts().await?;
        self.receive().await?;
        self.share_out();
        self.share_out_far().await?;
        self.publish().await
    }

    /// Reads the counters of one campaign and notices its end.
    async fn count(&mut self, seq: CampaignSeq) -> Result<(), QueueError> {
        let Some(known) = self.state.campaigns.get(&seq).cloned() else {
            return Ok(());
        };
        let all: Vec<LaneId> = (0..known.record.lanes()).map(|lane| LaneId { campaign: seq, lane }).collect();
        let counters = self.link.call(async |redis| lane::counters(redis, &all).await).await?;
        let mut sum = LaneCounters::default();
        for (id, one) in all.iter().zip(&counters) {
            sum.add(one);
            if let Some(info) = self.state.lanes.get_mut(id) {
                info.left = one.of(State::Queued);
                info.untouched = one.next == 0;
            }
        }
        self.note_quiet(seq, &all, &counters);
        let states = State::ALL.into_iter().map(|state| (state.as_str(), sum.of(state))).collect();
        self.metrics.set_campaign(&known.record.id, states, self.state.oldest_due);
        let receipts = flags::COUNTED.iter().zip(sum.receipts).map(|((name, _), count)| (*name, count));
        self.metrics.set_campaign_receipts(&known.record.id, receipts.collect());
        if sum.count > 0 && sum.settled() {
            return self.finish(seq, known.record.grown, all).await;
        }
        match stops::why(&known.record, &known.campaign, &counters, &sum) {
            Some(stop) => self.stop_campaign(seq, known.record.since_ms, &stop).await,
            None => Ok(()),
        }
    }

    /// Ends a campaign that has nothing open, unless a load is running, or it was moved or given more to do meanwhile.
    async fn finish(&mut self, seq: CampaignSeq, grown: u64, all: Vec<LaneId>) -> Result<(), QueueError> {
        let now_ms = clock::wall().0;
        let done = self
            .link
            .call(async |redis| {
                let Some(record) = campaigns::read_all(redis, &[seq]).await?.pop() else {
                    return Ok(false);
                };
                if record.loading(now_ms) || record.state != CampaignState::Running {
                    return Ok(false);
                }
                let ways = (CampaignState::Running, CampaignState::Done);
                let (fields, guard) = (Fields::done(), Guard::Grown(grown));
                let moved = campaigns::move_to(redis, seq, ways, now_ms, &fields, guard).await?;
                // A receipt may have made a message wait since the counters were read: whoever writes first, the
                // other one sees it.
                let left = lane::counters(redis, &all).await?.iter().any(|one| !one.settled());
                if moved && left {
                    campaigns::reopen(redis, seq, now_ms).await?;
                    return Ok(false);
                }
                campaigns::announce(redis).await?;
                Ok(moved)
            })
            .await?;
        if done {
            tracing::info!(campaign = %seq, "a campaign is done");
        }
        Ok(())
    }

    /// Gives each number that ran dry an untouched lane of its fullest sibling.
    fn share_out(&mut self) {
        for dry in self.state.dry.clone() {
            if self.give_away(&dry) {
                self.state.dry.remove(&dry);
            }
        }
    }

    /// Begins to move an untouched lane of ours to a number that has nothing left. False: there is none.
    pub(super) fn give_away(&mut self, dry: &NumberId) -> bool {
        let Some(lane) = self.lane_for(dry) else { return false };
        let Some(from) = self.state.lanes.get(&lane).map(|info| info.number.clone()) else {
            return false;
        };
        let Some(shard) = self.shard_of(&from) else {
            return false;
        };
        self.state.moving.insert(lane, dry.clone());
        tracing::debug!(%lane, %from, to = %dry, "a lane moves to a number that has nothing left");
        self.tell(shard, Event::Input(Input::DropLane(lane)));
        true
    }

    fn lane_for(&self, dry: &NumberId) -> Option<LaneId> {
        let configured = || self.config.numbers.iter().map(|number| (&number.id, number.account.as_str()));
        let mut left: HashMap<&NumberId, u64> = HashMap::new();
        for info in self.state.lanes.values() {
            *left.entry(&info.number).or_default() += info.left;
        }
        let may_move = |id: &LaneId, info: &LaneInfo| {
            let known = self.state.campaigns.get(&id.campaign);
            let running = self.state.told.get(&id.campaign).is_some_and(|setup| setup.running);
            let others = left.get(&info.number).copied().unwrap_or(0) > info.left;
            let worth = info.untouched && info.left >= MOVE_LEAST && others && info.number != *dry;
            worth
                && running
                && self.lane_open(*id)
                && !self.campaign_used_up(id.campaign)
                && !self.state.moving.contains_key(id)
                && known.is_some_and(|known| self.healthy(known.pool(configured())).contains(dry))
        };
        let lanes = self.state.lanes.iter().filter(|(id, info)| may_move(id, info));
        lanes
            .max_by_key(|(_, info)| (left.get(&info.number).copied().unwrap_or(0), info.left))
            .map(|(id, _)| *id)
    }

    fn meter(&mut self, view: &NumberView, rate_per_s: f64) {
        let meters =
            self.state.meters.entry(view.id.clone()).or_insert_with(|| self.metrics.number(&view.id));
        #[allow(clippy::cast_precision_loss, reason = "requests in flight are thousands at most")]
        meters.in_flight.set(view.in_flight as f64);
        meters.pace_per_s.set(rate_per_s);
        meters.pace_limit_per_s.set(view.rate_per_s.unwrap_or(f64::INFINITY));
        let blocked = view.blocked.map(|(why, _)| (board::word(why), 1)).into_iter().collect();
        self.metrics.set_blocked(&view.id, blocked);
    }

    /// Whether a board says nothing new, and is not due again: an idle process need not say so every second.
    fn says_the_same(&mut self, board: &Board) -> bool {
        let mut said = board.clone();
        // An instant that is told as a time differs by a millisecond each time.
        said.numbers.iter_mut().for_each(|number| number.blocked_until_ms = None);
        let now = clock::mono();
        let fresh = self
            .state
            .said
            .as_ref()
            .is_some_and(|(before, at)| *before == said && now.since(*at) < SAY_AGAIN);
        if !fresh {
            self.state.said = Some((said, now));
        }
        fresh
    }

    /// Says what every number is doing: to the metrics, and on the board that `status` reads.
    async fn publish(&mut self) -> Result<(), QueueError> {
        let mut views = Vec::new();
        for shard in &self.shards {
            let (ask, answer) = oneshot::channel();
            let _gone = shard.events.send(Event::View(ask));
            views.push(answer.await.unwrap_or_default());
        }
        let now = (clock::mono(), clock::wall());
        let elapsed =
            now.0.since(std::mem::replace(&mut self.state.viewed_at, now.0)).as_secs_f64().max(0.001);
        let mut board = Board {
            node: self.ownership.node().to_owned(),
            http: self.http.clone(),
            redis: true,
            ..Board::default()
        };
        board.clock_shift_ms = self.config.calendar.clock_shift_ms;
        self.state.oldest_due = views.iter().map(|view| view.oldest_due).max().unwrap_or_default();
        for ShardView { numbers, .. } in views {
            // A number that left the configuration is stopped, and nothing is shown of it.
            for view in numbers {
                // One that is on its way out is nobody's to show, unless an older Redis keeps it from getting there: nobody
                // else would say why nothing is sent.
                let stuck = view.blocked.is_some_and(|(why, _)| why == Blocked::RolledBack);
                if self.shard_of(&view.id).is_none() && !stuck {
                    continue;
                }
                let before = self.state.begun.insert(view.id.clone(), view.begun).unwrap_or(view.begun);
                if view.begun > before {
                    self.state.doubts.left(&view.id, now.1);
                }
                #[allow(clippy::cast_precision_loss, reason = "requests of a second or so")]
                let rate_per_s = (view.begun - before) as f64 / elapsed;
                self.meter(&view, rate_per_s);
                board.rate_per_s += rate_per_s;
                let mut shown = BoardNumber::new(&view, rate_per_s, now);
                let facts = self.state.facts.known.get(&view.id).cloned().unwrap_or_default();
                (shown.meta_status, shown.quality, shown.throughput) =
                    (facts.status, facts.quality, facts.throughput);
                shown.webhooks_silent_since_ms = self.state.doubts.silent_since_ms(&view.id);
                board.numbers.push(shown);
            }
        }
        self.tell_owners(&mut board);
        if self.says_the_same(&board) {
            return Ok(());
        }
        let (node, text) = (self.ownership.node(), serde_json::to_string(&board).unwrap_or_default());
        self.link
            .call(async |redis| match owner::publish_status(redis, node, &text).await {
                // A full Redis must not keep control from hearing a pause.
                Err(QueueError::Full) => Ok(()),
                other => other,
            })
            .await
    }
}
