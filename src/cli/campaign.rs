//! `carteiro campaign …`: its commands, each in a file of its own.

pub mod create;
pub mod input;
pub mod load;
pub mod meter;
pub mod report;
pub mod show;
pub mod status;
pub mod verbs;
pub mod world;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::context::Context;
use super::exit::{CliError, Exit};
use crate::domain::campaign::Verb;

/// `carteiro campaign …`
#[derive(Debug, Subcommand)]
pub enum CampaignCommand {
    /// Create a campaign from its file.
    Create(CreateArgs),
    /// Load recipients from a CSV file; loading a file again adds only what is new.
    Load(LoadArgs),
    /// Begin sending.
    Start(AskedArgs),
    /// Stop sending for now; returns when no new send begins.
    Pause(VerbArgs),
    /// Go on after a pause.
    Resume(VerbArgs),
    /// End it for good; what was not sent will not be.
    Cancel(AskedArgs),
    /// How far campaigns are, and what blocks them.
    Status(StatusArgs),
    /// One line per campaign.
    List,
    /// What became of every loaded row, as CSV.
    Report(ReportArgs),
}

/// Arguments of `create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// The campaign file.
    #[arg(value_name = "CAMPAIGN.toml")]
    pub file: PathBuf,
    /// Check everything, and create nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `load`.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The campaign.
    pub id: String,
    /// Recipients as CSV; - is standard input.
    pub file: PathBuf,
    /// Where rejected rows go; default: beside the input, with .rejects.csv at the end.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Check every row, and load nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of a verb that asks first.
#[derive(Args, Clone, Debug)]
pub struct AskedArgs {
    /// The campaign.
    pub id: String,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of a verb that does not ask.
#[derive(Args, Clone, Debug)]
pub struct VerbArgs {
    /// The campaign.
    pub id: String,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// The campaign; without it, all.
    pub id: Option<String>,
    /// Again every second, until all that is shown is over.
    #[arg(long, short)]
    pub watch: bool,
}

/// Arguments of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// The campaign.
    pub id: String,
    /// Where to write; - is standard output.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
}

/// Runs the command.
pub async fn run(command: CampaignCommand, context: &Context) -> Result<Exit, CliError> {
    let asked = |args: VerbArgs, yes| AskedArgs { id: args.id, yes, dry_run: args.dry_run };
    match command {
        CampaignCommand::Create(args) => create::run(&args, context).await,
        CampaignCommand::Load(args) => load::run(&args, context).await,
        CampaignCommand::Start(args) => verbs::run(Verb::Start, &args, context).await,
        CampaignCommand::Pause(args) => verbs::run(Verb::Pause, &asked(args, true), context).await,
        CampaignCommand::Resume(args) => verbs::run(Verb::Resume, &asked(args, true), context).await,
        CampaignCommand::Cancel(args) => verbs::run(Verb::Cancel, &args, context).await,
        CampaignCommand::Status(args) => status::run(&args, context).await,
        CampaignCommand::List => status::list(context).await,
        CampaignCommand::Report(args) => report::run(&args, context).await,
    }
}
