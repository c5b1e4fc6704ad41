//! Where the rows of a report go: CSV as it is, or CSV as a Brazilian Excel opens it without asking. Parquet has a file of
//! its own.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// A column of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, unlike any other's.
    pub name: String,
    /// What is in it.
    pub kind: Kind,
}

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Whole numbers.
    Number,
    /// Instants.
    Time,
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Nothing.
    Empty,
    /// Text.
    Text(&'a str),
    /// A number.
    Number(u64),
    /// An instant, in wall ms.
    Time(u64),
}

/// A format of reports.
pub trait Sink {
    /// Takes the columns; called once, first.
    fn columns(&mut self, columns: &[Column]) -> io::Result<()>;

    /// Takes a row with one cell per column.
    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()>;

    /// Writes what is left; called once, last.
    fn finish(&mut self) -> io::Result<()>;
}

/// CSV: commas, UTF-8, times as RFC 3339 in UTC.
#[derive(Debug)]
pub struct CsvSink<W: Write> {
    out: csv::Writer<W>,
    text: String,
}

/// CSV for a Brazilian Excel: semicolons, a byte order mark, times of São Paulo as `dd/mm/aaaa HH:MM:SS`, and no cell that
/// Excel would take for a formula.
#[derive(Debug)]
pub struct ExcelSink<W: Write> {
    out: csv::Writer<W>,
    zone: TimeZone,
    text: String,
}

impl<W: Write> CsvSink<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out: csv::Writer::from_writer(out), text: String::new() }
    }
}

impl<W: Write> Sink for CsvSink<W> {
    fn columns(&mut self, columns: &[Column]) -> io::Result<()> {
        self.out.write_record(columns.iter().map(|column| &column.name)).map_err(io_error)
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        for cell in cells {
            let field = plain(cell, &mut self.text, |ms| format!("{:.3}", instant(ms)));
            self.out.write_field(field).map_err(io_error)?;
        }
        self.out.write_record(None::<&[u8]>).map_err(io_error)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> ExcelSink<W> {
    /// Writes to `out`, the byte order mark first.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(b"\xef\xbb\xbf")?;
        let mut builder = csv::WriterBuilder::new();
        builder.delimiter(b';').terminator(csv::Terminator::CRLF);
        // Brasília time has had no summer time since 2019: where the system has no table of zones, three hours will do.
        let fixed = || Offset::from_hours(-3).map_or(TimeZone::UTC, TimeZone::fixed);
        let zone = TimeZone::get("America/Sao_Paulo").unwrap_or_else(|_| fixed());
        Ok(Self { out: builder.from_writer(out), zone, text: String::new() })
    }

    fn field(&mut self, text: &str) -> io::Result<()> {
        if !is_formula(text) {
            return self.out.write_field(text).map_err(io_error);
        }
        self.text.clear();
        self.text.push('\'');
        self.text.push_str(text);
        self.out.write_field(&self.text).map_err(io_error)
    }
}

impl<W: Write> Sink for ExcelSink<W> {
    fn columns(&mut self, columns: &[Column]) -> io::Result<()> {
        for column in columns {
            self.field(&column.name)?;
        }
        self.out.write_record(None::<&[u8]>).map_err(io_error)
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        for cell in cells {
            if let Cell::Text(text) = cell {
                self.field(text)?;
                continue;
            }
            let zone = self.zone.clone();
            let local = |ms| instant(ms).to_zoned(zone).strftime("%d/%m/%Y %H:%M:%S").to_string();
            let field = plain(cell, &mut self.text, local);
            self.out.write_field(field).map_err(io_error)?;
        }
        self.out.write_record(None::<&[u8]>).map_err(io_error)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether Excel, or what else opens it, would calculate: also after a tab or a carriage return.
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

fn plain<'a>(cell: &Cell<'a>, text: &'a mut String, time: impl FnOnce(u64) -> String) -> &'a str {
    match cell {
        Cell::Empty => "",
        Cell::Text(text) => text,
        Cell::Number(number) => {
            *text = number.to_string();
            text
        }
        Cell::Time(ms) => {
            *text = time(*ms);
            text
        }
    }
}

fn instant(ms: u64) -> Timestamp {
    i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        [("a", Kind::Text), ("=b", Kind::Number), ("c", Kind::Time), ("d", Kind::Text)]
            .map(|(name, kind)| Column { name: name.to_owned(), kind })
            .to_vec()
    }

    fn written(sink: &mut dyn Sink) {
        sink.columns(&columns()).unwrap();
        sink.row(&[Cell::Text("=1+1"), Cell::Number(7), Cell::Time(1_795_000_000_123), Cell::Empty]).unwrap();
        sink.row(&[Cell::Text("x;\"y\""), Cell::Empty, Cell::Empty, Cell::Text("+5511")]).unwrap();
        sink.finish().unwrap();
    }

    #[test]
    fn csv_is_left_as_it_is() {
        let mut out = Vec::new();
        written(&mut CsvSink::new(&mut out));
        let expect = "a,=b,c,d\n=1+1,7,2026-11-18T11:06:40.123Z,\n\"x;\"\"y\"\"\",,,+5511\n";
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn excel_gets_what_it_expects_and_no_formula() {
        let mut out = Vec::new();
        written(&mut ExcelSink::new(&mut out).unwrap());
        let expect = "\u{feff}a;'=b;c;d\r\n'=1+1;7;18/11/2026 08:06:40;\r\n\"x;\"\"y\"\"\";;;'+5511\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expect);
        for text in ["=", "+1", "-1", "@x", "\tx", "\rx"] {
            assert!(is_formula(text), "{text:?}");
        }
        assert!(!is_formula("") && !is_formula("a=1") && !is_formula(" x"));
    }
}
