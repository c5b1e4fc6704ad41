//! Receipts, and what else webhooks say, on their way into the journal, after Redis has them.
//!
//! The journal is evidence, not the truth: when it cannot be written, receipts are applied all the same, and those that
//! it lacks are counted. They come in batches from `http::webhooks`, on its thread.

use std::cell::RefCell;

use crate::domain::receipt::{Heard, ReceiptKind};
use crate::http::webhooks::{News, Noted, Sink};
use crate::journal::{Entry, Journal, Place, Status};
use crate::metrics::WebhookMetrics;

/// Name of the writer in the journal.
const WRITER: &str = "receipts";

/// The writer, and whether its last batch was written.
struct Receipts {
    journal: Journal,
    works: bool,
}

/// Where webhooks give their news to: the journal, or nowhere if there is none.
pub fn sink(place: Option<&Place>, metrics: WebhookMetrics) -> Sink {
    let Some(place) = place else { return Box::new(drop) };
    let receipts = RefCell::new(Receipts { journal: Journal::open(place, WRITER), works: true });
    Box::new(move |news| receipts.borrow_mut().write(&news, &metrics))
}

impl Receipts {
    fn write(&mut self, news: &News, metrics: &WebhookMetrics) {
        let receipts = news.receipts.iter().filter_map(entry);
        let entries: Vec<Entry> = receipts.chain(news.notes.iter().map(event)).collect();
        if entries.is_empty() {
            return;
        }
        match self.journal.append(&entries) {
            Ok(()) if self.works => {}
            Ok(()) => {
                self.works = true;
                tracing::info!("the journal takes receipts again");
            }
            Err(error) => {
                metrics.unjournaled.increment(entries.len() as u64);
                // Said once, or a full disk would fill with it.
                if std::mem::replace(&mut self.works, false) {
                    tracing::error!(%error, "receipts are applied, but the journal lacks them until it can be written again");
                }
            }
        }
    }
}

/// What the journal keeps of a receipt. Repeated ones too: the first may have come when the journal could not be
/// written. None: there is no such message.
fn entry(heard: &Heard) -> Option<Entry> {
    if heard.outcome.nowhere {
        return None;
    }
    let status = match heard.kind {
        ReceiptKind::Sent => Status::Sent,
        ReceiptKind::Delivered => Status::Delivered,
        ReceiptKind::Read => Status::Read,
        ReceiptKind::Failed => Status::Failed,
    };
    Some(Entry::Receipt {
        message: heard.message,
        generation: heard.generation,
        status,
        at_ms: heard.at_ms.unwrap_or(heard.heard_at_ms),
        heard_at_ms: heard.heard_at_ms,
        code: heard.code,
        wamid: (!heard.wamid.is_empty()).then(|| heard.wamid.as_str().into()),
    })
}

fn event(noted: &Noted) -> Entry {
    Entry::Event {
        at_ms: noted.at_ms.unwrap_or(noted.heard_at_ms),
        heard_at_ms: noted.heard_at_ms,
        kind: noted.kind.into(),
        account: noted.account.as_str().into(),
        subject: noted.subject.as_str().into(),
        detail: noted.detail.as_str().into(),
        wamid: (!noted.wamid.is_empty()).then(|| noted.wamid.as_str().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::ids::{CampaignSeq, LaneId, MessageId};
    use crate::domain::receipt::Outcome;
    use crate::domain::record::State;
    use crate::journal::{Wanted, scan};
    use crate::metrics::Metrics;

    fn heard(index: u32, at_ms: Option<u64>, outcome: Outcome) -> Heard {
        Heard {
            message: MessageId { lane: LaneId { campaign: CampaignSeq(1), lane: 2 }, index },
            generation: 1,
            kind: ReceiptKind::Delivered,
            at_ms,
            heard_at_ms: 2_000,
            wamid: String::new(),
            number: None,
            code: None,
            reason: 0,
            again: false,
            outcome,
        }
    }

    const KNOWN: Outcome =
        Outcome { before: State::Accepted, news: false, moved: false, twice: false, nowhere: false };

    #[test]
    fn every_receipt_of_a_message_is_kept_and_what_is_lacking_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("journal");
        let place = Place::start(&dir, ("k3v9", "ab12"), (64 << 10, Duration::from_secs(3600))).unwrap();
        let all = Metrics::new();
        let give = sink(Some(&place), all.webhooks());
        let receipts =
            vec![heard(1, Some(1_000), KNOWN), heard(2, None, KNOWN), heard(3, None, Outcome::NOWHERE)];
        let note = Noted { heard_at_ms: 2_000, kind: "message", wamid: "w".to_owned(), ..Noted::default() };
        give(News { receipts, notes: vec![note] });
        let (mut kept, mut events) = (Vec::new(), Vec::new());
        scan(&dir, Wanted::default(), |head, entry| {
            assert_eq!(head.writer, WRITER);
            if let Entry::Event { at_ms: 2_000, kind, wamid: Some(wamid), .. } = &entry {
                events.push(format!("{kind} {wamid}"));
                return Ok(());
            }
            let Entry::Receipt { message, status: Status::Delivered, at_ms, wamid: None, .. } = entry else {
                panic!("{entry:?}")
            };
            kept.push((message.index, at_ms));
            Ok(())
        })
        .unwrap();
        assert_eq!((kept, events), (vec![(1, 1_000), (2, 2_000)], vec!["message w".to_owned()]));

        // A folder that is gone takes no file.
        let give = sink(Some(&place), all.webhooks());
        std::fs::remove_dir_all(&dir).unwrap();
        give(News { receipts: vec![heard(1, None, KNOWN), heard(2, None, KNOWN)], notes: Vec::new() });
        assert!(all.render().contains("carteiro_receipts_unjournaled_total 2"), "{}", all.render());
    }
}
