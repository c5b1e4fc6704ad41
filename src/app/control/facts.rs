//! Meta's own fields of our numbers, read now and then: the throughput it grants, and whether a number may send at all.
//!
//! They are read when a number becomes ours, every `pace.read_every`, with SIGHUP, and when a webhook says that they changed. One
//! reading at a time, one number after the other, and none while most of an account's requests are used
//! (`cloud.max_request_usage`), so that what a person asks for still has room.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Control;
use crate::clock::{self, Mono};
use crate::cloud::manage::Manage;
use crate::config::{CloudConfig, NumberConfig, Secret};
use crate::domain::ids::NumberId;
use crate::policy::classify::{Kind, Scope as VerdictScope, Verdict};
use crate::policy::facts::{self, NumberFacts};
use crate::queue::{QueueError, receipt};

/// What control knows of Meta's fields.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) known: HashMap<NumberId, NumberFacts>,
    /// The reading under way, and when it began, in wall ms.
    reading: Option<(oneshot::Receiver<Found>, u64)>,
    /// Accounts that are not asked before then: most of their requests are used.
    rests: HashMap<String, Mono>,
    due: Mono,
    /// What the last webhook that made us read said of its time, in wall ms.
    changed_ms: u64,
}

/// A number to be read.
struct Wanted {
    number: NumberId,
    account: String,
    token: Secret,
}

/// What a reading found.
#[derive(Default)]
struct Found {
    facts: Vec<(NumberId, NumberFacts)>,
    /// Accounts to be left alone for so long.
    rests: HashMap<String, Duration>,
}

impl Facts {
    /// Has the fields read at the next round.
    pub(super) fn ask_again(&mut self) {
        self.due = clock::mono();
    }
}

impl Control {
    /// Messages a second of a number at most: its configuration's, less what is kept free, and no more than Meta grants.
    pub(super) fn rate_of(&self, number: &NumberConfig) -> Option<f64> {
        let granted =
            self.state.facts.known.get(&number.id).and_then(|facts| facts::judge(facts).limit_per_s);
        let rate = number.rate_per_s?;
        Some(granted.map_or(rate, |granted| rate.min(granted)) * (1.0 - self.config.pace.keep_free))
    }

    /// Takes what a reading found, and begins the next when it is due or a webhook asks for it.
    pub(super) async fn look_at_facts(&mut self) -> Result<(), QueueError> {
        let found =
            self.state.facts.reading.as_mut().map(|(reading, began_ms)| (reading.try_recv(), *began_ms));
        match found {
            Some((Ok(found), began_ms)) => {
                self.state.facts.reading = None;
                self.rest(found.rests);
                self.note_people(&found.facts, began_ms).await?;
                self.on_facts(found.facts).await?;
            }
            Some((Err(oneshot::error::TryRecvError::Empty), _)) => return Ok(()),
            Some((Err(oneshot::error::TryRecvError::Closed), _)) => self.state.facts.reading = None,
            None => {}
        }
        let now = clock::mono();
        let new = self.state.owned.iter().any(|number| !self.state.facts.known.contains_key(number));
        if self.webhook_asks().await? || now >= self.state.facts.due {
            self.read_facts(false);
        } else if new {
            self.read_facts(true);
        }
        Ok(())
    }

    async fn webhook_asks(&mut self) -> Result<bool, QueueError> {
        if self.config.webhooks.listen.is_none() {
            return Ok(false);
        }
        let changed = self.link.call(async |redis| receipt::numbers_changed_ms(redis).await).await?;
        Ok(std::mem::replace(&mut self.state.facts.changed_ms, changed) != changed)
    }

    /// Leaves accounts alone for a while.
    fn rest(&mut self, rests: HashMap<String, Duration>) {
        for (account, wait) in rests {
            let wait = wait / self.config.time_scale;
            tracing::info!(
                account,
                wait_s = wait.as_secs(),
                "most of an account's requests are used; the fields of its numbers are not read for a while"
            );
            self.state.facts.rests.insert(account, clock::mono().after(wait));
        }
    }

    fn read_facts(&mut self, only_new: bool) {
        let (facts, now) = (&mut self.state.facts, clock::mono());
        if !only_new {
            facts.due = now.after(self.config.pace.read_every);
        }
        facts.rests.retain(|_, until| *until > now);
        let ours = self.config.numbers.iter().filter(|number| self.state.owned.contains(&number.id));
        let wanted = ours.filter(|number| !only_new || !facts.known.contains_key(&number.id));
        let one = |number: &NumberConfig| {
            let account = self.config.accounts.iter().find(|account| account.id == number.account)?;
            let (number, account, token) = (number.id.clone(), account.id.clone(), account.token.clone());
            Some(Wanted { number, account, token })
        };
        let wanted = wanted.filter(|number| !facts.rests.contains_key(&number.account));
        let wanted: Vec<Wanted> = wanted.filter_map(one).collect();
        // Known from now on, whatever Meta answers: a number that cannot be read is not asked for every second.
        for one in &wanted {
            facts.known.entry(one.number.clone()).or_default();
        }
        if wanted.is_empty() {
            return;
        }
        let (tell, told) = oneshot::channel();
        facts.reading = Some((told, clock::wall().0));
        let cloud = self.config.cloud.clone();
        tokio::task::spawn_local(async move { drop(tell.send(read(&cloud, wanted).await)) });
    }

    async fn on_facts(&mut self, found: Vec<(NumberId, NumberFacts)>) -> Result<(), QueueError> {
        for (id, facts) in found {
            let before = self.state.facts.known.insert(id.clone(), facts.clone());
            if before.as_ref() == Some(&facts) {
                continue;
            }
            let judged = facts::judge(&facts);
            if judged.warns {
                let NumberFacts { status, quality, .. } = &facts;
                tracing::warn!(number = %id, ?status, ?quality, "meta says of a number");
            }
            let Some(number) = self.config.numbers.iter().find(|number| number.id == id).cloned() else {
                continue;
            };
            self.tell_number(&number);
            if let Some(code) = judged.stop {
                let verdict = Verdict {
                    kind: Kind::Halt,
                    scope: VerdictScope::Number,
                    reason: self.table().code(code).map_or(0, |row| row.reason),
                    code: Some(code),
                    not_own: false,
                    slows: false,
                    attempts: None,
                    wait: None,
                };
                self.on_halt(&verdict, id, number.account, String::new()).await?;
            }
        }
        Ok(())
    }
}

/// Reads the fields of numbers, one after the other, of each account for as long as enough of its requests are left. What
/// cannot be read is left out, and said.
async fn read(cloud: &CloudConfig, wanted: Vec<Wanted>) -> Found {
    let mut found = Found::default();
    let percent_max = cloud.max_request_usage * 100.0;
    for Wanted { number, account, token } in wanted {
        if found.rests.contains_key(&account) {
            continue;
        }
        let remote = match Manage::new(cloud, &token) {
            Ok(manage) => {
                let remote = manage.number(&number.0).await;
                if let Some(wait) = manage.usage().and_then(|usage| usage.rest(percent_max)) {
                    found.rests.insert(account, wait);
                }
                remote
            }
            Err(error) => Err(error),
        };
        match remote {
            Ok(remote) => {
                let facts = NumberFacts {
                    status: remote.status,
                    quality: remote.quality_rating,
                    throughput: remote.throughput_level,
                    messaging_limit: remote.messaging_limit,
                };
                found.facts.push((number, facts));
            }
            Err(error) => tracing::debug!(%number, %error, "the fields of a number are not known"),
        }
    }
    found
}
