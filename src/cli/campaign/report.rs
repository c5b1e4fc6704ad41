//! `carteiro campaign report`: what became of every loaded row, as a file that only its owner reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::output::{count, counted};
use super::ReportArgs;
use crate::app::store::Store;
use crate::domain::campaign::CampaignState;
use crate::domain::record::State;
use crate::policy::classify::ErrorTable;
use crate::queue::campaigns;
use crate::report::{self, ReportPlan, Totals};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that takes its name only when it is whole.
struct Draft {
    path: PathBuf,
    draft: PathBuf,
    kept: bool,
}

/// Runs the command.
pub async fn run(args: &ReportArgs, context: &Context) -> Result<Exit, CliError> {
    context.with_store(async |store| write(args, store, context).await).await
}

async fn write(args: &ReportArgs, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
    let record = campaigns::find(&mut store.connection, &args.id).await?;
    let table = ErrorTable::builtin();
    let plan = ReportPlan {
        installation: &store.installation.name,
        seq: record.seq,
        lanes: record.lanes(),
        cancelled: record.state == CampaignState::Cancelled,
        table: &table,
    };
    if args.output == Path::new("-") {
        let stdout = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
        let totals = report::write(&mut store.connection, &plan, stdout).await?;
        context.out.hint(summary(&args.id, &totals));
        return Ok(Exit::Done);
    }
    let unwritable = |error: io::Error| {
        let message = format!("cannot write {}: {error}", args.output.display());
        CliError::new(Exit::Failed, "unwritable", message).in_file(args.output.display())
    };
    let (draft, file) = Draft::create(&args.output).map_err(unwritable)?;
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
    let totals = report::write(&mut store.connection, &plan, &mut file).await?;
    file.flush().and_then(|()| draft.keep()).map_err(unwritable)?;
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": args.id, "file": args.output, "rows": totals.rows, "states": states(&totals),
        }))?;
    } else {
        context.out.line(format!("{} to {}", summary(&args.id, &totals), args.output.display()))?;
    }
    Ok(Exit::Done)
}

fn states(totals: &Totals) -> Value {
    let states = State::ALL.into_iter().map(|state| (state.as_str().to_owned(), json!(totals.of(state))));
    Value::Object(states.collect::<Map<_, _>>())
}

fn summary(id: &str, totals: &Totals) -> String {
    let states = State::ALL.into_iter().filter(|state| totals.of(*state) > 0);
    let states: Vec<String> =
        states.map(|state| format!("{} {state}", count(totals.of(state)), state = state.as_str())).collect();
    let states = if states.is_empty() { String::new() } else { format!(" ({})", states.join(", ")) };
    format!("campaign {id}: {}{states}", counted(totals.rows, "row"))
}

impl Draft {
    fn create(path: &Path) -> io::Result<(Self, File)> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{:08x}~", rand::random::<u32>()));
        let draft = PathBuf::from(draft);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        Ok((Self { path: path.to_owned(), draft, kept: false }, file))
    }

    fn keep(mut self) -> io::Result<()> {
        fs::rename(&self.draft, &self.path)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    /// An interrupted report leaves nothing half written.
    fn drop(&mut self) {
        if !self.kept {
            drop(fs::remove_file(&self.draft));
        }
    }
}
