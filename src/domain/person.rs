//! Who is written to: a Brazilian mobile number, and the key that stays the same however the number is spelled.
//!
//! Phones come from creditors' files in every spelling there is. [`Phone::parse`] accepts what can only be meant
//! in one way and refuses the rest by a code, never repeating the value: a phone is personal, so neither a phone nor
//! a key prints itself. Nothing here knows whether the number exists or has WhatsApp.

use std::fmt;

use super::area::{AreaCode, CalendarClass};

/// Wraps what may not reach a log, an error or a panic: prints `***`, is read only by [`Pii::expose`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pii<T>(T);

/// A Brazilian mobile number: country 55, area code, nine digits that start with 9.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Phone(u64);

/// One person, whatever the spelling: area code and the last eight digits of the number. With and without the
/// ninth digit, with and without 55, as Meta's `wa_id` or as typed, the key is the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PersonKey(pub u64);

/// A phone as it is sent: `+55` and eleven digits.
#[derive(Clone, Copy)]
pub struct E164(Phone);

/// Why a text is no phone that can be written to. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PhoneError {
    /// Nothing there.
    #[error("the phone is empty")]
    Empty,
    /// `5,51199E+12`: the last digits are lost.
    #[error(
        "a spreadsheet turned the phone into scientific notation and lost its last digits; export the column as text"
    )]
    Spreadsheet,
    /// Letters, or a word in place of a number.
    #[error("the phone holds letters")]
    Letters,
    /// A character that no spelling of a phone has.
    #[error("the phone holds a character that belongs to no phone")]
    Character,
    /// Two numbers in one field.
    #[error("the field holds more than one phone")]
    Several,
    /// `+` or `00` and a country that is not 55.
    #[error("the phone belongs to another country; only Brazil (55) is supported")]
    OtherCountry,
    /// Eight or nine digits.
    #[error("the phone has no area code")]
    NoAreaCode,
    /// Too few or too many digits.
    #[error("the phone has a wrong number of digits; 10 or 11 with area code, 12 or 13 with 55")]
    Length,
    /// The area code is none of the 67.
    #[error("the area code does not exist")]
    AreaCode,
    /// Eight digits that start with 2 to 5.
    #[error("the phone is a landline")]
    Landline,
    /// Nine digits that do not start with 9, or eight that start with 0 or 1.
    #[error("the number cannot be a mobile: nine digits start with 9, eight with 6 to 9")]
    NotMobile,
    /// The same digit over and over.
    #[error("the phone is one digit repeated")]
    Repeated,
}

/// Longest spelling that is read, in bytes; a longer one cannot be one phone.
const TEXT_MAX_BYTES: usize = 64;

/// `55 0 XX` and eleven digits is the longest; one more shows that there are too many.
const DIGITS_MAX: usize = 17;

const COUNTRY: u64 = 55;
const AREA_UNIT: u64 = 1_000_000_000;
const LAST_EIGHT: u64 = 100_000_000;

/// The digits of a spelling, and whether it named a country (`+` or `00`).
struct Digits {
    digits: [u8; DIGITS_MAX],
    len: usize,
    international: bool,
}

impl<T> Pii<T> {
    /// Wraps.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself; every call is a place where it may leave.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, by value.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Phone {
    /// Reads a phone in any Brazilian spelling: punctuation, spaces, `+55`, `0055`, `0`, a carrier's `0XX`, with or
    /// without the ninth digit.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        let mut found = Digits::read(text)?;
        let mut digits = &found.digits[..found.len];
        if digits.is_empty() {
            return Err(PhoneError::Empty);
        }
        if digits.len() >= 8 && digits.iter().all(|digit| *digit == digits[0]) {
            return Err(PhoneError::Repeated);
        }
        if let [0, 0, rest @ ..] = digits {
            digits = rest;
            found.international = true;
        }
        if found.international {
            digits = digits.strip_prefix(&[5, 5]).ok_or(PhoneError::OtherCountry)?;
        } else if digits.len() >= 12 && digits[0] != 0 {
            digits = digits.strip_prefix(&[5, 5]).ok_or(PhoneError::Length)?;
        }
        Self::from_national(digits)
    }

    /// The phone with these digits (`55`, area code, nine digits), as [`Phone::digits`] gave them.
    pub fn from_digits(digits: u64) -> Option<Self> {
        let phone = Self(digits);
        let plausible = digits / (AREA_UNIT * 100) == COUNTRY && digits % AREA_UNIT / LAST_EIGHT == 9;
        let area = u8::try_from(digits / AREA_UNIT % 100).ok()?;
        (plausible && AreaCode::new(area).is_some()).then_some(phone)
    }

    /// All thirteen digits as a number.
    pub fn digits(self) -> u64 {
        self.0
    }

    /// The number as it is sent.
    pub fn e164(self) -> E164 {
        E164(self)
    }

    /// Whom it reaches.
    pub fn person(self) -> PersonKey {
        PersonKey(self.0 / AREA_UNIT % 100 * LAST_EIGHT + self.0 % LAST_EIGHT)
    }

    /// Its area code.
    pub fn area(self) -> AreaCode {
        u8::try_from(self.0 / AREA_UNIT % 100)
            .ok()
            .and_then(AreaCode::new)
            .expect("a phone is only made with an area code that exists")
    }

    /// The calendars of its area code.
    pub fn class(self) -> CalendarClass {
        self.area().class()
    }

    /// `digits` without country: perhaps `0`, perhaps a carrier, then area code and number.
    fn from_national(digits: &[u8]) -> Result<Self, PhoneError> {
        let digits = match digits {
            [0, _, _, rest @ ..] if matches!(rest.len(), 10 | 11) => rest,
            [0, rest @ ..] => rest,
            _ => digits,
        };
        let (area, number) = match digits {
            [a, b, number @ ..] if matches!(number.len(), 8 | 9) => (a * 10 + b, number),
            _ if matches!(digits.len(), 8 | 9) => return Err(PhoneError::NoAreaCode),
            _ => return Err(PhoneError::Length),
        };
        if AreaCode::new(area).is_none() {
            return Err(PhoneError::AreaCode);
        }
        let last_eight = &number[number.len() - 8..];
        match (number.len(), number[0]) {
            (8, 2..=5) => return Err(PhoneError::Landline),
            (9, 9) | (8, 6..=9) => {}
            _ => return Err(PhoneError::NotMobile),
        }
        if last_eight.iter().all(|digit| *digit == last_eight[0]) {
            return Err(PhoneError::Repeated);
        }
        let value = last_eight.iter().fold(0, |value, digit| value * 10 + u64::from(*digit));
        let area = COUNTRY * 100 + u64::from(area);
        Ok(Self(area * AREA_UNIT + 9 * LAST_EIGHT + value))
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone(***)")
    }
}

impl PersonKey {
    /// The key of a phone that is known to be Brazilian, such as a `wa_id`.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        Phone::parse(text).map(Phone::person)
    }
}

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonKey(***)")
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0.0)
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("E164(***)")
    }
}

impl PhoneError {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Empty => "phone_empty",
            Self::Spreadsheet => "phone_spreadsheet",
            Self::Letters => "phone_letters",
            Self::Character => "phone_character",
            Self::Several => "phone_several",
            Self::OtherCountry => "phone_other_country",
            Self::NoAreaCode => "phone_no_area_code",
            Self::Length => "phone_length",
            Self::AreaCode => "phone_area_code",
            Self::Landline => "phone_landline",
            Self::NotMobile => "phone_not_mobile",
            Self::Repeated => "phone_repeated",
        }
    }
}

impl Digits {
    fn read(text: &str) -> Result<Self, PhoneError> {
        // What a spreadsheet marks text with, and the decimals that a table of floats gives a number.
        let text = text.trim().trim_start_matches('\'');
        let text =
            text.strip_suffix(".0").filter(|rest| rest.bytes().all(|b| b.is_ascii_digit())).unwrap_or(text);
        if text.len() > TEXT_MAX_BYTES {
            return Err(PhoneError::Length);
        }
        let mut found = Self { digits: [0; DIGITS_MAX], len: 0, international: false };
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'0'..=b'9' => {
                    // Too many digits are still counted, so that the length is judged once, at the end.
                    if found.len < DIGITS_MAX {
                        found.digits[found.len] = byte - b'0';
                        found.len += 1;
                    }
                }
                b' ' | b'-' | b'.' | b'(' | b')' | b'\t' => {}
                b'+' if found.len == 0 && !found.international => found.international = true,
                _ => at += found.unusual(text, at)?,
            }
            at += 1;
        }
        Ok(found)
    }

    /// What to do about the character at `at`, which is neither digit nor plain punctuation: how many further bytes to
    /// skip, or why the text is no phone.
    #[cold]
    fn unusual(&self, text: &str, at: usize) -> Result<usize, PhoneError> {
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            return Ok(0);
        };
        if is_invisible_or_dash(first) {
            return Ok(first.len_utf8() - 1);
        }
        if self.len == 1 && self.digits[0] == 0 && (rest.starts_with("xx") || rest.starts_with("XX")) {
            // `0xx11`: the carrier's place, left open.
            return Ok(1);
        }
        Err(if is_scientific(text) {
            PhoneError::Spreadsheet
        } else if first.is_alphabetic() {
            PhoneError::Letters
        } else if matches!(first, '/' | ';' | ',' | '|') && self.len >= 8 {
            PhoneError::Several
        } else {
            PhoneError::Character
        })
    }
}

/// Spaces and dashes of typography, and the marks that address books put around a copied number.
fn is_invisible_or_dash(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{200b}'..='\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Digits with at most a comma or point, one `E`, a sign, digits.
fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let exponent = exponent.trim_start_matches(['+', '-']);
    digits(exponent) && mantissa.split([',', '.']).all(digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: Result<u64, PhoneError>) {
        assert_eq!(Phone::parse(text).map(Phone::digits), expect, "{text}");
    }

    #[test]
    fn spellings_of_one_number() {
        for text in [
            "11987654321",
            "1187654321",
            "5511987654321",
            "551187654321",
            "+5511987654321",
            "+55 (11) 98765-4321",
            "(11) 8765-4321",
            "011 98765-4321",
            "0 15 11 98765-4321",
            "0xx11 98765 4321",
            "0XX(11)8765.4321",
            "015 11 8765-4321",
            "0055 11 98765 4321",
            "+55 (0) 11 98765-4321",
            "+55 015 11 98765-4321",
            "55 0 11 8765-4321",
            "'11987654321",
            "11987654321.0",
            "\u{a0}11\u{a0}98765\u{2011}4321",
            "\u{202a}+55 11 98765\u{2013}4321\u{202c}",
        ] {
            check(text, Ok(5_511_987_654_321));
        }
    }

    #[test]
    fn other_good_numbers() {
        check("55991234567", Ok(5_555_991_234_567));
        check("5591234567", Ok(5_555_991_234_567));
        check("5555991234567", Ok(5_555_991_234_567));
        check("11 94123-4567", Ok(5_511_941_234_567));
        check("97 6123-4567", Ok(5_597_961_234_567));
        check("1177771234", Ok(5_511_977_771_234));
    }

    #[test]
    fn what_is_refused_and_why() {
        use PhoneError as E;
        for (text, error) in [
            ("", E::Empty),
            (" \u{a0}", E::Empty),
            ("-", E::Empty),
            ("5,51199E+12", E::Spreadsheet),
            ("5.51199e+12", E::Spreadsheet),
            ("5E+12", E::Spreadsheet),
            ("não tem", E::Letters),
            ("11 98765-4321 ramal 2", E::Letters),
            ("11 9876O-4321", E::Letters),
            ("11*987654321", E::Character),
            ("11+987654321", E::Character),
            ("11987654321 / 11912345678", E::Several),
            ("11987654321;11912345678", E::Several),
            ("+1 415 555 2671", E::OtherCountry),
            ("+351 912 345 678", E::OtherCountry),
            ("00 351 912 345 678", E::OtherCountry),
            ("98765-4321", E::NoAreaCode),
            ("8765-4321", E::NoAreaCode),
            ("1198765432100", E::Length),
            ("119876543", E::NoAreaCode),
            ("1198765", E::Length),
            ("55119876543210", E::Length),
            ("11987654321119123456781234567890", E::Length),
            ("20987654321", E::AreaCode),
            ("0800 123 4567", E::AreaCode),
            ("11 3123-4567", E::Landline),
            ("+55 11 5123-4567", E::Landline),
            ("11 1123-4567", E::NotMobile),
            ("11 812345678", E::NotMobile),
            ("00000000000", E::Repeated),
            ("11111111111", E::Repeated),
            ("11999999999", E::Repeated),
            ("11 98888-8888", E::Repeated),
        ] {
            check(text, Err(error));
        }
    }

    #[test]
    fn reason_codes_are_distinct_and_messages_hold_no_digit_of_the_value() {
        let error = Phone::parse("11 3777-4999").unwrap_err();
        assert_eq!(error.reason_code(), "phone_landline");
        assert!(!error.to_string().contains("3777"));
    }

    #[test]
    fn nothing_personal_prints_itself() {
        let phone = Phone::parse("11987654321").unwrap();
        let printed = format!(
            "{phone:?} {:?} {:?} {} {:?}",
            phone.person(),
            phone.e164(),
            Pii::new("Maria"),
            Pii::new("Maria")
        );
        assert_eq!(printed, "Phone(***) PersonKey(***) E164(***) *** ***");
        assert_eq!(phone.e164().to_string(), "+5511987654321");
        assert_eq!(phone.person(), PersonKey(1_187_654_321));
        assert_eq!(phone.class().uf(), "SP");
        assert_eq!(*Pii::new("Maria").expose(), "Maria");
    }

    #[test]
    fn digits_come_back_only_if_they_are_a_phone() {
        let phone = Phone::parse("11987654321").unwrap();
        assert_eq!(Phone::from_digits(phone.digits()), Some(phone));
        for digits in [0, 11_987_654_321, 5_520_987_654_321, 5_511_887_654_321, 15_511_987_654_321] {
            assert_eq!(Phone::from_digits(digits), None, "{digits}");
        }
    }

    fn area() -> impl Strategy<Value = u8> {
        proptest::sample::select((0..100).filter(|c| AreaCode::new(*c).is_some()).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn all_spellings_have_one_key(area in area(), number in 60_000_000_u64..100_000_000, carrier in 10..100) {
            let (a, b) = (number / 10_000, number % 10_000);
            prop_assume!(number % 11_111_111 != 0);
            let key = PersonKey(u64::from(area) * LAST_EIGHT + number);
            for text in [
                format!("{area}{number}"),
                format!("{area}9{number}"),
                format!("55{area}{number}"),
                format!("+55{area}9{number}"),
                format!("+55 ({area}) 9{a:04}-{b:04}"),
                format!("({area}) {a:04}-{b:04}"),
                format!("0{area} 9 {a:04} {b:04}"),
                format!("0{carrier}{area}{number}"),
                format!("0{carrier} {area} 9{a:04}.{b:04}"),
                format!("00 55 {area} {number}"),
            ] {
                let phone = Phone::parse(&text);
                prop_assert_eq!(phone.map(Phone::person), Ok(key), "{}", text);
                prop_assert_eq!(phone.unwrap().area().get(), area);
                prop_assert_eq!(Phone::parse(&phone.unwrap().e164().to_string()), phone);
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in any::<String>()) {
            let _ = Phone::parse(&text);
        }

        #[test]
        fn near_phones_never_panic_and_are_mobiles(text in "[+0-9 ().eEx,/\u{a0}-]{0,24}") {
            if let Ok(phone) = Phone::parse(&text) {
                prop_assert_eq!(Phone::from_digits(phone.digits()), Some(phone));
            }
        }
    }
}
