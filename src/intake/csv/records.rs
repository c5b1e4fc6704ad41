//! Cuts a stream of bytes into records of fields, in bounded memory whatever the stream holds.
//!
//! A line without quotes is cut in place in one pass; anything else goes through csv-core, so both follow the same
//! rules (the tests compare them). A record is at most [`RECORD_MAX_BYTES`] long. A quote that is not closed by then,
//! or by the end of the input, or that runs into the quotes of a later line, costs its own line and not the lines behind
//! it: reading goes on at the next line.

use std::io::{self, Read};

use super::RECORD_MAX_BYTES;
use crate::intake::row::Span;

/// Room for the longest record and a large read behind it.
const BUFFER_BYTES: usize = 4 * RECORD_MAX_BYTES;

/// How much of a record that is too long is shown.
const SHOWN_BYTES: usize = 1024;

/// Offsets of fields are kept in 32 bits.
const _: () = assert!(BUFFER_BYTES < u32::MAX as usize);

/// One record; its bytes and fields are asked of [`Records`] until the next is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Line where it begins, from 1.
    pub(super) line: u64,
    /// What is wrong with it as a record. Then its one field is the beginning of the raw text.
    pub(super) fault: Option<Fault>,
    bytes: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TooLong,
    UnclosedQuote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Buffer { from: usize, to: usize },
    Scratch { len: usize },
}

pub(super) struct Records<R> {
    source: R,
    buffer: Vec<u8>,
    /// `buffer[start..end]` is read and not yet cut.
    start: usize,
    end: usize,
    at_end: bool,
    bytes_read: u64,
    /// Line of `buffer[start]`.
    line: u64,
    delimiter: u8,
    core: csv_core::Reader,
    scratch: Vec<u8>,
    ends: Vec<usize>,
    spans: Vec<Span>,
}

impl<R: Read> Records<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            at_end: false,
            bytes_read: 0,
            line: 1,
            delimiter: b',',
            core: csv_core::Reader::new(),
            scratch: vec![0; RECORD_MAX_BYTES + 1],
            ends: vec![0; RECORD_MAX_BYTES + 2],
            spans: Vec::new(),
        }
    }

    pub(super) fn set_delimiter(&mut self, delimiter: u8) {
        self.delimiter = delimiter;
        self.core = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
    }

    pub(super) fn source(&self) -> &R {
        &self.source
    }

    #[cfg(test)]
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Lines in what is buffered, and its bytes: a sample of the file.
    pub(super) fn seen_ahead(&self) -> (u64, u64) {
        let ahead = &self.buffer[..self.end];
        (ahead.iter().filter(|byte| **byte == b'\n').count() as u64, ahead.len() as u64)
    }

    /// What lies ahead: a whole record's worth, or all there is.
    pub(super) fn ahead(&mut self) -> io::Result<&[u8]> {
        self.fill_to(RECORD_MAX_BYTES + 1)?;
        Ok(&self.buffer[self.start..self.end])
    }

    /// Passes over bytes that [`Records::ahead`] showed and that belong to no record.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// Reads the next record without passing over it; one that is too long is passed over all the same.
    pub(super) fn peek(&mut self) -> io::Result<Option<Record>> {
        self.skip_empty_lines()?;
        // With a whole record's worth ahead, reading it does not move the buffer.
        self.ahead()?;
        let (start, line) = (self.start, self.line);
        let record = self.next_record()?;
        if record.is_none_or(|record| record.fault != Some(Fault::TooLong)) {
            (self.start, self.line) = (start, line);
        }
        Ok(record)
    }

    /// Reads the next record; empty lines are passed over.
    pub(super) fn next_record(&mut self) -> io::Result<Option<Record>> {
        if !self.skip_empty_lines()? {
            return Ok(None);
        }
        loop {
            if let Some(record) = self.cut_plain_line() {
                return Ok(Some(record));
            }
            let ahead = &self.buffer[self.start..self.end];
            let plain_so_far = !ahead.iter().any(|byte| matches!(byte, b'"' | b'\r' | b'\n'));
            if !plain_so_far || self.at_end || ahead.len() > RECORD_MAX_BYTES {
                return self.cut_by_core().map(Some);
            }
            self.fill()?;
        }
    }

    /// The record's bytes, unquoted; its fields are cut from them by [`Records::spans`].
    pub(super) fn bytes(&self, record: &Record) -> &[u8] {
        match record.bytes {
            Place::Buffer { from, to } => &self.buffer[from..to],
            Place::Scratch { len } => &self.scratch[..len],
        }
    }

    /// The fields of the record that was read last.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether there is anything but empty lines.
    fn skip_empty_lines(&mut self) -> io::Result<bool> {
        loop {
            match self.buffer[self.start..self.end] {
                [] => {
                    if self.at_end {
                        return Ok(false);
                    }
                    self.fill()?;
                }
                [b'\n', ..] => {
                    self.start += 1;
                    self.line += 1;
                }
                [b'\r'] if !self.at_end => self.fill()?,
                [b'\r', b'\n', ..] => {
                    self.start += 2;
                    self.line += 1;
                }
                [b'\r', ..] => {
                    self.start += 1;
                    self.line += 1;
                }
                _ => return Ok(true),
            }
        }
    }

    /// The fast way: a line that is all there, of at most the bound, without quotes or stray carriage returns.
    fn cut_plain_line(&mut self) -> Option<Record> {
        let limit = self.end.min(self.start + RECORD_MAX_BYTES);
        let window = &self.buffer[self.start..limit];
        let newline = memchr::memchr(b'\n', window)?;
        let line = window[..newline].strip_suffix(b"\r").unwrap_or(&window[..newline]);
        if memchr::memchr2(b'"', b'\r', line).is_some() {
            return None;
        }
        self.spans.clear();
        let mut from = 0;
        for at in memchr::memchr_iter(self.delimiter, line) {
            self.spans.push((offset(from), offset(at)));
            from = at + 1;
        }
        self.spans.push((offset(from), offset(line.len())));
        let bytes = Place::Buffer { from: self.start, to: self.start + line.len() };
        let record = Record { line: self.line, fault: None, bytes };
        self.start += newline + 1;
        self.line += 1;
        Some(record)
    }

    fn cut_by_core(&mut self) -> io::Result<Record> {
        self.fill_to(RECORD_MAX_BYTES + 1)?;
        let limit = self.end.min(self.start + RECORD_MAX_BYTES);
        let window = &self.buffer[self.start..limit];
        let is_rest = self.at_end && limit == self.end;
        self.core.reset();
        let (mut result, taken, mut written, mut fields) =
            self.core.read_record(window, &mut self.scratch, &mut self.ends);
        if result == csv_core::ReadRecordResult::InputEmpty && is_rest {
            // The last line may lack its end. Inside an open quote, a line's end changes nothing.
            let (at_end, _, more_written, more_fields) =
                self.core.read_record(b"\n", &mut self.scratch[written..], &mut self.ends[fields..]);
            result = at_end;
            written += more_written;
            fields += more_fields;
        }
        if result != csv_core::ReadRecordResult::Record || swallows_lines(&window[..taken], self.delimiter) {
            return self.give_up_line(limit);
        }
        self.spans.clear();
        let mut from = 0;
        for &end in &self.ends[..fields] {
            self.spans.push((offset(from), offset(end)));
            from = end;
        }
        let record = Record { line: self.line, fault: None, bytes: Place::Scratch { len: written } };
        self.pass(taken);
        Ok(record)
    }

    /// Passes over `taken` bytes of a record and the rest of its line end, counting lines.
    fn pass(&mut self, taken: usize) {
        let mut stop = self.start + taken;
        let ends_in_return = self.buffer[self.start..stop].last() == Some(&b'\r');
        if ends_in_return && self.buffer[..self.end].get(stop) == Some(&b'\n') {
            stop += 1;
        }
        let raw = &self.buffer[self.start..stop];
        let newlines = raw.iter().filter(|byte| **byte == b'\n').count();
        self.line += newlines as u64 + u64::from(raw.last() == Some(&b'\r'));
        self.start = stop;
    }

    /// The record is no record within the bound: its first line is the fault, and reading goes on behind it.
    fn give_up_line(&mut self, limit: usize) -> io::Result<Record> {
        let window = &self.buffer[self.start..limit];
        let newline = window.iter().position(|byte| *byte == b'\n');
        let is_rest = self.at_end && limit == self.end;
        // Only an open quote lets a record go on behind a line's end, or behind the input's end.
        let fault = if newline.is_some() || is_rest { Fault::UnclosedQuote } else { Fault::TooLong };
        let shown = newline.unwrap_or(window.len()).min(SHOWN_BYTES);
        self.scratch[..shown].copy_from_slice(&window[..shown]);
        self.spans.clear();
        self.spans.push((0, offset(shown)));
        let record = Record { line: self.line, fault: Some(fault), bytes: Place::Scratch { len: shown } };
        match newline {
            Some(at) => self.start += at + 1,
            None => self.skip_line()?,
        }
        self.line += 1;
        Ok(record)
    }

    /// Passes over everything up to and with the next newline, without keeping it.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let ahead = &self.buffer[self.start..self.end];
            // The library's own search is many times faster than a walk, which a line of a gigabyte shows.
            if ahead.contains(&b'\n') {
                self.start += ahead.iter().position(|byte| *byte == b'\n').map_or(ahead.len(), |at| at + 1);
                return Ok(());
            }
            self.start = self.end;
            if self.at_end {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn fill_to(&mut self, bytes: usize) -> io::Result<()> {
        while !self.at_end && self.end - self.start < bytes {
            self.fill()?;
        }
        Ok(())
    }

    /// Reads once, making room first if there is none.
    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        debug_assert!(self.end < self.buffer.len(), "what is kept is at most one record");
        let read = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.at_end = read == 0;
        self.end += read;
        self.bytes_read += read as u64;
        Ok(())
    }
}

/// Whether a quote that was left open ran into a quote of a later line: such a record spans lines, and the quote that
/// seems to close it is followed by text, since it really opens a field.
fn swallows_lines(raw: &[u8], delimiter: u8) -> bool {
    let mut at_field_start = true;
    let mut lines = 0;
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        at += 1;
        if !(at_field_start && byte == b'"') {
            at_field_start = byte == delimiter;
            continue;
        }
        loop {
            match (raw.get(at), raw.get(at + 1)) {
                (None, _) => return false,
                (Some(b'"'), Some(b'"')) => at += 2,
                (Some(b'"'), _) => break,
                (Some(inside), _) => {
                    lines += usize::from(*inside == b'\n');
                    at += 1;
                }
            }
        }
        at += 1;
        let closes = raw.get(at).is_none_or(|next| *next == delimiter || matches!(next, b'\r' | b'\n'));
        if !closes {
            return lines > 0;
        }
        at_field_start = false;
    }
    false
}

/// Offsets within a buffer fit 32 bits, as asserted above.
#[allow(
    clippy::cast_possible_truncation,
    reason = "buffers are smaller than 4 GiB, asserted at compile time"
)]
pub(super) fn offset(at: usize) -> u32 {
    at as u32
}

#[cfg(test)]
mod tests;
