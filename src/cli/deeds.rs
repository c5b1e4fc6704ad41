//! Who did what: every command that changes something leaves a line in the journal, whatever command it is.
//!
//! This is the one place for it: the verb and its target are read from the arguments themselves, so that a new command is
//! written down without a word about it here. Only [`READ_ONLY`] ones and dry runs are not; neither is what was refused
//! before anything changed. Names of arguments are a fixed list, since others may hold a phone.

use clap::ArgMatches;

use super::context::Context;
use super::exit::{CliError, Exit};
use crate::clock;
use crate::config::Config;
use crate::journal::operators::{self, Who};

/// Commands that change nothing that matters to others; all of a group, or one of its verbs.
const READ_ONLY: [&str; 19] = [
    "demo",
    "serve",
    "sim",
    "bench",
    "recipients",
    "config",
    "completions",
    "man",
    "why",
    "journal",
    "webhooks check",
    "campaign plan",
    "campaign status",
    "campaign list",
    "campaign report",
    "number list",
    "template list",
    "account list",
    "stop list",
];

/// Commands that leave a line of their own once they have done their work.
pub(super) const ERASE: &str = "person erase";
pub(super) const STOP_ADD: &str = "stop add";
pub(super) const STOP_REMOVE: &str = "stop remove";
const PROVEN: [&str; 3] = [ERASE, STOP_ADD, STOP_REMOVE];

/// Arguments that say to what a command was applied.
const TARGETS: [&str; 4] = ["id", "campaign", "number", "file"];

/// Arguments that are settings, never personal data.
const SETTINGS: [&str; 16] = [
    "all",
    "code",
    "first",
    "at",
    "assignments",
    "settings",
    "changes",
    "resend",
    "as_sent",
    "in_doubt",
    "keep",
    "rejects",
    "kind",
    "account",
    "from",
    "days_after",
];

/// A command that is about to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deed {
    verb: String,
    target: String,
    settings: String,
}

impl Deed {
    /// None: it changes nothing.
    pub(super) fn of(matches: &ArgMatches) -> Option<Self> {
        let mut verb = String::new();
        let mut at = matches;
        while let Some((name, inner)) = at.subcommand() {
            if !verb.is_empty() {
                verb.push(' ');
            }
            verb += name;
            at = inner;
        }
        let group = verb.split(' ').next().unwrap_or_default();
        let reads = READ_ONLY.contains(&verb.as_str()) || READ_ONLY.contains(&group);
        let dry_run = matches!(at.try_get_one::<bool>("dry_run"), Ok(Some(true)));
        if reads || dry_run {
            return None;
        }
        let target = TARGETS.into_iter().find_map(|name| value(at, name)).unwrap_or_default();
        let settings = SETTINGS.into_iter().filter_map(|name| Some(format!("{name}={}", value(at, name)?)));
        let mut settings: Vec<String> = settings.collect();
        if let Some(file) = value(at, "file").filter(|file| *file != target) {
            settings.push(format!("file={file}"));
        }
        Some(Self { verb, target, settings: settings.join(" ") })
    }

    /// Writes down what came of it. A journal that cannot be written does not undo what was done: that is a warning.
    pub(super) fn done(&self, done: &Result<Exit, CliError>, actor: Option<&str>, config: &Config) {
        let exit = done.as_ref().map_or_else(|error| error.exit, |exit| *exit);
        // Refused or wrong: nothing was changed.
        let proven = PROVEN.contains(&self.verb.as_str()) && done.is_ok();
        if proven || matches!(exit, Exit::Usage | Exit::Refused) {
            return;
        }
        let outcome = match (exit, done) {
            (Exit::Done, _) => "done".to_owned(),
            (Exit::Partial, _) => "done in part".to_owned(),
            (_, Err(error)) => format!("broken off: {}", error.code),
            (_, Ok(_)) => "failed".to_owned(),
        };
        let detail = if self.settings.is_empty() { outcome } else { format!("{outcome}; {}", self.settings) };
        let entry = Who::of_process(actor).did(clock::wall().0, &self.verb, &self.target, &detail);
        if let Err(error) = operators::append(&config.journal.dir, "", &entry) {
            tracing::warn!(%error, "who did this is not in the journal");
        }
    }
}

/// The line of a command that knows better than its arguments to whom or what it was applied.
pub(super) fn prove(verb: &str, target: &str, detail: &str, context: &Context) {
    let entry = Who::of_process(context.actor.as_deref()).did(clock::wall().0, verb, target, detail);
    if let Err(error) = operators::append(&context.config.journal.dir, "", &entry) {
        tracing::warn!(%error, "who did this is not in the journal");
    }
}

/// The values of an argument as they were given. What reads like a phone is left out: it may have been typed for
/// an id.
fn value(matches: &ArgMatches, name: &str) -> Option<String> {
    if let Ok(Some(set)) = matches.try_get_one::<bool>(name) {
        return set.then(|| "true".to_owned());
    }
    let given = matches.try_get_raw(name).ok()??;
    let shown = |text: &std::ffi::OsStr| {
        let text = text.to_string_lossy();
        let name = if name == "file" { text.rsplit('/').next().unwrap_or_default() } else { &text };
        let digits = name.bytes().filter(u8::is_ascii_digit).count();
        let is_phone = (8..=13).contains(&digits)
            && name.bytes().all(|byte| byte.is_ascii_digit() || b"+-() .".contains(&byte));
        if is_phone { "(left out)".to_owned() } else { name.to_owned() }
    };
    Some(given.map(shown).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn deed(words: &[&str]) -> Option<[String; 3]> {
        let all = ["carteiro"].iter().chain(words);
        let matches = super::super::Cli::command().try_get_matches_from(all).unwrap();
        Deed::of(&matches).map(|deed| [deed.verb, deed.target, deed.settings])
    }

    fn check(words: &[&str], expect: [&str; 3]) {
        assert_eq!(deed(words), Some(expect.map(str::to_owned)), "{words:?}");
    }

    #[test]
    fn what_changes_something_is_a_deed_with_its_target() {
        check(&["campaign", "pause", "a"], ["campaign pause", "a", ""]);
        check(&["campaign", "load", "a", "x/b.csv"], ["campaign load", "a", "file=b.csv"]);
        check(&["campaign", "create", "x/c.toml"], ["campaign create", "c.toml", ""]);
        check(&["--actor", "ana", "pause", "--all"], ["pause", "", "all=true"]);
        check(&["number", "resume", "200000000000001"], ["number resume", "200000000000001", ""]);
        let import = &["stop", "import", "x/d.csv", "--kind", "do_not_contact", "--days-after", "30"];
        check(import, ["stop import", "d.csv", "kind=do_not_contact days_after=30"]);
        check(&["number", "pause", "+55 11 98765-4321"], ["number pause", "(left out)", ""]);
    }

    /// Every other command: a new one belongs here, or into [`READ_ONLY`].
    const CHANGES: [&str; 26] = [
        "account pause",
        "account resume",
        "campaign archive",
        "campaign cancel",
        "campaign close",
        "campaign create",
        "campaign load",
        "campaign pause",
        "campaign resolve",
        "campaign resume",
        "campaign retry",
        "campaign set",
        "campaign start",
        "campaign test",
        "message send",
        "number pause",
        "number resume",
        "pause",
        ERASE,
        "redis accept",
        "resume",
        STOP_ADD,
        "stop import",
        STOP_REMOVE,
        "template pause",
        "template resume",
    ];

    fn verbs(command: &clap::Command, before: &str, all: &mut Vec<String>) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let path = format!("{before} {}", inner.get_name()).trim().to_owned();
            if inner.has_subcommands() {
                verbs(inner, &path, all);
            } else {
                all.push(path);
            }
        }
    }

    #[test]
    fn every_command_changes_something_or_does_not() {
        let mut all = Vec::new();
        verbs(&super::super::Cli::command(), "", &mut all);
        for path in &all {
            let group = path.split(' ').next().unwrap();
            let reads = READ_ONLY.contains(&path.as_str()) || READ_ONLY.contains(&group);
            let changes = CHANGES.contains(&path.as_str());
            assert!(
                reads != changes,
                "`{path}` belongs into READ_ONLY or into CHANGES, and only one of them"
            );
        }
        for listed in READ_ONLY.iter().chain(&CHANGES) {
            let there = |path: &String| path == listed || path.split(' ').next() == Some(listed);
            assert!(all.iter().any(there), "`{listed}` is no command");
        }
    }

    #[test]
    fn what_changes_nothing_is_none() {
        for words in [
            &["campaign", "status"][..],
            &["campaign", "pause", "a", "--dry-run"],
            &["campaign", "report", "a", "-o", "r.csv"],
            &["number", "list"],
            &["config", "check"],
            &["why", "5511987654321"],
            &["journal", "show"],
        ] {
            assert_eq!(deed(words), None, "{words:?}");
        }
    }
}
