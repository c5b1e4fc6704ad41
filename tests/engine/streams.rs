//! HTTP/2, as it is spoken wherever it is offered: what the other side says that it did not look at is sent again, what
//! nobody knows is not, and the ledger judges.

use std::time::Duration;

use carteiro::sim::LedgerReport;
use serde_json::Value;

use crate::rig::{Rig, plan, sim};

const MESSAGES: usize = 1_000;

/// Sends a campaign over TLS to a simulator with these faults.
fn sent(faults: &str, cloud: &str) -> (Value, LedgerReport) {
    let server = sim(|config| {
        config.tls = true;
        config.latency = Duration::from_millis(20);
        config.plan = plan(faults);
    });
    let mut rig = Rig::new(2, "500/s", server);
    cloud.clone_into(&mut rig.cloud);
    let serve = rig.serve();
    rig.campaign("a", 0, MESSAGES);
    let states = rig.done("a");
    let ledger = rig.judge("a", &states);
    serve.stop();
    (states, ledger)
}

#[test]
fn what_was_not_looked_at_is_sent_again_and_nothing_is_in_doubt() {
    let faults =
        "[[fault]]\nkind = \"refused_stream\"\nshare = 0.05\n[[fault]]\nkind = \"go_away\"\nshare = 0.01\n";
    let (states, ledger) = sent(faults, "max_streams = 30\n");
    assert!(ledger.refused_streams > 10 && ledger.go_aways > 1, "{ledger:?}");
    assert_eq!((&states["accepted"], &states["in_doubt"]), (&MESSAGES.into(), &0.into()), "{states}");
    assert_eq!((ledger.taken, ledger.duplicate_ids, ledger.duplicate_people), (MESSAGES as u64, 0, 0));
}

#[test]
fn a_stream_that_is_reset_is_in_doubt_whether_it_was_taken_or_not() {
    let faults =
        "[[fault]]\nkind = \"reset_before\"\nshare = 0.03\n[[fault]]\nkind = \"reset_after\"\nshare = 0.03\n";
    let (states, ledger) = sent(faults, "");
    assert!(ledger.reset_before > 5 && ledger.reset_after > 5, "{ledger:?}");
    assert_eq!(states["in_doubt"], ledger.reset_before + ledger.reset_after, "{states}");
    assert_eq!((ledger.duplicate_ids, ledger.duplicate_people), (0, 0));
}

#[test]
fn who_does_not_want_it_speaks_the_older_protocol() {
    // There the fault has no word for it, so that nobody knows.
    let (states, ledger) =
        sent("[[fault]]\nkind = \"refused_stream\"\nshare = 0.05\n", "http2 = \"never\"\n");
    assert!(ledger.refused_streams > 10, "{ledger:?}");
    assert_eq!(states["in_doubt"], ledger.refused_streams, "{states}");
}
