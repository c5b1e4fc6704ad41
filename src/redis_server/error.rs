//! What can be wrong with a Redis, said with what to do about it. A URL is never part of a message: it may hold a
//! password.

use std::path::PathBuf;

/// Why a Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisServerError {
    /// There is no program of that name.
    #[error(
        "{program} is not installed: run apt-get install redis-server, or set redis.url to a Redis that runs"
    )]
    NotInstalled {
        /// The program.
        program: String,
    },
    /// Older than 7.0.
    #[error("Redis {found} is too old: 7.0 or newer is needed")]
    TooOld {
        /// Its version.
        found: String,
    },
    /// A file or folder of the private Redis.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The runtime folder belongs to somebody else or is open to others.
    #[error("{} belongs to another user or is open to others: remove it, or use a shorter data_dir", path.display())]
    RuntimeFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Another process starts or stops the private Redis and does not finish.
    #[error("another process has held {} for {seconds} s: look which one (fuser {})", path.display(), path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// It ended while it started.
    #[error("the private Redis did not start: {log_tail}\n(whole log: {})", log.display())]
    StartFailed {
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        log_tail: String,
    },
    /// It runs and does not answer.
    #[error("the private Redis in {} runs but has not answered for {seconds} s: {problem}", dir.display())]
    Silent {
        /// Its folder.
        dir: PathBuf,
        /// How long we waited.
        seconds: u64,
        /// The last thing it said.
        problem: String,
    },
    /// Somebody else's Redis answers on our socket.
    #[error("the Redis on {} works in {found:?}, not in our folder: it is left alone", socket.display())]
    Foreign {
        /// The socket.
        socket: PathBuf,
        /// The folder it works in.
        found: String,
    },
    /// It refused to stop, which it does when it cannot write its file.
    #[error("the private Redis did not stop: {problem}\n(whole log: {})", log.display())]
    StopFailed {
        /// Its log.
        log: PathBuf,
        /// What it said.
        problem: String,
    },
    /// `redis.url` or `redis.ca_file` cannot be used.
    #[error("{key} cannot be used: {problem}")]
    Settings {
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A command failed.
    #[error("Redis did not answer {command}: {source}")]
    Command {
        /// The command.
        command: &'static str,
        /// What the client said.
        source: redis::RedisError,
    },
    /// A setting that would lose or duplicate messages, or that is not supported.
    #[error("Redis has {setting} = {found}: {remedy}")]
    Refused {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// `CONFIG GET` is not allowed to us.
    #[error(
        "Redis does not let us read appendfsync: grant the user CONFIG GET (ACL SETUSER … +config|get), \
         or set redis.allow_weak_durability = true if you know that it is always"
    )]
    ConfigHidden,
}
