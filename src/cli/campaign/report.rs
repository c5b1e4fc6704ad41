//! `carteiro campaign report`: what became of every loaded row, as a file that only its owner reads.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::output::{count, counted};
use super::ReportArgs;
use super::world::definition;
use crate::app::store::Store;
use crate::domain::campaign::CampaignState;
use crate::domain::record::State;
use crate::intake::guards::Erased;
use crate::intake::lanes::Lanes;
use crate::journal;
use crate::queue::{campaigns, erasure};
use crate::report::{
    self, CsvSink, ExcelSink, Exported, Original, ParquetSink, ReportError, ReportPlan, Sink, Sources, Totals,
};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that takes its name only when it is whole.
struct Draft {
    path: PathBuf,
    draft: PathBuf,
    kept: bool,
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// Runs the command.
pub async fn run(args: &ReportArgs, context: &Context) -> Result<Exit, CliError> {
    let format = format(args)?;
    context.with_store(async |store| write(args, format, store, context).await).await
}

fn format(args: &ReportArgs) -> Result<Format, CliError> {
    let by_name = || match args.output.extension().is_some_and(|end| end.eq_ignore_ascii_case("parquet")) {
        true => Format::Parquet,
        false => Format::Csv,
    };
    let format = args.format.unwrap_or_else(by_name);
    if args.excel_br && format == Format::Parquet {
        let message = "--excel-br is a kind of CSV, and this report is Parquet; nothing was written";
        return Err(CliError::usage("usage", message).hint("leave one of them out"));
    }
    Ok(format)
}

async fn write(
    args: &ReportArgs,
    format: Format,
    store: &mut Store,
    context: &Context,
) -> Result<Exit, CliError> {
    let record = campaigns::find(&mut store.connection, &args.id).await?;
    let campaign = definition(&record)?;
    let table = context.error_table()?;
    let installation = store.installation.clone();
    let erased = Erased::new(erasure::all(&mut store.connection).await?, installation.key);
    let plan = ReportPlan {
        installation: &installation.name,
        seq: record.seq,
        lanes: record.lanes(),
        cancelled: record.state == CampaignState::Cancelled,
        table: &table,
        erased: Some(&erased),
    };
    let lanes = Lanes::frozen(record.expected, &record.slices);
    let original = match (&args.join, &lanes) {
        (Some(file), Some(lanes)) => {
            Some(Original { file, campaign: &campaign, lanes, key: installation.key })
        }
        (Some(_), None) => {
            let message = format!("campaign {} has no rows yet: there is nothing to join with", args.id);
            return Err(CliError::usage("not_loaded", message));
        }
        (None, _) => None,
    };
    let to_stdout = args.output == Path::new("-");
    let folder = args.output.parent().filter(|folder| !to_stdout && !folder.as_os_str().is_empty());
    let folder =
        folder.map_or_else(|| if to_stdout { env::temp_dir() } else { PathBuf::from(".") }, Path::to_owned);
    // Without a single file there is no journal to speak of: the number of the lane is better than nothing.
    let journal = Some(context.config.journal.dir.as_path()).filter(|dir| journal::holds_attempts(dir));
    let sources = Sources { journal, original, spill: &folder };
    let connection = &mut store.connection;
    if to_stdout {
        let mut sink = sink(args, format, BufWriter::with_capacity(BUFFER_BYTES, io::stdout()))?;
        let exported = report::export(connection, &plan, &sources, sink.as_mut()).await?;
        context.out.hint(summary(&args.id, &exported));
        hints(&exported, context);
        return Ok(Exit::Done);
    }
    let unwritable = |error: io::Error| {
        let message = format!("cannot write {}: {error}", args.output.display());
        CliError::new(Exit::Failed, "unwritable", message).in_file(args.output.display())
    };
    let (draft, file) = Draft::create(&args.output).map_err(unwritable)?;
    let mut sink = sink(args, format, BufWriter::with_capacity(BUFFER_BYTES, file))?;
    let exported = report::export(connection, &plan, &sources, sink.as_mut()).await?;
    draft.keep().map_err(unwritable)?;
    say(args, &exported, context)
}

fn sink<'a>(
    args: &ReportArgs,
    format: Format,
    out: impl Write + Send + 'a,
) -> Result<Box<dyn Sink + 'a>, CliError> {
    Ok(match format {
        Format::Parquet => Box::new(ParquetSink::new(out)),
        Format::Csv if args.excel_br => Box::new(ExcelSink::new(out).map_err(ReportError::Write)?),
        Format::Csv => Box::new(CsvSink::new(out)),
    })
}

fn say(args: &ReportArgs, exported: &Exported, context: &Context) -> Result<Exit, CliError> {
    let Exported { totals, joined, duplicates, rejected, not_loaded, .. } = exported;
    if context.out.json {
        let of_join = |rows: &u64| args.join.as_ref().map(|_| *rows);
        context.out.object(&json!({
            "schema": 1, "id": args.id, "file": args.output, "rows": totals.rows, "states": states(totals),
            "joined": of_join(joined), "duplicate": of_join(duplicates), "rejected": of_join(rejected),
            "not_loaded": of_join(not_loaded), "journal": exported.journal.is_some(),
            "journal_entries": exported.journal.as_ref().map(|scanned| scanned.entries),
        }))?;
    } else {
        context.out.line(format!("{} to {}", summary(&args.id, exported), args.output.display()))?;
        if args.join.is_some() {
            let [joined, duplicates, rejected, not_loaded] =
                [joined, duplicates, rejected, not_loaded].map(|rows| count(*rows));
            context.out.line(format!(
                "  of the file: {joined} loaded, {duplicates} duplicate, {rejected} rejected, {not_loaded} not loaded"
            ))?;
        }
    }
    hints(exported, context);
    Ok(Exit::Done)
}

fn hints(exported: &Exported, context: &Context) {
    let dir = context.config.journal.dir.display();
    match &exported.journal {
        None => context.out.hint(format!(
            "there is no journal in {dir}: wamid and times are empty, and the number is the one planned"
        )),
        // The file that is being written may end in the middle of a frame.
        Some(scanned) if scanned.torn.len() > 1 => context.out.hint(format!(
            "{} in {dir} end in damage; what stood behind it is missing here",
            counted(scanned.torn.len() as u64, "journal file")
        )),
        Some(_) => {}
    }
}

fn states(totals: &Totals) -> Value {
    let states = State::ALL.into_iter().map(|state| (state.as_str().to_owned(), json!(totals.of(state))));
    Value::Object(states.collect::<Map<_, _>>())
}

fn summary(id: &str, exported: &Exported) -> String {
    let totals = &exported.totals;
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
