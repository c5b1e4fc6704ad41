//! `carteiro sim`: runs the simulator until it is told to stop.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use nix::sys::signal::{SigSet, Signal};

use crate::clock::WallMs;
use crate::domain::calendar::parse_instant;
use crate::limits;
use crate::sim::{ContactCap, FaultPlan, Library, Server, SimConfig, SimError, Stopper, WebhookConfig};

/// Simulate the Cloud API: limits, faults, and a ledger that judges what was sent.
///
/// Prints one JSON line with its address, then serves until SIGTERM or SIGINT. GET /_sim/ledger tells what happened.
#[derive(Args, Clone, Debug)]
pub struct SimArgs {
    /// Address to listen on; loopback only, port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Message requests a second that each number takes, such as 80 or 80/s; 0 is unlimited.
    #[arg(long, value_name = "RATE", default_value = "80", value_parser = parse_rate)]
    pub rate: u32,
    /// People that all numbers together may write to within a day; 0 is unlimited. Nobody is refused: the ledger counts
    /// `budget_exceeded`. POST /_sim/people_per_day?people=N changes it, and tells it by webhook.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub people_per_day: u64,
    /// How long a person counts.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub people_window: Duration,
    /// Management requests that an hour has (templates, fields of numbers), as the headers of their answers say; 0 is
    /// unlimited.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub requests_per_hour: u32,
    /// Median time to answer.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub latency: Duration,
    /// 99 of 100 answers take no longer than this (log-normal); without it all take the median.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub latency_p99: Option<Duration>,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Fault plan (TOML), such as config/faults/rough-day.toml.
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Templates that exist: JSON as Meta lists them, campaign files (TOML), or folders of them; repeatable. Without it
    /// those of config/campaigns are listed, and sends of any template are taken.
    #[arg(long, value_name = "PATH")]
    pub templates: Vec<PathBuf>,
    /// Divides the times of the plan, latencies, stalls, the pair interval and days (rates stay).
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub time_scale: u32,
    /// Speak TLS with a certificate authority of its own.
    #[arg(long, requires = "tls_ca_out")]
    pub tls: bool,
    /// Where to write the authority's certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub tls_ca_out: Option<PathBuf>,
    /// Let a number write to one person as often as it likes.
    #[arg(long)]
    pub no_pair_limit: bool,
    /// Count in the ledger what goes beyond so many messages to one person in 24 hours.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub contacts_per_day: Option<u32>,
    /// The same for seven days.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub contacts_per_week: Option<u32>,
    /// Keep the ids of all messages taken, for GET /_sim/taken_ids.
    #[arg(long)]
    pub keep_ids: bool,
    /// Tell what became of the messages taken: the whole URL, such as http://127.0.0.1:9465/webhooks/whatsapp.
    #[arg(long, value_name = "URL", requires = "secret")]
    pub webhook: Option<String>,
    /// Variable of the environment with the app's secret, which signs the webhooks.
    #[arg(long, value_name = "NAME", group = "secret")]
    pub app_secret_env: Option<String>,
    /// File with the app's secret.
    #[arg(long, value_name = "FILE", group = "secret")]
    pub app_secret_file: Option<PathBuf>,
    /// Account that the webhooks name.
    #[arg(long, value_name = "ID", default_value = "100000000000001")]
    pub webhook_account: String,
    /// Judge hours as if it were this time at the start, such as 2026-11-23T07:59:30.
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub clock_at: Option<Timestamp>,
    /// Stop when standard input closes, so that it never outlives its parent.
    #[arg(long)]
    pub until_stdin_closes: bool,
}

impl SimArgs {
    /// Reads the fault plan and puts everything together.
    ///
    /// # Errors
    /// When the plan cannot be used.
    pub fn config(&self) -> Result<SimConfig, SimError> {
        Ok(SimConfig {
            listen: self.listen,
            rate_per_s: self.rate,
            pair_limit: !self.no_pair_limit,
            contacts: ContactCap { per_day: self.contacts_per_day, per_week: self.contacts_per_week },
            people_per_day: self.people_per_day,
            requests_per_hour: self.requests_per_hour,
            people_window: self.people_window,
            latency: self.latency,
            latency_p99: self.latency_p99,
            seed: self.seed,
            plan: self.faults.as_deref().map(FaultPlan::read).transpose()?.unwrap_or_default(),
            time_scale: self.time_scale,
            tls: self.tls,
            keep_ids: self.keep_ids,
            library: Arc::new(match self.templates.as_slice() {
                [] => Library::default(),
                paths => Library::read(paths)?,
            }),
            webhook: self.webhook()?,
            clock_at: self.clock_at.map(|at| WallMs(u64::try_from(at.as_millisecond()).unwrap_or(0))),
        })
    }

    fn webhook(&self) -> Result<Option<WebhookConfig>, SimError> {
        let Some(url) = self.webhook.clone() else { return Ok(None) };
        let secret = match (&self.app_secret_env, &self.app_secret_file) {
            (Some(name), _) => {
                std::env::var(name).map_err(|_| format!("the environment has no variable {name:?}"))
            }
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read the secret in {}: {error}", path.display())),
            (None, None) => Err("--webhook needs --app-secret-env or --app-secret-file".to_owned()),
        };
        let secret = secret.map_err(SimError::Config)?;
        let app_secret = secret.trim().into();
        Ok(Some(WebhookConfig { url, app_secret, account: self.webhook_account.clone() }))
    }
}

/// Runs the simulator. Must be called while the process has no other thread, since it blocks the signals it waits for.
///
/// # Errors
/// When it cannot start ([`SimError::is_usage`] tells whether the user can help it) or cannot go on.
pub fn run(args: &SimArgs) -> Result<(), SimError> {
    let config = args.config()?;
    config.validate()?;
    // Blocked before any thread starts, so that only the waiting thread sees them.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    let blocked = signals.thread_block();
    blocked.map_err(|errno| failed("cannot block signals", errno.into()))?;
    if let Err(error) = limits::raise_open_files() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let server = Server::start(config)?;
    if let (Some(path), Some(pem)) = (&args.tls_ca_out, &server.ca_pem) {
        std::fs::write(path, pem)
            .map_err(|source| failed(&format!("cannot write {}", path.display()), source))?;
    }
    announce(&server, args.tls_ca_out.as_deref())
        .map_err(|source| failed("cannot print the address", source))?;
    if args.until_stdin_closes {
        stop_when(server.stopper(), "stdin", move || {
            drop(io::copy(&mut io::stdin().by_ref(), &mut io::sink()))
        })?;
    }
    stop_when(server.stopper(), "signals", move || {
        let _ = signals.wait();
    })?;
    server.wait()
}

/// The one line that tells a parent where to connect.
fn announce(server: &Server, tls_ca: Option<&Path>) -> io::Result<()> {
    let line = serde_json::json!({
        "schema": 1,
        "url": server.url,
        "control_url": server.control_url,
        "tls_ca": tls_ca,
    });
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Stops the server once `event` returns.
fn stop_when(stopper: Stopper, name: &str, event: impl FnOnce() + Send + 'static) -> Result<(), SimError> {
    let wait = move || {
        event();
        stopper.stop();
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(wait);
    thread.map(drop).map_err(|source| failed("cannot start a thread", source))
}

fn failed(what: &str, source: io::Error) -> SimError {
    SimError::Io { what: what.to_owned(), source }
}

fn parse_rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().map_err(|_| "a rate is a whole number of messages a second, such as 80 or 80/s".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = jiff::SignedDuration::from_str(text).ok();
    let duration = parsed.and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "a duration has a unit, such as 300ms or 2s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_durations_read_as_people_write_them() {
        assert_eq!((parse_rate("80/s"), parse_rate("0")), (Ok(80), Ok(0)));
        assert!(parse_rate("fast").is_err() && parse_rate("-1").is_err());
        assert_eq!(parse_duration("300ms"), Ok(Duration::from_millis(300)));
        assert!(parse_duration("300").is_err() && parse_duration("-1s").is_err());
    }
}
