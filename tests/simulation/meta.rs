//! The Cloud API: what it does with a request, what it answers, and the webhooks that follow.

use std::sync::LazyLock;
use std::time::Duration;

use carteiro::domain::receipt::{Receipt, ReceiptKind};
use carteiro::policy::classify::{ErrorTable, Kind, Local, Reply, ReplyBody, Verdict};
use carteiro::queue::replay::Wrote;
use rand::RngExt;

use crate::faults::Fault;
use crate::node::Sent;
use crate::store::ATTEMPTS;
use crate::world::{Event, NodeEvent, SECOND_US, World};

/// Verdicts of the real table on what this API answers.
struct Verdicts {
    table: ErrorTable,
    accepted: Verdict,
    held: Verdict,
    timeout: Verdict,
    reset: Verdict,
    never_begun: Verdict,
    server_error: Verdict,
}

static VERDICTS: LazyLock<Verdicts> = LazyLock::new(|| {
    let table = ErrorTable::builtin();
    let accepted = |held| Reply { http_status: 200, body: ReplyBody::Accepted { held }, retry_after: None };
    let nothing = Reply { http_status: 500, body: ReplyBody::Unreadable, retry_after: None };
    Verdicts {
        accepted: table.classify(&accepted(false)),
        held: table.classify(&accepted(true)),
        timeout: table.local(Local::Timeout),
        reset: table.local(Local::ResetAfterBegin),
        never_begun: table.local(Local::NeverBegun),
        server_error: table.classify(&nothing),
        table,
    }
});

fn error(code: i64) -> Verdict {
    let body = ReplyBody::Error { code, is_transient: None };
    VERDICTS.table.classify(&Reply { http_status: 400, body, retry_after: None })
}

/// How long a message waits of which Meta said that it probably did not take it.
pub(crate) fn doubtful_wait(reason: u8) -> Option<Duration> {
    let row = VERDICTS.table.reason(reason).filter(|row| row.kind == Kind::Doubtful);
    row.and_then(|row| row.wait).map(|wait| wait.min)
}

pub(crate) fn never_begun() -> Verdict {
    VERDICTS.never_begun
}

/// Refusals of which Meta certainly took nothing: for the number, the pair, the account, the message, the line.
const LIMITS: [i64; 4] = [130_429, 131_056, 80_007, 131_057];
const REFUSALS: [i64; 4] = [131_026, 131_053, 132_000, 133_004];
const HALTS: [i64; 3] = [131_037, 132_001, 131_031];
/// A refusal after which Meta may have taken the message all the same.
const DOUBTFUL: [i64; 3] = [131_000, 1, 131_016];

/// Failed receipts: one worth another attempt, and one that is final.
const GIVEN_UP: [i64; 2] = [131_053, 131_026];
/// One of several devices failed: final, and the person has it all the same.
const ONE_DEVICE: i64 = 131_047;

/// What an operator may have tried again: Meta certainly took nothing.
pub(crate) fn retried_by_operator() -> u8 {
    error(131_026).reason
}

/// What became of a request at Meta.
#[derive(Clone, Copy, Debug)]
struct Fate {
    taken: bool,
    answer: Verdict,
    reusable: bool,
    /// How long the answer takes.
    wait_us: u64,
}

impl World {
    /// A request has arrived.
    pub(crate) fn request(&mut self, sent: &Sent) {
        self.tally.sent += 1;
        let fate = self.fate();
        self.judge.arrived(self.now, sent);
        if fate.taken {
            self.follow(sent);
        }
        let answer = NodeEvent::Replied(sent.flight, fate.answer, fate.reusable);
        self.later(fate.wait_us, Event::Node(sent.node, sent.life, answer));
    }

    fn fate(&mut self) -> Fate {
        let wait_us = self.rng.random_range(5_000..400_000);
        let answered = |taken, answer| Fate { taken, answer, reusable: true, wait_us };
        let ratios = self.ratios.clone();
        if self.chance(ratios.reply_lost, Fault::ReplyLost) {
            let answer = VERDICTS.timeout;
            return Fate { taken: true, answer, reusable: false, wait_us: 5 * SECOND_US };
        }
        if self.chance(ratios.reset_before, Fault::ResetBeforeTaken) {
            return Fate { reusable: false, ..answered(false, VERDICTS.reset) };
        }
        if self.chance(ratios.reset_after, Fault::ResetAfterTaken) {
            return Fate { reusable: false, ..answered(true, VERDICTS.reset) };
        }
        if self.chance(ratios.server_error, Fault::ServerError) {
            let verdict = if self.rng.random() { VERDICTS.server_error } else { error(self.pick(DOUBTFUL)) };
            return answered(self.rng.random(), verdict);
        }
        if self.chance(ratios.throttled, Fault::Throttled) {
            return answered(false, error(self.pick(LIMITS)));
        }
        if self.chance(ratios.refused, Fault::Refused) {
            return answered(false, error(self.pick(REFUSALS)));
        }
        if self.chance(ratios.halted, Fault::Halted) {
            return answered(false, error(self.pick(HALTS)));
        }
        let held = self.chance(ratios.held, Fault::HeldByMeta);
        answered(true, if held { VERDICTS.held } else { VERDICTS.accepted })
    }

    fn pick<const N: usize>(&mut self, of: [i64; N]) -> i64 {
        of[self.rng.random_range(0..N)]
    }

    /// Receipts of a message that was taken: sent, delivered, perhaps read; or sent, perhaps, and failed.
    fn follow(&mut self, sent: &Sent) {
        let ratios = self.ratios.clone();
        let given_up = self.per_mille(ratios.given_up);
        let one_device = !given_up && self.per_mille(ratios.given_up / 4);
        let failed = given_up.then(|| self.pick(GIVEN_UP)).or(one_device.then_some(ONE_DEVICE));
        let mut kinds = [Some(ReceiptKind::Sent), None, None];
        if one_device {
            kinds = [Some(ReceiptKind::Failed), Some(ReceiptKind::Delivered), None];
        } else if given_up {
            kinds = [self.rng.random_bool(0.5).then_some(ReceiptKind::Sent), Some(ReceiptKind::Failed), None];
        } else {
            kinds[1] = Some(ReceiptKind::Delivered);
            kinds[2] = self.rng.random_bool(0.5).then_some(ReceiptKind::Read);
        }
        self.judge.fate(self.now, sent, given_up);
        if self.chance(ratios.webhooks_swapped, Fault::WebhooksSwapped) {
            kinds.swap(0, 1);
        }
        let mut wait_us = 0;
        for kind in kinds.into_iter().flatten() {
            wait_us += self.rng.random_range(1_000..600_000);
            if self.chance(ratios.webhook_late, Fault::WebhookLate) {
                wait_us += self.rng.random_range(0..30 * SECOND_US);
            }
            if self.chance(ratios.webhook_lost, Fault::WebhookLost) {
                continue;
            }
            let Sent { lane, index, generation, number, .. } = *sent;
            let sent_ms = self.wall_ms();
            let hook = Hook { lane, index, generation, kind, code: failed, number, sent_ms };
            let twice = self.chance(ratios.webhook_twice, Fault::WebhookTwice);
            for copy in 0..=u64::from(twice) {
                self.hooks += 1;
                self.later(wait_us + copy * 700_000, Event::Hook(hook, 0));
            }
        }
    }

    /// Meta calls a webhook: at a process that lives, if there is one; else it tries again later.
    pub(crate) fn hook(&mut self, hook: Hook, tries: u32) {
        let listening: Vec<usize> =
            (0..self.nodes.len()).filter(|at| self.nodes[*at].listens(self.now)).collect();
        let refused = self.ratios.webhook_refused;
        let refused = self.chance(refused, Fault::WebhookRefused);
        let at = self.rng.random_range(0..listening.len().max(1));
        let at = listening.get(at).copied().filter(|_| !refused && self.store.up);
        let at = at.filter(|at| self.is_synced(*at) || self.write_again(*at));
        // The process may die between Redis and its answer, or the answer is lost: Meta asks again.
        let answer_lost = self.ratios.answer_lost;
        if let Some(at) = at {
            self.receive(at, hook);
            if !self.chance(answer_lost, Fault::RedisAnswerLost) {
                self.hooks -= 1;
                return;
            }
        }
        let wait_us = (SECOND_US << tries.min(5)) + self.rng.random_range(0..SECOND_US);
        self.later(wait_us, Event::Hook(hook, tries + 1));
    }

    /// The intake writes a receipt, by the real table.
    fn receive(&mut self, at: usize, hook: Hook) {
        let Hook { lane, index, generation, kind, code, number, sent_ms } = hook;
        let mut receipt = Receipt { index, generation, kind, again: false, reason: 0, due_ms: 0 };
        if let (ReceiptKind::Failed, Some(code)) = (kind, code) {
            let body = ReplyBody::Error { code, is_transient: None };
            let verdict = VERDICTS.table.classify(&Reply { http_status: 0, body, retry_after: None });
            receipt.reason = verdict.reason;
            receipt.again = !matches!(verdict.kind, Kind::Accepted | Kind::Held | Kind::Permanent);
            let wait = verdict.wait.unwrap_or(Duration::from_secs(2));
            receipt.due_ms = self.wall_ms() + u64::try_from(wait.as_millis()).unwrap();
        }
        let version = self.store.version;
        let outcome = self.store.receive(lane, receipt);
        if outcome.nowhere && self.forgot_at.is_some_and(|then| self.now < then + 3 * SECOND_US) {
            // Its row is not there again yet: a receipt that nobody can place is passed over.
            return;
        }
        self.nodes[at].kept(self.now, lane, Wrote::Received(vec![receipt], ATTEMPTS));
        self.store.heard[number] = self.store.heard[number].max(Some(sent_ms));
        self.judge.received((lane, number), sent_ms, &receipt, outcome);
        self.look_at(lane);
        if self.store.version != version {
            self.announce();
        }
    }
}

/// A webhook on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    lane: usize,
    index: u32,
    generation: u8,
    kind: ReceiptKind,
    code: Option<i64>,
    /// Who sent it, and when, in wall ms.
    number: usize,
    sent_ms: u64,
}
