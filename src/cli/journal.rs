//! `carteiro journal show`: what the journal says, entry by entry, as text or NDJSON.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::Context;
use super::exit::{CliError, Exit};
use super::output::{Output, Paint, counted};
use crate::clock;
use crate::domain::ids::CampaignSeq;
use crate::journal::{self, Entry, Wanted};
use crate::queue::{archive, campaigns};

/// `carteiro journal …`
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Print its entries, oldest file first.
    Show(ShowArgs),
}

/// Which entries.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Of this campaign only, and what was done to it.
    #[arg(long, value_name = "ID")]
    pub campaign: Option<String>,
    /// Not older than this: a time span such as 24h, or a time as 2026-11-22T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what people did.
    #[arg(long)]
    pub actions: bool,
}

/// Runs the command.
pub async fn run(command: &JournalCommand, context: &Context) -> Result<Exit, CliError> {
    let JournalCommand::Show(args) = command;
    let since_ms = args.since.as_deref().map(|text| since(text, clock::wall().0)).transpose()?.unwrap_or(0);
    let campaign = match &args.campaign {
        // What was sent months ago is asked of campaigns that are archived.
        Some(id) => Some(
            context
                .with_store(async |store| match archive::gone(&mut store.connection, id).await? {
                    Some(gone) => Ok(gone.seq),
                    None => Ok(campaigns::find(&mut store.connection, id).await?.seq),
                })
                .await?,
        ),
        None => None,
    };
    show(args, campaign, since_ms, context)
}

fn show(
    args: &ShowArgs,
    campaign: Option<CampaignSeq>,
    since_ms: u64,
    context: &Context,
) -> Result<Exit, CliError> {
    let (dir, out) = (&context.config.journal.dir, context.out);
    let wanted = Wanted { campaign, since_ms, actions_only: args.actions };
    let mut ended = Ok(());
    let scanned = journal::scan(dir, wanted, |_, entry| {
        let other_target = match (&entry, &args.campaign) {
            (Entry::Action { target, .. }, Some(id)) => **target != **id,
            _ => false,
        };
        if other_target {
            return Ok(());
        }
        let printed = if out.json { out.object(&object(&entry)) } else { out.line(line(&entry, &out)) };
        printed.map_err(|error| {
            ended = Err(error);
            std::io::Error::other("the reader is gone")
        })
    });
    ended?;
    let scanned = scanned?;
    if scanned.files + scanned.passed_over == 0 {
        out.hint(format!("there is no journal in {}", dir.display()));
    }
    for (path, at) in &scanned.torn {
        out.hint(format!("{} is whole up to byte {at}, and is read no further", path.display()));
    }
    let gaps = journal::gaps(dir)?;
    for gap in gaps.iter().take(10) {
        out.hint(format!("a gap: {gap}"));
    }
    if gaps.len() > 10 {
        out.hint(format!("{} in all", counted(gaps.len() as u64, "gap")));
    }
    Ok(Exit::Done)
}

/// The begin of a time span that ends now, or the time itself.
fn since(text: &str, now_ms: u64) -> Result<u64, CliError> {
    if let Ok(span) = text.parse::<jiff::SignedDuration>()
        && let Ok(ms) = u64::try_from(span.as_millis())
    {
        return Ok(now_ms.saturating_sub(ms));
    }
    let instant = text.parse::<jiff::Timestamp>().ok();
    instant.and_then(|instant| u64::try_from(instant.as_millisecond()).ok()).ok_or_else(|| {
        let message = format!("--since {text:?} is no time: write 24h, or 2026-11-22T08:00:00Z");
        CliError::usage("usage", message).field("--since")
    })
}

/// Wall milliseconds as RFC 3339 in UTC.
pub(super) fn instant(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| format!("{ms} ms"), |at| format!("{at:.3}"))
}

/// An entry as JSON.
pub(super) fn object(entry: &Entry) -> Value {
    let at = instant(entry.at_ms());
    match entry {
        Entry::Begun { message, generation, attempt, number, .. } => json!({
            "schema": 1, "kind": "begun", "at": at, "message": message.to_string(), "generation": generation,
            "attempts_before": attempt, "number": number.to_string(),
        }),
        Entry::Reply { message, generation, outcome, reason, code, wamid, .. } => json!({
            "schema": 1, "kind": "reply", "at": at, "message": message.to_string(), "generation": generation,
            "outcome": outcome.as_str(), "reason": reason, "code": code, "wamid": wamid,
        }),
        Entry::Receipt { message, generation, status, at_ms, code, wamid, .. } => json!({
            "schema": 1, "kind": "receipt", "at": at, "message": message.to_string(), "generation": generation,
            "status": status.as_str(), "status_at": instant(*at_ms), "code": code, "wamid": wamid,
        }),
        Entry::Event { kind, account, subject, detail, at_ms, wamid, .. } => json!({
            "schema": 1, "kind": "event", "at": at, "event": kind, "account": account, "subject": subject,
            "detail": detail, "event_at": instant(*at_ms), "wamid": wamid,
        }),
        Entry::Action { actor, os_user, host, verb, target, detail, .. } => json!({
            "schema": 1, "kind": "action", "at": at, "actor": actor, "os_user": os_user, "host": host, "verb": verb,
            "target": target, "detail": detail,
        }),
    }
}

/// An entry as a line.
pub(super) fn line(entry: &Entry, out: &Output) -> String {
    let at = out.paint(Paint::Dim, &instant(entry.at_ms()));
    let optional = |name: &str, value: Option<String>| {
        value.map(|value| format!("  {name} {value}")).unwrap_or_default()
    };
    match entry {
        Entry::Begun { message, generation, attempt, number, .. } => {
            let again = if *attempt > 0 {
                format!("  after {}", counted(u64::from(*attempt), "attempt"))
            } else {
                String::new()
            };
            format!("{at}  begun    {message}.{generation}  by number {number}{again}")
        }
        Entry::Reply { message, generation, outcome, code, wamid, .. } => {
            let code = optional("code", code.map(|code| code.to_string()));
            let wamid = optional("as", wamid.as_deref().map(str::to_owned));
            format!("{at}  reply    {message}.{generation}  {}{code}{wamid}", outcome.as_str())
        }
        Entry::Receipt { message, generation, status, at_ms, code, .. } => {
            let code = optional("code", code.map(|code| code.to_string()));
            let by_meta = instant(*at_ms);
            format!(
                "{at}  receipt  {message}.{generation}  {} at {by_meta} by Meta's clock{code}",
                status.as_str()
            )
        }
        Entry::Event { kind, account, subject, detail, wamid, .. } => {
            let subject = optional("of", (!subject.is_empty()).then(|| subject.to_string()));
            let wamid = optional("as", wamid.as_deref().map(str::to_owned));
            format!("{at}  event    {kind} of account {account}{subject}  {detail}{wamid}")
        }
        Entry::Action { actor, os_user, host, verb, target, detail, .. } => {
            format!("{at}  action   {verb} {target}  by {actor} ({os_user} on {host}): {detail}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_span_or_a_time() {
        assert_eq!(since("1h", 7_200_000).unwrap(), 3_600_000);
        assert_eq!(since("2026-11-18T11:06:40Z", 0).unwrap(), 1_795_000_000_000);
        assert_eq!(since("yesterday", 0).unwrap_err().exit, Exit::Usage);
        assert_eq!(instant(1_795_000_000_123), "2026-11-18T11:06:40.123Z");
    }
}
