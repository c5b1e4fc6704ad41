//! The Redis of a trial: started, killed, frozen and started again by us, and asked who owns which number.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use carteiro::queue::keys;
use nix::sys::signal::Signal;

use crate::guard::{Guard, PATIENCE, poll, signal};
use crate::settings::Fsync;

/// A private `redis-server` on a Unix socket.
pub(crate) struct Store {
    guard: Rc<Guard>,
    folder: PathBuf,
    fsync: Fsync,
    child: Option<Child>,
    connection: Option<redis::Connection>,
    pub(crate) kills: u32,
}

impl Store {
    pub(crate) fn start(guard: Rc<Guard>, folder: &Path, fsync: Fsync) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut store =
            Self { guard, folder: folder.to_owned(), fsync, child: None, connection: None, kills: 0 };
        store.up();
        store
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// Starts it again, as whoever watches over it would, and waits until it answers.
    pub(crate) fn up(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join("redis.log")).unwrap();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            "0",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--maxmemory-policy",
            "noeviction",
        ]);
        command.args(["--appendfsync", self.fsync.word(), "--unixsocket"]).arg(self.socket());
        command.arg("--dir").arg(&self.folder).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        let child = self.guard.spawn(&mut command);
        self.child = Some(child.unwrap_or_else(|error| panic!("redis-server: {error}")));
        let ready = poll(PATIENCE, || {
            let pong: Result<String, _> = redis::cmd("PING").query(self.connection()?);
            if pong.is_err() {
                self.connection = None;
            }
            pong.ok()
        });
        assert!(ready.is_some(), "redis does not come up: see {}", self.folder.display());
    }

    /// Kills it as the kernel would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::SIGKILL);
            child.wait().unwrap();
            self.connection = None;
            self.kills += 1;
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Stops or continues it.
    pub(crate) fn signal(&self, what: Signal) {
        if let Some(child) = &self.child {
            signal(child, what);
        }
    }

    fn connection(&mut self) -> Option<&mut redis::Connection> {
        if self.connection.is_none() {
            let client = redis::Client::open(format!("redis+unix://{}", self.socket().display())).unwrap();
            let connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
            connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            self.connection = Some(connection);
        }
        self.connection.as_mut()
    }

    /// Asks it; None when it does not answer.
    pub(crate) fn ask<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> Option<T> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = command.query(self.connection()?);
        if answer.is_err() {
            self.connection = None;
        }
        answer.ok()
    }

    /// The process that owns each number, by its name; numbers that nobody owns are left out.
    pub(crate) fn owners(&mut self) -> Option<BTreeMap<String, String>> {
        let all: BTreeMap<String, String> = self.ask(&["HGETALL", keys::OWN_NUMBERS])?;
        let owner = |entry: &str| entry.split(' ').next().filter(|name| *name != "-").map(str::to_owned);
        Some(all.into_iter().filter_map(|(number, entry)| Some((number, owner(&entry)?))).collect())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _ended = child.wait();
        }
    }
}
