//! The recipients of a load: opened, their header checked; and where their rejects and duplicates go.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::exit::CliError;
use super::LoadArgs;
use crate::domain::campaign::Campaign;
use crate::intake::csv::InputError;
use crate::intake::encoding::Encoding;
use crate::intake::reject::RejectWriter;
use crate::intake::rows::{InputFormat, InputOptions, RowSource};

/// How recipients are read.
#[derive(Args, Clone, Debug, Default)]
pub struct InputArgs {
    /// csv, ndjson or xlsx; default: found by the file's beginning.
    #[arg(long)]
    pub format: Option<String>,
    /// utf-8 or windows-1252; default: found by the file's beginning.
    #[arg(long)]
    pub encoding: Option<String>,
    /// Sheet of an XLSX; default: its first.
    #[arg(long)]
    pub sheet: Option<String>,
}

/// Where rejects and duplicates go. They may not overwrite the input, nor push an older rejects file over it.
pub fn paths_beside(args: &LoadArgs) -> Result<(PathBuf, PathBuf), CliError> {
    let from_stdin = args.file == Path::new("-");
    for (given, option) in [(&args.rejects, "--rejects"), (&args.duplicates, "--duplicates")] {
        if given.as_deref() == Some(Path::new("-")) {
            let message = "rejected and repeated rows hold personal data, so they go to a file and never to standard output";
            return Err(CliError::usage("usage", message)
                .field(option)
                .hint(format!("name a file with {option}")));
        }
    }
    let beside = |given: &Option<PathBuf>, end: &str, default: fn(&Path) -> PathBuf| match given {
        Some(path) => path.clone(),
        None if from_stdin => PathBuf::from(format!("{}.{end}", args.id)),
        None => default(&args.file),
    };
    let rejects = beside(&args.rejects, "rejects.csv", RejectWriter::path_beside);
    let duplicates = beside(&args.duplicates, "duplicates.csv", duplicates_beside);
    let same = |one: &Path| {
        let (one, input) = (std::fs::metadata(one).ok()?, std::fs::metadata(&args.file).ok()?);
        ((one.dev(), one.ino()) == (input.dev(), input.ino())).then_some(())
    };
    let mut kept = rejects.as_os_str().to_owned();
    kept.push("~");
    if !from_stdin && (same(&rejects).is_some() || same(Path::new(&kept)).is_some()) {
        let message =
            format!("the rejects file {} would overwrite the input; nothing was loaded", rejects.display());
        return Err(CliError::usage("rejects_is_input", message)
            .field("--rejects")
            .hint("name another file with --rejects"));
    }
    if (!from_stdin && same(&duplicates).is_some()) || duplicates == rejects {
        let message = format!(
            "the duplicates file {} would overwrite the input or the rejects; nothing was loaded",
            duplicates.display()
        );
        return Err(CliError::usage("duplicates_is_input", message)
            .field("--duplicates")
            .hint("name another file with --duplicates"));
    }
    Ok((rejects, duplicates))
}

/// What the arguments say about the input.
pub fn options(args: &InputArgs) -> Result<InputOptions, CliError> {
    let named = |given: &Option<String>, flag: &str, names: &[&str]| {
        let Some(given) = given else { return Ok(None) };
        let found = names.iter().position(|name| *name == given.to_ascii_lowercase());
        let message = || format!("{flag} `{given}` is none of {}", names.join(", "));
        found.map(Some).ok_or_else(|| CliError::usage("usage", message()).field(flag))
    };
    let formats = InputFormat::ALL.map(InputFormat::as_str);
    let encodings = Encoding::ALL.map(Encoding::as_str);
    Ok(InputOptions {
        format: named(&args.format, "--format", &formats)?.map(|at| InputFormat::ALL[at]),
        encoding: named(&args.encoding, "--encoding", &encodings)?.map(|at| Encoding::ALL[at]),
        sheet: args.sheet.clone(),
    })
}

/// Opens the recipients and checks their header.
pub fn open(path: &Path, campaign: &Campaign, options: &InputOptions) -> Result<RowSource, InputError> {
    if path == Path::new("-") {
        RowSource::from_reader(Box::new(io::stdin()), campaign, options)
    } else {
        RowSource::open(path, campaign, options)
    }
}

fn duplicates_beside(input: &Path) -> PathBuf {
    let mut name = input.as_os_str().to_owned();
    name.push(".duplicates.csv");
    name.into()
}
