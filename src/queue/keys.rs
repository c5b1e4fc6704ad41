//! Names of all keys in Redis.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `ct:{c.l}:meta` | hash | `n` messages, `next` first index never claimed, `tok` token, `by` the run that has it, `part` if something sending may be another run's, `said` newest token that anybody said after a failover, `req` last request, `ask` its fresh range, `tag` last load tag, `tagr` its answer, `num` number, `cls` class, `s<state>`, `r<state>.<reason>`, `f<receipt flag>` and `dup` counters |
//! | `ct:{c.l}:log` | stream | entry `<first index + 1>-0` → chunk |
//! | `ct:{c.l}:state` | string | four bytes per message |
//! | `ct:{c.l}:retry` | zset | index → due wall ms |
//! | `ct:{c.l}:doubt` | zset | index of a message in doubt → since, wall ms |
//! | `ct:{c.l}:asked` | string | indices of the last claim of due messages, for a repeated request |
//! | `ct:{c.l}:seen:<b>` | set | keyed hashes of the dedup key |
//! | `ct:campaigns` | hash | id → seq |
//! | `ct:campaigns:seq` | string | last seq given |
//! | `ct:campaign:<seq>` | hash | definition, state, lanes, totals of the loads, `set:<key>` what was set since, `first` ceilings of the first N, `start_at_ms`, `base` counts at the start, `why` it paused by itself, `undoubted` stay in its state in which nothing is in doubt, `closed` |
//! | `ct:agenda:<number>` | zset | lanes by priority |
//! | `ct:{own}` | hash | last fencing token, revision of the division, `replid` of the master, end of its `grace` |
//! | `ct:{own}:nodes` | hash | node → incarnation, lease end, acknowledged version, capacity, joined, leaving, lease |
//! | `ct:{own}:numbers` | hash | number → owner or `-`, since, instant before which it may not send, how it was left |
//! | `ct:{own}:offers` | hash | node → its numbers and their weights |
//! | `ct:{own}:events` | channel | the new revision |
//! | `ct:{p<portfolio>}:people` | zset | person → last business-initiated send, in µs of this Redis' clock |
//! | `ct:{p<portfolio>}:said` | hash | `people` a day as Meta last said, or `unlimited`, and when it said so (`at_ms`) |
//! | `ct:media:<account>` | hash | content (SHA-256 and type) → Meta's media id and when it was uploaded |
//! | `ct:{h<class>}:cap:<stretch>` | list | contacts of a class of people in a stretch of a day: entries of the time within it (u32, ms) and notes of 11 bytes: person, number, generation, message |
//! | `ct:erased` | set | keyed hashes of people who were erased |
//! | `ct:erasures` | stream | proof of each erasure, without personal data |
//! | `ct:{stop}` | stream | the stop list: entry `<version>-0` → up to 1,000 stops of one kind, packed |
//! | `ct:{stop}:base` | hash | stream and version of what the log was trimmed for |
//! | `ct:{stop}:base:<version>-<nonce>` | stream | everything that held at that version, packed alike |
//! | `ct:archived` | hash | id → seq, wall ms and folder of a campaign that was archived |
//! | `ct:halts` | hash | what is paused or halted, and why |
//! | `ct:webhooks` | hash | when a receipt of each number was last heard (`number:`), of when its latest send was heard (`sent:`), silences (`doubt:`), when anything was heard, when Meta last changed a number, and where we listen |
//! | `ct:version` | string | Redis' time in µs or more, raised by every change a node must hear of |
//! | `ct:events` | channel | the new version |
//! | `ct:installation` | string | random name of this installation, the key of its hashes, when an operator `accepted` an older state, when a process `refused` it |
//! | `ct:far` | hash | data folder → µs of the last time that it found this Redis as far as it was |
//! | `ct:layout` | string | version of this table |

use crate::domain::area::CalendarClass;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};

/// Version of the table above; a newer one in Redis is refused, and an older one brought up to it: see `queue::layout`.
pub const LAYOUT: u32 = 2;
/// Id → seq.
pub const CAMPAIGNS: &str = "ct:campaigns";
/// Last seq given.
pub const CAMPAIGNS_SEQ: &str = "ct:campaigns:seq";
/// Keyed hashes of erased people.
pub const ERASED: &str = "ct:erased";
/// Proofs of erasures.
pub const ERASURES: &str = "ct:erasures";
/// The stop list's log.
pub const STOP: &str = "ct:{stop}";
/// Which stream is the stop list's base.
pub const STOP_BASE: &str = "ct:{stop}:base";
/// Archived campaigns by id.
pub const ARCHIVED: &str = "ct:archived";
/// Ownership: the last fencing token.
pub const OWN: &str = "ct:{own}";
/// Nodes and their leases.
pub const OWN_NODES: &str = "ct:{own}:nodes";
/// Numbers and their owners.
pub const OWN_NUMBERS: &str = "ct:{own}:numbers";
/// Which node has which numbers in its configuration.
pub const OWN_OFFERS: &str = "ct:{own}:offers";
/// Where a change of the division is published.
pub const OWN_EVENTS: &str = "ct:{own}:events";
/// Paused and halted scopes.
pub const HALTS: &str = "ct:halts";
/// When webhooks were last heard.
pub const WEBHOOKS: &str = "ct:webhooks";
/// Raised by every change a node must hear of.
pub const VERSION: &str = "ct:version";
/// Where the new version is published.
pub const EVENTS: &str = "ct:events";
/// Name and hash key of the installation.
pub const INSTALLATION: &str = "ct:installation";
/// How far each data folder has seen this Redis.
pub const FAR: &str = "ct:far";
/// Version of the layout.
pub const LAYOUT_KEY: &str = "ct:layout";

/// The keys of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneKeys {
    /// Hash of counters.
    pub meta: String,
    /// Stream of chunks.
    pub log: String,
    /// Records.
    pub state: String,
    /// Due times.
    pub retry: String,
    /// Messages in doubt.
    pub doubt: String,
    /// Last claim of due messages.
    pub asked: String,
    prefix: String,
}

impl LaneKeys {
    /// Names the keys of `lane`.
    pub fn new(lane: LaneId) -> Self {
        let prefix = format!("ct:{{{lane}}}:");
        let key = |name: &str| format!("{prefix}{name}");
        Self {
            meta: key("meta"),
            log: key("log"),
            state: key("state"),
            retry: key("retry"),
            doubt: key("doubt"),
            asked: key("asked"),
            prefix,
        }
    }

    /// One bucket of the dedup sets.
    pub fn seen(&self, bucket: u32) -> String {
        format!("{}seen:{bucket}", self.prefix)
    }
}

/// The record of a campaign.
pub fn campaign(seq: CampaignSeq) -> String {
    format!("ct:campaign:{seq}")
}

/// The people that a portfolio has written to.
pub fn portfolio_people(portfolio: &str) -> String {
    format!("ct:{{p{portfolio}}}:people")
}

/// What Meta said of a portfolio's limit.
pub fn portfolio_said(portfolio: &str) -> String {
    format!("ct:{{p{portfolio}}}:said")
}

/// The media ids of an account.
pub fn media(account: &str) -> String {
    format!("ct:media:{account}")
}

/// The agenda of a number.
pub fn agenda(number: &NumberId) -> String {
    format!("ct:agenda:{number}")
}

/// What a node last said of itself.
pub fn node_status(node: &str) -> String {
    format!("ct:node:{node}:status")
}

/// The contacts of a class of people in a stretch of time.
pub fn cap(class: CalendarClass, stretch: u64) -> String {
    format!("ct:{{h{}}}:cap:{stretch}", class.index())
}
