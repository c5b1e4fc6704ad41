//! Rows in: campaign files, recipients files, and what is wrong with either.
//!
//! Turns text from outside into domain values or into a refusal that names line, field and bound, never a value.
//! Nothing here knows Redis: the command that loads a file drives [`rows::RowSource`] and sends on what it yields.

pub mod campaign_file;
pub(crate) mod cells;
pub(crate) mod checks;
pub mod csv;
pub mod duplicates;
pub mod encoding;
pub mod error;
pub mod files;
pub mod generate;
pub mod guards;
pub mod lanes;
pub mod load;
pub mod ndjson;
pub mod packed;
pub mod reject;
pub mod render;
pub mod row;
pub mod rows;
pub mod xlsx;
