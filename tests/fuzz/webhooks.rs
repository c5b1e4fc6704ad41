//! Bodies of webhooks.

use carteiro::cloud::webhook::{Parsed, UPDATES_MAX};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::mutate::{bends, bent, cut_bytes, cuts};

/// One of everything that Meta sends.
fn body() -> Value {
    let change = |field: &str, value: Value| json!({"field": field, "value": value});
    let statuses = json!({"messaging_product": "whatsapp", "metadata": {"display_phone_number": "551140000000", "phone_number_id": "201"},
        "contacts": [{"profile": {"name": "Ana"}, "wa_id": "5511987654321"}],
        "statuses": [
            {"id": "wamid.1", "status": "delivered", "timestamp": "1767225600", "recipient_id": "5511987654321",
             "biz_opaque_callback_data": "ct1.abc.7.3.12.1", "pricing": {"billable": true, "category": "utility"}},
            {"id": "wamid.2", "status": "failed", "timestamp": 1_767_225_600_123_u64, "recipient_user_id": "BR.1",
             "errors": [{"code": 131_026, "title": "x", "error_data": {"details": "y"}}]}],
        "messages": [
            {"id": "wamid.3", "from": "5511987654321", "type": "text", "text": {"body": "SAIR"}, "context": {"id": "wamid.1"}},
            {"id": "wamid.4", "from_user_id": "BR.2", "type": "interactive", "interactive": {"button_reply": {"id": "1", "title": "a"}}},
            {"id": "wamid.5", "from": "1", "type": "system", "system": {"type": "user_changed_number", "wa_id": "2"}}],
        "errors": [{"code": 130_429}]});
    let template = json!({"event": "PAUSED", "message_template_id": 1, "message_template_name": "n", "message_template_language": "pt_BR"});
    let restriction = json!({"event": "ACCOUNT_RESTRICTION", "restriction_info": [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING"}]});
    let preference = json!({"user_preferences": [{"wa_id": "5511987654321", "category": "marketing_messages", "value": "stop", "timestamp": 1}]});
    json!({"object": "whatsapp_business_account", "entry": [{"id": "100", "time": 1, "changes": [
        change("messages", statuses), change("message_template_status_update", template),
        change("account_update", restriction), change("user_preferences", preference),
        change("business_capability_update", json!({"max_daily_conversations_per_business": 2_000})),
        change("phone_number_quality_update", json!({"display_phone_number": "+55 11", "event": "THROUGHPUT_UPGRADE"})),
        change("account_alerts", json!({"alert_severity": "CRITICAL", "alert_type": "T"})), change("calls", json!({})),
    ]}]})
}

/// Reads a body; what can be said of any.
fn check(bytes: &[u8]) -> Parsed {
    let parsed = Parsed::read(bytes);
    assert!(parsed.events.len() <= UPDATES_MAX);
    // Nothing of a person is printed, whatever shape it came in.
    let shown = format!("{parsed:?}");
    assert!(!shown.contains("5511987654321") && !shown.contains("SAIR"), "{shown}");
    parsed
}

#[test]
fn the_seed_is_read_whole() {
    let parsed = check(body().to_string().as_bytes());
    assert_eq!((parsed.events.len(), parsed.skipped.len()), (13, 0));
}

#[test]
fn depth_and_size_end_in_counts() {
    for open in [
        "[",
        "{\"entry\":[",
        "{\"entry\":[{\"id\":\"1\",\"changes\":[{\"field\":\"account_update\",\"value\":{\"ban_info\":[",
    ] {
        check(open.repeat(200_000).as_bytes());
        check(format!("{open}{}", "[".repeat(500_000)).as_bytes());
    }
    let many = json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": {"statuses": vec![7; 500_000]}}]}]});
    assert_eq!(check(many.to_string().as_bytes()).events.len(), 0);
    crate::memory_stayed_small();
}

proptest! {
    #[test]
    fn a_bent_body_is_read_as_far_as_it_can(bends in bends()) {
        check(bent(body(), &bends).to_string().as_bytes());
    }

    #[test]
    fn one_bent_update_fails_no_other(bends in bends()) {
        let good = json!({"id": "w", "status": "sent", "biz_opaque_callback_data": "ct1.abc.7.3.12.1"});
        let bad = bent(body()["entry"][0]["changes"][0]["value"]["statuses"][0].clone(), &bends);
        let value = json!({"statuses": [good, bad, good], "messages": [bad, {"id": "w", "type": "text"}]});
        let body = json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]});
        prop_assert!(check(body.to_string().as_bytes()).events.len() >= 3);
    }

    #[test]
    fn a_cut_body_is_read_as_far_as_it_can(cuts in cuts()) {
        Parsed::read(&cut_bytes(body().to_string().as_bytes(), &cuts));
    }
}
