//! Hours of a campaign's lanes: which are closed, what a closing gives back, what an opening lists again.
//!
//! Control says for each calendar class whether it is open and until when; the machine looks at the wall clock once more
//! before each message, so that what was claimed just before a closing is not sent after it, however late control is.
//! Lanes that are closed stand on no agenda: they cost nothing until they open.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Shard;
use super::lane::Phase;
use crate::clock::WallMs;
use crate::domain::ids::CampaignSeq;

/// Whether lanes of one calendar class may send, and until when that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassHours {
    /// They may send.
    pub open: bool,
    /// When that ends, as far as is known.
    pub until: Option<WallMs>,
}

/// The hours of a campaign's lanes, by calendar class. The default is always open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneHours(Option<Arc<Spans>>);

#[derive(Debug, PartialEq, Eq)]
struct Spans {
    /// First lane of each class, ascending.
    starts: Vec<u32>,
    classes: Vec<ClassHours>,
}

impl LaneHours {
    /// Hours by class, with the first lane of each class.
    pub fn new(starts: Vec<u32>, classes: Vec<ClassHours>) -> Self {
        Self(Some(Arc::new(Spans { starts, classes })))
    }

    /// Until when a lane is closed, as far as is known; None: it may send.
    pub fn closed(&self, lane: u32, now: WallMs) -> Option<Option<WallMs>> {
        let spans = self.0.as_ref()?;
        let class = spans.starts.partition_point(|start| *start <= lane).saturating_sub(1);
        match spans.classes.get(class) {
            Some(hours) if hours.open && hours.until.is_none_or(|until| now < until) => None,
            // Open until now: what comes next is for control to say.
            Some(hours) => Some(hours.until.filter(|until| now < *until)),
            None => Some(None),
        }
    }
}

impl<P> Shard<P> {
    /// Until when hours keep a lane of ours from sending; None: they do not.
    pub(super) fn closed_by_hours(&self, lane: usize) -> Option<Option<WallMs>> {
        let one = self.lanes[lane].as_ref()?;
        let campaign = self.campaigns.get(&one.campaign())?;
        campaign.setup.hours.closed(one.id.lane, self.now.wall)
    }

    /// Takes lanes of a campaign that are closed off the agendas, and puts those that are open on them.
    pub(super) fn hours_changed(&mut self, seq: CampaignSeq) {
        let theirs: Vec<usize> = (0..self.lanes.len())
            .filter(|at| self.lanes[*at].as_ref().is_some_and(|lane| lane.campaign() == seq))
            .collect();
        let (closed, open): (Vec<usize>, Vec<usize>) =
            theirs.into_iter().partition(|lane| self.closed_by_hours(*lane).is_some());
        let gone: HashSet<usize> = closed
            .into_iter()
            .filter(|lane| self.lanes[*lane].as_mut().is_some_and(super::lane::Lane::unlist))
            .collect();
        if !gone.is_empty() {
            for number in &mut self.numbers {
                number.agenda.remove_all(|lane| gone.contains(&lane));
            }
        }
        for lane in open {
            if let Some(number) = self.lanes[lane].as_ref().map(|lane| lane.number) {
                self.numbers[number].dry = false;
            }
            self.list(lane);
        }
    }

    /// Numbers that have messages which hours hold back, and when the first of them may go.
    pub(super) fn held_by_hours(&self) -> HashMap<usize, Option<WallMs>> {
        let mut held: HashMap<usize, Option<WallMs>> = HashMap::new();
        for (at, lane) in self.lanes.iter().enumerate() {
            let Some(lane) = lane.as_ref().filter(|lane| !lane.dropping && lane.phase != Phase::Lost) else {
                continue;
            };
            let campaign = self.campaigns.get(&lane.campaign()).filter(|campaign| campaign.may_send());
            if !campaign.is_some_and(|campaign| lane.has_work(campaign.ceiling(lane.id))) {
                continue;
            }
            if let Some(until) = self.closed_by_hours(at) {
                let first = held.entry(lane.number).or_insert(until);
                *first = [*first, until].into_iter().flatten().min();
            }
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lane: u32, now: u64, expect: Option<Option<u64>>) {
        let class = |open, until: Option<u64>| ClassHours { open, until: until.map(WallMs) };
        let classes = vec![class(true, Some(100)), class(false, Some(200)), class(true, None)];
        let hours = LaneHours::new(vec![0, 2, 5], classes);
        let closed = hours.closed(lane, WallMs(now)).map(|until| until.map(|until| until.0));
        assert_eq!(closed, expect, "lane {lane} at {now}");
    }

    #[test]
    fn a_lane_has_the_hours_of_its_class() {
        check(0, 99, None);
        check(1, 100, Some(None));
        check(2, 100, Some(Some(200)));
        check(4, 200, Some(None));
        check(5, 1_000, None);
        assert_eq!(LaneHours::default().closed(7, WallMs(0)), None);
        assert_eq!(LaneHours::new(Vec::new(), Vec::new()).closed(7, WallMs(0)), Some(None));
    }
}
