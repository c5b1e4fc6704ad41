//! What a pause costs Redis: commands counted around `campaign pause`, with ten messages queued and with very many.
//! They must be as many.

use std::cmp::Reverse;

use crate::queue::connection::Connection;

use super::figures::Figures;
use super::run::{Run, info, rig_plan};
use super::{BenchPlan, CAMPAIGN};
use crate::rig::RigError;

/// Messages in the small campaign.
const FEW: u64 = 10;

/// Messages in the large one, where nothing else says how many.
const MANY: u64 = 1_000_000;

/// Pauses of which most must cost the same: the engine's own clockwork (heartbeat, counters once a second) goes on beside
/// some, and now and then one finds nothing claimed that would have to be given back.
const TRIES: usize = 12;

/// Messages a second: slow enough that ten last through all tries.
const RATE_PER_S: u32 = 1;

/// Measures.
pub(super) async fn run(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<Figures, RigError> {
    let slow = |recipients| BenchPlan {
        recipients: Some(recipients),
        numbers: 1,
        rate_per_s: Some(RATE_PER_S),
        ..plan.clone()
    };
    let (few, _) = usual(&slow(FEW), tell).await?;
    let (many, mut figures) = usual(&slow(plan.recipients.unwrap_or(MANY)), tell).await?;
    figures.pause_commands_10 = Some(few);
    figures.pause_commands_n = Some(many);
    Ok(figures)
}

/// Commands that most pauses of a campaign take.
async fn usual(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<(u64, Figures), RigError> {
    let mut run = Run::load(plan, rig_plan(plan), tell).await?;
    run.start(tell).await?;
    let mut costs = Vec::with_capacity(TRIES);
    for _ in 0..TRIES {
        let before = commands_but_looks(&mut run.rig.redis).await?;
        run.rig.run(&["campaign", "pause", CAMPAIGN]).await?;
        let after = commands_but_looks(&mut run.rig.redis).await?;
        costs.push(after - before);
        run.rig.run(&["campaign", "resume", CAMPAIGN]).await?;
    }
    run.stop_measuring();
    let figures = run.figures().await?;
    run.close().await?;
    Ok((most_frequent(&costs), figures))
}

/// The count that occurs most often, the least of several.
fn most_frequent(counts: &[u64]) -> u64 {
    let times = |count: &u64| counts.iter().filter(|one| *one == count).count();
    counts.iter().copied().max_by_key(|count| (times(count), Reverse(*count))).unwrap_or_default()
}

/// Commands that Redis has run, those inside scripts included.
pub(super) async fn commands(redis: &mut Connection) -> Result<u64, RigError> {
    Ok(sum(&info(redis, "commandstats").await?, &[]))
}

/// The same but for the looks. While the pause waits for the engine to acknowledge, it looks every few milliseconds by
/// `TIME` and `HMGET` together; how often hangs on the machine, not on the messages.
async fn commands_but_looks(redis: &mut Connection) -> Result<u64, RigError> {
    Ok(sum(&info(redis, "commandstats").await?, &["time", "hmget"]))
}

/// Calls of all commands but some.
fn sum(commandstats: &str, but: &[&str]) -> u64 {
    let calls = commandstats.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls: u64 = rest.split(',').next()?.parse().ok()?;
        (!but.contains(&name)).then_some(calls)
    });
    calls.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_pauses_take_counts() {
        assert_eq!(most_frequent(&[53, 51, 48, 51, 52, 51, 53]), 51);
        assert_eq!(most_frequent(&[53, 51, 51, 53]), 51);
    }

    #[test]
    fn calls_of_all_commands_are_added() {
        let text = "# Commandstats\r\ncmdstat_get:calls=7,usec=1\r\ncmdstat_config|get:calls=5,usec=2\r\n\
            cmdstat_time:calls=2,usec=1\r\ncmdstat_hmget:calls=3,usec=1\r\n";
        assert_eq!(sum(text, &[]), 17);
        assert_eq!(sum(text, &["time", "hmget"]), 12);
    }
}
