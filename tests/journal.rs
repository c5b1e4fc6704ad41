//! What people get out of the journal, command by command: reports joined with it and with the creditor's file, who did what,
//! and why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support {
    pub mod place;
}

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use carteiro::domain::ids::{NumberId, WireId};
use carteiro::journal::{Entry, Journal, Outcome, Place as Folder, Status};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};

use support::place::{Place, file, rows};

/// 2026-11-18T11:06:40Z
const AT: u64 = 1_795_000_000_000;

/// The rows of a CSV report, by column.
fn read(place: &Place, name: &str, delimiter: u8) -> Vec<BTreeMap<String, String>> {
    let text = fs::read(place.path(name)).unwrap();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text);
    let headers = reader.headers().unwrap().clone();
    let row = |row: csv::StringRecord| {
        headers.iter().map(str::to_owned).zip(row.iter().map(str::to_owned)).collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// Writes a past for the message of a report's row: two attempts, and its receipts.
fn live(place: &Place, message_id: &str) {
    let id: WireId = format!("{message_id}.2").parse().unwrap();
    let (message, generation) = (id.message, 2);
    let folder = Folder::start(
        &place.config().journal.dir,
        (&id.installation, "ab12"),
        (1 << 20, Duration::from_secs(3600)),
    );
    let begun = |generation, attempt, number: &str, at_ms| Entry::Begun {
        message,
        generation,
        attempt,
        number: NumberId::from(number),
        at_ms,
    };
    let receipt = |status, at_ms| Entry::Receipt {
        message,
        generation,
        status,
        at_ms,
        heard_at_ms: at_ms + 400,
        code: None,
        wamid: None,
    };
    let refused = Entry::Reply {
        message,
        generation: 1,
        at_ms: AT + 80,
        outcome: Outcome::Transient,
        reason: 0,
        code: Some(131_000),
        wamid: None,
    };
    let taken = Entry::Reply {
        message,
        generation,
        at_ms: AT + 5_090,
        outcome: Outcome::Accepted,
        reason: 0,
        code: None,
        wamid: Some("wamid.HBgN==".into()),
    };
    let all = [
        begun(1, 0, "201", AT),
        refused,
        begun(2, 1, "202", AT + 5_000),
        taken,
        receipt(Status::Delivered, AT + 7_000),
        receipt(Status::Sent, AT + 6_000),
        receipt(Status::Read, AT + 60_000),
    ];
    Journal::open(&folder.unwrap(), "shard0").append(&all).unwrap();
}

#[test]
fn a_report_takes_number_id_and_times_from_the_journal_and_lives_without_it() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..3));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    let ran = place.run(&["campaign", "report", "teste", "-o", "r.csv"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("there is no journal"), "{}", ran.err);
    let before = read(&place, "r.csv", b',');
    assert_eq!((before.len(), before[1]["begun_at"].as_str(), before[1]["wamid"].as_str()), (3, "", ""));
    assert_ne!(before[1]["number"], "");

    live(&place, &before[1]["message_id"]);
    let said = place.json(&["campaign", "report", "teste", "-o", "r.csv"], 0);
    assert_eq!(
        (&said["rows"], &said["journal"], &said["journal_entries"]),
        (&json!(3), &json!(true), &json!(7))
    );
    let after = read(&place, "r.csv", b',');
    let past = ["number", "wamid", "begun_at", "replied_at", "sent_at", "delivered_at", "read_at"];
    let expect = [
        "202",
        "wamid.HBgN==",
        "2026-11-18T11:06:40.000Z",
        "2026-11-18T11:06:45.090Z",
        "2026-11-18T11:06:46.000Z",
        "2026-11-18T11:06:47.000Z",
        "2026-11-18T11:07:40.000Z",
    ];
    assert_eq!(past.map(|name| after[1][name].as_str()), expect);
    assert_eq!(past.map(|name| after[0][name].as_str()), [""; 7]);
}

/// Two files of one campaign with rows of the same lines, one of them with everything that can be wrong.
fn two_loads(place: &Place) {
    place.write("first.csv", &file(0..5));
    place.ok(&["campaign", "load", "teste", "first.csv"]);
    let mut second = String::from("telefone,contrato,nome,saldo\n");
    for row in rows(5..7).lines() {
        second += &format!("{row},=HYPERLINK(\"x\")\n");
    }
    // The same person again, in another spelling and later in the file; then nobody's phone; then a person of the
    // first file.
    second += "\"(11) 98100-0005\",C5,Maria,2\nabc,C9,Maria,3\n11981000001,C1,Maria,-4\n";
    place.write("second.csv", &second);
    let ran = place.run(&["campaign", "load", "teste", "second.csv"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
}

#[test]
fn a_joined_report_has_the_files_columns_and_every_row_of_it() {
    let place = Place::with_campaign();
    two_loads(&place);
    let said = place.json(&["campaign", "report", "teste", "-o", "r.csv", "--join", "second.csv"], 0);
    let counts =
        ["rows", "joined", "duplicate", "rejected", "not_loaded"].map(|key| said[key].as_u64().unwrap());
    assert_eq!(counts, [7, 2, 2, 1, 0]);
    let all = read(&place, "r.csv", b',');
    assert_eq!(all.len(), 10);
    let of = |state: &str| -> Vec<[String; 4]> {
        let mut rows: Vec<_> = all.iter().filter(|row| row["state"] == state).collect();
        rows.sort_by_key(|row| row["line"].clone());
        rows.iter().map(|row| ["line", "contrato", "saldo", "code"].map(|name| row[name].clone())).collect()
    };
    let texts = |expect: [[&str; 4]; 2]| expect.map(|row| row.map(str::to_owned)).to_vec();
    assert_eq!(of("duplicate"), texts([["4", "C5", "2", "duplicate"], ["6", "C1", "-4", "duplicate"]]));
    let rejected = of("rejected");
    assert_eq!(
        (rejected.len(), rejected[0][..3].to_vec()),
        (1, vec!["5".to_owned(), "C9".to_owned(), "3".to_owned()])
    );
    assert_ne!(rejected[0][3], "");
    // Line 2 of each file is another person: only that of the joined file has its columns.
    let queued = of("queued");
    let joined: Vec<_> = queued.iter().filter(|row| !row[2].is_empty()).map(|row| row[1].as_str()).collect();
    assert_eq!((queued.len(), joined), (7, vec!["C5", "C6"]));
    assert!(!all.iter().any(|row| row["state"] == "duplicate" && !row["message_id"].is_empty()));

    // Before the second load, its rows could be loaded and are not.
    let other = Place::with_campaign();
    other.write("first.csv", &file(0..5));
    other.ok(&["campaign", "load", "teste", "first.csv"]);
    other.write("second.csv", &file(3..8));
    let said = other.json(&["campaign", "report", "teste", "-o", "r.csv", "--join", "second.csv"], 0);
    let counts = ["joined", "duplicate", "not_loaded"].map(|key| said[key].as_u64().unwrap());
    assert_eq!(counts, [0, 2, 3]);
}

#[test]
fn excel_in_brazil_opens_it_and_calculates_nothing() {
    let place = Place::with_campaign();
    two_loads(&place);
    let before = place.report();
    live(&place, &before[0][4]);
    place.ok(&["campaign", "report", "teste", "-o", "r.csv", "--join", "second.csv", "--excel-br"]);
    let bytes = fs::read(place.path("r.csv")).unwrap();
    assert!(bytes.starts_with(b"\xef\xbb\xbfline;ref;"));
    let mode = fs::metadata(place.path("r.csv")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let all = read(&place, "r.csv", b';');
    let begun = all.iter().find(|row| !row["begun_at"].is_empty()).unwrap();
    assert_eq!(
        (begun["begun_at"].as_str(), begun["read_at"].as_str()),
        ("18/11/2026 08:06:40", "18/11/2026 08:07:40")
    );
    for row in &all {
        for cell in row.values() {
            assert!(!cell.starts_with(['=', '+', '-', '@']), "{row:?}");
        }
    }
    assert!(all.iter().any(|row| row["saldo"] == "'=HYPERLINK(\"x\")"));
    // Nothing is left beside it.
    let names: Vec<_> =
        fs::read_dir(place.dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with('~')), "{names:?}");
    let error = place.error(&["campaign", "report", "teste", "-o", "r.parquet", "--excel-br"], 2);
    assert!(error["message"].as_str().unwrap().contains("Parquet"), "{error}");
}

#[test]
fn parquet_by_its_name_with_types() {
    let place = Place::with_campaign();
    two_loads(&place);
    let message = place.report()[0][4].clone();
    live(&place, &message);
    place.ok(&["campaign", "report", "teste", "-o", "r.parquet", "--join", "second.csv"]);
    let reader = SerializedFileReader::new(fs::File::open(place.path("r.parquet")).unwrap()).unwrap();
    let rows: Vec<BTreeMap<String, Field>> = reader
        .get_row_iter(None)
        .unwrap()
        .map(|row| {
            row.unwrap().get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect()
        })
        .collect();
    assert_eq!(rows.len(), 10);
    let text = |text: &str| Field::Str(text.to_owned());
    let one = rows.iter().find(|row| row["message_id"] == text(&message)).unwrap();
    assert_eq!((&one["line"], &one["number"]), (&Field::Long(2), &text("202")));
    assert_eq!(one["begun_at"], Field::TimestampMillis(i64::try_from(AT).unwrap()));
    let formula = rows.iter().find(|row| row["saldo"] == text("=HYPERLINK(\"x\")")).unwrap();
    assert_eq!(formula["begun_at"], Field::Null);
}

#[test]
fn who_did_what_is_written_down_and_what_changed_nothing_is_not() {
    let place = Place::new();
    place.ok(&["--actor", "ana", "campaign", "create", "teste.toml"]);
    place.write("a.csv", &file(0..2));
    let mut load = place.command(&["campaign", "load", "teste", "a.csv"]);
    assert!(load.env("CARTEIRO_ACTOR", "bruno").output().unwrap().status.success());
    place.ok(&["campaign", "start", "teste", "--yes"]);
    place.ok(&["campaign", "pause", "teste", "--dry-run"]);
    place.ok(&["campaign", "status"]);
    assert_eq!(place.run(&["campaign", "cancel", "teste"]).code, 4, "not confirmed");
    assert_eq!(place.run(&["campaign", "pause", "nada"]).code, 2);
    place.ok(&["--actor", "ana", "number", "pause", "201"]);

    let ran = place.run(&["--json", "journal", "show", "--actions"]);
    let deeds: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<[&str; 3]> =
        deeds.iter().map(|deed| ["actor", "verb", "target"].map(|key| deed[key].as_str().unwrap())).collect();
    let user = deeds[2]["os_user"].as_str().unwrap();
    let expect = [
        ["ana", "campaign create", "teste.toml"],
        ["bruno", "campaign load", "teste"],
        [user, "campaign start", "teste"],
        ["ana", "number pause", "201"],
    ];
    assert_eq!(shown, expect);
    assert_eq!(deeds[1]["detail"], "done; file=a.csv");
    let text = place.ok(&["journal", "show", "--campaign", "teste", "--since", "1h"]);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(place.ok(&["journal", "show", "--since", "2999-01-01T00:00:00Z"]).is_empty());
    assert_eq!(place.error(&["journal", "show", "--since", "gestern"], 2)["field"], "--since");
    let folder = place.config().journal.dir;
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn why_tells_the_life_of_a_message_and_of_a_person() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..3));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    place.ok(&["--actor", "ana", "campaign", "start", "teste", "--yes"]);
    let report = place.report();
    let (id, phone) = (report[1][4].clone(), report[1][3].clone());
    live(&place, &id);

    let asked = place.json(&["why", &id], 0);
    assert_eq!(
        (&asked["state"], &asked["line"], &asked["campaign"]),
        (&json!("queued"), &json!(3), &json!("teste"))
    );
    assert_eq!(asked["kept_by"], json!(["no serve is running"]));
    let kinds: Vec<&str> =
        asked["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["begun", "reply", "begun", "reply", "receipt", "receipt", "receipt"]);
    assert_eq!(
        (&asked["actions"][1]["actor"], &asked["actions"][1]["verb"]),
        (&json!("ana"), &json!("campaign start"))
    );

    let local = phone.strip_prefix("+55").unwrap();
    let spelled = format!("({}) {}-{}", &local[..2], &local[2..7], &local[7..]);
    let text = place.ok(&["why", &id]);
    for same in [phone.as_str(), local, &spelled, &format!("{id}.2"), "teste/3"] {
        assert_eq!(place.ok(&["why", same]), text, "{same}");
    }
    for words in [
        "queued: it has not been sent",
        "no serve is running",
        "as wamid.HBgN==",
        "by number 202  after 1 attempt",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains(local), "no phone: {text}");
    for (nobody, code) in [("11999990000", 1), ("teste/99", 1), ("ct1.zzz.1.0.0", 2), ("119999", 2)] {
        let ran = place.run(&["why", nobody]);
        assert_eq!(ran.code, code, "{nobody}: {}{}", ran.out, ran.err);
        assert!(!ran.err.contains("99999"), "{}", ran.err);
    }
}
