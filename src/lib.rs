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
//! IN    cli::campaign ─► intake: read, check, lane of the person ─► queue::lane::append
//! HOLD  lanes in Redis, an agenda per number
//! OUT   sender::driver ─► policy::shard ─► queue::lane::claim ─► ready connection ─► pace ─► gates once more ─► write
//!                       ◄─ cloud::connection ◄─ reply ─ policy::classify ─► queue::lane::settle (or release)
//! ```
//!
//! # The life of a message
//!
//! ```text
//!  queued ─ claim ─► sending ─ settle ─┬─► accepted | held
//!    ▲                  │              ├─► waiting (retry due at t) ─ claim ─► sending
//!    │ release          │              ├─► failed | expired
//!    └──────────────────┤              └─► in doubt (kept, counted, reported, never sent again by itself)
//!                       └ owner lost ──► in doubt
//! ```
//!
//! [`domain::record`] has the bytes and the transitions, `queue/*.lua` carry them out.
//!
//! # Where to change what
//!
//! | to change | look in |
//! |---|---|
//! | a verb, an exit code, what is printed | [`cli`] |
//! | a key of the configuration | [`config`], `config/carteiro.toml` |
//! | what a campaign file may say | [`intake::campaign_file`], [`domain::campaign`], [`domain::template`] |
//! | how a recipients file is read, what is rejected | [`intake::csv`], [`intake::render`], [`domain::person`] |
//! | which lane a person is in, which number sends it | [`intake::lanes`], [`policy::route`] |
//! | what is stored and how | [`queue::keys`], [`queue::codec`], `queue/*.lua` |
//! | what a reply means | `config/errors.toml`, [`policy::classify`] |
//! | what a number does next, and what stops it | [`policy::shard`], [`policy::pace`], [`policy::breaker`], [`policy::retry`] |
//! | how a request looks | [`cloud::body`]; how it travels: [`cloud::connection`] |
//! | pause, ends of campaigns, ownership, signals | [`app::control`], [`app::serve`], [`queue::owner`] |
//! | metrics and the dashboard | [`metrics`], `grafana/carteiro.json` |
//! | what the simulated Meta does | [`sim`] |
//!
//! # Invariants
//!
//! Rows = loaded + duplicate + rejected, and loaded = the sum over all states. No person gets a campaign's message twice.
//! No number exceeds its rate in any sliding second. After pause or cancel has returned, no new send of that campaign
//! begins. No phone number, name, amount or token appears in a log line, an error or a metric.
//!
//! **Architecture invariant:** imports go one way, `domain ← policy ← {queue, cloud} ← {intake, sender, http, report} ← app ←
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
