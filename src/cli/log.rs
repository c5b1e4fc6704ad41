//! Logs: tracing to stderr, JSON when that is no terminal, filtered by `CARTEIRO_LOG`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::output::Output;

/// Variable of the environment that says what is logged, such as `debug` or `carteiro::sender=trace`.
const FILTER: &str = "CARTEIRO_LOG";

/// Starts logging; `default` counts when `CARTEIRO_LOG` is not set or cannot be read.
pub fn start(default: &str, out: Output) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second start (in tests) keeps the first; nothing depends on it.
    let started = if io::stderr().is_terminal() {
        builder.with_ansi(out.colors_errors()).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    drop(started);
}
