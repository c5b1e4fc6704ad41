//! Twelve files that nobody should send: each ends in a clear error or in exact rejects, within bounded memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::io::{self, Cursor, Read, Write};
use std::rc::Rc;

use carteiro::domain::campaign::Campaign;
use carteiro::intake::campaign_file;
use carteiro::intake::csv::RowReader;
use carteiro::intake::row::Outcome;
use carteiro::intake::rows::{InputFormat, InputOptions, RowSource};
use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Workbook};

const CAMPAIGN: &str = r#"
id = "a"
account = "1"
[template]
name = "a"
language = "pt_BR"
body = "Olá {{nome}}, {{valor}} até {{data}}"
[columns]
phone = "telefone"
[columns.variables]
nome = { column = "nome", format = "first_name" }
valor = { column = "valor", format = "brl" }
data = { column = "data", format = "date" }
"#;

const HEADER: &str = "telefone;nome;valor;data\n";
const GOOD: &str = "11987654321;MARIA LIMA;1.234,56;10/12/2026\n";

/// What a reader keeps in memory at most: the beginning, its decoded form, and one buffer.
const READ_AHEAD_MAX: u64 = 512 * 1024;

/// What this whole test may ever hold.
const PEAK_MAX_BYTES: u64 = 256 << 20;

fn campaign() -> Campaign {
    campaign_file::parse(CAMPAIGN, "c.toml").unwrap()
}

/// Rows and rejects of an input, one text each: `line values` or `line code column`.
fn read_with(input: impl Read + Send + 'static, options: &InputOptions) -> Result<Vec<String>, String> {
    let mut source =
        RowSource::from_reader(Box::new(input), &campaign(), options).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    while let Some(outcome) = source.next_row().map_err(|error| error.to_string())? {
        found.push(match outcome {
            Outcome::Row(row) => format!("{} {}", row.line, row.values.iter().collect::<Vec<_>>().join("|")),
            Outcome::Reject(reject) => {
                format!("{} {} {}", reject.line, reject.reason_code(), reject.column.unwrap_or("-"))
            }
        });
    }
    assert!(peak_bytes() < PEAK_MAX_BYTES, "{} bytes", peak_bytes());
    Ok(found)
}

fn read(input: impl Into<Vec<u8>>) -> Result<Vec<String>, String> {
    read_with(Cursor::new(input.into()), &InputOptions::default())
}

fn rows(input: impl Into<Vec<u8>>) -> Vec<String> {
    read(input).unwrap()
}

/// The most memory that this process ever held.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn good(line: u64) -> String {
    format!("{line} Maria|R$\u{a0}1.234,56|10/12/2026")
}

#[test]
fn wrong_encoding() {
    let latin = [HEADER.as_bytes(), b"11987654321;JO\xc3O;15,00;10/12/2026\n"].concat();
    assert_eq!(rows(latin), ["2 João|R$\u{a0}15,00|10/12/2026"]);
    let utf16: Vec<u8> = HEADER.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(
        read([&b"\xff\xfe"[..], &utf16].concat()).unwrap_err(),
        "the file is UTF-16; save it as \"CSV UTF-8\""
    );
    // UTF-8 for longer than is looked at, and then no more: each such row, and no other.
    let mut late = format!("{HEADER}{}", "11987654321;JOÃO;15,00;10/12/2026\n".repeat(4_000)).into_bytes();
    late.extend(b"11987654321;JO\xc3O;15,00;10/12/2026\n");
    late.extend(GOOD.as_bytes());
    let found = rows(late);
    assert_eq!(found.len(), 4_002);
    assert_eq!(found[4_000..], ["4002 not_utf8 -".to_owned(), good(4_003)]);
}

#[test]
fn mixed_delimiters() {
    let input =
        format!("{HEADER}{GOOD}11987654321,MARIA,15.00,10/12/2026\n11987654321\tMARIA\t15\t1\n{GOOD}");
    let expect = [good(2), "3 wrong_field_count -".into(), "4 wrong_field_count -".into(), good(5)];
    assert_eq!(rows(input), expect);
}

#[test]
fn nul_bytes() {
    let refused = read(format!("tele\0fone;nome\n{GOOD}")).unwrap_err();
    assert!(refused.starts_with("the first line holds zero bytes"), "{refused}");
    let input =
        format!("{HEADER}{GOOD}11987\0654321;M;1,00;10/12/2026\n11987654321;MA\0RIA;1,00;10/12/2026\n{GOOD}");
    let expect = [good(2), "3 phone_character telefone".into(), "4 value_control nome".into(), good(5)];
    assert_eq!(rows(input), expect);
}

/// Counts what was asked of it.
struct Counted<R>(R, Rc<Cell<u64>>);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.set(self.1.get() + read as u64);
        Ok(read)
    }
}

#[test]
fn one_line_of_a_gigabyte() {
    let endless = || io::repeat(b'x').take(1 << 30);
    let input =
        Cursor::new(format!("{HEADER}{GOOD}")).chain(endless()).chain(Cursor::new(format!("\n{GOOD}")));
    let found = read_with(input, &InputOptions::default()).unwrap();
    assert_eq!(found, [good(2), "3 record_too_long -".into(), good(4)]);
    let refused = read_with(endless(), &InputOptions::default()).unwrap_err();
    assert!(refused.starts_with("the header is longer than 65536 bytes"), "{refused}");
    let ndjson =
        "{\"telefone\":\"11987654321\",\"nome\":\"MARIA\",\"valor\":1234.56,\"data\":\"10/12/2026\"}\n";
    let input = Cursor::new(ndjson).chain(endless()).chain(Cursor::new(format!("\n{ndjson}")));
    let found = read_with(input, &InputOptions::default()).unwrap();
    assert_eq!(found, [good(1), "2 record_too_long -".into(), good(3)]);

    let taken = Rc::new(Cell::new(0));
    let input = Counted(Cursor::new(format!("{HEADER}{GOOD}")).chain(endless()), taken.clone());
    let mut reader = RowReader::new(input, &campaign()).unwrap();
    assert!(matches!(reader.next_row().unwrap(), Some(Outcome::Row(_))));
    assert!(taken.get() <= READ_AHEAD_MAX, "{} bytes were read for one row", taken.get());
}

#[test]
fn truncated_quotes() {
    let input = format!("{HEADER}{GOOD}11987654321;\"MARIA;1,00;10/12/2026\n{GOOD}{GOOD}11987654321;\"MA");
    let expect = [good(2), "3 unclosed_quote -".into(), good(4), good(5), "6 unclosed_quote -".into()];
    assert_eq!(rows(input), expect);
}

#[test]
fn header_twice() {
    let input = format!("{HEADER}{GOOD}{HEADER}{GOOD}");
    assert_eq!(rows(input), [good(2), "3 phone_letters telefone".into(), good(4)]);
}

#[test]
fn ten_thousand_columns() {
    let names: Vec<String> = (0..10_000).map(|at| format!("c{at}")).collect();
    let refused = read(names.join(";") + "\n").unwrap_err();
    assert_eq!(refused, "the header has 10000 columns, more than 1000");
    let keys: Vec<String> = names.iter().map(|name| format!("\"{name}\":1")).collect();
    let refused = read_with(
        Cursor::new(format!("{{{}}}\n", keys[..5_000].join(","))),
        &InputOptions { format: Some(InputFormat::Ndjson), ..InputOptions::default() },
    );
    assert_eq!(refused.unwrap_err(), "the header has 5000 columns, more than 1000");
    let wide = format!("{HEADER}{GOOD}{}\n{GOOD}", ";".repeat(10_000));
    assert_eq!(rows(wide), [good(2), "3 wrong_field_count -".into(), good(4)]);
}

#[test]
fn empty_and_only_a_header() {
    let empty = "the file is empty; its first line names the columns";
    for input in ["", "\n\n\r\n", "\u{feff}", "   "] {
        let refused = read(input).unwrap_err();
        assert!(refused == empty || input == "   ", "{refused}");
    }
    assert_eq!(rows(HEADER), Vec::<String>::new());
    assert_eq!(rows(HEADER.trim_end()), Vec::<String>::new());
}

#[test]
fn line_ends_of_every_kind() {
    let (row, header) = (GOOD.trim_end(), HEADER.trim_end());
    let input = format!("{header}\r\n{row}\r{row}\n{row}\r\n\r\n{row}");
    assert_eq!(rows(input), [good(2), good(3), good(4), good(6)]);
}

#[test]
fn columns_of_the_same_name() {
    let refused = read(format!("telefone;nome;valor;data;Nome\n{GOOD}")).unwrap_err();
    assert_eq!(
        refused,
        "the file has the column `nome` more than once, and it is needed for columns.variables.nome; rename one"
    );
    let others = format!("telefone;nome;valor;data;obs;obs\n{}", GOOD.replace('\n', ";a;b\n"));
    assert_eq!(rows(others), [good(2)]);
    let keys = "{\"telefone\":\"11987654321\",\"nome\":\"MARIA\",\"valor\":\"1.234,56\",\"data\":\"2026-12-10\"}\n\
                {\"telefone\":\"11987654321\",\"nome\":\"MARIA\",\"nome\":\"ANA\",\"valor\":\"1,00\",\"data\":\"2026-12-10\"}\n";
    assert_eq!(rows(keys), [good(1), "2 key_twice nome".into()]);
}

fn saved(write: impl FnOnce(&mut rust_xlsxwriter::Worksheet)) -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (column, name) in (0..).zip(["telefone", "nome", "valor", "data"]) {
        sheet.write(0, column, name).unwrap();
    }
    write(sheet);
    book.save_to_buffer().unwrap()
}

/// The archive with one part of it changed.
fn changed(archive: &[u8], part: &str, change: impl Fn(String) -> String) -> Vec<u8> {
    let mut from = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for at in 0..from.len() {
        let mut entry = from.by_index(at).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        to.start_file(&name, zip::write::SimpleFileOptions::default()).unwrap();
        to.write_all(if name == part { change(text) } else { text }.as_bytes()).unwrap();
    }
    to.finish().unwrap().into_inner()
}

#[test]
fn spreadsheets_with_formulas() {
    let date = Format::new().set_num_format("dd/mm/yyyy");
    let book = saved(|sheet| {
        let day = ExcelDateTime::from_ymd(2026, 12, 10).unwrap();
        // Typed cells, a formula with its result, one without, an error, a phone that lost its digits.
        for row in 1..=4 {
            sheet.write(row, 0, 11_987_654_321.0).unwrap();
            sheet.write(row, 1, "MARIA LIMA").unwrap();
            sheet.write(row, 2, 1_234.56).unwrap();
            sheet.write_with_format(row, 3, &day, &date).unwrap();
        }
        sheet.write(2, 2, Formula::new("=1000+234.56").set_result("1234.56")).unwrap();
        sheet.write(3, 2, Formula::new("=B9*2").set_result("7777")).unwrap();
        sheet.write(4, 1, Formula::new("=NOW()").set_result("#N/A")).unwrap();
        sheet.write(6, 0, "5,51199E+12").unwrap();
    });
    let book = changed(&book, "xl/worksheets/sheet1.xml", |text| {
        assert!(text.contains("<v>7777</v>"));
        text.replace("<v>7777</v>", "")
    });
    let found = rows(book);
    assert_eq!(found[..3], [good(2), good(3), "4 formula_without_result valor".to_owned()]);
    assert!(found[3] == "5 cell_error nome" || found[3] == "5 name_character nome", "{}", found[3]);
    assert_eq!(found[4..], ["7 phone_spreadsheet telefone"]);
}

#[test]
fn spreadsheets_that_unpack_without_end() {
    let book = saved(|sheet| {
        sheet.write(1, 1, "MARIA").unwrap();
    });
    let long = changed(&book, "xl/sharedStrings.xml", |text| text.replace("MARIA", &"A".repeat(3 << 20)));
    assert!(long.len() < 100_000, "a small file: {} bytes", long.len());
    let refused = read(long).unwrap_err();
    assert!(refused.contains("the length of a text in bytes is beyond the bound of 1048576"), "{refused}");
    let claims = changed(&book, "xl/sharedStrings.xml", |text| {
        assert!(text.contains("uniqueCount=\"5\""), "{text}");
        text.replace("uniqueCount=\"5\"", "uniqueCount=\"99999999999999\"")
    });
    let refused = read(claims).unwrap_err();
    assert!(
        refused.contains("the count of texts that it claims is beyond the bound of 8000000"),
        "{refused}"
    );
    for cut in [4, 100, book.len() / 2, book.len() - 4] {
        let refused = read(book[..cut].to_vec()).unwrap_err();
        assert!(refused.starts_with("the spreadsheet cannot be read: "), "cut at {cut}: {refused}");
    }
}

#[test]
fn sheets_by_name() {
    let mut book = Workbook::new();
    book.add_worksheet().set_name("Resumo").unwrap().write(0, 0, "total").unwrap();
    let sheet = book.add_worksheet().set_name("Base").unwrap();
    for (column, (name, value)) in (0..).zip([
        ("telefone", "11987654321"),
        ("nome", "MARIA"),
        ("valor", "1.234,56"),
        ("data", "10/12/2026"),
    ]) {
        sheet.write(0, column, name).unwrap();
        sheet.write(1, column, value).unwrap();
    }
    let book = book.save_to_buffer().unwrap();
    let named = |name: &str| InputOptions { sheet: Some(name.to_owned()), ..InputOptions::default() };
    assert_eq!(read_with(Cursor::new(book.clone()), &named("Base")).unwrap(), [good(2)]);
    let refused = read_with(Cursor::new(book.clone()), &named("Dados")).unwrap_err();
    assert_eq!(refused, "the spreadsheet has no sheet `Dados`; it has: Resumo, Base");
    let first = read(book).unwrap_err();
    assert!(first.starts_with("the file has no column `telefone`"), "{first}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, format!("{HEADER}{GOOD}")).unwrap();
    let refused = RowSource::open(&path, &campaign(), &named("Base")).unwrap_err();
    assert_eq!(refused.to_string(), "--sheet does not apply to csv");
    let opened = RowSource::open(&path, &campaign(), &InputOptions::default()).unwrap();
    assert_eq!((opened.format(), opened.rows_expected()), (InputFormat::Csv, Some(2)));
}

#[test]
fn ndjson_of_every_kind() {
    let first =
        "{\"telefone\":11987654321,\"nome\":\"MARIA\",\"valor\":1234.56,\"data\":\"2026-12-10\",\"x\":null}";
    let lines = [
        first,
        "",
        "not json",
        "[1]",
        "{\"telefone\":[1]}",
        "{\"telefone\":{\"a\":[{}]}}",
        "{\"telefone\":5.51199E+12}",
        "{\"telefone\":5511987654321.0,\"data\":\"2026-12-10\",\"nome\":\"MARIA\",\"valor\":1234.56,\"novo\":[1,2]}",
        "{\"nome\":\"sem telefone\"}",
        "{\"telefone\":\"11987654321\",\"nome\":\"MARIA\",\"valor\":true,\"data\":\"2026-12-10\"}",
        first,
    ];
    let expect = [
        good(1),
        "3 not_json -".into(),
        "4 not_json -".into(),
        "5 value_nested telefone".into(),
        "6 value_nested telefone".into(),
        "7 phone_spreadsheet telefone".into(),
        good(8),
        "9 phone_empty telefone".into(),
        "10 amount_invalid valor".into(),
        good(11),
    ];
    assert_eq!(rows(lines.join("\n")), expect);
    assert_eq!(rows(lines.join("\r\n")), expect);
    let list = read(format!("[{first}]")).unwrap_err();
    assert_eq!(list, "the file is one JSON array; write one object per line (NDJSON)");
    let forced = InputOptions { format: Some(InputFormat::Ndjson), ..InputOptions::default() };
    let none = read_with(Cursor::new("telefone;nome\n"), &forced).unwrap_err();
    assert_eq!(
        none,
        "line 1 is no JSON object; NDJSON has one object per line, and the first one names the columns"
    );
}
