//! How fast webhooks are taken: statuses of messages that the engine has just sent, signed and batched as Meta does, posted
//! over several connections as fast as they are answered; and, in Redis, whether any of them was lost.
//!
//! The bodies are written and signed before the clock runs, so that the poster costs next to nothing meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::figures::{Figures, per};
use super::run::{Run, rig_plan};
use super::{BenchPlan, CAMPAIGN};
use crate::clock;
use crate::domain::ids::{LaneId, WireId};
use crate::domain::receipt::ReceiptKind;
use crate::http::webhooks::SIGNATURE;
use crate::queue::{campaigns, lane};
use crate::rig::{ACCOUNT, APP_SECRET, RigError, RigPlan};
use crate::sim::{Told, signed_body};

/// Recipients where nothing else says how many: their statuses take some 150 MB.
const RECIPIENTS: u64 = 100_000;

/// Posts under way at once: what is bounded is the time of an answer, not how many Meta sends.
const POSTS: usize = 32;

/// Updates of a body: as Meta batches, between a few and its most.
const UPDATES: [usize; 8] = [1_000, 40, 600, 1_000, 10, 300, 1_000, 150];

/// So many messages later a message is delivered, and so many more it is read.
const LAGS: [(ReceiptKind, usize); 3] =
    [(ReceiptKind::Sent, 0), (ReceiptKind::Delivered, 2_000), (ReceiptKind::Read, 8_000)];

/// A body, ready to be posted.
struct Body {
    text: Bytes,
    signature: String,
    updates: u64,
}

/// What came of the posts.
#[derive(Debug, Default)]
struct Posted {
    took: Vec<Duration>,
    refused: u64,
}

/// Measures.
pub(super) async fn run(plan: &BenchPlan, tell: &mut dyn FnMut(&str)) -> Result<Figures, RigError> {
    let plan = BenchPlan { recipients: plan.recipients.or(Some(RECIPIENTS)), ..plan.clone() };
    let rig_plan = RigPlan { keep_ids: true, webhooks: true, ..rig_plan(&plan) };
    let mut run = Run::load(&plan, rig_plan, tell).await?;
    run.start(tell).await?;
    run.finish(tell).await?;
    let mut figures = run.figures().await?;
    let heard = crate::queue::receipt::heard(&mut run.rig.redis).await?;
    let listen = heard.listen.ok_or_else(|| unusable("the engine does not say where it takes webhooks"))?;
    let url = format!("http://{listen}{}", crate::http::webhooks::PATH);
    let bodies = bodies(&run.rig.taken_ids().await?, &numbers(&mut run).await?)?;
    let updates: u64 = bodies.iter().map(|body| body.updates).sum();
    tell(&format!("{updates} statuses in {} webhooks", bodies.len()));
    run.begin_measuring();
    let began = clock::mono();
    let mut posted = post(&url, bodies).await?;
    let millis = u64::try_from(clock::mono().since(began).as_millis()).unwrap_or(u64::MAX);
    run.stop_measuring();
    posted.took.sort_unstable();
    let millis_at = |share: usize| {
        let took =
            posted.took.get((posted.took.len() * share / 100).min(posted.took.len().saturating_sub(1)));
        took.map(|took| took.as_secs_f64() * 1_000.0)
    };
    figures.webhook_updates = Some(updates);
    figures.webhook_updates_per_s = per(updates * 1_000, millis);
    figures.webhook_ratio_to_sends =
        figures.webhook_updates_per_s.zip(figures.sends_per_s).map(|(updates, sends)| updates / sends);
    (figures.webhook_median_ms, figures.webhook_p99_ms) = (millis_at(50), millis_at(99));
    figures.webhooks_refused = Some(posted.refused);
    figures.webhook_updates_lost = Some(updates.saturating_sub(counted(&mut run).await?));
    (figures.engine_cpu_us_per_webhook_update, figures.redis_cpu_us_per_webhook_update) = run.spent(updates);
    run.close().await?;
    Ok(figures)
}

/// The number of every lane.
async fn numbers(run: &mut Run) -> Result<BTreeMap<LaneId, Arc<str>>, RigError> {
    let lanes = lanes(run).await?;
    let counters = lane::counters(&mut run.rig.redis, &lanes).await?;
    let number = |counters: lane::LaneCounters| counters.number.map(|number| Arc::<str>::from(&*number.0));
    Ok(lanes
        .into_iter()
        .zip(counters)
        .filter_map(|(lane, counters)| Some((lane, number(counters)?)))
        .collect())
}

async fn lanes(run: &mut Run) -> Result<Vec<LaneId>, RigError> {
    let record = campaigns::find(&mut run.rig.redis, CAMPAIGN).await?;
    Ok((0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect())
}

/// Receipts that Redis has counted, each kind of a message once.
async fn counted(run: &mut Run) -> Result<u64, RigError> {
    let lanes = lanes(run).await?;
    let counters = lane::counters(&mut run.rig.redis, &lanes).await?;
    Ok(counters.iter().map(|lane| lane.receipts.iter().sum::<u64>()).sum())
}

/// Every status of every message, in the order of time, in bodies of changing size.
fn bodies(taken: &[u8], numbers: &BTreeMap<LaneId, Arc<str>>) -> Result<VecDeque<Body>, RigError> {
    let wrong = || unusable("the simulator took what is no message of ours");
    let text = std::str::from_utf8(taken).map_err(|_| wrong())?;
    // They come without the generation; in a run without faults every message was claimed once.
    let ids: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(|id| format!("{id}.1")).collect();
    let mut statuses = Vec::with_capacity(3 * ids.len());
    for at in 0..ids.len() + LAGS[2].1 {
        for (kind, lag) in LAGS {
            let Some(id) = at.checked_sub(lag).and_then(|at| ids.get(at)) else { continue };
            let lane = id.parse::<WireId>().map_err(|_| wrong())?.message.lane;
            let number = numbers.get(&lane).ok_or_else(wrong)?.clone();
            statuses.push(Told { number, opaque: id.as_str().into(), status: kind.as_str() });
        }
    }
    let (mut bodies, mut rest) = (VecDeque::new(), statuses.as_slice());
    for updates in UPDATES.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*updates).min(rest.len()));
        rest = later;
        let (text, signature) = signed_body(ACCOUNT, APP_SECRET, clock::wall().0, now);
        bodies.push_back(Body { text: text.into(), signature, updates: now.len() as u64 });
    }
    Ok(bodies)
}

/// Posts everything over [`POSTS`] connections, each as soon as the last is answered.
async fn post(url: &str, bodies: VecDeque<Body>) -> Result<Posted, RigError> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let bodies = Rc::new(std::cell::RefCell::new(bodies));
    let one = || async {
        let mut posted = Posted::default();
        loop {
            let Some(body) = bodies.borrow_mut().pop_front() else { return Ok(posted) };
            let began = clock::mono();
            let post = client.post(url).header(SIGNATURE, body.signature).body(body.text);
            let status = post.send().await.map_err(RigError::Ledger)?.status();
            posted.took.push(clock::mono().since(began));
            posted.refused += u64::from(status.as_u16() != 200);
        }
    };
    let all: Vec<Result<Posted, RigError>> = futures_util::future::join_all((0..POSTS).map(|_| one())).await;
    let mut posted = Posted::default();
    for one in all {
        let one = one?;
        posted.took.extend(one.took);
        posted.refused += one.refused;
    }
    Ok(posted)
}

fn unusable(what: &str) -> RigError {
    RigError::Unusable(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::webhook::{Event, Parsed, Reference};

    #[test]
    fn every_message_is_told_of_three_times_in_the_order_of_time() {
        let taken: String = (0..3_000).map(|at| format!("ct1.a.1.{}.{}\n", at % 2, at / 2)).collect();
        let lane = |lane| LaneId { campaign: crate::domain::ids::CampaignSeq(1), lane };
        let numbers = BTreeMap::from([(lane(0), "201".into()), (lane(1), "202".into())]);
        let bodies = bodies(taken.as_bytes(), &numbers).unwrap();
        assert_eq!(bodies.iter().map(|body| body.updates).sum::<u64>(), 9_000);
        let mut told = BTreeMap::new();
        for body in bodies {
            let parsed = Parsed::read(&body.text);
            assert_eq!((parsed.events.len() as u64, parsed.skipped.len()), (body.updates, 0));
            for event in parsed.events {
                let Event::Status(status) = event else { panic!("{event:?}") };
                let Reference::Wire(id) = status.reference else { panic!() };
                assert_eq!(status.number.unwrap().0.as_ref(), numbers[&id.message.lane].as_ref());
                told.entry(id.message).or_insert_with(Vec::new).push(status.kind);
            }
        }
        use ReceiptKind::{Delivered, Read, Sent};
        assert_eq!(told.len(), 3_000);
        assert!(told.values().all(|kinds| *kinds == [Sent, Delivered, Read]));
    }
}
