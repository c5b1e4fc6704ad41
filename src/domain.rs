//! Plain data of the field and its rules: ids, persons, templates, campaigns, records.
//!
//! Nothing here does IO, reads a clock or derives a wire format. Everything is constructed or refused at the
//! edge and trusted from there on.

pub mod area;
pub mod boleto;
pub mod calendar;
pub mod campaign;
pub mod contact;
pub mod document;
pub mod doubt;
pub mod format;
pub mod hours;
pub mod ids;
pub mod person;
pub mod pix;
pub mod receipt;
pub mod record;
pub mod stop;
pub mod template;
