//! The simulated Meta of a trial, as a process, and its ledger.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use carteiro::sim::LedgerReport;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::fleet::APP_SECRET;
use crate::guard::Guard;
use crate::settings::Settings;

/// What goes wrong at Meta itself: replies lost before and after the message was taken, and receipts late, twice and
/// turned round, but all told in the end.
const FAULTS: &str = "\
[[fault]]\nkind = \"reset_before\"\nshare = 0.005\n\
[[fault]]\nkind = \"reset_after\"\nshare = 0.005\n\
[[fault]]\nkind = \"http_5xx_empty\"\nstatus = 502\nshare = 0.003\n\
[webhooks]\nsent_after = \"1500ms\"\ndelivered_after = \"500ms\"\nread_after = \"1s\"\n\
late = 0.05\nlate_by = \"3s\"\ntwice = 0.1\nswapped = 0.1\n";

/// A running simulator.
pub(crate) struct Meta {
    /// `127.0.0.1:port` of its API.
    pub(crate) address: String,
    control: String,
    child: Child,
    runtime: Runtime,
    client: reqwest::Client,
}

impl Meta {
    /// Starts it; it tells receipts to `hooks`, a port of this machine.
    pub(crate) fn start(guard: &Guard, folder: &Path, settings: &Settings, hooks: u16) -> Self {
        let faults = folder.join("faults.toml");
        crate::fleet::write(&faults, FAULTS);
        let mut command = Command::new(env!("CARGO_BIN_EXE_carteiro"));
        command
            .args(["sim", "--until-stdin-closes", "--no-pair-limit", "--keep-ids", "--faults"])
            .arg(faults);
        command.args(["--rate", &settings.rate_per_s.to_string(), "--seed", &settings.seed.to_string()]);
        command.args(["--latency", &format!("{}ms", settings.latency.0.as_millis())]);
        command.args(["--latency-p99", &format!("{}ms", settings.latency.1.as_millis())]);
        command.args(["--webhook", &format!("http://127.0.0.1:{hooks}/webhooks/whatsapp")]);
        command.args(["--app-secret-env", APP_SECRET.0]).env(APP_SECRET.0, APP_SECRET.1);
        let log = std::fs::File::create(folder.join("sim.log")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = guard.spawn(&mut command).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the simulator: {line:?}"));
        let address = said["url"].as_str().unwrap().trim_start_matches("http://").to_owned();
        let control = said["control_url"].as_str().unwrap().to_owned();
        carteiro::tls::install_default();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, control, child, runtime, client }
    }

    fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.control);
        self.runtime.block_on(async { self.client.get(url).send().await.unwrap().text().await.unwrap() })
    }

    pub(crate) fn ledger(&self) -> LedgerReport {
        serde_json::from_str(&self.text("/_sim/ledger")).unwrap()
    }

    /// The messages that it took, by their ids, which it keeps without the generation.
    pub(crate) fn taken(&self) -> HashSet<String> {
        self.text("/_sim/taken_ids").lines().map(str::to_owned).collect()
    }
}

impl Drop for Meta {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}
