//! `carteiro stop` as an operator meets it: the real program, a private Redis, a phone on standard input, files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::io::Write;
use std::process::Stdio;

use place::{CONFIG, Place, Ran};
use serde_json::{Value, json};

const ANA: &str = "(11) 98765-4321";

/// Runs a command with this on its standard input.
fn given(place: &Place, input: &str, args: &[&str]) -> Ran {
    let mut child = place.command(args).stdin(Stdio::piped()).spawn().unwrap();
    // A command that refuses before it reads may be gone.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    Ran::of(&child.wait_with_output().unwrap())
}

fn objects(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check(place: &Place, args: &[&str], code: i32, expect: &str) {
    let ran = given(place, ANA, args);
    assert_eq!((ran.code, ran.out.as_str()), (code, expect), "{args:?}: {}", ran.err);
}

#[test]
fn a_person_is_stopped_listed_and_let_go() {
    let place = Place::new();
    check(
        &place,
        &["stop", "add", "-", "--dry-run"],
        0,
        "stop for this person (opted out, all accounts): would be added; nothing was changed\n",
    );
    check(&place, &["stop", "list", "-"], 0, "");
    check(&place, &["stop", "add", "-"], 0, "stop for this person (opted out, all accounts): added\n");
    check(
        &place,
        &["stop", "add", "-"],
        0,
        "stop for this person (opted out, all accounts): is there already; nothing was changed\n",
    );
    let dnc = ["stop", "add", "-", "--kind", "do_not_contact", "--account", "100", "--from"];
    check(
        &place,
        &[&dnc[..], &["31/12/2099"]].concat(),
        0,
        "stop for this person (do not contact, account 100 from 2099-12-31): added\n",
    );
    // An earlier day takes the place of a later one, a later one of none.
    check(
        &place,
        &[&dnc[..], &["2099-12-30"]].concat(),
        0,
        "stop for this person (do not contact, account 100 from 2099-12-30): added\n",
    );
    let ran = given(&place, ANA, &[&dnc[..], &["2099-12-31"]].concat());
    assert!(ran.out.contains("is there already"), "{}", ran.out);

    let listed =
        objects(&given(&place, "+55 11 8765-4321", &["--json", "--actor", "bia", "stop", "list", "-"]));
    let told: Vec<_> = listed
        .iter()
        .map(|row| (&row["kind"], &row["from"], &row["in_force"], row["since"].is_string()))
        .collect();
    let (optout, dnc) = (json!("optout"), json!("do_not_contact"));
    let expect =
        [(&optout, &Value::Null, &json!(true), true), (&dnc, &json!("2099-12-30"), &json!(false), true)];
    assert_eq!(told, expect, "{listed:?}");
    let why = place.error(&["why", ANA], 1);
    assert!(
        why["message"].as_str().unwrap().contains("in the stop list: opted out, all accounts, since 20"),
        "{why}"
    );

    assert_eq!(given(&place, ANA, &["stop", "remove", "-"]).code, 4);
    check(
        &place,
        &["stop", "remove", "-", "--yes"],
        0,
        "stop for this person (opted out, all accounts): taken back\n",
    );
    check(
        &place,
        &["stop", "remove", "-", "--yes"],
        0,
        "stop for this person (opted out, all accounts): is not there; nothing was changed\n",
    );
    let actions = place.ok(&["journal", "show", "--actions"]);
    let lines = |word: &str| actions.lines().filter(|line| line.contains(word)).count();
    assert_eq!((lines("stop add"), lines("stop remove")), (3, 1), "{actions}");
    assert!(!actions.contains("98765") && actions.contains("person:"), "{actions}");
}

#[test]
fn an_erased_person_is_not_in_the_list_any_more() {
    let place = Place::new();
    for kind in ["optout", "wrong_person"] {
        assert_eq!(given(&place, ANA, &["stop", "add", "-", "--kind", kind]).code, 0);
    }
    assert_eq!(given(&place, "11987654322", &["stop", "add", "-"]).code, 0);
    assert_eq!(given(&place, ANA, &["person", "erase", "-", "--yes"]).code, 0);
    check(&place, &["stop", "list", "-"], 0, "");
    assert_eq!(place.ok(&["stop", "list"]), "optout  all accounts  1 by person\n");
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let place = Place::new();
    let two = CONFIG.replacen(
        "[[number]]",
        "[[account]]\nid = \"200\"\ntoken = { env = \"TEST_TOKEN\" }\n[[number]]",
        1,
    );
    let refused = |args: &[&str], code: &str, field: Option<&str>| {
        let error = place.error(args, 2);
        assert_eq!((&error["code"], &error["field"]), (&json!(code), &json!(field)), "{args:?}: {error}");
        error
    };
    refused(&["stop", "add"], "usage", None);
    let phone = refused(&["stop", "add", "11987654321"], "usage", None);
    assert!(phone["hint"].as_str().unwrap().contains("standard input"), "{phone}");
    refused(&["stop", "add", "--ref", "C1"], "usage", Some("--kind"));
    refused(&["stop", "add", "--ref", "C1", "--kind", "optout"], "usage", Some("--kind"));
    refused(&["stop", "add", "--ref", " ", "--kind", "paid"], "usage", Some("--ref"));
    refused(&["stop", "add", "-", "--kind", "paid"], "usage", Some("--kind"));
    refused(&["stop", "add", "-", "--from", "2026-12-01"], "usage", Some("--from"));
    refused(&["stop", "add", "-", "--account", "1000"], "unknown_account", Some("--account"));
    // Standard input is empty here.
    refused(&["stop", "add", "-"], "no_phone", Some("-"));
    let near = refused(&["stop", "add", "-", "--kind", "optou"], "usage", Some("--kind <KIND>"));
    assert!(near["hint"].as_str().unwrap().contains("optout"), "{near}");
    refused(&["stop", "import", "no.csv", "--kind", "optout"], "unreadable", None);
    place.write("s.csv", "fone\n11987654321\n");
    let column = refused(
        &["stop", "import", "s.csv", "--kind", "optout"],
        "recipients_unusable",
        Some("the phone (--phone-column)"),
    );
    assert!(column["message"].as_str().unwrap().contains("it has: fone"), "{column}");
    refused(
        &["stop", "import", "s.csv", "--kind", "optout", "--days-after", "30"],
        "usage",
        Some("--days-after"),
    );
    place.write("carteiro.toml", &two);
    refused(&["stop", "add", "--ref", "C1", "--kind", "paid"], "unknown_account", Some("--account"));
    refused(&["stop", "add", "-", "--kind", "exempt"], "unknown_account", Some("--account"));
    assert_eq!(place.ok(&["stop", "list"]), "");
}

#[test]
fn a_file_is_imported_and_again_adds_only_what_is_new() {
    let place = Place::new();
    let many: String = (0..2_500).map(|at| format!("1198{:07};01/12/2026\r\n", 1_000_000 + at)).collect();
    let bad = "123;01/12/2026\r\n11987654321;soon\r\n";
    place.write("dnc.csv", &format!("telefone;cadastro\r\n{many}{bad}"));
    let args = [
        "stop",
        "import",
        "dnc.csv",
        "--kind",
        "do_not_contact",
        "--from-column",
        "cadastro",
        "--days-after",
        "30",
    ];
    let counts = |told: &Value| ["rows", "new", "known", "rejected"].map(|key| told[key].as_u64().unwrap());
    let would = place.json(&[&args[..], &["--dry-run"]].concat(), 3);
    assert_eq!((counts(&would), &would["version"]), ([2_502, 2_500, 0, 2], &Value::Null));
    assert!(!place.path("dnc.csv.rejects.csv").exists());
    let told = place.json(&args, 3);
    assert_eq!((counts(&told), &told["version"]), ([2_502, 2_500, 0, 2], &json!(3)));
    assert_eq!(told["reasons"], json!({"no_day": 1, "phone_length": 1}));
    let rejects = std::fs::read_to_string(place.path("dnc.csv.rejects.csv")).unwrap();
    assert!(rejects.contains("2502;phone_length;") && rejects.contains("2503;no_day;"), "{rejects}");
    assert_eq!(counts(&place.json(&args, 3)), [2_502, 0, 2_500, 2]);
    let again =
        ["stop", "import", "dnc.csv.rejects.csv", "--kind", "do_not_contact", "--from-column", "cadastro"];
    assert_eq!(counts(&place.json(&again, 3)), [2, 0, 0, 2]);

    // The exception of one creditor, and debts, from standard input and in another encoding.
    let ran = given(
        &place,
        "celular\n11981000001\n11981000001\n",
        &["--json", "stop", "import", "-", "--kind", "exempt"],
    );
    assert_eq!(counts(&objects(&ran)[0]), [2, 1, 1, 0]);
    std::fs::write(place.path("paid.csv"), b"nome,contrato\nJo\xe3o,C-1\nJos\xe9,C-2\n").unwrap();
    let paid = place.json(&["stop", "import", "paid.csv", "--kind", "paid"], 0);
    assert_eq!((counts(&paid), &paid["account"]), ([2, 2, 0, 0], &json!("100")));
    let listed = place.ok(&["stop", "list"]);
    let lines: Vec<&str> = listed.lines().collect();
    let expect = [
        "do_not_contact  all accounts  2,500 by person, 2,500 begin on a later day",
        "paid  each for its account  2 by debt",
        "exempt  account 100  1 by person",
    ];
    let later = lines[0].starts_with("do_not_contact  all accounts  2,500 by person");
    assert!(later && lines[1..] == expect[1..], "{listed}");
    let one = given(&place, "11981000001", &["stop", "list", "-"]);
    assert!(one.out.contains("do not contact, all accounts from 2026-12-31, from a file"), "{}", one.out);
    let debt = place.ok(&["stop", "list", "--ref", "C-2"]);
    assert_eq!(debt, "paid, account 100, from a file or a reply of Meta, or older than the journal\n");
    let actions = place.ok(&["journal", "show", "--actions"]);
    assert!(actions.contains("dnc.csv") && actions.contains("kind=do_not_contact"), "{actions}");
}
