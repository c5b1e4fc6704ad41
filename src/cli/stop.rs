//! `carteiro stop add|remove|import|list`: who is not to be written to, or about which debt.
//!
//! A phone comes from standard input alone, where no history keeps it; the journal knows a person by a keyed hash. A command
//! returns when every process that runs has the stop in its list.

mod import;
pub(super) mod list;
mod told;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Acknowledged, Context, announce};
use super::exit::{CliError, Exit};
use super::{deeds, examples, phone};
use crate::app::stops;
use crate::app::store::Store;
use crate::clock;
use crate::config::Config;
use crate::domain::person::PersonKey;
use crate::domain::stop::{StopDay, StopKind, Subject};
use crate::intake::campaign_file::did_you_mean;
use crate::intake::checks::check_key;
use crate::queue::stops::{Batch, Op, StopList, Who, follow, log, words};

/// `carteiro stop …`
#[derive(Debug, Subcommand)]
pub enum StopCommand {
    /// Write to one person no more, or about one debt.
    Add(AddArgs),
    /// Take a stop back.
    Remove(RemoveArgs),
    /// Add the people or the debts of a CSV file; importing it again adds only what is new.
    #[command(after_help = examples::STOP_IMPORT)]
    Import(import::ImportArgs),
    /// Count the stops, or show those of one person or debt.
    List(list::ListArgs),
}

/// Whom or what a stop speaks of.
#[derive(Args, Clone, Debug)]
pub struct AimArgs {
    /// - reads a person's phone from standard input, where no history keeps it.
    #[arg(value_name = "-", allow_hyphen_values = true, conflicts_with = "reference")]
    pub person: Option<String>,
    /// A debt, by the creditor's reference.
    #[arg(long = "ref", value_name = "TEXT")]
    pub reference: Option<String>,
    /// The account, which is one creditor, that it holds for; default: all, or for debts and exemptions the only one.
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
}

/// Arguments of `add`.
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// Whom or what.
    #[command(flatten)]
    pub aim: AimArgs,
    /// Why; default for a person: optout.
    #[arg(long, value_parser = kinds())]
    pub kind: Option<StopKind>,
    /// The first day of a do_not_contact, in Brasília, as 2026-12-31; default: at once.
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub from: Option<StopDay>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `remove`.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// Whom or what.
    #[command(flatten)]
    pub aim: AimArgs,
    /// Which stop; default for a person: optout.
    #[arg(long, value_parser = kinds())]
    pub kind: Option<StopKind>,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// A person or a debt.
#[derive(Clone, Debug)]
enum Aim {
    Person(PersonKey),
    Debt(Box<str>),
}

/// A stop to be added or taken back.
#[derive(Clone, Debug)]
struct Order {
    op: Op,
    kind: StopKind,
    account: Option<Box<str>>,
    aim: Aim,
    from: StopDay,
    dry_run: bool,
}

/// Runs the command.
pub async fn run(command: StopCommand, context: &Context) -> Result<Exit, CliError> {
    let order = match command {
        StopCommand::Import(args) => return import::run(&args, context).await,
        StopCommand::List(args) => return list::run(&args, context).await,
        StopCommand::Add(args) => {
            let kind = kind_of(args.kind, args.aim.reference.is_some())?;
            let from = first_day(kind, args.from)?;
            let account = account_for(kind, args.aim.account.as_deref(), &context.config)?;
            Order { op: Op::Add, kind, account, aim: args.aim.read()?, from, dry_run: args.dry_run }
        }
        StopCommand::Remove(args) => {
            if args.aim.person.is_some() && !args.yes && !args.dry_run {
                let message =
                    "the phone comes from standard input, so nobody can be asked; nothing was changed";
                return Err(CliError::not_confirmed(message).hint("add --yes if it shall be done"));
            }
            let kind = kind_of(args.kind, args.aim.reference.is_some())?;
            let account = account_for(kind, args.aim.account.as_deref(), &context.config)?;
            let aim = args.aim.read()?;
            if !args.dry_run {
                context.confirm(&format!("Take the stop \"{}\" back?", kind.words()), args.yes).await?;
            }
            let (op, from) = (Op::Remove, StopDay::AT_ONCE);
            Order { op, kind, account, aim, from, dry_run: args.dry_run }
        }
    };
    context.with_store(async |store| order.carry_out(store, context).await).await
}

impl AimArgs {
    fn read(&self) -> Result<Aim, CliError> {
        match (self.person.as_deref(), self.reference.as_deref()) {
            (Some("-"), None) => Ok(Aim::Person(phone::read("-", "no_phone", "-")?.person())),
            (Some(_), _) => {
                let message = "a phone on the command line stays in the shell's history; nothing was changed";
                Err(CliError::usage("usage", message).hint("write - and give the phone on standard input"))
            }
            (None, Some(reference)) => {
                let refused = |what: &str| {
                    CliError::usage("usage", format!("the reference {what}; nothing was changed"))
                        .field("--ref")
                };
                match reference.trim() {
                    "" => Err(refused("is empty")),
                    text => check_key(text)
                        .map(|()| Aim::Debt(text.into()))
                        .map_err(|error| refused(&error.to_string())),
                }
            }
            (None, None) => {
                let message = "neither a person nor a debt is named; nothing was changed";
                let hint = "write - and give a phone on standard input, or name a debt with --ref";
                Err(CliError::usage("usage", message).hint(hint))
            }
        }
    }
}

impl Order {
    async fn carry_out(&self, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
        let list = stops::list(store, 0);
        let redis = &mut store.connection;
        follow::load(redis, &list).await?;
        let changes = self.is_known(&list) == (self.op == Op::Remove);
        let mut version = None;
        if changes && !self.dry_run {
            version = Some(log::append(redis, &self.batch(&list), clock::wall().0).await?);
            deeds::prove(self.verb(), &self.mark(&list), &self.detail(), context);
        }
        // Told in any case: an engine that missed it the first time acknowledges it now.
        let heard =
            if self.dry_run { Acknowledged::NobodyRuns } else { announce(redis, &context.config).await? };
        self.say(changes, version, &heard, context)?;
        heard.check()?;
        Ok(Exit::Done)
    }

    fn is_known(&self, list: &StopList) -> bool {
        match &self.aim {
            Aim::Person(person) => list.of_person(*person).iter().any(|(kind, account, from)| {
                let sooner = self.op == Op::Remove || *from <= self.from;
                *kind == self.kind && *account == self.account && sooner
            }),
            Aim::Debt(reference) => list.has_debt(self.debt(list, reference), self.kind),
        }
    }

    fn debt(&self, list: &StopList, reference: &str) -> u64 {
        list.debt_hash(self.account.as_deref().unwrap_or_default(), reference)
    }

    fn batch(&self, list: &StopList) -> Batch {
        let who = match &self.aim {
            Aim::Person(person) => Who::People(vec![(*person, self.from)]),
            Aim::Debt(reference) => Who::Debts(vec![self.debt(list, reference)]),
        };
        Batch { op: self.op, kind: self.kind, account: self.account.clone(), who }
    }

    fn verb(&self) -> &'static str {
        if self.op == Op::Add { deeds::STOP_ADD } else { deeds::STOP_REMOVE }
    }

    fn mark(&self, list: &StopList) -> String {
        match &self.aim {
            Aim::Person(person) => list.mark(*person),
            Aim::Debt(reference) => list.debt_mark(self.account.as_deref().unwrap_or_default(), reference),
        }
    }

    fn detail(&self) -> String {
        let from = self.from.date().map(|day| format!(", from {day}")).unwrap_or_default();
        format!("{}{from}", words(self.kind, self.account.as_deref()))
    }

    fn say(
        &self,
        changes: bool,
        version: Option<u64>,
        heard: &Acknowledged,
        context: &Context,
    ) -> Result<(), CliError> {
        let (subject, adds) = (self.aim.subject(), self.op == Op::Add);
        if context.out.json {
            return context.out.object(&json!({
                "schema": 1, "verb": if adds { "add" } else { "remove" }, "kind": self.kind.as_str(),
                "account": self.account, "subject": word(subject), "from": self.from.date().map(|day| day.to_string()),
                "changed": changes, "version": version, "dry_run": self.dry_run, "node": heard.node(),
                "acknowledged": matches!(heard, Acknowledged::By(_)),
            }));
        }
        let done = match (adds, changes, self.dry_run) {
            (true, true, false) => "added",
            (true, true, true) => "would be added; nothing was changed",
            (true, false, _) => "is there already; nothing was changed",
            (false, true, false) => "taken back",
            (false, true, true) => "would be taken back; nothing was changed",
            (false, false, _) => "is not there; nothing was changed",
        };
        let holds = scope(self.kind, self.account.as_deref(), self.from);
        context.out.line(format!("stop for this {} ({holds}): {done}", word(subject)))?;
        if changes && *heard == Acknowledged::NobodyRuns && !self.dry_run {
            context.out.hint("no serve is running: it is in force when one starts");
        }
        Ok(())
    }
}

impl Aim {
    const fn subject(&self) -> Subject {
        match self {
            Self::Person(_) => Subject::Person,
            Self::Debt(_) => Subject::Debt,
        }
    }
}

/// The word for what a stop speaks of.
const fn word(subject: Subject) -> &'static str {
    match subject {
        Subject::Person => "person",
        Subject::Debt => "debt",
        Subject::User => "user",
    }
}

/// A stop for people: what it is, for whom it holds, and from when.
pub(super) fn scope(kind: StopKind, account: Option<&str>, from: StopDay) -> String {
    let account = account.map_or_else(|| "all accounts".to_owned(), |account| format!("account {account}"));
    let from = from.date().map(|day| format!(" from {day}")).unwrap_or_default();
    format!("{}, {account}{from}", kind.words())
}

fn kinds() -> impl TypedValueParser<Value = StopKind> {
    PossibleValuesParser::new(StopKind::ALL.map(StopKind::as_str))
        .try_map(|word| StopKind::parse(&word).ok_or("no kind of stop"))
}

fn day(text: &str) -> Result<StopDay, &'static str> {
    StopDay::parse(text, 0).ok_or("not a day written as 2026-12-31 or 31/12/2026")
}

/// The kind that was named or meant, checked against what it is to speak of.
fn kind_of(named: Option<StopKind>, debt: bool) -> Result<StopKind, CliError> {
    let kind = match (named, debt) {
        (Some(kind), _) if kind.is_of_debt() == debt => kind,
        (None, false) => StopKind::OptedOut,
        (Some(kind), _) => {
            let (kind, of) = (kind.as_str(), if debt { "person" } else { "debt" });
            let message = format!("{kind} speaks of a {of}; nothing was changed");
            return Err(CliError::usage("usage", message)
                .field("--kind")
                .hint("paid and disputed go with --ref, the others with a phone"));
        }
        (None, true) => {
            let message = "a debt is stopped because it is paid or disputed; nothing was changed";
            return Err(CliError::usage("usage", message).field("--kind").hint("add --kind paid"));
        }
    };
    Ok(kind)
}

/// The first day, which only some kinds have.
fn first_day(kind: StopKind, from: Option<StopDay>) -> Result<StopDay, CliError> {
    if from.is_some() && !kind.may_begin_later() {
        let message = format!("{} holds at once and has no first day; nothing was changed", kind.as_str());
        return Err(CliError::usage("usage", message).field("--from"));
    }
    Ok(from.unwrap_or_default())
}

/// The account that a stop holds for; None: for all. Debts and exemptions belong to one creditor.
fn account_for(kind: StopKind, given: Option<&str>, config: &Config) -> Result<Option<Box<str>>, CliError> {
    let known = || config.accounts.iter().map(|account| account.id.as_str());
    let unknown = |message: String, hint: String| {
        Err(CliError::usage("unknown_account", message).field("--account").hint(hint))
    };
    match given {
        Some(id) if known().any(|known| known == id) => Ok(Some(id.into())),
        Some(id) => {
            let hint = did_you_mean(id, known()).unwrap_or("`carteiro account list` shows all".to_owned());
            unknown(format!("no account {id} is in the configuration; nothing was changed"), hint)
        }
        None if !kind.is_of_debt() && kind != StopKind::Exempt => Ok(None),
        None => match config.accounts.as_slice() {
            [one] => Ok(Some(one.id.as_str().into())),
            _ => unknown(
                format!(
                    "{} holds for one creditor, and it is not said which; nothing was changed",
                    kind.as_str()
                ),
                "add --account ID; `carteiro account list` shows all".to_owned(),
            ),
        },
    }
}
