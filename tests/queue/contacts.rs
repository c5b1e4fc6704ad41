//! Contacts: several processes that note people on one Redis, against a model of what may be; windows, repeats, lists that
//! are gone, and what a contact takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carteiro::domain::contact::{Contact, ContactRules, Note, Place, RESERVED_MAX, person_bytes};
use carteiro::domain::person::Phone;
use carteiro::policy::contacts::Rule;
use carteiro::queue::cap::{Ask, ContactBook, of_person};
use carteiro::queue::connection::Connection;
use carteiro::queue::{keys, time};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use redis::AsyncCommands;

use crate::lab::{Lab, timeouts};

const HOUR: Duration = Duration::from_secs(3_600);

/// Two a day, nothing else.
const TWO: ContactRules =
    ContactRules { per_day: Some(2), per_week: None, gap: Duration::ZERO, day: HOUR, pair: Duration::ZERO };

fn phone(at: u64) -> Phone {
    // Two states, so that a batch is of several slots.
    let area = if at.is_multiple_of(3) { 11 } else { 68 };
    Phone::from_digits(5_500_960_000_000 + area * 1_000_000_000 + at).unwrap()
}

fn ask(person: u64, message: u32, generation: u8) -> Ask {
    let phone = phone(person);
    let contact = Contact { person: phone.person(), number: 1, message, generation };
    Ask { place: Place::of(phone), contact }
}

async fn noted(redis: &mut Connection, rules: ContactRules, person: u64) -> BTreeSet<u32> {
    let noted = of_person(redis, rules, phone(person)).await.unwrap();
    noted.into_iter().map(|noted| noted.message).collect()
}

/// What is known of each person: message and generation.
type Model = BTreeMap<u64, BTreeSet<(u32, u8)>>;

fn admits(model: &mut Model, person: u64, message: u32, generation: u8) -> bool {
    let known = model.entry(person).or_default();
    let others: BTreeSet<u32> =
        known.iter().map(|(other, _)| *other).filter(|other| *other != message).collect();
    let free = others.len() < 2;
    if free {
        known.insert((message, generation));
    }
    free
}

#[tokio::test]
async fn three_processes_decide_as_one() {
    for seed in 0..4 {
        let mut lab = Lab::start().await;
        let mut rng = SmallRng::seed_from_u64(seed);
        let books: Vec<ContactBook> = (0..3).map(|_| ContactBook::new(TWO)).collect();
        let mut model = Model::new();
        let mut made: Vec<(u64, u32, u8)> = Vec::new();
        for step in 0..150 {
            let book = &books[rng.random_range(0..3)];
            if rng.random_bool(0.3) && !made.is_empty() {
                let count = rng.random_range(1..=made.len().min(5));
                let back: Vec<_> =
                    (0..count).map(|_| made.swap_remove(rng.random_range(0..made.len()))).collect();
                let asks: Vec<Ask> = back
                    .iter()
                    .map(|(person, message, generation)| ask(*person, *message, *generation))
                    .collect();
                book.take_back(&mut lab.redis, &asks).await.unwrap();
                for (person, message, generation) in back {
                    model.get_mut(&person).unwrap().remove(&(message, generation));
                }
                continue;
            }
            let batch: Vec<(u64, u32, u8)> = (0..rng.random_range(1..12))
                .map(|_| (rng.random_range(0..9), rng.random_range(0..12), rng.random_range(1..3)))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            let asks: Vec<Ask> = batch
                .iter()
                .map(|(person, message, generation)| ask(*person, *message, *generation))
                .collect();
            let holds = book.admit(&mut lab.redis, &asks).await.unwrap();
            for (hold, (person, message, generation)) in holds.iter().zip(batch) {
                let before = model.get(&person).is_some_and(|known| known.contains(&(message, generation)));
                let free = admits(&mut model, person, message, generation);
                assert_eq!(hold.is_none(), free, "seed {seed}, step {step}: {person} {message} {hold:?}");
                if free && !before {
                    made.push((person, message, generation));
                }
            }
        }
        for (person, known) in model {
            let expect: BTreeSet<u32> = known.into_iter().map(|(message, _)| message).collect();
            assert_eq!(noted(&mut lab.redis, TWO, person).await, expect, "seed {seed}: {person}");
        }
    }
}

#[tokio::test]
async fn at_the_same_time_nobody_is_written_to_once_too_often() {
    let mut lab = Lab::start().await;
    let mut tasks = Vec::new();
    for process in 0..4u32 {
        let mut redis = lab.client.connect(timeouts()).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let book = ContactBook::new(TWO);
            let mut admitted = 0;
            for round in 0..40u32 {
                let message = process * 1_000 + round;
                let asks: Vec<Ask> =
                    (0..30).map(|at| ask((at + u64::from(round)) % 60, message, 1)).collect();
                let holds = book.admit(&mut redis, &asks).await.unwrap();
                admitted += holds.iter().filter(|hold| hold.is_none()).count();
            }
            admitted
        }));
    }
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.unwrap();
    }
    for person in 0..60 {
        assert_eq!(noted(&mut lab.redis, TWO, person).await.len(), 2, "person {person}");
    }
    assert_eq!(admitted, 120);
}

#[tokio::test]
async fn a_window_ends_by_redis_time_and_the_notes_go() {
    let mut lab = Lab::start().await;
    let day = Duration::from_millis(300);
    let rules = ContactRules { per_day: Some(1), per_week: Some(9), day, ..TWO };
    let (book, other) = (ContactBook::new(rules), ContactBook::new(rules));
    let begin_ms = time::now_ms(&mut lab.redis).await.unwrap();
    assert_eq!(book.admit(&mut lab.redis, &[ask(1, 1, 1)]).await.unwrap(), [None]);
    let hold = other.admit(&mut lab.redis, &[ask(1, 2, 1)]).await.unwrap()[0].unwrap();
    assert_eq!(hold.rule, Rule::Cap);
    let window_ms = u64::try_from((day + RESERVED_MAX).as_millis()).unwrap();
    assert!(hold.until_ms >= begin_ms + window_ms, "{hold:?}");
    let keys: Vec<String> = lab.redis.keys("ct:{h*}:cap:*").await.unwrap();
    let left_ms: i64 = lab.redis.pttl(&keys[0]).await.unwrap();
    assert!((1..=12_000).contains(&left_ms), "{left_ms}");
    // Over many stretches, in which nothing is noted. It is Redis' own clock that ends the window, and nothing but time moves it.
    while let [Some(hold)] = other.admit(&mut lab.redis, &[ask(1, 2, 1)]).await.unwrap()[..] {
        tokio::time::sleep(other.wait(hold.until_ms).max(Duration::from_millis(1))).await;
    }
    assert!(time::now_ms(&mut lab.redis).await.unwrap() >= begin_ms + window_ms);
}

#[tokio::test]
async fn a_pair_waits_for_its_own_number_only() {
    let mut lab = Lab::start().await;
    let rules = ContactRules { per_day: None, pair: Duration::from_secs(600), ..TWO };
    let (book, other) = (ContactBook::new(rules), ContactBook::new(rules));
    let by = |number: u8, message: u32| {
        let Ask { place, contact } = ask(4, message, 1);
        Ask { place, contact: Contact { number, ..contact } }
    };
    assert_eq!(book.admit(&mut lab.redis, &[by(1, 1)]).await.unwrap(), [None]);
    let holds = other.admit(&mut lab.redis, &[by(1, 2), by(2, 3)]).await.unwrap();
    assert_eq!(holds[0].map(|hold| hold.rule), Some(Rule::Pair));
    assert_eq!(holds[1], None);
}

#[tokio::test]
async fn a_call_that_is_made_again_notes_nothing_new() {
    let mut lab = Lab::start().await;
    let book = ContactBook::new(TWO);
    let asks = [ask(1, 1, 1), ask(2, 1, 1)];
    for _ in 0..3 {
        assert_eq!(book.admit(&mut lab.redis, &asks).await.unwrap(), [None, None]);
    }
    assert_eq!((noted(&mut lab.redis, TWO, 1).await.len(), book.len()), (1, 2));
    book.take_back(&mut lab.redis, &asks).await.unwrap();
    book.take_back(&mut lab.redis, &asks).await.unwrap();
    assert!(noted(&mut lab.redis, TWO, 1).await.is_empty() && book.is_empty());
}

#[tokio::test]
async fn a_list_that_is_another_one_is_read_anew() {
    let mut lab = Lab::start().await;
    let (book, other) = (ContactBook::new(TWO), ContactBook::new(TWO));
    book.admit(&mut lab.redis, &[ask(3, 1, 1)]).await.unwrap();
    let keys: Vec<String> = lab.redis.keys("ct:{h*}:cap:*").await.unwrap();
    let _: i64 = lab.redis.del(keys).await.unwrap();
    other.admit(&mut lab.redis, &[ask(3, 7, 1)]).await.unwrap();
    other.admit(&mut lab.redis, &[ask(3, 8, 1)]).await.unwrap();
    let holds = book.admit(&mut lab.redis, &[ask(3, 9, 1)]).await.unwrap();
    assert!(holds[0].is_some(), "it knew one of a list that is gone, and there are two");
    // Behind by more than is read along in one call.
    for message in 0..100 {
        other.admit(&mut lab.redis, &[ask(6, message, 1)]).await.unwrap();
        other.take_back(&mut lab.redis, &[ask(6, message, 1)]).await.unwrap();
    }
    assert_eq!(book.admit(&mut lab.redis, &[ask(6, 500, 1)]).await.unwrap(), [None]);
}

#[tokio::test]
async fn a_late_copy_of_a_call_takes_nothing_back_that_was_noted_since() {
    let mut lab = Lab::start().await;
    let (book, one) = (ContactBook::new(TWO), ask(2, 1, 1));
    book.admit(&mut lab.redis, &[one]).await.unwrap();
    let length_ms = u64::try_from(TWO.day.as_millis()).unwrap();
    let stretch = time::now_ms(&mut lab.redis).await.unwrap() / length_ms;
    let key = keys::cap(one.place, stretch);
    let last: Vec<u8> = lab.redis.lindex(&key, -1).await.unwrap();
    let mut back = Vec::new();
    Note::Back(one.contact).write(&mut back);
    let mut call = redis::cmd("EVAL");
    call.arg(include_str!("../../src/queue/cap.lua")).arg(2).arg(&key).arg(keys::cap(one.place, stretch - 1));
    call.arg(stretch).arg(length_ms).arg(10 * length_ms).arg(64);
    call.arg(1).arg(0).arg(&last).arg(&person_bytes(one.contact.person)).arg(&back);
    let word = async |redis: &mut Connection| {
        let (_, answer): (u64, Vec<redis::Value>) = call.query_async(redis).await.unwrap();
        redis::from_redis_value::<String>(answer[0].clone()).unwrap()
    };
    assert_eq!(word(&mut lab.redis).await, "ok");
    assert!(noted(&mut lab.redis, TWO, 2).await.is_empty());
    // Given back, and claimed anew under the same generation.
    assert_eq!(book.admit(&mut lab.redis, &[one]).await.unwrap(), [None]);
    assert_ne!(word(&mut lab.redis).await, "ok");
    assert_eq!(noted(&mut lab.redis, TWO, 2).await.len(), 1);
}

#[tokio::test]
async fn a_contact_takes_few_bytes() {
    let mut lab = Lab::start().await;
    let book = ContactBook::new(TWO);
    let people = 20_000u64;
    for from in (0..people).step_by(100) {
        let asks: Vec<Ask> = (from..from + 100).map(|person| ask(person, 1, 1)).collect();
        assert!(book.admit(&mut lab.redis, &asks).await.unwrap().iter().all(Option::is_none));
    }
    let keys: Vec<String> = lab.redis.keys("ct:{h*}:cap:*").await.unwrap();
    let mut bytes = 0;
    for key in keys {
        let mut usage = redis::cmd("MEMORY");
        bytes += usage
            .arg("USAGE")
            .arg(&key)
            .arg("SAMPLES")
            .arg(0)
            .query_async::<u64>(&mut lab.redis)
            .await
            .unwrap();
    }
    assert!(bytes < 20 * people, "{} bytes a contact", bytes as f64 / people as f64);
}
