//! A report as Parquet: every column optional, texts as UTF-8, times as milliseconds in UTC, Zstandard. Rows are gathered
//! column by column and written in groups, so memory does not grow with the report.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::sink::{Cell, Column, Kind, Sink};

/// Rows of a group.
const GROUP_ROWS: usize = 100_000;

/// Writes Parquet.
pub struct ParquetSink<W: Write + Send> {
    out: Option<W>,
    writer: Option<SerializedFileWriter<W>>,
    columns: Vec<Gathered>,
    rows: usize,
}

/// The values of a column that wait for their group.
struct Gathered {
    is_text: bool,
    /// 1 where there is a value, 0 where there is none.
    present: Vec<i16>,
    numbers: Vec<i64>,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl<W: Write + Send> std::fmt::Debug for ParquetSink<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetSink").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl<W: Write + Send> ParquetSink<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out: Some(out), writer: None, columns: Vec::new(), rows: 0 }
    }

    fn group(&mut self) -> io::Result<()> {
        let Some(writer) = self.writer.as_mut().filter(|_| self.rows > 0) else {
            return Ok(());
        };
        let mut group = writer.next_row_group().map_err(io_error)?;
        let mut gathered = self.columns.iter_mut();
        while let (Some(mut column), Some(values)) = (group.next_column().map_err(io_error)?, gathered.next())
        {
            let present = std::mem::take(&mut values.present);
            let written = if values.is_text {
                let texts = values.texts();
                column.typed::<ByteArrayType>().write_batch(&texts, Some(&present), None)
            } else {
                let numbers = std::mem::take(&mut values.numbers);
                column.typed::<Int64Type>().write_batch(&numbers, Some(&present), None)
            };
            written.and_then(|_| column.close()).map_err(io_error)?;
        }
        group.close().map_err(io_error)?;
        self.rows = 0;
        Ok(())
    }
}

impl<W: Write + Send> Sink for ParquetSink<W> {
    fn columns(&mut self, columns: &[Column]) -> io::Result<()> {
        let fields = columns.iter().map(|column| field(column).map(Arc::new)).collect::<Result<_, _>>();
        let schema = fields
            .and_then(|fields| Type::group_type_builder("report").with_fields(fields).build())
            .map_err(io_error)?;
        let compression = Compression::ZSTD(ZstdLevel::try_new(1).map_err(io_error)?);
        let properties = WriterProperties::builder().set_compression(compression).build();
        let out = self.out.take().ok_or_else(|| io::Error::other("the columns were given twice"))?;
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties));
        self.writer = Some(writer.map_err(io_error)?);
        self.columns = columns.iter().map(|column| Gathered::new(column.kind == Kind::Text)).collect();
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell);
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS { self.group() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.group()?;
        match self.writer.take() {
            Some(writer) => {
                let mut out = writer.into_inner().map_err(io_error)?;
                out.flush()
            }
            None => Ok(()),
        }
    }
}

impl Gathered {
    fn new(is_text: bool) -> Self {
        Self { is_text, present: Vec::new(), numbers: Vec::new(), text: Vec::new(), ends: Vec::new() }
    }

    fn push(&mut self, cell: &Cell<'_>) {
        // A cell of another kind than its column's, which no caller gives, is no value.
        let there = match cell {
            Cell::Text(text) if self.is_text => {
                self.text.extend_from_slice(text.as_bytes());
                self.ends.push(self.text.len());
                true
            }
            Cell::Number(number) | Cell::Time(number) if !self.is_text => {
                self.numbers.push(i64::try_from(*number).unwrap_or(i64::MAX));
                true
            }
            _ => false,
        };
        self.present.push(i16::from(there));
    }

    /// Takes the texts; they share one buffer.
    fn texts(&mut self) -> Vec<ByteArray> {
        let all = Bytes::from(std::mem::take(&mut self.text));
        let mut from = 0;
        let cut = |to: usize| ByteArray::from(all.slice(std::mem::replace(&mut from, to)..to));
        std::mem::take(&mut self.ends).into_iter().map(cut).collect()
    }
}

fn field(column: &Column) -> Result<Type, ParquetError> {
    let (physical, logical) = match column.kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Number => (Physical::INT64, None),
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
    };
    Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()
}

fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other.to_string()),
        },
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    #[test]
    fn what_is_written_is_read_with_its_types() {
        let names = [("text", Kind::Text), ("count", Kind::Number), ("at", Kind::Time)];
        let columns = names.map(|(name, kind)| Column { name: name.to_owned(), kind });
        let mut out = Vec::new();
        let mut sink = ParquetSink::new(&mut out);
        sink.columns(&columns).unwrap();
        let rows = GROUP_ROWS as u64 + 10;
        for at in 0..rows {
            let text = format!("=ação {at}");
            let time = if at % 2 == 0 { Cell::Time(1_795_000_000_000 + at) } else { Cell::Empty };
            sink.row(&[Cell::Text(&text), Cell::Number(at), time]).unwrap();
        }
        sink.finish().unwrap();
        drop(sink);
        let reader = SerializedFileReader::new(Bytes::from(out)).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let mut seen = 0;
        for (at, row) in reader.get_row_iter(None).unwrap().enumerate() {
            let row = row.unwrap();
            assert_eq!(row.get_string(0).unwrap(), &format!("=ação {at}"));
            assert_eq!(row.get_long(1).unwrap(), at as i64);
            if at % 2 == 0 {
                assert_eq!(row.get_timestamp_millis(2).unwrap(), 1_795_000_000_000 + at as i64);
            } else {
                assert!(row.get_timestamp_millis(2).is_err());
            }
            seen += 1;
        }
        assert_eq!(seen, rows);
    }
}
