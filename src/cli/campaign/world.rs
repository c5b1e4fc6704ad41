//! What a command can know of campaigns: their records and counters, the running engine's board, what is stopped.
//! Read only; nothing here prints.

use std::collections::{BTreeMap, BTreeSet};

use crate::queue::connection::Connection;

use super::super::exit::{CliError, Exit};
use crate::app::board::Board;
use crate::app::hours;
use crate::clock::WallMs;
use crate::config::{Config, NumberConfig};
use crate::domain::campaign::{Campaign, CampaignState};
use crate::domain::ids::{LaneId, NumberId};
use crate::domain::record::State;
use crate::intake::campaign_file;
use crate::queue::campaigns::CampaignRecord;
use crate::queue::halts::{self, Scope, Why};
use crate::queue::lane::{self, LaneCounters};
use crate::queue::owner::{self, Owner};

/// What does not belong to one campaign.
#[derive(Clone, Debug)]
pub struct World {
    /// The running engine: the names of all its nodes, and what all of them have acted on.
    pub owner: Option<Owner>,
    /// What they last said of themselves, as one.
    pub board: Option<Board>,
    /// What is stopped.
    pub halts: BTreeMap<Scope, Why>,
}

/// One campaign with its counters.
#[derive(Clone, Debug)]
pub struct View {
    /// As stored.
    pub record: CampaignRecord,
    /// As its file says.
    pub campaign: Campaign,
    /// Over all lanes; what waits in a cancelled campaign counts as cancelled.
    pub counters: LaneCounters,
    /// Numbers of lanes that have something left to send, and how much.
    pub open: BTreeMap<NumberId, u64>,
    /// Messages in doubt by number.
    pub doubts: BTreeMap<NumberId, u64>,
    /// Rows of all loads.
    pub rows: Rows,
    /// When its own hours open, in wall ms; None: they are open.
    pub opens_ms: Option<u64>,
}

/// Rows of all loads: `rows = loaded + duplicate + rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Rows read and dealt with.
    pub rows: u64,
    /// Rows in the queue.
    pub loaded: u64,
    /// Rows that were there already.
    pub duplicate: u64,
    /// Rows that cannot be sent.
    pub rejected: u64,
    /// A load runs.
    pub loading: bool,
    /// The latest load broke off.
    pub broke_off: bool,
}

/// Something that keeps messages of a campaign from leaving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The word for it.
    pub reason: String,
    /// What is stopped; None: the numbers below.
    pub scope: Option<String>,
    /// The numbers that are kept back.
    pub numbers: BTreeSet<String>,
    /// Until when, in wall ms, as far as is known.
    pub until_ms: Option<u64>,
    /// Row of the error table, where Meta refused.
    pub row: Option<u8>,
}

impl World {
    /// Reads it.
    pub async fn read(redis: &mut Connection) -> Result<Self, CliError> {
        let nodes = owner::live_nodes(redis).await?;
        let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
        let said = owner::read_statuses(redis, &names).await?;
        // A board of another version that cannot be read is as good as none.
        let board = Board::merged(said.iter().filter_map(|said| serde_json::from_str(said).ok()));
        let node = names.join(", ");
        let owner =
            nodes.into_iter().min_by_key(|node| node.acknowledged).map(|owner| Owner { node, ..owner });
        Ok(Self { owner, board, halts: halts::read(redis).await? })
    }
}

impl View {
    /// Reads the counters of a campaign.
    pub async fn read(redis: &mut Connection, record: CampaignRecord, now_ms: u64) -> Result<Self, CliError> {
        let campaign = definition(&record)?;
        let lanes: Vec<LaneId> =
            (0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect();
        let mut counters = LaneCounters::default();
        let mut open: BTreeMap<NumberId, u64> = BTreeMap::new();
        let mut doubts: BTreeMap<NumberId, u64> = BTreeMap::new();
        for lane in lane::counters(redis, &lanes).await? {
            let left = left(&lane);
            if let Some(number) = lane.number.clone().filter(|_| left > 0) {
                *open.entry(number).or_default() += left;
            }
            let in_doubt = lane.of(State::InDoubt);
            if let Some(number) = lane.number.clone().filter(|_| in_doubt > 0) {
                *doubts.entry(number).or_default() += in_doubt;
            }
            counters.add(&lane);
        }
        let rows = Rows::of(&record, counters.count, now_ms);
        if record.state == CampaignState::Cancelled {
            cancel(&mut counters);
            open.clear();
        }
        let closed = campaign.hours.as_ref().filter(|hours| !hours::within(hours, WallMs(now_ms)));
        let opens_ms = closed.map(|hours| hours.next_open_ms(now_ms.saturating_add(hours::MARGIN_MS)));
        Ok(Self { record, campaign, counters, open, doubts, rows, opens_ms })
    }

    /// Messages that may still be sent.
    pub fn left(&self) -> u64 {
        left(&self.counters)
    }

    /// Whether nothing will happen any more by itself.
    pub fn over(&self) -> bool {
        let over = matches!(self.record.state, CampaignState::Done | CampaignState::Cancelled);
        over && self.counters.of(State::Sending) == 0 && !self.rows.loading
    }

    /// Requests per second now over its numbers; None while nobody sends it. Campaigns that share numbers share it.
    pub fn rate_per_s(&self, world: &World) -> Option<f64> {
        let board = world.board.as_ref().filter(|_| self.record.state == CampaignState::Running)?;
        let ours =
            board.numbers.iter().filter(|number| self.open.contains_key(&NumberId::from(number.id.as_str())));
        Some(ours.map(|number| number.rate_per_s).sum())
    }

    /// What keeps its messages from leaving.
    pub fn blocks(&self, world: &World) -> Vec<Block> {
        if !matches!(self.record.state, CampaignState::Running | CampaignState::Paused) || self.left() == 0 {
            return Vec::new();
        }
        let stop = |reason: &str, scope: Option<String>| Block {
            reason: reason.to_owned(),
            scope,
            numbers: BTreeSet::new(),
            until_ms: None,
            row: None,
        };
        let mut blocks = Vec::new();
        if self.record.state == CampaignState::Paused {
            blocks.push(stop("paused", Some(format!("campaign:{}", self.record.id))));
        }
        if let Some(until_ms) = self.opens_ms {
            let scope = Some(format!("campaign:{}", self.record.id));
            blocks.push(Block { until_ms: Some(until_ms), ..stop("hours", scope) });
        }
        for (scope, why) in world.halts.iter().filter(|(scope, _)| self.concerns(scope)) {
            let row = match why {
                Why::Halted(row) => Some(*row),
                Why::Operator => None,
            };
            blocks.push(Block { row, ..stop(why.word(), Some(scope.to_string())) });
        }
        match (&world.owner, &world.board) {
            (None, _) => blocks.push(stop("no_serve", None)),
            (Some(_), Some(board)) => blocks.extend(self.blocked_numbers(board, &world.halts)),
            (Some(_), None) => {}
        }
        blocks
    }

    fn concerns(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Number(number) => self.open.contains_key(number),
            Scope::Template(name) => {
                *name == format!("{}/{}", self.campaign.account, self.campaign.template.name)
            }
            Scope::Account(id) => *id == self.campaign.account,
            Scope::App => true,
        }
    }

    /// Numbers by the reason that the engine gives, or because it does not have them.
    fn blocked_numbers(&self, board: &Board, halts: &BTreeMap<Scope, Why>) -> Vec<Block> {
        // What stops a number from outside is shown by its own name already.
        let shown_already = |number: &NumberId, reason: &str| {
            let account = Scope::Account(self.campaign.account.clone());
            let scopes = [Scope::Number(number.clone()), account, Scope::App];
            scopes.iter().any(|scope| halts.get(scope).is_some_and(|why| why.word() == reason))
        };
        let mut by_reason: BTreeMap<&str, (BTreeSet<String>, Option<u64>)> = BTreeMap::new();
        for number in self.open.keys() {
            let (reason, until) = match board.numbers.iter().find(|shown| *shown.id == *number.0) {
                // Between two owners: given back and not yet taken, or its owner's lease has not ended.
                None if board.configured.iter().any(|one| *one == *number.0) => ("ownership", None),
                None => ("not_configured", None),
                Some(shown) => match &shown.blocked {
                    Some(reason) if shown_already(number, reason) => continue,
                    Some(reason) if reason == "hours" => {
                        // Hours are told by the clock of calendars.
                        let civil = |until: u64| until.saturating_add_signed(board.clock_shift_ms);
                        (reason.as_str(), shown.blocked_until_ms.map(civil))
                    }
                    Some(reason) => (reason.as_str(), shown.blocked_until_ms),
                    None => continue,
                },
            };
            let (numbers, latest) = by_reason.entry(reason).or_default();
            numbers.insert(number.to_string());
            *latest = until.max(*latest);
        }
        let block = |(reason, (numbers, until_ms)): (&str, _)| Block {
            reason: reason.to_owned(),
            scope: None,
            numbers,
            until_ms,
            row: None,
        };
        by_reason.into_iter().map(block).collect()
    }
}

impl Rows {
    fn of(record: &CampaignRecord, loaded: u64, now_ms: u64) -> Self {
        let totals = record.totals();
        let ended = record.loads.values().all(|(seen, _)| *seen == 0);
        let loading = record.loading(now_ms);
        // Names of loads begin with their time, so the last one is the latest.
        let latest_ended = record.loads.values().next_back().is_none_or(|(seen, _)| *seen == 0);
        // A load that broke off read rows that it did not deal with, and could not say how many it loaded.
        let dealt_with = loaded + totals.duplicate + totals.rejected;
        Self {
            rows: if ended { totals.rows } else { dealt_with },
            loaded,
            duplicate: totals.duplicate,
            rejected: totals.rejected,
            loading,
            broke_off: !latest_ended && !loading,
        }
    }
}

/// The campaign of a record.
pub fn definition(record: &CampaignRecord) -> Result<Campaign, CliError> {
    campaign_file::parse_set(&record.definition, &record.settings, &record.id).map_err(|error| {
        let message = format!("the stored campaign {} cannot be read by this version: {error}", record.id);
        CliError::new(Exit::Failed, "campaign_unreadable", message)
    })
}

/// The numbers that may send a campaign.
pub fn pool<'a>(campaign: &Campaign, config: &'a Config) -> Vec<&'a NumberConfig> {
    let named = |number: &NumberConfig| campaign.numbers.is_empty() || campaign.numbers.contains(&number.id);
    let ours = |number: &&NumberConfig| number.account == campaign.account && named(number);
    config.numbers.iter().filter(ours).collect()
}

/// Queued, waiting and sending.
fn left(counters: &LaneCounters) -> u64 {
    State::ALL.into_iter().filter(|state| state.open()).map(|state| counters.of(state)).sum()
}

/// What was not sent of a cancelled campaign is cancelled, without a write per message.
fn cancel(counters: &mut LaneCounters) {
    for state in State::ALL.into_iter().filter(|state| state.claimable()) {
        let count = std::mem::take(&mut counters.states[usize::from(state.number())]);
        counters.states[usize::from(State::Cancelled.number())] += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::board::BoardNumber;
    use crate::queue::campaigns::LoadTotals;

    fn record(state: CampaignState, loads: &[(&str, u64, [u64; 4])]) -> CampaignRecord {
        let loads = loads.iter().map(|(name, seen, [rows, loaded, duplicate, rejected])| {
            let totals =
                LoadTotals { rows: *rows, loaded: *loaded, duplicate: *duplicate, rejected: *rejected };
            ((*name).to_owned(), (*seen, totals))
        });
        CampaignRecord {
            seq: crate::domain::ids::CampaignSeq(1),
            id: "a".to_owned(),
            state,
            definition: include_str!("../../../config/campaigns/vence-hoje.toml").to_owned(),
            slices: Vec::new(),
            expected: 0,
            loads: loads.collect(),
            since_ms: 0,
            grown: 0,
            settings: BTreeMap::new(),
            first: None,
            start_at_ms: None,
            why: None,
            baseline: crate::policy::brake::Tally::default(),
            undoubted_ms: None,
            closed: false,
            media: None,
            archive: None,
            media_oldest_ms: None,
        }
    }

    fn view(state: CampaignState) -> View {
        let record = record(state, &[]);
        let mut counters = LaneCounters { count: 10, ..LaneCounters::default() };
        counters.states[0] = 10;
        let open = ["1", "2", "3"].map(|id| (NumberId::from(id), 3));
        View {
            campaign: definition(&record).unwrap(),
            record,
            counters,
            open: open.into(),
            doubts: BTreeMap::new(),
            rows: Rows::default(),
            opens_ms: None,
        }
    }

    fn board() -> Board {
        let blocked = |id: &str, until| BoardNumber {
            id: id.to_owned(),
            blocked: Some("throttle".to_owned()),
            blocked_until_ms: until,
            ..BoardNumber::default()
        };
        Board { numbers: vec![blocked("1", Some(5_000)), blocked("2", Some(9_000))], ..Board::default() }
    }

    fn world(owner: bool, halts: &[(Scope, Why)]) -> World {
        let owner =
            owner.then(|| Owner { node: "n".to_owned(), age: std::time::Duration::ZERO, acknowledged: 0 });
        World { board: owner.is_some().then(board), owner, halts: halts.iter().cloned().collect() }
    }

    fn check(state: CampaignState, world: &World, expect: &[&str]) {
        let shown = |block: Block| {
            let until = block.until_ms.map(|until| format!(" until {until}")).unwrap_or_default();
            format!("{} {} {}{until}", block.reason, block.scope.unwrap_or_default(), block.numbers.len())
        };
        let blocks: Vec<String> = view(state).blocks(world).into_iter().map(shown).collect();
        assert_eq!(blocks, expect);
    }

    #[test]
    fn what_blocks_is_named_with_its_scope() {
        use CampaignState::{Paused, Ready, Running};
        check(Ready, &world(false, &[]), &[]);
        check(Running, &world(false, &[]), &["no_serve  0"]);
        check(Running, &world(true, &[]), &["not_configured  1", "throttle  2 until 9000"]);
        let halts = [
            (Scope::Template("100000000000001/vence_hoje".to_owned()), Why::Halted(44)),
            (Scope::Account("other".to_owned()), Why::Operator),
            (Scope::App, Why::Operator),
        ];
        let expect = [
            "paused campaign:a 0",
            "halted template:100000000000001/vence_hoje 0",
            "paused app:all 0",
            "no_serve  0",
        ];
        check(Paused, &world(false, &halts), &expect);
    }

    #[test]
    fn a_paused_number_is_named_once() {
        let mut world = world(true, &[(Scope::Number(NumberId::from("3")), Why::Operator)]);
        let paused =
            BoardNumber { id: "3".to_owned(), blocked: Some("paused".to_owned()), ..BoardNumber::default() };
        world.board.as_mut().unwrap().numbers.push(paused);
        check(CampaignState::Running, &world, &["paused number:3 0", "throttle  2 until 9000"]);
    }

    #[test]
    fn rows_are_the_sum_of_what_became_of_them() {
        let ended = record(CampaignState::Ready, &[("1", 0, [10, 7, 2, 1]), ("2", 0, [10, 0, 9, 1])]);
        let rows = Rows::of(&ended, 7, 100_000);
        assert_eq!((rows.rows, rows.loaded, rows.duplicate, rows.rejected), (20, 7, 11, 2));
        assert!(!rows.loading && !rows.broke_off);
        let broken = record(CampaignState::Ready, &[("1", 0, [10, 7, 2, 1]), ("2", 1_000, [900, 0, 5, 0])]);
        let rows = Rows::of(&broken, 135, 100_000);
        assert_eq!((rows.rows, rows.broke_off), (135 + 7 + 1, true));
        assert!(Rows::of(&broken, 135, 2_000).loading);
    }

    #[test]
    fn what_waits_in_a_cancelled_campaign_is_cancelled() {
        let mut counters = LaneCounters { count: 10, ..LaneCounters::default() };
        counters.states = [4, 1, 2, 0, 3, 0, 0, 0, 0, 0, 0];
        cancel(&mut counters);
        assert_eq!(counters.states, [0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(left(&counters), 1);
    }
}
