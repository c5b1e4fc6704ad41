//! `carteiro campaign close`: it takes no more recipients, so that `done` is final.

use serde_json::json;

use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::VerbArgs;
use super::verbs::{transition, write};
use crate::app::store::Store;
use crate::clock;
use crate::domain::campaign::Verb;
use crate::queue::campaigns::{self, Fields};

/// Runs the command.
pub async fn run(args: &VerbArgs, context: &Context) -> Result<Exit, CliError> {
    context.with_store(async |store| close(args, store, context).await).await
}

async fn close(args: &VerbArgs, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
    let redis = &mut store.connection;
    let record = campaigns::find(redis, &args.id).await?;
    transition(&record, Verb::Close)?;
    let id = &record.id;
    if !record.closed && record.loading(clock::wall().0) {
        let message = format!("campaign {id} is being loaded; it was not closed");
        return Err(CliError::usage("loading", message).hint("close it when the load is through"));
    }
    if !args.dry_run && !record.closed {
        write(redis, &record, &Fields::closed()).await?;
    }
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": id, "verb": "close", "state": record.state.as_str(), "changed": !record.closed,
            "dry_run": args.dry_run,
        }))?;
        return Ok(Exit::Done);
    }
    context.out.line(match (record.closed, args.dry_run) {
        (true, _) => format!("campaign {id}: is closed already"),
        (false, true) => format!("campaign {id}: would be closed; nothing was changed"),
        (false, false) => format!("campaign {id}: closed, it takes no more recipients"),
    })?;
    Ok(Exit::Done)
}
