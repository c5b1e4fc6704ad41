//! The guard of a process: it lets nobody send on the word of a Redis that is not as far as it was known to be.
//!
//! Asked whenever a sender makes a connection, and by control all the while. What it decides by is in
//! [`crate::policy::mark`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::Connection;
use super::{QueueError, keys};
use crate::domain::ids::CampaignSeq;
use crate::policy::mark::{Mark, judge};

/// Shared by everybody who sends or writes what became of it.
#[derive(Debug)]
pub struct Guard {
    mark: Mutex<Mark>,
    stopped: AtomicBool,
}

impl Guard {
    /// A guard that remembers a mark.
    pub fn new(mark: Mark) -> Arc<Self> {
        Arc::new(Self { mark: Mutex::new(mark), stopped: AtomicBool::new(false) })
    }

    /// Whether the last look found a Redis that is not as far as it was.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// What is remembered.
    pub fn mark(&self) -> Mark {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers that Redis has got as far as this.
    pub fn remember(&self, mark: Mark) {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    }

    /// Looks at a Redis. Returns how far it is.
    ///
    /// # Errors
    /// [`QueueError::RolledBack`] if that is not far enough.
    pub async fn check(&self, connection: &mut Connection) -> Result<Mark, QueueError> {
        let mark = self.mark();
        let found = read(connection, &mark.folder).await?;
        if let Err(why) = judge(&mark, &found) {
            if why.concerns_all() && found.refused <= found.accepted {
                note(connection, "refused").await?;
            }
            if !self.stopped.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "redis is not as far as it was: {why}. Nothing is sent. Bring back the right Redis, or read \
                     `carteiro redis accept --help`"
                );
            }
            return Err(QueueError::RolledBack(why.to_string()));
        }
        if found.accepted > mark.accepted {
            tracing::warn!("an operator accepted redis as it is");
            self.remember(found.clone());
        }
        if self.stopped.swap(false, Ordering::Relaxed) {
            tracing::info!("redis is as far as it was known to be again; sending goes on");
        }
        Ok(found)
    }
}

/// How far a Redis is, for the data folder of this name.
pub async fn read(connection: &mut Connection, folder: &str) -> Result<Mark, QueueError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HMGET").arg(keys::INSTALLATION).arg(&["name", "accepted", "refused"]);
    pipeline.cmd("HGET").arg(keys::OWN).arg("token").cmd("GET").arg(keys::VERSION);
    pipeline.cmd("HGETALL").arg(keys::CAMPAIGNS).cmd("HGETALL").arg(keys::ARCHIVED);
    pipeline.cmd("HGET").arg(keys::FAR).arg(folder);
    type Reply = (
        (Option<String>, Option<u64>, Option<u64>),
        Option<u64>,
        Option<u64>,
        BTreeMap<String, u32>,
        BTreeMap<String, String>,
        Option<u64>,
    );
    let ((name, accepted, refused), token, version, there, archived, far): Reply =
        pipeline.query_async(connection).await?;
    let archived = archived
        .into_iter()
        .filter_map(|(id, text)| Some((CampaignSeq(text.split(' ').next()?.parse().ok()?), id)));
    let campaigns = there.into_iter().map(|(id, seq)| (CampaignSeq(seq), id)).chain(archived).collect();
    Ok(Mark {
        installation: name.unwrap_or_default(),
        folder: folder.to_owned(),
        far: far.unwrap_or(0),
        token: token.unwrap_or(0),
        version: version.unwrap_or(0),
        accepted: accepted.unwrap_or(0),
        refused: refused.unwrap_or(0),
        campaigns,
    })
}

/// Moves on what a data folder has written: once it is remembered, a Redis that lacks it is an older one.
pub async fn advance(connection: &mut Connection, mark: &mut Mark, now_us: u64) -> Result<(), QueueError> {
    let far = now_us.max(mark.far + 1);
    let mut call = redis::cmd("HSET");
    call.arg(keys::FAR).arg(&mark.folder).arg(far);
    let _: i64 = call.query_async(connection).await?;
    mark.far = far;
    Ok(())
}

/// Notes that an operator accepts Redis as it is. Every process that looks at it from now on agrees.
pub async fn accept(connection: &mut Connection) -> Result<(), QueueError> {
    note(connection, "accepted").await
}

/// Notes the time in a field of the installation.
async fn note(connection: &mut Connection, field: &str) -> Result<(), QueueError> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    let now_us = seconds * 1_000_000 + micros;
    let mut call = redis::cmd("HSET");
    call.arg(keys::INSTALLATION).arg(field).arg(now_us);
    let _: i64 = call.query_async(connection).await?;
    Ok(())
}
