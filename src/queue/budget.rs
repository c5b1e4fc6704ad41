//! The budget of a portfolio: how many people may be written to within a window, over all its numbers, accounts and
//! processes.
//!
//! A person is counted before a message to them leaves, and taken back if it certainly did not: by compare-and-set on the
//! score, so that what was counted later for the same person stays. Time is that of Redis. What is asked twice because a
//! reply was lost counts a person no less, only perhaps for longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::AsyncCommands as _;

use super::connection::Connection;
use super::{QueueError, keys, script};
use crate::domain::person::PersonKey;

/// People at most in one call of the script.
pub const PEOPLE_MAX: usize = 1_000;

/// What Meta said without a limit.
const UNLIMITED: &str = "unlimited";

/// What a portfolio may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// People within the window at most, unless Meta said fewer; None: only what Meta said counts.
    pub people: Option<u64>,
    /// The window, without its margin.
    pub window: Duration,
    /// So much longer a person is counted: a message may arrive so much after its person was.
    pub margin: Duration,
}

/// The budget that an account shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The portfolio.
    pub portfolio: Arc<str>,
    /// What it may use.
    pub terms: Terms,
}

/// The budgets of accounts; those without one are not there.
pub type Budgets = BTreeMap<String, Arc<Budget>>;

/// A person who was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Who.
    pub person: PersonKey,
    /// The score that the send has, and the one before it; 0: there was none.
    pub score: (u64, u64),
}

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// People counted.
    pub used: u64,
    /// People at most; None: without a limit.
    pub people: Option<u64>,
    /// How long until there is room again; None: there is, or nobody knows.
    pub wait: Option<Duration>,
}

impl Standing {
    /// Whether one more has room.
    pub fn has_room(&self) -> bool {
        self.people.is_none_or(|people| self.used < people)
    }
}

/// Counts people, in the order given. None: there was no room for them.
///
/// # Errors
/// When Redis does not answer, or not as it should.
pub async fn take(
    connection: &mut Connection,
    budget: &Budget,
    people: &[PersonKey],
) -> Result<(Standing, Vec<Option<Counted>>), QueueError> {
    let mut call = call(budget, "take");
    for person in people {
        call.arg(person.0);
    }
    let reply: Vec<i64> = script::run(connection, &call).await?;
    let (standing, scores) = standing(budget, &reply)?;
    let number = |score: &i64| u64::try_from(*score).unwrap_or(0);
    let counted = people.iter().zip(scores.chunks_exact(2)).map(|(person, scores)| {
        let score = (number(&scores[0]), number(&scores[1]));
        (score.0 > 0).then_some(Counted { person: *person, score })
    });
    let counted: Vec<_> = counted.collect();
    if counted.len() != people.len() {
        return Err(corrupt(budget));
    }
    Ok((standing, counted))
}

/// Takes people back to whom nothing was sent.
///
/// # Errors
/// When Redis does not answer, or not as it should.
pub async fn give_back(
    connection: &mut Connection,
    budget: &Budget,
    counted: &mut [Counted],
) -> Result<Standing, QueueError> {
    // The latest of a person first, so that each finds its own score.
    counted.sort_unstable_by_key(|one| std::cmp::Reverse(one.score));
    let mut call = call(budget, "back");
    for Counted { person, score: (score, before) } in counted {
        call.arg(person.0).arg(*score).arg(*before);
    }
    let reply: Vec<i64> = script::run(connection, &call).await?;
    Ok(standing(budget, &reply)?.0)
}

/// How a budget stands.
///
/// # Errors
/// When Redis does not answer, or not as it should.
pub async fn look(connection: &mut Connection, budget: &Budget) -> Result<Standing, QueueError> {
    let reply: Vec<i64> = script::run_alone(connection, &call(budget, "take")).await?;
    Ok(standing(budget, &reply)?.0)
}

/// Notes what Meta said of a portfolio at this time: people a day; None: without a limit. Returns whether that is news; what
/// it said earlier and only now arrives is none.
///
/// # Errors
/// When Redis does not answer.
pub async fn note_said(
    connection: &mut Connection,
    portfolio: &str,
    people: Option<u64>,
    at_ms: u64,
) -> Result<bool, QueueError> {
    let key = keys::portfolio_said(portfolio);
    let people = people.map_or_else(|| UNLIMITED.to_owned(), |people| people.to_string());
    let (before, said_ms): (Option<String>, Option<u64>) =
        connection.hmget(&key, &["people", "at_ms"]).await?;
    if said_ms.is_some_and(|said_ms| said_ms > at_ms) {
        return Ok(false);
    }
    let news = before.as_ref() != Some(&people);
    let _: () = connection.hset_multiple(&key, &[("people", people), ("at_ms", at_ms.to_string())]).await?;
    Ok(news)
}

/// What Meta said of a portfolio: people a day; None: nothing, or that there is no limit.
///
/// # Errors
/// When Redis does not answer.
pub async fn said(connection: &mut Connection, portfolio: &str) -> Result<Option<u64>, QueueError> {
    let people: Option<String> = connection.hget(keys::portfolio_said(portfolio), "people").await?;
    Ok(people.and_then(|people| people.parse().ok()))
}

fn call(Budget { portfolio, terms }: &Budget, word: &str) -> script::Call {
    let mut call = script::BUDGET.prepare_invoke();
    call.key(keys::portfolio_people(portfolio)).key(keys::portfolio_said(portfolio));
    call.arg(word).arg(terms.people.map(|people| people.to_string()).unwrap_or_default());
    call.arg(u64::try_from((terms.window + terms.margin).as_micros()).unwrap_or(u64::MAX));
    call
}

fn standing<'a>(budget: &Budget, reply: &'a [i64]) -> Result<(Standing, &'a [i64]), QueueError> {
    let [used, people, wait, scores @ ..] = reply else { return Err(corrupt(budget)) };
    let standing = Standing {
        used: u64::try_from(*used).unwrap_or(0),
        people: u64::try_from(*people).ok(),
        wait: u64::try_from(*wait).ok().map(Duration::from_micros),
    };
    Ok((standing, scores))
}

fn corrupt(budget: &Budget) -> QueueError {
    let what = "its budget answered with something else than a standing".to_owned();
    QueueError::Corrupt { key: keys::portfolio_people(&budget.portfolio), what }
}
