//! What a shard counts, with every handle looked up once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::NumberId;
use crate::metrics::{Metrics, NumberMetrics, ShardMetrics};
use crate::policy::classify::{ErrorTable, Kind, Verdict};

/// The counters of one shard.
#[derive(Debug)]
pub struct Meters {
    all: Arc<Metrics>,
    shard: ShardMetrics,
    numbers: HashMap<NumberId, NumberMetrics>,
}

impl Meters {
    /// Counters without numbers.
    pub fn new(all: Arc<Metrics>) -> Self {
        let shard = all.shard();
        Self { all, shard, numbers: HashMap::new() }
    }

    /// Handles for a number.
    pub fn number(&mut self, number: &NumberId) {
        self.numbers.insert(number.clone(), self.all.number(number));
    }

    /// A request leaves, after so many attempts.
    pub fn begun(&self, attempts: u8) {
        if attempts > 0 {
            self.shard.retries.increment(1);
        }
    }

    /// A request came to its end.
    pub fn ended(&self, number: &NumberId, verdict: &Verdict, table: &ErrorTable, took: Duration) {
        self.shard.send_seconds.record(took.as_secs_f64());
        if let Some(number) = self.numbers.get(number) {
            number.attempt(verdict.kind);
        }
        if verdict.kind == Kind::Throttled
            && let Some(row) = table.reason(verdict.reason)
        {
            self.all.throttled(verdict.scope, row);
        }
    }

    /// A claim was answered.
    pub fn claim_took(&self, took: Duration) {
        self.shard.claim_seconds.record(took.as_secs_f64());
    }

    /// A settle was answered.
    pub fn settle_took(&self, took: Duration) {
        self.shard.settle_seconds.record(took.as_secs_f64());
    }

    /// Redis did not answer, or not as hoped.
    pub fn redis_error(&self) {
        self.shard.redis_errors.increment(1);
    }
}
