//! One entry of the log: up to 1,000 stops of one kind for one account, packed. A person takes 7 bytes (key, first day),
//! a debt or a user 8 (hash).

use std::collections::HashMap;

use redis::Value;

use crate::domain::person::PersonKey;
use crate::domain::stop::{StopDay, StopKind, Subject};
use crate::queue::QueueError;

/// Stops of one entry at most.
pub const BATCH_MAX: usize = 1_000;

/// Bytes of a person and of a hash.
const PERSON_BYTES: usize = 7;
const HASH_BYTES: usize = 8;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// From now on it holds.
    Add,
    /// From now on it does not.
    Remove,
    /// Everything known of these people is forgotten, whatever the kind and the account.
    Forget,
}

/// Whom or what an entry speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// People, and from which day on.
    People(Vec<(PersonKey, StopDay)>),
    /// Debts, by the hash of account and reference.
    Debts(Vec<u64>),
    /// People whom Meta names by an id, by its hash.
    Users(Vec<u64>),
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What it does.
    pub op: Op,
    /// Why.
    pub kind: StopKind,
    /// For which account; None: for all.
    pub account: Option<Box<str>>,
    /// To whom.
    pub who: Who,
}

impl Op {
    const fn letter(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Remove => "-",
            Self::Forget => "!",
        }
    }
}

impl Who {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::People(people) => people.len(),
            Self::Debts(hashes) | Self::Users(hashes) => hashes.len(),
        }
    }

    /// Whether it speaks of nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn subject(&self) -> Subject {
        match self {
            Self::People(_) => Subject::Person,
            Self::Debts(_) => Subject::Debt,
            Self::Users(_) => Subject::User,
        }
    }

    fn pack(&self) -> Vec<u8> {
        match self {
            Self::People(people) => {
                let one = |(person, day): &(PersonKey, StopDay)| {
                    let [a, b, c, d, e, ..] = person.0.to_le_bytes();
                    let [f, g] = day.number().to_le_bytes();
                    [a, b, c, d, e, f, g]
                };
                people.iter().flat_map(one).collect()
            }
            Self::Debts(hashes) | Self::Users(hashes) => {
                hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect()
            }
        }
    }

    fn unpack(subject: Subject, bytes: &[u8]) -> Option<Self> {
        let size = if subject == Subject::Person { PERSON_BYTES } else { HASH_BYTES };
        if !bytes.len().is_multiple_of(size) || bytes.len() > size * BATCH_MAX {
            return None;
        }
        let number =
            |bytes: &[u8]| bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let hashes = || bytes.chunks(size).map(number).collect();
        Some(match subject {
            Subject::Person => {
                let one = |seven: &[u8]| {
                    let day = u16::try_from(number(&seven[5..])).unwrap_or(0);
                    (PersonKey(number(&seven[..5])), StopDay::from_number(day))
                };
                Self::People(bytes.chunks(size).map(one).collect())
            }
            Subject::Debt => Self::Debts(hashes()),
            Subject::User => Self::Users(hashes()),
        })
    }
}

impl Batch {
    /// The fields of its entry, in the order in which the script takes them.
    pub(super) fn fields(&self) -> [(&'static str, Vec<u8>); 5] {
        let text = |text: &str| text.as_bytes().to_vec();
        [
            ("o", text(self.op.letter())),
            ("k", self.kind.number().to_string().into_bytes()),
            ("a", text(self.account.as_deref().unwrap_or_default())),
            ("s", text(self.who.subject().letter())),
            ("d", self.who.pack()),
        ]
    }

    /// Reads the fields of an entry; None: they are not ours.
    pub(super) fn from_fields(fields: Vec<Vec<u8>>) -> Option<Self> {
        let mut all = HashMap::new();
        let mut fields = fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            all.insert(name, value);
        }
        let text = |name: &str| all.get(name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok());
        let op = [Op::Add, Op::Remove, Op::Forget].into_iter().find(|op| text("o") == Some(op.letter()))?;
        let kind = StopKind::from_number(text("k")?.parse().ok()?)?;
        let account = text("a").filter(|account| !account.is_empty()).map(Box::from);
        let who = Who::unpack(Subject::from_letter(text("s")?)?, all.get(b"d".as_slice())?)?;
        Some(Self { op, kind, account, who })
    }
}

/// Entries as Redis gives them: ids, and fields and values in turn.
pub(super) type RawEntries = Vec<(String, Vec<Vec<u8>>)>;

/// An entry as Redis gives it: its version, and what it says.
pub(super) fn entry(key: &str, id: &str, fields: Vec<Vec<u8>>) -> Result<(u64, Batch), QueueError> {
    let version = id.split('-').next().and_then(|version| version.parse().ok());
    let corrupt = || QueueError::Corrupt {
        key: key.to_owned(),
        what: format!("entry {id} is no stop of this program"),
    };
    Ok((version.ok_or_else(corrupt)?, Batch::from_fields(fields).ok_or_else(corrupt)?))
}

/// The entries of a stream in any of the forms in which Redis answers.
pub(super) fn entries(value: Value) -> Result<RawEntries, QueueError> {
    redis::from_redis_value(value).map_err(|error| QueueError::Refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(batch: &Batch) {
        let fields = batch.fields().into_iter().flat_map(|(name, value)| [name.as_bytes().to_vec(), value]);
        assert_eq!(Batch::from_fields(fields.collect()).as_ref(), Some(batch));
    }

    #[test]
    fn an_entry_says_what_was_written() {
        let people = vec![(PersonKey(9_999_999_999), StopDay::MAX), (PersonKey(0), StopDay::AT_ONCE)];
        for (op, who) in [
            (Op::Add, Who::People(people)),
            (Op::Remove, Who::Debts(vec![u64::MAX, 4])),
            (Op::Forget, Who::Users(Vec::new())),
        ] {
            for account in [None, Some("100")] {
                let account = account.map(Box::from);
                check(&Batch { op, kind: StopKind::DoNotContact, account, who: who.clone() });
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let with = |name: &str, value: &[u8]| {
            let who = Who::Debts(vec![1]);
            let batch = Batch { op: Op::Add, kind: StopKind::Paid, account: None, who };
            let fields = batch.fields().into_iter().flat_map(|(own, before)| {
                let value = if own == name { value.to_vec() } else { before };
                [own.as_bytes().to_vec(), value]
            });
            Batch::from_fields(fields.collect())
        };
        assert!(with("", b"").is_some());
        for (name, value) in
            [("o", b"?".as_slice()), ("k", b"0"), ("k", b"8"), ("k", b"x"), ("s", b"z"), ("d", b"1234567")]
        {
            assert_eq!(with(name, value), None, "{name} {value:?}");
        }
        assert!(entry("k", "x-0", Vec::new()).is_err() && entry("k", "1-0", Vec::new()).is_err());
    }
}
