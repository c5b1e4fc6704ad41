//! How often people may be written to: asked for every message that was claimed, before it may begin, and told of those
//! that did not happen. Whoever may not be written to now is held, and the machine decides what becomes of the message.

use std::sync::Arc;
use std::time::Duration;

use super::orders::Payload;
use crate::clock::{self, WallMs};
use crate::domain::contact::{Contact, RESERVED_MAX, short};
use crate::domain::ids::{LaneId, MessageId, NumberId};
use crate::domain::person::Phone;
use crate::domain::record::{Settlement, State};
use crate::policy::classify::table::own;
use crate::policy::contacts::Rule;
use crate::policy::shard::{Held, Message};
use crate::queue::cap::{Ask, ContactBook};
use crate::queue::link::Link;

/// How long messages wait when their contacts cannot be noted for a reason that no waiting mends.
const UNREADABLE_REST: Duration = Duration::from_secs(10);

/// What a shard asks before it sends. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Contacts {
    book: Arc<ContactBook>,
}

impl Contacts {
    /// Asks this book.
    pub fn new(book: Arc<ContactBook>) -> Self {
        Self { book }
    }

    /// Asks for messages that were just claimed, all at once; `number` is to send them.
    pub async fn admit(
        &self,
        link: &Link,
        (lane, number): (LaneId, &NumberId),
        messages: &mut [Message<Payload>],
    ) {
        let number = short(number);
        let mut asked = Vec::with_capacity(messages.len());
        let mut asks = Vec::with_capacity(messages.len());
        for message in messages.iter_mut().filter(|message| message.stopped.is_none()) {
            let Payload { chunk, row, .. } = &message.payload;
            let at = MessageId { lane, index: message.index };
            // Whoever has no plausible phone was rejected when the row was loaded.
            if let Some(ask) = ask(chunk.phone(*row), number, at, message.generation) {
                asks.push(ask);
                asked.push(message);
            }
        }
        if asks.is_empty() {
            return;
        }
        let began = clock::mono();
        let holds = link.call(async |redis| self.book.admit(redis, &asks).await).await;
        let until = began.after(RESERVED_MAX);
        match holds {
            Ok(holds) => {
                for (message, hold) in asked.into_iter().zip(holds) {
                    match hold {
                        None => message.admit_until(until),
                        Some(hold) => message.held = Some(held(hold.rule, self.book.wait(hold.until_ms))),
                    }
                }
            }
            Err(error) => {
                tracing::error!(%lane, %error, "contacts cannot be noted; nothing of this batch is sent");
                for message in asked {
                    message.held = Some(held(Rule::Pair, UNREADABLE_REST));
                }
            }
        }
    }

    /// Takes contacts back that did not happen. Before anybody can claim their messages anew: a message that is given back
    /// may be claimed under the same generation.
    pub async fn take_back(&self, link: &Link, asks: &[Ask]) {
        if asks.is_empty() {
            return;
        }
        let back = link.call(async |redis| self.book.take_back(redis, asks).await).await;
        if let Err(error) = back {
            tracing::warn!(%error, "people count as written to who were not");
        }
    }
}

/// That a message waits, by this machine's own wall clock: so a clock that is a little off wakes nobody too early.
fn held(rule: Rule, wait: Duration) -> Held {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let until = WallMs(clock::wall().0.saturating_add(wait_ms).saturating_add(1));
    match rule {
        Rule::Pair => Held::Pair { until },
        Rule::Cap => Held::Cap { until },
    }
}

/// What a message asks.
pub(super) fn ask(phone: u64, number: u8, message: MessageId, generation: u8) -> Option<Ask> {
    let phone = Phone::from_digits(phone)?;
    let contact = Contact::new(phone.person(), number, message, generation);
    Some(Ask { class: phone.class(), contact })
}

/// Whether a message certainly was not taken, so that its contact did not happen. One that was held has none.
pub fn not_taken(settlement: &Settlement) -> bool {
    let refused = matches!(
        settlement.state,
        State::Waiting | State::Failed | State::Expired | State::Suppressed | State::Cancelled
    );
    refused && ![own::CONTACT_CAP, own::PAIR_WAIT].contains(&settlement.reason)
}
