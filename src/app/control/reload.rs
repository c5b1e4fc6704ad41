//! SIGHUP: tokens, numbers, rates, portfolios, the error table and stop words are read again and taken over by the running
//! engine.
//!
//! What is not valid is refused as a whole and logged, and the old configuration stays in force. Other keys are not
//! taken over: those that changed are named in the log and wait for the next start, except the few that say where
//! everything goes, whose change is refused, so that no new token ever reaches an old address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Control;
use crate::app::error_table::{ErrorsFileError, error_table};
use crate::app::stop_words::{StopWordsFileError, stop_words};
use crate::config::{Config, ConfigError, LoadOptions, Loaded, NumberConfig, OriginLine};
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::http::webhooks::Meaning;
use crate::intake::lanes::Lanes;
use crate::policy::classify::ErrorTable;
use crate::policy::route;
use crate::policy::shard::{Blocked, Input, NumberSetup};
use crate::policy::stop_words::StopWords;
use crate::queue::QueueError;
use crate::sender::driver::Event;

/// Keys that a running engine never changes: where it sends, where it keeps, and how fast its clock runs.
const MUST_STAY: [&str; 4] = ["cloud.url", "data_dir", "redis.url", "time_scale"];

/// What is taken over begins like this.
const TAKEN_OVER: [&str; 5] = ["portfolio[", "account[", "number[", "cloud.errors_file", "stops.words_file"];

/// Waits for SIGHUP and reads the configuration again.
pub(in crate::app) struct Reloader {
    hangup: Signal,
    source: LoadOptions,
    /// Every value in force, in words.
    shown: BTreeMap<String, String>,
}

/// Why a configuration that was read again is not taken over.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Errors(#[from] ErrorsFileError),
    #[error("{0}")]
    Words(#[from] StopWordsFileError),
    #[error(
        "{key} changed, which a running engine does not take over: restart it, or put the old value back"
    )]
    MustStay { key: &'static str },
}

/// A valid configuration that was read again.
struct Fresh {
    config: Config,
    table: ErrorTable,
    words: StopWords,
    /// Keys that changed and are not taken over.
    waiting: Vec<String>,
}

/// The numbers of a campaign, and the place in that list which each lane likes best.
#[derive(Default)]
struct Places {
    pool: Vec<NumberId>,
    by_lane: Vec<usize>,
}

impl Reloader {
    /// Begins to listen: from now on SIGHUP ends nothing. `source` is what `config` was read from.
    pub(in crate::app) fn new(source: LoadOptions) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        // A configuration that was changed since the start is compared with what is there now, which only costs a
        // warning.
        let shown = Config::load(&source).map(|loaded| in_words(loaded.origins)).unwrap_or_default();
        Ok(Self { hangup, source, shown })
    }

    /// Returns when SIGHUP came.
    pub(super) async fn asked(&mut self) {
        if self.hangup.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads and validates everything again.
    fn read(&self, old: &Config) -> Result<Fresh, ReloadError> {
        let Loaded { config, origins, .. } = Config::load(&self.source)?;
        let (table, words) = (error_table(&config)?, stop_words(&config)?);
        let now = in_words(origins);
        let changed = changes(&self.shown, &now);
        if config.redis.url != old.redis.url {
            return Err(ReloadError::MustStay { key: "redis.url" });
        }
        if let Some(key) = MUST_STAY.into_iter().find(|key| changed.contains(*key)) {
            return Err(ReloadError::MustStay { key });
        }
        let taken = |key: &String| TAKEN_OVER.iter().any(|begin| key.starts_with(begin));
        Ok(Fresh { config, table, words, waiting: changed.into_iter().filter(|key| !taken(key)).collect() })
    }
}

impl Control {
    /// Reads the configuration again, and takes it over if it is valid.
    pub(super) async fn read_again(&mut self) -> Result<(), QueueError> {
        match self.reloader.read(&self.config) {
            Err(error) => {
                self.metrics.reloaded(false);
                tracing::error!(%error, "the configuration was read again and refused; the old one stays in force");
                Ok(())
            }
            Ok(fresh) => {
                self.take_over(fresh).await?;
                self.metrics.reloaded(true);
                Ok(())
            }
        }
    }

    async fn take_over(&mut self, fresh: Fresh) -> Result<(), QueueError> {
        let Fresh { config, table, words, waiting } = fresh;
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!(keys, "these keys changed and are taken over at the next start only");
        }
        let before = std::mem::replace(&mut self.config.numbers, config.numbers);
        self.config.accounts = config.accounts;
        self.config.portfolios = config.portfolios;
        self.config.cloud.errors_file = config.cloud.errors_file;
        self.config.stops.words_file = config.stops.words_file;
        let table = Arc::new(table.scaled(self.config.time_scale));
        for shard in 0..self.shards.len() {
            self.tell(shard, Event::Table(table.clone()));
        }
        self.meaning.send_replace(Meaning { table, words: Arc::new(words) });
        let kept = |number: &NumberConfig| self.config.numbers.iter().any(|one| one.id == number.id);
        let gone: Vec<NumberConfig> = before.iter().filter(|one| !kept(one)).cloned().collect();
        gone.iter().for_each(|number| self.retire(number));
        self.ownership.offer(&self.config.numbers);
        // Whoever raises a limit here has often just had it raised by Meta.
        self.state.facts.ask_again();
        self.tell_numbers();
        self.move_stranded();
        tracing::info!(
            accounts = self.config.accounts.len(),
            numbers = self.config.numbers.len(),
            gone = gone.len(),
            "the configuration was read again"
        );
        // Lanes that had no number to go to may have one now.
        self.state.scanned.clear();
        self.reload().await
    }

    /// Stops a number that left the configuration; it is given back next.
    fn retire(&mut self, number: &NumberConfig) {
        let Some(shard) = self.shard_of(&number.id) else {
            return;
        };
        let setup = NumberSetup {
            id: number.id.clone(),
            account: number.account.clone(),
            portfolio: None,
            rate_per_s: number.rate_per_s,
            stopped: Some(Blocked::Paused),
        };
        self.tell(shard, Event::Input(Input::Number(setup)));
        self.forget_number(&number.id);
    }

    /// Drops what is kept of a number that is gone.
    pub(super) fn forget_number(&mut self, number: &NumberId) {
        self.state.dry.remove(number);
        self.state.begun.remove(number);
        if let Some(meters) = self.state.meters.remove(number) {
            meters.pace_per_s.set(0.0);
            meters.pace_limit_per_s.set(0.0);
            meters.in_flight.set(0.0);
        }
        self.metrics.drop_number(number);
    }

    /// Takes lanes from numbers that may not send them any more, and moves them to those that may. A lane with nowhere to
    /// go is let go of; it is looked at again with every change and every minute.
    fn move_stranded(&mut self) {
        let mut places: HashMap<CampaignSeq, Places> = HashMap::new();
        let lanes: Vec<(LaneId, NumberId)> =
            self.state.lanes.iter().map(|(id, info)| (*id, info.number.clone())).collect();
        for (id, number) in lanes {
            let places = places.entry(id.campaign).or_insert_with(|| self.places(id.campaign));
            let target = self.state.moving.get(&id);
            let lost = target.is_some_and(|target| !places.pool.contains(target));
            if places.pool.contains(&number) && !lost {
                continue;
            }
            let dropping = target.is_some();
            match places.of(id) {
                Some(to) => drop(self.state.moving.insert(id, to)),
                None => {
                    self.state.moving.remove(&id);
                    self.state.lanes.remove(&id);
                }
            }
            if let Some(shard) = self.shard_of(&number).filter(|_| !dropping) {
                self.tell(shard, Event::Input(Input::DropLane(id)));
            }
        }
    }

    /// Where each lane of a campaign likes to be, of the numbers that there are.
    fn places(&self, seq: CampaignSeq) -> Places {
        let Some(known) = self.state.campaigns.get(&seq) else {
            return Places::default();
        };
        let configured = self.config.numbers.iter().map(|number| (&number.id, number.account.as_str()));
        let pool = known.pool(configured);
        let weighed: Vec<(NumberId, f64)> = pool.iter().map(|id| (id.clone(), self.weight(id))).collect();
        let by_lane = Lanes::frozen(known.record.expected, &known.record.slices)
            .map(|lanes| route::assign(&lanes.loads(), &weighed))
            .unwrap_or_default();
        Places { pool, by_lane }
    }
}

impl Places {
    fn of(&self, lane: LaneId) -> Option<NumberId> {
        let at = *self.by_lane.get(lane.lane as usize)?;
        self.pool.get(at).cloned()
    }
}

fn in_words(origins: Vec<OriginLine>) -> BTreeMap<String, String> {
    origins.into_iter().map(|line| (line.key, line.value)).collect()
}

/// Keys whose values differ, or that only one side has.
fn changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> BTreeSet<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_by_key() {
        let words = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let old = words(&[("cloud.url", "a"), ("cloud.timeout", "30s"), ("number[1].rate", "80/s")]);
        let new = words(&[("cloud.url", "a"), ("cloud.timeout", "20s"), ("number[2].rate", "80/s")]);
        let changed: Vec<String> = changes(&old, &new).into_iter().collect();
        assert_eq!(changed, ["cloud.timeout", "number[1].rate", "number[2].rate"]);
        assert!(changes(&old, &old).is_empty());
    }
}
