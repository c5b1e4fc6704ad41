//! The way through an egress proxy: a CONNECT tunnel for https, plain forwarding for http.
//!
//! What fails here failed before a byte of a message left. The messages name the proxy, never its password.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Request, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock;
use crate::config::ProxyConfig;

/// Bytes of a proxy's answer to CONNECT at most.
const ANSWER_MAX_BYTES: usize = 16 << 10;

/// The same trouble is said once in so many seconds.
const SAID_AGAIN_S: u64 = 60;

/// Why there is no way through a proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The proxy itself cannot be reached.
    #[error("the proxy {proxy} cannot be reached ({source}): check cloud.proxy")]
    Unreachable {
        /// `host:port`
        proxy: String,
        /// Why.
        source: io::Error,
    },
    /// The proxy wants another user or password.
    #[error("the proxy {proxy} wants another user or password (407): check those of cloud.proxy")]
    Unauthorized {
        /// `host:port`
        proxy: String,
    },
    /// The proxy makes no tunnel.
    #[error("the proxy {proxy} makes no tunnel to {target} (HTTP {status}): it must allow that address")]
    Refused {
        /// `host:port`
        proxy: String,
        /// `host:port`
        target: String,
        /// What it answered.
        status: u16,
    },
    /// The proxy does not speak HTTP.
    #[error("the proxy {proxy} answered CONNECT with something else than HTTP: check cloud.proxy")]
    Garbled {
        /// `host:port`
        proxy: String,
    },
    /// The proxy broke off.
    #[error("the proxy {proxy} broke off before the tunnel stood ({source})")]
    Broken {
        /// `host:port`
        proxy: String,
        /// Why.
        source: io::Error,
    },
}

/// What a request needs that a proxy forwards in plain http.
#[derive(Clone, Debug)]
pub struct Forward {
    origin: String,
    authorization: Option<HeaderValue>,
}

impl Forward {
    /// Requests to `target` (`host:port`) through `proxy`.
    pub(super) fn new(proxy: &ProxyConfig, target: &str) -> Self {
        Self { origin: format!("http://{target}"), authorization: header(proxy) }
    }

    /// Writes the address in full, as a proxy wants it, and who we are.
    pub(super) fn apply<B>(&self, request: &mut Request<B>) {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if let Ok(uri) = format!("{}{path}", self.origin).parse::<Uri>() {
            *request.uri_mut() = uri;
        }
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
    }
}

/// Connects to the proxy.
pub(super) async fn reach(proxy: &ProxyConfig) -> Result<TcpStream, ProxyError> {
    let stream = TcpStream::connect(&proxy.authority).await;
    stream.map_err(|source| ProxyError::Unreachable { proxy: proxy.authority.clone(), source })
}

/// Asks for a tunnel to `target` (`host:port`).
pub(super) async fn tunnel(
    stream: &mut TcpStream,
    proxy: &ProxyConfig,
    target: &str,
) -> Result<(), ProxyError> {
    let name = || proxy.authority.clone();
    let broken = |source| ProxyError::Broken { proxy: name(), source };
    let authorization = proxy.authorization.as_ref();
    let authorization =
        authorization.map_or_else(String::new, |secret| format!("Proxy-Authorization: {}\r\n", secret.0));
    let ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    stream.write_all(ask.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    // What lies behind the tunnel speaks only after us, so nothing of its words can be read here by mistake.
    while !answer.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).await.map_err(broken)?;
        if read == 0 && answer.is_empty() {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        answer.extend_from_slice(&piece[..read]);
        // A refusal may bring a page with it, or end the connection; its first line is enough.
        let refused = status(&answer).is_some_and(|status| !(200..300).contains(&status));
        if refused || read == 0 || answer.len() > ANSWER_MAX_BYTES {
            break;
        }
    }
    match status(&answer) {
        Some(200..=299) if answer.ends_with(b"\r\n\r\n") => Ok(()),
        Some(407) => Err(ProxyError::Unauthorized { proxy: name() }),
        Some(status) if !(200..300).contains(&status) => {
            Err(ProxyError::Refused { proxy: name(), target: target.to_owned(), status })
        }
        _ => Err(ProxyError::Garbled { proxy: name() }),
    }
}

/// The proxy for the rare requests.
pub(super) fn for_reqwest(proxy: &ProxyConfig) -> reqwest::Result<reqwest::Proxy> {
    let all = reqwest::Proxy::all(format!("http://{}", proxy.authority))?;
    Ok(match header(proxy) {
        Some(authorization) => all.custom_http_auth(authorization),
        None => all,
    })
}

/// Says that the proxy is the trouble, now and then: connections fail many at a time.
pub(super) fn warn(error: &ProxyError) {
    static SAID_S: AtomicU64 = AtomicU64::new(0);
    let now_s = clock::mono().0.as_secs() + 1;
    let said_s = SAID_S.load(Ordering::Relaxed);
    if (said_s == 0 || now_s >= said_s + SAID_AGAIN_S) && SAID_S.swap(now_s, Ordering::Relaxed) == said_s {
        tracing::warn!(%error, "no way to the Cloud API");
    }
}

fn header(proxy: &ProxyConfig) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&proxy.authorization.as_ref()?.0).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The status of an HTTP answer, once its first line is whole.
fn status(answer: &[u8]) -> Option<u16> {
    let end = answer.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&answer[..end]).ok()?;
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_the_status() {
        let check = |answer: &str, expect| assert_eq!(status(answer.as_bytes()), expect, "{answer:?}");
        check("HTTP/1.1 200 Connection established\r\n\r\n", Some(200));
        check("HTTP/1.0 407 Proxy Authentication Required\r\nX: y\r\n", Some(407));
        check("HTTP/1.1 200 ", None);
        check("SSH-2.0-OpenSSH\r\n", None);
        check("HTTP/1.1 \r\n", None);
    }
}
