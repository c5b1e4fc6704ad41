//! From the bytes of a reply to its verdict: once per request.

use std::hint::black_box;

use carteiro::cloud::wire;
use carteiro::policy::classify::{ErrorTable, Kind};
use criterion::Criterion;

const ACCEPTED: &[u8] = br#"{"messaging_product":"whatsapp","contacts":[{"input":"+5511987654321","wa_id":"551187654321"}],"messages":[{"id":"wamid.HBgNNTUxMTk4NzY1NDMyMRUCABEYEkI1","message_status":"accepted"}]}"#;
const REFUSED: &[u8] = br#"{"error":{"message":"(#131026) Message undeliverable","type":"OAuthException","code":131026,"error_data":{"messaging_product":"whatsapp","details":"Message Undeliverable."},"fbtrace_id":"Az8or2yhqkZfEZ"}}"#;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let table = ErrorTable::builtin();
    let verdict = |status: u16, body: &[u8]| table.classify(&wire::read(status, None, body));
    for (name, status, body, kind) in [
        ("classify/accepted", 200, ACCEPTED, Kind::Accepted),
        ("classify/refused", 400, REFUSED, Kind::Permanent),
        ("classify/unreadable", 502, &b""[..], Kind::Unknown),
    ] {
        assert_eq!(verdict(status, body).kind, kind);
        criterion.bench_function(name, |b| b.iter(|| verdict(status, black_box(body))));
    }
    criterion.final_summary();
}
