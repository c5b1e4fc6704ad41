//! `carteiro campaign create`: a campaign file, checked against the configuration, becomes a draft.

use serde_json::json;

use super::super::config::check_campaign;
use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::CreateArgs;
use crate::app::media::{self, Uploader};
use crate::app::store::Store;
use crate::clock;
use crate::domain::campaign::CampaignState;
use crate::intake::campaign_file;
use crate::queue::{QueueError, campaigns};

/// Runs the command.
pub async fn run(args: &CreateArgs, context: &Context) -> Result<Exit, CliError> {
    let (text, file) = campaign_file::read_text(&args.file)?;
    let campaign = campaign_file::parse(&text, &file)?;
    check_campaign(&campaign, &context.config).map_err(|error| error.in_file(&file))?;
    let id = campaign.id.as_str();
    let document =
        media::fixed_file(&campaign, &args.file).map_err(|error| CliError::from(error).in_file(&file))?;
    if args.dry_run {
        return say(context, id, None, Created::Would);
    }
    context
        .with_store(async |store| {
            if let Some(document) = &document {
                // Before the campaign is there: without its document it could not be sent.
                let uploader = Uploader::new(&context.config, &campaign)?;
                uploader.ensure(&mut store.connection, document).await?;
            }
            let done = create(context, store, id, &text).await?;
            if let Some(document) = &document {
                let record = campaigns::find(&mut store.connection, id).await?;
                let uploader = Uploader::new(&context.config, &campaign)?;
                media::fix(&mut store.connection, &uploader, &record, document).await?;
            }
            Ok(done)
        })
        .await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Created {
    Yes,
    Already(CampaignState),
    Would,
}

async fn create(context: &Context, store: &mut Store, id: &str, text: &str) -> Result<Exit, CliError> {
    match campaigns::create(&mut store.connection, id, text, clock::wall().0).await {
        Ok(seq) => say(context, id, Some(seq.0), Created::Yes),
        Err(QueueError::CampaignExists(_)) => {
            let record = campaigns::find(&mut store.connection, id).await?;
            if record.definition == text {
                return say(context, id, Some(record.seq.0), Created::Already(record.state));
            }
            let message =
                format!("campaign {id} exists already, created from another text; it was not changed");
            let hint = "give the new one another `id`";
            Err(CliError::usage("campaign_exists", message).field("id").hint(hint))
        }
        Err(error) => Err(error.into()),
    }
}

fn say(context: &Context, id: &str, seq: Option<u32>, created: Created) -> Result<Exit, CliError> {
    let state = match created {
        Created::Already(state) => state,
        Created::Yes | Created::Would => CampaignState::Draft,
    };
    if context.out.json {
        context.out.object(&json!({
            "schema": 1, "id": id, "seq": seq, "state": state.as_str(), "created": created == Created::Yes,
            "dry_run": created == Created::Would,
        }))?;
        return Ok(Exit::Done);
    }
    context.out.line(match created {
        Created::Yes => format!("campaign {id}: created"),
        Created::Already(state) => format!("campaign {id}: exists already, from this very file ({state})"),
        Created::Would => format!("campaign {id}: is valid and would be created; nothing was changed"),
    })?;
    if created == Created::Yes {
        context.out.hint(format!("next: carteiro campaign load {id} FILE.csv"));
    }
    Ok(Exit::Done)
}
