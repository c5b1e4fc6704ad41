//! The first name of a person, as one would write it in a letter.

/// Why a text holds no first name that a person could be called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Digits or signs.
    #[error("holds a digit or a sign that no name has")]
    Character,
    /// A letter and perhaps a point.
    #[error("begins with an initial, so the first name is not known")]
    Initial,
    /// A title and nothing behind it.
    #[error("is a title without a name")]
    OnlyTitle,
    /// `SILVA, MARIA`
    #[error("has a comma, so the last name may come first")]
    Order,
    /// A company.
    #[error("is the name of a company, which has no first name")]
    Company,
    /// `JoÃ£o`
    #[error("was read in a wrong encoding before it came into this file; export it again")]
    Garbled,
}

/// Words before a name that are no part of it.
const TITLES: [&str; 20] = [
    "dr",
    "dra",
    "sr",
    "sra",
    "srta",
    "prof",
    "profa",
    "professor",
    "professora",
    "doutor",
    "doutora",
    "senhor",
    "senhora",
    "dona",
    "d",
    "eng",
    "enga",
    "pe",
    "padre",
    "exmo",
];

/// Words that only companies have in their names.
const COMPANIES: [&str; 8] = ["ltda", "eireli", "epp", "s/a", "s.a", "me", "comercio", "comércio"];

/// Writes the first name.
pub(super) fn first_name(text: &str, out: &mut String) -> Result<(), NameError> {
    if is_garbled(text) {
        return Err(NameError::Garbled);
    }
    if text.as_bytes().contains(&b',') {
        return Err(NameError::Order);
    }
    let mut words = text.split_whitespace();
    let mut first = words.next().ok_or(NameError::OnlyTitle)?;
    if words.clone().any(is_company) {
        return Err(NameError::Company);
    }
    while is_title(first) {
        first = words.next().ok_or(NameError::OnlyTitle)?;
    }
    write(first.trim_end_matches('.'), out)
}

fn write(name: &str, out: &mut String) -> Result<(), NameError> {
    if name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        // Most names are no more than this.
        let from = out.len();
        out.push_str(name);
        out[from + 1..].make_ascii_lowercase();
        out[from..=from].make_ascii_uppercase();
        return Ok(());
    }
    let letters = name.chars().filter(|c| c.is_alphabetic()).count();
    let known = |c: char| c.is_alphabetic() || matches!(c, '\'' | '\u{2019}' | '-' | '`' | '´');
    if name.is_empty() || !name.chars().all(known) {
        return Err(NameError::Character);
    }
    match letters {
        0 => return Err(NameError::Character),
        1 => return Err(NameError::Initial),
        _ => {}
    }
    let mut starts = true;
    for c in name.chars() {
        if !c.is_alphabetic() {
            out.push(if matches!(c, '`' | '´') { '\'' } else { c });
            starts = true;
        } else if starts {
            out.extend(c.to_uppercase());
            starts = false;
        } else {
            out.extend(c.to_lowercase());
        }
    }
    Ok(())
}

impl NameError {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Character => "name_character",
            Self::Initial => "name_initial",
            Self::OnlyTitle => "name_only_title",
            Self::Order => "name_order",
            Self::Company => "name_company",
            Self::Garbled => "name_garbled",
        }
    }
}

fn is_title(word: &str) -> bool {
    let plain = word.trim_end_matches(['.', 'ª', 'º']);
    // "D" alone is an initial; "D." is "Dona" or "Dom".
    if plain.len() == 1 && !word.ends_with('.') {
        return false;
    }
    TITLES.iter().any(|title| title.eq_ignore_ascii_case(plain))
}

fn is_company(word: &str) -> bool {
    let word = word.trim_end_matches('.');
    // Looked at in every word of every name: none of these changes its length with its case.
    let mut alike = COMPANIES.iter().filter(|company| company.len() == word.len());
    alike.any(|company| word.chars().flat_map(char::to_lowercase).eq(company.chars()))
}

/// UTF-8 that was read as Windows-1252 and written again, or the mark that stands where that failed.
fn is_garbled(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let second =
        |c: char| !c.is_alphabetic() && !c.is_ascii() || matches!(c, 'ª' | 'º' | 'µ' | 'œ' | 'š' | 'ž' | 'ƒ');
    let pairs = text.chars().zip(text.chars().skip(1));
    text.contains('\u{fffd}') || pairs.into_iter().any(|(one, next)| matches!(one, 'Ã' | 'Â') && second(next))
}
