//! Redis in trouble under a running engine: a cluster, a failover, a crash that forgets, a flush, an old backup.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::rig::{Rig, Serve, get, sim, wait_until};
use crate::servers::{Cluster, MASTER, Server, Trio};

fn blocked(serve: &Serve, reason: &str) -> bool {
    let text = get(&serve.http().unwrap(), "/metrics").1;
    let is = |line: &str| {
        line.starts_with("carteiro_blocked{")
            && line.contains(&format!("\"{reason}\""))
            && line.ends_with(" 1")
    };
    text.lines().any(is)
}

fn signal(server: &Server, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(server.pid()).unwrap()), signal).unwrap();
}

#[test]
fn a_campaign_is_sent_from_a_cluster() {
    let cluster = Cluster::start(3);
    let mut rig = Rig::new(3, "300/s", sim(|_| ()));
    rig.extra = format!("[redis]\nurl = \"{}\"\nmode = \"cluster\"\nwait_replicas = 0", cluster.url());
    let serve = rig.serve();
    rig.campaign("a", 0, 900);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 900, "{states}");
    rig.judge("a", &states);
    let shares: Vec<u64> = cluster.0.iter().map(|node| node.ask(&["DBSIZE"])).collect();
    assert!(shares.iter().all(|keys| *keys > 0), "its lanes are on every master: {shares:?}");
    serve.stop();
}

#[test]
fn a_failover_sends_nothing_twice() {
    let mut trio = Trio::start("everysec");
    let mut rig = Rig::new(3, "150/s", sim(|_| ()));
    rig.extra = format!(
        "[redis]\nurl = \"{}\"\nmode = \"sentinel\"\nsentinel_master = \"{MASTER}\"\nwait_timeout = \"200ms\"",
        trio.url()
    );
    let serve = rig.serve();
    rig.campaign("a", 0, 2_000);
    rig.taken(200);
    // The replica falls behind: what it has not got does not count, and nothing is sent on it.
    signal(&trio.replica, Signal::SIGSTOP);
    wait_until("too few replicas have it", || blocked(&serve, "redis"));
    signal(&trio.replica, Signal::SIGCONT);
    rig.taken(rig.ledger().taken + 100);
    trio.master.kill();
    trio.failed_over();
    // The new master has no replica yet, until the old one is back as one.
    trio.master.again(&[]);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 2_000, "{states}");
    rig.judge("a", &states);
    serve.stop();
}

#[test]
fn a_redis_that_forgets_its_last_moments_is_told_them_again() {
    let mut redis = Server::start(&["--appendonly", "no", "--save", ""]);
    let mut rig = Rig::new(3, "150/s", sim(|_| ()));
    rig.extra = format!("[redis]\nurl = \"{}\"\nallow_weak_durability = true", redis.url());
    let serve = rig.serve();
    rig.campaign("a", 0, 1_200);
    for round in 1..=2 {
        rig.taken(300 * round);
        redis.ask::<String>(&["SAVE"]);
        rig.taken(rig.ledger().taken + 100);
        redis.kill();
        redis.again(&[]);
    }
    let states = rig.done("a");
    assert_eq!(states["accepted"], 1_200, "{states}");
    rig.judge("a", &states);
    serve.must_say("its last seconds are written again");
    serve.stop();
}

#[test]
fn a_flushed_redis_stops_everything_until_it_is_accepted() {
    let mut rig = Rig::new(1, "100/s", sim(|_| ()));
    rig.extra = "[redis]\nreplay_window = \"1s\"".to_owned();
    let mut serve = rig.serve();
    rig.campaign("a", 0, 2_000);
    wait_until("it remembers how far redis is", || rig.path("data/redis.mark").exists());
    rig.redis::<String>(&["FLUSHALL"]);
    serve.must_say("redis is not as far as it was");
    wait_until("everything is stopped", || blocked(&serve, "rolled_back"));
    let ledger = rig.ledger();
    assert!(ledger.taken < 2_000, "{ledger:?}");
    assert_eq!((ledger.duplicate_ids, ledger.duplicate_people), (0, 0), "{ledger:?}");
    let said = rig.ok(&["redis", "accept", "--dry-run"]);
    assert!(said.contains("nothing was changed"), "{said}");
    // The number is taken anew meanwhile, and stays stopped.
    wait_until("everything is still stopped", || blocked(&serve, "rolled_back"));
    assert_eq!(rig.ledger().taken, ledger.taken);
    assert!(rig.json(&["redis", "accept", "--yes"], 0)["problem"].as_str().unwrap().contains("installation"));
    // It is another installation now, so that a running process has to begin anew.
    assert!(!serve.wait().success());
    assert!(serve.says("another installation"), "{:#?}", serve.lines());
    let serve = rig.serve();
    rig.campaign("b", 5_000, 100);
    let states = rig.done("b");
    assert_eq!(states["accepted"], 100, "{states}");
    serve.stop();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if path.is_file() {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn an_old_backup_sends_nothing_and_the_right_files_go_on() {
    let redis = Server::durable(&[]);
    let mut rig = Rig::new(1, "150/s", sim(|_| ()));
    rig.extra = format!(
        "[redis]\nurl = \"{}\"\nreplay_window = \"1s\"\n[sender]\ndrain_timeout = \"2s\"",
        redis.url()
    );
    let mut redis = redis;
    let serve = rig.serve();
    rig.campaign("a", 0, 1_500);
    rig.taken(100);
    serve.stop();
    redis.kill();
    let (files, old, new) = (redis.folder().join("appendonlydir"), rig.path("old"), rig.path("new"));
    copy(&files, &old);
    redis.again(&[]);
    let serve = rig.serve();
    let remembered = || std::fs::read_to_string(rig.path("data/redis.mark")).unwrap_or_default();
    let before = remembered();
    wait_until("it remembers more", || remembered() != before && rig.ledger().taken > 300);
    serve.stop();
    redis.kill();
    copy(&files, &new);
    for (place, right) in [(&old, false), (&new, true)] {
        std::fs::remove_dir_all(&files).unwrap();
        copy(place, &files);
        redis.again(&[]);
        let serve = rig.serve();
        if right {
            let states = rig.done("a");
            assert_eq!(states["accepted"], 1_500, "{states}");
            rig.judge("a", &states);
            serve.stop();
        } else {
            let taken = rig.ledger().taken;
            serve.must_say("redis is not as far as it was");
            wait_until("everything is stopped", || blocked(&serve, "rolled_back"));
            assert_eq!(rig.ledger().taken, taken);
            serve.stop();
            redis.kill();
        }
    }
}
