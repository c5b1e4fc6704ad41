//! `carteiro number|template|account list|pause|resume` and `pause --all`, `resume --all`: stops that cut across
//! campaigns. What they stop stays queued.

use std::collections::{BTreeMap, BTreeSet};

use crate::queue::connection::Connection;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::campaign::world::{World, definition};
use super::context::{Acknowledged, Context, announce};
use super::exit::{CliError, Exit};
use super::output::{Output, Paint, rfc3339};
use crate::config::Config;
use crate::domain::ids::NumberId;
use crate::policy::classify::ErrorTable;
use crate::queue::campaigns;
use crate::queue::halts::{self, Scope, Why};

/// `carteiro number …`, `template …`, `account …`
#[derive(Debug, Subcommand)]
pub enum ScopeCommand {
    /// List them, and what stops them.
    List,
    /// Stop sending; what is queued stays queued.
    Pause(ScopeArgs),
    /// Let it go on, after a pause or after Meta's refusal.
    Resume(ScopeArgs),
}

/// A suggestion must be at least this alike (Jaro-Winkler, 0 to 1).
const ALIKE_MIN: f64 = 0.8;

/// Which one.
#[derive(Args, Clone, Debug)]
pub struct ScopeArgs {
    /// A number's phone_number_id, a template's ACCOUNT/NAME (or NAME alone while there is one), an account's id.
    pub id: String,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Everything.
#[derive(Args, Clone, Debug)]
pub struct AllArgs {
    /// Everything, over all campaigns, numbers and accounts.
    #[arg(long, required = true)]
    pub all: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// What kind of scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sending numbers.
    Number,
    /// Templates.
    Template,
    /// Accounts.
    Account,
}

/// What to do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Stop it.
    Pause,
    /// Let it go on.
    Resume,
}

/// Runs a command on one scope.
pub async fn run(kind: Kind, command: ScopeCommand, context: &Context) -> Result<Exit, CliError> {
    let (change, args) = match command {
        ScopeCommand::List => {
            return context.with_store(async |store| list(kind, context, &mut store.connection).await).await;
        }
        ScopeCommand::Pause(args) => (Change::Pause, args),
        ScopeCommand::Resume(args) => (Change::Resume, args),
    };
    let change_one = async |redis: &mut Connection| {
        let known = known(kind, &context.config, redis).await?;
        let stopped = halts::read(redis).await?;
        let scope = kind.scope(&args.id, &known, &stopped)?;
        apply(change, &scope, &stopped, args.dry_run, redis, context).await
    };
    context.with_store(async |store| change_one(&mut store.connection).await).await
}

/// Runs a command on everything.
pub async fn run_all(change: Change, args: &AllArgs, context: &Context) -> Result<Exit, CliError> {
    let change_all = async |redis: &mut Connection| {
        let stopped = halts::read(redis).await?;
        apply(change, &Scope::App, &stopped, args.dry_run, redis, context).await
    };
    context.with_store(async |store| change_all(&mut store.connection).await).await
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Template => "template",
            Self::Account => "account",
        }
    }

    fn named(self, id: &str) -> Scope {
        match self {
            Self::Number => Scope::Number(NumberId::from(id)),
            Self::Template => Scope::Template(id.to_owned()),
            Self::Account => Scope::Account(id.to_owned()),
        }
    }

    /// The scope that an operator means: a known one, or one that is stopped although nothing knows it any more.
    fn scope(
        self,
        id: &str,
        known: &BTreeSet<String>,
        stopped: &BTreeMap<Scope, Why>,
    ) -> Result<Scope, CliError> {
        if known.contains(id) || stopped.contains_key(&self.named(id)) {
            return Ok(self.named(id));
        }
        // A template's name alone will do while only one account has it.
        let of_template = |known: &&String| {
            self == Self::Template && known.split_once('/').is_some_and(|(_, name)| name == id)
        };
        if let [one] = known.iter().filter(of_template).collect::<Vec<_>>()[..] {
            return Ok(self.named(one));
        }
        let alike = |known: &&String| strsim::jaro_winkler(known, id);
        let near = known
            .iter()
            .filter(|known| alike(known) >= ALIKE_MIN)
            .max_by(|one, other| alike(one).total_cmp(&alike(other)));
        let hint = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!("`carteiro {} list` shows all", self.noun()),
        };
        let message = format!("no {} {id}: {hint}", self.noun());
        Err(CliError::usage("unknown_scope", message).hint(hint))
    }
}

impl Change {
    fn done(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
        }
    }
}

async fn apply(
    change: Change,
    scope: &Scope,
    stopped: &BTreeMap<Scope, Why>,
    dry_run: bool,
    redis: &mut Connection,
    context: &Context,
) -> Result<Exit, CliError> {
    let out = &context.out;
    let before = stopped.get(scope);
    let changes = match change {
        // A pause over Meta's refusal changes who must lift it, so it is written.
        Change::Pause => before != Some(&Why::Operator),
        Change::Resume => before.is_some(),
    };
    if changes && !dry_run {
        match change {
            Change::Pause => halts::stop(redis, scope, &Why::Operator).await?,
            Change::Resume => halts::resume(redis, scope).await?,
        };
    }
    // Told in any case: an engine that missed it the first time acknowledges it now.
    let heard = if dry_run { Acknowledged::NobodyRuns } else { announce(redis, &context.config).await? };
    if out.json {
        out.object(&json!({
            "schema": 1, "scope": scope.to_string(), "paused": change == Change::Pause, "changed": changes,
            "dry_run": dry_run, "node": heard.node(), "acknowledged": matches!(heard, Acknowledged::By(_)),
        }))?;
    } else {
        let name = name(scope);
        out.line(match (changes, dry_run, change) {
            (true, false, _) => format!("{name}: {}", change.done()),
            (true, true, _) => format!("{name}: would be {}; nothing was changed", change.done()),
            (false, _, Change::Pause) => format!("{name}: is paused already"),
            (false, _, Change::Resume) => format!("{name}: is not paused"),
        })?;
    }
    heard.check()?;
    Ok(Exit::Done)
}

fn name(scope: &Scope) -> String {
    match scope {
        Scope::App => "everything".to_owned(),
        other => other.to_string().replacen(':', " ", 1),
    }
}

/// Everything of a kind that the configuration or a campaign names.
async fn known(kind: Kind, config: &Config, redis: &mut Connection) -> Result<BTreeSet<String>, CliError> {
    Ok(match kind {
        Kind::Number => config.numbers.iter().map(|number| number.id.to_string()).collect(),
        Kind::Account => config.accounts.iter().map(|account| account.id.clone()).collect(),
        Kind::Template => {
            let seqs: Vec<_> = campaigns::list(redis).await?.into_iter().map(|(seq, _)| seq).collect();
            let records = campaigns::read_all(redis, &seqs).await?;
            let campaigns = records.iter().filter_map(|record| definition(record).ok());
            campaigns.map(|campaign| format!("{}/{}", campaign.account, campaign.template.name)).collect()
        }
    })
}

async fn list(kind: Kind, context: &Context, redis: &mut Connection) -> Result<Exit, CliError> {
    let world = World::read(redis).await?;
    let mut ids = known(kind, &context.config, redis).await?;
    // What is stopped is shown even if nothing else knows it any more.
    ids.extend(
        world
            .halts
            .keys()
            .filter(|scope| kind.named(bare(scope)) == **scope)
            .map(|scope| bare(scope).to_owned()),
    );
    let table = context.error_table()?;
    for id in ids {
        let row = row(kind, &id, &world, &context.config, &table);
        if context.out.json {
            context.out.object(&row)?;
        } else {
            context.out.line(line(&row, &context.out))?;
        }
    }
    if world.owner.is_none() {
        context.out.hint("no serve is running: nothing is being sent");
    }
    Ok(Exit::Done)
}

fn bare(scope: &Scope) -> &str {
    match scope {
        Scope::Number(id) => &id.0,
        Scope::Template(name) | Scope::Account(name) => name,
        Scope::App => "",
    }
}

fn row(kind: Kind, id: &str, world: &World, config: &Config, table: &ErrorTable) -> Value {
    let why = world.halts.get(&kind.named(id));
    let halted = match why {
        Some(Why::Halted(reason)) => table.reason(*reason),
        _ => None,
    };
    let mut row = json!({
        "schema": 1, "kind": kind.noun(), "id": id, "stopped": why.map(Why::word),
        "reason": halted.map(|row| &row.name), "meaning": halted.map(|row| &row.meaning), "action": halted.map(|row| &row.action),
    });
    match kind {
        Kind::Number => {
            let configured = config.numbers.iter().find(|number| *number.id.0 == *id);
            let shown =
                world.board.as_ref().and_then(|board| board.numbers.iter().find(|number| number.id == id));
            row["account"] = json!(configured.map(|number| &number.account));
            row["limit_per_s"] = json!(configured.and_then(|number| number.rate_per_s));
            row["pace_per_s"] = json!(shown.and_then(|number| number.limit_per_s));
            row["quality"] = json!(shown.and_then(|number| number.quality.as_ref()));
            row["meta_status"] = json!(shown.and_then(|number| number.meta_status.as_ref()));
            row["throughput"] = json!(shown.and_then(|number| number.throughput.as_ref()));
            row["rate_per_s"] = json!(shown.map(|number| number.rate_per_s));
            row["in_flight"] = json!(shown.map(|number| number.in_flight));
            row["node"] = json!(shown.and_then(|number| number.node.as_ref()));
            row["since"] = json!(shown.and_then(|number| number.since_ms).map(rfc3339));
            row["blocked"] = json!(shown.and_then(|number| number.blocked.as_ref()));
            row["blocked_until"] = json!(shown.and_then(|number| number.blocked_until_ms).map(rfc3339));
        }
        Kind::Account => {
            row["numbers"] = json!(config.numbers.iter().filter(|number| number.account == id).count());
        }
        Kind::Template => {}
    }
    row
}

fn line(row: &Value, out: &Output) -> String {
    let text = |key: &str| row[key].as_str();
    let mut line = out.paint(Paint::Bold, text("id").unwrap_or_default());
    if let Some(account) = text("account") {
        line += &format!("  account {account}");
    }
    if let Some(numbers) = row["numbers"].as_u64() {
        line += &format!("  {}", super::output::counted(numbers, "number"));
    }
    if row["kind"] == "number" {
        let limit =
            row["limit_per_s"].as_f64().map_or_else(|| "unlimited".to_owned(), |limit| format!("{limit}/s"));
        line += &format!("  limit {limit}");
    }
    if let Some(pace) = row["pace_per_s"]
        .as_f64()
        .filter(|pace| row["limit_per_s"].as_f64().is_some_and(|limit| *pace < limit))
    {
        line += &out.paint(Paint::Yellow, &format!("  slowed to {pace:.1}/s"));
    }
    if let Some(quality) = text("quality").filter(|quality| *quality != "GREEN") {
        line += &format!("  quality {quality}");
    }
    if let Some(status) = text("meta_status").filter(|status| *status != "CONNECTED") {
        line += &out.paint(Paint::Yellow, &format!("  Meta: {status}"));
    }
    if let Some(rate) = row["rate_per_s"].as_f64() {
        line += &format!("  now {rate:.0}/s  in flight {}", row["in_flight"]);
    }
    if let (Some(node), Some(since)) = (text("node"), text("since")) {
        line += &format!("  owner {node} since {since}");
    }
    if let Some(blocked) = text("blocked") {
        let until = text("blocked_until").map(|until| format!(" until {until}")).unwrap_or_default();
        line += &out.paint(Paint::Yellow, &format!("  blocked: {blocked}{until}"));
    }
    match text("stopped") {
        Some("halted") => {
            let [name, meaning, action] =
                ["reason", "meaning", "action"].map(|key| text(key).unwrap_or("unknown"));
            line += &out.paint(Paint::Red, &format!("  halted: {name}, {meaning}; {action}"));
        }
        Some(stopped) => line += &out.paint(Paint::Yellow, &format!("  {stopped}")),
        None => {}
    }
    line
}
