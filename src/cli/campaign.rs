//! `carteiro campaign …`: its commands, each in a file of its own.

pub mod archive;
pub mod at;
pub mod close;
pub mod create;
pub mod documents;
pub mod first;
pub mod hours;
pub mod input;
pub mod load;
pub mod meter;
pub mod plan;
pub mod report;
pub mod resolve;
pub mod retry;
pub mod set;
pub mod show;
pub mod status;
pub mod test;
pub mod verbs;
pub mod world;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::context::Context;
use super::examples;
use super::exit::{CliError, Exit};
use crate::domain::campaign::Verb;

/// `carteiro campaign …`
#[derive(Debug, Subcommand)]
pub enum CampaignCommand {
    /// Create a campaign from its file.
    #[command(after_help = examples::CREATE)]
    Create(CreateArgs),
    /// Load recipients from a file; loading a file again adds only what is new.
    #[command(after_help = examples::LOAD)]
    Load(LoadArgs),
    /// Show what a file would become: rows, messages, template, time, memory, cost; queues nothing.
    Plan(plan::PlanArgs),
    /// Send one real message of it to one phone; it counts only for its portfolio's people.
    Test(test::TestArgs),
    /// Begin sending: all, the first N, or at a time.
    #[command(after_help = examples::START)]
    Start(StartArgs),
    /// Stop sending for now; returns when no new send begins.
    Pause(VerbArgs),
    /// Go on after a pause.
    Resume(VerbArgs),
    /// End it for good; what was not sent will not be.
    Cancel(AskedArgs),
    /// Change how it is sent, while it runs: priority, pace_share, weight, validity, cap, hours, numbers, stop_if.
    Set(set::SetArgs),
    /// Take no more recipients.
    Close(VerbArgs),
    /// Try again what Meta certainly refused with one code.
    Retry(retry::RetryArgs),
    /// Say what becomes of messages of which nobody knows whether they arrived.
    Resolve(resolve::ResolveArgs),
    /// How far campaigns are, and what blocks them.
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// One line per campaign.
    List,
    /// Take a campaign that is over out of Redis, into a folder with its report.
    Archive(ArchiveArgs),
    /// What became of every loaded row, as CSV or Parquet.
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
}

/// Arguments of `create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// The campaign file; - is standard input.
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
    /// Recipients as CSV, NDJSON or XLSX; - is standard input.
    pub file: PathBuf,
    /// How it is read.
    #[command(flatten)]
    pub input: input::InputArgs,
    /// Where rejected rows go; default: beside the input, with .rejects.csv at the end.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Where duplicates go; default: beside the input, with .duplicates.csv at the end.
    #[arg(long, value_name = "FILE")]
    pub duplicates: Option<PathBuf>,
    /// Check every row, and load nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `start`.
#[derive(Args, Clone, Debug)]
pub struct StartArgs {
    /// The campaign.
    pub id: String,
    /// Send so many, pause, and say how they fared.
    #[arg(long, value_name = "N", conflicts_with = "at", value_parser = clap::value_parser!(u64).range(1..=crate::policy::first::FIRST_MAX))]
    pub first: Option<u64>,
    /// Begin then: 2026-11-23T09:00:00-03:00, or "2026-11-23 09:00" or 09:00 in Brasília.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Say what would be done, and do nothing.
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
    /// The recipients file: its columns are added, and its rows that are not loaded, each with the reason.
    #[arg(long, value_name = "FILE")]
    pub join: Option<PathBuf>,
    /// For a Brazilian Excel: semicolons, dates of São Paulo, no formulas.
    #[arg(long)]
    pub excel_br: bool,
    /// Default: parquet if the file ends in .parquet, else csv.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<report::Format>,
}

/// Arguments of `archive`.
#[derive(Args, Clone, Debug)]
pub struct ArchiveArgs {
    /// The campaign: done or cancelled.
    pub id: String,
    /// The archive's folder, or an existing folder in which it is made; default: archive/ in data_dir.
    #[arg(long, short, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the command.
pub async fn run(command: CampaignCommand, context: &Context) -> Result<Exit, CliError> {
    let asked = |args: VerbArgs, yes| AskedArgs { id: args.id, yes, dry_run: args.dry_run };
    match command {
        CampaignCommand::Create(args) => create::run(&args, context).await,
        CampaignCommand::Load(args) => load::run(&args, context).await,
        CampaignCommand::Plan(args) => plan::run(&args, context).await,
        CampaignCommand::Test(args) => test::run(&args, context).await,
        CampaignCommand::Start(args) => {
            let plain = AskedArgs { id: args.id, yes: args.yes, dry_run: args.dry_run };
            match (args.first, args.at) {
                (Some(wanted), _) => first::run(wanted, &plain, context).await,
                (None, Some(at)) => at::run(&at, &plain, context).await,
                (None, None) => verbs::run(Verb::Start, &plain, context).await,
            }
        }
        CampaignCommand::Set(args) => set::run(&args, context).await,
        CampaignCommand::Close(args) => close::run(&args, context).await,
        CampaignCommand::Retry(args) => retry::run(&args, context).await,
        CampaignCommand::Resolve(args) => resolve::run(&args, context).await,
        CampaignCommand::Pause(args) => verbs::run(Verb::Pause, &asked(args, true), context).await,
        CampaignCommand::Resume(args) => verbs::run(Verb::Resume, &asked(args, true), context).await,
        CampaignCommand::Cancel(args) => verbs::run(Verb::Cancel, &args, context).await,
        CampaignCommand::Status(args) => status::run(&args, context).await,
        CampaignCommand::List => status::list(context).await,
        CampaignCommand::Archive(args) => archive::run(&args, context).await,
        CampaignCommand::Report(args) => report::run(&args, context).await,
    }
}
