//! The command line: arguments in, one command run, an exit code out.
//!
//! Each command has a file of its own under `cli/`; what they share is in `context` (configuration, Redis, the engine's
//! acknowledgement), `output` (everything printed) and `exit` (every error with its exit code).

pub mod bench;
pub mod campaign;
pub mod config;
pub mod context;
pub mod demo;
pub mod exit;
pub mod log;
pub mod output;
pub mod recipients;
pub mod scope;
pub mod serve;
pub mod sim;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use context::Context;
use exit::{CliError, Exit};
use output::{Color, Output};

/// Sends WhatsApp campaigns of millions of messages through Meta's Cloud API: fast, and never twice.
#[derive(Debug, Parser)]
#[command(name = "carteiro", version, after_help = exit::HELP)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file; default: CARTEIRO_CONFIG, ./carteiro.toml, the user's folder, /etc/carteiro.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets a key of the configuration, such as cloud.timeout=20s; may be given often.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Divides every wait, for trials against the simulator on this machine.
    #[arg(long, global = true, value_name = "N")]
    pub time_scale: Option<u32>,
    /// Data and errors as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// No hints and no progress.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show one campaign on this machine, from a file to the ledger's verdict.
    Demo(demo::DemoArgs),
    /// Run the engine: send what campaigns hold.
    Serve(serve::ServeArgs),
    /// Create, load, start, stop and follow campaigns.
    #[command(subcommand)]
    Campaign(campaign::CampaignCommand),
    /// List, pause and resume sending numbers.
    #[command(subcommand)]
    Number(scope::ScopeCommand),
    /// List, pause and resume templates (ACCOUNT/NAME).
    #[command(subcommand)]
    Template(scope::ScopeCommand),
    /// List, pause and resume WhatsApp Business Accounts.
    #[command(subcommand)]
    Account(scope::ScopeCommand),
    /// Pause everything.
    Pause(scope::AllArgs),
    /// Let everything go on that `pause --all` stopped.
    Resume(scope::AllArgs),
    /// Invented recipients for trials.
    #[command(subcommand)]
    Recipients(recipients::RecipientsCommand),
    /// Check and show the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Simulate the Cloud API, with limits, faults and a ledger.
    Sim(sim::SimArgs),
    /// Measure the engine against the simulator on this machine.
    Bench(bench::BenchArgs),
}

/// Runs the program. Called by `main` alone, while there is no other thread.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let out = Output::new(cli.global.json, cli.global.quiet, cli.global.color);
    let exit = dispatch(cli, out).unwrap_or_else(|error| {
        out.error(&error);
        error.exit
    });
    exit.into()
}

fn dispatch(cli: Cli, out: Output) -> Result<Exit, CliError> {
    let global = &cli.global;
    log::start(if matches!(cli.command, Command::Serve(_)) { "info" } else { "warn" });
    match cli.command {
        Command::Sim(args) => return Ok(sim::run(&args).map(|()| Exit::Done)?),
        Command::Serve(args) => return serve::run(&args, Context::new(global, out)?),
        Command::Config(command) => return config::run(&command, global, out),
        Command::Recipients(command) => return recipients::run(&command, out),
        Command::Demo(args) => return block_on(demo::run(&args, global, out)),
        Command::Bench(args) => return block_on(bench::run(&args, out)),
        _ => {}
    }
    let context = Context::new(global, out)?;
    block_on(async {
        match cli.command {
            Command::Campaign(command) => campaign::run(command, &context).await,
            Command::Number(command) => scope::run(scope::Kind::Number, command, &context).await,
            Command::Template(command) => scope::run(scope::Kind::Template, command, &context).await,
            Command::Account(command) => scope::run(scope::Kind::Account, command, &context).await,
            Command::Pause(args) => scope::run_all(scope::Change::Pause, &args, &context).await,
            Command::Resume(args) => scope::run_all(scope::Change::Resume, &args, &context).await,
            // The others have run already.
            _ => Ok(Exit::Done),
        }
    })
}

/// Runs the work on one thread, until it is done or interrupted.
fn block_on(work: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| CliError::new(Exit::Failed, "failed", format!("cannot start: {error}")))?;
    runtime.block_on(interruptible(work))
}

/// Ends the work early on Ctrl-C or SIGTERM.
async fn interruptible(work: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let listen =
        |kind| signal(kind).map_err(|error| CliError::new(Exit::Failed, "failed", error.to_string()));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        biased;
        done = work => done,
        _ = interrupt.recv() => Err(CliError::interrupted()),
        _ = terminate.recv() => Err(CliError::interrupted()),
    }
}

/// Help, version, or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody reading on is no error.
        drop(error.print());
        return Exit::Done.into();
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        let hint = text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).map(Into::into);
        let error = CliError { hint, ..CliError::usage("usage", message) };
        Output::new(true, false, Color::Never).error(&error);
    } else {
        drop(error.print());
    }
    Exit::Usage.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
