//! The shard's own work for a message, from claim to settle, with a driver that answers every order at once.

use std::collections::VecDeque;
use std::time::Duration;

use carteiro::clock::{Mono, WallMs};
use carteiro::config::BreakerConfig;
use carteiro::domain::campaign::RetryPolicy;
use carteiro::domain::contact::CapChoice;
use carteiro::domain::ids::{CampaignSeq, LaneId, NumberId};
use carteiro::policy::adapt::AdaptConfig;
use carteiro::policy::classify::{ErrorTable, Reply, ReplyBody, Verdict};
use carteiro::policy::pace::Exactness;
use carteiro::policy::shard::{
    CampaignSetup, Input, LaneHours, LaneSetup, LaneView, Message, Now, NumberSetup, Output, Shard,
    ShardConfig,
};
use criterion::{Criterion, Throughput};

/// Messages of one measured step.
const MESSAGES: u64 = 1_024;

/// Messages in the lane: more than any run sends.
const COUNT: u32 = u32::MAX;

struct World {
    shard: Shard<()>,
    now: Now,
    news: VecDeque<Input<()>>,
    next: u32,
    sent: u64,
    accepted: Verdict,
}

impl World {
    fn new(numbers: u32) -> Self {
        let ms = Duration::from_millis;
        let config = ShardConfig {
            exactness: Exactness { tolerance: ms(5), arrival_slack: ms(10) },
            adapt: AdaptConfig { decrease: 0.7, increase_per_s: 0.01, floor: 0.05 },
            guaranteed_share: 0.05,
            claim_ahead: ms(50),
            max_in_flight: 64,
            max_connections: 64,
            max_unsettled: 65_536,
            settle_delay: ms(20),
            breaker: BreakerConfig { failures: 3, base: ms(1_000), max: ms(60_000) },
            throttle_base: ms(1_000),
            throttle_max: ms(60_000),
            pair_wait: (ms(6_000), ms(60_000)),
        };
        let reply = Reply { http_status: 200, body: ReplyBody::Accepted { held: false }, retry_after: None };
        let mut world = Self {
            shard: Shard::new(config, 1),
            now: Now { mono: Mono(ms(1)), wall: WallMs(1_795_000_000_000) },
            news: VecDeque::new(),
            next: 0,
            sent: 0,
            accepted: ErrorTable::builtin().classify(&reply),
        };
        let campaign = CampaignSeq(1);
        world.news.push_back(Input::Campaign(CampaignSetup {
            seq: campaign,
            rank: 2,
            running: true,
            template: "1/bench".to_owned(),
            template_stopped: false,
            validity: Duration::from_secs(86_400),
            valid_until: None,
            hours: LaneHours::default(),
            retry: RetryPolicy { max_attempts: 5, base: ms(1_000), max: ms(60_000) },
            open: true,
            first: None,
            pace_share_per_mille: None,
            weight: 1,
            cap: CapChoice::Defer,
        }));
        for lane in 0..numbers {
            let id = NumberId::from(format!("{lane}").as_str());
            let setup = NumberSetup {
                id: id.clone(),
                account: "1".to_owned(),
                portfolio: None,
                rate_per_s: None,
                stopped: None,
            };
            world.news.push_back(Input::Number(setup));
            world.news.push_back(Input::Lane(LaneSetup { id: LaneId { campaign, lane }, number: id }));
        }
        world
    }

    /// Runs until so many more messages have been sent.
    fn send(&mut self, messages: u64) {
        let goal = self.sent + messages;
        while self.sent < goal {
            let news = self.news.pop_front().unwrap_or(Input::Time);
            self.shard.handle(self.now, news);
            loop {
                match self.shard.poll() {
                    Output::Sleep(deadline) => {
                        if self.news.is_empty() {
                            self.now.mono = deadline.expect("there is always something left to send");
                        }
                        break;
                    }
                    order => self.answer(order),
                }
            }
        }
    }

    fn answer(&mut self, order: Output<()>) {
        match order {
            Output::Adopt { lane, .. } => self.news.push_back(Input::Adopted(lane, Some(self.view()))),
            Output::Claim { lane, fresh, .. } => {
                let messages = (0..fresh).map(|_| self.message()).collect();
                self.news.push_back(Input::Claimed(lane, Some((messages, self.view()))));
            }
            Output::Send { flight, .. } => {
                self.sent += 1;
                self.news.push_back(Input::Replied(flight, self.accepted, true));
            }
            Output::Settle { lane, settlements } => {
                self.news.push_back(Input::Settled(lane, settlements.len()));
            }
            Output::Connect(connections) => self.news.extend((0..connections).map(|_| Input::Connected)),
            // A number is dry until its lane is told.
            Output::Dry(_) => {}
            other => unreachable!("a world without trouble orders no {other:?}"),
        }
    }

    fn message(&mut self) -> Message<()> {
        self.next += 1;
        Message {
            index: self.next,
            generation: 1,
            attempt: 0,
            loaded_at: self.now.wall,
            stopped: None,
            held: None,
            admitted_until: None,
            payload: (),
        }
    }

    fn view(&self) -> LaneView {
        LaneView { count: COUNT, next: self.next, next_due: None }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(MESSAGES));
    for numbers in [1, 64] {
        let mut world = World::new(numbers);
        world.send(MESSAGES);
        group.bench_function(format!("{numbers} numbers"), |b| b.iter(|| world.send(MESSAGES)));
    }
    group.finish();
    criterion.final_summary();
}
