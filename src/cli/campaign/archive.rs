//! `carteiro campaign archive`: a campaign that is over goes to a folder, and out of Redis.

use serde_json::json;

use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::output::counted;
use super::ArchiveArgs;
use crate::app::archive::{ArchiveError, Archived, Archiver, folder_of, obstacle};
use crate::app::store::Store;
use crate::queue::archive::{self, Found, Leaving};

/// Runs the command.
pub async fn run(args: &ArchiveArgs, context: &Context) -> Result<Exit, CliError> {
    context.with_store(async |store| archive_it(args, store, context).await).await
}

async fn archive_it(args: &ArchiveArgs, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
    let record = match archive::find(&mut store.connection, &args.id).await? {
        Found::Gone(gone) => {
            return say(args, &Archived { folder: gone.folder.into(), rows: None }, context);
        }
        Found::Here(record) => record,
    };
    let place = match &args.output {
        Some(place) => folder_of(place, &record),
        None => context.config.data_dir.join("archive").join(format!("{}-{}", record.id, record.seq)),
    };
    let (folder, goes_on) = match &record.archive {
        Some(Leaving { folder, exported: true }) => (folder.into(), true),
        _ => (place.clone(), false),
    };
    if !goes_on && let Some(obstacle) = obstacle(&mut store.connection, &record).await? {
        return Err(obstacle.into());
    }
    let rows = counted(record.totals().loaded, "message");
    context.out.hint(match goes_on {
        true => format!("campaign {}: exported to {} already; the rest is freed", args.id, folder.display()),
        false => format!(
            "campaign {} ({}): {rows} to {}, then out of Redis",
            args.id,
            record.state,
            folder.display()
        ),
    });
    if args.dry_run {
        if context.out.json {
            context.out.object(&json!({
                "schema": 1, "id": args.id, "folder": folder, "rows": null, "archived": false, "dry_run": true,
            }))?;
        } else {
            context.out.line(format!("campaign {}: would be archived; nothing was changed", args.id))?;
        }
        return Ok(Exit::Done);
    }
    context.confirm(&format!("Archive campaign {}?", args.id), args.yes).await?;
    let table = context.error_table()?;
    let mut archiver = Archiver {
        redis: &mut store.connection,
        installation: &store.installation,
        data_dir: &context.config.data_dir,
        numbers: context.config.numbers.iter().map(|number| number.id.clone()).collect(),
        table: &table,
        journal: &context.config.journal.dir,
        pause: std::time::Duration::ZERO,
    };
    let done = archiver.run(&args.id, &place).await?;
    say(args, &done, context)
}

fn say(args: &ArchiveArgs, done: &Archived, context: &Context) -> Result<Exit, CliError> {
    let folder = done.folder.display();
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": args.id, "folder": done.folder, "rows": done.rows, "archived": true, "dry_run": false,
        }))?;
        return Ok(Exit::Done);
    }
    context.out.line(match done.rows {
        Some(rows) => format!("campaign {}: archived, {} in {folder}", args.id, counted(rows, "row")),
        None => format!("campaign {}: is archived already, in {folder}", args.id),
    })?;
    Ok(Exit::Done)
}

impl From<ArchiveError> for CliError {
    fn from(error: ArchiveError) -> Self {
        let (exit, code) = match error {
            ArchiveError::Queue(error) => return error.into(),
            ArchiveError::Report(error) => return error.into(),
            ArchiveError::NotOver { .. } | ArchiveError::Busy { .. } => (Exit::Usage, "not_now"),
            ArchiveError::Doubted { .. } => (Exit::Refused, "in_doubt"),
            ArchiveError::Taken { .. } => (Exit::Usage, "exists"),
            ArchiveError::Locked { .. } => (Exit::Failed, "locked"),
            ArchiveError::Write { .. } => (Exit::Failed, "unwritable"),
            ArchiveError::Lost { .. } => (Exit::Refused, "archive_lost"),
        };
        Self::new(exit, code, error.to_string())
    }
}
