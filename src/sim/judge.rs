//! The judge: decides what becomes of every request, and keeps the ledger.
//!
//! Pure: bytes and time come as arguments, a [`Decision`] comes back; `server` carries it out and says when a
//! success has really been answered. Order of checks: number, token, body, rate, faults of the plan, pair limit.

use std::collections::HashMap;
use std::time::Duration;

use super::allowance::Allowance;
use super::codes;
use super::config::SimConfig;
use super::contacts::ContactWatch;
use super::draw::{FaultDraw, LatencyDraw};
use super::hash::{Domain, Keys, Sharded};
use super::hours::{self, Civil};
use super::identity::OpaqueId;
use super::ledger::{LagHistogram, LedgerReport};
use super::media::{MEDIA_LIFE, Media};
use super::pair::PairLimiter;
use super::people::{Judged, People};
use super::plan::{FaultKind, Target, Validity};
use super::reply::{self, Acceptance, Reply};
use super::request::{self, Known, Message, Refusal};
use super::taken_ids::TakenIds;
use super::webhook::{Outbox, Taken};
use crate::clock::Mono;

mod manage;
mod number;
mod probe;
mod report;
mod stopped;

use number::Number;

/// Numbers that are known at most; requests of further ones are refused with code 33.
pub(crate) const NUMBERS_MAX: usize = 10_000;

/// Message ids and people that are remembered at most, each; takings beyond count as `untracked`.
pub(crate) const IDS_MAX: usize = 64_000_000;

/// Errors the ledger tells apart by code at most; further codes share the key -1.
const CODES_MAX: usize = 1_000;

const PAIR_INTERVAL: Duration = Duration::from_secs(6);

/// What the server has to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) action: Action,
    /// How long to wait before it.
    pub(crate) delay: Duration,
    /// The message is taken and the answer says so: tell [`Judge::answered`] when it goes out.
    pub(crate) accepts: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Answer(Reply),
    /// Reset the connection, or the stream.
    Reset,
    /// Say that it was not looked at, where the protocol has a word for it; else reset.
    Refuse,
    /// Say that the connection ends before it, where the protocol has a word for it; else reset.
    GoAway,
    /// Never answer.
    Silence,
}

/// Everything the simulator knows.
#[derive(Debug)]
pub(crate) struct Judge {
    config: SimConfig,
    validity: Validity,
    keys: Keys,
    faults: FaultDraw,
    latency: LatencyDraw,
    started: Mono,
    /// The clock by which hours are judged.
    civil: Civil,
    /// The first message request: times of the plan count from it.
    first: Option<Mono>,
    /// Counts resets of the ledger, so that answers of an earlier life are not counted.
    life: u64,
    /// Open at the moment.
    connections: u64,
    names: HashMap<Box<str>, usize>,
    numbers: Vec<Number>,
    ids: Sharded<IdState>,
    people: Sharded<()>,
    pairs: PairLimiter,
    contacts: Option<ContactWatch>,
    portfolio: People,
    allowance: Allowance,
    media: Media,
    taken_ids: Option<TakenIds>,
    lag: LagHistogram,
    /// Counters that need no structure of their own live in the report itself.
    counts: LedgerReport,
    fault_hits: Vec<u64>,
    /// Where messages go whose receipts are to be told.
    outbox: Option<Outbox>,
}

#[derive(Clone, Copy, Debug, Default)]
struct IdState {
    attempts: u32,
    taken: u32,
}

/// A message request on its way through the checks.
struct Case<'a> {
    message: &'a Message<'a>,
    id: Option<OpaqueId<'a>>,
    person: u64,
    number: usize,
    /// Hash of the id, or of the person where there is none.
    subject: u64,
    attempt: u64,
}

impl Judge {
    pub(crate) fn new(config: SimConfig, civil: Civil) -> Self {
        let now = civil.mono;
        let keys = Keys(config.seed);
        let scale = config.time_scale.max(1);
        let mut plan = config.plan.clone().scaled(scale);
        let faults = FaultDraw::new(keys, std::mem::take(&mut plan.faults));
        Self {
            keys,
            fault_hits: vec![0; config.plan.faults.len()],
            validity: plan.validity,
            faults,
            latency: LatencyDraw::new(&config),
            started: now,
            civil,
            first: None,
            life: 0,
            connections: 0,
            names: HashMap::new(),
            numbers: Vec::new(),
            ids: Sharded::new(IDS_MAX),
            people: Sharded::new(IDS_MAX),
            pairs: PairLimiter::new(PAIR_INTERVAL / scale),
            contacts: config.contacts.watches().then(|| ContactWatch::new(config.contacts, scale)),
            portfolio: People::new(config.people_per_day, config.people_window / scale),
            allowance: Allowance::new(config.requests_per_hour, scale),
            media: Media::new(MEDIA_LIFE / scale),
            taken_ids: config.keep_ids.then(TakenIds::default),
            lag: LagHistogram::default(),
            counts: LedgerReport::default(),
            outbox: None,
            config,
        }
    }

    /// Forgets everything that happened but for uploaded media; the plan begins anew with the next message request.
    pub(crate) fn reset(&mut self, now: Mono) {
        let (life, connections, outbox) = (self.life + 1, self.connections, self.outbox.take());
        let media = std::mem::take(&mut self.media);
        if let Some(outbox) = &outbox {
            outbox.reset();
        }
        let civil = Civil { mono: now, wall: self.civil.at(now) };
        *self = Self::new(self.config.clone(), civil);
        self.life = life;
        self.media = media;
        self.connections = connections;
        self.outbox = outbox;
        self.counts.connections_open_max = connections;
    }

    /// So many people within a window from now on, 0 without a limit; who listens to webhooks is told.
    pub(crate) fn limit_people(&mut self, most: u64) {
        self.config.people_per_day = most;
        self.portfolio.limit(most);
        if let Some(outbox) = &self.outbox {
            outbox.tell_limit(most);
        }
    }

    /// From now on receipts are told.
    pub(crate) fn tell(&mut self, outbox: Outbox) {
        self.outbox = Some(outbox);
    }

    /// `POST /{version}/{number}/messages`, its body read.
    pub(crate) fn message(&mut self, now: Mono, number: &str, token: Option<&[u8]>, body: &[u8]) -> Decision {
        self.first.get_or_insert(now);
        self.counts.requests += 1;
        let number = self.number(number);
        let judged = number.and_then(|number| self.judge(now, number, token, body));
        judged.unwrap_or_else(|refusal| self.refuse(refusal, None, self.counts.requests))
    }

    /// A success went out.
    pub(crate) fn answered(&mut self, life: u64) {
        if life == self.life {
            self.counts.answering -= 1;
            self.counts.accepted += 1;
        }
    }

    /// A success never went out: the connection ended first.
    pub(crate) fn abandoned(&mut self, life: u64) {
        if life == self.life {
            self.counts.answering -= 1;
        }
    }

    /// To be handed to [`Judge::answered`] or [`Judge::abandoned`].
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// Whether the plan has everything down now.
    pub(crate) fn in_outage(&self, now: Mono) -> bool {
        self.first.is_some_and(|first| self.faults.in_outage(now.since(first)))
    }

    pub(crate) fn record_lag(&mut self, lag: Duration) {
        self.lag.record(lag);
    }

    pub(crate) fn connection_opened(&mut self) {
        self.connections += 1;
        self.counts.connections_open_max = self.counts.connections_open_max.max(self.connections);
    }

    pub(crate) fn connection_closed(&mut self) {
        self.connections -= 1;
    }

    /// How often a message was taken, whatever the generation.
    pub(crate) fn takings(&self, message: &str) -> u32 {
        let id = OpaqueId::parse(message).message;
        let state = self.ids.get(self.keys.bytes(Domain::Id, id.as_bytes()));
        state.map_or(0, |state| state.taken)
    }

    pub(crate) fn taken_ids(&self) -> Option<&TakenIds> {
        self.taken_ids.as_ref()
    }

    /// Everything about one request after its number is known; a refusal is counted by the caller.
    fn judge(
        &mut self,
        now: Mono,
        number: usize,
        token: Option<&[u8]>,
        body: &[u8],
    ) -> Result<Decision, Refusal> {
        let known = &mut self.numbers[number];
        known.arrive(now, self.started);
        check_token(&self.validity, token)?;
        let message = request::check(
            body,
            &Known { validity: &self.validity, library: &self.config.library, media: &self.media, now },
        )?;
        if !known.limiter.admit(now) {
            self.counts.over_rate += 1;
            let details = "more messages a second than the number's throughput";
            return Err(Refusal { code: codes::THROUGHPUT, details });
        }
        let id = message.opaque.as_deref().map(OpaqueId::parse);
        let person = message.phone.person();
        let subject = match id {
            Some(id) => self.keys.bytes(Domain::Id, id.message.as_bytes()),
            None => self.keys.words(Domain::Pair, [u64::MAX, person]),
        };
        let case =
            Case { attempt: self.next_attempt(subject), message: &message, id, person, number, subject };
        let fault = self.draw_fault(now, &case);
        if let Some(decision) = fault.and_then(|kind| self.fault_before(kind, &case)) {
            return Ok(decision);
        }
        if self.config.pair_limit {
            let pair = self.keys.words(Domain::Pair, [number as u64, person]);
            let Some(borrowed) = self.pairs.admit(now, pair) else {
                self.counts.over_pair += 1;
                let details = "too many messages from this number to the same person";
                return Err(Refusal { code: codes::PAIR, details });
            };
            self.counts.pair_exceeded += u64::from(borrowed);
        }
        if let Some(contacts) = &mut self.contacts {
            let person = self.keys.words(Domain::Person, [person]);
            self.counts.cap_exceeded += u64::from(contacts.taken(now, person, subject));
        }
        let area = message.phone.brazilian_area();
        let out = area.is_some_and(|area| hours::out_of_hours(area, self.civil.at(now)));
        self.counts.out_of_hours += u64::from(out);
        match self.portfolio.take(now, person) {
            Judged::Within => {}
            Judged::Exceeds => self.counts.budget_exceeded += 1,
            Judged::Untracked => self.counts.untracked += 1,
        }
        self.judge_stopped(now, person);
        let held = fault == Some(FaultKind::Held);
        let fails = |outbox: &Outbox| outbox.fails([case.subject, case.attempt], held);
        let fails = self.outbox.as_ref().is_some_and(fails);
        self.take(&case, fails);
        Ok(self.after_taking(fault, &case))
    }

    fn number(&mut self, name: &str) -> Result<usize, Refusal> {
        if let Some(known) = self.names.get(name) {
            return Ok(*known);
        }
        let plausible = !name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_digit());
        let listed = self.validity.numbers.as_ref().is_none_or(|list| list.iter().any(|known| known == name));
        if !plausible || !listed || self.numbers.len() >= NUMBERS_MAX {
            return Err(Refusal { code: codes::NO_NUMBER, details: "no such phone number" });
        }
        let rate_per_s = self.config.plan.rates.get(name).copied().unwrap_or(self.config.rate_per_s);
        let number = Number::new(name, rate_per_s, self.config.time_scale, self.faults.mask(name));
        self.names.insert(name.into(), self.numbers.len());
        self.numbers.push(number);
        Ok(self.numbers.len() - 1)
    }

    /// How often the message came this far before. Requests refused earlier do not count, or the draws would
    /// depend on the order of arrival.
    fn next_attempt(&mut self, subject: u64) -> u64 {
        if self.faults.is_empty() {
            return 0;
        }
        let Some(state) = self.ids.entry(subject, IdState::default) else {
            return 0;
        };
        state.attempts += 1;
        u64::from(state.attempts - 1)
    }

    fn draw_fault(&mut self, now: Mono, case: &Case<'_>) -> Option<FaultKind> {
        if self.faults.is_empty() {
            return None;
        }
        let elapsed = now.since(self.first.unwrap_or(now));
        let mask = self.numbers[case.number].fault_mask;
        let subject = [case.subject, case.attempt];
        let (position, kind) = self.faults.draw(self.keys, mask, Target::Messages, elapsed, subject)?;
        self.fault_hits[position] += 1;
        Some(kind)
    }

    /// Faults that strike before the message is taken.
    fn fault_before(&mut self, kind: FaultKind, case: &Case<'_>) -> Option<Decision> {
        let planned = |code| Refusal { code, details: "planned by the fault plan" };
        match kind {
            FaultKind::Error { code, http_status } => {
                Some(self.refuse_case(planned(code), http_status, case))
            }
            FaultKind::Http5xxBefore { status, code } => {
                Some(self.refuse_case(planned(code), Some(status), case))
            }
            FaultKind::Throttle => Some(self.refuse_case(planned(codes::THROUGHPUT), None, case)),
            FaultKind::ResetBefore => {
                self.counts.reset_before += 1;
                Some(Decision { action: Action::Reset, delay: Duration::ZERO, accepts: false })
            }
            FaultKind::RefusedStream => {
                self.counts.refused_streams += 1;
                Some(Decision { action: Action::Refuse, delay: Duration::ZERO, accepts: false })
            }
            FaultKind::GoAway => {
                self.counts.go_aways += 1;
                Some(Decision { action: Action::GoAway, delay: Duration::ZERO, accepts: false })
            }
            _ => None,
        }
    }

    fn take(&mut self, case: &Case<'_>, fails: bool) {
        self.counts.taken += 1;
        self.numbers[case.number].report.taken += 1;
        if fails {
            // It never reaches the person, so another one is no duplicate.
            self.counts.failed_later += 1;
            return;
        }
        let Some(id) = case.id else {
            self.counts.without_id += 1;
            return;
        };
        match self.ids.entry(case.subject, IdState::default) {
            Some(state) => {
                self.counts.duplicate_ids += u64::from(state.taken > 0);
                state.taken += 1;
                if let (1, Some(ids)) = (state.taken, &mut self.taken_ids) {
                    self.counts.untracked += u64::from(!ids.push(id.message));
                }
            }
            None => self.counts.untracked += 1,
        }
        if let Some(campaign) = id.campaign {
            let campaign = self.keys.bytes(Domain::Name, campaign.as_bytes());
            let person = self.keys.words(Domain::Person, [campaign, case.person]);
            let before = self.people.len();
            match self.people.entry(person, || ()) {
                Some(()) => self.counts.duplicate_people += u64::from(self.people.len() == before),
                None => self.counts.untracked += 1,
            }
        }
    }

    /// The answer to a taken message, or what comes in its place.
    fn after_taking(&mut self, fault: Option<FaultKind>, case: &Case<'_>) -> Decision {
        let draw = [case.subject, case.attempt];
        if let Some(outbox) = &self.outbox {
            outbox.push(Taken {
                number: self.numbers[case.number].name.clone(),
                phone: case.message.phone,
                opaque: case.message.opaque.as_deref().map(Box::from),
                draw,
                held: fault == Some(FaultKind::Held),
            });
        }
        let latency = self.latency.draw(self.keys, draw);
        let success = |how| reply::success(self.keys, &case.message.to, &case.message.phone, draw, how);
        let mut decision = Decision { action: Action::Silence, delay: latency, accepts: false };
        match fault {
            Some(FaultKind::ErrorAfterTaking { code, http_status }) => {
                count_code(&mut self.counts.errors_after_taking, code);
                let refusal = Refusal { code, details: "taken, by the fault plan" };
                decision.action = Action::Answer(reply::error(refusal, http_status, case.subject));
            }
            Some(FaultKind::Http5xxEmpty { status }) => {
                self.counts.empty_5xx += 1;
                let body = bytes::Bytes::new();
                decision.action = Action::Answer(Reply { status, body });
            }
            Some(FaultKind::ResetAfter) => {
                self.counts.reset_after += 1;
                decision.action = Action::Reset;
            }
            Some(FaultKind::Stall { after: None }) => self.counts.stalled += 1,
            Some(FaultKind::Stall { after: Some(after) }) => {
                self.counts.stalled += 1;
                decision.delay += after;
                decision.action = Action::Answer(success(Acceptance::Accepted));
                decision.accepts = true;
            }
            Some(FaultKind::Held) => {
                self.counts.held += 1;
                decision.action = Action::Answer(success(Acceptance::Held));
                decision.accepts = true;
            }
            Some(FaultKind::SuccessWithoutWamid) => {
                self.counts.without_wamid += 1;
                decision.action = Action::Answer(success(Acceptance::WithoutWamid));
                decision.accepts = true;
            }
            _ => {
                decision.action = Action::Answer(success(Acceptance::Accepted));
                decision.accepts = true;
            }
        }
        self.counts.answering += u64::from(decision.accepts);
        decision
    }

    fn refuse_case(&mut self, refusal: Refusal, http_status: Option<u16>, case: &Case<'_>) -> Decision {
        self.refuse(refusal, http_status, case.subject ^ case.attempt)
    }

    fn refuse(&mut self, refusal: Refusal, http_status: Option<u16>, trace: u64) -> Decision {
        count_code(&mut self.counts.refused, refusal.code);
        Decision {
            action: Action::Answer(reply::error(refusal, http_status, trace)),
            delay: self.latency.draw(self.keys, [trace, u64::MAX]),
            accepts: false,
        }
    }
}

fn check_token(validity: &Validity, token: Option<&[u8]>) -> Result<(), Refusal> {
    let Some(token) = token else {
        return Err(Refusal { code: codes::NO_TOKEN, details: "an access token is required" });
    };
    let known = |list: &Vec<String>| list.iter().any(|known| known.as_bytes() == token);
    if validity.tokens.as_ref().is_none_or(known) {
        return Ok(());
    }
    Err(Refusal { code: codes::BAD_TOKEN, details: "the access token is not valid" })
}

/// Counts by code; past a bound codes share one key.
fn count_code(counts: &mut std::collections::BTreeMap<i64, u64>, code: i64) {
    let full = counts.len() >= CODES_MAX && !counts.contains_key(&code);
    *counts.entry(if full { -1 } else { code }).or_default() += 1;
}

#[cfg(test)]
mod tests;
