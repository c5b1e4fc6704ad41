//! A phone that a command is given: as an argument, or from standard input, where no history keeps it.

use std::io::{BufRead, Read as _};

use super::exit::{CliError, Exit};
use crate::domain::person::Phone;

/// A line longer than this is no phone, and is not read on.
const LINE_MAX_BYTES: u64 = 4_096;

/// Reads a phone; `-` is the first line of standard input. Refused by this code and field, without repeating it.
pub(super) fn read(text: &str, code: &'static str, field: &str) -> Result<Phone, CliError> {
    let mut line = String::new();
    let text = if text == "-" {
        let read = std::io::stdin().lock().take(LINE_MAX_BYTES).read_line(&mut line);
        read.map_err(|error| CliError::new(Exit::Failed, "unreadable", error.to_string()))?;
        line.trim()
    } else {
        text
    };
    Phone::parse(text)
        .map_err(|error| CliError::usage(code, format!("{error}; nothing was changed")).field(field))
}
