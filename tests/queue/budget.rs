//! Budgets of portfolios: the script against its model, and through the crate's own calls.

use std::sync::Arc;
use std::time::Duration;

use carteiro::domain::person::PersonKey;
use carteiro::queue::budget::{self, Budget, Counted, Terms};
use carteiro::queue::keys;
use proptest::prelude::*;
use redis::AsyncCommands as _;

use crate::budget_model::{Answer, BudgetModel};
use crate::lab::Lab;

const BUDGET: &str = include_str!("../../src/queue/budget.lua");
const WINDOW_US: u64 = 10_000_000;

#[derive(Clone, Debug)]
enum Step {
    Take(Vec<u64>),
    /// The grants to take back, by their place among all that were ever given.
    Back(Vec<usize>),
    Limit(Option<u64>),
    Said(Option<Option<u64>>),
}

fn any_step() -> impl Strategy<Value = (u64, Step)> {
    let limit = || prop::option::weighted(0.9, 0u64..7);
    let step = prop_oneof![
        6 => prop::collection::vec(0u64..12, 0..6).prop_map(Step::Take),
        3 => prop::collection::vec(any::<usize>(), 1..4).prop_map(Step::Back),
        1 => limit().prop_map(Step::Limit),
        1 => prop::option::of(limit()).prop_map(Step::Said),
    ];
    let wait = prop_oneof![Just(0), Just(1), 0u64..4_000_000, Just(WINDOW_US)];
    (wait, step)
}

/// Runs the script as it is, but for the clock, which is told.
async fn run(lab: &mut Lab, now_us: u64, word: &str, limit: Option<u64>, args: &[u64]) -> Answer {
    let script = BUDGET.replace("redis.call('TIME')", "{KEYS[3], KEYS[4]}");
    assert_ne!(script, BUDGET, "the script reads the clock where this test tells it");
    let mut call = redis::cmd("EVAL");
    call.arg(script).arg(4).arg(keys::portfolio_people("p")).arg(keys::portfolio_said("p"));
    call.arg(now_us / 1_000_000).arg(now_us % 1_000_000);
    call.arg(word).arg(limit.map(|limit| limit.to_string()).unwrap_or_default()).arg(WINDOW_US).arg(args);
    let reply: Vec<i64> = call.query_async(&mut lab.redis).await.unwrap();
    let number = |at: &i64| u64::try_from(*at).unwrap();
    let scores = reply[3..].chunks(2).map(|pair| (number(&pair[0]), number(&pair[1]))).collect();
    (reply[0], reply[1], reply[2], scores)
}

/// Who is counted in Redis at this time.
async fn live(lab: &mut Lab, now_us: u64) -> Vec<(u64, u64)> {
    let all: Vec<(u64, f64)> = lab.redis.zrange_withscores(keys::portfolio_people("p"), 0, -1).await.unwrap();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole µs were stored")]
    let all = all.into_iter().map(|(person, score)| (person, score as u64));
    let mut all: Vec<(u64, u64)> = all.filter(|(_, score)| score + WINDOW_US > now_us).collect();
    all.sort_unstable();
    all
}

async fn walk(lab: &mut Lab, steps: &[(u64, Step)]) {
    let () = redis::cmd("FLUSHALL").query_async(&mut lab.redis).await.unwrap();
    let (mut model, mut now_us, mut limit) = (BudgetModel::default(), 1_800_000_000_000_000, Some(5));
    let mut granted: Vec<(u64, u64, u64)> = Vec::new();
    for (wait_us, step) in steps {
        now_us += wait_us;
        match step {
            Step::Take(people) => {
                let answer = run(lab, now_us, "take", limit, people).await;
                assert_eq!(answer, model.take(now_us, limit, WINDOW_US, people), "{step:?}");
                let counted = people.iter().zip(&answer.3).filter(|(_, (score, _))| *score > 0);
                granted.extend(counted.map(|(person, (score, before))| (*person, *score, *before)));
            }
            Step::Back(places) if !granted.is_empty() => {
                let all: Vec<_> = places.iter().map(|at| granted[at % granted.len()]).collect();
                let args: Vec<u64> = all.iter().flat_map(|(a, b, c)| [*a, *b, *c]).collect();
                let answer = run(lab, now_us, "back", limit, &args).await;
                assert_eq!(answer, model.back(now_us, limit, WINDOW_US, &all), "{step:?}");
            }
            Step::Back(_) => {}
            Step::Limit(other) => limit = *other,
            Step::Said(said) => {
                model.said = *said;
                let key = keys::portfolio_said("p");
                let () = match said {
                    None => lab.redis.del(key).await.unwrap(),
                    Some(None) => lab.redis.hset(key, "people", "unlimited").await.unwrap(),
                    Some(Some(people)) => lab.redis.hset(key, "people", *people).await.unwrap(),
                };
            }
        }
        assert_eq!(live(lab, now_us).await, model.live_at(now_us, WINDOW_US), "after {step:?}");
    }
}

#[test]
fn the_script_counts_as_its_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lab = std::cell::RefCell::new(runtime.block_on(Lab::start()));
    let config = ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let walked = runner.run(&prop::collection::vec(any_step(), 1..80), |steps| {
        runtime.block_on(walk(&mut lab.borrow_mut(), &steps));
        Ok(())
    });
    walked.unwrap();
}

fn terms(people: Option<u64>) -> Budget {
    let terms = Terms { people, window: Duration::from_secs(86_400), margin: Duration::from_secs(60) };
    Budget { portfolio: Arc::from("acme"), terms }
}

fn people(range: std::ops::Range<u64>) -> Vec<PersonKey> {
    range.map(|one| PersonKey(1_187_650_000 + one)).collect()
}

fn counted(all: Vec<Option<Counted>>) -> Vec<Counted> {
    all.into_iter().flatten().collect()
}

#[tokio::test]
async fn who_is_counted_is_free_and_who_was_not_written_to_is_taken_back() {
    let mut lab = Lab::start().await;
    let redis = &mut lab.redis;
    let ten = terms(Some(10));
    let (standing, first) = budget::take(redis, &ten, &people(0..8)).await.unwrap();
    assert_eq!((standing.used, standing.people, standing.wait), (8, Some(10), None));
    let (standing, second) = budget::take(redis, &ten, &people(4..14)).await.unwrap();
    let granted: Vec<bool> = second.iter().map(Option::is_some).collect();
    assert_eq!(granted, [[true; 6].as_slice(), [false; 4].as_slice()].concat());
    assert!(standing.wait.is_some_and(|wait| wait <= Duration::from_secs(86_460)) && !standing.has_room());
    // Who was written to again meanwhile stays, though the first message to them never left.
    let back = budget::give_back(redis, &ten, &mut counted(first)).await.unwrap();
    assert_eq!(back.used, 6, "four of eight had no other message");
    let back = budget::give_back(redis, &ten, &mut counted(second)).await.unwrap();
    assert_eq!(back.used, 4, "two were new; for four the earlier score is there again");
    // The same person twice in one call, both taken back.
    let twice = [people(0..1), people(0..1)].concat();
    let (_, both) = budget::take(redis, &terms(None), &twice).await.unwrap();
    let before = budget::look(redis, &ten).await.unwrap().used;
    let back = budget::give_back(redis, &ten, &mut counted(both)).await.unwrap();
    assert_eq!((before, back.used), (5, 4));
}

#[tokio::test]
async fn what_meta_says_counts_at_once_where_it_is_less() {
    let mut lab = Lab::start().await;
    let redis = &mut lab.redis;
    assert_eq!(budget::said(redis, "acme").await.unwrap(), None);
    assert!(budget::note_said(redis, "acme", Some(3), 10).await.unwrap());
    assert!(!budget::note_said(redis, "acme", Some(3), 11).await.unwrap(), "that is no news");
    assert!(!budget::note_said(redis, "acme", Some(9), 10).await.unwrap(), "it was said earlier");
    let (standing, all) = budget::take(redis, &terms(Some(10)), &people(0..5)).await.unwrap();
    assert_eq!((standing.people, counted(all).len()), (Some(3), 3));
    assert!(budget::note_said(redis, "acme", Some(100), 12).await.unwrap());
    assert_eq!(budget::look(redis, &terms(Some(4))).await.unwrap().people, Some(4));
    assert!(budget::note_said(redis, "acme", None, 13).await.unwrap());
    assert_eq!(budget::said(redis, "acme").await.unwrap(), None);
    let (standing, all) = budget::take(redis, &terms(None), &people(10..20)).await.unwrap();
    assert_eq!((standing.people, counted(all).len()), (None, 10));
}

#[tokio::test]
async fn a_day_at_rest_leaves_nobody_counted_however_many_there_were() {
    let mut lab = Lab::start().await;
    let key = keys::portfolio_people("acme");
    for slice in 0..3u64 {
        let mut call = redis::cmd("ZADD");
        call.arg(&key);
        (0..900u64).for_each(|one| {
            call.arg(1_000_000 + slice).arg(slice * 1_000 + one);
        });
        let () = call.query_async(&mut lab.redis).await.unwrap();
    }
    let two = terms(Some(2));
    // A person of the past is counted anew although the old score is still there.
    let (standing, all) =
        budget::take(&mut lab.redis, &two, &[PersonKey(2_899), PersonKey(7), PersonKey(8)]).await.unwrap();
    assert_eq!((standing.used, counted(all).len(), standing.has_room()), (2, 2, false));
    assert!(standing.wait.is_some_and(|wait| wait > Duration::from_secs(86_400)), "{standing:?}");
    for _ in 0..2 {
        budget::look(&mut lab.redis, &two).await.unwrap();
    }
    let left: u64 = lab.redis.zcard(&key).await.unwrap();
    assert_eq!(left, 2, "those of the past are gone");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut lab = Lab::start().await;
    let mut check = async |args: &[&str]| {
        let mut call = redis::cmd("EVAL");
        call.arg(BUDGET).arg(2).arg("{p}a").arg("{p}b").arg(args);
        let refused: Result<redis::Value, _> = call.query_async(&mut lab.redis).await;
        assert!(refused.is_err(), "{args:?}");
    };
    check(&["give", "5", "10", "1"]).await;
    check(&["take", "5", "x", "1"]).await;
    check(&["take", "5", "10", "1", "y"]).await;
    check(&["take", "many", "10", "1"]).await;
    check(&["back", "5", "10", "1", "2"]).await;
    let many: Vec<String> = (0..1_001).map(|one| one.to_string()).collect();
    let all: Vec<&str> = ["take", "5", "10"].into_iter().chain(many.iter().map(String::as_str)).collect();
    check(&all).await;
    let there: bool = lab.redis.exists("{p}a").await.unwrap();
    assert!(!there);
}
