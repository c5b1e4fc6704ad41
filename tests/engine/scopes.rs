//! What stops a number, an account or a template, and what goes on meanwhile.

use crate::rig::{ACCOUNT, Rig, plan, sim, wait_until};

/// After so many messages Meta refuses with a code that must stop something until a person looks.
fn halts(code: i64, verb: &[&str], word: &str) {
    let faults =
        format!("[[fault]]\nkind = \"error\"\ncode = {code}\nshare = 1.0\nfrom = \"1s\"\nto = \"4s\"\n");
    let rig = Rig::new(2, "100/s", sim(|config| config.plan = plan(&faults)));
    let serve = rig.serve();
    rig.campaign("a", 0, 400);
    wait_until("it is halted", || serve.says("halted until an operator resumes it"));
    wait_until("nothing is in flight", || rig.count("a", "sending") == 0);
    let halted = rig.status("a");
    assert!(halted["states"]["queued"].as_u64().unwrap() > 100, "the rest stays queued: {halted}");
    assert_eq!((&halted["states"]["failed"], &halted["state"]), (&0.into(), &"running".into()), "{halted}");
    assert!(halted["blocked"].to_string().contains(word), "{halted}");
    let refused = rig.ledger().refused[&code];
    assert!(refused <= 20, "{refused} requests were refused before it stopped");
    wait_until("it is resumed, and the trouble is over", || {
        rig.ok(verb);
        rig.ledger().taken == 400
    });
    let states = rig.done("a");
    assert_eq!(states["accepted"], 400, "{states}");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn a_locked_account_halts_and_keeps_the_rest_queued() {
    halts(131_031, &["account", "resume", ACCOUNT], "halted");
}

#[test]
fn an_expired_token_halts_its_account() {
    halts(190, &["account", "resume", ACCOUNT], "halted");
}

#[test]
fn a_paused_template_halts_its_campaigns() {
    halts(132_015, &["template", "resume", &format!("{ACCOUNT}/template_a")], "halted");
}

#[test]
fn a_paused_number_sends_nothing_and_the_others_go_on() {
    let rig = Rig::new(2, "100/s", sim(|_| ()));
    let serve = rig.serve();
    rig.campaign("a", 0, 500);
    rig.taken(60);
    let paused = rig.numbers[0].clone();
    rig.ok(&["number", "pause", &paused]);
    let of = |number: &str| rig.ledger().per_number.get(number).map_or(0, |one| one.requests);
    let (before, other) = (of(&paused), of(&rig.numbers[1]));
    wait_until("the other goes on", || of(&rig.numbers[1]) > other + 60);
    assert_eq!(of(&paused), before);
    rig.ok(&["number", "resume", &paused]);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 500, "{states}");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn a_number_that_left_the_configuration_leaves_its_lanes_to_the_others() {
    let mut rig = Rig::new(3, "100/s", sim(|_| ()));
    let serve = rig.serve();
    rig.campaign("a", 0, 900);
    rig.taken(100);
    serve.stop();
    let gone = rig.numbers.remove(0);
    let before = rig.ledger().per_number.get(&gone).map_or(0, |one| one.requests);
    let serve = rig.serve();
    let states = rig.done("a");
    assert_eq!(states["accepted"], 900, "{states}");
    let ledger = rig.judge("a", &states);
    assert_eq!(ledger.per_number.get(&gone).map_or(0, |one| one.requests), before);
    serve.stop();
}

#[test]
fn the_lanes_of_a_number_that_is_stopped_for_long_move_to_another() {
    let mut rig = Rig::new(2, "200/s", sim(|_| ()));
    rig.pace = "failover_after = \"1s\"".to_owned();
    let serve = rig.serve();
    rig.campaign("a", 0, 1_500);
    rig.taken(50);
    let stopped = rig.numbers[0].clone();
    rig.ok(&["number", "pause", &stopped]);
    // Nobody lets it go on, and the campaign ends all the same.
    let states = rig.done("a");
    assert_eq!(states["accepted"], serde_json::json!(1_500), "{states}");
    serve.must_say("its lanes move to others");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn a_number_keeps_the_throughput_that_meta_grants_it() {
    // The simulator grants the default of 80 a second; the configuration hopes for more.
    let rig = Rig::new(1, "200/s", sim(|config| config.rate_per_s = 80));
    let serve = rig.serve();
    let pace = || rig.json(&["number", "list"], 0)["pace_per_s"].as_f64();
    wait_until("meta's grant is known", || pace() == Some(80.0));
    rig.campaign("a", 0, 100);
    let states = rig.done("a");
    let ledger = rig.judge("a", &states);
    assert_eq!(ledger.refused.get(&130_429), None, "{ledger:?}");
    serve.stop();
}
