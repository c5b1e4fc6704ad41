//! The private Redis with real `redis-server` processes: start, join, orphan, restart, the last one out; and the
//! checks that every Redis must pass.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use carteiro::config::{RedisConfig, Secret};
use carteiro::queue::connection::Connection;
use carteiro::queue::link::Timeouts;
use carteiro::redis_server::{Demands, RedisServer, RedisServerError, ServerFacts, client, start_checks};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::AsyncCommands;

fn config(url: Option<String>) -> RedisConfig {
    RedisConfig { url: url.map(|url| Secret(Arc::from(url))), ..RedisConfig::default() }
}

fn timeouts(config: &RedisConfig) -> Timeouts {
    Timeouts { connect: config.connect_timeout, response: config.response_timeout }
}

async fn connect(server: &RedisServer) -> Connection {
    let config = config(None);
    let client = client(&config, Some(server.socket())).unwrap();
    client.connect(timeouts(&config)).await.unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

fn lives(pid: u32) -> bool {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), None).is_ok()
}

#[tokio::test]
async fn the_first_starts_it_the_others_join_and_the_last_one_out_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = RedisServer::join_or_start(folder.path()).await.unwrap();
    let second = RedisServer::join_or_start(folder.path()).await.unwrap();
    assert!(first.is_own_child() && !second.is_own_child());
    assert_eq!(first.socket(), second.socket());
    let pid = first.process_id().await.unwrap();
    assert_eq!(pid, second.process_id().await.unwrap());
    let mode = std::fs::metadata(first.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let () = connect(&second).await.set("key", "value").await.unwrap();
    let exited = second.exited();
    assert!(!first.close().await.unwrap(), "somebody else still uses it");
    let value: String = connect(&second).await.get("key").await.unwrap();
    assert_eq!(value, "value");
    assert!(second.close().await.unwrap());
    exited.await;
    assert!(!folder.path().join("redis.sock").exists());

    let again = RedisServer::join_or_start(folder.path()).await.unwrap();
    let value: String = connect(&again).await.get("key").await.unwrap();
    assert_eq!(value, "value");
}

#[tokio::test]
async fn dropping_the_last_handle_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::join_or_start(folder.path()).await.unwrap();
    let (pid, exited) = (server.process_id().await.unwrap(), server.exited());
    drop(server);
    exited.await;
    assert!(!lives(pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_share_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let join = |path: PathBuf| async move { RedisServer::join_or_start(&path).await.unwrap() };
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(join(path.clone()))).collect();
    let mut servers = Vec::new();
    for task in tasks {
        servers.push(task.await.unwrap());
    }
    assert_eq!(servers.iter().filter(|server| server.is_own_child()).count(), 1);
    let mut stopped = 0;
    for server in servers {
        stopped += u32::from(server.close().await.unwrap());
    }
    assert_eq!(stopped, 1);
}

/// Runs in a process of its own for the next test: starts the server, says so, and waits to be killed.
#[tokio::test]
#[ignore = "started by an_orphan_is_adopted as a process of its own"]
#[allow(clippy::print_stdout, reason = "its standard output tells the other process that it is ready")]
async fn starter() {
    let folder = std::env::var("CARTEIRO_TEST_FOLDER").unwrap();
    let _server = RedisServer::join_or_start(Path::new(&folder)).await.unwrap();
    println!("\nstarted");
    std::future::pending::<()>().await;
}

fn spawn_starter(folder: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starter", "--ignored", "--nocapture"])
        .env("CARTEIRO_TEST_FOLDER", folder)
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "started"));
    child
}

#[tokio::test]
async fn an_orphan_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let mut starter = spawn_starter(folder.path());
    let joined = RedisServer::join_or_start(folder.path()).await.unwrap();
    let pid = joined.process_id().await.unwrap();
    assert!(!joined.close().await.unwrap(), "the starter still uses it");
    starter.kill().unwrap();
    starter.wait().unwrap();
    assert!(lives(pid), "the server outlives a starter that was killed");
    let adopted = RedisServer::join_or_start(folder.path()).await.unwrap();
    assert_eq!(adopted.process_id().await.unwrap(), pid);
    let exited = adopted.exited();
    assert!(adopted.close().await.unwrap());
    exited.await;
}

#[tokio::test]
async fn it_does_not_hear_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::join_or_start(folder.path()).await.unwrap();
    let pid = i32::try_from(server.process_id().await.unwrap()).unwrap();
    let group = nix::unistd::getpgid(Some(Pid::from_raw(pid))).unwrap();
    assert_eq!(group, Pid::from_raw(pid), "it leads a process group of its own");
}

#[tokio::test]
async fn a_killed_server_is_started_again_with_every_acknowledged_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = RedisServer::join_or_start(folder.path()).await.unwrap();
    let mut joined = RedisServer::join_or_start(folder.path()).await.unwrap();
    assert!(!owner.ensure_alive().await.unwrap());
    for (round, by_owner) in [(1u32, true), (2, false), (3, true)] {
        let before = owner.process_id().await.unwrap();
        let () = connect(&owner).await.set("round", round).await.unwrap();
        let exited = joined.exited();
        signal(before, Signal::SIGKILL);
        exited.await;
        let (one, other) = if by_owner { (&mut owner, &mut joined) } else { (&mut joined, &mut owner) };
        assert!(one.ensure_alive().await.unwrap());
        assert!(!other.ensure_alive().await.unwrap(), "started again once");
        assert_ne!(owner.process_id().await.unwrap(), before);
        let kept: u32 = connect(&owner).await.get("round").await.unwrap();
        assert_eq!(kept, round);
    }
    assert!(!owner.close().await.unwrap());
    assert!(joined.close().await.unwrap());
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_a_runtime_folder() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a folder with a name as long as they come".repeat(3));
    let server = RedisServer::join_or_start(&deep).await.unwrap();
    assert!(server.socket().as_os_str().len() <= 107 && !server.socket().starts_with(&deep));
    let runtime = server.socket().parent().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&runtime).unwrap().permissions().mode() & 0o777, 0o700);
    let joined = RedisServer::join_or_start(&deep).await.unwrap();
    assert_eq!(joined.socket(), server.socket());
    drop(joined);
    server.close().await.unwrap();

    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refusal = RedisServer::join_or_start(&deep).await.unwrap_err();
    assert!(matches!(refusal, RedisServerError::RuntimeFolder { .. }), "{refusal}");
    std::fs::remove_dir(&runtime).unwrap();
}

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn what_is_wrong_with_the_program_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = async |program: &Path| {
        let started = RedisServer::join_or_start_program(&folder.path().join("data"), program).await;
        started.unwrap_err().to_string()
    };
    let missing = refusal(Path::new("no-such-redis-server")).await;
    let expect = "no-such-redis-server is not installed: run apt-get install redis-server, \
                  or set redis.url to a Redis that runs";
    assert_eq!(missing, expect);
    let old = script(folder.path(), "old", "echo 'Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64'");
    assert_eq!(refusal(&old).await, "Redis 6.2.14 is too old: 7.0 or newer is needed");
    let broken = "test \"$1\" = --version && { echo v=7.2.0; exit; }; echo 'FATAL: no disk' >&2; exit 1";
    let message = refusal(&script(folder.path(), "broken", broken)).await;
    assert!(message.starts_with("the private Redis did not start: FATAL: no disk"), "{message}");
    RedisServer::join_or_start(&folder.path().join("data")).await.unwrap();
}

/// A Redis with settings of its own, stopped when dropped.
struct Other {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Other {
    async fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--daemonize", "no", "--unixsocket"])
            .arg(&socket)
            .args(settings)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            tokio::task::yield_now().await;
        }
        Self { process, url: format!("redis+unix://{}", socket.display()), _folder: folder }
    }

    async fn check(&self, query: &str, allow_weak: bool) -> Result<ServerFacts, RedisServerError> {
        let config = config(Some(format!("{}{query}", self.url)));
        let client = client(&config, None).unwrap();
        let mut connection = client.connect(timeouts(&config)).await.unwrap();
        start_checks(&mut connection, Demands { fsync: !allow_weak, aof: !allow_weak, cluster: false }).await
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test]
async fn the_private_redis_passes_the_checks() {
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::join_or_start(folder.path()).await.unwrap();
    let facts = start_checks(&mut connect(&server).await, Demands::default()).await.unwrap();
    assert!(facts.durable && facts.run_id.len() == 40 && facts.master_replid.len() == 40, "{facts:?}");
    assert_eq!(facts.process_id, server.process_id().await.unwrap());
}

#[tokio::test]
async fn settings_that_lose_or_duplicate_are_refused() {
    let weak = "Redis has appendonly = no: set appendonly yes and appendfsync always, \
                or redis.allow_weak_durability = true";
    let everysec = "Redis has appendfsync = everysec: set it to always, or redis.allow_weak_durability = true: \
                    a crash could otherwise send messages twice";
    let evicts = "Redis has maxmemory-policy = allkeys-lru: set it to noeviction: \
                  any other policy throws messages away when memory is full";
    let replica = "Redis has role = slave: a replica takes no writes: set redis.url to the master, \
                   or to the sentinels that know it (redis.mode = \"sentinel\")";
    let cluster = "Redis has cluster-enabled = yes: set redis.mode = \"cluster\", \
                   and let redis.url name some of its nodes";
    let with = |more: &[&'static str]| [&DURABLE[..], more].concat();
    for (settings, weak_is_fine, expect) in [
        (vec![], true, weak),
        (vec!["--appendonly", "yes", "--appendfsync", "everysec"], true, everysec),
        (with(&["--maxmemory-policy", "allkeys-lru"]), false, evicts),
        (with(&["--replicaof", "127.0.0.1", "1"]), false, replica),
        (with(&["--cluster-enabled", "yes"]), false, cluster),
    ] {
        let redis = Other::start(&settings).await;
        assert_eq!(redis.check("", false).await.unwrap_err().to_string(), expect);
        match redis.check("", true).await {
            Ok(facts) => assert!(weak_is_fine && !facts.durable),
            Err(error) => assert!(!weak_is_fine && error.to_string() == expect),
        }
    }
    let durable = Other::start(&DURABLE).await;
    assert!(durable.check("", false).await.unwrap().durable);
}

#[tokio::test]
async fn a_user_who_may_not_read_the_settings_is_told_what_to_grant() {
    let acl = ["--user", "app", "on", ">pw", "~*", "&*", "+@all", "-config"];
    let redis = Other::start(&[&DURABLE[..], &acl].concat()).await;
    let error = redis.check("?user=app&pass=pw", false).await.unwrap_err();
    assert!(matches!(error, RedisServerError::ConfigHidden), "{error}");
    assert!(!redis.check("?user=app&pass=pw", true).await.unwrap().durable);
    let granted = ["--user", "app", "on", ">pw", "~*", "&*", "+@all", "-config", "+config|get"];
    let redis = Other::start(&[&DURABLE[..], &granted].concat()).await;
    assert!(redis.check("?user=app&pass=pw", false).await.unwrap().durable);
}

#[tokio::test]
async fn redis_over_tls_with_an_own_authority() {
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (cert_text, key_text) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let tls = [
        "--tls-port",
        &free,
        "--tls-cert-file",
        cert_text,
        "--tls-key-file",
        key_text,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "pw",
    ];
    let _redis = Other::start(&[&DURABLE[..], &tls].concat()).await;
    let mut config = config(Some(format!("rediss://:pw@localhost:{free}")));
    let untrusted = client(&config, None).unwrap();
    assert!(untrusted.connect(timeouts(&config)).await.is_err());
    config.ca_file = Some(cert);
    let trusted = client(&config, None).unwrap();
    let mut connection = trusted.connect(timeouts(&config)).await.unwrap();
    assert!(start_checks(&mut connection, Demands::default()).await.unwrap().durable);
}

#[test]
fn a_client_needs_a_fitting_url() {
    let refusal = |config: &RedisConfig| client(config, None).unwrap_err().to_string();
    assert_eq!(
        refusal(&config(None)),
        "redis.url cannot be used: it is not set and no private Redis was started"
    );
    let secret = "http://:s3cret@h";
    assert_eq!(
        refusal(&config(Some(secret.to_owned()))),
        "redis.url cannot be used: it is not a URL of Redis"
    );
    let mut plain = config(Some("redis://h".to_owned()));
    plain.ca_file = Some("ca.pem".into());
    let expect = "redis.ca_file cannot be used: it is set, but redis.url does not begin with rediss://";
    assert_eq!(refusal(&plain), expect);
}
