//! The private Redis: a `redis-server` child on a Unix socket in the data folder, for whoever has no
//! `redis.url`. Same code as against any other Redis, with the settings that keep every acknowledged write.
//!
//! Any number of processes share it. The first one starts it, the others join, the last one out stops it. It
//! runs in a process group of its own, so Ctrl-C in a terminal does not reach it, and it outlives a starter that
//! was killed: the next process simply joins the orphan. Nothing is ever killed by process id; it is stopped by
//! `SHUTDOWN` over its own socket, after it said that it works in our folder.
//!
//! How that is known without process ids: the server inherits a locked file as its standard input, so the lock
//! is held exactly as long as the server lives, whoever started it. See `redis_server/paths.rs` for the files.
//!
//! [`start_checks`] and [`client`] are for every Redis, private or by URL. Nothing here knows of campaigns.

mod checks;
mod child;
mod connect;
mod error;
mod paths;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo};

use crate::clock::{self, Mono};
use paths::{Paths, got};

pub use checks::{Demands, ServerFacts, check_all, start_checks};
pub use connect::client;
pub use error::RedisServerError;

/// How long another process may hold the start lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the server may take to answer, apart from loading its file.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long it may load its file: a few gigabytes from a slow disk.
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// How long it may take to write its file and end.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two looks at a lock or a socket.
const POLL: Duration = Duration::from_millis(10);

/// The program that is started.
const PROGRAM: &str = "redis-server";

/// This process' share in the private Redis. Dropping it lets go of it; the last one stops the server.
#[derive(Debug)]
pub struct RedisServer {
    paths: Paths,
    program: PathBuf,
    runtime_root: Option<PathBuf>,
    socket: PathBuf,
    /// Locked, shared: we use the server. None after it was let go.
    users: Option<File>,
    /// The server, if it is this process' own child: it must be waited for when it ends.
    child: Option<Child>,
}

/// What a look at the socket found.
enum Answer {
    Ready,
    Loading,
    Nothing(String),
}

impl RedisServer {
    /// Joins the private Redis of a data folder, starting it if it does not run. Returns when it answers.
    ///
    /// # Errors
    /// If it is not installed, too old, does not start or does not answer; the message says what to do.
    pub async fn join_or_start(data_dir: &Path) -> Result<Self, RedisServerError> {
        Self::join_or_start_program(data_dir, Path::new(PROGRAM)).await
    }

    /// The same with another program than `redis-server`.
    ///
    /// # Errors
    /// As [`RedisServer::join_or_start`].
    pub async fn join_or_start_program(data_dir: &Path, program: &Path) -> Result<Self, RedisServerError> {
        let paths = Paths::prepare(data_dir)?;
        let start = lock_start(&paths).await?;
        let users = Paths::open(&paths.users_lock())?;
        // Only a process that stops the server locks it alone, and it holds the start lock then.
        users.lock_shared().map_err(|source| RedisServerError::Io { path: paths.users_lock(), source })?;
        let mut server = Self {
            paths,
            program: program.to_owned(),
            runtime_root: std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            socket: PathBuf::new(),
            users: None,
            child: None,
        };
        server.ensure_running().await?;
        server.users = Some(users);
        drop(start);
        Ok(server)
    }

    /// Its Unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A client of it, for a word outside the queue.
    ///
    /// # Errors
    /// Never, for a socket that it was started with.
    pub fn client(&self) -> Result<redis::Client, redis::RedisError> {
        socket_client(&self.socket)
    }

    /// True if this process started it (and did not merely join it).
    pub fn is_own_child(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id, as it tells itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn process_id(&self) -> Result<u32, RedisServerError> {
        let asked = async {
            let mut connection = child::connect(&self.socket).await?;
            redis::cmd("INFO").arg("server").query_async::<String>(&mut connection).await
        };
        let text = asked.await.map_err(|source| RedisServerError::Command { command: "INFO", source })?;
        let field = text.lines().find_map(|line| line.strip_prefix("process_id:"));
        field.and_then(|pid| pid.trim().parse().ok()).ok_or_else(|| RedisServerError::Refused {
            setting: "process_id",
            found: "nothing".to_owned(),
            remedy: "it is no redis-server: install the original",
        })
    }

    /// Ends when the server process has ended, whoever started it. One thread waits per call, so call it once
    /// per start of the server.
    pub fn exited(&self) -> impl Future<Output = ()> + Send + use<> {
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let path = self.paths.run_lock();
        std::thread::spawn(move || {
            if let Ok(file) = Paths::open(&path) {
                // The lock is free when the server has ended; nobody keeps a shared one.
                let _ = file.lock_shared();
            }
            drop(tell);
        });
        async move {
            let _ = told.await;
        }
    }

    /// Starts the server again if it has ended; true if this call did it. Another process may be faster.
    ///
    /// # Errors
    /// As [`RedisServer::join_or_start`].
    pub async fn ensure_alive(&mut self) -> Result<bool, RedisServerError> {
        let ended =
            self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
        if ended {
            self.child = None;
        } else if matches!(child::ask(&self.socket).await, Answer::Ready) {
            return Ok(false);
        }
        let _start = lock_start(&self.paths).await?;
        self.ensure_running().await
    }

    /// Lets go of the server; true if this was the last user, so that it was stopped.
    ///
    /// # Errors
    /// If it refused to stop.
    pub async fn close(mut self) -> Result<bool, RedisServerError> {
        let _start = lock_start(&self.paths).await?;
        tokio::task::spawn_blocking(move || self.let_go())
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Waits until the server answers, starting it if nobody runs it; true if this call started it. The caller
    /// holds the start lock.
    async fn ensure_running(&mut self) -> Result<bool, RedisServerError> {
        let begun = clock::mono();
        let run_path = self.paths.run_lock();
        let mut started = false;
        loop {
            let run = Paths::open(&run_path)?;
            if got(&run_path, run.try_lock())? {
                if started {
                    return Err(self.start_failed());
                }
                self.reap();
                child::check_program(&self.program)?;
                self.socket = self.paths.choose_socket(self.runtime_root.as_deref())?;
                self.child = Some(child::spawn(&self.paths, &self.program, &self.socket, run)?);
                started = true;
                continue;
            }
            drop(run);
            if !started {
                self.socket = self.paths.running_socket()?;
            }
            let (limit, problem) = match child::ask(&self.socket).await {
                Answer::Ready => break,
                Answer::Loading => (LOAD_TIMEOUT, "it is loading its file".to_owned()),
                Answer::Nothing(problem) => (ANSWER_TIMEOUT, problem),
            };
            if clock::mono().since(begun) > limit {
                let (dir, seconds) = (self.paths.dir.clone(), limit.as_secs());
                return Err(RedisServerError::Silent { dir, seconds, problem });
            }
            tokio::time::sleep(POLL).await;
        }
        child::check_folder(&self.socket, &self.paths.dir).await?;
        Ok(started)
    }

    fn start_failed(&mut self) -> RedisServerError {
        self.reap();
        RedisServerError::StartFailed { log: self.paths.log(), log_tail: self.paths.log_tail() }
    }

    /// Collects a child that has ended. Its lock is free, so this does not wait.
    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Gives up our share and stops the server if nobody else has one. The caller holds the start lock.
    fn let_go(&mut self) -> Result<bool, RedisServerError> {
        let Some(users) = self.users.take() else {
            return Ok(false);
        };
        let path = self.paths.users_lock();
        // Closing it is not enough: a child that another thread forks at this moment has a copy of it until it becomes its
        // program, and would count as one more user.
        users.unlock().map_err(|source| RedisServerError::Io { path: path.clone(), source })?;
        let users = Paths::open(&path)?;
        if !got(&path, users.try_lock())? {
            return Ok(false);
        }
        self.stop()?;
        Ok(true)
    }

    /// Stops the server and waits until it has ended.
    fn stop(&mut self) -> Result<(), RedisServerError> {
        let run_path = self.paths.run_lock();
        let run = Paths::open(&run_path)?;
        if !got(&run_path, run.try_lock())? {
            let failed = |problem: String| RedisServerError::StopFailed { log: self.paths.log(), problem };
            child::shutdown(&self.socket, &self.paths.dir, STOP_TIMEOUT).map_err(failed)?;
            // Its connections are closed, so it is past its last write: this wait is short.
            run.lock_shared().map_err(|source| RedisServerError::Io { path: run_path, source })?;
        }
        self.reap();
        let _ = std::fs::remove_file(&self.socket);
        Ok(())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if self.users.is_none() {
            return;
        }
        let path = self.paths.start_lock();
        let locked = Paths::open(&path).and_then(|start| match start.lock() {
            Ok(()) => Ok(start),
            Err(source) => Err(RedisServerError::Io { path, source }),
        });
        if let Err(error) = locked.and_then(|_start| self.let_go()) {
            tracing::error!(%error, "the private Redis was not stopped");
        }
    }
}

/// Takes the start lock, waiting while another process starts or stops the server.
async fn lock_start(paths: &Paths) -> Result<File, RedisServerError> {
    let path = paths.start_lock();
    let file = Paths::open(&path)?;
    let begun: Mono = clock::mono();
    while !got(&path, file.try_lock())? {
        if clock::mono().since(begun) > LOCK_TIMEOUT {
            return Err(RedisServerError::Busy { path, seconds: LOCK_TIMEOUT.as_secs() });
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(file)
}

/// A client of a Unix socket.
fn socket_client(socket: &Path) -> Result<redis::Client, redis::RedisError> {
    redis::Client::open(ConnectionAddr::Unix(socket.to_owned()).into_connection_info()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_user_stops_it_even_if_a_fork_has_a_copy_of_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::join_or_start(folder.path()).await.unwrap();
        let copy = server.users.as_ref().unwrap().try_clone().unwrap();
        let exited = server.exited();
        assert!(server.close().await.unwrap());
        exited.await;
        drop(copy);
    }
}
