//! What Redis keeps of a message when much goes wrong: a fifth fails for good, and the line is dead for ten minutes,
//! which the time scale makes ten seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::BenchPlan;
use super::figures::Figures;
use super::run::{Run, rig_plan};
use crate::rig::{Folder, RigError, RigPlan};

/// A minute becomes a second.
const TIME_SCALE: u32 = 60;

/// The outage begins a second after the first request.
const FAULTS: &str = "\
[[fault]]
kind = \"outage\"
from = \"1m\"
to = \"11m\"

[[fault]]
kind = \"error\"
code = 131026
share = 0.2
";

/// How often Redis is asked how much it holds.
const LOOK: Duration = Duration::from_millis(500);

/// Measures.
pub(super) async fn run(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<Figures, RigError> {
    let folder = Folder::temporary(plan.folder.as_deref(), "bench")?;
    let faults = folder.file("faults.toml");
    std::fs::write(&faults, FAULTS)
        .map_err(|source| RigError::System { what: format!("cannot write {}", faults.display()), source })?;
    let rig_plan = RigPlan { faults: Some(faults), time_scale: TIME_SCALE, ..rig_plan(plan) };
    let recipients = plan.recipients.unwrap_or(super::run::RECIPIENTS);
    let mut run = Run::load_in(folder, recipients, rig_plan, tell).await?;
    run.start(tell).await?;
    let peak = Arc::new(AtomicU64::new(0));
    let mut redis = run.rig.redis.clone();
    let watch = async {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            match Run::note_memory(&mut redis).await {
                Ok(bytes) => drop(peak.fetch_max(bytes, Ordering::Relaxed)),
                Err(error) => return error,
            }
        }
    };
    let status = tokio::select! {
        status = run.finish(tell) => status?,
        error = watch => return Err(error),
    };
    run.memory_peaked_at(peak.load(Ordering::Relaxed));
    let mut figures = run.figures().await?;
    figures.redis_bytes_per_message = run.bytes_per_message().await?;
    figures.failed = status["states"]["failed"].as_u64();
    figures.in_doubt = status["states"]["in_doubt"].as_u64();
    run.close().await?;
    Ok(figures)
}
