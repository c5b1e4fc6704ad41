//! The Redis client from the configuration: by URL (TCP, TLS, Unix socket; sentinels, a cluster) or to the private
//! child's socket.

use std::path::Path;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use super::error::RedisServerError;
use crate::config::{self, RedisConfig, RedisMode};
use crate::queue::client::{Address, Client, Maker, Promise};
use crate::tls;

/// A client: of `redis.url`, else of the private child at `private_socket`.
///
/// With `redis.ca_file` a `rediss://` server must be signed by it; without, by an authority the system trusts.
///
/// # Errors
/// Names the key that cannot be used.
pub fn client(config: &RedisConfig, private_socket: Option<&Path>) -> Result<Client, RedisServerError> {
    let bad_url =
        |problem: &str| RedisServerError::Settings { key: "redis.url", problem: problem.to_owned() };
    // The client's own message could repeat the URL, and with it a password.
    let no_url = "it is not a URL of Redis";
    let infos = match (&config.url, private_socket) {
        (Some(url), _) => config::redis_urls(&url.0, &config.mode).map_err(|_| bad_url(no_url))?,
        (None, Some(socket)) => {
            let socket = ConnectionAddr::Unix(socket.to_owned()).into_connection_info();
            vec![socket.map_err(|_| bad_url(no_url))?]
        }
        (None, None) => return Err(bad_url("it is not set and no private Redis was started")),
    };
    let Some(first) = infos.first().cloned() else { return Err(bad_url("it names no server")) };
    let root = authority(config, matches!(first.addr(), ConnectionAddr::TcpTls { .. }))?;
    let addresses = infos.iter().filter_map(Address::of).collect();
    let promise = Promise { replicas: config.wait_replicas, timeout: config.wait_timeout };
    let client = match &config.mode {
        RedisMode::Standalone => Client::from(one(first, root, &bad_url)?),
        RedisMode::Sentinel(master) => Client::sentinel(master, addresses, Maker::new(first, root)),
        RedisMode::Cluster => Client::cluster(addresses, Maker::new(first, root)),
    };
    Ok(client.promising(promise))
}

/// The authority (PEM) of `redis.ca_file`.
fn authority(config: &RedisConfig, tls: bool) -> Result<Option<Vec<u8>>, RedisServerError> {
    let unusable = |problem: String| RedisServerError::Settings { key: "redis.ca_file", problem };
    if tls {
        tls::install_default();
    }
    match &config.ca_file {
        Some(_) if !tls => Err(unusable("it is set, but redis.url does not begin with rediss://".to_owned())),
        Some(path) => {
            tls::certificates(path).map_err(|error| unusable(error.to_string()))?;
            std::fs::read(path).map(Some).map_err(|error| unusable(error.to_string()))
        }
        None => Ok(None),
    }
}

fn one(
    info: ConnectionInfo,
    root: Option<Vec<u8>>,
    bad_url: &impl Fn(&str) -> RedisServerError,
) -> Result<redis::Client, RedisServerError> {
    match root {
        Some(root) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(root) };
            redis::Client::build_with_tls(info, certificates).map_err(|error| RedisServerError::Settings {
                key: "redis.ca_file",
                problem: error.to_string(),
            })
        }
        None => redis::Client::open(info).map_err(|_| bad_url("it is not a URL of Redis")),
    }
}
