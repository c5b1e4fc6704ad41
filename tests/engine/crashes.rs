//! kill -9, of the engine and of Redis.

use std::time::Duration;

use crate::rig::{Rig, sim};

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
    assert!(serve.says("redis died and was started again"));
    serve.stop();
}
