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
    let rejects = rejects_beside(&args.file, args.rejects.as_deref(), &args.id)?;
    let duplicates = beside(args.duplicates.as_deref(), "--duplicates", || {
        if from_stdin(&args.file) {
            PathBuf::from(format!("{}.duplicates.csv", args.id))
        } else {
            duplicates_beside(&args.file)
        }
    })?;
    if is_input(&args.file, &duplicates) || duplicates == rejects {
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

/// Where rejects go: to the file that was named, else beside the input, else into one of this name.
pub fn rejects_beside(file: &Path, given: Option<&Path>, name: &str) -> Result<PathBuf, CliError> {
    let rejects = beside(given, "--rejects", || {
        if from_stdin(file) {
            PathBuf::from(format!("{name}.rejects.csv"))
        } else {
            RejectWriter::path_beside(file)
        }
    })?;
    let mut kept = rejects.as_os_str().to_owned();
    kept.push("~");
    if is_input(file, &rejects) || is_input(file, Path::new(&kept)) {
        let message =
            format!("the rejects file {} would overwrite the input; nothing was loaded", rejects.display());
        return Err(CliError::usage("rejects_is_input", message)
            .field("--rejects")
            .hint("name another file with --rejects"));
    }
    Ok(rejects)
}

fn from_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn beside(
    given: Option<&Path>,
    option: &str,
    default: impl FnOnce() -> PathBuf,
) -> Result<PathBuf, CliError> {
    match given {
        Some(path) if from_stdin(path) => {
            let message = "rejected and repeated rows hold personal data, so they go to a file and never to standard output";
            let hint = format!("name a file with {option}");
            Err(CliError::usage("usage", message).field(option).hint(hint))
        }
        Some(path) => Ok(path.to_owned()),
        None => Ok(default()),
    }
}

/// Whether a file is the input itself.
fn is_input(input: &Path, other: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    !from_stdin(input) && id(other).is_some() && id(other) == id(input)
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
