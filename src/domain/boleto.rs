//! The digitable line of a boleto: 47 digits of a bank's, 48 of an utility's, a city's or a tax's.
//!
//! Checks every check digit, and reads amount and due date out of the line so that they can be compared with the row's.
//! It does not know whether the boleto is registered. The bank's count of days began again at 1000 on 22 February
//! 2025, so a line alone may mean two days; the known due date decides.

use std::fmt;

use jiff::Span;
use jiff::civil::Date;

use super::format::{has_decimal_tail, is_scientific};

/// A digitable line whose check digits hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Boleto {
    digits: [u8; COLLECTION_LENGTH],
    length: usize,
    cents: Option<u64>,
    factor: Option<i16>,
}

/// Why a text is no digitable line. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoletoError {
    /// `1,90000E+45`
    #[error(
        "is a boleto's line in a spreadsheet's scientific notation, which lost digits; export the column as text"
    )]
    Spreadsheet,
    /// Letters or signs.
    #[error("holds something that stands in no boleto's line")]
    Character,
    /// 44 digits.
    #[error("has 44 digits: the barcode, not the digitable line of 47 or 48")]
    Barcode,
    /// Neither 47 nor 48 digits.
    #[error("is no boleto's line of 47 or 48 digits; a spreadsheet may have cut zeros at its beginning")]
    Length,
    /// The check digit of one of the fields.
    #[error("has a wrong check digit in one of its fields")]
    Field,
    /// The check digit over all.
    #[error("has a wrong check digit over the whole line")]
    Whole,
    /// Fourth digit of a bank's line.
    #[error("is a boleto's line in a currency other than reais")]
    Currency,
    /// Second or third digit of the others.
    #[error("begins with 8 but is of no known kind")]
    Kind,
}

/// Digits of a bank's line.
const BANK_LENGTH: usize = 47;
/// Digits of the others.
const COLLECTION_LENGTH: usize = 48;
const BARCODE_LENGTH: usize = 44;

/// Day 0 of the first count, and of the second; both counts of the second start at 1000.
const FIRST_BASE: Date = Date::constant(1997, 10, 7);
const SECOND_BASE: Date = Date::constant(2022, 5, 29);
const FACTOR_MIN: i16 = 1000;

impl Boleto {
    /// Reads a line with or without spaces, points and dashes.
    pub fn parse(text: &str) -> Result<Self, BoletoError> {
        let text = text.trim_start_matches('\'');
        let mut digits = [0; COLLECTION_LENGTH];
        let mut length = 0;
        for byte in text.bytes() {
            match byte {
                b'0'..=b'9' => {
                    *digits.get_mut(length).ok_or(BoletoError::Length)? = byte - b'0';
                    length += 1;
                }
                b' ' | b'.' | b'-' => {}
                _ if is_scientific(text) || has_decimal_tail(text) => return Err(BoletoError::Spreadsheet),
                _ => return Err(BoletoError::Character),
            }
        }
        let mut boleto = Self { digits, length, cents: None, factor: None };
        match length {
            BANK_LENGTH => boleto.check_bank()?,
            COLLECTION_LENGTH if digits[0] == 8 => boleto.check_collection()?,
            BARCODE_LENGTH => return Err(BoletoError::Barcode),
            _ => return Err(BoletoError::Length),
        }
        Ok(boleto)
    }

    /// The amount, if the line has one.
    pub fn cents(&self) -> Option<u64> {
        self.cents
    }

    /// The due date, if the line has one: of the two that its count of days may mean the one nearer to `known`.
    pub fn due_near(&self, known: Date) -> Option<Date> {
        let factor = self.factor?;
        let day = |base: Date| base.checked_add(Span::new().days(factor)).ok();
        let distance = |date: &Date| known.until(*date).map_or(i32::MAX, |span| span.get_days().abs());
        [day(FIRST_BASE), day(SECOND_BASE)].into_iter().flatten().min_by_key(distance)
    }

    /// Writes the digits without punctuation, as the payment button takes them.
    pub fn write(&self, out: &mut String) {
        out.extend(self.digits[..self.length].iter().map(|digit| char::from(b'0' + digit)));
    }

    fn check_bank(&mut self) -> Result<(), BoletoError> {
        let line = &self.digits[..BANK_LENGTH];
        if line[3] != 9 {
            return Err(BoletoError::Currency);
        }
        for (from, check) in [(0, 9), (10, 20), (21, 31)] {
            if mod10(&line[from..check]) != line[check] {
                return Err(BoletoError::Field);
            }
        }
        let mut barcode = [0; BARCODE_LENGTH];
        barcode[..4].copy_from_slice(&line[..4]);
        barcode[4..19].copy_from_slice(&line[32..]);
        barcode[19..24].copy_from_slice(&line[4..9]);
        barcode[24..34].copy_from_slice(&line[10..20]);
        barcode[34..].copy_from_slice(&line[21..31]);
        if barcode_check(&barcode) != barcode[4] {
            return Err(BoletoError::Whole);
        }
        let factor = i16::try_from(value(&barcode[5..9])).unwrap_or(0);
        self.factor = (factor >= FACTOR_MIN).then_some(factor);
        self.cents = Some(value(&barcode[9..19])).filter(|cents| *cents > 0);
        Ok(())
    }

    fn check_collection(&mut self) -> Result<(), BoletoError> {
        let line = &self.digits;
        let check: fn(&[u8]) -> u8 = match line[2] {
            6 | 7 => mod10,
            8 | 9 => mod11,
            _ => return Err(BoletoError::Kind),
        };
        if matches!(line[1], 0 | 8) {
            return Err(BoletoError::Kind);
        }
        let mut barcode = [0; BARCODE_LENGTH];
        for (block, digits) in line.chunks_exact(12).zip(barcode.chunks_exact_mut(11)) {
            if check(&block[..11]) != block[11] {
                return Err(BoletoError::Field);
            }
            digits.copy_from_slice(&block[..11]);
        }
        let mut others = [0; BARCODE_LENGTH - 1];
        others[..3].copy_from_slice(&barcode[..3]);
        others[3..].copy_from_slice(&barcode[4..]);
        if check(&others) != barcode[3] {
            return Err(BoletoError::Whole);
        }
        if matches!(line[2], 6 | 8) {
            self.cents = Some(value(&barcode[4..15])).filter(|cents| *cents > 0);
        }
        Ok(())
    }
}

impl fmt::Debug for Boleto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Boleto(***)")
    }
}

impl BoletoError {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Spreadsheet => "boleto_spreadsheet",
            Self::Character => "boleto_character",
            Self::Barcode => "boleto_barcode",
            Self::Length => "boleto_length",
            Self::Field => "boleto_field_check",
            Self::Whole => "boleto_check",
            Self::Currency => "boleto_currency",
            Self::Kind => "boleto_kind",
        }
    }
}

/// Weights 2, 1, 2, … from the right; the digits of the products are added.
pub fn mod10(digits: &[u8]) -> u8 {
    let products = digits.iter().rev().zip([2, 1].into_iter().cycle()).map(|(digit, weight)| digit * weight);
    let sum: u32 = products.map(|product| u32::from(product / 10 + product % 10)).sum();
    u8::try_from((10 - sum % 10) % 10).unwrap_or(0)
}

/// The check digit of a bank's barcode of 44 digits, over all but itself, which stands fifth.
pub fn barcode_check(barcode: &[u8; BARCODE_LENGTH]) -> u8 {
    let others = barcode[5..].iter().rev().chain(barcode[..4].iter().rev());
    match 11 - weighted(others) % 11 {
        10 | 11 => 1,
        check => u8::try_from(check).unwrap_or(1),
    }
}

fn mod11(digits: &[u8]) -> u8 {
    match weighted(digits.iter().rev()) % 11 {
        0 | 1 => 0,
        rest => u8::try_from(11 - rest).unwrap_or(0),
    }
}

/// Weights 2 to 9, again and again.
fn weighted<'a>(digits: impl Iterator<Item = &'a u8>) -> u32 {
    digits.zip((2..=9).cycle()).map(|(digit, weight): (_, u32)| u32::from(*digit) * weight).sum()
}

fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value, digit| value * 10 + u64::from(*digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "75691434360103372340200149330011690380000250000";
    const NEW: &str = "00190000090123456700400000101170816560000015075";
    const CITY: &str = "83680000001-7 50750048123-3 45678901234-5 56789012345-6";

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn lines_say_amount_and_due_date() {
        let old = Boleto::parse(OLD).unwrap();
        assert_eq!((old.cents(), old.due_near(day("2022-07-06"))), (Some(250_000), Some(day("2022-07-06"))));
        let new = Boleto::parse(NEW).unwrap();
        assert_eq!((new.cents(), new.due_near(day("2026-12-11"))), (Some(15_075), Some(day("2026-12-10"))));
        // The same count of days means another day to a boleto of the first count.
        assert_eq!(new.due_near(day("2002-05-01")), Some(day("2002-04-20")));
        let spaced = "00190.00009 01234.567004 00000.101170 8 16560000015075";
        assert_eq!(Boleto::parse(spaced), Ok(new));
        let mut out = String::new();
        new.write(&mut out);
        assert_eq!(out, NEW);
        let city = Boleto::parse(CITY).unwrap();
        assert_eq!((city.cents(), city.due_near(day("2026-12-10"))), (Some(15_075), None));
    }

    fn refused(text: &str, expect: BoletoError) {
        assert_eq!(Boleto::parse(text), Err(expect));
    }

    #[test]
    fn what_is_no_line() {
        refused("", BoletoError::Length);
        refused(&NEW[2..], BoletoError::Length);
        refused(&format!("{NEW}00"), BoletoError::Length);
        refused("00198165600000150750000001234567000000010117", BoletoError::Barcode);
        refused("1,90000E+45", BoletoError::Spreadsheet);
        refused("linha", BoletoError::Character);
        refused(&NEW.replacen("0019", "0018", 1), BoletoError::Currency);
        refused(&NEW.replacen("15075", "15076", 1), BoletoError::Whole);
        refused(&NEW.replacen("1234567", "1234568", 1), BoletoError::Field);
        refused(&CITY.replacen("836", "831", 1), BoletoError::Kind);
        refused(&CITY.replacen("-3", "-4", 1), BoletoError::Field);
    }

    proptest! {
        #[test]
        fn one_wrong_digit_is_always_found_out(at in 0usize..47, by in 1u8..10) {
            for line in [OLD, NEW] {
                let mut bytes = line.as_bytes().to_vec();
                bytes[at] = b'0' + (bytes[at] - b'0' + by) % 10;
                let changed = String::from_utf8(bytes).unwrap();
                // Of the digits outside the fields, mod 11 maps three remainders to one check digit.
                if at != 32 {
                    prop_assert!(Boleto::parse(&changed).is_err() || at > 32, "{}", changed);
                } else {
                    prop_assert!(Boleto::parse(&changed).is_err());
                }
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "[0-9 .,E+a-zé'-]{0,60}") {
            let _ = Boleto::parse(&text);
        }
    }
}
