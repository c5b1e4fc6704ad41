//! The breaker of a number (or of the app): when trouble that is not the messages' own closes it, and when one
//! probe may find out whether it is over.
//!
//! ```text
//! closed ─ `failures` in a row, or no connection at all ─► open until t ─ t reached ─► half open
//!    ▲                                                      ▲                           │ begin_probe
//!    │                                                      └──────── failed ─────── probing
//!    └───────────────────────────────── answered ─────────────────────────────────────┘
//! ```
//!
//! A pure state machine: `now` and randomness are arguments, and it sends nothing. The wait grows from `base` to
//! `max`; its jitter only ever adds, and `base` passes between the begins of two probes, so a broken line sees
//! at most one probe per `base` however the outage goes.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::clock::Mono;
use crate::config::BreakerConfig;

/// Jitter adds at most this part of the wait.
const JITTER_PART: u32 = 4;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Messages go; so many failures came in a row.
    Closed { failures: u32 },
    /// Nothing goes before `until`; from then on one probe may.
    Open { until: Mono },
    /// A probe is under way.
    Probing,
}

/// A breaker. See the module for its life.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    /// How often it opened without closing in between.
    openings: u32,
}

/// What a failure says about the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A reply or an unknown outcome that is not the message's own: counts towards `failures`.
    Reply,
    /// No connection: opens at once, since the next message would not get one either.
    Connect,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, state: State::Closed { failures: 0 }, openings: 0 }
    }

    /// True while messages may go.
    pub fn may_send(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// When the next probe may begin; None while closed or while a probe is under way.
    pub fn next_probe_at(&self) -> Option<Mono> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::Probing => None,
        }
    }

    /// Until when nothing goes at all; None while closed. While a probe is under way nobody knows: None too.
    pub fn open_until(&self) -> Option<Mono> {
        self.next_probe_at()
    }

    /// True when a probe should begin now.
    pub fn probe_due(&self, now: Mono) -> bool {
        self.next_probe_at().is_some_and(|at| at <= now)
    }

    /// A message came to an end that was not not-own trouble (accepted, or refused on its own account): the line
    /// works. A late reply of before the opening does not close it; only a probe does.
    pub fn on_success(&mut self) {
        if let State::Closed { failures } = &mut self.state {
            *failures = 0;
        }
    }

    /// Trouble that is not the message's own. Returns true if this opened the breaker. Late failures of messages
    /// that were under way when it opened change nothing.
    pub fn on_failure(&mut self, now: Mono, failure: Failure, rng: &mut impl Rng) -> bool {
        let State::Closed { failures } = self.state else {
            return false;
        };
        let failures = failures.saturating_add(1);
        if failure == Failure::Reply && failures < self.config.failures {
            self.state = State::Closed { failures };
            return false;
        }
        self.open(now, rng);
        true
    }

    /// Begins the probe if one is due; false means that none may begin now.
    pub fn begin_probe(&mut self, now: Mono) -> bool {
        let due = self.probe_due(now);
        if due {
            self.state = State::Probing;
        }
        due
    }

    /// Somebody else's probe of the same number begins: its result will speak for this breaker too, so that the number
    /// is not probed twice within `base`.
    pub fn join_probe(&mut self) {
        if matches!(self.state, State::Open { .. }) {
            self.state = State::Probing;
        }
    }

    /// What the probe found. Without a probe under way it changes nothing.
    pub fn on_probe_result(&mut self, now: Mono, ok: bool, rng: &mut impl Rng) {
        if self.state != State::Probing {
            return;
        }
        if ok {
            self.state = State::Closed { failures: 0 };
            self.openings = 0;
        } else {
            self.open(now, rng);
        }
    }

    fn open(&mut self, now: Mono, rng: &mut impl Rng) {
        let wait = self.wait(self.openings);
        self.openings = self.openings.saturating_add(1);
        // Never less than `base` from now, and the last probe lies behind: that spaces the probes.
        let until = now.after(wait.saturating_add(jitter(wait, rng)));
        self.state = State::Open { until };
    }

    /// The wait after so many openings, before jitter: doubles from `base` to `max`.
    fn wait(&self, openings: u32) -> Duration {
        let factor = 2u32.checked_pow(openings).unwrap_or(u32::MAX);
        self.config.base.saturating_mul(factor).min(self.config.max.max(self.config.base))
    }
}

/// Up to a quarter of the wait on top, so that numbers which fell together do not probe together.
fn jitter(wait: Duration, rng: &mut impl Rng) -> Duration {
    let nanos = u64::try_from((wait / JITTER_PART).as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.random_range(0..=nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const BASE: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(60);

    fn breaker() -> Breaker {
        Breaker::new(BreakerConfig { failures: 3, base: BASE, max: MAX })
    }

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    #[test]
    fn a_probe_of_the_line_speaks_for_its_number_too() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let mut b = breaker();
        b.join_probe();
        assert!(b.may_send(), "a closed breaker has no probe to join");
        assert!(b.on_failure(at(0), Failure::Connect, rng));
        b.join_probe();
        assert!(!b.probe_due(at(1_000_000)) && !b.begin_probe(at(1_000_000)), "the probe is under way");
        b.on_probe_result(at(1_000_000), true, rng);
        assert!(b.may_send());
    }

    #[test]
    fn its_whole_life() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let mut b = breaker();
        assert!(b.may_send() && b.next_probe_at().is_none());
        assert!(!b.on_failure(at(0), Failure::Reply, rng));
        assert!(!b.on_failure(at(1), Failure::Reply, rng));
        assert!(b.may_send());
        assert!(b.on_failure(at(2), Failure::Reply, rng), "the third in a row opens");
        assert!(!b.may_send());
        let first = b.open_until().unwrap();
        assert!(first >= at(1_002) && first <= at(1_252), "{first:?}");

        assert!(!b.begin_probe(at(1_001)), "not due yet");
        assert!(b.probe_due(first) && b.begin_probe(first));
        assert!(!b.probe_due(first) && !b.begin_probe(first), "one probe at a time");
        assert!(!b.may_send() && b.open_until().is_none());
        b.on_probe_result(first, false, rng);
        let second = b.open_until().unwrap();
        assert!(second >= first.after(BASE * 2) && second <= first.after(BASE * 5 / 2), "{second:?}");

        assert!(b.begin_probe(second));
        b.on_probe_result(second, true, rng);
        assert!(b.may_send());
    }

    #[test]
    fn a_success_starts_the_count_anew() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let mut b = breaker();
        for ms in 0..10 {
            assert!(!b.on_failure(at(ms), Failure::Reply, rng));
            assert!(!b.on_failure(at(ms), Failure::Reply, rng));
            b.on_success();
        }
        assert!(b.may_send());
    }

    #[test]
    fn no_connection_opens_at_once() {
        let mut b = breaker();
        assert!(b.on_failure(at(0), Failure::Connect, &mut SmallRng::seed_from_u64(1)));
        assert!(!b.may_send());
    }

    #[test]
    fn late_replies_neither_close_it_nor_move_its_probe() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let mut b = breaker();
        b.on_failure(at(0), Failure::Connect, rng);
        let until = b.open_until();
        b.on_success();
        assert!(!b.on_failure(at(500), Failure::Connect, rng));
        b.on_probe_result(at(600), true, rng);
        assert!(!b.may_send());
        assert_eq!(b.open_until(), until);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let b = breaker();
        let waits: Vec<_> = (0..9).map(|openings| b.wait(openings).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(b.wait(u32::MAX), MAX);
    }

    #[test]
    fn closing_forgets_the_growth() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let mut b = breaker();
        b.on_failure(at(0), Failure::Connect, rng);
        let probe = b.open_until().unwrap();
        b.begin_probe(probe);
        b.on_probe_result(probe, true, rng);
        b.on_failure(probe, Failure::Connect, rng);
        let again = b.open_until().unwrap();
        assert!(again >= probe.after(BASE) && again <= probe.after(BASE * 5 / 4), "{again:?}");
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Fail,
        NoConnection,
        Success,
        TryProbe,
        ProbeResult(bool),
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Fail),
            Just(Event::NoConnection),
            Just(Event::Success),
            Just(Event::TryProbe),
            any::<bool>().prop_map(Event::ProbeResult),
        ]
    }

    proptest! {
        #[test]
        fn never_two_probes_within_the_base(
            steps in proptest::collection::vec((prop_oneof![0..100u64, 0..3_000u64], any_event()), 1..300), seed: u64,
        ) {
            let rng = &mut SmallRng::seed_from_u64(seed);
            let mut b = breaker();
            let mut now = at(0);
            let mut last: Option<Mono> = None;
            for (pause, event) in steps {
                now = now.after(Duration::from_millis(pause));
                match event {
                    Event::Fail => { b.on_failure(now, Failure::Reply, rng); }
                    Event::NoConnection => { b.on_failure(now, Failure::Connect, rng); }
                    Event::Success => b.on_success(),
                    Event::ProbeResult(ok) => b.on_probe_result(now, ok, rng),
                    Event::TryProbe => if b.begin_probe(now) {
                        prop_assert!(last.is_none_or(|last| now.since(last) >= BASE));
                        last = Some(now);
                    }
                }
                // It always has a way out: messages go, a probe is under way, or one is due within the bound.
                let bound = now.after(MAX + MAX / JITTER_PART);
                prop_assert!(b.open_until().is_none_or(|until| until <= bound));
            }
        }
    }
}
