//! The ready connections of one shard: the last used is used next, so that those at the other end grow idle and
//! are dropped before the other side would drop them. One that takes several requests at once has so many slots; it is
//! idle when all of them are free.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use crate::clock::Mono;
use crate::cloud::connection::Job;

/// Names a connection of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// A connection that can take a request now.
#[derive(Debug)]
pub struct Ready<I> {
    /// Its name.
    pub id: ConnectionId,
    /// Where it takes its requests.
    pub jobs: Sender<Job<I>>,
    /// Since when it is idle, or was last used.
    pub since: Mono,
    /// Requests that it takes at once.
    pub slots: usize,
}

/// A connection, and how many requests it takes now.
#[derive(Debug)]
struct Held<I> {
    ready: Ready<I>,
    free: usize,
}

/// The ready connections.
#[derive(Debug)]
pub struct Pool<I> {
    ready: VecDeque<Held<I>>,
}

impl<I> Pool<I> {
    /// No connection.
    pub fn new() -> Self {
        Self { ready: VecDeque::new() }
    }

    /// Takes a slot of the connection that was used last.
    pub fn take(&mut self) -> Option<Ready<I>> {
        let last = self.ready.back_mut()?;
        last.free -= 1;
        if last.free == 0 {
            return self.ready.pop_back().map(|held| held.ready);
        }
        let Ready { id, jobs, since, slots } = &last.ready;
        Some(Ready { id: *id, jobs: jobs.clone(), since: *since, slots: *slots })
    }

    /// Puts in a connection, all of it free.
    pub fn add(&mut self, ready: Ready<I>) {
        self.ready.push_back(Held { free: ready.slots, ready });
    }

    /// Puts a slot back.
    pub fn put(&mut self, ready: Ready<I>) {
        if ready.slots > 1
            && let Some(known) = self.ready.iter_mut().rev().find(|held| held.ready.id == ready.id)
        {
            known.free += 1;
            known.ready.since = ready.since;
            return;
        }
        self.ready.push_back(Held { ready, free: 1 });
    }

    /// Forgets a connection that ended. Returns how many free slots it had: none if all were taken meanwhile.
    pub fn remove(&mut self, id: ConnectionId) -> usize {
        let mut free = 0;
        self.ready.retain(|held| {
            let other = held.ready.id != id;
            free += if other { 0 } else { held.free };
            other
        });
        free
    }

    /// Lets go of connections idle for longer than `limit`. Returns how many slots they had.
    pub fn drop_idle(&mut self, now: Mono, limit: Duration) -> usize {
        let mut dropped = 0;
        while self.ready.front().is_some_and(|oldest| now.since(oldest.ready.since) > limit) {
            let Some(mut oldest) = self.ready.pop_front() else { break };
            if oldest.free == oldest.ready.slots {
                dropped += oldest.free;
            } else {
                // Some of it carries a request for long, so it is in use.
                oldest.ready.since = now;
                self.ready.push_back(oldest);
            }
        }
        dropped
    }

    /// When the next connection will have been idle for too long.
    pub fn next_idle(&self, limit: Duration) -> Option<Mono> {
        self.ready.front().map(|oldest| oldest.ready.since.after(limit))
    }
}

impl<I> Default for Pool<I> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_used_goes_first_and_the_idle_are_dropped() {
        let mut pool = Pool::<u32>::new();
        for id in 0..3 {
            let (jobs, _) = tokio::sync::mpsc::channel(1);
            pool.put(Ready { id: ConnectionId(id), jobs, since: Mono(Duration::from_secs(id)), slots: 1 });
        }
        assert_eq!(pool.take().map(|ready| ready.id), Some(ConnectionId(2)));
        assert_eq!(pool.next_idle(Duration::from_secs(10)), Some(Mono(Duration::from_secs(10))));
        assert_eq!(pool.drop_idle(Mono(Duration::from_millis(10_500)), Duration::from_secs(10)), 1);
        assert_eq!(pool.remove(ConnectionId(0)), 0);
        assert_eq!(pool.remove(ConnectionId(1)), 1);
        assert!(pool.take().is_none());
    }

    #[test]
    fn a_connection_of_several_slots_is_idle_when_all_are_free() {
        let at = |seconds| Mono(Duration::from_secs(seconds));
        let limit = Duration::from_secs(10);
        let mut pool = Pool::<u32>::new();
        let (jobs, _) = tokio::sync::mpsc::channel(1);
        pool.add(Ready { id: ConnectionId(7), jobs, since: at(0), slots: 3 });
        let mut taken: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
        assert!(pool.take().is_none() && pool.next_idle(limit).is_none());
        assert_eq!(pool.remove(ConnectionId(7)), 0, "all of them are taken");
        for seconds in [4, 5] {
            pool.put(Ready { since: at(seconds), ..taken.pop().unwrap() });
        }
        assert_eq!((pool.drop_idle(at(20), limit), pool.next_idle(limit)), (0, Some(at(30))));
        pool.put(Ready { since: at(21), ..taken.pop().unwrap() });
        assert_eq!((pool.drop_idle(at(31), limit), pool.drop_idle(at(32), limit)), (0, 3));
        assert!(pool.take().is_none());
    }
}
