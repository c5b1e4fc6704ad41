//! What one turn of a shard's loop sends: gathered, written to the journal with one write, and only then handed to the
//! connections. A message that the journal could not take is not sent.
//!
//! Replies are written in the same writes. They are kept until the journal has them, at most as many as there can be
//! requests in flight.

use std::time::Duration;

use crate::clock::Mono;
use crate::cloud::connection::Job;
use crate::journal::{Entry, Journal, JournalError};
use crate::policy::shard::FlightId;

use super::pool::ConnectionId;

/// First wait before a journal that failed is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// A request that waits for the end of the turn.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its connection.
    pub(super) connection: ConnectionId,
    /// The request.
    pub(super) job: Job<FlightId>,
}

/// The requests and replies of a turn, and the journal that they go through.
#[derive(Debug)]
pub(super) struct Turn {
    journal: Option<Journal>,
    waiting: Vec<Waiting>,
    begun: Vec<Entry>,
    replies: Vec<Entry>,
    /// When a journal that failed is tried again, and after which wait; None: it works.
    retry: Option<(Mono, Duration)>,
}

/// What became of a turn's requests.
#[derive(Debug)]
pub(super) enum Written {
    /// They may leave.
    Yes,
    /// They may not. Some(error): this is news.
    No(Option<JournalError>),
}

impl Turn {
    /// With a journal, or without one: then everything may leave at once.
    pub(super) fn new(journal: Option<Journal>) -> Self {
        Self { journal, waiting: Vec::new(), begun: Vec::new(), replies: Vec::new(), retry: None }
    }

    /// Whether entries are worth making.
    pub(super) fn is_journaled(&self) -> bool {
        self.journal.is_some()
    }

    /// Adds a request, and what the journal says of it.
    pub(super) fn add(&mut self, waiting: Waiting, begun: Option<Entry>) {
        self.waiting.push(waiting);
        self.begun.extend(begun);
    }

    /// Adds what became of one.
    pub(super) fn replied(&mut self, reply: Entry) {
        self.replies.push(reply);
    }

    /// Writes the turn down. Take the requests afterwards, whatever came of it.
    pub(super) fn write(&mut self, now: Mono) -> Written {
        let Some(journal) = &mut self.journal else {
            return Written::Yes;
        };
        if self.retry.is_some() {
            self.begun.clear();
            return if self.waiting.is_empty() { Written::Yes } else { Written::No(None) };
        }
        for entry in self.replies.iter().chain(&self.begun) {
            journal.stage(entry);
        }
        self.begun.clear();
        match journal.commit() {
            Ok(()) => {
                self.replies.clear();
                Written::Yes
            }
            Err(error) => {
                self.retry = Some((now.after(RETRY.0), RETRY.0));
                Written::No(Some(error))
            }
        }
    }

    /// The requests of the turn.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Waiting> + '_ {
        self.waiting.drain(..)
    }

    /// When to try again.
    pub(super) fn retry_at(&self) -> Option<Mono> {
        self.retry.map(|(at, _)| at)
    }

    /// Tries again if it is time. True: the journal works again, and has all replies.
    pub(super) fn retry(&mut self, now: Mono) -> bool {
        let (Some((at, wait)), Some(journal)) = (self.retry, &mut self.journal) else {
            return false;
        };
        if at > now {
            return false;
        }
        for entry in &self.replies {
            journal.stage(entry);
        }
        if let Err(error) = journal.probe() {
            tracing::debug!(%error, "the journal still takes no writes");
            let wait = (wait * 2).min(RETRY.1);
            self.retry = Some((now.after(wait), wait));
            return false;
        }
        self.replies.clear();
        self.retry = None;
        true
    }
}
