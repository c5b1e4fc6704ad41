//! A process that never outlives us: killed and waited for when it is dropped, and told to stop by a watchdog when
//! we are killed ourselves and can do nothing any more.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{POLL, RigError, system};
use crate::clock;

/// Waits for its standard input, which ends with us, and then asks the process to stop.
const WATCHDOG: &str = "read -r _; kill -TERM \"$0\" 2>/dev/null";

/// A child in a process group of its own, so that Ctrl-C in a terminal is ours alone to act on.
#[derive(Debug)]
pub(super) struct Process {
    // Dropped first: a watchdog never sees the end of a process whose id may be given to another.
    watchdog: Option<Reaped>,
    child: Reaped,
}

/// Killed and waited for when dropped.
#[derive(Debug)]
struct Reaped(Child);

impl Process {
    /// Starts a command whose errors go to `log`.
    pub(super) fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self, RigError> {
        let errors =
            File::create(log).map_err(|source| system(format!("cannot write {}", log.display()), source))?;
        command.stderr(errors).process_group(0);
        let started = |what: &str, source| system(format!("cannot start {what}"), source);
        let child = Reaped(command.spawn().map_err(|source| started(name, source))?);
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", WATCHDOG]).arg(child.0.id().to_string()).process_group(0);
        watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let watchdog = Reaped(watchdog.spawn().map_err(|source| started("sh", source))?);
        Ok(Self { watchdog: Some(watchdog), child })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.0.id()
    }

    pub(super) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.0.stdout.take()
    }

    pub(super) fn alive(&mut self) -> bool {
        matches!(self.child.0.try_wait(), Ok(None))
    }

    /// Asks it to read its configuration again.
    pub(super) fn hang_up(&self) {
        if let Ok(id) = i32::try_from(self.id()) {
            // It is waited for only when it is dropped, so its id is still its own.
            let _gone = kill(Pid::from_raw(id), Signal::SIGHUP);
        }
    }

    /// Asks it to stop and waits for as long as given; the drop that follows does the rest.
    pub(super) async fn terminate(&mut self, limit: Duration) {
        drop(self.watchdog.take());
        if let Ok(id) = i32::try_from(self.id())
            && self.alive()
        {
            // It may end by itself in this moment; it is not waited for yet, so its id is still its own.
            let _gone = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let begun = clock::mono();
        while self.alive() && clock::mono().since(begun) < limit {
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill, and the wait returns what is known.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}
