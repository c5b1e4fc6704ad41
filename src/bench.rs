//! The benchmark: the engine on a rig of real processes, measured from outside: the simulator's ledger says how fast it
//! sent, `/proc` what that cost, Redis what it keeps of a message.
//!
//! It prints nothing (`cli::bench` does) and needs a machine with nothing else to do: its figures are only as good as
//! that. The engine takes the same path as in production, `appendfsync always` included.

mod baseline;
mod figures;
mod limits;
mod memory;
mod optout;
mod paced;
mod pause;
mod run;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use crate::rig::RigError;

pub use figures::Figures;
pub use limits::{Held, Limits, PaceCase, Part};

/// Id of the benchmark's campaign.
const CAMPAIGN: &str = "bench";

/// Its file: four short variables and a reference of twelve characters.
const CAMPAIGN_FILE: &str = include_str!("bench/campaign.toml");

/// Connections where nothing else bounds them: as many as the baseline has.
const CONNECTIONS: u32 = 64;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Sending as fast as it goes, or at the given pace.
    Sending,
    /// Loading alone.
    Load,
    /// What Redis keeps of a message after permanent failures and an outage.
    Memory,
    /// What a pause costs, for few and for many messages.
    Pause,
    /// How fast webhooks about what was sent are taken.
    Webhooks,
    /// How exactly limits are kept, and what it costs to be held back by one.
    Limits,
}

/// How to measure it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchPlan {
    /// What.
    pub what: What,
    /// Which of the limits; none: all of them.
    pub only: Vec<Part>,
    /// Recipients; None: the usual, or as many as a paced run needs so that no number runs dry.
    pub recipients: Option<u64>,
    /// Sending numbers.
    pub numbers: u32,
    /// Messages a second of each; None is unlimited.
    pub rate_per_s: Option<u32>,
    /// How long the simulator takes to answer.
    pub latency: Duration,
    /// How long a paced run sends.
    pub duration: Duration,
    /// Connections at most.
    pub connections: Option<u32>,
    /// Measure `wrk` too, before and after.
    pub baseline: bool,
    /// Whether the engine writes its journal, as it does in production.
    pub journal: bool,
    /// Where the folder of the trial is made.
    pub folder: Option<PathBuf>,
}

/// Measures.
///
/// # Errors
/// When a process cannot be started or fails, or the ledger says that the run is worth nothing.
pub async fn run(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<Figures, RigError> {
    match (plan.what, plan.rate_per_s) {
        (What::Memory, _) => memory::run(plan, tell).await,
        (What::Pause, _) => pause::run(plan, tell).await,
        (What::Load, _) => load(plan, tell).await,
        (What::Limits, _) => limits::run(plan, tell).await,
        (What::Webhooks, _) => webhooks::run(plan, tell).await,
        (What::Sending, Some(rate_per_s)) => paced::run(plan, rate_per_s, tell).await,
        (What::Sending, None) => unlimited(plan, tell).await,
    }
}

async fn load(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<Figures, RigError> {
    let mut run = run::Run::load(plan, run::rig_plan(plan), tell).await?;
    let figures = run.figures().await?;
    run.close().await?;
    Ok(figures)
}

async fn unlimited(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<Figures, RigError> {
    let before = if plan.baseline { Some(baseline::measure(plan, tell).await?) } else { None };
    let mut run = run::Run::load(plan, run::rig_plan(plan), tell).await?;
    run.start(tell).await?;
    run.finish(tell).await?;
    let mut figures = run.figures().await?;
    run.close().await?;
    if let Some(before) = before {
        let wrk_per_s = f64::midpoint(before, baseline::measure(plan, tell).await?);
        figures.wrk_per_s = Some(wrk_per_s);
        figures.ratio_to_wrk = figures.sends_per_s.map(|sends| sends / wrk_per_s);
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::body::Body;
    use crate::domain::ids::{CampaignSeq, LaneId, MessageId, WireId};
    use crate::intake::campaign_file;
    use crate::rig::ACCOUNT;

    #[test]
    fn the_campaign_is_like_that_of_the_baseline() {
        let campaign = campaign_file::parse(CAMPAIGN_FILE, "campaign.toml").unwrap();
        assert_eq!((campaign.id.as_str(), campaign.account.as_str()), (CAMPAIGN, ACCOUNT));
        let message = MessageId { lane: LaneId { campaign: CampaignSeq(1), lane: 100 }, index: 1_000 };
        let id = WireId { installation: "a1b2c3d".to_owned(), message, generation: 1 };
        let values = ["Francisco", "Aurora Mais", "1.234,56", "10/12/2026"];
        let bytes =
            Body::compile(&campaign).render(5_511_987_654_321, &id, |variable| values[variable]).len();
        assert!((400..=500).contains(&bytes), "{bytes} bytes, the baseline's have 450");
    }
}
