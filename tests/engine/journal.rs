//! The journal of a running engine: against the simulator's ledger, after kill -9, and on a disk that takes no writes.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use carteiro::domain::ids::MessageId;
use carteiro::journal::{self, Entry, Outcome, Wanted};

use crate::rig::{Rig, get, plan, sim, wait_until};

/// What a journal says of messages: who was begun, and Meta's ids.
#[derive(Default)]
struct Said {
    begun: HashSet<String>,
    wamids: BTreeMap<String, String>,
    replies: usize,
}

fn said(dir: &Path) -> Said {
    let mut said = Said::default();
    let id = |installation: &str, message: MessageId| format!("ct1.{installation}.{message}");
    journal::scan(dir, Wanted::default(), |head, entry| {
        match entry {
            Entry::Begun { message, .. } => {
                said.begun.insert(id(&head.installation, message));
            }
            Entry::Reply { message, outcome, wamid, .. } => {
                said.replies += 1;
                if matches!(outcome, Outcome::Accepted | Outcome::Held) {
                    let wamid = wamid.expect("what was taken has an id of Meta's").into_string();
                    let twice = said.wamids.insert(id(&head.installation, message), wamid);
                    assert_eq!(twice, None, "a message was taken twice");
                }
            }
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    said
}

/// The ids that the simulator took, without generations.
fn taken(rig: &Rig) -> HashSet<String> {
    let url = rig.sim.control_url.strip_prefix("http://").unwrap();
    let ids = get(url, "/_sim/taken_ids").1;
    ids.lines().map(|id| id.split('.').take(5).collect::<Vec<_>>().join(".")).collect()
}

fn dir(rig: &Rig) -> std::path::PathBuf {
    rig.path("data").join("journal")
}

#[test]
fn whatever_was_taken_is_in_the_journal_and_in_the_report() {
    let faults = "[[fault]]\nkind = \"error\"\ncode = 131000\nshare = 0.02\n\
        [[fault]]\nkind = \"reset_after\"\nshare = 0.01\n\
        [[fault]]\nkind = \"error\"\ncode = 131026\nshare = 0.02\n";
    let mut rig = Rig::new(3, "600/s", sim(|config| config.plan = plan(faults)));
    rig.extra = "time_scale = 20\n[journal]\nsegment_bytes = \"64KB\"".to_owned();
    let serve = rig.serve();
    rig.campaign("a", 0, 3_000);
    let states = rig.done("a");
    rig.judge("a", &states);
    let path = rig.path("report.csv");
    rig.ok(&["campaign", "report", "a", "-o", path.to_str().unwrap()]);
    serve.stop();

    let said = said(&dir(&rig));
    let taken = taken(&rig);
    assert!(taken.len() > 2_800, "{}", taken.len());
    assert!(taken.is_subset(&said.begun), "{} of {} taken were begun", said.begun.len(), taken.len());
    let accepted = states["accepted"].as_u64().unwrap();
    assert_eq!(said.wamids.len() as u64, accepted, "{states}");
    assert!(said.replies as u64 >= 3_000);
    let files: Vec<_> = std::fs::read_dir(dir(&rig)).unwrap().map(|file| file.unwrap().path()).collect();
    let packed = files.iter().filter(|file| file.to_string_lossy().ends_with(".ctj.zst")).count();
    assert!(packed >= 2, "full files are followed by others and compressed: {files:?}");

    let mut reader = csv::Reader::from_path(&path).unwrap();
    let headers = reader.headers().unwrap().clone();
    let at = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let [state, id, number, wamid, begun, replied, sent] =
        ["state", "message_id", "number", "wamid", "begun_at", "replied_at", "sent_at"].map(at);
    let (mut rows, mut with_wamid) = (0, 0);
    for row in reader.records().map(Result::unwrap) {
        rows += 1;
        assert!(rig.numbers.iter().any(|known| *known == row[number]), "{row:?}");
        assert!(row[begun].ends_with('Z') && row[begun] <= row[replied], "{row:?}");
        assert_eq!(row[sent], *"", "nobody listens to receipts yet");
        if &row[state] == "accepted" {
            assert_eq!(said.wamids[&row[id]], row[wamid]);
            with_wamid += 1;
        }
    }
    assert_eq!((rows, with_wamid), (3_000, accepted));
}

#[test]
fn after_a_kill_the_journal_holds_every_request_that_left() {
    let rig = Rig::new(3, "150/s", sim(|config| config.latency = Duration::from_millis(150)));
    let serve = rig.serve();
    rig.campaign("a", 0, 1_200);
    rig.taken(300);
    serve.kill();
    let (killed, at_kill) = (taken(&rig), said(&dir(&rig)));
    assert!(killed.is_subset(&at_kill.begun), "{} taken, {} begun", killed.len(), at_kill.begun.len());
    assert!(at_kill.wamids.len() < at_kill.begun.len(), "some had no answer yet");
    let serve = rig.serve_after_a_crash();
    let states = rig.done("a");
    rig.judge("a", &states);
    serve.stop();
    let said = said(&dir(&rig));
    assert!(taken(&rig).is_subset(&said.begun));
    // Starts that were refused, since the first one's ownership had not ended, took no number.
    assert_eq!(journal::gaps(&dir(&rig)).unwrap(), Vec::<String>::new());
    // What the dead process left is compressed by now, and nothing of it is lost.
    assert!(at_kill.begun.is_subset(&said.begun));
    // A message in doubt is one that was begun, or claimed and not begun: the journal tells which.
    let out = rig.ok(&["journal", "show", "--actions"]);
    assert_eq!(out.matches("serve").count(), 2, "{out}");
}

/// Bounds the size of the files that a process may write.
fn limit_files(pid: u32, to: &str) {
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--fsize={to}:")]).status();
    assert!(done.unwrap().success());
}

#[test]
fn a_journal_that_cannot_be_written_stops_claims_and_goes_on_by_itself() {
    let rig = Rig::new(2, "300/s", sim(|_| ()));
    let serve = rig.serve();
    rig.campaign("a", 0, 3_000);
    rig.taken(300);
    limit_files(serve.pid(), "1");
    wait_until("the journal blocks", || {
        rig.status("a")["blocked"].as_array().unwrap().iter().any(|block| block["reason"] == "journal")
    });
    wait_until("what was in flight has its answer", || rig.count("a", "sending") == 0);
    let requests = rig.ledger().requests;
    for _ in 0..10 {
        assert_eq!(rig.count("a", "sending"), 0, "nothing is claimed");
    }
    assert_eq!(rig.ledger().requests, requests, "nothing is sent without a word in the journal");
    assert!(requests < 3_000);
    serve.must_say("make room on its disk");
    let metrics = get(&serve.http().unwrap(), "/metrics").1;
    assert!(
        metrics.lines().any(|line| line.contains("carteiro_blocked") && line.contains("journal")),
        "{metrics}"
    );
    limit_files(serve.pid(), "unlimited");
    let states = rig.done("a");
    assert_eq!(
        (states["accepted"].as_u64(), states["in_doubt"].as_u64()),
        (Some(3_000), Some(0)),
        "{states}"
    );
    rig.judge("a", &states);
    serve.must_say("the journal takes writes again");
    serve.stop();
    let said = said(&dir(&rig));
    assert_eq!((taken(&rig).len(), said.wamids.len(), said.replies), (3_000, 3_000, 3_000));
    assert!(taken(&rig).is_subset(&said.begun));
}
