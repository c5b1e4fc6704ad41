//! Meta's own fields of our numbers, read now and then: the throughput it grants, and whether a number may send at all.
//!
//! They are read when a number becomes ours, every `pace.read_every`, with SIGHUP, and when a webhook says that they changed. One reading
//! at a time, one number after the other, so that the requests an account may make are not used up.

use std::collections::HashMap;

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
    reading: Option<(oneshot::Receiver<Vec<(NumberId, NumberFacts)>>, u64)>,
    due: Mono,
    /// What the last webhook that made us read said of its time, in wall ms.
    changed_ms: u64,
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
                self.note_people(&found, began_ms).await?;
                self.on_facts(found).await?;
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

    fn read_facts(&mut self, only_new: bool) {
        let facts = &mut self.state.facts;
        facts.due = clock::mono().after(self.config.pace.read_every);
        let ours = self.config.numbers.iter().filter(|number| self.state.owned.contains(&number.id));
        let wanted = ours.filter(|number| !only_new || !facts.known.contains_key(&number.id));
        let token = |number: &NumberConfig| {
            let account = self.config.accounts.iter().find(|account| account.id == number.account)?;
            Some((number.id.clone(), account.token.clone()))
        };
        let wanted: Vec<(NumberId, Secret)> = wanted.filter_map(token).collect();
        // Known from now on, whatever Meta answers: a number that cannot be read is not asked for every second.
        for (number, _) in &wanted {
            facts.known.entry(number.clone()).or_default();
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
                    reason: self.table.code(code).map_or(0, |row| row.reason),
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

/// Reads the fields of numbers, one after the other. What cannot be read is left out, and said.
async fn read(cloud: &CloudConfig, numbers: Vec<(NumberId, Secret)>) -> Vec<(NumberId, NumberFacts)> {
    let mut found = Vec::with_capacity(numbers.len());
    for (number, token) in numbers {
        let remote = match Manage::new(cloud, &token) {
            Ok(manage) => manage.number(&number.0).await,
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
                found.push((number, facts));
            }
            Err(error) => tracing::debug!(%number, %error, "the fields of a number are not known"),
        }
    }
    found
}
