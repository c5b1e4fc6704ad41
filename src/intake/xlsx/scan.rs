//! Whether an XLSX may be opened at all: it is an archive, and a few kilobytes of it can unpack to more than any memory.
//!
//! Everything in it is unpacked once and thrown away, counting. What is read into memory later is bounded by what was
//! counted here: sizes that the archive claims for itself are not believed.

use std::io::{Read, Seek, SeekFrom};

use zip::ZipArchive;

use crate::intake::csv::InputError;

/// Largest file, in bytes.
pub const FILE_MAX_BYTES: u64 = 512 << 20;

/// Most files within it.
pub const ENTRIES_MAX: u64 = 10_000;

/// Largest directory of the archive, in bytes.
const DIRECTORY_MAX_BYTES: u64 = 4 << 20;

/// Largest sheet once unpacked, in bytes; it is read as a stream.
pub const SHEET_MAX_BYTES: u64 = 2 << 30;

/// Largest other part once unpacked, in bytes; shared texts are held in memory.
pub const PART_MAX_BYTES: u64 = 192 << 20;

/// Longest text, tag or cell, in bytes.
pub const CELL_MAX_BYTES: u64 = 1 << 20;

/// The end of an archive's directory without its comment.
const DIRECTORY_END_BYTES: u64 = 22;
const COMMENT_MAX_BYTES: u64 = 65_535;

/// What there may be of a thing.
type Bound = (&'static str, u64);

/// Refuses an archive that is none, or beyond a bound.
pub(super) fn scan(file: &mut (impl Read + Seek)) -> Result<(), InputError> {
    directory(file)?;
    file.seek(SeekFrom::Start(0))?;
    let damaged = |error: zip::result::ZipError| InputError::Xlsx { what: error.to_string() };
    let mut archive = ZipArchive::new(&mut *file).map_err(damaged)?;
    for at in 0..archive.len() {
        let part = archive.by_index(at).map_err(damaged)?;
        let name = part.name().map_err(damaged)?.to_ascii_lowercase();
        let is_sheet = name.contains("worksheets/");
        let is_text = [".xml", ".rels"].iter().any(|end| name.ends_with(end));
        let bound = if is_sheet { SHEET_MAX_BYTES } else { PART_MAX_BYTES };
        let opens: &[&[u8]] = if is_sheet { &[b"c", b"row"] } else { &[b"si"] };
        let mut counter = Counter::new(is_text.then_some(opens));
        unpack(part, bound, &mut counter)?;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(())
}

/// Reads the end of the archive's directory: how much of it there is, before anything is believed.
fn directory(file: &mut (impl Read + Seek)) -> Result<(), InputError> {
    let size = file.seek(SeekFrom::End(0))?;
    refuse_above(size, ("the file's size in bytes", FILE_MAX_BYTES))?;
    let tail = size.min(DIRECTORY_END_BYTES + COMMENT_MAX_BYTES);
    file.seek(SeekFrom::Start(size - tail))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    let none = || InputError::Xlsx { what: "it is cut off: the archive has no directory".to_owned() };
    let at = bytes.windows(4).rposition(|window| window == b"PK\x05\x06").ok_or_else(none)?;
    let field = |from: usize, length: usize| {
        let field = bytes.get(at + from..at + from + length).ok_or_else(none)?;
        Ok::<u64, InputError>(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    refuse_above(field(10, 2)?, ("the count of files in it", ENTRIES_MAX))?;
    refuse_above(field(12, 4)?, ("the archive's directory in bytes", DIRECTORY_MAX_BYTES))
}

fn refuse_above(found: u64, (what, bound): Bound) -> Result<(), InputError> {
    if found > bound { Err(InputError::XlsxTooLarge { what, bound }) } else { Ok(()) }
}

fn unpack(mut part: impl Read, bound: u64, counter: &mut Counter<'_>) -> Result<(), InputError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let damaged =
            |error: std::io::Error| InputError::Xlsx { what: format!("it does not unpack: {error}") };
        let read = part.read(&mut buffer).map_err(damaged)?;
        if read == 0 {
            return Ok(());
        }
        size += read as u64;
        refuse_above(size, ("a part's size once unpacked, in bytes,", bound))?;
        counter.take(&buffer[..read])?;
    }
}

/// Counts how long texts, tags and cells are.
struct Counter<'a> {
    /// Tags that begin a cell; None for parts that are no XML.
    opens: Option<&'a [&'a [u8]]>,
    since_tag: u64,
    since_cell: u64,
    /// The name of the tag that is being read.
    name: Vec<u8>,
    in_name: bool,
    /// Behind the cells nothing is read.
    over: bool,
    /// The count of texts that a part claims to have is believed by the library that reserves memory for it.
    claim: Option<u64>,
    tail: Vec<u8>,
}

/// How a part claims how many texts it has.
const CLAIM: &[u8] = b"uniqueCount=";

/// Most texts that a part may claim to have.
const CLAIM_MAX: u64 = 8_000_000;

impl<'a> Counter<'a> {
    fn new(opens: Option<&'a [&'a [u8]]>) -> Self {
        Self {
            opens,
            since_tag: 0,
            since_cell: 0,
            name: Vec::new(),
            in_name: false,
            over: false,
            claim: None,
            tail: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), InputError> {
        let Some(opens) = self.opens else { return Ok(()) };
        for &byte in bytes {
            self.since_tag += 1;
            self.since_cell += 1;
            if byte == b'<' {
                self.check()?;
                (self.since_tag, self.in_name) = (0, true);
                self.name.clear();
                self.tail.clear();
            } else if self.in_name {
                self.name_goes_on(byte, opens);
            } else {
                self.claims(byte)?;
            }
        }
        self.check()
    }

    fn name_goes_on(&mut self, byte: u8, opens: &[&[u8]]) {
        match byte {
            b' ' | b'>' | b'/' | b'\n' | b'\r' | b'\t' if !self.name.is_empty() || byte != b'/' => {
                self.in_name = false;
                if opens.contains(&self.name.as_slice()) {
                    self.since_cell = 0;
                }
                self.over |= self.name == b"/sheetData";
            }
            // `x:c` is `c` too.
            b':' => self.name.clear(),
            _ if self.name.len() < 16 => self.name.push(byte),
            _ => {}
        }
    }

    /// Looks for the claimed count within a tag.
    fn claims(&mut self, byte: u8) -> Result<(), InputError> {
        if let Some(claim) = &mut self.claim {
            match byte {
                b'0'..=b'9' => *claim = claim.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
                b'"' | b'\'' if *claim == 0 => {}
                _ => self.claim = None,
            }
            return refuse_above(self.claim.unwrap_or(0), ("the count of texts that it claims", CLAIM_MAX));
        }
        let next = if CLAIM.get(self.tail.len()) == Some(&byte) {
            self.tail.len() + 1
        } else {
            usize::from(byte == CLAIM[0])
        };
        self.tail.clear();
        self.tail.extend_from_slice(&CLAIM[..next]);
        if next == CLAIM.len() {
            self.claim = Some(0);
            self.tail.clear();
        }
        Ok(())
    }

    fn check(&self) -> Result<(), InputError> {
        refuse_above(self.since_tag, ("the length of a text in bytes", CELL_MAX_BYTES))?;
        // What stands before the first cell and behind the last is read as a stream, tag by tag.
        let is_cell = !self.over && self.opens.is_some_and(|opens| opens.len() > 1);
        refuse_above(
            if is_cell { self.since_cell } else { 0 },
            ("the length of a cell in bytes", CELL_MAX_BYTES),
        )
    }
}
