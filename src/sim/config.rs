//! What a simulator is told to be, and why it may refuse to be it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::allowance::REQUESTS_MAX;
use super::contacts::ContactCap;
use super::library::{Library, LibraryError};
use super::plan::{FaultPlan, PlanError};
use super::webhook::WebhookConfig;
use crate::clock::WallMs;

/// Longest answer time that can be asked for.
pub const LATENCY_MAX: Duration = Duration::from_secs(600);

/// Highest rate that can be asked for; 0 is unlimited.
pub const RATE_MAX_PER_S: u32 = 50_000;

/// Largest factor by which time can be shortened.
pub const TIME_SCALE_MAX: u32 = 1_000;

/// A simulator as its user wants it.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Where to listen; loopback only, port 0 picks a free one. Default 127.0.0.1:0.
    pub listen: SocketAddr,
    /// Message requests per number in any sliding second; 0 is unlimited. Default 80.
    pub rate_per_s: u32,
    /// Whether one number may write to one person only every 6 s (with bursts). Default true.
    pub pair_limit: bool,
    /// How often a person may be written to; the ledger counts what goes beyond. Default: any number of times.
    pub contacts: ContactCap,
    /// People within `people_window` over all numbers; 0 is unlimited. Default 0.
    pub people_per_day: u64,
    /// How long a person counts, as long as Meta's day unless a trial wants less. Default 24h.
    pub people_window: Duration,
    /// Management requests of an hour (templates, fields of numbers); 0 is unlimited. Default 0.
    pub requests_per_hour: u32,
    /// Median time to answer. Default 0: at once, without a timer.
    pub latency: Duration,
    /// 99 of 100 answers take no longer; None: all take `latency`.
    pub latency_p99: Option<Duration>,
    /// Seed of everything that is drawn. Default 0.
    pub seed: u64,
    /// Faults and what is valid. Default: none, and anything.
    pub plan: FaultPlan,
    /// Plan times, latencies, stalls, the pair interval and `people_window` are divided by this; rates are not. Default 1.
    pub time_scale: u32,
    /// Speak TLS, with an authority of its own. Default false.
    pub tls: bool,
    /// Keep the ids of all messages taken, for `/_sim/taken_ids`. Default false.
    pub keep_ids: bool,
    /// Wall time at the start, by which hours are judged. None: the real one.
    pub clock_at: Option<WallMs>,
    /// The templates it has. Default: those of `config/campaigns`, and sends of any other are taken, too.
    pub library: Arc<Library>,
    /// Where to tell what became of the messages taken; None: nowhere. Default: None.
    pub webhook: Option<WebhookConfig>,
}

/// Why a simulator cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The configuration contradicts itself or a bound.
    #[error("{0}")]
    Config(String),
    /// The fault plan cannot be used.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The templates cannot be used.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}; choose another port, or 0 for a free one")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
    /// The system refused something else.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The thread of the simulator is gone.
    #[error("the simulator has stopped")]
    Stopped,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            rate_per_s: 80,
            pair_limit: true,
            contacts: ContactCap::default(),
            people_per_day: 0,
            requests_per_hour: 0,
            people_window: Duration::from_secs(86_400),
            latency: Duration::ZERO,
            latency_p99: None,
            seed: 0,
            plan: FaultPlan::default(),
            time_scale: 1,
            tls: false,
            keep_ids: false,
            clock_at: None,
            library: Arc::default(),
            webhook: None,
        }
    }
}

impl SimConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// Names the field, its value and its bound.
    pub fn validate(&self) -> Result<(), SimError> {
        let refuse = |what: String| Err(SimError::Config(what));
        if !self.listen.ip().is_loopback() {
            return refuse(format!(
                "--listen is {}: the simulator answers anybody, so it listens on loopback only (127.0.0.1 or ::1)",
                self.listen
            ));
        }
        if !(1..=TIME_SCALE_MAX).contains(&self.time_scale) {
            return refuse(format!("--time-scale is {}, it must be 1 to {TIME_SCALE_MAX}", self.time_scale));
        }
        if let Some(rate) = self.rates().find(|rate| *rate > RATE_MAX_PER_S) {
            return refuse(format!(
                "a rate is {rate} a second, it must be 0 (unlimited) to {RATE_MAX_PER_S}"
            ));
        }
        if self.requests_per_hour > REQUESTS_MAX {
            let requests = self.requests_per_hour;
            return refuse(format!(
                "--requests-per-hour is {requests}, it must be 0 (unlimited) to {REQUESTS_MAX}"
            ));
        }
        if let Some(webhook) = &self.webhook {
            let url = reqwest::Url::parse(&webhook.url).ok();
            if !url.is_some_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host()) {
                return refuse(
                    "--webhook must be a URL such as http://127.0.0.1:9465/webhooks/whatsapp".to_owned(),
                );
            }
        }
        let slowest = self.latency_p99.unwrap_or(self.latency);
        if slowest > LATENCY_MAX {
            return refuse(format!("a latency is {slowest:?}, it must be at most {LATENCY_MAX:?}"));
        }
        if self.latency_p99.is_some_and(|p99| p99 < self.latency || self.latency.is_zero()) {
            return refuse(
                "--latency-p99 needs a --latency above zero and not above itself: that is the median"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn rates(&self) -> impl Iterator<Item = u32> + '_ {
        self.plan.rates.values().copied().chain([self.rate_per_s])
    }
}

impl SimError {
    /// Whether the user has to change something before it can work (exit code 2, nothing was started).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Plan(_) | Self::Library(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut SimConfig), expect: Option<&str>) {
        let mut config = SimConfig::default();
        change(&mut config);
        let error = config.validate().err().map(|error| error.to_string());
        match (&error, expect) {
            (None, None) => {}
            (Some(error), Some(expect)) if error.contains(expect) => {}
            _ => panic!("{error:?}, wanted {expect:?}"),
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let secs = Duration::from_secs;
        check(|_| {}, None);
        check(|c| c.listen = "[::1]:0".parse().unwrap(), None);
        check(|c| c.listen = "0.0.0.0:0".parse().unwrap(), Some("loopback only"));
        check(|c| c.time_scale = 0, Some("--time-scale is 0"));
        check(|c| c.rate_per_s = RATE_MAX_PER_S + 1, Some("a rate is 50001"));
        check(|c| c.plan.rates.extend([("1".to_owned(), 60_000)]), Some("a rate is 60000"));
        check(|c| c.latency = secs(601), Some("a latency is 601s"));
        check(|c| c.latency_p99 = Some(secs(1)), Some("--latency-p99 needs"));
    }
}
