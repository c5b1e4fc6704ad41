//! The queue on a real private Redis: every script, the states of a Redis that is full, loading, read-only or gone,
//! and random walks against the models on which the simulation runs.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod again;
mod budget;
#[path = "../support/budget_model.rs"]
mod budget_model;
mod claims;
mod contacts;
mod doubts;
mod forgets;
mod lab;
#[allow(dead_code, reason = "the simulation asks it for more")]
#[path = "../support/lane_model.rs"]
mod lane_model;
mod model;
#[allow(dead_code, reason = "the simulation asks it for more")]
#[path = "../support/own_model.rs"]
mod own_model;
mod own_walk;
mod owning;
mod receipts;
mod replay;
#[path = "../support/servers.rs"]
mod servers;
mod several;
mod states;
mod stopping;
mod writes;
