//! Bytes set aside on disk by part, so that a part fits into memory when its turn comes. The files have no name: whatever
//! way the process ends, nothing of them stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes gathered for a part before they are written.
const BUFFER_BYTES: usize = 32 * 1024;

/// The parts.
#[derive(Debug)]
pub(super) struct Spill {
    parts: Vec<BufWriter<File>>,
}

impl Spill {
    /// So many empty parts, on the disk of `folder`.
    pub(super) fn new(folder: &Path, parts: usize) -> io::Result<Self> {
        let parts = (0..parts).map(|_| Ok(BufWriter::with_capacity(BUFFER_BYTES, nameless(folder)?)));
        Ok(Self { parts: parts.collect::<io::Result<_>>()? })
    }

    /// Adds bytes to a part.
    pub(super) fn add(&mut self, part: usize, bytes: &[u8]) -> io::Result<()> {
        match self.parts.get_mut(part) {
            Some(part) => part.write_all(bytes),
            None => Ok(()),
        }
    }

    /// Everything of a part, which is empty afterwards.
    pub(super) fn take(&mut self, part: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(part) = self.parts.get_mut(part) {
            part.flush()?;
            let file = part.get_mut();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut bytes)?;
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
        }
        Ok(bytes)
    }
}

fn nameless(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!(".carteiro-report-{:016x}~", rand::random::<u64>()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_whole_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(folder.path(), 3).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for at in 0..30_000u32 {
            spill.add(at as usize % 3, &at.to_le_bytes()).unwrap();
        }
        let part = spill.take(1).unwrap();
        assert_eq!((part.len(), &part[4..8]), (40_000, &4u32.to_le_bytes()[..]));
        assert_eq!((spill.take(1).unwrap().len(), spill.take(2).unwrap().len()), (0, 40_000));
    }
}
