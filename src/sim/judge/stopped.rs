//! People who asked to hear no more: whoever is told to ask, and what is taken for them afterwards.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Judge;
use crate::clock::Mono;
use crate::sim::identity::Phone;
use crate::sim::webhook::Saying;

/// A message that is taken so soon after the answer may have been on its way. Not scaled: Redis and the line are real.
const GRACE: Duration = Duration::from_secs(1);

impl Judge {
    /// Has a person write to a number, now; the answer comes when the webhook was answered or given up. None: there are no
    /// webhooks, or no such phone.
    pub(crate) fn say(&self, to: &str, number: Option<&str>, text: &str) -> Option<oneshot::Receiver<bool>> {
        let (outbox, phone) = (self.outbox.as_ref()?, Phone::parse(to)?);
        let first = self.numbers.first().map(|number| number.name.clone());
        let number = number.map(Into::into).or(first)?;
        let (tell, told) = oneshot::channel();
        outbox.say(Saying { number, phone, text: text.into(), told: Some(tell) });
        Some(told)
    }

    /// A message is taken for this person.
    pub(super) fn judge_stopped(&mut self, now: Mono, person: u64) {
        let since = self.outbox.as_ref().and_then(|outbox| outbox.stopped().since(person));
        if let Some(since) = since {
            self.counts.stopped.after_answer += 1;
            self.counts.stopped.after_stop += u64::from(now.since(since) > GRACE);
        }
    }
}
