//! Hours from outside: the engine and the simulator at pretended times, judged by the simulator's own table.

use std::io::Write as _;
use std::time::Duration;

use carteiro::clock::{self, WallMs};
use carteiro::domain::area::{AreaCode, CalendarClass};
use carteiro::redis_server::RedisServer;
use jiff::Timestamp;

use crate::rig::{ACCOUNT, Rig, sim, wait_until};

/// As wide as can be: what is left is the law.
const LAW: &str = "hours = \"mon-sun 00:00-24:00\"\noptional_days = \"open\"";

/// People of every area code.
const PEOPLE: usize = 3;

/// So long Redis is watched for commands.
const STRETCH: Duration = Duration::from_secs(5);

struct At {
    rig: Rig,
    /// The pretended clock ahead of the real one, in ms.
    shift_ms: i64,
}

impl At {
    fn new(time: &str, rate: &'static str) -> Self {
        let time: Timestamp = time.parse().unwrap();
        let wall = clock::wall();
        let start = u64::try_from(time.as_millisecond()).unwrap();
        let mut rig = Rig::new(1, rate, sim(|config| config.clock_at = Some(WallMs(start))));
        rig.calendar = LAW;
        Self { rig, shift_ms: time.as_millisecond() - i64::try_from(wall.0).unwrap() }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(i64::try_from(clock::wall().0).unwrap() + self.shift_ms).unwrap()
    }

    /// A campaign of people of every area code.
    fn campaign(&self, id: &str, expected: u64, people: usize, more: &str) {
        let text = format!(
            "id = \"{id}\"\naccount = \"{ACCOUNT}\"\nexpected = {expected}\n{more}\n[template]\nname = \"template_{id}\"\nlanguage = \"pt_BR\"\nbody = \"Olá!\"\n[columns]\nphone = \"telefone\"\n"
        );
        let path = self.rig.path(&format!("{id}.toml"));
        std::fs::write(&path, text).unwrap();
        self.rig.ok(&["campaign", "create", path.to_str().unwrap()]);
        let path = self.rig.path(&format!("{id}.csv"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
        writeln!(file, "telefone").unwrap();
        for area in areas() {
            for person in 0..people {
                writeln!(file, "{}9{:08}", area.get(), 81_234_500 + person).unwrap();
            }
        }
        drop(file);
        self.rig.ok(&["campaign", "load", id, path.to_str().unwrap()]);
        self.rig.ok(&["campaign", "start", id, "--yes"]);
    }

    fn serve(&mut self) -> crate::rig::Serve {
        self.rig.serve_words = vec!["--clock-at".to_owned(), self.now().to_string()];
        self.rig.serve()
    }

    fn blocked(&self, id: &str) -> Option<String> {
        let status = self.rig.status(id);
        let first = status["blocked"].as_array().unwrap().first()?.clone();
        Some(format!("{} {}", first["reason"].as_str()?, first["until"].as_str()?))
    }

    fn judge(&self, taken: usize) {
        let ledger = self.rig.ledger();
        assert_eq!((ledger.out_of_hours, ledger.taken), (0, taken as u64), "{ledger:?}");
    }
}

fn areas() -> impl Iterator<Item = AreaCode> {
    CalendarClass::all().flat_map(CalendarClass::areas)
}

/// Area codes of these states.
fn count_of(ufs: &[&str]) -> usize {
    areas().filter(|area| ufs.contains(&area.class().uf())).count()
}

#[test]
fn on_a_saturday_afternoon_only_states_that_allow_it_are_written_to() {
    let mut at = At::new("2026-11-28T16:30:00Z", "unlimited");
    at.campaign("sabado", 1_000, PEOPLE, "");
    let serve = at.serve();
    let open = (67 - count_of(&["RJ", "ES", "AM", "PR"])) * PEOPLE;
    at.rig.taken(open as u64);
    wait_until("hours are what blocks", || at.blocked("sabado").is_some());
    // Paraná and Espírito Santo open first: Monday 08:00, two seconds later by the margin.
    assert!(
        at.blocked("sabado").unwrap().starts_with("hours 2026-11-30T11:00:0"),
        "{:?}",
        at.blocked("sabado")
    );
    let said = at.rig.ok(&["campaign", "status", "sabado"]);
    assert!(said.contains("by hours until Mon 08:00 (2026-11-30, São Paulo)"), "{said}");
    serve.stop();
    at.judge(open);
}

#[test]
fn on_a_holiday_nothing_is_sent_and_a_million_rests_in_peace() {
    let mut at = At::new("2026-12-25T15:00:00Z", "unlimited");
    at.campaign("natal", 1_000_000, PEOPLE, "");
    at.campaign("passado", 1_000, PEOPLE, "valid_until = \"2026-12-25T11:00\"");
    let serve = at.serve();
    let states = at.rig.done("passado");
    assert_eq!(states["expired"], 67 * PEOPLE);
    let reasons = at.rig.status("passado")["reasons"].clone();
    assert_eq!(
        (&reasons[0]["state"], &reasons[0]["name"]),
        (&"expired".into(), &"expired".into()),
        "{reasons}"
    );
    wait_until("hours are what blocks", || at.blocked("natal").is_some());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_joined, mut connection) = runtime.block_on(async {
        let joined = RedisServer::join_or_start(&at.rig.path("data")).await.unwrap();
        let client = redis::Client::open(format!("unix://{}", joined.socket().display())).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        (joined, connection)
    });
    let mut commands = || -> u64 {
        let mut asked = redis::cmd("INFO");
        asked.arg("stats");
        let info: String = runtime.block_on(asked.query_async(&mut connection)).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap();
        line.parse().unwrap()
    };
    // Peace is time in which little happens, so real time must pass. The first stretches may not be quiet yet: counts and
    // looks at the other campaign's end may still be under way.
    wait_until("fewer than 50 commands in 5 s with a thousand lanes that wait", || {
        let (before, begun) = (commands(), clock::mono());
        wait_until("time passes", || clock::mono().since(begun) > STRETCH);
        commands() - before < 50
    });
    serve.stop();
    at.judge(0);
}

#[test]
fn a_window_opens_by_itself() {
    let mut at = At::new("2026-11-23T10:59:50Z", "unlimited");
    at.campaign("abre", 1_000, PEOPLE, "");
    let serve = at.serve();
    // UTC-3 but Rio de Janeiro, which opens at nine.
    let closed = count_of(&["RJ", "AM", "MT", "MS", "RO", "RR", "AC"]);
    let open = (67 - closed) * PEOPLE;
    at.rig.taken(open as u64);
    assert!(at.now() >= "2026-11-23T11:00:02Z".parse().unwrap(), "{}", at.now());
    serve.stop();
    at.judge(open);
}

#[test]
fn a_window_closes_before_the_law_does() {
    let mut at = At::new("2026-11-23T22:59:20Z", "20/s");
    // São Paulo closes at eight in the evening; the west goes on.
    at.campaign("fecha", 1_000, 20, "");
    let serve = at.serve();
    at.rig.taken(20);
    wait_until("eight is over", || at.now() > "2026-11-23T23:00:05Z".parse().unwrap());
    wait_until("the west is done", || at.blocked("fecha").is_some_and(|why| why.starts_with("hours ")));
    assert_eq!(at.rig.count("fecha", "sending"), 0);
    serve.stop();
    let ledger = at.rig.ledger();
    let west = count_of(&["MT", "MS", "RO", "RR", "AC"]) * 20;
    assert_eq!(ledger.out_of_hours, 0, "{ledger:?}");
    assert!((west as u64..67 * 20).contains(&ledger.taken), "{ledger:?}");
}
