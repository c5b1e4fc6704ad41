//! The whole engine as its operator runs it: `carteiro serve` as a process, a private Redis, the simulator, and the
//! simulator's ledger as the judge.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod archive;
mod budget;
mod caps;
mod crashes;
mod documents;
mod doubts;
mod erase;
mod hooks;
mod hours;
mod journal;
mod life;
mod messages;
mod owners;
mod pace;
mod reload;
mod rig;
mod scopes;
#[path = "../support/servers.rs"]
mod servers;
mod stopping;
mod streams;
mod trouble;
mod verbs;
