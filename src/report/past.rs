//! What the journal knows of a campaign's messages: which number sent them, Meta's id, and when. Gathered by parts of the
//! campaign's lanes, so that memory is bounded by a part.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::ReportError;
use super::spill::Spill;
use crate::domain::ids::{CampaignSeq, MessageId, NumberId};
use crate::journal::entry::{decode, encode};
use crate::journal::{self, Entry, Outcome, Scanned, Status, Wanted};

/// One message's past. Times are wall ms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The number of the last attempt.
    pub number: Option<NumberId>,
    /// Meta's id.
    pub wamid: Option<Box<str>>,
    /// Begin of the first attempt.
    pub begun_ms: Option<u64>,
    /// The last reply.
    pub replied_ms: Option<u64>,
    /// Receipts, the first of each.
    pub sent_ms: Option<u64>,
    /// See there.
    pub delivered_ms: Option<u64>,
    /// See there.
    pub read_ms: Option<u64>,
    last_begun_ms: u64,
}

/// The pasts of a campaign by part.
#[derive(Debug)]
pub(super) struct Pasts {
    spill: Spill,
    numbers: Vec<NumberId>,
    /// What the journal gave.
    pub(super) scanned: Scanned,
}

impl Past {
    /// Takes in an entry of the message, in any order.
    pub fn add(&mut self, entry: Entry) {
        let first = |known: &mut Option<u64>, at: u64| *known = Some(known.map_or(at, |known| known.min(at)));
        match entry {
            Entry::Begun { number, at_ms, .. } => {
                first(&mut self.begun_ms, at_ms);
                if self.number.is_none() || at_ms >= self.last_begun_ms {
                    (self.number, self.last_begun_ms) = (Some(number), at_ms);
                }
            }
            Entry::Reply { at_ms, outcome, wamid, .. } => {
                self.replied_ms = self.replied_ms.max(Some(at_ms));
                // A message that Meta took is not sent again, so there is one id.
                if matches!(outcome, Outcome::Accepted | Outcome::Held) && wamid.is_some() {
                    self.wamid = wamid;
                }
            }
            Entry::Receipt { status, at_ms, wamid, .. } => {
                match status {
                    Status::Sent => first(&mut self.sent_ms, at_ms),
                    Status::Delivered => first(&mut self.delivered_ms, at_ms),
                    Status::Read | Status::Played => first(&mut self.read_ms, at_ms),
                    Status::Failed => {}
                }
                if self.wamid.is_none() {
                    self.wamid = wamid;
                }
            }
            Entry::Event { .. } | Entry::Action { .. } => {}
        }
    }
}

impl Pasts {
    /// Reads the journal in `dir` once. `part_of` says in which part a lane is.
    pub(super) fn gather(
        dir: &Path,
        campaign: CampaignSeq,
        part_of: &[u16],
        mut spill: Spill,
    ) -> Result<Self, ReportError> {
        let mut known: HashMap<NumberId, u32> = HashMap::new();
        let mut numbers = Vec::new();
        let mut bytes = Vec::new();
        let wanted = Wanted { campaign: Some(campaign), ..Wanted::default() };
        let mut of_messages = 0;
        let mut scanned = journal::scan(dir, wanted, |_, entry| {
            let Some(part) = entry.message().and_then(|of| part_of.get(of.lane.lane as usize)) else {
                return Ok(());
            };
            of_messages += 1;
            bytes.clear();
            let number_at = |number: &NumberId| match known.get(number) {
                Some(at) => *at,
                None => {
                    let at = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                    numbers.push(number.clone());
                    known.insert(number.clone(), at);
                    at
                }
            };
            encode(&entry, 0, number_at, &mut bytes);
            spill.add(usize::from(*part), &bytes)
        })?;
        scanned.entries = of_messages;
        Ok(Self { spill, numbers, scanned })
    }

    /// The pasts of one part.
    pub(super) fn take(&mut self, part: usize) -> io::Result<HashMap<MessageId, Past>> {
        let bytes = self.spill.take(part)?;
        let mut rest = bytes.as_slice();
        let mut pasts: HashMap<MessageId, Past> = HashMap::new();
        let torn = |_| io::Error::other("what was set aside on disk does not come back as it was");
        while let Some(entry) = decode(&mut rest, 0, &mut self.numbers).map_err(torn)? {
            if let Some(message) = entry.message() {
                pasts.entry(message).or_default().add(entry);
            }
        }
        Ok(pasts)
    }
}
