//! The hours of a campaign in words.

use jiff::Timestamp;

use crate::app::hours::to_civil;
use crate::clock::WallMs;
use crate::config::{Config, calendars};
use crate::domain::area::CalendarClass;
use crate::domain::calendar::{Calendar, HOME_ZONE, Rules, zone};
use crate::domain::campaign::Campaign;

/// When a campaign may send: what it wants, and how it is now.
pub fn words(campaign: &Campaign, config: &Config, now: WallMs) -> String {
    if !config.calendar.enforce {
        return format!("any hour (calendar.enforce = false), to {} on this machine", config.cloud.url);
    }
    let Ok(rules) = calendars::builtin() else { return "not readable".to_owned() };
    let calendar = calendar(&rules, campaign, config);
    let now = to_civil(now, config.calendar.clock_shift_ms);
    let weeks: Vec<String> = calendar.weeks().map(ToString::to_string).collect();
    let states = CalendarClass::all().len();
    let open = CalendarClass::all().filter(|class| rules.open_at(&calendar, *class, now)).count();
    let first = CalendarClass::all()
        .filter_map(|class| rules.next_change(&calendar, class, now))
        .map(|(at, _)| at)
        .min();
    let how = match (open, first) {
        (0, None) => "never open".to_owned(),
        (0, Some(at)) => format!("closed now, opens {}", local(at)),
        (open, _) if open == states => "open now".to_owned(),
        (open, _) => format!("open now in {open} of {states} states"),
    };
    let own: String = calendar.fixed().map(|week| format!(", and {week} in Brasília")).collect();
    format!("{} of the recipient, within the law of each state{own}; {how}", weeks.join(" and "))
}

/// Everything that narrows the hours of a campaign: the creditor's, its own calendar, its own hours in Brasília.
pub fn calendar(rules: &Rules, campaign: &Campaign, config: &Config) -> Calendar {
    let calendar = Calendar::new(rules, &config.creditor_hours(&campaign.account), &campaign.calendar);
    match (&campaign.hours, zone(HOME_ZONE)) {
        (Some(hours), Some(zone)) => calendar.narrowed(hours.week(), zone),
        _ => calendar,
    }
}

/// An instant as people in São Paulo say it: `Mon 08:00 (2026-11-23, São Paulo)`.
pub fn local(at: Timestamp) -> String {
    match zone(HOME_ZONE) {
        Some(zone) => at.to_zoned(zone).strftime("%a %H:%M (%Y-%m-%d, São Paulo)").to_string(),
        None => at.to_string(),
    }
}
