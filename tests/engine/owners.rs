//! Several processes on one Redis: they divide the numbers, hand them over, adopt those of a dead one, and stop when they
//! cannot renew their lease.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carteiro::clock;
use carteiro::redis_server::RedisServer;
use carteiro::sim::SimConfig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hooks::telling;
use crate::pace::within_pace;
use crate::rig::{Rig, Serve, get, sim, wait_until};

/// Short, so that the tests are.
const LEASE: Duration = Duration::from_secs(3);

fn rig(numbers: usize, rate: &'static str, change: impl FnOnce(&mut SimConfig)) -> Rig {
    let mut rig = Rig::new(numbers, rate, sim(change)).paced();
    rig.extra = "[ownership]\nlease = \"3s\"".to_owned();
    rig
}

/// Processes a, b and c, with their equal shares.
fn three(rig: &Rig) -> [Serve; 3] {
    let all = ["a", "b", "c"].map(|name| rig.serve_as(name, &[]));
    let share = rig.numbers.len() / 3;
    let expect: BTreeMap<String, usize> = ["a", "b", "c"].map(|name| (name.to_owned(), share)).into();
    wait_until("the numbers are divided", || rig.shares() == expect);
    all
}

/// Waits until every number has an owner, and none of them is `gone`. Returns how long it took.
fn adopted(rig: &Rig, gone: &str) -> Duration {
    let begun = clock::mono();
    wait_until("the others have all numbers", || {
        let owners = rig.owners();
        owners.len() == rig.numbers.len() && owners.values().all(|owner| owner != gone)
    });
    clock::mono().since(begun)
}

#[test]
fn three_processes_divide_the_numbers_and_a_pause_is_heard_by_all() {
    let rig = rig(6, "40/s", |_| ());
    let first = rig.serve_as("a", &[]);
    rig.campaign("a", 0, 2_400);
    rig.taken(60);
    let others = ["b", "c"].map(|name| rig.serve_as(name, &[]));
    let expect: BTreeMap<String, usize> = ["a", "b", "c"].map(|name| (name.to_owned(), 2)).into();
    wait_until("the numbers are divided", || rig.shares() == expect);
    for _ in 0..3 {
        let taken = rig.ledger().taken;
        rig.taken(taken + 100);
        let said = rig.ok(&["campaign", "pause", "a", "--json"]);
        let at_return = rig.ledger().requests;
        assert!(said.contains("\"acknowledged\":true") && said.contains("\"node\":\"a, b, c\""), "{said}");
        wait_until("what was in flight has its answer", || rig.count("a", "sending") == 0);
        assert_eq!(rig.ledger().requests, at_return, "a request came after the pause had returned");
        rig.ok(&["campaign", "resume", "a"]);
    }
    let states = rig.done("a");
    assert_eq!(states["accepted"], 2_400, "{states}");
    let ledger = rig.judge("a", &states);
    assert!(others.iter().all(|one| one.attempts() > 0), "everybody had a part in it");
    within_pace(&ledger, 40);
    first.stop();
    others.into_iter().for_each(Serve::stop);
}

#[test]
fn the_numbers_of_a_killed_process_are_adopted_within_its_lease_and_nobody_gets_it_twice() {
    let rig = rig(6, "40/s", |config| config.latency = Duration::from_millis(100));
    let [a, b, c] = three(&rig);
    rig.campaign("a", 0, 3_000);
    rig.taken(300);
    b.kill();
    let took = adopted(&rig, "b");
    assert!(took < LEASE + Duration::from_secs(2), "{took:?}");
    let states = rig.done("a");
    let ledger = rig.judge("a", &states);
    let in_doubt = states["in_doubt"].as_u64().unwrap();
    // Two numbers: in flight, claimed ahead, and answered without having been settled.
    assert!(in_doubt > 0 && in_doubt <= 2 * 24, "{states}");
    assert_eq!(states["accepted"].as_u64().unwrap() + in_doubt, 3_000, "{states}");
    within_pace(&ledger, 40);
    a.stop();
    c.stop();
}

#[test]
fn a_process_that_is_stopped_hands_over_within_a_second_and_leaves_nothing_in_doubt() {
    let rig = rig(6, "40/s", |config| config.latency = Duration::from_millis(150));
    let [a, b, c] = three(&rig);
    rig.campaign("a", 0, 3_000);
    for (stopping, name, left) in [(b, "b", 3), (a, "a", 6)] {
        let taken = rig.ledger().taken;
        rig.taken(taken + 200);
        stopping.signal(Signal::SIGTERM);
        let took = adopted_in_redis(&rig, name);
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
        stopping.ended();
        wait_until("the numbers are divided", || rig.shares()["c"] == left);
    }
    let states = rig.done("a");
    assert_eq!(states["accepted"], 3_000, "{states}");
    let ledger = rig.judge("a", &states);
    within_pace(&ledger, 40);
    c.stop();
}

#[test]
fn a_process_that_was_frozen_past_its_lease_sends_nothing_when_it_thaws() {
    let rig = rig(6, "40/s", |config| config.latency = Duration::from_millis(100));
    let [a, b, c] = three(&rig);
    rig.campaign("a", 0, 3_000);
    rig.taken(300);
    b.signal(Signal::SIGSTOP);
    adopted(&rig, "b");
    // A pause does not wait for it: its ownership has ended.
    rig.ok(&["campaign", "pause", "a"]);
    wait_until("what was in flight has its answer", || rig.count("a", "sending") == 0);
    let before = rig.ledger();
    b.signal(Signal::SIGCONT);
    wait_until("it joins again", || rig.shares() == ["a", "b", "c"].map(|name| (name.to_owned(), 2)).into());
    assert_eq!(
        rig.ledger().requests,
        before.requests,
        "what it had claimed before it froze must not leave now"
    );
    rig.ok(&["campaign", "resume", "a"]);
    let states = rig.done("a");
    rig.judge("a", &states);
    // What it had in flight it settles itself, and what it had not begun it gives back: it is alive, and knows.
    assert_eq!(states["accepted"], 3_000, "{states}");
    for serve in [a, b, c] {
        serve.stop();
    }
}

#[test]
fn a_process_that_is_cut_off_from_redis_stops_before_its_lease_ends() {
    let rig = rig(4, "40/s", |_| ());
    let a = rig.serve_as("a", &[]);
    let way = Way::to_redis_of(&rig);
    let b = rig.serve_as("b", &["--set", &format!("redis.url=redis+unix://{}", way.path.display())]);
    wait_until("the numbers are divided", || rig.shares().values().all(|share| *share == 2));
    rig.campaign("a", 0, 3_000);
    rig.taken(200);
    assert!(b.attempts() > 0);
    way.cut();
    adopted(&rig, "b");
    let (attempts, taken) = (b.attempts(), rig.ledger().taken);
    rig.taken(taken + 200);
    assert_eq!(b.attempts(), attempts, "it goes on although its numbers are somebody else's");
    assert!(b.says("the lease ends before redis answers"));
    way.mend();
    wait_until("it joins again", || rig.shares().get("b") == Some(&2));
    let states = rig.done("a");
    assert_eq!(states["accepted"], 3_000, "{states}");
    rig.judge("a", &states);
    assert!(b.attempts() > attempts);
    b.stop();
    a.stop();
}

#[test]
fn processes_are_killed_again_and_again_and_nobody_gets_it_twice() {
    let rig = rig(6, "30/s", |config| config.latency = Duration::from_millis(50));
    let [a, b, c] = three(&rig);
    rig.campaign("a", 0, 4_000);
    let mut running = vec![("a", a), ("b", b), ("c", c)];
    for (round, again) in ["d", "e", "f", "g"].into_iter().enumerate() {
        rig.taken((round as u64 + 1) * 250);
        // The leader each time: it is the one that has been there longest.
        let (name, dead) = running.remove(0);
        dead.kill();
        let took = adopted(&rig, name);
        assert!(took < LEASE + Duration::from_secs(2), "{took:?}");
        running.push((again, rig.serve_as(again, &[])));
    }
    let states = rig.done("a");
    let ledger = rig.judge("a", &states);
    let in_doubt = states["in_doubt"].as_u64().unwrap();
    assert_eq!(states["accepted"].as_u64().unwrap() + in_doubt, 4_000, "{states}");
    assert!(in_doubt <= 4 * 3 * 16, "{states}");
    within_pace(&ledger, 30);
    running.into_iter().for_each(|(_, serve)| serve.stop());
}

#[test]
fn a_redis_that_is_killed_or_stands_still_for_longer_than_every_lease_loses_nothing() {
    let rig = rig(6, "40/s", |config| config.latency = Duration::from_millis(50));
    let all = three(&rig);
    rig.campaign("a", 0, 3_000);
    rig.taken(300);
    rig.kill_redis();
    let taken = rig.ledger().taken;
    rig.taken(taken + 300);
    let redis = redis_id(&rig);
    kill(redis, Signal::SIGSTOP).unwrap();
    let ends = "the lease ends before redis answers";
    wait_until("every lease has ended", || all.iter().all(|serve| serve.says(ends)));
    let still = rig.ledger().requests;
    // Long enough for what was in flight, and for a process that would go on to be seen.
    let begun = clock::mono();
    wait_until("time passes", || clock::mono().since(begun) > Duration::from_secs(1));
    assert_eq!(rig.ledger().requests, still, "nothing leaves without a lease");
    kill(redis, Signal::SIGCONT).unwrap();
    let states = rig.done("a");
    rig.judge("a", &states);
    // Everybody lives, so everybody says what became of what it had.
    assert_eq!(states["accepted"], 3_000, "{states}");
    all.into_iter().for_each(Serve::stop);
}

#[test]
fn a_name_is_taken_once_and_a_process_that_comes_back_waits_for_its_lease() {
    let rig = rig(2, "100/s", |_| ());
    let a = rig.serve_as("a", &[]);
    let second = rig.run(&["serve", "--node", "a"]);
    assert_eq!(second.status.code(), Some(4));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another serve is running under the name a"), "{said}");
    assert_eq!(rig.shares(), [("a".to_owned(), 2)].into());
    a.kill();
    let again = rig.serve_as("a", &[]);
    assert!(again.says("waiting for the lease of its last process to end"));
    rig.campaign("a", 0, 200);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 200, "{states}");
    assert_eq!(get(&again.http().unwrap(), "/readyz").0, 200);
    again.stop();
}

#[test]
fn who_cannot_listen_takes_no_number_from_those_who_can() {
    let rig = telling(2, "100/s", "", |_| ());
    let a = rig.serve_as("a", &[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (key, free) in [("http.listen", "webhooks.listen"), ("webhooks.listen", "http.listen")] {
        let (set, other) = (format!("{key}={address}"), format!("{free}=127.0.0.1:0"));
        let ran = rig.run(&["--set", &set, "--set", &other, "serve", "--node", "b"]);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success() && said.contains(&address.to_string()), "{said}");
        assert!(!said.contains("serving"), "{said}");
    }
    assert_eq!(rig.shares(), [("a".to_owned(), 2)].into());
    assert!(!a.says("a number goes to another process"));
    a.stop();
}

/// The same as [`adopted`], asked of Redis itself: a command line takes too long to measure a second with.
fn adopted_in_redis(rig: &Rig, gone: &str) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let joined = RedisServer::join_or_start(&rig.path("data")).await.unwrap();
        let client = redis::Client::open(format!("redis+unix://{}", joined.socket().display())).unwrap();
        let mut redis = client.get_multiplexed_async_connection().await.unwrap().into();
        let begun = clock::mono();
        let took = loop {
            let owners = carteiro::queue::owner::division(&mut redis).await.unwrap().0.owners;
            if owners.len() == rig.numbers.len() && owners.values().all(|owned| owned.node != gone) {
                break clock::mono().since(begun);
            }
            assert!(clock::mono().since(begun) < Duration::from_secs(60), "{owners:?}");
        };
        drop(redis);
        joined.close().await.unwrap();
        took
    })
}

fn redis_id(rig: &Rig) -> Pid {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let joined = RedisServer::join_or_start(&rig.path("data")).await.unwrap();
        let id = joined.process_id().await.unwrap();
        joined.close().await.unwrap();
        Pid::from_raw(i32::try_from(id).unwrap())
    })
}

/// A way to Redis that can be cut: what is sent then gets no answer, as on a network that drops everything.
struct Way {
    path: PathBuf,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<UnixStream>>>,
}

impl Way {
    fn to_redis_of(rig: &Rig) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let socket = runtime.block_on(async {
            let joined = RedisServer::join_or_start(&rig.path("data")).await.unwrap();
            let socket = joined.socket().to_owned();
            joined.close().await.unwrap();
            socket
        });
        let way = Self { path: rig.path("way.sock"), cut: Arc::default(), open: Arc::default() };
        let listener = UnixListener::bind(&way.path).unwrap();
        let (cut, open) = (way.cut.clone(), way.open.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = UnixStream::connect(&socket) else { continue };
                open.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let cut = cut.clone();
                    std::thread::spawn(move || carry(from, to, &cut));
                }
            }
        });
        way
    }

    /// From now on nothing gets through.
    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// New connections work again; what was swallowed stays lost.
    fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
        for one in self.open.lock().unwrap().drain(..) {
            let _gone = one.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, cut: &AtomicBool) {
    let mut buffer = [0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !cut.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(Shutdown::Both);
}
