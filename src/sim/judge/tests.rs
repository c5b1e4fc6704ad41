//! The judge by virtual time: every fault kind, and the arithmetic of the ledger.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::sim::contacts::ContactCap;
use crate::sim::plan::FaultPlan;

const TOKEN: Option<&[u8]> = Some(b"t");

fn at(ms: u64) -> Mono {
    Mono(Duration::from_millis(ms))
}

fn judge(rate_per_s: u32, plan: &str) -> Judge {
    let config = SimConfig {
        rate_per_s,
        plan: FaultPlan::parse(plan).unwrap(),
        keep_ids: true,
        ..SimConfig::default()
    };
    Judge::new(config, Civil { mono: at(0), wall: crate::clock::WallMs(0) })
}

fn body(to: &str, id: Option<&str>) -> Vec<u8> {
    let mut body = json!({
        "messaging_product": "whatsapp", "to": to, "type": "template",
        "template": {"name": "n", "language": {"code": "pt_BR"}},
    });
    if let Some(id) = id {
        body["biz_opaque_callback_data"] = id.into();
    }
    serde_json::to_vec(&body).unwrap()
}

/// One message; a success is taken to go out at once.
fn send(judge: &mut Judge, ms: u64, number: &str, to: &str, id: Option<&str>) -> Decision {
    let decision = judge.message(at(ms), number, TOKEN, &body(to, id));
    if decision.accepts {
        let life = judge.life();
        judge.answered(life);
    }
    decision
}

/// Status and Graph code of an answer.
fn answer(decision: &Decision) -> (u16, Option<i64>) {
    match &decision.action {
        Action::Answer(reply) => {
            let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            (reply.status, json["error"]["code"].as_i64())
        }
        other => panic!("no answer but {other:?}"),
    }
}

fn phone(n: u64) -> String {
    format!("+55119{:08}", 60_000_000 + n)
}

fn check_sums(report: &LedgerReport) {
    let refused: u64 = report.refused.values().sum();
    assert_eq!(report.requests, report.taken + refused + report.reset_before, "{report:?}");
    assert_eq!(report.taken, report.accepted + report.taken_unanswered + report.answering, "{report:?}");
    assert_eq!(report.untracked, 0);
}

#[test]
fn duplicates_are_counted_whatever_generation_and_spelling() {
    let mut judge = judge(0, "");
    let mut send = |to, id| drop(send(&mut judge, 0, "7", to, id));
    send("+5531987654321", Some("ct1.a.1.0.0.0"));
    send("+5531987654321", Some("ct1.a.1.0.0.1")); // the same message, claimed again: and the same person
    send("553187654321", Some("ct1.a.1.0.1.0")); // another message to the other spelling
    send("553187654321", Some("ct1.a.2.0.1.0")); // another campaign
    send("553187654321", Some("ct1.b.1.0.1.0")); // another installation
    send("5532987654321", Some("order 1"));
    send("5532987654321", Some("order 1"));
    send("5532987654321", Some("order 1.1"));
    send("5532987654321", None);
    send("5532987654321", None);
    let report = judge.report();
    assert_eq!((report.requests, report.taken, report.accepted), (10, 10, 10));
    assert_eq!((report.duplicate_ids, report.duplicate_people, report.without_id), (2, 2, 2));
    assert_eq!((judge.takings("ct1.a.1.0.0"), judge.takings("ct1.a.1.0.0.7"), judge.takings("x")), (2, 2, 0));
    let ids = judge.taken_ids().unwrap().segments().concat();
    let ids = String::from_utf8(ids).unwrap();
    assert_eq!(
        ids.lines().collect::<Vec<_>>(),
        ["ct1.a.1.0.0", "ct1.a.1.0.1", "ct1.a.2.0.1", "ct1.b.1.0.1", "order 1", "order 1.1"]
    );
    check_sums(&report);
}

#[test]
fn above_its_rate_a_number_is_refused_and_the_others_are_not() {
    let mut judge = judge(2, "[rates]\n8 = 1");
    let times = [0, 10, 20, 999, 1_000, 1_010];
    let codes = times.map(|ms| answer(&send(&mut judge, ms, "7", &phone(ms), None)).1);
    let over = Some(130_429);
    assert_eq!(codes, [None, None, over, over, None, None]);
    assert_eq!(answer(&send(&mut judge, 0, "8", &phone(1), None)), (200, None));
    assert_eq!(answer(&send(&mut judge, 1, "8", &phone(2), None)), (400, over));
    let report = judge.report();
    assert_eq!((report.over_rate, report.refused[&130_429], report.taken), (3, 3, 5));
    assert_eq!((report.worst_second["7"], report.worst_second["8"], report.worst_second_max), (4, 2, 4));
    let seven = &report.per_number["7"];
    assert_eq!((seven.requests, seven.taken, seven.rate_limit_per_s), (6, 4, 2));
    assert_eq!((seven.first_ms, seven.last_ms), (Some(0), Some(1_010)));
    check_sums(&report);
}

#[test]
fn a_pair_is_slowed_in_both_spellings_and_other_numbers_are_not() {
    let mut judge = judge(0, "");
    for _ in 0..45 {
        assert_eq!(answer(&send(&mut judge, 0, "7", "+5531987654321", None)), (200, None));
    }
    assert_eq!(answer(&send(&mut judge, 1, "7", "553187654321", None)), (400, Some(131_056)));
    assert_eq!(answer(&send(&mut judge, 1, "8", "553187654321", None)), (200, None));
    judge.config.pair_limit = false;
    assert_eq!(answer(&send(&mut judge, 1, "7", "553187654321", None)), (200, None));
    assert_eq!(judge.report().over_pair, 1);
}

#[test]
fn what_a_pair_borrows_and_what_goes_beyond_a_cap_is_counted() {
    let mut judge = judge(0, "");
    judge.contacts = Some(ContactWatch::new(ContactCap { per_day: Some(1), per_week: None }, 1));
    send(&mut judge, 0, "7", "+5531987654321", Some("ct1.i.1.1.1.1"));
    send(&mut judge, 6_000, "7", "553187654321", Some("ct1.i.1.1.1.2"));
    let report = judge.report();
    assert_eq!((report.cap_exceeded, report.pair_exceeded), (0, 0), "the same message, six seconds later");
    send(&mut judge, 6_001, "7", "553187654321", Some("ct1.i.2.1.1.1"));
    send(&mut judge, 6_002, "8", "553187654321", Some("ct1.i.3.1.1.1"));
    let report = judge.report();
    assert_eq!((report.cap_exceeded, report.pair_exceeded, report.taken), (2, 1, 4));
}

#[test]
fn tokens_and_numbers_are_checked_first() {
    let mut judge = judge(0, "[validity]\ntokens = [\"t\"]\nnumbers = [\"7\"]");
    let mut of = |number, token| answer(&judge.message(at(0), number, token, b"{}"));
    assert_eq!(of("7", None), (401, Some(0)));
    assert_eq!(of("7", Some(b"x")), (401, Some(190)));
    assert_eq!(of("7", TOKEN), (400, Some(100)));
    assert_eq!(of("8", TOKEN), (400, Some(33)));
    assert_eq!(of("7a", TOKEN), (400, Some(33)));
    assert_eq!(answer(&judge.probe(at(0), "7", None, None)), (401, Some(0)));
    check_sums(&judge.report());
}

/// What a fault with share 1 does to one message: the answer (None: none), whether it is taken, whether unanswered.
fn check_fault(fault: &str, expect: Option<(u16, Option<i64>)>, taken: u64, unanswered: u64) -> LedgerReport {
    let mut judge = judge(80, &format!("[[fault]]\nshare = 1.0\n{fault}"));
    let decision = send(&mut judge, 0, "7", &phone(0), Some("ct1.a.1.0.0.0"));
    match expect {
        Some(expect) => assert_eq!(answer(&decision), expect, "{fault}"),
        None => assert!(!matches!(decision.action, Action::Answer(_)), "{fault}"),
    }
    let report = judge.report();
    assert_eq!((report.taken, report.taken_unanswered), (taken, unanswered), "{fault}");
    assert_eq!(report.faults.values().sum::<u64>(), 1, "{fault}");
    check_sums(&report);
    report
}

#[test]
fn every_kind_of_fault_does_what_it_says() {
    let error = |status, code| Some((status, Some(code)));
    check_fault("kind = \"error\"\ncode = 131026", error(400, 131_026), 0, 0);
    check_fault("kind = \"error\"\ncode = 131026\nhttp_status = 418", error(418, 131_026), 0, 0);
    check_fault("kind = \"throttle\"", error(400, 130_429), 0, 0);
    check_fault("kind = \"http_5xx_before\"", error(503, 2), 0, 0);
    let report = check_fault("kind = \"reset_before\"", None, 0, 0);
    assert_eq!(report.reset_before, 1);
    let report = check_fault("kind = \"reset_after\"", None, 1, 1);
    assert_eq!(report.reset_after, 1);
    let report = check_fault("kind = \"stall\"", None, 1, 1);
    assert_eq!(report.stalled, 1);
    let report = check_fault("kind = \"stall\"\nfor = \"1s\"", Some((200, None)), 1, 0);
    assert_eq!(report.stalled, 1);
    let report = check_fault("kind = \"http_5xx_empty\"", Some((502, None)), 1, 1);
    assert_eq!(report.empty_5xx, 1);
    let report = check_fault("kind = \"error_after_taking\"\ncode = 131000", error(500, 131_000), 1, 1);
    assert_eq!(report.errors_after_taking[&131_000], 1);
    let report = check_fault("kind = \"held\"", Some((200, None)), 1, 0);
    assert_eq!((report.held, report.accepted), (1, 1));
    let report = check_fault("kind = \"success_without_wamid\"", Some((200, None)), 1, 0);
    assert_eq!((report.without_wamid, report.accepted), (1, 1));
}

#[test]
fn an_outage_counts_from_the_first_message() {
    let mut judge = judge(0, "[[fault]]\nkind = \"outage\"\nfrom = \"1s\"\nto = \"2s\"");
    assert!(!judge.in_outage(at(1_500)));
    send(&mut judge, 5_000, "7", &phone(0), None);
    assert_eq!([5_999, 6_000, 6_999, 7_000].map(|ms| judge.in_outage(at(ms))), [false, true, true, false]);
    judge.reset(at(6_500));
    assert!(!judge.in_outage(at(6_500)));
}

#[test]
fn faults_may_strike_probes_and_probes_are_counted() {
    let mut judge =
        judge(80, "[[fault]]\nkind = \"error\"\ncode = 2\nshare = 1.0\non = \"probes\"\nto = \"1s\"");
    send(&mut judge, 0, "7", &phone(0), None);
    assert_eq!(answer(&judge.probe(at(500), "7", TOKEN, None)), (503, Some(2)));
    assert_eq!(answer(&judge.probe(at(1_499), "7", TOKEN, None)), (200, None));
    assert_eq!(answer(&judge.probe(at(1_500), "7", TOKEN, None)), (200, None));
    let report = judge.report();
    assert_eq!((report.probes["7"], report.worst_probes_per_s, report.requests), (3, 2, 1));
}

#[test]
fn what_is_answered_late_or_never_is_neither_lost_nor_counted_twice() {
    let mut judge = judge(0, "");
    let body = body(&phone(0), Some("ct1.a.1.0.0.0"));
    judge.message(at(0), "7", TOKEN, &body);
    judge.message(at(0), "7", TOKEN, &body);
    let life = judge.life();
    assert_eq!(judge.report().answering, 2);
    judge.answered(life);
    judge.abandoned(life);
    let report = judge.report();
    assert_eq!((report.accepted, report.taken_unanswered, report.answering), (1, 1, 0));
    judge.reset(at(1));
    judge.answered(life);
    assert_eq!(judge.report().accepted, 0);
}

const MIXED: &str = "[[fault]]\nkind = \"error\"\ncode = 131000\nshare = 0.2\n\
    [[fault]]\nkind = \"stall\"\nshare = 0.2\n[[fault]]\nkind = \"reset_before\"\nshare = 0.2\n\
    [[fault]]\nkind = \"held\"\nshare = 0.2";

/// What becomes of 300 messages, each sent until it is taken or three times, in an order that `shuffle` gives.
fn outcomes(shuffle: u64) -> (Vec<(u64, Vec<String>)>, LedgerReport) {
    let mut judge = judge(0, MIXED);
    let mut order: Vec<u64> = (0..300).collect();
    order.sort_by_key(|n| Keys(shuffle).words(Domain::Name, [*n]));
    let mut all = Vec::new();
    for n in order {
        let id = format!("ct1.a.1.0.{n}.0");
        let tries = (0..3).map(|_| format!("{:?}", send(&mut judge, n, "7", &phone(n), Some(&id)).action));
        all.push((n, tries.collect()));
    }
    all.sort();
    (all, judge.report())
}

#[test]
fn the_same_seed_gives_the_same_run_in_any_order_of_arrival() {
    let (one, first) = outcomes(1);
    let (other, second) = outcomes(2);
    // The trace id of errors is drawn from the message, too, so that whole answers can be compared.
    assert_eq!(one, other);
    assert_eq!((first.taken, first.duplicate_ids), (second.taken, second.duplicate_ids));
}

proptest! {
    #[test]
    fn the_sums_hold_whatever_comes(
        sends in prop::collection::vec((0u64..50, 0u64..30, 0u8..4, 0u64..300), 1..200), rate in 0u32..5
    ) {
        let (mut judge, mut now) = (judge(rate, MIXED), 0);
        for (gap, message, what, person) in sends {
            now += gap;
            let id = format!("ct1.a.1.0.{message}.{what}");
            match what {
                0 => drop(judge.message(at(now), "7", None, b"")),
                1 => drop(send(&mut judge, now, "8", &phone(person % 3), None)),
                _ => drop(send(&mut judge, now, "7", &phone(person), Some(&id))),
            }
        }
        check_sums(&judge.report());
    }
}
