//! The demonstration: one campaign from its file to its report, on a rig of real processes, with the simulator's
//! ledger as the judge of what came of it.
//!
//! It prints nothing: `cli::demo` shows each [`Step`] as it comes. It decides nothing about sending: it drives the
//! program's own commands. Everything it needs is in the [`DemoPlan`].

mod join;
mod verdict;

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::intake::generate::{Generated, Plan, generate};
use crate::rig::{Folder, Rig, RigError, RigPlan};
use crate::sim::LedgerReport;

pub use join::Joined;
pub use verdict::{Check, Facts, checks};

/// Id of the campaign: that of its file.
pub const CAMPAIGN: &str = "vencimento-amanha";

/// The ready campaign file, as it stands in `config/`.
const CAMPAIGN_FILE: &str = include_str!("../config/campaigns/vencimento-amanha.toml");

/// Share of the rows that repeat a person, and share of those that cannot be sent.
const DUPLICATES: f64 = 0.01;
const BAD: f64 = 0.01;

/// How long the simulator takes to answer.
const LATENCY: Duration = Duration::from_millis(100);

/// What to demonstrate.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoPlan {
    /// Rows of the recipients' file, duplicates and bad ones included.
    pub recipients: u64,
    /// Sending numbers.
    pub numbers: u32,
    /// Messages a second of each.
    pub rate_per_s: u32,
    /// Fault plan of the simulator.
    pub faults: Option<PathBuf>,
    /// Divides every wait and the plan.
    pub time_scale: u32,
    /// Folder to work in and to keep; None: a temporary one.
    pub keep: Option<PathBuf>,
}

/// How far the demonstration is.
#[derive(Debug)]
pub enum Step<'a> {
    /// Redis and the simulator run.
    Standing {
        /// The folder of the trial.
        folder: &'a Path,
        /// Version of Redis.
        redis: String,
        /// Where the simulator listens.
        url: &'a str,
    },
    /// The recipients are written.
    Generated(&'a Path, Generated),
    /// The campaign was created and loaded: what the command said, and how long it took.
    Loaded(&'a Value, Duration),
    /// The engine runs and sends.
    Started,
    /// The campaign's status, every second.
    Status(&'a Value),
    /// The report is written.
    Reported(&'a Path),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoOutcome {
    /// Everything that was compared.
    pub facts: Facts,
    /// The comparisons.
    pub checks: Vec<Check>,
    /// The whole ledger.
    pub ledger: LedgerReport,
    /// The folder, if it stays.
    pub kept: Option<PathBuf>,
}

impl DemoOutcome {
    /// Whether every check holds.
    pub fn good(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}

/// Runs it from the file to the verdict.
///
/// # Errors
/// When something could not be done at all; a check that does not hold is no error but an outcome.
pub async fn run(plan: &DemoPlan, tell: &mut dyn FnMut(Step<'_>)) -> Result<DemoOutcome, RigError> {
    let folder = match &plan.keep {
        Some(path) => Folder::kept(path)?,
        None => Folder::temporary(None, "demo")?,
    };
    let rig_plan = RigPlan {
        numbers: plan.numbers,
        rate_per_s: Some(plan.rate_per_s),
        latency: LATENCY,
        faults: plan.faults.clone(),
        time_scale: plan.time_scale,
        connections: None,
        keep_ids: true,
        journal: true,
        webhooks: false,
    };
    let mut rig = Rig::start(folder, rig_plan).await?;
    tell(Step::Standing { folder: rig.folder().path(), redis: rig.redis_version(), url: &rig.url });
    let recipients = rig.folder().file("recipients.csv");
    let generated = write_recipients(&recipients, plan.recipients)?;
    tell(Step::Generated(&recipients, generated));

    let file = rig.folder().file("campaign.toml");
    std::fs::write(&file, CAMPAIGN_FILE).map_err(|source| unwritable(&file, source))?;
    rig.run(&["campaign", "create", &text(&file)]).await?;
    let loaded = rig.run(&["campaign", "load", CAMPAIGN, &text(&recipients)]).await?;
    tell(Step::Loaded(&loaded.said, loaded.took));

    rig.serve().await?;
    rig.run(&["campaign", "start", CAMPAIGN, "--yes"]).await?;
    tell(Step::Started);
    let status = rig.follow(CAMPAIGN, |status| {
        tell(Step::Status(status));
        Ok(())
    });
    let status = status.await?;
    let report = rig.folder().file("report.csv");
    rig.run(&["campaign", "report", CAMPAIGN, "-o", &text(&report)]).await?;
    tell(Step::Reported(&report));

    let ledger = rig.ledger().await?;
    let taken = rig.taken_ids().await?;
    let opened = File::open(&report).map_err(|source| unreadable(&report, source))?;
    let joined = join::join(&taken, BufReader::new(opened)).map_err(|source| unreadable(&report, source))?;
    let facts = Facts::new(generated, &status, joined, plan);
    let checks = checks(&facts, &ledger);
    let kept = rig.folder().is_kept().then(|| rig.folder().path().to_owned());
    rig.close().await?;
    Ok(DemoOutcome { facts, checks, ledger, kept })
}

fn write_recipients(path: &Path, count: u64) -> Result<Generated, RigError> {
    let file = File::create(path).map_err(|source| unwritable(path, source))?;
    let mut file = BufWriter::new(file);
    let plan = Plan { count, seed: rand::random(), duplicates: DUPLICATES, bad: BAD };
    let generated = generate(&mut file, &plan).map_err(|error| RigError::Unusable(error.to_string()))?;
    file.flush().map_err(|source| unwritable(path, source))?;
    Ok(generated)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn unwritable(path: &Path, source: std::io::Error) -> RigError {
    RigError::System { what: format!("cannot write {}", path.display()), source }
}

fn unreadable(path: &Path, source: std::io::Error) -> RigError {
    RigError::System { what: format!("cannot read {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::campaign_file;
    use crate::rig::ACCOUNT;

    #[test]
    fn the_ready_campaign_fits_the_rig() {
        let campaign = campaign_file::parse(CAMPAIGN_FILE, "vencimento-amanha.toml").unwrap();
        assert_eq!((campaign.id.as_str(), campaign.account.as_str()), (CAMPAIGN, ACCOUNT));
        assert!(campaign.numbers.is_empty(), "all numbers of the account send");
    }
}
