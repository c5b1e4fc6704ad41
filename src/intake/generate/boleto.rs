//! The digitable line of a boleto that does not exist, with check digits that hold.

use crate::domain::boleto::{barcode_check, mod10};

/// Digits of the line.
const LINE: usize = 47;

/// Due-date factor of 30 November 2026: the count of days began again with 1000 on 22 February 2025.
pub(super) const FACTOR_NOV_30_2026: u64 = 1646;

/// The line of contract `contract`: bank 001, free field made of the contract's number.
pub(super) fn line(contract: u64, factor: u64, cents: u64) -> [u8; LINE] {
    let mut free = [0; 25];
    write(&mut free[6..16], contract);
    free[21..].copy_from_slice(&[0, 1, 1, 7]);
    encode(&free, factor, cents)
}

fn encode(free: &[u8; 25], factor: u64, cents: u64) -> [u8; LINE] {
    let mut barcode = [0; 44];
    barcode[..4].copy_from_slice(&[0, 0, 1, 9]);
    write(&mut barcode[5..9], factor);
    write(&mut barcode[9..19], cents);
    barcode[19..].copy_from_slice(free);
    barcode[4] = barcode_check(&barcode);

    let mut line = [0; LINE];
    line[..4].copy_from_slice(&barcode[..4]);
    line[4..9].copy_from_slice(&free[..5]);
    line[9] = mod10(&line[..9]);
    line[10..20].copy_from_slice(&free[5..15]);
    line[20] = mod10(&line[10..20]);
    line[21..31].copy_from_slice(&free[15..]);
    line[31] = mod10(&line[21..31]);
    line[32] = barcode[4];
    line[33..].copy_from_slice(&barcode[5..19]);
    line.map(|digit| b'0' + digit)
}

fn write(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_hold() {
        let free: Vec<_> = b"0000001234567000000010117".iter().map(|digit| digit - b'0').collect();
        let line = encode(&free.try_into().unwrap(), FACTOR_NOV_30_2026 + 10, 15_075);
        assert_eq!(std::str::from_utf8(&line).unwrap(), "00190000090123456700400000101170816560000015075");
    }
}
