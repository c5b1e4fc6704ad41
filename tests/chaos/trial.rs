//! A trial: everything that runs, what is still to be done, and the load that keeps it busy.
//!
//! [`crate::storm`] disturbs it, [`crate::judge`] looks at what came of it. One thread does everything, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carteiro::clock::{self, Mono};
use nix::sys::signal::Signal;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::fleet::{ACCOUNT, Fleet, outcome, write};
use crate::guard::{Guard, PATIENCE, pause};
use crate::meta::Meta;
use crate::settings::Settings;
use crate::store::Store;
use crate::way::{Far, Mode, Way};

/// The one campaign.
pub(crate) const CAMPAIGN: &str = "a";

/// Area codes of the people: of several calendars, so that there are lanes for every number.
const AREAS: [u32; 12] = [11, 21, 31, 41, 51, 61, 71, 81, 85, 91, 19, 48];

/// How often the ledger is asked how many it has taken.
const LOOK: Duration = Duration::from_millis(40);

/// Something to be done later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Start an engine in this slot.
    Start(usize),
    /// Thaw the engine of this slot.
    Thaw(usize),
    /// Open the way of this slot to Redis.
    Mend(usize),
    MendApi,
    MendHooks,
    StartRedis,
    ThawRedis,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By the name of the fault.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) takeovers_ms: Vec<u64>,
    pub(crate) handovers_ms: Vec<u64>,
    /// Messages that an adoption put in doubt when engines had only been stopped gracefully.
    pub(crate) doubted_by_stops: u64,
    /// Requests that came after a pause had returned.
    pub(crate) after_pause: u64,
    /// Requests that came although Redis had forgotten what was sent.
    pub(crate) after_forgetting: u64,
    /// Worst second of a number, as long as nothing but engines and Redis was disturbed.
    pub(crate) worst_second: u64,
    pub(crate) over_rate: u64,
    /// Lateness of the simulator in that time.
    pub(crate) lag_ms: f64,
    /// Engines that gave up because Redis did not answer at their start.
    pub(crate) failed_starts: u64,
    /// Engines that ended by themselves otherwise.
    pub(crate) exits: Vec<String>,
    /// Loads that had to be made again.
    pub(crate) failed_loads: u64,
}

pub(crate) struct Trial {
    pub(crate) settings: Settings,
    pub(crate) rng: SmallRng,
    pub(crate) folder: PathBuf,
    pub(crate) tally: Tally,
    pub(crate) fleet: Fleet,
    pub(crate) api: Way,
    pub(crate) meta: Meta,
    pub(crate) store: Store,
    pub(crate) hooks: Way,
    pending: BTreeMap<(Mono, u64), Deed>,
    deeds: u64,
    /// People in files that are loaded.
    pub(crate) people: usize,
    loading: Option<Child>,
    /// No more files: what is loaded is all there will be.
    pub(crate) full: bool,
    /// Taken, when the ledger was last asked.
    pub(crate) taken: u64,
    looked: Mono,
    _guard: Rc<Guard>,
}

impl Trial {
    /// Starts everything, creates the campaign and waits until every number has an owner.
    pub(crate) fn start(settings: Settings, folder: &Path) -> Self {
        let guard = Rc::new(Guard::new());
        let store = Store::start(guard.clone(), &folder.join("redis"), &settings);
        let ports: Arc<Mutex<Vec<Option<u16>>>> = Arc::default();
        let hooks = Way::to(Far::OneOf(ports.clone()));
        let meta = Meta::start(&guard, folder, &settings, hooks.port);
        let api = Way::to(Far::Tcp(meta.address.clone()));
        let fleet = Fleet::new(guard.clone(), folder, &settings, &store, (api.port, ports));
        let mut trial = Self {
            rng: SmallRng::seed_from_u64(settings.seed),
            settings,
            folder: folder.to_owned(),
            tally: Tally::default(),
            fleet,
            api,
            meta,
            store,
            hooks,
            pending: BTreeMap::new(),
            deeds: 0,
            people: 0,
            loading: None,
            full: false,
            taken: 0,
            looked: clock::mono(),
            _guard: guard,
        };
        for at in 0..trial.settings.engines {
            trial.fleet.start(at, false);
        }
        let path = folder.join("campaign.toml");
        write(&path, &campaign());
        trial.must(&["campaign", "create", path.to_str().unwrap()]);
        trial.calm();
        trial.load();
        trial.until("the first file is loaded", |trial| trial.people > 0);
        trial.must(&["campaign", "start", CAMPAIGN, "--yes"]);
        trial
    }

    /// Runs a command that must succeed.
    pub(crate) fn must(&self, words: &[&str]) -> Value {
        let (code, said) = self.fleet.run(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    }

    pub(crate) fn status(&self) -> Value {
        self.must(&["campaign", "status", CAMPAIGN])
    }

    /// Counts a fault.
    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.tally.faults.entry(fault).or_default() += 1;
    }

    /// A number of the seed.
    pub(crate) fn draw(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.rng.random_range(range)
    }

    /// Fails over to a replica that is so far behind.
    pub(crate) fn fail_over(&mut self, behind: Duration) {
        let begun = clock::mono();
        self.store.fail_over(|| {
            while clock::mono().since(begun) < behind {
                pause(Duration::from_millis(10));
            }
        });
    }

    /// Does this after a while.
    pub(crate) fn later(&mut self, wait: Duration, deed: Deed) {
        self.deeds += 1;
        self.pending.insert((clock::mono().after(wait), self.deeds), deed);
    }

    /// Does what is due, and sees what has happened.
    pub(crate) fn step(&mut self) {
        while let Some(entry) = self.pending.first_entry().filter(|entry| entry.key().0 <= clock::mono()) {
            let deed = entry.remove();
            self.act(deed);
        }
        for (at, status, asked) in self.fleet.ended() {
            // 5: Redis was not there when it started.
            if status.code() == Some(5) {
                self.tally.failed_starts += 1;
            } else if !(asked && was_told(status)) {
                self.tally.exits.push(format!("engine {at}: {status}"));
            }
            let wait = Duration::from_millis(self.rng.random_range(20..200));
            self.later(wait, Deed::Start(at));
        }
        self.load_on();
        if clock::mono().since(self.looked) > LOOK {
            self.looked = clock::mono();
            self.taken = self.meta.ledger().taken;
        }
        pause(Duration::from_millis(2));
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Start(at) if self.fleet.slots[at].engine.is_none() => {
                let new_name = self.rng.random_bool(0.25);
                self.fleet.start(at, new_name);
            }
            Deed::Thaw(at) => {
                if let Some(engine) = self.fleet.slots[at].engine.as_mut().filter(|engine| engine.frozen) {
                    engine.signal(Signal::SIGCONT);
                }
            }
            Deed::Mend(at) => self.fleet.slots[at].way.set(Mode::Open),
            Deed::MendApi => self.api.set(Mode::Open),
            Deed::MendHooks => self.hooks.set(Mode::Open),
            Deed::StartRedis => self.store.up(),
            Deed::ThawRedis => self.store.signal(Signal::SIGCONT),
            Deed::Start(_) => {}
        }
    }

    /// Steps for a while.
    pub(crate) fn pass(&mut self, time: Duration) {
        let begun = clock::mono();
        while clock::mono().since(begun) < time {
            self.step();
        }
    }

    /// Steps until something is so.
    pub(crate) fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let begun = clock::mono();
        while !so(self) {
            assert!(clock::mono().since(begun) < PATIENCE, "{what}: not within {PATIENCE:?}");
            self.step();
        }
    }

    /// Steps until nothing is disturbed any more and every number has an owner that runs.
    pub(crate) fn calm(&mut self) {
        self.until("everything is up again", |trial| {
            let up = trial.pending.is_empty() && trial.store.is_up();
            up && trial.fleet.running().len() == trial.settings.engines && trial.divided()
        });
    }

    /// Whether every number has an owner that runs, and everybody who runs has one.
    fn divided(&mut self) -> bool {
        let names = self.names();
        self.store.owners().is_some_and(|owners| {
            let owning: BTreeSet<&String> = owners.values().collect();
            owners.len() == self.settings.numbers && owning.into_iter().eq(names.iter())
        })
    }

    /// Names of those who run.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let engine = |at: &usize| self.fleet.slots[*at].engine.as_ref().map(|engine| engine.name.clone());
        self.fleet.running().iter().filter_map(engine).collect()
    }

    /// Keeps something to send, for as long as the trial is not full.
    fn load_on(&mut self) {
        if self.loading.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none()) {
            return;
        }
        match self.loading.take() {
            Some(child) => match outcome(child) {
                (0, _) => self.people += self.settings.batch,
                (_, said) => {
                    // The same file again: it adds only what is new.
                    self.tally.failed_loads += 1;
                    self.note(&format!("a load failed: {said}"));
                    self.load();
                }
            },
            None => {
                let left = (self.people as u64).saturating_sub(self.taken);
                if !self.full && self.people > 0 && self.store.is_up() && left < self.settings.batch as u64 {
                    self.load();
                }
            }
        }
    }

    pub(crate) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Begins to load the next file.
    fn load(&mut self) {
        let path = self.folder.join(format!("people-{}.csv", self.people));
        let people = self.people..self.people + self.settings.batch;
        let area = |person: usize| AREAS[person % AREAS.len()];
        let rows =
            people.map(|person| format!("{}{:09},Ana,C{person}\n", area(person), 960_000_000 + person));
        write(&path, &format!("telefone,nome,contrato\n{}", rows.collect::<String>()));
        self.loading = Some(self.fleet.begin(&["campaign", "load", CAMPAIGN, path.to_str().unwrap()]));
    }

    /// Writes a line into the trial's own log.
    pub(crate) fn note(&self, line: &str) {
        use std::io::Write as _;
        let path = self.folder.join("trial.log");
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let at = clock::wall().0;
        writeln!(log, "{}.{:03} {} taken: {line}", at / 1_000, at % 1_000, self.taken).unwrap();
    }
}

/// The campaign's file.
fn campaign() -> String {
    format!(
        "id = \"{CAMPAIGN}\"\naccount = \"{ACCOUNT}\"\nexpected = 300000\ndedup = \"person\"\n\
         [template]\nname = \"aviso\"\nlanguage = \"pt_BR\"\nbody = \"Olá {{{{nome}}}}, {{{{contrato}}}}.\"\n\
         [columns]\nphone = \"telefone\"\nref = \"contrato\"\n\
         [columns.variables]\nnome = \"nome\"\ncontrato = \"contrato\"\n\
         [retry]\nmax_attempts = 5\nbase = \"1s\"\nmax = \"2s\"\n"
    )
}

/// The end of an engine that was told to stop: once, before it listened, or again while it was stopping.
fn was_told(status: ExitStatus) -> bool {
    const AT_ONCE: i32 = 130;
    status.success() || status.signal() == Some(Signal::SIGTERM as i32) || status.code() == Some(AT_ONCE)
}
