//! The encoding of a text file: UTF-8, or Windows-1252, which is decoded on the way in.
//!
//! Decided once, by a bounded beginning of the file. A file that was taken for UTF-8 stays so: a later byte that is none
//! rejects its row. UTF-16 is not read; the reader of the header refuses it by name.

use std::io::{self, Read};

use encoding_rs::WINDOWS_1252;

/// How much of a file is looked at to find its encoding.
pub const PREFIX_BYTES: usize = 64 * 1024;

/// How much is decoded at once.
const DECODED_BYTES: usize = 16 * 1024;

/// An encoding that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    Utf8,
    /// Windows-1252, what spreadsheets in Brazil call ANSI.
    Windows1252,
}

/// A source whose bytes come out as UTF-8.
pub struct Decoded<R> {
    source: R,
    encoding: Encoding,
    /// Bytes that go out before any other, from `at` on.
    ahead: Vec<u8>,
    at: usize,
    bytes_read: u64,
}

impl Encoding {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Utf8, Self::Windows1252];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Windows1252 => "windows-1252",
        }
    }

    /// The encoding of a text that begins so. A few bytes that are no UTF-8 among more characters that are do not make it
    /// Windows-1252, where hardly any two letters look like a character of UTF-8.
    fn of(prefix: &[u8]) -> Self {
        let packed =
            [&b"PK\x03\x04"[..], b"\x1f\x8b", b"\xd0\xcf\x11\xe0", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"];
        if packed.iter().any(|mark| prefix.starts_with(mark)) || prefix.contains(&0) {
            return Self::Utf8;
        }
        let (mut good, mut bad) = (0u64, 0u64);
        let mut rest = prefix;
        loop {
            let (valid, error) = match std::str::from_utf8(rest) {
                Ok(text) => (text.as_bytes(), None),
                Err(error) => (&rest[..error.valid_up_to()], Some(error)),
            };
            good += valid.iter().filter(|byte| **byte >= 0xc0).count() as u64;
            let Some(length) = error.and_then(|error| error.error_len()) else { break };
            bad += 1;
            rest = &rest[valid.len() + length..];
        }
        if bad > good { Self::Windows1252 } else { Self::Utf8 }
    }
}

impl<R: Read> Decoded<R> {
    /// Reads the beginning of `source`, and finds its encoding unless it is named.
    pub fn new(mut source: R, encoding: Option<Encoding>) -> io::Result<Self> {
        let mut ahead = Vec::with_capacity(PREFIX_BYTES);
        source.by_ref().take(PREFIX_BYTES as u64).read_to_end(&mut ahead)?;
        let bytes_read = ahead.len() as u64;
        let encoding = encoding.unwrap_or_else(|| Encoding::of(&ahead));
        if encoding == Encoding::Windows1252 {
            ahead = decode(&ahead);
        }
        Ok(Self { source, encoding, ahead, at: 0, bytes_read })
    }

    /// The encoding that was found or named.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Bytes read of the source.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The beginning of the text, decoded.
    pub(crate) fn beginning(&self) -> &[u8] {
        &self.ahead[self.at..]
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ahead.len() {
            if self.encoding == Encoding::Utf8 {
                // The beginning is through: what follows goes past here.
                self.ahead = Vec::new();
                self.at = 0;
                let read = self.source.read(buffer)?;
                self.bytes_read += read as u64;
                return Ok(read);
            }
            let mut raw = [0; DECODED_BYTES];
            let read = self.source.read(&mut raw)?;
            self.bytes_read += read as u64;
            (self.ahead, self.at) = (decode(&raw[..read]), 0);
        }
        let bytes = buffer.len().min(self.ahead.len() - self.at);
        buffer[..bytes].copy_from_slice(&self.ahead[self.at..self.at + bytes]);
        self.at += bytes;
        Ok(bytes)
    }
}

impl<R> std::fmt::Debug for Decoded<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoded").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

fn decode(raw: &[u8]) -> Vec<u8> {
    WINDOWS_1252.decode_without_bom_handling(raw).0.into_owned().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], encoding: Option<Encoding>) -> (Encoding, String, u64) {
        let mut decoded = Decoded::new(bytes, encoding).unwrap();
        let mut out = Vec::new();
        decoded.read_to_end(&mut out).unwrap();
        (decoded.encoding(), String::from_utf8_lossy(&out).into_owned(), decoded.bytes_read())
    }

    #[test]
    fn encodings_are_found() {
        assert_eq!(read(b"a;b", None), (Encoding::Utf8, "a;b".into(), 3));
        assert_eq!(read("não".as_bytes(), None).0, Encoding::Utf8);
        assert_eq!(read(b"n\xe3o; 5 \x80", None), (Encoding::Windows1252, "não; 5 €".into(), 8));
        // One damaged row in a file that is UTF-8 elsewhere.
        assert_eq!(read(b"n\xc3\xa3o\nn\xe3o", None).0, Encoding::Utf8);
        assert_eq!(read(b"\xef\xbb\xbfn\xe3o n\xe3o", None).0, Encoding::Utf8);
        assert_eq!(read(b"\xff\xfen\0", None).0, Encoding::Utf8);
        assert_eq!(read("é".as_bytes(), Some(Encoding::Windows1252)).1, "Ã©");
    }

    #[test]
    fn a_character_cut_by_the_end_of_the_beginning_is_no_fault() {
        let mut bytes = vec![b'a'; PREFIX_BYTES - 1];
        bytes.extend("ção".as_bytes());
        assert_eq!(read(&bytes, None).0, Encoding::Utf8);
    }

    #[test]
    fn long_files_are_decoded_to_their_end() {
        let bytes = vec![0xe7; 3 * PREFIX_BYTES + 5];
        let (encoding, text, read) = read(&bytes, None);
        assert_eq!((encoding, read), (Encoding::Windows1252, bytes.len() as u64));
        assert!(text.chars().all(|c| c == 'ç') && text.chars().count() == bytes.len());
    }
}
