//! House rules that a machine can check: which way imports go, how long files and functions are, what every file
//! opens with, and words that have no place here. A rule is never loosened for a file; the file is mended.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 500;

/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// Parts of the program from the inside out. A part imports only of its own place or of places before it.
const ORDER: [&[&str]; 9] = [
    &["clock", "domain"],
    &["config", "limits", "tls"],
    &["policy"],
    &["metrics", "queue", "cloud", "journal", "redis_server", "sim"],
    &["intake", "sender", "http", "report"],
    &["app"],
    &["rig"],
    &["demo", "bench"],
    &["cli", "main"],
];

/// What the simulator may use: it judges all others, so it shares nothing with them that could be wrong in both.
const OF_SIM: [&str; 3] = ["clock", "sim", "tls"];

/// What the pure parts never name.
const SHELL_CRATES: [&str; 5] = ["tokio", "redis", "hyper", "reqwest", "axum"];

/// A source file with its path from the project's folder.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// `queue` for `src/queue.rs` and for all below `src/queue/`.
    fn part(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split(['/', '.']).next().unwrap_or(inner)
    }

    /// The lines before the tests.
    fn code(&self) -> Vec<&str> {
        self.text.lines().take_while(|line| *line != "#[cfg(test)]").collect()
    }

    fn is_tests(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder whose name ends so.
fn sources(folder: &str, end: &str) -> Vec<Source> {
    let mut folders = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "nothing below {folder} ends in {end}", folder = folder);
    found
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// The parts that a line names by `crate::`.
fn imports(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 {
            parts.push(&rest[..end]);
        } else if let Some(list) = rest.strip_prefix('{') {
            let names = list.split(['}', ',']).map(|name| name.trim().split("::").next().unwrap_or(""));
            parts.extend(names.filter(|name| !name.is_empty() && *name != ";"));
        }
    }
    parts
}

fn place(part: &str) -> Option<usize> {
    ORDER.iter().position(|parts| parts.contains(&part))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn imports_go_one_way() {
    let mut problems = Vec::new();
    for source in sources("src", ".rs").iter().filter(|source| source.path != "src/lib.rs") {
        let Some(own) = place(source.part()) else {
            problems.push(format!("{}: its part has no place in the order", source.path));
            continue;
        };
        for (at, line) in source.code().iter().enumerate().filter(|(_, line)| !is_comment(line)) {
            for part in imports(line) {
                if place(part).is_none_or(|place| place > own) {
                    problems.push(format!("{}:{}: imports {part}", source.path, at + 1));
                }
            }
        }
    }
    none(&problems);
}

#[test]
fn the_simulator_shares_nothing_with_what_it_judges() {
    let mut problems = Vec::new();
    for source in sources("src", ".rs").iter().filter(|source| source.part() == "sim") {
        for (at, line) in source.text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for part in imports(line).iter().filter(|part| !OF_SIM.contains(part)) {
                problems.push(format!("{}:{}: imports {part}", source.path, at + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn the_pure_parts_name_no_shell() {
    let mut problems = Vec::new();
    for source in sources("src", ".rs").iter().filter(|source| ["domain", "policy"].contains(&source.part()))
    {
        for (at, line) in source.text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for name in SHELL_CRATES.iter().filter(|name| line.contains(&format!("{name}::"))) {
                problems.push(format!("{}:{}: names {name}", source.path, at + 1));
            }
            if line.contains("serde") && source.part() == "domain" {
                problems.push(format!("{}:{}: domain types derive no serde", source.path, at + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn files_and_functions_keep_their_size() {
    let mut problems = Vec::new();
    for folder in ["src", "benches", "tests"] {
        for source in sources(folder, ".rs") {
            let code = source.code();
            if code.len() > FILE_LINES_MAX && !source.is_tests() {
                problems.push(format!("{}: {} lines, {FILE_LINES_MAX} allowed", source.path, code.len()));
            }
            for (line, length) in long_functions(&source.text) {
                problems.push(format!("{}:{line}: a function of {length} lines", source.path));
            }
        }
    }
    none(&problems);
}

/// Functions over the limit: their first line, and how many they have. A formatted function ends at the first closing
/// brace that stands as far left as it begins.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let qualifier = |word: &&str| word.starts_with("pub") || ["async", "const"].contains(word);
        let begins = line.split_whitespace().find(|word| !qualifier(word)) == Some("fn");
        if !begins || is_comment(line) {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let signature_only = lines[at..]
            .iter()
            .find(|line| line.ends_with(['{', ';', '}']))
            .is_some_and(|line| !line.ends_with('{'));
        if signature_only {
            continue;
        }
        let length = lines[at..].iter().position(|line| *line == end).map_or(0, |end| end + 1);
        if length > FUNCTION_LINES_MAX {
            found.push((at + 1, length));
        }
    }
    found
}

#[test]
fn every_file_says_what_it_is() {
    let mut problems = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for source in sources(folder, ".rs") {
            if !source.text.starts_with("//! ") {
                problems.push(format!("{}: does not open with //!", source.path));
            }
            if source.path.ends_with("/mod.rs") && folder == "src" {
                problems.push(format!("{}: write foo.rs beside foo/", source.path));
            }
        }
    }
    for script in sources("src", ".lua") {
        let head: Vec<&str> =
            script.text.lines().take_while(|line| line.starts_with("#!") || line.starts_with("--")).collect();
        for word in ["-- KEYS ", "-- ARGV ", "-- RETURNS ", "-- INVARIANT "] {
            if !head.iter().any(|line| line.starts_with(word)) {
                problems.push(format!("{}: its head has no line {word:?}", script.path));
            }
        }
    }
    none(&problems);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut problems = Vec::new();
    for source in sources("src", ".rs").iter().filter(|source| !source.is_tests()) {
        for (at, line) in source.code().iter().enumerate().filter(|(_, line)| !is_comment(line)) {
            if line.contains(".unwrap()") || line.contains(".expect(\"\")") {
                problems.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    none(&problems);
}

#[test]
fn time_is_read_in_one_file() {
    let mut problems = Vec::new();
    // In pieces, so that this file does not find itself.
    let readers =
        [["Instant", "now("], ["SystemTime", "now("], ["thread", "sleep("]].map(|words| words.join("::"));
    for folder in ["src", "tests"] {
        for source in sources(folder, ".rs").iter().filter(|source| source.path != "src/clock.rs") {
            for (at, line) in source.text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
                if readers.iter().any(|reader| line.contains(reader)) && !line.contains("tokio::time") {
                    problems.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
                }
            }
        }
    }
    none(&problems);
}

#[test]
fn words_that_have_no_place_here() {
    // Homes of one machine, and hosts of registries; in pieces, so that this file does not find itself.
    let folder = |name: &str| format!("/{name}/");
    let mut words =
        vec![folder("root"), folder("home"), ["crates", "io"].join("."), ["ghcr", "io"].join(".")];
    // The very folder of this checkout, unless its name is too short to mean anything.
    words.extend(
        Some(root()).filter(|root| root.components().count() > 2).map(|root| root.display().to_string()),
    );
    // Ana's home is an example in tests of the configuration.
    let example = folder("home") + "ana";
    let allowed = |line: &str| line.replace(&example, "").len() < line.len();
    let mut problems = Vec::new();
    for source in every_text() {
        for (at, line) in source.text.lines().enumerate().filter(|(_, line)| !allowed(line)) {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                problems.push(format!("{}:{}: holds {word}", source.path, at + 1));
            }
        }
    }
    none(&problems);
}

/// Every text of the project but the lock file, which names where crates come from.
fn every_text() -> Vec<Source> {
    let mut all = Vec::new();
    for folder in ["src", "tests", "benches", "config", "grafana", ".ci"] {
        all.extend(sources(folder, ""));
    }
    for name in ["Cargo.toml", "Makefile", "README.md", ".clippy.toml", ".rustfmt.toml"] {
        let path = root().join(name);
        if Path::new(&path).exists() {
            all.push(Source { path: name.to_owned(), text: fs::read_to_string(path).unwrap() });
        }
    }
    all
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(imports("use crate::queue::lane; use crate::{app, cli::exit};"), ["queue", "app", "cli"]);
    assert!(imports("pub(crate) fn x() {}").is_empty());
    let long =
        format!("impl A {{\n    fn long() {{\n{}    }}\n}}\n", "        a();\n".repeat(FUNCTION_LINES_MAX));
    assert_eq!(long_functions(&long), [(2, FUNCTION_LINES_MAX + 2)]);
    assert!(long_functions("fn short() {}\nfn other() {\n}\n").is_empty());
}
