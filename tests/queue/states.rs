//! A Redis that forgot the scripts, is full, read-only, loading, failing to save, or gone.

use std::cell::RefCell;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use carteiro::domain::campaign::CampaignState;
use carteiro::domain::ids::CampaignSeq;
use carteiro::domain::record::State;
use carteiro::queue::client::Client;
use carteiro::queue::connection::Connection;
use carteiro::queue::link::{Link, LinkNews};
use carteiro::queue::owner::{self, Ask};
use carteiro::queue::{QueueError, campaigns, halts, lane};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, PATIENCE, id, settlement, stored, timeouts, wait_until};

async fn say(redis: &mut Connection, words: &str) {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    let () = command.query_async(redis).await.unwrap();
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_loaded_and_run() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 5).await;
    for request in 1..4 {
        say(&mut lab.redis, "SCRIPT FLUSH").await;
        let claimed = lane::claim(&mut lab.redis, id(0), (1, request), NOW_MS, (1, 0)).await.unwrap();
        assert_eq!(claimed.messages.len(), 1);
    }
}

#[tokio::test]
async fn a_full_redis_claims_nothing_and_still_settles_releases_and_keeps_its_owner() {
    let mut lab = Lab::start().await;
    let beat = |ask| owner::Beat {
        node: "one",
        incarnation: "i",
        ask,
        lease: owner::LEASE,
        acknowledged: 3,
        capacity: 1,
        leaving: false,
        offers: None,
        revision: None,
        give_back: &[],
        take: &[],
    };
    owner::beat(&mut lab.redis, &beat(Ask::Join)).await.unwrap();
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (6, 0)).await.unwrap();
    let () = lab.redis.hset("ct:campaign:1", "state", "running").await.unwrap();
    say(&mut lab.redis, "CONFIG SET maxmemory 1").await;
    let refused = lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS, (1, 0)).await;
    assert!(matches!(refused, Err(QueueError::Full)), "{refused:?}");
    let mut batch = [settlement(0, 1, State::Accepted), settlement(1, 1, State::Waiting)];
    assert_eq!(lane::settle(&mut lab.redis, id(0), &mut batch).await.unwrap(), (2, 0));
    lane::release(&mut lab.redis, id(0), (1, 3), NOW_MS, &mut [(2, 1), (5, 1)]).await.unwrap();
    assert_eq!(lane::adopt(&mut lab.redis, id(0), 2, true).await.unwrap().in_doubt, 2);
    let kept = owner::beat(&mut lab.redis, &beat(Ask::Keep)).await;
    assert!(matches!(kept, Ok(owner::Renewal::Kept(_))), "a full redis must not end the ownership: {kept:?}");
    // An operator can still stop everything.
    let moved = (CampaignState::Running, CampaignState::Paused);
    assert!(campaigns::set_state(&mut lab.redis, CampaignSeq(1), moved, NOW_MS).await.unwrap());
    assert!(halts::stop(&mut lab.redis, &halts::Scope::App, &halts::Why::Operator).await.unwrap());
    assert!(campaigns::announce(&mut lab.redis).await.unwrap() > 0);
    stored(&mut lab.redis, id(0)).await;
    say(&mut lab.redis, "CONFIG SET maxmemory 0").await;
    lane::claim(&mut lab.redis, id(0), (2, 1), NOW_MS, (1, 0)).await.unwrap();
}

#[tokio::test]
async fn a_replica_takes_no_writes_and_that_passes() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (2, 0)).await.unwrap();
    say(&mut lab.redis, "REPLICAOF 127.0.0.1 1").await;
    let claim = lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS, (1, 0)).await.unwrap_err();
    let settle =
        lane::settle(&mut lab.redis, id(0), &mut [settlement(0, 1, State::Accepted)]).await.unwrap_err();
    for error in [claim, settle] {
        assert!(matches!(error, QueueError::ReadOnly(_)) && error.passes(), "{error:?}");
    }
    say(&mut lab.redis, "REPLICAOF NO ONE").await;
    lane::claim(&mut lab.redis, id(0), (1, 2), NOW_MS, (1, 0)).await.unwrap();
}

/// A server of our own with settings that a private one has not.
struct Server(Child);

impl Server {
    async fn start(folder: &Path, settings: &[&str]) -> (Self, Client, Connection) {
        let socket = folder.join("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--appendonly", "yes", "--save", "", "--unixsocket"]).arg(&socket);
        command.arg("--dir").arg(folder).args(settings).stdout(Stdio::null());
        let server = Self(command.spawn().unwrap());
        let client = Client::from(redis::Client::open(format!("redis+unix://{}", socket.display())).unwrap());
        let mut redis = None;
        wait_until(async || {
            redis = client.connect(timeouts()).await.ok();
            redis.is_some()
        })
        .await;
        (server, client, redis.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[tokio::test]
async fn a_loading_redis_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"];
    let (_server, client, mut redis) = Server::start(folder.path(), &settings).await;
    let mut many = redis::pipe();
    (0..2_000).for_each(|at| {
        many.set(format!("key{at}"), "x".repeat(100)).ignore();
    });
    let () = many.query_async(&mut redis).await.unwrap();
    say(&mut redis, "CONFIG SET key-load-delay 500").await;
    let mut other = client.connect(timeouts()).await.unwrap();
    let loading = tokio::spawn(async move { say(&mut redis, "DEBUG LOADAOF").await });
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            match lane::adopt(&mut other, id(0), 1, true).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    });
    let error = seen.await.unwrap();
    assert!(matches!(error, QueueError::Loading) && error.passes(), "{error:?}");
    loading.await.unwrap();
    lane::adopt(&mut other, id(0), 1, true).await.unwrap();
}

#[tokio::test]
async fn a_redis_that_cannot_save_takes_no_writes_and_that_passes() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let (_server, _, mut redis) = Server::start(folder.path(), &["--enable-protected-configs", "yes"]).await;
    say(&mut redis, &format!("CONFIG SET dir {}", gone.display())).await;
    std::fs::remove_dir(&gone).unwrap();
    let () =
        redis::cmd("CONFIG").arg("SET").arg("save").arg("3600 100000").query_async(&mut redis).await.unwrap();
    say(&mut redis, "BGSAVE").await;
    let failed = tokio::time::timeout(PATIENCE, async {
        loop {
            let info: String = redis::cmd("INFO").arg("persistence").query_async(&mut redis).await.unwrap();
            if info.contains("rdb_last_bgsave_status:err") {
                return;
            }
        }
    });
    failed.await.unwrap();
    let error = lane::adopt(&mut redis, id(0), 1, true).await.unwrap_err();
    assert!(matches!(error, QueueError::ReadOnly(_)) && error.passes(), "{error:?}");
}

#[tokio::test]
async fn a_link_outlives_the_death_of_redis() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    let pid = lab.server.process_id().await.unwrap();
    let news = Rc::new(RefCell::new(Vec::new()));
    let told = news.clone();
    let local = tokio::task::LocalSet::new();
    let run = async {
        let link = Link::new(lab.client.clone(), timeouts(), move |one| told.borrow_mut().push(one));
        let claim = async |request| {
            link.call(async |redis| lane::claim(redis, id(0), (1, request), NOW_MS, (1, 0)).await)
                .await
                .unwrap()
        };
        assert_eq!(claim(1).await.messages.len(), 1);
        let exited = lab.server.exited();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        exited.await;
        let restart = async { assert!(lab.server.ensure_alive().await.unwrap()) };
        let (one, other, ()) = tokio::join!(claim(2), async { claim(2).await }, restart);
        // Both asked with one number, as a repeated call would: they got the same message.
        assert_eq!((one.messages.len(), one.messages), (1, other.messages));
    };
    tokio::time::timeout(PATIENCE, local.run_until(run)).await.unwrap();
    let news = news.borrow();
    assert!(news.contains(&LinkNews::Down("lost")), "{news:?}");
    assert_eq!(news.last(), Some(&LinkNews::Up));
}

#[tokio::test]
async fn a_link_says_that_redis_is_up_again_whatever_the_answer_is_then() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    say(&mut lab.redis, "CONFIG SET maxmemory 1").await;
    let news = Rc::new(RefCell::new(Vec::new()));
    let told = news.clone();
    let local = tokio::task::LocalSet::new();
    let run = async {
        let link = Link::new(lab.client.clone(), timeouts(), move |one| told.borrow_mut().push(one));
        let claim = link.call(async |redis| lane::claim(redis, id(0), (1, 1), NOW_MS, (1, 0)).await);
        let mend = async {
            while !news.borrow().contains(&LinkNews::Down("full")) {
                tokio::task::yield_now().await;
            }
            // When there is room again the lane belongs to somebody else.
            lane::adopt(&mut lab.redis, id(0), 2, true).await.unwrap();
            say(&mut lab.redis, "CONFIG SET maxmemory 0").await;
        };
        let (claimed, ()) = tokio::join!(claim, mend);
        assert!(matches!(claimed, Err(QueueError::Fenced)), "{claimed:?}");
    };
    tokio::time::timeout(PATIENCE, local.run_until(run)).await.unwrap();
    assert_eq!(
        news.borrow().last(),
        Some(&LinkNews::Up),
        "or nothing would be claimed until the next outage"
    );
    let tokens: String = lab.redis.hget("ct:{1.0}:meta", "tok").await.unwrap();
    assert_eq!(tokens, "2");
}
