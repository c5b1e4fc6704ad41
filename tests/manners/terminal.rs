//! A person at a terminal: questions, colours, bars. A pseudo-terminal stands for the person's.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::place::{Place, file};

/// A program at a terminal of its own.
struct Seat {
    child: Child,
    keys: File,
    screen: Receiver<u8>,
    seen: String,
}

impl Seat {
    fn take(mut command: Command) -> Self {
        let pty = openpty(None, None).unwrap();
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = command.spawn().unwrap();
        // Only the program holds the terminal now, so that its end ends the reading.
        drop(command);
        drop(pty.slave);
        let keys = File::from(pty.master);
        let mut screen = keys.try_clone().unwrap();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal that nobody holds any more reads as an error.
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                for byte in &buffer[..read] {
                    let _gone = tell.send(*byte);
                }
            }
        });
        Self { child, keys, screen: told, seen: String::new() }
    }

    /// Reads until something is on the screen.
    fn until(&mut self, words: &str) {
        let mut bytes = self.seen.clone().into_bytes();
        while !String::from_utf8_lossy(&bytes).contains(words) {
            match self.screen.recv() {
                Ok(byte) => bytes.push(byte),
                Err(_) => panic!("{words:?} never came: {:?}", String::from_utf8_lossy(&bytes)),
            }
        }
        self.seen = String::from_utf8_lossy(&bytes).into_owned();
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Its exit code, and all that was on the screen.
    fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let rest: Vec<u8> = self.screen.iter().collect();
        (code, self.seen + &String::from_utf8_lossy(&rest))
    }
}

fn ready() -> Place {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..10));
    place.ok(&["campaign", "load", "teste", "a.csv"]);
    place
}

/// Runs a verb that asks, and answers it.
fn answer(place: &Place, verb: &str, keys: &str) -> (i32, String) {
    let mut seat = Seat::take(place.command(&["campaign", verb, "teste"]));
    seat.until("[y/N] ");
    seat.press(keys);
    seat.end()
}

#[test]
fn start_and_cancel_ask_and_only_yes_will_do() {
    let place = ready();
    for no in ["n\n", "\n", "yess\n", "\u{4}"] {
        for verb in ["start", "cancel"] {
            let (code, screen) = answer(&place, verb, no);
            assert_eq!(code, 4, "{verb} {no:?}: {screen}");
            assert!(screen.contains("not confirmed; nothing was changed"), "{screen}");
            assert_eq!(place.status()["state"], "ready", "{verb} {no:?}");
        }
    }
    let (code, screen) = answer(&place, "start", "y\n");
    assert_eq!(code, 0, "{screen}");
    for shown in
        ["teste", "10 messages", "template aviso", "account 100", "hours: any hour", "Start campaign teste?"]
    {
        assert!(screen.contains(shown), "{shown:?} is not in {screen}");
    }
    assert_eq!(place.status()["state"], "running");
    // Nobody is asked about what was not shown, however quiet it shall be.
    let mut seat = Seat::take(place.command(&["--quiet", "campaign", "cancel", "teste"]));
    seat.until("10 messages will never be sent");
    seat.until("[y/N] ");
    seat.press("n\n");
    assert_eq!(seat.end().0, 4);
    // What is so already is not asked again.
    let (code, screen) = Seat::take(place.command(&["campaign", "start", "teste"])).end();
    assert!(code == 0 && screen.contains("is running already"), "{screen}");
    let (code, screen) = answer(&place, "cancel", "yes\n");
    assert!(code == 0 && screen.contains("10 messages will never be sent"), "{screen}");
    assert_eq!(place.status()["state"], "cancelled");
}

#[test]
fn without_a_terminal_nothing_is_asked_and_yes_is_needed() {
    let place = ready();
    // Even if somebody pipes the answer.
    let mut command = place.command(&["--json", "campaign", "start", "teste"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"y\n").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(4));
    assert!(!String::from_utf8_lossy(&ended.stderr).contains("[y/N]"));
    assert_eq!(place.status()["state"], "ready");
    place.ok(&["campaign", "start", "teste", "--yes"]);
    place.ok(&["campaign", "cancel", "teste", "-y"]);
}

#[test]
fn a_question_can_be_interrupted() {
    let place = ready();
    let mut seat = Seat::take(place.command(&["campaign", "start", "teste"]));
    seat.until("[y/N] ");
    kill(Pid::from_raw(i32::try_from(seat.child.id()).unwrap()), Signal::SIGINT).unwrap();
    let (code, screen) = seat.end();
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("interrupted"), "{screen}");
    assert_eq!(place.status()["state"], "ready");
}

#[test]
fn colours_are_for_terminals_and_for_who_wants_them() {
    let place = ready();
    let at_terminal = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = place.command(&[args, &["campaign", "list"]].concat());
        command.env("TERM", "xterm").envs(env.iter().copied());
        Seat::take(command).end().1.contains("\x1b[")
    };
    let piped = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = place.command(&[args, &["campaign", "list"]].concat());
        let output = command.envs(env.iter().copied()).output().unwrap();
        output.stdout.contains(&0x1b)
    };
    assert!(at_terminal(&[], &[]));
    assert!(!at_terminal(&[], &[("NO_COLOR", "1")]) && at_terminal(&[], &[("NO_COLOR", "")]));
    assert!(!at_terminal(&[], &[("TERM", "dumb")]));
    assert!(!at_terminal(&["--color", "never"], &[]));
    assert!(at_terminal(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!piped(&[], &[]) && !piped(&["--color", "auto"], &[]));
    assert!(piped(&["--color", "always"], &[]) && piped(&["--color=always"], &[("NO_COLOR", "1")]));
    // Errors, help and wrong usage keep to it as well.
    for args in [&["campaign", "status", "x"][..], &["campaign", "lst"], &["--help"]] {
        for (color, expect) in [("always", true), ("never", false), ("auto", false)] {
            let ran = place.run(&[&["--color", color], args].concat());
            assert_eq!((ran.out + &ran.err).contains("\x1b["), expect, "{args:?} {color}");
        }
    }
}

#[test]
fn a_load_draws_a_bar_for_a_person() {
    let place = Place::with_campaign();
    place.write("a.csv", &file(0..60_000));
    let mut command = place.command(&["campaign", "load", "teste", "a.csv"]);
    command.env("TERM", "xterm");
    let (code, screen) = Seat::take(command).end();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("loading") && screen.contains('\r'), "{screen:?}");
    let mut command = place.command(&["--quiet", "campaign", "load", "teste", "a.csv"]);
    command.env("TERM", "xterm");
    let (_, screen) = Seat::take(command).end();
    assert!(!screen.contains("loading"), "{screen:?}");
    assert_eq!(place.status()["loaded"], json!(60_000));
    // A dumb terminal cannot draw anything again.
    for args in [&["campaign", "load", "teste", "a.csv"][..], &["campaign", "list"]] {
        let mut command = place.command(args);
        command.env("TERM", "dumb");
        let (_, screen) = Seat::take(command).end();
        assert!(!screen.contains('\x1b') && !screen.replace("\r\n", "\n").contains('\r'), "{screen:?}");
    }
}
