//! The body of a webhook: statuses of several numbers, as Meta writes them, and its signature.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Taken;
use super::schedule::Status;
use crate::sim::codes;
use crate::sim::hash::{Domain, Keys};
use crate::sim::reply;

/// Receipts of a body at most.
pub(super) const RECEIPTS_MAX: usize = 1_000;

/// Bytes of a body at most, with room for what closes it.
pub(super) const BODY_MAX_BYTES: usize = (3 << 20) - (4 << 10);

/// Bytes of one status at most, but for its opaque text.
const STATUS_BYTES: usize = 700;

/// One of so many statuses has its time in milliseconds, and of so many no phone: both occur in the wild.
const ODD_SHARE: u64 = 16;

/// One receipt to be written.
#[derive(Clone, Debug)]
pub(super) struct Receipt {
    pub(super) taken: Rc<Taken>,
    pub(super) status: Status,
    /// When it happened, in wall ms.
    pub(super) at_ms: u64,
}

impl Receipt {
    /// Bytes that it takes at most.
    pub(super) fn bytes(&self) -> usize {
        // Every character of the opaque text may have to be escaped as six.
        STATUS_BYTES + 6 * self.taken.opaque.as_ref().map_or(0, |opaque| opaque.len())
    }
}

/// Writes a body, one change for each number.
pub(super) fn write(account: &str, keys: Keys, receipts: &mut [Receipt]) -> String {
    receipts.sort_by(|one, other| one.taken.number.cmp(&other.taken.number));
    let mut body = String::with_capacity(STATUS_BYTES * receipts.len() / 2 + 1_024);
    let _ = write!(body, r#"{{"object":"whatsapp_business_account","entry":[{{"id":"{account}","changes":["#);
    for (at, of_number) in
        receipts.chunk_by(|one, other| same(&one.taken.number, &other.taken.number)).enumerate()
    {
        let Some(first) = of_number.first() else { continue };
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(
            body,
            r#"{comma}{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"551140000000","phone_number_id":"{}"}},"statuses":["#,
            first.taken.number
        );
        for (at, receipt) in of_number.iter().enumerate() {
            if at > 0 {
                body.push(',');
            }
            status(&mut body, keys, receipt);
        }
        body.push_str(r#"]},"field":"messages"}"#);
    }
    body.push_str("]}]}");
    body
}

/// A `business_capability_update`: people a day, 0 without a limit.
pub(super) fn capability(account: &str, most: u64) -> String {
    let most = if most == 0 { serde_json::json!(-1) } else { serde_json::json!(most) };
    let value = serde_json::json!({ "max_daily_conversations_per_business": most, "max_phone_numbers_per_business": 20 });
    let change = serde_json::json!({ "field": "business_capability_update", "value": value });
    let entry = serde_json::json!([{ "id": account, "changes": [change] }]);
    serde_json::json!({ "object": "whatsapp_business_account", "entry": entry }).to_string()
}

/// `X-Hub-Signature-256` of a body.
pub(super) fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn same(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

fn status(body: &mut String, keys: Keys, receipt: &Receipt) {
    let Receipt { taken, status, at_ms } = receipt;
    let odd = keys.words(Domain::Webhook, [taken.draw[0], taken.draw[1], u64::MAX]) % ODD_SHARE;
    let mut raw = Vec::with_capacity(64);
    reply::write_wamid(keys, taken.draw, &mut raw);
    let wamid = String::from_utf8_lossy(&raw);
    let time = if odd == 0 { *at_ms } else { at_ms / 1_000 };
    let _ = write!(body, r#"{{"id":"{wamid}","status":"{}","timestamp":"{time}""#, status.word());
    if odd == 1 {
        let _ = write!(body, r#","recipient_user_id":"BR.{:016}""#, taken.draw[0]);
    } else {
        raw.clear();
        taken.phone.write_wa_id(&mut raw);
        let _ = write!(body, r#","recipient_id":"{}""#, String::from_utf8_lossy(&raw));
    }
    if let Some(opaque) = &taken.opaque {
        let quoted = serde_json::Value::from(&**opaque);
        let _ = write!(body, r#","biz_opaque_callback_data":{quoted}"#);
    }
    match status {
        Status::Failed(code) => {
            let title = codes::title(*code);
            let _ = write!(
                body,
                r#","errors":[{{"code":{code},"title":"{title}","message":"{title}","error_data":{{"details":"by the plan"}}}}]"#
            );
        }
        Status::Sent | Status::Delivered => body.push_str(
            r#","pricing":{"billable":true,"pricing_model":"PMP","category":"utility","type":"regular"}"#,
        ),
        Status::Read => {}
    }
    body.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::identity::Phone;
    use serde_json::Value;

    fn receipt(number: &str, status: Status, subject: u64) -> Receipt {
        let phone = Phone::parse("+5511987654321").unwrap();
        let opaque = Some("ct1.a.1.0.\"7\".1".into());
        let taken = Taken { number: number.into(), phone, opaque, draw: [subject, 0], held: false };
        Receipt { taken: Rc::new(taken), status, at_ms: 1_767_225_600_123 }
    }

    #[test]
    fn a_body_has_a_change_for_each_number_and_fits_its_estimate() {
        let mut all: Vec<Receipt> = (0..60)
            .map(|at| {
                let status = [Status::Sent, Status::Delivered, Status::Read, Status::Failed(131_026)][at % 4];
                receipt(if at % 2 == 0 { "201" } else { "202" }, status, at as u64)
            })
            .collect();
        let text = write("100", Keys(1), &mut all);
        assert!(text.len() <= all.iter().map(Receipt::bytes).sum());
        let body: Value = serde_json::from_str(&text).unwrap();
        let changes = body["entry"][0]["changes"].as_array().unwrap();
        let of = |at: usize| {
            (&changes[at]["value"]["metadata"]["phone_number_id"], &changes[at]["value"]["statuses"])
        };
        assert_eq!((changes.len(), of(0).0.as_str(), of(1).0.as_str()), (2, Some("201"), Some("202")));
        let statuses: Vec<&Value> = (0..2).flat_map(|at| of(at).1.as_array().unwrap()).collect();
        assert_eq!(statuses.len(), 60);
        assert!(statuses.iter().all(|one| one["biz_opaque_callback_data"] == "ct1.a.1.0.\"7\".1"));
        let times: std::collections::BTreeSet<&str> =
            statuses.iter().map(|one| one["timestamp"].as_str().unwrap()).collect();
        assert_eq!(times.into_iter().collect::<Vec<_>>(), ["1767225600", "1767225600123"]);
        assert!(
            statuses.iter().any(|one| one["recipient_id"].is_null() && one["recipient_user_id"].is_string())
        );
        let failed = statuses.iter().find(|one| one["status"] == "failed").unwrap();
        assert_eq!(failed["errors"][0]["code"], 131_026);
    }

    #[test]
    fn the_signature_is_the_published_one() {
        let body = b"The quick brown fox jumps over the lazy dog";
        let expect = "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert_eq!(signature("key", body), expect);
    }
}
