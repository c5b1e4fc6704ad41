//! What the processes of a rig are told: the configuration of the engine and the arguments of the simulator. Pure.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The account of every number of a rig; the ready campaign files name it.
pub const ACCOUNT: &str = "100000000000001";

/// Variable of the environment that holds the token of the simulator, which takes any.
pub(super) const TOKEN: &str = "CARTEIRO_TRIAL_TOKEN";

/// Secret of the app of a rig, which signs webhooks of trials only.
pub const APP_SECRET: &str = "the app secret of a trial";

/// Variables of the environment that hold it, and the word of a handshake that never happens.
const SECRETS: [(&str, &str); 2] =
    [("CARTEIRO_TRIAL_APP_SECRET", APP_SECRET), ("CARTEIRO_TRIAL_VERIFY_TOKEN", "trial")];

/// What a rig is like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RigPlan {
    /// Sending numbers.
    pub numbers: u32,
    /// Messages a second of each, kept by the engine and watched by the simulator; None is unlimited.
    pub rate_per_s: Option<u32>,
    /// How long the simulator takes to answer.
    pub latency: Duration,
    /// Fault plan of the simulator.
    pub faults: Option<PathBuf>,
    /// Divides every wait and the plan.
    pub time_scale: u32,
    /// Connections at most; None leaves the engine's own bound.
    pub connections: Option<u32>,
    /// The simulator remembers the ids of what it took.
    pub keep_ids: bool,
    /// Whether the engine writes its journal.
    pub journal: bool,
    /// Whether the engine takes webhooks, at a port that it notes in Redis.
    pub webhooks: bool,
}

/// `phone_number_id` of the number at a position.
fn number(at: u32) -> String {
    (200_000_000_000_001 + u64::from(at)).to_string()
}

/// The engine's configuration.
pub(super) fn configuration(plan: &RigPlan, folder: &Path, url: &str) -> String {
    configuration_of(plan, folder, url, 0..plan.numbers)
}

/// The same with only these of the numbers, by place.
pub(super) fn configuration_of(
    plan: &RigPlan,
    folder: &Path,
    url: &str,
    numbers: impl Iterator<Item = u32>,
) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let rate = plan.rate_per_s.map_or_else(|| "unlimited".to_owned(), |rate| format!("{rate}/s"));
    let mut text = format!(
        "# Written for one trial against the simulator.\n\
         data_dir = {}\ntime_scale = {}\n\n[cloud]\nurl = {}\n",
        quoted(&folder.join("state").to_string_lossy()),
        plan.time_scale.max(1),
        quoted(url)
    );
    let mut line = |line: String| text.write_str(&line).expect("a string takes every write");
    if let Some(connections) = plan.connections {
        line(format!("max_connections = {connections}\n"));
    }
    line(format!("\n[journal]\nenabled = {}\n", plan.journal));
    // A trial is judged by its ledger, at any hour of the day.
    line("\n[calendar]\nenforce = false\n".to_owned());
    // Port 0: any number of trials may run beside each other and beside a real engine.
    line("\n[http]\nlisten = \"127.0.0.1:0\"\n".to_owned());
    let [(app_secret, _), (verify_token, _)] = SECRETS;
    if plan.webhooks {
        let token = format!("verify_token = {{ env = \"{verify_token}\" }}\n");
        line(format!("\n[webhooks]\nlisten = \"127.0.0.1:0\"\n{token}"));
    }
    line(format!("\n[[account]]\nid = \"{ACCOUNT}\"\ntoken = {{ env = \"{TOKEN}\" }}\n"));
    if plan.webhooks {
        line(format!("app_secret = {{ env = \"{app_secret}\" }}\n"));
    }
    for at in numbers {
        let number = number(at);
        line(format!(
            "\n[[number]]\nphone_number_id = \"{number}\"\naccount = \"{ACCOUNT}\"\nrate = \"{rate}\"\n"
        ));
    }
    text
}

/// Everything of the environment that the configuration reads.
pub(super) fn environment() -> HashMap<String, String> {
    let all = SECRETS.into_iter().chain([(TOKEN, "simulated")]);
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Arguments of the simulator.
pub(super) fn sim_arguments(plan: &RigPlan) -> Vec<String> {
    let mut arguments = vec!["sim".to_owned(), "--until-stdin-closes".to_owned()];
    let mut pair = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    pair("--rate", plan.rate_per_s.unwrap_or(0).to_string());
    pair("--latency", format!("{}us", plan.latency.as_micros()));
    pair("--time-scale", plan.time_scale.max(1).to_string());
    if let Some(faults) = &plan.faults {
        pair("--faults", faults.to_string_lossy().into_owned());
    }
    if plan.keep_ids {
        arguments.push("--keep-ids".to_owned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LoadOptions};

    #[test]
    fn the_engine_reads_what_is_written_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("carteiro.toml");
        let plan = RigPlan {
            numbers: 3,
            rate_per_s: Some(20),
            connections: Some(7),
            webhooks: true,
            ..RigPlan::default()
        };
        let url = "http://127.0.0.1:9";
        std::fs::write(&path, configuration(&plan, folder.path(), url)).unwrap();
        let options = LoadOptions { env: environment(), ..LoadOptions::of_process(Some(path), Vec::new()) };
        let config = Config::load(&options).unwrap().config;
        let rates: Vec<Option<f64>> = config.numbers.iter().map(|number| number.rate_per_s).collect();
        assert_eq!(rates, [Some(20.0); 3]);
        assert_eq!((config.cloud.max_connections, config.time_scale), (7, 1));
        assert_eq!(config.cloud.url, url);
        assert!(config.webhooks.listen.is_some() && config.accounts[0].app_secret.is_some());
    }
}
