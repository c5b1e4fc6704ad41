//! The words of `why`. Pure: what was found goes in, text or JSON comes out.

use serde_json::{Value, json};

use super::super::campaign::world::World;
use super::super::journal::{instant, line, object};
use super::super::output::{Output, Paint, counted, rfc3339, span};
use super::find::Found;
use crate::config::Config;
use crate::domain::campaign::CampaignState;
use crate::domain::record::State;
use crate::journal::{Entry, Outcome};
use crate::policy::classify::ErrorTable;
use crate::policy::classify::table::own;
use crate::queue::halts::{Scope, Why};

/// What the words are made from.
pub(super) struct Teller<'a> {
    pub(super) installation: &'a str,
    pub(super) world: &'a World,
    pub(super) table: &'a ErrorTable,
    pub(super) config: &'a Config,
    pub(super) now_ms: u64,
}

impl Teller<'_> {
    /// As an object of its own line.
    pub(super) fn object(&self, found: &Found, entries: &[Entry], actions: &[Entry], journal: bool) -> Value {
        let row = self.table.reason(found.stands.reason);
        json!({
            "schema": 1, "message_id": self.id(found), "campaign": found.record.id,
            "campaign_state": found.record.state.as_str(), "line": found.line,
            "loaded_at": rfc3339(found.loaded_at_ms), "state": self.state(found).as_str(),
            "attempts": found.stands.attempt, "claims": found.stands.generation,
            "reason": row.map(|row| &row.name), "meaning": row.map(|row| &row.meaning),
            "action": row.map(|row| &row.action), "due_at": self.due(found).map(rfc3339),
            "contacts": found.contacts_ms.iter().map(|at| rfc3339(*at)).collect::<Vec<_>>(),
            "number": found.number.as_ref().map(ToString::to_string), "kept_by": self.kept_by(found),
            "journal": journal, "entries": entries.iter().map(object).collect::<Vec<_>>(),
            "actions": actions.iter().map(object).collect::<Vec<_>>(),
            "stops": found.stops.iter().map(|(object, _)| object).collect::<Vec<_>>(),
        })
    }

    /// As text.
    pub(super) fn text(&self, found: &Found, entries: &[Entry], actions: &[Entry], out: &Output) -> String {
        let Found { record, stands, .. } = found;
        let mut text = format!(
            "{}  campaign {} ({}), line {}, loaded {}\n",
            out.paint(Paint::Bold, &self.id(found)),
            record.id,
            record.state,
            found.line,
            rfc3339(found.loaded_at_ms)
        );
        text += &format!("  {}: {}\n", self.state(found).as_str(), self.meaning(found, entries));
        if let Some(row) = self.table.reason(stands.reason) {
            text += &format!("  reason: {}, {}; {}\n", row.name, row.meaning, row.action);
        }
        if stands.attempt > 0 || stands.generation > 0 {
            text += &format!(
                "  tried {}, claimed {}\n",
                counted(u64::from(stands.attempt), "time"),
                counted(u64::from(stands.generation), "time")
            );
        }
        if let Some(due) = self.due(found) {
            let wait = std::time::Duration::from_millis(due.saturating_sub(self.now_ms));
            let when = if due > self.now_ms { format!("in {}", span(wait)) } else { "now".to_owned() };
            text += &format!("  next attempt: {when} ({})\n", rfc3339(due));
        }
        for kept in self.kept_by(found) {
            text += &format!("  {}\n", out.paint(Paint::Yellow, &format!("kept back: {kept}")));
        }
        for (_, stop) in &found.stops {
            text += &format!("  {}\n", out.paint(Paint::Yellow, &format!("in the stop list: {stop}")));
        }
        for (title, list) in [("what happened", entries), ("what people did to its campaign", actions)] {
            if !list.is_empty() {
                text += &format!("  {title}:\n");
                for entry in list {
                    text += &format!("    {}\n", line(entry, out));
                }
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn id(&self, found: &Found) -> String {
        format!("ct1.{}.{}", self.installation, found.message)
    }

    /// What was not sent of a cancelled campaign never will be.
    fn state(&self, found: &Found) -> State {
        let cancelled = found.record.state == CampaignState::Cancelled && found.stands.state.claimable();
        if cancelled { State::Cancelled } else { found.stands.state }
    }

    fn due(&self, found: &Found) -> Option<u64> {
        found.due_ms.filter(|_| self.state(found).claimable())
    }

    fn meaning(&self, found: &Found, entries: &[Entry]) -> String {
        let accepted = entries.iter().rev().find_map(|entry| match entry {
            Entry::Reply { outcome: Outcome::Accepted | Outcome::Held, at_ms, wamid, .. } => {
                Some((at_ms, wamid))
            }
            _ => None,
        });
        match self.state(found) {
            State::Queued => "it has not been sent".to_owned(),
            State::Sending => "an engine has claimed it, and its request may be under way".to_owned(),
            State::Accepted => match accepted {
                Some((at, Some(wamid))) => format!("Meta took it at {} as {wamid}", instant(*at)),
                _ => "Meta took it".to_owned(),
            },
            State::Held => {
                "Meta took it and holds it back while it looks at the template's quality".to_owned()
            }
            State::Waiting => self.waits(found),
            State::Failed => "it will not be sent: refused for good, or its attempts are used up".to_owned(),
            State::InDoubt => {
                "nobody knows whether it reached the person; it is not sent again by itself".to_owned()
            }
            State::Unresolved => "nobody will ever know whether it reached the person".to_owned(),
            State::Suppressed if found.stands.reason == own::CONTACT_CAP => {
                format!("it is not sent: {}", contacted(found))
            }
            State::Suppressed => "it may not be sent to this person".to_owned(),
            State::Expired => "it was too old when its turn came, and was not sent".to_owned(),
            State::Cancelled => "its campaign was cancelled before it was sent".to_owned(),
        }
    }

    fn waits(&self, found: &Found) -> String {
        let from =
            || found.due_ms.map_or_else(String::new, |due| format!("; may be sent from {}", rfc3339(due)));
        match found.stands.reason {
            own::CONTACT_CAP => format!("it waits: {}{}", contacted(found), from()),
            own::PAIR_WAIT => format!("it waits: its number wrote to this person a moment ago{}", from()),
            _ => "Meta refused it for now; it will be tried again".to_owned(),
        }
    }

    /// What keeps it from leaving now, as far as anything does.
    fn kept_by(&self, found: &Found) -> Vec<String> {
        let mut kept = Vec::new();
        if !self.state(found).claimable() {
            return kept;
        }
        match found.record.state {
            CampaignState::Running => {}
            CampaignState::Paused => kept.push("its campaign is paused".to_owned()),
            other => kept.push(format!("its campaign is {other}, and not running")),
        }
        let campaign = &found.campaign;
        let mut scopes = vec![
            Scope::App,
            Scope::Account(campaign.account.clone()),
            Scope::Template(format!("{}/{}", campaign.account, campaign.template.name)),
        ];
        scopes.extend(found.number.clone().map(Scope::Number));
        for scope in scopes {
            match self.world.halts.get(&scope) {
                None => {}
                Some(Why::Operator) => kept.push(format!("{scope} is paused by an operator")),
                Some(Why::Halted(reason)) => {
                    let row = self.table.reason(*reason);
                    let (meaning, action) =
                        row.map(|row| (row.meaning.as_str(), row.action.as_str())).unwrap_or_default();
                    kept.push(format!("{scope} is halted: {meaning}; {action}"));
                }
            }
        }
        let Some(number) = &found.number else { return kept };
        if !self.config.numbers.iter().any(|known| known.id == *number) {
            kept.push(format!("its number {number} is not in the configuration"));
        }
        match (&self.world.owner, &self.world.board) {
            (None, _) => kept.push("no serve is running".to_owned()),
            (Some(_), Some(board)) => {
                let shown = board.numbers.iter().find(|shown| *shown.id == *number.0);
                if let Some(blocked) = shown.and_then(|shown| shown.blocked.as_deref()) {
                    kept.push(format!("its number {number} is blocked: {blocked}"));
                }
            }
            (Some(_), None) => {}
        }
        kept
    }
}

/// When a person was written to.
fn contacted(found: &Found) -> String {
    let times: Vec<String> = found.contacts_ms.iter().map(|at| rfc3339(*at)).collect();
    match times.as_slice() {
        [] => "this person was written to as often as [cap] allows".to_owned(),
        times => format!("this person was written to at {}", times.join(", ")),
    }
}
