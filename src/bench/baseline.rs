//! The baseline: `wrk` with as many connections against a simulator of its own, as fast as it goes.

use std::process::Stdio;

use super::figures::requests_per_s;
use super::{BenchPlan, CONNECTIONS};
use crate::rig::{Folder, Rig, RigError, RigPlan};

/// How long it runs.
const SECONDS: &str = "5s";

/// Its script: every request with an id and a person of its own.
const SCRIPT: &str = include_str!("../../benches/wrk.lua");

/// Requests a second of `wrk`, by the same rule as the engine's.
pub(super) async fn measure(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<f64, RigError> {
    tell("measuring wrk");
    let folder = Folder::temporary(plan.folder.as_deref(), "wrk")?;
    let script = folder.file("wrk.lua");
    std::fs::write(&script, SCRIPT)
        .map_err(|source| RigError::System { what: format!("cannot write {}", script.display()), source })?;
    let rig = Rig::start(folder, RigPlan { latency: plan.latency, ..RigPlan::default() }).await?;
    let connections = plan.connections.unwrap_or(CONNECTIONS).to_string();
    let mut command = tokio::process::Command::new("wrk");
    command.args(["-t", "1", "-c", &connections, "-d", SECONDS, "-s"]).arg(&script).arg(&rig.url);
    command.args(["--", "--numbers", &plan.numbers.to_string()]);
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    let output = command.output().await.map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => RigError::Unusable(
            "wrk is not installed, and --baseline needs it: apt-get install wrk".to_owned(),
        ),
        _ => RigError::System { what: "cannot start wrk".to_owned(), source },
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(RigError::Process { name: "wrk", what: format!("failed: {said}") });
    }
    let ledger = rig.ledger().await?;
    rig.close().await?;
    let refused: u64 = ledger.refused.values().sum();
    match requests_per_s(&ledger) {
        Some(per_s) if refused + ledger.duplicate_ids + ledger.duplicate_people == 0 => Ok(per_s),
        _ => Err(RigError::Unusable(format!(
            "wrk is no baseline: {} requests, {refused} refused, {} duplicates",
            ledger.requests,
            ledger.duplicate_ids + ledger.duplicate_people
        ))),
    }
}
