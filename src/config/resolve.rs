//! From raw values to a valid [`Config`]: defaults, bounds, relations between keys, and the division of every
//! wait by `time_scale`.

mod cap;
mod pace;
mod portfolio;
mod rates;
mod read;
pub(super) mod redis;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::ConfigError;
use super::load::LoadOptions;
use super::raw::{Origin, Raw, RawItem, RawValue};
use super::{
    AccountConfig, BreakerConfig, CloudConfig, Config, DoubtConfig, HttpConfig, JournalConfig, NumberConfig,
    OwnershipConfig, PortfolioConfig, ProxyConfig, RetentionConfig, Secret, SenderConfig, StopsConfig,
    WebhooksConfig, proxy, value,
};
use crate::domain::ids::NumberId;

/// Largest `time_scale`: beyond it our own timers are coarser than the waits.
const TIME_SCALE_MAX: u64 = 1_000;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// A value in words and where it came from, for `config show --origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginLine {
    /// `cloud.timeout`, `number[2].rate` (counted from 1).
    pub key: String,
    /// As written; `***` for a secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Resolves raw values.
pub(super) fn resolve(raw: &Raw, options: &LoadOptions) -> Result<(Config, Vec<OriginLine>), ConfigError> {
    let r = Resolver { raw, options, shown: RefCell::default() };
    let cloud = r.cloud()?;
    let time_scale = r.time_scale(&cloud)?;
    let data_dir = r.data_dir()?;
    let redis = r.redis()?;
    let portfolios = r.portfolios()?;
    let accounts = r.accounts(&portfolios)?;
    let mut numbers = r.numbers(&accounts, &cloud)?;
    rates::divide(&accounts, &mut numbers);
    let webhooks = r.webhooks(&accounts)?;
    let journal = r.journal(&data_dir)?;
    let calendar = r.calendar(&cloud)?;
    let budget = r.budget(&cloud)?;
    let mut config = Config {
        data_dir,
        redis,
        cloud,
        portfolios,
        accounts,
        numbers,
        pace: r.pace()?,
        sender: r.sender()?,
        breaker: r.breaker()?,
        http: r.http()?,
        ownership: r.ownership()?,
        webhooks,
        budget,
        journal,
        calendar,
        doubt: r.doubt()?,
        retention: r.retention()?,
        cap: r.cap()?,
        stops: StopsConfig {
            stale_after: r.duration("stops.stale_after", "5s", SECOND * 2, SECOND * 60)?,
            words_file: r.existing_file("stops.words_file")?,
        },
        time_scale,
    };
    scale(&mut config);
    Ok((config, r.shown.into_inner()))
}

/// Divides every wait. What is marked "Not scaled" in the types is left alone.
fn scale(config: &mut Config) {
    let by = config.time_scale;
    let waits = [
        &mut config.cloud.connect_timeout,
        &mut config.cloud.timeout,
        &mut config.cloud.idle_timeout,
        &mut config.sender.drain_timeout,
        &mut config.breaker.base,
        &mut config.breaker.max,
        &mut config.pace.failover_after,
        &mut config.pace.read_every,
        &mut config.doubt.silent_after,
        &mut config.doubt.give_up,
        &mut config.budget.window,
    ];
    let kept = config.retention.campaigns.as_mut();
    for wait in waits.into_iter().chain(kept) {
        *wait /= by;
    }
    config.cap = config.cap.scaled(by);
}

pub(super) struct Resolver<'a> {
    pub(super) raw: &'a Raw,
    options: &'a LoadOptions,
    shown: RefCell<Vec<OriginLine>>,
}

impl Resolver<'_> {
    fn time_scale(&self, cloud: &CloudConfig) -> Result<u32, ConfigError> {
        let (scale, origin) = self.integer("time_scale", 1, 1, TIME_SCALE_MAX)?;
        if scale > 1 && !cloud.is_loopback() {
            let problem = "more than 1 is for the simulator only: cloud.url must lead to this machine";
            return Err(ConfigError::value("time_scale", &origin, problem));
        }
        Ok(u32::try_from(scale).unwrap_or(u32::MAX))
    }

    fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        if let Some(path) = self.path("data_dir")? {
            return Ok(path);
        }
        let set = |name: &str| self.options.env.get(name).filter(|value| !value.is_empty());
        let folder = set("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| Path::new(home).join(".local/state")))
            .map(|folder| folder.join("carteiro"))
            .ok_or_else(|| {
                let problem =
                    "neither XDG_STATE_HOME nor HOME is set: write data_dir = \"/path/to/a/folder\"";
                ConfigError::value("data_dir", &Origin::Default, problem)
            })?;
        self.show("data_dir", &folder.display().to_string(), &Origin::Default);
        Ok(folder)
    }

    fn cloud(&self) -> Result<CloudConfig, ConfigError> {
        let (url, _) = self.text("cloud.url", "https://graph.facebook.com", value::cloud_url)?;
        Ok(CloudConfig {
            url,
            version: self.text("cloud.version", "v26.0", value::version)?.0,
            connect_timeout: self.duration("cloud.connect_timeout", "5s", MS * 100, SECOND * 60)?,
            timeout: self.duration("cloud.timeout", "30s", SECOND, SECOND * 300)?,
            idle_timeout: self.duration("cloud.idle_timeout", "10s", MS * 100, SECOND * 300)?,
            ca_file: self.existing_file("cloud.ca_file")?,
            proxy: self.proxy()?,
            max_connections: self.size("cloud.max_connections", 4_096, 1, 65_536)?,
            http2: self.text("cloud.http2", "auto", value::http2)?.0,
            max_streams: self.size("cloud.max_streams", 100, 1, 1_000)?,
            max_request_usage: self.percent("cloud.max_request_usage", "75%", (1.0, 100.0))?,
            errors_file: self.existing_file("cloud.errors_file")?,
        })
    }

    /// A password may come from the environment or a secret's file, never from a text that others see.
    fn proxy(&self) -> Result<Option<ProxyConfig>, ConfigError> {
        let key = "cloud.proxy";
        let Some(entry) = self.raw.entries.get(key) else {
            return Ok(None);
        };
        let (text, seen) = match &entry.value {
            RawValue::Text(text) => (Secret(text.as_str().into()), !matches!(entry.origin, Origin::Env(_))),
            _ => (self.secret(key, entry)?, false),
        };
        let parsed = proxy::parse(&text.0).and_then(|proxy| match (seen, &proxy.authorization) {
            (true, Some(_)) => {
                let hint =
                    "a user may not stand here: write proxy = { env = \"NAME\" } or { file = \"path\" }";
                Err(hint.to_owned())
            }
            _ => Ok(proxy),
        });
        let proxy = parsed.map_err(|problem| ConfigError::value(key, &entry.origin, problem))?;
        self.show(key, &proxy.shown(), &entry.origin);
        Ok(Some(proxy))
    }

    fn accounts(&self, portfolios: &[PortfolioConfig]) -> Result<Vec<AccountConfig>, ConfigError> {
        let mut ids = BTreeSet::new();
        let mut accounts = Vec::new();
        for (item, name) in self.items("account") {
            let id = item_text(item, &name, "id", value::account_id)?;
            self.show(&format!("{name}.id"), &id, &item_origin(item, "id"));
            if !ids.insert(id.clone()) {
                return Err(duplicate(item, &name, "id", "account"));
            }
            let portfolio = self.account_portfolio(item, &name, portfolios)?;
            let rate_per_s = self.account_rate(item, &name)?;
            let key = format!("{name}.token");
            let entry = item.entries.get("token").ok_or_else(|| {
                let problem = "is missing: write token = { env = \"NAME\" } or { file = \"path\" }";
                ConfigError::value(&key, &item.origin, problem)
            })?;
            let token = self.secret(&key, entry)?;
            self.show(&key, "***", &entry.origin);
            let key = format!("{name}.app_secret");
            let app_secret =
                item.entries.get("app_secret").map(|entry| self.secret(&key, entry)).transpose()?;
            if let Some(entry) = item.entries.get("app_secret") {
                self.show(&key, "***", &entry.origin);
            }
            let calendar = self.account_hours(item, &name)?;
            accounts.push(AccountConfig { id, portfolio, rate_per_s, token, app_secret, calendar });
        }
        Ok(accounts)
    }

    fn numbers(
        &self,
        accounts: &[AccountConfig],
        cloud: &CloudConfig,
    ) -> Result<Vec<NumberConfig>, ConfigError> {
        let known: BTreeSet<&str> = accounts.iter().map(|account| account.id.as_str()).collect();
        let mut ids = BTreeSet::new();
        let mut numbers = Vec::new();
        for (item, name) in self.items("number") {
            let id = item_text(item, &name, "phone_number_id", value::phone_number_id)?;
            self.show(&format!("{name}.phone_number_id"), &id, &item_origin(item, "phone_number_id"));
            if !ids.insert(id.clone()) {
                return Err(duplicate(item, &name, "phone_number_id", "number"));
            }
            let account = item_text(item, &name, "account", value::account_id)?;
            self.show(&format!("{name}.account"), &account, &item_origin(item, "account"));
            if !known.contains(account.as_str()) {
                let problem =
                    format!("there is no [[account]] with id {account:?}: add it, or correct the id");
                let origin = item_origin(item, "account");
                return Err(ConfigError::value(&format!("{name}.account"), &origin, problem));
            }
            let rate_per_s = self.rate(item, &name, cloud)?;
            numbers.push(NumberConfig { id: NumberId::from(id.as_str()), account, rate_per_s });
        }
        Ok(numbers)
    }

    fn sender(&self) -> Result<SenderConfig, ConfigError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(SenderConfig {
            shards: self.size("sender.shards", (cores / 2).max(1), 1, 256)?,
            drain_timeout: self.duration("sender.drain_timeout", "25s", MS, HOUR)?,
            settle_delay: self.duration("sender.settle_delay", "100ms", Duration::ZERO, SECOND)?,
            max_unsettled: self.size("sender.max_unsettled", 65_536, 1024, 1_048_576)?,
            max_chunks: self.size("sender.max_chunks", 512, 8, 65_536)?,
        })
    }

    fn breaker(&self) -> Result<BreakerConfig, ConfigError> {
        let base = self.duration("breaker.base", "1s", MS * 100, HOUR)?;
        Ok(BreakerConfig {
            failures: u32::try_from(self.size("breaker.failures", 3, 1, 1_000)?).unwrap_or(u32::MAX),
            base,
            max: self.duration("breaker.max", "60s", base, HOUR * 24)?,
        })
    }

    fn http(&self) -> Result<HttpConfig, ConfigError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                format!("{text:?} is not an address: write \"127.0.0.1:9464\" or \"[::1]:9464\"")
            })
        };
        Ok(HttpConfig { listen: self.text("http.listen", "127.0.0.1:9464", parse)?.0 })
    }

    fn ownership(&self) -> Result<OwnershipConfig, ConfigError> {
        let node = if self.raw.entries.contains_key("ownership.node") {
            Some(self.text("ownership.node", "", value::node_name)?.0)
        } else {
            self.show("ownership.node", "(a random name)", &Origin::Default);
            None
        };
        Ok(OwnershipConfig { node, lease: self.duration("ownership.lease", "10s", SECOND, SECOND * 300)? })
    }

    /// Without an address nothing is taken; with one, somebody must be able to sign.
    fn webhooks(&self, accounts: &[AccountConfig]) -> Result<WebhooksConfig, ConfigError> {
        let entry = |key: &str| self.raw.entries.get(key);
        let parse = |text: &str| {
            let wrong =
                |_| format!("{text:?} is not an address: write \"127.0.0.1:9465\" or \"0.0.0.0:9465\"");
            text.parse().map_err(wrong)
        };
        let (listen, origin) = match entry("webhooks.listen") {
            Some(_) => self.text("webhooks.listen", "", parse).map(|(at, origin)| (Some(at), origin))?,
            None => (None, Origin::Default),
        };
        let token = entry("webhooks.verify_token");
        let verify_token = token.map(|entry| self.secret("webhooks.verify_token", entry)).transpose()?;
        if let Some(entry) = token {
            self.show("webhooks.verify_token", "***", &entry.origin);
        }
        let public_url = match entry("webhooks.public_url") {
            Some(_) => Some(self.text("webhooks.public_url", "", value::webhook_url)?.0),
            None => None,
        };
        if listen.is_some() && verify_token.is_none() {
            let problem = "needs verify_token = { env = \"NAME\" }: the word that Meta's handshake must say";
            return Err(ConfigError::value("webhooks.listen", &origin, problem));
        }
        if listen.is_some() && accounts.iter().all(|account| account.app_secret.is_none()) {
            let problem = "needs app_secret = { env = \"NAME\" } in an [[account]]: an unsigned webhook is never believed";
            return Err(ConfigError::value("webhooks.listen", &origin, problem));
        }
        Ok(WebhooksConfig { listen, verify_token, public_url })
    }

    fn journal(&self, data_dir: &Path) -> Result<JournalConfig, ConfigError> {
        let dir = match self.path("journal.dir")? {
            Some(dir) => dir,
            None => {
                let dir = data_dir.join("journal");
                self.show("journal.dir", &dir.display().to_string(), &Origin::Default);
                dir
            }
        };
        Ok(JournalConfig {
            enabled: self.boolean("journal.enabled", true)?,
            dir,
            keep: self.text("journal.keep", "180d", |text| value::days(text, 1, 3_650))?.0,
            segment_bytes: self
                .text("journal.segment_bytes", "64MB", |text| value::bytes(text, 64 << 10, 4 << 30))?
                .0,
            segment_age: self.duration("journal.segment_age", "1h", SECOND, HOUR * 24)?,
        })
    }

    fn doubt(&self) -> Result<DoubtConfig, ConfigError> {
        let age = |text: &str| value::age(text, HOUR, HOUR * 24 * 30);
        Ok(DoubtConfig {
            silent_after: self.duration("doubt.silent_after", "30s", SECOND * 5, HOUR)?,
            give_up: self.text("doubt.give_up", "7d", age)?.0,
        })
    }

    fn retention(&self) -> Result<RetentionConfig, ConfigError> {
        let key = "retention.campaigns";
        let parse = |text: &str| match text {
            "never" => Ok(None),
            _ => value::age(text, HOUR, HOUR * 24 * 3_650).map(Some),
        };
        Ok(RetentionConfig { campaigns: self.text(key, "never", parse)?.0 })
    }

    fn items(&self, list: &'static str) -> impl Iterator<Item = (&RawItem, String)> {
        let items = self.raw.lists.get(list).into_iter().flatten();
        items.enumerate().map(move |(at, item)| (item, format!("{list}[{}]", at + 1)))
    }
}

fn item_origin(item: &RawItem, key: &str) -> Origin {
    item.entries.get(key).map_or_else(|| item.origin.clone(), |entry| entry.origin.clone())
}

fn item_text(
    item: &RawItem,
    name: &str,
    key: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<String, ConfigError> {
    let fail =
        |problem: String| ConfigError::value(&format!("{name}.{key}"), &item_origin(item, key), problem);
    match item.entries.get(key).map(|entry| &entry.value) {
        None => Err(fail("is missing".to_owned())),
        Some(RawValue::Text(text)) => check(text).map(|()| text.clone()).map_err(fail),
        Some(other) => Err(fail(format!("is {}, but must be a text in quotes", other.type_name()))),
    }
}

fn duplicate(item: &RawItem, name: &str, key: &str, list: &str) -> ConfigError {
    let problem = format!("another [[{list}]] has it already: remove one of them");
    ConfigError::value(&format!("{name}.{key}"), &item_origin(item, key), problem)
}
