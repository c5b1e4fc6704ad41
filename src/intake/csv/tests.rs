//! Recipients files as people export them.

use std::io;

use super::*;
use crate::intake::campaign_file;

const CAMPAIGN: &str = r#"id = "a"
account = "1"
[template]
name = "a"
language = "pt_BR"
body = "Olá {{nome}}, R$ {{valor}}"
[columns]
phone = "telefone"
ref = "contrato"
debtor = "cliente"
[columns.variables]
nome = "nome"
valor = "valor"
"#;

fn campaign(dedup: &str) -> Campaign {
    campaign_file::parse(
        &CAMPAIGN.replacen("[template]", &format!("dedup = \"{dedup}\"\n[template]"), 1),
        "c.toml",
    )
    .unwrap()
}

/// One line per outcome: `line key person-state ref debtor values` or `line code reason`.
fn outcomes(input: &[u8], dedup: &str) -> Vec<String> {
    let campaign = campaign(dedup);
    let mut reader = RowReader::new(input, &campaign).unwrap();
    let mut seen = Vec::new();
    while let Some(outcome) = reader.next_row().unwrap() {
        seen.push(match outcome {
            Outcome::Row(row) => format!(
                "{} {} {} {} [{}] [{}] {:?}",
                row.line,
                row.phone.e164(),
                row.person.0,
                row.class,
                row.reference,
                row.debtor,
                row.values.iter().collect::<Vec<_>>()
            ),
            Outcome::Reject(reject) => {
                format!("{} {}: {}", reject.line, reject.reason_code(), reject.reason())
            }
        });
    }
    assert_eq!(reader.bytes_read(), input.len() as u64);
    seen
}

fn refused(input: &[u8]) -> String {
    RowReader::new(input, &campaign("person")).unwrap_err().to_string()
}

const GOOD_ROW: &str = "2 +5511987654321 1187654321 SP [c1] [77] [\"Zé\", \"1,50\"]";

#[test]
fn good_rows_under_every_delimiter() {
    for delimiter in [";", "\t", "|"] {
        let input = "contrato;cliente;nome;telefone;valor\nc1;77; Zé ;(11) 8765-4321;1,50\n";
        assert_eq!(outcomes(input.replace(';', delimiter).as_bytes(), "person"), [GOOD_ROW]);
    }
    let input = "\u{feff}Valor, NOME ,extra,Telefone,Cliente,Contrato\r\n\"1,50\",Zé,,11 98765-4321,77,c1";
    assert_eq!(outcomes(input.as_bytes(), "person"), [GOOD_ROW]);
    let quoted = "\"contrato, ou acordo\";cliente;contrato;nome;telefone;valor\n;77;c1;Zé;11987654321;1,50";
    assert_eq!(outcomes(quoted.as_bytes(), "person"), [GOOD_ROW]);
}

#[test]
fn bad_rows_are_rejected_by_line_and_column_and_reading_goes_on() {
    let input = b"contrato;cliente;nome;telefone;valor\n\
        c1;77;Z;1131234567;1\n\
        c1;77;Z;11987654321\n\
        c1;77;;11987654321;1\n\
        c1;77;Z\xe9;11987654321;1\n\
        \n\
        c1;77;\"a\nb\";11987654321;1\n\
        c1;77;\"Z;11987654321;1\n\
        c1;77;Z;11987654321;a     b\n\
        ;;;;\n\
        c1;77;Z\xc3\xa9;11987654321;1,50\n";
    assert_eq!(
        outcomes(input, "person"),
        [
            "2 phone_landline: telefone: the phone is a landline",
            "3 wrong_field_count: the line has 4 fields, the header has 5",
            "4 value_empty: nome: is empty",
            "5 not_utf8: the line is not UTF-8, as the beginning of the file is; if all of it is Windows-1252, load it with \
             --encoding windows-1252",
            "7 value_newline: nome: holds a line break",
            "9 unclosed_quote: a quote is opened on this line and not closed within 65536 bytes",
            "10 value_spaces: valor: holds more than 4 spaces in a row",
            "11 phone_empty: telefone: the phone is empty",
            "12 +5511987654321 1187654321 SP [c1] [77] [\"Zé\", \"1,50\"]",
        ]
    );
}

#[test]
fn keys_have_bounds() {
    let row =
        |contrato: &str| format!("contrato;cliente;nome;telefone;valor\n{contrato};7;Z;11987654321;1\n");
    let long = "é".repeat(129);
    assert_eq!(
        outcomes(row(&long).as_bytes(), "person"),
        ["2 key_too_long: contrato: is longer than 128 characters"]
    );
    assert_eq!(outcomes(row(&long[2..]).as_bytes(), "person").len(), 1);
    assert!(outcomes(row(&long[2..]).as_bytes(), "person")[0].starts_with("2 +55"));
    assert!(outcomes(row(" ").as_bytes(), "person")[0].starts_with("2 +55"));
    assert_eq!(
        outcomes(row(" ").as_bytes(), "person_ref"),
        ["2 reference_empty: contrato: is empty, and the campaign tells debts apart by it"]
    );
    assert_eq!(
        outcomes(row("\"a\nb\"").as_bytes(), "person"),
        ["2 key_control: contrato: holds a line break or another control character"]
    );
}

#[test]
fn a_character_torn_over_two_quoted_fields_is_no_text() {
    let input = b"contrato,cliente,nome,telefone,valor\n\"c\",7,\"Z\xc3\",\"\xa911987654321\",1\n";
    let campaign = campaign("person");
    let mut reader = RowReader::in_encoding(&input[..], Encoding::Utf8, &campaign).unwrap();
    let Some(Outcome::Reject(reject)) = reader.next_row().unwrap() else { panic!("a reject") };
    assert_eq!((reject.line, reject.reason_code()), (2, "not_utf8"));
}

#[test]
fn a_rejects_file_is_read_again_without_its_own_columns() {
    let input = b"contrato;cliente;nome;telefone;valor;line;reason_code;reason\n\
        c1;77;Z\xc3\xa9;11987654321;1,50;9;phone_landline;telefone: the phone is a landline\n";
    assert_eq!(outcomes(input, "person"), [GOOD_ROW]);
    let reader_campaign = campaign("person");
    let reader = RowReader::new(&input[..], &reader_campaign).unwrap();
    let layout = reader.layout();
    assert!(layout.is_rejects && !layout.bom);
    assert_eq!(layout.delimiter, b';');
    assert_eq!(layout.columns, ["contrato", "cliente", "nome", "telefone", "valor"]);
}

#[test]
fn files_that_cannot_be_read() {
    let empty = "the file is empty; its first line names the columns";
    assert_eq!(refused(b""), empty);
    assert_eq!(refused(b"\xef\xbb\xbf\r\n\n"), empty);
    let utf16 = "the file is UTF-16; save it as \"CSV UTF-8\"";
    assert_eq!(refused(b"\xff\xfet\0e\0l\0"), utf16);
    assert_eq!(refused(b"t\0e\0l\0;\0"), utf16);
    assert!(refused(b"tel\0efone;valor").contains("zero bytes"));
    assert!(refused(b"PK\x03\x04abc").contains("spreadsheet"));
    let campaign = campaign("person");
    let refusal = RowReader::in_encoding(&b"n\xe3o;telefone"[..], Encoding::Utf8, &campaign).unwrap_err();
    assert!(refusal.to_string().contains("the header is not UTF-8"), "{refusal}");
    let long = "x".repeat(RECORD_MAX_BYTES + 1);
    for header in [long.clone(), format!("{long}\n"), "\"telefone\nx".into()] {
        assert!(
            refused(header.as_bytes()).contains("the header is longer than 65536 bytes"),
            "{}",
            header.len()
        );
    }
    assert_eq!(refused(";".repeat(1000).as_bytes()), "the header has 1001 columns, more than 1000");
}

#[test]
fn a_file_in_windows_1252_is_read_as_one() {
    let input = b"contrato;cliente;nome;telefone;valor\nc1;77;Z\xe9;11987654321;1,50\n";
    assert_eq!(outcomes(input, "person"), [GOOD_ROW]);
    let campaign = campaign("person");
    let reader = RowReader::new(&input[..], &campaign).unwrap();
    assert!(reader.layout().bom, "its rejects are UTF-8 and say so");
}

#[test]
fn a_header_without_rows_is_no_error() {
    assert!(outcomes(b"contrato;cliente;nome;telefone;valor", "person").is_empty());
}

#[test]
fn columns_that_are_missing_or_twice() {
    assert_eq!(
        refused(b"contrato;cliente;nome;telefones;valor\n"),
        "the file has no column `telefone`, which is needed for columns.phone; did you mean `telefones`? \
         it has: contrato, cliente, nome, telefones, valor"
    );
    assert_eq!(
        refused(b"contrato;cliente;nome;telefone;Nome;valor\n"),
        "the file has the column `nome` more than once, and it is needed for columns.variables.nome; rename one"
    );
    assert_eq!(
        refused(b"c1;77;Maria;(11) 98765-4321;1\n"),
        "line 1 looks like a recipient, not like a header (column 4 holds a phone); put the columns' names first"
    );
}

#[test]
fn a_source_that_fails_is_an_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let input = b"contrato;cliente;nome;telefone;valor\nc1;77;Z;11987654321;1\n".chain(Broken);
    assert!(matches!(RowReader::new(input, &campaign("person")), Err(InputError::Unreadable(_))));
}

#[test]
fn nothing_personal_prints_itself() {
    let input =
        b"contrato;cliente;nome;telefone;valor\nc1;77;Maria;11987654321;1\nc1;77;Maria;1131234567;1\n";
    let campaign = campaign("person");
    let mut reader = RowReader::new(&input[..], &campaign).unwrap();
    for _ in 0..2 {
        let printed = format!("{:?}", reader.next_row().unwrap().unwrap());
        assert!(
            !printed.contains("Maria") && !printed.contains("8765") && !printed.contains("3123"),
            "{printed}"
        );
    }
}
