//! The journal's bytes under everything that can happen to them: torn, flipped, full, killed, old.

use std::fs;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::keeper::{pack, sweep};
use super::segment::packed_path;
use super::*;
use crate::domain::ids::{CampaignSeq, LaneId, MessageId, NumberId};

fn message(campaign: u32, lane: u32, index: u32) -> MessageId {
    MessageId { lane: LaneId { campaign: CampaignSeq(campaign), lane }, index }
}

fn begun(index: u32, at_ms: u64) -> Entry {
    let number = NumberId::from(["200000000000001", "200000000000002"][index as usize % 2]);
    Entry::Begun { message: message(7, 3, index), generation: 1, attempt: 0, number, at_ms }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let ids = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u8>(), any::<u8>());
    let texts = (vec("[ -~]{0,40}", 6), proptest::option::of("[A-Za-z0-9.=]{1,120}"));
    let times = (any::<u64>(), any::<u64>());
    let rest = (0u8..5, 1u8..=8, any::<u8>(), proptest::option::of(any::<i64>()), 0u8..5);
    (ids, texts, times, rest).prop_map(|(ids, (texts, wamid), (at_ms, heard_at_ms), rest)| {
        let (campaign, lane, index, generation, attempt) = ids;
        let (kind, outcome, reason, code, number) = rest;
        let message = message(campaign, lane, index);
        let wamid = wamid.map(String::into_boxed_str);
        let outcomes = [Outcome::Accepted, Outcome::Held, Outcome::Throttled, Outcome::Doubtful];
        let statuses = [Status::Sent, Status::Delivered, Status::Read, Status::Played, Status::Failed];
        let outcome_of = outcomes[usize::from(outcome) % 4];
        match kind {
            0 => Entry::Begun {
                message,
                generation,
                attempt,
                number: NumberId::from(format!("20000000000000{number}").as_str()),
                at_ms,
            },
            1 => Entry::Reply { message, generation, at_ms, outcome: outcome_of, reason, code, wamid },
            2 => {
                let status = statuses[usize::from(number)];
                Entry::Receipt { message, generation, status, at_ms, heard_at_ms, code, wamid }
            }
            3 => {
                let [kind, account, subject, detail, _, _] =
                    <[String; 6]>::try_from(texts).unwrap().map(String::into_boxed_str);
                Entry::Event { at_ms, heard_at_ms, kind, account, subject, detail, wamid }
            }
            _ => {
                let [actor, os_user, host, verb, target, detail] =
                    <[String; 6]>::try_from(texts).unwrap().map(String::into_boxed_str);
                Entry::Action { at_ms, actor, os_user, host, verb, target, detail }
            }
        }
    })
}

fn place(dir: &Path) -> Place {
    Place::start(dir, ("k3v9", "ab12"), (64 << 10, Duration::from_secs(3600))).unwrap()
}

fn read(dir: &Path, wanted: Wanted) -> (Vec<Entry>, Scanned) {
    let mut all = Vec::new();
    let scanned = scan(dir, wanted, |head, entry| {
        assert_eq!(head.installation, "k3v9");
        all.push(entry);
        Ok(())
    });
    (all, scanned.unwrap())
}

fn only_file(dir: &Path) -> PathBuf {
    let files = reader::files(dir).unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// One file with these batches.
fn written(dir: &Path, batches: &[Vec<Entry>]) -> PathBuf {
    let mut journal = Journal::open(&place(dir), "shard0");
    for batch in batches {
        journal.append(batch).unwrap();
    }
    only_file(dir)
}

#[test]
fn a_begun_request_takes_about_a_dozen_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let entries: Vec<Entry> =
        (0..1_000).map(|index| begun(index, 1_800_000_000_000 + u64::from(index))).collect();
    let path = written(dir.path(), &[entries]);
    assert!(fs::metadata(&path).unwrap().len() < 13 * 1_000, "{}", fs::metadata(&path).unwrap().len());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_torn_end_is_cut_off_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let batches: Vec<Vec<Entry>> = (0..5)
        .map(|batch| (0..3).map(|at| begun(3 * batch + at, 1_000 + u64::from(batch))).collect())
        .collect();
    let path = written(dir.path(), &batches);
    let whole = fs::read(&path).unwrap();
    let all: Vec<Entry> = batches.concat();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (found, _) = read(dir.path(), Wanted::default());
        assert_eq!(found, all[..found.len()], "cut at {length}");
        assert_eq!(found.len() % 3, 0, "a batch is whole or not there");
    }
    // What a start makes of it is the same, in a compressed file.
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let torn = pack(&path).unwrap();
    assert!(torn > 0);
    assert!(!path.exists() && packed_path(&path).exists());
    let (found, scanned) = read(dir.path(), Wanted::default());
    assert_eq!((found.as_slice(), scanned.torn.len()), (&all[..12], 0));
}

#[test]
fn what_another_process_left_stays_as_it_is_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    Journal::open(&place(dir.path()), "shard0").append(&[begun(1, 1_000)]).unwrap();
    drop(Keeper::start(dir.path(), Duration::from_secs(86_400)).unwrap());
    let files = reader::files(dir.path()).unwrap();
    assert!(files.len() == 1 && files[0].to_string_lossy().ends_with(".ctj"), "{files:?}");
    sweep(dir.path(), Duration::from_secs(86_400));
    assert!(reader::files(dir.path()).unwrap()[0].to_string_lossy().ends_with(".ctj.zst"));
}

#[test]
fn a_file_that_is_full_is_followed_by_the_next_and_all_are_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(dir.path(), Duration::from_secs(86_400)).unwrap();
    let mut journal = Journal::open(&place(dir.path()).kept_by(&keeper), "shard0");
    let all: Vec<Entry> = (0..40_000).map(|index| begun(index, 1_000)).collect();
    for batch in all.chunks(100) {
        journal.append(batch).unwrap();
    }
    drop(keeper);
    let files = reader::files(dir.path()).unwrap();
    let packed = files.iter().filter(|path| path.to_string_lossy().ends_with(".zst")).count();
    assert!(files.len() >= 4 && packed == files.len() - 1, "{files:?}");
    let (found, scanned) = read(dir.path(), Wanted::default());
    assert!(found == all);
    assert_eq!(scanned.files, files.len() as u64);
    // A campaign that is in none of the compressed files is not looked for in them.
    let wanted = Wanted { campaign: Some(CampaignSeq(8)), ..Wanted::default() };
    let (found, scanned) = read(dir.path(), wanted);
    assert_eq!((found.len(), scanned.passed_over), (0, packed as u64));
    assert_eq!(gaps(dir.path()).unwrap(), Vec::<String>::new());
    fs::remove_file(&files[2]).unwrap();
    assert_eq!(gaps(dir.path()).unwrap(), ["file 3 of shard0 of start 1 is missing"]);
    // The next start compresses what this process left.
    drop(journal);
    sweep(dir.path(), Duration::from_secs(86_400));
    assert!(reader::files(dir.path()).unwrap().iter().all(|path| path.to_string_lossy().ends_with(".zst")));
    // And what is older than it may be goes.
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for file in &files[..2] {
        fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
    }
    sweep(dir.path(), Duration::from_secs(86_400));
    let left = reader::files(dir.path()).unwrap();
    assert_eq!((left.len(), left.iter().any(|file| files[..2].contains(file))), (files.len() - 3, false));
}

#[test]
fn a_file_that_is_being_written_is_left_alone_by_keepers() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&place(dir.path()), "shard0");
    journal.append(&[begun(1, 5)]).unwrap();
    sweep(dir.path(), Duration::from_secs(86_400));
    journal.append(&[begun(2, 6)]).unwrap();
    let (found, scanned) = read(dir.path(), Wanted::default());
    assert_eq!((found.len(), scanned.torn.len()), (2, 0));
    assert!(only_file(dir.path()).to_string_lossy().ends_with(".ctj"));
}

#[test]
fn a_keeper_that_sweeps_all_the_time_loses_nothing_of_new_files() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, place) = (dir.path().to_owned(), place(dir.path()));
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = done.clone();
    let sweeper = std::thread::spawn(move || {
        while !told.load(std::sync::atomic::Ordering::Relaxed) {
            sweep(&folder, Duration::from_secs(86_400));
        }
    });
    for index in 0..200 {
        Journal::open(&place, &format!("w{index}")).append(&[begun(index, 5)]).unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    sweeper.join().unwrap();
    assert_eq!(read(dir.path(), Wanted::default()).0.len(), 200);
}

#[test]
fn a_missing_start_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        Journal::open(&place(dir.path()), "engine").append(&[begun(1, 5)]).unwrap();
    }
    assert_eq!(gaps(dir.path()).unwrap(), Vec::<String>::new());
    let _without_a_word = place(dir.path());
    Journal::open(&place(dir.path()), "engine").append(&[begun(1, 5)]).unwrap();
    assert_eq!(gaps(dir.path()).unwrap(), ["start 3 is missing"]);
}

#[test]
fn a_folder_that_takes_no_files_is_an_error_and_then_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("journal");
    let mut journal = Journal::open(&place(&folder), "shard0");
    // Works for root too, unlike permissions.
    fs::remove_dir_all(&folder).unwrap();
    for _ in 0..5 {
        let error = journal.append(&[begun(1, 5)]).unwrap_err();
        assert!(error.to_string().contains("make room"), "{error}");
    }
    fs::create_dir(&folder).unwrap();
    journal.append(&[begun(2, 6)]).unwrap();
    journal.append(&[begun(3, 7)]).unwrap();
    let (found, _) = read(&folder, Wanted::default());
    assert_eq!(found, [begun(2, 6), begun(3, 7)], "what failed is not there");
}

#[test]
fn what_operators_did_is_in_one_file_a_day_and_never_behind_damage() {
    let dir = tempfile::tempdir().unwrap();
    let who = operators::Who { actor: "ana".to_owned(), os_user: "svc".to_owned(), host: "h1".to_owned() };
    let day = 1_795_000_000_000;
    let deeds = ["campaign start", "campaign pause"].map(|verb| who.did(day, verb, "a", "done"));
    for deed in &deeds {
        operators::append(dir.path(), "k3v9", deed).unwrap();
    }
    let (found, _) = read(dir.path(), Wanted { actions_only: true, ..Wanted::default() });
    assert_eq!(found, deeds);
    let path = only_file(dir.path());
    assert!(path.to_string_lossy().ends_with("operators-20261118-000.ctj"), "{}", path.display());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    operators::append(dir.path(), "k3v9", &deeds[1]).unwrap();
    let (found, scanned) = read(dir.path(), Wanted::default());
    assert_eq!((found.as_slice(), scanned.torn.len()), (deeds.as_slice(), 1));
    operators::append(dir.path(), "k3v9", &who.did(day + 86_400_000, "campaign resume", "a", "done"))
        .unwrap();
    assert_eq!(reader::files(dir.path()).unwrap().len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_is_read(batches in vec(vec(any_entry(), 1..20), 1..6), packed: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), &batches);
        if packed {
            prop_assert_eq!(pack(&path).unwrap(), 0);
        }
        let (found, scanned) = read(dir.path(), Wanted::default());
        prop_assert_eq!(found, batches.concat());
        prop_assert!(scanned.torn.is_empty());
    }

    #[test]
    fn flipped_bits_take_entries_away_and_never_make_others(
        batches in vec(vec(any_entry(), 1..8), 1..5),
        flips in vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        packed: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut path = written(dir.path(), &batches);
        if packed {
            pack(&path).unwrap();
            path = packed_path(&path);
        }
        let mut bytes = fs::read(&path).unwrap();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        fs::write(&path, bytes).unwrap();
        let all = batches.concat();
        let mut found = Vec::new();
        let scanned = scan(dir.path(), Wanted::default(), |_, entry| {
            found.push(entry);
            Ok(())
        });
        prop_assert!(found.len() <= all.len() && found == all[..found.len()]);
        if let Ok(scanned) = scanned {
            let whole = found.len() == all.len();
            prop_assert!(whole || scanned.torn.len() + usize::try_from(scanned.passed_over).unwrap() == 1);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..2_000), marked: bool, packed: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(if packed { "1-1-a-b-1.ctj.zst" } else { "1-1-a-b-1.ctj" });
        let mark = if marked { segment::MARK.as_slice() } else { &[] };
        fs::write(&path, [mark, &bytes].concat()).unwrap();
        let mut entries = 0;
        let _scanned = scan(dir.path(), Wanted::default(), |_, _| { entries += 1; Ok(()) });
        prop_assert_eq!(entries, 0);
        let mut from = bytes.as_slice();
        let mut numbers = vec![NumberId::from("1")];
        while let Ok(Some(_)) = entry::decode(&mut from, 0, &mut numbers) {}
    }
}
