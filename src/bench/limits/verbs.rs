//! How long an operator's word takes: a pause or a cancel until nothing more arrives, an urgent message until it does.

use std::time::Duration;

use super::{CAMPAIGN, NUMBERS};
use crate::bench::CAMPAIGN_FILE;
use crate::bench::run::{Run, unwritable, write_recipients};
use crate::clock::{self, Mono};
use crate::rig::RigError;
use crate::sim::LedgerReport;

/// Pauses, and urgent messages.
const TIMES: u32 = 100;

/// Campaigns that are cancelled before the one of very many.
const CANCELS: u32 = 40;

/// Recipients of each of those: more than go out before they are cancelled.
const FEW: u64 = 4_000;

/// Requests that must have gone out before the next word is given: several of every number.
const GOING: u64 = 8 * NUMBERS as u64;

/// How long those, or an urgent message, may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks at the ledger.
const POLL: Duration = Duration::from_millis(20);

/// Pause between two looks for an urgent message.
const URGENT_POLL: Duration = Duration::from_millis(1);

/// Pause between two urgent messages: all of them take seconds, so that some meet whatever the engine does once a second
/// or every few.
const URGENT_PAUSE: Duration = Duration::from_millis(50);

/// What is under way when a verb returns has arrived after this.
const AFTERMATH: Duration = Duration::from_millis(50);

/// Pauses and resumes. Milliseconds until the last request arrived, and until the command returned.
pub(super) async fn pauses(
    run: &mut Run,
    tell: &mut dyn FnMut(&str),
) -> Result<(Vec<f64>, Vec<f64>), RigError> {
    tell(&format!("{TIMES} pauses"));
    let (mut silent, mut returned) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        going(run).await?;
        let (silence, back) = silenced(run, &["campaign", "pause", CAMPAIGN]).await?;
        silent.push(silence);
        returned.push(back);
        run.rig.run(&["campaign", "resume", CAMPAIGN]).await?;
    }
    Ok((silent, returned))
}

/// Cancels small campaigns that send alone, and at last that of very many.
pub(super) async fn cancels(run: &mut Run, tell: &mut dyn FnMut(&str)) -> Result<Vec<f64>, RigError> {
    tell(&format!("{} cancels", CANCELS + 1));
    run.rig.run(&["campaign", "pause", CAMPAIGN]).await?;
    let recipients = run.rig.folder().file("few.csv");
    write_recipients(&recipients, FEW)?;
    let mut silent = Vec::new();
    for at in 0..CANCELS {
        let id = format!("few-{at}");
        create(run, &id, "normal").await?;
        run.rig.run(&["campaign", "load", &id, &recipients.to_string_lossy()]).await?;
        run.rig.run(&["campaign", "start", &id, "--yes"]).await?;
        going(run).await?;
        silent.push(silenced(run, &["campaign", "cancel", &id, "--yes"]).await?.0);
    }
    run.rig.run(&["campaign", "resume", CAMPAIGN]).await?;
    going(run).await?;
    silent.push(silenced(run, &["campaign", "cancel", CAMPAIGN, "--yes"]).await?.0);
    Ok(silent)
}

/// Sends urgent messages beside the campaign. Milliseconds from the return of the command until the simulator has each.
pub(super) async fn urgent(run: &mut Run, tell: &mut dyn FnMut(&str)) -> Result<Vec<f64>, RigError> {
    tell(&format!("{TIMES} urgent messages"));
    create(run, "urgent", "urgent").await?;
    going(run).await?;
    let mut waited = Vec::new();
    for at in 0..TIMES {
        let to = format!("119{:08}", 70_000_000 + at);
        let values = ["1=Maria", "2=Aurora", "3=10,00", "4=10/12/2026"].map(|value| ["--value", value]);
        let mut words = vec!["message", "send", "urgent", "--to", &to];
        words.extend(values.iter().flatten());
        let said = run.rig.run(&words).await?.said;
        let began = clock::mono();
        let id = format!("ct1.{}.{}.1", run.rig.installation(), said["message"].as_str().unwrap_or_default());
        while !run.rig.has_taken(&id).await? {
            in_time(run, began, "an urgent message did not arrive")?;
            tokio::time::sleep(URGENT_POLL).await;
        }
        waited.push(ms(clock::mono().since(began)));
        tokio::time::sleep(URGENT_PAUSE).await;
    }
    Ok(waited)
}

/// Creates a campaign like that of the benchmark.
async fn create(run: &Run, id: &str, priority: &str) -> Result<(), RigError> {
    let path = run.rig.folder().file(&format!("{id}.toml"));
    let text = CAMPAIGN_FILE
        .replace("id = \"bench\"", &format!("id = \"{id}\""))
        .replace("priority = \"normal\"", &format!("priority = \"{priority}\""));
    std::fs::write(&path, text).map_err(|source| unwritable(&path, source))?;
    run.rig.run(&["campaign", "create", &path.to_string_lossy()]).await?;
    Ok(())
}

/// Waits until requests are going out.
async fn going(run: &mut Run) -> Result<(), RigError> {
    let (before, began) = (run.rig.ledger().await?.requests, clock::mono());
    while run.rig.ledger().await?.requests < before + GOING {
        in_time(run, began, "nothing is going out")?;
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Gives a word. Milliseconds from then until the last request arrived, and until the command returned.
async fn silenced(run: &mut Run, words: &[&str]) -> Result<(f64, f64), RigError> {
    let given = clock::mono();
    run.rig.run(words).await?;
    let returned = clock::mono();
    tokio::time::sleep(AFTERMATH).await;
    let asked = clock::mono();
    let ledger = run.rig.ledger().await?;
    // The simulator's clock and ours are the machine's: its now was between the question and the answer.
    let now = asked.after(clock::mono().since(asked) / 2);
    Ok((ms(silence(&ledger, now.since(given))), ms(returned.since(given))))
}

/// From a moment so long ago until the last request; zero if that was earlier.
fn silence(ledger: &LedgerReport, ago: Duration) -> Duration {
    let last = ledger.per_number.values().filter_map(|number| number.last_ms).max().unwrap_or(0);
    ago.saturating_sub(Duration::from_millis(ledger.now_ms.saturating_sub(last)))
}

fn in_time(run: &mut Run, began: Mono, what: &str) -> Result<(), RigError> {
    run.rig.check_serve()?;
    if clock::mono().since(began) < TIMEOUT { Ok(()) } else { Err(RigError::Unusable(what.to_owned())) }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::NumberReport;

    #[test]
    fn silence_begins_with_the_last_request_of_any_number() {
        let number = |last| NumberReport { last_ms: Some(last), ..NumberReport::default() };
        let mut ledger = LedgerReport { now_ms: 1_000, ..LedgerReport::default() };
        ledger.per_number.insert("1".to_owned(), number(930));
        ledger.per_number.insert("2".to_owned(), number(940));
        assert_eq!(silence(&ledger, Duration::from_millis(80)), Duration::from_millis(20));
        assert_eq!(silence(&ledger, Duration::from_millis(50)), Duration::ZERO);
    }
}
