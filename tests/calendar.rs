//! The simulated year: every area code at every half hour of 2026 and 2027, by the calendars of the product and by a table
//! that is written out here by hand.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::path::Path;

use carteiro::config::{Config, ConfigError, LoadOptions, calendars};
use carteiro::domain::area::{AreaCode, CalendarClass};
use carteiro::domain::calendar::{
    Calendar, OptionalDays, OwnHours, PeopleBudget, Rules, Speed, Week, outlook, parse_instant,
};
use jiff::{SignedDuration, Timestamp};

#[path = "support/place.rs"]
mod place;

/// First hour and hour after the last, in half hours of the local day.
type Span = (u16, u16);

const SHUT: Span = (0, 0);

/// State, its area codes, hours behind UTC, Monday to Friday, Saturday.
type State = (&'static str, &'static [u8], &'static [i64], Span, Span);

const STATES: [State; 27] = [
    ("SP", &[11, 12, 13, 14, 15, 16, 17, 18, 19], &[3], (16, 40), (16, 28)),
    ("RJ", &[21, 22, 24], &[3], (18, 38), SHUT),
    ("ES", &[27, 28], &[3], (16, 38), SHUT),
    ("MG", &[31, 32, 33, 34, 35, 37, 38], &[3], (16, 40), (16, 28)),
    ("PR", &[41, 42, 43, 44, 45, 46], &[3], (16, 36), (16, 26)),
    ("SC", &[47, 48, 49], &[3], (16, 40), (16, 28)),
    ("RS", &[51, 53, 54, 55], &[3], (16, 40), (16, 28)),
    ("DF", &[61], &[3], (16, 40), (16, 28)),
    ("GO", &[62, 64], &[3], (16, 40), (16, 28)),
    ("TO", &[63], &[3], (16, 40), (16, 28)),
    ("MT", &[65, 66], &[4], (16, 40), (16, 28)),
    ("MS", &[67], &[4], (16, 40), (16, 28)),
    ("AC", &[68], &[5], (16, 40), (16, 28)),
    ("RO", &[69], &[4], (16, 40), (16, 28)),
    ("BA", &[71, 73, 74, 75, 77], &[3], (16, 40), (16, 28)),
    ("SE", &[79], &[3], (16, 40), (16, 28)),
    ("PE", &[81, 87], &[3], (16, 40), (16, 28)),
    ("AL", &[82], &[3], (16, 40), (16, 28)),
    ("PB", &[83], &[3], (16, 40), (16, 28)),
    ("RN", &[84], &[3], (16, 40), (16, 28)),
    ("CE", &[85, 88], &[3], (16, 40), (16, 28)),
    ("PI", &[86, 89], &[3], (16, 40), (16, 28)),
    ("PA", &[91, 93, 94], &[3], (16, 40), (16, 28)),
    ("AM", &[92, 97], &[4, 5], (16, 38), SHUT),
    ("RR", &[95], &[4], (16, 40), (16, 28)),
    ("AP", &[96], &[3], (16, 40), (16, 28)),
    ("MA", &[98, 99], &[3], (16, 40), (16, 28)),
];

/// Days on which nobody is written to, in all of Brazil.
const NATIONAL: [&str; 20] = [
    "2026-01-01",
    "2026-04-03",
    "2026-04-21",
    "2026-05-01",
    "2026-09-07",
    "2026-10-12",
    "2026-11-02",
    "2026-11-15",
    "2026-11-20",
    "2026-12-25",
    "2027-01-01",
    "2027-03-26",
    "2027-04-21",
    "2027-05-01",
    "2027-09-07",
    "2027-10-12",
    "2027-11-02",
    "2027-11-15",
    "2027-11-20",
    "2027-12-25",
];

/// Days kept free unless the creditor opens them, and the half hour at which they end.
const OPTIONAL: [(&str, u16); 12] = [
    ("2026-02-16", 48),
    ("2026-02-17", 48),
    ("2026-02-18", 28),
    ("2026-06-04", 48),
    ("2026-12-24", 48),
    ("2026-12-31", 48),
    ("2027-02-08", 48),
    ("2027-02-09", 48),
    ("2027-02-10", 28),
    ("2027-05-27", 48),
    ("2027-12-24", 48),
    ("2027-12-31", 48),
];

/// Holidays of states; those without a year are of both.
const OF_STATES: [(&str, &[&str]); 24] = [
    ("AC", &["01-23", "06-15", "09-05", "11-17"]),
    ("AL", &["06-24", "06-29", "09-16"]),
    ("AM", &["09-05", "12-08"]),
    ("AP", &["03-19", "07-25", "10-05"]),
    ("BA", &["07-02"]),
    ("CE", &["03-19", "03-25"]),
    ("DF", &["11-30"]),
    ("ES", &["2026-04-13", "2027-04-05", "10-28"]),
    ("GO", &["10-28"]),
    ("MA", &["07-28", "12-08"]),
    ("MS", &["10-11"]),
    ("PA", &["08-15"]),
    ("PB", &["08-05"]),
    ("PE", &["03-06", "06-24"]),
    ("PI", &["03-13", "10-19"]),
    ("PR", &["12-19"]),
    ("RJ", &["2026-02-17", "2027-02-09", "04-23", "10-28"]),
    ("RN", &["06-29", "10-03"]),
    ("RO", &["01-04", "06-18"]),
    ("RR", &["10-05"]),
    ("RS", &["09-20"]),
    ("SC", &["08-11"]),
    ("SE", &["07-08"]),
    ("SP", &["07-09"]),
];

/// Tocantins has two more days than fit the list above in one line of thought: they are said here.
const TOCANTINS: [&str; 2] = ["09-08", "10-05"];

/// Days since 1970-01-01 as `2026-02-16`, and the day of the week from Monday 0; by arithmetic, without a library.
fn civil(days: i64) -> (String, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    (format!("{year:04}-{month:02}-{day:02}"), (days + 3).rem_euclid(7))
}

/// What the table says of a state at a half hour since 1970, within hours of one's own if there are any.
fn by_hand(state: usize, half_hour: i64, own: Option<(Span, bool)>) -> bool {
    let (uf, _, offsets, weekdays, saturday) = STATES[state];
    offsets.iter().all(|offset| {
        let local = half_hour - 2 * offset;
        let (date, weekday) = civil(local.div_euclid(48));
        let at = u16::try_from(local.rem_euclid(48)).unwrap();
        let listed = OF_STATES.iter().find(|(of, _)| *of == uf).map_or(&[][..], |(_, days)| days);
        let listed = if uf == "TO" { &TOCANTINS[..] } else { listed };
        if NATIONAL.contains(&date.as_str()) || listed.iter().any(|day| date.ends_with(day)) {
            return false;
        }
        let within = |(from, to): Span| (from..to).contains(&at);
        let law = match weekday {
            0..=4 => within(weekdays),
            5 => within(saturday),
            _ => false,
        };
        let wanted = own.is_none_or(|(span, optional)| {
            let free = OPTIONAL.iter().any(|(day, until)| *day == date && at < *until);
            weekday <= 4 && within(span) && (optional || !free)
        });
        law && wanted
    })
}

fn class_of(uf: &str) -> CalendarClass {
    CalendarClass::all().find(|class| class.uf() == uf).unwrap()
}

fn at(half_hour: i64) -> Timestamp {
    Timestamp::from_second(half_hour * 1_800).unwrap()
}

/// All hours of every day and all optional days: what is left is the law.
fn always() -> OwnHours {
    OwnHours { hours: Some(Week::always()), optional_days: Some(OptionalDays::Open), ..OwnHours::default() }
}

fn check_years(rules: &Rules, calendar: &Calendar, own: Option<(Span, bool)>) {
    let first = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second() / 1_800;
    let end = "2028-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second() / 1_800;
    for (state, (uf, areas, ..)) in STATES.iter().enumerate() {
        let class = class_of(uf);
        assert!(areas.iter().all(|area| AreaCode::new(*area).unwrap().class() == class), "{uf}");
        let expect: Vec<bool> = (first..end).map(|half| by_hand(state, half, own)).collect();
        for (half, open) in (first..end).zip(&expect) {
            assert_eq!(rules.open_at(calendar, class, at(half)), *open, "{uf} at {}", at(half));
        }
        // The same by its changes: each half hour at which the table changes is one, and there are no others.
        let mut now = at(first);
        let changes = (first + 1..end).zip(expect.windows(2)).filter(|(_, pair)| pair[0] != pair[1]);
        for (half, pair) in changes {
            assert_eq!(
                rules.next_change(calendar, class, now),
                Some((at(half), pair[1])),
                "{uf} after {now}"
            );
            now = at(half);
        }
    }
}

#[test]
fn the_law_of_two_years_is_what_the_table_says() {
    let rules = calendars::builtin().unwrap();
    check_years(&rules, &Calendar::new(&rules, &always(), &OwnHours::default()), None);
}

#[test]
fn the_hours_of_a_creditor_who_says_nothing_are_what_the_table_says() {
    let rules = calendars::builtin().unwrap();
    let calendar = Calendar::new(&rules, &OwnHours::default(), &OwnHours::default());
    check_years(&rules, &calendar, Some(((16, 36), false)));
}

fn own(hours: &str) -> OwnHours {
    OwnHours { hours: Some(Week::parse(hours).unwrap()), ..OwnHours::default() }
}

fn check(creditor: &OwnHours, campaign: &OwnHours, uf: &str, at: &str, expect: bool) {
    let rules = calendars::builtin().unwrap();
    let calendar = Calendar::new(&rules, creditor, campaign);
    let open = rules.open_at(&calendar, class_of(uf), parse_instant(at).unwrap());
    assert_eq!(open, expect, "{uf} at {at}: {creditor:?} {campaign:?}");
}

#[test]
fn the_creditor_replaces_the_default_and_the_campaign_narrows_it() {
    let nothing = OwnHours::default();
    // Thursday 26 November 2026, in the time of São Paulo.
    check(&nothing, &nothing, "SP", "2026-11-26T18:30", false);
    check(&own("mon-fri 08:00-20:00"), &nothing, "SP", "2026-11-26T18:30", true);
    check(&own("mon-sun 00:00-24:00"), &nothing, "SP", "2026-11-26T20:00", false);
    check(&own("mon-sun 00:00-24:00"), &nothing, "SP", "2026-11-29T12:00", false);
    check(&own("mon-fri 08:00-20:00"), &own("mon-fri 09:00-12:00"), "SP", "2026-11-26T18:30", false);
    check(&own("mon-fri 08:00-20:00"), &own("mon-fri 09:00-12:00"), "SP", "2026-11-26T11:59", true);
    check(&own("mon-fri 08:00-12:00"), &own("mon-sat 08:00-20:00"), "SP", "2026-11-26T15:00", false);
    check(&nothing, &own("sat 08:00-12:00"), "SP", "2026-11-28T10:00", true);
    check(&nothing, &own("sat 08:00-12:00"), "RJ", "2026-11-28T10:00", false);
}

#[test]
fn optional_days_open_only_when_nobody_closes_them() {
    let nothing = OwnHours::default();
    let says = |days| OwnHours { optional_days: Some(days), ..OwnHours::default() };
    let (open, closed) = (says(OptionalDays::Open), says(OptionalDays::Closed));
    let carnival = "2027-02-08T10:00";
    check(&nothing, &nothing, "SP", carnival, false);
    check(&open, &nothing, "SP", carnival, true);
    check(&nothing, &open, "SP", carnival, true);
    check(&open, &closed, "SP", carnival, false);
    check(&closed, &open, "SP", carnival, false);
    check(&open, &nothing, "RJ", "2027-02-09T10:00", false);
    check(&nothing, &nothing, "SP", "2027-02-10T13:59", false);
    check(&nothing, &nothing, "SP", "2027-02-10T14:00", true);
}

#[test]
fn days_and_municipalities_of_ones_own_close() {
    let nothing = OwnHours::default();
    let day = OwnHours { closed: ["2026-11-26".parse().unwrap()].into(), ..OwnHours::default() };
    check(&day, &nothing, "SP", "2026-11-26T10:00", false);
    check(&nothing, &day, "SP", "2026-11-26T10:00", false);
    check(&day, &nothing, "SP", "2026-11-27T10:00", true);
    let town = OwnHours { municipality: Some(3_550_308), ..OwnHours::default() };
    check(&nothing, &nothing, "SP", "2027-01-25T10:00", true);
    check(&nothing, &town, "SP", "2027-01-25T10:00", false);
}

#[test]
fn hours_of_one_zone_narrow_wherever_the_recipient_lives() {
    let rules = calendars::builtin().unwrap();
    let home = carteiro::domain::calendar::zone("America/Sao_Paulo").unwrap();
    let calendar = Calendar::new(&rules, &OwnHours::default(), &OwnHours::default())
        .narrowed(Week::parse("mon-fri 09:00-12:00").unwrap(), home);
    let open = |text| rules.open_at(&calendar, class_of("AC"), parse_instant(text).unwrap());
    assert!(!open("2026-11-26T09:59") && open("2026-11-26T11:00") && !open("2026-11-26T12:00"));
    let first = rules.next_change(&calendar, class_of("AC"), parse_instant("2026-11-26T00:00").unwrap());
    assert_eq!(first, Some((parse_instant("2026-11-26T10:00").unwrap(), true)));
}

#[test]
fn a_calendar_that_never_opens_is_known_by_its_states() {
    let rules = calendars::builtin().unwrap();
    let now = parse_instant("2026-11-26T10:00").unwrap();
    let never = |campaign: &str| {
        let calendar = Calendar::new(&rules, &OwnHours::default(), &own(campaign));
        rules.never_open(&calendar, now).into_iter().map(CalendarClass::uf).collect::<Vec<_>>()
    };
    assert_eq!(never("sat 08:00-12:00"), ["AM", "ES", "RJ"]);
    assert_eq!(never("sun 08:00-20:00").len(), 27);
    assert_eq!(never("mon 08:00-20:00"), Vec::<&str>::new());
}

#[test]
fn a_finishing_time_accounts_for_the_hours() {
    let rules = calendars::builtin().unwrap();
    let calendar = Calendar::new(&rules, &OwnHours::default(), &OwnHours::default());
    let (sp, ac) = (class_of("SP"), class_of("AC"));
    let within = |left: &[(CalendarClass, u64)], from: &str, hours: i64| {
        let from = parse_instant(from).unwrap();
        let speed = Speed { rate_per_s: Some(1.0), people: None };
        outlook(&rules, &calendar, left, speed, (from, from + SignedDuration::from_hours(hours)))
    };
    let look = |left: &[(CalendarClass, u64)], from: &str| within(left, from, 24);
    // Friday 17:00, an hour is left: the rest goes on Monday.
    let friday = look(&[(sp, 5_400)], "2026-11-27T17:00");
    assert_eq!(friday.begins, Some(parse_instant("2026-11-27T17:00").unwrap()));
    assert_eq!(friday.ends, Some(parse_instant("2026-11-30T08:30").unwrap()));
    // Acre opens two hours later than São Paulo.
    let both = look(&[(sp, 3_600), (ac, 1_800)], "2026-11-26T08:00");
    let expect = parse_instant("2026-11-26T10:30").unwrap();
    assert!(both.ends.unwrap().duration_since(expect).abs() < SignedDuration::from_secs(2), "{both:?}");
    assert_eq!((both.never, both.late, look(&[], "2026-11-26T08:00").never), (0, 0, 0));
    // On Friday at 17:00 only an hour of a day's validity lies within the hours; on Saturday none.
    assert_eq!(friday.late, 1_800);
    assert_eq!(look(&[(sp, 5_400)], "2026-11-28T10:00").late, 5_400);
    assert_eq!(within(&[(sp, 5_400)], "2026-11-27T17:00", 72).late, 0);
    assert_eq!(within(&[(sp, 3_600)], "2026-11-26T08:00", 0).late, 3_600);
    let sundays = Calendar::new(&rules, &OwnHours::default(), &own("sun 08:00-20:00"));
    let from = parse_instant("2026-11-26T08:00").unwrap();
    let never = outlook(&rules, &sundays, &[(sp, 7)], Speed::default(), (from, from));
    assert_eq!((never.begins, never.never, never.late), (None, 7, 7));
}

#[test]
fn a_finishing_time_accounts_for_the_people_of_a_day() {
    let rules = calendars::builtin().unwrap();
    let calendar = Calendar::new(&rules, &OwnHours::default(), &OwnHours::default());
    let sp = class_of("SP");
    let look = |left: u64, (people, used): (u64, u64), from: &str| {
        let day = SignedDuration::from_hours(24) + SignedDuration::from_mins(1);
        let speed = Speed { rate_per_s: Some(1.0), people: Some(PeopleBudget { people, used, day }) };
        let from = parse_instant(from).unwrap();
        outlook(&rules, &calendar, &[(sp, left)], speed, (from, from + SignedDuration::from_hours(48)))
    };
    let at = |text: &str| Some(parse_instant(text).unwrap());
    // 1,800 on Thursday from 9:00, as many on Friday from 9:01, 600 on Monday when the hours begin.
    let three = look(4_200, (1_800, 0), "2026-11-26T09:00");
    assert_eq!((three.begins, three.ends), (at("2026-11-26T09:00"), at("2026-11-30T08:10")));
    assert_eq!((three.late, three.never), (600, 0), "{three:?}");
    // All that may be written to were, so that it begins a day later.
    let full = look(600, (1_800, 1_800), "2026-11-26T09:00");
    assert_eq!((full.begins, full.ends), (at("2026-11-27T09:01"), at("2026-11-27T09:11")));
    // A part of them.
    let part = look(600, (1_800, 1_500), "2026-11-26T09:00");
    assert_eq!((part.begins, part.ends), (at("2026-11-26T09:00"), at("2026-11-27T09:06")));
    // Enough for all makes no difference.
    assert_eq!(look(600, (600, 0), "2026-11-26T09:00").ends, at("2026-11-26T09:10"));
    // Nobody may be written to.
    let nobody = look(600, (0, 0), "2026-11-26T09:00");
    assert_eq!((nobody.begins, nobody.ends, nobody.late), (None, None, 600));
    // A year is too short.
    assert_eq!(look(1_000_000, (250, 0), "2026-11-26T09:00").ends, None);
}

#[test]
fn instants_are_read_with_and_without_an_offset() {
    let expect: Timestamp = "2026-12-01T21:00:00Z".parse().unwrap();
    for text in ["2026-12-01T18:00:00-03:00", "2026-12-01T18:00", "2026-12-01 18:00:00", "2026-12-01T21:00Z"]
    {
        assert_eq!(parse_instant(text), Ok(expect), "{text}");
    }
    for text in ["2026-12-01", "tomorrow", "", "18:00"] {
        assert!(parse_instant(text).unwrap_err().contains("is no instant"), "{text}");
    }
}

fn config(text: &str) -> Result<Config, ConfigError> {
    let text = format!("data_dir = \"/tmp/x\"\n{text}");
    let options = LoadOptions { env: [("T".to_owned(), "t".to_owned())].into(), ..LoadOptions::default() };
    Config::load_text(Some((Path::new("c.toml"), &text)), &options).map(|loaded| loaded.config)
}

#[test]
fn the_creditors_hours_come_from_the_configuration() {
    let text = "[calendar]\nhours = \"mon-fri 08:00-19:00\"\noptional_days = \"open\"\nclosed = \"2026-12-26\"\n\
        [[account]]\nid = \"1\"\ntoken = { env = \"T\" }\nhours = \"sat 08:00-12:00\"\n\
        [[account]]\nid = \"2\"\ntoken = { env = \"T\" }\nclosed = \"2026-12-28\"";
    let config = config(text).unwrap();
    let hours = |account: &str| config.creditor_hours(account).hours.map(|week| week.to_string()).unwrap();
    assert_eq!((hours("1"), hours("2")), ("sat 08:00-12:00".to_owned(), "mon-fri 08:00-19:00".to_owned()));
    let two = config.creditor_hours("2");
    assert_eq!((two.closed.len(), two.optional_days), (2, Some(OptionalDays::Open)));
    assert!(config.calendar.enforce);
}

#[test]
fn calendars_are_ignored_only_on_this_machine_and_only_when_said() {
    let refused = config("[calendar]\nenforce = false").unwrap_err().to_string();
    assert!(
        refused.contains("c.toml, line 3: calendar.enforce: false is for the simulator only"),
        "{refused}"
    );
    let local = "[cloud]\nurl = \"http://127.0.0.1:9\"\n";
    assert!(config(local).unwrap().calendar.enforce);
    assert!(!config(&format!("{local}[calendar]\nenforce = false")).unwrap().calendar.enforce);
    for (text, expect) in [
        (
            "hours = \"seg-sex 08:00-18:00\"",
            "calendar.hours: \"seg-sex 08:00-18:00\" does not begin with days",
        ),
        ("optional_days = \"maybe\"", "calendar.optional_days: \"maybe\" is neither"),
        ("closed = \"26/12/2026\"", "calendar.closed: \"26/12/2026\" is no date"),
        ("municipality = 1", "calendar.municipality: must be the IBGE code"),
    ] {
        let error = config(&format!("[calendar]\n{text}")).unwrap_err().to_string();
        assert!(error.contains(expect) && error.contains("line 3"), "{error}");
    }
}

#[test]
fn a_pretended_clock_and_a_campaign_without_hours_are_refused() {
    let place = place::Place::new();
    let error = place.error(
        &[
            "--set",
            "cloud.url=https://graph.facebook.com",
            "--set",
            "calendar.enforce=true",
            "serve",
            "--clock-at",
            "2026-11-23T08:00",
        ],
        2,
    );
    assert!(error["message"].as_str().unwrap().contains("--clock-at is for the simulator only"), "{error}");
    place.write("sunday.toml", &format!("{}\n[calendar]\nhours = \"sun 08:00-12:00\"", place::CAMPAIGN));
    let error = place.error(&["campaign", "create", "sunday.toml"], 2);
    assert_eq!(
        (&error["code"], &error["field"]),
        (&"never_open".into(), &"calendar.hours".into()),
        "{error}"
    );
    // Its own hours in Brasília fall where its creditor's are closed.
    place.write("hours.toml", &format!("hours = \"sun 08:00-12:00\"\n{}", place::CAMPAIGN));
    let kept = ["--set", "calendar.enforce=true", "campaign", "create", "hours.toml"];
    let error = place.error(&kept, 2);
    assert_eq!(error["code"], "never_open", "{error}");
    place.write("end.toml", &format!("valid_until = \"2026-12-01\"\n{}", place::CAMPAIGN));
    let error = place.error(&["campaign", "create", "end.toml"], 2);
    assert_eq!((&error["field"], &error["line"]), (&"valid_until".into(), &1.into()), "{error}");
    let checked = place.json(&["config", "check", "teste.toml"], 0);
    assert!(checked["calendar_rules"].as_u64().unwrap() > 80, "{checked}");
}
