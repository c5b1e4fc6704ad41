//! Several servers: a cluster of three masters, and a master that sentinels know.

use std::cell::RefCell;
use std::rc::Rc;

use carteiro::config::{RedisConfig, RedisMode, Secret};
use carteiro::domain::campaign::{CampaignState, Priority};
use carteiro::domain::ids::{CampaignSeq, LaneId};
use carteiro::domain::record::State;
use carteiro::queue::client::Client;
use carteiro::queue::link::{Link, LinkNews};
use carteiro::queue::owner::{self, Ask};
use carteiro::queue::{QueueError, agenda, campaigns, halts, keys, lane};
use carteiro::redis_server::{check_all, client};
use futures_util::StreamExt as _;
use redis::AsyncCommands;

use crate::lab::{NOW_MS, PATIENCE, append, id, number, settlement, stored, timeouts};
use crate::servers::{Cluster, MASTER, Server, Trio};

fn config(url: String, mode: RedisMode) -> RedisConfig {
    RedisConfig { url: Some(Secret(url.into())), mode, ..RedisConfig::default() }
}

fn of_cluster(cluster: &Cluster) -> Client {
    client(&config(cluster.url(), RedisMode::Cluster), None).unwrap()
}

#[tokio::test]
async fn a_cluster_holds_lanes_campaigns_and_owners() {
    let cluster = Cluster::start(3);
    let client = of_cluster(&cluster);
    let mut redis = client.connect(timeouts()).await.unwrap();
    let settings = config(cluster.url(), RedisMode::Cluster);
    assert!(check_all(&redis, &settings).await.unwrap().durable);
    let alone = config(cluster.0[0].url(), RedisMode::Standalone);
    let error = check_all(&redis, &alone).await.unwrap_err().to_string();
    assert!(error.contains("set redis.mode = \"cluster\""), "{error}");

    let lanes: Vec<LaneId> = (0..12).map(id).collect();
    for one in &lanes {
        append(&mut redis, *one, "load", 0..20).await;
        lane::adopt(&mut redis, *one, 1, true).await.unwrap();
        let claimed = lane::claim(&mut redis, *one, (1, 1), NOW_MS, (5, 0)).await.unwrap();
        assert_eq!(claimed.messages.len(), 5);
        let mut batch = [settlement(0, 1, State::Accepted), settlement(1, 1, State::Waiting)];
        assert_eq!(lane::settle(&mut redis, *one, &mut batch).await.unwrap(), (2, 0));
        lane::release(&mut redis, *one, (1, 2), NOW_MS, &mut [(4, 1)]).await.unwrap();
        stored(&mut redis, *one).await;
    }
    // One pipeline over all slots, its answers in order.
    lane::adopt(&mut redis, lanes[7], 9, false).await.unwrap();
    let counters = lane::counters(&mut redis, &lanes).await.unwrap();
    let tokens: Vec<u64> = counters.iter().map(|one| one.token).collect();
    assert_eq!(tokens, (0..12).map(|at| if at == 7 { 9 } else { 1 }).collect::<Vec<_>>());
    let shares: Vec<u64> = cluster.0.iter().map(|node| node.ask(&["DBSIZE"])).collect();
    assert!(shares.iter().all(|keys| *keys > 0), "every master holds lanes: {shares:?}");

    let mut heard = client.pubsub(timeouts()).await.unwrap();
    heard.subscribe(&[keys::EVENTS]).await.unwrap();
    for name in ["a", "b", "c"] {
        campaigns::create(&mut redis, name, "", NOW_MS).await.unwrap();
    }
    let message = tokio::time::timeout(PATIENCE, heard.on_message().next()).await.unwrap().unwrap();
    assert_eq!(message.get_channel_name(), keys::EVENTS);
    let seqs = [3, 1, 2].map(CampaignSeq);
    let all = campaigns::read_all(&mut redis, &seqs).await.unwrap();
    assert_eq!(all.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
    let moved = (CampaignState::Draft, CampaignState::Ready);
    assert!(campaigns::set_state(&mut redis, CampaignSeq(2), moved, NOW_MS).await.unwrap());
    assert!(halts::stop(&mut redis, &halts::Scope::App, &halts::Why::Operator).await.unwrap());
    agenda::register(&mut redis, &number(), &lanes, Priority::Normal).await.unwrap();
    agenda::reassign(&mut redis, lanes[0], (&number(), &"7".into()), Priority::High).await.unwrap();
    assert_eq!(agenda::read(&mut redis, &"7".into()).await.unwrap(), [lanes[0]]);
    let beat = owner::Beat {
        node: "one",
        incarnation: "i",
        ask: Ask::Join,
        lease: owner::LEASE,
        acknowledged: 0,
        capacity: 1,
        leaving: false,
        offers: Some(" 7 1 "),
        revision: None,
        give_back: &[],
        take: &["7".into()],
    };
    assert!(
        matches!(owner::beat(&mut redis, &beat).await, Ok(owner::Renewal::Kept(kept)) if kept.taken.len() == 1)
    );
    assert_eq!(owner::live_nodes(&mut redis).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_slot_that_moves_is_found_again() {
    let cluster = Cluster::start(2);
    let client = of_cluster(&cluster);
    let mut redis = client.connect(timeouts()).await.unwrap();
    append(&mut redis, id(0), "load", 0..20).await;
    lane::adopt(&mut redis, id(0), 1, true).await.unwrap();
    let slot: u32 = cluster.0[0].ask(&["CLUSTER", "KEYSLOT", "{1.0}"]);
    let from = cluster.of_slot(slot);
    let (old, new, slot) = (&cluster.0[from], &cluster.0[1 - from], slot.to_string());
    let [old_id, new_id] = [cluster.id(from), cluster.id(1 - from)];
    new.ask::<String>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &old_id]);
    old.ask::<String>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &new_id]);
    let names: Vec<String> = old.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
    assert!(names.len() > 3, "{names:?}");
    let port = new.port.to_string();
    // While a lane's keys are on their way nothing can run, and that passes; one key is found where it is.
    let rest: Vec<&str> = names[1..].iter().map(String::as_str).collect();
    for some in [vec![names[0].as_str()], rest] {
        old.ask::<String>(&[&["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"], &some[..]].concat());
        let error = lane::claim(&mut redis, id(0), (1, 1), NOW_MS, (5, 0)).await.unwrap_err();
        assert!(matches!(error, QueueError::Loading) && error.passes(), "{error:?}");
    }
    let counters = lane::counters(&mut redis, &[id(1), id(0)]).await.unwrap();
    assert_eq!([counters[0].count, counters[1].count], [0, 20]);
    for node in [new, old] {
        node.ask::<String>(&["CLUSTER", "SETSLOT", &slot, "NODE", &new_id]);
    }
    let error = lane::claim(&mut redis, id(0), (1, 1), NOW_MS, (5, 0)).await.unwrap_err();
    assert!(matches!(error, QueueError::Lost(_)) && error.passes(), "{error:?}");
    // A link makes a new connection, which knows.
    let run = async {
        let link = Link::new(client, timeouts(), |_| ());
        link.call(async |_| Ok(())).await.unwrap();
        link.call(async |redis| lane::claim(redis, id(0), (1, 1), NOW_MS, (5, 0)).await).await.unwrap();
        let counters = link.call(async |redis| lane::counters(redis, &[id(0)]).await).await.unwrap();
        assert_eq!(counters[0].next, 5);
    };
    tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
}

#[tokio::test]
async fn a_link_finds_the_new_master_that_sentinels_name() {
    let mut trio = Trio::start("always");
    let mode = RedisMode::Sentinel(MASTER.to_owned());
    let client = client(&config(trio.url(), mode), None).unwrap();
    let mut redis = client.connect(timeouts()).await.unwrap();
    append(&mut redis, id(0), "load", 0..20).await;
    lane::adopt(&mut redis, id(0), 1, true).await.unwrap();
    assert_eq!(trio.named(), trio.master.port);
    let replica = redis::Client::open(trio.replica.url()).unwrap();
    assert!(
        check_all(&Client::from(replica).connect(timeouts()).await.unwrap(), &RedisConfig::default())
            .await
            .is_err()
    );
    let news = Rc::new(RefCell::new(Vec::new()));
    let told = news.clone();
    let run = async {
        let link = Link::new(client, timeouts(), move |one| told.borrow_mut().push(one));
        let claim = async |request| {
            link.call(async |redis| lane::claim(redis, id(0), (1, request), NOW_MS, (1, 0)).await)
                .await
                .unwrap()
        };
        claim(1).await;
        // Until the replica has it, too: what a failover forgets is another test's matter.
        let _acknowledged: u64 = redis::cmd("WAIT").arg(1).arg(0).query_async(&mut redis).await.unwrap();
        trio.master.kill();
        assert_eq!(claim(2).await.standing.next, 2);
        trio.failed_over();
    };
    tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
    assert!(news.borrow().contains(&LinkNews::Down("lost")));
    assert_eq!(trio.replica.ask::<u64>(&["HGET", "ct:{1.0}:meta", "next"]), 2);
}

#[tokio::test]
async fn a_master_that_became_a_replica_is_left() {
    let trio = Trio::start("always");
    let mode = RedisMode::Sentinel(MASTER.to_owned());
    let client = client(&config(trio.url(), mode), None).unwrap();
    let run = async {
        let link = Link::new(client, timeouts(), |_| ());
        let set = async |value: u32| {
            link.call(async |redis| Ok(redis.set::<_, _, ()>("key", value).await?)).await.unwrap();
        };
        set(1).await;
        trio.sentinels[0].ask::<String>(&["SENTINEL", "FAILOVER", MASTER]);
        trio.failed_over();
        trio.demoted();
        set(2).await;
    };
    tokio::time::timeout(PATIENCE, tokio::task::LocalSet::new().run_until(run)).await.unwrap();
    assert_eq!(trio.replica.ask::<u32>(&["GET", "key"]), 2);
}

#[tokio::test]
async fn nobody_who_knows_a_master_is_an_error_with_a_name() {
    let gone = Server::start(&[]);
    let url = gone.url();
    drop(gone);
    let refused = |mode| {
        let client = client(&config(url.clone(), mode), None).unwrap();
        async move { client.connect(timeouts()).await.unwrap_err().to_string() }
    };
    for mode in [RedisMode::Cluster, RedisMode::Sentinel("m".to_owned())] {
        let error = refused(mode).await;
        assert!(error.contains("127.0.0.1:"), "{error}");
    }
}
