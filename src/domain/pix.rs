//! A Pix copy-and-paste code: the BR Code, two digits of id, two of length and a value, again and again, and a checksum.
//!
//! Checks the structure, the checksum and what every code must hold. Whether the charge exists only its bank knows.

use std::fmt;

use crc::{CRC_16_IBM_3740, Crc};

/// A Pix code that is whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PixCode {
    /// The amount in cents, if the code names one; a dynamic code may leave it to its bank.
    pub cents: Option<u64>,
    /// Whether the charge is fetched from its bank when it is paid.
    pub dynamic: bool,
}

/// Why a text is no Pix code. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PixError {
    /// Not id, length, value.
    #[error("is no Pix code, or a part of one is missing")]
    Structure,
    /// Cut off or changed.
    #[error("has a checksum that does not hold: the Pix code was cut off or changed")]
    Checksum,
    /// A BR Code of something else.
    #[error("is a code for payments, but not by Pix")]
    NotPix,
    /// Neither a key nor an address.
    #[error("is a Pix code without a key or an address")]
    NoKey,
    /// Another currency or country.
    #[error("is a Pix code in a currency other than reais, or of another country")]
    Currency,
    /// Field 54.
    #[error("is a Pix code whose amount is none")]
    Amount,
    /// Name or city.
    #[error("is a Pix code without the receiver's name or city")]
    Receiver,
}

/// Longest code that is read.
const BYTES_MAX: usize = 1024;

/// The checksum's own id and length, which it covers.
const CHECKSUM_HEAD: &str = "6304";

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);

/// What was found on the way through a code.
#[derive(Default)]
struct Found<'a> {
    is_pix: bool,
    key: bool,
    url: bool,
    currency: &'a str,
    country: &'a str,
    amount: Option<&'a str>,
    name: bool,
    city: bool,
}

impl PixCode {
    /// Reads a code.
    pub fn parse(text: &str) -> Result<Self, PixError> {
        if text.len() > BYTES_MAX || !text.starts_with("000201") {
            return Err(PixError::Structure);
        }
        let before = text.len().checked_sub(4).filter(|at| text.is_char_boundary(*at));
        let (covered, checksum) = text.split_at(before.ok_or(PixError::Structure)?);
        if !covered.ends_with(CHECKSUM_HEAD) {
            return Err(PixError::Checksum);
        }
        let known = u16::from_str_radix(checksum, 16).map_err(|_| PixError::Checksum)?;
        if known != CRC.checksum(covered.as_bytes()) {
            return Err(PixError::Checksum);
        }
        let mut found = Found::default();
        fields(text, |id, value| found.take(id, value))?;
        found.judge()
    }
}

impl fmt::Debug for PixCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PixCode(***)")
    }
}

impl PixError {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Structure => "pix_structure",
            Self::Checksum => "pix_checksum",
            Self::NotPix => "pix_not_pix",
            Self::NoKey => "pix_no_key",
            Self::Currency => "pix_currency",
            Self::Amount => "pix_amount",
            Self::Receiver => "pix_receiver",
        }
    }
}

impl<'a> Found<'a> {
    fn take(&mut self, id: &str, value: &'a str) -> Result<(), PixError> {
        match id {
            // Accounts of several arrangements may stand side by side.
            id if ("26"..="51").contains(&id) => {
                let (mut is_pix, mut key, mut url) = (false, false, false);
                fields(value, |id, value| {
                    is_pix |= id == "00" && value.eq_ignore_ascii_case("br.gov.bcb.pix");
                    key |= id == "01" && !value.is_empty();
                    url |= id == "25" && !value.is_empty() && !value.contains("://");
                    Ok(())
                })?;
                if is_pix {
                    (self.is_pix, self.key, self.url) = (true, key, url);
                }
            }
            "53" => self.currency = value,
            "54" => self.amount = Some(value),
            "58" => self.country = value,
            "59" => self.name = !value.is_empty(),
            "60" => self.city = !value.is_empty(),
            _ => {}
        }
        Ok(())
    }

    fn judge(&self) -> Result<PixCode, PixError> {
        if !self.is_pix {
            return Err(PixError::NotPix);
        }
        if !self.key && !self.url {
            return Err(PixError::NoKey);
        }
        if self.currency != "986" || self.country != "BR" {
            return Err(PixError::Currency);
        }
        if !self.name || !self.city {
            return Err(PixError::Receiver);
        }
        let cents = self.amount.map(|amount| cents(amount).ok_or(PixError::Amount)).transpose()?;
        Ok(PixCode { cents: cents.filter(|cents| *cents > 0), dynamic: self.url })
    }
}

/// Calls `take` with every id and value.
fn fields<'a>(
    text: &'a str,
    mut take: impl FnMut(&'a str, &'a str) -> Result<(), PixError>,
) -> Result<(), PixError> {
    let mut rest = text;
    while !rest.is_empty() {
        let id = rest.get(..2).ok_or(PixError::Structure)?;
        let length = rest.get(2..4).filter(|length| length.bytes().all(|byte| byte.is_ascii_digit()));
        let length: usize = length.and_then(|length| length.parse().ok()).ok_or(PixError::Structure)?;
        take(id, rest.get(4..4 + length).ok_or(PixError::Structure)?)?;
        rest = &rest[4 + length..];
    }
    Ok(())
}

/// `10`, `10.5` or `10.50`.
fn cents(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "00"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
        return None;
    }
    let tens = if decimals.len() == 1 { 10 } else { 1 };
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(decimals.parse::<u64>().ok()? * tens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-426614174000520400005303986540510.005802BR5913\
                        FULANO DE TAL6008BRASILIA62070503***630436D9";

    /// The code with this in place of that, and a checksum that holds.
    fn with(from: &str, to: &str) -> String {
        let changed = GOOD.replacen(from, to, 1);
        let covered = &changed[..changed.len() - 4];
        format!("{covered}{:04X}", CRC.checksum(covered.as_bytes()))
    }

    #[test]
    fn good_codes() {
        assert_eq!(CRC.checksum(b"123456789"), 0x29b1);
        assert_eq!(PixCode::parse(GOOD), Ok(PixCode { cents: Some(1_000), dynamic: false }));
        assert_eq!(with("FULANO", "FULANO"), GOOD);
        assert_eq!(PixCode::parse(&with("540510.00", "")).unwrap().cents, None);
        assert_eq!(PixCode::parse(&with("540510.00", "540410.5")).unwrap().cents, Some(1_050));
        assert_eq!(PixCode::parse(&with("540510.00", "54040.00")).unwrap().cents, None);
        assert!(PixCode::parse(&with("0136123e", "2536123e")).unwrap().dynamic);
    }

    #[test]
    fn what_is_no_pix_code() {
        let refused = |text: &str, expect| assert_eq!(PixCode::parse(text), Err(expect), "{text}");
        refused("", PixError::Structure);
        refused("00020", PixError::Structure);
        refused("https://pix.example/1", PixError::Structure);
        refused(&GOOD[..GOOD.len() - 6], PixError::Checksum);
        refused(&GOOD.replace("10.00", "11.00"), PixError::Checksum);
        refused(&GOOD.replace("36D9", "170E"), PixError::Checksum);
        refused(&with("br.gov.bcb.pix", "br.gov.bcb.px1"), PixError::NotPix);
        refused(&with("0136123e", "0236123e"), PixError::NoKey);
        refused(&with("5303986", "5303840"), PixError::Currency);
        refused(&with("5802BR", "5802AR"), PixError::Currency);
        refused(&with("10.00", "1,000"), PixError::Amount);
        refused(&with("5913FULANO DE TAL", ""), PixError::Receiver);
        refused(&with("5913", "5999"), PixError::Structure);
        refused("000201é", PixError::Checksum);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "000201[0-9a-zé.]{0,40}(6304[0-9A-Fé]{0,4})?") {
            let _ = PixCode::parse(&text);
        }
    }
}
