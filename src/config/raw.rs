//! Raw values of the configuration by key, and where each one came from: command line over environment over
//! file. Unknown keys are refused here, with the known one they resemble; values are not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;

/// Every key outside the lists of tables. A key is here only if something acts on it.
pub const KEYS: &[&str] = &[
    "data_dir",
    "time_scale",
    "redis.url",
    "redis.mode",
    "redis.sentinel_master",
    "redis.ca_file",
    "redis.allow_weak_durability",
    "redis.connect_timeout",
    "redis.response_timeout",
    "redis.wait_replicas",
    "redis.wait_timeout",
    "redis.replay_window",
    "cloud.url",
    "cloud.version",
    "cloud.connect_timeout",
    "cloud.timeout",
    "cloud.idle_timeout",
    "cloud.ca_file",
    "cloud.proxy",
    "cloud.max_connections",
    "cloud.http2",
    "cloud.max_streams",
    "cloud.max_request_usage",
    "cloud.errors_file",
    "pace.tolerance",
    "pace.arrival_slack",
    "pace.claim_ahead",
    "pace.max_in_flight",
    "pace.decrease",
    "pace.increase_per_s",
    "pace.floor",
    "pace.keep_free",
    "pace.guaranteed_share",
    "pace.read_every",
    "pace.failover_after",
    "sender.shards",
    "sender.drain_timeout",
    "sender.settle_delay",
    "sender.max_chunks",
    "sender.max_unsettled",
    "breaker.failures",
    "breaker.base",
    "breaker.max",
    "http.listen",
    "ownership.lease",
    "ownership.node",
    "calendar.hours",
    "calendar.optional_days",
    "calendar.closed",
    "calendar.municipality",
    "calendar.enforce",
    "webhooks.listen",
    "webhooks.verify_token",
    "webhooks.public_url",
    "journal.enabled",
    "journal.dir",
    "journal.keep",
    "journal.segment_bytes",
    "journal.segment_age",
    "retention.campaigns",
    "stops.stale_after",
    "stops.words_file",
    "cap.per_day",
    "cap.per_week",
    "cap.gap",
    "doubt.silent_after",
    "doubt.give_up",
    "budget.window",
    "budget.margin",
];

/// Lists of tables (`[[account]]`) and their keys.
pub const TABLES: &[(&str, &[&str])] = &[
    ("portfolio", &["id", "people_per_day"]),
    ("account", &["id", "portfolio", "rate", "token", "app_secret", "hours", "optional_days", "closed"]),
    ("number", &["phone_number_id", "account", "rate"]),
];

/// Most tables of one list.
const TABLES_MAX: usize = 10_000;

/// Prefix of the environment's variables.
const ENV_PREFIX: &str = "CARTEIRO_";

/// A suggestion must be at least this alike (Jaro-Winkler, 0 to 1).
const ALIKE_MIN: f64 = 0.8;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Env(String),
    /// The command line.
    Flag,
}

/// A value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawValue {
    Text(String),
    Integer(i64),
    Bool(bool),
    SecretEnv(String),
    SecretFile(String),
    /// Something no key takes; its type in words.
    Other(&'static str),
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: RawValue,
    pub(super) origin: Origin,
}

/// One table of a list: where it begins, and its entries by key.
#[derive(Clone, Debug)]
pub(super) struct RawItem {
    pub(super) origin: Origin,
    pub(super) entries: BTreeMap<&'static str, Entry>,
}

/// All raw values.
#[derive(Clone, Debug, Default)]
pub(super) struct Raw {
    pub(super) entries: BTreeMap<&'static str, Entry>,
    pub(super) lists: BTreeMap<&'static str, Vec<RawItem>>,
}

impl Origin {
    /// The file, if it came from one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The line in the file, from 1.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

impl RawValue {
    /// The type in words, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "an integer",
            Self::Bool(_) => "true or false",
            Self::SecretEnv(_) | Self::SecretFile(_) => "a secret",
            Self::Other(name) => name,
        }
    }
}

impl Raw {
    /// Takes in a file's text; what stands there already is replaced.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let root = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            message: error.message().replace('\n', " "),
        })?;
        let file = File { path, text };
        for (key, value) in root.get_ref() {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(table) if is_section(name) => {
                    for (inner, value) in table {
                        let full = format!("{name}.{}", inner.get_ref());
                        let origin = file.origin(inner);
                        let known = known(&full, &origin)?;
                        self.entries.insert(known, Entry { value: raw_value(value.get_ref()), origin });
                    }
                }
                DeValue::Array(items) if list_keys(name).is_some() => {
                    self.add_list(&file, name, items.iter())?;
                }
                other => {
                    let origin = file.origin(key);
                    if list_keys(name).is_some() {
                        let problem = format!("must be a list of tables: write [[{name}]]");
                        return Err(ConfigError::value(name, &origin, problem));
                    }
                    let known = known(name, &origin)?;
                    self.entries.insert(known, Entry { value: raw_value(other), origin });
                }
            }
        }
        Ok(())
    }

    fn add_list<'a>(
        &mut self,
        file: &File<'_>,
        name: &str,
        items: impl Iterator<Item = &'a Spanned<DeValue<'a>>>,
    ) -> Result<(), ConfigError> {
        let Some(&(list, keys)) = TABLES.iter().find(|(list, _)| *list == name) else {
            return Ok(());
        };
        let into = self.lists.entry(list).or_default();
        for item in items {
            let origin = file.origin(item);
            let DeValue::Table(table) = item.get_ref() else {
                return Err(ConfigError::value(name, &origin, format!("must be a table: write [[{name}]]")));
            };
            let mut entries = BTreeMap::new();
            for (key, value) in table {
                let origin = file.origin(key);
                let Some(known) = keys.iter().find(|known| **known == key.get_ref().as_ref()) else {
                    let suggestion = alike(key.get_ref(), keys.iter().copied());
                    return Err(ConfigError::UnknownKey {
                        origin,
                        key: format!("{name}.{}", key.get_ref()),
                        suggestion: suggestion.map(|key| format!("{name}.{key}")),
                    });
                };
                entries.insert(*known, Entry { value: raw_value(value.get_ref()), origin });
            }
            if into.len() >= TABLES_MAX {
                return Err(ConfigError::value(name, &origin, format!("more than {TABLES_MAX} of them")));
            }
            into.push(RawItem { origin, entries });
        }
        Ok(())
    }

    /// Takes in `CARTEIRO_SECTION__KEY` and `CARTEIRO_KEY`. A variable with `__` must be a known key, unless
    /// a secret of the file reads it.
    pub(super) fn add_env(&mut self, env: &HashMap<String, String>) -> Result<(), ConfigError> {
        let secrets: BTreeSet<String> = self.secret_variables();
        let mut names: Vec<&String> = env.keys().filter(|name| name.starts_with(ENV_PREFIX)).collect();
        names.sort_unstable();
        for name in names {
            let key = name[ENV_PREFIX.len()..].to_ascii_lowercase().replacen("__", ".", 1);
            let plain = KEYS.contains(&key.as_str()) && !key.contains('.');
            if secrets.contains(name) || (!plain && !key.contains('.')) {
                continue;
            }
            let origin = Origin::Env(name.clone());
            let known = known(&key, &origin)?;
            self.entries.insert(known, Entry { value: RawValue::Text(env[name].clone()), origin });
        }
        Ok(())
    }

    /// Takes in `key = value` of the command line.
    pub(super) fn add_overrides(&mut self, overrides: &[(String, String)]) -> Result<(), ConfigError> {
        for (key, value) in overrides {
            let known = known(key, &Origin::Flag)?;
            self.entries.insert(known, Entry { value: RawValue::Text(value.clone()), origin: Origin::Flag });
        }
        Ok(())
    }

    fn secret_variables(&self) -> BTreeSet<String> {
        let listed = self.lists.values().flatten().flat_map(|item| item.entries.values());
        self.entries
            .values()
            .chain(listed)
            .filter_map(|entry| match &entry.value {
                RawValue::SecretEnv(name) => Some(name.clone()),
                _ => None,
            })
            .collect()
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn origin<T>(&self, spanned: &Spanned<T>) -> Origin {
        Origin::File { path: self.path.to_owned(), line: line_of(self.text, spanned.span().start) }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
}

fn raw_value(value: &DeValue<'_>) -> RawValue {
    match value {
        DeValue::String(text) => RawValue::Text(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(RawValue::Other("too large an integer"), RawValue::Integer),
        DeValue::Boolean(value) => RawValue::Bool(*value),
        DeValue::Float(_) => RawValue::Other("a number with a point"),
        DeValue::Datetime(_) => RawValue::Other("a date"),
        DeValue::Array(_) => RawValue::Other("a list"),
        DeValue::Table(table) => secret_source(table).unwrap_or(RawValue::Other("a table")),
    }
}

/// `{ env = "NAME" }` or `{ file = "path" }`, and nothing else in it.
fn secret_source(table: &DeTable<'_>) -> Option<RawValue> {
    let (key, value) = table.iter().next().filter(|_| table.len() == 1)?;
    let DeValue::String(text) = value.get_ref() else {
        return None;
    };
    match key.get_ref().as_ref() {
        "env" => Some(RawValue::SecretEnv(text.to_string())),
        "file" => Some(RawValue::SecretFile(text.to_string())),
        _ => None,
    }
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.split_once('.').is_some_and(|(section, _)| section == name))
}

fn list_keys(name: &str) -> Option<&'static [&'static str]> {
    TABLES.iter().find(|(list, _)| *list == name).map(|(_, keys)| *keys)
}

fn known(key: &str, origin: &Origin) -> Result<&'static str, ConfigError> {
    KEYS.iter().find(|known| **known == key).copied().ok_or_else(|| ConfigError::UnknownKey {
        origin: origin.clone(),
        key: key.to_owned(),
        suggestion: suggest(key),
    })
}

/// The known key, section or list that a key resembles; the same key of another section comes first.
fn suggest(key: &str) -> Option<String> {
    let last = key.rsplit('.').next().unwrap_or(key);
    let same = KEYS.iter().find(|known| known.rsplit('.').next() == Some(last));
    let lists = TABLES.iter().map(|(list, _)| *list);
    let sections = KEYS.iter().filter_map(|known| known.split_once('.')).map(|(section, _)| section);
    same.copied().or_else(|| alike(key, KEYS.iter().copied().chain(lists).chain(sections))).map(str::to_owned)
}

fn alike<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .filter(|(score, _)| *score >= ALIKE_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
