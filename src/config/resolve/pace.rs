//! `[pace]`: how exact a pace is, how it follows refusals, and what it leaves to others.

use std::time::Duration;

use super::Resolver;
use crate::config::error::ConfigError;
use crate::config::{PaceConfig, value};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

impl Resolver<'_> {
    pub(super) fn pace(&self) -> Result<PaceConfig, ConfigError> {
        Ok(PaceConfig {
            tolerance: self.duration("pace.tolerance", "5ms", Duration::ZERO, SECOND)?,
            arrival_slack: self.duration("pace.arrival_slack", "10ms", Duration::ZERO, SECOND)?,
            claim_ahead: self.duration("pace.claim_ahead", "50ms", MS, SECOND * 5)?,
            max_in_flight: self.size("pace.max_in_flight", 1_024, 1, 65_536)?,
            decrease: self.percent("pace.decrease", "70%", (10.0, 95.0))?,
            increase_per_s: self.percent("pace.increase_per_s", "1%", (0.01, 100.0))?,
            floor: self.percent("pace.floor", "5%", (0.1, 100.0))?,
            keep_free: self.percent("pace.keep_free", "0%", (0.0, 90.0))?,
            guaranteed_share: self.percent("pace.guaranteed_share", "5%", (0.0, 25.0))?,
            read_every: self.duration("pace.read_every", "15m", SECOND * 10, DAY)?,
            failover_after: self.duration("pace.failover_after", "5m", SECOND, DAY)?,
        })
    }

    /// `5%`, as a part of one.
    pub(super) fn percent(&self, key: &str, default: &str, bounds: (f64, f64)) -> Result<f64, ConfigError> {
        Ok(self.text(key, default, |text| value::percent(text, bounds))?.0)
    }
}
