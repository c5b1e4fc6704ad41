//! The scripts on a real private Redis with every write on disk: append, claim and settle, per size of a batch.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use carteiro::clock;
use carteiro::domain::ids::{CampaignSeq, LaneId, NumberId};
use carteiro::domain::record::{Settlement, State};
use carteiro::queue::client::Client;
use carteiro::queue::codec::{CHUNK_MAX, ChunkBuilder, Packer};
use carteiro::queue::connection::Connection;
use carteiro::queue::lane::{self, Append, Appended};
use carteiro::queue::link::Timeouts;
use carteiro::redis_server::RedisServer;
use criterion::{BenchmarkId, Criterion, Throughput};
use redis::{ConnectionAddr, IntoConnectionInfo};
use tokio::runtime::Runtime;

/// Messages of a lane, about as many as a lane has in a large campaign.
const LANE: u32 = 64 * CHUNK;

/// Messages of a chunk.
const CHUNK: u32 = 128;
const _: () = assert!(CHUNK as usize == CHUNK_MAX);

const TOKEN: u64 = 1;
const NOW_MS: u64 = 1_795_000_000_000;

/// A Redis with lanes that fill and empty.
struct Field {
    runtime: Runtime,
    redis: Connection,
    lane: LaneId,
    /// Messages appended to the lane, and claimed of it.
    appended: u32,
    claimed: u32,
    request: u64,
    packed: Vec<u8>,
}

impl Field {
    fn new(server: &RedisServer, runtime: Runtime) -> Self {
        let redis = runtime.block_on(connect(server.socket()));
        let mut builder = ChunkBuilder::new(4);
        for row in 0..CHUNK_MAX as u64 {
            let amount = format!("{},{:02}", 100 + row * 13, row % 100);
            let texts = ["CT0000001234", "", "Ana", &amount, "10/12/2026", "Cartão Aurora"];
            builder.push(row + 2, 5_511_900_000_000 + row * 7_919, texts.into_iter());
        }
        let packed = builder.encode(&mut Packer::new().expect("memory for its tables"), NOW_MS);
        let lane = LaneId { campaign: CampaignSeq(1), lane: 0 };
        Self { runtime, redis, lane, appended: 0, claimed: 0, request: 0, packed }
    }

    /// Goes on with an empty lane.
    fn turn(&mut self) {
        self.lane.lane += 1;
        (self.appended, self.claimed) = (0, 0);
    }

    /// Appends a chunk that says it has so many rows; the time it took.
    fn append(&mut self, rows: u32) -> Duration {
        if self.appended + rows > LANE {
            self.turn();
        }
        let first = i64::from(self.appended);
        let mut buckets: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for row in first..first + i64::from(rows) {
            // Spread like the keyed hashes of people.
            let hash = (i64::from(self.lane.lane) << 32 | row).wrapping_mul(0x1234_5678_9abc_def1) >> 2;
            buckets.entry(u32::try_from(hash & 15).unwrap_or(0)).or_default().push(hash);
        }
        let number = NumberId::from("1");
        let append = Append {
            tag: &format!("{}.{}", self.lane.lane, self.appended),
            number: &number,
            class: 0,
            capacity: LANE,
            rows: rows as usize,
            chunk: &self.packed,
            buckets: &buckets,
        };
        let begun = clock::mono();
        let done = self.runtime.block_on(lane::append(&mut self.redis, self.lane, &append));
        let took = clock::mono().since(begun);
        assert!(matches!(done, Ok(Appended::Done(_))), "{done:?}");
        self.appended += rows;
        took
    }

    /// Claims so many; the time it took, and their first.
    fn claim(&mut self, count: u32) -> (Duration, u32) {
        if self.claimed + count > self.appended {
            self.turn();
            while self.appended < LANE {
                self.append(CHUNK);
            }
            let adopted = self.runtime.block_on(lane::adopt(&mut self.redis, self.lane, TOKEN, false));
            assert!(adopted.is_ok(), "{adopted:?}");
        }
        self.request += 1;
        let (asked, wanted) = ((TOKEN, self.request), (count as usize, 0));
        let begun = clock::mono();
        let claim = lane::claim(&mut self.redis, self.lane, asked, NOW_MS, wanted);
        let claimed = self.runtime.block_on(claim);
        let took = clock::mono().since(begun);
        assert_eq!(claimed.map(|claimed| claimed.messages.len()).ok(), Some(count as usize));
        self.claimed += count;
        (took, self.claimed - count)
    }

    /// Settles so many that were claimed just before; the time it took.
    fn settle(&mut self, count: u32) -> Duration {
        let (_, first) = self.claim(count);
        let accepted = |index| Settlement {
            index,
            generation: 1,
            state: State::Accepted,
            attempt: 1,
            reason: 0,
            due_ms: 0,
        };
        let mut settlements: Vec<Settlement> = (first..first + count).map(accepted).collect();
        let begun = clock::mono();
        let settled = self.runtime.block_on(lane::settle(&mut self.redis, self.lane, &mut settlements));
        let took = clock::mono().since(begun);
        assert_eq!(settled.ok(), Some((count, 0)));
        took
    }
}

async fn connect(socket: &Path) -> Connection {
    let address = ConnectionAddr::Unix(socket.to_owned()).into_connection_info();
    let client =
        redis::Client::open(address.expect("a path is an address")).expect("an address makes a client");
    let timeouts = Timeouts { connect: Duration::from_secs(5), response: Duration::from_secs(10) };
    Client::from(client).connect(timeouts).await.expect("a server that has just answered")
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let folder = tempfile::tempdir().expect("a folder for Redis");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = runtime.block_on(RedisServer::join_or_start(folder.path()));
    let server = server.expect("redis-server is installed");
    let mut field = Field::new(&server, runtime);
    let mut group = criterion.benchmark_group("queue");
    for batch in [1, 16, 128] {
        group.throughput(Throughput::Elements(u64::from(batch)));
        group.bench_function(BenchmarkId::new("append", batch), |b| {
            b.iter_custom(|iterations| (0..iterations).map(|_| field.append(batch)).sum());
        });
        field.turn();
        group.bench_function(BenchmarkId::new("claim", batch), |b| {
            b.iter_custom(|iterations| (0..iterations).map(|_| field.claim(batch).0).sum());
        });
        field.turn();
        group.bench_function(BenchmarkId::new("settle", batch), |b| {
            b.iter_custom(|iterations| (0..iterations).map(|_| field.settle(batch)).sum());
        });
        field.turn();
    }
    group.finish();
    criterion.final_summary();
    drop(field);
    drop(server);
}
