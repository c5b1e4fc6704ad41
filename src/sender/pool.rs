//! The ready connections of one shard: the last used is used next, so that those at the other end grow idle and
//! are dropped before the other side would drop them.

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
    /// Since when it is idle.
    pub since: Mono,
}

/// The ready connections.
#[derive(Debug)]
pub struct Pool<I> {
    ready: VecDeque<Ready<I>>,
}

impl<I> Pool<I> {
    /// No connection.
    pub fn new() -> Self {
        Self { ready: VecDeque::new() }
    }

    /// Takes the connection that was used last.
    pub fn take(&mut self) -> Option<Ready<I>> {
        self.ready.pop_back()
    }

    /// Puts a connection back, or in.
    pub fn put(&mut self, ready: Ready<I>) {
        self.ready.push_back(ready);
    }

    /// Forgets a connection that ended. False: it was taken meanwhile.
    pub fn remove(&mut self, id: ConnectionId) -> bool {
        let before = self.ready.len();
        self.ready.retain(|ready| ready.id != id);
        self.ready.len() < before
    }

    /// Lets go of connections idle for longer than `limit`. Returns how many.
    pub fn drop_idle(&mut self, now: Mono, limit: Duration) -> usize {
        let mut dropped = 0;
        while self.ready.front().is_some_and(|oldest| now.since(oldest.since) > limit) {
            self.ready.pop_front();
            dropped += 1;
        }
        dropped
    }

    /// When the next connection will have been idle for too long.
    pub fn next_idle(&self, limit: Duration) -> Option<Mono> {
        self.ready.front().map(|oldest| oldest.since.after(limit))
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
            pool.put(Ready { id: ConnectionId(id), jobs, since: Mono(Duration::from_secs(id)) });
        }
        assert_eq!(pool.take().map(|ready| ready.id), Some(ConnectionId(2)));
        assert_eq!(pool.next_idle(Duration::from_secs(10)), Some(Mono(Duration::from_secs(10))));
        assert_eq!(pool.drop_idle(Mono(Duration::from_millis(10_500)), Duration::from_secs(10)), 1);
        assert!(!pool.remove(ConnectionId(0)));
        assert!(pool.remove(ConnectionId(1)));
        assert!(pool.take().is_none());
    }
}
