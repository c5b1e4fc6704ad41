//! What people ask for by what they say: to hear no more, or to hear marketing again; and what Meta's codes say of them. Pure.
//!
//! Whole messages and buttons are held against the stop words; nothing that a person wrote is kept. The stop holds for the
//! account that was answered, which is one creditor.

use std::collections::{BTreeMap, HashMap};

use super::notes::{Noted, Said};
use super::plan::Rules;
use crate::cloud::webhook::{Contact, Content, Inbound, Preference, Status};
use crate::domain::person::PersonKey;
use crate::domain::receipt::ReceiptKind;
use crate::domain::stop::{StopDay, StopKind};
use crate::metrics::Asking;
use crate::policy::stop_words::StopWords;
use crate::queue::stops::{BATCH_MAX, Batch, Op, StopList, Who, words};

/// Older wishes to hear more are not granted: Meta repeats what it could not deliver for days, and a stop may have come since.
const RESUME_AGE_MAX_MS: u64 = 10 * 60 * 1_000;

/// Who asked: a person, or the hash of Meta's id of one who hides the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Asker {
    Person(PersonKey),
    User(u64),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// To hear no more, or to hear it again.
    pub(super) stop: bool,
    pub(super) kind: StopKind,
    pub(super) account: String,
    pub(super) who: Asker,
    pub(super) by: Asking,
    /// When, in wall ms: by Meta's clock, or when we heard it.
    pub(super) at_ms: u64,
    pub(super) heard_at_ms: u64,
}

/// When people last said what they want to hear, so that an older word that comes late does not undo a newer one. Of this
/// process only, and bounded: it forgets everything when it is full.
#[derive(Debug, Default)]
pub(super) struct Latest(HashMap<(Asker, StopKind, String), u64>);

/// People remembered at most.
const LATEST_MAX: usize = 65_536;

impl Latest {
    /// What is not older than what was said before.
    pub(super) fn newest(&mut self, asked: Vec<Asked>) -> Vec<Asked> {
        if self.0.len() + asked.len() > LATEST_MAX {
            self.0.clear();
        }
        let mut is_new = |one: &Asked| {
            let last = self.0.entry((one.who, one.kind, one.account.clone())).or_default();
            *last = one.at_ms.max(*last);
            one.stop || one.at_ms >= *last
        };
        asked.into_iter().filter(|one| is_new(one)).collect()
    }
}

/// What is asked for by what a person said: by itself, or because who once asked by Meta's id shows a phone now.
pub(super) fn of_said(said: &Said, heard_at_ms: u64, rules: &Rules<'_>) -> Vec<Asked> {
    let Rules { words, list, .. } = rules;
    let from = match said {
        Said::Message(message) => &message.from,
        Said::Preference(preference) => &preference.from,
    };
    let own = Asked::of(said, heard_at_ms, words, list);
    own.into_iter().chain(found_again(from, heard_at_ms, list)).collect()
}

/// What a status says of its person: by its code, or because who once asked by Meta's id shows a phone now.
pub(super) fn of_status(status: &Status, heard_at_ms: u64, rules: &Rules<'_>) -> Vec<Asked> {
    let mut asked = found_again(&status.to, heard_at_ms, rules.list);
    let row = status.code.and_then(|code| rules.table.code(code));
    let account = status.number.as_ref().and_then(|number| rules.numbers.get(number));
    if let (ReceiptKind::Failed, Some(kind), Some(account), Some(who)) =
        (status.kind, row.and_then(|row| row.suppress), account, Asker::of(&status.to, rules.list))
    {
        let at_ms = status.at_ms.unwrap_or(heard_at_ms);
        let (account, by) = (account.clone(), Asking::Code);
        asked.push(Asked { stop: true, kind, account, who, by, at_ms, heard_at_ms });
    }
    asked
}

/// A person who is named by phone and by Meta's id at once: what was known of the id holds for the phone, which is what
/// messages are sent to.
fn found_again(contact: &Contact, heard_at_ms: u64, list: &StopList) -> Vec<Asked> {
    let (Some(phone), Some(id)) = (&contact.phone, &contact.user_id) else { return Vec::new() };
    let known = list.of_user(list.user_hash(id.expose()));
    let Ok(person) = PersonKey::parse(phone.expose()) else { return Vec::new() };
    let ask = |(kind, account): (StopKind, Option<Box<str>>)| {
        let (account, who, by) = (account?.into_string(), Asker::Person(person), Asking::Id);
        Some(Asked { stop: true, kind, account, who, by, at_ms: heard_at_ms, heard_at_ms })
    };
    known.into_iter().filter_map(ask).collect()
}

impl Asker {
    /// By phone, or by Meta's id where there is none. None: nobody whom a message of ours could reach.
    pub(super) fn of(contact: &Contact, list: &StopList) -> Option<Self> {
        let person = contact.phone.as_ref().and_then(|phone| PersonKey::parse(phone.expose()).ok());
        let user = || contact.user_id.as_ref().map(|id| Self::User(list.user_hash(id.expose())));
        person.map(Self::Person).or_else(user)
    }
}

impl Asked {
    /// What a person asks for by what they said; None: nothing that concerns the stop list.
    pub(super) fn of(said: &Said, heard_at_ms: u64, words: &StopWords, list: &StopList) -> Option<Self> {
        match said {
            Said::Message(message) => Self::of_message(message, heard_at_ms, words, list),
            Said::Preference(preference) => Self::of_preference(preference, heard_at_ms, list),
        }
    }

    fn of_message(message: &Inbound, heard_at_ms: u64, words: &StopWords, list: &StopList) -> Option<Self> {
        let Inbound { content, from, account, at_ms, .. } = message;
        let (texts, by) = match content {
            Content::Text(text) => ([Some(text), None], Asking::Word),
            Content::Button { payload, text } => ([text.as_ref(), payload.as_ref()], Asking::Button),
            Content::Choice { id, title } => ([title.as_ref(), Some(id)], Asking::Button),
            _ => return None,
        };
        let kind = texts.into_iter().flatten().find_map(|text| words.ask(text.expose()))?;
        let who = Asker::of(from, list)?;
        let at_ms = at_ms.unwrap_or(heard_at_ms);
        Some(Self { stop: true, kind, account: account.clone(), who, by, at_ms, heard_at_ms })
    }

    fn of_preference(preference: &Preference, heard_at_ms: u64, list: &StopList) -> Option<Self> {
        let Preference { account, from, category, value, at_ms, .. } = preference;
        let at_ms = at_ms.unwrap_or(heard_at_ms);
        let fresh = heard_at_ms.saturating_sub(at_ms) <= RESUME_AGE_MAX_MS;
        let stop = match value.as_str() {
            "stop" => true,
            "resume" | "signup" if fresh => false,
            _ => return None,
        };
        let who = (category == "marketing_messages").then(|| Asker::of(from, list)).flatten()?;
        let (kind, by) = (StopKind::Marketing, Asking::Settings);
        Some(Self { stop, kind, account: account.clone(), who, by, at_ms, heard_at_ms })
    }

    /// What the journal keeps of it: `why` finds the person by a keyed hash.
    pub(super) fn note(&self, list: &StopList) -> Noted {
        let subject = match self.who {
            Asker::Person(person) => list.mark(person),
            Asker::User(hash) => format!("user:{hash:016x}"),
        };
        Noted {
            at_ms: Some(self.at_ms),
            heard_at_ms: self.heard_at_ms,
            kind: if self.stop { "stop" } else { "stop_lifted" },
            account: self.account.clone(),
            subject,
            detail: format!("{}; {}", words(self.kind, Some(&self.account)), self.by.words()),
            wamid: String::new(),
        }
    }

    /// Whether the list says so already.
    fn is_known(&self, list: &StopList) -> bool {
        let ours = |(kind, account): &(StopKind, Option<Box<str>>)| {
            *kind == self.kind && account.as_deref() == Some(self.account.as_str())
        };
        self.stop
            && match self.who {
                Asker::Person(person) => {
                    list.of_person(person).into_iter().any(|(kind, account, _)| ours(&(kind, account)))
                }
                Asker::User(hash) => list.of_user(hash).iter().any(ours),
            }
    }
}

/// What is new of all that was asked, the latest word of each person last; and the entries of the log that say it.
pub(super) fn orders(mut asked: Vec<Asked>, list: &StopList) -> (Vec<Asked>, Vec<Batch>) {
    asked.sort_by_key(|one| one.at_ms);
    let mut last: BTreeMap<(Asker, StopKind, String), Asked> = BTreeMap::new();
    for one in asked {
        last.insert((one.who, one.kind, one.account.clone()), one);
    }
    let new: Vec<Asked> = last.into_values().filter(|one| !one.is_known(list)).collect();
    let mut groups: BTreeMap<_, (Vec<_>, Vec<_>)> = BTreeMap::new();
    for one in &new {
        let (people, users) = groups.entry((one.stop, one.kind, one.account.as_str())).or_default();
        match one.who {
            Asker::Person(person) => people.push((person, StopDay::AT_ONCE)),
            Asker::User(hash) => users.push(hash),
        }
    }
    let mut batches = Vec::new();
    for ((stop, kind, account), (people, users)) in groups {
        let people = people.chunks(BATCH_MAX).map(|some| Who::People(some.to_vec()));
        let users = users.chunks(BATCH_MAX).map(|some| Who::Users(some.to_vec()));
        let op = if stop { Op::Add } else { Op::Remove };
        batches.extend(people.chain(users).map(|who| Batch { op, kind, account: Some(account.into()), who }));
    }
    (new, batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::webhook::{Event, Parsed};
    use crate::domain::person::Pii;
    use serde_json::{Value, json};

    const NOW: u64 = 1_800_000_000_000;

    fn list() -> StopList {
        StopList::new((1, 2), 0)
    }

    /// What a body asks for.
    fn asked(field: &str, value: &Value, list: &StopList) -> Vec<Asked> {
        let body = json!({"entry": [{"id": "100", "changes": [{"field": field, "value": value}]}]});
        let said = |event| match event {
            Event::Message(message) => Said::Message(message),
            Event::Preference(preference) => Said::Preference(preference),
            other => panic!("{other:?}"),
        };
        let events = Parsed::read(body.to_string().as_bytes()).events.into_iter().map(said);
        events.filter_map(|said| Asked::of(&said, NOW, &StopWords::builtin(), list)).collect()
    }

    fn check(message: &Value, expect: Option<(StopKind, Asking)>) {
        let mut message = message.clone();
        message["id"] = json!("w");
        if message["from"].is_null() {
            message["from"] = json!("551187654321");
        }
        let found = asked("messages", &json!({"messages": [message]}), &list());
        let who = Asker::Person(PersonKey(1_187_654_321));
        let told: Vec<_> = found.iter().map(|one| (one.kind, one.by)).collect();
        assert_eq!(told, expect.into_iter().collect::<Vec<_>>(), "{message}");
        assert!(found.iter().all(|one| one.stop && one.who == who && one.account == "100"), "{found:?}");
    }

    #[test]
    fn words_buttons_and_choices_stop() {
        let text = |text: &str| json!({"type": "text", "text": {"body": text}});
        check(&text("Pare!"), Some((StopKind::OptedOut, Asking::Word)));
        check(&text("número errado"), Some((StopKind::WrongPerson, Asking::Word)));
        check(&text("já paguei"), None);
        check(&text("pare de me cobrar"), None);
        let button = |payload: &str, text: &str| json!({"type": "button", "button": {"payload": payload, "text": text}});
        check(&button("x-17", "Parar mensagens"), Some((StopKind::OptedOut, Asking::Button)));
        check(&button("STOP", "Não, obrigado"), Some((StopKind::OptedOut, Asking::Button)));
        check(&button("pagar", "Pagar agora"), None);
        let choice = json!({"type": "interactive", "interactive": {"type": "button_reply", "button_reply": {"id": "7", "title": "Não sou eu"}}});
        check(&choice, Some((StopKind::WrongPerson, Asking::Button)));
        check(&json!({"type": "image", "image": {"id": "1", "caption": "pare"}}), None);
        check(&json!({"type": "text", "text": {"body": "pare"}, "from": "12125550100"}), None);
    }

    #[test]
    fn settings_stop_marketing_and_a_late_resume_is_not_believed() {
        let set = |value: &str, at_s: u64| {
            let one = json!({"wa_id": "551187654321", "category": "marketing_messages", "value": value, "timestamp": at_s});
            asked("user_preferences", &json!({"user_preferences": [one]}), &list()).pop()
        };
        let now_s = NOW / 1_000;
        let told = |one: Option<Asked>| one.map(|one| (one.stop, one.kind));
        assert_eq!(told(set("stop", now_s - 90_000)), Some((true, StopKind::Marketing)));
        assert_eq!(told(set("resume", now_s)), Some((false, StopKind::Marketing)));
        assert_eq!(told(set("signup", now_s)), Some((false, StopKind::Marketing)));
        assert_eq!((told(set("resume", now_s - 90_000)), told(set("maybe", now_s))), (None, None));
    }

    #[test]
    fn who_hides_the_phone_is_known_by_metas_id() {
        let list = list();
        let value = json!({"messages": [{"id": "w", "from_user_id": "BR.17", "type": "text", "text": {"body": "sair"}}]});
        let found = asked("messages", &value, &list);
        assert_eq!(
            found.iter().map(|one| one.who).collect::<Vec<_>>(),
            [Asker::User(list.user_hash("BR.17"))]
        );
        let (new, batches) = orders(found.clone(), &list);
        assert_eq!((new.len(), batches.len()), (1, 1));
        batches.iter().for_each(|batch| list.apply(batch));
        assert_eq!(orders(found, &list).1, []);
        let note = new[0].note(&list);
        assert_eq!(
            (note.kind, note.detail.as_str()),
            ("stop", "optout, account 100; the person's own words")
        );
        assert!(note.subject.starts_with("user:") && !note.subject.contains("BR.17"));
    }

    #[test]
    fn who_shows_the_phone_again_is_stopped_by_it() {
        let list = list();
        let contact = |phone: Option<&str>| Contact {
            phone: phone.map(|phone| Pii::new(phone.to_owned())),
            user_id: Some(Pii::new("BR.17".to_owned())),
        };
        let who = Who::Users(vec![list.user_hash("BR.17")]);
        list.apply(&Batch { op: Op::Add, kind: StopKind::OptedOut, account: Some("100".into()), who });
        assert_eq!(found_again(&contact(None), NOW, &list), []);
        let found = found_again(&contact(Some("5511987654321")), NOW, &list);
        assert_eq!(
            found.iter().map(|one| (one.who, one.by)).collect::<Vec<_>>(),
            [(Asker::Person(PersonKey(1_187_654_321)), Asking::Id)]
        );
        let other = Contact { user_id: Some(Pii::new("BR.18".to_owned())), ..contact(Some("5511987654321")) };
        assert_eq!(found_again(&other, NOW, &list), []);
    }

    #[test]
    fn the_latest_word_counts_and_what_is_known_is_not_written_again() {
        let list = list();
        let one = |stop, at_ms| Asked {
            stop,
            kind: StopKind::Marketing,
            account: "100".to_owned(),
            who: Asker::Person(PersonKey(7)),
            by: Asking::Settings,
            at_ms,
            heard_at_ms: NOW,
        };
        let (_, batches) = orders(vec![one(false, 5), one(true, 4)], &list);
        assert_eq!(batches.iter().map(|batch| batch.op).collect::<Vec<_>>(), [Op::Remove]);
        let (_, batches) = orders(vec![one(false, 4), one(true, 5)], &list);
        list.apply(&batches[0]);
        assert!(orders(vec![one(true, 6)], &list).1.is_empty());
        let mut latest = Latest::default();
        let told = |all: Vec<Asked>| all.iter().map(|one| one.at_ms).collect::<Vec<_>>();
        assert_eq!(told(latest.newest(vec![one(true, 5)])), [5]);
        assert_eq!(told(latest.newest(vec![one(false, 4), one(true, 3), one(false, 6)])), [3, 6]);
        let many = (0..2_500).map(|at| Asked { who: Asker::Person(PersonKey(at)), ..one(true, 1) }).collect();
        let sizes: Vec<usize> = orders(many, &list).1.iter().map(|batch| batch.who.len()).collect();
        assert_eq!(sizes, [1_000, 1_000, 499]);
    }
}
