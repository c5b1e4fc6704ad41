//! Everything the program prints: data to stdout, progress, hints and errors to stderr.
//!
//! The only place that writes to either, but for clap's own words in `usage`. A reader that goes away (`| head`) ends the program quietly. No value is
//! ever cut to a width.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;

use super::exit::{CliError, Exit, is_reader_gone};
use super::usage::without_phones;

/// How often progress is told where no bar can be drawn.
const LINE_PERIOD: Duration = Duration::from_secs(10);

/// `--color`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A colour of the terminal's own palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Good.
    Green,
    /// Wants attention.
    Yellow,
    /// Bad.
    Red,
    /// Less important.
    Dim,
    /// Names.
    Bold,
}

/// How and what to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Data as JSON.
    pub json: bool,
    /// No hints and no progress.
    pub quiet: bool,
    color: bool,
    color_errors: bool,
    /// The terminal cannot move its cursor.
    is_dumb: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
}

impl Output {
    /// For this process.
    pub fn new(json: bool, quiet: bool, color: Color) -> Self {
        let stdout_is_terminal = io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_dumb = set("TERM").is_some_and(|term| term == "dumb");
        let plain = set("NO_COLOR").is_some() || is_dumb;
        let stderr_is_terminal = io::stderr().is_terminal();
        let colored = |is_terminal: bool| match color {
            Color::Auto => is_terminal && !plain,
            Color::Always => true,
            Color::Never => false,
        };
        let (color, color_errors) = (colored(stdout_is_terminal), colored(stderr_is_terminal));
        Self { json, quiet, color, color_errors, is_dumb, stdout_is_terminal, stderr_is_terminal }
    }

    /// Whether data goes to a person's terminal, where it can be drawn again.
    pub fn to_terminal(&self) -> bool {
        self.stdout_is_terminal && !self.is_dumb
    }

    /// Whether data is in colour.
    pub fn colors(&self) -> bool {
        self.color
    }

    /// Whether errors, hints and logs are in colour.
    pub fn colors_errors(&self) -> bool {
        self.color_errors
    }

    /// Whether a progress bar may be drawn.
    pub fn draws_bars(&self) -> bool {
        self.stderr_is_terminal && !self.is_dumb && !self.quiet && !self.json
    }

    /// Whether somebody can be asked.
    pub fn can_ask(&self) -> bool {
        self.stderr_is_terminal && io::stdin().is_terminal()
    }

    /// Prints data: a line, or several.
    pub fn line(&self, text: impl AsRef<str>) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        write_line(&mut stdout, text.as_ref()).map_err(|error| stdout_error(&error))
    }

    /// Prints one JSON object as a line.
    pub fn object(&self, object: &serde_json::Value) -> Result<(), CliError> {
        self.line(object.to_string())
    }

    /// Prints a piece of text as it is, such as the codes that move a terminal's cursor.
    pub fn raw(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| stdout_error(&error))
    }

    /// Says what is worth knowing beside the data. Nobody listening is no error.
    pub fn hint(&self, text: impl AsRef<str>) {
        if !self.quiet {
            drop(write_line(&mut io::stderr().lock(), text.as_ref()));
        }
    }

    /// Says what is about to be done: always before a question, else as a hint.
    pub fn about_to(&self, text: impl AsRef<str>, asks: bool) {
        let unless_asked = Self { quiet: self.quiet && !asks, ..*self };
        unless_asked.hint(text);
    }

    /// A question; no line end.
    pub fn ask(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
    }

    /// Says why the command did not end well.
    pub fn error(&self, error: &CliError) {
        if error.exit == Exit::Done {
            return;
        }
        let mut stderr = io::stderr().lock();
        if self.json {
            let clean_box = |text: &str| without_phones(text).into();
            let told = CliError {
                message: without_phones(&error.message),
                field: error.field.as_deref().map(clean_box),
                hint: error.hint.as_deref().map(clean_box),
                ..error.clone()
            };
            drop(write_line(&mut stderr, &told.to_json().to_string()));
            return;
        }
        let file = error.file.as_deref().filter(|file| !error.message.contains(*file));
        let file = file.map(|file| format!("{file}: ")).unwrap_or_default();
        let word = if self.color_errors { "\x1b[31merror:\x1b[0m" } else { "error:" };
        let message = without_phones(&error.message);
        drop(write_line(&mut stderr, &format!("{word} {file}{message}")));
        // Most messages end with what to do; it is said once.
        if let Some(hint) = error.hint.as_deref().filter(|hint| !error.message.contains(*hint)) {
            drop(write_line(&mut stderr, &format!("hint: {}", without_phones(hint))));
        }
    }

    /// Text in colour, if there are colours.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Green => 32,
            Paint::Yellow => 33,
            Paint::Red => 31,
            Paint::Dim => 2,
            Paint::Bold => 1,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// How often progress is told where no bar can be drawn; divided by `time_scale` like every wait.
pub fn line_period(time_scale: u32) -> Duration {
    LINE_PERIOD / time_scale.max(1)
}

/// A count with its thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 message`, `2 messages`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A time span for people: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6_000 => format!("{} min", (seconds + 30) / 60),
        6_000..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Wall milliseconds as RFC 3339 in UTC, to the second.
pub fn rfc3339(ms: u64) -> String {
    let second = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX).to_string()
}

fn write_line(out: &mut impl Write, text: &str) -> io::Result<()> {
    // One write, so that lines of several processes do not mix.
    let mut line = String::with_capacity(text.len() + 1);
    line.push_str(text);
    line.push('\n');
    out.write_all(line.as_bytes())?;
    out.flush()
}

fn stdout_error(error: &io::Error) -> CliError {
    if is_reader_gone(error) {
        return CliError::reader_gone();
    }
    CliError::new(Exit::Failed, "unwritable", format!("cannot write to standard output: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_apart() {
        let shown = [0, 999, 1_000, 12_345, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!(counted(1, "row") + &counted(2_000, " row"), "1 row2,000  rows");
    }

    #[test]
    fn spans_and_times_as_people_read_them() {
        let shown = [0, 99, 100, 5_999, 6_000, 172_800].map(|s| span(Duration::from_secs(s)));
        assert_eq!(shown, ["0 s", "99 s", "2 min", "100 min", "1 h 40 min", "2 d 0 h"]);
        assert_eq!(rfc3339(1_795_000_000_999), "2026-11-18T11:06:40Z");
    }
}
