//! How exactly the limits are kept, and what it costs to be held back by one: the pace of a number that processes take
//! from each other, a million messages outside their hours, and how long a pause, a cancel, an opt-out and an urgent
//! message take.

mod held;
mod optout;
mod pace;
mod verbs;

use serde::Serialize;

use super::figures::Figures;
use super::paced::LAG_MAX_MS;
use super::run::{Run, rig_plan};
use super::{BenchPlan, CAMPAIGN};
use crate::rig::{RigError, RigPlan};

/// Messages that are held, paused and cancelled, where nothing else says how many.
const MANY: u64 = 1_000_000;

/// Numbers that send them.
const NUMBERS: u32 = 8;

/// What each of those sends a second: Meta's default.
const RATE_PER_S: u32 = 80;

/// One of the things that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// A number that processes take from each other.
    Pace,
    /// What very many messages cost that may not be sent.
    Held,
    /// Pauses.
    Pause,
    /// Urgent messages beside a campaign of many.
    Urgent,
    /// People who ask to hear no more.
    Optout,
    /// Cancels.
    Cancel,
}

impl Part {
    /// Those that are measured beside one large campaign.
    const OF_MANY: [Self; 5] = [Self::Held, Self::Pause, Self::Urgent, Self::Optout, Self::Cancel];
}

/// What was measured. Null where it was not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// One number whose owner changes every few seconds.
    pub pace: Option<Vec<PaceCase>>,
    /// What very many messages cost while nothing of them may be sent.
    pub held: Option<Held>,
    /// From the moment a pause is given until the last request reaches the simulator, in all but one of a hundred cases.
    pub pause_ms_p99: Option<f64>,
    /// Until the command has returned, its own start included.
    pub pause_returns_ms_p99: Option<f64>,
    /// Like `pause_ms_p99`, of a cancel.
    pub cancel_ms_p99: Option<f64>,
    /// From the moment at which somebody asks to hear no more, by webhook or through an operator, until two processes that
    /// send know it.
    pub optout_ms_p99: Option<f64>,
    /// From the return of `message send` until its message is at the simulator, while a campaign of many goes out
    /// through the same numbers.
    pub urgent_ms_p99: Option<f64>,
}

/// One number at one pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PaceCase {
    /// Its limit.
    pub rate_per_s: u32,
    /// Processes that own it in turn.
    pub processes: u32,
    /// How often it changed hands.
    pub handovers: u32,
    /// Most requests in any sliding second.
    pub worst_second: u64,
    /// Share of the limit that was used, from the first to the last request.
    pub used: Option<f64>,
    /// The simulator was late itself: this says nothing of the pace.
    pub void: bool,
}

/// What is held, at rest; medians.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Held {
    /// Messages.
    pub messages: u64,
    /// Commands that Redis ran, those inside scripts included.
    pub redis_commands_per_s: f64,
    /// Of one processor, by the engine.
    pub cpu_percent: f64,
}

/// Measures everything, or the parts that the plan names.
pub(super) async fn run(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<Figures, RigError> {
    let asked = |part| plan.only.is_empty() || plan.only.contains(&part);
    let pace = if asked(Part::Pace) { Some(pace::run(plan, tell).await?) } else { None };
    let mut limits = Limits { pace, ..Limits::default() };
    if !Part::OF_MANY.into_iter().any(asked) {
        return Ok(Figures { schema: 1, limits, ..Figures::default() });
    }
    let many = BenchPlan {
        recipients: plan.recipients.or(Some(MANY)),
        numbers: NUMBERS,
        rate_per_s: Some(RATE_PER_S),
        ..plan.clone()
    };
    let mut run =
        Run::load(&many, RigPlan { keep_ids: true, webhooks: true, ..rig_plan(&many) }, tell).await?;
    if asked(Part::Held) {
        limits.held = Some(held::measure(&mut run, tell).await?);
    }
    run.rig.serve().await?;
    // Whoever measured what is held has started it.
    run.rig.run(&["campaign", "start", CAMPAIGN, "--yes"]).await?;
    run.begin_measuring();
    if asked(Part::Pause) {
        let (pauses, returns) = verbs::pauses(&mut run, tell).await?;
        (limits.pause_ms_p99, limits.pause_returns_ms_p99) = (p99(pauses), p99(returns));
    }
    if asked(Part::Urgent) {
        let waited = verbs::urgent(&mut run, tell).await?;
        tell(&format!("urgent messages waited {}", spread(&waited)));
        limits.urgent_ms_p99 = p99(waited);
    }
    if asked(Part::Optout) {
        limits.optout_ms_p99 = p99(optout::measure(&mut run, tell).await?);
    }
    if asked(Part::Cancel) {
        limits.cancel_ms_p99 = p99(verbs::cancels(&mut run, tell).await?);
    }
    run.stop_measuring();
    let mut figures = run.figures().await?;
    figures.limits = limits;
    figures.void = figures.sim_lag_ms > LAG_MAX_MS;
    run.close().await?;
    Ok(figures)
}

/// The value that all but one of a hundred do not exceed; of fewer, the largest.
fn p99(values: Vec<f64>) -> Option<f64> {
    percentile(values, 99)
}

/// The value that so many of a hundred do not exceed.
fn percentile(mut values: Vec<f64>, of_100: usize) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * of_100).div_ceil(100);
    values.get(at.checked_sub(1)?).copied()
}

/// How values in milliseconds are spread, for people: one figure hides whether all are late or one is.
fn spread(values: &[f64]) -> String {
    let at = |of_100| percentile(values.to_vec(), of_100).unwrap_or_default();
    format!("p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, at most {:.1} ms", at(50), at(90), at(99), at(100))
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_one_of_a_hundred_and_the_middle_one() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).rev().collect();
        assert_eq!((p99(hundred.clone()), median(hundred)), (Some(99.0), 51.0));
        assert_eq!((p99(vec![2.0, 7.0, 3.0]), p99(Vec::new())), (Some(7.0), None));
        let hundred: Vec<f64> = (1..=100).map(f64::from).rev().collect();
        assert_eq!(spread(&hundred), "p50 50.0 ms, p90 90.0 ms, p99 99.0 ms, at most 100.0 ms");
    }
}
