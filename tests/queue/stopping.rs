//! The stop list in a real Redis: followed, read from a base, left behind, and lost.

use std::time::Duration;

use carteiro::clock::WallMs;
use carteiro::domain::person::{PersonKey, Phone};
use carteiro::domain::stop::{StopDay, StopKind};
use carteiro::queue::QueueError;
use carteiro::queue::connection::Connection;
use carteiro::queue::stops::follow::{self, Taken};
use carteiro::queue::stops::{BATCH_MAX, Batch, Op, StopList, Who, log};
use redis::AsyncCommands;

use crate::lab::{Lab, NOW_MS, timeouts};

const FIRST: u64 = 5_511_900_000_000;

fn list() -> StopList {
    StopList::new((1, 2), 0)
}

fn people(from: u64, count: u64) -> Who {
    let one = |at| (Phone::from_digits(FIRST + at).unwrap().person(), StopDay::AT_ONCE);
    Who::People((from..from + count).map(one).collect())
}

fn stop(op: Op, who: Who) -> Batch {
    Batch { op, kind: StopKind::OptedOut, account: Some("100".into()), who }
}

async fn add(redis: &mut Connection, from: u64, count: u64) -> u64 {
    log::append(redis, &stop(Op::Add, people(from, count)), NOW_MS).await.unwrap()
}

fn stopped(list: &StopList, at: u64) -> bool {
    list.look(list.scope("100", false), FIRST + at, None, list.today(WallMs(NOW_MS))).is_some()
}

#[tokio::test]
async fn what_one_process_adds_another_is_told_of() {
    let mut lab = Lab::start().await;
    let list = list();
    follow::load(&mut lab.redis, &list).await.unwrap();
    assert_eq!((list.version(), log::last(&mut lab.redis).await.unwrap()), (0, 0));
    for round in 0..3u64 {
        let mut waiting = lab.client.connect(timeouts()).await.unwrap();
        let version = list.version();
        let told =
            tokio::spawn(async move { log::wait(&mut waiting, version, Duration::from_secs(9)).await });
        assert_eq!(add(&mut lab.redis, round, 1).await, round + 1);
        assert_eq!(follow::take(&list, told.await.unwrap().unwrap()), Taken::All);
        assert!(stopped(&list, round) && !stopped(&list, round + 1));
    }
    // Nothing new: the wait ends, and says so.
    assert!(log::wait(&mut lab.redis, 3, Duration::from_millis(5)).await.unwrap().is_empty());
    lab.server.close().await.unwrap();
}

#[tokio::test]
async fn a_base_stands_for_the_log_before_it() {
    let mut lab = Lab::start().await;
    let (old, behind) = (list(), list());
    for from in 0..300 {
        add(&mut lab.redis, 10 * from, 10).await;
    }
    let debts = Who::Debts(vec![old.debt_hash("100", "C1")]);
    let debt = Batch { kind: StopKind::Paid, ..stop(Op::Add, debts) };
    log::append(&mut lab.redis, &debt, NOW_MS).await.unwrap();
    log::append(&mut lab.redis, &stop(Op::Remove, people(7, 1)), NOW_MS).await.unwrap();
    follow::load(&mut lab.redis, &old).await.unwrap();
    follow::take(&behind, log::after(&mut lab.redis, 0).await.unwrap());
    assert!(follow::compact(&mut lab.redis, &old, 1, NOW_MS).await.unwrap());
    assert_eq!(log::length(&mut lab.redis).await.unwrap(), 1, "the last entry stays");
    assert_eq!(add(&mut lab.redis, 5_000, 1).await, 303, "versions go on");
    let new = list();
    follow::load(&mut lab.redis, &new).await.unwrap();
    // One that is left behind notices; one that is not goes on.
    follow::advance(&mut lab.redis, &behind).await.unwrap();
    follow::advance(&mut lab.redis, &old).await.unwrap();
    for list in [&new, &behind, &old] {
        assert_eq!(list.version(), 303);
        assert_eq!(list.counts()[0], (StopKind::OptedOut, 3_000));
        assert!(stopped(list, 2_999) && stopped(list, 5_000) && !stopped(list, 7) && !stopped(list, 3_000));
        assert!(list.has_debt(list.debt_hash("100", "C1"), StopKind::Paid));
    }
    // The next base takes the place of the first; a third that knew only the first does not.
    let first = log::base(&mut lab.redis).await.unwrap().unwrap();
    assert!(follow::compact(&mut lab.redis, &old, 2, NOW_MS).await.unwrap());
    assert!(!lab.redis.exists::<_, bool>(&first.key).await.unwrap());
    let late = log::Base { key: "ct:{stop}:base:late".to_owned(), version: 303 };
    log::write_base(&mut lab.redis, &late, &[stop(Op::Add, people(0, 1))]).await.unwrap();
    assert!(lab.redis.ttl::<_, i64>(&late.key).await.unwrap() > 0);
    assert!(!log::put_in_force(&mut lab.redis, &late, Some(&first), NOW_MS).await.unwrap());
    assert!(!lab.redis.exists::<_, bool>(&late.key).await.unwrap());
    let base = log::base(&mut lab.redis).await.unwrap().unwrap();
    assert_eq!(lab.redis.ttl::<_, i64>(&base.key).await.unwrap(), -1);
    lab.server.close().await.unwrap();
}

#[tokio::test]
async fn a_redis_that_lost_it_takes_nothing_back() {
    let mut lab = Lab::start().await;
    let list = list();
    add(&mut lab.redis, 0, 5).await;
    add(&mut lab.redis, 5, 5).await;
    follow::load(&mut lab.redis, &list).await.unwrap();
    lab.redis.del::<_, ()>("ct:{stop}").await.unwrap();
    assert_eq!(add(&mut lab.redis, 100, 1).await, 1);
    assert!(log::last(&mut lab.redis).await.unwrap() < list.version());
    follow::rejoin(&mut lab.redis, &list).await.unwrap();
    assert!(stopped(&list, 0) && stopped(&list, 9) && stopped(&list, 100));
    add(&mut lab.redis, 200, 1).await;
    follow::advance(&mut lab.redis, &list).await.unwrap();
    assert!(stopped(&list, 200) && list.version() == 2);
    lab.server.close().await.unwrap();
}

#[tokio::test]
async fn what_is_no_stop_is_refused_and_nothing_is_guessed() {
    let mut lab = Lab::start().await;
    let most = u64::try_from(BATCH_MAX).unwrap();
    let refused = log::append(&mut lab.redis, &stop(Op::Add, people(0, most + 1)), NOW_MS).await;
    assert!(matches!(refused, Err(QueueError::Refused(_))), "{refused:?}");
    assert_eq!(add(&mut lab.redis, 0, most).await, 1);
    let mut call = redis::cmd("XADD");
    call.arg("ct:{stop}").arg("2-0").arg("o").arg("+").arg("k").arg("99");
    call.query_async::<String>(&mut lab.redis).await.unwrap();
    let list = list();
    let told = follow::load(&mut lab.redis, &list).await;
    assert!(matches!(told, Err(QueueError::Corrupt { .. })), "{told:?}");
    // A log whose beginning is gone is not taken for the whole.
    lab.redis.del::<_, ()>("ct:{stop}").await.unwrap();
    let mut call = redis::cmd("XADD");
    call.arg("ct:{stop}").arg("7-0").arg("o").arg("+").arg("k").arg("1").arg("s").arg("u").arg("d").arg("");
    call.query_async::<String>(&mut lab.redis).await.unwrap();
    let told = follow::load(&mut lab.redis, &list).await;
    assert!(matches!(told, Err(QueueError::Corrupt { .. })), "{told:?}");
    assert!(list.of_person(PersonKey(1)).is_empty());
    lab.server.close().await.unwrap();
}
