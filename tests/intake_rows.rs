//! Recipients files from end to end: read, reject, correct, read again; and what the generator promises.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use carteiro::domain::campaign::Campaign;
use carteiro::intake::campaign_file;
use carteiro::intake::csv::RowReader;
use carteiro::intake::generate::{self, Generated, Plan};
use carteiro::intake::reject::RejectWriter;
use carteiro::intake::row::Outcome;

const CAMPAIGNS: [&str; 5] =
    ["lembrete-vencimento", "vencimento-amanha", "vence-hoje", "segunda-via", "vamos-conversar"];

fn campaign(name: &str) -> Campaign {
    let path = format!("{}/config/campaigns/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    campaign_file::read(Path::new(&path)).unwrap()
}

/// What one reading of a file found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    rows: u64,
    good: u64,
    people: HashSet<u64>,
    codes: Vec<(u64, &'static str)>,
    rejects: Option<PathBuf>,
}

fn read(input: impl Read, campaign: &Campaign, rejects: &Path) -> Found {
    let mut reader = RowReader::new(input, campaign).unwrap();
    let mut writer = RejectWriter::new(rejects.to_owned(), reader.layout().clone());
    let mut found = Found::default();
    while let Some(outcome) = reader.next_row().unwrap() {
        found.rows += 1;
        match outcome {
            Outcome::Row(row) => {
                found.good += 1;
                found.people.insert(row.person.0);
            }
            Outcome::Reject(reject) => {
                found.codes.push((reject.line, reject.reason_code()));
                writer.write(&reject).unwrap();
            }
        }
    }
    assert_eq!(writer.rows(), found.codes.len() as u64);
    found.rejects = writer.finish().unwrap();
    found
}

/// Due 10/12/2026, R$ 150,75.
const LINE: &str = "00190000090123456700400000101170816560000015075";

const COLUMNS: &str = "contrato;cliente;nome;primeiro_nome;telefone;valor;vencimento;produto";

#[test]
fn rejects_are_corrected_and_loaded_again() {
    let campaign = campaign("vence-hoje");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let rejects = RejectWriter::path_beside(&path);
    assert_eq!(rejects, dir.path().join("a.csv.rejects.csv"));
    let columns = format!("\u{feff}{COLUMNS};linha_digitavel");
    let mut input = format!(
        "{columns}\r\n\
         c1;7;Ana Sá;Ana;11987654321;150,75;10/12/2026;Plano;{LINE}\r\n\
         c2;8;Zé Sá;Zé;1131234567;\"150,75\";10/12/2026;\"Plano; \"\"Bom\"\"\";{LINE}\r\n\
         c3;9;Só;Só;11987654322\r\n"
    )
    .into_bytes();
    let torn =
        [b"c4;1;Jo\xe3o;Jo\xe3o;11987654323;150,75;10/12/2026;Plano;".as_slice(), LINE.as_bytes()].concat();
    input.extend([torn.as_slice(), b"\r\n"].concat());

    let first = read(&input[..], &campaign, &rejects);
    assert_eq!((first.rows, first.good), (4, 1));
    assert_eq!(first.codes, [(3, "phone_landline"), (4, "wrong_field_count"), (5, "not_utf8")]);
    assert_eq!(first.rejects.as_deref(), Some(rejects.as_path()));
    let mode = std::fs::metadata(&rejects).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let written = std::fs::read(&rejects).unwrap();
    let mut expect = format!(
        "{columns};line;reason_code;reason\n\
         c2;8;Zé Sá;Zé;1131234567;150,75;10/12/2026;\"Plano; \"\"Bom\"\"\";{LINE};3;phone_landline;telefone: the phone is a \
         landline\n\
         c3;9;Só;Só;11987654322;4;wrong_field_count;the line has 5 fields, the header has 9\n"
    )
    .into_bytes();
    let reason = b";5;not_utf8;\"the line is not UTF-8, as the beginning of the file is; if all of it is Windows-1252, load it \
                   with --encoding windows-1252\"\n";
    expect.extend([torn.as_slice(), reason].concat());
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&expect));
    assert_eq!(written, expect);

    // Uncorrected, every row is rejected again, and the columns are not doubled. Only lines and counts are new.
    let again = read(&written[..], &campaign, &dir.path().join("again.csv"));
    assert_eq!((again.rows, again.good), (3, 0));
    let columns_of = |text: &[u8]| text.split(|byte| *byte == b'\n').next().unwrap().to_vec();
    let rewritten = std::fs::read(again.rejects.unwrap()).unwrap();
    assert_eq!(columns_of(&rewritten), columns_of(&written));
    assert!(String::from_utf8_lossy(&rewritten).contains("Só;11987654322;3;wrong_field_count;"));

    // Corrected, the row is good.
    let corrected =
        String::from_utf8_lossy(&written).replace("1131234567", "11 98765-4329").replace('\u{fffd}', "ã");
    let last = read(corrected.as_bytes(), &campaign, &rejects);
    assert_eq!(last.people, HashSet::from([1_187_654_329, 1_187_654_323]));
    let kept = dir.path().join("a.csv.rejects.csv~");
    assert_eq!(std::fs::read(kept).unwrap(), written, "the earlier rejects are kept");
}

#[test]
fn without_rejects_there_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let input =
        format!("{COLUMNS};linha_digitavel\nc1;7;Ana Sá;Ana;11987654321;150,75;10/12/2026;Plano;{LINE}\n");
    let found = read(input.as_bytes(), &campaign("vence-hoje"), &dir.path().join("r.csv"));
    assert_eq!((found.good, found.rejects), (1, None));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn generated(plan: &Plan) -> (Vec<u8>, Generated) {
    let mut file = Vec::new();
    let counts = generate::generate(&mut file, plan).unwrap();
    assert_eq!(counts.rows, plan.count);
    assert_eq!(counts.rows, counts.unique + counts.duplicates + counts.bad);
    (file, counts)
}

#[test]
fn what_is_generated_is_found_by_every_ready_campaign() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { count: 20_000, seed: 42, duplicates: 0.02, bad: 0.03 };
    let (file, counts) = generated(&plan);
    assert!((300..500).contains(&counts.duplicates) && (450..750).contains(&counts.bad), "{counts:?}");
    for name in CAMPAIGNS {
        let found = read(&file[..], &campaign(name), &dir.path().join(name));
        assert_eq!(found.rows, counts.rows, "{name}");
        assert_eq!(found.codes.len() as u64, counts.bad, "{name}");
        assert_eq!(found.good, counts.unique + counts.duplicates, "{name}");
        assert_eq!(found.people.len() as u64, counts.unique, "{name}");
        let kinds: HashSet<_> = found.codes.iter().map(|(_, code)| *code).collect();
        assert_eq!(kinds.len(), 11, "{name}: {kinds:?}");
    }
}

#[test]
fn without_duplicates_and_bad_rows_everybody_is_another_person_over_all_states() {
    let plan = Plan { count: 50_000, seed: 5, duplicates: 0.0, bad: 0.0 };
    let (file, counts) = generated(&plan);
    assert_eq!(counts.unique, plan.count);
    let campaign = campaign("vencimento-amanha");
    let mut reader = RowReader::new(&file[..], &campaign).unwrap();
    let mut people = HashSet::new();
    let mut contracts = HashSet::new();
    let mut debtors = HashSet::new();
    let mut by_state = [0_u64; 27];
    while let Some(outcome) = reader.next_row().unwrap() {
        let Outcome::Row(row) = outcome else { panic!("{outcome:?}") };
        people.insert(row.person);
        contracts.insert(row.reference.to_owned());
        debtors.insert(row.debtor.to_owned());
        by_state[usize::from(row.class.index())] += 1;
    }
    for seen in [people.len(), contracts.len(), debtors.len()] {
        assert_eq!(seen as u64, plan.count);
    }
    for class in carteiro::domain::area::CalendarClass::all() {
        let expect = plan.count * u64::from(class.share_per_mille()) / 1000;
        let found = by_state[usize::from(class.index())];
        assert!(found > expect / 2 && found < expect * 3 / 2, "{class}: {found}, not about {expect}");
    }
}
