//! `GET /{phone_number_id}`: what senders probe with while a number is in trouble.

use std::time::Duration;

use super::{Action, Decision, Judge, check_token};
use crate::clock::Mono;
use crate::sim::hash::Domain;
use crate::sim::manage::Query;
use crate::sim::plan::{FaultKind, Target};
use crate::sim::reply::{self, Reply};
use crate::sim::request::Refusal;

impl Judge {
    /// `GET /{version}/{number}`.
    pub(crate) fn probe(
        &mut self,
        now: Mono,
        number: &str,
        token: Option<&[u8]>,
        query: Option<&str>,
    ) -> Decision {
        let trace = self.counts.requests;
        let answer =
            |reply| Decision { action: Action::Answer(reply), delay: Duration::ZERO, accepts: false };
        let known = match self.number(number) {
            Ok(known) => known,
            Err(refusal) => return answer(reply::error(refusal, None, trace)),
        };
        let elapsed = now.since(self.first.unwrap_or(now));
        let number = &mut self.numbers[known];
        let query = Query::parse(query);
        // Whoever wants to know more than whether anybody answers is no probe.
        if query.asks_only("id") {
            number.probes += 1;
            number.worst_probes.record(now);
            number.worst_probes_scaled.record(now);
        }
        if let Err(refusal) = check_token(&self.validity, token) {
            return answer(reply::error(refusal, None, trace));
        }
        let subject = [self.keys.bytes(Domain::Name, number.name.as_bytes()), number.probes];
        let delay = self.latency.draw(self.keys, subject);
        let struck = self.faults.draw(self.keys, number.fault_mask, Target::Probes, elapsed, subject);
        let reply = reply::number(&number.name, number.rate_per_s, self.config.people_per_day, &query);
        let Some((position, kind)) = struck else {
            return Decision { delay, ..answer(reply) };
        };
        self.fault_hits[position] += 1;
        probe_fault(kind, reply, delay, trace)
    }
}

fn probe_fault(kind: FaultKind, usual: Reply, delay: Duration, trace: u64) -> Decision {
    let error = |code, http_status| {
        let refusal = Refusal { code, details: "planned by the fault plan" };
        Action::Answer(reply::error(refusal, http_status, trace))
    };
    let (action, more) = match kind {
        FaultKind::Error { code, http_status } => (error(code, http_status), None),
        FaultKind::Http5xxBefore { status, code } => (error(code, Some(status)), None),
        FaultKind::Http5xxEmpty { status } => {
            let body = bytes::Bytes::new();
            (Action::Answer(Reply { status, body }), None)
        }
        FaultKind::ResetBefore | FaultKind::ResetAfter => (Action::Reset, None),
        FaultKind::RefusedStream => (Action::Refuse, None),
        FaultKind::GoAway => (Action::GoAway, None),
        FaultKind::Stall { after: None } => (Action::Silence, None),
        FaultKind::Stall { after } => (Action::Answer(usual), after),
        _ => (Action::Answer(usual), None),
    };
    Decision { action, delay: delay + more.unwrap_or_default(), accepts: false }
}
