//! From events to what is to be written: receipts by lane, and stops. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::asked::{self, Asked};
use super::known::Now;
use super::notes::{self, Noted, Said};
use super::secrets::Accounts;
use super::stops;
use crate::cloud::webhook::{AccountEvent, Event, Reference, Status};
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::receipt::{Heard, Outcome, Receipt, ReceiptKind};
use crate::metrics::Ignored;
use crate::policy::classify::{ErrorTable, Kind, Reply, ReplyBody, Scope as VerdictScope, Verdict};
use crate::policy::facts::PeopleLimit;
use crate::policy::stop_words::StopWords;
use crate::queue::halts::Scope;
use crate::queue::stops::StopList;

/// A failure without a code is one that the table does not list.
const NO_CODE: i64 = i64::MIN;

/// What decides.
pub(super) struct Rules<'a> {
    /// Receipts of another installation are foreign.
    pub(super) installation: &'a str,
    pub(super) table: &'a ErrorTable,
    /// Our numbers and their accounts.
    pub(super) numbers: &'a HashMap<NumberId, String>,
    /// Campaigns of failed receipts.
    pub(super) known: &'a HashMap<CampaignSeq, Now>,
    pub(super) time_scale: u32,
    pub(super) words: &'a StopWords,
    pub(super) list: &'a StopList,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) lanes: BTreeMap<LaneId, Vec<(Receipt, Heard)>>,
    /// What stops, and by which row of the error table.
    pub(super) stops: BTreeMap<Scope, u8>,
    /// How many people the portfolio of an account may write to a day from now on, and when Meta said so in wall ms.
    pub(super) people: Vec<(String, PeopleLimit, u64)>,
    /// What goes on if it was stopped by this row.
    pub(super) goes_on: BTreeMap<Scope, u8>,
    /// Meta changed something of a number: its throughput or its quality.
    pub(super) numbers_changed: bool,
    /// What people said, and when it was heard in wall ms. Who acts on it does so in `Writer::write`, before Meta is
    /// told that we have it; an error there has the body sent again.
    pub(super) said: Vec<(Said, u64)>,
    /// What they asked for, and what Meta's codes say of them.
    pub(super) asked: Vec<Asked>,
    /// What happened to accounts, for the journal.
    pub(super) noted: Vec<Noted>,
    /// Receipts that are not ours.
    pub(super) ignored: Vec<Ignored>,
    /// Events of accounts that the signer does not speak for.
    pub(super) strange: usize,
    /// What somebody should look at.
    pub(super) warnings: Vec<String>,
}

/// Campaigns with a failed receipt among the events.
pub(super) fn failed_campaigns<'a>(
    events: impl Iterator<Item = &'a Event>,
    installation: &str,
) -> BTreeSet<CampaignSeq> {
    let campaign = |event: &Event| match event {
        Event::Status(Status { kind: ReceiptKind::Failed, reference: Reference::Wire(id), .. }) => {
            (id.installation == installation).then_some(id.message.lane.campaign)
        }
        _ => None,
    };
    events.filter_map(campaign).collect()
}

impl Plan {
    /// Adds the events of one body.
    pub(super) fn add(
        &mut self,
        events: Vec<Event>,
        accounts: &Accounts,
        heard_at_ms: u64,
        rules: &Rules<'_>,
    ) {
        for event in events {
            match event {
                Event::Status(status) => {
                    self.asked.extend(asked::of_status(&status, heard_at_ms, rules));
                    self.status(status, heard_at_ms, rules);
                }
                Event::Message(message) => self.said(Said::Message(message), accounts, heard_at_ms, rules),
                Event::Preference(preference) => {
                    self.said(Said::Preference(preference), accounts, heard_at_ms, rules);
                }
                Event::Account { account, at_ms, event } if accounts.contains(&account) => {
                    self.noted.push(notes::of_account(&account, &event, at_ms, heard_at_ms));
                    if stops::warns(&event) {
                        self.warnings.push(format!("{event:?} of account {account}"));
                    }
                    if let AccountEvent::Capability { people_per_day: Some(people) } = *event {
                        self.people.push((account.clone(), people, at_ms.unwrap_or(heard_at_ms)));
                    }
                    self.numbers_changed |= matches!(*event, AccountEvent::NumberQuality { .. });
                    let reason = |code| rules.table.code(code).map_or(0, |row| row.reason);
                    // The last word of a body counts.
                    if let Some((scope, code)) = stops::stop(&account, &event) {
                        self.goes_on.remove(&scope);
                        self.stops.entry(scope).or_insert(reason(code));
                    } else if let Some((scope, code)) = stops::goes_on(&account, &event) {
                        self.stops.remove(&scope);
                        self.goes_on.insert(scope, reason(code));
                    }
                }
                Event::Error { account, at_ms, number, code } if accounts.contains(&account) => {
                    let who = (account.as_str(), number.as_ref());
                    self.noted.push(notes::of_error(who, code, at_ms, heard_at_ms));
                    self.halt(
                        &verdict(Some(code), rules.table),
                        number.as_ref(),
                        Some(&account),
                        None,
                        rules,
                    );
                }
                Event::Account { .. } | Event::Error { .. } => self.strange += 1,
            }
        }
    }

    fn said(&mut self, said: Said, accounts: &Accounts, heard_at_ms: u64, rules: &Rules<'_>) {
        if accounts.contains(said.account()) {
            self.asked.extend(asked::of_said(&said, heard_at_ms, rules));
            self.said.push((said, heard_at_ms));
        } else {
            self.strange += 1;
        }
    }

    fn status(&mut self, status: Status, heard_at_ms: u64, rules: &Rules<'_>) {
        let id = match status.reference {
            Reference::Wire(id) if id.installation == rules.installation => id,
            Reference::Wire(_) | Reference::Foreign => return self.ignored.push(Ignored::Foreign),
            Reference::None => return self.ignored.push(Ignored::WithoutId),
        };
        let lane = id.message.lane;
        let (kind, generation, index) = (status.kind, id.generation, id.message.index);
        let mut receipt = Receipt { index, generation, kind, again: false, reason: 0, due_ms: 0 };
        if kind == ReceiptKind::Failed {
            let verdict = verdict(status.code, rules.table);
            let now = rules.known.get(&lane.campaign);
            receipt.reason = verdict.reason;
            if let Some(now) = now.filter(|now| now.goes_on() && worth_another(verdict.kind)) {
                let base = now.campaign.retry.base / rules.time_scale.max(1);
                let wait = verdict.wait.unwrap_or(base).as_millis();
                receipt.again = true;
                receipt.due_ms = heard_at_ms.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX));
            }
            self.halt(&verdict, status.number.as_ref(), None, now, rules);
        }
        let heard = Heard {
            message: id.message,
            generation,
            kind,
            at_ms: status.at_ms,
            heard_at_ms,
            wamid: status.wamid,
            number: status.number,
            code: status.code,
            reason: receipt.reason,
            again: receipt.again,
            outcome: Outcome::NOWHERE,
        };
        self.lanes.entry(lane).or_default().push((receipt, heard));
    }

    /// Stops what a verdict halts, as far as it is known who that is.
    fn halt(
        &mut self,
        verdict: &Verdict,
        number: Option<&NumberId>,
        account: Option<&str>,
        now: Option<&Now>,
        rules: &Rules<'_>,
    ) {
        if verdict.kind != Kind::Halt {
            return;
        }
        let number = number.filter(|number| rules.numbers.contains_key(number));
        let of_number = number.and_then(|number| rules.numbers.get(number)).map(String::as_str);
        let account = account.or(now.map(|now| now.campaign.account.as_str())).or(of_number);
        let scope = match verdict.scope {
            VerdictScope::Template => now.map(|now| {
                Scope::Template(format!("{}/{}", now.campaign.account, now.campaign.template.name))
            }),
            VerdictScope::Account => account.map(|account| Scope::Account(account.to_owned())),
            VerdictScope::Portfolio | VerdictScope::App => Some(Scope::App),
            VerdictScope::Person | VerdictScope::Pair | VerdictScope::Number => {
                number.map(|number| Scope::Number(number.clone()))
            }
        };
        if let Some(scope) = scope {
            self.stops.entry(scope).or_insert(verdict.reason);
        }
    }
}

/// What a code of a webhook means: the same table as for replies, with status 0.
fn verdict(code: Option<i64>, table: &ErrorTable) -> Verdict {
    let body = ReplyBody::Error { code: code.unwrap_or(NO_CODE), is_transient: None };
    let verdict = table.classify(&Reply { http_status: 0, body, retry_after: None });
    Verdict { code, ..verdict }
}

/// Whether a message that Meta took and then gave up on is worth another attempt. A halt stops what is wider than the
/// message, so the message itself waits for whoever lifts it.
fn worth_another(kind: Kind) -> bool {
    match kind {
        Kind::Throttled | Kind::Doubtful | Kind::Transient | Kind::Halt | Kind::Unknown => true,
        Kind::Accepted | Kind::Held | Kind::Permanent => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cloud::webhook::Parsed;
    use crate::domain::campaign::CampaignState;
    use crate::domain::stop::StopKind;
    use crate::intake::campaign_file;
    use serde_json::{Value, json};

    const FILE: &str = "id = \"a\"\naccount = \"100\"\n[template]\nname = \"aviso\"\nlanguage = \"pt_BR\"\nbody = \"Olá, \
        {{nome}}! Há uma mensagem.\"\n[columns]\nphone = \"t\"\nref = \"c\"\n[columns.variables]\nnome = \"n\"\n\
        [retry]\nmax_attempts = 3\nbase = \"8s\"\nmax = \"1m\"\n";

    fn plan(statuses: &Value, state: CampaignState) -> Plan {
        let body = json!({"entry": [{"id": "100", "changes": [{"field": "messages",
            "value": {"metadata": {"phone_number_id": "201"}, "statuses": statuses}}]}]});
        planned(&body, state)
    }

    fn planned(body: &Value, state: CampaignState) -> Plan {
        let events = Parsed::read(body.to_string().as_bytes()).events;
        let campaign = Arc::new(campaign_file::parse(FILE, "a").unwrap());
        let table = ErrorTable::builtin();
        let numbers = HashMap::from([(NumberId::from("201"), "100".to_owned())]);
        let known = HashMap::from([(CampaignSeq(7), Now { state, campaign })]);
        let (words, list) = (StopWords::builtin(), StopList::new((1, 2), 0));
        let rules = Rules {
            installation: "abc",
            table: &table,
            numbers: &numbers,
            known: &known,
            time_scale: 2,
            words: &words,
            list: &list,
        };
        let mut plan = Plan::default();
        plan.add(events, &Arc::new(BTreeSet::from(["100".to_owned()])), 1_000, &rules);
        plan
    }

    fn status(kind: &str, id: &str, code: i64) -> Value {
        json!({"id": "w", "status": kind, "biz_opaque_callback_data": id, "errors": [{"code": code}]})
    }

    #[test]
    fn receipts_are_gathered_by_lane_and_others_counted() {
        let all = json!([
            status("sent", "ct1.abc.7.3.1.1", 0), status("read", "ct1.abc.7.4.1.2", 0), status("sent", "ct1.abc.7.3.2.1", 0),
            status("sent", "ct1.other.7.3.2.1", 0), status("sent", "order 7", 0), {"id": "w", "status": "sent"}
        ]);
        let plan = plan(&all, CampaignState::Running);
        let lanes: Vec<(String, usize)> =
            plan.lanes.iter().map(|(lane, all)| (lane.to_string(), all.len())).collect();
        assert_eq!(lanes, [("7.3".to_owned(), 2), ("7.4".to_owned(), 1)]);
        assert_eq!(plan.ignored, [Ignored::Foreign, Ignored::Foreign, Ignored::WithoutId]);
    }

    fn check_failed(code: i64, state: CampaignState, again: Option<u64>, stop: Option<&str>) {
        let plan = plan(&json!([status("failed", "ct1.abc.7.3.1.1", code)]), state);
        let (receipt, heard) = &plan.lanes.values().next().unwrap()[0];
        assert_eq!(receipt.again.then_some(receipt.due_ms), again, "{code}");
        assert_eq!(
            (receipt.reason, heard.code),
            (ErrorTable::builtin().code(code).map_or(11, |row| row.reason), Some(code))
        );
        let stops: Vec<String> = plan.stops.keys().map(Scope::to_string).collect();
        assert_eq!(stops, stop.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{code}");
    }

    #[test]
    fn failures_go_through_the_table() {
        use CampaignState::{Done, Paused, Running};
        check_failed(131_026, Running, None, None);
        check_failed(131_053, Running, Some(5_000), None);
        check_failed(131_053, Paused, Some(5_000), None);
        check_failed(131_053, Done, None, None);
        check_failed(131_000, Running, Some(61_000), None);
        check_failed(132_015, Running, Some(5_000), Some("template:100/aviso"));
        check_failed(132_015, Done, None, Some("template:100/aviso"));
        check_failed(131_042, Running, Some(5_000), Some("account:100"));
        check_failed(131_048, Running, Some(5_000), Some("number:201"));
        check_failed(987_654, Running, None, None);
    }

    #[test]
    fn codes_that_say_something_of_the_person_stop_them() {
        let failed = |code: i64| {
            let mut status = status("failed", "ct1.abc.7.3.1.1", code);
            status["recipient_id"] = json!("551187654321");
            let asked = plan(&json!([status]), CampaignState::Done).asked;
            asked.into_iter().map(|one| (one.kind, one.account, one.by)).collect::<Vec<_>>()
        };
        let by = |kind| vec![(kind, "100".to_owned(), crate::metrics::Asking::Code)];
        assert_eq!(failed(131_050), by(StopKind::Marketing));
        assert_eq!(failed(130_403), by(StopKind::DoNotContact));
        assert_eq!(failed(131_026), []);
    }

    #[test]
    fn only_the_signers_own_accounts_are_stopped() {
        let of = |account: &str| {
            json!({"entry": [{"id": account, "changes": [{"field": "account_update",
                "value": {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}}}]}]})
        };
        let own = planned(&of("100"), CampaignState::Running);
        assert_eq!((own.stops.len(), own.strange, own.warnings.len()), (1, 0, 1));
        let other = planned(&of("999"), CampaignState::Running);
        assert_eq!((other.stops.len(), other.strange, other.noted.len()), (0, 1, 0));
        assert_eq!(own.noted[0].kind, "account_disabled");
        assert!(!own.numbers_changed);
    }

    #[test]
    fn an_upgrade_of_a_number_has_its_fields_read() {
        let upgrade = json!({"entry": [{"id": "100", "changes": [{"field": "phone_number_quality_update",
            "value": {"display_phone_number": "15550001", "event": "THROUGHPUT_UPGRADE"}}]}]});
        assert!(planned(&upgrade, CampaignState::Running).numbers_changed);
    }

    #[test]
    fn a_new_limit_of_people_is_kept_with_its_time() {
        let of = |account: &str| {
            json!({"entry": [{"id": account, "time": 1_767_225_600, "changes": [{"field": "business_capability_update",
                "value": {"max_daily_conversations_per_business": 10_000}}]}]})
        };
        let own = planned(&of("100"), CampaignState::Running);
        assert_eq!(own.people, [("100".to_owned(), PeopleLimit::AtMost(10_000), 1_767_225_600_000)]);
        let other = planned(&of("999"), CampaignState::Running);
        assert!(other.people.is_empty() && other.strange == 1);
    }

    #[test]
    fn what_people_say_is_heard_by_the_signers_own_accounts() {
        let to = |account: &str| {
            json!({"entry": [{"id": account, "changes": [
                {"field": "messages", "value": {"messages": [{"id": "w", "from": "551198", "type": "text", "text": {"body": "SAIR"}}]}},
                {"field": "user_preferences", "value": {"user_preferences": [{"wa_id": "551198", "value": "stop"}]}}
            ]}]})
        };
        let own = planned(&to("100"), CampaignState::Running);
        assert_eq!((own.said.len(), own.asked.len(), own.strange), (2, 0, 0));
        assert!(
            matches!(&own.said[0], (Said::Message(_), 1_000))
                && matches!(&own.said[1], (Said::Preference(_), _))
        );
        let other = planned(&to("999"), CampaignState::Running);
        assert_eq!((other.said.len(), other.asked.len(), other.strange), (0, 0, 2));
    }
}
