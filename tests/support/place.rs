//! A place to try the real program in: a folder with a configuration, a private Redis and campaign files.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several tests, each uses a part"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use carteiro::config::{Config, LoadOptions};
use serde_json::Value;

pub const CONFIG: &str = r#"
data_dir = "data"
[cloud]
url = "http://127.0.0.1:9"
[calendar]
enforce = false
[[account]]
id = "100"
token = { env = "TEST_TOKEN" }
[[number]]
phone_number_id = "201"
account = "100"
[[number]]
phone_number_id = "202"
account = "100"
"#;

pub const CAMPAIGN: &str = r#"
id = "teste"
account = "100"
expected = 1000
[template]
name = "aviso"
language = "pt_BR"
body = "Olá, {{nome}}! Há uma mensagem para você."
[columns]
phone = "telefone"
ref = "contrato"
[columns.variables]
nome = "nome"
"#;

/// A folder with a configuration, a private Redis and campaign files.
pub struct Place {
    pub dir: tempfile::TempDir,
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.write("carteiro.toml", CONFIG);
        place.write("teste.toml", CAMPAIGN);
        place
    }

    /// With the campaign created.
    pub fn with_campaign() -> Self {
        let place = Self::new();
        place.ok(&["campaign", "create", "teste.toml"]);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carteiro"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        command
            .env("HOME", self.dir.path())
            .env("TEST_TOKEN", "t")
            .env("PATH", std::env::var_os("PATH").unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// The last line of the data, which is an object of schema 1.
    pub fn json(&self, args: &[&str], code: i32) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        let ran = self.run(&all);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        let object: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
        assert_eq!(object["schema"], 1);
        object
    }

    /// The error of a command that fails.
    pub fn error(&self, args: &[&str], code: i32) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        let ran = self.run(&all);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        let error: Value = serde_json::from_str(ran.err.lines().last().unwrap()).unwrap();
        let keys: Vec<&str> = error["error"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["code", "field", "file", "hint", "line", "message"]);
        error["error"].clone()
    }

    pub fn status(&self) -> Value {
        self.json(&["campaign", "status", "teste"], 0)
    }

    /// The rows of a report, by column.
    pub fn report(&self) -> Vec<Vec<String>> {
        self.ok(&["campaign", "report", "teste", "-o", "report.csv"]);
        let mut reader = csv::Reader::from_path(self.path("report.csv")).unwrap();
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    pub fn config(&self) -> Config {
        let options = LoadOptions {
            explicit_path: Some(self.path("carteiro.toml")),
            env: [("TEST_TOKEN".to_owned(), "t".to_owned())].into(),
            cwd: self.dir.path().to_owned(),
            ..LoadOptions::default()
        };
        Config::load(&options).unwrap().config
    }
}

impl Drop for Place {
    /// A killed program leaves its Redis running; the next one to leave stops it.
    fn drop(&mut self) {
        drop(self.command(&["campaign", "list"]).output());
    }
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

/// Good rows, one person each, all of São Paulo: with 1,000 expected they are one lane.
pub fn rows(range: std::ops::Range<u32>) -> String {
    range.map(|at| format!("1198{:07},C{at},Maria\n", 1_000_000 + at)).collect()
}

pub fn file(range: std::ops::Range<u32>) -> String {
    format!("telefone,contrato,nome\n{}", rows(range))
}

pub fn totals(of: &Value) -> [u64; 4] {
    ["rows", "loaded", "duplicate", "rejected"].map(|key| of[key].as_u64().unwrap())
}
