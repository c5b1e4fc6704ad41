//! Recipients of any format that is read: CSV, NDJSON or XLSX, found by the file's beginning unless named.
//!
//! Whoever reads rows opens a [`RowSource`] and need not know which it is.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use super::csv::{InputError, Layout, RowReader};
use super::encoding::{Decoded, Encoding};
use super::guards::Guards;
use super::ndjson::NdjsonReader;
use super::row::Outcome;
use super::xlsx::XlsxReader;
use crate::domain::campaign::Campaign;

/// Largest XLSX that is taken from a source that cannot be read twice, such as standard input, in bytes.
pub const STREAMED_XLSX_MAX_BYTES: u64 = 64 << 20;

/// A format of recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// Text with one delimiter, which is found out.
    Csv,
    /// One JSON object per line.
    Ndjson,
    /// A spreadsheet.
    Xlsx,
}

/// What is said about an input; what is not said is found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// Its format.
    pub format: Option<InputFormat>,
    /// Encoding of its text.
    pub encoding: Option<Encoding>,
    /// Sheet of the spreadsheet.
    pub sheet: Option<String>,
}

type Source = Box<dyn Read + Send>;

/// The rows of one input for one campaign.
pub struct RowSource {
    reader: Format,
    size: Option<u64>,
}

enum Format {
    Csv(Box<RowReader<Source>>),
    Ndjson(Box<NdjsonReader<Source>>),
    Xlsx(Box<XlsxReader>),
}

impl InputFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Csv, Self::Ndjson, Self::Xlsx];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Xlsx => "xlsx",
        }
    }

    fn of(beginning: &[u8]) -> Self {
        let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning).trim_ascii_start();
        match text.first() {
            _ if beginning.starts_with(b"PK\x03\x04") => Self::Xlsx,
            Some(b'{') => Self::Ndjson,
            // A list of objects is refused by name.
            Some(b'[') if text[1..].trim_ascii_start().starts_with(b"{") => Self::Ndjson,
            _ => Self::Csv,
        }
    }
}

impl RowSource {
    /// Opens the recipients at `path` and checks their header.
    pub fn open(path: &Path, campaign: &Campaign, options: &InputOptions) -> Result<Self, InputError> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let size = metadata.is_file().then_some(metadata.len());
        let mut magic = [0; 4];
        let is_xlsx = match options.format {
            Some(format) => format == InputFormat::Xlsx,
            None => size.is_some() && fill(&mut file, &mut magic)? == 4 && magic == *b"PK\x03\x04",
        };
        if is_xlsx && size.is_some() {
            options.refuse_encoding()?;
            let reader = XlsxReader::new(file, options.sheet.as_deref(), campaign)?;
            return Ok(Self { reader: Format::Xlsx(Box::new(reader)), size });
        }
        if size.is_some() {
            io::Seek::rewind(&mut file)?;
        }
        let source: Source = Box::new(file);
        let mut opened = Self::from_reader(source, campaign, options)?;
        opened.size = size;
        Ok(opened)
    }

    /// Reads the recipients that come from `source` and checks their header.
    pub fn from_reader(
        source: Source,
        campaign: &Campaign,
        options: &InputOptions,
    ) -> Result<Self, InputError> {
        let mut decoded = Decoded::new(source, options.encoding)?;
        let format = options.format.unwrap_or_else(|| InputFormat::of(decoded.beginning()));
        if format != InputFormat::Xlsx && options.sheet.is_some() {
            return Err(InputError::Option { option: "--sheet", format: format.as_str() });
        }
        let reader = match format {
            InputFormat::Csv => Format::Csv(Box::new(RowReader::decoding(decoded, campaign)?)),
            InputFormat::Ndjson => Format::Ndjson(Box::new(NdjsonReader::new(decoded, campaign)?)),
            InputFormat::Xlsx => {
                options.refuse_encoding()?;
                let mut bytes = Vec::new();
                decoded.by_ref().take(STREAMED_XLSX_MAX_BYTES + 1).read_to_end(&mut bytes)?;
                if bytes.len() as u64 > STREAMED_XLSX_MAX_BYTES {
                    let what = "the size of a spreadsheet that does not come from a file";
                    return Err(InputError::XlsxTooLarge { what, bound: STREAMED_XLSX_MAX_BYTES });
                }
                let file = Cursor::new(bytes);
                Format::Xlsx(Box::new(XlsxReader::new(file, options.sheet.as_deref(), campaign)?))
            }
        };
        Ok(Self { reader, size: None })
    }

    /// Rejects what these guards keep out, too.
    #[must_use]
    pub fn guarded(mut self, guards: Arc<Guards>) -> Self {
        match &mut self.reader {
            Format::Csv(reader) => reader.checks.guard(guards),
            Format::Ndjson(reader) => reader.checks.guard(guards),
            Format::Xlsx(reader) => reader.checks.guard(guards),
        }
        self
    }

    /// The next row, good or rejected; None at the end. After an error the source is of no more use.
    pub fn next_row(&mut self) -> Result<Option<Outcome<'_>>, InputError> {
        match &mut self.reader {
            Format::Csv(reader) => reader.next_row(),
            Format::Ndjson(reader) => reader.next_row(),
            Format::Xlsx(reader) => reader.next_row(),
        }
    }

    /// Bytes of the input that were read, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        match &self.reader {
            Format::Csv(reader) => reader.bytes_read(),
            Format::Ndjson(reader) => reader.bytes_read(),
            Format::Xlsx(reader) => reader.bytes_read().min(self.size.unwrap_or(u64::MAX)),
        }
    }

    /// Size of the input in bytes, if it is a file.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Rows that the input should have, if that can be told.
    pub fn rows_expected(&self) -> Option<u64> {
        match &self.reader {
            Format::Csv(reader) => self.size.map(|size| reader.rows_expected(size)),
            Format::Ndjson(reader) => self.size.map(|size| reader.rows_expected(size)),
            Format::Xlsx(reader) => Some(reader.rows_expected()),
        }
    }

    /// Its format.
    pub fn format(&self) -> InputFormat {
        match &self.reader {
            Format::Csv(_) => InputFormat::Csv,
            Format::Ndjson(_) => InputFormat::Ndjson,
            Format::Xlsx(_) => InputFormat::Xlsx,
        }
    }

    /// The input's own columns, and how its rejects file is laid out.
    pub fn layout(&self) -> &Layout {
        match &self.reader {
            Format::Csv(reader) => reader.layout(),
            Format::Ndjson(reader) => reader.layout(),
            Format::Xlsx(reader) => reader.layout(),
        }
    }
}

impl fmt::Debug for RowSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowSource").field("format", &self.format()).finish_non_exhaustive()
    }
}

impl InputOptions {
    fn refuse_encoding(&self) -> Result<(), InputError> {
        match self.encoding {
            Some(_) => Err(InputError::Option { option: "--encoding", format: "xlsx" }),
            None => Ok(()),
        }
    }
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
