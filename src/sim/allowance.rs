//! How many management requests an app may make of an account within an hour, and what the headers of their answers say.
//!
//! Pure: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;

use crate::clock::Mono;

/// Requests an hour that can be asked for.
pub(crate) const REQUESTS_MAX: u32 = 1_000_000;

const HOUR: Duration = Duration::from_secs(3_600);

/// The management requests of the last hour.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// Requests at most; 0 is unlimited.
    most: u32,
    window: Duration,
    scale: u32,
    asked: VecDeque<Mono>,
}

impl Allowance {
    pub(crate) fn new(most: u32, scale: u32) -> Self {
        Self { most, window: HOUR / scale.max(1), scale: scale.max(1), asked: VecDeque::new() }
    }

    /// Whether one more may be made; one that may not leaves no trace.
    pub(crate) fn ask(&mut self, now: Mono) -> bool {
        if self.most == 0 {
            return true;
        }
        self.leave(now);
        let room = self.asked.len() < self.most as usize;
        if room {
            self.asked.push_back(now);
        }
        room
    }

    /// `x-business-use-case-usage` and `x-app-usage`; None without a limit.
    pub(crate) fn headers(&mut self, object: &str, now: Mono) -> Option<[(&'static str, String); 2]> {
        if self.most == 0 {
            return None;
        }
        self.leave(now);
        let percent = self.asked.len() as u64 * 100 / u64::from(self.most);
        // Minutes until some of it is past, while nothing is left of it.
        let full = self.asked.len() >= self.most as usize;
        let oldest = self.asked.front().filter(|_| full);
        let wait = oldest.map_or(Duration::ZERO, |oldest| oldest.after(self.window).since(now));
        let minutes = (wait * self.scale).as_secs().div_ceil(60);
        let of_account = json!({ object: [{ "type": "whatsapp_business_management", "call_count": percent,
            "total_cputime": 1, "total_time": 1, "estimated_time_to_regain_access": minutes }] });
        let of_app = json!({ "call_count": percent / 2, "total_cputime": 1, "total_time": 1 });
        Some([("x-business-use-case-usage", of_account.to_string()), ("x-app-usage", of_app.to_string())])
    }

    fn leave(&mut self, now: Mono) {
        while self.asked.front().is_some_and(|oldest| now.since(*oldest) >= self.window) {
            self.asked.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn an_hour_has_so_many_and_the_headers_say_how_many_are_left() {
        let at = |seconds| Mono(Duration::from_secs(seconds));
        let mut allowance = Allowance::new(4, 60);
        let said = |allowance: &mut Allowance, now| -> Value {
            let [(_, text), _] = allowance.headers("7", now).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["7"][0].clone()
        };
        assert!([0, 1, 2].into_iter().all(|now| allowance.ask(at(now))));
        assert_eq!(said(&mut allowance, at(2))["call_count"], 75);
        assert!(allowance.ask(at(3)) && !allowance.ask(at(4)));
        let full = said(&mut allowance, at(30));
        assert_eq!(
            (&full["call_count"], &full["estimated_time_to_regain_access"]),
            (&json!(100), &json!(30))
        );
        assert!(allowance.ask(at(60)), "a scaled hour is a minute");
        assert!(Allowance::new(0, 1).headers("7", at(0)).is_none());
    }
}
