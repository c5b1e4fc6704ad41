//! Formats of a column: how a value is written in the creditor's file, and how the debtor reads it.
//!
//! A format accepts what can only be meant in one way and refuses the rest by a reason that names the rule, never the value.
//! What a spreadsheet does to numbers (scientific notation, zeros cut off, `.0`, days counted since 1900) is named as
//! such. Pure; money is counted in cents.

use std::fmt;

use jiff::civil::Date;

use super::boleto::{Boleto, BoletoError};
use super::document::{self, Document, DocumentError, DocumentKind};
use super::pix::{PixCode, PixError};

mod amount;
mod date;
mod name;

pub use self::amount::{AmountError, BrlInput};
pub use self::date::{DateError, DateInput, MonthInput};
pub use self::name::NameError;

/// How a column is written, and how it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As it stands.
    #[default]
    Text,
    /// "Maria" from "MARIA DA SILVA".
    FirstName,
    /// `R$ 1.234,56`.
    Brl(BrlInput),
    /// `1.234,56`, for templates that have the `R$` themselves.
    Amount(BrlInput),
    /// `dd/mm/aaaa`.
    Date(DateInput),
    /// "novembro de 2026".
    Month(MonthInput),
    /// Digits only, perhaps an exact count of them.
    Digits {
        /// How many there are in every row.
        length: Option<u8>,
    },
    /// A CPF, shown with its outer digits masked.
    Cpf,
    /// A CNPJ, shown masked.
    Cnpj,
    /// Either of both, shown masked.
    Document,
    /// A boleto's digitable line, 47 or 48 digits.
    Boleto,
    /// A Pix copy-and-paste code.
    Pix,
}

/// What a value means beyond its text, for comparing columns with each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Nothing that is compared.
    Nothing,
    /// An amount.
    Cents(u64),
    /// A day.
    Date(Date),
    /// What a boleto's line says.
    Boleto(Boleto),
    /// The amount of a Pix code, if it names one.
    Pix(Option<u64>),
}

/// Why a value does not fit its column's format. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// `5,51199E+12`.
    #[error(
        "is in a spreadsheet's scientific notation, which lost its last digits; export the column as text"
    )]
    Scientific,
    /// `12345.0`
    #[error("ends in .0, which a spreadsheet or a program added; export the column as text")]
    DecimalTail,
    /// Fewer digits than the format has.
    #[error(
        "has fewer than {length} digits; a spreadsheet may have cut zeros at its beginning, export the column as text"
    )]
    ZerosLost {
        /// Digits of a whole value.
        length: u8,
    },
    /// More digits than the format has.
    #[error("has more than {length} digits")]
    TooManyDigits {
        /// Digits of a whole value.
        length: u8,
    },
    /// Letters or signs in digits.
    #[error("holds something that is neither a digit nor punctuation between digits")]
    NotDigits,
    /// A name.
    #[error("{0}")]
    Name(NameError),
    /// An amount.
    #[error("{0}")]
    Amount(AmountError),
    /// A date or month.
    #[error("{0}")]
    Date(DateError),
    /// CPF or CNPJ.
    #[error("{0}")]
    Document(DocumentError),
    /// A boleto's line.
    #[error("{0}")]
    Boleto(BoletoError),
    /// A Pix code.
    #[error("{0}")]
    Pix(PixError),
}

/// Longest value in digits that is read.
const DIGITS_MAX: u8 = 64;

impl Format {
    /// Names of all formats, as a campaign file writes them.
    pub const NAMES: [&str; 12] = [
        "text",
        "first_name",
        "brl",
        "amount",
        "date",
        "month",
        "digits",
        "cpf",
        "cnpj",
        "document",
        "boleto",
        "pix",
    ];

    /// Its name in the campaign file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::FirstName => "first_name",
            Self::Brl(_) => "brl",
            Self::Amount(_) => "amount",
            Self::Date(_) => "date",
            Self::Month(_) => "month",
            Self::Digits { .. } => "digits",
            Self::Cpf => "cpf",
            Self::Cnpj => "cnpj",
            Self::Document => "document",
            Self::Boleto => "boleto",
            Self::Pix => "pix",
        }
    }

    /// Whether the value is shown as it stands.
    pub fn is_text(self) -> bool {
        self == Self::Text
    }

    /// Writes `text`, which is trimmed and not empty, to the end of `out` as the debtor reads it. What was written before
    /// an error is of no use.
    pub fn apply(self, text: &str, out: &mut String) -> Result<Fact, FormatError> {
        match self {
            Self::Text => out.push_str(text),
            Self::FirstName => name::first_name(text, out).map_err(FormatError::Name)?,
            Self::Brl(input) => {
                let cents = amount::cents(text, input)?;
                out.push_str("R$\u{a0}");
                amount::write(cents, out);
                return Ok(Fact::Cents(cents));
            }
            Self::Amount(input) => {
                let cents = amount::cents(text, input)?;
                amount::write(cents, out);
                return Ok(Fact::Cents(cents));
            }
            Self::Date(input) => {
                let date = date::date(text, input)?;
                date::write(date, out);
                return Ok(Fact::Date(date));
            }
            Self::Month(input) => date::write_month(date::month(text, input)?, out),
            Self::Digits { length } => digits(text, length, out)?,
            Self::Cpf => masked(text, Some(DocumentKind::Cpf), out)?,
            Self::Cnpj => masked(text, Some(DocumentKind::Cnpj), out)?,
            Self::Document => masked(text, None, out)?,
            Self::Boleto => {
                let boleto = Boleto::parse(text).map_err(FormatError::Boleto)?;
                boleto.write(out);
                return Ok(Fact::Boleto(boleto));
            }
            Self::Pix => {
                let pix = PixCode::parse(text).map_err(FormatError::Pix)?;
                out.push_str(text);
                return Ok(Fact::Pix(pix.cents));
            }
        }
        Ok(Fact::Nothing)
    }
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fact(***)")
    }
}

impl FormatError {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Scientific => "value_scientific",
            Self::DecimalTail => "value_decimal_tail",
            Self::ZerosLost { .. } => "value_zeros_lost",
            Self::TooManyDigits { .. } => "value_too_many_digits",
            Self::NotDigits => "value_not_digits",
            Self::Name(error) => error.reason_code(),
            Self::Amount(error) => error.reason_code(),
            Self::Date(error) => error.reason_code(),
            Self::Document(error) => error.reason_code(),
            Self::Boleto(error) => error.reason_code(),
            Self::Pix(error) => error.reason_code(),
        }
    }
}

/// Cents as the debtor reads them: `R$ 1.234,56` with a space that does not break.
pub fn brl(cents: u64) -> String {
    let mut out = String::from("R$\u{a0}");
    amount::write(cents, &mut out);
    out
}

/// Digits with at most one comma or point, one `E`, a sign, digits.
pub(crate) fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    digits(exponent) && mantissa.split([',', '.']).all(digits) && mantissa.matches([',', '.']).count() <= 1
}

/// As `is_scientific`, for texts where `12E4` may well be meant: only what a spreadsheet writes, with its mark and sign.
pub fn is_spreadsheet_number(text: &str) -> bool {
    // Looked at in every text of every row, so what stands there is seen before anything is searched.
    let end = text.len().checked_sub(4).and_then(|from| text.as_bytes().get(from..));
    let signed =
        end.is_some_and(|end| end.starts_with(b"E+") || end[1..].starts_with(b"E+") || end[0] == b'+');
    signed && text.contains("E+") && text.contains([',', '.']) && is_scientific(text)
}

/// Digits and then `.0` or `,0`, or several zeros.
pub(crate) fn has_decimal_tail(text: &str) -> bool {
    let Some((whole, tail)) = text.rsplit_once(['.', ',']) else {
        return false;
    };
    let plain = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    plain && matches!(tail, "0" | "00")
}

fn digits(text: &str, length: Option<u8>, out: &mut String) -> Result<(), FormatError> {
    // What a spreadsheet marks text with.
    let text = text.trim_start_matches('\'');
    if is_scientific(text) {
        return Err(FormatError::Scientific);
    }
    if has_decimal_tail(text) {
        return Err(FormatError::DecimalTail);
    }
    let mut found = 0u8;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                found += 1;
                if found > length.unwrap_or(DIGITS_MAX) {
                    return Err(FormatError::TooManyDigits { length: length.unwrap_or(DIGITS_MAX) });
                }
                out.push(char::from(byte));
            }
            b' ' | b'.' | b'-' | b'/' => {}
            _ => return Err(FormatError::NotDigits),
        }
    }
    match length {
        Some(length) if found < length => Err(FormatError::ZerosLost { length }),
        _ if found == 0 => Err(FormatError::NotDigits),
        _ => Ok(()),
    }
}

fn masked(text: &str, kind: Option<DocumentKind>, out: &mut String) -> Result<(), FormatError> {
    let text = text.trim_start_matches('\'');
    if is_scientific(text) {
        return Err(FormatError::Scientific);
    }
    if has_decimal_tail(text) {
        return Err(FormatError::DecimalTail);
    }
    let document = match Document::parse(text) {
        Err(DocumentError::Length) if kind.is_some() && document::has_too_few_digits(text, kind) => {
            let length = kind.map_or(11, DocumentKind::length);
            return Err(FormatError::ZerosLost { length });
        }
        parsed => parsed.map_err(FormatError::Document)?,
    };
    if kind.is_some_and(|kind| kind != document.kind()) {
        return Err(FormatError::Document(DocumentError::OtherKind));
    }
    document.write_masked(out);
    Ok(())
}

#[cfg(test)]
mod tests;
