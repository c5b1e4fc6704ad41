//! `carteiro man`: the manual, one page for the program and one for each command, in the format of man(1).
//!
//! The pages are made from the same words as `--help`, so they cannot tell anything else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use super::Cli;
use super::exit::{CliError, Exit};
use super::output::{Output, counted};

/// Which pages, and where to.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// The command whose page is printed, such as campaign load; default: the program's.
    #[arg(value_name = "COMMAND", conflicts_with = "output")]
    pub words: Vec<String>,
    /// Write every page to this folder instead of printing one.
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &ManArgs, out: Output) -> Result<Exit, CliError> {
    let mut all = Cli::command();
    all.build();
    if let Some(folder) = &args.output {
        let pages = write_all(&all, folder)?;
        if out.json {
            out.object(&json!({"schema": 1, "folder": folder, "pages": pages}))?;
        } else {
            out.line(format!("{} in {}", counted(pages, "page"), folder.display()))?;
        }
        return Ok(Exit::Done);
    }
    let mut command = &all;
    for word in &args.words {
        command = command.find_subcommand(word).ok_or_else(|| {
            CliError::usage(
                "usage",
                format!("{} has no command {word:?}", command.get_bin_name().unwrap_or("carteiro")),
            )
            .hint("`carteiro --help` shows all")
        })?;
    }
    out.raw(&page(command).map_err(|error| CliError::new(Exit::Failed, "failed", error.to_string()))?)?;
    Ok(Exit::Done)
}

/// Writes the page of a command and of all below it. Returns how many.
fn write_all(command: &clap::Command, folder: &Path) -> Result<u64, CliError> {
    let failed = |error: io::Error| {
        let message = format!("cannot write the manual to {}: {error}", folder.display());
        CliError::new(Exit::Failed, "unwritable", message).in_file(folder.display())
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut pages = 0;
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        let path = folder.join(format!("{}.1", name(command)));
        page(command).and_then(|text| fs::write(path, text)).map_err(failed)?;
        pages += 1;
        left.extend(command.get_subcommands().filter(|below| below.get_name() != "help"));
    }
    Ok(pages)
}

/// `carteiro-campaign-load`
fn name(command: &clap::Command) -> String {
    command.get_bin_name().unwrap_or_else(|| command.get_name()).replace(' ', "-")
}

fn page(command: &clap::Command) -> io::Result<String> {
    let mut text = Vec::new();
    Man::new(command.clone()).title(name(command)).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
