//! `[redis]`: where it is and what it is. A password may come from the environment or a secret's file, never from a
//! text that others see.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::{MS, Resolver, SECOND};
use crate::config::error::ConfigError;
use crate::config::raw::{Entry, Origin, RawValue};
use crate::config::{RedisConfig, RedisMode, Secret, WaitFor};

/// URLs of one Redis at most: some of its sentinels or nodes are enough to find the others.
const URLS_MAX: usize = 64;

/// Replicas of one master at most.
const REPLICAS_MAX: u32 = 16;

impl Resolver<'_> {
    pub(super) fn redis(&self) -> Result<RedisConfig, ConfigError> {
        let mode = self.redis_mode()?;
        let response_timeout = self.duration("redis.response_timeout", "10s", SECOND, SECOND * 300)?;
        Ok(RedisConfig {
            url: self.redis_url(&mode)?,
            wait_replicas: self.wait_replicas(&mode)?,
            wait_timeout: self.duration("redis.wait_timeout", "1s", MS * 10, response_timeout / 2)?,
            replay_window: self.duration("redis.replay_window", "5s", SECOND, SECOND * 60)?,
            mode,
            ca_file: self.existing_file("redis.ca_file")?,
            allow_weak_durability: self.boolean("redis.allow_weak_durability", false)?,
            connect_timeout: self.duration("redis.connect_timeout", "5s", MS * 100, SECOND * 60)?,
            response_timeout,
        })
    }

    fn redis_mode(&self) -> Result<RedisMode, ConfigError> {
        let known = |text: &str| match text {
            "standalone" | "sentinel" | "cluster" => Ok(text.to_owned()),
            _ => Err("must be \"standalone\", \"sentinel\" or \"cluster\"".to_owned()),
        };
        let (mode, origin) = self.text("redis.mode", "standalone", known)?;
        let key = "redis.sentinel_master";
        let master = match self.raw.entries.get(key) {
            Some(entry) if mode != "sentinel" => {
                let problem = "is for redis.mode = \"sentinel\" only";
                return Err(ConfigError::value(key, &entry.origin, problem));
            }
            Some(_) => self.text(key, "", master_name)?.0,
            None if mode == "sentinel" => {
                let problem =
                    "needs redis.sentinel_master: the name after `sentinel monitor` in sentinel.conf";
                return Err(ConfigError::value("redis.mode", &origin, problem));
            }
            None => String::new(),
        };
        Ok(match mode.as_str() {
            "sentinel" => RedisMode::Sentinel(master),
            "cluster" => RedisMode::Cluster,
            _ => RedisMode::Standalone,
        })
    }

    fn wait_replicas(&self, mode: &RedisMode) -> Result<WaitFor, ConfigError> {
        let key = "redis.wait_replicas";
        let default = if *mode == RedisMode::Standalone { "0" } else { "all" };
        let bounds = format!("must be \"all\" or a whole number from 0 to {REPLICAS_MAX}");
        let (text, origin) = match self.raw.entries.get(key) {
            None => (default.to_owned(), Origin::Default),
            Some(Entry { value: RawValue::Text(text), origin }) => (text.clone(), origin.clone()),
            Some(Entry { value: RawValue::Integer(count), origin }) => (count.to_string(), origin.clone()),
            Some(Entry { origin, .. }) => return Err(ConfigError::value(key, origin, bounds)),
        };
        let wait = match text.parse::<u32>() {
            Ok(0) => WaitFor::Nobody,
            Ok(count) if count <= REPLICAS_MAX => WaitFor::Count(count),
            Err(_) if text == "all" => WaitFor::All,
            _ => return Err(ConfigError::value(key, &origin, bounds)),
        };
        self.show(key, &text, &origin);
        Ok(wait)
    }

    fn redis_url(&self, mode: &RedisMode) -> Result<Option<Secret>, ConfigError> {
        let key = "redis.url";
        let Some(entry) = self.raw.entries.get(key) else {
            if *mode != RedisMode::Standalone {
                let origin =
                    self.raw.entries.get("redis.mode").map_or(Origin::Default, |mode| mode.origin.clone());
                let problem =
                    "needs redis.url: some of the sentinels or nodes, redis://host:port,redis://host:port";
                return Err(ConfigError::value("redis.mode", &origin, problem));
            }
            self.show(key, "(a private Redis in data_dir)", &Origin::Default);
            return Ok(None);
        };
        let fail = |problem: String| ConfigError::value(key, &entry.origin, problem);
        let (secret, seen) = match &entry.value {
            RawValue::Text(text) => (Secret(text.as_str().into()), !matches!(entry.origin, Origin::Env(_))),
            _ => (self.secret(key, entry)?, false),
        };
        let infos = urls(&secret.0, mode).map_err(fail)?;
        let has_password = infos.iter().any(|info| info.redis_settings().password().is_some());
        if seen && has_password {
            let hint = "a password may not stand here: write url = { env = \"NAME\" } or { file = \"path\" }";
            return Err(fail(hint.to_owned()));
        }
        let hidden = has_password || !matches!(entry.value, RawValue::Text(_));
        self.show(key, if hidden { "***" } else { &secret.0 }, &entry.origin);
        Ok(Some(secret))
    }
}

fn master_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err("must be the name of a master, without spaces".to_owned());
    }
    Ok(text.to_owned())
}

/// Where `redis.url` leads to: one server, or several that differ in host and port only.
///
/// # Errors
/// What is wrong, without the text, which may hold a password.
pub fn urls(text: &str, mode: &RedisMode) -> Result<Vec<ConnectionInfo>, String> {
    let several = *mode != RedisMode::Standalone;
    let parse = |one: &str| {
        one.trim().into_connection_info().map_err(|_| {
            let example = "redis://host:6379, rediss://host:6379 or redis+unix:///path/to/socket";
            format!("must be a URL: {example}")
        })
    };
    let words: Vec<&str> = if several { text.split(',').collect() } else { vec![text] };
    if words.len() > URLS_MAX {
        return Err(format!("may name {URLS_MAX} servers at most"));
    }
    let infos = words.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    if !several {
        return Ok(infos);
    }
    let Some(first) = infos.first() else { return Ok(infos) };
    let tls = |info: &ConnectionInfo| matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    for info in &infos {
        let (one, other) = (info.redis_settings(), first.redis_settings());
        if matches!(info.addr(), ConnectionAddr::Unix(_)) {
            return Err("sentinels and clusters are reached by redis:// or rediss:// only".to_owned());
        }
        if tls(info) != tls(first) || one.username() != other.username() || one.password() != other.password()
        {
            return Err("all URLs must have the same scheme, user and password".to_owned());
        }
        if *mode == RedisMode::Cluster && one.db() != 0 {
            return Err("a cluster has database 0 only".to_owned());
        }
    }
    Ok(infos)
}
