//! A private Redis for one test, and lanes read as they are stored.

use std::collections::BTreeMap;
use std::time::Duration;

use carteiro::config::RedisConfig;
use carteiro::domain::ids::{CampaignSeq, LaneId, NumberId};
use carteiro::domain::receipt::flags;
use carteiro::domain::record::{RECORD_BYTES, Record, Settlement, State};
use carteiro::queue::client::Client;
use carteiro::queue::connection::Connection;
use carteiro::queue::keys::LaneKeys;
use carteiro::queue::lane::{self, Append, Appended};
use carteiro::queue::link::Timeouts;
use carteiro::redis_server::{RedisServer, client};
use redis::AsyncCommands;

/// Wall time of most calls.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

/// Long enough for any of this on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Lab {
    pub(crate) server: RedisServer,
    pub(crate) client: Client,
    pub(crate) redis: Connection,
    _folder: tempfile::TempDir,
}

pub(crate) fn timeouts() -> Timeouts {
    Timeouts { connect: Duration::from_secs(5), response: Duration::from_secs(10) }
}

/// Polls until something is so: never a fixed sleep. The pause only spares the machine.
pub(crate) async fn wait_until(mut done: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.unwrap();
}

pub(crate) fn id(lane: u32) -> LaneId {
    LaneId { campaign: CampaignSeq(1), lane }
}

pub(crate) fn number() -> NumberId {
    NumberId::from("106540352242922")
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::join_or_start(folder.path()).await.unwrap();
        let config = RedisConfig::default();
        let client = client(&config, Some(server.socket())).unwrap();
        let redis = client.connect(timeouts()).await.unwrap();
        Self { server, client, redis, _folder: folder }
    }

    /// A lane with `count` untouched messages, adopted under token 1.
    pub(crate) async fn lane(&mut self, id: LaneId, count: usize) {
        for (tag, from) in (0..count).step_by(100).enumerate() {
            let rows = (count - from).min(100);
            let done = append(&mut self.redis, id, &format!("load{tag}"), from..from + rows).await;
            assert_eq!(done, Appended::Done(u32::try_from(from).unwrap()));
        }
        lane::adopt(&mut self.redis, id, 1, true).await.unwrap();
    }
}

/// Appends rows whose dedup hashes are their numbers, spread over two buckets.
pub(crate) async fn append(
    redis: &mut Connection,
    id: LaneId,
    tag: &str,
    rows: std::ops::Range<usize>,
) -> Appended {
    let mut buckets: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for row in rows.clone() {
        buckets
            .entry(u32::try_from(row % 2).unwrap())
            .or_default()
            .push(i64::try_from(row).unwrap() + (1 << 61));
    }
    let (number, chunk) = (number(), format!("chunk {rows:?}"));
    let append = Append {
        tag,
        number: &number,
        class: 3,
        capacity: 50,
        rows: rows.len(),
        chunk: chunk.as_bytes(),
        buckets: &buckets,
    };
    lane::append(redis, id, &append).await.unwrap()
}

/// A lane as it lies in Redis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) records: Vec<Record>,
    pub(crate) next: u64,
    pub(crate) retry: BTreeMap<u32, u64>,
}

/// Reads a lane, and checks that its counters are a recount of its records.
pub(crate) async fn stored(redis: &mut Connection, id: LaneId) -> Stored {
    let keys = LaneKeys::new(id);
    let counters = lane::counters(redis, &[id]).await.unwrap().remove(0);
    let bytes: Vec<u8> = redis.get(&keys.state).await.unwrap();
    let (ours, spare) = bytes.split_at(RECORD_BYTES * usize::try_from(counters.count).unwrap());
    assert!(spare.iter().all(|byte| *byte == 0), "beyond the lane's end all is zero");
    let records: Vec<Record> =
        ours.chunks(RECORD_BYTES).map(|four| Record::from_bytes(four.try_into().unwrap()).unwrap()).collect();
    for state in State::ALL {
        let count = records.iter().filter(|record| record.state == state).count();
        assert_eq!(counters.of(state), count as u64, "the counter of {state:?}: {counters:?}");
    }
    let mut reasons = BTreeMap::new();
    for record in records.iter().filter(|record| {
        matches!(
            record.state,
            State::Failed | State::InDoubt | State::Unresolved | State::Suppressed | State::Expired
        )
    }) {
        *reasons.entry((record.state, record.reason)).or_insert(0u64) += 1;
    }
    assert_eq!(counters.reasons, reasons);
    for ((name, flag), counted) in flags::COUNTED.into_iter().zip(counters.receipts) {
        let count = records.iter().filter(|record| record.flags & flag != 0).count();
        assert_eq!(counted, count as u64, "the counter of {name}: {counters:?}");
    }
    let mut doubt: Vec<u32> = redis.zrange(&keys.doubt, 0, -1).await.unwrap();
    doubt.sort_unstable();
    let in_doubt = (0u32..).zip(&records).filter(|(_, record)| record.state == State::InDoubt);
    assert_eq!(doubt, in_doubt.map(|(index, _)| index).collect::<Vec<_>>(), "the index of doubts");
    let retry: Vec<(u32, f64)> = redis.zrange_withscores(&keys.retry, 0, -1).await.unwrap();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole milliseconds were stored"
    )]
    let retry = retry.into_iter().map(|(index, due)| (index, due as u64)).collect();
    Stored { records, next: counters.next, retry }
}

pub(crate) fn settlement(index: u32, generation: u8, state: State) -> Settlement {
    let due_ms = if state == State::Waiting { NOW_MS + 5_000 } else { 0 };
    let reason = if state == State::Accepted { 0 } else { 42 };
    Settlement { index, generation, state, attempt: 1, reason, due_ms }
}
