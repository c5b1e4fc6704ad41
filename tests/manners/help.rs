//! Help, manual and completions: whole, for every command, from the same words.

use std::fs;
use std::process::{Command, Stdio};

use carteiro::cli::Cli;
use clap::CommandFactory;

use crate::commands;
use crate::place::Place;

const README: &str = include_str!("../../README.md");

/// A command and all below it, with their full names.
fn walk(visit: &mut impl FnMut(&clap::Command)) {
    fn below(command: &clap::Command, visit: &mut impl FnMut(&clap::Command)) {
        visit(command);
        command.get_subcommands().filter(|one| one.get_name() != "help").for_each(|one| below(one, visit));
    }
    let mut all = Cli::command();
    all.build();
    below(&all, visit);
}

#[test]
fn every_command_and_every_option_says_what_it_is() {
    walk(&mut |command| {
        let name = command.get_bin_name().unwrap_or("carteiro");
        assert!(command.get_about().is_some_and(|about| about.to_string().len() > 8), "{name} says nothing");
        for argument in command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 3, "{name}: {} says nothing", argument.get_id());
            assert!(!help.ends_with('.'), "{name}: {} ends with a full stop", argument.get_id());
        }
    });
}

#[test]
fn the_main_commands_end_with_examples_that_can_be_parsed() {
    let mut with_examples = 0;
    walk(&mut |command| {
        let Some(help) = command.get_after_help().map(ToString::to_string) else { return };
        for line in help.lines().filter_map(|line| line.trim().strip_prefix("carteiro ")) {
            with_examples += 1;
            let line = line.split(['#', '|', '>']).next().unwrap_or_default().trim().trim_end_matches(" 2");
            let words = std::iter::once("carteiro").chain(line.split_whitespace());
            let parsed = Cli::command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "carteiro {line}: {}", parsed.unwrap_err());
        }
    });
    assert!(with_examples >= 20, "{with_examples} examples");
}

#[test]
fn the_exit_codes_are_in_help_and_readme() {
    let help = Place::new().ok(&["--help"]);
    for code in ["0", "1", "2", "3", "4", "5", "130"] {
        assert!(help.lines().any(|line| line.split_whitespace().next() == Some(code)), "{code}: {help}");
    }
    let codes = README.split("## Exit codes").nth(1).unwrap().split("\n## ").next().unwrap();
    for code in ["0 done", "1 failed", "2 usage", "3 done in part", "4 refused", "5 Redis", "130 interrupted"]
    {
        assert!(codes.replace('\n', " ").contains(code), "{code} is not in the README");
    }
}

#[test]
fn every_command_has_a_page_that_names_its_options() {
    let place = Place::new();
    let written = place.json(&["man", "-o", "pages"], 0);
    let mut pages = 0u64;
    walk(&mut |command| {
        pages += 1;
        let name = command.get_bin_name().unwrap_or("carteiro").replace(' ', "-");
        let page = fs::read_to_string(place.path("pages").join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{page}");
        for long in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "{name}: --{long}");
        }
    });
    assert_eq!(written["pages"].as_u64(), Some(pages));
    let printed = place.ok(&["man", "campaign", "load"]);
    assert_eq!(printed, fs::read_to_string(place.path("pages/carteiro-campaign-load.1")).unwrap());
    assert_eq!(place.error(&["man", "campaign", "lod"], 2)["code"], "usage");
}

/// Whether a shell takes a text; None when this machine does not have it.
fn checked_by(shell: &[&str], text: &str) -> Option<String> {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(if output.status.success() { said } else { format!("{}: {said}", output.status) })
}

#[test]
fn shells_take_the_completions() {
    let place = Place::new();
    for (shell, check) in
        [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])]
    {
        let text = place.ok(&["completions", shell]);
        for word in commands().iter().flat_map(|path| path.split(' ')) {
            assert!(text.contains(word), "{shell} does not know {word}");
        }
        match checked_by(&check, &text) {
            Some(said) => assert_eq!(said, "", "{shell}"),
            None => assert_ne!(shell, "bash", "bash is needed to check its completions"),
        }
    }
    // As a person would: source it, and ask what comes after `carteiro campaign st`.
    let script = "eval \"$(cat)\"; COMP_WORDS=(carteiro campaign st); COMP_CWORD=2; _carteiro carteiro st campaign; \
                  [[ \"${COMPREPLY[*]}\" == *start* && \"${COMPREPLY[*]}\" == *status* ]] || echo \"${COMPREPLY[*]}\" >&2";
    let said = checked_by(&["bash", "-c", script], &place.ok(&["completions", "bash"]));
    assert_eq!(said.as_deref(), Some(""));
    assert_eq!(place.error(&["completions", "tcsh"], 2)["code"], "usage");
}
