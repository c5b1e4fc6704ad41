//! No personal datum in what is said: people put phones and names into every place there is, and none comes back in
//! standard error, in logs, or in data that is not made of them.

use std::io::Write;
use std::process::Stdio;

use crate::place::{CAMPAIGN, Place, file};

/// In every phone here, whatever its spelling.
const PHONE: &str = "98765401";

/// In every name here.
const NAME: &str = "Zulmira";

struct Ears {
    place: Place,
    heard: usize,
}

impl Ears {
    /// Runs a command with everything logged, and looks through what it says.
    fn hear(&mut self, args: &[&str], input: &str) -> i32 {
        for json in [false, true] {
            let mut command = self.place.command(args);
            if json {
                command.arg("--json");
            }
            command.env("CARTEIRO_LOG", "trace").env("RUST_BACKTRACE", "1").stdin(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // A command that reads no input may be gone.
            drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            self.heard += said.len();
            let digits: String = said.chars().filter(|c| !"-() ".contains(*c)).collect();
            assert!(!digits.contains(PHONE), "{args:?} tells a phone: {said}");
            assert!(
                !said.contains(NAME) && !said.contains(&NAME.to_uppercase()),
                "{args:?} tells a name: {said}"
            );
            if json {
                return output.status.code().unwrap_or(-1);
            }
        }
        unreachable!("both ways were run")
    }
}

fn ears() -> Ears {
    let place = Place::with_campaign();
    Ears { place, heard: 0 }
}

#[test]
fn recipients_that_cannot_be() {
    let mut ears = ears();
    let bad = [
        format!("11 {PHONE}"),
        format!("+1 212 {PHONE}"),
        format!("0055 (11) 9{PHONE}9999"),
        format!("1198765401x{NAME}"),
        NAME.to_owned(),
        format!("11{PHONE}2/11{PHONE}3"),
        "1,19877E+10".to_owned(),
    ];
    let rows: String = bad.iter().map(|phone| format!("\"{phone}\",{NAME},\"{NAME}\u{1}\"\n")).collect();
    let good = format!("11{PHONE}2,C1,{NAME}\n11{PHONE}2,C2,{NAME}\n11{PHONE}3,C3,\"{NAME}\n\n x\"\n");
    ears.place.write("bad.csv", &format!("telefone,contrato,nome\n{rows}{good}"));
    assert_eq!(ears.hear(&["campaign", "load", "teste", "bad.csv", "--dry-run"], ""), 3);
    assert_eq!(ears.hear(&["campaign", "load", "teste", "bad.csv"], ""), 3);
    // The rejected rows went to their file, and nowhere else.
    let rejects = std::fs::read_to_string(ears.place.path("bad.csv.rejects.csv")).unwrap();
    assert!(rejects.contains(NAME) && rejects.contains(PHONE));
    assert_eq!(ears.hear(&["campaign", "start", "teste", "--yes"], ""), 0);
    ears.hear(&["campaign", "status", "teste"], "");
    ears.hear(&["campaign", "list"], "");
    ears.hear(&["campaign", "report", "teste", "-o", "report.csv"], "");
    assert!(ears.heard > 1_000);
}

#[test]
fn files_that_are_no_recipients() {
    let mut ears = ears();
    let texts = [
        format!("11{PHONE}2,C1,{NAME}\n11{PHONE}3,C2,{NAME}\n"),
        format!("\"11{PHONE}2;C1;{NAME}\n"),
        format!("telefone,contrato,nome\n\"11{PHONE}2,C1,{NAME}\n"),
        format!("telefone;contrato;nome;nome\n11{PHONE}2;C1;{NAME};{NAME}\n"),
        format!("telefone,contrato,nome\n11{PHONE}2,C1,{NAME}\0\n"),
        format!("telefone,contrato,nome\n11{PHONE}2,C1,{NAME},{NAME},{NAME}\n11{PHONE}2\n"),
        format!("{{\"telefone\":\"11{PHONE}2\",\"nome\":\"{NAME}\"}}\n"),
    ];
    for text in &texts {
        ears.place.write("no.csv", text);
        ears.hear(&["campaign", "load", "teste", "no.csv"], "");
        ears.hear(&["campaign", "load", "teste", "-"], text);
    }
}

#[test]
fn phones_in_campaign_files_and_configurations() {
    let mut ears = ears();
    let phone = format!("+55 (11) 9{}-{}", &PHONE[..4], &PHONE[4..]);
    for (from, to) in [
        ("\"teste\"", format!("\"{phone}\"")),
        ("\"100\"", format!("\"{phone}\"")),
        ("1000", format!("\"{phone}\"")),
    ] {
        ears.place.write("c.toml", &CAMPAIGN.replace(from, &to));
        assert_eq!(ears.hear(&["campaign", "create", "c.toml"], ""), 2);
        assert_eq!(ears.hear(&["config", "check", "c.toml"], ""), 2);
    }
    ears.place.write(
        "d.toml",
        &CAMPAIGN.replace("\"teste\"", "\"d\"").replace("\"telefone\"", &format!("\"{phone}\"")),
    );
    ears.hear(&["campaign", "create", "d.toml"], "");
    ears.place.write("a.csv", &file(0..3));
    assert_eq!(ears.hear(&["campaign", "load", "d", "a.csv"], ""), 2);
    ears.place
        .write("n.toml", &format!("[[number]]\nphone_number_id = \"{phone}\"\naccount = \"{phone}\"\n"));
    assert_eq!(ears.hear(&["--config", "n.toml", "config", "check"], ""), 2);
}

#[test]
fn people_who_are_stopped() {
    let mut ears = ears();
    let phone = format!("(11) 9{}-{}", &PHONE[..4], &PHONE[4..]);
    assert_eq!(ears.hear(&["stop", "add", "-", "--kind", "wrong_person"], &phone), 0);
    assert_eq!(ears.hear(&["stop", "list", "-"], &phone), 0);
    assert_eq!(ears.hear(&["stop", "list"], ""), 0);
    assert_eq!(ears.hear(&["stop", "add", "-"], &format!("{phone}9")), 2);
    let rows = format!("{phone},{NAME}\n{phone}99,{NAME}\n\"{phone},{NAME}\n");
    ears.place.write("s.csv", &format!("telefone,nome\n{rows}"));
    assert_eq!(ears.hear(&["stop", "import", "s.csv", "--kind", "optout"], ""), 3);
    ears.place.write("s.csv", &rows);
    assert_eq!(ears.hear(&["stop", "import", "s.csv", "--kind", "optout"], ""), 2);
    assert_eq!(ears.hear(&["stop", "remove", "-", "--kind", "wrong_person", "--yes"], &phone), 0);
    assert_eq!(ears.hear(&["journal", "show"], ""), 0);
    assert!(ears.heard > 500);
}

#[test]
fn phones_where_ids_belong() {
    let mut ears = ears();
    for phone in
        [format!("+55119{PHONE}"), format!("(11) 9{}-{}", &PHONE[..4], &PHONE[4..]), format!("119{PHONE}")]
    {
        let phone = phone.as_str();
        for args in [
            &["campaign", "status", phone][..],
            &["campaign", "load", phone, "a.csv"],
            &["campaign", "start", phone, "--yes"],
            &["number", "pause", phone],
            &["account", "resume", phone],
            &["template", "pause", phone],
            &["campaign", phone],
            &["campaign", "list", phone],
            &["stop", "add", phone],
            &["stop", "remove", phone, "--yes"],
            &["stop", "list", phone],
            &["stop", "add", "--ref", "C1", "--kind", phone],
            &["stop", "add", "--ref", "C1", "--kind", "paid", "--account", phone],
            &["stop", "import", "a.csv", "--kind", "optout", "--account", phone],
            &["man", phone],
            &["sim", "--rate", phone],
            &["completions", phone],
            &[phone],
            &["--set", phone, "campaign", "list"],
            &["--time-scale", phone, "campaign", "list"],
        ] {
            assert_eq!(ears.hear(args, ""), 2, "{args:?}");
        }
    }
}
