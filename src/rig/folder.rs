//! The folder of a trial: its own, empty at first, gone afterwards unless it was asked for.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{RigError, system};

/// A folder for one trial.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// A new folder below `parent` (default: the system's for temporary files), removed when dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary(parent: Option<&Path>, name: &str) -> Result<Self, RigError> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = parent.join(format!("carteiro-{name}-{:08x}", rand::random::<u32>()));
        make(&path)?;
        Ok(Self { path: absolute(&path)?, kept: false })
    }

    /// This folder, which must be empty or new, and is kept.
    ///
    /// # Errors
    /// When it cannot be made, or holds something.
    pub fn kept(path: &Path) -> Result<Self, RigError> {
        make(path)?;
        let unreadable = |source| system(format!("cannot read {}", path.display()), source);
        if fs::read_dir(path).map_err(unreadable)?.next().is_some() {
            let message = format!("{} is not empty: name a folder that is, or a new one", path.display());
            return Err(RigError::Unusable(message));
        }
        Ok(Self { path: absolute(path)?, kept: true })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed is temporary all the same.
            let _left = fs::remove_dir_all(&self.path);
        }
    }
}

/// Recipients are personal data, even invented ones: for the owner alone.
fn make(path: &Path) -> Result<(), RigError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| system(format!("cannot make the folder {}", path.display()), source))
}

fn absolute(path: &Path) -> Result<PathBuf, RigError> {
    path.canonicalize().map_err(|source| system(format!("cannot find {}", path.display()), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_and_a_kept_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::temporary(Some(parent.path()), "test").unwrap();
        let path = folder.path().to_owned();
        fs::write(folder.file("a"), "a").unwrap();
        drop(folder);
        assert!(!path.exists());
        let asked = parent.path().join("new/one");
        let kept = Folder::kept(&asked).unwrap();
        fs::write(kept.file("a"), "a").unwrap();
        drop(kept);
        assert!(asked.join("a").exists());
        assert!(Folder::kept(&asked).is_err_and(|error| error.to_string().contains("not empty")));
    }
}
