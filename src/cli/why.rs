//! `carteiro why`: the life of a message or of a person, from Redis (how far it got, what keeps it) and from the journal
//! (each attempt, each receipt, what people did to its campaign).
//!
//! A person is found by the one lane of each campaign that can hold them. The phone is never printed again.

mod find;
mod story;

use std::collections::HashMap;

use clap::Args;
use serde_json::Value;

use self::find::Found;
use super::campaign::world::World;
use super::context::Context;
use super::exit::{CliError, Exit};
use super::stop::list as stop_list;
use crate::app::stops;
use crate::app::store::Store;
use crate::clock;
use crate::domain::ids::MessageId;
use crate::domain::person::{PersonKey, Phone};
use crate::intake::guards::Erased;
use crate::journal::{self, Entry, Wanted};
use crate::queue::erasure;
use crate::queue::stops::{StopList, follow};

/// Entries of the journal that are told of one message, and actions of one campaign, at most.
const ENTRIES_MAX: usize = 500;

/// Arguments of `why`.
#[derive(Args, Clone, Debug)]
pub struct WhyArgs {
    /// A message (ct1.… as in reports, or CAMPAIGN/LINE of its file), or a phone in any spelling.
    #[arg(value_name = "ID|PHONE")]
    pub what: String,
}

/// What was asked for.
enum Asked {
    Message(MessageId),
    Line(String, u32),
    Person(Phone),
}

/// What the journal says.
#[derive(Debug, Default)]
struct Past {
    of: HashMap<MessageId, Vec<Entry>>,
    /// By the campaign's id.
    actions: HashMap<String, Vec<Entry>>,
    /// None: there is no journal.
    files: Option<u64>,
}

/// Runs the command.
pub async fn run(args: &WhyArgs, context: &Context) -> Result<Exit, CliError> {
    context.with_store(async |store| tell(args, store, context).await).await
}

async fn tell(args: &WhyArgs, store: &mut Store, context: &Context) -> Result<Exit, CliError> {
    let asked = asked(&args.what, &store.installation.name)?;
    let key = store.installation.key;
    let list = stops::list(store, 0);
    let redis = &mut store.connection;
    follow::load(redis, &list).await?;
    let erased = Erased::new(erasure::all(redis).await?, key);
    let mut found = match &asked {
        Asked::Message(message) => find::message(redis, *message, &erased).await?,
        Asked::Line(id, line) => find::line(redis, id, *line, &erased).await?,
        Asked::Person(phone) if erased.holds(phone.person()) => return Err(forgotten()),
        Asked::Person(phone) => find::person(redis, *phone, key, &erased).await?,
    };
    let all = found.len();
    found.retain(|one| !one.erased);
    if found.is_empty() && all > 0 {
        return Err(forgotten());
    }
    for one in &mut found {
        find::contacts(redis, context.config.cap, one).await?;
    }
    let world = World::read(redis).await?;
    if found.is_empty() {
        return Err(not_found(&asked, &list, context));
    }
    find_stops(&mut found, &list, context)?;
    let past = past(&found, context)?;
    let table = context.error_table()?;
    let now_ms = clock::wall().0;
    let teller = story::Teller {
        installation: &store.installation.name,
        world: &world,
        table: &table,
        config: &context.config,
        now_ms,
    };
    for one in &found {
        let empty = Vec::new();
        let entries = past.of.get(&one.message).unwrap_or(&empty);
        let actions = past.actions.get(&one.record.id).unwrap_or(&empty);
        if context.out.json {
            context.out.object(&teller.object(one, entries, actions, past.files.is_some()))?;
        } else {
            context.out.line(teller.text(one, entries, actions, &context.out))?;
        }
    }
    if past.files.is_none() {
        let dir = context.config.journal.dir.display();
        context.out.hint(format!("there is no journal in {dir}: this is what Redis knows"));
    }
    Ok(Exit::Done)
}

/// What the stop list says of the people behind these messages.
fn find_stops(found: &mut [Found], list: &StopList, context: &Context) -> Result<(), CliError> {
    let mut of: HashMap<PersonKey, Vec<(Value, String)>> = HashMap::new();
    for one in found {
        let Some(person) = one.person else { continue };
        let stops = match of.get(&person) {
            Some(known) => known.clone(),
            None => stop_list::of_person(person, list, context)?,
        };
        one.stops.clone_from(&stops);
        of.insert(person, stops);
    }
    Ok(())
}

fn not_found(asked: &Asked, list: &StopList, context: &Context) -> CliError {
    let nothing = match asked {
        Asked::Person(phone) => {
            // A journal that cannot be read tells no since; that is not what was asked for.
            let stops = stop_list::of_person(phone.person(), list, context).unwrap_or_default();
            let stops: String = stops.iter().map(|(_, stop)| format!("; in the stop list: {stop}")).collect();
            format!("no campaign holds a message to this person{stops}")
        }
        Asked::Line(..) => {
            "no loaded message came from this line: it was a duplicate or rejected, or never loaded"
                .to_owned()
        }
        Asked::Message(_) => {
            "there is no such message: its campaign is gone, or its lane is shorter".to_owned()
        }
    };
    let error = CliError::new(Exit::Failed, "not_found", nothing);
    match asked {
        Asked::Line(_, line) => {
            error.hint(format!("look for line {line} in FILE.rejects.csv and FILE.duplicates.csv"))
        }
        Asked::Person(_) | Asked::Message(_) => error,
    }
}

/// Lanes and journal still hold an erased person for a while; nothing reads them out.
fn forgotten() -> CliError {
    CliError::new(Exit::Failed, "erased", "this person was erased: nothing is told of them")
        .hint("reports still count the message, by its state alone")
}

fn asked(text: &str, installation: &str) -> Result<Asked, CliError> {
    let text = text.trim();
    if let Some((id, line)) = text.rsplit_once('/')
        && let Ok(line) = line.parse()
    {
        return Ok(Asked::Line(id.to_owned(), line));
    }
    if let Some(rest) = text.strip_prefix("ct1.") {
        let (theirs, numbers) = rest.split_once('.').unwrap_or((rest, ""));
        if theirs != installation {
            let message =
                "this message is of another installation: its id names one that is not in this Redis";
            return Err(CliError::usage("other_installation", message));
        }
        return find::message_id(numbers).map(Asked::Message).ok_or_else(|| {
            CliError::usage("usage", "not a message id: ct1.<installation>.<campaign>.<lane>.<index>")
        });
    }
    if let Some(message) = find::message_id(text) {
        return Ok(Asked::Message(message));
    }
    Phone::parse(text).map(Asked::Person).map_err(|error| {
        CliError::usage("usage", format!("neither a message nor a phone: {error}"))
            .hint("write ct1.… as in a report, CAMPAIGN/LINE, or a Brazilian mobile number")
    })
}

/// Reads the journal once for all of them.
fn past(found: &[Found], context: &Context) -> Result<Past, CliError> {
    let mut past = Past::default();
    let mut seqs: Vec<_> = found.iter().map(|one| one.record.seq).collect();
    seqs.dedup();
    let campaign = match seqs[..] {
        [one] => Some(one),
        _ => None,
    };
    for one in found {
        past.of.insert(one.message, Vec::new());
        past.actions.insert(one.record.id.clone(), Vec::new());
    }
    let wanted = Wanted { campaign, ..Wanted::default() };
    let scanned = journal::scan(&context.config.journal.dir, wanted, |_, entry| {
        let list = match &entry {
            Entry::Action { target, .. } => past.actions.get_mut(&**target),
            other => other.message().and_then(|message| past.of.get_mut(&message)),
        };
        if let Some(list) = list.filter(|list| list.len() < ENTRIES_MAX) {
            list.push(entry);
        }
        Ok(())
    })?;
    // Files are in the order of their begin, and those of several threads overlap.
    for list in past.of.values_mut().chain(past.actions.values_mut()) {
        list.sort_by_key(Entry::at_ms);
    }
    past.files = Some(scanned.files + scanned.passed_over).filter(|files| *files > 0);
    Ok(past)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_recognised_and_a_bad_phone_is_not_repeated() {
        let ask = |text: &str| asked(text, "k3v9");
        for text in ["ct1.k3v9.7.3.5.2", "ct1.k3v9.7.3.5", "7.3.5", "7.3.5.2"] {
            assert!(
                matches!(ask(text), Ok(Asked::Message(message)) if message.to_string() == "7.3.5"),
                "{text}"
            );
        }
        assert!(matches!(ask("a/17"), Ok(Asked::Line(id, 17)) if id == "a"));
        for text in ["+55 11 98765-4321", "11987654321", "(11) 98765-4321"] {
            assert!(matches!(ask(text), Ok(Asked::Person(_))), "{text}");
        }
        assert_eq!(ask("ct1.other.7.3.5").err().map(|error| error.code), Some("other_installation"));
        let error = ask("+55 11 3333-44445").err().unwrap();
        assert!(!error.to_string().contains("3333"), "{error}");
        assert!(ask("ct1.k3v9.x").is_err());
    }
}
