//! A campaign in words and in JSON: what `status` and `list` print.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::output::{Output, Paint, count, counted, rfc3339, span};
use super::hours;
use super::verbs::duration;
use super::world::{Block, Rows, View, World};
use crate::app::hours::to_civil;
use crate::clock::WallMs;
use crate::domain::campaign::CampaignState;
use crate::domain::doubt::DoubtPolicy;
use crate::domain::ids::NumberId;
use crate::domain::receipt::flags;
use crate::domain::record::State;
use crate::policy::classify::ErrorTable;
use crate::policy::classify::table::Row;

/// Cells of a bar.
const BAR_CELLS: u64 = 30;

/// Longest time ahead that is worth telling.
const ETA_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Everything that is shown of a campaign.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The campaign.
    pub view: &'a View,
    /// What is around it.
    pub world: &'a World,
    /// Names of reasons.
    pub table: &'a ErrorTable,
    /// Messages a second now; None while nobody sends.
    pub rate_per_s: Option<f64>,
    /// Now.
    pub now: WallMs,
}

impl Shown<'_> {
    /// As one object.
    pub fn json(&self) -> Value {
        let View { record, campaign, counters, rows, .. } = self.view;
        let eta = self.eta();
        let reasons = counters.reasons.iter().map(|((state, reason), messages)| {
            let row = self.table.reason(*reason);
            json!({
                "state": state.as_str(), "reason": reason, "name": row.map(|row| &row.name),
                "codes": row.map(Row::codes_text), "meaning": row.map(|row| &row.meaning), "messages": messages,
            })
        });
        json!({
            "schema": 1, "id": record.id, "seq": record.seq.0, "state": record.state.as_str(),
            "since": rfc3339(record.since_ms), "account": campaign.account, "template": campaign.template.name,
            "priority": campaign.priority.as_str(), "lanes": record.lanes(), "expected": record.expected,
            "rows": rows.rows, "loaded": rows.loaded, "duplicate": rows.duplicate, "rejected": rows.rejected,
            "loading": rows.loading, "load_broke_off": rows.broke_off,
            "states": states(self.view), "receipts": receipts(self.view), "duplicates_detected": counters.duplicates,
            "doubt": self.doubt_json(), "reasons": reasons.collect::<Vec<_>>(), "left": self.view.left(),
            "rate_per_s": self.rate_per_s, "eta_s": eta.map(|eta| eta.as_secs()),
            "eta": eta.map(|eta| rfc3339(self.end(eta))),
            "why": record.why, "first": record.first.as_ref().map(|first| first.granted),
            "starts_at": self.starts_at_ms().map(rfc3339), "closed": record.closed, "settings": record.settings,
            "node": self.world.owner.as_ref().map(|owner| &owner.node),
            "blocked": self.view.blocks(self.world).iter().map(|block| self.block_json(block)).collect::<Vec<_>>(),
        })
    }

    /// As a block of lines.
    pub fn block(&self, out: &Output) -> String {
        let record = &self.view.record;
        let since =
            if record.since_ms > 0 { format!(" since {}", rfc3339(record.since_ms)) } else { String::new() };
        let mut head =
            format!("{}  {}{since}", out.paint(Paint::Bold, &record.id), painted(record.state, out));
        if self.view.counters.count > 0 {
            let bar = if out.to_terminal() {
                format!("{} ", bar(self.dealt_with(), self.view.counters.count))
            } else {
                String::new()
            };
            head += &format!("  {bar}{}", self.progress());
        }
        let mut lines = vec![head];
        lines
            .extend(self.standing().into_iter().map(|line| format!("  {}", out.paint(Paint::Yellow, &line))));
        lines.extend(self.pace().map(|pace| format!("  {pace}")));
        lines.push(format!("  {}", self.states()));
        lines.extend(self.receipts().map(|line| format!("  {line}")));
        lines.extend(
            self.reasons().into_iter().map(|line| format!("    {}", out.paint(Paint::Yellow, &line))),
        );
        lines.extend(self.doubt().map(|line| format!("  {}", out.paint(Paint::Yellow, &line))));
        lines.extend(loads(&self.view.rows).into_iter().map(|line| format!("  {line}")));
        let blocks = self.view.blocks(self.world);
        lines.extend(
            blocks.iter().map(|block| format!("  {}", out.paint(Paint::Red, &self.block_line(block)))),
        );
        lines.join("\n")
    }

    /// As one plain line.
    pub fn line(&self) -> String {
        let pace = self.pace().map(|pace| format!(", {pace}"));
        let record = &self.view.record;
        format!("{}: {}, {}{}", record.id, record.state, self.progress(), pace.unwrap_or_default())
    }

    /// What an operator or the brake decided about it, beyond its state.
    fn standing(&self) -> Vec<String> {
        let record = &self.view.record;
        let mut lines = Vec::new();
        lines.extend(record.why.as_ref().map(|why| format!("paused by itself: {why}")));
        lines.extend(
            self.starts_at_ms().map(|at| {
                format!("starts on {} (with a running serve)", hours::local(to_civil(WallMs(at), 0)))
            }),
        );
        let first = record.first.as_ref().filter(|_| record.state == CampaignState::Running);
        lines.extend(first.map(|first| format!("sends its first {}, then pauses", count(first.granted))));
        if !record.settings.is_empty() {
            let pairs: Vec<String> =
                record.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
            lines.push(format!("set: {}", pairs.join("  ")));
        }
        if record.closed {
            lines.push("closed: takes no more recipients".to_owned());
        }
        lines
    }

    fn starts_at_ms(&self) -> Option<u64> {
        self.view.record.start_at_ms.filter(|_| self.view.record.state == CampaignState::Ready)
    }

    fn dealt_with(&self) -> u64 {
        self.view.counters.count - self.view.left()
    }

    fn progress(&self) -> String {
        let all = self.view.counters.count;
        let tenths = (self.dealt_with() * 1_000).checked_div(all).unwrap_or(0);
        format!("{}.{}%  {} of {}", tenths / 10, tenths % 10, count(self.dealt_with()), count(all))
    }

    fn pace(&self) -> Option<String> {
        let rate = self.rate_per_s?;
        if self.view.left() == 0 {
            return None;
        }
        let waiting = self.view.counters.of(State::Waiting);
        let rest = if waiting > 0 { format!(", but for {} waiting", count(waiting)) } else { String::new() };
        let eta =
            self.eta().map(|eta| format!("  done in about {} ({}){rest}", span(eta), rfc3339(self.end(eta))));
        Some(format!("rate {rate:.0}/s{}", eta.unwrap_or_default()))
    }

    /// When all will have left that is not waiting: each of those has a time of its own, which no rate tells.
    fn eta(&self) -> Option<Duration> {
        let rate = self.rate_per_s.filter(|rate| *rate > 0.0)?;
        let left = self.view.left().saturating_sub(self.view.counters.of(State::Waiting));
        let eta = duration(left, rate);
        (left > 0 && self.view.record.state == CampaignState::Running && eta < ETA_MAX).then_some(eta)
    }

    fn end(&self, eta: Duration) -> u64 {
        self.now.0.saturating_add(u64::try_from(eta.as_millis()).unwrap_or(u64::MAX))
    }

    fn states(&self) -> String {
        let counters = &self.view.counters;
        let there = State::ALL.into_iter().filter(|state| counters.of(*state) > 0);
        let states: Vec<String> =
            there.map(|state| format!("{} {}", state.as_str(), count(counters.of(state)))).collect();
        if states.is_empty() { "no messages yet".to_owned() } else { states.join("  ") }
    }

    /// What Meta's receipts say; None before the first.
    fn receipts(&self) -> Option<String> {
        let counters = &self.view.counters;
        let there = flags::COUNTED.iter().zip(counters.receipts).filter(|(_, messages)| *messages > 0);
        let mut words: Vec<String> =
            there.map(|((name, _), messages)| format!("{name} {}", count(messages))).collect();
        if counters.duplicates > 0 {
            words.push(format!("arrived twice {}", count(counters.duplicates)));
        }
        (!words.is_empty()).then(|| format!("receipts: {}", words.join("  ")))
    }

    /// One line per state and reason, the commonest first.
    fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<_> = self.view.counters.reasons.iter().collect();
        reasons.sort_by_key(|(key, messages)| (std::cmp::Reverse(**messages), **key));
        let words = |((state, reason), messages): (&(State, u8), &u64)| {
            let row = self.table.reason(*reason);
            let name = row.map_or_else(|| format!("reason {reason}"), with_codes);
            let meaning = row.map(|row| format!(": {}", row.meaning)).unwrap_or_default();
            format!("{} {} {name}{meaning}", count(*messages), state.as_str())
        };
        reasons.into_iter().map(words).collect()
    }

    /// Numbers with messages in doubt that send without hearing of it, and since when.
    fn silent(&self) -> Vec<(&str, u64)> {
        let boards = self.world.board.iter().flat_map(|board| &board.numbers);
        let ours = |id: &str| self.view.doubts.contains_key(&NumberId::from(id));
        let silent = boards.filter_map(|one| Some((one.id.as_str(), one.webhooks_silent_since_ms?)));
        silent.filter(|(id, _)| ours(id)).collect()
    }

    /// What becomes of messages in doubt, and what keeps their clock from running.
    fn doubt(&self) -> Option<String> {
        let in_doubt = self.view.counters.of(State::InDoubt);
        let unresolved = self.view.counters.of(State::Unresolved);
        let mut words = Vec::new();
        if in_doubt > 0 {
            let rules = self.view.campaign.doubt;
            let then = match rules.policy {
                DoubtPolicy::Keep => "then unresolved",
                DoubtPolicy::Resend => "then sent again",
            };
            words.push(format!(
                "in doubt {}: waits {} for receipts, {then}",
                count(in_doubt),
                span(rules.wait)
            ));
        }
        if let Some(since) = self.silent().into_iter().map(|(_, since)| since).min() {
            words.push(format!(
                "webhooks silent since {}, so nothing in doubt is sent again: see `carteiro webhooks check`",
                rfc3339(since)
            ));
        }
        if unresolved > 0 {
            words.push(format!(
                "unresolved {}: `carteiro campaign resolve {} --resend` or `--as-sent`",
                count(unresolved),
                self.view.record.id
            ));
        }
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn doubt_json(&self) -> Value {
        let (rules, silent) = (self.view.campaign.doubt, self.silent());
        json!({
            "policy": rules.policy.as_str(), "wait_s": rules.wait.as_secs(),
            "webhooks_silent": silent.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            "webhooks_silent_since": silent.iter().map(|(_, since)| *since).min().map(rfc3339),
        })
    }

    fn block_line(&self, block: &Block) -> String {
        let said = |until| {
            if block.reason == "hours" { hours::local(to_civil(WallMs(until), 0)) } else { rfc3339(until) }
        };
        let until = block.until_ms.map(|until| format!(" until {}", said(until))).unwrap_or_default();
        let row = block.row.and_then(|row| self.table.reason(row));
        let why = row
            .map(|row| format!(" by {}: {}; {}", with_codes(row), row.meaning, row.action))
            .unwrap_or_default();
        let numbers = counted(block.numbers.len() as u64, "number");
        match (block.reason.as_str(), &block.scope) {
            ("no_serve", _) => "blocked: no serve is running; start one with `carteiro serve`".to_owned(),
            ("not_configured", _) => format!(
                "blocked: {numbers} not in the configuration of the running serve ({}); restart it, and their messages move to others",
                listed_numbers(block)
            ),
            (reason, Some(scope)) if scope == "app:all" => format!("blocked: everything {reason}{why}"),
            (reason, Some(scope)) => format!("blocked: {} {reason}{until}{why}", scope.replacen(':', " ", 1)),
            (reason, None) => format!("blocked: {numbers} by {reason}{until} ({})", listed_numbers(block)),
        }
    }

    fn block_json(&self, block: &Block) -> Value {
        let row = block.row.and_then(|row| self.table.reason(row));
        json!({
            "reason": block.reason, "scope": block.scope, "numbers": block.numbers, "until": block.until_ms.map(rfc3339),
            "name": row.map(|row| &row.name), "meaning": row.map(|row| &row.meaning), "action": row.map(|row| &row.action),
        })
    }
}

/// A campaign as a line of `list`.
pub fn listed(view: &View, out: &Output) -> String {
    let (record, rows) = (&view.record, &view.rows);
    let id = out.paint(Paint::Bold, &record.id);
    let left = if view.left() > 0 { format!("  left {}", count(view.left())) } else { String::new() };
    format!("{id}  {}  {}{left}", painted(record.state, out), counted(rows.loaded, "message"))
}

/// A campaign as an object of `list`.
pub fn listed_json(view: &View) -> Value {
    let record = &view.record;
    json!({
        "schema": 1, "id": record.id, "seq": record.seq.0, "state": record.state.as_str(),
        "since": rfc3339(record.since_ms), "account": view.campaign.account, "template": view.campaign.template.name,
        "priority": view.campaign.priority.as_str(), "loaded": view.rows.loaded, "left": view.left(),
    })
}

fn states(view: &View) -> Value {
    let states =
        State::ALL.into_iter().map(|state| (state.as_str().to_owned(), json!(view.counters.of(state))));
    Value::Object(states.collect::<Map<_, _>>())
}

fn receipts(view: &View) -> Value {
    let counted = flags::COUNTED.iter().zip(view.counters.receipts);
    Value::Object(counted.map(|((name, _), messages)| ((*name).to_owned(), json!(messages))).collect())
}

fn loads(rows: &Rows) -> Vec<String> {
    if *rows == Rows::default() {
        return Vec::new();
    }
    let [all, loaded, duplicate, rejected] =
        [rows.rows, rows.loaded, rows.duplicate, rows.rejected].map(count);
    let mut lines =
        vec![format!("rows {all} = {loaded} loaded + {duplicate} duplicate + {rejected} rejected")];
    if rows.loading {
        lines.push("a load is running".to_owned());
    }
    if rows.broke_off {
        lines.push(
            "the latest load broke off; loading the same file again adds only what is missing".to_owned(),
        );
    }
    lines
}

fn with_codes(row: &Row) -> String {
    let codes = row.codes_text();
    if codes.is_empty() { row.name.clone() } else { format!("{codes} {}", row.name) }
}

fn listed_numbers(block: &Block) -> String {
    block.numbers.iter().cloned().collect::<Vec<_>>().join(", ")
}

fn painted(state: CampaignState, out: &Output) -> String {
    let paint = match state {
        CampaignState::Running | CampaignState::Done => Paint::Green,
        CampaignState::Paused => Paint::Yellow,
        CampaignState::Cancelled => Paint::Red,
        CampaignState::Draft | CampaignState::Ready => Paint::Dim,
    };
    out.paint(paint, state.as_str())
}

fn bar(done: u64, all: u64) -> String {
    let full = (done * BAR_CELLS).checked_div(all).unwrap_or(0).min(BAR_CELLS);
    let cells = |cell: &str, cells: u64| cell.repeat(usize::try_from(cells).unwrap_or(0));
    format!("[{}{}]", cells("#", full), cells("-", BAR_CELLS - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_campaign() {
        assert_eq!(bar(0, 0), format!("[{}]", "-".repeat(30)));
        assert_eq!(bar(1, 2), format!("[{}{}]", "#".repeat(15), "-".repeat(15)));
        assert_eq!(bar(7, 7), format!("[{}]", "#".repeat(30)));
    }
}
