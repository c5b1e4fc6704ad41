//! Processes that never outlive a trial: all are of one process group, whose leader kills it when we are gone.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use carteiro::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Long enough for anything here on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The leader of the group. Dropped last: with it everything that still runs ends.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn new() -> Self {
        // Its standard input ends with us, however we end.
        let mut leader = Command::new("sh");
        leader.args(["-c", "read -r _; kill -KILL 0"]).process_group(0);
        leader.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(leader.spawn().unwrap())
    }

    /// Starts a command as a member of the group.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.process_group(pid(&self.0).as_raw()).spawn()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Sends a signal; the process may have ended by itself.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let _gone = kill(pid(child), signal);
}

/// Lets a moment pass; the caller has a deadline or waits for an event.
pub(crate) fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

/// Polls until something is there; None when the time is over.
pub(crate) fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = clock::mono();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if clock::mono().since(begun) > limit {
            return None;
        }
        pause(Duration::from_millis(4));
    }
}
