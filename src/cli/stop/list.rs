//! `carteiro stop list`: how many stops there are, or what is known of one person or debt.

use clap::Args;
use serde_json::{Value, json};

use super::{Aim, AimArgs, scope, told, word};
use crate::app::stops;
use crate::app::store::Store;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::output::{count, rfc3339};
use crate::clock;
use crate::domain::stop::{StopDay, StopKind, Subject};
use crate::queue::stops::{StopList, Tally, follow, words};

/// Arguments of `list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Of whom or what; default: all, counted.
    #[command(flatten)]
    pub aim: AimArgs,
}

/// A line: some stops that are alike, or one.
struct Row {
    kind: StopKind,
    account: Option<Box<str>>,
    subject: Subject,
    tally: Tally,
    /// Of one: the first day, and what the journal says.
    one: Option<(StopDay, Option<told::Told>)>,
}

/// Runs the command.
pub(super) async fn run(args: &ListArgs, context: &Context) -> Result<Exit, CliError> {
    let named = args.aim.person.is_some() || args.aim.reference.is_some();
    let aim = if named { Some(args.aim.read()?) } else { None };
    context.with_store(async |store| show(aim.as_ref(), args, store, context).await).await
}

async fn show(
    aim: Option<&Aim>,
    args: &ListArgs,
    store: &mut Store,
    context: &Context,
) -> Result<Exit, CliError> {
    let list = stops::list(store, 0);
    follow::load(&mut store.connection, &list).await?;
    let today = list.today(clock::wall());
    let ours = |account: &Option<Box<str>>| {
        args.aim.account.as_deref().is_none_or(|wanted| account.as_deref().is_none_or(|one| one == wanted))
    };
    let mut rows = match aim {
        Some(aim) => of_one(aim, &list, today, context)?,
        None => all(&list, today),
    };
    rows.retain(|row| ours(&row.account));
    for row in &rows {
        if context.out.json {
            context.out.object(&row.object(today))?;
        } else {
            context.out.line(row.line())?;
        }
    }
    if rows.is_empty() {
        context.out.hint(match aim {
            None => "the stop list is empty",
            Some(Aim::Person(_)) => "no stop is known of this person",
            Some(Aim::Debt(_)) => "no stop is known of this debt",
        });
    }
    Ok(Exit::Done)
}

fn all(list: &StopList, today: StopDay) -> Vec<Row> {
    let row = |((kind, account, subject), tally)| Row { kind, account, subject, tally, one: None };
    list.tally(today).into_iter().map(row).collect()
}

fn of_one(aim: &Aim, list: &StopList, today: StopDay, context: &Context) -> Result<Vec<Row>, CliError> {
    let mut found: Vec<(String, StopKind, Option<Box<str>>, StopDay)> = Vec::new();
    match aim {
        Aim::Person(person) => {
            let mark = list.mark(*person);
            let rules = list.of_person(*person).into_iter();
            found.extend(rules.map(|(kind, account, from)| (mark.clone(), kind, account, from)));
        }
        Aim::Debt(reference) => {
            for account in &context.config.accounts {
                let (id, hash) = (account.id.as_str(), list.debt_hash(&account.id, reference));
                let kinds = [StopKind::Paid, StopKind::Disputed].into_iter();
                let known = kinds.filter(|kind| list.has_debt(hash, *kind));
                let mark = list.debt_mark(id, reference);
                found.extend(known.map(|kind| (mark.clone(), kind, Some(id.into()), StopDay::AT_ONCE)));
            }
        }
    }
    let marks: Vec<String> = found.iter().map(|(mark, ..)| mark.clone()).collect();
    let mut journal = if marks.is_empty() { Default::default() } else { told::read(&marks, context)? };
    let row = |(mark, kind, account, from): (String, StopKind, Option<Box<str>>, StopDay)| {
        let told = journal.remove(&(mark, words(kind, account.as_deref())));
        let tally = Tally { stops: 1, later: u64::from(from > today) };
        Row { kind, account, subject: aim.subject(), tally, one: Some((from, told)) }
    };
    Ok(found.into_iter().map(row).collect())
}

/// What is known of one person, for `why`: objects, or lines.
pub(in crate::cli) fn of_person(
    person: crate::domain::person::PersonKey,
    list: &StopList,
    context: &Context,
) -> Result<Vec<(Value, String)>, CliError> {
    let today = list.today(clock::wall());
    let rows = of_one(&Aim::Person(person), list, today, context)?;
    Ok(rows.iter().map(|row| (row.object(today), row.line())).collect())
}

impl Row {
    fn object(&self, today: StopDay) -> Value {
        let (from, told) =
            self.one.as_ref().map_or((None, None), |(from, told)| (from.date(), told.as_ref()));
        json!({
            "schema": 1, "kind": self.kind.as_str(), "account": self.account, "subject": word(self.subject),
            "stops": self.tally.stops, "later": self.tally.later, "from": from.map(|day| day.to_string()),
            "in_force": self.one.as_ref().map(|(from, _)| *from <= today),
            "since": told.map(|told| rfc3339(told.at_ms)), "by": told.map(|told| told.by.as_str()),
        })
    }

    fn line(&self) -> String {
        let Some((from, told)) = &self.one else {
            // Of debts only the hash is known, and the account is in it.
            let account = match (self.subject, &self.account) {
                (Subject::Debt, _) => "each for its account".to_owned(),
                (_, None) => "all accounts".to_owned(),
                (_, Some(account)) => format!("account {account}"),
            };
            let later = match self.tally.later {
                0 => String::new(),
                later => format!(", {} begin on a later day", count(later)),
            };
            let who = word(self.subject);
            return format!("{}  {account}  {} by {who}{later}", self.kind.as_str(), count(self.tally.stops));
        };
        let told = told.as_ref().map_or_else(
            || "from a file or a reply of Meta, or older than the journal".to_owned(),
            |told| format!("since {} by {}", rfc3339(told.at_ms), told.by),
        );
        format!("{}, {told}", scope(self.kind, self.account.as_deref(), *from))
    }
}
