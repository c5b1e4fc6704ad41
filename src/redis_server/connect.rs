//! The Redis client from the configuration: by URL (TCP, TLS, Unix socket) or to the private child's socket.

use std::path::Path;

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, TlsCertificates};

use super::error::RedisServerError;
use crate::config::RedisConfig;
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
    let info = match (&config.url, private_socket) {
        (Some(url), _) => url.0.as_ref().into_connection_info(),
        (None, Some(socket)) => ConnectionAddr::Unix(socket.to_owned()).into_connection_info(),
        (None, None) => return Err(bad_url("it is not set and no private Redis was started")),
    };
    // The client's own message could repeat the URL, and with it a password.
    let info = info.map_err(|_| bad_url("it is not a URL of Redis"))?;
    let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    let client = match &config.ca_file {
        Some(_) if !tls => {
            let problem = "it is set, but redis.url does not begin with rediss://".to_owned();
            return Err(RedisServerError::Settings { key: "redis.ca_file", problem });
        }
        Some(path) => {
            let unusable = |problem: String| RedisServerError::Settings { key: "redis.ca_file", problem };
            tls::install_default();
            tls::certificates(path).map_err(|error| unusable(error.to_string()))?;
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
            Client::build_with_tls(info, certificates).map_err(|error| unusable(error.to_string()))?
        }
        None => {
            if tls {
                tls::install_default();
            }
            Client::open(info).map_err(|_| bad_url("it is not a URL of Redis"))?
        }
    };
    Ok(client)
}

/// Time limits of every asynchronous connection.
pub fn connection_config(config: &RedisConfig) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.response_timeout))
}
