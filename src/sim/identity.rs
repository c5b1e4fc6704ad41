//! Who a request is about: the person behind a phone, and the message behind an opaque id.
//!
//! Written apart from `domain` on purpose: the judge must not share its mistakes.

/// Digits of a phone number at most (E.164).
const DIGITS_MAX: usize = 15;

/// Area codes whose accounts keep the ninth digit in their `wa_id` (collections.md section 3).
const NINTH_DIGIT_KEPT: [u8; 14] = [11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 24, 27, 28];

/// A phone as `to` gave it, digits only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phone {
    digits: [u8; DIGITS_MAX],
    len: usize,
}

/// What `biz_opaque_callback_data` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpaqueId<'a> {
    /// The message, without the generation of its claim.
    pub(crate) message: &'a str,
    /// Installation and campaign, when the id has the form of this product.
    pub(crate) campaign: Option<&'a str>,
}

impl Phone {
    /// Plus, spaces, hyphens, dots and brackets are tolerated; 8 to 15 digits must remain.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut phone = Self { digits: [0; DIGITS_MAX], len: 0 };
        for (position, byte) in text.bytes().enumerate() {
            match byte {
                b'0'..=b'9' if phone.len < DIGITS_MAX => {
                    phone.digits[phone.len] = byte;
                    phone.len += 1;
                }
                b'+' if position == 0 => {}
                b' ' | b'-' | b'.' | b'(' | b')' => {}
                _ => return None,
            }
        }
        (phone.len >= 8).then_some(phone)
    }

    pub(crate) fn digits(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    /// The person, the same for both spellings of a Brazilian mobile: area code and last eight digits.
    pub(crate) fn person(&self) -> u64 {
        let number = |digits: &[u8]| digits.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
        let digits = self.digits();
        match self.brazilian_area() {
            Some(_) => number(&digits[..4]) * 100_000_000 + number(&digits[self.len - 8..]),
            None => number(digits),
        }
    }

    /// Writes Meta's idea of the number: outside some area codes a Brazilian one loses its ninth digit.
    pub(crate) fn write_wa_id(&self, out: &mut Vec<u8>) {
        let digits = self.digits();
        match self.brazilian_area() {
            Some(area) if self.len == 13 && !NINTH_DIGIT_KEPT.contains(&area) => {
                out.extend_from_slice(&digits[..4]);
                out.extend_from_slice(&digits[5..]);
            }
            _ => out.extend_from_slice(digits),
        }
    }

    /// The area code of a Brazilian number.
    pub(crate) fn brazilian_area(&self) -> Option<u8> {
        let digits = self.digits();
        let plausible =
            digits.starts_with(b"55") && (self.len == 12 || (self.len == 13 && digits[4] == b'9'));
        plausible.then(|| (digits[2] - b'0') * 10 + (digits[3] - b'0'))
    }
}

impl<'a> OpaqueId<'a> {
    /// `ct1.<installation>.<campaign>.<lane>.<index>.<generation>` loses its generation; anything else is one
    /// opaque name.
    pub(crate) fn parse(text: &'a str) -> Self {
        Self::parse_own(text).unwrap_or(Self { message: text, campaign: None })
    }

    fn parse_own(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("ct1.")?;
        let mut parts = rest.split('.');
        let (installation, campaign) = (parts.next()?, parts.next()?);
        let (lane, index, generation) = (parts.next()?, parts.next()?, parts.next()?);
        let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let well_formed = parts.next().is_none()
            && !installation.is_empty()
            && [campaign, lane, index, generation].into_iter().all(numeric);
        well_formed.then(|| Self {
            message: &text[..text.len() - generation.len() - 1],
            campaign: Some(&rest[..installation.len() + 1 + campaign.len()]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wa_id(text: &str) -> String {
        let mut out = Vec::new();
        Phone::parse(text).unwrap().write_wa_id(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_ninth_digit_stays_only_in_some_area_codes() {
        for (to, expect) in [
            ("+55 11 98765-4321", "5511987654321"),
            ("5528987654321", "5528987654321"),
            ("5531987654321", "553187654321"),
            ("5523987654321", "552387654321"),
            ("551187654321", "551187654321"),
            ("+1 (415) 555-2671", "14155552671"),
        ] {
            assert_eq!(wa_id(to), expect, "{to}");
        }
    }

    #[test]
    fn both_spellings_are_one_person_and_area_codes_are_not() {
        let person = |text: &str| Phone::parse(text).unwrap().person();
        assert_eq!(person("+5531987654321"), person("553187654321"));
        assert_ne!(person("+5531987654321"), person("5532987654321"));
        assert_eq!(person("14155552671"), 14_155_552_671);
    }

    #[test]
    fn what_is_no_phone_is_refused() {
        for text in ["", "1234567", "+55119876543210000", "55 11 x", "55+11987654321"] {
            assert_eq!(Phone::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_our_own_ids_lose_their_generation() {
        let own = OpaqueId::parse("ct1.k3v9.7.41.130.2");
        assert_eq!((own.message, own.campaign), ("ct1.k3v9.7.41.130", Some("k3v9.7")));
        for text in ["order 7.1", "ct1.a.1.2.3", "ct1.a.1.2.3.x", "ct1..1.2.3.4", "ct1.a.1.2.3.4.5"] {
            let other = OpaqueId::parse(text);
            assert_eq!((other.message, other.campaign), (text, None), "{text}");
        }
    }
}
