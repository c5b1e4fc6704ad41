//! `carteiro config check|show`: is the configuration valid, and where does each value come from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Global;
use super::campaign::hours;
use super::context::load_config;
use super::exit::{CliError, Exit};
use super::output::{Output, Paint, counted};
use crate::app::error_table::error_table;
use crate::app::hours::to_civil;
use crate::app::stop_words::stop_words;
use crate::clock;
use crate::config::{Config, Origin, OriginLine, calendars};
use crate::domain::area::CalendarClass;
use crate::domain::calendar::Calendar;
use crate::domain::campaign::Campaign;
use crate::intake::campaign_file;

/// `carteiro config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration, the error table and campaign files.
    Check(CheckArgs),
    /// Print every value; secrets as ***.
    Show(ShowArgs),
}

/// What to check.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Campaign files to check as well; - is standard input.
    #[arg(value_name = "CAMPAIGN.toml")]
    pub campaigns: Vec<PathBuf>,
}

/// How to show it.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Where each value came from.
    #[arg(long)]
    pub origin: bool,
}

/// Runs the command.
pub fn run(command: &ConfigCommand, global: &Global, out: Output) -> Result<Exit, CliError> {
    match command {
        ConfigCommand::Check(args) => check(args, global, out),
        ConfigCommand::Show(args) => show(args, global, out),
    }
}

fn check(args: &CheckArgs, global: &Global, out: Output) -> Result<Exit, CliError> {
    let loaded = load_config(global)?;
    let rows = error_table(&loaded.config)?.rows().len();
    let (rules, words) = (calendars::builtin()?, stop_words(&loaded.config)?.len());
    let mut campaigns = Vec::new();
    for path in &args.campaigns {
        let campaign = campaign_file::read(path)?;
        check_campaign(&campaign, &loaded.config).map_err(|error| error.in_file(path.display()))?;
        campaigns.push(campaign.id);
    }
    let config = &loaded.config;
    if out.json {
        out.object(&json!({
            "schema": 1, "valid": true, "file": loaded.path, "accounts": config.accounts.len(),
            "numbers": config.numbers.len(), "error_table_rows": rows, "calendar_rules": rules.count(),
            "stop_words": words, "errors_file": config.cloud.errors_file, "campaigns": campaigns,
        }))?;
        return Ok(Exit::Done);
    }
    let file = loaded
        .path
        .map_or_else(|| "no configuration file, defaults only".to_owned(), |path| path.display().to_string());
    let accounts = counted(config.accounts.len() as u64, "account");
    let numbers = counted(config.numbers.len() as u64, "number");
    out.line(format!("{file}: valid, {accounts}, {numbers}"))?;
    let table =
        config.cloud.errors_file.as_ref().map(|file| format!(" {}", file.display())).unwrap_or_default();
    out.line(format!("error table{table}: valid, {rows} rows"))?;
    out.line(format!("calendars: valid, {} rules", rules.count()))?;
    out.line(format!("stop words: valid, {words} texts"))?;
    for (path, id) in args.campaigns.iter().zip(campaigns) {
        out.line(format!("{}: valid, campaign {id}", path.display()))?;
    }
    Ok(Exit::Done)
}

fn show(args: &ShowArgs, global: &Global, out: Output) -> Result<Exit, CliError> {
    let loaded = load_config(global)?;
    for OriginLine { key, value, origin } in &loaded.origins {
        if out.json {
            let kind = match origin {
                Origin::Default => "default",
                Origin::File { .. } => "file",
                Origin::Env(_) => "environment",
                Origin::Flag => "command_line",
            };
            let variable = match origin {
                Origin::Env(name) => Some(name),
                _ => None,
            };
            out.object(&json!({
                "schema": 1, "key": key, "value": value, "origin": kind, "file": origin.file(), "line": origin.line(),
                "variable": variable,
            }))?;
        } else if args.origin {
            out.line(format!("{key} = {value}  {}", out.paint(Paint::Dim, &format!("({origin})"))))?;
        } else {
            out.line(format!("{key} = {value}"))?;
        }
    }
    Ok(Exit::Done)
}

/// Whether the account and numbers that a campaign names are in the configuration.
pub fn check_campaign(campaign: &Campaign, config: &Config) -> Result<(), CliError> {
    let account = &campaign.account;
    if !config.accounts.iter().any(|known| known.id == *account) {
        let known: Vec<&str> = config.accounts.iter().map(|account| account.id.as_str()).collect();
        let hint = match known.as_slice() {
            [] => "the configuration has no [[account]] yet: add one".to_owned(),
            known => format!("the configuration has {}", known.join(", ")),
        };
        let message = format!("account {account} is not in the configuration");
        return Err(CliError::usage("unknown_account", message).field("account").hint(hint));
    }
    for number in &campaign.numbers {
        let found = config.numbers.iter().find(|known| known.id == *number);
        let problem = match found {
            None => format!("number {number} is not in the configuration"),
            Some(found) if found.account != *account => {
                format!("number {number} belongs to account {}, not to {account}", found.account)
            }
            Some(_) => continue,
        };
        let hint = "add a [[number]] with it, or take it out of `numbers`";
        return Err(CliError::usage("unknown_number", problem).field("numbers").hint(hint));
    }
    check_hours(campaign, config)?;
    if !config.numbers.iter().any(|number| number.account == *account) {
        let message = format!("account {account} has no number in the configuration");
        return Err(CliError::usage("no_number", message)
            .field("account")
            .hint("add a [[number]] of this account"));
    }
    Ok(())
}

/// Whether a campaign's hours leave it a time to send.
fn check_hours(campaign: &Campaign, config: &Config) -> Result<(), CliError> {
    let rules = calendars::builtin()?;
    // Where calendars are not kept, only a campaign's own hours in Brasília count, which always leave some.
    let calendar = if config.calendar.enforce {
        hours::calendar(&rules, campaign, config)
    } else {
        Calendar::new(&rules, &config.creditor_hours(&campaign.account), &campaign.calendar)
    };
    let never = rules.never_open(&calendar, to_civil(clock::wall(), config.calendar.clock_shift_ms));
    if never.len() < CalendarClass::all().len() {
        return Ok(());
    }
    let weeks: Vec<String> = calendar.weeks().chain(calendar.fixed()).map(ToString::to_string).collect();
    let message = format!("the campaign never opens: {} leaves no hour in any state", weeks.join(" and "));
    let hint =
        "a campaign's hours narrow those of its account and of [calendar]; widen those, or correct its own";
    Err(CliError::usage("never_open", message).field("calendar.hours").hint(hint))
}
