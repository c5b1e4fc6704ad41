//! `carteiro serve`: runs the engine until it is told to stop.

use clap::Args;

use super::context::Context;
use super::exit::{CliError, Exit};
use crate::app::serve;

/// Arguments of `serve`; everything it needs is in the configuration.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {}

/// Runs the engine. It has threads and runtimes of its own, so it is called outside of any.
pub fn run(_: &ServeArgs, context: Context) -> Result<Exit, CliError> {
    Ok(serve::run(context.config).map(|()| Exit::Done)?)
}
