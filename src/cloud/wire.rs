//! Replies of the Cloud API, from bytes to what matters of them.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use crate::policy::classify::{Reply, ReplyBody};

/// Bytes of a reply that are read at most; the platform's replies have a few hundred.
pub const REPLY_MAX_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct RawReply<'a> {
    #[serde(borrow, default)]
    messages: Vec<RawMessage<'a>>,
    #[serde(default)]
    error: Option<RawError>,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    message_status: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawError {
    code: Option<i64>,
    #[serde(default)]
    is_transient: Option<bool>,
}

/// Longest id of a message that is believed; Meta's have about a hundred bytes.
pub const WAMID_MAX_BYTES: usize = 512;

/// Reads a reply. Total: what cannot be read is [`ReplyBody::Unreadable`].
pub fn read(http_status: u16, retry_after: Option<&str>, body: &[u8]) -> Reply {
    read_with_id(http_status, retry_after, body).0
}

/// The same with Meta's id of the message (`messages[0].id`), where it took one.
pub fn read_with_id(http_status: u16, retry_after: Option<&str>, body: &[u8]) -> (Reply, Option<Box<str>>) {
    let mut wamid = None;
    let body = match serde_json::from_slice::<RawReply<'_>>(body) {
        // A 200 that carries an error was seen in the wild: the error counts.
        Ok(RawReply { error: Some(RawError { code: Some(code), is_transient }), .. }) => {
            ReplyBody::Error { code, is_transient }
        }
        Ok(RawReply { messages, error: None }) => match messages.first() {
            Some(message) if !message.id.is_empty() => {
                let held = matches!(
                    message.message_status.as_deref(),
                    Some("held_for_quality_assessment" | "paused")
                );
                if message.id.len() <= WAMID_MAX_BYTES {
                    wamid = Some(message.id.as_ref().into());
                }
                ReplyBody::Accepted { held }
            }
            _ => ReplyBody::Unreadable,
        },
        _ => ReplyBody::Unreadable,
    };
    let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    (Reply { http_status, body, retry_after }, wamid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expect: &ReplyBody) {
        assert_eq!(&read(200, None, body.as_bytes()).body, expect, "{body}");
    }

    #[test]
    fn replies_as_the_platform_writes_them() {
        check(
            r#"{"messaging_product":"whatsapp","contacts":[{"input":"+55","wa_id":"55"}],"messages":[{"id":"wamid.A=="}]}"#,
            &ReplyBody::Accepted { held: false },
        );
        for status in ["held_for_quality_assessment", "paused"] {
            let body = format!(r#"{{"messages":[{{"id":"wamid.A","message_status":"{status}"}}]}}"#);
            check(&body, &ReplyBody::Accepted { held: true });
        }
        check(
            r#"{"messages":[{"id":"wamid.A","message_status":"accepted"}]}"#,
            &ReplyBody::Accepted { held: false },
        );
        check(
            r#"{"error":{"message":"(#130429) Rate limit hit","type":"OAuthException","code":130429,"error_data":"text","fbtrace_id":"A"}}"#,
            &ReplyBody::Error { code: 130_429, is_transient: None },
        );
        check(
            r#"{"error":{"code":2,"is_transient":true,"error_data":{"details":"x"}},"messages":[{"id":"w"}]}"#,
            &ReplyBody::Error { code: 2, is_transient: Some(true) },
        );
    }

    #[test]
    fn what_says_nothing_is_unreadable() {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            "<html>",
            r#"{"messages":[]}"#,
            r#"{"messages":[{"id":""}]}"#,
            r#"{"error":{}}"#,
        ] {
            check(body, &ReplyBody::Unreadable);
        }
    }

    #[test]
    fn the_id_of_a_message_that_was_taken_comes_along() {
        let id = |body: &str| read_with_id(200, None, body.as_bytes()).1;
        assert_eq!(id(r#"{"messages":[{"id":"wamid.A=="}]}"#).as_deref(), Some("wamid.A=="));
        assert_eq!(id(r#"{"messages":[{"id":"wamid.\u0041"}]}"#).as_deref(), Some("wamid.A"));
        assert_eq!(id(r#"{"error":{"code":2},"messages":[{"id":"w"}]}"#), None);
        assert_eq!(id("{}"), None);
        let long = format!(r#"{{"messages":[{{"id":"{}"}}]}}"#, "w".repeat(WAMID_MAX_BYTES + 1));
        assert_eq!(id(&long), None);
    }

    #[test]
    fn retry_after_is_seconds_or_nothing() {
        let wait = |text: &str| read(429, Some(text), b"").retry_after;
        assert_eq!(wait(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(wait("-1"), None);
    }
}
