//! The command line: arguments in, one command run, an exit code out.
//!
//! Each command has a file of its own under `cli/`; what they share is in `context` (configuration, Redis, the engine's
//! acknowledgement), `output` (everything printed) and `exit` (every error with its exit code).

pub mod bench;
mod bug;
pub mod campaign;
pub mod completions;
pub mod config;
pub mod context;
mod deeds;
pub mod demo;
mod examples;
pub mod exit;
pub mod journal;
pub mod log;
pub mod man;
pub mod message;
pub mod output;
pub mod person;
mod phone;
pub mod recipients;
pub mod rollback;
pub mod scope;
pub mod serve;
pub mod sim;
pub mod stop;
pub mod usage;
pub mod webhooks;
pub mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use context::Context;
use deeds::Deed;
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
    /// Who does this, for the journal; default: CARTEIRO_ACTOR, whoever called sudo, the system's user.
    #[arg(long, global = true, value_name = "NAME")]
    pub actor: Option<String>,
    /// Data and errors as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Colours: auto, always or never; auto is on a terminal, unless NO_COLOR is set or TERM is dumb.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto, hide_possible_values = true)]
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
    #[command(after_help = examples::SERVE)]
    Serve(serve::ServeArgs),
    /// Create, load, start, stop and follow campaigns.
    #[command(subcommand, after_help = examples::CAMPAIGN)]
    Campaign(campaign::CampaignCommand),
    /// Send single messages, ahead of campaigns.
    #[command(subcommand, after_help = examples::MESSAGE)]
    Message(message::MessageCommand),
    /// List, pause and resume sending numbers.
    #[command(subcommand, after_help = examples::NUMBER)]
    Number(scope::ScopeCommand),
    /// List, pause and resume templates (ACCOUNT/NAME).
    #[command(subcommand)]
    Template(scope::ScopeCommand),
    /// List, pause and resume WhatsApp Business Accounts.
    #[command(subcommand)]
    Account(scope::ScopeCommand),
    /// Look whether Meta's receipts arrive.
    #[command(subcommand)]
    Webhooks(webhooks::WebhooksCommand),
    /// Pause everything.
    Pause(scope::AllArgs),
    /// Let everything go on that `pause --all` stopped.
    Resume(scope::AllArgs),
    /// Say who is not to be written to, or about which debt.
    #[command(subcommand, after_help = examples::STOP)]
    Stop(stop::StopCommand),
    /// The life of a message or of a person, in words.
    Why(why::WhyArgs),
    /// Attempts, receipts and what people did.
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Say that Redis is right as it is.
    #[command(subcommand)]
    Redis(rollback::RedisCommand),
    /// Erase a person who asks for it.
    #[command(subcommand)]
    Person(person::PersonCommand),
    /// Invented recipients for trials.
    #[command(subcommand)]
    Recipients(recipients::RecipientsCommand),
    /// Check and show the configuration.
    #[command(subcommand, after_help = examples::CONFIG)]
    Config(config::ConfigCommand),
    /// Simulate the Cloud API, with limits, faults and a ledger.
    Sim(sim::SimArgs),
    /// Measure the engine against the simulator on this machine.
    Bench(bench::BenchArgs),
    /// Print what a shell needs to complete commands and options.
    #[command(after_help = examples::COMPLETIONS)]
    Completions(completions::CompletionsArgs),
    /// Print a page of the manual, or write them all.
    #[command(after_help = examples::MAN)]
    Man(man::ManArgs),
}

/// Runs the program. Called by `main` alone, while there is no other thread.
pub fn run() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let parsed = bug::caught(|| Ok(parse(&args)));
    let (cli, path, deed) = match parsed {
        Ok(Ok(parsed)) => parsed,
        Ok(Err(error)) => return usage::answer(&error, usage::output_of(&args)).into(),
        Err(error) => {
            usage::output_of(&args).error(&error);
            return error.exit.into();
        }
    };
    let out = Output::new(cli.global.json, cli.global.quiet, cli.global.color);
    log::start(if matches!(cli.command, Command::Serve(_)) { "info" } else { "warn" }, out);
    bug::watch();
    let exit = bug::caught(|| dispatch(cli, deed.as_ref(), out)).unwrap_or_else(|error| {
        let error = usage::with_hint(error, &path);
        out.error(&error);
        error.exit
    });
    exit.into()
}

/// The arguments, the words of the command in them, and what it changes.
fn parse(args: &[OsString]) -> Result<(Cli, String, Option<Deed>), clap::Error> {
    let matches = Cli::command().try_get_matches_from(args)?;
    Ok((Cli::from_arg_matches(&matches)?, usage::path(&matches), Deed::of(&matches)))
}

fn dispatch(mut cli: Cli, deed: Option<&Deed>, out: Output) -> Result<Exit, CliError> {
    if let Command::Serve(args) = &mut cli.command
        && let Some(node) = args.node.take()
    {
        cli.global.set.push(format!("ownership.node={node}"));
    }
    let global = &cli.global;
    match cli.command {
        Command::Sim(args) => return Ok(sim::run(&args).map(|()| Exit::Done)?),
        Command::Serve(args) => return serve::run(&args, global),
        Command::Config(command) => return config::run(&command, global, out),
        Command::Recipients(command) => return recipients::run(&command, out),
        Command::Demo(args) => return block_on(demo::run(&args, global, out)),
        Command::Bench(args) => return block_on(bench::run(&args, out)),
        Command::Completions(args) => return completions::run(&args, out),
        Command::Man(args) => return man::run(&args, out),
        _ => {}
    }
    let context = Context::new(global, out)?;
    let done = block_on(async {
        match cli.command {
            Command::Campaign(command) => campaign::run(command, &context).await,
            Command::Message(command) => message::run(command, &context).await,
            Command::Number(command) => scope::run(scope::Kind::Number, command, &context).await,
            Command::Template(command) => scope::run(scope::Kind::Template, command, &context).await,
            Command::Account(command) => scope::run(scope::Kind::Account, command, &context).await,
            Command::Webhooks(command) => webhooks::run(command, &context).await,
            Command::Redis(command) => rollback::run(command, &context).await,
            Command::Person(command) => person::run(command, &context).await,
            Command::Stop(command) => stop::run(command, &context).await,
            Command::Pause(args) => scope::run_all(scope::Change::Pause, &args, &context).await,
            Command::Resume(args) => scope::run_all(scope::Change::Resume, &args, &context).await,
            Command::Why(args) => why::run(&args, &context).await,
            Command::Journal(command) => journal::run(&command, &context).await,
            // The others have run already.
            _ => Ok(Exit::Done),
        }
    });
    if let Some(deed) = deed {
        deed.done(&done, global.actor.as_deref(), &context.config);
    }
    done
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
