//! `carteiro campaign start ID --at TIME`: a ready campaign that begins by itself when the time comes.
//!
//! The time is stored with the campaign; the engine begins it. `start` begins it at once, `pause` and `cancel` take
//! the time away.

use jiff::civil::{DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::json;

use super::super::context::{Acknowledged, Context, announce};
use super::super::exit::{CliError, Exit};
use super::super::output::rfc3339;
use super::AskedArgs;
use super::hours::local;
use super::verbs::{moved, somebody_else, summary, transition};
use super::world::View;
use crate::app::hours::to_civil;
use crate::app::store::Store;
use crate::clock::{self, WallMs};
use crate::domain::campaign::Verb;
use crate::queue::campaigns::{self, Fields};

/// Farthest time that is taken: beyond it a typed year is wrong.
const AHEAD_MAX_MS: u64 = 366 * 24 * 3_600_000;

/// Brasília, all year since 2019.
const BRASILIA: Offset = Offset::constant(-3);

/// Runs the command.
pub async fn run(at: &str, args: &AskedArgs, context: &Context) -> Result<Exit, CliError> {
    let at_ms = time(at, clock::wall().0)?;
    context.with_store(async |store| schedule(at_ms, args, store, context).await).await
}

async fn schedule(
    at_ms: u64,
    args: &AskedArgs,
    store: &mut Store,
    context: &Context,
) -> Result<Exit, CliError> {
    let redis = &mut store.connection;
    let record = campaigns::find(redis, &args.id).await?;
    transition(&record, Verb::Schedule)?;
    let changed = record.start_at_ms != Some(at_ms);
    let (id, at) = (&record.id, rfc3339(at_ms));
    let shown = local(to_civil(WallMs(at_ms), 0));
    let mut heard = Acknowledged::NobodyRuns;
    if changed {
        let view = View::read(redis, record.clone(), clock::wall().0).await?;
        context.out.hint(format!("{}\n  begins on {shown}", summary(Verb::Start, &view, &context.config)));
        if !args.dry_run {
            context.confirm(&format!("Start campaign {id} on {shown}?"), args.yes).await?;
        }
    }
    if !args.dry_run {
        if !moved(redis, &record, record.state, &Fields::start_at(Some(at_ms))).await? {
            return Err(somebody_else(id));
        }
        heard = announce(redis, &context.config).await?;
    }
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": id, "verb": Verb::Schedule.as_str(), "state": record.state.as_str(), "starts_at": at,
            "changed": changed, "dry_run": args.dry_run, "node": heard.node(),
            "acknowledged": matches!(heard, Acknowledged::By(_)),
        }))?;
    } else {
        context.out.line(match (args.dry_run, changed) {
            (true, _) => format!("campaign {id}: would start on {shown}; nothing was changed"),
            (false, true) => format!("campaign {id}: starts on {shown}"),
            (false, false) => format!("campaign {id}: starts on {shown} already"),
        })?;
        if !args.dry_run && heard == Acknowledged::NobodyRuns {
            context.out.hint("no serve is running: it must run then, or the campaign begins when it does");
        }
    }
    heard.check()?;
    Ok(Exit::Done)
}

/// A time as people type it, in wall ms: RFC 3339, or date and time or the next such time of day in Brasília.
pub fn time(text: &str, now_ms: u64) -> Result<u64, CliError> {
    let usage = |message: String| CliError::usage("bad_time", message).field("--at");
    let now =
        i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    let zone = TimeZone::fixed(BRASILIA);
    let local = |at: DateTime| at.to_zoned(zone.clone()).ok().map(|at| at.timestamp());
    let text = text.trim();
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let has_date = text.len() > "00:00:00".len();
        if has_date {
            return text.parse::<DateTime>().ok().and_then(local);
        }
        let time: Time = text.parse().ok().filter(|_| text.contains(':'))?;
        let today: Zoned = now.to_zoned(zone.clone());
        let at = local(today.date().to_datetime(time))?;
        if at > now { Some(at) } else { at.checked_add(24.hours()).ok() }
    });
    let at = at.ok_or_else(|| {
        usage("--at is no time".to_owned())
            .hint("write it like 2026-11-23T09:00:00-03:00, \"2026-11-23 09:00\" or 09:00; without an offset it is Brasília's")
    })?;
    let at_ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
    if at_ms <= now_ms {
        return Err(usage(format!("--at is in the past: {}; nothing was changed", rfc3339(at_ms)))
            .hint("leave --at out to start now"));
    }
    if at_ms - now_ms > AHEAD_MAX_MS {
        return Err(usage(format!("--at is more than a year ahead: {}", rfc3339(at_ms))));
    }
    Ok(at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        // 22 November 2026, 12:00 in Brasília.
        let now: Timestamp = "2026-11-22T15:00:00Z".parse().unwrap();
        let found = time(text, u64::try_from(now.as_millisecond()).unwrap());
        let found = found.map_or_else(|error| error.message, rfc3339);
        assert!(found.starts_with(expect), "{text}: {found}");
    }

    #[test]
    fn times_as_people_type_them() {
        check("2026-11-23T09:00:00-03:00", "2026-11-23T12:00:00Z");
        check("2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z");
        check("2026-11-23 09:00", "2026-11-23T12:00:00Z");
        check("13:30", "2026-11-22T16:30:00Z");
        check("12:00", "2026-11-23T15:00:00Z");
        check("09:00", "2026-11-23T12:00:00Z");
        check("2026-11-22 09:00", "--at is in the past: 2026-11-22T12:00:00Z");
        check("2028-11-22 09:00", "--at is more than a year ahead");
        for text in ["", "tomorrow", "25:00", "9", "2026-13-01 09:00"] {
            check(text, "--at is no time");
        }
    }
}
