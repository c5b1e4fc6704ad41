//! The manners of the command line: what holds for every command, whichever it is.
//!
//! Three lists must know every command, so that a new one cannot be forgotten: `dry_run::CHANGING` or
//! `dry_run::READING`, and `golden::steps` or `golden::WITHOUT_DATA`. A new command joins each with a line.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod codes;
mod configuration;
mod dry_run;
mod golden;
mod help;
#[path = "../support/place.rs"]
mod place;
mod privacy;
mod shape;
mod shell;
mod terminal;
mod usage;

use carteiro::cli::Cli;
use clap::CommandFactory;

/// Every command that does something, as its words: `campaign load`.
fn commands() -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![(String::new(), Cli::command())];
    while let Some((path, command)) = left.pop() {
        let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
        if below.is_empty() {
            found.push(path);
            continue;
        }
        let named =
            |below: &clap::Command| (format!("{path} {}", below.get_name()).trim().to_owned(), below.clone());
        left.extend(below.into_iter().map(named));
    }
    found.sort();
    found
}
