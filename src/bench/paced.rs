//! A paced run: numbers that never run dry send for a given time at their limit; how much of it is used, and is it
//! ever passed?

use std::time::Duration;

use super::figures::Figures;
use super::run::{Run, rig_plan};
use super::{BenchPlan, CAMPAIGN};
use crate::rig::RigError;
use crate::sim::LedgerReport;

/// A simulator that was later than this cannot judge the pace: it is what arrivals may jitter by.
pub(super) const LAG_MAX_MS: f64 = 10.0;

/// Runs at most until one is not void.
pub(super) const RUNS_MAX: u32 = 3;

/// Percent of what is needed that is loaded, so that no number runs dry: lanes are not quite even.
const MARGIN_PERCENT: u64 = 130;

/// How long what is in flight may take after a pause.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks at it.
const SETTLE_POLL: Duration = Duration::from_millis(100);

/// Measures; a run in which the simulator itself was late is repeated.
pub(super) async fn run(
    plan: &BenchPlan,
    rate_per_s: u32,
    tell: &mut dyn FnMut(&str),
) -> Result<Figures, RigError> {
    let recipients = plan.recipients.or_else(|| Some(needed(plan, rate_per_s)));
    let plan = BenchPlan { recipients, ..plan.clone() };
    let mut void_runs = 0;
    loop {
        let mut figures = once(&plan, rate_per_s, tell).await?;
        figures.void = figures.sim_lag_ms > LAG_MAX_MS;
        void_runs += u32::from(figures.void);
        figures.void_runs = void_runs;
        if !figures.void || void_runs == RUNS_MAX {
            return Ok(figures);
        }
        tell(&format!("void: the simulator was late by {:.0} ms; once more", figures.sim_lag_ms));
    }
}

/// Recipients for the whole duration.
pub(super) fn needed(plan: &BenchPlan, rate_per_s: u32) -> u64 {
    let millis = u64::try_from(plan.duration.as_millis()).unwrap_or(u64::MAX);
    let sent = u64::from(plan.numbers) * u64::from(rate_per_s) * millis / 1_000;
    (sent * MARGIN_PERCENT / 100).max(1)
}

async fn once(plan: &BenchPlan, rate_per_s: u32, tell: &mut dyn FnMut(&str)) -> Result<Figures, RigError> {
    let mut run = Run::load(plan, rig_plan(plan), tell).await?;
    run.start(tell).await?;
    let over = tokio::time::timeout(plan.duration, run.finish(tell)).await;
    match over {
        Ok(finished) => drop(finished?),
        Err(_) => {
            run.rig.run(&["campaign", "pause", CAMPAIGN]).await?;
            settle(&mut run).await?;
        }
    }
    run.stop_measuring();
    let ledger = run.rig.ledger().await?;
    let mut figures = run.figures().await?;
    (figures.pace_used, figures.pace_used_min) = pace_used(&ledger, rate_per_s);
    run.close().await?;
    Ok(figures)
}

/// Waits until nothing is in flight.
pub(super) async fn settle(run: &mut Run) -> Result<(), RigError> {
    let settled = async {
        loop {
            let status = run.rig.run(&["campaign", "status", CAMPAIGN]).await?.said;
            if status["states"]["sending"] == 0 {
                return Ok(());
            }
            run.rig.check_serve()?;
            tokio::time::sleep(SETTLE_POLL).await;
        }
    };
    let late = |_| RigError::Unusable("requests were still in flight long after the pause".to_owned());
    tokio::time::timeout(SETTLE_TIMEOUT, settled).await.map_err(late)?
}

/// Share of its pace that a number used between its first and its last request: mean and least over the numbers.
#[allow(clippy::cast_precision_loss, reason = "a share with three digits")]
pub(super) fn pace_used(ledger: &LedgerReport, rate_per_s: u32) -> (Option<f64>, Option<f64>) {
    let shares = ledger.per_number.values().filter_map(|number| {
        let seconds = (number.last_ms? - number.first_ms?) as f64 / 1e3;
        // As many requests as there are gaps: the first one opens the time, it does not fill it.
        (seconds > 0.0).then(|| (number.requests - 1) as f64 / (f64::from(rate_per_s) * seconds))
    });
    let shares: Vec<f64> = shares.collect();
    let mean = (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64);
    (mean, shares.into_iter().reduce(f64::min))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::NumberReport;

    #[test]
    fn the_share_of_the_pace_is_counted_in_gaps() {
        let number = |requests, last_ms| NumberReport {
            requests,
            first_ms: Some(1_000),
            last_ms: Some(last_ms),
            ..NumberReport::default()
        };
        let mut ledger = LedgerReport::default();
        assert_eq!(pace_used(&ledger, 20), (None, None));
        ledger.per_number.insert("1".to_owned(), number(201, 11_000));
        ledger.per_number.insert("2".to_owned(), number(101, 11_000));
        assert_eq!(pace_used(&ledger, 20), (Some(0.75), Some(0.5)));
    }
}
