//! `carteiro redis accept`: an operator says that Redis is right as it is, although it is not as far as it was.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::Context;
use super::exit::{CliError, Exit};
use crate::app::mark;
use crate::policy::mark::judge;
use crate::queue::{campaigns, guard};

/// `carteiro redis …`
#[derive(Debug, Subcommand)]
pub enum RedisCommand {
    /// Accept a Redis that was emptied, restored or exchanged, so that sending goes on.
    #[command(after_help = super::examples::REDIS_ACCEPT)]
    Accept(AcceptArgs),
}

/// Arguments of `accept`.
#[derive(Args, Clone, Debug)]
pub struct AcceptArgs {
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Say what is wrong with Redis, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
pub async fn run(command: RedisCommand, context: &Context) -> Result<Exit, CliError> {
    let RedisCommand::Accept(args) = command;
    let known = mark::load(&context.config.data_dir)
        .map_err(|error| CliError::new(Exit::Failed, "redis_mark", error.to_string()).field("data_dir"))?;
    let problem = context
        .with_store(async |store| {
            Ok(judge(&known, &guard::read(&mut store.connection, &known.folder).await?).err())
        })
        .await?
        .map(|problem| problem.to_string());
    let asks = !args.dry_run && !args.yes;
    match &problem {
        Some(why) => {
            context.out.about_to(format!("Redis is not as far as it was: {why}."), asks);
            let what = "What was sent since it was like this, it does not know, and will be sent again unless you \
                        cancel those campaigns first.";
            context.out.about_to(what, asks);
        }
        None => context.out.about_to("Redis is as far as it was known to be on this machine.", asks),
    }
    if !args.dry_run {
        context.confirm("Accept this Redis as it is?", args.yes).await?;
        context
            .with_store(async |store| {
                guard::accept(&mut store.connection).await?;
                campaigns::announce(&mut store.connection).await?;
                Ok(())
            })
            .await?;
    }
    if context.out.json {
        let (changed, dry_run) = (true, args.dry_run);
        context
            .out
            .object(&json!({"schema": 1, "problem": problem, "changed": changed, "dry_run": dry_run}))?;
    } else if args.dry_run {
        context.out.line("redis: would be accepted as it is; nothing was changed")?;
    } else {
        context.out.line("redis: accepted as it is; running processes go on within some seconds")?;
    }
    Ok(Exit::Done)
}
