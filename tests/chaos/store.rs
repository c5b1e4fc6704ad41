//! The Redis of a trial: started, killed, frozen and started again by us, and asked who owns which number. One server, or
//! a cluster of three masters, or a master whose replica three sentinels promote.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use carteiro::queue::keys;
use nix::sys::signal::Signal;

use crate::guard::{Guard, PATIENCE, poll, signal};
use crate::servers::{Cluster, MASTER, Server, Trio};
use crate::settings::{Fsync, Kind, Settings};

/// What stores.
pub(crate) struct Store {
    servers: Servers,
    pub(crate) kills: u32,
}

enum Servers {
    Alone(Alone),
    /// With the node that is dead.
    Cluster(Cluster, Option<usize>),
    Sentinel(Trio),
}

/// A private `redis-server` on a Unix socket.
struct Alone {
    guard: Rc<Guard>,
    folder: PathBuf,
    fsync: Fsync,
    child: Option<Child>,
    connection: Option<redis::Connection>,
}

impl Store {
    pub(crate) fn start(guard: Rc<Guard>, folder: &Path, settings: &Settings) -> Self {
        let servers = match settings.kind {
            Kind::Alone => Servers::Alone(Alone::start(guard, folder, settings.fsync)),
            Kind::Cluster => Servers::Cluster(Cluster::start(3), None),
            Kind::Sentinel => Servers::Sentinel(Trio::start(settings.fsync.word())),
        };
        Self { servers, kills: 0 }
    }

    /// Keys of `[redis]` with which engines find it; `way` is the port of their own way, which only one server has.
    pub(crate) fn keys(&self, way: u16) -> String {
        match &self.servers {
            Servers::Alone(_) => format!("url = \"redis://127.0.0.1:{way}\"\n"),
            // Its masters have no replicas, and keep what they acknowledge.
            Servers::Cluster(all, _) => {
                format!("url = \"{}\"\nmode = \"cluster\"\nwait_replicas = 0\n", all.url())
            }
            Servers::Sentinel(trio) => {
                // The replica is up to five seconds behind when its master is about to be killed, and a little more when
                // it is dead.
                let url = trio.url();
                format!(
                    "url = \"{url}\"\nmode = \"sentinel\"\nsentinel_master = \"{MASTER}\"\nreplay_window = \"10s\"\n"
                )
            }
        }
    }

    /// Where a way to it leads.
    pub(crate) fn socket(&self) -> PathBuf {
        match &self.servers {
            Servers::Alone(alone) => alone.socket(),
            _ => PathBuf::new(),
        }
    }

    /// Starts what is dead again, as whoever watches over it would, and waits until it answers.
    pub(crate) fn up(&mut self) {
        match &mut self.servers {
            Servers::Alone(alone) if alone.child.is_none() => alone.up(),
            Servers::Cluster(all, dead) => {
                if let Some(at) = dead.take() {
                    all.0[at].again(&[]);
                }
            }
            Servers::Alone(_) | Servers::Sentinel(_) => {}
        }
    }

    /// Kills it, or that one of several, as the kernel would.
    pub(crate) fn kill(&mut self, which: usize) {
        match &mut self.servers {
            Servers::Alone(alone) => alone.kill(),
            Servers::Cluster(all, dead) => {
                let at = which % all.0.len();
                all.0[at].kill();
                *dead = Some(at);
            }
            Servers::Sentinel(_) => {}
        }
        self.kills += 1;
    }

    pub(crate) fn is_up(&self) -> bool {
        match &self.servers {
            Servers::Alone(alone) => alone.child.is_some(),
            Servers::Cluster(_, dead) => dead.is_none(),
            Servers::Sentinel(_) => true,
        }
    }

    /// Stops or continues it; one of several.
    pub(crate) fn signal(&self, what: Signal) {
        match &self.servers {
            Servers::Alone(alone) => alone.signal(what),
            Servers::Cluster(all, _) => {
                let id = i32::try_from(all.0[0].pid()).unwrap();
                let _dead = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), what);
            }
            Servers::Sentinel(_) => {}
        }
    }

    /// Asks it; None when it does not answer.
    pub(crate) fn ask<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> Option<T> {
        match &mut self.servers {
            Servers::Alone(alone) => alone.ask(words),
            // The others refuse a key that is not theirs.
            Servers::Cluster(all, _) => all.0.iter().find_map(|node| node.try_ask(words)),
            Servers::Sentinel(trio) => master_of(trio).try_ask(words),
        }
    }

    /// The process that owns each number, by its name; numbers that nobody owns are left out.
    pub(crate) fn owners(&mut self) -> Option<BTreeMap<String, String>> {
        let all: BTreeMap<String, String> = self.ask(&["HGETALL", keys::OWN_NUMBERS])?;
        let owner = |entry: &str| entry.split(' ').next().filter(|name| *name != "-").map(str::to_owned);
        Some(all.into_iter().filter_map(|(number, entry)| Some((number, owner(&entry)?))).collect())
    }

    /// Has the replica fall behind for a while, kills the master and has the replica promoted. `wait` lets time pass.
    pub(crate) fn fail_over(&mut self, mut wait: impl FnMut()) {
        let Servers::Sentinel(trio) = &mut self.servers else { return };
        let (master, other) = if trio.named() == trio.master.port {
            (&mut trio.master, &mut trio.replica)
        } else {
            (&mut trio.replica, &mut trio.master)
        };
        // It must start from nothing, since what it missed is more than the backlog holds, and that begins late.
        master.ask::<String>(&["CONFIG", "SET", "repl-backlog-size", "16384"]);
        master.ask::<String>(&["CONFIG", "SET", "repl-diskless-sync-delay", "60"]);
        master.ask::<u64>(&["CLIENT", "KILL", "TYPE", "replica"]);
        let filler = "x".repeat(65_536);
        master.ask::<String>(&["SET", "filler", &filler]);
        wait();
        master.kill();
        self.kills += 1;
        // Until every sentinel names the new master, one that is back in its old place may be taken for it again.
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let names_it =
            |one: &Server| one.try_ask::<(String, u16)>(&words).is_some_and(|(_, at)| at == other.port);
        let promoted = poll(PATIENCE, || {
            let is_master = other.info("replication", "role") == "master";
            (is_master && trio.sentinels.iter().all(names_it)).then_some(())
        });
        assert!(promoted.is_some(), "the replica is not promoted");
        master.again(&[]);
        // Sentinels may turn a promotion back: whoever is the master in the end must have the other one behind it.
        let has_replica = |one: &Server| one.info("replication", "connected_slaves") == "1";
        let follows = poll(PATIENCE, || (has_replica(master) || has_replica(other)).then_some(()));
        assert!(follows.is_some(), "neither of the two follows the other");
    }
}

/// The server that says of itself that it is the master.
fn master_of(trio: &Trio) -> &Server {
    let is_master = trio.replica.info("replication", "role") == "master";
    if is_master { &trio.replica } else { &trio.master }
}

impl Alone {
    fn start(guard: Rc<Guard>, folder: &Path, fsync: Fsync) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut alone = Self { guard, folder: folder.to_owned(), fsync, child: None, connection: None };
        alone.up();
        alone
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    fn up(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join("redis.log")).unwrap();
        let mut command = Command::new("redis-server");
        command
            .args("--port 0 --appendonly yes --maxmemory-policy noeviction".split(' '))
            .args(["--save", ""]);
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

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::SIGKILL);
            child.wait().unwrap();
            self.connection = None;
        }
    }

    fn signal(&self, what: Signal) {
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

    fn ask<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> Option<T> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = command.query(self.connection()?);
        if answer.is_err() {
            self.connection = None;
        }
        answer.ok()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _ended = child.wait();
        }
    }
}
