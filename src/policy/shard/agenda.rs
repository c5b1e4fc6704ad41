//! The lanes of one number: by rank and campaign those with something to claim, by time those that wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::clock::Mono;
use crate::domain::ids::CampaignSeq;

/// Lanes of one campaign that a number could claim from.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) campaign: CampaignSeq,
    pub(super) lanes: VecDeque<usize>,
}

/// The lanes of a number: those with something to claim by rank and campaign, and those that wait for a due time.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    pub(super) turns: BTreeMap<u8, VecDeque<Turn>>,
    pub(super) due: BTreeSet<(Mono, usize)>,
}

impl Agenda {
    /// Takes the lane whose turn it is among campaigns that may send. Within one rank the campaigns take turns.
    pub(super) fn pop(&mut self, may_send: impl Fn(CampaignSeq) -> bool) -> Option<usize> {
        for turns in self.turns.values_mut() {
            let Some(at) = turns.iter().position(|turn| may_send(turn.campaign) && !turn.lanes.is_empty())
            else {
                continue;
            };
            let mut turn = turns.remove(at)?;
            let lane = turn.lanes.pop_front();
            if !turn.lanes.is_empty() {
                turns.push_back(turn);
            }
            return lane;
        }
        None
    }

    /// Puts a lane that has more back in front of its campaign's lanes.
    pub(super) fn push_front(&mut self, rank: u8, campaign: CampaignSeq, lane: usize) {
        let turns = self.turns.entry(rank).or_default();
        match turns.iter_mut().find(|turn| turn.campaign == campaign) {
            Some(turn) => turn.lanes.push_front(lane),
            None => turns.push_back(Turn { campaign, lanes: VecDeque::from([lane]) }),
        }
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

    /// Whether campaigns that may send have something to claim now.
    pub(super) fn has_work(&self, may_send: impl Fn(CampaignSeq) -> bool) -> bool {
        self.turns.values().flatten().any(|turn| !turn.lanes.is_empty() && may_send(turn.campaign))
    }
}
