//! Records of every shape, against the csv crate too.

use proptest::prelude::*;

use super::*;

/// Gives at most `step` bytes at a time.
struct Slow<'a> {
    rest: &'a [u8],
    step: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.step.min(self.rest.len()).min(buffer.len());
        buffer[..bytes].copy_from_slice(&self.rest[..bytes]);
        self.rest = &self.rest[bytes..];
        Ok(bytes)
    }
}

type Seen = (u64, Option<Fault>, Vec<String>);

fn read_all(input: &[u8], step: usize) -> Vec<Seen> {
    let mut records = Records::new(Slow { rest: input, step });
    let mut seen = Vec::new();
    while let Some(record) = records.next_record().unwrap() {
        let bytes = records.bytes(&record);
        let fields = records
            .spans()
            .iter()
            .map(|(from, to)| String::from_utf8_lossy(&bytes[*from as usize..*to as usize]).into_owned());
        seen.push((record.line, record.fault, fields.collect()));
    }
    assert_eq!(records.bytes_read(), input.len() as u64);
    seen
}

fn check(input: &str, expect: &[(u64, &[&str])]) {
    let expect: Vec<Seen> = expect
        .iter()
        .map(|(line, fields)| (*line, None, fields.iter().map(|f| (*f).to_owned()).collect()))
        .collect();
    for step in [1, 3, usize::MAX] {
        assert_eq!(read_all(input.as_bytes(), step), expect, "{input:?} by {step}");
    }
}

#[test]
fn records_and_their_lines() {
    check("", &[]);
    check("\n\r\n\r", &[]);
    check("a,b", &[(1, &["a", "b"])]);
    check("a,b\r\nc,d\n", &[(1, &["a", "b"]), (2, &["c", "d"])]);
    check("\n\na\n\nb", &[(3, &["a"]), (5, &["b"])]);
    check("a\rb\r\nc", &[(1, &["a"]), (2, &["b"]), (3, &["c"])]);
    check("\"a\n1\",b\nc,d", &[(1, &["a\n1", "b"]), (3, &["c", "d"])]);
    check("\"a\r\n1\"\r\n\r\nb", &[(1, &["a\r\n1"]), (4, &["b"])]);
    check("\"a \"\"x\"\"\",\"b\"", &[(1, &["a \"x\"", "b"])]);
    check("a\"b\",c\n,\n", &[(1, &["a\"b\"", "c"]), (2, &["", ""])]);
}

#[test]
fn an_open_quote_costs_its_own_line_only() {
    for step in [1, usize::MAX] {
        assert_eq!(
            read_all(b"a,b\nc,\"d\ne,f\ng,h", step),
            [
                (1, None, vec!["a".into(), "b".into()]),
                (2, Some(Fault::UnclosedQuote), vec!["c,\"d".into()]),
                (3, None, vec!["e".into(), "f".into()]),
                (4, None, vec!["g".into(), "h".into()]),
            ]
        );
    }
    let long = format!("\"a\n{}", "b,c\n".repeat(RECORD_MAX_BYTES));
    let seen = read_all(long.as_bytes(), usize::MAX);
    assert_eq!(seen.len(), 1 + RECORD_MAX_BYTES);
    assert_eq!(seen[0].1, Some(Fault::UnclosedQuote));
    assert!(seen[1..].iter().all(|(_, fault, fields)| fault.is_none() && fields.len() == 2));
    assert_eq!(seen.last().unwrap().0, 1 + RECORD_MAX_BYTES as u64);
}

#[test]
fn an_open_quote_does_not_swallow_the_lines_up_to_the_next_quote() {
    let seen = read_all(b"a,\"b,1\nc,d,2\ne,\"f\",3\ng,\"h\ni\",4\n", usize::MAX);
    let lines: Vec<_> = seen.iter().map(|(line, fault, fields)| (*line, *fault, fields.len())).collect();
    let fault = Some(Fault::UnclosedQuote);
    assert_eq!(lines, [(1, fault, 1), (2, None, 3), (3, None, 3), (4, None, 3)]);
}

#[test]
fn an_endless_line_takes_no_memory_and_one_record() {
    let endless = io::repeat(b'x').take(50 << 20).chain(&b"\na,b\n"[..]);
    let mut records = Records::new(endless);
    let record = records.next_record().unwrap().unwrap();
    assert_eq!((record.line, record.fault), (1, Some(Fault::TooLong)));
    assert_eq!(records.bytes(&record).len(), SHOWN_BYTES);
    let record = records.next_record().unwrap().unwrap();
    assert_eq!((record.line, record.fault, records.spans().len()), (2, None, 2));
    assert_eq!(records.next_record().unwrap(), None);
    assert_eq!(records.buffer.len(), BUFFER_BYTES);
}

#[test]
fn the_longest_record_is_still_one() {
    let line = |bytes: usize| format!("{}\nz", "x".repeat(bytes - 1));
    assert_eq!(read_all(line(RECORD_MAX_BYTES).as_bytes(), 5000)[0].1, None);
    let over = read_all(line(RECORD_MAX_BYTES + 1).as_bytes(), 5000);
    assert_eq!(over[0].1, Some(Fault::TooLong));
    assert_eq!(over[1], (2, None, vec!["z".into()]));
}

#[test]
fn looking_ahead_moves_nothing() {
    let mut records = Records::new(&b"\na,b\nc,d\n"[..]);
    let ahead = records.peek().unwrap().unwrap();
    let read = records.next_record().unwrap().unwrap();
    assert_eq!(ahead, read);
    assert_eq!(read.line, 2);
}

/// What csv-core itself makes of all of it at once.
fn by_csv(input: &[u8]) -> Vec<Vec<Vec<u8>>> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(input)
        .byte_records()
        .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
        .collect()
}

proptest! {
    #[test]
    fn it_cuts_as_csv_does(
        rows in proptest::collection::vec("([ab ]{0,3}|\"([ab,\n\r]|\"\"){0,5}\")(,([ab ]{0,3}|\"[ab,\n]{0,5}\")){0,4}", 0..20),
        line_end in proptest::sample::select(vec!["\n", "\r\n", "\r"]),
        step in 1_usize..9,
    ) {
        let input = rows.join(line_end);
        let seen = read_all(input.as_bytes(), step);
        prop_assert!(seen.iter().all(|(_, fault, _)| fault.is_none()));
        let fields: Vec<Vec<Vec<u8>>> = seen
            .into_iter()
            .map(|(_, _, fields)| fields.into_iter().map(String::into_bytes).collect())
            .collect();
        prop_assert_eq!(fields, by_csv(input.as_bytes()));
    }

    #[test]
    fn nothing_makes_it_panic_and_lines_ascend(
        input in proptest::collection::vec(proptest::sample::select(b"a,\"\n\r\xc3;".to_vec()), 0..200),
        step in 1_usize..9,
    ) {
        let seen = read_all(&input, step);
        prop_assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
    }
}
