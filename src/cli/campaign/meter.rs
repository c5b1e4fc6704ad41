//! The progress of a load: a bar on a terminal, else one plain line every ten seconds.

use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::time::{Interval, interval_at};

use super::super::output::{Output, count, line_period};
use crate::clock::{self, Mono};
use crate::intake::load::Progress;

/// How often a bar is drawn.
const BAR_PERIOD: Duration = Duration::from_millis(100);

/// Shows how far a load got.
#[derive(Debug)]
pub struct Meter {
    out: Output,
    bar: Option<ProgressBar>,
    size: Option<u64>,
    begun: Mono,
    ticks: Interval,
}

impl Meter {
    /// For an input of so many bytes, if that is known.
    pub fn new(out: &Output, size: Option<u64>, time_scale: u32) -> Self {
        let bar = out.draws_bars().then(|| bar(size));
        let period = if bar.is_some() { BAR_PERIOD } else { line_period(time_scale) };
        let ticks = interval_at(clock::mono().to_tokio() + period, period);
        Self { out: *out, bar, size, begun: clock::mono(), ticks }
    }

    /// Returns when something is to be shown.
    pub async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    /// Shows it.
    pub fn show(&self, progress: &Progress) {
        let rows = progress.rows.load(Ordering::Relaxed);
        let bytes = progress.bytes.load(Ordering::Relaxed);
        match &self.bar {
            Some(bar) => {
                bar.set_position(if self.size.is_some() { bytes } else { rows });
                bar.set_message(format!("{} rows", HumanCount(rows)));
            }
            None => self.out.hint(line(rows, bytes, self.size, clock::mono().since(self.begun))),
        }
    }

    /// Takes the bar away; the totals follow as data.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "loading {bar:30} {percent}% {msg}, {eta} left"),
        None => (ProgressBar::new_spinner(), "loading {spinner} {msg} {per_sec}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style)
}

fn line(rows: u64, bytes: u64, size: Option<u64>, elapsed: Duration) -> String {
    let percent =
        size.filter(|size| *size > 0).map(|size| format!(" ({}%)", bytes * 100 / size)).unwrap_or_default();
    let per_s = rows * 1_000 / u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("loading: {} rows{percent}, {} rows/s", count(rows), count(per_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_and_how_fast() {
        let ten = Duration::from_secs(10);
        assert_eq!(line(2_000_000, 50, Some(200), ten), "loading: 2,000,000 rows (25%), 200,000 rows/s");
        assert_eq!(line(5, 50, None, Duration::ZERO), "loading: 5 rows, 5,000 rows/s");
    }
}
