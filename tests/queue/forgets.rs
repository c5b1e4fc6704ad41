//! A Redis that forgets its last seconds, or everything; replicas that do not keep up.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use carteiro::clock;
use carteiro::config::WaitFor;
use carteiro::domain::contact::ContactRules;
use carteiro::domain::ids::CampaignSeq;
use carteiro::domain::record::{Record, State};
use carteiro::policy::mark::Mark;
use carteiro::policy::shard::Input;
use carteiro::queue::cap::ContactBook;
use carteiro::queue::client::{Client, Promise};
use carteiro::queue::codec::Unpacker;
use carteiro::queue::guard::{self, Guard};
use carteiro::queue::keys::LaneKeys;
use carteiro::queue::lane::{Append, Appended};
use carteiro::queue::link::{Link, LinkNews, ROLLED_BACK};
use carteiro::queue::replay::{Chunk, Held, Wrote};
use carteiro::queue::stops::StopList;
use carteiro::queue::{QueueError, campaigns, lane};
use carteiro::sender::chunks::Chunks;
use carteiro::sender::contacts::Contacts;
use carteiro::sender::orders::Orders;
use carteiro::sender::stops::Stops;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, PATIENCE, append, id, number, settlement, stored, timeouts, wait_until};
use crate::servers::Server;

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// The keys of a lane, as they are now.
async fn dump(lab: &mut Lab) -> BTreeMap<String, Vec<u8>> {
    let keys = LaneKeys::new(id(0));
    let mut all = BTreeMap::new();
    let seen = [keys.seen(0), keys.seen(1)];
    for key in [keys.meta, keys.state, keys.retry, keys.asked, keys.log].into_iter().chain(seen) {
        let bytes: Option<Vec<u8>> = redis::cmd("DUMP").arg(&key).query_async(&mut lab.redis).await.unwrap();
        all.insert(key, bytes.unwrap_or_default());
    }
    all
}

/// Redis dies, and comes back with what it had then.
async fn forget(lab: &mut Lab, then: &BTreeMap<String, Vec<u8>>) {
    for (key, bytes) in then {
        let () = lab.redis.del(key).await.unwrap();
        if !bytes.is_empty() {
            let mut restore = redis::cmd("RESTORE");
            let () = restore.arg(key).arg(0).arg(bytes).query_async(&mut lab.redis).await.unwrap();
        }
    }
    let exited = lab.server.exited();
    signal(lab.server.process_id().await.unwrap(), Signal::SIGKILL);
    exited.await;
    assert!(lab.server.ensure_alive().await.unwrap());
    lab.redis = lab.client.connect(timeouts()).await.unwrap();
}

#[tokio::test]
async fn what_redis_forgot_is_written_again_before_anything_else() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 40).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (3, 0)).await.unwrap();
    lane::settle(&mut lab.redis, id(0), &mut [settlement(0, 1, State::Waiting)]).await.unwrap();
    let run = async {
        let then = dump(&mut lab).await;
        let link = Link::new(lab.client.clone().remembering(Duration::from_secs(60)), timeouts(), |_| ());
        let claim = async |request, counts| {
            let call =
                async |redis: &mut _| lane::claim(redis, id(0), (1, request), NOW_MS + 60_000, counts).await;
            let claimed = link.call(call).await.unwrap();
            let messages = claimed.messages.iter().map(|(index, one)| (*index, one.generation, one.attempt));
            let messages: Vec<_> = messages.collect();
            link.wrote(id(0), || Wrote::Claimed {
                call: (1, request),
                messages: messages.clone(),
                chunks: Vec::new(),
            });
            messages.into_iter().map(|(index, ..)| index).collect::<Vec<_>>()
        };
        let release = async |request, mut messages: Vec<(u32, u8)>| {
            let call =
                async |redis: &mut _| lane::release(redis, id(0), (1, request), NOW_MS, &mut messages).await;
            link.call(call).await.unwrap();
            link.wrote(id(0), || Wrote::Released { token: 1, request, messages });
        };
        let settle = async |mut all: Vec<_>| {
            link.call(async |redis| lane::settle(redis, id(0), &mut all).await).await.unwrap();
            link.wrote(id(0), || Wrote::Settled(all));
        };
        assert_eq!(claim(2, (0, 5)).await, [0], "the one that waited, for the second time");
        assert_eq!(claim(3, (8, 0)).await, (3..11).collect::<Vec<_>>());
        // The end of what was claimed is given back, and something of its middle.
        release(4, vec![(5, 1), (9, 1), (10, 1)]).await;
        settle(vec![settlement(0, 2, State::Accepted), settlement(1, 1, State::Accepted)]).await;
        settle(vec![settlement(3, 1, State::Failed), settlement(4, 1, State::Waiting)]).await;
        let before = stored(&mut lab.redis, id(0)).await;
        forget(&mut lab, &then).await;
        assert_ne!(stored(&mut lab.redis, id(0)).await.records, before.records, "it did forget");
        link.call(async |redis| campaigns::version(redis).await).await.unwrap();
        let after = stored(&mut lab.redis, id(0)).await;
        let states =
            |all: &[carteiro::domain::record::Record]| all.iter().map(|one| one.state).collect::<Vec<_>>();
        assert_eq!((states(&after.records), after.next), (states(&before.records), before.next));
        // What was given back is claimed again, once; nothing of it is left out.
        let mut again = claim(5, (0, 50)).await;
        again.sort_unstable();
        assert_eq!(again, [4, 5]);
        assert_eq!(claim(6, (50, 0)).await, (9..40).collect::<Vec<_>>());
        // A second time there is nothing to write, whatever became of it meanwhile.
        let now = stored(&mut lab.redis, id(0)).await;
        let then = dump(&mut lab).await;
        forget(&mut lab, &then).await;
        link.call(async |redis| campaigns::version(redis).await).await.unwrap();
        assert_eq!(stored(&mut lab.redis, id(0)).await, now);
    };
    tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
}

#[tokio::test]
async fn what_was_given_back_after_the_lane_was_adopted_anew_is_given_back_again() {
    for adoption_is_forgotten in [false, true] {
        let mut lab = Lab::start().await;
        lab.lane(id(0), 10).await;
        let run = async {
            let link = Link::new(lab.client.clone().remembering(Duration::from_secs(60)), timeouts(), |_| ());
            let claim = async |token, request, counts| {
                let call =
                    async |redis: &mut _| lane::claim(redis, id(0), (token, request), NOW_MS, counts).await;
                let claimed = link.call(call).await.unwrap().messages;
                let messages =
                    claimed.iter().map(|(index, one)| (*index, one.generation, one.attempt)).collect();
                link.wrote(id(0), || Wrote::Claimed { call: (token, request), messages, chunks: Vec::new() });
                claimed.into_iter().map(|(index, _)| index).collect::<Vec<_>>()
            };
            assert_eq!(claim(1, 1, (4, 0)).await, [0, 1, 2, 3]);
            let earlier = dump(&mut lab).await;
            link.call(async |redis| lane::adopt(redis, id(0), 2, false).await).await.unwrap();
            let then = if adoption_is_forgotten { earlier } else { dump(&mut lab).await };
            let given_back = vec![(2, 1), (3, 1)];
            let call = async |redis: &mut _| {
                lane::release(redis, id(0), (2, 2), NOW_MS, &mut given_back.clone()).await
            };
            link.call(call).await.unwrap();
            link.wrote(id(0), || Wrote::Released { token: 2, request: 2, messages: given_back.clone() });
            forget(&mut lab, &then).await;
            assert_eq!(stored(&mut lab.redis, id(0)).await.records[3].state, State::Sending, "it did forget");
            link.call(async |redis| lane::adopt(redis, id(0), 2, false).await).await.unwrap();
            let mut again = claim(2, 3, (1, 9)).await;
            again.sort_unstable();
            assert_eq!(again, [2, 3, 4]);
        };
        tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
    }
}

#[tokio::test]
async fn a_forgotten_chunk_is_there_again_before_it_is_said_who_claimed_from_it() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    let run = async {
        let then = dump(&mut lab).await;
        let client = lab.client.clone().remembering(Duration::from_secs(60));
        let link = |client: &Client| Link::new(client.clone(), timeouts(), |_| ());
        let (load, other, engine) = (link(&client), link(&client), link(&client));
        let number = number();
        let append = async |link: &Link, first: usize| {
            let (rows, chunk) = (first..first + 10, format!("chunk {first}"));
            let hashes = rows.clone().map(|row| i64::try_from(row).unwrap() + (1 << 61)).collect();
            let buckets = BTreeMap::from([(0, hashes)]);
            let (tag, chunk, number) = (chunk.as_str(), chunk.as_bytes(), &number);
            let order = Append { tag, number, class: 3, capacity: 50, rows: 10, chunk, buckets: &buckets };
            let done = link.call(async |redis| lane::append(redis, id(0), &order).await).await.unwrap();
            let Appended::Done(at) = done else { panic!("{done:?}") };
            link.wrote(id(0), || Wrote::Appended(Rc::new(Chunk::of(&order, at))));
        };
        // Two loads by turns.
        for (at, link) in [&load, &other, &load].into_iter().enumerate() {
            append(link, 10 + 10 * at).await;
        }
        let call = async |redis: &mut _| lane::claim(redis, id(0), (1, 2), NOW_MS, (25, 0)).await;
        let claimed = engine.call(call).await.unwrap().messages;
        let messages = claimed.iter().map(|(index, one)| (*index, one.generation, one.attempt)).collect();
        let chunk =
            |first: u32| Held { first, rows: 10, tail: format!("k {first}").as_bytes().try_into().unwrap() };
        let chunks = vec![chunk(10), chunk(20)];
        engine.wrote(id(0), || Wrote::Claimed { call: (1, 2), messages, chunks });
        forget(&mut lab, &then).await;
        assert_eq!(stored(&mut lab.redis, id(0)).await.records.len(), 10, "it did forget");
        // Whatever comes first: the engine waits for the chunks, and the load for the other's.
        let ask = async |link: &Link| link.call(async |redis| campaigns::version(redis).await).await.unwrap();
        let begun = clock::mono();
        tokio::join!(ask(&engine), ask(&load), ask(&other));
        assert!(clock::mono().since(begun) < Duration::from_secs(8), "nobody waited in vain");
        let after = stored(&mut lab.redis, id(0)).await;
        let sending = after.records.iter().filter(|one| one.state == State::Sending).count();
        assert_eq!((after.records.len(), sending, after.next), (40, 25, 25));
        for (first, chunk) in [(10, "chunk 10"), (20, "chunk 20"), (30, "chunk 30")] {
            let found = lane::chunk(&mut lab.redis, id(0), first).await.unwrap();
            assert_eq!(found, (first, chunk.as_bytes().to_vec()));
        }
    };
    tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
}

#[tokio::test]
async fn what_redis_forgot_is_written_again_by_one_who_has_nothing_more_to_ask() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    lane::claim(&mut lab.redis, id(0), (1, 1), NOW_MS, (3, 0)).await.unwrap();
    let run = async {
        let then = dump(&mut lab).await;
        let link = Link::new(lab.client.clone().remembering(Duration::from_secs(60)), timeouts(), |_| ());
        let mut all = [settlement(1, 1, State::Accepted)];
        link.call(async |redis| lane::settle(redis, id(0), &mut all).await).await.unwrap();
        link.wrote(id(0), || Wrote::Settled(all.to_vec()));
        forget(&mut lab, &then).await;
        let redis = &mut lab.redis;
        // One read: while it is written again the lane's records and counters do not lie still.
        let state = LaneKeys::new(id(0)).state;
        let mut second = async || -> Vec<u8> { redis.getrange(&state, 4, 7).await.unwrap() };
        wait_until(async || {
            let record = Record::from_bytes(second().await.try_into().unwrap());
            record.is_some_and(|record| record.state == State::Accepted)
        })
        .await;
    };
    tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
}

#[tokio::test]
async fn a_lane_that_redis_knows_as_ours_goes_on_and_another_waits_until_others_have_spoken() {
    // Long enough to be noticed where nothing is to be waited for.
    for (adoption_is_forgotten, grace) in [(false, 10 * PATIENCE), (true, Duration::from_millis(300))] {
        let mut lab = Lab::start().await;
        lab.lane(id(0), 10).await;
        let run = async {
            let before = dump(&mut lab).await;
            let client = lab.client.clone().remembering(Duration::from_secs(60));
            let link = Link::new(client, timeouts(), |_| ());
            let rules = ContactRules {
                per_day: None,
                per_week: None,
                gap: Duration::ZERO,
                day: Duration::from_secs(86_400),
                pair: Duration::ZERO,
            };
            let limits = (
                Stops::new(Arc::new(StopList::new((1, 2), 0))),
                Contacts::new(Arc::new(ContactBook::new(rules))),
            );
            let (chunks, unpacker) = (Rc::new(Chunks::new(4)), Unpacker::new().unwrap());
            let orders = Orders::new(link.clone(), chunks, unpacker, (5, grace), limits);
            let adopted = |input| matches!(input, Input::Adopted(_, Some(_)));
            assert!(adopted(orders.adopt(id(0), false).await));
            assert_eq!(link.another_at(), None);
            let then = if adoption_is_forgotten { before } else { dump(&mut lab).await };
            forget(&mut lab, &then).await;
            orders.set_token(6);
            assert!(adopted(orders.adopt(id(0), false).await));
            let waited = clock::mono().since(link.another_at().unwrap());
            assert!(!adoption_is_forgotten || waited >= grace, "{waited:?}");
        };
        tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
    }
}

#[tokio::test]
async fn an_emptied_redis_is_not_believed_until_it_is_accepted() {
    let mut lab = Lab::start().await;
    lab.lane(id(0), 10).await;
    campaigns::create(&mut lab.redis, "a", "", NOW_MS).await.unwrap();
    let () = lab.redis.hset("ct:installation", "name", "inst").await.unwrap();
    let mark = Mark { campaigns: [(CampaignSeq(1), "a".to_owned())].into(), ..Mark::default() };
    let guard = Guard::new(Mark { installation: "inst".to_owned(), ..mark });
    let news = Rc::new(RefCell::new(Vec::new()));
    let told = news.clone();
    let run = async {
        let client = lab.client.clone().guarded(guard.clone());
        let link = Link::new(client, timeouts(), move |one| told.borrow_mut().push(one));
        let claim = async |request| {
            link.call(async |redis| lane::claim(redis, id(0), (1, request), NOW_MS, (1, 0)).await).await
        };
        claim(1).await.unwrap();
        let () = redis::cmd("FLUSHALL").query_async(&mut lab.redis).await.unwrap();
        assert!(matches!(claim(2).await, Err(QueueError::Forgotten(_))), "the first claim notices it");
        let accept = async {
            while !news.borrow().contains(&LinkNews::Down(ROLLED_BACK)) {
                tokio::task::yield_now().await;
            }
            assert!(guard.stopped());
            guard::accept(&mut lab.redis).await.unwrap();
        };
        // It waits until somebody says that this is right. Then the lane is as unknown as it is.
        let (waited, ()) = tokio::join!(claim(3), accept);
        assert!(matches!(waited, Err(QueueError::Forgotten(_))), "{waited:?}");
        assert!(!guard.stopped());
    };
    tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
    assert!(guard::read(&mut lab.redis, "").await.unwrap().accepted > 0);
}

#[tokio::test]
async fn an_old_backup_that_one_process_finds_behind_is_refused_by_all() {
    let mut lab = Lab::start().await;
    let () = lab.redis.hset("ct:installation", "name", "inst").await.unwrap();
    let known = |token| Mark { installation: "inst".to_owned(), token, ..Mark::default() };
    let (one, other) = (Guard::new(known(7)), Guard::new(known(1)));
    let () = lab.redis.hset("ct:{own}", "token", 6).await.unwrap();
    other.check(&mut lab.redis).await.unwrap();
    assert!(matches!(one.check(&mut lab.redis).await, Err(QueueError::RolledBack(_))));
    // The first one may die, and nobody else knows of what it did last; heartbeats raise the token meanwhile.
    let () = lab.redis.hset("ct:{own}", "token", 9).await.unwrap();
    for guard in [&one, &other] {
        let error = guard.check(&mut lab.redis).await.unwrap_err();
        assert!(error.to_string().contains("another process found it behind"), "{error}");
    }
    guard::accept(&mut lab.redis).await.unwrap();
    for guard in [one, other] {
        guard.check(&mut lab.redis).await.unwrap();
        assert!(!guard.stopped());
    }
}

#[tokio::test]
async fn a_claim_counts_when_its_replica_has_it() {
    let master = Server::durable(&["--repl-diskless-sync-delay", "0"]);
    let replica = Server::durable(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let waiting = |timeout| {
        let client = Client::from(redis::Client::open(master.url()).unwrap());
        client.promising(Promise { replicas: WaitFor::All, timeout })
    };
    // A replica that is there may be slow on a busy machine; one that is not there is not waited for long.
    let (patient, client) = (waiting(PATIENCE / 6), waiting(Duration::from_millis(300)));
    // Without any replica it waits for one all the same.
    let early = client.connect(timeouts()).await.unwrap();
    while replica.info("replication", "master_link_status") != "up" || early.replicated().await.is_err() {}
    let mut sure = patient.connect(timeouts()).await.unwrap();
    append(&mut sure, id(0), "load", 0..20).await;
    lane::adopt(&mut sure, id(0), 1, true).await.unwrap();
    assert!(lane::claim(&mut sure, id(0), (1, 1), NOW_MS, (2, 0)).await.unwrap().kept);
    let mut redis = client.connect(timeouts()).await.unwrap();
    signal(replica.pid(), Signal::SIGSTOP);
    let claimed = lane::claim(&mut redis, id(0), (1, 2), NOW_MS, (2, 0)).await.unwrap();
    assert_eq!((claimed.kept, claimed.messages.len()), (false, 2));
    let error = lane::settle(&mut redis, id(0), &mut [settlement(0, 1, State::Accepted)]).await.unwrap_err();
    assert!(matches!(error, QueueError::Unkept { acked: 0, wanted: 1 }) && error.passes(), "{error:?}");
    // A release asks for no replica: forgotten, it leaves its messages in doubt.
    lane::release(&mut redis, id(0), (1, 3), NOW_MS, &mut [(2, 1), (3, 1)]).await.unwrap();
    let news = Rc::new(RefCell::new(Vec::new()));
    let told = news.clone();
    let run = async {
        let link = Link::new(client, timeouts(), move |one| told.borrow_mut().push(one));
        link.await_replicas();
        link.await_replicas();
        let down = || news.borrow().iter().filter(|one| **one == LinkNews::Down("replicas")).count();
        wait_until(async || down() >= 3).await;
        signal(replica.pid(), Signal::SIGCONT);
        wait_until(async || news.borrow().last() == Some(&LinkNews::Up)).await;
    };
    tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
    assert!(lane::claim(&mut sure, id(0), (1, 4), NOW_MS, (2, 0)).await.unwrap().kept);
}
