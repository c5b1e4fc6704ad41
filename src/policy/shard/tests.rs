//! The machine in virtual time, driven by a small world that plays Redis, the line and Meta.

mod flow;
mod random;
mod stops;
mod trouble;
mod world;
