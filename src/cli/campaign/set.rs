//! `carteiro campaign set ID KEY=VALUE…`: how a campaign is sent, changed while it runs.
//!
//! What is set stands beside the campaign's definition and before it; `KEY=default` takes it away again.

use clap::Args;
use serde_json::json;

use super::super::config::check_campaign;
use super::super::context::{Acknowledged, Context, announce};
use super::super::exit::{CliError, Exit};
use super::verbs::{transition, write};
use super::world::pool;
use crate::app::store::Store;
use crate::domain::campaign::{Campaign, Verb};
use crate::intake::campaign_file::{self, CampaignFileError, Settings};
use crate::queue::campaigns::{self, CampaignRecord, Fields};

/// Arguments of `set`.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// The campaign.
    pub id: String,
    /// priority, pace_share, weight, validity, cap, hours, numbers or stop_if; KEY=default is what the campaign file says.
    #[arg(value_name = "KEY=VALUE", required = true)]
    pub settings: Vec<String>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the command.
pub async fn run(args: &SetArgs, context: &Context) -> Result<Exit, CliError> {
    let changes = args.settings.iter().map(|words| campaign_file::setting(words).map_err(usage));
    let changes: Vec<(String, Option<String>)> = changes.collect::<Result<_, _>>()?;
    context.with_store(async |store| set(args, &changes, store, context).await).await
}

async fn set(
    args: &SetArgs,
    changes: &[(String, Option<String>)],
    store: &mut Store,
    context: &Context,
) -> Result<Exit, CliError> {
    let redis = &mut store.connection;
    let record = campaigns::find(redis, &args.id).await?;
    transition(&record, Verb::Set)?;
    let mut settings: Settings = record.settings.clone();
    let mut fields = Fields::none();
    for (key, value) in changes {
        match value {
            Some(value) => settings.insert(key.clone(), value.clone()),
            None => settings.remove(key),
        };
        fields = fields.setting(key, value.as_deref());
    }
    let campaign = campaign_file::parse_set(&record.definition, &settings, &record.id).map_err(usage)?;
    check_campaign(&campaign, &context.config)?;
    let changed = settings != record.settings;
    let mut heard = Acknowledged::NobodyRuns;
    if !args.dry_run {
        if changed {
            write(redis, &record, &fields).await?;
        }
        // Told in any case: an engine that missed it the first time acknowledges it now.
        heard = announce(redis, &context.config).await?;
    }
    say(
        &Said { record: &record, campaign: &campaign, settings: &settings, changed, dry_run: args.dry_run },
        &heard,
        context,
    )?;
    heard.check()?;
    Ok(Exit::Done)
}

struct Said<'a> {
    record: &'a CampaignRecord,
    campaign: &'a Campaign,
    settings: &'a Settings,
    changed: bool,
    dry_run: bool,
}

fn say(said: &Said<'_>, heard: &Acknowledged, context: &Context) -> Result<(), CliError> {
    let Said { record, campaign, settings, changed, dry_run } = said;
    let (out, id) = (&context.out, &record.id);
    if out.json {
        return out.object(&json!({
            "schema": 1, "id": id, "verb": "set", "state": record.state.as_str(), "settings": settings,
            "changed": changed, "dry_run": dry_run, "node": heard.node(),
            "acknowledged": matches!(heard, Acknowledged::By(_)),
        }));
    }
    let pairs: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pairs = if pairs.is_empty() { "as its file says".to_owned() } else { pairs.join("  ") };
    out.line(match (changed, dry_run) {
        (false, _) => format!("campaign {id}: is so already ({pairs})"),
        (true, true) => format!("campaign {id}: would be {pairs}; nothing was changed"),
        (true, false) => format!("campaign {id}: {pairs}"),
    })?;
    let unlimited = pool(campaign, &context.config).iter().any(|number| number.rate_per_s.is_none());
    if campaign.pace_share_per_mille.is_some() && unlimited {
        out.hint("pace_share has no effect on numbers without a rate");
    }
    Ok(())
}

/// A value that cannot be, as an error of usage: there is no file to name.
fn usage(error: CampaignFileError) -> CliError {
    let CampaignFileError::Invalid(problem) = error else {
        return error.into();
    };
    let message = format!("{}; nothing was changed", problem.message);
    let error = match problem.field.as_str() {
        "" => CliError::usage("bad_setting", message),
        field => CliError::usage("bad_setting", format!("{field}: {message}")).field(field),
    };
    match problem.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
