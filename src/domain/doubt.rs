//! What a campaign wants done with messages of which nobody knows whether they reached the person.

use std::time::Duration;

/// Shortest wait before a message in doubt may be sent again: what Meta's webhooks need after a bad day.
pub const RESEND_WAIT_MIN: Duration = Duration::from_secs(24 * 3600);

/// What becomes of a message in doubt after its wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubtPolicy {
    /// It ends unresolved: nobody gets it twice, somebody may not get it at all.
    Keep,
    /// It is sent again: everybody gets it, somebody may get it twice.
    Resend,
}

/// The policy and its wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoubtRules {
    /// What becomes of it.
    pub policy: DoubtPolicy,
    /// How long its clock must have run before that.
    pub wait: Duration,
}

impl DoubtPolicy {
    /// Both policies.
    pub const ALL: [Self; 2] = [Self::Keep, Self::Resend];

    /// Its name in the campaign file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Resend => "resend",
        }
    }
}

impl Default for DoubtRules {
    /// Kept, and unresolved after a day.
    fn default() -> Self {
        Self { policy: DoubtPolicy::Keep, wait: RESEND_WAIT_MIN }
    }
}
