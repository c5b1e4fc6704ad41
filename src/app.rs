//! The only wiring: who gets which connection, which thread and which part of the configuration.

pub mod archive;
pub mod board;
pub mod budget;
pub mod catalog;
pub mod control;
pub mod erasure;
pub mod error_table;
pub mod hours;
pub mod mark;
pub mod media;
pub mod ownership;
pub mod receipts;
pub mod retention;
pub mod serve;
pub mod stop_words;
pub mod stops;
pub mod store;
mod unbegun;
