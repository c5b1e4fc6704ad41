//! `--json` of every command against the keys and types kept in `tests/golden`, in a real small installation: private
//! Redis, simulator, engine. Keys are only ever added; `CARTEIRO_GOLDEN=write` adds what is new to the files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use carteiro::app::store::Store;
use carteiro::clock;
use carteiro::policy::classify::ErrorTable;
use carteiro::queue::halts::{self, Scope, Why};
use carteiro::sim::{FaultPlan, Server, SimConfig, WebhookConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::place::{CAMPAIGN, CONFIG, Place, file};
use crate::{commands, shape};

/// Commands that print no object: an engine that logs, and text that is no data of ours.
const WITHOUT_DATA: &[&str] = &["completions", "serve"];

/// A small installation, and every shape that was seen in it.
struct Trial {
    place: Place,
    sim: Server,
    /// Every different shape of a line, by command.
    shapes: BTreeMap<String, Vec<Value>>,
}

/// An engine that is stopped in any case.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _gone = kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM);
        drop(self.0.wait());
    }
}

impl Trial {
    fn new() -> Self {
        // A fifth fails for good, so that there are reasons to tell.
        let plan = FaultPlan::parse(
            "[[fault]]
kind = \"error\"
code = 131026
share = 0.2
",
        )
        .unwrap();
        // A port that is free now: the simulator has to know the engine's before there is one.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let webhook = WebhookConfig {
            url: format!("http://127.0.0.1:{port}/webhooks/whatsapp"),
            app_secret: "t".into(),
            account: "100".to_owned(),
        };
        let sim = SimConfig {
            rate_per_s: 0,
            pair_limit: false,
            plan,
            webhook: Some(webhook),
            ..SimConfig::default()
        };
        let sim = Server::start(sim).unwrap();
        let place = Place::new();
        // Slow enough to be seen on its way.
        let slow = CONFIG.replace("account = \"100\"\n", "account = \"100\"\nrate = \"10/s\"\n");
        let secret = "token = { env = \"TEST_TOKEN\" }\n";
        let signed = slow.replace(secret, &format!("{secret}app_secret = {{ env = \"TEST_TOKEN\" }}\n"));
        let config = signed.replace("http://127.0.0.1:9", &sim.url)
            + &format!(
                "[http]\nlisten = \"127.0.0.1:0\"\n[webhooks]\nlisten = \"127.0.0.1:{port}\"\n\
                 verify_token = {{ env = \"TEST_TOKEN\" }}\n"
            );
        place.write("carteiro.toml", &config);
        place.write("a.csv", &(file(0..60) + "123,X,Ana\n11981000001,D,Ana\n"));
        Self { place, sim, shapes: BTreeMap::new() }
    }

    /// Runs a command, whose name is its first words, and keeps the shape of every line.
    fn run(&mut self, name: &str, args: &[&str], code: i32) -> Vec<Value> {
        let words: Vec<&str> =
            ["--json"].into_iter().chain(name.split(' ')).chain(args.iter().copied()).collect();
        let ran = self.place.run(&words);
        assert_eq!(ran.code, code, "{words:?}: {}{}", ran.out, ran.err);
        let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &lines {
            self.keep(name, line);
        }
        lines
    }

    fn keep(&mut self, name: &str, object: &Value) {
        assert_eq!(object["schema"], 1, "{name}: {object}");
        // One command, several kinds of lines: each kind has a file of its own.
        let kind = object["kind"].as_str().filter(|_| name == "journal show");
        let verb = object["verb"].as_str().filter(|_| name == "campaign start");
        let kind = kind.or(verb.and_then(|verb| verb.strip_prefix("start --")));
        let name = kind.map_or_else(|| name.to_owned(), |kind| format!("{name}.{kind}"));
        self.keep_shape(&name, shape::of("", object));
    }

    fn keep_shape(&mut self, name: &str, seen: Value) {
        let known = self.shapes.entry(name.to_owned()).or_default();
        if !known.contains(&seen) {
            known.push(seen);
        }
    }

    /// Runs a command that may end with one of these codes, since faults fall where they fall.
    fn run_either(&mut self, name: &str, args: &[&str], codes: [i32; 2]) {
        let words: Vec<&str> =
            ["--json"].into_iter().chain(name.split(' ')).chain(args.iter().copied()).collect();
        let ran = self.place.run(&words);
        assert!(codes.contains(&ran.code), "{words:?}: {}{}", ran.out, ran.err);
        ran.out.lines().for_each(|line| self.keep(name, &serde_json::from_str(line).unwrap()));
    }

    /// Keeps the shape of an error.
    fn refused(&mut self, args: &[&str], code: i32) {
        let error = json!({"error": self.place.error(args, code)});
        self.keep_shape("error", shape::of("", &error));
    }

    fn engine(&self) -> Engine {
        let mut child = self.place.command(&["serve"]).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("\"listening\"")));
        // Its log is read on, or it would stop at a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Engine(child)
    }

    /// What the engine does when Meta refuses for a cause that needs a person.
    fn halt(&self) {
        let token_expired = ErrorTable::builtin().code(190).unwrap().reason;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut store = Store::open(&self.place.config()).await.unwrap();
            let template = Scope::Template("100/aviso".to_owned());
            for scope in [Scope::Number("202".into()), Scope::Account("100".to_owned()), template] {
                halts::stop(&mut store.connection, &scope, &Why::Halted(token_expired)).await.unwrap();
            }
            store.close().await.unwrap();
        });
    }

    fn create(&self, id: &str) {
        self.place.write("campaign.toml", &CAMPAIGN.replace("\"teste\"", &format!("\"{id}\"")));
    }
}

/// Every command that prints data, in an order in which each has something to say.
fn steps(trial: &mut Trial) {
    trial.run("config check", &["teste.toml"], 0);
    let env_and_flag = ["--set", "cloud.timeout=9s"];
    trial.run("config show", &env_and_flag, 0);
    trial.run("recipients generate", &["--count", "20", "-o", "g.csv"], 0);
    trial.run("man", &["-o", "pages"], 0);
    // 3: rows are rejected, or the template is not the simulator's.
    trial.run("campaign plan", &["teste.toml", "a.csv", "--offline"], 3);
    trial.run("campaign create", &["teste.toml", "--dry-run"], 0);
    trial.run("campaign create", &["teste.toml"], 0);
    trial.run("campaign status", &[], 0);
    trial.run("campaign load", &["teste", "a.csv", "--dry-run"], 3);
    trial.run("campaign load", &["teste", "a.csv"], 3);
    before_the_start(trial);
    trial.run("campaign start", &["teste", "--dry-run"], 0);
    trial.run("campaign start", &["teste", "--yes"], 0);
    for (kind, id) in [("number", "201"), ("account", "100"), ("template", "aviso")] {
        trial.run(&format!("{kind} list"), &[], 0);
        trial.run(&format!("{kind} pause"), &[id, "--dry-run"], 0);
        trial.run(&format!("{kind} pause"), &[id], 0);
        trial.run(&format!("{kind} list"), &[], 0);
    }
    trial.run("pause", &["--all"], 0);
    trial.run("campaign status", &["teste"], 0);
    trial.run("campaign pause", &["teste"], 0);
    trial.run("campaign status", &["teste"], 0);
    trial.run("campaign list", &[], 0);
    trial.halt();
    trial.run("campaign status", &["teste"], 0);
    for kind in ["number", "account", "template"] {
        trial.run(&format!("{kind} list"), &[], 0);
    }
    trial.run("number resume", &["202"], 0);
    let engine = trial.engine();
    trial.run("campaign resume", &["teste"], 0);
    trial.run("campaign status", &["teste"], 0);
    trial.run("number list", &[], 0);
    trial.run("resume", &["--all"], 0);
    for (kind, id) in [("number", "201"), ("account", "100"), ("template", "aviso")] {
        trial.run(&format!("{kind} resume"), &[id], 0);
    }
    trial.run("campaign status", &["teste", "--watch"], 0);
    assert!(trial.sim.ledger().unwrap().taken > 20);
    trial.run("number list", &[], 0);
    evidence(trial);
    trial.run("campaign retry", &["teste", "--code", "131026", "--dry-run"], 0);
    trial.run("campaign retry", &["teste", "--code", "131026"], 0);
    trial.run("campaign resolve", &["teste", "--resend", "--in-doubt", "--yes"], 0);
    trial.run("campaign status", &["teste", "--watch"], 0);
    by_hand(trial);
    stops(trial);
    drop(engine);
    taken_away(trial);
    trial.create("outra");
    trial.run("campaign create", &["campaign.toml"], 0);
    trial.run("campaign cancel", &["outra", "--yes"], 0);
    trial.run("demo", &["--recipients", "200", "--numbers", "2"], 0);
    trial.run("bench", &["--recipients", "2000", "--numbers", "2"], 0);
    simulator(trial);
}

/// What is looked at and set before anything leaves.
fn before_the_start(trial: &mut Trial) {
    trial.run("campaign plan", &["teste.toml", "a.csv"], 3);
    trial.run("campaign test", &["teste", "--to", "11987654321", "--dry-run"], 0);
    trial.run_either("campaign test", &["teste", "--to", "11987654321", "--yes"], [0, 1]);
    trial.run("campaign set", &["teste", "priority=high", "stop_if=off", "--dry-run"], 0);
    trial.create("urgente");
    trial.run("campaign create", &["campaign.toml"], 0);
    trial.run("message send", &["urgente", "--to", "11987654321", "--value", "nome=Ana", "--dry-run"], 0);
    trial.run("message send", &["urgente", "--to", "11987654321", "--value", "nome=Ana"], 0);
    trial.run("campaign set", &["teste", "priority=high", "stop_if=off"], 0);
    trial.run("campaign close", &["teste", "--dry-run"], 0);
    trial.run("campaign close", &["teste"], 0);
}

/// What is known of those that were sent.
fn evidence(trial: &mut Trial) {
    trial.run("campaign report", &["teste", "-o", "report.csv"], 0);
    trial.run("campaign report", &["teste", "-o", "joined.csv", "--join", "a.csv", "--excel-br"], 0);
    trial.run("campaign report", &["teste", "-o", "report.parquet"], 0);
    for line in 2..22 {
        trial.run("why", &[&format!("teste/{line}")], 0);
    }
    trial.run("why", &["11981000001"], 0);
    // Receipts come when the simulated phones are on.
    let begun = clock::mono();
    while !trial.shapes.contains_key("journal show.receipt") {
        assert!(clock::mono().since(begun) < Duration::from_secs(60), "no receipt came");
        trial.run("journal show", &[], 0);
        std::thread::park_timeout(Duration::from_millis(100));
    }
    trial.run("journal show", &["--campaign", "teste", "--actions"], 0);
    // 1: the address that the configuration names is not one that Meta reaches.
    trial.run_either("webhooks check", &[], [0, 1]);
    trial.run("redis accept", &["--dry-run"], 0);
    trial.run("redis accept", &["--yes"], 0);
}

/// A time to begin, the first ones, an end.
fn by_hand(trial: &mut Trial) {
    trial.create("terceira");
    trial.run("campaign create", &["campaign.toml"], 0);
    trial.place.write("b.csv", &file(100..110));
    trial.run("campaign load", &["terceira", "b.csv"], 0);
    let tomorrow = i64::try_from(clock::wall().0).unwrap() + 86_400_000;
    let tomorrow = jiff::Timestamp::from_millisecond(tomorrow).unwrap().to_string();
    trial.run("campaign start", &["terceira", "--at", &tomorrow, "--dry-run"], 0);
    trial.run("campaign start", &["terceira", "--at", &tomorrow, "--yes"], 0);
    trial.run("campaign status", &["terceira"], 0);
    trial.run("campaign pause", &["terceira"], 0);
    trial.run("campaign start", &["terceira", "--first", "3", "--dry-run"], 0);
    trial.run_either("campaign start", &["terceira", "--first", "3", "--yes"], [0, 3]);
    trial.run("campaign status", &["terceira"], 0);
    trial.run("campaign set", &["terceira", "pace_share=10%"], 0);
    trial.run("campaign resume", &["terceira"], 0);
    trial.run("campaign pause", &["terceira"], 0);
    trial.run("campaign cancel", &["terceira", "--yes"], 0);
}

/// Who is not to be written to.
fn stops(trial: &mut Trial) {
    trial.place.write("dnc.csv", "telefone;from\n11981000001;2026-01-01\n11981000002;31/12/2099\nx;\n");
    let debt = ["--ref", "C1", "--kind", "paid"];
    trial.run("stop add", &[&debt[..], &["--dry-run"]].concat(), 0);
    trial.run("stop add", &debt, 0);
    trial.run("stop import", &["dnc.csv", "--kind", "do_not_contact", "--dry-run"], 3);
    trial.run("stop import", &["dnc.csv", "--kind", "do_not_contact"], 3);
    trial.run("stop list", &[], 0);
    trial.run("stop list", &["--ref", "C1"], 0);
    trial.run("why", &["11981000001"], 0);
    trial.run("stop remove", &[&debt[..], &["--dry-run"]].concat(), 0);
    trial.run("stop remove", &[&debt[..], &["--yes"]].concat(), 0);
}

/// What leaves Redis for good.
fn taken_away(trial: &mut Trial) {
    trial.run("campaign archive", &["terceira", "-o", "kept", "--dry-run"], 0);
    trial.run("campaign archive", &["terceira", "-o", "kept", "--yes"], 0);
    trial.run("person erase", &["11981000001", "--dry-run"], 0);
    trial.run("person erase", &["11981000001", "--reason", "a request", "--yes"], 0);
}

/// The one line of the simulator, which then goes on until it is stopped.
fn simulator(trial: &mut Trial) {
    let mut child = trial.place.command(&["--json", "sim", "--until-stdin-closes"]);
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    trial.keep("sim", &serde_json::from_str(&line).unwrap());
}

fn errors(trial: &mut Trial) {
    trial.refused(&["campaign", "stat"], 2);
    trial.refused(&["campaign", "status", "unknown"], 2);
    trial.refused(&["--set", "cloud.timeut=1s", "config", "check"], 2);
    trial.place.write("bad.toml", "id = \"a\"\npriorty = \"high\"\n");
    trial.refused(&["campaign", "create", "bad.toml"], 2);
    trial.refused(&["campaign", "report", "teste", "-o", "no/such/folder.csv"], 1);
}

fn path_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{}.json", name.replace(' ', "-")))
}

#[test]
fn every_command_keeps_its_keys() {
    let mut trial = Trial::new();
    steps(&mut trial);
    errors(&mut trial);
    for command in commands() {
        let known = WITHOUT_DATA.contains(&command.as_str());
        assert!(
            trial.shapes.keys().any(|name| *name.split('.').next().unwrap() == command) != known,
            "`{command}` is new: add a line to `steps` or to WITHOUT_DATA in tests/manners/golden.rs"
        );
    }
    let writes = std::env::var_os("CARTEIRO_GOLDEN").is_some_and(|value| value == "write");
    let mut found = Vec::new();
    for (name, seen) in &trial.shapes {
        let path = path_of(name);
        let golden = fs::read_to_string(&path).ok().map(|text| serde_json::from_str::<Value>(&text).unwrap());
        if writes {
            let all = golden.into_iter().chain(seen.iter().cloned());
            let all = all.reduce(|one, other| shape::merged(&one, &other)).unwrap();
            fs::write(&path, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
            continue;
        }
        match golden {
            Some(golden) => {
                seen.iter().for_each(|seen| shape::differences(&golden, seen, name, &mut found));
            }
            None => found.push(format!("{} is missing: CARTEIRO_GOLDEN=write makes it", path.display())),
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn keys_are_snake_case_and_times_are_utc() {
    fn check(name: &str, shape: &Value) {
        let Some(fields) = shape.as_object() else {
            shape.as_array().into_iter().flatten().for_each(|member| check(name, member));
            return;
        };
        for (key, value) in fields {
            let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(matches!(key.as_str(), "*" | "?") || key.chars().all(snake), "{name}: {key}");
            let is_time = key == "since"
                || key == "until"
                || key.ends_with("_until")
                || key == "eta"
                || key.ends_with("_at");
            if let (true, Some(types)) = (is_time, value.as_str()) {
                assert!(
                    types.split('|').all(|one| one == "time" || one == "null"),
                    "{name}: {key} is {types}"
                );
            }
            check(name, value);
        }
    }
    let mut files = 0;
    for entry in fs::read_dir(path_of("x").parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        check(&name, &serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap());
        let command = name.split('.').next().unwrap().replace('-', " ");
        assert!(name == "error" || commands().contains(&command), "no command prints {}", path.display());
        files += 1;
    }
    assert!(files >= 25, "{files} golden files");
}
