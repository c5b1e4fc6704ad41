//! Archiving: everything is in the folder before anything is freed, and a broken archiving goes on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::rig::{Rig, plan, sim, wait_until};

/// Keys of campaigns and lanes that are left.
fn keys_of_campaigns(rig: &Rig) -> Vec<String> {
    let all: Vec<String> = rig.redis(&["KEYS", "ct:*"]);
    let of =
        |key: &String| key.starts_with("ct:{1.") || key.starts_with("ct:campaign:") || key.contains("agenda");
    all.into_iter().filter(of).collect()
}

/// What the manifest says of each file is so; the rows of the report.
fn check(folder: &Path) -> u64 {
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    assert_eq!(files.len(), 3, "{manifest}");
    for file in files {
        let path = folder.join(file["name"].as_str().unwrap());
        let bytes = std::fs::read(&path).unwrap();
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (file["sha256"].as_str(), file["bytes"].as_u64()),
            (Some(&*hash), Some(bytes.len() as u64))
        );
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    let report = csv::Reader::from_path(folder.join("report.csv")).unwrap().into_records().count();
    assert_eq!(manifest["rows"], report);
    report as u64
}

#[test]
fn a_campaign_that_is_done_goes_to_a_folder_and_out_of_redis() {
    let rig = Rig::new(2, "unlimited", sim(|_| ()));
    let serve = rig.serve();
    rig.campaign("a", 0, 300);
    rig.done("a");
    let folder = rig.path("kept");
    let words = ["campaign", "archive", "a", "-o", folder.to_str().unwrap()];
    let refused = rig.run(&words);
    assert_eq!(refused.status.code(), Some(4), "without --yes: {refused:?}");
    rig.ok(&[&words[..], &["--dry-run"]].concat());
    assert!(!folder.exists() && rig.count("a", "accepted") == 300);
    rig.ok(&[&words[..], &["--yes"]].concat());
    assert_eq!(check(&folder), 300);
    // With what only the journal knows, which may be gone before the archive is.
    let mut report = csv::Reader::from_path(folder.join("report.csv")).unwrap();
    let at = |name: &str, all: &csv::StringRecord| all.iter().position(|one| one == name).unwrap();
    let headers = report.headers().unwrap().clone();
    let (wamid, replied) = (at("wamid", &headers), at("replied_at", &headers));
    for row in report.records().map(Result::unwrap) {
        assert!(!row[wamid].is_empty() && !row[replied].is_empty(), "{row:?}");
    }
    assert_eq!(keys_of_campaigns(&rig), Vec::<String>::new());
    let said = rig.ok(&[&words[..], &["--yes"]].concat());
    assert!(said.contains("archived already"), "{said}");
    for verb in [&["campaign", "status", "a"][..], &["campaign", "start", "a", "--yes"]] {
        let refused = rig.run(verb);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && error.contains("was archived"), "{error}");
    }
    let again = rig.run(&["campaign", "create", rig.path("a.toml").to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2), "its id is not given again: {again:?}");
    rig.campaign("b", 0, 10);
    rig.done("b");
    assert_eq!(rig.redis::<i64>(&["HGET", "ct:campaigns", "b"]), 2, "a number is never given again");
    serve.stop();
}

#[test]
fn only_what_is_over_is_archived() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    rig.campaign("a", 0, 20);
    let refused = rig.run(&["campaign", "archive", "a", "--yes"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    rig.ok(&["campaign", "cancel", "a", "--yes"]);
    std::fs::create_dir(rig.path("kept")).unwrap();
    std::fs::write(rig.path("kept/a-1"), "x").unwrap();
    let taken = rig.run(&["campaign", "archive", "a", "--yes", "-o", rig.path("kept").to_str().unwrap()]);
    assert_eq!(taken.status.code(), Some(2), "{taken:?}");
    rig.ok(&["campaign", "archive", "a", "--yes"]);
    let folder = rig.path("data/archive/a-1");
    assert_eq!(check(&folder), 20);
    let totals: Value = serde_json::from_slice(&std::fs::read(folder.join("totals.json")).unwrap()).unwrap();
    assert_eq!((&totals["states"]["cancelled"], &totals["loaded"]), (&20.into(), &20.into()), "{totals}");
}

#[test]
fn a_campaign_with_messages_in_doubt_or_held_is_kept_until_they_have_ended() {
    let faults = "[[fault]]\nkind = \"held\"\nshare = 0.1\n[[fault]]\nkind = \"reset_after\"\nshare = 0.1\n";
    let mut rig = Rig::new(1, "unlimited", sim(|config| config.plan = plan(faults)));
    let serve = rig.serve();
    rig.campaign("a", 0, 200);
    let states = rig.done("a");
    serve.stop();
    let of = |state: &str| states[state].as_u64().unwrap();
    assert!(of("held") > 0 && of("in_doubt") > 0, "{states}");
    let refused = rig.run(&["campaign", "archive", "a", "--yes"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let counts = format!("{} messages in doubt and {} that Meta holds back", of("in_doubt"), of("held"));
    assert!(refused.status.code() == Some(4) && said.contains(&counts), "{said}");
    let sent = rig.json(&["campaign", "resolve", "a", "--as-sent", "--in-doubt"], 0);
    assert_eq!((&sent["messages"], &sent["in_doubt"]), (&states["in_doubt"], &0.into()), "{sent}");
    assert_eq!(rig.run(&["campaign", "archive", "a", "--yes"]).status.code(), Some(4));
    // An hour in a few seconds, without a word of what became of those that are held.
    rig.extra = "time_scale = 1000\n[doubt]\ngive_up = \"1h\"".to_owned();
    rig.cloud = "timeout = \"300s\"\nconnect_timeout = \"60s\"\n".to_owned();
    let serve = rig.serve();
    wait_until("what is held has ended", || rig.count("a", "held") == 0);
    assert_eq!(rig.count("a", "unresolved"), of("held"));
    serve.must_say("held by Meta, and never heard of again");
    serve.stop();
    rig.ok(&["campaign", "archive", "a", "--yes"]);
    assert_eq!(check(&rig.path("data/archive/a-1")), 200);
}

#[test]
fn an_archiving_that_broke_off_goes_on_where_it_was() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    rig.campaign("a", 0, 200);
    rig.ok(&["campaign", "cancel", "a", "--yes"]);
    let folder = rig.path("kept");
    // Broken off while it wrote: half an archive, and the mark.
    let mark = |word: &str| {
        let text = format!("{word} {}", folder.display());
        rig.redis::<i64>(&["HSET", "ct:campaign:1", "archive", &text]);
    };
    mark("begun");
    std::fs::create_dir(rig.path("kept.part~")).unwrap();
    std::fs::write(rig.path("kept.part~/report.csv"), "half").unwrap();
    let refused = rig.run(&["campaign", "load", "a", rig.path("a-0.csv").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is being archived"), "{refused:?}");
    let words = ["campaign", "archive", "a", "--yes", "-o", folder.to_str().unwrap()];
    // Whole, but nothing is freed yet when the archive is lost: then nothing may be freed.
    mark("exported");
    let lost = rig.run(&words);
    assert_eq!(lost.status.code(), Some(4), "{lost:?}");
    assert!(keys_of_campaigns(&rig).len() > 2);
    mark("begun");
    // Broken off while it freed: some keys are gone.
    let before = keys_of_campaigns(&rig);
    rig.ok(&words);
    assert_eq!(check(&folder), 200);
    assert!(before.len() > 2 && keys_of_campaigns(&rig).is_empty());
    assert!(!rig.path("kept.part~").exists());
}

#[test]
fn freeing_goes_on_after_a_crash_without_the_lanes_that_are_gone() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    rig.campaign("a", 0, 200);
    rig.ok(&["campaign", "cancel", "a", "--yes"]);
    let folder = rig.path("kept");
    rig.ok(&["campaign", "archive", "a", "--yes", "-o", folder.to_str().unwrap()]);
    // The same campaign as if the process had died after the first lanes.
    rig.campaign("b", 0, 200);
    rig.ok(&["campaign", "cancel", "b", "--yes"]);
    let manifest = folder.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"a\"", "\"b\"").replace("\"seq\": 1", "\"seq\": 2")).unwrap();
    let mark = format!("exported {}", folder.display());
    rig.redis::<i64>(&["HSET", "ct:campaign:2", "archive", &mark]);
    let lanes: Vec<String> = rig.redis(&["KEYS", "ct:{2.*"]);
    lanes.iter().take(lanes.len() / 2).for_each(|key| assert_eq!(rig.redis::<i64>(&["DEL", key]), 1));
    let said = rig.ok(&["campaign", "archive", "b", "--yes"]);
    assert!(said.contains("archived"), "{said}");
    let left: Vec<String> = rig.redis(&["KEYS", "ct:{2.*"]);
    assert!(left.is_empty() && rig.redis::<i64>(&["EXISTS", "ct:campaign:2"]) == 0, "{left:?}");
}

#[test]
fn freeing_a_large_campaign_never_keeps_redis_for_long() {
    let rig = Rig::new(2, "unlimited", sim(|_| ()));
    rig.campaign("a", 0, 100_000);
    rig.ok(&["campaign", "cancel", "a", "--yes"]);
    // Joined all the while, so that Redis keeps its settings and its log.
    let serve = rig.serve();
    rig.redis::<String>(&["CONFIG", "SET", "slowlog-log-slower-than", "5000"]);
    rig.redis::<String>(&["SLOWLOG", "RESET"]);
    rig.ok(&["campaign", "archive", "a", "--yes"]);
    let slow: Vec<Vec<redis::Value>> = rig.redis(&["SLOWLOG", "GET", "100"]);
    let freeing = format!("{slow:?}").to_uppercase().matches("UNLINK").count();
    assert_eq!(freeing, 0, "{slow:?}");
    assert_eq!(check(&rig.path("data/archive/a-1")), 100_000);
    assert!(keys_of_campaigns(&rig).is_empty());
    serve.stop();
}

#[test]
fn retention_archives_by_itself_what_ended_long_ago() {
    let mut rig = Rig::new(1, "unlimited", sim(|config| config.time_scale = 1_000));
    rig.extra = "time_scale = 1000\n[retention]\ncampaigns = \"1h\"".to_owned();
    let serve = rig.serve();
    rig.campaign("a", 0, 50);
    wait_until("it is archived", || rig.redis::<i64>(&["HEXISTS", "ct:archived", "a"]) == 1);
    assert_eq!(check(&rig.path("data/archive/a-1")), 50);
    serve.must_say("archived");
    serve.stop();
}
