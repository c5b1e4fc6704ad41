//! Replies of the Cloud API, the error table that gives them their meaning, and the table itself.

use std::time::Duration;

use carteiro::cloud::wire::{WAMID_MAX_BYTES, read_with_id};
use carteiro::policy::classify::{ErrorTable, Kind, ReplyBody};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::mutate::{bends, bent, cut, cut_bytes, cuts};

const TABLE: &str = include_str!("../../config/errors.toml");

/// No verdict ever waits longer.
const WAIT_MAX: Duration = Duration::from_secs(31 * 86_400);

fn accepted() -> Value {
    json!({"messaging_product": "whatsapp", "contacts": [{"input": "+55", "wa_id": "55"}],
        "messages": [{"id": "wamid.A==", "message_status": "accepted"}]})
}

fn refused() -> Value {
    json!({"error": {"message": "(#130429) Rate limit hit", "type": "OAuthException", "code": 130_429, "is_transient": false,
        "error_data": {"messaging_product": "whatsapp", "details": "d"}, "fbtrace_id": "A"}})
}

fn check(table: &ErrorTable, status: u16, retry_after: Option<&str>, body: &[u8]) {
    let (reply, wamid) = read_with_id(status, retry_after, body);
    let verdict = table.classify(&reply);
    assert!(wamid.is_none_or(|wamid| !wamid.is_empty() && wamid.len() <= WAMID_MAX_BYTES));
    assert!(verdict.wait.is_none_or(|wait| wait <= WAIT_MAX), "{verdict:?}");
    // What is no reply of Meta's is never a success, and a success is never retried.
    let taken = matches!(reply.body, ReplyBody::Accepted { .. });
    let success = matches!(verdict.kind, Kind::Accepted | Kind::Held);
    assert!(taken || !success, "{reply:?} {verdict:?}");
}

#[test]
fn depth_ends_in_what_cannot_be_read() {
    let table = ErrorTable::builtin();
    for open in ["[", "{\"error\":", "{\"messages\":[", "{\"x\":["] {
        check(&table, 200, None, open.repeat(200_000).as_bytes());
    }
    for open in ["a = [", "[a.", "a = {a = "] {
        assert!(ErrorTable::parse(&open.repeat(50_000)).is_err());
    }
    crate::memory_stayed_small();
}

proptest! {
    #[test]
    fn bent_replies_get_a_verdict(
        success: bool, bends in bends(), cuts in cuts(), status in 0u16..1_000, wait in prop::option::of("[0-9a-z :-]{0,30}")
    ) {
        let table = ErrorTable::builtin();
        let reply = if success { accepted() } else { refused() };
        check(&table, status, wait.as_deref(), bent(reply.clone(), &bends).to_string().as_bytes());
        check(&table, status, wait.as_deref(), &cut_bytes(reply.to_string().as_bytes(), &cuts));
    }

    #[test]
    fn every_code_and_wait_gets_a_verdict(code: i64, status in 0u16..1_000, wait: u64, transient: Option<bool>) {
        let body = json!({"error": {"code": code, "is_transient": transient}});
        check(&ErrorTable::builtin(), status, Some(&wait.to_string()), body.to_string().as_bytes());
    }

    #[test]
    fn a_cut_table_is_refused_or_gives_every_reply_a_verdict(cuts in cuts(), code: i64, status in 0u16..1_000) {
        if let Ok(table) = ErrorTable::parse(&cut(TABLE, &cuts)) {
            for body in [json!({"error": {"code": code}}), refused(), accepted(), json!({})] {
                check(&table, status, Some("7"), body.to_string().as_bytes());
            }
        }
    }
}
