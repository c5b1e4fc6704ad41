//! kill -9, of the engine and of Redis.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use carteiro::journal::{self, Entry, Wanted};

use crate::rig::{Rig, sim};

/// Messages that Redis calls sending, and all that the journal says were begun: campaign, lane and index.
fn sending_and_begun(rig: &Rig) -> (HashSet<String>, HashSet<String>) {
    let path = rig.path("sending.csv");
    rig.ok(&["campaign", "report", "a", "-o", path.to_str().unwrap()]);
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows = reader.records().map(Result::unwrap).filter(|row| &row[5] == "sending");
    let sending = rows.map(|row| row[4].splitn(3, '.').nth(2).unwrap().to_owned()).collect();
    let mut begun = HashSet::new();
    journal::scan(&rig.path("data").join("journal"), Wanted::default(), |_, entry| {
        if let Entry::Begun { message, .. } = entry {
            begun.insert(message.to_string());
        }
        Ok(())
    })
    .unwrap();
    (sending, begun)
}

/// Kills an engine that has claimed far ahead, does something to its journal's files, and starts another one. Returns
/// how many were claimed, how many of them begun, and how many are in doubt in the end.
fn killed_with_claims(meddle: impl FnOnce(Vec<PathBuf>)) -> [u64; 3] {
    let mut rig = Rig::new(3, "150/s", sim(|config| config.latency = Duration::from_millis(150)));
    rig.pace = "claim_ahead = \"1s\"".to_owned();
    let serve = rig.serve();
    rig.campaign("a", 0, 2_400);
    rig.taken(300);
    serve.kill();
    let (sending, begun) = sending_and_begun(&rig);
    let files = std::fs::read_dir(rig.path("data").join("journal")).unwrap();
    meddle(files.map(|file| file.unwrap().path()).collect());
    let serve = rig.serve_after_a_crash();
    let states = rig.done("a");
    rig.judge("a", &states);
    let in_doubt = states["in_doubt"].as_u64().unwrap();
    assert_eq!(states["accepted"].as_u64().unwrap() + in_doubt, 2_400, "{states}");
    serve.stop();
    [sending.len() as u64, sending.intersection(&begun).count() as u64, in_doubt]
}

#[test]
fn what_a_killed_engine_never_began_is_queued_again_by_its_journal() {
    let [sending, begun, in_doubt] = killed_with_claims(|_| ());
    assert!(sending > begun + 20 && begun > 0, "{sending} claimed, {begun} of them begun");
    assert_eq!(in_doubt, begun, "only what was begun is in doubt");
}

#[test]
fn a_journal_that_is_not_whole_proves_nothing() {
    let [sending, begun, in_doubt] = killed_with_claims(|files| {
        let shard = files.iter().find(|path| path.to_string_lossy().contains("shard0")).unwrap();
        std::fs::remove_file(shard).unwrap();
    });
    assert!(sending > begun + 20, "{sending} claimed, {begun} of them begun");
    assert_eq!(in_doubt, sending, "nobody can tell what was begun");
}

#[test]
fn a_killed_engine_leaves_what_it_was_sending_in_doubt_and_the_next_sends_the_rest() {
    let rig = Rig::new(3, "150/s", sim(|config| config.latency = Duration::from_millis(150)));
    let serve = rig.serve();
    rig.campaign("a", 0, 1_200);
    rig.taken(300);
    serve.kill();
    let serve = rig.serve_after_a_crash();
    let states = rig.done("a");
    rig.judge("a", &states);
    let in_doubt = states["in_doubt"].as_u64().unwrap();
    assert!(in_doubt > 0, "something was in flight: {states}");
    // In flight, claimed ahead, and answered without having been settled.
    assert!(in_doubt <= 3 * 60, "{states}");
    assert_eq!(states["accepted"].as_u64().unwrap() + in_doubt, 1_200, "{states}");
    serve.stop();
}

#[test]
fn a_killed_redis_is_started_again_and_the_run_ends_without_a_duplicate() {
    let rig = Rig::new(3, "300/s", sim(|_| ()));
    let serve = rig.serve();
    rig.campaign("a", 0, 2_400);
    for round in 1..=2 {
        rig.taken(round * 500);
        rig.kill_redis();
    }
    let states = rig.done("a");
    assert_eq!(states["accepted"], 2_400, "{states}");
    rig.judge("a", &states);
    serve.must_say("redis died and was started again");
    serve.stop();
}
