//! One lane in plain memory, as the scripts of the queue keep it: the same records, due times, tokens and answers. The
//! queue's tests hold it against the scripts on a real Redis, call by call; the simulation runs on it.

use std::collections::{BTreeMap, BTreeSet};

use carteiro::domain::receipt::{Outcome, Receipt, aged};
use carteiro::domain::record::{GENERATION_MAX, Record, Settlement, State};
use carteiro::queue::doubts::Ending;
use carteiro::queue::lane::{Standing, reasons};
use carteiro::queue::replay::{Batch, GIVEN_BACK, Last};

/// What moved a message from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Cause {
    Claim,
    Release,
    Settle,
    OwnerLost,
    Receipt,
    Unsent,
    Suppress,
    Retry,
    Resolve,
    Replay,
}

/// One message that changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) cause: Cause,
    pub(crate) index: u32,
    pub(crate) from: State,
    pub(crate) to: State,
}

/// Why a claim or a release was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Another owner has the lane.
    Fenced,
    /// A later request was seen.
    Stale,
}

/// What a run is sending: its token, its last request, index and generation of each message.
pub(crate) type Claims = (u64, u64, Vec<(u32, u8)>);

#[derive(Clone, Debug, Default)]
pub(crate) struct LaneModel {
    pub(crate) records: Vec<Record>,
    pub(crate) next: u32,
    pub(crate) retry: BTreeMap<u32, u64>,
    pub(crate) token: u64,
    pub(crate) request: u64,
    /// Messages that receipts proved to have arrived twice.
    pub(crate) duplicates: u64,
    /// Whose claims are sending: run and token.
    by: Option<(u64, u64)>,
    part: bool,
    /// The newest token that somebody said of it after it was forgotten.
    said: u64,
    asked: (u32, u32),
    asked_due: Vec<u32>,
    tag: Option<(u64, u32)>,
    seen: BTreeSet<u64>,
    /// The dedup hash of each row, and where each chunk begins.
    pub(crate) rows: Vec<u64>,
    pub(crate) chunks: BTreeMap<u32, u32>,
    sending: u32,
    /// What changed since somebody looked.
    pub(crate) moved: Vec<Moved>,
}

impl LaneModel {
    pub(crate) fn standing(&self) -> Standing {
        let next_due_ms = self.retry.values().min().copied();
        Standing { count: self.count(), next: self.next, next_due_ms }
    }

    /// The newest token under which anybody has it, or said so.
    pub(crate) fn newest(&self) -> u64 {
        self.token.max(self.said)
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap()
    }

    pub(crate) fn sending(&self) -> u32 {
        self.sending
    }

    fn put(&mut self, index: u32, record: Record, cause: Cause) {
        let before = std::mem::replace(&mut self.records[index as usize], record);
        if before.state != record.state {
            self.sending += u32::from(record.state == State::Sending);
            self.sending -= u32::from(before.state == State::Sending);
            self.moved.push(Moved { cause, index, from: before.state, to: record.state });
        }
    }

    fn at(&self, index: u32) -> Option<Record> {
        self.records.get(index as usize).copied()
    }

    /// Appends rows with these dedup hashes; the first index, or the hashes that are here already.
    pub(crate) fn append(&mut self, tag: u64, hashes: &[u64]) -> Result<u32, Vec<u64>> {
        if let Some((_, first)) = self.tag.filter(|(known, _)| *known == tag) {
            return Ok(first);
        }
        let known: Vec<u64> = hashes.iter().copied().filter(|hash| self.seen.contains(hash)).collect();
        if !known.is_empty() {
            return Err(known);
        }
        let first = self.count();
        self.seen.extend(hashes);
        self.rows.extend(hashes);
        self.chunks.insert(first, u32::try_from(hashes.len()).unwrap());
        self.records.resize(self.records.len() + hashes.len(), Record::FRESH);
        self.tag = Some((tag, first));
        Ok(first)
    }

    /// Makes it the lane of `run` under `token`. How many were put in doubt.
    pub(crate) fn adopt(&mut self, token: u64, sweep: bool, run: u64) -> Result<u32, Refused> {
        if token < self.newest() {
            return Err(Refused::Fenced);
        }
        if token > self.token {
            let again = self.by == Some((run, self.token));
            self.part |= self.sending > 0 && !again;
            (self.token, self.request, self.asked, self.by) = (token, 0, (0, 0), Some((run, token)));
        }
        if !sweep || self.sending == 0 {
            return Ok(0);
        }
        let mut in_doubt = 0;
        for index in 0..self.count() {
            if let Some(lost) = self.records[index as usize].owner_lost(reasons::OWNER_LOST) {
                self.put(index, lost, Cause::OwnerLost);
                in_doubt += 1;
            }
        }
        self.part = false;
        Ok(in_doubt)
    }

    /// Claims up to `fresh` untouched and `due` due messages; those claimed, due ones first, in the order of the answer.
    pub(crate) fn claim(
        &mut self,
        (token, request): (u64, u64),
        now_ms: u64,
        (fresh, due): (usize, usize),
    ) -> Result<Vec<(u32, Record)>, Refused> {
        if (token, token) != (self.token, self.newest()) {
            return Err(Refused::Fenced);
        }
        if request < self.request {
            return Err(Refused::Stale);
        }
        if request == self.request {
            return Ok(self.claimed_before());
        }
        let mut claimed = Vec::new();
        self.claim_due(now_ms, due, &mut claimed);
        self.asked_due = claimed.iter().map(|(index, _)| *index).collect();
        let (first, count) = self.untouched(fresh);
        for index in first..first + count {
            let record = self.records[index as usize].claimed().unwrap();
            self.put(index, record, Cause::Claim);
            claimed.push((index, record));
        }
        (self.request, self.next, self.asked) = (request, first + count, (first, count));
        Ok(claimed)
    }

    /// What the last claim took and is still sending.
    fn claimed_before(&self) -> Vec<(u32, Record)> {
        let fresh = self.asked.0..self.asked.0 + self.asked.1;
        let all = fresh.chain(self.asked_due.iter().copied());
        all.filter_map(|index| Some((index, self.at(index).filter(|one| one.state == State::Sending)?)))
            .collect()
    }

    fn claim_due(&mut self, now_ms: u64, most: usize, claimed: &mut Vec<(u32, Record)>) {
        if most == 0 || self.retry.is_empty() {
            return;
        }
        let ready = self.retry.iter().filter(|(_, at)| **at <= now_ms);
        // A sorted set orders its members as text where their scores are the same.
        let mut ready: Vec<(u64, String, u32)> = ready.map(|(at, due)| (*due, at.to_string(), *at)).collect();
        ready.sort();
        for (_, _, index) in ready.into_iter().take(most) {
            self.retry.remove(&index);
            let record = self.records[index as usize];
            if !record.state.claimable() {
                continue;
            }
            if record.generation == GENERATION_MAX {
                let worn = Record { state: State::Failed, reason: reasons::GENERATION_LIMIT, ..record };
                self.put(index, worn, Cause::Claim);
            } else {
                let record = record.claimed().unwrap();
                self.put(index, record, Cause::Claim);
                claimed.push((index, record));
            }
        }
    }

    /// Of so many places from the first never claimed: those that a receipt lifted are passed over, and what follows the
    /// next such is for later.
    fn untouched(&self, most: usize) -> (u32, u32) {
        let end = self.records.len().min(self.next as usize + most);
        let range = self.records.get(self.next as usize..end).unwrap_or_default();
        let lifted = range.iter().take_while(|one| **one != Record::FRESH).count();
        let count = range[lifted..].iter().take_while(|one| **one == Record::FRESH).count();
        (self.next + u32::try_from(lifted).unwrap(), u32::try_from(count).unwrap())
    }

    /// Gives claims back, unsent. False: an earlier copy of this call has done it.
    pub(crate) fn release(
        &mut self,
        (token, request): (u64, u64),
        now_ms: u64,
        messages: &[(u32, u8)],
    ) -> Result<bool, Refused> {
        if (token, token) != (self.token, self.newest()) {
            return Err(Refused::Fenced);
        }
        if request <= self.request {
            return Ok(false);
        }
        let mut messages = messages.to_vec();
        messages.sort_unstable_by(|one, other| other.cmp(one));
        for (index, generation) in messages {
            let Some(released) = self.at(index).and_then(|record| record.released(generation)) else {
                continue;
            };
            self.put(index, released, Cause::Release);
            if index + 1 == self.next && released == Record::FRESH {
                self.next = index;
            } else {
                self.retry.insert(index, now_ms);
            }
        }
        self.request = request;
        Ok(true)
    }

    /// Records what became of messages: how many were written and how many left alone.
    pub(crate) fn settle(&mut self, settlements: &[Settlement]) -> (u32, u32) {
        let mut counts = (0, 0);
        for one in settlements {
            match self.at(one.index).and_then(|record| record.settled(one)) {
                Some(record) => {
                    self.put(one.index, record, Cause::Settle);
                    if one.state == State::Waiting {
                        self.retry.insert(one.index, one.due_ms);
                    }
                    counts.0 += 1;
                }
                None => counts.1 += 1,
            }
        }
        counts
    }

    /// Writes receipts, in the order given.
    pub(crate) fn receive(&mut self, receipts: &[Receipt], max_attempts: u8) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(receipts.len());
        for one in receipts {
            let Some(before) = self.at(one.index) else {
                outcomes.push(Outcome::NOWHERE);
                continue;
            };
            let (after, outcome) = before.received(one, max_attempts);
            self.put(one.index, after, Cause::Receipt);
            if outcome.moved {
                match after.state {
                    State::Waiting => drop(self.retry.insert(one.index, one.due_ms)),
                    _ => drop(self.retry.remove(&one.index)),
                }
            }
            self.duplicates += u64::from(outcome.twice);
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Queues again what was put in doubt and certainly never left.
    pub(crate) fn unsent(&mut self, now_ms: u64, messages: &[(u32, u8)]) -> u32 {
        let mut back = 0;
        for (index, generation) in messages {
            let doubted = |one: &Record| {
                let ours = one.state == State::InDoubt && one.generation == *generation;
                ours && one.reason == reasons::OWNER_LOST
            };
            if let Some(record) = self.at(*index).filter(doubted) {
                self.put(*index, Record { state: State::Queued, reason: 0, ..record }, Cause::Unsent);
                self.retry.insert(*index, now_ms);
                back += 1;
            }
        }
        back
    }

    /// Takes queued and waiting messages out of the queue for good.
    pub(crate) fn suppress(&mut self, reason: u8, indices: &[u32]) -> u32 {
        let mut suppressed = 0;
        for index in indices {
            if let Some(record) = self.at(*index).filter(|one| one.state.claimable()) {
                self.put(*index, Record { state: State::Suppressed, reason, ..record }, Cause::Suppress);
                self.retry.remove(index);
                suppressed += 1;
            }
        }
        suppressed
    }

    /// Lets what failed for one reason wait anew: where to go on, and how many were turned.
    pub(crate) fn retry_failed(&mut self, from: u32, most: u32, reason: u8, now_ms: u64) -> (i64, u32) {
        let failed = |one: &Record| one.state == State::Failed && one.reason == reason;
        if from >= self.next || !self.records.iter().any(failed) {
            return (-1, 0);
        }
        let (upto, mut turned) = (self.next.min(from + most), 0);
        for index in from..upto {
            let record = self.records[index as usize];
            if failed(&record) && record.generation < GENERATION_MAX {
                self.put(index, Record { state: State::Waiting, attempt: 0, ..record }, Cause::Retry);
                self.retry.insert(index, now_ms);
                turned += 1;
            }
        }
        (if upto >= self.next { -1 } else { i64::from(upto) }, turned)
    }

    /// Ends doubts, and what Meta holds, as they were seen. How many changed.
    pub(crate) fn resolve(&mut self, now_ms: u64, endings: &[Ending]) -> u32 {
        let mut changed = 0;
        for Ending { seen, to, attempt } in endings {
            let known = |one: &Record| {
                let same = one.state == seen.record.state && one.generation == seen.record.generation;
                same && (*to != State::Waiting || one.generation < GENERATION_MAX)
            };
            let Some(record) = self.at(seen.index).filter(known) else { continue };
            let reason = match record.state {
                _ if *to == State::Accepted => 0,
                State::Held => reasons::HELD_UNHEARD,
                _ => record.reason,
            };
            let ended = Record { state: *to, attempt: *attempt, reason, ..record };
            self.put(seen.index, ended, Cause::Resolve);
            if *to == State::Waiting {
                self.retry.insert(seen.index, now_ms);
            }
            changed += 1;
        }
        changed
    }

    /// Writes again what was forgotten. How many records were behind.
    pub(crate) fn replay(&mut self, batch: &Batch, now_ms: u64) -> u32 {
        let newest = batch.tokens.iter().copied().fold(self.newest(), u64::max);
        let ours = batch.tokens.contains(&newest);
        let heard = if batch.tokens.contains(&self.token) { self.request } else { 0 };
        let forgot_release = ours && (self.token < newest || self.request < batch.request);
        self.said = self.said.max(newest);
        let (mut written, mut end) = (0, 0);
        for &(index, last) in &batch.messages {
            let Some(record) = self.at(index) else { continue };
            if last.state == GIVEN_BACK {
                let sending = record.state == State::Sending && record.generation == last.generation;
                let before = ended(record, &last);
                if before.is_some() {
                    end = end.max(index + 1);
                }
                let forgotten = (sending && forgot_release).then_some(record);
                if let Some(after) = before.or(forgotten) {
                    let (state, generation) = (State::Queued, last.generation - 1);
                    self.put(index, Record { state, generation, ..after }, Cause::Replay);
                    self.retry.insert(index, now_ms);
                    written += 1;
                }
                continue;
            }
            end = end.max(index + 1);
            let state = State::from_number(last.state).unwrap();
            if let Some(after) = replayed(record, state, &last, (ours, heard)) {
                self.put(index, after, Cause::Replay);
                if after.state == State::Waiting {
                    self.retry.insert(index, last.due_ms);
                } else {
                    self.retry.remove(&index);
                }
                written += 1;
            }
        }
        if end > self.next {
            for index in self.next..end {
                if self.records[index as usize] == Record::FRESH {
                    self.retry.insert(index, now_ms);
                }
            }
            self.next = end;
        }
        written
    }

    /// What a run is sending; None: some of it may be another's.
    pub(crate) fn claims_of(&self, run: u64) -> Option<Claims> {
        use carteiro::domain::receipt::flags::{NOW_FAILED, NOW_REACHED};
        if self.by != Some((run, self.token)) || self.part || self.token < self.newest() {
            return None;
        }
        let unheard =
            |one: &Record| one.state == State::Sending && one.flags & (NOW_FAILED | NOW_REACHED) == 0;
        let sending = (0..self.count()).filter(|index| unheard(&self.records[*index as usize]));
        let sending = sending.map(|index| (index, self.records[index as usize].generation)).collect();
        Some((self.token, self.request, sending))
    }
}

/// A record whose attempt before the claim that was given back must have ended, with its attempts and flags then; None: it is
/// known to have, or it is newer.
fn ended(record: Record, given_back: &Last) -> Option<Record> {
    use State::{InDoubt, Queued, Sending, Waiting};
    let before = given_back.generation - 1;
    let attempt = record.attempt.max(given_back.attempt);
    if record.generation < before {
        let open = matches!(record.state, Queued | Sending | Waiting | InDoubt);
        return open.then_some(Record { attempt, flags: aged(record.flags), ..record });
    }
    let unended = record.generation == before && matches!(record.state, Sending | InDoubt);
    unended.then_some(Record { attempt, ..record })
}

/// A record of which this is said to be the last; None: it is as new, or newer.
fn replayed(record: Record, state: State, last: &Last, (ours, heard): (bool, u64)) -> Option<Record> {
    use State::{InDoubt, Queued, Sending, Waiting};
    let Last { generation, attempt, reason, .. } = *last;
    let open = matches!(record.state, Queued | Sending | Waiting | InDoubt);
    let given_back = state == Sending && last.request <= heard;
    if open && record.generation < generation && !given_back {
        let flags = aged(record.flags);
        // Under another owner nobody waits for its end.
        let lost = state == Sending && !ours;
        let (state, reason) = if lost { (InDoubt, reasons::OWNER_LOST) } else { (state, reason) };
        return Some(Record { state, attempt, generation, reason, flags });
    }
    let settles = matches!(record.state, Sending | InDoubt) && state != Sending && state != record.state;
    (record.generation == generation && settles).then_some(Record { state, attempt, reason, ..record })
}
