//! `carteiro campaign plan CAMPAIGN.toml FILE`: what would happen, before anything does. Queues nothing.
//!
//! Needs neither Redis nor Meta: what cannot be reached is not compared, which is said. A private Redis is not started for it.

pub mod hours;
pub mod message;
pub mod people;
pub mod prices;
pub mod rows;
pub mod template;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::super::config::check_campaign;
use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::output::{Output, Paint, count, counted, span};
use super::at;
use super::input::{InputArgs, open, options};
use super::verbs::duration;
use super::world::pool;
use crate::app::hours::to_civil;
use crate::app::store::Store;
use crate::clock::{self, WallMs};
use crate::cloud::manage::Manage;
use crate::config::Config;
use crate::domain::campaign::Campaign;
use crate::intake::campaign_file;
use crate::intake::lanes::{HashKey, Lanes};
use crate::queue::{QueueError, campaigns};
use hours::Ahead;
use message::Shown;
use people::People;
use prices::{Prices, amount};
use rows::{Fate, Known, Scanned, scan};
use template::Compared;

/// Arguments of `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// The campaign file.
    #[arg(value_name = "CAMPAIGN.toml")]
    pub campaign: PathBuf,
    /// Recipients, as `campaign load` takes them.
    pub file: PathBuf,
    /// How they are read.
    #[command(flatten)]
    pub input: InputArgs,
    /// Prices; default: the table that is part of the program.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Do not ask Meta for the template.
    #[arg(long)]
    pub offline: bool,
    /// When it would begin, as `campaign start --at` takes it; default: now. For the finishing time.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

/// Something that may not be there.
type Maybe<T> = Result<T, String>;

/// Room in Redis.
#[derive(Clone, Copy, Debug)]
struct Room {
    used_bytes: u64,
    /// 0: no limit.
    max_bytes: u64,
    machine_bytes: u64,
}

/// All that is told.
struct Plan {
    campaign: Campaign,
    scanned: Scanned,
    messages: Vec<Shown>,
    compared: Maybe<Compared>,
    exists: Maybe<Option<String>>,
    room: Maybe<Room>,
    memory_bytes: u64,
    numbers: usize,
    pace_per_s: Option<f64>,
    prices: Prices,
    ahead: Option<Ahead>,
    people: Option<People>,
}

/// Runs the command.
pub async fn run(args: &PlanArgs, context: &Context) -> Result<Exit, CliError> {
    let options = options(&args.input)?;
    let now = clock::wall();
    let from = match &args.at {
        Some(at) => to_civil(WallMs(at::time(at, now.0)?), 0),
        None => to_civil(now, context.config.calendar.clock_shift_ms),
    };
    if [&args.campaign, &args.file].into_iter().all(|path| path == Path::new("-")) {
        let message = "campaign file and recipients cannot both be standard input";
        return Err(CliError::usage("usage", message).field("FILE"));
    }
    let (text, file) = campaign_file::read_text(&args.campaign)?;
    let mut campaign = campaign_file::parse(&text, &file)?;
    check_campaign(&campaign, &context.config).map_err(|error| error.in_file(&file))?;
    let prices = Prices::read(args.prices.as_deref())?;
    let mut source = open(&args.file, &campaign, &options)
        .map_err(|error| CliError::from(error).in_file(args.file.display()))?;
    let compared =
        if args.offline { Err("--offline".to_owned()) } else { ask_meta(&campaign, &context.config).await };
    let mut store = open_store(&context.config).await;
    let mut exists = store.as_ref().map(|_| None).map_err(Clone::clone);
    let mut room =
        store.as_ref().map(|_| ()).map_err(Clone::clone).and(Err("redis does not tell".to_owned()));
    let mut key = HashKey(rand::random(), rand::random());
    let mut known = None;
    let mut people = People::configured(&campaign, &context.config);
    if let Ok(store) = &mut store {
        people = People::ask(store, &campaign, &context.config).await.unwrap_or(people);
        room = read_room(store).await.map_err(|error| error.to_string());
        key = store.installation.key;
        match campaigns::find(&mut store.connection, &campaign.id).await {
            Ok(record) => {
                exists = Ok(Some(record.state.as_str().to_owned()));
                // What was set on it holds for the rows of this file too.
                campaign = campaign_file::parse_set(&text, &record.settings, &file)?;
                let lanes = Lanes::frozen(record.expected, &record.slices);
                known = lanes.map(|lanes| Known { redis: &mut store.connection, seq: record.seq, lanes });
            }
            Err(QueueError::NoCampaign { .. }) => {}
            Err(error) => exists = Err(error.to_string()),
        }
    }
    let scanned = scan(&mut source, &campaign, key, known).await;
    if let Ok(store) = store {
        store.close().await?;
    }
    let scanned = scanned?;
    let remote = compared.as_ref().ok().and_then(|compared| compared.remote.as_ref());
    let messages = scanned.samples.iter().map(|sample| Shown::new(&campaign, sample, remote)).collect();
    let expected = campaign.expected.unwrap_or(scanned.rows).max(scanned.new);
    let memory_bytes = scanned.memory_bytes(expected);
    let (numbers, pace_per_s) = pace(&campaign, &context.config);
    let ahead = Ahead::new(&campaign, &context.config, &scanned.states, (pace_per_s, people.as_ref()), from);
    let plan = Plan {
        campaign,
        scanned,
        messages,
        compared,
        exists,
        room,
        memory_bytes,
        numbers,
        pace_per_s,
        prices,
        ahead,
        people,
    };
    plan.say(&context.out)?;
    Ok(if plan.whole() { Exit::Done } else { Exit::Partial })
}

/// The template as Meta has it, or why that is not known.
async fn ask_meta(campaign: &Campaign, config: &Config) -> Maybe<Compared> {
    let account = config.accounts.iter().find(|account| account.id == campaign.account);
    let account = account.ok_or_else(|| "its account is not in the configuration".to_owned())?;
    let manage = Manage::new(&config.cloud, &account.token).map_err(|error| error.to_string())?;
    let found = manage.templates(&campaign.account, Some(&campaign.template.name)).await;
    Ok(template::compare(campaign, &found.map_err(|error| error.to_string())?))
}

/// Redis, if it is there without being started.
async fn open_store(config: &Config) -> Maybe<Store> {
    if config.redis.url.is_none() && !config.data_dir.join("redis").exists() {
        return Err("there is no private redis yet".to_owned());
    }
    Store::open(config).await.map_err(|error| error.to_string())
}

async fn read_room(store: &mut Store) -> Result<Room, QueueError> {
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut store.connection).await?;
    let of = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Ok(Room {
        used_bytes: of("used_memory"),
        max_bytes: of("maxmemory"),
        machine_bytes: of("total_system_memory"),
    })
}

/// Numbers of the pool and what they send in a second together; None: without limit.
fn pace(campaign: &Campaign, config: &Config) -> (usize, Option<f64>) {
    let numbers = pool(campaign, config);
    let rates: Option<Vec<f64>> = numbers.iter().map(|number| number.rate_per_s).collect();
    let share = f64::from(campaign.pace_share_per_mille.unwrap_or(1000)) / 1000.0;
    (numbers.len(), rates.map(|rates| rates.iter().sum::<f64>() * share).filter(|pace| *pace > 0.0))
}

impl Room {
    /// What is left: of the limit, or of the machine where there is none.
    fn free_bytes(self) -> u64 {
        let all = if self.max_bytes > 0 { self.max_bytes } else { self.machine_bytes };
        all.saturating_sub(self.used_bytes)
    }
}

impl Plan {
    /// Whether everything was compared and everything fits.
    fn whole(&self) -> bool {
        let fits = self.room.as_ref().map_or(true, |room| room.free_bytes() >= self.memory_bytes);
        let template = self.compared.as_ref().is_ok_and(|compared| compared.problems.is_empty());
        self.scanned.rejected.is_empty() && template && fits && self.scanned.new > 0
    }

    fn time(&self) -> Option<Duration> {
        self.pace_per_s.map(|pace| duration(self.scanned.new, pace))
    }

    /// Category and cost in cents; of every category when Meta did not say which.
    fn costs(&self) -> Vec<(String, Option<u64>)> {
        let category = self.compared.as_ref().ok().and_then(|compared| compared.remote.as_ref());
        let names: Vec<String> = match category {
            Some(remote) => vec![remote.category.clone()],
            None => self.prices.categories().map(str::to_owned).collect(),
        };
        names
            .into_iter()
            .map(|name| (name.clone(), self.prices.cost_cents(&name, self.scanned.new)))
            .collect()
    }

    fn say(&self, out: &Output) -> Result<(), CliError> {
        if out.json {
            return out.object(&self.json());
        }
        for line in self.lines(out) {
            out.line(line)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let scanned = &self.scanned;
        let fate = |fate: &Fate| json!({ "rows": fate.rows, "lines": fate.lines });
        let refused =
            |fate: &Fate| json!({ "rows": fate.rows, "lines": fate.lines, "reason": fate.reason.as_deref() });
        let rejected: serde_json::Map<String, Value> =
            scanned.rejected.iter().map(|(reason, one)| ((*reason).to_owned(), refused(one))).collect();
        let costs = self.costs();
        let cost =
            |(category, cents): &(String, Option<u64>)| json!({ "category": category, "cost_cents": cents });
        let room = self.room.as_ref().ok();
        json!({
            "schema": 1, "id": self.campaign.id, "state": self.exists.clone().ok().flatten(),
            "rows": scanned.rows, "new": scanned.new, "known": scanned.known.as_ref().map(fate),
            "repeated": fate(&scanned.repeated), "differing": fate(&scanned.differing),
            "rejected": scanned.rejected_rows(), "reasons": rejected,
            "messages": self.messages.iter().map(Shown::json).collect::<Vec<_>>(),
            "template": self.compared.as_ref().ok().map(Compared::json),
            "template_not_compared": self.compared.as_ref().err(),
            "numbers": self.numbers, "pace_per_s": self.pace_per_s, "time_s": self.time().map(|time| time.as_secs()),
            "memory_bytes": self.memory_bytes, "redis_used_bytes": room.map(|room| room.used_bytes),
            "redis_max_bytes": room.map(|room| room.max_bytes), "redis_free_bytes": room.map(|room| room.free_bytes()),
            "redis_not_compared": self.room.as_ref().err(),
            "hours": self.ahead.as_ref().map(Ahead::json),
            "people": self.people.as_ref().map(|people| people.json(scanned.new)),
            "costs": costs.iter().map(cost).collect::<Vec<_>>(), "currency": self.prices.currency,
            "prices_date": self.prices.date, "prices_source": self.prices.source, "prices_market": self.prices.market,
        })
    }

    fn lines(&self, out: &Output) -> Vec<String> {
        let mut lines = self.row_lines(out);
        for (at, message) in self.messages.iter().enumerate() {
            let line = message.line.map(|line| format!(" (line {line})")).unwrap_or_default();
            lines.push(String::new());
            lines.push(out.paint(Paint::Bold, &format!("message {} to {}{line}", at + 1, message.to)));
            lines.extend(message.lines().into_iter().map(|line| format!("  | {line}")));
            lines.push(format!("  request: {}", message.request));
        }
        lines.push(String::new());
        lines.extend(self.template_lines(out));
        lines.extend(self.bound_lines(out));
        lines
    }

    fn row_lines(&self, out: &Output) -> Vec<String> {
        let scanned = &self.scanned;
        let state = match &self.exists {
            Ok(Some(state)) => format!(" ({state})"),
            _ => String::new(),
        };
        let head = format!(
            "campaign {}{state}: {}, nothing was queued",
            self.campaign.id,
            counted(scanned.rows, "row")
        );
        let mut lines =
            vec![out.paint(Paint::Bold, &head), format!("  {} would be queued", count(scanned.new))];
        let mut fate = |fate: &Fate, what: &str| {
            if fate.rows > 0 {
                let listed: Vec<String> = fate.lines.iter().map(u64::to_string).collect();
                let more = if fate.rows > fate.lines.len() as u64 { ", …" } else { "" };
                let why = fate.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let text = format!("  {} {what} (line {}{more}){why}", count(fate.rows), listed.join(", "));
                lines.push(out.paint(Paint::Yellow, &text));
            }
        };
        if let Some(known) = &scanned.known {
            fate(known, "in the campaign already");
        }
        fate(&scanned.repeated, "repeated within the file");
        fate(&scanned.differing, "repeated within the file with other values: the first one counts");
        for (reason, rows) in &scanned.rejected {
            fate(rows, &format!("rejected: {reason}"));
        }
        lines
    }

    fn template_lines(&self, out: &Output) -> Vec<String> {
        let template = &self.campaign.template;
        let name = format!("template {} ({})", template.name, template.language);
        match &self.compared {
            Err(why) => vec![out.paint(Paint::Yellow, &format!("{name}: not compared with Meta's: {why}"))],
            Ok(compared) => {
                let about =
                    compared.remote.as_ref().map(|remote| format!(" {}, {}", remote.status, remote.category));
                let fits = if compared.problems.is_empty() { ", as Meta has it" } else { "" };
                let mut lines = vec![format!("{name}:{}{fits}", about.unwrap_or_default())];
                let problem = |one: &template::Problem| {
                    out.paint(Paint::Red, &format!("  {}: {}", one.field, one.message))
                };
                lines.extend(compared.problems.iter().map(problem));
                lines
            }
        }
    }

    fn bound_lines(&self, out: &Output) -> Vec<String> {
        let numbers = counted(self.numbers as u64, "number");
        let time = match (self.pace_per_s, self.time()) {
            (Some(pace), Some(time)) => format!("{} of sending at {pace:.0}/s", span(time)),
            _ => "as long as it takes, without a limit".to_owned(),
        };
        let mut lines = vec![format!("time: about {time} with {numbers}")];
        match &self.ahead {
            Some(ahead) => lines.extend(ahead.lines(out)),
            None => lines.push("hours: any (calendar.enforce = false)".to_owned()),
        }
        lines.extend(self.people.as_ref().map(|people| people.line(self.scanned.new, out)));
        let needed = format!("memory: about {} of Redis", bytes(self.memory_bytes));
        lines.push(match &self.room {
            Err(why) => format!("{needed}; not compared: {why}"),
            Ok(room) => {
                let of = if room.max_bytes > 0 {
                    "maxmemory"
                } else {
                    "the machine's memory, without a maxmemory"
                };
                let text = format!("{needed}; {} of {of} free", bytes(room.free_bytes()));
                if room.free_bytes() >= self.memory_bytes {
                    text
                } else {
                    out.paint(Paint::Red, &format!("{text}: not enough"))
                }
            }
        });
        let Prices { market, currency, date, source, note, .. } = &self.prices;
        for (category, cents) in self.costs() {
            let cost = cents.map_or_else(
                || "no price known".to_owned(),
                |cents| format!("{currency} {} if all are delivered", amount(cents)),
            );
            lines.push(format!("cost as {category}: {cost}"));
        }
        let note = note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
        lines.push(out.paint(Paint::Dim, &format!("  prices of {market} as of {date}: {source}{note}")));
        lines
    }
}

/// Bytes for people.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..10_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
