//! The queue on a real private Redis: every script, the states of a Redis that is full, loading, read-only or gone,
//! and a random walk against a model made of the record's own rules.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod again;
mod claims;
mod lab;
mod model;
mod owning;
mod receipts;
#[path = "../support/servers.rs"]
mod servers;
mod several;
mod states;
mod stopping;
mod writes;
