//! CPF and CNPJ, the numbers of people and companies; a CNPJ may hold letters. A full one never reaches a message.
//!
//! Checks the check digits and knows nothing of whether the document exists. A document is personal, so it
//! does not print itself; shown is what [`Document::write_masked`] leaves.

use std::fmt;

/// Which of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// A person: 11 digits.
    Cpf,
    /// A company: 12 digits or letters and two digits.
    Cnpj,
}

/// A document whose check digits hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Document {
    kind: DocumentKind,
    /// Without punctuation, letters in upper case.
    text: [u8; CNPJ_LENGTH],
}

/// Why a text is no document. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Neither 11 nor 14.
    #[error(
        "is neither a CPF (11 digits) nor a CNPJ (14); a spreadsheet may have cut zeros at its beginning"
    )]
    Length,
    /// Something that stands in no document.
    #[error("holds a character that stands in no CPF or CNPJ")]
    Character,
    /// The check digits do not hold.
    #[error("has check digits that do not hold")]
    Check,
    /// 111.111.111-11
    #[error("is one digit repeated")]
    Repeated,
    /// A CPF where a CNPJ is declared, or the other way round.
    #[error("is the other of CPF and CNPJ")]
    OtherKind,
}

const CPF_LENGTH: usize = 11;
const CNPJ_LENGTH: usize = 14;

impl DocumentKind {
    /// Digits and letters without punctuation.
    pub fn length(self) -> u8 {
        match self {
            Self::Cpf => 11,
            Self::Cnpj => 14,
        }
    }
}

impl Document {
    /// Reads a document with or without punctuation.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let mut found = [0; CNPJ_LENGTH];
        let mut length = 0;
        for byte in text.bytes() {
            let byte = byte.to_ascii_uppercase();
            match byte {
                b'.' | b'-' | b'/' | b' ' => continue,
                b'0'..=b'9' | b'A'..=b'Z' => {}
                _ => return Err(DocumentError::Character),
            }
            *found.get_mut(length).ok_or(DocumentError::Length)? = byte;
            length += 1;
        }
        let kind = match length {
            CPF_LENGTH => DocumentKind::Cpf,
            CNPJ_LENGTH => DocumentKind::Cnpj,
            _ => return Err(DocumentError::Length),
        };
        let text = &found[..length];
        let digits = if kind == DocumentKind::Cpf { text } else { &text[CNPJ_LENGTH - 2..] };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(DocumentError::Character);
        }
        if text.iter().all(|byte| *byte == text[0]) {
            return Err(DocumentError::Repeated);
        }
        let weights_max = if kind == DocumentKind::Cpf { 11 } else { 9 };
        for checks in [2, 1] {
            let (before, check) = text.split_at(length - checks);
            if check[0] != check_digit(before, weights_max) {
                return Err(DocumentError::Check);
            }
        }
        Ok(Self { kind, text: found })
    }

    /// Which of both.
    pub fn kind(self) -> DocumentKind {
        self.kind
    }

    /// Writes what may be shown: `***.456.789-**` or `**.222.333/****-**`.
    pub fn write_masked(self, out: &mut String) {
        let part = |range: std::ops::Range<usize>| self.text[range].iter().map(|byte| char::from(*byte));
        let (before, first, second, after) = match self.kind {
            DocumentKind::Cpf => ("***.", 3..6, 6..9, "-**"),
            DocumentKind::Cnpj => ("**.", 2..5, 5..8, "/****-**"),
        };
        out.push_str(before);
        out.extend(part(first));
        out.push('.');
        out.extend(part(second));
        out.push_str(after);
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Document(***)")
    }
}

impl DocumentError {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Length => "document_length",
            Self::Character => "document_character",
            Self::Check => "document_check",
            Self::Repeated => "document_repeated",
            Self::OtherKind => "document_other_kind",
        }
    }
}

/// Whether a text is nothing but a full, valid document: 11 or 14 digits, or written with its punctuation.
pub fn is_full_document(text: &str) -> bool {
    let bytes = text.as_bytes();
    let marks: &[(usize, u8)] = match bytes.len() {
        CPF_LENGTH | CNPJ_LENGTH if bytes.iter().all(u8::is_ascii_digit) => &[],
        CNPJ_LENGTH => &[(3, b'.'), (7, b'.'), (11, b'-')],
        // With some of the punctuation, then with all of it.
        12 => &[(9, b'-')],
        15 => &[(12, b'-')],
        16 => &[(8, b'/'), (13, b'-')],
        18 => &[(2, b'.'), (6, b'.'), (10, b'/'), (15, b'-')],
        _ => return false,
    };
    marks.iter().all(|(at, mark)| bytes[*at] == *mark) && Document::parse(text).is_ok()
}

/// Whether it is all digits, but too few of them for this kind.
pub(crate) fn has_too_few_digits(text: &str, kind: Option<DocumentKind>) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let only = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'/' | b' '));
    only && digits > 0 && kind.is_some_and(|kind| digits < usize::from(kind.length()))
}

/// Weights from 2 upwards from the right, beginning again after the largest; letters count as their code less 48.
fn check_digit(before: &[u8], weight_max: u32) -> u8 {
    let weights = (2..=weight_max).cycle();
    let sum: u32 =
        before.iter().rev().zip(weights).map(|(byte, weight)| u32::from(byte - b'0') * weight).sum();
    match sum % 11 {
        0 | 1 => b'0',
        rest => b'0' + u8::try_from(11 - rest).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, DocumentError>) {
        let shown = Document::parse(text).map(|document| {
            let mut out = String::new();
            document.write_masked(&mut out);
            out
        });
        assert_eq!(shown.as_deref().map_err(|error| *error), expect, "{text}");
    }

    #[test]
    fn documents_are_checked_and_shown_masked() {
        check("12345678909", Ok("***.456.789-**"));
        check("123.456.789-09", Ok("***.456.789-**"));
        check("11222333000181", Ok("**.222.333/****-**"));
        check("11.222.333/0001-81", Ok("**.222.333/****-**"));
        check("12ABC34501DE35", Ok("**.ABC.345/****-**"));
        check("12.abc.345/01de-35", Ok("**.ABC.345/****-**"));
        check("12345678900", Err(DocumentError::Check));
        check("12ABC34501DE36", Err(DocumentError::Check));
        check("11111111111", Err(DocumentError::Repeated));
        check("00000000000000", Err(DocumentError::Repeated));
        check("1234567890", Err(DocumentError::Length));
        check("123456789012345", Err(DocumentError::Length));
        check("1234567890A", Err(DocumentError::Character));
        check("12ABC34501DEA5", Err(DocumentError::Character));
        check("123_456_789", Err(DocumentError::Character));
    }

    #[test]
    fn a_full_document_is_known_in_a_text() {
        for text in [
            "12345678909",
            "123.456.789-09",
            "123456789-09",
            "11222333000181",
            "11.222.333/0001-81",
            "11222333/0001-81",
            "12.ABC.345/01DE-35",
        ] {
            assert!(is_full_document(text), "{text}");
        }
        // A mask, a contract of letters, a phone, a document whose check digits do not hold, a text that has more.
        for text in
            ["***.456.789-**", "12ABC34501DE35", "11987654321", "123.456.789-00", "CPF 12345678909", ""]
        {
            assert!(!is_full_document(text), "{text}");
        }
    }

    #[test]
    fn it_does_not_print_itself() {
        assert_eq!(format!("{:?}", Document::parse("12345678909").unwrap()), "Document(***)");
    }
}
