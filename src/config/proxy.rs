//! The egress proxy of `cloud.proxy`: its address, and what it wants to know of us. The password is never shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::Secret;

/// A proxy that requests to the Cloud API go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// `host:port`
    pub authority: String,
    /// Value of `Proxy-Authorization`, if the proxy wants to know who we are.
    pub authorization: Option<Secret>,
}

/// `http://[user:password@]host:port`; characters that a URL cannot hold are written as `%40`.
pub(super) fn parse(text: &str) -> Result<ProxyConfig, String> {
    let shape = || "must be a URL with a port such as \"http://proxy.internal:3128\"".to_owned();
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some(("https", _)) => {
            return Err(
                "must begin with http://: the proxy itself is reached without TLS, what goes through it \
                        to Meta has TLS of its own"
                    .to_owned(),
            );
        }
        _ => return Err(shape()),
    };
    let (user, authority) = match rest.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, rest),
    };
    let uri: hyper::Uri = format!("http://{authority}").parse().map_err(|_| shape())?;
    let plain = uri.path() == "/" && uri.query().is_none() && !authority.contains(['/', '?', '#']);
    if !plain || uri.host().is_none_or(str::is_empty) || uri.port_u16().is_none_or(|port| port == 0) {
        return Err(shape());
    }
    let authorization = user.map(authorization).transpose()?;
    Ok(ProxyConfig { authority: authority.to_owned(), authorization })
}

fn authorization(user: &str) -> Result<Secret, String> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let (name, password) = (decode(name), decode(password));
    if name.is_empty() || name.contains(&b':') || [&name, &password].iter().any(|part| part.contains(&b'\n'))
    {
        return Err("has a user that is empty, or holds a colon or a line break".to_owned());
    }
    let pair = [name.as_slice(), b":", password.as_slice()].concat();
    Ok(Secret(format!("Basic {}", STANDARD.encode(pair)).into()))
}

impl ProxyConfig {
    /// As `config show` prints it.
    pub(super) fn shown(&self) -> String {
        let user = if self.authorization.is_some() { "***@" } else { "" };
        format!("http://{user}{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_with_and_without_a_user() {
        let check = |text: &str, authority: &str, authorization: Option<&str>| {
            let proxy = parse(text).unwrap();
            let found = proxy.authorization.as_ref().map(|secret| &*secret.0);
            assert_eq!((proxy.authority.as_str(), found), (authority, authorization), "{text}");
            assert!(!format!("{proxy:?} {}", proxy.shown()).contains("Basic"));
        };
        check("http://proxy.internal:3128", "proxy.internal:3128", None);
        check("http://[::1]:3128/", "[::1]:3128", None);
        check("http://Aladdin:open%20sesame@p:1", "p:1", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        check("http://u:p@w%40x@p:1", "p:1", Some("Basic dTpwQHdAeA=="));
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_repeating_it() {
        for text in [
            "",
            "proxy:3128",
            "https://secret@p:1",
            "socks5://p:1",
            "http://p",
            "http://p:0",
            "http://p:1/path",
            "http://:secret@p:1",
            "http://secret%3a:x@p:1",
            "http://secret%0a:x@p:1",
            "http://p:99999",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
