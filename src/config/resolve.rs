//! From raw values to a valid [`Config`]: defaults, bounds, relations between keys, and the division of every
//! wait by `time_scale`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::IntoConnectionInfo;

use super::error::ConfigError;
use super::load::LoadOptions;
use super::raw::{Entry, Origin, Raw, RawItem, RawValue};
use super::{
    AccountConfig, BreakerConfig, CloudConfig, Config, HttpConfig, NumberConfig, PaceConfig, RedisConfig,
    Secret, SenderConfig, secret, value,
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
    let accounts = r.accounts()?;
    let numbers = r.numbers(&accounts, &cloud)?;
    let mut config = Config {
        data_dir,
        redis,
        cloud,
        accounts,
        numbers,
        pace: r.pace()?,
        sender: r.sender()?,
        breaker: r.breaker()?,
        http: r.http()?,
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
    ];
    for wait in waits {
        *wait /= by;
    }
}

struct Resolver<'a> {
    raw: &'a Raw,
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

    fn redis(&self) -> Result<RedisConfig, ConfigError> {
        Ok(RedisConfig {
            url: self.redis_url()?,
            ca_file: self.existing_file("redis.ca_file")?,
            allow_weak_durability: self.boolean("redis.allow_weak_durability", false)?,
            connect_timeout: self.duration("redis.connect_timeout", "5s", MS * 100, SECOND * 60)?,
            response_timeout: self.duration("redis.response_timeout", "10s", SECOND, SECOND * 300)?,
        })
    }

    /// A password may come from the environment or a secret's file, never from a text that others see.
    fn redis_url(&self) -> Result<Option<Secret>, ConfigError> {
        let key = "redis.url";
        let Some(entry) = self.raw.entries.get(key) else {
            self.show(key, "(a private Redis in data_dir)", &Origin::Default);
            return Ok(None);
        };
        let fail = |problem: String| ConfigError::value(key, &entry.origin, problem);
        let (secret, seen) = match &entry.value {
            RawValue::Text(text) => (Secret(text.as_str().into()), !matches!(entry.origin, Origin::Env(_))),
            _ => (self.secret(key, entry)?, false),
        };
        let info = secret.0.as_ref().into_connection_info().map_err(|_| {
            fail(
                "must be a URL: redis://host:6379, rediss://host:6379 or redis+unix:///path/to/socket"
                    .to_owned(),
            )
        })?;
        let has_password = info.redis_settings().password().is_some();
        if seen && has_password {
            let hint = "a password may not stand here: write url = { env = \"NAME\" } or { file = \"path\" }";
            return Err(fail(hint.to_owned()));
        }
        let hidden = has_password || !matches!(entry.value, RawValue::Text(_));
        self.show(key, if hidden { "***" } else { &secret.0 }, &entry.origin);
        Ok(Some(secret))
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
            max_connections: self.size("cloud.max_connections", 4_096, 1, 65_536)?,
        })
    }

    fn accounts(&self) -> Result<Vec<AccountConfig>, ConfigError> {
        let mut ids = BTreeSet::new();
        let mut accounts = Vec::new();
        for (item, name) in self.items("account") {
            let id = item_text(item, &name, "id", value::account_id)?;
            self.show(&format!("{name}.id"), &id, &item_origin(item, "id"));
            if !ids.insert(id.clone()) {
                return Err(duplicate(item, &name, "id", "account"));
            }
            let key = format!("{name}.token");
            let entry = item.entries.get("token").ok_or_else(|| {
                let problem = "is missing: write token = { env = \"NAME\" } or { file = \"path\" }";
                ConfigError::value(&key, &item.origin, problem)
            })?;
            let token = self.secret(&key, entry)?;
            self.show(&key, "***", &entry.origin);
            accounts.push(AccountConfig { id, token });
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

    fn rate(&self, item: &RawItem, name: &str, cloud: &CloudConfig) -> Result<Option<f64>, ConfigError> {
        let key = format!("{name}.rate");
        let (text, origin) = match item.entries.get("rate") {
            None => ("80/s".to_owned(), Origin::Default),
            Some(Entry { value: RawValue::Text(text), origin }) => (text.clone(), origin.clone()),
            Some(Entry { value, origin }) => {
                let problem =
                    format!("is {}: write messages a second in quotes, \"80/s\"", value.type_name());
                return Err(ConfigError::value(&key, origin, problem));
            }
        };
        let rate = value::rate(&text).map_err(|problem| ConfigError::value(&key, &origin, problem))?;
        if rate.is_none() && !cloud.is_loopback() {
            let problem =
                "\"unlimited\" is for the simulator only: Meta blocks numbers that ignore its limits";
            return Err(ConfigError::value(&key, &origin, problem));
        }
        self.show(&key, &text, &origin);
        Ok(rate)
    }

    fn pace(&self) -> Result<PaceConfig, ConfigError> {
        Ok(PaceConfig {
            tolerance: self.duration("pace.tolerance", "5ms", Duration::ZERO, SECOND)?,
            arrival_slack: self.duration("pace.arrival_slack", "10ms", Duration::ZERO, SECOND)?,
            claim_ahead: self.duration("pace.claim_ahead", "50ms", MS, SECOND * 5)?,
            max_in_flight: self.size("pace.max_in_flight", 1_024, 1, 65_536)?,
        })
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

    fn items(&self, list: &'static str) -> impl Iterator<Item = (&RawItem, String)> {
        let items = self.raw.lists.get(list).into_iter().flatten();
        items.enumerate().map(move |(at, item)| (item, format!("{list}[{}]", at + 1)))
    }

    fn show(&self, key: &str, value: &str, origin: &Origin) {
        let line = OriginLine { key: key.to_owned(), value: value.to_owned(), origin: origin.clone() };
        self.shown.borrow_mut().push(line);
    }

    /// The text of a key or its default, shown and parsed.
    fn text<T>(
        &self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<(T, Origin), ConfigError> {
        let (text, origin) = match self.raw.entries.get(key) {
            None => (default, Origin::Default),
            Some(Entry { value: RawValue::Text(text), origin }) => (text.as_str(), origin.clone()),
            Some(Entry { value, origin }) => {
                let problem = format!("is {}, but must be a text such as {default:?}", value.type_name());
                return Err(ConfigError::value(key, origin, problem));
            }
        };
        let parsed = parse(text).map_err(|problem| ConfigError::value(key, &origin, problem))?;
        self.show(key, text, &origin);
        Ok((parsed, origin))
    }

    fn duration(
        &self,
        key: &str,
        default: &str,
        min: Duration,
        max: Duration,
    ) -> Result<Duration, ConfigError> {
        Ok(self.text(key, default, |text| value::duration(text, min, max))?.0)
    }

    fn integer(&self, key: &str, default: u64, min: u64, max: u64) -> Result<(u64, Origin), ConfigError> {
        let bounds = format!("must be a whole number from {min} to {max}");
        let (number, origin) = match self.raw.entries.get(key) {
            None => (Some(default), &Origin::Default),
            Some(Entry { value: RawValue::Integer(number), origin }) => (u64::try_from(*number).ok(), origin),
            // The environment and the command line only have texts.
            Some(Entry { value: RawValue::Text(text), origin }) if origin.file().is_none() => {
                (text.parse().ok(), origin)
            }
            Some(Entry { origin, .. }) => (None, origin),
        };
        let number = number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| ConfigError::value(key, origin, bounds))?;
        self.show(key, &number.to_string(), origin);
        Ok((number, origin.clone()))
    }

    fn size(&self, key: &str, default: usize, min: u64, max: u64) -> Result<usize, ConfigError> {
        let (number, _) = self.integer(key, default as u64, min, max)?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    }

    fn boolean(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let (value, origin) = match self.raw.entries.get(key) {
            None => (Some(default), &Origin::Default),
            Some(Entry { value: RawValue::Bool(value), origin }) => (Some(*value), origin),
            Some(Entry { value: RawValue::Text(text), origin }) if origin.file().is_none() => {
                (text.parse().ok(), origin)
            }
            Some(Entry { origin, .. }) => (None, origin),
        };
        let value = value.ok_or_else(|| ConfigError::value(key, origin, "must be true or false"))?;
        self.show(key, &value.to_string(), origin);
        Ok(value)
    }

    /// A path: `~/` is the home folder, relative ones start at the file that names them, else at the working folder.
    fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(entry) = self.raw.entries.get(key) else {
            return Ok(None);
        };
        let RawValue::Text(text) = &entry.value else {
            let problem = format!("is {}, but must be a path", entry.value.type_name());
            return Err(ConfigError::value(key, &entry.origin, problem));
        };
        if text.is_empty() {
            return Err(ConfigError::value(key, &entry.origin, "is empty, but must be a path"));
        }
        let path = self.absolute(text, &entry.origin);
        self.show(key, &path.display().to_string(), &entry.origin);
        Ok(Some(path))
    }

    fn existing_file(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let path = self.path(key)?;
        match &path {
            Some(path) if !path.is_file() => {
                let origin = self.raw.entries.get(key).map_or(Origin::Default, |entry| entry.origin.clone());
                let problem = format!("{} is not a file that can be read", path.display());
                Err(ConfigError::value(key, &origin, problem))
            }
            _ => Ok(path),
        }
    }

    fn absolute(&self, text: &str, origin: &Origin) -> PathBuf {
        if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), self.options.env.get("HOME")) {
            return Path::new(home).join(rest);
        }
        let folder = origin.file().and_then(Path::parent).map(|folder| self.options.cwd.join(folder));
        folder.unwrap_or_else(|| self.options.cwd.clone()).join(text)
    }

    fn secret(&self, key: &str, entry: &Entry) -> Result<Secret, ConfigError> {
        match &entry.value {
            RawValue::SecretEnv(name) => secret::from_env(name, &self.options.env),
            RawValue::SecretFile(path) => secret::from_file(&self.absolute(path, &entry.origin)),
            _ => {
                Err("a secret may not stand here: write { env = \"NAME\" } or { file = \"path\" }".to_owned())
            }
        }
        .map_err(|problem| ConfigError::value(key, &entry.origin, problem))
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
