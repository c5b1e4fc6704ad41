//! `carteiro campaign retry ID --code N`: what Meta certainly refused with a code, tried again after its cause was mended.
//!
//! Never for what may have reached somebody: a code that leaves that open is refused with an explanation.

use clap::Args;
use serde_json::json;

use super::super::context::{Acknowledged, Context, announce};
use super::super::exit::{CliError, Exit};
use super::super::output::{count, counted};
use super::verbs::{moved, somebody_else, transition};
use super::world::View;
use crate::app::store::Store;
use crate::clock;
use crate::domain::campaign::Verb;
use crate::domain::ids::LaneId;
use crate::policy::classify::table::Row;
use crate::policy::classify::{ErrorTable, Kind};
use crate::queue::again::{self, Ask};
use crate::queue::campaigns::{self, CampaignRecord, Fields};
use crate::queue::connection::Connection;

/// How often a state that somebody else moved is looked at again.
const MOVES_MAX: usize = 16;

/// Arguments of `retry`.
#[derive(Args, Clone, Debug)]
pub struct RetryArgs {
    /// The campaign.
    pub id: String,
    /// Meta's code, as `status` shows it.
    #[arg(long, value_name = "N")]
    pub code: i64,
    /// Count them, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the command.
pub async fn run(args: &RetryArgs, context: &Context) -> Result<Exit, CliError> {
    let table = context.error_table()?;
    let row = certain(args.code, &table)?;
    context.with_store(async |store| retry(args, row, store, context).await).await
}

/// The row of a code with which Meta certainly took nothing.
fn certain(code: i64, table: &ErrorTable) -> Result<&Row, CliError> {
    let refused = |message: String| CliError::new(Exit::Refused, "not_certain", message).field("--code");
    let row = table.code(code).ok_or_else(|| {
        refused(format!("code {code} is not in the error table, so nobody knows whether its messages were taken; nothing was changed"))
            .hint("`carteiro campaign status` shows the codes of failed messages")
    })?;
    match row.kind {
        Kind::Permanent | Kind::Transient | Kind::Throttled | Kind::Halt => Ok(row),
        Kind::Accepted | Kind::Held | Kind::Doubtful | Kind::Unknown => Err(refused(format!(
            "code {code} ({}) is {}: a message with it may have reached the person, and would reach it twice; nothing was changed",
            row.name,
            row.kind.name()
        ))
        .hint("such messages are in doubt, not failed, and stay so until their receipts come")),
    }
}

async fn retry(args: &RetryArgs, row: &Row, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
    let redis = &mut store.connection;
    let record = campaigns::find(redis, &args.id).await?;
    transition(&record, Verb::Retry)?;
    let lanes: Vec<LaneId> = (0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect();
    let ask = if args.dry_run { Ask::Count } else { Ask::Turn };
    if ask == Ask::Turn {
        // Before anything moves, so that an engine that is about to call it done sees that there is more to do.
        campaigns::grow(redis, record.seq).await?;
    }
    let (now_ms, mut turned) = (clock::wall().0, 0);
    for lane in lanes {
        turned += again::retry(redis, lane, row.reason, now_ms, ask).await?;
    }
    let mut heard = Acknowledged::NobodyRuns;
    let mut record = record;
    if ask == Ask::Turn {
        campaigns::grow(redis, record.seq).await?;
        record = go_on(redis, record, Verb::Retry, turned).await?;
        heard = announce(redis, &context.config).await?;
        record = campaigns::find(redis, &record.id).await?;
    }
    let (out, id) = (&context.out, &record.id);
    if out.json {
        out.object(&json!({
            "schema": 1, "id": id, "verb": "retry", "state": record.state.as_str(), "code": args.code, "name": row.name,
            "codes": row.codes_text(), "messages": turned, "changed": turned > 0 && !args.dry_run, "dry_run": args.dry_run,
            "node": heard.node(), "acknowledged": matches!(heard, Acknowledged::By(_)),
        }))?;
    } else {
        let what = format!("{} {}", row.codes_text(), row.name);
        out.line(match (turned, args.dry_run) {
            (0, _) => format!("campaign {id}: no message failed with {what}"),
            (_, true) => format!(
                "campaign {id}: {} failed with {what} would be tried again; nothing was changed",
                counted(turned, "message")
            ),
            (_, false) => format!(
                "campaign {id}: {} failed with {what} will be tried again ({})",
                count(turned),
                record.state
            ),
        })?;
        if turned > 0 && !args.dry_run {
            out.hint("one that is older than the campaign's validity expires instead: see `campaign set ID validity=…`");
        }
    }
    heard.check()?;
    Ok(Exit::Done)
}

/// Lets a campaign go on after `turned` messages of it were made due, if it was done.
pub async fn go_on(
    redis: &mut Connection,
    mut record: CampaignRecord,
    verb: Verb,
    turned: u64,
) -> Result<CampaignRecord, CliError> {
    for _ in 0..=MOVES_MAX {
        let new = transition(&record, verb)?.filter(|_| turned > 0);
        let Some(new) = new else { return Ok(record) };
        let view = View::read(redis, record.clone(), clock::wall().0).await?;
        let fields = Fields::begin(crate::app::control::stops::tally(&view.counters), None);
        if moved(redis, &record, new, &fields).await? {
            return Ok(campaigns::find(redis, &record.id).await?);
        }
        record = campaigns::find(redis, &record.id).await?;
    }
    Err(somebody_else(&record.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: i64, expect: Result<&str, &str>) {
        let table = ErrorTable::builtin();
        match (certain(code, &table), expect) {
            (Ok(row), Ok(name)) => assert_eq!(row.name, name),
            (Err(error), Err(part)) => {
                assert!(error.exit == Exit::Refused && error.message.contains(part), "{error}")
            }
            (found, _) => panic!("{code}: {found:?}"),
        }
    }

    #[test]
    fn only_what_meta_certainly_refused() {
        let table = ErrorTable::builtin();
        check(131_026, Ok(&table.code(131_026).unwrap().name));
        check(131_000, Err("may have reached the person"));
        check(131_016, Err("may have reached the person"));
        check(-7, Err("is not in the error table"));
    }
}
