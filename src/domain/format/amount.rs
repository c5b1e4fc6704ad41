//! Amounts in reais, as files write them and as people read them.

use super::{FormatError, has_decimal_tail, is_scientific};

/// How a file writes amounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrlInput {
    /// `1.234,56`
    #[default]
    Comma,
    /// `1234.56`
    Point,
    /// `123456`
    Cents,
}

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Below zero.
    #[error("is a negative amount")]
    Negative,
    /// `1234.56` where `1.234,56` is declared.
    #[error("has a decimal point, and the column is declared as \"1.234,56\"")]
    DecimalPoint,
    /// `1.234`: a thousand and more, or one and a fraction.
    #[error(
        "has a point and no cents, so it may mean thousands or a fraction; write the cents, as in 1.234,00"
    )]
    Ambiguous,
    /// `12.34,56`
    #[error("has a point that does not stand before three digits")]
    Grouping,
    /// `1,234.56` or `1.234,56` where `1234.56` is declared.
    #[error("has a comma, and the column is declared as \"1234.56\"")]
    Comma,
    /// A point or comma among cents.
    #[error("has a point or comma, and the column is declared in cents")]
    NotCents,
    /// More than two decimals.
    #[error("has more than two decimals")]
    Decimals,
    /// More than any debt.
    #[error("is more than R$ 9.999.999.999,99")]
    TooLarge,
    /// Anything else.
    #[error("is no amount")]
    NotAnAmount,
}

/// Largest amount, in cents.
const CENTS_MAX: u64 = 999_999_999_999;

impl BrlInput {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Comma, Self::Point, Self::Cents];

    /// Its name in the campaign file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Comma => "1.234,56",
            Self::Point => "1234.56",
            Self::Cents => "cents",
        }
    }
}

impl AmountError {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Negative => "amount_negative",
            Self::DecimalPoint => "amount_decimal_point",
            Self::Ambiguous => "amount_ambiguous",
            Self::Grouping => "amount_grouping",
            Self::Comma => "amount_comma",
            Self::NotCents => "amount_not_cents",
            Self::Decimals => "amount_decimals",
            Self::TooLarge => "amount_too_large",
            Self::NotAnAmount => "amount_invalid",
        }
    }
}

/// The cents of an amount.
pub(super) fn cents(text: &str, input: BrlInput) -> Result<u64, FormatError> {
    let refuse = |error| Err(FormatError::Amount(error));
    if input == BrlInput::Comma
        && let Some(cents) = usual(text.as_bytes())
    {
        return Ok(cents);
    }
    let text = text.trim_start_matches('\'');
    let text = text.strip_prefix("R$").unwrap_or(text).trim_start();
    if text.starts_with('-') || (text.starts_with('(') && text.ends_with(')')) || text.ends_with('-') {
        return refuse(AmountError::Negative);
    }
    if is_scientific(text) {
        return Err(FormatError::Scientific);
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',')) {
        return refuse(AmountError::NotAnAmount);
    }
    let found = match input {
        BrlInput::Comma => comma(text),
        BrlInput::Point if text.contains(',') => Err(AmountError::Comma),
        BrlInput::Point => decimal(text, '.'),
        BrlInput::Cents if has_decimal_tail(text) => return Err(FormatError::DecimalTail),
        BrlInput::Cents if text.contains(['.', ',']) => Err(AmountError::NotCents),
        BrlInput::Cents => number(text),
    };
    match found {
        Ok(cents) if cents > CENTS_MAX => refuse(AmountError::TooLarge),
        found => found.map_err(FormatError::Amount),
    }
}

/// Writes `1.234,56`.
pub(super) fn write(cents: u64, out: &mut String) {
    let mut digits = [0u8; 32];
    let mut at = digits.len();
    let mut rest = cents;
    let mut written = 0;
    // From the last digit to the first, three at least: one real and the cents.
    while rest > 0 || written < 3 {
        if written == 2 {
            at -= 1;
            digits[at] = b',';
        } else if written > 2 && (written - 2) % 3 == 0 {
            at -= 1;
            digits[at] = b'.';
        }
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        written += 1;
    }
    // Nothing but digits and marks was written.
    out.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// `1.234,56` or `1234,56`, as nearly every amount is written, in one pass. None: the rules have to look at it.
fn usual(text: &[u8]) -> Option<u64> {
    let (whole, [b',', tens, ones]) = text.split_last_chunk::<3>()? else { return None };
    let length = whole.len();
    let grouped = length > 4 && whole[length - 4] == b'.';
    if !(1..=12).contains(&length) || (grouped && length.is_multiple_of(4)) {
        return None;
    }
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let mut value = 0;
    for (at, byte) in whole.iter().enumerate() {
        if grouped && (length - at).is_multiple_of(4) {
            if *byte != b'.' {
                return None;
            }
            continue;
        }
        value = value * 10 + digit(*byte)?;
    }
    let cents = value * 100 + digit(*tens)? * 10 + digit(*ones)?;
    (cents <= CENTS_MAX).then_some(cents)
}

fn comma(text: &str) -> Result<u64, AmountError> {
    let (whole, _) = text.split_once(',').unwrap_or((text, ""));
    if !whole.contains('.') {
        return decimal(text, ',');
    }
    let mut groups = whole.split('.');
    let first = groups.next().unwrap_or_default();
    let grouped = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3);
    match (text.contains(','), grouped) {
        (true, true) => decimal(text, ','),
        (true, false) => Err(AmountError::Grouping),
        // Two points can only group thousands; one may be a decimal point too.
        (false, true) if whole.matches('.').count() > 1 => decimal(text, ','),
        (false, true) => Err(AmountError::Ambiguous),
        (false, false) => Err(AmountError::DecimalPoint),
    }
}

/// Digits, perhaps points between thousands, perhaps a mark and one or two decimals.
fn decimal(text: &str, mark: char) -> Result<u64, AmountError> {
    let (whole, decimals) = text.split_once(mark).unwrap_or((text, "00"));
    let tens = match decimals.len() {
        _ if !decimals.bytes().all(|byte| byte.is_ascii_digit()) => return Err(AmountError::NotAnAmount),
        0 => return Err(AmountError::NotAnAmount),
        1 => 10,
        2 => 1,
        _ => return Err(AmountError::Decimals),
    };
    let whole = number(whole)?;
    let decimals = number(decimals)? * tens;
    whole.checked_mul(100).and_then(|cents| cents.checked_add(decimals)).ok_or(AmountError::TooLarge)
}

/// Digits; points between thousands were judged before, and mean nothing here.
fn number(text: &str) -> Result<u64, AmountError> {
    let mut digits = text.bytes().filter(|byte| *byte != b'.').peekable();
    if digits.peek().is_none() {
        return Err(AmountError::NotAnAmount);
    }
    digits.try_fold(0u64, |value, byte| {
        let digit = if byte.is_ascii_digit() {
            u64::from(byte - b'0')
        } else {
            return Err(AmountError::NotAnAmount);
        };
        value.checked_mul(10).and_then(|value| value.checked_add(digit)).ok_or(AmountError::TooLarge)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_usual_way_says_what_the_rules_say(text in "[0-9]{0,4}([.][0-9]{3,4}){0,3},?[0-9]{0,3}") {
            if let Some(cents) = usual(text.as_bytes()) {
                prop_assert_eq!(comma(&text).ok(), Some(cents), "{}", text);
            }
        }
    }

    #[test]
    fn the_usual_way_is_taken() {
        for (text, expect) in [
            ("0,99", Some(99)),
            ("1234,56", Some(123_456)),
            ("1.234,56", Some(123_456)),
            ("12.345.678,90", Some(1_234_567_890)),
            (".234,56", None),
            ("1.23,56", None),
            ("1234.567,89", None),
            ("12,3", None),
            (",99", None),
        ] {
            assert_eq!(usual(text.as_bytes()), expect, "{text}");
        }
    }
}
