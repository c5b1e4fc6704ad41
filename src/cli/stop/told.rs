//! Since when a stop holds, and by whose word, as the journal tells it. What came with a file has no entry of its own.

use std::collections::HashMap;

use crate::cli::context::Context;
use crate::cli::deeds;
use crate::cli::exit::CliError;
use crate::journal::{self, Entry, Wanted};

/// When and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Told {
    pub(in crate::cli) at_ms: u64,
    pub(in crate::cli) by: String,
}

/// The latest word of each stop of these people or debts, by mark and `queue::stops::words`.
pub(in crate::cli) fn read(
    marks: &[String],
    context: &Context,
) -> Result<HashMap<(String, String), Told>, CliError> {
    let mut told: HashMap<(String, String), Told> = HashMap::new();
    journal::scan(&context.config.journal.dir, Wanted::default(), |_, entry| {
        let (mark, detail, at_ms, by) = match &entry {
            Entry::Action { verb, target, detail, at_ms, actor, .. } if **verb == *deeds::STOP_ADD => {
                (target, detail, *at_ms, actor.to_string())
            }
            Entry::Event { kind, subject, detail, at_ms, .. } if **kind == *"stop" => {
                let by = detail.rsplit("; ").next().unwrap_or_default().to_owned();
                (subject, detail, *at_ms, by)
            }
            _ => return Ok(()),
        };
        if marks.iter().any(|known| **known == **mark) {
            let words = detail.split(';').next().unwrap_or_default();
            let words = words.split(", from ").next().unwrap_or_default().to_owned();
            let later = Told { at_ms, by };
            let known = told.entry((mark.to_string(), words)).or_insert_with(|| later.clone());
            if later.at_ms > known.at_ms {
                *known = later;
            }
        }
        Ok(())
    })?;
    Ok(told)
}
