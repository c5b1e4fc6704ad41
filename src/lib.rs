//! Carteiro dispatches WhatsApp campaigns for large creditors through Meta's Cloud API: as fast as the limits allow,
//! nobody twice, nothing lost.
//!
//! # Bird's eye
//!
//! A campaign is cut into **lanes**: an immutable log of packed chunks that says what to send, and four bytes per message
//! that say how far it got. A message may be sent only by whoever turned its record from `queued` to `sending` (the
//! **claim**) in Redis, before the request leaves. Each sending number belongs to one **shard**, a thread, so its pace is
//! plain memory. An outcome that nobody saw is **in doubt**: a state, not an error, and never blindly sent again.
//!
//! ```text
//! IN    cli::campaign ─► intake: rows, checks, formats, lane of the person ─► queue::lane::append
//! HOLD  lanes in Redis, an agenda per number
//! OUT   sender::driver ─► policy::shard ─► queue::lane::claim ─► journal ─► ready connection ─► pace ─► gates once more ─► write
//!                       ◄─ cloud::connection ◄─ reply ─ policy::classify ─► queue::lane::settle (or release), journal
//! BACK  Meta ─► http::webhooks ─► cloud::webhook ─► queue::receipt ─► records, counters, halts; app::receipts ─► journal
//! SHOW  report, cli::why ◄─ records in Redis, journal, your file
//! ```
//!
//! # The life of a message
//!
//! ```text
//!  queued ─ claim ─► sending ─ settle ─┬─► accepted | held
//!    ▲                  │              ├─► waiting (retry due at t) ─ claim ─► sending
//!    │ release          │              ├─► failed | expired
//!    └──────────────────┤              └─► in doubt ─ clock over ─► unresolved | waiting (doubtful, or as the campaign says)
//!                       └ owner lost ──► in doubt
//!  whatever is no success ─ receipt: sent, delivered, read ─► accepted
//!  sending, accepted, held, in doubt ─ receipt: failed ─► waiting (once, by the error table) | failed
//!  unresolved, in doubt ─ campaign resolve ─► waiting | accepted
//!  failed ─ campaign retry: a code with which Meta certainly took nothing ─► waiting
//!  queued, waiting ─ person erase ─► suppressed
//!  sending ─ in the stop list, not begun ─► suppressed
//! ```
//!
//! [`domain::record`] has the bytes and the transitions, `queue/*.lua` carry them out.
//!
//! # Where to change what
//!
//! | to change | look in |
//! |---|---|
//! | **the command line** | |
//! | a verb, an exit code, what is printed | [`cli`]: a file per command, `cli/campaign/` for those of campaigns |
//! | completions, pages of the manual, help | [`cli::completions`], [`cli::man`], `cli::examples`, [`cli::usage`] |
//! | single messages | [`cli::message`] |
//! | what `plan` shows, and prices | [`cli::campaign::plan`], `config/prices.toml` |
//! | a key of the configuration | [`config`] (`raw` lists them, `resolve` gives them meaning), `config/carteiro.toml` |
//! | **campaigns and rows** | |
//! | what a campaign file may say | [`intake::campaign_file`], [`domain::campaign`], [`domain::template`] |
//! | what `set` may change | `intake::campaign_file::settings`, [`cli::campaign::set`] |
//! | a format of a value; boletos, Pix, CPF and CNPJ | [`domain::format`]; [`domain::boleto`], [`domain::pix`], [`domain::document`] |
//! | how a file is read: CSV, NDJSON, XLSX, encoding | [`intake::rows`]; [`intake::csv`], [`intake::ndjson`], [`intake::xlsx`], [`intake::encoding`] |
//! | what is rejected | `intake::checks`, [`intake::render`], [`intake::guards`], [`domain::person`] |
//! | duplicates, and what is said of them | [`intake::duplicates`], `intake::load::explain`, [`queue::seen`] |
//! | which lane a person is in, which number sends it | [`intake::lanes`], [`policy::route`] |
//! | **sending** | |
//! | how Redis is reached: one server, sentinels, a cluster | [`queue::client`], `queue::cluster`, [`queue::connection`] |
//! | what is written again after a crash of Redis or a failover | [`queue::replay`], `queue/replay.lua`, [`queue::link`] |
//! | what stops sending on an emptied or older Redis | [`policy::mark`], [`queue::guard`], `app::control::far` |
//! | what is stored and how | [`queue::keys`] and, from an older version, [`queue::layout`]; [`queue::codec`], `queue/*.lua` |
//! | what a number does next, and what stops it | [`policy::shard`], [`policy::pace`], [`policy::adapt`], [`policy::breaker`], [`policy::retry`] |
//! | priorities, guaranteed shares, weights, whose turn it is | `policy::shard::agenda`, `policy::shard::listing` |
//! | when people may be written to | [`domain::calendar`], `config/calendars.toml`; for shards: [`app::hours`]; a campaign's own `hours`: [`domain::hours`] |
//! | how many people a portfolio may write to | [`queue::budget`], `queue/budget.lua`; asked by [`sender::admission`], looked after by [`app::budget`] and `app::control::budget`; `policy::shard::admission` |
//! | a campaign's share of the pace | `policy::shard::lane` |
//! | who is not to be written to | [`domain::stop`], [`policy::stops`] (in memory), [`queue::stops`] (the log), [`app::stops`] (followed) |
//! | how people get into the stop list | by hand and by file: [`cli::stop`], [`intake::csv::stops`]; by what they say: `config/stop_words.toml`, [`policy::stop_words`], `http::webhooks::asked`; by Meta's codes: `suppress` in `config/errors.toml` |
//! | how often a person may be written to | [`domain::contact`], [`policy::contacts`] (judged in memory), [`queue::cap`] with `cap/shelf.rs` and `turns.rs`, `queue/cap.lua` (noted); asked by [`sender::contacts`], held by `policy::shard::admission` |
//! | when a campaign begins or pauses by itself (`--at`, `--first`, brake) | `app::control::stops`, [`policy::first`], [`policy::brake`] |
//! | pause, ends of campaigns, signals | [`app::control`], [`app::serve`] |
//! | what Meta says of numbers | [`policy::facts`], `app::control::facts` |
//! | numbers that are stopped for long | `app::control::failover` |
//! | which process sends through which number | [`policy::assign`], [`app::ownership`], [`queue::owner`], `queue/own.lua` |
//! | what SIGHUP reads again | `app::control::reload` |
//! | **Meta** | |
//! | how a request looks | [`cloud::body`]; how it travels: [`cloud::connection`], over HTTP/2 [`cloud::streams`], [`cloud::proxy`] |
//! | what a reply means | `config/errors.toml`, [`policy::classify`] |
//! | what is asked beside messages (templates, numbers, media) | [`cloud::manage`], how much of it may be [`cloud::usage`]; documents by file: [`app::media`], [`intake::files`] |
//! | how a webhook is taken, what it stops, what the journal keeps of it | [`http::webhooks`]; what it may say: [`cloud::webhook`] |
//! | what a receipt makes of a message | [`domain::receipt`], `queue/receipt.lua` |
//! | how long a doubt waits, and what then | [`domain::doubt`], [`policy::doubt`]; carried out: `app::control::doubt`, `queue/resolve.lua`; by hand: [`cli::campaign::resolve`] |
//! | what `webhooks check` looks at | [`cli::webhooks`] |
//! | **evidence** | |
//! | what is kept of every attempt, and how long | [`journal`]; of receipts: [`app::receipts`]; who did what: `cli::deeds`, [`journal::operators`] |
//! | a column of the report, joining, Excel, Parquet | [`report`] |
//! | what `why` says | [`cli::why`] |
//! | archives, retention, erasure of a person | [`app::archive`], [`app::retention`], [`app::erasure`] |
//! | metrics, dashboard, alerts | [`metrics`], the table of their names and help `metrics::family`, `grafana/carteiro.json`, `config/alerts.yml` |
//! | **trials** | |
//! | what the simulated Meta does, knows and reports | [`sim`]: `judge`, `library`, `webhook`, `contacts`; over HTTP/2: `streams` |
//! | what `make chaos` does to real processes | `tests/chaos` |
//! | the seeded simulation: processes, faults, deliberate defects, what must hold | `tests/simulation/`: `node`, `faults`, `mutants`, `judge` |
//! | the demonstration, the figures | [`demo`], [`mod@bench`], [`rig`] |
//!
//! # Invariants
//!
//! Rows = loaded + duplicate + rejected, and loaded = the sum over all states. No person gets a campaign's message twice.
//! No number exceeds its rate in any sliding second, no portfolio its people in any 24 hours. After pause or cancel has returned, no new send of that campaign
//! begins. What cannot be written to the journal is not sent. No phone number, name, amount or token appears in a log line, an
//! error or a metric.
//!
//! **Architecture invariant:** imports go one way, `domain ← policy ← {queue, cloud, journal} ← {intake, sender, http, report} ← app ←
//! cli ← main`. `domain` and `policy` do no IO and read no clock ([`clock`] is the only reader of time). [`sim`] knows nothing
//! of policy, queue, intake or sender, so that it can judge them.

pub mod app;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod config;
pub mod demo;
pub mod domain;
pub mod http;
pub mod intake;
pub mod journal;
pub mod limits;
pub mod metrics;
pub mod policy;
pub mod queue;
pub mod redis_server;
pub mod report;
pub mod rig;
pub mod sender;
pub mod sim;
pub mod tls;
