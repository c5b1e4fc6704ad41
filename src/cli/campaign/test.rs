//! `carteiro campaign test ID --to PHONE`: one real message of the campaign's template to one phone, past the queue.
//!
//! It is counted neither in the campaign nor in the pace of its number, but its person is in the budget of the portfolio. Values come from `--value`, else from the
//! first loaded row, which belongs to somebody else: so it is asked.

use clap::Args;
use serde_json::json;

use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::output::span;
use super::plan::message::{Shown, nobody};
use super::plan::rows::Sample;
use super::world::{definition, pool};
use crate::app;
use crate::app::store::Store;
use crate::cloud::body::Body;
use crate::cloud::single::{self, Answer};
use crate::domain::campaign::Campaign;
use crate::domain::ids::LaneId;
use crate::domain::person::Phone;
use crate::intake::render::RenderChecks;
use crate::policy::classify::{ErrorTable, Kind};
use crate::queue::budget::{self, Standing};
use crate::queue::campaigns::{self, CampaignRecord};
use crate::queue::codec::Chunk;
use crate::queue::lane;

/// Arguments of `test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// The campaign.
    pub id: String,
    /// Who gets it; once more to be sure: it is a real message.
    #[arg(long, value_name = "PHONE")]
    pub to: String,
    /// A value of the template; the others come from the first loaded row. Repeatable.
    #[arg(long, value_name = "NAME=TEXT")]
    pub value: Vec<String>,
    /// The sending number; default: the first of the campaign's.
    #[arg(long, value_name = "ID")]
    pub number: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Show the message, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the command.
pub async fn run(args: &TestArgs, context: &Context) -> Result<Exit, CliError> {
    let phone = Phone::parse(&args.to)
        .map_err(|error| CliError::usage("bad_phone", format!("{error}; nothing was sent")).field("--to"))?;
    let (campaign, values) = context.with_store(async |store| prepare(args, store).await).await?;
    RenderChecks::new(&campaign).check(values.iter().map(String::as_str)).map_err(|misfit| {
        let name = &campaign.variables[misfit.variable].name;
        CliError::usage("bad_value", format!("the value of {name} {}; nothing was sent", misfit.error))
            .field("--value")
    })?;
    let number = sender(args, &campaign, context)?;
    let table = context.error_table()?;
    let shown =
        Shown::new(&campaign, &Sample { line: 0, phone: phone.digits(), values: values.clone() }, None);
    if args.dry_run {
        return would(args, &number, &shown, context);
    }
    context.out.hint(shown.lines().join("\n  | "));
    let question = format!("Send this one real message to {} from {number}?", shown.to);
    context.confirm(&question, args.yes).await?;
    let config = &context.config;
    let account = config.accounts.iter().find(|account| account.id == campaign.account);
    let account = account.ok_or_else(|| {
        CliError::usage(
            "unknown_account",
            format!("account {} is not in the configuration", campaign.account),
        )
    })?;
    context.with_store(async |store| count(&campaign, phone, context, store).await).await?;
    let body = Body::compile(&campaign)
        .render(phone.digits(), &nobody(), |variable| values.get(variable).map_or("", String::as_str));
    let answer = single::send(&config.cloud, &account.token, &number, body, &table).await;
    let answer =
        answer.map_err(|error| CliError::usage("config_invalid", error.to_string()).field("cloud"))?;
    say(args, &number, &shown, &answer, &table, context)
}

/// Counts the person against the budget of the campaign's portfolio, as for every message.
async fn count(
    campaign: &Campaign,
    phone: Phone,
    context: &Context,
    store: &mut Store,
) -> Result<(), CliError> {
    let budgets = app::budget::read(&mut store.connection, &context.config).await?;
    let Some(budget) = budgets.get(&campaign.account) else { return Ok(()) };
    let (standing, counted) = budget::take(&mut store.connection, budget, &[phone.person()]).await?;
    if counted.first().is_some_and(Option::is_some) {
        return Ok(());
    }
    let Standing { used, wait, .. } = standing;
    let message = format!(
        "portfolio {} has written to {used} people in the last {}, as many as it may; nothing was sent",
        budget.portfolio,
        span(budget.terms.window)
    );
    let hint = wait.map_or_else(
        || "raise people_per_day of its [[portfolio]], if Meta has".to_owned(),
        |wait| format!("there is room again in {}", span(wait)),
    );
    Err(CliError::new(Exit::Refused, "budget", message).hint(hint))
}

/// The campaign and a value for each of its variables.
async fn prepare(args: &TestArgs, store: &mut Store) -> Result<(Campaign, Vec<String>), CliError> {
    let record = campaigns::find(&mut store.connection, &args.id).await?;
    let campaign = definition(&record)?;
    let mut given = given(&args.value, &campaign)?;
    if given.iter().any(Option::is_none) {
        let row = first_row(store, &record).await?;
        for (at, value) in given.iter_mut().enumerate().filter(|(_, value)| value.is_none()) {
            let name = &campaign.variables[at].name;
            *value = row.as_ref().and_then(|row| row.get(at).cloned());
            if value.is_none() {
                let message = format!("no row is loaded to take the value of {name} from; nothing was sent");
                return Err(CliError::usage("no_value", message)
                    .field("--value")
                    .hint(format!("add --value {name}=TEXT")));
            }
        }
    }
    Ok((campaign, given.into_iter().flatten().collect()))
}

/// The values that were given, by variable: `NAME=TEXT` as the debtor reads it.
pub(in crate::cli) fn given(words: &[String], campaign: &Campaign) -> Result<Vec<Option<String>>, CliError> {
    let mut given: Vec<Option<String>> = vec![None; campaign.variables.len()];
    for words in words {
        let usage = |message: String| CliError::usage("bad_value", message).field("--value");
        let (name, text) = words
            .split_once('=')
            .ok_or_else(|| usage("a value has no `=`".to_owned()).hint("write --value NAME=TEXT"))?;
        let at = campaign.variables.iter().position(|variable| variable.name == name.trim());
        let at = at.ok_or_else(|| {
            let known: Vec<&str> = campaign.variables.iter().map(|variable| variable.name.as_str()).collect();
            usage("the template has no variable of this name".to_owned())
                .hint(format!("it has {}", known.join(", ")))
        })?;
        given[at] = Some(text.trim().to_owned());
    }
    Ok(given)
}

/// The values of the first loaded row.
async fn first_row(store: &mut Store, record: &CampaignRecord) -> Result<Option<Vec<String>>, CliError> {
    let lanes: Vec<LaneId> = (0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect();
    let counters = lane::counters(&mut store.connection, &lanes).await?;
    let Some((id, _)) = lanes.iter().zip(&counters).find(|(_, one)| one.count > 0) else {
        return Ok(None);
    };
    let (first, packed) = lane::chunk(&mut store.connection, *id, 0).await?;
    let chunk = Chunk::decode(first, &packed).map_err(|error| lane::undecodable(*id, first, &error))?;
    Ok(Some((0..chunk.variables()).map(|variable| chunk.value(0, variable).to_owned()).collect()))
}

/// The number that sends it.
fn sender(args: &TestArgs, campaign: &Campaign, context: &Context) -> Result<String, CliError> {
    let pool = pool(campaign, &context.config);
    let found = match &args.number {
        Some(id) => pool.iter().find(|number| *number.id.0 == **id),
        None => pool.first(),
    };
    found.map(|number| number.id.to_string()).ok_or_else(|| {
        let known: Vec<String> = pool.iter().map(|number| number.id.to_string()).collect();
        let message = format!("campaign {} has no such number; nothing was sent", campaign.id);
        CliError::usage("unknown_number", message)
            .field("--number")
            .hint(format!("it has {}", known.join(", ")))
    })
}

fn would(args: &TestArgs, number: &str, shown: &Shown, context: &Context) -> Result<Exit, CliError> {
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": args.id, "verb": "test", "to": shown.to, "number": number, "sent": false, "dry_run": true,
            "outcome": null, "http_status": null, "wamid": null, "code": null, "name": null, "meaning": null,
            "action": null, "meta_says": null, "message": shown.json(),
        }))?;
    } else {
        for line in shown.lines() {
            context.out.line(format!("  | {line}"))?;
        }
        context.out.line(format!(
            "campaign {}: would send this to {} from {number}; nothing was sent",
            args.id, shown.to
        ))?;
    }
    Ok(Exit::Done)
}

fn say(
    args: &TestArgs,
    number: &str,
    shown: &Shown,
    answer: &Answer,
    table: &ErrorTable,
    context: &Context,
) -> Result<Exit, CliError> {
    let (to, verdict) = (&shown.to, &answer.verdict);
    let sent = matches!(verdict.kind, Kind::Accepted | Kind::Held);
    let row = table.reason(verdict.reason).filter(|_| !sent);
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": args.id, "verb": "test", "to": to, "number": number, "sent": sent, "dry_run": false,
            "outcome": verdict.kind.name(), "http_status": answer.http_status, "wamid": answer.wamid, "code": verdict.code,
            "name": row.map(|row| &row.name), "meaning": row.map(|row| &row.meaning),
            "action": row.map(|row| &row.action), "meta_says": answer.message, "message": shown.json(),
        }))?;
    } else {
        let wamid = answer.wamid.as_deref().unwrap_or("without an id");
        let code = verdict.code.map(|code| format!(" {code}")).unwrap_or_default();
        context.out.line(match row {
            None => format!("campaign {}: {} by Meta for {to}: {wamid}", args.id, verdict.kind.name()),
            Some(row) => format!(
                "campaign {}: {}{code} {}: {}; {}",
                args.id,
                verdict.kind.name(),
                row.name,
                row.meaning,
                row.action
            ),
        })?;
        if let Some(message) = &answer.message {
            context.out.hint(format!("Meta says: {message}"));
        }
    }
    Ok(match verdict.kind {
        Kind::Accepted | Kind::Held => Exit::Done,
        Kind::Doubtful | Kind::Unknown => Exit::Partial,
        _ => Exit::Failed,
    })
}
