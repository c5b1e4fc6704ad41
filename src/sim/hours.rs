//! The judge's own idea of when people may be written to: a table written by hand, area code by area code.
//!
//! It shares nothing with the product's calendars, neither code nor data, so that a mistake there is seen here. It judges the
//! law alone (hours of the state, national and state holidays): what a creditor wants beyond it is no breach. Brazil has
//! had no daylight saving since 2019, so that offsets are plain numbers; an hour is allowed only if it is in every one.

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::clock::{Mono, WallMs};

/// Two instants that are the same: the judge's clock for hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) mono: Mono,
    pub(crate) wall: WallMs,
}

impl Civil {
    /// The wall time at a monotonic one.
    pub(crate) fn at(self, now: Mono) -> WallMs {
        let ahead = u64::try_from(now.since(self.mono).as_millis()).unwrap_or(u64::MAX);
        WallMs(self.wall.0.saturating_add(ahead))
    }
}

/// Area codes, hours behind UTC, Monday to Friday and Saturday in whole hours, and the state's own holidays (MMDD).
type Row = (&'static [u8], &'static [i8], [i8; 2], [i8; 2], &'static [u16]);

const SHUT: [i8; 2] = [0, 0];

const TABLE: [Row; 27] = [
    (&[68], &[-5], [8, 20], [8, 14], &[123, 615, 905, 1117]),
    (&[82], &[-3], [8, 20], [8, 14], &[624, 629, 916]),
    (&[92, 97], &[-4, -5], [8, 19], SHUT, &[905, 1208]),
    (&[96], &[-3], [8, 20], [8, 14], &[319, 725, 1005]),
    (&[71, 73, 74, 75, 77], &[-3], [8, 20], [8, 14], &[702]),
    (&[85, 88], &[-3], [8, 20], [8, 14], &[319, 325]),
    (&[61], &[-3], [8, 20], [8, 14], &[1130]),
    (&[27, 28], &[-3], [8, 19], SHUT, &[1028]),
    (&[62, 64], &[-3], [8, 20], [8, 14], &[1028]),
    (&[98, 99], &[-3], [8, 20], [8, 14], &[728, 1208]),
    (&[31, 32, 33, 34, 35, 37, 38], &[-3], [8, 20], [8, 14], &[]),
    (&[67], &[-4], [8, 20], [8, 14], &[1011]),
    (&[65, 66], &[-4], [8, 20], [8, 14], &[]),
    (&[91, 93, 94], &[-3], [8, 20], [8, 14], &[815]),
    (&[83], &[-3], [8, 20], [8, 14], &[805]),
    (&[81, 87], &[-3], [8, 20], [8, 14], &[306, 624]),
    (&[86, 89], &[-3], [8, 20], [8, 14], &[313, 1019]),
    (&[41, 42, 43, 44, 45, 46], &[-3], [8, 18], [8, 13], &[1219]),
    (&[21, 22, 24], &[-3], [9, 19], SHUT, &[423, 1028]),
    (&[84], &[-3], [8, 20], [8, 14], &[629, 1003]),
    (&[69], &[-4], [8, 20], [8, 14], &[104, 618]),
    (&[95], &[-4], [8, 20], [8, 14], &[1005]),
    (&[51, 53, 54, 55], &[-3], [8, 20], [8, 14], &[920]),
    (&[47, 48, 49], &[-3], [8, 20], [8, 14], &[811]),
    (&[79], &[-3], [8, 20], [8, 14], &[708]),
    (&[11, 12, 13, 14, 15, 16, 17, 18, 19], &[-3], [8, 20], [8, 14], &[709]),
    (&[63], &[-3], [8, 20], [8, 14], &[908, 1005]),
];

/// National holidays of every year (MMDD).
const NATIONAL: [u16; 9] = [101, 421, 501, 907, 1012, 1102, 1115, 1120, 1225];

/// Days that move with Easter: year, Good Friday, Shrove Tuesday (Rio de Janeiro), Our Lady of Penha (Espírito Santo).
const MOVING: [(i16, u16, u16, u16); 10] = [
    (2024, 329, 213, 408),
    (2025, 418, 304, 428),
    (2026, 403, 217, 413),
    (2027, 326, 209, 405),
    (2028, 414, 229, 424),
    (2029, 330, 213, 409),
    (2030, 419, 305, 429),
    (2031, 411, 225, 421),
    (2032, 326, 210, 405),
    (2033, 415, 301, 425),
];

/// Whether a message to this area code may not reach its person at this instant. Codes that Brazil does not have are not
/// judged.
pub(crate) fn out_of_hours(area: u8, at: WallMs) -> bool {
    let Some((areas, offsets, weekdays, saturday, holidays)) = TABLE.iter().find(|row| row.0.contains(&area))
    else {
        return false;
    };
    let Ok(at) = Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX)) else {
        return true;
    };
    offsets.iter().any(|hours| {
        let local = Offset::constant(*hours).to_datetime(at);
        let day = u16::from(local.month().unsigned_abs()) * 100 + u16::from(local.day().unsigned_abs());
        let moving = MOVING.iter().find(|row| row.0 == local.year());
        let moved = moving.is_some_and(|(_, friday, tuesday, penha)| {
            day == *friday
                || (areas.contains(&21) && day == *tuesday)
                || (areas.contains(&27) && day == *penha)
        });
        let [from, to] = match local.weekday().to_monday_one_offset() {
            1..=5 => *weekdays,
            6 => *saturday,
            _ => SHUT,
        };
        let free = moved || NATIONAL.contains(&day) || holidays.contains(&day);
        free || local.hour() < from || local.hour() >= to
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(area: u8, at: &str, out: bool) {
        let at: Timestamp = at.parse().unwrap();
        let ms = u64::try_from(at.as_millisecond()).unwrap();
        assert_eq!(out_of_hours(area, WallMs(ms)), out, "{area} at {at}");
    }

    #[test]
    fn every_area_code_is_in_one_row() {
        let count = |area| TABLE.iter().filter(|row| row.0.contains(&area)).count();
        assert_eq!((11..100).map(count).sum::<usize>(), 67);
        assert!((11..100).all(|area| count(area) <= 1));
    }

    #[test]
    fn the_table_judges_as_it_reads() {
        check(11, "2026-11-23T10:59:59Z", true);
        check(11, "2026-11-23T11:00:00Z", false);
        check(11, "2026-11-23T22:59:59Z", false);
        check(11, "2026-11-23T23:00:00Z", true);
        check(11, "2026-11-28T16:59:59Z", false);
        check(11, "2026-11-28T17:00:00Z", true);
        check(11, "2026-11-29T15:00:00Z", true);
        check(21, "2026-11-23T11:30:00Z", true);
        check(21, "2026-11-28T15:00:00Z", true);
        check(97, "2026-11-23T12:30:00Z", true);
        check(97, "2026-11-23T13:00:00Z", false);
        check(97, "2026-11-23T23:00:00Z", true);
        check(11, "2027-03-26T15:00:00Z", true);
        check(11, "2026-07-09T15:00:00Z", true);
        check(31, "2026-07-09T15:00:00Z", false);
        check(21, "2027-02-09T15:00:00Z", true);
        check(11, "2027-02-09T15:00:00Z", false);
        check(20, "2026-11-29T03:00:00Z", false);
    }
}
