//! The file in which a process remembers how far Redis has got: `redis.mark` in the data folder.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::policy::mark::Mark;

/// Its name.
const NAME: &str = "redis.mark";

/// Reads it; a folder without one knows nothing yet, and has a new name.
///
/// # Errors
/// When the file is there and cannot be read, or is no mark: it must not be taken for none.
pub fn load(data_dir: &Path) -> io::Result<Mark> {
    let path = data_dir.join(NAME);
    let said =
        |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    match fs::read_to_string(&path) {
        Ok(text) => {
            Mark::parse(&text).ok_or_else(|| said("it is damaged: remove it if Redis is right".to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = format!("{:016x}", rand::random::<u64>());
            Ok(Mark { folder, ..Mark::default() })
        }
        Err(error) => Err(said(error.to_string())),
    }
}

/// Writes it, whole or not at all, and to the disk.
///
/// # Errors
/// When the folder cannot be written.
pub fn save(data_dir: &Path, mark: &Mark) -> io::Result<()> {
    let new: PathBuf = data_dir.join(format!("{NAME}.{}", std::process::id()));
    let mut file = File::create(&new)?;
    file.write_all(mark.to_text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, data_dir.join(NAME))?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_again_and_a_damaged_one_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let new = load(folder.path()).unwrap();
        assert_eq!((new.installation.as_str(), new.folder.len()), ("", 16));
        for token in [1, 2] {
            let mark = Mark { installation: "i".to_owned(), token, ..Mark::default() };
            save(folder.path(), &mark).unwrap();
            assert_eq!(load(folder.path()).unwrap(), mark);
        }
        fs::write(folder.path().join(NAME), "token").unwrap();
        assert!(load(folder.path()).unwrap_err().to_string().contains("redis.mark: it is damaged"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left there");
    }
}
