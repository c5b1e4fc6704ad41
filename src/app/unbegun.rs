//! Claims of this node's last process that were certainly never begun go back to the queue, in its name.
//!
//! It died before it could give them back itself. The journal tells which they are ([`Witness`]); they are released under
//! the dead process's own tokens, so that nothing happens to a lane that has a new owner by now, which knows of no doubt
//! but its own. Done before this process owns anything. Whatever is not certain is left to the sweep, which puts it in doubt.

use std::collections::{BTreeMap, HashSet};

use super::store::Store;
use crate::clock;
use crate::config::Config;
use crate::domain::ids::{LaneId, MessageId};
use crate::domain::record::State;
use crate::journal::{JournalError, Witness};
use crate::queue::connection::Connection;
use crate::queue::{QueueError, campaigns, claims as standing, lane, owner};

/// Claims looked at, at most: far more than can be in flight. Beyond it something else is wrong, and all stay in doubt.
const CLAIMS_MAX: usize = 1_000_000;

/// Messages with their generations.
type Claimed = HashSet<(MessageId, u8)>;

/// Token and last request of each lane.
type Requests = BTreeMap<LaneId, (u64, u64)>;

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnbegunError {
    /// Redis.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// The journal.
    #[error("{0}")]
    Journal(#[from] JournalError),
}

/// Releases them, and says how many. A journal that cannot tell is no error: what it does not prove stays in doubt.
pub(super) async fn release(store: &mut Store, config: &Config) -> Result<(), QueueError> {
    if !config.journal.enabled {
        return Ok(());
    }
    match find_and_release(store, config).await {
        Ok(0) => Ok(()),
        Ok(messages) => {
            tracing::info!(messages, "claimed by the last process and never begun: queued again");
            Ok(())
        }
        Err(UnbegunError::Queue(error)) => Err(error),
        Err(UnbegunError::Journal(error)) => {
            tracing::warn!(%error, "what the last process never began is not known, and is in doubt");
            Ok(())
        }
    }
}

async fn find_and_release(store: &mut Store, config: &Config) -> Result<u64, UnbegunError> {
    let installation = &store.installation.name;
    let Some(witness) = Witness::find(&config.journal.dir, installation)? else { return Ok(0) };
    let redis = &mut store.connection;
    let run = &witness.started.run;
    let (mut claims, mut requests) = claimed_by(redis, run).await?;
    if claims.is_empty() {
        return Ok(0);
    }
    let grace = owner::grace_left(redis, config.ownership.lease).await?;
    if !grace.is_zero() {
        // Who has had a lane since may have claims in it that this Redis forgot, under the same generations.
        tracing::info!(?grace, "others may have to say what redis forgot");
        tokio::time::sleep(grace).await;
        (claims, requests) = claimed_by(redis, run).await?;
    }
    let mut by_lane: BTreeMap<LaneId, Vec<(u32, u8)>> = BTreeMap::new();
    for (message, generation) in witness.never_begun(installation, claims)? {
        by_lane.entry(message.lane).or_default().push((message.index, generation));
    }
    let mut released = 0;
    for (id, mut messages) in by_lane {
        messages.sort_unstable_by(|one, other| other.cmp(one));
        let Some((token, mut request)) = requests.get(&id).copied() else { continue };
        for batch in messages.chunks_mut(lane::BATCH_MAX) {
            request += 1;
            match lane::release(redis, id, (token, request), clock::wall().0, batch).await {
                Ok(_) => released += batch.len() as u64,
                // A new owner has it already, and has put them in doubt.
                Err(QueueError::Fenced) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(released)
}

/// What a run has claimed, and token and last request of each lane. Nothing, if it is too much to be believed.
async fn claimed_by(redis: &mut Connection, run: &str) -> Result<(Claimed, Requests), QueueError> {
    let seqs: Vec<_> = campaigns::list(redis).await?.into_iter().map(|(seq, _)| seq).collect();
    let (mut claims, mut requests) = (Claimed::new(), Requests::new());
    for record in campaigns::read_all(redis, &seqs).await? {
        let all: Vec<LaneId> =
            (0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect();
        let counters = lane::counters(redis, &all).await?;
        for (id, _) in all.into_iter().zip(counters).filter(|(_, one)| one.of(State::Sending) > 0) {
            let Some(claimed) = standing::of_run(redis, id, run).await? else { continue };
            requests.insert(id, (claimed.token, claimed.request));
            let one = |(index, generation)| (MessageId { lane: id, index }, generation);
            claims.extend(claimed.sending.into_iter().map(one));
            if claims.len() > CLAIMS_MAX {
                return Ok(Default::default());
            }
        }
    }
    Ok((claims, requests))
}
