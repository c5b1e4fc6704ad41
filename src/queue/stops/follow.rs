//! Following the log: the whole list at a start, what is new afterwards, and now and then a new base.

use super::StopList;
use super::list::PARTS;
use super::log::{self, Base, SLICE};
use crate::queue::connection::Connection;
use crate::queue::{QueueError, keys};

/// How often a list that changes its base while it is read is read again.
const TRIES_MAX: usize = 5;

/// Entries of the log that are worth a new base.
pub const LOG_MAX: u64 = 4_096;

/// What [`take`] made of some entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// They are in the list.
    All,
    /// Entries before them are gone: the list has to be read anew.
    Gap,
}

/// Reads everything: the base, and the log behind it.
pub async fn load(connection: &mut Connection, list: &StopList) -> Result<(), QueueError> {
    for _ in 0..TRIES_MAX {
        let fresh = list.anew();
        if read(connection, &fresh).await? {
            list.replace(&fresh);
            return Ok(());
        }
    }
    let what = "its log begins behind its base".to_owned();
    Err(QueueError::Corrupt { key: keys::STOP.to_owned(), what })
}

/// Reads what is new. What cannot be reached from here any more has everything read anew.
pub async fn advance(connection: &mut Connection, list: &StopList) -> Result<(), QueueError> {
    loop {
        let entries = log::after(connection, list.version()).await?;
        let more = entries.len() == SLICE;
        if take(list, entries) == Taken::Gap {
            return load(connection, list).await;
        }
        if !more {
            return Ok(());
        }
    }
}

/// Takes entries into the list, in their order; those that are in it are passed over.
pub fn take(list: &StopList, entries: Vec<(u64, super::Batch)>) -> Taken {
    for (version, batch) in entries {
        let known = list.version();
        if version > known + 1 {
            return Taken::Gap;
        }
        if version == known + 1 {
            list.apply(&batch);
            list.set_version(version);
        }
    }
    Taken::All
}

/// Redis knows less than this process, because a backup was restored or its data were lost: what is known here stays in
/// force, what is there is read on top of it, and the version is theirs.
pub async fn rejoin(connection: &mut Connection, list: &StopList) -> Result<(), QueueError> {
    let fresh = list.anew();
    if !read(connection, &fresh).await? {
        return load(connection, list).await;
    }
    for part in 0..PARTS {
        fresh.dump(part).iter().for_each(|batch| list.apply(batch));
    }
    list.set_version(fresh.version());
    Ok(())
}

/// Writes a new base and trims the log. The list may change meanwhile: entries behind the version that it had at first are
/// read again on top of the base, and they say what shall be so. False: somebody else was faster.
pub async fn compact(
    connection: &mut Connection,
    list: &StopList,
    nonce: u64,
    now_ms: u64,
) -> Result<bool, QueueError> {
    let before = log::base(connection).await?;
    let version = list.version();
    if version == 0 {
        return Ok(false);
    }
    let base = Base { key: format!("{}:{version}-{nonce:08x}", keys::STOP_BASE), version };
    for part in 0..PARTS {
        for batches in list.dump(part).chunks(SLICE) {
            log::write_base(connection, &base, batches).await?;
        }
    }
    log::put_in_force(connection, &base, before.as_ref(), now_ms).await
}

/// False: the base was replaced while it was read.
async fn read(connection: &mut Connection, list: &StopList) -> Result<bool, QueueError> {
    let base = log::base(connection).await?;
    if let Some(base) = &base {
        let mut from = Some("-".to_owned());
        while let Some(at) = from {
            let (batches, next) = log::read_base(connection, base, &at).await?;
            batches.iter().for_each(|batch| list.apply(batch));
            from = next;
        }
        list.set_version(base.version);
    }
    if log::base(connection).await? != base {
        return Ok(false);
    }
    loop {
        let entries = log::after(connection, list.version()).await?;
        let more = entries.len() == SLICE;
        if take(list, entries) == Taken::Gap {
            return Ok(false);
        }
        if !more {
            return Ok(true);
        }
    }
}
