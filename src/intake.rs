//! Rows in: campaign files, recipients files, and what is wrong with either.
//!
//! Turns text from outside into domain values or into a refusal that names line, field and bound, never a value.
//! Nothing here knows Redis: the command that loads a file drives [`csv::RowReader`] and sends on what it yields.

pub mod campaign_file;
pub mod csv;
pub mod generate;
pub mod lanes;
pub mod load;
pub mod reject;
pub mod render;
pub mod row;
