//! People who are not to be written to, in two real processes and a Meta whose people answer: the ledger is the judge.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::hooks::telling;
use crate::rig::{ACCOUNT, Rig, Serve, wait_until};

/// Two processes that share the numbers; the webhooks go to the first.
fn two(rig: &Rig) -> (Serve, Serve) {
    let first = rig.serve_as("a", &[]);
    let second = rig.serve_as("b", &["--set", "webhooks.listen=127.0.0.1:0"]);
    wait_until("both own numbers", || rig.shares().len() == 2);
    (first, second)
}

/// Has a person say something, by a webhook of the simulator; whether it was answered 200.
pub(crate) fn says(rig: &Rig, person: usize, text: &str) -> Value {
    let mut stream = TcpStream::connect(rig.sim.control_url.strip_prefix("http://").unwrap()).unwrap();
    let number = &rig.numbers[0];
    let path = format!("/_sim/stop?to=553196{person:07}&number={number}&text={text}");
    write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn reasons(rig: &Rig, id: &str) -> Vec<String> {
    let path = rig.path(&format!("{id}-reasons.csv"));
    rig.ok(&["campaign", "report", id, "-o", path.to_str().unwrap()]);
    let mut reader = csv::Reader::from_path(path).unwrap();
    let at = reader.headers().unwrap().iter().position(|name| name == "reason").unwrap();
    let word = |row: csv::StringRecord| row[at].split(": ").next().unwrap().to_owned();
    let mut all: Vec<String> = reader.records().map(|row| word(row.unwrap())).collect();
    all.retain(|reason| !reason.is_empty());
    all.sort();
    all
}

#[test]
fn what_is_said_by_webhook_command_and_file_holds_in_every_process() {
    let rig = telling(4, "200/s", "", |_| ());
    let (first, second) = two(&rig);
    rig.ready("a", "", 0, 400);
    assert_eq!(says(&rig, 7, "n%C3%A3o%20sou%20eu")["answered"], true);
    assert_eq!(says(&rig, 8, "J%C3%A1%20paguei")["answered"], true);
    let told = rig.json(&["stop", "add", "--ref", "C9", "--kind", "paid"], 0);
    let nodes = told["node"].as_str().unwrap();
    assert!(told["acknowledged"] == true && nodes.contains('a') && nodes.contains('b'), "{told}");
    let rows: String = (100..150).map(|person| format!("3196{person:07};2026-01-01\n")).collect();
    std::fs::write(rig.path("dnc.csv"), format!("telefone;from\n{rows}")).unwrap();
    let file = rig.path("dnc.csv");
    rig.json(&["stop", "import", file.to_str().unwrap(), "--kind", "do_not_contact"], 0);
    rig.ok(&["campaign", "start", "a", "--yes"]);
    let states = rig.done("a");
    assert_eq!((&states["suppressed"], &states["accepted"]), (&json!(52), &json!(348)), "{states}");
    let expect: Vec<&str> = [["do_not_contact"; 50].as_slice(), &["paid", "wrong_person"]].concat();
    assert_eq!(reasons(&rig, "a"), expect);
    let why = rig.ok(&["why", "a/9"]);
    assert!(why.contains("in the stop list: wrong person, account 100000000000001, since"), "{why}");
    assert!(why.contains("the person's own words"), "{why}");
    // "Já paguei" was heard and stopped nobody; the ledger takes the simulator's word for it.
    assert_eq!(rig.judge("a", &states).stopped.people, 2);
    for serve in [first, second] {
        assert!(!serve.lines().iter().any(|line| line.contains("3196000")), "a phone is in the log");
        serve.stop();
    }
}

#[test]
fn whom_a_code_of_meta_speaks_of_is_not_written_to_again() {
    let rig = telling(2, "200/s", "[[fault]]\nkind = \"error\"\ncode = 130403\nshare = 1.0\n", |_| ());
    let serve = rig.serve();
    rig.campaign("a", 0, 30);
    assert_eq!(rig.done("a")["failed"], json!(30));
    let counted = || rig.json(&["stop", "list"], 0);
    wait_until("all are in the stop list", || counted()["stops"] == json!(30));
    let listed = counted();
    let expect = (json!("do_not_contact"), json!(ACCOUNT));
    assert_eq!((&listed["kind"], &listed["account"]), (&expect.0, &expect.1), "{listed}");
    rig.campaign("b", 0, 40);
    let states = rig.done("b");
    assert_eq!((&states["suppressed"], &states["failed"]), (&json!(30), &json!(10)), "{states}");
    serve.stop();
}

#[test]
fn people_who_answer_with_a_stop_word_get_nothing_a_second_later() {
    let webhooks = "[webhooks]\ndelivered_after = \"1s\"\nopt_out = 0.5\nopt_out_after = \"1s\"\n";
    let rig = telling(2, "60/s", webhooks, |_| ());
    let (first, second) = two(&rig);
    // The second campaign writes to the same people while they answer to the first.
    rig.ready("b", "priority = \"bulk\"", 0, 600);
    rig.campaign("a", 0, 600);
    rig.ok(&["campaign", "start", "b", "--yes"]);
    let (a, b) = (rig.done("a"), rig.done("b"));
    let sum = |state: &str| a[state].as_u64().unwrap() + b[state].as_u64().unwrap();
    assert_eq!(sum("accepted") + sum("suppressed"), 1_200, "{a} {b}");
    let stopped = rig.ledger().stopped;
    assert!(stopped.people > 100 && sum("suppressed") > 50, "{stopped:?} {a} {b}");
    assert_eq!(stopped.after_stop, 0, "{stopped:?}");
    first.stop();
    second.stop();
}
