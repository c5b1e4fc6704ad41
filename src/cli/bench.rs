//! `carteiro bench`: measures the engine against the simulator on this machine and prints the figures.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::demo::parse_rate;
use super::exit::{CliError, Exit};
use super::output::{Output, Paint};
use crate::bench::{self, BenchPlan, Part, What};

/// Measure the engine against the simulator on this machine. Let nothing else run meanwhile.
///
/// Redis, simulator, load and engine are processes of their own; Redis writes with appendfsync always. Without --rate the
/// pace is unlimited. The simulator's ledger says how fast, /proc at what cost.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Recipients; default 200000, with --rate as many as no number runs dry on, with --pause-commands 1000000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub recipients: Option<u64>,
    /// Sending numbers.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub numbers: u32,
    /// Messages a second of each number, such as 80 or 80/s, or unlimited.
    #[arg(long, value_name = "RATE", default_value = "unlimited", value_parser = parse_pace)]
    pub rate: Pace,
    /// How long the simulator takes to answer.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub latency: Duration,
    /// How long a run with --rate sends.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Connections at most; default 64 at an unlimited pace, else the engine's own bound.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: Option<u32>,
    /// Measure wrk against the same simulator too, before and after.
    #[arg(long, conflicts_with_all = ["memory", "pause_commands"])]
    pub baseline: bool,
    /// Measure Redis' memory when a fifth fails for good and the line is dead for ten minutes (sixty times faster).
    #[arg(long, conflicts_with = "pause_commands")]
    pub memory: bool,
    /// Count Redis' commands for a pause with 10 messages queued and with all of them.
    #[arg(long)]
    pub pause_commands: bool,
    /// Measure how fast webhooks are taken: three statuses of every message that was sent, default 100000 recipients.
    #[arg(long, conflicts_with_all = ["memory", "pause_commands", "baseline"])]
    pub webhooks: bool,
    /// Measure how exactly limits are kept while processes take a number from each other, what a million messages cost
    /// that may not be sent, and how fast pauses, cancels, opt-outs and urgent messages are; takes seven minutes.
    #[arg(long, conflicts_with_all = ["memory", "pause_commands", "baseline", "webhooks"])]
    pub limits: bool,
    /// Of --limits, measure only this; may be given more than once.
    #[arg(long, value_name = "PART", requires = "limits")]
    pub only: Vec<Part>,
    /// Measure the load alone, and send nothing.
    #[arg(long, conflicts_with_all = ["memory", "pause_commands", "baseline", "webhooks", "limits"])]
    pub load: bool,
    /// Leave the engine's journal off, to see what it costs.
    #[arg(long)]
    pub no_journal: bool,
    /// Where the trial's folder is made; default: the system's folder for temporary files.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `--rate`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(Option<u32>);

/// Runs the command.
pub async fn run(args: &BenchArgs, out: Output) -> Result<Exit, CliError> {
    if args.baseline && args.rate.0.is_some() {
        return Err(CliError::usage("usage", "--baseline is for an unlimited pace: leave out --rate"));
    }
    if args.webhooks && args.rate.0.is_some() {
        return Err(CliError::usage("usage", "--webhooks is for an unlimited pace: leave out --rate"));
    }
    if args.limits && args.rate.0.is_some() {
        return Err(CliError::usage("usage", "--limits has paces of its own: leave out --rate"));
    }
    let what = match args {
        BenchArgs { memory: true, .. } => What::Memory,
        BenchArgs { pause_commands: true, .. } => What::Pause,
        BenchArgs { webhooks: true, .. } => What::Webhooks,
        BenchArgs { load: true, .. } => What::Load,
        BenchArgs { limits: true, .. } => What::Limits,
        _ => What::Sending,
    };
    let plan = BenchPlan {
        what,
        only: args.only.clone(),
        recipients: args.recipients,
        numbers: args.numbers,
        rate_per_s: args.rate.0,
        latency: args.latency,
        duration: args.duration,
        connections: args.connections,
        baseline: args.baseline,
        journal: !args.no_journal,
        folder: args.dir.clone(),
    };
    let figures = bench::run(&plan, &mut |news| out.hint(out.paint(Paint::Dim, news))).await?;
    let object = serde_json::to_value(&figures).map_err(|error| {
        CliError::new(Exit::Failed, "failed", format!("the figures are no JSON: {error}"))
    })?;
    if out.json {
        out.object(&object)?;
    } else {
        for (name, value) in lines("", &object) {
            out.line(format!("{name:<32} {value}"))?;
        }
    }
    Ok(Exit::Done)
}

/// Every figure that was measured, with its name; those of a list are numbered.
fn lines(name: &str, value: &Value) -> Vec<(String, String)> {
    let under = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Null => Vec::new(),
        Value::Object(parts) => parts.iter().flat_map(|(part, value)| lines(&under(part), value)).collect(),
        Value::Array(parts) => {
            (1..).zip(parts).flat_map(|(at, value)| lines(&under(&format!("{at}")), value)).collect()
        }
        one => vec![(name.to_owned(), shown(one))],
    }
}

/// A figure with the digits that mean something.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() && number >= 100.0 => format!("{number:.0}"),
        Some(number) if value.is_f64() => format!("{number:.3}"),
        _ => value.to_string(),
    }
}

fn parse_pace(text: &str) -> Result<Pace, String> {
    if text == "unlimited" { Ok(Pace(None)) } else { parse_rate(text).map(|rate| Pace(Some(rate))) }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = jiff::SignedDuration::from_str(text).ok();
    let duration = parsed.and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "a duration has a unit, such as 300ms or 30s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_and_figures_read_as_people_write_them() {
        assert_eq!((parse_pace("unlimited"), parse_pace("20/s")), (Ok(Pace(None)), Ok(Pace(Some(20)))));
        assert_eq!(parse_duration("300ms"), Ok(Duration::from_millis(300)));
        assert!(parse_duration("300").is_err() && parse_pace("0").is_err());
        let nested = lines("", &json!({ "a": [{ "b": 1, "c": null }, { "b": 2 }], "d": 3 }));
        let nested: Vec<String> = nested.into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(nested, ["a.1.b 1", "a.2.b 2", "d 3"]);
        assert_eq!([json!(43_210.7), json!(0.98765), json!(7)].map(|v| shown(&v)), ["43211", "0.988", "7"]);
    }
}
