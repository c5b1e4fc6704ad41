//! When messages were sent, as their receipts say: the latest ones, so that the time to delivered and read is known.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::ids::MessageId;

/// Messages remembered at most; about 12 MB.
const REMEMBERED_MAX: usize = 262_144;

/// Remembers when messages were sent.
#[derive(Debug, Default)]
pub(super) struct Times {
    sent: HashMap<(MessageId, u8), u64>,
    order: VecDeque<(MessageId, u8)>,
}

impl Times {
    /// A message was sent, by Meta's clock.
    pub(super) fn sent(&mut self, message: MessageId, generation: u8, at_ms: u64) {
        let key = (message, generation);
        if self.sent.insert(key, at_ms).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.sent.remove(&oldest);
        }
    }

    /// How long after it was sent something happened to a message; None: its sending is not remembered.
    pub(super) fn since_sent(&self, message: MessageId, generation: u8, at_ms: u64) -> Option<Duration> {
        let sent = self.sent.get(&(message, generation))?;
        Some(Duration::from_millis(at_ms.saturating_sub(*sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let mut times = Times::default();
        let message = |index| MessageId { lane: "1.2".parse().unwrap(), index };
        for index in 0..=u32::try_from(REMEMBERED_MAX).unwrap() {
            times.sent(message(index), 1, 1_000);
            times.sent(message(index), 1, 1_000);
        }
        assert_eq!(times.since_sent(message(0), 1, 3_000), None);
        assert_eq!(times.since_sent(message(1), 1, 3_000), Some(Duration::from_secs(2)));
        assert_eq!(times.since_sent(message(1), 2, 3_000), None);
        assert_eq!(times.since_sent(message(1), 1, 0), Some(Duration::ZERO));
    }
}
