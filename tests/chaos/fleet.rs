//! The engines of a trial: `serve` processes in slots, each with a way of its own to Redis, started, killed, frozen and
//! stopped.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::guard::{Guard, signal};
use crate::judge::SLACK_MS;
use crate::settings::{Fsync, Settings};
use crate::store::Store;
use crate::way::{Far, Way};

/// The account of every number here.
pub(crate) const ACCOUNT: &str = "100000000000001";

/// Signs the webhooks.
pub(crate) const APP_SECRET: (&str, &str) = ("CHAOS_APP_SECRET", "secretOfTheTrial");

/// Name of the program in the folder of a trial: a build meanwhile must not change it.
const PROGRAM: &str = "carteiro";

/// Folder of the operator, who is a node of no slot.
const OPERATOR: &str = "operator";

/// What engines said of themselves.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Claims that a start gave back because its journal shows that they were never begun.
    pub(crate) given_back: u64,
    /// Messages put in doubt because their owner was lost.
    pub(crate) doubted: u64,
    /// Lines of bugs: panics.
    pub(crate) bugs: Vec<String>,
}

/// All slots.
pub(crate) struct Fleet {
    guard: Rc<Guard>,
    folder: PathBuf,
    pub(crate) slots: Vec<Slot>,
    /// The operator's own way to Redis, which nobody disturbs.
    _operator: Way,
    /// Ports that take webhooks, by slot.
    pub(crate) hooks: Arc<Mutex<Vec<Option<u16>>>>,
    pub(crate) said: Arc<Mutex<Said>>,
}

/// A place for one engine at a time.
pub(crate) struct Slot {
    pub(crate) way: Way,
    pub(crate) engine: Option<Engine>,
    starts: u32,
}

/// A running `serve`.
pub(crate) struct Engine {
    /// Its name among the nodes.
    pub(crate) name: String,
    child: Child,
    pub(crate) frozen: bool,
    /// It was asked to stop.
    stopping: bool,
}

impl Fleet {
    /// Slots without engines. `api` is the port through which they reach the simulator, `hooks` has the ports at which
    /// they take its webhooks.
    pub(crate) fn new(
        guard: Rc<Guard>,
        folder: &Path,
        settings: &Settings,
        store: &Store,
        (api, hooks): (u16, Arc<Mutex<Vec<Option<u16>>>>),
    ) -> Self {
        let slots: Vec<Slot> = (0..settings.engines)
            .map(|_| Slot { way: Way::to(Far::Unix(store.socket())), engine: None, starts: 0 })
            .collect();
        std::fs::copy(env!("CARGO_BIN_EXE_carteiro"), folder.join(PROGRAM)).unwrap();
        let configure = |name: &str, way: &Way, shards: usize| {
            let folder = folder.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let text = configuration(settings, &folder, &store.keys(way.port), api, shards);
            std::fs::write(folder.join("carteiro.toml"), text).unwrap();
        };
        for (at, slot) in slots.iter().enumerate() {
            configure(&engine(at), &slot.way, 1 + at % 2);
        }
        let operator = Way::to(Far::Unix(store.socket()));
        configure(OPERATOR, &operator, 1);
        *hooks.lock().unwrap() = vec![None; slots.len()];
        let (folder, said) = (folder.to_owned(), Arc::default());
        Self { guard, folder, slots, _operator: operator, hooks, said }
    }

    fn command(&self, whose: &str) -> Command {
        let mut command = Command::new(self.folder.join(PROGRAM));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CARTEIRO_") {
                command.env_remove(name);
            }
        }
        command.arg("--config").arg(self.folder.join(whose).join("carteiro.toml"));
        command.env(APP_SECRET.0, APP_SECRET.1).env("CHAOS_WORD", "word").env("CHAOS_TOKEN", "token");
        command.stdin(Stdio::null()).current_dir(&self.folder);
        command
    }

    /// Starts an engine in a slot, under the slot's own name or a new one.
    pub(crate) fn start(&mut self, at: usize, new_name: bool) {
        let slot = &mut self.slots[at];
        assert!(slot.engine.is_none());
        slot.starts += 1;
        let name = if new_name { format!("e{at}-{}", slot.starts) } else { format!("e{at}") };
        let mut command = self.command(&engine(at));
        command.args(["serve", "--node", &name]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.guard.spawn(&mut command).unwrap();
        let path = self.folder.join(engine(at)).join("serve.log");
        let mut log = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(log, "--- {name}, process {}", child.id()).unwrap();
        let (stderr, hooks, said) = (child.stderr.take().unwrap(), self.hooks.clone(), self.said.clone());
        std::thread::spawn(move || {
            let mut port = None;
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                note(&line, &mut said.lock().unwrap());
                if let Some(found) = hook_of(&line) {
                    port = Some(found);
                    hooks.lock().unwrap()[at] = port;
                }
                let _full = writeln!(log, "{line}");
            }
            let mut hooks = hooks.lock().unwrap();
            if hooks[at] == port {
                hooks[at] = None;
            }
        });
        self.slots[at].engine = Some(Engine { name, child, frozen: false, stopping: false });
    }

    /// Kills the engine of a slot. Its name.
    pub(crate) fn kill(&mut self, at: usize) -> Option<String> {
        let mut engine = self.slots[at].engine.take()?;
        signal(&engine.child, Signal::SIGKILL);
        engine.child.wait().unwrap();
        Some(engine.name.clone())
    }

    /// The slots whose engine lives and is not frozen.
    pub(crate) fn running(&self) -> Vec<usize> {
        let runs = |at: &usize| self.slots[*at].engine.as_ref().is_some_and(|engine| !engine.frozen);
        (0..self.slots.len()).filter(runs).collect()
    }

    /// Engines that ended since the last look: their slot, how, and whether they were asked to.
    pub(crate) fn ended(&mut self) -> Vec<(usize, ExitStatus, bool)> {
        let mut ended = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let Some(engine) = &mut slot.engine else { continue };
            if let Some(status) = engine.child.try_wait().unwrap() {
                ended.push((at, status, engine.stopping));
                slot.engine = None;
            }
        }
        ended
    }

    /// Begins a command of the operator.
    pub(crate) fn begin(&self, words: &[&str]) -> Child {
        let mut command = self.command(OPERATOR);
        command.args(words).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped());
        self.guard.spawn(&mut command).unwrap()
    }

    /// Runs a command of the operator to its end. Its exit code and last object.
    pub(crate) fn run(&self, words: &[&str]) -> (i32, Value) {
        outcome(self.begin(words))
    }
}

impl Engine {
    pub(crate) fn signal(&mut self, what: Signal) {
        signal(&self.child, what);
        match what {
            Signal::SIGSTOP => self.frozen = true,
            Signal::SIGCONT => self.frozen = false,
            Signal::SIGTERM => self.stopping = true,
            _ => {}
        }
    }

    /// Waits for its end after it was asked to stop.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Exit code and last object of a command, once it has ended.
pub(crate) fn outcome(child: Child) -> (i32, Value) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let code = status.code().unwrap_or(-1);
    let text = String::from_utf8_lossy(if code == 0 || code == 3 { &stdout } else { &stderr }).into_owned();
    let last = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    (code, last.unwrap_or(Value::String(text)))
}

/// Folder of a slot's engine.
pub(crate) fn engine(at: usize) -> String {
    format!("engine{at}")
}

/// Where an engine says that it takes webhooks.
fn hook_of(line: &str) -> Option<u16> {
    let said: Value = line.contains("taking webhooks").then(|| serde_json::from_str(line).ok())??;
    said["address"].as_str()?.rsplit(':').next()?.parse().ok()
}

fn note(line: &str, said: &mut Said) {
    let number = |name: &str| {
        let fields: Value = serde_json::from_str(line).unwrap_or_default();
        fields[name].as_u64().unwrap_or_default()
    };
    if line.contains("never begun: queued again") {
        said.given_back += number("messages");
    } else if line.contains("that a lost process was sending are in doubt") {
        said.doubted += number("in_doubt");
    } else if line.contains("panicked") || line.contains("this is a bug") {
        said.bugs.push(line.to_owned());
    }
}

/// The configuration of a slot's engine: everything short, so that a trial is.
fn configuration(settings: &Settings, folder: &Path, redis: &str, api: u16, shards: usize) -> String {
    let weak = settings.fsync == Fsync::EverySecond;
    let mut text = format!(
        "data_dir = {folder:?}\n\
         [redis]\n{redis}allow_weak_durability = {weak}\n\
         connect_timeout = \"1s\"\nresponse_timeout = \"2s\"\n\
         [cloud]\nurl = \"http://127.0.0.1:{api}\"\ntimeout = \"2s\"\nconnect_timeout = \"1s\"\n\
         [pace]\narrival_slack = \"{SLACK_MS}ms\"\n\
         [breaker]\nbase = \"100ms\"\nmax = \"1s\"\n\
         [sender]\nshards = {shards}\ndrain_timeout = \"5s\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n\
         [ownership]\nlease = \"{}ms\"\n\
         [webhooks]\nlisten = \"127.0.0.1:0\"\nverify_token = {{ env = \"CHAOS_WORD\" }}\n\
         [calendar]\nenforce = false\n\
         [[account]]\nid = \"{ACCOUNT}\"\ntoken = {{ env = \"CHAOS_TOKEN\" }}\napp_secret = {{ env = \"{}\" }}\n",
        settings.lease.as_millis(),
        APP_SECRET.0
    );
    for at in 0..settings.numbers {
        let (number, rate) = (Settings::number(at), settings.rate_per_s);
        text += &format!(
            "[[number]]\nphone_number_id = \"{number}\"\naccount = \"{ACCOUNT}\"\nrate = \"{rate}/s\"\n"
        );
    }
    text
}

/// A new file with these contents.
pub(crate) fn write(path: &Path, contents: &str) {
    File::create(path).unwrap().write_all(contents.as_bytes()).unwrap();
}
