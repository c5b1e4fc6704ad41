//! Files and locks of the private Redis in the data folder.
//!
//! | file | what for |
//! |---|---|
//! | `redis/` | its append-only file, configuration and log |
//! | `redis/start.lock` | held while somebody starts or stops it |
//! | `redis/users.lock` | held, shared, by every process that uses it |
//! | `redis/run.lock` | held by the server process itself, for as long as it lives |
//! | `redis/socket` | path of its socket, which may lie elsewhere |

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::Hasher;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::RedisServerError;

/// Longest path of a Unix socket: the address holds 108 bytes with its end mark.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// Log lines shown when a start fails.
const LOG_TAIL_LINES: usize = 5;

/// A log larger than this is put aside before a start.
const LOG_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Paths of a private Redis.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// Working folder of the server, absolute and without links.
    pub(super) dir: PathBuf,
}

impl Paths {
    /// Makes the folders where they are missing, for the owner alone.
    pub(super) fn prepare(data_dir: &Path) -> Result<Self, RedisServerError> {
        let dir = data_dir.join("redis");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|source| RedisServerError::Io { path: dir.clone(), source })?;
        let dir = dir.canonicalize().map_err(|source| RedisServerError::Io { path: dir.clone(), source })?;
        Ok(Self { dir })
    }

    pub(super) fn start_lock(&self) -> PathBuf {
        self.dir.join("start.lock")
    }

    pub(super) fn users_lock(&self) -> PathBuf {
        self.dir.join("users.lock")
    }

    pub(super) fn run_lock(&self) -> PathBuf {
        self.dir.join("run.lock")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("redis.conf")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("redis.log")
    }

    fn socket_file(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// The socket of the running server, as its starter wrote it down: the starter's environment may have been
    /// another one.
    pub(super) fn running_socket(&self) -> Result<PathBuf, RedisServerError> {
        let path = self.socket_file();
        fs::read_to_string(&path).map(PathBuf::from).map_err(|source| RedisServerError::Io { path, source })
    }

    /// Chooses the socket for a server that is about to start, and writes it down: next to the working folder,
    /// or in a short runtime folder where that path would be too long.
    pub(super) fn choose_socket(&self, runtime_root: Option<&Path>) -> Result<PathBuf, RedisServerError> {
        let mut socket = self.dir.with_file_name("redis.sock");
        if socket.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            let name = format!("carteiro-{:016x}", self.hash());
            let root = runtime_root.filter(|root| {
                root.is_dir()
                    && root.join(&name).join("redis.sock").as_os_str().len() <= SOCKET_PATH_MAX_BYTES
            });
            let folder = root.unwrap_or(Path::new("/tmp")).join(name);
            self.make_private(&folder)?;
            socket = folder.join("redis.sock");
        }
        let note = self.socket_file();
        fs::write(&note, socket.as_os_str().as_encoded_bytes())
            .map_err(|source| RedisServerError::Io { path: note, source })?;
        Ok(socket)
    }

    /// Makes a folder of ours. In `/tmp` anybody could have made it first, so its owner and mode are checked.
    fn make_private(&self, folder: &Path) -> Result<(), RedisServerError> {
        let io = |source| RedisServerError::Io { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
        let meta = fs::symlink_metadata(folder).map_err(io)?;
        let ours = fs::metadata(&self.dir).map_err(io)?.uid();
        if !meta.is_dir() || meta.uid() != ours || meta.mode() & 0o077 != 0 {
            return Err(RedisServerError::RuntimeFolder { path: folder.to_owned() });
        }
        Ok(())
    }

    /// Stable over versions and machines, so that two processes choose the same folder.
    fn hash(&self) -> u64 {
        let mut hasher = siphasher::sip::SipHasher13::new_with_keys(0, 0);
        hasher.write(self.dir.as_os_str().as_encoded_bytes());
        hasher.finish()
    }

    /// Opens a lock file without locking it.
    pub(super) fn open(path: &Path) -> Result<File, RedisServerError> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| RedisServerError::Io { path: path.to_owned(), source })
    }

    /// Opens the log for appending, putting a large one aside.
    pub(super) fn open_log(&self) -> Result<File, RedisServerError> {
        let path = self.log();
        let io = |source| RedisServerError::Io { path: self.log(), source };
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_MAX_BYTES) {
            fs::rename(&path, self.dir.join("redis.log.old")).map_err(io)?;
        }
        OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(io)
    }

    /// The last lines of the log.
    pub(super) fn log_tail(&self) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let from = lines.len().saturating_sub(LOG_TAIL_LINES);
        if lines.is_empty() { "its log is empty".to_owned() } else { lines[from..].join("\n") }
    }
}

/// True if the lock was free and is ours now.
pub(super) fn got(path: &Path, tried: Result<(), TryLockError>) -> Result<bool, RedisServerError> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(RedisServerError::Io { path: path.to_owned(), source }),
    }
}
