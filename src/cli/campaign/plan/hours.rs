//! When the rows of a file could be sent: the hours of each state among them, when the last message would leave, and what
//! would expire before. Reads no clock: the beginning is an argument.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::super::output::{Output, Paint, count, counted};
use super::super::hours::{calendar, local};
use super::people::People;
use crate::config::{Config, calendars};
use crate::domain::area::CalendarClass;
use crate::domain::calendar::{Outlook, Speed, Week, outlook};
use crate::domain::campaign::Campaign;

/// How much of a list of states is shown in a line.
const STATES_MAX: usize = 27;

/// New rows by state, in the order of the classes.
pub type States = [u64; 27];

/// The hours ahead of a campaign that begins with these rows.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// When it would begin.
    from: Timestamp,
    /// When what was loaded then expires.
    expires: Timestamp,
    /// Per state with rows: its rows, its hours, and whether they ever come.
    states: Vec<(CalendarClass, u64, Week)>,
    /// Hours in Brasília that narrow all of them.
    brasilia: Vec<String>,
    outlook: Outlook,
}

impl Ahead {
    /// Works it out; None where calendars are not kept, or the rules cannot be read.
    pub fn new(
        campaign: &Campaign,
        config: &Config,
        states: &States,
        (rate_per_s, people): (Option<f64>, Option<&People>),
        from: Timestamp,
    ) -> Option<Self> {
        let rules = calendars::builtin().ok().filter(|_| config.calendar.enforce)?;
        let calendar = calendar(&rules, campaign, config);
        let left: Vec<(CalendarClass, u64)> =
            CalendarClass::all().zip(*states).filter(|(_, rows)| *rows > 0).collect();
        let validity = SignedDuration::try_from(campaign.validity).unwrap_or(SignedDuration::MAX);
        let aged = from.checked_add(validity).unwrap_or(Timestamp::MAX);
        let expires = campaign.valid_until.map_or(aged, |end| end.min(aged));
        let speed = Speed { rate_per_s, people: people.map(People::budget) };
        let outlook = outlook(&rules, &calendar, &left, speed, (from, expires));
        let week = |(class, rows)| (class, rows, rules.week(&calendar, class));
        let brasilia = calendar.fixed().map(ToString::to_string).collect();
        Some(Self { from, expires, states: left.into_iter().map(week).collect(), brasilia, outlook })
    }

    /// As one object.
    pub fn json(&self) -> Value {
        let instant = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let state = |(class, rows, week): &(CalendarClass, u64, Week)| json!({ "state": class.uf(), "rows": rows, "hours": week.to_string() });
        json!({
            "from": seconds(self.from).to_string(), "begins": instant(self.outlook.begins.map(seconds)),
            "ends": instant(self.outlook.ends.map(seconds)), "expires": seconds(self.expires).to_string(),
            "never": self.outlook.never, "expired": self.outlook.late,
            "brasilia": self.brasilia.first(), "states": self.states.iter().map(state).collect::<Vec<_>>(),
        })
    }

    /// For people, beginning with the hours.
    pub fn lines(&self, out: &Output) -> Vec<String> {
        let mut by_week: BTreeMap<String, Vec<(&str, u64)>> = BTreeMap::new();
        for (class, rows, week) in &self.states {
            by_week.entry(week.to_string()).or_default().push((class.uf(), *rows));
        }
        let mut lines = vec![
            "hours: of the recipient, by the law of each state and your calendar; no holiday".to_owned(),
        ];
        for own in &self.brasilia {
            lines.push(format!("  and {own} in Brasília, everywhere"));
        }
        for (week, mut states) in by_week {
            states.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
            let shown: Vec<String> =
                states.iter().take(STATES_MAX).map(|(uf, rows)| format!("{uf} {}", count(*rows))).collect();
            lines.push(format!("  {week}: {}", shown.join(", ")));
        }
        lines.push(self.finish());
        if self.outlook.never > 0 {
            let text = format!(
                "  {} in states whose hours never come: look at `hours` and [calendar]",
                counted(self.outlook.never, "message")
            );
            lines.push(out.paint(Paint::Red, &text));
        }
        if self.outlook.late > self.outlook.never {
            let text = format!(
                "  {} would expire unsent on {}: load later, or give the campaign a longer validity",
                counted(self.outlook.late - self.outlook.never, "message"),
                local(self.expires)
            );
            lines.push(out.paint(Paint::Red, &text));
        }
        lines
    }

    fn finish(&self) -> String {
        let Outlook { begins, ends, .. } = self.outlook;
        let begins = match begins {
            None => return "begun then, nothing would ever leave".to_owned(),
            Some(at) if at <= self.from => format!("begun on {}, it sends at once", local(self.from)),
            Some(at) => format!("begun on {}, it waits until {}", local(self.from), local(at)),
        };
        let all: u64 = self.states.iter().map(|(_, rows, _)| rows).sum();
        if self.outlook.late >= all {
            return format!("{begins}; by then all have expired");
        }
        match ends {
            Some(at) => format!("{begins}; the last leaves on {}", local(at)),
            None => format!("{begins}; the last does not leave within a year"),
        }
    }
}

/// To the second, which is all that an estimate is good for.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
