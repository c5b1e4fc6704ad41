//! One message, sent by itself and waited for: what `campaign test` needs. Never tried twice.

use reqwest::Client;
use serde::Deserialize;

use super::endpoint::{Endpoint, EndpointError};
use super::{probe, wire};
use crate::config::{CloudConfig, Secret};
use crate::policy::classify::{ErrorTable, Local, Verdict};

/// Characters of Meta's words that are kept.
const MESSAGE_MAX_CHARS: usize = 400;

/// Why nothing can be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum SingleError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Endpoint(#[from] EndpointError),
    /// The client cannot be made.
    #[error("cannot set up a request to the Cloud API: {0}")]
    Client(String),
}

/// What Meta answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it means.
    pub verdict: Verdict,
    /// HTTP status; None: no answer.
    pub http_status: Option<u16>,
    /// Meta's id of the message.
    pub wamid: Option<String>,
    /// Meta's words, for an error.
    pub message: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawAnswer {
    #[serde(default)]
    messages: Vec<RawMessage>,
    #[serde(default)]
    error: Option<RawError>,
}

#[derive(Deserialize)]
struct RawMessage {
    id: String,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(default)]
    message: Option<String>,
}

/// Sends one request from a number.
///
/// # Errors
/// When the configuration allows no request. That nobody answered is an answer.
pub async fn send(
    config: &CloudConfig,
    token: &Secret,
    number: &str,
    body: Vec<u8>,
    table: &ErrorTable,
) -> Result<Answer, SingleError> {
    let endpoint = Endpoint::new(config)?;
    let client: Client = probe::builder(config, &endpoint)
        .and_then(|builder| builder.timeout(config.timeout).build())
        .map_err(|error| SingleError::Client(error.without_url().to_string()))?;
    let request = client
        .post(format!("{}/{number}/messages", endpoint.base))
        .bearer_auth(&token.0)
        .header("content-type", "application/json")
        .body(body);
    let lost = |error: &reqwest::Error| {
        let never_begun = error.is_connect() || error.is_builder();
        let local = match never_begun {
            true => Local::NeverBegun,
            false if error.is_timeout() => Local::Timeout,
            false => Local::ResetAfterBegin,
        };
        Answer { verdict: table.local(local), http_status: None, wamid: None, message: None }
    };
    let reply = match request.send().await {
        Ok(reply) => reply,
        Err(error) => return Ok(lost(&error)),
    };
    let http_status = reply.status().as_u16();
    let retry_after =
        reply.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = match read(reply).await {
        Ok(body) => body,
        Err(error) => return Ok(lost(&error)),
    };
    let verdict = table.classify(&wire::read(http_status, retry_after.as_deref(), &body));
    let raw: RawAnswer = serde_json::from_slice(&body).unwrap_or_default();
    let message = raw.error.and_then(|error| error.message);
    Ok(Answer {
        verdict,
        http_status: Some(http_status),
        wamid: raw.messages.into_iter().next().map(|message| message.id),
        message: message.map(|message| message.chars().take(MESSAGE_MAX_CHARS).collect()),
    })
}

/// The beginning of a body, as much as an answer of Meta may have.
async fn read(mut reply: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = reply.chunk().await? {
        let room = wire::REPLY_MAX_BYTES.saturating_sub(body.len());
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if room == 0 {
            break;
        }
    }
    Ok(body)
}
