//! Contacts in Redis: lists of notes, one for each class of people and stretch of time, that every process reads along.
//!
//! Whether somebody may be written to is judged here, on a copy in memory; Redis only compares how far the copy is and
//! adds what was decided. So a contact costs it a few dozen instructions and 11 bytes, and a person nothing. Two processes
//! that decide about the same person at once cannot both be right: the later one is told, reads, and decides again.
//!
//! A stretch is a day. A new one begins new lists, and those of a past week expire by themselves.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{RedisError, Value, from_redis_value};

mod shelf;
mod turns;

use shelf::{Known, Mark, Shelf, TIME_BYTES};
use turns::Turns;

use super::connection::Connection;
use super::{QueueError, keys, script, time};
use crate::clock::{self, Mono};
use crate::domain::area::CalendarClass;
use crate::domain::contact::{Contact, ContactRules, NOTE_BYTES, Note, person_bytes};
use crate::domain::person::Phone;
use crate::policy::contacts::{Contacts, Hold, Noted, Rule};

/// Entries read at once.
const SLICE: usize = 256;

/// Entries that may have been added since a copy was last told, before it is read along by itself.
const UNSEEN_MAX: usize = 64;

/// How often a batch is decided again because of others, at most; what is undecided then waits a moment.
const ROUNDS_MAX: usize = 32;

/// That moment.
const AGAIN_MS: u64 = 1_000;

/// Stretches that are looked at: those of a week, and the one in which it began.
const STRETCHES: u64 = 8;

/// A message that asks to be a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The person's class: all of one are noted in one place.
    pub class: CalendarClass,
    /// The contact.
    pub contact: Contact,
}

/// The contacts of a process, shared by its threads.
#[derive(Debug)]
pub struct ContactBook {
    rules: ContactRules,
    /// By the number of the class.
    shelves: Vec<Mutex<Shelf>>,
    /// The same: claims of a class at the same time would all be told of each other's contacts by Redis.
    turns: Vec<Turns<Ask, Option<Hold>>>,
    /// Redis' time at an instant of ours.
    clock: Mutex<Option<(Mono, u64)>>,
}

/// What is asked of Redis.
struct Question {
    /// Those of whom nothing is to be noted.
    people: Vec<u8>,
    /// The entry that is to be added: room for its time, and the notes.
    entry: Vec<u8>,
}

/// What Redis says.
struct Answer {
    now_ms: u64,
    word: Word,
    /// What others added meanwhile.
    others: Vec<Vec<u8>>,
}

/// What became of a question; the words of the script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Ok,
    Again,
    Behind,
    Other,
    Later,
}

impl ContactBook {
    /// A book that knows nobody yet.
    pub fn new(rules: ContactRules) -> Self {
        let shelves = CalendarClass::all().map(|_| Mutex::default()).collect();
        let turns = CalendarClass::all().map(|_| Turns::default()).collect();
        Self { rules, shelves, turns, clock: Mutex::new(None) }
    }

    /// Notes those of a batch that may be contacts now, and says of the others until when they wait, in order. A call that
    /// is made again changes nothing.
    pub async fn admit(&self, redis: &mut Connection, asks: &[Ask]) -> Result<Vec<Option<Hold>>, QueueError> {
        let mut holds = vec![None; asks.len()];
        let order = in_order(asks);
        for part in parts(asks, &order) {
            let class = asks[part[0]].class;
            let of_class: Vec<Ask> = part.iter().map(|at| asks[*at]).collect();
            let call = async |asks: &[Ask]| self.admit_class(redis, class, asks).await;
            let answers = self.turns[usize::from(class.index())].take(&of_class, call).await?;
            part.iter().zip(answers).for_each(|(at, hold)| holds[*at] = hold);
        }
        Ok(holds)
    }

    /// The same for people of one class.
    async fn admit_class(
        &self,
        redis: &mut Connection,
        class: CalendarClass,
        asks: &[Ask],
    ) -> Result<Vec<Option<Hold>>, QueueError> {
        let mut holds = vec![None; asks.len()];
        let order = in_order(asks);
        let decide = |known: &Contacts, now_ms: u64| self.decide(known, asks, &order, now_ms, &mut holds);
        if !self.agree(redis, class, decide).await? {
            // Others decide about the same people all the time: nothing is sent on a guess.
            let until_ms = self.now_ms(redis).await? + AGAIN_MS;
            holds.fill(Some(Hold { rule: Rule::Pair, until_ms }));
        }
        Ok(holds)
    }

    /// Takes contacts back that did not happen, whoever noted them; one that is not noted stays so. A copy of the call that
    /// comes late changes nothing: it does not know what was noted meanwhile.
    pub async fn take_back(&self, redis: &mut Connection, asks: &[Ask]) -> Result<(), QueueError> {
        let order = in_order(asks);
        for part in parts(asks, &order) {
            let undo = |known: &Contacts, _: u64| undo(known, asks, part);
            // What others keep from being taken back stays counted.
            self.agree(redis, asks[part[0]].class, undo).await?;
        }
        Ok(())
    }

    /// Decides by the copy and has Redis note it, again and again where others were faster. Whether it was noted.
    async fn agree(
        &self,
        redis: &mut Connection,
        class: CalendarClass,
        mut decide: impl FnMut(&Contacts, u64) -> Question,
    ) -> Result<bool, QueueError> {
        for _ in 0..ROUNDS_MAX {
            let now_ms = self.now_ms(redis).await?;
            let stretch = now_ms / self.stretch_ms();
            self.read_along(redis, class, stretch).await?;
            let (known, mut question) = {
                let shelf = self.shelf(class);
                // Another thread may have found meanwhile that this copy is of another list or time.
                let Some(known) = shelf.known().filter(|known| known.stretch == stretch) else { continue };
                (known, decide(shelf.contacts(), now_ms))
            };
            let Answer { now_ms, word, others } = self.ask(redis, class, &known, &question).await?;
            let others = others.iter().map(Vec::as_slice);
            match word {
                Word::Ok => {
                    // What was noted is not sent back to who wrote it.
                    let ours = question.noted(now_ms.saturating_sub(stretch * self.stretch_ms()));
                    self.shelf(class).take_in(&known, others.chain(ours), self.stretch_ms());
                    return Ok(true);
                }
                Word::Again => self.shelf(class).take_in(&known, others, self.stretch_ms()),
                Word::Behind => self.catch_up(redis, class, &known).await?,
                Word::Other => self.shelf(class).forget(&known),
                Word::Later => {}
            }
        }
        Ok(false)
    }

    /// Contacts that the process knows of.
    pub fn len(&self) -> usize {
        self.shelves.iter().map(|shelf| lock(shelf).contacts().len()).sum()
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
    fn decide(
        &self,
        known: &Contacts,
        asks: &[Ask],
        part: &[usize],
        now_ms: u64,
        holds: &mut [Option<Hold>],
    ) -> Question {
        let mut question = Question::with_room(part.len());
        let mut beside: Vec<Contact> = Vec::new();
        for at in part {
            let contact = asks[*at].contact;
            // Those of one person stand beside each other.
            if beside.last().is_some_and(|other| other.person != contact.person) {
                beside.clear();
            }
            holds[*at] = known.hold(&self.rules, &contact, &beside, now_ms);
            if holds[*at].is_none() {
                Note::Made(contact).write(&mut question.entry);
                beside.push(contact);
            } else {
                question.people.extend_from_slice(&person_bytes(contact.person));
            }
        }
        question
    }

    async fn ask(
        &self,
        redis: &mut Connection,
        class: CalendarClass,
        known: &Known,
        question: &Question,
    ) -> Result<Answer, QueueError> {
        // The last note of a list is a stretch younger than its first at most.
        let keep_ms = millis(self.rules.keep()) + self.stretch_ms();
        let mut call = script::CAP.prepare_invoke();
        call.key(keys::cap(class, known.stretch)).key(keys::cap(class, known.stretch.saturating_sub(1)));
        call.arg(known.stretch).arg(self.stretch_ms()).arg(keep_ms).arg(UNSEEN_MAX);
        call.arg(known.entries).arg(known.before).arg(known.last.as_bytes());
        call.arg(question.people.as_slice()).arg(question.notes());
        let answer = answer(script::run(redis, &call).await?)?;
        self.hear(answer.now_ms);
        Ok(answer)
    }

    /// Makes the copy of a class one of this stretch.
    async fn read_along(
        &self,
        redis: &mut Connection,
        class: CalendarClass,
        stretch: u64,
    ) -> Result<(), QueueError> {
        let known = self.shelf(class).known();
        if known.is_some_and(|known| known.stretch == stretch) {
            return Ok(());
        }
        if let Some(known) = known.filter(|known| known.stretch + 1 == stretch) {
            self.catch_up(redis, class, &known).await?;
            let keep_ms = millis(self.rules.keep());
            self.shelf(class).turn(stretch, keep_ms, self.stretch_ms());
            return Ok(());
        }
        let read = self.read(redis, class, stretch).await?;
        self.shelf(class).replace(read);
        Ok(())
    }

    async fn read(
        &self,
        redis: &mut Connection,
        class: CalendarClass,
        stretch: u64,
    ) -> Result<Shelf, QueueError> {
        let oldest_ms = (stretch * self.stretch_ms()).saturating_sub(millis(self.rules.keep()));
        let first = (oldest_ms / self.stretch_ms()).max(stretch.saturating_sub(STRETCHES));
        let mut known = Known { stretch: first, ..Known::default() };
        let mut shelf = Shelf::default();
        // In the order in which they were noted: what was taken back was made before.
        loop {
            let slice = slice(redis, class, known.stretch, known.entries).await?;
            slice.iter().for_each(|entry| shelf.note(&mut known, entry, self.stretch_ms()));
            if slice.len() < SLICE {
                if known.stretch == stretch {
                    shelf.know(known);
                    return Ok(shelf);
                }
                known = known.next();
            }
        }
    }

    /// Reads what was added to a list that is known, up to its end; if it is another by now, nothing of it is known.
    async fn catch_up(
        &self,
        redis: &mut Connection,
        class: CalendarClass,
        known: &Known,
    ) -> Result<(), QueueError> {
        let mut known = *known;
        loop {
            let first = known.entries.saturating_sub(1);
            let entries = slice(redis, class, known.stretch, first).await?;
            let mut new = entries.iter().map(Vec::as_slice);
            if known.entries > 0 && new.next().map(Mark::of) != Some(known.last) {
                self.shelf(class).forget(&known);
                return Ok(());
            }
            self.shelf(class).take_in(&known, new.clone(), self.stretch_ms());
            known.entries += new.len();
            known.last = entries.last().map(|entry| Mark::of(entry)).unwrap_or_default();
            if entries.len() < SLICE {
                return Ok(());
            }
        }
    }

    fn shelf(&self, class: CalendarClass) -> MutexGuard<'_, Shelf> {
        lock(&self.shelves[usize::from(class.index())])
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
    let shelf = book.read(redis, phone.class(), now_ms / book.stretch_ms()).await?;
    let oldest_ms = now_ms.saturating_sub(millis(rules.keep()));
    let mut noted = shelf.contacts().of(phone.person(), now_ms);
    noted.retain(|noted| noted.at_ms >= oldest_ms);
    Ok(noted)
}

impl Question {
    fn with_room(notes: usize) -> Self {
        let mut entry = Vec::with_capacity(TIME_BYTES + NOTE_BYTES * notes);
        entry.resize(TIME_BYTES, 0);
        Self { people: Vec::new(), entry }
    }

    fn notes(&self) -> &[u8] {
        &self.entry[TIME_BYTES..]
    }

    /// The entry as it was added, so long after its stretch began; None: there was nothing to add.
    fn noted(&mut self, within_ms: u64) -> Option<&[u8]> {
        let within_ms = u32::try_from(within_ms).unwrap_or(u32::MAX);
        self.entry[..TIME_BYTES].copy_from_slice(&within_ms.to_le_bytes());
        (self.entry.len() > TIME_BYTES).then_some(self.entry.as_slice())
    }
}

/// Takes those of a part back that are known.
fn undo(known: &Contacts, asks: &[Ask], part: &[usize]) -> Question {
    let mut question = Question::with_room(part.len());
    for contact in part.iter().map(|at| asks[*at].contact) {
        if known.has(&contact) {
            Note::Back(contact).write(&mut question.entry);
        } else {
            question.people.extend_from_slice(&person_bytes(contact.person));
        }
    }
    question
}

async fn slice(
    redis: &mut Connection,
    class: CalendarClass,
    stretch: u64,
    from: usize,
) -> Result<Vec<Vec<u8>>, QueueError> {
    let mut call = redis::cmd("LRANGE");
    call.arg(keys::cap(class, stretch)).arg(from).arg(from + SLICE - 1);
    Ok(call.query_async(redis).await?)
}

/// Positions of a batch by class, those of one person beside each other, and otherwise in its order.
fn in_order(asks: &[Ask]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..asks.len()).collect();
    order.sort_unstable_by_key(|at| (asks[*at].class, asks[*at].contact.person.0, *at));
    order
}

/// Those of one class together.
fn parts<'a>(asks: &[Ask], order: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
    order.chunk_by(|one, other| asks[*one].class == asks[*other].class)
}

fn answer(parts: Vec<Value>) -> Result<Answer, QueueError> {
    let mut parts = parts.into_iter();
    let (now_ms, word) = (parts.next(), parts.next());
    let word: String = word.map(value).transpose()?.unwrap_or_default();
    let word = match word.as_str() {
        "ok" => Word::Ok,
        "again" => Word::Again,
        "behind" => Word::Behind,
        "later" => Word::Later,
        _ => Word::Other,
    };
    let now_ms = now_ms.map(value).transpose()?.unwrap_or(0);
    Ok(Answer { now_ms, word, others: parts.map(value).collect::<Result<_, _>>()? })
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
