//! One run of the engine over one campaign, with what is read before, during and after it.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use crate::queue::connection::Connection;
use serde_json::Value;

use super::figures::{Figures, mib, per};
use super::{BenchPlan, CAMPAIGN, CAMPAIGN_FILE, CONNECTIONS};
use crate::intake::generate::{Plan, generate};
use crate::queue::campaigns;
use crate::rig::{Folder, Rig, RigError, RigPlan, usage};

/// Recipients where nothing else says how many.
pub(super) const RECIPIENTS: u64 = 200_000;

/// CPU time of both processes so far.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    serve: Option<Duration>,
    redis: Option<Duration>,
}

/// A campaign on a rig.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) rig: Rig,
    pub(super) recipients: u64,
    figures: Figures,
    memory_before: u64,
    memory_peak: u64,
    before: Cpu,
    after: Cpu,
}

/// The rig that a plan asks for.
pub(super) fn rig_plan(plan: &BenchPlan) -> RigPlan {
    let bounded = plan.connections.or_else(|| plan.rate_per_s.is_none().then_some(CONNECTIONS));
    RigPlan {
        numbers: plan.numbers,
        rate_per_s: plan.rate_per_s,
        latency: plan.latency,
        faults: None,
        time_scale: 1,
        connections: bounded,
        keep_ids: false,
        journal: plan.journal,
        webhooks: false,
    }
}

impl Run {
    /// Starts a rig and loads the recipients; no engine runs yet.
    pub(super) async fn load(
        plan: &BenchPlan,
        rig_plan: RigPlan,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self, RigError> {
        let folder = Folder::temporary(plan.folder.as_deref(), "bench")?;
        Self::load_in(folder, plan.recipients.unwrap_or(RECIPIENTS), rig_plan, tell).await
    }

    /// The same in a folder that may hold the rig's fault plan already.
    pub(super) async fn load_in(
        folder: Folder,
        recipients: u64,
        rig_plan: RigPlan,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self, RigError> {
        let figures = Figures {
            schema: 1,
            recipients,
            numbers: rig_plan.numbers,
            rate_per_s: rig_plan.rate_per_s,
            ..Figures::default()
        };
        let mut rig = Rig::start(folder, rig_plan).await?;
        let (campaign, input) = (rig.folder().file("campaign.toml"), rig.folder().file("recipients.csv"));
        std::fs::write(&campaign, CAMPAIGN_FILE).map_err(|source| unwritable(&campaign, source))?;
        write_recipients(&input, recipients)?;
        rig.run(&["campaign", "create", &campaign.to_string_lossy()]).await?;
        let memory_before = used_memory(&mut rig.redis).await?;
        tell(&format!("loading {recipients} recipients"));
        let loaded = rig.run(&["campaign", "load", CAMPAIGN, &input.to_string_lossy()]).await?;
        if loaded.said["loaded"].as_u64() != Some(recipients) {
            let message =
                format!("{recipients} recipients were written, and not all were loaded: {}", loaded.said);
            return Err(RigError::Unusable(message));
        }
        let mut run = Self {
            rig,
            recipients,
            figures,
            memory_before,
            memory_peak: 0,
            before: Cpu::default(),
            after: Cpu::default(),
        };
        run.figures.load_rows_per_s = per(recipients * 1_000, run.load_ms().await?);
        run.figures.load_rss_mb = mib(loaded.peak_rss_kib);
        run.figures.redis_bytes_per_message = run.bytes_per_message().await?;
        Ok(run)
    }

    /// Milliseconds from the load's first sign of life to the campaign being ready: the load without the start of its
    /// process. The name of a load begins with when it began.
    async fn load_ms(&mut self) -> Result<u64, RigError> {
        let record = campaigns::find(&mut self.rig.redis, CAMPAIGN).await?;
        let begun = record.loads.keys().next_back().and_then(|name| name.get(..12));
        let begun = begun.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        Ok(begun.map_or(0, |begun| record.since_ms.saturating_sub(begun)))
    }

    /// Starts the engine and the campaign.
    pub(super) async fn start(&mut self, tell: &mut dyn FnMut(&str)) -> Result<(), RigError> {
        self.rig.serve().await?;
        self.before = self.cpu();
        tell("sending");
        self.rig.run(&["campaign", "start", CAMPAIGN, "--yes"]).await?;
        Ok(())
    }

    /// Waits for the end of the campaign; its last status.
    pub(super) async fn finish(&mut self, tell: &mut dyn FnMut(&str)) -> Result<Value, RigError> {
        let status = self.rig.follow(CAMPAIGN, |status| {
            tell(&format!("{} left, {:.0}/s", status["left"], status["rate_per_s"].as_f64().unwrap_or(0.0)));
            Ok(())
        });
        let status = status.await?;
        self.after = self.cpu();
        if status["state"] != "done" {
            return Err(RigError::Unusable(format!("the campaign ended as {}", status["state"])));
        }
        Ok(status)
    }

    /// Notes how much Redis holds now.
    pub(super) async fn note_memory(redis: &mut Connection) -> Result<u64, RigError> {
        used_memory(redis).await
    }

    /// Takes over the most that Redis held during the run.
    pub(super) fn memory_peaked_at(&mut self, bytes: u64) {
        self.memory_peak = self.memory_peak.max(bytes);
    }

    /// Begins the measuring of CPU time anew.
    pub(super) fn begin_measuring(&mut self) {
        self.before = self.cpu();
    }

    /// CPU time of the engine and of Redis for each of so many things, in µs.
    pub(super) fn spent(&self, things: u64) -> (Option<f64>, Option<f64>) {
        let spent = |before: Option<Duration>, after: Option<Duration>| {
            let spent = after?.saturating_sub(before?);
            per(u64::try_from(spent.as_micros()).ok()?, things)
        };
        (spent(self.before.serve, self.after.serve), spent(self.before.redis, self.after.redis))
    }

    /// Ends the measuring of CPU time where no campaign ends.
    pub(super) fn stop_measuring(&mut self) {
        self.after = self.cpu();
    }

    /// What Redis holds for a message now.
    pub(super) async fn bytes_per_message(&mut self) -> Result<Option<f64>, RigError> {
        let now = used_memory(&mut self.rig.redis).await?;
        Ok(self.per_message(now))
    }

    fn per_message(&self, bytes: u64) -> Option<f64> {
        per(bytes.saturating_sub(self.memory_before), self.recipients)
    }

    /// Everything, with what the ledger says.
    pub(super) async fn figures(&mut self) -> Result<Figures, RigError> {
        let ledger = self.rig.ledger().await?;
        let mut figures = self.figures.clone();
        figures.judged_by(&ledger);
        (figures.engine_cpu_us_per_send, figures.redis_cpu_us_per_send) = self.spent(ledger.requests);
        figures.serve_rss_mb = mib(self.rig.serve_id().and_then(usage::peak_rss_kib));
        let both = [figures.serve_rss_mb, figures.load_rss_mb].into_iter().flatten();
        figures.rss_mb = both.reduce(f64::max);
        if self.memory_peak > 0 {
            figures.redis_bytes_per_message_peak = self.per_message(self.memory_peak);
        }
        Ok(figures)
    }

    /// Ends everything.
    pub(super) async fn close(self) -> Result<(), RigError> {
        self.rig.close().await
    }

    fn cpu(&self) -> Cpu {
        let of = |id: Option<u32>| id.and_then(usage::cpu);
        Cpu { serve: of(self.rig.serve_id()), redis: of(self.rig.redis_id()) }
    }
}

/// Recipients over all states, none twice, none bad, always the same.
pub(super) fn write_recipients(path: &Path, count: u64) -> Result<(), RigError> {
    let file = std::fs::File::create(path).map_err(|source| unwritable(path, source))?;
    let mut file = BufWriter::new(file);
    let plan = Plan { count, seed: 1, duplicates: 0.0, bad: 0.0 };
    generate(&mut file, &plan).map_err(|error| RigError::Unusable(error.to_string()))?;
    file.flush().map_err(|source| unwritable(path, source))
}

pub(super) fn unwritable(path: &Path, source: std::io::Error) -> RigError {
    RigError::System { what: format!("cannot write {}", path.display()), source }
}

/// Bytes that Redis holds.
async fn used_memory(redis: &mut Connection) -> Result<u64, RigError> {
    let text = info(redis, "memory").await?;
    let field = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
    field
        .and_then(|bytes| bytes.trim().parse().ok())
        .ok_or_else(|| RigError::Unusable("redis does not tell its used_memory".to_owned()))
}

/// A section of what Redis says of itself.
pub(super) async fn info(redis: &mut Connection, section: &str) -> Result<String, RigError> {
    let asked = redis::cmd("INFO").arg(section).query_async(redis).await;
    Ok(asked.map_err(crate::queue::QueueError::from)?)
}
