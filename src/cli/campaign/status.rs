//! `carteiro campaign status` and `list`: how far campaigns are, once or every second.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::queue::connection::Connection;

use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::output::counted;
use super::StatusArgs;
use super::show::{self, Shown};
use super::world::{View, World};
use crate::clock::{self, Mono};
use crate::domain::ids::CampaignSeq;
use crate::queue::{archive, campaigns};

/// How often `--watch` looks; divided by `time_scale`.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// How often `--watch` prints where nobody can be redrawn for.
const PLAIN_EVERY: u64 = 10;

/// Looks over which a rate is taken.
const RATE_LOOKS: usize = 10;

/// What was still left of each campaign at the last looks.
#[derive(Debug, Default)]
struct History {
    looks: BTreeMap<CampaignSeq, VecDeque<(Mono, u64)>>,
}

/// Runs `status`.
pub async fn run(args: &StatusArgs, context: &Context) -> Result<Exit, CliError> {
    context
        .with_store(async |store| {
            if args.watch {
                watch(args, &mut store.connection, context).await
            } else {
                once(args, &mut store.connection, context).await
            }
        })
        .await
}

/// Runs `list`.
pub async fn list(context: &Context) -> Result<Exit, CliError> {
    context
        .with_store(async |store| {
            let views = views(None, &mut store.connection).await?;
            for view in &views {
                if context.out.json {
                    context.out.object(&show::listed_json(view))?;
                } else {
                    context.out.line(show::listed(view, &context.out))?;
                }
            }
            if views.is_empty() {
                none(&mut store.connection, context).await?;
            }
            Ok(Exit::Done)
        })
        .await
}

/// Says that there is no campaign, and where some may be.
async fn none(redis: &mut Connection, context: &Context) -> Result<(), CliError> {
    context.out.hint(match archive::count(redis).await? {
        0 => "no campaign yet: carteiro campaign create CAMPAIGN.toml".to_owned(),
        archived => format!("no campaign: {} left for an archive", counted(archived, "campaign")),
    });
    Ok(())
}

async fn views(id: Option<&str>, redis: &mut Connection) -> Result<Vec<View>, CliError> {
    let records = match id {
        Some(id) => vec![campaigns::find(redis, id).await?],
        None => {
            let seqs: Vec<CampaignSeq> =
                campaigns::list(redis).await?.into_iter().map(|(seq, _)| seq).collect();
            campaigns::read_all(redis, &seqs).await?
        }
    };
    let mut views = Vec::with_capacity(records.len());
    for record in records {
        views.push(View::read(redis, record, clock::wall().0).await?);
    }
    Ok(views)
}

async fn once(args: &StatusArgs, redis: &mut Connection, context: &Context) -> Result<Exit, CliError> {
    let (world, table) = (World::read(redis).await?, context.error_table()?);
    let views = views(args.id.as_deref(), redis).await?;
    for view in &views {
        let shown = Shown {
            view,
            world: &world,
            table: &table,
            rate_per_s: view.rate_per_s(&world),
            now: clock::wall(),
        };
        if context.out.json {
            context.out.object(&shown.json())?;
        } else {
            context.out.line(shown.block(&context.out))?;
        }
    }
    if views.is_empty() {
        none(redis, context).await?;
    }
    Ok(Exit::Done)
}

async fn watch(args: &StatusArgs, redis: &mut Connection, context: &Context) -> Result<Exit, CliError> {
    let (out, table) = (&context.out, context.error_table()?);
    let mut ticks = tokio::time::interval(WATCH_PERIOD / context.config.time_scale.max(1));
    let (mut history, mut drawn_lines, mut looks) = (History::default(), 0, 0u64);
    loop {
        ticks.tick().await;
        let world = World::read(redis).await?;
        let views = views(args.id.as_deref(), redis).await?;
        let over = views.iter().all(View::over);
        let mut blocks = Vec::new();
        for view in &views {
            // What was counted is better than what the engine says: it is this campaign's alone.
            let rate_per_s = history.rate_per_s(view, clock::mono()).or_else(|| view.rate_per_s(&world));
            let shown = Shown { view, world: &world, table: &table, rate_per_s, now: clock::wall() };
            if out.json {
                out.object(&shown.json())?;
            } else if out.to_terminal() {
                blocks.push(shown.block(out));
            } else if over || looks.is_multiple_of(PLAIN_EVERY) {
                out.line(shown.line())?;
            }
        }
        if out.to_terminal() && !out.json {
            let text = blocks.join("\n") + "\n";
            let back = if drawn_lines > 0 { format!("\x1b[{drawn_lines}A\x1b[J") } else { String::new() };
            out.raw(&format!("{back}{text}"))?;
            drawn_lines = text.matches('\n').count();
        }
        if over {
            return Ok(Exit::Done);
        }
        looks += 1;
    }
}

impl History {
    /// Messages a second that were dealt with over the last looks; None at the first.
    fn rate_per_s(&mut self, view: &View, now: Mono) -> Option<f64> {
        let looks = self.looks.entry(view.record.seq).or_default();
        // Dealt with is what is there and not left; a load that goes on adds to both.
        looks.push_back((now, view.counters.count - view.left()));
        if looks.len() > RATE_LOOKS {
            looks.pop_front();
        }
        let ((from, before), (to, after)) = (*looks.front()?, *looks.back()?);
        let seconds = to.since(from).as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a rate to be shown")]
        let done = after.saturating_sub(before) as f64;
        (seconds > 0.0).then(|| done / seconds)
    }
}
