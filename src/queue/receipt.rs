//! Receipts into the records of a lane: one script call for many.
//!
//! Every call may be made again: a receipt heard twice changes nothing. It asks for no token, since what Meta says is
//! true whoever owns the lane.

use super::connection::Connection;
use redis::AsyncCommands;

use super::keys::{self, LaneKeys};
use super::lane::BATCH_MAX;
use super::{QueueError, script};
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::receipt::{Outcome, Receipt};

/// Bytes of one run.
const RUN_BYTES: usize = 18;

/// When webhooks were last heard, in wall ms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Receipts by number.
    pub receipts: Vec<(NumberId, u64)>,
    /// Anything that was signed.
    pub request_ms: Option<u64>,
    /// Where the last process listened.
    pub listen: Option<String>,
}

/// Writes receipts to a lane, sorted by their index on return. The outcomes stand in the same order.
pub async fn receive(
    connection: &mut Connection,
    lane: LaneId,
    receipts: &mut [Receipt],
    max_attempts: u8,
) -> Result<Vec<Outcome>, QueueError> {
    // Stable: what came first for a message is applied first.
    receipts.sort_by_key(|one| one.index);
    let keys = LaneKeys::new(lane);
    let mut outcomes = Vec::with_capacity(receipts.len());
    for batch in receipts.chunks(BATCH_MAX) {
        let mut call = script::RECEIPT.prepare_invoke();
        call.key(&keys.meta)
            .key(&keys.state)
            .key(&keys.retry)
            .key(&keys.doubt)
            .arg(runs(batch))
            .arg(max_attempts);
        let answer: Vec<u8> = script::run(connection, &call).await?;
        outcomes.extend(answer.iter().filter_map(|byte| Outcome::from_byte(*byte)));
    }
    if outcomes.len() != receipts.len() {
        let what = format!("{} receipts have {} outcomes", receipts.len(), outcomes.len());
        return Err(QueueError::Corrupt { key: keys.state, what });
    }
    Ok(outcomes)
}

/// Lets the owner of a campaign's lanes look at them again, since a message of it waits anew.
pub async fn look_again(connection: &mut Connection, seq: CampaignSeq) -> Result<(), QueueError> {
    let _grown: u64 = connection.hincr(keys::campaign(seq), "grown", 1).await?;
    super::campaigns::announce(connection).await.map(|_| ())
}

/// Notes when receipts of numbers were last heard, and the latest send of each that was heard of.
pub async fn note_heard(
    connection: &mut Connection,
    receipts: &[(NumberId, u64)],
    sent: &[(NumberId, u64)],
    request_ms: u64,
) -> Result<(), QueueError> {
    let mut fields = vec![("request".to_owned(), request_ms.to_string())];
    fields.extend(receipts.iter().map(|(number, at_ms)| (format!("number:{number}"), at_ms.to_string())));
    fields.extend(sent.iter().map(|(number, at_ms)| (format!("sent:{number}"), at_ms.to_string())));
    Ok(connection.hset_multiple(keys::WEBHOOKS, &fields).await?)
}

/// Notes where this process listens.
pub async fn note_listen(connection: &mut Connection, address: &str) -> Result<(), QueueError> {
    Ok(connection.hset(keys::WEBHOOKS, "listen", address).await?)
}

/// Notes that Meta changed something of a number, so that its owner reads its fields.
pub async fn note_numbers_changed(connection: &mut Connection, at_ms: u64) -> Result<(), QueueError> {
    Ok(connection.hset(keys::WEBHOOKS, "numbers_changed", at_ms).await?)
}

/// When Meta last said that something of a number changed, in wall ms; 0: never.
pub async fn numbers_changed_ms(connection: &mut Connection) -> Result<u64, QueueError> {
    let at: Option<u64> = connection.hget(keys::WEBHOOKS, "numbers_changed").await?;
    Ok(at.unwrap_or(0))
}

/// When webhooks were last heard.
pub async fn heard(connection: &mut Connection) -> Result<Heard, QueueError> {
    let fields: Vec<(String, String)> = connection.hgetall(keys::WEBHOOKS).await?;
    let mut heard = Heard::default();
    for (name, text) in fields {
        match (name.strip_prefix("number:"), name.as_str(), text.parse::<u64>()) {
            (Some(number), _, Ok(at_ms)) => heard.receipts.push((NumberId::from(number), at_ms)),
            (None, "request", Ok(at_ms)) => heard.request_ms = Some(at_ms),
            (None, "listen", _) => heard.listen = Some(text),
            _ => {}
        }
    }
    heard.receipts.sort();
    Ok(heard)
}

/// Packs receipts as runs of neighbours of which the same is said.
fn runs(receipts: &[Receipt]) -> Vec<u8> {
    let same = |one: &Receipt, other: &Receipt| {
        other.index == one.index.saturating_add(1)
            && Receipt { index: 0, ..*one } == Receipt { index: 0, ..*other }
    };
    let mut packed = Vec::with_capacity(RUN_BYTES * receipts.len());
    for run in receipts.chunk_by(same) {
        let [one, ..] = run else { continue };
        packed.extend_from_slice(&one.index.to_le_bytes());
        packed.extend_from_slice(&u16::try_from(run.len()).unwrap_or(u16::MAX).to_le_bytes());
        packed.extend_from_slice(&[one.generation, one.kind as u8, u8::from(one.again), one.reason]);
        #[allow(clippy::cast_precision_loss, reason = "wall milliseconds stay far below 2^53")]
        packed.extend_from_slice(&(one.due_ms as f64).to_le_bytes());
    }
    packed
}
