//! `[webhooks]` of a fault plan: when receipts come, and for which share of the messages they come wrong.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// When receipts come, and what goes wrong with them. Shares are of the messages taken, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookPlan {
    /// From the taking of a message to `sent`: half of this to one and a half times it, like the others.
    pub sent_after: Duration,
    /// To `delivered`.
    pub delivered_after: Duration,
    /// To `read`.
    pub read_after: Duration,
    /// Delivered at all; the others stay sent for ever.
    pub delivered: f64,
    /// Read at all, of those delivered.
    pub read: f64,
    /// Given up after `sent`, with this code.
    pub failed: f64,
    /// See `failed`.
    pub failed_code: i64,
    /// Nothing is ever told.
    pub never: f64,
    /// Everything is told later by `late_by`.
    pub late: f64,
    /// See `late`.
    pub late_by: Duration,
    /// Everything is told twice.
    pub twice: f64,
    /// The order is turned round.
    pub swapped: f64,
    /// How long a held message is held.
    pub held_for: Duration,
    /// Of the held ones: dropped with 132015 in place of being sent.
    pub held_dropped: f64,
    /// Answered by the person, once delivered, with a wish to hear no more.
    pub opt_out: f64,
    /// From `delivered` to that answer.
    pub opt_out_after: Duration,
    /// What they write.
    pub opt_out_text: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawWebhooks {
    sent_after: Option<String>,
    delivered_after: Option<String>,
    read_after: Option<String>,
    delivered: Option<f64>,
    read: Option<f64>,
    failed: Option<f64>,
    failed_code: Option<i64>,
    never: Option<f64>,
    late: Option<f64>,
    late_by: Option<String>,
    twice: Option<f64>,
    swapped: Option<f64>,
    held_for: Option<String>,
    held_dropped: Option<f64>,
    opt_out: Option<f64>,
    opt_out_after: Option<String>,
    opt_out_text: Option<String>,
}

impl Default for WebhookPlan {
    fn default() -> Self {
        Self {
            sent_after: Duration::from_millis(200),
            delivered_after: Duration::from_secs(2),
            read_after: Duration::from_secs(30),
            delivered: 0.95,
            read: 0.6,
            failed: 0.0,
            failed_code: 131_026,
            never: 0.0,
            late: 0.0,
            late_by: Duration::from_secs(60),
            twice: 0.0,
            swapped: 0.0,
            held_for: Duration::from_secs(30),
            held_dropped: 0.0,
            opt_out: 0.0,
            opt_out_after: Duration::from_secs(5),
            opt_out_text: "PARE".into(),
        }
    }
}

impl WebhookPlan {
    /// The plan with every time divided by `scale`.
    #[must_use]
    pub(super) fn scaled(mut self, scale: u32) -> Self {
        let times = [
            &mut self.sent_after,
            &mut self.delivered_after,
            &mut self.read_after,
            &mut self.late_by,
            &mut self.held_for,
            &mut self.opt_out_after,
        ];
        times.into_iter().for_each(|time| *time /= scale.max(1));
        self
    }
}

/// Makes a plan of what a file says; what it does not say is the default.
pub(crate) fn resolve(raw: &RawWebhooks) -> Result<WebhookPlan, String> {
    let default = WebhookPlan::default();
    let share = |key: &str, value: Option<f64>, default: f64| match value.unwrap_or(default) {
        share if (0.0..=1.0).contains(&share) => Ok(share),
        share => Err(format!("`{key}` is {share}, it must be 0 to 1")),
    };
    let time = |key: &str, value: &Option<String>, default: Duration| match value {
        None => Ok(default),
        Some(text) => jiff::SignedDuration::from_str(text)
            .ok()
            .and_then(|parsed| Duration::try_from(parsed).ok())
            .ok_or_else(|| format!("`{key}` is \"{text}\", it must be a duration such as \"90s\" or \"3m\"")),
    };
    let plan = WebhookPlan {
        sent_after: time("sent_after", &raw.sent_after, default.sent_after)?,
        delivered_after: time("delivered_after", &raw.delivered_after, default.delivered_after)?,
        read_after: time("read_after", &raw.read_after, default.read_after)?,
        delivered: share("delivered", raw.delivered, default.delivered)?,
        read: share("read", raw.read, default.read)?,
        failed: share("failed", raw.failed, default.failed)?,
        failed_code: raw.failed_code.unwrap_or(default.failed_code),
        never: share("never", raw.never, default.never)?,
        late: share("late", raw.late, default.late)?,
        late_by: time("late_by", &raw.late_by, default.late_by)?,
        twice: share("twice", raw.twice, default.twice)?,
        swapped: share("swapped", raw.swapped, default.swapped)?,
        held_for: time("held_for", &raw.held_for, default.held_for)?,
        held_dropped: share("held_dropped", raw.held_dropped, default.held_dropped)?,
        opt_out: share("opt_out", raw.opt_out, default.opt_out)?,
        opt_out_after: time("opt_out_after", &raw.opt_out_after, default.opt_out_after)?,
        opt_out_text: raw.opt_out_text.as_deref().map_or(default.opt_out_text, Box::from),
    };
    if plan.failed_code < 0 {
        return Err(format!("`failed_code` is {}, it must not be negative", plan.failed_code));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WebhookPlan, String> {
        resolve(&toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())?)
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(parse("").unwrap(), WebhookPlan::default());
        let plan = parse("never = 0.25\nsent_after = \"10s\"").unwrap().scaled(10);
        assert_eq!((plan.never, plan.sent_after), (0.25, Duration::from_secs(1)));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, expect) in [
            ("never = 1.5", "`never` is 1.5"),
            ("held_for = \"soon\"", "`held_for` is \"soon\""),
            ("failed_code = -1", "`failed_code` is -1"),
            ("neverr = 1.0", "neverr"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
    }
}
