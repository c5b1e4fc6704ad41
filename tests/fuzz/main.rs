//! What comes from outside, bent: whatever a webhook, a reply of Meta, a stored chunk, a recipients file, a campaign file
//! or an error table holds, reading it ends, and takes no more memory than it should. Valid inputs are changed in the
//! places where they have structure; random bytes alone would hardly come past the first check.
//!
//! `make fuzz CASES=100000` runs as many of each; `cargo test` a few.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod files;
mod mutate;
mod replies;
mod stored;
mod webhooks;

/// The most memory that this process may ever have had, in KiB. The largest input of any test is far smaller.
const MEMORY_MAX_KIB: u64 = 600 * 1024;

/// Fails if the process has had more memory than its inputs explain.
fn memory_stayed_small() {
    let Some(peak) = carteiro::rig::usage::peak_rss_kib(std::process::id()) else { return };
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
}
