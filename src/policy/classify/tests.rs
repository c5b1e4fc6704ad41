//! Tests of the classifier: a literal line per code of Meta's error reference, and that it is total.

use proptest::prelude::*;

use super::*;

fn error(http_status: u16, code: i64, is_transient: Option<bool>) -> Reply {
    Reply { http_status, body: ReplyBody::Error { code, is_transient }, retry_after: None }
}

fn unreadable(http_status: u16) -> Reply {
    Reply { http_status, body: ReplyBody::Unreadable, retry_after: None }
}

/// The verdict of a reply as one line: kind scope name, wait in seconds, `not_own`.
fn line(table: &ErrorTable, verdict: Verdict) -> String {
    let name = table.reason(verdict.reason).map_or("-", |row| &row.name);
    let wait = verdict.wait.map(|wait| format!(" {}s", wait.as_secs_f64())).unwrap_or_default();
    let own = if verdict.not_own { " not_own" } else { "" };
    format!("{:?} {:?} {name}{wait}{own}", verdict.kind, verdict.scope)
}

fn check(reply: &Reply, expect: &str) {
    let table = ErrorTable::builtin();
    assert_eq!(line(&table, table.classify(reply)), expect, "{reply:?}");
}

/// Every code of the reference with the reaction we chose.
const CODES: [(i64, &str); 82] = [
    (0, "Halt Account auth_failed"),
    (1, "Doubtful Person api_unknown 60s"),
    (2, "Doubtful Number api_service 60s not_own"),
    (3, "Halt Account capability_missing"),
    (4, "Throttled App app_call_limit 60s"),
    (10, "Halt Account permission_denied"),
    (33, "Halt Number number_deleted"),
    (100, "Permanent Person bad_parameter"),
    (104, "Halt Account token_missing"),
    (190, "Halt Account token_expired"),
    (200, "Halt Account permission_error"),
    (251, "Halt Account permission_error"),
    (299, "Halt Account permission_error"),
    (368, "Halt Account account_restricted"),
    (613, "Throttled App call_rate_limit 60s"),
    (80_007, "Throttled Account account_rate_limit 60s"),
    (80_008, "Throttled Account account_rate_limit_other 60s"),
    (130_403, "Permanent Person blocked_by_business"),
    (130_429, "Throttled Number throughput_exceeded 1s"),
    (130_472, "Permanent Person user_in_experiment"),
    (130_497, "Permanent Person country_not_allowed"),
    (131_000, "Doubtful Person message_failed 60s"),
    (131_005, "Halt Account access_denied"),
    (131_008, "Permanent Person parameter_missing"),
    (131_009, "Permanent Person parameter_invalid"),
    (131_016, "Doubtful Number service_unavailable 60s not_own"),
    (131_021, "Permanent Person sender_is_recipient"),
    (131_026, "Permanent Person undeliverable"),
    (131_030, "Permanent Person not_in_test_list"),
    (131_031, "Halt Account account_locked"),
    (131_037, "Halt Number display_name_not_approved"),
    (131_042, "Halt Account payment_problem"),
    (131_045, "Halt Number number_registration"),
    (131_047, "Permanent Person window_closed"),
    (131_048, "Halt Number spam_limit"),
    (131_049, "Transient Person ecosystem_health 86400s"),
    (131_050, "Permanent Person marketing_stopped"),
    (131_051, "Permanent Person type_not_supported"),
    (131_052, "Permanent Person inbound_media"),
    (131_053, "Transient Person media_upload"),
    (131_055, "Permanent Person method_not_allowed"),
    (131_056, "Throttled Pair pair_limit"),
    (131_057, "Throttled Number number_maintenance 60s"),
    (131_062, "Permanent Person bsuid_not_supported"),
    (131_063, "Halt Template marketing_disabled"),
    (131_064, "Halt Account templates_misclassified"),
    (132_000, "Permanent Person template_parameter_count"),
    (132_001, "Halt Template template_missing"),
    (132_005, "Permanent Person template_too_long"),
    (132_007, "Halt Template template_policy"),
    (132_008, "Permanent Person template_parameter_format"),
    (132_012, "Permanent Person template_parameter_mismatch"),
    (132_015, "Halt Template template_paused"),
    (132_016, "Halt Template template_disabled"),
    (132_018, "Halt Template template_parameter_other"),
    (132_068, "Halt Template flow_blocked"),
    (132_069, "Throttled Template flow_throttled 360s"),
    (133_000, "Halt Number deregistration_incomplete"),
    (133_004, "Transient Number server_unavailable not_own"),
    (133_005, "Halt Number pin_wrong"),
    (133_006, "Halt Number number_unverified"),
    (133_008, "Halt Number pin_guesses"),
    (133_009, "Halt Number pin_too_fast"),
    (133_010, "Halt Number number_not_registered"),
    (133_015, "Halt Number number_just_deleted"),
    (133_016, "Halt Number registration_limit"),
    (134_011, "Halt Template payments_terms"),
    (134_100, "Halt Template marketing_only"),
    (134_101, "Throttled Template template_syncing 600s"),
    (134_102, "Halt Template template_unavailable"),
    (135_000, "Permanent Person generic_parameter"),
    (137_000, "Permanent Person identity_mismatch"),
    (139_200, "Permanent Person direct_send_blocked"),
    (1_752_041, "Permanent Person duplicate_onboarding"),
    (2_388_000, "Halt Number number_or_template_change"),
    (2_388_091, "Halt Number number_or_template_change"),
    (2_388_999, "Halt Number number_or_template_change"),
    (2_494_100, "Throttled Number number_in_maintenance 120s"),
    (2_593_079, "Halt Account account_migrating"),
    (2_593_080, "Halt Account account_migration_ineligible"),
    (2_593_107, "Halt Number coexistence_sync"),
    (2_593_108, "Halt Number coexistence_sync_other"),
];

#[test]
fn every_code_of_the_reference_has_its_reaction_whatever_the_status() {
    for (code, expect) in CODES {
        for status in [0, 200, 400, 403, 429, 500, 503] {
            check(&error(status, code, None), expect);
        }
    }
    let table = ErrorTable::builtin();
    let listed: usize = table.rows().iter().map(|row| row.codes.len()).sum();
    let tested: std::collections::BTreeSet<_> =
        CODES.iter().map(|&(code, _)| table.code(code).unwrap().reason).collect();
    assert_eq!(tested.len(), listed, "a row of the table is not tested here");
}

#[test]
fn unlisted_codes_go_by_status_and_transience() {
    check(&error(400, 999, None), "Permanent Person unknown_code");
    check(&error(403, 999, Some(false)), "Permanent Person unknown_code");
    check(&error(0, 999, None), "Permanent Person unknown_code");
    check(&error(400, 999, Some(true)), "Doubtful Number unknown_code_doubtful 60s");
    check(&error(200, 999, None), "Doubtful Number unknown_code_doubtful 60s");
    check(&error(500, 999, None), "Doubtful Number unknown_code_doubtful 60s not_own");
    check(&error(429, 999, Some(true)), "Throttled Number too_many_requests 1s");
}

#[test]
fn replies_without_a_graph_error_go_by_status() {
    check(&unreadable(200), "Unknown Number success_without_id not_own");
    check(&unreadable(302), "Transient Number refused_without_body not_own");
    check(&unreadable(404), "Transient Number refused_without_body not_own");
    check(&unreadable(408), "Unknown Number timeout not_own");
    check(&unreadable(429), "Throttled Number too_many_requests 1s");
    check(&unreadable(502), "Unknown Number server_error_without_body not_own");
    check(&unreadable(0), "Unknown Number server_error_without_body not_own");
}

#[test]
fn an_id_is_an_acceptance_whatever_the_status() {
    for status in [200, 202, 400, 500] {
        for (held, expect) in [(false, "Accepted Person -"), (true, "Held Person -")] {
            let body = ReplyBody::Accepted { held };
            check(&Reply { http_status: status, body, retry_after: None }, expect);
        }
    }
}

#[test]
fn retry_after_is_clamped() {
    let hinted =
        |code, seconds| Reply { retry_after: Some(Duration::from_secs(seconds)), ..error(429, code, None) };
    check(&hinted(130_429, 0), "Throttled Number throughput_exceeded 1s");
    check(&hinted(130_429, 7), "Throttled Number throughput_exceeded 7s");
    check(&hinted(130_429, u64::MAX), "Throttled Number throughput_exceeded 60s");
    check(&hinted(133_004, 0), "Transient Number server_unavailable 1s not_own");
    check(&hinted(133_004, 1_000_000), "Transient Number server_unavailable 3600s not_own");
    check(&hinted(131_056, 7), "Throttled Pair pair_limit");
    check(&hinted(131_026, 7), "Permanent Person undeliverable");
    check(&hinted(999, 90_000), "Throttled Number too_many_requests 3600s");
}

#[test]
fn outcomes_without_a_reply() {
    let table = ErrorTable::builtin();
    for (outcome, expect) in [
        (Local::NeverBegun, "Transient Number never_begun not_own"),
        (Local::Timeout, "Unknown Number timeout not_own"),
        (Local::ResetAfterBegin, "Unknown Number reset_after_begin not_own"),
        (Local::OwnerLost, "Unknown Number owner_lost"),
        (Local::Expired, "Permanent Person expired"),
        (Local::AttemptsUsedUp, "Permanent Person attempts_used_up"),
        (Local::Cancelled, "Permanent Person cancelled"),
        (Local::GenerationLimit, "Permanent Person generation_limit"),
    ] {
        assert_eq!(line(&table, table.local(outcome)), expect);
    }
}

fn any_body() -> impl Strategy<Value = ReplyBody> {
    let code = prop_oneof![any::<i64>(), 0..400i64, 130_000..140_000i64];
    prop_oneof![
        any::<bool>().prop_map(|held| ReplyBody::Accepted { held }),
        (code, any::<Option<bool>>())
            .prop_map(|(code, is_transient)| ReplyBody::Error { code, is_transient }),
        Just(ReplyBody::Unreadable),
    ]
}

proptest! {
    #[test]
    fn total(http_status: u16, body in any_body(), hint in any::<Option<u64>>()) {
        let table = ErrorTable::builtin();
        let retry_after = hint.map(Duration::from_secs);
        let verdict = table.classify(&Reply { http_status, body: body.clone(), retry_after });
        let accepted = matches!(verdict.kind, Kind::Accepted | Kind::Held);
        prop_assert_eq!(accepted, matches!(body, ReplyBody::Accepted { .. }));
        prop_assert_eq!(accepted, verdict.reason == 0);
        prop_assert!(verdict.wait.is_none_or(|wait| wait >= Duration::from_secs(1)));
        prop_assert!(verdict.wait.is_none_or(|wait| wait <= Duration::from_secs(24 * 60 * 60)));
        match body {
            // Without Meta's word nobody may claim that a 2xx or 5xx was certainly not sent.
            ReplyBody::Unreadable if !(300..=499).contains(&http_status) => {
                prop_assert_eq!(verdict.kind, Kind::Unknown);
            }
            ReplyBody::Error { code, .. } => prop_assert_eq!(verdict.code, Some(code)),
            _ => prop_assert_eq!(verdict.code, None),
        }
    }
}
