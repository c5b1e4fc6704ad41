//! The version of the table in [`keys`], and the steps from an older one.

use redis::AsyncCommands;

use super::connection::Connection;
use super::{QueueError, keys, script, time};
use crate::domain::area::CalendarClass;
use crate::domain::contact::ContactRules;

/// Buckets of the contacts of a class in layout 1, at most.
const BUCKETS: u8 = 64;

/// Stretches of time whose contacts count at most: those of a week, and the one in which it began.
const STRETCHES: u64 = 8;

/// Brings an older layout up to this program's, and says so in Redis. Done again, or by several at once, it does no harm; the
/// processes of the older version are to be stopped before, since what they note later is not looked for.
///
/// # Errors
/// [`QueueError::LayoutTooNew`] when a newer program was here, and when Redis does not answer.
pub async fn check(connection: &mut Connection, rules: ContactRules) -> Result<(), QueueError> {
    let _new: bool = connection.set_nx(keys::LAYOUT_KEY, keys::LAYOUT).await?;
    let found: u32 = connection.get(keys::LAYOUT_KEY).await?;
    if found > keys::LAYOUT {
        return Err(QueueError::LayoutTooNew { found, known: keys::LAYOUT });
    }
    if found < 2 {
        join_contacts(connection, rules).await?;
        let _: () = connection.set(keys::LAYOUT_KEY, keys::LAYOUT).await?;
    }
    Ok(())
}

/// Layout 1 kept the contacts of a class and a stretch in several lists, layout 2 keeps them in one.
async fn join_contacts(connection: &mut Connection, rules: ContactRules) -> Result<(), QueueError> {
    let length_ms = u64::try_from(rules.day.as_millis()).unwrap_or(u64::MAX).max(1);
    let now = time::now_ms(connection).await? / length_ms;
    for class in CalendarClass::all() {
        for stretch in now.saturating_sub(STRETCHES)..=now {
            let mut call = script::CAP_JOIN.prepare_invoke();
            call.key(keys::cap(class, stretch));
            for bucket in 0..BUCKETS {
                call.key(format!("ct:{{h{}}}:cap:{bucket}:{stretch}", class.index()));
            }
            script::run::<u64>(connection, &call).await?;
        }
    }
    Ok(())
}
