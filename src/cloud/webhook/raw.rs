//! The envelope of a webhook: entries, changes and values, down to one update at a time.
//!
//! The usual body is taken apart in one pass. Where that fails because somewhere inside a type is wrong, it is taken
//! apart level by level, so that only what is wrong is lost.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Event, Parsed, Skipped, UPDATES_MAX, account, status};
use crate::domain::ids::NumberId;

#[derive(Deserialize)]
struct RawBody<'a> {
    #[serde(borrow)]
    entry: Vec<RawEntry<'a>>,
}

#[derive(Deserialize)]
struct LooseBody<'a> {
    #[serde(borrow)]
    entry: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(borrow, default)]
    id: Word<'a>,
    #[serde(borrow, default)]
    time: Word<'a>,
    #[serde(borrow)]
    changes: Vec<RawChange<'a>>,
}

#[derive(Deserialize)]
struct LooseEntry<'a> {
    #[serde(borrow, default)]
    id: Word<'a>,
    #[serde(borrow, default)]
    time: Word<'a>,
    #[serde(borrow)]
    changes: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChange<'a> {
    #[serde(borrow)]
    field: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// The value of the field `messages`.
#[derive(Deserialize)]
struct RawValues<'a> {
    #[serde(borrow, default)]
    metadata: RawMetadata<'a>,
    #[serde(borrow, default)]
    statuses: Items<'a>,
    #[serde(borrow, default)]
    messages: Items<'a>,
    #[serde(borrow, default)]
    errors: Items<'a>,
}

/// The value of the field `user_preferences`.
#[derive(Deserialize)]
struct RawPreferences<'a> {
    #[serde(borrow, default)]
    metadata: RawMetadata<'a>,
    #[serde(borrow, default)]
    user_preferences: Items<'a>,
}

/// Whose change it is, and when the body was made.
struct Entry<'a> {
    account: &'a str,
    at_ms: Option<u64>,
}

#[derive(Default, Deserialize)]
struct RawMetadata<'a> {
    #[serde(borrow, default)]
    phone_number_id: Word<'a>,
}

/// A text, or a number as a text; anything else is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word<'a>(pub(super) Option<Cow<'a, str>>);

/// The items of a list, unread; of anything but a list none.
#[derive(Debug, Default)]
struct Items<'a>(Vec<&'a RawValue>);

pub(super) fn read(body: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    // One check of the whole body is cheaper than one for every text in it.
    let Ok(text) = std::str::from_utf8(body) else {
        parsed.skip(Skipped::Body);
        return parsed;
    };
    if let Ok(body) = serde_json::from_str::<RawBody<'_>>(text) {
        for entry in &body.entry {
            for change in &entry.changes {
                read_change(&Entry::of(&entry.id, &entry.time), change, &mut parsed);
            }
        }
        return parsed;
    }
    match serde_json::from_str::<LooseBody<'_>>(text) {
        Ok(body) => body.entry.iter().for_each(|entry| read_loose(entry, &mut parsed)),
        Err(_) => parsed.skip(Skipped::Body),
    }
    parsed
}

fn read_loose(entry: &RawValue, parsed: &mut Parsed) {
    let Ok(entry) = serde_json::from_str::<LooseEntry<'_>>(entry.get()) else {
        return parsed.skip(Skipped::Envelope);
    };
    for change in &entry.changes {
        match serde_json::from_str(change.get()) {
            Ok(change) => read_change(&Entry::of(&entry.id, &entry.time), &change, parsed),
            Err(_) => parsed.skip(Skipped::Envelope),
        }
    }
}

fn read_change(entry: &Entry<'_>, change: &RawChange<'_>, parsed: &mut Parsed) {
    let text = change.value.get();
    match &*change.field {
        "messages" => read_messages(entry, text, parsed),
        "user_preferences" => read_preferences(entry, text, parsed),
        field => take(parsed, || {
            let event = Box::new(account::read(field, text)?);
            Ok(Event::Account { account: entry.account.to_owned(), at_ms: entry.at_ms, event })
        }),
    }
}

fn read_messages(entry: &Entry<'_>, text: &str, parsed: &mut Parsed) {
    let Ok(values) = serde_json::from_str::<RawValues<'_>>(text) else {
        return parsed.skip(Skipped::Envelope);
    };
    let number = values.metadata.number();
    for item in &values.statuses.0 {
        take(parsed, || status::status(item.get(), number.as_ref()).map(Event::Status));
    }
    for item in &values.messages.0 {
        let inbound = || status::inbound(item.get(), entry.account, number.as_ref());
        take(parsed, || inbound().map(|message| Event::Message(Box::new(message))));
    }
    for item in &values.errors.0 {
        take(parsed, || {
            let code = status::code(item.get()).ok_or(Skipped::Account)?;
            let (account, at_ms) = (entry.account.to_owned(), entry.at_ms);
            Ok(Event::Error { account, at_ms, number: number.clone(), code })
        });
    }
}

/// Every item of the list, or the value itself where there is none.
fn read_preferences(entry: &Entry<'_>, text: &str, parsed: &mut Parsed) {
    let Ok(values) = serde_json::from_str::<RawPreferences<'_>>(text) else {
        return parsed.skip(Skipped::Envelope);
    };
    let number = values.metadata.number();
    let listed = values.user_preferences.0.iter().map(|item| item.get());
    let alone = values.user_preferences.0.is_empty().then_some(text);
    for item in listed.chain(alone) {
        let read = || account::preference(item, entry.account, number.as_ref());
        take(parsed, || read().map(|preference| Event::Preference(Box::new(preference))));
    }
}

fn full(parsed: &Parsed) -> bool {
    parsed.events.len() >= UPDATES_MAX
}

fn take(parsed: &mut Parsed, read: impl FnOnce() -> Result<Event, Skipped>) {
    if full(parsed) {
        return parsed.skip(Skipped::TooMany);
    }
    match read() {
        Ok(event) => parsed.events.push(event),
        Err(why) => parsed.skip(why),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Word<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Word<'de>, E> {
                Ok(Word(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Word<'de>, E> {
                Ok(Word(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Word<'de>, E> {
                Ok(Word(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Word<'de>, E> {
                Ok(Word(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Word<'de>, E> {
                Ok(Word(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Word<'de>, E> {
                Ok(Word(None))
            }

            fn visit_unit<E>(self) -> Result<Word<'de>, E> {
                Ok(Word(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Word<'de>, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Word(None))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut items: A) -> Result<Word<'de>, A::Error> {
                while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Word(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = <&'a RawValue>::deserialize(deserializer)?;
        // Read again, since a list may only be looked into once it is known to be one.
        Ok(Self(serde_json::from_str(whole.get()).unwrap_or_default()))
    }
}

impl<'a> Entry<'a> {
    fn of(id: &'a Word<'_>, time: &Word<'_>) -> Self {
        Self { account: id.0.as_deref().unwrap_or_default(), at_ms: status::milliseconds(time) }
    }
}

impl RawMetadata<'_> {
    fn number(&self) -> Option<NumberId> {
        self.phone_number_id.0.as_deref().map(NumberId::from)
    }
}

impl Word<'_> {
    /// The text, owned.
    pub(super) fn owned(self) -> Option<String> {
        self.0.map(Cow::into_owned)
    }

    /// The text as a number.
    pub(super) fn number<T: std::str::FromStr>(&self) -> Option<T> {
        self.0.as_deref().and_then(|text| text.trim().parse().ok())
    }
}
