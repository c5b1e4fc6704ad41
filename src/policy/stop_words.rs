//! Stop words: what a person's whole message must say to be heard no more, as data (`config/stop_words.toml`).
//!
//! Exact phrases, whatever their case, accents and punctuation; nothing is guessed from a part of a message. Pure, and the
//! texts of people pass through without being kept.

use std::collections::HashMap;

use serde::Deserialize;

use crate::domain::stop::StopKind;

/// The words that are part of the program.
const BUILTIN: &str = include_str!("../../config/stop_words.toml");

/// Longest message that is looked at, in bytes; a longer one says more than a stop word.
pub const TEXT_MAX_BYTES: usize = 256;

/// Texts of a table at most.
const TEXTS_MAX: usize = 10_000;

/// Kinds that a person's own words can have: what is paid or disputed is the creditor's to say.
const KINDS: [StopKind; 3] = [StopKind::OptedOut, StopKind::Marketing, StopKind::WrongPerson];

/// The validated words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopWords {
    by_text: HashMap<Box<str>, StopKind>,
}

/// Why a text is no table of stop words: which entry, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stop words{}: {problem}", .entry.map(|entry| format!(", entry {entry} of [[words]]")).unwrap_or_default())]
pub struct StopWordsError {
    /// Position of the entry, from 1.
    pub entry: Option<usize>,
    /// What is wrong.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    words: Vec<RawWords>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWords {
    kind: String,
    texts: Vec<String>,
}

impl StopWords {
    /// The words that are part of the program.
    pub fn builtin() -> Self {
        Self::parse(BUILTIN).expect("config/stop_words.toml is part of the program, and a test parses it")
    }

    /// Reads and validates words.
    ///
    /// # Errors
    /// Names the entry that cannot be, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, StopWordsError> {
        let raw: RawTable = toml::from_str(text)
            .map_err(|error| StopWordsError { entry: None, problem: error.message().replace('\n', " ") })?;
        let mut by_text = HashMap::new();
        for (at, words) in raw.words.iter().enumerate() {
            let refused = |problem: String| Err(StopWordsError { entry: Some(at + 1), problem });
            let Some(kind) = StopKind::parse(&words.kind).filter(|kind| KINDS.contains(kind)) else {
                return refused("kind must be optout, marketing or wrong_person".to_owned());
            };
            for (place, text) in words.texts.iter().enumerate() {
                let text = match folded(text) {
                    Some(folded) if !folded.is_empty() => folded,
                    _ => {
                        return refused(format!(
                            "text {} must hold a word, in at most {TEXT_MAX_BYTES} bytes",
                            place + 1
                        ));
                    }
                };
                if by_text.insert(text.into_boxed_str(), kind).is_some_and(|other| other != kind) {
                    return refused(format!("text {} stands under another kind, too", place + 1));
                }
            }
        }
        if by_text.len() > TEXTS_MAX {
            let problem = format!("{} texts, at most {TEXTS_MAX} are allowed", by_text.len());
            return Err(StopWordsError { entry: None, problem });
        }
        Ok(Self { by_text })
    }

    /// Texts that stop.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Whether no text stops.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// What a message asks for, if it is one of the phrases and nothing else.
    pub fn ask(&self, text: &str) -> Option<StopKind> {
        self.by_text.get(folded(text)?.as_str()).copied()
    }
}

/// Words in small letters without accents, one space between them; None: too long to be looked at.
fn folded(text: &str) -> Option<String> {
    if text.len() > TEXT_MAX_BYTES {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for c in text.chars().filter(|c| !is_invisible(*c)) {
        if !c.is_alphanumeric() {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) && !out.is_empty() {
            out.push(' ');
        }
        out.extend(c.to_lowercase().filter(|c| !is_invisible(*c)).map(plain));
    }
    Some(out)
}

/// Accents that are characters of their own, and what keyboards put between letters unseen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ad}')
}

/// A small letter of Portuguese or Spanish without its accent.
fn plain(c: char) -> char {
    match c {
        'á' | 'à' | 'â' | 'ã' | 'ä' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'ì' | 'î' | 'ï' => 'i',
        'ó' | 'ò' | 'ô' | 'õ' | 'ö' => 'o',
        'ú' | 'ù' | 'û' | 'ü' => 'u',
        'ç' => 'c',
        'ñ' => 'n',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: Option<StopKind>) {
        assert_eq!(StopWords::builtin().ask(text), expect, "{text:?}");
    }

    #[test]
    fn whole_messages_in_any_dress_stop() {
        use StopKind::{Marketing, OptedOut, WrongPerson};
        for text in [
            "PARE",
            "pare",
            " Pare! ",
            "*PARE*",
            "PARE 🛑",
            "p\u{200b}are",
            "SAIR.",
            "Parar",
            "stop",
            "CANCELAR",
        ] {
            check(text, Some(OptedOut));
        }
        for text in
            ["não quero receber", "NAO QUERO RECEBER", "na\u{303}o quero  receber!!", "Não, quero... receber"]
        {
            check(text, Some(OptedOut));
        }
        check("Não sou eu", Some(WrongPerson));
        check("numero errado", Some(WrongPerson));
        check("Parar promoções", Some(Marketing));
    }

    #[test]
    fn what_says_more_or_something_else_does_not() {
        let long = format!("pare{}", " ".repeat(TEXT_MAX_BYTES));
        for text in [
            "",
            "🛑",
            "pare de me cobrar",
            "já paguei",
            "Ja paguei, pare",
            "quero parar de dever",
            "paro",
            "pareee",
            "vou sair",
            "cancelar boleto",
            "não quero",
            "não",
            "eu não sou eu mesmo",
            "PARE SAIR",
            &long,
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_table_says_what_is_wrong_with_it() {
        let error = |text: &str| StopWords::parse(text).unwrap_err().to_string();
        assert_eq!(
            error("[[words]]\nkind = \"paid\"\ntexts = []\n"),
            "stop words, entry 1 of [[words]]: kind must be optout, marketing or wrong_person"
        );
        let two = "[[words]]\nkind = \"optout\"\ntexts = [\"Chega\"]\n[[words]]\nkind = \"wrong_person\"\ntexts = [\"a\", \"CHEGA!\"]\n";
        assert_eq!(error(two), "stop words, entry 2 of [[words]]: text 2 stands under another kind, too");
        assert!(error("[[words]]\nkind = \"optout\"\ntexts = [\"!\"]\n").contains("text 1 must hold a word"));
        assert!(error("x = 1\n").contains("unknown field"));
        let own = StopWords::parse("[[words]]\nkind = \"optout\"\ntexts = [\"Chega\"]\n").unwrap();
        assert_eq!((own.ask("CHEGA"), own.ask("pare")), (Some(StopKind::OptedOut), None));
    }

    proptest! {
        #[test]
        fn anything_may_be_written(text in "\\PC{0,80}", around in "[ .,!?*_🛑]{0,5}") {
            let words = StopWords::builtin();
            let asked = words.ask(&text);
            prop_assert_eq!(words.ask(&format!("{around}{text}{around}")), asked);
            prop_assert_eq!(words.ask(&format!("{text} mas depois eu explico")), None);
            prop_assert_eq!(words.ask(&format!("{around}PARE{around}")), Some(StopKind::OptedOut));
        }
    }
}
