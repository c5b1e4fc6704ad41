//! A mistake of our own: said by its place in the source, never by its words, which may hold personal data, and never
//! with a backtrace.

use std::panic::{self, AssertUnwindSafe};

use super::exit::{CliError, Exit};

/// Has panics of all threads logged by place and thread alone.
pub(super) fn watch() {
    panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(at, thread, "a mistake of carteiro itself; please report it with this place");
    }));
}

/// Runs the work; a panic in it becomes an error.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, CliError>) -> Result<T, CliError> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let message = "carteiro made a mistake of its own and cannot go on; the log line above says where";
        Err(CliError::new(Exit::Failed, "bug", message).hint("report it; what is queued is safe in Redis"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_as_an_error_without_its_words() {
        let error = caught(|| -> Result<(), CliError> { panic!("11987654321") }).unwrap_err();
        assert_eq!((error.exit, error.code), (Exit::Failed, "bug"));
        assert!(!error.message.contains("1198"));
        assert_eq!(caught(|| Ok(7)), Ok(7));
    }
}
