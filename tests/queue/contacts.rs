//! Contacts: several processes that note people on one Redis, against a model of what may be; windows, repeats, lists that
//! are gone, and what a contact takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carteiro::domain::contact::{Contact, ContactRules, Note, RESERVED_MAX};
use carteiro::domain::person::Phone;
use carteiro::policy::contacts::Rule;
use carteiro::queue::cap::{Ask, ContactBook, of_person};
use carteiro::queue::connection::Connection;
use carteiro::queue::{QueueError, keys, layout, time};
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
    Ask { class: phone.class(), contact }
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
        let Ask { class, contact } = ask(4, message, 1);
        Ask { class, contact: Contact { number, ..contact } }
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
}

#[tokio::test]
async fn a_copy_that_is_far_behind_reads_what_it_does_not_know_and_no_more() {
    let mut lab = Lab::start().await;
    let (book, other) = (ContactBook::new(TWO), ContactBook::new(TWO));
    for person in 0..2_000 {
        other.admit(&mut lab.redis, &[ask(3 * person, 1, 1)]).await.unwrap();
    }
    assert_eq!(book.admit(&mut lab.redis, &[ask(3, 2, 1)]).await.unwrap(), [None]);
    // Behind by more than is read along in one call, and by more than a slice.
    for message in 0..200 {
        other.admit(&mut lab.redis, &[ask(6, message, 2)]).await.unwrap();
        other.take_back(&mut lab.redis, &[ask(6, message, 2)]).await.unwrap();
    }
    other.admit(&mut lab.redis, &[ask(6, 500, 1)]).await.unwrap();
    let read = async |redis: &mut Connection| {
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await.unwrap();
        let lrange = stats.lines().find_map(|line| line.strip_prefix("cmdstat_lrange:calls=")).unwrap();
        lrange.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = read(&mut lab.redis).await;
    assert!(book.admit(&mut lab.redis, &[ask(6, 501, 1)]).await.unwrap()[0].is_some());
    // Two scripts, and two slices between.
    assert_eq!(read(&mut lab.redis).await - before, 4);
    assert_eq!(book.len(), other.len());
}

#[tokio::test]
async fn who_notes_knows_it_as_redis_has_it() {
    let mut lab = Lab::start().await;
    let rules = ContactRules { per_day: Some(1), ..TWO };
    let (book, other) = (ContactBook::new(rules), ContactBook::new(rules));
    let people: Vec<u64> = (0..12).map(|at| 3 * at).collect();
    // Both have read the list.
    for (book, person) in [(&book, people[0]), (&other, people[1])] {
        assert_eq!(book.admit(&mut lab.redis, &[ask(person, 1, 1)]).await.unwrap(), [None]);
    }
    let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut lab.redis).await.unwrap();
    // One alone, twice; then one after the other.
    for (at, person) in people.iter().enumerate().skip(2) {
        let book = if at < 4 || at % 2 == 0 { &book } else { &other };
        assert_eq!(book.admit(&mut lab.redis, &[ask(*person, 1, 1)]).await.unwrap(), [None]);
    }
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut lab.redis).await.unwrap();
    assert!(stats.contains("cmdstat_evalsha:calls=10,"), "nobody was behind: {stats}");
    // It waits as long by its own copy as by what is read anew.
    for person in &people[2..] {
        let asks = [ask(*person, 2, 1)];
        let mut holds = Vec::new();
        for book in [&book, &other, &ContactBook::new(rules)] {
            holds.push(book.admit(&mut lab.redis, &asks).await.unwrap()[0].unwrap());
        }
        assert!(holds.iter().all(|hold| *hold == holds[0]), "{holds:?}");
    }
    assert_eq!((book.len(), other.len()), (12, 12));
}

#[tokio::test]
async fn a_new_stretch_goes_on_from_the_last_and_forgets_what_counts_no_more() {
    let mut lab = Lab::start().await;
    let rules = ContactRules { per_day: Some(1), day: Duration::from_millis(200), ..TWO };
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    let (book, other) = (ContactBook::new(rules), ContactBook::new(rules));
    let begin_ms = time::now_ms(&mut lab.redis).await.unwrap();
    let mut made = Vec::new();
    let mut now_ms = begin_ms;
    // Over many stretches others write, and this one hears of it when it asks. Only Redis' own clock ends a stretch.
    while now_ms < begin_ms + 2 * ms(rules.keep()) {
        let person = 3 * made.len() as u64;
        made.push(now_ms);
        assert_eq!(other.admit(&mut lab.redis, &[ask(person, 1, 1)]).await.unwrap(), [None]);
        let hold = book.admit(&mut lab.redis, &[ask(person, 2, 1)]).await.unwrap()[0];
        let asked_ms = now_ms;
        now_ms = time::now_ms(&mut lab.redis).await.unwrap();
        assert!(
            hold.is_some() || now_ms >= asked_ms + ms(rules.day + RESERVED_MAX),
            "stretch {}",
            now_ms / 200
        );
        // It last turned to a new stretch within one, and kept then what counted.
        let oldest_ms = asked_ms - ms(rules.keep()) - 2 * ms(rules.day);
        let most = made.iter().filter(|at_ms| **at_ms >= oldest_ms).count();
        assert!(book.len() <= most, "{} are known, {most} of this time", book.len());
    }
    // It holds exactly those whom one does who reads everything anew.
    let anew = ContactBook::new(rules);
    for person in (0..made.len() as u64).rev() {
        let asks = [ask(3 * person, 2, 1)];
        let Some(hold) = anew.admit(&mut lab.redis, &asks).await.unwrap()[0] else { continue };
        let held = book.admit(&mut lab.redis, &asks).await.unwrap()[0];
        let over = time::now_ms(&mut lab.redis).await.unwrap() >= hold.until_ms;
        assert!(held == Some(hold) || over, "{held:?} {hold:?}");
    }
}

#[tokio::test]
async fn a_late_copy_of_a_call_takes_nothing_back_that_was_noted_since() {
    let mut lab = Lab::start().await;
    let (book, one) = (ContactBook::new(TWO), ask(2, 1, 1));
    book.admit(&mut lab.redis, &[one]).await.unwrap();
    let length_ms = u64::try_from(TWO.day.as_millis()).unwrap();
    let stretch = time::now_ms(&mut lab.redis).await.unwrap() / length_ms;
    let key = keys::cap(one.class, stretch);
    let last: Vec<u8> = lab.redis.lindex(&key, -1).await.unwrap();
    let mut back = Vec::new();
    Note::Back(one.contact).write(&mut back);
    let mut call = redis::cmd("EVAL");
    call.arg(include_str!("../../src/queue/cap.lua")).arg(2).arg(&key).arg(keys::cap(one.class, stretch - 1));
    call.arg(stretch).arg(length_ms).arg(10 * length_ms).arg(64);
    call.arg(1).arg(0).arg(&last).arg("").arg(&back);
    let word = async |redis: &mut Connection| {
        let answer: Vec<redis::Value> = call.query_async(redis).await.unwrap();
        redis::from_redis_value::<String>(answer[1].clone()).unwrap()
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

#[tokio::test]
async fn contacts_of_an_older_layout_are_still_known() {
    let mut lab = Lab::start().await;
    let rules = ContactRules { per_day: Some(1), ..TWO };
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    let now_ms = time::now_ms(&mut lab.redis).await.unwrap();
    let stretch = now_ms / ms(rules.day);
    // Three people, in buckets of this stretch and of the one before; the third was taken back.
    let (one, other, back) = (ask(3, 1, 1), ask(6, 1, 1), ask(9, 1, 1));
    let noted = [
        (13, stretch, Note::Made(one.contact)),
        (0, stretch, Note::Made(back.contact)),
        (0, stretch, Note::Back(back.contact)),
        (2, stretch - 1, Note::Made(other.contact)),
    ];
    for (bucket, stretch, note) in noted {
        // Now, or nearly a day ago.
        let within_ms = now_ms % ms(rules.day) + if bucket == 2 { 600_000 } else { 0 };
        let mut entry = u32::try_from(within_ms).unwrap().to_le_bytes().to_vec();
        note.write(&mut entry);
        let key = format!("ct:{{h{}}}:cap:{bucket}:{stretch}", one.class.index());
        let _: i64 = lab.redis.rpush(&key, entry).await.unwrap();
        let _: i64 = lab.redis.pexpire(&key, i64::try_from(2 * ms(rules.keep())).unwrap()).await.unwrap();
    }
    let _: () = lab.redis.set(keys::LAYOUT_KEY, 1).await.unwrap();
    for _ in 0..2 {
        layout::check(&mut lab.redis, rules).await.unwrap();
    }
    assert_eq!(lab.redis.get::<_, u32>(keys::LAYOUT_KEY).await.unwrap(), keys::LAYOUT);
    let lengths = async |redis: &mut Connection| {
        let mut lengths = Vec::new();
        for stretch in [stretch - 1, stretch] {
            let key = keys::cap(one.class, stretch);
            lengths.push(redis.llen::<_, u64>(&key).await.unwrap());
            assert!(redis.pttl::<_, i64>(&key).await.unwrap() > 0);
        }
        lengths
    };
    assert_eq!(lengths(&mut lab.redis).await, [1, 3]);
    let asks = [ask(3, 2, 1), ask(6, 2, 1), ask(9, 2, 1)];
    let holds = ContactBook::new(rules).admit(&mut lab.redis, &asks).await.unwrap();
    let held: Vec<bool> = holds.iter().map(Option::is_some).collect();
    assert_eq!(held, [true, true, false]);
    // Another program that comes to the same step later copies nothing again.
    let _: () = lab.redis.set(keys::LAYOUT_KEY, 1).await.unwrap();
    layout::check(&mut lab.redis, rules).await.unwrap();
    assert_eq!(lengths(&mut lab.redis).await, [1, 4]);
    let _: () = lab.redis.set(keys::LAYOUT_KEY, keys::LAYOUT + 1).await.unwrap();
    let newer = layout::check(&mut lab.redis, rules).await;
    assert!(matches!(newer, Err(QueueError::LayoutTooNew { .. })), "{newer:?}");
}
