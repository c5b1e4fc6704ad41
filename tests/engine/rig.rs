//! One engine with its own folder, Redis and simulator, driven by the command line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use carteiro::clock;
use carteiro::redis_server::RedisServer;
use carteiro::sim::{FaultPlan, LedgerReport, Server, SimConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Long enough for any of this on a busy machine; a test that runs into it fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// The account of every number here.
pub(crate) const ACCOUNT: &str = "100000000000001";

/// Never to be seen in a log.
const TOKEN: &str = "EAAsecretTokenOfTheTest";

/// Signs the webhooks; never to be seen in a log either.
pub(crate) const APP_SECRET: &str = "secretOfTheAppOfTheTest";

/// Every phone of these tests begins like this, whatever its spelling.
const PHONES: &str = "3196";

pub(crate) struct Rig {
    pub(crate) sim: Server,
    folder: tempfile::TempDir,
    pub(crate) numbers: Vec<String>,
    pub(crate) rate: &'static str,
    /// Where the account's token comes from.
    pub(crate) token: &'static str,
    /// `[pace]`.
    pub(crate) pace: String,
    /// More of `[cloud]`.
    pub(crate) cloud: String,
    /// More of the configuration.
    pub(crate) extra: String,
    /// `[calendar]` and `[cap]`: at any hour and as often as a test likes, unless it is about that.
    pub(crate) calendar: &'static str,
    pub(crate) cap: &'static str,
    /// More words of `serve`.
    pub(crate) serve_words: Vec<String>,
    /// The port on which webhooks are taken; None: they are not.
    pub(crate) webhooks: Option<u16>,
    /// People a day of the account's portfolio; None: it has none.
    pub(crate) people_per_day: Option<u64>,
}

/// A running `serve`.
pub(crate) struct Serve {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// Polls until something is so; a deadline, never a fixed sleep.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    wait_for(what, || done().then_some(()).ok_or(""));
}

/// The same for something that says what it found instead.
fn wait_for<T, E: std::fmt::Display>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let begun = clock::mono();
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) => {
                assert!(clock::mono().since(begun) < PATIENCE, "{what}: not within {PATIENCE:?} {instead}")
            }
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Nothing faulty, no limits: what a test wants otherwise it changes.
pub(crate) fn sim(change: impl FnOnce(&mut SimConfig)) -> Server {
    let mut config = SimConfig { rate_per_s: 0, keep_ids: true, pair_limit: false, ..SimConfig::default() };
    change(&mut config);
    Server::start(config).unwrap()
}

pub(crate) fn plan(text: &str) -> FaultPlan {
    FaultPlan::parse(text).unwrap()
}

impl Rig {
    pub(crate) fn new(numbers: usize, rate: &'static str, sim: Server) -> Self {
        let numbers = (0..numbers).map(|at| format!("10654035224292{at}")).collect();
        Self {
            sim,
            folder: tempfile::tempdir().unwrap(),
            numbers,
            rate,
            calendar: "enforce = false",
            cap: "per_day = \"unlimited\"\nper_week = \"unlimited\"",
            serve_words: Vec::new(),
            token: "{ env = \"TEST_TOKEN\" }",
            extra: String::new(),
            pace: String::new(),
            cloud: String::new(),
            webhooks: None,
            people_per_day: None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration as it is now.
    pub(crate) fn configuration(&self) -> PathBuf {
        let mut text = format!(
            "data_dir = {:?}\n{}\n[http]\nlisten = \"127.0.0.1:0\"\n[[account]]\nid = \"{ACCOUNT}\"\ntoken = {}\n",
            self.path("data"),
            self.extra,
            self.token,
        );
        if self.people_per_day.is_some() {
            text += "portfolio = \"p\"\n";
        }
        if let Some(port) = self.webhooks {
            text += "app_secret = { env = \"TEST_APP_SECRET\" }\n[webhooks]\n";
            text += "verify_token = { env = \"TEST_VERIFY_TOKEN\" }\n";
            text += &format!("listen = \"127.0.0.1:{port}\"\n");
        }
        if let Some(people) = self.people_per_day {
            text += &format!("[[portfolio]]\nid = \"p\"\npeople_per_day = {people}\n");
        }
        text += &format!("[calendar]\n{}\n[cap]\n{}\n", self.calendar, self.cap);
        text += &format!("[pace]\n{}\n", self.pace);
        text += &format!("[cloud]\nurl = \"{}\"\n{}", self.sim.url, self.cloud);
        if let Some(pem) = &self.sim.ca_pem {
            std::fs::write(self.path("ca.pem"), pem).unwrap();
            text += &format!("ca_file = {:?}\n", self.path("ca.pem"));
        }
        for number in &self.numbers {
            text += &format!(
                "[[number]]\nphone_number_id = \"{number}\"\naccount = \"{ACCOUNT}\"\nrate = \"{}\"\n",
                self.rate
            );
        }
        let path = self.path("carteiro.toml");
        // Whole or not at all: a process may be reading it, and half of it is another configuration.
        let (file, new) = (tempfile::NamedTempFile::new_in(self.folder.path()).unwrap(), text);
        std::fs::write(file.path(), new).unwrap();
        file.persist(&path).unwrap();
        path
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carteiro"));
        command.arg("--config").arg(self.configuration()).args(words).env("TEST_TOKEN", TOKEN);
        command.env("TEST_APP_SECRET", APP_SECRET).env("TEST_VERIFY_TOKEN", "word");
        command.env_remove("CARTEIRO_LOG").stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words:?}: {:?}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Creates, loads (without duplicates) and starts a campaign of `count` recipients from the `from`th person on.
    pub(crate) fn campaign(&self, id: &str, from: usize, count: usize) {
        self.ready(id, "", from, count);
        self.ok(&["campaign", "start", id, "--yes"]);
    }

    /// The same without the start, with more `keys` in its file; a draft without recipients.
    pub(crate) fn ready(&self, id: &str, keys: &str, from: usize, count: usize) {
        let path = self.path(&format!("{id}.toml"));
        let text = format!(
            "id = \"{id}\"\naccount = \"{ACCOUNT}\"\nexpected = 30000\n{keys}\n[template]\nname = \"template_{id}\"\nlanguage = \"pt_BR\"\nbody = \"Olá {{{{nome}}}}, {{{{contrato}}}}.\"\n[columns]\nphone = \"telefone\"\nref = \"contrato\"\n[columns.variables]\nnome = \"nome\"\ncontrato = \"contrato\"\n[retry]\nmax_attempts = 4\nbase = \"1s\"\nmax = \"10s\"\n"
        );
        std::fs::write(&path, text).unwrap();
        self.ok(&["campaign", "create", path.to_str().unwrap()]);
        if count > 0 {
            self.load(id, from, count);
        }
    }

    /// Runs a command with `--json` that must end with this exit code; its object.
    pub(crate) fn json(&self, words: &[&str], code: i32) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{words:?}: {out}\n{err}");
        serde_json::from_str(out.lines().last().unwrap_or("null")).unwrap()
    }

    pub(crate) fn load(&self, id: &str, from: usize, count: usize) {
        let path = self.path(&format!("{id}-{from}.csv"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
        writeln!(file, "telefone,nome,contrato").unwrap();
        for person in from..from + count {
            writeln!(file, "{PHONES}{:07},Ana \"\"{person},C{person}", person).unwrap();
        }
        drop(file);
        self.ok(&["campaign", "load", id, path.to_str().unwrap()]);
    }

    pub(crate) fn status(&self, id: &str) -> Value {
        let out = self.ok(&["campaign", "status", id, "--json"]);
        serde_json::from_str(out.lines().last().unwrap()).unwrap()
    }

    pub(crate) fn count(&self, id: &str, state: &str) -> u64 {
        self.status(id)["states"][state].as_u64().unwrap()
    }

    pub(crate) fn ledger(&self) -> LedgerReport {
        self.sim.ledger().unwrap()
    }

    /// Waits until a campaign is done, and says what became of its messages.
    pub(crate) fn done(&self, id: &str) -> Value {
        wait_for("the campaign is done", || {
            let status = self.status(id);
            if status["state"] == "done" { Ok(status["states"].clone()) } else { Err(status) }
        })
    }

    /// Waits until the ledger has seen so many taken.
    pub(crate) fn taken(&self, count: u64) {
        wait_until("messages are taken", || self.ledger().taken >= count);
    }

    /// What must hold after every run, however rough: no duplicates, and the sum of taken messages.
    pub(crate) fn judge(&self, id: &str, states: &Value) -> LedgerReport {
        let ledger = self.ledger();
        assert_eq!(
            (ledger.duplicate_ids, ledger.duplicate_people, ledger.untracked),
            (0, 0, 0),
            "{ledger:?}"
        );
        let count = |state: &str| states[state].as_u64().unwrap();
        let loaded = self.status(id)["loaded"].as_u64().unwrap();
        let sum: u64 = states.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum, loaded, "{states}");
        let doubted = self.doubted_and_taken(id);
        let reached = ledger.taken - ledger.failed_later;
        assert_eq!(reached, count("accepted") + count("held") + doubted, "{states} {ledger:?}");
        ledger
    }

    /// Messages in doubt that the ledger says were taken: by their ids without the generation.
    fn doubted_and_taken(&self, id: &str) -> u64 {
        let url = self.sim.control_url.strip_prefix("http://").unwrap();
        let taken: std::collections::HashSet<String> =
            get(url, "/_sim/taken_ids").1.lines().map(message).collect();
        let path = self.path(&format!("{id}-report.csv"));
        self.ok(&["campaign", "report", id, "-o", path.to_str().unwrap()]);
        let mut reader = csv::Reader::from_path(&path).unwrap();
        let headers = reader.headers().unwrap().clone();
        let at = |name: &str| {
            headers.iter().position(|header| header == name).unwrap_or_else(|| panic!("{headers:?}"))
        };
        let (state, ids) = (at("state"), at("message_id"));
        let rows = reader
            .records()
            .map(Result::unwrap)
            .filter(|row| matches!(&row[state], "in_doubt" | "unresolved"));
        rows.filter(|row| taken.contains(&message(&row[ids]))).count() as u64
    }

    /// Starts `serve` and waits until it is ready.
    pub(crate) fn serve(&self) -> Serve {
        let mut serve = self.spawn(&["serve"]);
        wait_until("serve is ready", || {
            assert_eq!(serve.child.try_wait().unwrap(), None, "serve ended: {:#?}", serve.lines());
            serve.ready()
        });
        serve
    }

    /// Starts `serve`, and waits until it has adopted what the last one had.
    pub(crate) fn serve_after_a_crash(&self) -> Serve {
        let serve = self.serve();
        wait_until("the numbers are adopted", || self.owners().len() == self.numbers.len());
        serve
    }

    /// Starts one of several under this name, and waits until it is ready.
    pub(crate) fn serve_as(&self, node: &str, more: &[&str]) -> Serve {
        let mut words = vec!["serve", "--node", node];
        words.extend(more);
        let mut serve = self.spawn(&words);
        wait_until("serve is ready", || {
            assert_eq!(serve.child.try_wait().unwrap(), None, "serve ended: {:#?}", serve.lines());
            serve.ready()
        });
        serve
    }

    /// The owner of every number that has one, as an operator sees it.
    pub(crate) fn owners(&self) -> BTreeMap<String, String> {
        let listed = self.ok(&["number", "list", "--json"]);
        let rows = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let owned =
            rows.filter_map(|row| Some((row["id"].as_str()?.to_owned(), row["node"].as_str()?.to_owned())));
        owned.collect()
    }

    /// Numbers by owner.
    pub(crate) fn shares(&self) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for owner in self.owners().into_values() {
            *shares.entry(owner).or_default() += 1;
        }
        shares
    }

    fn spawn(&self, words: &[&str]) -> Serve {
        let mut command = self.command(words);
        command.args(&self.serve_words);
        command.env("CARTEIRO_LOG", "carteiro=trace,info").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (log.clone(), child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Serve { child, log, reader: Some(reader) }
    }

    /// Asks the private Redis.
    pub(crate) fn redis<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let joined = RedisServer::join_or_start(&self.path("data")).await.unwrap();
            let url = format!("redis+unix://{}", joined.socket().display());
            let client = redis::Client::open(url).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            let answer = command.query_async(&mut connection).await.unwrap();
            drop(connection);
            joined.close().await.unwrap();
            answer
        })
    }

    /// Kills the private Redis as the kernel would.
    pub(crate) fn kill_redis(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let joined = RedisServer::join_or_start(&self.path("data")).await.unwrap();
            let pid = joined.process_id().await.unwrap();
            // Its end is not waited for: the engine starts it again at once, and the gap could be missed.
            kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        });
    }
}

/// An id without its generation: `ct1`, installation, campaign, lane, index.
fn message(id: &str) -> String {
    id.split('.').take(5).collect::<Vec<_>>().join(".")
}

/// Status and body of a GET.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    ask("GET", address, path)
}

/// A POST without a body, to a base URL, that must succeed.
pub(crate) fn post(url: &str, path: &str) -> String {
    let (status, body) = ask("POST", url.strip_prefix("http://").unwrap(), path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn ask(method: &str, address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

impl Serve {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn says(&self, words: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(words))
    }

    /// Waits until its log holds the words: a line comes a moment after what it tells of.
    pub(crate) fn must_say(&self, words: &str) {
        wait_until(&format!("its log says {words:?}"), || self.says(words));
    }

    /// Where it answers HTTP, once it has said so.
    pub(crate) fn http(&self) -> Option<String> {
        let lines = self.lines();
        let line = lines.iter().find(|line| line.contains("\"message\":\"listening\""))?;
        let fields: Value = serde_json::from_str(line).unwrap();
        Some(fields["http"].as_str().unwrap().to_owned())
    }

    /// Requests that came to their end here so far.
    pub(crate) fn attempts(&self) -> u64 {
        let text = get(&self.http().unwrap(), "/metrics").1;
        let lines = text.lines().filter(|line| line.starts_with("carteiro_attempts_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    fn ready(&self) -> bool {
        self.http().is_some_and(|http| TcpStream::connect(&http).is_ok() && get(&http, "/readyz").0 == 200)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.wait().signal(), Some(9));
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(self) {
        self.signal(Signal::SIGTERM);
        self.ended();
    }

    /// A clean end, after a signal.
    pub(crate) fn ended(mut self) {
        let status = self.wait();
        assert!(status.success(), "{status:?} {:#?}", self.lines());
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Asked first, so that it leaves no Redis behind.
            self.signal(Signal::SIGTERM);
            self.wait();
        }
        if std::thread::panicking() {
            let lines = self.lines();
            #[allow(clippy::print_stderr, reason = "a failing test shows what the engine last said")]
            {
                eprintln!("the last lines of its log: {:#?}", &lines[lines.len().saturating_sub(20)..]);
            }
        }
        for line in self.lines() {
            // The time of a line may hold any digits.
            let said = line.split_once("\"level\"").map_or(line.as_str(), |(_, said)| said);
            let clean = !said.contains(PHONES)
                && !line.contains(TOKEN)
                && !line.contains(APP_SECRET)
                && !line.contains("Ana");
            if !clean && !std::thread::panicking() {
                panic!("a log line holds a phone, a name or the token: {line}");
            }
        }
    }
}
