//! What stands at the door of a load beside the template: people who were erased, and documents by file.
//!
//! Both are gathered before the load begins; a row is only looked up here. An erased person is known by a keyed hash.

use std::collections::{HashMap, HashSet};
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::files::FileFault;
use super::lanes::HashKey;
use crate::domain::person::{PersonKey, Phone};

/// Sets the hashes of erased people apart from those of the dedup sets.
const ERASED: u64 = 0x6572_6173_6564;

/// People who were erased.
#[derive(Clone, Debug)]
pub struct Erased {
    hashes: HashSet<i64>,
    key: HashKey,
}

/// The documents of a load: what each path in the file became.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Position of the variable that holds paths.
    pub variable: usize,
    /// By the text of the row: Meta's id of the medium, or what is wrong with the file.
    pub ids: HashMap<Box<str>, Result<Box<str>, FileFault>>,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Guards {
    /// People who were erased.
    pub erased: Erased,
    /// Documents by file, if the campaign has them.
    pub files: Option<Files>,
}

impl Erased {
    /// The people behind these hashes, which were made under `key`.
    pub fn new(hashes: HashSet<i64>, key: HashKey) -> Self {
        Self { hashes, key }
    }

    /// Whether this person was erased.
    pub fn holds(&self, person: PersonKey) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&erased_hash(person, self.key))
    }

    /// Whether the person behind a stored phone was erased.
    pub fn holds_phone(&self, digits: u64) -> bool {
        !self.hashes.is_empty() && Phone::from_digits(digits).is_some_and(|phone| self.holds(phone.person()))
    }
}

impl Guards {
    /// What is wrong with the file that a row names; None: it names none, or a good one.
    pub fn file_fault<'a>(&self, mut values: impl Iterator<Item = &'a str>) -> Option<(usize, FileFault)> {
        let files = self.files.as_ref()?;
        match files.ids.get(values.nth(files.variable)?) {
            Some(Ok(_)) => None,
            Some(Err(fault)) => Some((files.variable, *fault)),
            // The file changed since its documents were gathered.
            None => Some((files.variable, FileFault::Missing)),
        }
    }

    /// What is stored of a value: in place of a path the id of its medium.
    pub fn stored<'a>(&'a self, variable: usize, value: &'a str) -> &'a str {
        match &self.files {
            Some(files) if files.variable == variable => match files.ids.get(value) {
                Some(Ok(id)) => id,
                _ => value,
            },
            _ => value,
        }
    }
}

/// The keyed hash by which an erased person is known.
pub fn erased_hash(person: PersonKey, key: HashKey) -> i64 {
    let mut hasher = SipHasher13::new_with_keys(key.0, key.1 ^ ERASED);
    hasher.write_u64(person.0);
    i64::try_from(hasher.finish() >> 2).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erased_person_is_known_in_every_spelling() {
        let key = HashKey(1, 2);
        let of = |text: &str| Phone::parse(text).unwrap().person();
        let erased = Erased::new(HashSet::from([erased_hash(of("31987654321"), key)]), key);
        assert!(erased.holds(of("+55 31 8765-4321")) && erased.holds_phone(5_531_987_654_321));
        assert!(!erased.holds(of("31987654322")) && !erased.holds_phone(0));
        assert!(!Erased::new(HashSet::new(), key).holds(of("31987654321")));
    }

    #[test]
    fn a_path_becomes_the_id_of_its_medium() {
        let ids = HashMap::from([("a.pdf".into(), Ok("91".into())), ("b.pdf".into(), Err(FileFault::Type))]);
        let files = Some(Files { variable: 1, ids });
        let guards = Guards { erased: Erased::new(HashSet::new(), HashKey(0, 0)), files };
        assert_eq!((guards.stored(1, "a.pdf"), guards.stored(0, "a.pdf")), ("91", "a.pdf"));
        assert_eq!(guards.file_fault(["x", "a.pdf"].into_iter()), None);
        assert_eq!(guards.file_fault(["x", "b.pdf"].into_iter()), Some((1, FileFault::Type)));
        assert_eq!(guards.file_fault(["x", "c.pdf"].into_iter()), Some((1, FileFault::Missing)));
    }
}
