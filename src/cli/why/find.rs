//! Finds messages in Redis: by id, by line of their file, by person.

use serde_json::Value;

use crate::queue::connection::Connection;

use super::super::campaign::world::definition;
use super::super::exit::CliError;
use crate::domain::campaign::Campaign;
use crate::domain::contact::ContactRules;
use crate::domain::ids::{CampaignSeq, LaneId, MessageId, NumberId};
use crate::domain::person::{PersonKey, Phone};
use crate::domain::record::{RECORD_BYTES, Record};
use crate::intake::guards::Erased;
use crate::intake::lanes::{HashKey, Lanes};
use crate::policy::classify::table::own;
use crate::queue::campaigns::{self, CampaignRecord};
use crate::queue::codec::{Chunk, Unpacker};
use crate::queue::keys::LaneKeys;
use crate::queue::{QueueError, cap, lane};

/// Chunks read at once.
const CHUNKS_MAX: usize = 100;

/// A message as Redis has it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) record: CampaignRecord,
    pub(super) campaign: Campaign,
    pub(super) message: MessageId,
    /// Line of the file.
    pub(super) line: u32,
    pub(super) loaded_at_ms: u64,
    pub(super) stands: Record,
    /// The number of its lane.
    pub(super) number: Option<NumberId>,
    /// When a retry is due.
    pub(super) due_ms: Option<u64>,
    /// Whom it is for.
    pub(super) phone: Option<Phone>,
    /// When its person was written to lately, the latest first, in wall ms; only if it waits for that.
    pub(super) contacts_ms: Vec<u64>,
    /// Its person was erased.
    pub(super) erased: bool,
    pub(super) person: Option<PersonKey>,
    /// What the stop list says of the person, as JSON and as text.
    pub(super) stops: Vec<(Value, String)>,
}

/// `campaign.lane.index`, with or without a generation.
pub(super) fn message_id(text: &str) -> Option<MessageId> {
    let numbers: Vec<u32> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [campaign, lane, index] = *numbers.get(..3)? else { return None };
    let lane = LaneId { campaign: CampaignSeq(campaign), lane };
    (numbers.len() <= 4).then_some(MessageId { lane, index })
}

/// One message by its id.
pub(super) async fn message(
    redis: &mut Connection,
    message: MessageId,
    erased: &Erased,
) -> Result<Vec<Found>, CliError> {
    let Some(record) = campaigns::read_all(redis, &[message.lane.campaign]).await?.pop() else {
        return Ok(Vec::new());
    };
    let count = lane::counters(redis, &[message.lane]).await?.first().map_or(0, |lane| lane.count);
    if u64::from(message.index) >= count {
        return Ok(Vec::new());
    }
    let (first, packed) = lane::chunk(redis, message.lane, message.index).await?;
    let chunk =
        Chunk::decode(first, &packed).map_err(|error| lane::undecodable(message.lane, first, &error))?;
    let mut found = Vec::new();
    if let Some(row) = message.index.checked_sub(first).filter(|_| chunk.holds(message.index)) {
        found.push(stands(redis, &record, message.lane, (&chunk, row as usize), erased).await?);
    }
    Ok(found)
}

/// The messages that came from a line; one for each file that was loaded.
pub(super) async fn line(
    redis: &mut Connection,
    id: &str,
    line: u32,
    erased: &Erased,
) -> Result<Vec<Found>, CliError> {
    let record = campaigns::find(redis, id).await?;
    let mut found = Vec::new();
    for lane in 0..record.lanes() {
        let id = LaneId { campaign: record.seq, lane };
        search(redis, &record, (id, erased), |chunk, row| chunk.line(row) == line, &mut found).await?;
    }
    Ok(found)
}

/// The messages to a person, in every campaign.
pub(super) async fn person(
    redis: &mut Connection,
    phone: Phone,
    key: HashKey,
    erased: &Erased,
) -> Result<Vec<Found>, CliError> {
    let seqs: Vec<CampaignSeq> = campaigns::list(redis).await?.into_iter().map(|(seq, _)| seq).collect();
    let mut found = Vec::new();
    let person = phone.person();
    let is_theirs = |chunk: &Chunk, row: usize| {
        Phone::from_digits(chunk.phone(row)).is_some_and(|phone| phone.person() == person)
    };
    for record in campaigns::read_all(redis, &seqs).await? {
        let Some(lanes) = Lanes::frozen(record.expected, &record.slices) else { continue };
        let lane = lanes.lane_of(phone.class(), person, key);
        search(redis, &record, (LaneId { campaign: record.seq, lane }, erased), is_theirs, &mut found)
            .await?;
    }
    Ok(found)
}

async fn search(
    redis: &mut Connection,
    record: &CampaignRecord,
    (id, erased): (LaneId, &Erased),
    wanted: impl Fn(&Chunk, usize) -> bool,
    found: &mut Vec<Found>,
) -> Result<(), CliError> {
    let keys = LaneKeys::new(id);
    let mut unpacker = Unpacker::new().map_err(|error| QueueError::Refused(error.to_string()))?;
    let mut from = "-".to_owned();
    loop {
        let mut call = redis::cmd("XRANGE");
        call.arg(&keys.log).arg(&from).arg("+").arg("COUNT").arg(CHUNKS_MAX);
        let entries: Vec<(String, Vec<Vec<u8>>)> = call.query_async(redis).await.map_err(QueueError::from)?;
        let whole = entries.len() == CHUNKS_MAX;
        let Some((last, _)) = entries.last() else { return Ok(()) };
        from = format!("({last}");
        for (entry, fields) in entries {
            let (first, packed) = lane::entry(&keys.log, &entry, fields)?;
            let chunk =
                unpacker.chunk(first, &packed).map_err(|error| lane::undecodable(id, first, &error))?;
            for row in (0..chunk.len()).filter(|row| wanted(&chunk, *row)) {
                found.push(stands(redis, record, id, (&chunk, row), erased).await?);
            }
        }
        if !whole {
            return Ok(());
        }
    }
}

/// When the person of a message was written to, if that is what it waits for.
pub(super) async fn contacts(
    redis: &mut Connection,
    rules: ContactRules,
    found: &mut Found,
) -> Result<(), CliError> {
    let limited = [own::CONTACT_CAP, own::PAIR_WAIT].contains(&found.stands.reason);
    if let Some(phone) = found.phone.filter(|_| limited) {
        let noted = cap::of_person(redis, rules, phone).await?;
        found.contacts_ms = noted.into_iter().map(|noted| noted.at_ms).collect();
    }
    Ok(())
}

/// How far a message got.
async fn stands(
    redis: &mut Connection,
    record: &CampaignRecord,
    id: LaneId,
    (chunk, row): (&Chunk, usize),
    erased: &Erased,
) -> Result<Found, CliError> {
    let keys = LaneKeys::new(id);
    let index = chunk.first + u32::try_from(row).unwrap_or(u32::MAX);
    let at = index as usize * RECORD_BYTES;
    let mut pipeline = redis::pipe();
    pipeline.cmd("GETRANGE").arg(&keys.state).arg(at).arg(at + RECORD_BYTES - 1);
    pipeline.hget(&keys.meta, "num");
    pipeline.zscore(&keys.retry, index);
    let (bytes, number, due): (Vec<u8>, Option<String>, Option<f64>) =
        pipeline.query_async(redis).await.map_err(QueueError::from)?;
    let stands = bytes.try_into().ok().and_then(Record::from_bytes);
    let stands = stands.ok_or_else(|| QueueError::Corrupt {
        key: keys.state.clone(),
        what: "a record has no known state".to_owned(),
    })?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "wall ms, far below 2^53")]
    let due_ms = due.filter(|due| *due >= 0.0).map(|due| due as u64);
    Ok(Found {
        record: record.clone(),
        campaign: definition(record)?,
        message: MessageId { lane: id, index },
        line: chunk.line(row),
        loaded_at_ms: chunk.loaded_at_ms,
        stands,
        number: number.map(|number| NumberId::from(number.as_str())),
        due_ms,
        phone: Phone::from_digits(chunk.phone(row)),
        contacts_ms: Vec::new(),
        erased: erased.holds_phone(chunk.phone(row)),
        person: Phone::from_digits(chunk.phone(row)).map(Phone::person),
        stops: Vec::new(),
    })
}
