//! The only wiring: who gets which connection, which thread and which part of the configuration.

pub mod board;
pub mod catalog;
pub mod control;
pub mod hours;
pub mod serve;
pub mod store;
