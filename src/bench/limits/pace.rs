//! One number that processes take from each other every few seconds: whoever owns it loses it from its configuration,
//! hands it over, and offers it again.

use std::time::Duration;

use super::{BenchPlan, CAMPAIGN, PaceCase};
use crate::bench::paced::{LAG_MAX_MS, RUNS_MAX, needed, pace_used, settle};
use crate::bench::run::{Run, rig_plan};
use crate::clock;
use crate::queue::owner;
use crate::rig::RigError;

/// Meta's lowest, usual and highest limit of a number.
const RATES_PER_S: [u32; 3] = [20, 80, 1_000];

/// How many processes have it in turn.
const PROCESSES: [u32; 3] = [1, 4, 16];

/// How long an owner keeps it.
const TURN: Duration = Duration::from_secs(5);

/// How long it may be on its way to another process.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks at who owns it.
const POLL: Duration = Duration::from_millis(10);

/// Measures every pace with every number of processes.
pub(super) async fn run(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<Vec<PaceCase>, RigError> {
    let mut cases = Vec::new();
    for rate_per_s in RATES_PER_S {
        for processes in PROCESSES {
            let one =
                BenchPlan { numbers: 1, rate_per_s: Some(rate_per_s), recipients: None, ..plan.clone() };
            let one = BenchPlan { recipients: Some(needed(&one, rate_per_s)), ..one };
            tell(&format!("one number at {rate_per_s}/s, owned by {processes} in turn"));
            let mut runs = 1;
            cases.push(loop {
                let case = measure(&one, rate_per_s, processes, tell).await?;
                if !case.void || runs == RUNS_MAX {
                    break case;
                }
                runs += 1;
            });
        }
    }
    Ok(cases)
}

async fn measure(
    plan: &BenchPlan,
    rate_per_s: u32,
    processes: u32,
    tell: &mut dyn FnMut(&str),
) -> Result<PaceCase, RigError> {
    let mut run = Run::load(plan, rig_plan(plan), tell).await?;
    for at in 0..processes {
        run.rig.configure(&file(at), 0..1)?;
        run.rig.serve_with(&file(at), &["--node", &node(at)]).await?;
    }
    run.rig.run(&["campaign", "start", CAMPAIGN, "--yes"]).await?;
    let (began, mut handovers) = (clock::mono(), 0);
    loop {
        let left = plan.duration.saturating_sub(clock::mono().since(began));
        tokio::time::sleep(TURN.min(left)).await;
        run.rig.check_serve()?;
        if left <= TURN {
            break;
        }
        if processes > 1 {
            hand_over(&mut run).await?;
            handovers += 1;
        }
    }
    run.rig.run(&["campaign", "pause", CAMPAIGN]).await?;
    settle(&mut run).await?;
    let ledger = run.rig.ledger().await?;
    run.close().await?;
    Ok(PaceCase {
        rate_per_s,
        processes,
        handovers,
        worst_second: ledger.worst_second_max,
        used: pace_used(&ledger, rate_per_s).0,
        void: ledger.lag_ms.max > LAG_MAX_MS,
    })
}

/// Takes the number from the one that owns it, and waits until another one does.
async fn hand_over(run: &mut Run) -> Result<(), RigError> {
    let at = owner(run).await?.ok_or_else(|| RigError::Unusable("nobody owns the number".to_owned()))?;
    run.rig.configure(&file(at), 0..0)?;
    run.rig.reload(at as usize);
    let moved = async {
        while owner(run).await?.is_none_or(|now| now == at) {
            tokio::time::sleep(POLL).await;
        }
        Ok::<(), RigError>(())
    };
    let late = |_| RigError::Unusable("the number did not get to another process".to_owned());
    tokio::time::timeout(HANDOVER_TIMEOUT, moved).await.map_err(late)??;
    run.rig.configure(&file(at), 0..1)?;
    run.rig.reload(at as usize);
    Ok(())
}

/// The place of the process that owns the number.
async fn owner(run: &mut Run) -> Result<Option<u32>, RigError> {
    let (snapshot, _) = owner::division(&mut run.rig.redis).await?;
    Ok(snapshot.owners.values().next().and_then(|owned| owned.node.strip_prefix(NODE)?.parse().ok()))
}

/// How the name of each process begins.
const NODE: &str = "process-";

fn node(at: u32) -> String {
    format!("{NODE}{at}")
}

fn file(at: u32) -> String {
    format!("carteiro-{at}.toml")
}
