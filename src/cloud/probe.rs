//! The probe of a closed number: a connection of its own, then the number's own fields. Rare, so by reqwest.

use std::time::Duration;

use reqwest::Client;

use super::endpoint::Endpoint;
use crate::config::{CloudConfig, Secret};

/// A probe that takes longer found no health.
const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// A client that keeps no connection: a probe must find out whether a new one can be made.
pub fn client(config: &CloudConfig, endpoint: &Endpoint) -> Result<Client, reqwest::Error> {
    let builder = Client::builder()
        .connect_timeout(config.connect_timeout)
        .timeout(config.timeout.min(PROBE_TIMEOUT_MAX))
        .pool_max_idle_per_host(0)
        .no_proxy();
    match &endpoint.tls {
        Some((tls, _)) => builder.tls_backend_preconfigured(tls.as_ref().clone()).build(),
        None => builder.build(),
    }
}

/// Asks for the fields of a number. True: the platform answers for it.
pub async fn probe(client: &Client, endpoint: &Endpoint, number: &str, token: &Secret) -> bool {
    let request = client.get(format!("{}/{number}?fields=id", endpoint.base)).bearer_auth(&token.0).send();
    matches!(request.await, Ok(reply) if reply.status().as_u16() < 500)
}
