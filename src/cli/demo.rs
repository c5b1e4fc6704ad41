//! `carteiro demo`: one campaign on this machine, from an invented file to the ledger's verdict, shown as it goes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::Global;
use super::exit::{CliError, Exit};
use super::output::{Output, Paint, count, line_period, span};
use crate::clock::{self, Mono};
use crate::demo::{self, CAMPAIGN, DemoOutcome, DemoPlan, Step};
use crate::intake::generate::Generated;
use crate::rig::RigError;
use crate::sim::{FaultPlan, SimError};

/// What to do with a real account.
const NEXT: &str = "\
Next, with a real account:
  1. Write carteiro.toml: [[account]] with its token, [[number]] with its rate. `carteiro config check` reads it.
  2. Take a campaign file from config/campaigns/, with your account's id and the name of an approved template.
  3. carteiro serve                                 in one terminal, and in another:
  4. carteiro campaign create CAMPAIGN.toml
     carteiro campaign load ID RECIPIENTS.csv
     carteiro campaign start ID
     carteiro campaign status ID --watch";

/// Show one campaign on this machine: private Redis, simulator and engine, from a file to the ledger's verdict.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Rows of the invented recipients, duplicates and bad ones included.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub recipients: u64,
    /// Sending numbers.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub numbers: u32,
    /// Messages a second of each number, such as 80 or 80/s.
    #[arg(long, value_name = "RATE", default_value = "80/s", value_parser = parse_rate)]
    pub rate: u32,
    /// Fault plan of the simulator, such as config/faults/rough-day.toml; --time-scale divides its times too.
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Work in this folder, new or empty, and keep it: recipients, rejects, report, logs.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(args: &DemoArgs, global: &Global, out: Output) -> Result<Exit, CliError> {
    let plan = DemoPlan {
        recipients: args.recipients,
        numbers: args.numbers,
        rate_per_s: args.rate,
        faults: args.faults.clone(),
        time_scale: global.time_scale.unwrap_or(1),
        keep: args.keep.clone(),
    };
    if let Some(faults) = &plan.faults {
        // Read here too, so that a bad plan is told by line before anything is started.
        FaultPlan::read(faults).map_err(SimError::from)?;
    }
    let mut stage = Stage {
        out,
        bar: None,
        started: clock::mono(),
        printed: Mono::default(),
        line_period: line_period(plan.time_scale),
    };
    let outcome = demo::run(&plan, &mut |step| stage.show(&step)).await?;
    if out.json {
        out.object(&outcome_json(&outcome))?;
    } else {
        say(&outcome, &plan, out)?;
    }
    Ok(if outcome.good() { Exit::Done } else { Exit::Failed })
}

/// Where steps are shown.
struct Stage {
    out: Output,
    bar: Option<ProgressBar>,
    started: Mono,
    printed: Mono,
    line_period: Duration,
}

impl Stage {
    fn show(&mut self, step: &Step<'_>) {
        match step {
            Step::Standing { folder, redis, url } => {
                self.out.hint(format!("redis      {redis}, private, every write on disk before it counts"));
                self.out.hint(format!("simulator  {url}"));
                self.out.hint(format!("folder     {}", folder.display()));
            }
            Step::Generated(_, done) => {
                let Generated { rows, unique, duplicates, bad } = *done;
                let [rows, unique, duplicates, bad] = [rows, unique, duplicates, bad].map(count);
                self.out.hint(format!(
                    "recipients {rows} rows: {unique} people, {duplicates} duplicates, {bad} bad"
                ));
            }
            Step::Loaded(said, took) => {
                let [loaded, duplicate, rejected] =
                    ["loaded", "duplicate", "rejected"].map(|key| count(said[key].as_u64().unwrap_or(0)));
                let took = took.as_secs_f64();
                self.out.hint(format!(
                    "loaded     {loaded} loaded, {duplicate} duplicate, {rejected} rejected in {took:.1} s"
                ));
            }
            Step::Started => {
                self.out.hint(format!("sending    campaign {CAMPAIGN}"));
                self.started = clock::mono();
            }
            Step::Status(status) => self.status(status),
            Step::Reported(_) => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                let took = clock::mono().since(self.started).as_secs_f64();
                self.out.hint(format!("sent       in {took:.1} s"));
            }
        }
    }

    fn status(&mut self, status: &Value) {
        let number = |key: &str| status[key].as_u64().unwrap_or(0);
        let (loaded, done) = (number("loaded"), number("loaded") - number("left").min(number("loaded")));
        let text = status_line(status);
        if self.out.draws_bars() {
            let bar = self.bar.get_or_insert_with(|| bar(loaded));
            bar.set_position(done);
            bar.set_message(text);
            return;
        }
        let now = clock::mono();
        if self.printed == Mono::default() || now.since(self.printed) >= self.line_period {
            self.printed = now;
            self.out.hint(format!("           {} of {}, {text}", count(done), count(loaded)));
        }
    }
}

fn bar(loaded: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("sending    {bar:30} {percent:>3}%  {pos} of {len}  {msg}");
    ProgressBar::new(loaded).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Rate, time left, what is not simply accepted, and what blocks.
fn status_line(status: &Value) -> String {
    let mut parts = vec![format!("{:.0}/s", status["rate_per_s"].as_f64().unwrap_or(0.0))];
    if let Some(eta) = status["eta_s"].as_u64() {
        parts.push(format!("{} left", span(Duration::from_secs(eta))));
    }
    for state in ["waiting", "failed", "in_doubt"] {
        let messages = status["states"][state].as_u64().unwrap_or(0);
        if messages > 0 {
            parts.push(format!("{} {}", count(messages), state.replace('_', " ")));
        }
    }
    for block in status["blocked"].as_array().into_iter().flatten() {
        let numbers = block["numbers"].as_array().map_or(0, Vec::len);
        parts.push(format!("{numbers} blocked by {}", block["reason"].as_str().unwrap_or_default()));
    }
    parts.join(", ")
}

fn say(outcome: &DemoOutcome, plan: &DemoPlan, out: Output) -> Result<(), CliError> {
    out.line("\nWhat the simulator's ledger says:")?;
    for check in &outcome.checks {
        let (paint, mark) = if check.holds { (Paint::Green, "ok  ") } else { (Paint::Red, "FAIL") };
        out.line(format!("  {} {:<10} {}", out.paint(paint, mark), check.name, check.text))?;
    }
    if !outcome.good() {
        return out.line("The demonstration failed: a check does not hold.");
    }
    if let Some(folder) = &outcome.kept {
        out.line(format!("Kept: {} (recipients.csv, report.csv, campaign.toml)", folder.display()))?;
    } else if plan.faults.is_none() {
        out.hint("Harder: carteiro demo --faults config/faults/rough-day.toml");
    }
    out.line(format!("\n{NEXT}"))
}

fn outcome_json(outcome: &DemoOutcome) -> Value {
    let (facts, ledger) = (&outcome.facts, &outcome.ledger);
    let checks = outcome
        .checks
        .iter()
        .map(|check| json!({"name": check.name, "holds": check.holds, "text": check.text}));
    json!({
        "schema": 1, "good": outcome.good(), "checks": checks.collect::<Vec<_>>(),
        "rows": facts.rows, "loaded": facts.loaded, "duplicate": facts.duplicate, "rejected": facts.rejected,
        "accepted": facts.accepted, "held": facts.held, "failed": facts.failed, "in_doubt": facts.in_doubt,
        "in_doubt_taken": facts.joined.in_doubt_taken, "taken": ledger.taken, "duplicate_ids": ledger.duplicate_ids,
        "duplicate_people": ledger.duplicate_people, "worst_second": ledger.worst_second_max,
        "worst_probes_per_scaled_s": ledger.worst_probes_per_scaled_s, "refused": ledger.refused,
        "faults": ledger.faults, "sim_lag_ms": ledger.lag_ms.max, "folder": outcome.kept,
    })
}

impl From<RigError> for CliError {
    fn from(error: RigError) -> Self {
        match error {
            RigError::Redis(error) => error.into(),
            RigError::Queue(error) => error.into(),
            RigError::Config(error) => error.into(),
            other => Self::new(Exit::Failed, "trial_failed", other.to_string()),
        }
    }
}

/// `80` or `80/s`.
pub fn parse_rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<u32>().ok();
    let rate = number.filter(|rate| (1..=1_000).contains(rate));
    rate.ok_or_else(|| "a rate is 1 to 1000 messages a second, such as 80 or 80/s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!((parse_rate("80/s"), parse_rate("20")), (Ok(80), Ok(20)));
        assert!(parse_rate("0").is_err() && parse_rate("1001").is_err() && parse_rate("fast").is_err());
    }

    #[test]
    fn a_status_is_one_line() {
        let status = json!({
            "rate_per_s": 99.6, "eta_s": 40, "states": {"failed": 2, "in_doubt": 0, "waiting": 0},
            "blocked": [{"reason": "breaker", "numbers": ["1", "2"]}],
        });
        assert_eq!(status_line(&status), "100/s, 40 s left, 2 failed, 2 blocked by breaker");
    }
}
