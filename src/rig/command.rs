//! The program's own commands, run as an operator would run them: with `--json`, as processes of their own.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Rig, RigError, settings, system, usage};
use crate::clock;

/// What a command that was done in part ends with: rows were rejected.
const PARTIAL: i32 = 3;

/// How often the memory of a command is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A command that has run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ran {
    /// The last object it printed.
    pub said: Value,
    /// How long it took, with its start.
    pub took: Duration,
    /// Most memory it had, in KiB, as far as the system tells.
    pub peak_rss_kib: Option<u64>,
}

/// This very program, without what the environment would configure.
pub(super) fn carteiro() -> Result<Command, RigError> {
    let program =
        std::env::current_exe().map_err(|source| system("cannot find this program".to_owned(), source))?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARTEIRO_") && name != "CARTEIRO_LOG" {
            command.env_remove(name);
        }
    }
    command.envs(settings::environment());
    Ok(command)
}

impl Rig {
    /// Runs a command with `--json` and waits for its end.
    ///
    /// # Errors
    /// When it fails: what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ran, RigError> {
        let begun = clock::mono();
        let mut command = self.command(arguments)?;
        let child = command.spawn().map_err(|source| system("cannot start carteiro".to_owned(), source))?;
        let id = child.id();
        let mut ended = std::pin::pin!(child.wait_with_output());
        let (mut looks, mut peak) = (tokio::time::interval(LOOK), None);
        let output = loop {
            tokio::select! {
                biased;
                output = &mut ended => break output,
                _ = looks.tick() => peak = peak.max(id.and_then(usage::peak_rss_kib)),
            }
        };
        let output = output.map_err(|source| system("cannot read what carteiro said".to_owned(), source))?;
        let took = clock::mono().since(begun);
        if !output.status.success() && output.status.code() != Some(PARTIAL) {
            return Err(failed(arguments, &output.stderr));
        }
        Ok(Ran { said: last_object(&output.stdout), took, peak_rss_kib: peak })
    }

    /// Follows a campaign until it is over; `see` gets its status every second and says whether to go on. Returns
    /// the last one.
    ///
    /// # Errors
    /// When the status cannot be read, or the engine has ended.
    pub async fn follow(
        &mut self,
        id: &str,
        mut see: impl FnMut(&Value) -> Result<(), RigError>,
    ) -> Result<Value, RigError> {
        let arguments = ["campaign", "status", id, "--watch"];
        let mut child = self
            .command(&arguments)?
            .spawn()
            .map_err(|source| system("cannot start carteiro".to_owned(), source))?;
        let mut last = Value::Null;
        let mut lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        while let Some(lines) = &mut lines {
            let line = lines
                .next_line()
                .await
                .map_err(|source| system("cannot read the status".to_owned(), source))?;
            let Some(line) = line else { break };
            last = serde_json::from_str(&line).unwrap_or_default();
            see(&last)?;
            self.check_serve()?;
        }
        let output = child.wait_with_output().await;
        let output = output.map_err(|source| system("cannot read what carteiro said".to_owned(), source))?;
        if output.status.success() { Ok(last) } else { Err(failed(&arguments, &output.stderr)) }
    }

    fn command(&self, arguments: &[&str]) -> Result<tokio::process::Command, RigError> {
        let mut command = carteiro()?;
        command.arg("--config").arg(self.folder().file("carteiro.toml")).arg("--json").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        // The group of its own keeps Ctrl-C from it: it is ours to end.
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }
}

fn failed(arguments: &[&str], stderr: &[u8]) -> RigError {
    let said = last_object(stderr);
    let message = match said["error"]["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(stderr).trim().to_owned(),
    };
    let verb = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    RigError::Command { verb, message }
}

/// The object on the last line; null if there is none.
fn last_object(text: &[u8]) -> Value {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_what_was_said() {
        assert_eq!(last_object(b"progress\n{\"a\":1}\n\n")["a"], 1);
        assert_eq!(last_object(b"progress"), Value::Null);
        let error = failed(&["campaign", "load", "x"], b"{\"error\":{\"message\":\"no file\"}}\n");
        assert_eq!(error.to_string(), "carteiro campaign load: no file");
    }
}
