//! Real Redis servers of a test's own, all from the one program `redis-server`: a cluster of masters, and three
//! sentinels that watch over a master and its replica.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several tests, each uses a part"
)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use carteiro::clock;
use redis::FromRedisValue;

/// Long enough for any of this on a busy machine; a test that runs into it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the master that sentinels watch.
pub const MASTER: &str = "carteiro";

/// One server, killed when it is dropped.
pub struct Server {
    pub port: u16,
    child: Child,
    words: Vec<String>,
    folder: tempfile::TempDir,
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = clock::mono();
    while !done() {
        assert!(clock::mono().since(begun) < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A port that is free now, and 10,000 above it, too: there a node of a cluster speaks with the others.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 50_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
        // The kernel hands out its upper half by default; below it there is room, too.
        let lower = 20_000 + port % 12_000;
        if TcpListener::bind(("127.0.0.1", lower)).is_ok()
            && TcpListener::bind(("127.0.0.1", lower + 10_000)).is_ok()
        {
            return lower;
        }
    }
}

impl Server {
    /// Starts a server with these settings, each a word of the command line.
    pub fn start(settings: &[&str]) -> Self {
        let words: Vec<String> = settings.iter().map(|&word| word.to_owned()).collect();
        Self::with(&words, &[])
    }

    /// One that keeps everything it acknowledges.
    pub fn durable(more: &[&str]) -> Self {
        Self::start(&[&["--appendonly", "yes", "--appendfsync", "always", "--save", ""], more].concat())
    }

    fn with(words: &[String], file: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if !file.is_empty() {
            std::fs::write(folder.path().join("given.conf"), file.join("\n")).unwrap();
        }
        loop {
            let port = free_port();
            let child = spawn(folder.path(), port, words, !file.is_empty());
            let mut server =
                Self { port, child, words: words.to_vec(), folder: tempfile::tempdir().unwrap() };
            let mut ended = false;
            wait_until("a redis answers", || {
                ended = server.child.try_wait().unwrap().is_some();
                ended || server.try_ask::<String>(&["PING"]).is_some()
            });
            // Somebody else may have taken the port.
            if !ended {
                server.folder = folder;
                return server;
            }
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks it; None: it does not answer, or says no.
    pub fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> Option<T> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5)).ok()?;
        connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection).ok()
    }

    /// Asks it; it must answer.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).unwrap_or_else(|| panic!("no answer to {words:?}"))
    }

    /// One field of what it says of itself.
    pub fn info(&self, section: &str, field: &str) -> String {
        let text: String = self.try_ask(&["INFO", section]).unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_default().trim().to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, and its end.
    pub fn kill(&mut self) {
        let _gone = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Starts it again after its end, with the same port, folder and settings, and `more`.
    pub fn again(&mut self, more: &[&str]) {
        let mut words = self.words.clone();
        words.extend(more.iter().map(|&word| word.to_owned()));
        self.child = spawn(self.folder.path(), self.port, &words, false);
        wait_until("a redis answers again", || self.try_ask::<String>(&["PING"]).is_some());
    }
}

fn spawn(folder: &Path, port: u16, words: &[String], file: bool) -> Child {
    let mut command = Command::new("redis-server");
    if file {
        command.arg(folder.join("given.conf"));
    }
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"]);
    command.args(words).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Masters that share the slots evenly.
pub struct Cluster(pub Vec<Server>);

impl Cluster {
    pub fn start(masters: u16) -> Self {
        let settings = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
        let all = Self((0..masters).map(|_| Server::durable(&settings)).collect());
        for (at, node) in (0..).zip(&all.0) {
            let bounds = [16_384 * at / u32::from(masters), 16_384 * (at + 1) / u32::from(masters) - 1];
            let [first, last] = bounds.map(|slot| slot.to_string());
            // Only a node that knows no other one may be given its epoch.
            node.ask::<String>(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
            node.ask::<String>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        for node in &all.0 {
            for other in &all.0 {
                node.ask::<String>(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]);
            }
        }
        wait_until("the cluster is whole", || all.0.iter().all(|node| all.sees_all(node)));
        all
    }

    fn sees_all(&self, node: &Server) -> bool {
        let info: String = node.try_ask(&["CLUSTER", "INFO"]).unwrap_or_default();
        let nodes = format!("cluster_known_nodes:{}\r", self.0.len());
        info.contains("cluster_state:ok") && info.contains(&nodes)
    }

    /// `redis.url`: some of the nodes.
    pub fn url(&self) -> String {
        self.0.iter().take(2).map(Server::url).collect::<Vec<_>>().join(",")
    }

    /// Which node has a slot.
    pub fn of_slot(&self, slot: u32) -> usize {
        (0..self.0.len())
            .rfind(|at| 16_384 * u32::try_from(*at).unwrap() / u32::try_from(self.0.len()).unwrap() <= slot)
            .unwrap()
    }

    pub fn id(&self, node: usize) -> String {
        self.0[node].ask(&["CLUSTER", "MYID"])
    }
}

/// A master, its replica, and three sentinels.
pub struct Trio {
    pub master: Server,
    pub replica: Server,
    pub sentinels: Vec<Server>,
}

impl Trio {
    /// Both servers keep their files as `fsync` says.
    pub fn start(fsync: &str) -> Self {
        let settings =
            ["--appendonly", "yes", "--appendfsync", fsync, "--save", "", "--repl-diskless-sync-delay", "0"];
        let master = Server::start(&settings);
        let of = ["--replicaof", "127.0.0.1", &master.port.to_string()].map(str::to_owned);
        let words = settings.iter().map(|&word| word.to_owned()).chain(of);
        let replica = Server::with(&words.collect::<Vec<_>>(), &[]);
        wait_until("the replica follows", || replica.info("replication", "master_link_status") == "up");
        let watch = [
            format!("sentinel monitor {MASTER} 127.0.0.1 {} 2", master.port),
            format!("sentinel down-after-milliseconds {MASTER} 1000"),
            format!("sentinel failover-timeout {MASTER} 3000"),
        ];
        let sentinels: Vec<Server> =
            (0..3).map(|_| Server::with(&["--sentinel".to_owned()], &watch)).collect();
        let all = Self { master, replica, sentinels };
        wait_until("the sentinels know each other and the replica", || {
            all.sentinels.iter().all(|one| {
                let text: String = one.try_ask(&["INFO", "sentinel"]).unwrap_or_default();
                text.contains("slaves=1,sentinels=3")
            })
        });
        all
    }

    /// `redis.url`: the sentinels.
    pub fn url(&self) -> String {
        self.sentinels.iter().map(Server::url).collect::<Vec<_>>().join(",")
    }

    /// Where the sentinels think that the master is.
    pub fn named(&self) -> u16 {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        self.sentinels[0].ask::<(String, u16)>(&words).1
    }

    /// Waits until the old master has become a replica.
    pub fn demoted(&self) {
        wait_until("the old master follows", || self.master.info("replication", "role") == "slave");
    }

    /// Waits until the replica is the master, for itself and for every sentinel.
    pub fn failed_over(&self) {
        wait_until("the replica is promoted", || {
            self.replica.info("replication", "role") == "master"
                && self.sentinels.iter().all(|one| {
                    let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
                    one.try_ask::<(String, u16)>(&words).is_some_and(|(_, port)| port == self.replica.port)
                })
        });
    }
}
