//! Contacts in Redis: lists of notes, one for each bucket of people and stretch of time, that every process reads along.
//!
//! Whether somebody may be written to is judged here, on a copy in memory; Redis only compares how far the copy is and
//! adds what was decided. So a contact costs it a few dozen instructions and 11 bytes, and a person nothing. Two processes
//! that decide about the same person at once cannot both be right: the later one is told, reads, and decides again.
//!
//! A stretch is a day. A new one begins new lists, and those of a past week expire by themselves; a copy is then read anew.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{RedisError, Value, from_redis_value};

use super::connection::Connection;
use super::{QueueError, keys, script, time};
use crate::clock::{self, Mono};
use crate::domain::contact::{Contact, ContactRules, NOTE_BYTES, Note, Place, person_bytes};
use crate::domain::person::Phone;
use crate::policy::contacts::{Contacts, Hold, Noted, Rule};

/// Entries read at once.
const SLICE: usize = 1024;

/// Entries that may have been added since a copy was last told, before it is read along by itself.
const UNSEEN_MAX: usize = 64;

/// How often a batch is decided again because of others, at most; what is undecided then waits a moment.
const ROUNDS_MAX: usize = 32;

/// That moment.
const AGAIN_MS: u64 = 1_000;

/// More entries than any list has.
const ENTRIES_MAX: u64 = 1 << 50;

/// First bytes of an entry by which a list is recognised: its time and the first note.
const MARK_BYTES: usize = 4 + NOTE_BYTES;

/// Stretches that are looked at: those of a week, and the one in which it began.
const STRETCHES: u64 = 8;

/// A message that asks to be a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Where its person is noted.
    pub place: Place,
    /// The contact.
    pub contact: Contact,
}

/// The contacts of a process, shared by its threads.
#[derive(Debug)]
pub struct ContactBook {
    rules: ContactRules,
    shelves: Vec<Mutex<Shelf>>,
    /// Redis' time at an instant of ours.
    clock: Mutex<Option<(Mono, u64)>>,
}

/// One bucket.
#[derive(Debug, Default)]
struct Shelf {
    contacts: Contacts,
    known: Option<Known>,
}

/// How far a copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    stretch: u64,
    /// Entries of this stretch, and of the one before.
    entries: usize,
    before: usize,
    /// First bytes of the last entry.
    last: Vec<u8>,
}

/// The part of a batch that is of one place.
struct Part {
    place: Place,
    /// Positions in the batch, of one person beside each other.
    asks: Vec<usize>,
}

/// A part as it is asked of Redis.
struct Question {
    place: Place,
    known: Option<Known>,
    people: Vec<u8>,
    notes: Vec<u8>,
}

/// What Redis says of one.
enum Answer {
    Ok(Added),
    Again(Added),
    Behind,
}

/// Entries that were added from a position on.
struct Added {
    from: usize,
    entries: Vec<Vec<u8>>,
}

impl ContactBook {
    /// A book that knows nobody yet.
    pub fn new(rules: ContactRules) -> Self {
        let shelves = Place::all().map(|_| Mutex::default()).collect();
        Self { rules, shelves, clock: Mutex::new(None) }
    }

    /// Notes those of a batch that may be contacts now, and says of the others until when they wait, in order. A call that
    /// is made again changes nothing.
    pub async fn admit(&self, redis: &mut Connection, asks: &[Ask]) -> Result<Vec<Option<Hold>>, QueueError> {
        let mut holds = vec![None; asks.len()];
        let decide = |book: &Self, part: &Part, now_ms: u64| book.decide(part, asks, now_ms, &mut holds);
        let open = self.agree(redis, parts(asks), decide).await?;
        // Others decide about the same people all the time: nothing is sent on a guess.
        let until_ms = self.now_ms(redis).await? + AGAIN_MS;
        for at in open.into_iter().flat_map(|part| part.asks) {
            holds[at] = Some(Hold { rule: Rule::Pair, until_ms });
        }
        Ok(holds)
    }

    /// Takes contacts back that did not happen, whoever noted them; one that is not noted stays so. A copy of the call that
    /// comes late changes nothing: it does not know what was noted meanwhile.
    pub async fn take_back(&self, redis: &mut Connection, asks: &[Ask]) -> Result<(), QueueError> {
        let undo = |book: &Self, part: &Part, _: u64| book.undo(part, asks);
        // What others keep from being taken back stays counted.
        self.agree(redis, parts(asks), undo).await.map(drop)
    }

    /// Decides by the copy and has Redis note it, again and again where others were faster. Returns what is undecided.
    async fn agree(
        &self,
        redis: &mut Connection,
        mut open: Vec<Part>,
        mut decide: impl FnMut(&Self, &Part, u64) -> Question,
    ) -> Result<Vec<Part>, QueueError> {
        for _ in 0..ROUNDS_MAX {
            if open.is_empty() {
                break;
            }
            let now_ms = self.now_ms(redis).await?;
            let stretch = now_ms / self.stretch_ms();
            let mut questions = Vec::with_capacity(open.len());
            for part in &open {
                self.read_along(redis, part.place, stretch).await?;
                questions.push(decide(self, part, now_ms));
            }
            let mut answers = self.ask(redis, stretch, &questions).await?.into_iter();
            open.retain(|part| match answers.next() {
                Some(Answer::Ok(added)) => {
                    self.take_in(part.place, stretch, added);
                    false
                }
                Some(Answer::Again(added)) => {
                    self.take_in(part.place, stretch, added);
                    true
                }
                Some(Answer::Behind) => {
                    self.shelf(part.place).known = None;
                    true
                }
                None => true,
            });
        }
        Ok(open)
    }

    /// Contacts that the process knows of.
    pub fn len(&self) -> usize {
        self.shelves.iter().map(|shelf| lock(shelf).contacts.len()).sum()
    }

    /// Whether it knows of none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far ahead of Redis' time an instant of Redis lies now, by our own clock.
    pub fn wait(&self, until_ms: u64) -> Duration {
        let now_ms = self.estimate().unwrap_or(until_ms);
        Duration::from_millis(until_ms.saturating_sub(now_ms))
    }

    /// Judges every message of a part by what is known, and writes down what may be sent.
    fn decide(&self, part: &Part, asks: &[Ask], now_ms: u64, holds: &mut [Option<Hold>]) -> Question {
        let shelf = self.shelf(part.place);
        let (mut people, mut notes) = (Vec::new(), Vec::new());
        let mut beside: Vec<Contact> = Vec::new();
        for at in &part.asks {
            let contact = asks[*at].contact;
            // Those of one person stand beside each other.
            if beside.last().is_some_and(|other| other.person != contact.person) {
                beside.clear();
            }
            people.extend_from_slice(&person_bytes(contact.person));
            holds[*at] = shelf.contacts.hold(&self.rules, &contact, &beside, now_ms);
            if holds[*at].is_none() {
                Note::Made(contact).write(&mut notes);
                beside.push(contact);
            }
        }
        Question { place: part.place, known: shelf.known.clone(), people, notes }
    }

    /// Takes those of a part back that are known.
    fn undo(&self, part: &Part, asks: &[Ask]) -> Question {
        let shelf = self.shelf(part.place);
        let (mut people, mut notes) = (Vec::new(), Vec::new());
        for contact in part.asks.iter().map(|at| asks[*at].contact) {
            people.extend_from_slice(&person_bytes(contact.person));
            if shelf.contacts.has(&contact) {
                Note::Back(contact).write(&mut notes);
            }
        }
        Question { place: part.place, known: shelf.known.clone(), people, notes }
    }

    /// Asks Redis, class by class: one slot each. The answers are in the order of the questions, fewer when another stretch
    /// has begun.
    async fn ask(
        &self,
        redis: &mut Connection,
        stretch: u64,
        questions: &[Question],
    ) -> Result<Vec<Answer>, QueueError> {
        // The last note of a list is a stretch younger than its first at most.
        let keep_ms = millis(self.rules.keep()) + self.stretch_ms();
        let mut answers = Vec::with_capacity(questions.len());
        for of_class in questions.chunk_by(|one, other| one.place.class == other.place.class) {
            let mut call = script::CAP.prepare_invoke();
            for question in of_class {
                call.key(keys::cap(question.place, stretch));
                call.key(keys::cap(question.place, stretch.saturating_sub(1)));
            }
            call.arg(stretch).arg(self.stretch_ms()).arg(keep_ms).arg(UNSEEN_MAX);
            for Question { known, people, notes, .. } in of_class {
                // A copy that another thread found to be of another time is behind, whatever Redis has.
                match known.as_ref().filter(|known| known.stretch == stretch) {
                    Some(known) => call.arg(known.entries).arg(known.before).arg(known.last.as_slice()),
                    None => call.arg(ENTRIES_MAX).arg(0).arg(""),
                };
                call.arg(people.as_slice()).arg(notes.as_slice());
            }
            let mut reply: std::vec::IntoIter<Value> =
                script::run::<Vec<Value>>(redis, &call).await?.into_iter();
            let now_ms = reply.next().map(value).transpose()?.unwrap_or(0);
            self.hear(now_ms);
            if reply.len() < of_class.len() {
                break;
            }
            for one in reply {
                answers.push(answer(value(one)?)?);
            }
        }
        Ok(answers)
    }

    /// Makes the copy of a place one of this stretch, as far as Redis is now.
    async fn read_along(&self, redis: &mut Connection, place: Place, stretch: u64) -> Result<(), QueueError> {
        if self.shelf(place).known.as_ref().is_some_and(|known| known.stretch == stretch) {
            return Ok(());
        }
        let (contacts, known) = self.read(redis, place, stretch).await?;
        let mut shelf = self.shelf(place);
        // Another thread may have been faster, and further.
        let older = shelf
            .known
            .as_ref()
            .is_none_or(|other| (other.stretch, other.entries) < (known.stretch, known.entries));
        if older {
            *shelf = Shelf { contacts, known: Some(known) };
        }
        Ok(())
    }

    async fn read(
        &self,
        redis: &mut Connection,
        place: Place,
        stretch: u64,
    ) -> Result<(Contacts, Known), QueueError> {
        let oldest_ms = (stretch * self.stretch_ms()).saturating_sub(millis(self.rules.keep()));
        let first = (oldest_ms / self.stretch_ms()).max(stretch.saturating_sub(STRETCHES));
        let mut lists: Vec<Vec<Vec<u8>>> =
            vec![Vec::new(); usize::try_from(stretch - first).unwrap_or(0) + 1];
        let mut open: Vec<usize> = (0..lists.len()).collect();
        while !open.is_empty() {
            let mut pipeline = redis::pipe();
            for at in &open {
                let from = lists[*at].len();
                pipeline
                    .cmd("LRANGE")
                    .arg(keys::cap(place, first + *at as u64))
                    .arg(from)
                    .arg(from + SLICE - 1);
            }
            let slices: Vec<Vec<Vec<u8>>> = pipeline.query_async(redis).await?;
            let mut slices = slices.into_iter();
            open.retain(|at| {
                let slice = slices.next().unwrap_or_default();
                let more = slice.len() == SLICE;
                lists[*at].extend(slice);
                more
            });
        }
        let mut contacts = Contacts::default();
        // In the order in which they were noted: what was taken back was made before.
        for (begin, list) in (first..).zip(&lists) {
            list.iter().for_each(|entry| note(&mut contacts, entry, begin * self.stretch_ms()));
        }
        let entries = |back: usize| lists.len().checked_sub(back).map_or(0, |at| lists[at].len());
        let last = lists.last().and_then(|list| list.last()).map(|entry| mark(entry)).unwrap_or_default();
        let known = Known { stretch, entries: entries(1), before: entries(2), last };
        Ok((contacts, known))
    }

    fn take_in(&self, place: Place, stretch: u64, Added { from, entries }: Added) {
        let mut shelf = self.shelf(place);
        let Shelf { contacts, known: Some(known) } = &mut *shelf else { return };
        if known.stretch != stretch || from > known.entries {
            // What lies between is not known: the next question tells that this copy is behind, and brings it.
            return;
        }
        for entry in entries.iter().skip(known.entries - from) {
            note(contacts, entry, stretch * self.stretch_ms());
            known.entries += 1;
            known.last = mark(entry);
        }
    }

    fn shelf(&self, place: Place) -> MutexGuard<'_, Shelf> {
        lock(&self.shelves[place.position()])
    }

    fn stretch_ms(&self) -> u64 {
        millis(self.rules.day).max(1)
    }

    /// Redis' time, or a little less: what it said last, and what has passed since.
    async fn now_ms(&self, redis: &mut Connection) -> Result<u64, QueueError> {
        if let Some(now_ms) = self.estimate() {
            return Ok(now_ms);
        }
        let now_ms = time::now_ms(redis).await?;
        self.hear(now_ms);
        Ok(now_ms)
    }

    fn estimate(&self) -> Option<u64> {
        let (heard, at_ms) = (*lock(&self.clock))?;
        Some(at_ms + millis(clock::mono().since(heard)))
    }

    fn hear(&self, now_ms: u64) {
        *lock(&self.clock) = Some((clock::mono(), now_ms));
    }
}

/// The contacts of one person that still count by these rules, the latest first.
pub async fn of_person(
    redis: &mut Connection,
    rules: ContactRules,
    phone: Phone,
) -> Result<Vec<Noted>, QueueError> {
    let book = ContactBook::new(rules);
    let now_ms = book.now_ms(redis).await?;
    let (contacts, _) = book.read(redis, Place::of(phone), now_ms / book.stretch_ms()).await?;
    let oldest_ms = now_ms.saturating_sub(millis(rules.keep()));
    let mut noted = contacts.of(phone.person(), now_ms);
    noted.retain(|noted| noted.at_ms >= oldest_ms);
    Ok(noted)
}

/// A batch by place, those of one person beside each other, and otherwise in its order.
fn parts(asks: &[Ask]) -> Vec<Part> {
    let mut order: Vec<usize> = (0..asks.len()).collect();
    order.sort_by_key(|at| (asks[*at].place, asks[*at].contact.person.0));
    let same = |one: &usize, other: &usize| asks[*one].place == asks[*other].place;
    let by_place = order.chunk_by(same);
    by_place.map(|all| Part { place: asks[all[0]].place, asks: all.to_vec() }).collect()
}

fn note(contacts: &mut Contacts, entry: &[u8], begin_ms: u64) {
    let Some((head, notes)) = entry.split_first_chunk::<4>() else { return };
    let at_ms = begin_ms + u64::from(u32::from_le_bytes(*head));
    for note in notes.chunks_exact(NOTE_BYTES).filter_map(Note::read) {
        contacts.note(&note, at_ms);
    }
}

fn mark(entry: &[u8]) -> Vec<u8> {
    entry[..entry.len().min(MARK_BYTES)].to_vec()
}

fn answer(parts: Vec<Value>) -> Result<Answer, QueueError> {
    let mut parts = parts.into_iter();
    let word: String = parts.next().map(value).transpose()?.unwrap_or_default();
    let Some(from) = parts.next().map(value).transpose()? else { return Ok(Answer::Behind) };
    let entries = parts.map(value).collect::<Result<_, _>>()?;
    let added = Added { from, entries };
    Ok(if word == "ok" { Answer::Ok(added) } else { Answer::Again(added) })
}

fn value<T: redis::FromRedisValue>(value: Value) -> Result<T, QueueError> {
    Ok(from_redis_value(value).map_err(RedisError::from)?)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
