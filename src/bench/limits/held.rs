//! Very many messages while nobody may be written to: what the engine and Redis do meanwhile.

use std::time::Duration;

use jiff::civil::Weekday;
use jiff::{Timestamp, ToSpan};

use super::{CAMPAIGN, Held, median};
use crate::bench::pause::commands;
use crate::bench::run::Run;
use crate::clock;
use crate::rig::{RigError, usage};

/// Looks of which the median counts.
const LOOKS: u32 = 5;

/// How long each lasts.
const LOOK: Duration = Duration::from_secs(10);

/// The first counts and the first look at doubts are over by then.
const REST: Duration = Duration::from_secs(10);

/// How long it may take until hours are what blocks.
const BLOCKED_TIMEOUT: Duration = Duration::from_secs(60);

/// Measures, and stops the engine again.
pub(super) async fn measure(run: &mut Run, tell: &mut dyn FnMut(&str)) -> Result<Held, RigError> {
    let sunday = next_sunday()?.to_string();
    let words = ["--clock-at", &sunday, "--set", "calendar.enforce=true"];
    run.rig.serve_with("carteiro.toml", &words).await?;
    run.rig.run(&["campaign", "start", CAMPAIGN, "--yes"]).await?;
    tell(&format!("{} messages on a Sunday", run.recipients));
    blocked(run).await?;
    tokio::time::sleep(REST).await;
    let (mut per_s, mut percent) = (Vec::new(), Vec::new());
    for _ in 0..LOOKS {
        let (redis, cpu) = (commands(&mut run.rig.redis).await?, cpu(run)?);
        let began = clock::mono();
        tokio::time::sleep(LOOK).await;
        let seconds = clock::mono().since(began).as_secs_f64();
        let spent = cpu_since(run, cpu)?;
        // The look itself is one command.
        let ran = commands(&mut run.rig.redis).await?.saturating_sub(redis + 1);
        per_s.push(f64::from(u32::try_from(ran).unwrap_or(u32::MAX)) / seconds);
        percent.push(100.0 * spent.as_secs_f64() / seconds);
    }
    run.rig.stop_serving().await;
    Ok(Held { messages: run.recipients, redis_commands_per_s: median(per_s), cpu_percent: median(percent) })
}

/// Waits until hours are what blocks.
async fn blocked(run: &mut Run) -> Result<(), RigError> {
    let blocked = async {
        loop {
            let status = run.rig.run(&["campaign", "status", CAMPAIGN]).await?.said;
            if status["blocked"][0]["reason"] == "hours" {
                return Ok(());
            }
            run.rig.check_serve()?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let late = |_| RigError::Unusable("hours do not block on a Sunday".to_owned());
    tokio::time::timeout(BLOCKED_TIMEOUT, blocked).await.map_err(late)?
}

/// Noon of a Sunday, on which no calendar of ours writes to anybody.
fn next_sunday() -> Result<Timestamp, RigError> {
    let wrong = |error: jiff::Error| RigError::Unusable(error.to_string());
    let now = i64::try_from(clock::wall().0).unwrap_or(i64::MAX);
    let today = Timestamp::from_millisecond(now).map_err(wrong)?.to_zoned(jiff::tz::TimeZone::UTC).date();
    let until = today.weekday().until(Weekday::Sunday);
    let sunday = today.checked_add(i32::from(until).days()).map_err(wrong)?;
    Ok(sunday.at(15, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).map_err(wrong)?.timestamp())
}

fn cpu(run: &Run) -> Result<Duration, RigError> {
    let spent = run.rig.serve_id().and_then(usage::cpu);
    spent.ok_or_else(|| RigError::Unusable("this system does not tell the CPU time of a process".to_owned()))
}

fn cpu_since(run: &Run, before: Duration) -> Result<Duration, RigError> {
    Ok(cpu(run)?.saturating_sub(before))
}
