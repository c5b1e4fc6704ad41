//! Usage: arguments that cannot be, help and version, and the last words of commands that did not end well.
//!
//! Every wrong usage ends with exit 2 and a hint. No phone that somebody typed is ever repeated, whatever it was typed
//! as.

use std::ffi::OsString;
use std::io::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, ValueEnum as _};

use super::exit::{CliError, Exit};
use super::output::{Color, Output};
use crate::domain::person::{Phone, PhoneError};

/// Digits of a phone as people write it, least and most: area and number, with the country before it.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 10..=13;

/// How to print, found in arguments that could not be parsed.
pub fn output_of(args: &[OsString]) -> Output {
    let words: Vec<&str> =
        args.iter().map_while(|word| word.to_str()).take_while(|word| *word != "--").collect();
    let after = words.windows(2).filter(|pair| pair[0] == "--color").map(|pair| pair[1]).next_back();
    let color = words.iter().find_map(|word| word.strip_prefix("--color=")).or(after);
    let color = color.and_then(|word| Color::from_str(word, false).ok()).unwrap_or_default();
    Output::new(words.contains(&"--json"), false, color)
}

/// Help, version, or what is wrong with the arguments.
pub fn answer(error: &clap::Error, out: Output) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = error.render();
        let text = if out.colors() { text.ansi().to_string() } else { text.to_string() };
        // Nobody reading on is no error.
        drop(out.raw(&text));
        return Exit::Done;
    }
    if out.json {
        out.error(&usage_error(error));
    } else {
        let text = error.render();
        let text = if out.colors_errors() { text.ansi().to_string() } else { text.to_string() };
        drop(std::io::stderr().lock().write_all(without_phones(&text).as_bytes()));
    }
    Exit::Usage
}

/// The words of the command that is run, such as `campaign load`.
pub fn path(matches: &ArgMatches) -> String {
    let mut words = Vec::new();
    let mut below = matches.subcommand();
    while let Some((word, matches)) = below {
        words.push(word);
        below = matches.subcommand();
    }
    words.join(" ")
}

/// What to do next, for an error that does not say.
pub fn with_hint(error: CliError, path: &str) -> CliError {
    if error.hint.is_some() {
        return error;
    }
    let hint = match (error.exit, error.code) {
        (Exit::Interrupted, _) => left_as_is(path).to_owned(),
        (Exit::Usage, "config_invalid") => {
            "nothing was changed; `carteiro config check` reads the configuration again".to_owned()
        }
        (Exit::Usage, "not_now") => {
            "nothing was changed; `carteiro campaign status` shows where it stands".to_owned()
        }
        (Exit::Usage, "campaign_file_invalid" | "recipients_unusable") => "nothing was changed".to_owned(),
        (Exit::Usage, "no_campaign") => "nothing was changed; `carteiro campaign list` shows all".to_owned(),
        (Exit::Usage, "archived") => "nothing was changed".to_owned(),
        (Exit::Usage, _) => format!("nothing was changed; `carteiro {path} --help` shows what it takes"),
        _ => return error,
    };
    error.hint(hint)
}

/// What an interrupted command leaves behind.
fn left_as_is(path: &str) -> &'static str {
    match path {
        "campaign load" => {
            "what was loaded until then stays; loading the same file again adds only what is missing"
        }
        "campaign report" => "no report was written",
        "campaign status" | "campaign list" | "number list" | "template list" | "account list" => {
            "nothing was changed"
        }
        "demo" | "bench" => "what it had started was stopped",
        "serve" => "what was in flight is in doubt; the next serve finds it",
        _ => "the change may be stored or not; give the same command again: nothing is done twice",
    }
}

fn usage_error(error: &clap::Error) -> CliError {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let message = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let missing = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    let message =
        if missing { "a command is missing" } else { message.strip_prefix("error: ").unwrap_or(&message) };
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).map(str::to_owned);
    let hint = tip.unwrap_or_else(|| {
        let words = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or("carteiro");
        let path: Vec<&str> =
            words.split(' ').take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
        format!("`{} --help` shows what it takes", path.join(" "))
    });
    let field = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => Some(name.as_str()),
        Some(ContextValue::Strings(names)) => names.first().map(String::as_str),
        _ => None,
    };
    CliError { field: field.map(Into::into), ..CliError::usage("usage", message).hint(hint) }
}

/// The text with every phone in it taken out: people paste them where ids belong.
pub fn without_phones(text: &str) -> String {
    let in_phone = |c: char| c.is_ascii_digit() || "+ ()-.".contains(c);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(in_phone) {
        clean.push_str(&rest[..start]);
        let run = &rest[start..];
        let run = &run[..run.find(|c| !in_phone(c)).unwrap_or(run.len())];
        clean.push_str(&without_phone(run));
        rest = &rest[start + run.len()..];
    }
    clean + rest
}

fn without_phone(run: &str) -> String {
    let digits = run.chars().filter(char::is_ascii_digit).count();
    let shown = run.trim_matches(|c| " .-(".contains(c));
    if PHONE_DIGITS.contains(&digits) && matches!(Phone::parse(shown), Ok(_) | Err(PhoneError::Landline)) {
        return run.replace(shown, "(a phone)");
    }
    run.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_are_taken_out_and_nothing_else() {
        let check = |text: &str, expect: &str| assert_eq!(without_phones(text), expect);
        check("no campaign '+55 (11) 98765-4321': x", "no campaign '(a phone)': x");
        check("unexpected argument '11987654321' found", "unexpected argument '(a phone)' found");
        check("number 550000000000001, line 12. Then 3", "number 550000000000001, line 12. Then 3");
        check("127.0.0.1:9464 until 2026-11-18T11:06:40Z", "127.0.0.1:9464 until 2026-11-18T11:06:40Z");
        check(
            "report-20261118-123456.csv, 20261118-1234.csv",
            "report-20261118-123456.csv, 20261118-1234.csv",
        );
        check("", "");
    }

    #[test]
    fn how_to_print_is_found_in_any_arguments() {
        let of = |words: &[&str]| {
            let out = output_of(&words.iter().map(OsString::from).collect::<Vec<_>>());
            (out.json, out.colors())
        };
        assert_eq!(of(&["carteiro", "stat", "--json", "--color", "always"]), (true, true));
        assert_eq!(of(&["carteiro", "--color=always"]), (false, true));
        assert_eq!(of(&["carteiro", "--color=never", "--", "--json"]), (false, false));
        assert_eq!(of(&["carteiro", "--color"]), (false, of(&[]).1));
    }

    #[test]
    fn every_usage_error_says_what_to_do() {
        let plain = with_hint(CliError::usage("usage", "no"), "campaign load");
        assert!(plain.hint.unwrap().contains("`carteiro campaign load --help`"));
        let own = CliError::usage("usage", "no").hint("do it");
        assert_eq!(with_hint(own.clone(), "x"), own);
        let failed = CliError::new(Exit::Failed, "failed", "no");
        assert_eq!(with_hint(failed.clone(), "x"), failed);
        assert!(with_hint(CliError::interrupted(), "campaign load").hint.unwrap().contains("stays"));
    }
}
