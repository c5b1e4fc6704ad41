//! What a Redis must be like before anything is sent on its word: a version, settings that keep every
//! acknowledged write, and a role that takes writes. The same checks for a private Redis and for one by URL.

use redis::aio::ConnectionLike;

use super::error::RedisServerError;
use crate::config::{RedisConfig, RedisMode, WaitFor};
use crate::queue::connection::Connection;

/// What was found out about a Redis that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// `7.0.15`
    pub version: String,
    /// Changes with every start of the server.
    pub run_id: String,
    /// Changes with every failover.
    pub master_replid: String,
    /// Process id on its machine.
    pub process_id: u32,
    /// True if every acknowledged write is on disk.
    pub durable: bool,
}

/// What a Redis must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demands {
    /// It keeps every acknowledged write on its disk.
    pub fsync: bool,
    /// It keeps its writes in an AOF.
    pub aof: bool,
    /// It is a node of a cluster.
    pub cluster: bool,
}

impl Default for Demands {
    /// One server that keeps everything.
    fn default() -> Self {
        Self { fsync: true, aof: true, cluster: false }
    }
}

/// Checks every master. The facts are those of the first; they are durable if all are.
///
/// # Errors
/// Names the setting, its value and what to do.
pub async fn check_all(
    connection: &Connection,
    config: &RedisConfig,
) -> Result<ServerFacts, RedisServerError> {
    let cluster = config.mode == RedisMode::Cluster;
    // What replicas have before it counts need not be on the disk of the master.
    let replicated = config.wait_replicas != WaitFor::Nobody;
    let demands = Demands {
        fsync: !config.allow_weak_durability && !replicated,
        aof: !config.allow_weak_durability,
        cluster,
    };
    let mut all = Vec::new();
    for mut master in connection.masters() {
        all.push(start_checks(&mut master, demands).await?);
    }
    let durable = all.iter().all(|facts| facts.durable);
    let first = all.into_iter().next();
    first
        .map(|facts| ServerFacts { durable, ..facts })
        .ok_or_else(|| refused("cluster", "empty", "it has no master"))
}

/// Checks one Redis.
///
/// # Errors
/// Names the setting, its value and what to do.
pub async fn start_checks(
    connection: &mut impl ConnectionLike,
    demands: Demands,
) -> Result<ServerFacts, RedisServerError> {
    let text: String = redis::cmd("INFO")
        .arg("everything")
        .query_async(connection)
        .await
        .map_err(|source| RedisServerError::Command { command: "INFO", source })?;
    let info = Info(&text);
    check_info(&info, demands.cluster)?;
    let aof = info.get("aof_enabled") == "1";
    let durable = aof && (appendfsync(connection, !demands.fsync).await? == "always");
    if demands.aof && !aof {
        let remedy = "set appendonly yes and appendfsync always, or redis.allow_weak_durability = true";
        return Err(refused("appendonly", "no", remedy));
    }
    Ok(ServerFacts {
        version: info.get("redis_version").to_owned(),
        run_id: info.get("run_id").to_owned(),
        master_replid: info.get("master_replid").to_owned(),
        process_id: info.get("process_id").parse().unwrap_or_default(),
        durable,
    })
}

/// `appendfsync`; empty if it is hidden from us and weak durability is accepted.
async fn appendfsync(
    connection: &mut impl ConnectionLike,
    allow_weak: bool,
) -> Result<String, RedisServerError> {
    let reply: Result<Vec<String>, _> =
        redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(connection).await;
    match reply {
        Ok(pair) => match pair.get(1).map(String::as_str) {
            Some(policy) if policy == "always" || allow_weak => Ok(policy.to_owned()),
            Some(policy) => {
                let remedy = "set it to always, or redis.allow_weak_durability = true: \
                              a crash could otherwise send messages twice";
                Err(refused("appendfsync", policy, remedy))
            }
            None if allow_weak => Ok(String::new()),
            None => Err(RedisServerError::ConfigHidden),
        },
        // The server answered, so what it refused is the command.
        Err(error) if matches!(error.kind(), redis::ErrorKind::Server(_) | redis::ErrorKind::Extension) => {
            if allow_weak {
                Ok(String::new())
            } else {
                Err(RedisServerError::ConfigHidden)
            }
        }
        Err(source) => Err(RedisServerError::Command { command: "CONFIG GET", source }),
    }
}

/// Everything that INFO tells.
fn check_info(info: &Info<'_>, cluster: bool) -> Result<(), RedisServerError> {
    check_version(info.get("redis_version"))?;
    match (info.get("cluster_enabled") == "1", cluster) {
        (true, false) => {
            let remedy = "set redis.mode = \"cluster\", and let redis.url name some of its nodes";
            return Err(refused("cluster-enabled", "yes", remedy));
        }
        (false, true) => {
            let remedy = "it is no node of a cluster: leave out redis.mode, or set redis.url to the nodes";
            return Err(refused("cluster-enabled", "no", remedy));
        }
        _ => {}
    }
    if info.get("redis_mode") == "sentinel" {
        let remedy = "set redis.mode = \"sentinel\" and redis.sentinel_master";
        return Err(refused("redis_mode", "sentinel", remedy));
    }
    if info.get("role") != "master" {
        let remedy = "a replica takes no writes: set redis.url to the master, or to the sentinels that know it \
                      (redis.mode = \"sentinel\")";
        return Err(refused("role", info.get("role"), remedy));
    }
    let policy = info.get("maxmemory_policy");
    if policy != "noeviction" {
        let remedy = "set it to noeviction: any other policy throws messages away when memory is full";
        return Err(refused("maxmemory-policy", policy, remedy));
    }
    Ok(())
}

/// Refuses a version below 7.0.
pub(super) fn check_version(version: &str) -> Result<(), RedisServerError> {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 7) {
        return Ok(());
    }
    let found = if version.is_empty() { "of unknown version" } else { version };
    Err(RedisServerError::TooOld { found: found.to_owned() })
}

fn refused(setting: &'static str, found: &str, remedy: &'static str) -> RedisServerError {
    RedisServerError::Refused { setting, found: found.to_owned(), remedy }
}

/// The text of INFO, read by field.
struct Info<'a>(&'a str);

impl Info<'_> {
    /// The value of a field, empty if it is not there.
    fn get(&self, field: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map_or("", str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.2.4\r\nrole:master\r\nmaxmemory_policy:noeviction\r\ncluster_enabled:0\r\n";

    fn check(from: &str, to: &str, expect: &str) {
        let text = GOOD.replace(from, to);
        assert_eq!(check_info(&Info(&text), false).unwrap_err().to_string().split(": ").next(), Some(expect));
    }

    #[test]
    fn what_info_tells() {
        check_info(&Info(GOOD), false).unwrap();
        let error = check_info(&Info(GOOD), true).unwrap_err().to_string();
        assert!(error.starts_with("Redis has cluster-enabled = no: "), "{error}");
        check("7.2.4", "6.2.14", "Redis 6.2.14 is too old");
        check("7.2.4", "", "Redis of unknown version is too old");
        check("role:master", "role:slave", "Redis has role = slave");
        check("noeviction", "allkeys-lru", "Redis has maxmemory-policy = allkeys-lru");
        check("cluster_enabled:0", "cluster_enabled:1", "Redis has cluster-enabled = yes");
    }

    #[test]
    fn versions() {
        for version in ["7.0.0", "7.2.4", "8.0.1", "10.1"] {
            assert!(check_version(version).is_ok(), "{version}");
        }
        for version in ["6.2.14", "", "x", "-7"] {
            assert!(check_version(version).is_err(), "{version}");
        }
    }
}
