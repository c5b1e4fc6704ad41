//! How far Redis is: looked at all the while, and remembered in the data folder, so that an emptied or older one is known
//! by the next look or the next start.

use std::sync::Arc;
use std::time::Duration;

use super::Control;
use crate::app::mark;
use crate::clock::{self, Mono};
use crate::policy::mark::Observed;
use crate::queue::QueueError;
use crate::queue::guard::{self, Guard};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// How long replicas are waited for: when they are further behind nothing is sent, and control must hear a pause.
const REPLICAS_WAITED: Duration = Duration::from_millis(100);

/// What control knows of it.
#[derive(Debug)]
pub(in crate::app) struct Far {
    guard: Arc<Guard>,
    /// The installation for which this process works.
    installation: String,
    observed: Observed,
    next: Mono,
}

impl Far {
    pub(in crate::app) fn new(guard: Arc<Guard>, installation: &str) -> Self {
        let installation = installation.to_owned();
        Self { guard, installation, observed: Observed::default(), next: Mono::default() }
    }
}

impl Control {
    pub(super) async fn look_how_far(&mut self) -> Result<(), QueueError> {
        let now = clock::mono();
        if now < self.far.next {
            return Ok(());
        }
        self.far.next = now.after(EVERY);
        let known = self.far.guard.clone();
        let found = self
            .link
            .call(async |redis| match known.check(redis).await {
                Err(QueueError::RolledBack(_)) => Ok(None),
                Err(error) => Err(error),
                Ok(mut found) => {
                    let before = found.far;
                    guard::advance(redis, &mut found, clock::wall().0 * 1_000).await?;
                    // Only what a replica has can be asked of the master that it becomes: an old master that nobody follows
                    // any more may be found once more before the sentinels name the new one.
                    let kept = match redis.replicated_within(REPLICAS_WAITED).await {
                        Err(QueueError::Unkept { .. }) => false,
                        other => other.map(|()| true)?,
                    };
                    Ok(Some((before, found, kept)))
                }
            })
            .await?;
        let Some((before, found, kept)) = found else {
            // Whatever was seen of it is no more.
            self.far.observed.clear();
            return Ok(());
        };
        if found.installation != self.far.installation {
            return Err(QueueError::Exchanged(found.installation));
        }
        self.far.observed.gone_back_to(before);
        // As of the answer: where Redis was away meanwhile, what it says now is not as old as the question.
        let answered = clock::mono();
        let window = self.config.redis.replay_window;
        let known = kept.then(|| self.far.observed.note(answered, found, window)).flatten();
        let Some(known) = known else {
            return Ok(());
        };
        self.far.guard.remember(known.clone());
        let data_dir = self.config.data_dir.clone();
        // A slow disk must not keep control from hearing a pause.
        let saved = tokio::task::spawn_blocking(move || mark::save(&data_dir, &known));
        tokio::task::spawn_local(async move {
            if let Ok(Err(error)) = saved.await {
                tracing::error!(%error, "how far redis has got is not remembered");
            }
        });
        Ok(())
    }
}
