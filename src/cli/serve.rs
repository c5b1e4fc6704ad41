//! `carteiro serve`: runs the engine until it is told to stop.

use clap::Args;
use jiff::Timestamp;

use super::Global;
use super::context::load_options;
use super::exit::{CliError, Exit};
use crate::app::serve;
use crate::clock;
use crate::config::Config;
use crate::domain::calendar::parse_instant;

/// Arguments of `serve`; everything else it needs is in the configuration.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Name of this process among those that share the numbers; default: ownership.node, else a random one.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Judge calendars as if it were this time, such as 2026-11-23T07:59:30; only with a cloud.url on this machine.
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub clock_at: Option<Timestamp>,
}

/// Runs the engine. It has threads and runtimes of its own, so it is called outside of any.
pub fn run(args: &ServeArgs, global: &Global) -> Result<Exit, CliError> {
    let source = load_options(global)?;
    let mut config = Config::load(&source)?.config;
    if let Some(at) = args.clock_at {
        if !config.cloud.is_loopback() {
            let message = "--clock-at is for the simulator only: cloud.url must lead to this machine";
            return Err(
                CliError::usage("clock_at", message).hint("nobody may be written to at a pretended hour")
            );
        }
        let now_ms = i64::try_from(clock::wall().0).unwrap_or(i64::MAX);
        config.calendar.clock_shift_ms = at.as_millisecond().saturating_sub(now_ms);
    }
    Ok(serve::run(config, source).map(|()| Exit::Done)?)
}
