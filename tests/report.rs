//! The report over a real Redis: every state of a message, many chunks, bounded reads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use carteiro::app::store::Store;
use carteiro::config::{Config, LoadOptions};
use carteiro::domain::ids::{CampaignSeq, LaneId, NumberId};
use carteiro::domain::record::{Settlement, State};
use carteiro::policy::classify::ErrorTable;
use carteiro::queue::QueueError;
use carteiro::queue::codec::{ChunkBuilder, Packer};
use carteiro::queue::lane::{self, Append, Appended};
use carteiro::report::{self, CHUNKS_MAX, COLUMNS, ReportError, ReportPlan, Totals};
use redis::AsyncCommands;

const SEQ: CampaignSeq = CampaignSeq(7);

/// Runs `test` with a private Redis.
fn with_store<T>(test: impl AsyncFnOnce(&mut Store) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data").display().to_string();
    let options =
        LoadOptions { overrides: vec![("data_dir".to_owned(), data_dir)], ..LoadOptions::default() };
    let config = Config::load(&options).unwrap().config;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut store = Store::open(&config).await.unwrap();
        let done = test(&mut store).await;
        store.close().await.unwrap();
        done
    })
}

fn lane(lane: u32) -> LaneId {
    LaneId { campaign: SEQ, lane }
}

/// Appends chunks of so many rows; the line of a row is ten times its index.
async fn append(store: &mut Store, id: LaneId, chunks: &[u32]) {
    let mut packer = Packer::new().unwrap();
    let mut index = 0u32;
    for (at, rows) in chunks.iter().enumerate() {
        let mut builder = ChunkBuilder::new(1);
        let first = index;
        for _ in 0..*rows {
            let reference = format!("C;{index}");
            let texts = [reference.as_str(), "D", "Maria"];
            builder.push(u64::from(10 * index), 5_511_981_000_000 + u64::from(index), texts.into_iter());
            index += 1;
        }
        let hashes: Vec<i64> = (first..index).map(i64::from).collect();
        let tag = format!("t{}.{at}", id.lane);
        let order = Append {
            tag: &tag,
            number: &NumberId::from("201"),
            class: 0,
            capacity: 100,
            rows: *rows as usize,
            chunk: &builder.encode(&mut packer, 1),
            buckets: &BTreeMap::from([(0, hashes)]),
        };
        let appended = lane::append(&mut store.connection, id, &order).await.unwrap();
        assert_eq!(appended, Appended::Done(first));
    }
}

async fn report_of(
    store: &mut Store,
    lanes: u32,
    cancelled: bool,
) -> Result<(Vec<Vec<String>>, Totals), ReportError> {
    let table = ErrorTable::builtin();
    let plan = ReportPlan { installation: "k3v9", seq: SEQ, lanes, cancelled, table: &table, erased: None };
    let mut out = Vec::new();
    let totals = report::write(&mut store.connection, &plan, &mut out).await?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_slice());
    let mut rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(rows.remove(0), COLUMNS);
    Ok((rows, totals))
}

#[test]
fn every_state_is_told_with_its_attempts_code_and_reason() {
    with_store(async |store| {
        append(store, lane(1), &[4, 5]).await;
        lane::adopt(&mut store.connection, lane(1), 1, true).await.unwrap();
        lane::claim(&mut store.connection, lane(1), (1, 1), 0, (7, 0)).await.unwrap();
        let table = ErrorTable::builtin();
        let undeliverable = table.code(131_026).unwrap().reason;
        let settle = |index, state, attempt, reason| Settlement {
            index,
            generation: 1,
            state,
            attempt,
            reason,
            due_ms: 0,
        };
        let mut all = [
            settle(0, State::Accepted, 1, 0),
            settle(1, State::Failed, 1, undeliverable),
            settle(2, State::Waiting, 2, undeliverable),
            settle(3, State::InDoubt, 1, 1),
            settle(4, State::Held, 1, 0),
            settle(5, State::Expired, 0, 6),
        ];
        lane::settle(&mut store.connection, lane(1), &mut all).await.unwrap();

        let (rows, totals) = report_of(store, 2, false).await.unwrap();
        let seen: Vec<[&str; 4]> =
            rows.iter().map(|row| [&row[4], &row[5], &row[6], &row[7]].map(String::as_str)).collect();
        let expect = [
            ["ct1.k3v9.7.1.0", "accepted", "1", ""],
            ["ct1.k3v9.7.1.1", "failed", "1", "131026"],
            ["ct1.k3v9.7.1.2", "waiting", "2", "131026"],
            ["ct1.k3v9.7.1.3", "in_doubt", "1", ""],
            ["ct1.k3v9.7.1.4", "held", "1", ""],
            ["ct1.k3v9.7.1.5", "expired", "0", ""],
            ["ct1.k3v9.7.1.6", "sending", "0", ""],
            ["ct1.k3v9.7.1.7", "queued", "0", ""],
            ["ct1.k3v9.7.1.8", "queued", "0", ""],
        ];
        assert_eq!(seen, expect);
        assert!(rows[3][8].starts_with("timeout: no reply"), "{}", rows[3][8]);
        assert_eq!(rows[8][..4], ["80", "C;8", "D", "+5511981000008"]);
        assert_eq!((totals.rows, totals.of(State::Queued), totals.of(State::Waiting)), (9, 2, 1));

        // What was not sent of a cancelled campaign never will be; what is under way is not known yet.
        let (_, totals) = report_of(store, 2, true).await.unwrap();
        let states =
            [State::Cancelled, State::Queued, State::Waiting, State::Sending].map(|state| totals.of(state));
        assert_eq!(states, [3, 0, 0, 1]);
    });
}

#[test]
fn a_lane_of_more_chunks_than_are_read_at_once_is_whole() {
    with_store(async |store| {
        let chunks = vec![3; 2 * CHUNKS_MAX + 1];
        append(store, lane(0), &chunks).await;
        append(store, lane(1), &vec![1; CHUNKS_MAX]).await;
        let (rows, totals) = report_of(store, 2, false).await.unwrap();
        let of_first = 3 * (2 * CHUNKS_MAX + 1);
        assert_eq!((rows.len(), totals.rows), (of_first + CHUNKS_MAX, (of_first + CHUNKS_MAX) as u64));
        for (index, row) in rows[..of_first].iter().enumerate() {
            assert_eq!((&row[0], &row[4]), (&(10 * index).to_string(), &format!("ct1.k3v9.7.0.{index}")));
        }
    });
}

#[test]
fn damage_is_named_and_never_passed_over() {
    with_store(async |store| {
        append(store, lane(0), &[4]).await;
        let _: usize =
            store.connection.setrange("ct:{7.0}:state", 4, [0xf0u8, 0, 0, 0].as_slice()).await.unwrap();
        let error = report_of(store, 1, false).await.unwrap_err();
        assert!(
            matches!(&error, ReportError::Queue(QueueError::Corrupt { key, .. }) if key == "ct:{7.0}:state"),
            "{error}"
        );
        let _: i64 = store.connection.del("ct:{7.0}:state").await.unwrap();
        assert!(matches!(
            report_of(store, 1, false).await,
            Err(ReportError::Queue(QueueError::Corrupt { .. }))
        ));
    });
}
