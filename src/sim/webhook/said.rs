//! What people write back: a message that asks to hear no more, told by a webhook like any other, and who did so. The
//! ledger counts what is taken for them afterwards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::sync::oneshot;

use crate::clock::Mono;
use crate::sim::identity::Phone;

/// People remembered at most; those beyond are not judged.
const PEOPLE_MAX: usize = 1_000_000;

/// What a person says to a number.
#[derive(Debug)]
pub(crate) struct Saying {
    pub(crate) number: Arc<str>,
    pub(crate) phone: Phone,
    pub(crate) text: Box<str>,
    /// Told whether the webhook was answered 200.
    pub(crate) told: Option<oneshot::Sender<bool>>,
}

/// People whose word was answered 200, and when.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    people: Mutex<HashMap<u64, Mono>>,
    any: AtomicBool,
    said: AtomicU64,
}

impl Saying {
    /// The body that tells it.
    pub(super) fn body(&self, account: &str, at_ms: u64, serial: u64) -> String {
        let mut wa_id = Vec::with_capacity(16);
        self.phone.write_wa_id(&mut wa_id);
        let wa_id = String::from_utf8_lossy(&wa_id);
        let metadata = json!({"display_phone_number": "551140000000", "phone_number_id": *self.number});
        let message = json!({
            "from": wa_id, "id": format!("wamid.said.{at_ms}.{serial}"), "timestamp": (at_ms / 1_000).to_string(),
            "type": "text", "text": {"body": self.text},
        });
        let value = json!({
            "messaging_product": "whatsapp", "metadata": metadata, "contacts": [{"wa_id": wa_id}], "messages": [message],
        });
        let change = json!({"field": "messages", "value": value});
        json!({"object": "whatsapp_business_account", "entry": [{"id": account, "changes": [change]}]})
            .to_string()
    }
}

impl Stopped {
    /// Somebody says it.
    pub(super) fn said(&self) -> u64 {
        self.said.fetch_add(1, Ordering::Relaxed)
    }

    /// It was answered 200.
    pub(super) fn answered(&self, person: u64, at: Mono) {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if people.len() < PEOPLE_MAX {
            people.entry(person).or_insert(at);
            self.any.store(true, Ordering::Release);
        }
    }

    /// Since when nothing is to be sent to a person.
    pub(crate) fn since(&self, person: u64) -> Option<Mono> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.people.lock().unwrap_or_else(PoisonError::into_inner).get(&person).copied()
    }

    /// How many said it, and how many of them were answered.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let people = self.people.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        (self.said.load(Ordering::Relaxed), people)
    }

    pub(super) fn reset(&self) {
        self.people.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.any.store(false, Ordering::Release);
        self.said.store(0, Ordering::Relaxed);
    }
}
