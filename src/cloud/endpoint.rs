//! Where the Cloud API is: one resolved base URL, its host header, and how to connect there.

use std::sync::Arc;

use hyper::Uri;
use hyper::header::HeaderValue;
use rustls::pki_types::ServerName;

use super::connection::H2;
use crate::config::{CloudConfig, ProxyConfig};

/// Trouble with the configured URL.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The URL is no http(s) URL with a host.
    #[error("cloud.url {0}: give http:// or https:// and a host")]
    Url(String),
    /// TLS cannot be set up.
    #[error("cloud.ca_file: {0}")]
    Tls(#[from] crate::tls::TlsError),
}

/// The Cloud API as configured.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `http://host:port/v26.0`
    pub base: String,
    /// Host header.
    pub host: HeaderValue,
    /// `host:port` to connect to.
    pub authority: String,
    /// Path before `/{phone_number_id}/messages`.
    pub prefix: String,
    /// TLS, for https.
    pub tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    /// The same, with an offer of HTTP/2: for connections that carry messages. None: it is not wanted.
    pub tls_for_streams: Option<Arc<rustls::ClientConfig>>,
    /// The proxy that everything goes through.
    pub proxy: Option<ProxyConfig>,
}

impl Endpoint {
    /// Reads the configured URL.
    pub fn new(config: &CloudConfig) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Url(config.url.clone());
        let uri: Uri = config.url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = if secure {
            let name = ServerName::try_from(name).map_err(|_| wrong())?;
            Some((Arc::new(crate::tls::client_config(config.ca_file.as_deref())?), name))
        } else {
            None
        };
        let tls_for_streams = tls.as_ref().filter(|_| config.http2).map(|(tls, _)| {
            let mut offering = tls.as_ref().clone();
            offering.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
            Arc::new(offering)
        });
        let prefix = format!("{}/{}", uri.path().trim_end_matches('/'), config.version);
        let written = uri.authority().map(|authority| authority.as_str().to_owned()).ok_or_else(wrong)?;
        Ok(Self {
            base: format!("{}/{}", config.url.trim_end_matches('/'), config.version),
            host: HeaderValue::from_str(&written).map_err(|_| wrong())?,
            authority: format!("{host}:{port}"),
            prefix,
            tls,
            tls_for_streams,
            proxy: config.proxy.clone(),
        })
    }

    /// The path of a number's messages.
    pub fn messages_path(&self, number: &str) -> Result<Uri, EndpointError> {
        let path = format!("{}/{number}/messages", self.prefix);
        path.parse().map_err(|_| EndpointError::Url(path))
    }
}
