//! What can go wrong between us and Redis, as states that callers act on.

/// Trouble with Redis.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The connection broke or a reply never came: the command may or may not have run.
    #[error("redis did not answer ({0}): check that it runs and can be reached")]
    Lost(String),
    /// The server is starting and reads its files.
    #[error("redis is loading its data; it will answer when that is done")]
    Loading,
    /// The server is at its memory limit.
    #[error("redis is out of memory (maxmemory): raise maxmemory or free keys")]
    Full,
    /// The server is a replica or its disk is failing: it takes no writes.
    #[error("redis takes no writes now ({0})")]
    ReadOnly(String),
    /// The change is made, and too few replicas have it: a failover could forget it.
    #[error(
        "the change is made, but {acked} of {wanted} replicas of redis have it: bring them back, and try again"
    )]
    Unkept {
        /// Replicas that have it.
        acked: u32,
        /// Replicas that must have it.
        wanted: u32,
    },
    /// This Redis is not as far as it was: it was emptied, restored or exchanged.
    #[error("redis is not as far as it was: {0}; `carteiro redis accept --help` says what to do")]
    RolledBack(String),
    /// An operator accepted another installation in its place.
    #[error("redis is another installation now, {0}: start this process again")]
    Exchanged(String),
    /// What was there is gone, as after FLUSHALL.
    #[error("{0} is gone from redis")]
    Forgotten(String),
    /// Another owner has a newer token.
    #[error("another process owns this lane now (its token is newer)")]
    Fenced,
    /// The server's data is newer than this program.
    #[error("redis holds layout {found}, this program knows up to {known}: use the newer carteiro")]
    LayoutTooNew {
        /// Version found.
        found: u32,
        /// Version known.
        known: u32,
    },
    /// No campaign of this id.
    #[error("no campaign {id}{hint}")]
    NoCampaign {
        /// The id asked for.
        id: String,
        /// `: did you mean …?` or empty.
        hint: String,
    },
    /// The campaign is being archived, or was.
    #[error("campaign {id} {what}")]
    Archived {
        /// The campaign.
        id: String,
        /// How far it is, where, and what to do.
        what: String,
    },
    /// The id is taken.
    #[error("campaign {0} exists already")]
    CampaignExists(String),
    /// Stored bytes are not what we wrote.
    #[error("{key}: {what}")]
    Corrupt {
        /// Where.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// Anything else the server said.
    #[error("redis refused a command: {0}")]
    Refused(String),
}

impl QueueError {
    /// Whether the same command may be sent again once Redis is back.
    pub fn passes(&self) -> bool {
        let lasts = matches!(self, Self::Unkept { .. } | Self::RolledBack(_));
        lasts || matches!(self, Self::Lost(_) | Self::Loading | Self::Full | Self::ReadOnly(_))
    }

    /// Whether a new connection may lead to a server that answers otherwise: this one is gone, a master no more, or has
    /// fewer replicas than it had.
    pub fn reconnects(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::ReadOnly(_) | Self::Unkept { .. })
    }

    /// The word of `carteiro_redis_errors_total{kind}`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lost(_) => "lost",
            Self::Loading => "loading",
            Self::Full => "full",
            Self::ReadOnly(_) => "read_only",
            Self::Unkept { .. } => "replicas",
            Self::RolledBack(_) => super::link::ROLLED_BACK,
            Self::Exchanged(_) => "exchanged",
            Self::Forgotten(_) => "forgotten",
            Self::Fenced => "fenced",
            _ => "refused",
        }
    }
}

impl From<redis::RedisError> for QueueError {
    fn from(error: redis::RedisError) -> Self {
        let text = error.to_string();
        match error.code() {
            // A slot on its way to another server answers once it is there.
            Some("LOADING" | "BUSY" | "TRYAGAIN") => Self::Loading,
            Some("MOVED") => Self::Lost("a slot of the cluster moved to another server".to_owned()),
            // UNBLOCKED: the master became a replica while it was waiting for replicas.
            Some("CLUSTERDOWN" | "UNBLOCKED") => Self::Lost(text),
            Some("OOM") => Self::Full,
            Some("READONLY" | "MISCONF" | "MASTERDOWN" | "NOREPLICAS") => Self::ReadOnly(text),
            Some(_) => Self::Refused(text),
            None if text.contains("OOM command not allowed") => Self::Full,
            None => Self::Lost(text),
        }
    }
}
