//! A portfolio's budget in plain memory: the rule of `budget.lua`. The queue's tests hold it against the script on a real
//! Redis, call by call.

use std::collections::BTreeMap;

/// Who is counted, and since when in µs.
#[derive(Clone, Debug, Default)]
pub(crate) struct BudgetModel {
    counted: BTreeMap<u64, u64>,
    /// What Meta said; Some(None): without a limit.
    pub(crate) said: Option<Option<u64>>,
}

/// What the script answers: counted, at most, µs until there is room; then per person its score and the one before.
pub(crate) type Answer = (i64, i64, i64, Vec<(u64, u64)>);

impl BudgetModel {
    pub(crate) fn take(&mut self, now: u64, limit: Option<u64>, window: u64, people: &[u64]) -> Answer {
        self.leave(now, window);
        let most = self.most(limit);
        let mut scores = Vec::new();
        for person in people {
            let before = self.counted.get(person).copied();
            let room = most.is_none_or(|most| (self.counted.len() as u64) < most);
            if before.is_none() && !room {
                scores.push((0, 0));
                continue;
            }
            let score = before.map_or(now, |before| now.max(before + 1));
            self.counted.insert(*person, score);
            scores.push((score, before.unwrap_or(0)));
        }
        self.answer(now, window, most, scores)
    }

    pub(crate) fn back(
        &mut self,
        now: u64,
        limit: Option<u64>,
        window: u64,
        all: &[(u64, u64, u64)],
    ) -> Answer {
        self.leave(now, window);
        for (person, score, before) in all {
            if self.counted.get(person) == Some(score) {
                if before + window > now {
                    self.counted.insert(*person, *before);
                } else {
                    self.counted.remove(person);
                }
            }
        }
        self.answer(now, window, self.most(limit), Vec::new())
    }

    /// Who is counted at this time.
    pub(crate) fn live_at(&self, now: u64, window: u64) -> Vec<(u64, u64)> {
        let all = self.counted.iter().map(|(person, score)| (*person, *score));
        all.filter(|(_, score)| *score + window > now).collect()
    }

    fn leave(&mut self, now: u64, window: u64) {
        self.counted.retain(|_, score| *score + window > now);
    }

    fn most(&self, limit: Option<u64>) -> Option<u64> {
        [limit, self.said.flatten()].into_iter().flatten().min()
    }

    fn answer(&self, now: u64, window: u64, most: Option<u64>, scores: Vec<(u64, u64)>) -> Answer {
        let signed = |number: u64| i64::try_from(number).unwrap();
        let used = self.counted.len() as u64;
        let mut times: Vec<u64> = self.counted.values().copied().collect();
        times.sort_unstable();
        let wait = most.filter(|most| used >= *most).and_then(|most| {
            let last_to_leave = times.get(usize::try_from(used - most).unwrap())?;
            Some(last_to_leave + window - now)
        });
        (signed(used), most.map_or(-1, signed), wait.map_or(-1, signed), scores)
    }
}
