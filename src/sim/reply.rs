//! The bytes of the answers, each written once into one buffer.

use bytes::Bytes;
use serde_json::json;

use super::codes;
use super::hash::{Domain, Keys};
use super::identity::Phone;
use super::manage::{self, Query};
use super::request::Refusal;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// What a taken message is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// The usual.
    Accepted,
    /// Held for quality assessment.
    Held,
    /// A 200 that names no message.
    WithoutWamid,
}

/// A longer success than this does not occur; one allocation holds it.
const CAPACITY: usize = 320;

/// The answer to a message that was taken; `input` has been checked to hold nothing that needs escaping.
pub(crate) fn success(keys: Keys, input: &str, phone: &Phone, draw: [u64; 2], how: Acceptance) -> Reply {
    let mut body = Vec::with_capacity(CAPACITY);
    body.extend_from_slice(br#"{"messaging_product":"whatsapp","contacts":[{"input":""#);
    body.extend_from_slice(input.as_bytes());
    body.extend_from_slice(br#"","wa_id":""#);
    phone.write_wa_id(&mut body);
    body.extend_from_slice(br#""}],"messages":["#);
    if how != Acceptance::WithoutWamid {
        body.extend_from_slice(br#"{"id":""#);
        write_wamid(keys, draw, &mut body);
        body.extend_from_slice(br#"","message_status":""#);
        body.extend_from_slice(match how {
            Acceptance::Held => b"held_for_quality_assessment",
            _ => b"accepted",
        });
        body.extend_from_slice(br#""}"#);
    }
    body.extend_from_slice(b"]}");
    Reply { status: 200, body: body.into() }
}

/// A Graph error.
pub(crate) fn error(refusal: Refusal, http_status: Option<u16>, trace: u64) -> Reply {
    let Refusal { code, details } = refusal;
    let kind = if code == codes::NO_NUMBER { "GraphMethodException" } else { "OAuthException" };
    let transient = matches!(code, 1 | codes::UNAVAILABLE | 131_016 | 133_004);
    let title = codes::title(code);
    let body = format!(
        r#"{{"error":{{"message":"(#{code}) {title}","type":"{kind}","code":{code},"is_transient":{transient},"error_data":{{"messaging_product":"whatsapp","details":"{details}"}},"fbtrace_id":"A{trace:016x}"}}}}"#
    );
    Reply { status: http_status.unwrap_or_else(|| codes::http_status(code)), body: body.into() }
}

/// What `GET /{phone_number_id}` tells of the fields asked for; `number` is known to be digits.
pub(crate) fn number(number: &str, rate_per_s: u32, people: u64, query: &Query) -> Reply {
    let level = if (1..=80).contains(&rate_per_s) { "STANDARD" } else { "HIGH" };
    let limit = match people {
        0 => "TIER_UNLIMITED".to_owned(),
        people if people.is_multiple_of(1_000) => format!("TIER_{}K", people / 1_000),
        people => format!("TIER_{people}"),
    };
    let tail = &number[number.len().saturating_sub(4)..];
    let all = json!({
        "id": number, "display_phone_number": format!("+55 11 94000-{tail:0>4}"), "verified_name": "Carteiro Sim",
        "code_verification_status": "VERIFIED", "quality_rating": "GREEN", "platform_type": "CLOUD_API",
        "throughput": { "level": level }, "name_status": "APPROVED", "account_mode": "LIVE",
        "whatsapp_business_manager_messaging_limit": limit, "status": "CONNECTED",
    });
    manage::reply(&manage::fields(&all, query))
}

/// Meta's id of a message: the same in the answer and in webhooks.
pub(crate) fn write_wamid(keys: Keys, draw: [u64; 2], out: &mut Vec<u8>) {
    out.extend_from_slice(b"wamid.HBgN");
    for part in 0..2 {
        write_hex(keys.words(Domain::Wamid, [draw[0], draw[1], part]), out);
    }
    out.extend_from_slice(b"AA==");
}

fn write_hex(mut value: u64, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for _ in 0..16 {
        out.push(DIGITS[usize::from((value >> 60).to_le_bytes()[0])]);
        value <<= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn parsed(reply: &Reply) -> Value {
        serde_json::from_slice(&reply.body).unwrap()
    }

    #[test]
    fn a_success_names_the_contact_and_the_message() {
        let phone = Phone::parse("+5531987654321").unwrap();
        let of = |draw, how| success(Keys(1), "+5531987654321", &phone, draw, how);
        let reply = of([1, 0], Acceptance::Accepted);
        assert!(reply.body.len() < CAPACITY);
        let json = parsed(&reply);
        assert_eq!(json["contacts"][0]["input"], "+5531987654321");
        assert_eq!(json["contacts"][0]["wa_id"], "553187654321");
        assert_eq!(json["messages"][0]["message_status"], "accepted");
        let wamid = json["messages"][0]["id"].as_str().unwrap();
        assert!(wamid.starts_with("wamid."));
        assert_ne!(parsed(&of([1, 1], Acceptance::Accepted))["messages"][0]["id"], wamid);
        let held = parsed(&of([1, 0], Acceptance::Held));
        assert_eq!(held["messages"][0]["message_status"], "held_for_quality_assessment");
        let empty = parsed(&of([1, 0], Acceptance::WithoutWamid));
        assert_eq!(empty["messages"].as_array().unwrap().len(), 0);
    }

    #[test]
    fn errors_and_numbers_are_json() {
        let refusal = Refusal { code: 130_429, details: "d" };
        let reply = error(refusal, None, 5);
        assert_eq!((reply.status, &parsed(&reply)["error"]["code"]), (400, &Value::from(130_429)));
        assert_eq!(error(refusal, Some(429), 5).status, 429);
        let of = |rate, people| parsed(&number("7", rate, people, &Query::default()));
        assert_eq!(of(80, 0)["throughput"]["level"], "STANDARD");
        assert_eq!(of(1_000, 0)["throughput"]["level"], "HIGH");
        let tiers = [(0, "TIER_UNLIMITED"), (250, "TIER_250"), (10_000, "TIER_10K")];
        for (people, tier) in tiers {
            assert_eq!(of(80, people)["whatsapp_business_manager_messaging_limit"], tier);
        }
    }
}
