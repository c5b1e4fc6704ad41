//! Bodies as Meta sends them, bodies that nobody should send, and bodies that nobody can foresee.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::facts::PeopleLimit;

const WIRE: &str = "ct1.abc.7.3.12.1";

fn body(value: &Value) -> String {
    json!({"object": "whatsapp_business_account", "entry": [{"id": "100", "changes": [
        {"field": "messages", "value": value}
    ]}]})
    .to_string()
}

fn change(field: &str, value: &Value) -> String {
    json!({"entry": [{"id": "100", "time": 1, "changes": [{"field": field, "value": value}]}]}).to_string()
}

fn statuses(statuses: &Value) -> Parsed {
    let value = json!({"messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "551140000000", "phone_number_id": "201"}, "statuses": statuses});
    Parsed::read(body(&value).as_bytes())
}

fn one(parsed: Parsed) -> Event {
    assert_eq!(parsed.skipped, BTreeMap::new());
    assert_eq!(parsed.events.len(), 1, "{parsed:?}");
    parsed.events.into_iter().next().unwrap()
}

#[test]
fn a_status_as_meta_writes_it() {
    let parsed = statuses(&json!([{
        "id": "wamid.HBg=", "status": "delivered", "timestamp": "1767225600", "recipient_id": "5511987654321",
        "recipient_user_id": "BR.1", "biz_opaque_callback_data": WIRE,
        "conversation": {"id": "x", "origin": {"type": "utility"}},
        "pricing": {"billable": true, "pricing_model": "PMP", "category": "utility", "type": "regular"}
    }]));
    let Event::Status(status) = one(parsed) else { panic!() };
    assert_eq!(status.kind, ReceiptKind::Delivered);
    assert_eq!(status.at_ms, Some(1_767_225_600_000));
    assert_eq!(status.number, Some(NumberId::from("201")));
    assert_eq!(status.reference, Reference::Wire(WIRE.parse().unwrap()));
    assert_eq!(status.to.phone.as_ref().unwrap().expose(), "5511987654321");
    assert_eq!(status.to.user_id.as_ref().unwrap().expose(), "BR.1");
    assert_eq!(
        (status.code, status.category.as_deref(), status.billable),
        (None, Some("utility"), Some(true))
    );
    assert!(!format!("{status:?}").contains("987654321"), "no phone in a log");
}

#[test]
fn statuses_in_every_shape_seen_in_the_wild() {
    let parsed = statuses(&json!([
        {"id": "w1", "status": "sent", "timestamp": 1_767_225_600_123_u64, "biz_opaque_callback_data": "order 7"},
        {"id": "w2", "status": "read", "timestamp": "1767225600123", "recipient_user_id": "BR.1"},
        {"id": "w3", "status": "played", "pricing": "free", "errors": "none"},
        {"id": "w4", "status": "failed", "errors": [{"code": 131_026, "title": "x", "error_data": {"details": "y"}}]},
        {"id": "w5", "status": "failed", "errors": [], "biz_opaque_callback_data": ""},
    ]));
    assert_eq!(parsed.skipped, BTreeMap::new());
    let all: Vec<(ReceiptKind, Option<u64>, Option<i64>, Reference)> = parsed
        .events
        .into_iter()
        .map(|event| match event {
            Event::Status(status) => (status.kind, status.at_ms, status.code, status.reference),
            other => panic!("{other:?}"),
        })
        .collect();
    let at = Some(1_767_225_600_123);
    assert_eq!(
        all,
        [
            (ReceiptKind::Sent, at, None, Reference::Foreign),
            (ReceiptKind::Read, at, None, Reference::None),
            (ReceiptKind::Read, None, None, Reference::None),
            (ReceiptKind::Failed, None, Some(131_026), Reference::None),
            (ReceiptKind::Failed, None, None, Reference::None),
        ]
    );
}

#[test]
fn a_bad_one_among_good_ones_is_counted_and_alone() {
    let parsed = statuses(&json!([
        {"id": "w1", "status": "sent"}, {"id": "w2"}, 7, null, [], {"id": {}, "status": "sent"},
        {"id": "w3", "status": "warmed"}, {"status": "sent"}, {"id": "w4", "status": "read"}
    ]));
    assert_eq!(parsed.events.len(), 2);
    assert_eq!(parsed.skipped, BTreeMap::from([(Skipped::Status, 6), (Skipped::StatusWord, 1)]));
}

#[test]
fn a_bad_entry_or_change_does_not_take_its_neighbours_along() {
    let good = json!({"field": "messages", "value": {"statuses": [{"id": "w", "status": "sent"}]}});
    let text = json!({"entry": [
        5, {"id": "100", "changes": [good, {"field": 7, "value": {}}, {"value": 1}, {"field": "messages", "value": 7}]},
        {"id": "100"}, {"id": 100, "changes": [good]}, {"changes": [{"field": "messages", "value": {"statuses": {}}}]}
    ]});
    let parsed = Parsed::read(text.to_string().as_bytes());
    assert_eq!(parsed.events.len(), 2, "{parsed:?}");
    assert_eq!(parsed.skipped, BTreeMap::from([(Skipped::Envelope, 5)]));
    for text in ["", "[]", "{}", "7", "{\"entry\": 5}", "{\"entry\": [", "\u{fffd}"] {
        assert_eq!(Parsed::read(text.as_bytes()).skipped, BTreeMap::from([(Skipped::Body, 1)]), "{text}");
    }
    assert_eq!(Parsed::read(b"\xff{}").skipped, BTreeMap::from([(Skipped::Body, 1)]));
}

#[test]
fn updates_beyond_the_bound_are_counted() {
    let many: Vec<Value> = (0..UPDATES_MAX + 3).map(|at| json!({"id": at, "status": "sent"})).collect();
    let parsed = statuses(&json!(many));
    assert_eq!(parsed.events.len(), UPDATES_MAX);
    assert_eq!(parsed.skipped, BTreeMap::from([(Skipped::TooMany, 3)]));
}

#[test]
fn inbound_messages_of_every_kind() {
    let content = |extra: Value| {
        let mut message = json!({"id": "wamid.I", "from": "5511987654321", "timestamp": "1767225600"});
        message.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let value = json!({"metadata": {"phone_number_id": "201"}, "messages": [message]});
        match one(Parsed::read(body(&value).as_bytes())) {
            Event::Message(inbound) => inbound.content,
            other => panic!("{other:?}"),
        }
    };
    let pii = |text: &str| Pii::new(text.to_owned());
    assert_eq!(content(json!({"type": "text", "text": {"body": "SAIR"}})), Content::Text(pii("SAIR")));
    assert_eq!(
        content(json!({"type": "button", "button": {"payload": "p", "text": "t"}})),
        Content::Button { payload: Some(pii("p")), text: Some(pii("t")) }
    );
    for reply in ["button_reply", "list_reply"] {
        assert_eq!(
            content(
                json!({"type": "interactive", "interactive": {"type": reply, reply: {"id": "1", "title": "a"}}})
            ),
            Content::Choice { id: pii("1"), title: Some(pii("a")) }
        );
    }
    let flow = json!({"type": "interactive", "interactive": {"nfm_reply": {"response_json": "{}"}}});
    assert_eq!(content(flow), Content::Flow(pii("{}")));
    let media = json!({"type": "document", "document": {"id": "m1", "mime_type": "x"}});
    assert_eq!(content(media), Content::Media { kind: "document".to_owned(), id: Some("m1".to_owned()) });
    let system = json!({"type": "system", "system": {"type": "user_changed_number", "wa_id": "5511912345678", "body": "x"}});
    assert_eq!(
        content(system),
        Content::System {
            kind: "user_changed_number".to_owned(),
            now: Contact { phone: Some(pii("5511912345678")), user_id: None }
        }
    );
    assert_eq!(content(json!({"type": "text", "text": 5})), Content::Other("text".to_owned()));
    assert_eq!(content(json!({"type": "location"})), Content::Other("location".to_owned()));
}

#[test]
fn a_person_without_a_phone_has_an_id_and_an_answer_names_what_it_answers() {
    let value = json!({"messages": [
        {"id": "w", "from_user_id": "BR.9", "type": "text", "text": {"body": "x"}, "context": {"id": "wamid.O"}}
    ]});
    let Event::Message(inbound) = one(Parsed::read(body(&value).as_bytes())) else { panic!() };
    assert_eq!((inbound.from.phone, inbound.from.user_id), (None, Some(Pii::new("BR.9".to_owned()))));
    assert_eq!((inbound.answers.as_deref(), inbound.account.as_str()), (Some("wamid.O"), "100"));
}

fn check_event(field: &str, value: &Value, expect: AccountEvent) {
    match one(Parsed::read(change(field, value).as_bytes())) {
        Event::Account { account, at_ms, event } => {
            assert_eq!((account.as_str(), at_ms, *event), ("100", Some(1_000), expect));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_of_accounts_numbers_and_templates() {
    use AccountEvent::{
        Alert, Capability, Deleted, DisableScheduled, Disabled, NumberQuality, Other, Update,
    };
    use AccountEvent::{Reinstated, Restricted, Template, TemplateCategory, TemplateQuality, Violation};
    let ban = |state: &str| json!({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": state}});
    check_event("account_update", &ban("DISABLE"), Disabled);
    check_event("account_update", &ban("SCHEDULE_FOR_DISABLE"), DisableScheduled);
    check_event("account_update", &ban("REINSTATE"), Reinstated);
    check_event("account_update", &json!({"event": "ACCOUNT_DELETED"}), Deleted);
    check_event("account_update", &json!({"event": "PARTNER_ADDED"}), Update("PARTNER_ADDED".to_owned()));
    let violation = json!({"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "SPAM"}});
    check_event("account_update", &violation, Violation("SPAM".to_owned()));
    let restriction = json!({"event": "ACCOUNT_RESTRICTION", "restriction_info": [
        {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1}, {"restriction_type": "X"}
    ]});
    let expect = vec![Restriction::BusinessInitiated, Restriction::Other("X".to_owned())];
    check_event("account_update", &restriction, Restricted(expect));
    let alert = json!({"alert_severity": "CRITICAL", "alert_type": "T"});
    check_event("account_alerts", &alert, Alert { severity: "CRITICAL".to_owned(), kind: "T".to_owned() });
    let quality = json!({"display_phone_number": "+55 11", "event": "THROUGHPUT_UPGRADE"});
    let expect =
        NumberQuality { phone: Pii::new("+55 11".to_owned()), event: "THROUGHPUT_UPGRADE".to_owned() };
    check_event("phone_number_quality_update", &quality, expect);
    let capability = json!({"max_daily_conversations_per_business": 2000});
    check_event(
        "business_capability_update",
        &capability,
        Capability { people_per_day: Some(PeopleLimit::AtMost(2_000)) },
    );
    for (word, expect) in [(json!(-1), Some(PeopleLimit::Unlimited)), (json!("soon"), None)] {
        let capability = json!({"max_daily_conversations_per_business": word});
        check_event("business_capability_update", &capability, Capability { people_per_day: expect });
    }
    let named = |more: Value| {
        let mut all = json!({"message_template_id": 1, "message_template_name": "n", "message_template_language": "pt_BR"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for (word, event) in [("PAUSED", TemplateEvent::Paused), ("REJECTED", TemplateEvent::Rejected)] {
        let expect = Template { name: "n".to_owned(), language: "pt_BR".to_owned(), event };
        check_event("message_template_status_update", &named(json!({"event": word})), expect);
    }
    let expect = TemplateQuality { name: "n".to_owned(), quality: "RED".to_owned() };
    check_event("message_template_quality_update", &named(json!({"new_quality_score": "RED"})), expect);
    let expect = TemplateCategory { name: "n".to_owned(), category: "MARKETING".to_owned() };
    check_event("template_category_update", &named(json!({"new_category": "MARKETING"})), expect);
    check_event("weather", &json!(7), Other("weather".to_owned()));
}

#[test]
fn every_preference_of_a_list_is_read() {
    let one = |user: &str, value: &str| json!({"wa_id": user, "category": "marketing_messages", "value": value, "timestamp": 1_731_705_721});
    let list = json!({"metadata": {"phone_number_id": "201"},
        "user_preferences": [one("551198", "stop"), {"wa_id": "551197"}, one("551196", "resume")]});
    let parsed = Parsed::read(change("user_preferences", &list).as_bytes());
    assert_eq!(parsed.skipped, BTreeMap::from([(Skipped::Account, 1)]));
    let preferences = parsed.events.into_iter().map(|event| match event {
        Event::Preference(one) => *one,
        other => panic!("{other:?}"),
    });
    let preferences: Vec<Preference> = preferences.collect();
    let stop = Preference {
        account: "100".to_owned(),
        number: Some(NumberId::from("201")),
        from: Contact { phone: Some(Pii::new("551198".to_owned())), user_id: None },
        category: "marketing_messages".to_owned(),
        value: "stop".to_owned(),
        at_ms: Some(1_731_705_721_000),
    };
    assert_eq!(preferences[0], stop);
    assert_eq!((preferences.len(), preferences[1].value.as_str()), (2, "resume"));
    let alone = Parsed::read(change("user_preferences", &one("551198", "stop")).as_bytes());
    assert_eq!(alone.events, [Event::Preference(Box::new(Preference { number: None, ..stop }))]);
}

#[test]
fn events_that_say_nothing_are_counted() {
    let check = |field: &str, value: Value, expect: Skipped| {
        let parsed = Parsed::read(change(field, &value).as_bytes());
        assert_eq!((parsed.events.len(), parsed.skipped), (0, BTreeMap::from([(expect, 1)])), "{field}");
    };
    check("account_update", json!({}), Skipped::Account);
    check("account_update", json!(7), Skipped::Account);
    check("message_template_status_update", json!({"event": "PAUSED"}), Skipped::Account);
}

#[test]
fn errors_of_a_whole_value_name_the_number() {
    let value = json!({"metadata": {"phone_number_id": "201"}, "errors": [{"code": 130_429, "title": "x"}]});
    let expect = Event::Error {
        account: "100".to_owned(),
        at_ms: None,
        number: Some(NumberId::from("201")),
        code: 130_429,
    };
    assert_eq!(one(Parsed::read(body(&value).as_bytes())), expect);
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "entry",
        "changes",
        "field",
        "value",
        "id",
        "statuses",
        "messages",
        "errors",
        "status",
        "metadata",
        "event",
        "timestamp",
        "phone_number_id",
        "biz_opaque_callback_data",
        "code",
        "text",
        "type",
        "context",
    ]);
    let word =
        prop::sample::select(vec!["messages", "account_update", "sent", "failed", WIRE, "x", "-1", "1e9"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        ".{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 120, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|all| all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_end_in_counts(bytes: Vec<u8>) {
        let parsed = Parsed::read(&bytes);
        prop_assert!(parsed.events.is_empty());
    }

    #[test]
    fn arbitrary_json_ends(value in any_json()) {
        Parsed::read(value.to_string().as_bytes());
        Parsed::read(json!({"entry": value}).to_string().as_bytes());
        Parsed::read(body(&value).as_bytes());
        Parsed::read(change("account_update", &value).as_bytes());
        statuses(&value);
    }

    #[test]
    fn mutated_bodies_end(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let value = json!({"metadata": {"phone_number_id": "201"},
            "statuses": [{"id": "w", "status": "sent", "timestamp": "1", "biz_opaque_callback_data": WIRE}],
            "messages": [{"id": "w", "type": "text", "text": {"body": "é"}}]});
        let mut bytes = body(&value).into_bytes();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert!(Parsed::read(&bytes).events.len() <= 2);
    }
}
