//! `carteiro completions bash|zsh|fish`: what a shell needs to complete commands and options.
//!
//! It knows the command line alone; it asks neither Redis nor the configuration, so ids are typed by hand.

use clap::{Args, CommandFactory, ValueEnum};

use super::Cli;
use super::exit::{CliError, Exit};
use super::output::Output;

/// Which shell.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "bash|zsh|fish", hide_possible_values = true)]
    pub shell: Shell,
}

/// The shells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// Runs the command.
pub fn run(args: &CompletionsArgs, out: Output) -> Result<Exit, CliError> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "carteiro", &mut text);
    out.raw(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Done)
}
