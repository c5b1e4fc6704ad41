//! The README's own commands, run as a newcomer would: every `sh` block in order, in one shell, in an empty folder, with
//! the program that the tests built.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../README.md");

/// The ports that the README names; each becomes a free one, so that tests may run beside anything.
const PORTS: [&str; 3] = ["8790", "9464", "9465"];

fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    README.split(opening.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn every_command_of_the_readme_works() {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_carteiro"));
    std::os::unix::fs::symlink(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config"),
        folder.path().join("config"),
    )
    .unwrap();
    let blocks = blocks("sh");
    assert!(blocks.len() >= 8, "the README has {} blocks", blocks.len());
    let path = format!("export PATH=\"{}:$PATH\"", program.parent().unwrap().display());
    let mut script = blocks.join("\n").replace("export PATH=\"$PWD/target/release:$PATH\"", &path);
    assert!(script.contains(&path), "the README says where the program is");
    for port in PORTS {
        script = script.replace(port, &free_port().to_string());
    }
    let mut shell = Command::new("bash");
    shell.arg("-euo").arg("pipefail").arg("-c").arg(&script).current_dir(folder.path());
    shell.stdin(Stdio::null()).env_remove("CARTEIRO_CONFIG").process_group(0);
    let output = shell.output().unwrap();
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let served = std::fs::read_to_string(folder.path().join("tour/serve.log")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{said}\n{served}", output.status);
    let report = std::fs::read_to_string(folder.path().join("tour/report.csv")).unwrap();
    assert!(report.lines().count() > 900, "{said}");
    assert!(report.lines().skip(1).all(|line| line.contains(",accepted,")), "{said}");
    assert!(said.contains("rejected"), "{said}");
}

#[test]
fn the_campaign_of_the_readme_is_a_campaign() {
    let blocks = blocks("toml");
    let campaign = carteiro::intake::campaign_file::parse(blocks.first().unwrap(), "README.md").unwrap();
    assert_eq!(campaign.id, "vencimento-amanha");
}

#[test]
fn the_readme_explains_every_word_for_being_blocked() {
    use carteiro::policy::shard::Blocked;
    let words = [
        Blocked::Paused,
        Blocked::Halted,
        Blocked::Throttle,
        Blocked::Breaker,
        Blocked::Redis,
        Blocked::Journal,
        Blocked::Draining,
        Blocked::Hours,
        Blocked::Budget,
        Blocked::Clock,
        Blocked::StopList,
        Blocked::Slots,
        Blocked::Connection,
    ];
    for word in words.map(carteiro::app::board::word) {
        assert!(README.contains(&format!("`{word}`")), "{word}");
    }
}
