//! The probe of a closed number: a connection of its own, then the number's own fields. Rare, so by reqwest.

use std::time::Duration;

use reqwest::{Client, ClientBuilder};

use super::endpoint::Endpoint;
use super::proxy;
use crate::config::{CloudConfig, Secret};

/// A probe that takes longer found no health.
const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// A client that keeps no connection: a probe must find out whether a new one can be made.
pub fn client(config: &CloudConfig, endpoint: &Endpoint) -> Result<Client, reqwest::Error> {
    let timeout = config.timeout.min(PROBE_TIMEOUT_MAX);
    builder(config, endpoint)?.timeout(timeout).pool_max_idle_per_host(0).build()
}

/// What every client of the rare requests begins with; the environment's proxies are nobody's wish.
pub(super) fn builder(config: &CloudConfig, endpoint: &Endpoint) -> reqwest::Result<ClientBuilder> {
    // reqwest wants a provider even for plain http; a second installation changes nothing.
    crate::tls::install_default();
    let builder = Client::builder()
        .connect_timeout(config.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    let builder = match &endpoint.tls {
        Some((tls, _)) => builder.tls_backend_preconfigured(tls.as_ref().clone()),
        None => builder,
    };
    Ok(match &endpoint.proxy {
        Some(through) => builder.proxy(proxy::for_reqwest(through)?),
        None => builder,
    })
}

/// Asks for the fields of a number. True: the platform answers for it.
pub async fn probe(client: &Client, endpoint: &Endpoint, number: &str, token: &Secret) -> bool {
    let request = client.get(format!("{}/{number}?fields=id", endpoint.base)).bearer_auth(&token.0).send();
    // 407 is a proxy's: the platform was not asked.
    matches!(request.await, Ok(reply) if reply.status().as_u16() < 500 && reply.status().as_u16() != 407)
}
