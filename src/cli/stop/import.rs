//! `carteiro stop import`: the people or the debts of a CSV file into the stop list, a thousand to an entry of its log.
//!
//! The header is read before anything is changed. What is in the list already is passed over, so a file that broke off is
//! simply imported again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args;
use serde_json::json;

use super::{account_for, day, first_day, kinds, scope};
use crate::app::stops;
use crate::app::store::Store;
use crate::cli::campaign::input::{InputArgs, options, rejects_beside};
use crate::cli::campaign::meter::Meter;
use crate::cli::context::{Acknowledged, Context, announce};
use crate::cli::exit::{CliError, Exit};
use crate::cli::output::{Paint, count, counted};
use crate::clock::{self, Mono};
use crate::domain::person::PersonKey;
use crate::domain::stop::{StopDay, StopKind};
use crate::intake::csv::stops::{StopColumns, StopOutcome, StopReader, StopWho};
use crate::intake::load::Progress;
use crate::intake::reject::{RejectError, RejectWriter};
use crate::queue::connection::Connection;
use crate::queue::stops::{BATCH_MAX, Batch, Op, StopList, Who, follow, log};

/// Arguments of `import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// The CSV file; - is standard input.
    pub file: PathBuf,
    /// Why they are not to be written to.
    #[arg(long, value_parser = kinds())]
    pub kind: StopKind,
    /// The account, which is one creditor, that it holds for; default: all, or for debts and exemptions the only one.
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// The first day of rows of a do_not_contact that name none, in Brasília, as 2026-12-31; default: at once.
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub from: Option<StopDay>,
    /// Days from the day of a row until it holds, such as 30 after a registration.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub days_after: u16,
    /// The column of phones; default: phone, telefone or celular.
    #[arg(long, value_name = "NAME", conflicts_with = "ref_column")]
    pub phone_column: Option<String>,
    /// The column of references of debts; default: ref, contrato or referencia.
    #[arg(long, value_name = "NAME")]
    pub ref_column: Option<String>,
    /// The column of first days; default: from or vigencia, if there is one.
    #[arg(long, value_name = "NAME")]
    pub from_column: Option<String>,
    /// utf-8 or windows-1252; default: found by the file's beginning.
    #[arg(long)]
    pub encoding: Option<String>,
    /// Where rejected rows go; default: beside the file, with .rejects.csv at the end.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Check every row, and import nothing.
    #[arg(long)]
    pub dry_run: bool,
}

type Reader = StopReader<Box<dyn Read>>;

/// What is imported, and how far it got.
struct Import<'a> {
    args: &'a ImportArgs,
    account: Option<Box<str>>,
    list: StopList,
    pending: Who,
    rows: u64,
    new: u64,
    known: u64,
    rejected: u64,
    reasons: BTreeMap<&'static str, u64>,
    version: Option<u64>,
}

/// Runs the command.
pub(super) async fn run(args: &ImportArgs, context: &Context) -> Result<Exit, CliError> {
    let account = account_for(args.kind, args.account.as_deref(), &context.config)?;
    let (columns, begun) = (columns(args)?, clock::mono());
    let rejects = rejects_beside(&args.file, args.rejects.as_deref(), "stops")?;
    let encoding = options(&InputArgs { encoding: args.encoding.clone(), ..InputArgs::default() })?.encoding;
    let in_file = |error: CliError| error.in_file(args.file.display());
    let (source, size) = open(&args.file).map_err(|error| in_file(unreadable(&error)))?;
    let reader = StopReader::new(source, encoding, &columns).map_err(|error| in_file(error.into()))?;
    context
        .with_store(async |store| {
            let list = stops::list(store, 0);
            follow::load(&mut store.connection, &list).await?;
            let debts = args.kind.is_of_debt();
            let mut import = Import {
                args,
                account,
                list,
                pending: if debts { Who::Debts(Vec::new()) } else { Who::People(Vec::new()) },
                rows: 0,
                new: 0,
                known: 0,
                rejected: 0,
                reasons: BTreeMap::new(),
                version: None,
            };
            let mut meter = Meter::new(&context.out, size, context.config.time_scale);
            let writer = RejectWriter::new(rejects, reader.layout().clone());
            let path = import.read(reader, writer, &mut meter, store).await.map_err(broken_off)?;
            meter.finish();
            import.end(path.as_deref(), begun, store, context).await
        })
        .await
}

impl Import<'_> {
    async fn read(
        &mut self,
        mut reader: Reader,
        mut writer: RejectWriter,
        meter: &mut Meter,
        store: &mut Store,
    ) -> Result<Option<PathBuf>, CliError> {
        let progress = Progress::default();
        while let Some(row) = reader.next_row()? {
            self.rows += 1;
            match row {
                StopOutcome::Stop(who, from) => self.take(who, from),
                StopOutcome::Reject(reject) => {
                    self.rejected += 1;
                    *self.reasons.entry(reject.reason_code()).or_default() += 1;
                    if !self.args.dry_run {
                        writer.write(&reject).map_err(|error| unwritable(&error))?;
                    }
                }
            }
            if self.pending.len() == BATCH_MAX {
                self.flush(&mut store.connection).await?;
            }
            // Also a place where Ctrl-C is heard, whatever the rows are.
            if self.rows.is_multiple_of(BATCH_MAX as u64) {
                progress.rows.store(self.rows, Ordering::Relaxed);
                progress.bytes.store(reader.bytes_read(), Ordering::Relaxed);
                tokio::select! {
                    biased;
                    () = meter.tick() => meter.show(&progress),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        self.flush(&mut store.connection).await?;
        writer.finish().map_err(|error| unwritable(&error))
    }

    /// Puts a row into the list of this process, and among those to be written if it says something new. An earlier day
    /// stays: what is stopped already is not let go by a file.
    fn take(&mut self, who: StopWho<'_>, from: StopDay) {
        let one = match who {
            StopWho::Person(person) => {
                let rules = self.list.of_person(person);
                let known = rules.iter().any(|(kind, account, known)| {
                    *kind == self.args.kind && *account == self.account && *known <= from
                });
                (!known).then(|| Who::People(vec![(person, from)]))
            }
            StopWho::Debt(reference) => {
                let hash = self.list.debt_hash(self.account.as_deref().unwrap_or_default(), reference);
                (!self.list.has_debt(hash, self.args.kind)).then(|| Who::Debts(vec![hash]))
            }
        };
        let Some(one) = one else {
            self.known += 1;
            return;
        };
        self.new += 1;
        match (&mut self.pending, &one) {
            (Who::People(all), Who::People(one)) => all.extend_from_slice(one),
            (Who::Debts(all), Who::Debts(one)) => all.extend_from_slice(one),
            _ => {}
        }
        self.list.apply(&self.batch(one));
    }

    fn batch(&self, who: Who) -> Batch {
        Batch { op: Op::Add, kind: self.args.kind, account: self.account.clone(), who }
    }

    async fn flush(&mut self, redis: &mut Connection) -> Result<(), CliError> {
        let empty = match &self.pending {
            Who::Debts(_) => Who::Debts(Vec::with_capacity(BATCH_MAX)),
            _ => Who::People(Vec::<(PersonKey, StopDay)>::with_capacity(BATCH_MAX)),
        };
        let full = std::mem::replace(&mut self.pending, empty);
        if !full.is_empty() && !self.args.dry_run {
            self.version = Some(log::append(redis, &self.batch(full), clock::wall().0).await?);
        }
        Ok(())
    }

    async fn end(
        &self,
        rejects: Option<&Path>,
        begun: Mono,
        store: &mut Store,
        context: &Context,
    ) -> Result<Exit, CliError> {
        let redis = &mut store.connection;
        let heard = if self.args.dry_run {
            Acknowledged::NobodyRuns
        } else {
            let heard = announce(redis, &context.config).await?;
            self.compact(redis).await?;
            heard
        };
        self.say(rejects, begun, &heard, context)?;
        heard.check()?;
        Ok(if self.rejected > 0 { Exit::Partial } else { Exit::Done })
    }

    /// A log that became long is replaced by a base at once: where no engine runs, nobody else would do it.
    async fn compact(&self, redis: &mut Connection) -> Result<(), CliError> {
        if log::length(redis).await? > follow::LOG_MAX {
            follow::advance(redis, &self.list).await?;
            follow::compact(redis, &self.list, rand::random(), clock::wall().0).await?;
        }
        Ok(())
    }

    fn say(
        &self,
        rejects: Option<&Path>,
        begun: Mono,
        heard: &Acknowledged,
        context: &Context,
    ) -> Result<(), CliError> {
        let (out, dry_run) = (&context.out, self.args.dry_run);
        let elapsed_ms = u64::try_from(clock::mono().since(begun).as_millis()).unwrap_or(u64::MAX);
        if out.json {
            return out.object(&json!({
                "schema": 1, "verb": "import", "kind": self.args.kind.as_str(), "account": self.account,
                "rows": self.rows, "new": self.new, "known": self.known, "rejected": self.rejected,
                "reasons": self.reasons, "rejects_file": rejects, "version": self.version, "dry_run": dry_run,
                "node": heard.node(), "acknowledged": matches!(heard, Acknowledged::By(_)), "elapsed_ms": elapsed_ms,
            }));
        }
        let [new, known, rejected] = [self.new, self.known, self.rejected].map(count);
        let rows = counted(self.rows, "row");
        let (added, end) = if dry_run { ("would be added", "; nothing was changed") } else { ("added", "") };
        let holds = scope(self.args.kind, self.account.as_deref(), StopDay::AT_ONCE);
        out.line(format!("{holds}: {rows}, {new} {added}, {known} known, {rejected} rejected{end}"))?;
        for (reason, rows) in &self.reasons {
            out.line(format!("  {} {reason}", out.paint(Paint::Yellow, &count(*rows))))?;
        }
        if let Some(path) = rejects {
            out.line(format!("rejects: {}", path.display()))?;
            out.hint("correct them there and import that file");
        }
        if self.rows == 0 {
            out.hint("the file has a header and no rows: was its export empty?");
        }
        Ok(())
    }
}

fn columns(args: &ImportArgs) -> Result<StopColumns, CliError> {
    let (debts, later) = (args.kind.is_of_debt(), args.kind.may_begin_later());
    let refused = |field: &str, why: &str| {
        let message = format!("{} {why}; nothing was changed", args.kind.as_str());
        Err(CliError::usage("usage", message).field(field))
    };
    let otherwise = first_day(args.kind, args.from)?;
    if !later && args.from_column.is_some() {
        return refused("--from-column", "holds at once and has no first day");
    }
    if !later && args.days_after > 0 {
        return refused("--days-after", "holds at once and has no first day");
    }
    if debts && args.phone_column.is_some() {
        return refused("--phone-column", "speaks of debts: name their column with --ref-column");
    }
    if !debts && args.ref_column.is_some() {
        return refused("--ref-column", "speaks of people: name their column with --phone-column");
    }
    Ok(StopColumns {
        debts,
        subject: args.phone_column.clone().or_else(|| args.ref_column.clone()),
        day: args.from_column.clone(),
        may_begin_later: later,
        otherwise,
        days_after: args.days_after,
    })
}

fn open(path: &Path) -> io::Result<(Box<dyn Read>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

fn unreadable(error: &io::Error) -> CliError {
    CliError::usage("unreadable", format!("cannot read the stops: {error}; nothing was changed"))
}

fn unwritable(error: &RejectError) -> CliError {
    CliError::new(Exit::Failed, "rejects_unwritable", error.to_string())
}

/// What is wrong now came after stops were added.
fn broken_off(error: CliError) -> CliError {
    let exit = if error.exit == Exit::Usage { Exit::Failed } else { error.exit };
    let hint = "what was added until then holds; importing the same file again adds only what is missing";
    CliError { exit, ..error }.hint(hint)
}
