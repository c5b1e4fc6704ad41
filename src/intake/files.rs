//! Documents and images on disk: found below the folder of the file that names them, and looked at before Meta is.
//!
//! Reads only. What a file is, its first bytes say, not its name.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::domain::template::MediaKind;

/// Bytes of a document at most, and of an image.
pub const BYTES_MAX: (u64, u64) = (100 << 20, 5 << 20);

/// A PDF begins within so many bytes.
const HEAD_BYTES: usize = 1_024;

/// Bytes read at once.
const PIECE_BYTES: usize = 64 << 10;

/// What is wrong with a file. Says nothing of its name, which may hold personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// There is no such file.
    #[error("names a file that is not there")]
    Missing,
    /// It lies elsewhere.
    #[error("names a file outside the folder of the recipients file; give it relative to that folder")]
    Outside,
    /// It cannot be read.
    #[error("names a file that cannot be read")]
    Unreadable,
    /// It is empty.
    #[error("names a file that is empty")]
    Empty,
    /// It is too large.
    #[error("names a file larger than Meta takes (documents 100 MB, images 5 MB)")]
    TooLarge,
    /// It is something else.
    #[error("names a file that is no PDF (or, for an image, no JPEG or PNG)")]
    Type,
}

/// A file that Meta would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Where it is, absolute.
    pub path: PathBuf,
    /// Content type.
    pub mime: &'static str,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl FileFault {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Missing => "file_missing",
            Self::Outside => "file_outside_folder",
            Self::Unreadable => "file_unreadable",
            Self::Empty => "file_empty",
            Self::TooLarge => "file_too_large",
            Self::Type => "file_wrong_type",
        }
    }
}

/// The file that a row names: relative to `folder` and below it, links followed.
pub fn below(folder: &Path, text: &str) -> Result<PathBuf, FileFault> {
    let relative = Path::new(text);
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(inside) {
        return Err(FileFault::Outside);
    }
    let folder = folder.canonicalize().map_err(|_| FileFault::Unreadable)?;
    let path = folder.join(relative).canonicalize().map_err(|error| fault(&error))?;
    if path.starts_with(&folder) { Ok(path) } else { Err(FileFault::Outside) }
}

/// Looks at a file: whether Meta would take it, and what it is.
pub fn inspect(path: &Path, kind: MediaKind) -> Result<FileFacts, FileFault> {
    let path = path.canonicalize().map_err(|error| fault(&error))?;
    let mut file = File::open(&path).map_err(|error| fault(&error))?;
    let metadata = file.metadata().map_err(|error| fault(&error))?;
    let bytes_max = if kind == MediaKind::Document { BYTES_MAX.0 } else { BYTES_MAX.1 };
    match metadata.len() {
        _ if !metadata.is_file() => return Err(FileFault::Missing),
        0 => return Err(FileFault::Empty),
        bytes if bytes > bytes_max => return Err(FileFault::TooLarge),
        _ => {}
    }
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut mime = None;
    // The bound holds for a file that grows meanwhile, too.
    for at in 0..=bytes_max / PIECE_BYTES as u64 {
        let read = fill(&mut file, &mut piece).map_err(|error| fault(&error))?;
        if at == 0 {
            mime = Some(mime_of(&piece[..read.min(HEAD_BYTES)], kind).ok_or(FileFault::Type)?);
        }
        hash.update(&piece[..read]);
        if read < piece.len() {
            break;
        }
    }
    let mut sha256 = String::new();
    for byte in hash.finalize() {
        let _ = write!(sha256, "{byte:02x}");
    }
    Ok(FileFacts { path, mime: mime.ok_or(FileFault::Type)?, sha256 })
}

fn mime_of(head: &[u8], kind: MediaKind) -> Option<&'static str> {
    match kind {
        MediaKind::Document => head.windows(5).any(|five| five == b"%PDF-").then_some("application/pdf"),
        MediaKind::Image if head.starts_with(b"\xff\xd8\xff") => Some("image/jpeg"),
        MediaKind::Image if head.starts_with(b"\x89PNG\r\n\x1a\n") => Some("image/png"),
        MediaKind::Image => None,
    }
}

/// Reads until the piece is full or the file ends.
fn fill(file: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match file.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn fault(error: &io::Error) -> FileFault {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileFault::Missing,
        _ => FileFault::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_its_first_bytes_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pdf");
        let check = |bytes: &[u8], kind, expect: Result<&str, FileFault>| {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(inspect(&path, kind).map(|facts| facts.mime), expect);
        };
        check(b"%PDF-1.7", MediaKind::Document, Ok("application/pdf"));
        check(b"\n%PDF-1.7", MediaKind::Document, Ok("application/pdf"));
        check(b"PK\x03\x04", MediaKind::Document, Err(FileFault::Type));
        check(b"", MediaKind::Document, Err(FileFault::Empty));
        check(b"\x89PNG\r\n\x1a\n", MediaKind::Image, Ok("image/png"));
        check(
            &[b"\xff\xd8\xff".as_slice(), &vec![0; 5 << 20]].concat(),
            MediaKind::Image,
            Err(FileFault::TooLarge),
        );
        std::fs::write(&path, b"%PDF-").unwrap();
        let facts = inspect(&path, MediaKind::Document).unwrap();
        assert_eq!((&facts.sha256[..12], facts.sha256.len()), ("38523c087796", 64));
        assert_eq!(inspect(folder.path(), MediaKind::Document), Err(FileFault::Missing));
    }

    #[test]
    fn a_row_reaches_nothing_outside_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("in");
        std::fs::create_dir_all(inner.join("sub")).unwrap();
        std::fs::write(folder.path().join("secret.pdf"), "x").unwrap();
        std::fs::write(inner.join("sub/a.pdf"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.pdf"), inner.join("link.pdf")).unwrap();
        assert!(below(&inner, "sub/a.pdf").is_ok() && below(&inner, "./sub/a.pdf").is_ok());
        let absolute = folder.path().join("secret.pdf");
        for text in ["../secret.pdf", "sub/../../secret.pdf", "link.pdf", absolute.to_str().unwrap()] {
            assert_eq!(below(&inner, text), Err(FileFault::Outside), "{text}");
        }
        assert_eq!(below(&inner, "none.pdf"), Err(FileFault::Missing));
        assert_eq!(below(&inner, "sub/a.pdf/x"), Err(FileFault::Missing));
    }
}
