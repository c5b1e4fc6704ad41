//! `carteiro webhooks check`: whether receipts arrive, link by link of their way, and what to do where they do not.
//!
//! It changes nothing. What only Meta knows (whether an app is subscribed) it asks the platform for.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::campaign::world::World;
use super::context::Context;
use super::exit::{CliError, Exit};
use super::output::{Output, Paint, span};
use crate::clock;
use crate::cloud::endpoint::Endpoint;
use crate::cloud::probe;
use crate::config::{AccountConfig, Config, Secret};
use crate::http::webhooks::PATH;
use crate::queue::receipt::{self, Heard};

/// While messages leave, a number whose last receipt is older than this is silent.
const SILENT_AFTER: Duration = Duration::from_secs(300);

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// `carteiro webhooks …`
#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// Say whether receipts arrive, and what to do if they do not.
    Check(CheckArgs),
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Only this account and its numbers.
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
}

/// One link of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    /// What was looked at: an account, a number, an address.
    subject: String,
    /// None: nothing can be said.
    ok: Option<bool>,
    says: String,
    /// What to do; empty where there is nothing.
    action: &'static str,
}

/// Runs it.
pub async fn run(command: WebhooksCommand, context: &Context) -> Result<Exit, CliError> {
    let WebhooksCommand::Check(args) = command;
    let config = &context.config;
    let known = |id: &str| config.accounts.iter().any(|account| account.id == id);
    if let Some(id) = args.account.as_deref().filter(|id| !known(id)) {
        let message = format!("account {id} is not in the configuration");
        return Err(CliError::usage("unknown_account", message).hint("carteiro account list shows all"));
    }
    let accounts: Vec<&AccountConfig> = config
        .accounts
        .iter()
        .filter(|account| args.account.as_ref().is_none_or(|id| *id == account.id))
        .collect();
    let (heard, world) = context
        .with_store(async |store| {
            let heard = receipt::heard(&mut store.connection).await?;
            Ok((heard, World::read(&mut store.connection).await?))
        })
        .await?;
    crate::tls::install_default();
    let mut checks = vec![listening(config)];
    checks.extend(accounts.iter().map(|account| secret(account)));
    checks.extend(handshakes(config, &heard, &world).await);
    for account in &accounts {
        checks.push(subscribed(config, account).await);
    }
    let ours = |account: &str| accounts.iter().any(|one| one.id == account);
    let now_ms = clock::wall().0;
    for number in config.numbers.iter().filter(|number| ours(&number.account)) {
        checks.push(receipts(&number.id.0, &heard, &world, now_ms));
    }
    show(&checks, &context.out)
}

fn show(checks: &[Check], out: &Output) -> Result<Exit, CliError> {
    let ok = checks.iter().all(|check| check.ok != Some(false));
    if out.json {
        let checks: Vec<Value> = checks.iter().map(Check::json).collect();
        out.object(&json!({"schema": 1, "ok": ok, "checks": checks}))?;
    } else {
        for check in checks {
            out.line(check.line(out))?;
        }
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

impl Check {
    fn json(&self) -> Value {
        let action = Some(self.action).filter(|action| !action.is_empty());
        json!({"check": self.name, "subject": self.subject, "ok": self.ok, "says": self.says, "action": action})
    }

    fn line(&self, out: &Output) -> String {
        let mark = match self.ok {
            Some(true) => out.paint(Paint::Green, "ok  "),
            Some(false) => out.paint(Paint::Red, "no  "),
            None => out.paint(Paint::Dim, "?   "),
        };
        let action = if self.action.is_empty() { String::new() } else { format!("\n    {}", self.action) };
        format!("{mark}{} {}: {}{action}", self.name, self.subject, self.says)
    }
}

fn listening(config: &Config) -> Check {
    let (ok, subject, says, action) = match config.webhooks.listen {
        Some(listen) => (true, listen.to_string(), "serve takes webhooks there", ""),
        None => (
            false,
            "webhooks.listen".to_owned(),
            "is not set, so receipts are not heard and doubts stay",
            "set webhooks.listen, webhooks.verify_token and each account's app_secret, and restart serve",
        ),
    };
    Check { name: "listening", subject, ok: Some(ok), says: says.to_owned(), action }
}

fn secret(account: &AccountConfig) -> Check {
    let there = account.app_secret.is_some();
    Check {
        name: "app_secret",
        subject: account.id.clone(),
        ok: Some(there),
        says: if there { "is set" } else { "is not set: its webhooks are refused as unsigned" }.to_owned(),
        action: if there {
            ""
        } else {
            "copy it from the app's basic settings: app_secret = { env = \"NAME\" }"
        },
    }
}

/// From this machine to the engine, and from outside if an outside is configured.
async fn handshakes(config: &Config, heard: &Heard, world: &World) -> Vec<Check> {
    let Some(token) = &config.webhooks.verify_token else { return Vec::new() };
    let mut checks = Vec::new();
    match (&heard.listen, &world.owner) {
        (Some(listen), Some(_)) => {
            let action = "is this the serve of this configuration? restart it";
            checks.push(handshake(config, &format!("http://{listen}"), token, action).await);
        }
        _ => checks.push(Check {
            name: "handshake",
            subject: "serve".to_owned(),
            ok: Some(false),
            says: "no serve takes webhooks now; Meta keeps them for up to seven days".to_owned(),
            action: "carteiro serve",
        }),
    }
    if let Some(url) = &config.webhooks.public_url {
        let action = "look at the proxy in front: certificate, path /webhooks/whatsapp, firewall";
        checks.push(handshake(config, url, token, action).await);
    }
    checks
}

async fn handshake(config: &Config, base: &str, token: &Secret, action: &'static str) -> Check {
    let challenge = rand::random::<u32>().to_string();
    let answered = ask(config, base, token, &challenge).await;
    let (ok, says) = match answered {
        Ok((200, text)) if text == challenge => (true, "is answered as Meta wants it".to_owned()),
        Ok((200, _)) => (false, "somebody else answers there".to_owned()),
        Ok((403, _)) => (false, "is refused: another verify_token".to_owned()),
        Ok((status, _)) => (false, format!("is answered with HTTP {status}")),
        Err(error) => (false, format!("is not answered: {}", error.without_url())),
    };
    let action = if ok { "" } else { action };
    Check { name: "handshake", subject: base.to_owned(), ok: Some(ok), says, action }
}

async fn ask(
    config: &Config,
    base: &str,
    token: &Secret,
    challenge: &str,
) -> Result<(u16, String), reqwest::Error> {
    let mut client = reqwest::Client::builder().timeout(HANDSHAKE_TIMEOUT).no_proxy();
    if base.starts_with("https")
        && let Ok(tls) = crate::tls::client_config(config.cloud.ca_file.as_deref())
    {
        client = client.tls_backend_preconfigured(tls);
    }
    let mut url = reqwest::Url::parse(&format!("{base}{PATH}")).unwrap_or_else(|_| {
        reqwest::Url::parse("http://127.0.0.1:0").expect("a constant that a test parses")
    });
    url.query_pairs_mut()
        .append_pair("hub.mode", "subscribe")
        .append_pair("hub.verify_token", &token.0)
        .append_pair("hub.challenge", challenge);
    let answer = client.build()?.get(url).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// Whether any app hears of the account.
async fn subscribed(config: &Config, account: &AccountConfig) -> Check {
    let unknown = |says: String| Check {
        name: "subscribed",
        subject: account.id.clone(),
        ok: None,
        says,
        action: "look whether the app is subscribed to the account: GET /{account}/subscribed_apps",
    };
    let Ok(endpoint) = Endpoint::new(&config.cloud) else {
        return unknown("cloud.url cannot be used".to_owned());
    };
    let Ok(client) = probe::client(&config.cloud, &endpoint) else {
        return unknown("no client can be made".to_owned());
    };
    let url = format!("{}/{}/subscribed_apps", endpoint.base, account.id);
    let answer = match client.get(url).bearer_auth(&account.token.0).send().await {
        Ok(answer) => answer,
        Err(error) => return unknown(format!("Meta cannot be asked: {}", error.without_url())),
    };
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap_or_default();
    let apps =
        serde_json::from_str::<Value>(&text).ok().and_then(|body| Some(body["data"].as_array()?.len()));
    match (status, apps) {
        (200, Some(0)) => Check {
            name: "subscribed",
            subject: account.id.clone(),
            ok: Some(false),
            says: "no app is subscribed to the account, so Meta tells nobody".to_owned(),
            action: "POST /{account}/subscribed_apps with the account's token, and subscribe the app to `messages`",
        },
        (200, Some(apps)) => Check {
            name: "subscribed",
            subject: account.id.clone(),
            ok: Some(true),
            says: format!("{apps} of your apps hear of it; `messages` must be among the fields"),
            action: "",
        },
        _ => unknown(format!("Meta does not say (HTTP {status})")),
    }
}

/// When receipts of a number were last heard, against whether it sends.
fn receipts(number: &str, heard: &Heard, world: &World, now_ms: u64) -> Check {
    let sends = world
        .board
        .as_ref()
        .is_some_and(|board| board.numbers.iter().any(|shown| shown.id == number && shown.rate_per_s > 0.0));
    let last = heard.receipts.iter().find(|(id, _)| &*id.0 == number).map(|(_, at_ms)| *at_ms);
    let age = last.map(|at_ms| Duration::from_millis(now_ms.saturating_sub(at_ms)));
    let (ok, says) = match age {
        Some(age) if sends && age > SILENT_AFTER => {
            (Some(false), format!("the last receipt came {} ago, although it sends", span(age)))
        }
        Some(age) => (Some(true), format!("the last receipt came {} ago", span(age))),
        None if sends => (None, "it sends, and no receipt has come yet".to_owned()),
        None => (None, "no receipt was ever heard; it may not have sent anything yet".to_owned()),
    };
    let action = match ok {
        Some(true) => "",
        _ => {
            "if the lines above are fine: is the webhook of the app, or an override of the number, set to this address?"
        }
    };
    Check { name: "receipts", subject: number.to_owned(), ok, says, action }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::board::{Board, BoardNumber};
    use crate::domain::ids::NumberId;

    fn check(last: Option<u64>, rate_per_s: f64, expect: Option<bool>) {
        let number = BoardNumber { id: "201".to_owned(), rate_per_s, ..BoardNumber::default() };
        let board = Board { numbers: vec![number], ..Board::default() };
        let world = World { owner: None, board: Some(board), halts: std::collections::BTreeMap::new() };
        let receipts_of = last.into_iter().map(|at_ms| (NumberId::from("201"), at_ms)).collect();
        let heard = Heard { receipts: receipts_of, ..Heard::default() };
        let found = receipts("201", &heard, &world, 1_000_000);
        assert_eq!(found.ok, expect, "{found:?}");
        assert_eq!(found.action.is_empty(), expect == Some(true));
    }

    #[test]
    fn silence_is_wrong_only_while_messages_leave() {
        check(Some(999_000), 5.0, Some(true));
        check(Some(1_000), 5.0, Some(false));
        check(Some(1_000), 0.0, Some(true));
        check(None, 5.0, None);
        check(None, 0.0, None);
    }
}
