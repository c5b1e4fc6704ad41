//! The lanes of one number: by rank and campaign those with something to claim, by time those that wait.
//!
//! Ranks are strict but for a guaranteed share: while a rank above is claimed, every rank below that has something to
//! claim is owed a part of each message, and what it is owed comes first. Within one rank campaigns get messages by their
//! weights: the one that has had least for its weight is next, and one that comes back after a pause begins where the
//! others stand, so that nobody saves up turns.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::clock::Mono;
use crate::domain::ids::CampaignSeq;

/// Lanes of one campaign that a number could claim from.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) campaign: CampaignSeq,
    pub(super) lanes: VecDeque<usize>,
}

/// A lane whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picked {
    pub(super) lane: usize,
    /// Rank of its campaign.
    pub(super) rank: u8,
    /// Messages that it may have although others come first; None: it comes first.
    pub(super) owed: Option<usize>,
}

/// The lanes of a number: those with something to claim by rank and campaign, and those that wait for a due time.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    pub(super) turns: BTreeMap<u8, Vec<Turn>>,
    pub(super) due: BTreeSet<(Mono, usize)>,
    /// Messages owed to a rank, in parts of one.
    owed: BTreeMap<u8, f64>,
    /// Messages that a campaign has had, divided by its weight.
    had: HashMap<CampaignSeq, f64>,
    /// What the last campaign that was chosen had had: where one that comes back begins.
    level: BTreeMap<u8, f64>,
}

/// A rank is never owed more than this, however long nothing of it could be claimed.
const OWED_MOST: f64 = 16.0;

impl Agenda {
    /// Takes the lane whose turn it is among campaigns that may send.
    pub(super) fn pop(&mut self, may_send: impl Fn(CampaignSeq) -> bool) -> Option<Picked> {
        let able: Vec<u8> =
            self.turns.iter().filter(|(_, turns)| has(turns, &may_send)).map(|(rank, _)| *rank).collect();
        let owed =
            able.iter().skip(1).copied().find(|rank| self.owed.get(rank).is_some_and(|owed| *owed >= 1.0));
        let rank = owed.or(able.first().copied())?;
        let lane = self.pop_of(rank, may_send)?;
        let owed = owed.and_then(|rank| self.owed.get(&rank)).map(|owed| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to OWED_MOST")]
            let whole = *owed as usize;
            whole
        });
        Some(Picked { lane, rank, owed })
    }

    fn pop_of(&mut self, rank: u8, may_send: impl Fn(CampaignSeq) -> bool) -> Option<usize> {
        let turns = self.turns.get_mut(&rank)?;
        let had = |turn: &Turn| self.had.get(&turn.campaign).copied().unwrap_or(0.0);
        let able =
            turns.iter().enumerate().filter(|(_, turn)| may_send(turn.campaign) && !turn.lanes.is_empty());
        let (at, _) = able.min_by(|(_, one), (_, other)| had(one).total_cmp(&had(other)))?;
        self.level.insert(rank, had(&turns[at]));
        let lane = turns[at].lanes.pop_front();
        if turns[at].lanes.is_empty() {
            turns.remove(at);
        }
        lane
    }

    /// Notes that messages of a campaign were ordered: ranks below are owed their share of them.
    pub(super) fn note(&mut self, picked: Picked, campaign: (CampaignSeq, u32), messages: usize, share: f64) {
        #[allow(clippy::cast_precision_loss, reason = "a batch at most")]
        let messages = messages as f64;
        if picked.owed.is_some() {
            if let Some(owed) = self.owed.get_mut(&picked.rank) {
                *owed = (*owed - messages).max(0.0);
            }
        } else if messages > 0.0 && share > 0.0 {
            let below =
                self.turns.range(picked.rank.saturating_add(1)..).filter(|(_, turns)| !turns.is_empty());
            for (rank, _) in below {
                let owed = self.owed.entry(*rank).or_default();
                *owed = (*owed + messages * share).min(OWED_MOST);
            }
        }
        let (seq, weight) = campaign;
        *self.had.entry(seq).or_default() += messages / f64::from(weight.max(1));
    }

    /// Puts a lane that has more back in front of its campaign's lanes.
    pub(super) fn push_front(&mut self, rank: u8, campaign: CampaignSeq, lane: usize) {
        let turns = self.turns.entry(rank).or_default();
        if let Some(turn) = turns.iter_mut().find(|turn| turn.campaign == campaign) {
            return turn.lanes.push_front(lane);
        }
        turns.push(Turn { campaign, lanes: VecDeque::from([lane]) });
        let level = self.level.get(&rank).copied().unwrap_or(0.0);
        let had = self.had.entry(campaign).or_default();
        *had = had.max(level);
    }

    /// Removes a lane that waits for `due`.
    pub(super) fn remove_due(&mut self, due: Mono, lane: usize) {
        self.due.remove(&(due, lane));
    }

    /// Removes a lane from its campaign's turn. False: it was not there.
    pub(super) fn remove_turn(&mut self, rank: u8, campaign: CampaignSeq, lane: usize) -> bool {
        let Some(turns) = self.turns.get_mut(&rank) else { return false };
        let Some(at) = turns.iter().position(|turn| turn.campaign == campaign) else { return false };
        let Some(place) = turns[at].lanes.iter().position(|one| *one == lane) else { return false };
        turns[at].lanes.remove(place);
        if turns[at].lanes.is_empty() {
            turns.remove(at);
        }
        true
    }

    pub(super) fn remove(&mut self, lane: usize) {
        self.remove_all(|other| other == lane);
    }

    /// Removes many lanes in one walk.
    pub(super) fn remove_all(&mut self, gone: impl Fn(usize) -> bool) {
        for turns in self.turns.values_mut() {
            for turn in turns.iter_mut() {
                turn.lanes.retain(|lane| !gone(*lane));
            }
            turns.retain(|turn| !turn.lanes.is_empty());
        }
        self.due.retain(|(_, lane)| !gone(*lane));
    }

    /// Forgets what a campaign has had: it is over.
    pub(super) fn forget(&mut self, campaign: CampaignSeq) {
        self.had.remove(&campaign);
    }

    /// Whether campaigns that may send have something to claim now.
    pub(super) fn has_work(&self, may_send: impl Fn(CampaignSeq) -> bool) -> bool {
        self.turns.values().any(|turns| has(turns, &may_send))
    }

    /// The first rank of which something may be claimed now.
    pub(super) fn first_rank(&self, may_send: impl Fn(CampaignSeq) -> bool) -> Option<u8> {
        self.turns.iter().find(|(_, turns)| has(turns, &may_send)).map(|(rank, _)| *rank)
    }
}

fn has(turns: &[Turn], may_send: &impl Fn(CampaignSeq) -> bool) -> bool {
    turns.iter().any(|turn| !turn.lanes.is_empty() && may_send(turn.campaign))
}
