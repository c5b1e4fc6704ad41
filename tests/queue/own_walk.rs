//! A random walk of three nodes over `own.lua`, against the model on which the simulation runs. The script is run as it is,
//! but for the clock, which is told.

use std::time::Duration;

use carteiro::domain::ids::NumberId;
use carteiro::queue::keys;
use carteiro::queue::owner::{Ask, Beat, Kept, Renewal};
use proptest::prelude::*;
use redis::{AsyncCommands as _, Value};

use crate::lab::Lab;
use crate::own_model::OwnModel;

const OWN: &str = include_str!("../../src/queue/own.lua");
const EXPIRE: &str = include_str!("../../src/queue/expire.lua");

#[derive(Clone, Debug)]
struct Step {
    wait_us: u64,
    node: usize,
    incarnation: usize,
    ask: Ask,
    lease_ms: u64,
    acknowledged: u64,
    leaving: bool,
    offers: Option<usize>,
    /// Whether the last revision is known.
    informed: bool,
    /// Whether it is another master from now on.
    another: bool,
    give_back: Vec<(usize, Option<u64>)>,
    take: Vec<usize>,
}

fn any_step() -> impl Strategy<Value = Step> {
    let who = (0usize..3, prop::sample::select(vec![0usize, 0, 0, 1]));
    let ask = prop::sample::select(vec![Ask::Join, Ask::Join, Ask::Keep, Ask::Keep, Ask::Keep, Ask::Leave]);
    let what =
        (500u64..4_000, 0u64..9, prop::bool::weighted(0.2), prop::option::of(0usize..3), any::<bool>());
    let wait = prop::option::weighted(0.8, 0u64..2_000_000);
    let numbers = (prop::collection::vec((0usize..4, wait), 0..3), prop::collection::vec(0usize..4, 0..4));
    let another = prop::bool::weighted(0.05);
    (0u64..1_500_000, who, ask, what, (numbers, another)).prop_map(|(wait_us, who, ask, what, numbers)| {
        let (lease_ms, acknowledged, leaving, offers, informed) = what;
        let ((node, incarnation), ((give_back, take), another)) = (who, numbers);
        Step {
            wait_us,
            node,
            incarnation,
            ask,
            lease_ms,
            acknowledged,
            leaving,
            offers,
            informed,
            another,
            give_back,
            take,
        }
    })
}

fn number(at: usize) -> NumberId {
    NumberId::from(["1", "2", "3", "4"][at])
}

/// The script's answer as text, without the three lists at its end.
fn words(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| words(value, all)),
        Value::Int(number) => all.push(number.to_string()),
        Value::BulkString(bytes) => all.push(String::from_utf8(bytes.clone()).unwrap()),
        Value::SimpleString(text) => all.push(text.clone()),
        other => panic!("{other:?}"),
    }
}

fn expected(renewal: &Renewal) -> Vec<String> {
    match renewal {
        Renewal::Gone => vec!["gone".to_owned()],
        Renewal::Held(left) => vec!["held".to_owned(), left.as_millis().to_string()],
        Renewal::Kept(Kept { token, next_end, now, taken, revision, .. }) => {
            let end = next_end.map_or("-1".to_owned(), |end| end.as_millis().to_string());
            let mut all =
                vec!["ok".to_owned(), token.to_string(), revision.to_string(), end, now.0.to_string()];
            for one in taken {
                all.extend([one.number.to_string(), one.wait.as_micros().to_string()]);
                // How a number was left is one word more than what is made of it.
                all.push(if one.given_back { "given" } else { "taken" }.to_owned());
            }
            all
        }
    }
}

async fn beat(lab: &mut Lab, now_us: u64, beat: &Beat<'_>) -> Vec<String> {
    let script = OWN.replace("redis.call('TIME')", "{ARGV[13], ARGV[14]}");
    assert_ne!(script, OWN, "the script reads the clock where this test tells it");
    let wait = |wait: &Option<Duration>| wait.map_or("lost".to_owned(), |wait| wait.as_micros().to_string());
    let back: String = beat.give_back.iter().map(|(id, left)| format!("{id} {} ", wait(left))).collect();
    let take: Vec<&str> = beat.take.iter().map(|id| &*id.0).collect();
    let word = match beat.ask {
        Ask::Join => "join",
        Ask::Keep => "keep",
        Ask::Leave => "leave",
    };
    let mut call = redis::cmd("EVAL");
    call.arg(script).arg(4).arg(keys::OWN).arg(keys::OWN_NODES).arg(keys::OWN_NUMBERS).arg(keys::OWN_OFFERS);
    call.arg(beat.node).arg(beat.incarnation).arg(word).arg(u64::try_from(beat.lease.as_millis()).unwrap());
    call.arg(beat.acknowledged).arg(beat.capacity).arg(u8::from(beat.leaving)).arg(beat.offers.unwrap_or(""));
    call.arg(beat.revision.map(|revision| revision.to_string()).unwrap_or_default());
    call.arg(back).arg(take.join(" ")).arg(keys::OWN_EVENTS);
    call.arg(now_us / 1_000_000).arg(now_us % 1_000_000);
    let answer: Value = call.query_async(&mut lab.redis).await.unwrap();
    let Value::Array(mut parts) = answer else { panic!("{answer:?}") };
    parts.truncate(6);
    let mut all = Vec::new();
    parts.iter().for_each(|part| words(part, &mut all));
    all.into_iter()
        .map(|word| if ["new", "lost"].contains(&word.as_str()) { "taken".to_owned() } else { word })
        .collect()
}

async fn expire(lab: &mut Lab, now_us: u64) -> u64 {
    let script = EXPIRE.replace("redis.call('TIME')", "{ARGV[2], ARGV[3]}");
    assert_ne!(script, EXPIRE, "the script reads the clock where this test tells it");
    let mut call = redis::cmd("EVAL");
    call.arg(script).arg(4).arg(keys::OWN).arg(keys::OWN_NODES).arg(keys::OWN_NUMBERS).arg(keys::OWN_OFFERS);
    call.arg(keys::OWN_EVENTS).arg(now_us / 1_000_000).arg(now_us % 1_000_000);
    call.query_async(&mut lab.redis).await.unwrap()
}

async fn take(lab: &mut Lab, model: &mut OwnModel, now_us: &mut u64, known: &mut Option<u64>, step: &Step) {
    *now_us += step.wait_us;
    let incarnations = [format!("i{}", step.node), format!("i{}x", step.node)];
    let lists = [" 1 80 2 80 ", " 1 80 2 80 3 20 ", " 4 1000 "];
    let give_back: Vec<_> =
        step.give_back.iter().map(|(at, us)| (number(*at), us.map(Duration::from_micros))).collect();
    let wanted: Vec<_> = step.take.iter().map(|at| number(*at)).collect();
    let one = Beat {
        node: ["a", "b", "c"][step.node],
        incarnation: &incarnations[step.incarnation],
        ask: step.ask,
        lease: Duration::from_millis(step.lease_ms),
        acknowledged: step.acknowledged,
        capacity: 1,
        leaving: step.leaving,
        offers: step.offers.map(|at| lists[at]),
        revision: known.filter(|_| step.informed),
        give_back: &give_back,
        take: &wanted,
    };
    if step.another {
        model.is_another();
        let () = lab.redis.hset(keys::OWN, "replid", "0").await.unwrap();
    }
    if step.informed {
        assert_eq!(expire(lab, *now_us).await, model.expire(*now_us), "before {step:?}");
    }
    let renewal = model.beat(*now_us, &one);
    assert_eq!(beat(lab, *now_us, &one).await, expected(&renewal), "{step:?}");
    if let Renewal::Kept(kept) = renewal {
        *known = Some(kept.revision);
    }
    let mut pipeline = redis::pipe();
    for key in [keys::OWN_NODES, keys::OWN_NUMBERS, keys::OWN_OFFERS] {
        pipeline.cmd("HGETALL").arg(key);
    }
    let stored: [std::collections::BTreeMap<String, String>; 3] =
        pipeline.query_async(&mut lab.redis).await.unwrap();
    assert_eq!(stored, model.stored(), "after {step:?}");
}

#[test]
fn the_division_in_redis_is_what_the_model_of_the_simulation_makes_of_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lab = std::cell::RefCell::new(runtime.block_on(Lab::start()));
    let config = ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let walked = runner.run(&prop::collection::vec(any_step(), 1..60), |steps| {
        let mut lab = lab.borrow_mut();
        runtime.block_on(async {
            let () = redis::cmd("FLUSHALL").query_async(&mut lab.redis).await.unwrap();
            let (mut model, mut now_us, mut known) = (OwnModel::default(), 1_800_000_000_000_000, None);
            for step in &steps {
                take(&mut lab, &mut model, &mut now_us, &mut known, step).await;
            }
        });
        Ok(())
    });
    walked.unwrap();
}
