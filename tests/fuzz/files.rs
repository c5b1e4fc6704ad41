//! Files of a creditor: recipients as CSV and NDJSON, and campaigns.

use std::io::Cursor;

use carteiro::domain::campaign::Campaign;
use carteiro::intake::campaign_file;
use carteiro::intake::csv::stops::{StopColumns, StopOutcome, StopReader, StopWho};
use carteiro::intake::row::Outcome;
use carteiro::intake::rows::{InputFormat, InputOptions, RowSource};
use carteiro::policy::stop_words::{StopWords, TEXT_MAX_BYTES};
use proptest::prelude::*;

use crate::mutate::{bends, bent, cut, cut_bytes, cuts};

const CAMPAIGNS: [&str; 3] = [
    include_str!("../../config/campaigns/segunda-via.toml"),
    include_str!("../../config/campaigns/vence-hoje.toml"),
    include_str!("../../config/campaigns/lembrete-vencimento.toml"),
];

const WORDS: &str = include_str!("../../config/stop_words.toml");

const CSV: &str = "\
contrato;cliente;nome;telefone;valor;vencimento;produto;linha_digitavel
C-1;D-1;Ana Souza;(11) 98765-4321;150,75;10/12/2026;Cartão;00190000090123456700400000101170816560000015075
C-2;D-2;\"José \"\"Zé\"\"; Lima\";+55 21 99876-5432;99,90;11/12/2026;\"Conta\nde luz\";00190000090123456700400000101170816560000015075
C-3;D-3;Rui;123;0;31/02/2026;;
";

fn campaign() -> Campaign {
    campaign_file::parse(CAMPAIGNS[1], "vence-hoje.toml").unwrap()
}

/// Reads all rows; how many. Every record is a row or a reject, whatever it holds.
fn read(bytes: Vec<u8>, format: Option<InputFormat>) -> usize {
    let (campaign, bound) = (campaign(), bytes.len() + 2);
    let options = InputOptions { format, ..InputOptions::default() };
    let Ok(mut source) = RowSource::from_reader(Box::new(Cursor::new(bytes)), &campaign, &options) else {
        return 0;
    };
    let mut rows = 0;
    loop {
        match source.next_row() {
            Ok(Some(Outcome::Row(row))) => {
                assert!(row.values.iter().all(|value| value.len() <= 1_024 * 64));
                rows += 1;
            }
            Ok(Some(Outcome::Reject(reject))) => {
                assert!(!reject.reason_code().is_empty() && reject.reason().len() < 4_096);
                rows += 1;
            }
            Ok(None) | Err(_) => return rows,
        }
        assert!(rows <= bound, "more rows than bytes");
    }
}

fn ndjson() -> serde_json::Value {
    serde_json::json!({"contrato": "C-1", "cliente": 7, "nome": "Ana", "linha_digitavel": "00190000090123456700400000101170816560000015075", "telefone": "11987654321",
        "valor": "150,75", "vencimento": "10/12/2026", "produto": "Cartão"})
}

const STOPS: &str = "\
nome;TELEFONE;cadastro;contrato
Ana;(11) 98765-4321;10/12/2025;C-1
\"José \"\"Zé\"\"; Lima\";+55 21 99876-5432;2026-01-31;C-2
Rui;123;31/02/2026;
";

/// Reads all stops of people, with their days, and of debts. Every record is a stop or a reject, whatever it holds.
fn read_stops(bytes: &[u8]) -> usize {
    let people = StopColumns {
        day: Some("cadastro".to_owned()),
        may_begin_later: true,
        days_after: 30,
        ..StopColumns::default()
    };
    let debts = StopColumns { debts: true, ..StopColumns::default() };
    let mut all = 0;
    for columns in [people, debts] {
        let Ok(mut reader) = StopReader::new(bytes, None, &columns) else { continue };
        let mut rows = 0;
        while let Ok(Some(row)) = reader.next_row() {
            rows += 1;
            match row {
                StopOutcome::Stop(StopWho::Debt(reference), _) => assert!(!reference.is_empty()),
                StopOutcome::Stop(StopWho::Person(person), _) => assert!(person.0 < 10_000_000_000),
                StopOutcome::Reject(reject) => {
                    assert!(!reject.reason_code().is_empty() && reject.reason().len() < 4_096);
                }
            }
            assert!(rows <= bytes.len() + 2, "more rows than bytes");
        }
        all += rows;
    }
    all
}

#[test]
fn the_seeds_are_read() {
    assert_eq!(read_stops(STOPS.as_bytes()), 6);
    assert_eq!(read(CSV.as_bytes().to_vec(), None), 3);
    assert_eq!(read(format!("{}\n{}", ndjson(), ndjson()).into_bytes(), None), 2);
    CAMPAIGNS.iter().for_each(|text| drop(campaign_file::parse(text, "c.toml").unwrap()));
}

#[test]
fn endless_lines_cells_and_depths_are_refused() {
    let megabytes = 8 << 20;
    let header = CSV.lines().next().unwrap();
    for row in [
        "x".repeat(megabytes),
        "\"".repeat(megabytes),
        ";".repeat(megabytes),
        "\n".repeat(megabytes),
        "\"x\n".repeat(megabytes / 3),
    ] {
        read(format!("{header}\n{row}").into_bytes(), None);
        read(row.into_bytes(), Some(InputFormat::Csv));
    }
    for open in ["[", "{\"a\":", "{\"a\":\""] {
        read(
            format!("{{\"telefone\":1}}\n{}", open.repeat(megabytes / 8)).into_bytes(),
            Some(InputFormat::Ndjson),
        );
    }
    for open in ["a = [", "[a.", "a = {a = "] {
        assert!(campaign_file::parse(&open.repeat(10_000), "c.toml").is_err());
    }
    crate::memory_stayed_small();
}

proptest! {
    #[test]
    fn a_cut_csv_ends(cuts in cuts()) {
        read(cut(CSV, &cuts).into_bytes(), None);
        read(cut_bytes(CSV.as_bytes(), &cuts), Some(InputFormat::Csv));
    }

    #[test]
    fn cut_stops_end(cuts in cuts()) {
        read_stops(cut(STOPS, &cuts).as_bytes());
        read_stops(&cut_bytes(STOPS.as_bytes(), &cuts));
    }

    #[test]
    fn any_words_and_any_table_of_them_end(text in ".{0,300}", cuts in cuts()) {
        let builtin = StopWords::builtin();
        prop_assert!(builtin.ask(&text).is_none() || text.len() <= TEXT_MAX_BYTES);
        if let Ok(words) = StopWords::parse(&cut(WORDS, &cuts)) {
            prop_assert!(words.ask(&text).is_none() || text.len() <= TEXT_MAX_BYTES);
        }
    }

    #[test]
    fn any_cells_end(cells in prop::collection::vec(".{0,30}", 8)) {
        let quoted: Vec<String> = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
        let text = format!("{}\n{}\n", CSV.lines().next().unwrap(), quoted.join(";"));
        prop_assert_eq!(read(text.into_bytes(), Some(InputFormat::Csv)), 1);
    }

    #[test]
    fn a_bent_ndjson_ends(bends in bends(), cuts in cuts()) {
        let text = format!("{}\n{}\n{}\n", ndjson(), bent(ndjson(), &bends), ndjson());
        read(text.clone().into_bytes(), Some(InputFormat::Ndjson));
        read(cut_bytes(text.as_bytes(), &cuts), Some(InputFormat::Ndjson));
    }

    #[test]
    fn a_cut_campaign_is_refused_or_whole(which in 0usize..3, cuts in cuts()) {
        if let Ok(campaign) = campaign_file::parse(&cut(CAMPAIGNS[which], &cuts), "c.toml") {
            prop_assert!(!campaign.id.is_empty() && !campaign.template.name.is_empty());
        }
    }
}
