//! What a reply of Meta stops until an operator resumes it: a template, a number, an account, or everything.

use super::Control;
use crate::domain::ids::NumberId;
use crate::policy::classify::{Scope as VerdictScope, Verdict};
use crate::queue::halts::{self, Scope, Why};
use crate::queue::{QueueError, campaigns};

impl Control {
    /// Writes the halt for everybody, and says it.
    pub(super) async fn on_halt(
        &mut self,
        verdict: &Verdict,
        number: NumberId,
        account: String,
        template: String,
    ) -> Result<(), QueueError> {
        let scope = match verdict.scope {
            VerdictScope::Template => Scope::Template(template),
            VerdictScope::Account => Scope::Account(account),
            VerdictScope::Portfolio | VerdictScope::App => Scope::App,
            VerdictScope::Person | VerdictScope::Pair | VerdictScope::Number => Scope::Number(number),
        };
        let table = self.table();
        let row = table.reason(verdict.reason);
        let (meaning, action) =
            row.map(|row| (row.meaning.as_str(), row.action.as_str())).unwrap_or_default();
        tracing::error!(%scope, code = verdict.code, meaning, action, "halted until an operator resumes it");
        // A resume may come before the halt is read again: nothing would have changed then, and the shard that stopped
        // by itself would stay so for ever.
        self.state.retell = true;
        self.link
            .call(async |redis| {
                halts::stop(redis, &scope, &Why::Halted(verdict.reason)).await?;
                campaigns::announce(redis).await.map(|_| ())
            })
            .await
    }
}
