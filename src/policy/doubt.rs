//! The doubt clock: how long a message in doubt waits for Meta's receipts, and what becomes of it then.
//!
//! A receipt settles a doubt, so time counts against a message only while receipts could have come: its clock runs while
//! receipts of **later sends of its number** are heard. While they are not, webhooks are silent, the clock stands, and
//! nothing is sent again however long that takes; after `give_up` in all, when Meta has stopped repeating what it could
//! not deliver, the message ends unresolved.
//!
//! ```text
//!  in doubt ─┬ clock over, doubtful or resend, attempts left ─► waiting, due at once
//!            ├ clock over, otherwise ─► unresolved
//!            └ webhooks silent until `give_up` ─► unresolved, whatever the policy
//! ```
//!
//! All instants are wall milliseconds. A [`Hearing`] is what is known of one number's receipts; its owner keeps it.

use std::time::Duration;

use crate::domain::doubt::{DoubtPolicy, DoubtRules};

/// A send this much younger than the latest one that was heard of counts as heard of: Meta's clock has seconds, and we
/// look at ours once a second.
const SLACK_MS: u64 = 5_000;

/// Silences remembered of a number; beyond it the two nearest become one, which only makes waits longer.
const SILENCES_MAX: usize = 16;

/// When webhooks count as silent, and for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A send without a receipt for so long means that webhooks are silent.
    pub silent_after: Duration,
    /// A message in doubt for so long ends unresolved even if webhooks were silent all the time.
    pub give_up: Duration,
}

/// What is known of the receipts of one number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// When something last left through it.
    left_ms: Option<u64>,
    /// The latest instant at which something was sent, of all whose receipts were heard.
    heard_ms: Option<u64>,
    /// Since when a send waits for its receipt.
    owed_ms: Option<u64>,
    /// Times in which no receipts came, oldest first, disjoint.
    silences: Vec<(u64, u64)>,
}

/// A message in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Since when.
    pub since_ms: u64,
    /// Meta said that it probably did not take it: how long to wait before it is tried again.
    pub doubtful: Option<Duration>,
    /// Whether it has attempts left, and its campaign and the record let it be claimed again.
    pub sendable: bool,
}

/// What becomes of a message in doubt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It waits; its clock is over at this instant if receipts go on coming.
    Waits(u64),
    /// It waits and its clock stands, because webhooks are silent.
    Silent,
    /// It is sent again.
    Again,
    /// Nobody will ever know.
    Unresolved,
}

impl Hearing {
    /// Takes in what is known at `now_ms`: when something last left, and the latest send that was heard of. To be asked
    /// regularly while the number sends.
    pub fn look(&mut self, now_ms: u64, left_ms: Option<u64>, heard_ms: Option<u64>, limits: &Limits) {
        self.left_ms = self.left_ms.max(left_ms);
        self.heard_ms = self.heard_ms.max(heard_ms);
        let heard = self.heard_ms.map_or(0, |heard| heard.saturating_add(SLACK_MS));
        let behind = self.left_ms.is_some_and(|left| left > heard);
        match self.owed_ms {
            None if behind => self.owed_ms = self.left_ms.min(Some(now_ms)),
            // What was owed has come; of what left since, the first is not known any more.
            Some(owed) if heard >= owed => {
                if now_ms.saturating_sub(owed) > millis(limits.silent_after) {
                    self.remember(owed, now_ms);
                }
                self.owed_ms = behind.then_some(now_ms);
            }
            _ => {}
        }
    }

    /// Whether sends wait for their receipts for too long.
    pub fn silent(&self, now_ms: u64, limits: &Limits) -> bool {
        self.silent_since(now_ms, limits).is_some()
    }

    /// Since when webhooks are silent; None: they are not, or nothing was sent.
    pub fn silent_since(&self, now_ms: u64, limits: &Limits) -> Option<u64> {
        self.owed_ms.filter(|owed| now_ms.saturating_sub(*owed) > millis(limits.silent_after))
    }

    /// How long the clock of a message in doubt has run; None: it stands, since nothing later was heard of, or webhooks
    /// are silent.
    pub fn ran(&self, since_ms: u64, now_ms: u64, limits: &Limits) -> Option<u64> {
        let later = self.heard_ms.is_some_and(|heard| heard > since_ms);
        if !later || self.silent(now_ms, limits) {
            return None;
        }
        let overlap = |(from, to): &(u64, u64)| (*to).min(now_ms).saturating_sub((*from).max(since_ms));
        let stood: u64 = self.silences.iter().map(overlap).sum();
        Some(now_ms.saturating_sub(since_ms).saturating_sub(stood))
    }

    fn remember(&mut self, from: u64, to: u64) {
        self.silences.push((from, to));
        if self.silences.len() <= SILENCES_MAX {
            return;
        }
        let gap = |at: &usize| self.silences[at + 1].0.saturating_sub(self.silences[*at].1);
        if let Some(at) = (0..self.silences.len() - 1).min_by_key(gap) {
            let (_, to) = self.silences.remove(at + 1);
            self.silences[at].1 = to;
        }
    }

    /// As it is stored: what left, was heard of and is owed (0: nothing), then the silences.
    pub fn to_text(&self) -> String {
        let mut words: Vec<String> = [self.left_ms, self.heard_ms, self.owed_ms]
            .iter()
            .map(|ms| ms.unwrap_or(0).to_string())
            .collect();
        words.extend(self.silences.iter().map(|(from, to)| format!("{from}-{to}")));
        words.join(" ")
    }

    /// What was stored; whatever is none of it is taken for nothing known.
    pub fn from_text(text: &str) -> Self {
        let mut words = text.split(' ');
        let mut instant = || words.next().and_then(|word| word.parse().ok()).filter(|ms| *ms > 0);
        let (left_ms, heard_ms, owed_ms) = (instant(), instant(), instant());
        let span = |word: &str| {
            let (from, to) = word.split_once('-')?;
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        let silences = words.filter_map(span).take(SILENCES_MAX).collect();
        Self { left_ms, heard_ms, owed_ms, silences }
    }
}

/// What becomes of a message in doubt at `now_ms`.
pub fn decide(
    doubt: &Doubt,
    hearing: &Hearing,
    rules: &DoubtRules,
    limits: &Limits,
    now_ms: u64,
) -> Decision {
    let wait = millis(doubt.doubtful.unwrap_or(rules.wait));
    if let Some(ran) = hearing.ran(doubt.since_ms, now_ms, limits) {
        let again = doubt.sendable && (doubt.doubtful.is_some() || rules.policy == DoubtPolicy::Resend);
        return match wait.checked_sub(ran) {
            Some(left) if left > 0 => Decision::Waits(now_ms.saturating_add(left)),
            _ if again => Decision::Again,
            _ => Decision::Unresolved,
        };
    }
    if now_ms.saturating_sub(doubt.since_ms) >= millis(limits.give_up) {
        return Decision::Unresolved;
    }
    Decision::Silent
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
