//! What the journal says, and its bytes: a kind, then numbers seven bits a byte, then texts with their length.
//!
//! Times are kept as the distance from the first time of their frame, and a number's id once per file, so that a request
//! that was begun takes about a dozen bytes. Decoding is strict: what does not come out exactly is damage, never another
//! entry.

use crate::domain::ids::{CampaignSeq, LaneId, MessageId, NumberId};
use crate::policy::classify::Kind;

/// Longest text of an entry, in bytes; Meta's ids have about a hundred.
pub const TEXT_MAX_BYTES: usize = 1024;

/// Sending numbers of one file at most.
pub const NUMBERS_MAX: usize = 65_536;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A request is about to leave: written before its first byte.
    Begun {
        /// The message.
        message: MessageId,
        /// Generation of its claim.
        generation: u8,
        /// Attempts before this one.
        attempt: u8,
        /// The sending number.
        number: NumberId,
        /// When, in wall ms.
        at_ms: u64,
    },
    /// How a request ended.
    Reply {
        /// The message.
        message: MessageId,
        /// Generation of its claim.
        generation: u8,
        /// When, in wall ms.
        at_ms: u64,
        /// What it meant.
        outcome: Outcome,
        /// Row of the error table; 0 means none.
        reason: u8,
        /// Meta's code, if it gave one.
        code: Option<i64>,
        /// Meta's id of the message, if it took it.
        wamid: Option<Box<str>>,
    },
    /// What a webhook said.
    Receipt {
        /// The message.
        message: MessageId,
        /// Generation of its claim.
        generation: u8,
        /// What became of it.
        status: Status,
        /// When, by Meta's clock, in wall ms.
        at_ms: u64,
        /// When we heard of it, in wall ms.
        heard_at_ms: u64,
        /// Meta's code, if it failed.
        code: Option<i64>,
        /// Meta's id of the message.
        wamid: Option<Box<str>>,
    },
    /// What a webhook said beside receipts: that a person wrote, or what happened to an account.
    Event {
        /// When, by Meta's clock, in wall ms.
        at_ms: u64,
        /// When we heard of it, in wall ms.
        heard_at_ms: u64,
        /// What: message, preference, account_restricted, template, ...
        kind: Box<str>,
        /// The account.
        account: Box<str>,
        /// The number or the template, if it named one.
        subject: Box<str>,
        /// What it said of it; of a person's message the form alone.
        detail: Box<str>,
        /// Meta's id of a message.
        wamid: Option<Box<str>>,
    },
    /// Somebody changed something.
    Action {
        /// When, in wall ms.
        at_ms: u64,
        /// Who, as they said.
        actor: Box<str>,
        /// Who, as the system says.
        os_user: Box<str>,
        /// On which machine.
        host: Box<str>,
        /// What: `campaign pause`.
        verb: Box<str>,
        /// To what: a campaign, a number, a template.
        target: Box<str>,
        /// What came of it, and with which settings.
        detail: Box<str>,
    },
}

/// How a request ended. The numbers are stored: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the verdicts of `policy::classify`")]
pub enum Outcome {
    Accepted = 1,
    Held = 2,
    Throttled = 3,
    Doubtful = 4,
    Transient = 5,
    Permanent = 6,
    Halt = 7,
    Unknown = 8,
}

/// What a receipt says. The numbers are stored: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "Meta's own words")]
pub enum Status {
    Sent = 1,
    Delivered = 2,
    Read = 3,
    Played = 4,
    Failed = 5,
}

const NUMBER: u8 = 1;
const BEGUN: u8 = 2;
const REPLY: u8 = 3;
const RECEIPT: u8 = 4;
const ACTION: u8 = 5;
const EVENT: u8 = 6;

impl Entry {
    /// When it happened, in wall ms.
    pub fn at_ms(&self) -> u64 {
        match self {
            Self::Begun { at_ms, .. } | Self::Reply { at_ms, .. } | Self::Action { at_ms, .. } => *at_ms,
            Self::Receipt { heard_at_ms, .. } | Self::Event { heard_at_ms, .. } => *heard_at_ms,
        }
    }

    /// The message that it is about.
    pub fn message(&self) -> Option<MessageId> {
        match self {
            Self::Begun { message, .. } | Self::Reply { message, .. } | Self::Receipt { message, .. } => {
                Some(*message)
            }
            Self::Event { .. } | Self::Action { .. } => None,
        }
    }
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Held,
        Self::Throttled,
        Self::Doubtful,
        Self::Transient,
        Self::Permanent,
        Self::Halt,
        Self::Unknown,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| *one as u8 == number)
    }

    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::Throttled => "throttled",
            Self::Doubtful => "doubtful",
            Self::Transient => "refused_for_now",
            Self::Permanent => "refused",
            Self::Halt => "refused_and_halted",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Kind> for Outcome {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Accepted => Self::Accepted,
            Kind::Held => Self::Held,
            Kind::Throttled => Self::Throttled,
            Kind::Doubtful => Self::Doubtful,
            Kind::Transient => Self::Transient,
            Kind::Permanent => Self::Permanent,
            Kind::Halt => Self::Halt,
            Kind::Unknown => Self::Unknown,
        }
    }
}

impl Status {
    const ALL: [Self; 5] = [Self::Sent, Self::Delivered, Self::Read, Self::Played, Self::Failed];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| *one as u8 == number)
    }

    /// Meta's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
            Self::Failed => "failed",
        }
    }
}

/// Appends the definition of a number: those of a file count from 0 in the order of their definitions.
pub(crate) fn encode_number(number: &NumberId, out: &mut Vec<u8>) {
    out.push(NUMBER);
    put_text(&number.0, out);
}

/// Appends an entry. `number_at` says where a number stands in the file's table.
pub(crate) fn encode(
    entry: &Entry,
    base_ms: u64,
    number_at: impl FnOnce(&NumberId) -> u32,
    out: &mut Vec<u8>,
) {
    match entry {
        Entry::Begun { message, generation, attempt, number, at_ms } => {
            out.push(BEGUN);
            put_message(*message, *generation, out);
            out.push(*attempt);
            put(u64::from(number_at(number)), out);
            put_time(*at_ms, base_ms, out);
        }
        Entry::Reply { message, generation, at_ms, outcome, reason, code, wamid } => {
            out.push(REPLY);
            put_message(*message, *generation, out);
            out.extend_from_slice(&[*outcome as u8, *reason]);
            put_code(*code, out);
            put_text(wamid.as_deref().unwrap_or_default(), out);
            put_time(*at_ms, base_ms, out);
        }
        Entry::Receipt { message, generation, status, at_ms, heard_at_ms, code, wamid } => {
            out.push(RECEIPT);
            put_message(*message, *generation, out);
            out.push(*status as u8);
            put_code(*code, out);
            put_text(wamid.as_deref().unwrap_or_default(), out);
            put_time(*at_ms, base_ms, out);
            put_time(*heard_at_ms, base_ms, out);
        }
        Entry::Event { at_ms, heard_at_ms, kind, account, subject, detail, wamid } => {
            out.push(EVENT);
            for text in [kind, account, subject, detail] {
                put_text(text, out);
            }
            put_text(wamid.as_deref().unwrap_or_default(), out);
            put_time(*at_ms, base_ms, out);
            put_time(*heard_at_ms, base_ms, out);
        }
        Entry::Action { at_ms, actor, os_user, host, verb, target, detail } => {
            out.push(ACTION);
            for text in [actor, os_user, host, verb, target, detail] {
                put_text(text, out);
            }
            put_time(*at_ms, base_ms, out);
        }
    }
}

/// Takes the next entry off `from`; definitions of numbers go into the table on the way. Ok(None): nothing is left.
pub(crate) fn decode(
    from: &mut &[u8],
    base_ms: u64,
    numbers: &mut Vec<NumberId>,
) -> Result<Option<Entry>, Damage> {
    loop {
        let Some((kind, rest)) = from.split_first() else {
            return Ok(None);
        };
        *from = rest;
        return Ok(Some(match *kind {
            NUMBER => {
                let number = text(from)?;
                if numbers.len() >= NUMBERS_MAX {
                    return Err(Damage);
                }
                numbers.push(NumberId::from(number));
                continue;
            }
            BEGUN => {
                let (message, generation) = message(from)?;
                let attempt = byte(from)?;
                let at = usize::try_from(get(from)?).map_err(|_| Damage)?;
                let number = numbers.get(at).ok_or(Damage)?.clone();
                Entry::Begun { message, generation, attempt, number, at_ms: time(from, base_ms)? }
            }
            REPLY => {
                let (message, generation) = message(from)?;
                let outcome = Outcome::from_number(byte(from)?).ok_or(Damage)?;
                let reason = byte(from)?;
                let (code, wamid) = (code(from)?, wamid(from)?);
                let at_ms = time(from, base_ms)?;
                Entry::Reply { message, generation, at_ms, outcome, reason, code, wamid }
            }
            RECEIPT => {
                let (message, generation) = message(from)?;
                let status = Status::from_number(byte(from)?).ok_or(Damage)?;
                let (code, wamid) = (code(from)?, wamid(from)?);
                let (at_ms, heard_at_ms) = (time(from, base_ms)?, time(from, base_ms)?);
                Entry::Receipt { message, generation, status, at_ms, heard_at_ms, code, wamid }
            }
            EVENT => {
                let mut next = || text(from).map(Box::<str>::from);
                let (kind, account, subject, detail) = (next()?, next()?, next()?, next()?);
                let wamid = wamid(from)?;
                let (at_ms, heard_at_ms) = (time(from, base_ms)?, time(from, base_ms)?);
                Entry::Event { at_ms, heard_at_ms, kind, account, subject, detail, wamid }
            }
            ACTION => {
                let mut next = || text(from).map(Box::<str>::from);
                let (actor, os_user, host) = (next()?, next()?, next()?);
                let (verb, target, detail) = (next()?, next()?, next()?);
                Entry::Action { at_ms: time(from, base_ms)?, actor, os_user, host, verb, target, detail }
            }
            _ => return Err(Damage),
        }));
    }
}

/// Bytes that are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage;

/// Seven bits a byte, the lowest first.
pub(crate) fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

pub(crate) fn get(from: &mut &[u8]) -> Result<u64, Damage> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = byte(from)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Damage);
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Damage)
}

pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    let mut end = text.len().min(TEXT_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put(end as u64, out);
    out.extend_from_slice(&text.as_bytes()[..end]);
}

pub(crate) fn text<'a>(from: &mut &'a [u8]) -> Result<&'a str, Damage> {
    let length = usize::try_from(get(from)?).map_err(|_| Damage)?;
    if length > TEXT_MAX_BYTES {
        return Err(Damage);
    }
    let (text, rest) = from.split_at_checked(length).ok_or(Damage)?;
    *from = rest;
    std::str::from_utf8(text).map_err(|_| Damage)
}

fn byte(from: &mut &[u8]) -> Result<u8, Damage> {
    let (byte, rest) = from.split_first().ok_or(Damage)?;
    *from = rest;
    Ok(*byte)
}

fn put_message(message: MessageId, generation: u8, out: &mut Vec<u8>) {
    for number in [message.lane.campaign.0, message.lane.lane, message.index] {
        put(u64::from(number), out);
    }
    out.push(generation);
}

fn message(from: &mut &[u8]) -> Result<(MessageId, u8), Damage> {
    let mut number = || get(from).and_then(|number| u32::try_from(number).map_err(|_| Damage));
    let lane = LaneId { campaign: CampaignSeq(number()?), lane: number()? };
    let message = MessageId { lane, index: number()? };
    Ok((message, byte(from)?))
}

/// Wraps, so that every pair of times has a distance.
fn put_time(at_ms: u64, base_ms: u64, out: &mut Vec<u8>) {
    put(zigzag(at_ms.wrapping_sub(base_ms).cast_signed()), out);
}

fn time(from: &mut &[u8], base_ms: u64) -> Result<u64, Damage> {
    Ok(base_ms.wrapping_add(unzigzag(get(from)?).cast_unsigned()))
}

/// A code is stored after a byte that says whether there is one.
fn put_code(code: Option<i64>, out: &mut Vec<u8>) {
    out.push(u8::from(code.is_some()));
    if let Some(code) = code {
        put(zigzag(code), out);
    }
}

fn code(from: &mut &[u8]) -> Result<Option<i64>, Damage> {
    match byte(from)? {
        0 => Ok(None),
        1 => Ok(Some(unzigzag(get(from)?))),
        _ => Err(Damage),
    }
}

fn wamid(from: &mut &[u8]) -> Result<Option<Box<str>>, Damage> {
    let text = text(from)?;
    Ok((!text.is_empty()).then(|| text.into()))
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}
