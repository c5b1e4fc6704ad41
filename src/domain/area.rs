//! The 67 Brazilian area codes (DDD), their states, and what follows from a state: time zones and a share of the people.
//!
//! Everything is a table known at compile time. An area code is only a guess at where its owner lives (numbers
//! are portable); it is taken because it is a function of the phone alone, so that a person's lane never changes.

use std::fmt;

/// How many calendar classes there are: one per state.
pub const CLASSES: usize = 27;

/// An area code that exists, 11 to 99.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AreaCode(u8);

/// The set of calendars that must all be open before a person is written to: one class per state, numbered in
/// the alphabetical order of the states' abbreviations. The number is stored in lanes and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CalendarClass(u8);

struct State {
    uf: &'static str,
    zones: &'static [&'static str],
    /// Residents of the 2022 census over Brazil's, rounded so that all states add up to 1,000.
    share_per_mille: u16,
    areas: &'static [u8],
}

const fn state(
    uf: &'static str,
    zones: &'static [&'static str],
    share_per_mille: u16,
    areas: &'static [u8],
) -> State {
    State { uf, zones, share_per_mille, areas }
}

/// One zone stands for a state whose zones keep the same hours. Amazonas has two that differ and share area code 97.
/// Fernando de Noronha (UTC-2, three thousand people, area code 81 like Recife) is left to an address-based calendar.
static STATES: [State; CLASSES] = [
    state("AC", &["America/Rio_Branco"], 4, &[68]),
    state("AL", &["America/Maceio"], 15, &[82]),
    state("AM", &["America/Manaus", "America/Eirunepe"], 19, &[92, 97]),
    state("AP", &["America/Belem"], 4, &[96]),
    state("BA", &["America/Bahia"], 70, &[71, 73, 74, 75, 77]),
    state("CE", &["America/Fortaleza"], 43, &[85, 88]),
    state("DF", &["America/Sao_Paulo"], 14, &[61]),
    state("ES", &["America/Sao_Paulo"], 19, &[27, 28]),
    state("GO", &["America/Sao_Paulo"], 35, &[62, 64]),
    state("MA", &["America/Fortaleza"], 33, &[98, 99]),
    state("MG", &["America/Sao_Paulo"], 101, &[31, 32, 33, 34, 35, 37, 38]),
    state("MS", &["America/Campo_Grande"], 14, &[67]),
    state("MT", &["America/Cuiaba"], 18, &[65, 66]),
    state("PA", &["America/Belem"], 40, &[91, 93, 94]),
    state("PB", &["America/Fortaleza"], 20, &[83]),
    state("PE", &["America/Recife"], 45, &[81, 87]),
    state("PI", &["America/Fortaleza"], 16, &[86, 89]),
    state("PR", &["America/Sao_Paulo"], 56, &[41, 42, 43, 44, 45, 46]),
    state("RJ", &["America/Sao_Paulo"], 79, &[21, 22, 24]),
    state("RN", &["America/Fortaleza"], 16, &[84]),
    state("RO", &["America/Porto_Velho"], 8, &[69]),
    state("RR", &["America/Boa_Vista"], 3, &[95]),
    state("RS", &["America/Sao_Paulo"], 54, &[51, 53, 54, 55]),
    state("SC", &["America/Sao_Paulo"], 37, &[47, 48, 49]),
    state("SE", &["America/Maceio"], 11, &[79]),
    state("SP", &["America/Sao_Paulo"], 219, &[11, 12, 13, 14, 15, 16, 17, 18, 19]),
    state("TO", &["America/Araguaina"], 7, &[63]),
];

/// Class of each area code; `NO_CLASS` where no such area code exists.
static CLASS_OF_AREA: [u8; 100] = class_of_area();
const NO_CLASS: u8 = u8::MAX;

const fn class_of_area() -> [u8; 100] {
    let mut table = [NO_CLASS; 100];
    let mut class: u8 = 0;
    while (class as usize) < CLASSES {
        let areas = STATES[class as usize].areas;
        let mut at = 0;
        while at < areas.len() {
            table[areas[at] as usize] = class;
            at += 1;
        }
        class += 1;
    }
    table
}

/// Lanes are sized by these shares, so a share that is lost would lose room for people.
const _: () = {
    let mut sum = 0;
    let mut class = 0;
    while class < CLASSES {
        sum += STATES[class].share_per_mille;
        class += 1;
    }
    assert!(sum == 1000, "the shares of all states add up to 1,000");
};

impl AreaCode {
    /// The area code, if it exists.
    pub fn new(code: u8) -> Option<Self> {
        let class = *CLASS_OF_AREA.get(usize::from(code))?;
        (class != NO_CLASS).then_some(Self(code))
    }

    /// Its two digits as a number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// The calendars of the people who have it.
    pub fn class(self) -> CalendarClass {
        CalendarClass(CLASS_OF_AREA[usize::from(self.0)])
    }
}

impl CalendarClass {
    /// All classes, by number.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        // 27 fits a byte.
        (0..27_u8).map(Self)
    }

    /// The class of this number, if there is one.
    pub fn from_index(index: u8) -> Option<Self> {
        (usize::from(index) < CLASSES).then_some(Self(index))
    }

    /// Its number, from 0.
    pub fn index(self) -> u8 {
        self.0
    }

    /// The state's abbreviation.
    pub fn uf(self) -> &'static str {
        self.state().uf
    }

    /// The IANA time zones in all of which the hour must be allowed.
    pub fn zones(self) -> &'static [&'static str] {
        self.state().zones
    }

    /// How many of a thousand people live there; over all classes exactly 1,000.
    pub fn share_per_mille(self) -> u16 {
        self.state().share_per_mille
    }

    /// The state's area codes, ascending.
    pub fn areas(self) -> impl ExactSizeIterator<Item = AreaCode> {
        self.state().areas.iter().map(|&code| AreaCode(code))
    }

    fn state(self) -> &'static State {
        &STATES[usize::from(self.0)]
    }
}

impl fmt::Display for CalendarClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uf())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_area_code_has_its_state() {
        let table = [
            ("SP", "11 12 13 14 15 16 17 18 19"),
            ("RJ", "21 22 24"),
            ("ES", "27 28"),
            ("MG", "31 32 33 34 35 37 38"),
            ("PR", "41 42 43 44 45 46"),
            ("SC", "47 48 49"),
            ("RS", "51 53 54 55"),
            ("DF", "61"),
            ("GO", "62 64"),
            ("TO", "63"),
            ("MT", "65 66"),
            ("MS", "67"),
            ("AC", "68"),
            ("RO", "69"),
            ("BA", "71 73 74 75 77"),
            ("SE", "79"),
            ("PE", "81 87"),
            ("AL", "82"),
            ("PB", "83"),
            ("RN", "84"),
            ("CE", "85 88"),
            ("PI", "86 89"),
            ("PA", "91 93 94"),
            ("AM", "92 97"),
            ("RR", "95"),
            ("AP", "96"),
            ("MA", "98 99"),
        ];
        let mut expected = [None; 256];
        for (uf, codes) in table {
            for code in codes.split(' ') {
                expected[code.parse::<usize>().unwrap()] = Some(uf);
            }
        }
        assert_eq!(expected.iter().flatten().count(), 67);
        for code in 0..=255 {
            let found = AreaCode::new(code).map(|area| area.class().uf());
            assert_eq!(found, expected[usize::from(code)], "area code {code}");
        }
    }

    #[test]
    fn classes_are_numbered_by_state_and_share_out_everybody() {
        let ufs: Vec<_> = CalendarClass::all().map(CalendarClass::uf).collect();
        assert_eq!(ufs.len(), CLASSES);
        assert!(ufs.is_sorted_by(|a, b| a < b));
        let sum: u16 = CalendarClass::all().map(CalendarClass::share_per_mille).sum();
        assert_eq!(sum, 1000);
        assert!(CalendarClass::all().all(|class| class.share_per_mille() > 0));
        assert_eq!(CalendarClass::from_index(26).unwrap().uf(), "TO");
        assert_eq!(CalendarClass::from_index(27), None);
    }

    #[test]
    fn zones_exist_and_only_amazonas_has_two() {
        for class in CalendarClass::all() {
            for zone in class.zones() {
                jiff::tz::TimeZone::get(zone).unwrap();
            }
            assert_eq!(class.zones().len() == 2, class.uf() == "AM", "{class}");
        }
        assert_eq!(AreaCode::new(97).unwrap().class().zones(), ["America/Manaus", "America/Eirunepe"]);
    }
}
