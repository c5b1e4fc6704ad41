//! `carteiro recipients generate`: invented recipients for trials. Nobody real is meant.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{CliError, Exit};
use super::output::{Output, count};
use crate::intake::generate::{Generated, Plan, generate};

/// `carteiro recipients …`
#[derive(Debug, Subcommand)]
pub enum RecipientsCommand {
    /// Write invented Brazilian debtors of all 27 states as CSV. The same seed writes the same file.
    #[command(after_help = super::examples::GENERATE)]
    Generate(GenerateArgs),
}

/// What to write.
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// Rows, duplicates and bad ones included.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub count: u64,
    /// Another seed, other people.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Share of rows that repeat an earlier person, 0 to 0.5.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub duplicates: f64,
    /// Share of rows that every ready campaign rejects, 0 to 0.5.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub bad: f64,
    /// Where to write; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

/// Runs the command.
pub fn run(command: &RecipientsCommand, out: Output) -> Result<Exit, CliError> {
    let RecipientsCommand::Generate(args) = command;
    let plan = Plan { count: args.count, seed: args.seed, duplicates: args.duplicates, bad: args.bad };
    let to_stdout = args.output == Path::new("-");
    let done = if to_stdout {
        let mut stdout = io::stdout().lock();
        generate(&mut stdout, &plan)?
    } else {
        write_file(&args.output, &plan)?
    };
    let Generated { rows, unique, duplicates, bad } = done;
    if out.json && !to_stdout {
        out.object(&json!({
            "schema": 1, "file": args.output, "rows": rows, "unique": unique, "duplicates": duplicates, "bad": bad,
        }))?;
    } else {
        let [rows, unique, duplicates, bad] = [rows, unique, duplicates, bad].map(count);
        out.hint(format!("{rows} rows: {unique} people, {duplicates} duplicates, {bad} bad"));
    }
    Ok(Exit::Done)
}

fn write_file(path: &Path, plan: &Plan) -> Result<Generated, CliError> {
    let failed = |error: io::Error| {
        let message = format!("cannot write {}: {error}", path.display());
        CliError::new(Exit::Failed, "unwritable", message).in_file(path.display())
    };
    // A plan that cannot be is refused before a file is touched.
    generate(&mut io::sink(), &Plan { count: plan.count.min(1), ..*plan })?;
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let done = generate(&mut file, plan)?;
    file.flush().map_err(failed)?;
    Ok(done)
}
