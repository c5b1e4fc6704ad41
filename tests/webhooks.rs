//! The webhook address over real HTTP and a real Redis: who is believed, what is written, and what is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

#[path = "webhooks/halts.rs"]
mod halts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carteiro::cloud::webhook::BODY_MAX_BYTES;
use carteiro::config::{AccountConfig, NumberConfig, RedisConfig, Secret};
use carteiro::domain::campaign::CampaignState;
use carteiro::domain::ids::{CampaignSeq, LaneId, NumberId};
use carteiro::domain::person::Phone;
use carteiro::domain::record::{RECORD_BYTES, Record, Settlement, State};
use carteiro::http::webhooks::{
    BYTES_IN_FLIGHT_MAX, Bound, Meaning, News, PATH, SIGNATURE, Webhooks, WebhooksStart,
};
use carteiro::metrics::Metrics;
use carteiro::policy::classify::ErrorTable;
use carteiro::policy::stop_words::StopWords;
use carteiro::queue::connection::Connection;
use carteiro::queue::keys::LaneKeys;
use carteiro::queue::lane::{self, Append};
use carteiro::queue::link::Timeouts;
use carteiro::queue::stops::{StopList, follow};
use carteiro::queue::{budget, campaigns, receipt};
use carteiro::redis_server::{RedisServer, client};
use hmac::{Hmac, KeyInit as _, Mac as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::AsyncCommands;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

const APP_SECRET: &str = "the secret of the app";
const NUMBER: &str = "201";

const CAMPAIGN: &str = "id = \"a\"\naccount = \"100\"\n[template]\nname = \"aviso\"\nlanguage = \"pt_BR\"\n\
    body = \"Olá, {{nome}}! Há uma mensagem.\"\n[columns]\nphone = \"t\"\nref = \"c\"\n[columns.variables]\nnome = \"n\"\n";

struct Place {
    server: RedisServer,
    redis: Connection,
    webhooks: Option<Webhooks>,
    metrics: Arc<Metrics>,
    heard: Arc<Mutex<News>>,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

fn secret(text: &str) -> Secret {
    Secret(text.into())
}

fn lane_id() -> LaneId {
    LaneId { campaign: CampaignSeq(1), lane: 0 }
}

/// The header of a body signed with `secret`.
fn signed(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn statuses(statuses: &[Value]) -> Vec<u8> {
    let value = json!({"metadata": {"phone_number_id": NUMBER}, "statuses": statuses});
    change("messages", &value)
}

fn change(field: &str, value: &Value) -> Vec<u8> {
    json!({"entry": [{"id": "100", "changes": [{"field": field, "value": value}]}]}).to_string().into_bytes()
}

fn status(kind: &str, index: usize) -> Value {
    let id = format!("ct1.abc.1.0.{index}.1");
    json!({"id": format!("wamid.{index}"), "status": kind, "timestamp": "1767225600", "biz_opaque_callback_data": id})
}

impl Place {
    /// A campaign of `count` messages that are being sent.
    async fn start(count: usize) -> Self {
        carteiro::tls::install_default();
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::join_or_start(folder.path()).await.unwrap();
        let timeouts = Timeouts { connect: Duration::from_secs(5), response: Duration::from_secs(10) };
        let config = RedisConfig::default();
        let client = client(&config, Some(server.socket())).unwrap();
        let mut redis = client.connect(timeouts).await.unwrap();
        campaign(&mut redis, count).await;
        let (metrics, heard) = (Metrics::new(), Arc::new(Mutex::new(News::default())));
        let journal = heard.clone();
        let number = NumberConfig { id: NumberId::from(NUMBER), account: "100".to_owned(), rate_per_s: None };
        let bound = Bound::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let webhooks = Webhooks::start(
            bound,
            WebhooksStart {
                verify_token: secret("the word & more"),
                accounts: vec![AccountConfig {
                    id: "100".to_owned(),
                    portfolio: Some("p".into()),
                    rate_per_s: None,
                    token: secret("t"),
                    app_secret: Some(secret(APP_SECRET)),
                    calendar: carteiro::domain::calendar::OwnHours::default(),
                }],
                numbers: vec![number],
                redis: client,
                timeouts,
                installation: "abc".to_owned(),
                meaning: watch::channel(Meaning {
                    table: Arc::new(ErrorTable::builtin()),
                    words: Arc::new(StopWords::builtin()),
                })
                .1,
                stops: Arc::new(StopList::new((1, 2), 0)),
                time_scale: 1,
                metrics: metrics.clone(),
                sink: Box::new(move |news| {
                    let mut all = journal.lock().unwrap();
                    all.receipts.extend(news.receipts);
                    all.notes.extend(news.notes);
                }),
            },
        );
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { server, redis, webhooks: Some(webhooks.unwrap()), metrics, heard, http, _folder: folder }
    }

    fn url(&self) -> String {
        format!("http://{}{PATH}", self.webhooks.as_ref().unwrap().address)
    }

    async fn post(&self, header: Option<&str>, body: Vec<u8>) -> u16 {
        let mut request = self.http.post(self.url()).body(body);
        if let Some(header) = header {
            request = request.header(SIGNATURE, header);
        }
        request.send().await.unwrap().status().as_u16()
    }

    async fn post_signed(&self, body: Vec<u8>) -> u16 {
        let header = signed(APP_SECRET, &body);
        self.post(Some(&header), body).await
    }

    async fn records(&mut self) -> Vec<Record> {
        let bytes: Vec<u8> = self.redis.get(LaneKeys::new(lane_id()).state).await.unwrap();
        bytes.chunks(RECORD_BYTES).map(|four| Record::from_bytes(four.try_into().unwrap()).unwrap()).collect()
    }

    async fn count(&mut self, state: State) -> u64 {
        lane::counters(&mut self.redis, &[lane_id()]).await.unwrap().remove(0).of(state)
    }

    fn metric(&self, line: &str) {
        let text = self.metrics.render();
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.webhooks.take().into_iter().for_each(Webhooks::stop);
    }
}

async fn campaign(redis: &mut Connection, count: usize) {
    assert_eq!(campaigns::create(redis, "a", CAMPAIGN, 1).await.unwrap(), CampaignSeq(1));
    assert!(
        campaigns::set_state(redis, CampaignSeq(1), (CampaignState::Draft, CampaignState::Running), 1)
            .await
            .unwrap()
    );
    let number = NumberId::from(NUMBER);
    for from in (0..count).step_by(100) {
        let rows = (count - from).min(100);
        let hashes = (from..from + rows).map(|row| i64::try_from(row).unwrap()).collect();
        let buckets = BTreeMap::from([(0, hashes)]);
        let tag = from.to_string();
        let append = Append {
            tag: &tag,
            number: &number,
            class: 0,
            capacity: 50,
            rows,
            chunk: b"x",
            buckets: &buckets,
        };
        lane::append(redis, lane_id(), &append).await.unwrap();
    }
    lane::adopt(redis, lane_id(), 1, true).await.unwrap();
    for request in 1..=count.div_ceil(1_000) {
        lane::claim(redis, lane_id(), (1, request as u64), 1, (1_000, 0)).await.unwrap();
    }
}

#[tokio::test]
async fn the_handshake_is_answered_to_who_knows_the_word() {
    let place = Place::start(1).await;
    let ask = async |query: &str| {
        let answer = place.http.get(format!("{}?{query}", place.url())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let right = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=the+word%20%26+more";
    assert_eq!(ask(right).await, (200, "1158201444".to_owned()));
    for wrong in [
        "",
        "hub.mode=subscribe&hub.challenge=1",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=the+word",
        "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=the+word%20%26+more",
        "hub.mode=subscribe&hub.verify_token=the+word%20%26+more",
    ] {
        assert_eq!(ask(wrong).await, (403, String::new()), "{wrong}");
    }
    place.metric("carteiro_webhook_requests_total{outcome=\"handshake\"} 1");
    place.metric("carteiro_webhook_requests_total{outcome=\"handshake_refused\"} 5");
}

#[tokio::test]
async fn what_is_not_signed_is_not_believed() {
    let mut place = Place::start(5).await;
    let body = statuses(&[status("sent", 0)]);
    let right = signed(APP_SECRET, &body);
    assert_eq!(place.post(None, body.clone()).await, 401);
    assert_eq!(place.post(Some(&signed("another", &body)), body.clone()).await, 401);
    assert_eq!(place.post(Some(&right), [body.as_slice(), b" "].concat()).await, 401);
    assert_eq!(place.post(Some("sha256=12"), body.clone()).await, 401);
    // However large, without a signature it takes no room.
    assert_eq!(place.post(None, vec![b' '; BODY_MAX_BYTES]).await, 401);
    assert_eq!(place.count(State::Accepted).await, 0);
    place.metric("carteiro_webhook_requests_total{outcome=\"unsigned\"} 5");
    assert!(!place.metrics.render().contains("carteiro_webhook_updates_total{"), "nothing was read");
    assert_eq!(place.post(Some(&right), body).await, 200);
    assert_eq!(place.count(State::Accepted).await, 1);
}

#[tokio::test]
async fn a_thousand_and_one_with_bad_ones_among_them_are_all_dealt_with() {
    let mut place = Place::start(990).await;
    let mut all: Vec<Value> = (0..990).map(|index| status("delivered", index)).collect();
    all.extend([json!(7), json!({"status": "sent"}), json!({"id": "w", "status": "warmed"})]);
    all.extend((990..994).map(|index| status("sent", index)));
    all.push(json!({"id": "w", "status": "sent", "biz_opaque_callback_data": "ct1.other.1.0.0.1"}));
    all.push(json!({"id": "w", "status": "sent"}));
    all.extend([status("sent", 3), status("delivered", 3)]);
    assert_eq!(all.len(), 1_001);
    assert_eq!(place.post_signed(statuses(&all)).await, 200);
    assert_eq!(place.count(State::Accepted).await, 990);
    for line in [
        "carteiro_receipts_total{status=\"delivered\"} 990",
        "carteiro_receipts_total{status=\"sent\"} 1",
        "carteiro_receipts_ignored_total{reason=\"repeated\"} 1",
        "carteiro_receipts_ignored_total{reason=\"nowhere\"} 4",
        "carteiro_receipts_ignored_total{reason=\"foreign\"} 1",
        "carteiro_receipts_ignored_total{reason=\"without_id\"} 1",
        "carteiro_webhook_updates_total{kind=\"skipped_status\"} 2",
        "carteiro_webhook_updates_total{kind=\"skipped_status_word\"} 1",
        "carteiro_receipts_lifted_total{state=\"sending\"} 990",
        "carteiro_duplicates_detected_total 0",
    ] {
        place.metric(line);
    }
    let heard = receipt::heard(&mut place.redis).await.unwrap();
    assert_eq!(heard.receipts.len(), 1);
    let heard = &place.heard.lock().unwrap().receipts;
    assert_eq!(heard.len(), 996);
    let one = heard.iter().find(|one| one.message.index == 7).unwrap();
    assert_eq!((one.wamid.as_str(), one.at_ms, one.generation), ("wamid.7", Some(1_767_225_600_000), 1));
    assert_eq!((one.outcome.before, one.outcome.moved), (State::Sending, true));
}

#[tokio::test]
async fn receipts_of_many_requests_at_once_are_all_written() {
    let mut place = Place::start(3_000).await;
    let posts = (0..60).map(|batch| {
        let all: Vec<Value> = (0..50).map(|at| status("read", 50 * batch + at)).collect();
        place.post_signed(statuses(&all))
    });
    let answers = futures_util::future::join_all(posts).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(place.count(State::Accepted).await, 3_000);
}

#[tokio::test]
async fn three_megabytes_and_no_more() {
    let place = Place::start(1).await;
    let mut body = statuses(&[status("sent", 0)]);
    body.resize(BODY_MAX_BYTES, b' ');
    assert_eq!(place.post_signed(body.clone()).await, 200);
    body.push(b' ');
    assert_eq!(place.post_signed(body.clone()).await, 413);
    // Without a length it is found out while it comes.
    let header = signed(APP_SECRET, &body);
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body.chunks(1 << 16).map(|piece| Ok(piece.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let sent = place.http.post(place.url()).header(SIGNATURE, header).body(stream).send().await;
    // The answer may overtake the rest of the body, and the connection ends with it.
    assert!(sent.is_err() || sent.unwrap().status().as_u16() == 413);
    let text = place.metrics.render();
    let refused = text.lines().find(|line| line.contains("outcome=\"too_large\"")).unwrap();
    assert!(refused.ends_with(" 2"), "{refused}");
}

#[tokio::test]
async fn what_people_and_meta_say_beside_receipts_is_counted_and_kept() {
    let mut place = Place::start(1).await;
    let value = json!({"metadata": {"phone_number_id": NUMBER}, "messages": [
        {"id": "wamid.in", "from": "5511987654321", "type": "text", "text": {"body": "SAIR"}}, {"type": "text"}
    ]});
    assert_eq!(place.post_signed(change("messages", &value)).await, 200);
    let stop = json!({"user_preferences": [{"wa_id": "5511987654321", "category": "marketing_messages", "value": "stop"}]});
    assert_eq!(place.post_signed(change("user_preferences", &stop)).await, 200);
    let more = json!({"max_daily_conversations_per_business": 2_000});
    assert_eq!(place.post_signed(change("business_capability_update", &more)).await, 200);
    assert_eq!(budget::said(&mut place.redis, "p").await.unwrap(), Some(2_000));
    assert_eq!(place.post_signed(change("calls", &json!({"calls": []}))).await, 200);
    for line in [
        "carteiro_webhook_updates_total{kind=\"message\"} 1",
        "carteiro_webhook_updates_total{kind=\"skipped_message\"} 1",
        "carteiro_webhook_updates_total{kind=\"preference\"} 1",
        "carteiro_webhook_updates_total{kind=\"capability\"} 1",
        "carteiro_webhook_updates_total{kind=\"other_field\"} 1",
    ] {
        place.metric(line);
    }
    let heard = place.heard.lock().unwrap();
    let beside = heard.notes.iter().filter(|note| note.kind != "stop");
    let said: Vec<(&str, &str, &str)> =
        beside.map(|note| (note.kind, note.detail.as_str(), note.wamid.as_str())).collect();
    let expect = [
        ("message", "text", "wamid.in"),
        ("preference", "marketing_messages stop", ""),
        ("capability", "2000 people a day", ""),
        ("other_field", "calls", ""),
    ];
    assert_eq!(said, expect);
    assert!(!format!("{:?}", heard.notes).contains("987654321"));
}

/// Messages of a person to our number.
fn said(messages: &[Value]) -> Vec<u8> {
    change("messages", &json!({"metadata": {"phone_number_id": NUMBER}, "messages": messages}))
}

fn text(from: &str, text: &str) -> Value {
    json!({"from": from, "id": "wamid.in", "timestamp": "1767225600", "type": "text", "text": {"body": text}})
}

impl Place {
    /// The stop list as any process would read it now: what it says of this phone.
    async fn stops(&mut self, phone: u64) -> Vec<&'static str> {
        let list = StopList::new((1, 2), 0);
        follow::load(&mut self.redis, &list).await.unwrap();
        let person = Phone::from_digits(phone).unwrap().person();
        list.of_person(person)
            .into_iter()
            .map(|(kind, account, _)| {
                assert_eq!(account.as_deref(), Some("100"));
                kind.as_str()
            })
            .collect()
    }
}

#[tokio::test]
async fn who_asks_to_hear_no_more_is_in_the_stop_list_when_meta_is_answered() {
    const ANA: u64 = 5_511_987_654_321;
    let mut place = Place::start(1).await;
    // Without the ninth digit, as Meta may write it.
    assert_eq!(
        place
            .post_signed(said(&[
                text("551187654321", "Já paguei"),
                text("551187654321", "pare de me cobrar")
            ]))
            .await,
        200
    );
    let body = said(&[text("551187654321", "PARE!")]);
    assert_eq!(place.post(None, body.clone()).await, 401);
    assert_eq!(place.stops(ANA).await, [""; 0]);
    assert_eq!(place.post_signed(body.clone()).await, 200);
    assert_eq!(place.stops(ANA).await, ["optout"]);
    let button = json!({"from": "551187654321", "id": "w2", "type": "button", "button": {"payload": "x", "text": "Número errado"}});
    let foreign = text("12125550100", "stop");
    let hidden = json!({"from_user_id": "BR.9", "id": "w3", "type": "text", "text": {"body": "sair"}});
    assert_eq!(place.post_signed(said(&[button, foreign, hidden])).await, 200);
    assert_eq!(place.stops(ANA).await, ["optout", "wrong_person"]);
    let now = carteiro::clock::wall().0 / 1_000;
    for (value, expect) in [("stop", 3), ("resume", 2)] {
        let one = json!({"wa_id": "5511987654321", "category": "marketing_messages", "value": value, "timestamp": now});
        assert_eq!(
            place.post_signed(change("user_preferences", &json!({"user_preferences": [one]}))).await,
            200
        );
        assert_eq!(place.stops(ANA).await.len(), expect, "{value}");
    }
    place.metric("carteiro_stops_asked_total{kind=\"optout\",by=\"word\"} 2");
    place.metric("carteiro_stops_asked_total{kind=\"wrong_person\",by=\"button\"} 1");
    let notes = place.heard.lock().unwrap().notes.clone();
    let stops: Vec<_> = notes.iter().filter(|note| note.kind.starts_with("stop")).collect();
    assert_eq!(stops.len(), 5, "{stops:?}");
    assert!(
        stops.iter().all(|note| !note.subject.contains("87654321") && !note.detail.contains("PARE")),
        "{stops:?}"
    );
}

#[tokio::test]
async fn a_failure_after_acceptance_waits_or_is_final_by_the_table() {
    let mut place = Place::start(4).await;
    let accepted =
        |index| Settlement { index, generation: 1, state: State::Accepted, attempt: 1, reason: 0, due_ms: 0 };
    lane::settle(&mut place.redis, lane_id(), &mut [0, 1, 2].map(accepted)).await.unwrap();
    let failed = |index, code: i64| {
        let mut status = status("failed", index);
        status["errors"] = json!([{"code": code}]);
        status
    };
    let all = [
        failed(0, 131_026),
        failed(1, 131_053),
        status("delivered", 2),
        failed(2, 131_026),
        failed(3, 131_000),
    ];
    assert_eq!(place.post_signed(statuses(&all)).await, 200);
    let states: Vec<State> = place.records().await[..4].iter().map(|record| record.state).collect();
    assert_eq!(states, [State::Failed, State::Waiting, State::Accepted, State::Waiting]);
    // Whoever owns the lane is told to look for what waits.
    let grown =
        async |redis: &mut Connection| campaigns::read_all(redis, &[CampaignSeq(1)]).await.unwrap()[0].grown;
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        while grown(&mut place.redis).await == 0 {
            tokio::task::yield_now().await;
        }
    });
    patience.await.unwrap();
}

#[tokio::test]
async fn while_redis_is_away_meta_is_asked_to_send_it_again() {
    let mut place = Place::start(10).await;
    let body = statuses(&[status("sent", 4)]);
    let asked = said(&[text("5511987654321", "SAIR")]);
    let pid = place.server.process_id().await.unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    place.server.exited().await;
    assert_eq!(place.post_signed(body.clone()).await, 503);
    assert_eq!(place.post_signed(asked).await, 503);
    place.metric("carteiro_webhook_requests_total{outcome=\"redis\"} 2");
    assert_eq!(*place.heard.lock().unwrap(), News::default());
    place.server.ensure_alive().await.unwrap();
    assert_eq!(place.post_signed(body).await, 200);
    place.metric("carteiro_webhook_requests_total{outcome=\"taken\"} 1");
    assert_eq!(place.heard.lock().unwrap().receipts.len(), 1);
}

#[tokio::test]
async fn bodies_that_do_not_come_leave_no_room_and_are_bounded() {
    let place = Place::start(1).await;
    let address = place.webhooks.as_ref().unwrap().address;
    let mut open = Vec::new();
    for _ in 0..BYTES_IN_FLIGHT_MAX / BODY_MAX_BYTES {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let signature = signed("anything", b"");
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: x\r\n{SIGNATURE}: {signature}\r\ncontent-length: {BODY_MAX_BYTES}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        open.push(stream);
    }
    let body = statuses(&[status("sent", 0)]);
    // The heads are read one after the other; once all are, there is no room left.
    let mut answers = Vec::new();
    while answers.last() != Some(&503) && answers.len() < 10_000 {
        answers.push(place.post_signed(body.clone()).await);
    }
    assert_eq!(answers.last(), Some(&503));
    drop(open);
    while answers.last() != Some(&200) && answers.len() < 20_000 {
        answers.push(place.post_signed(body.clone()).await);
    }
    assert_eq!(answers.last(), Some(&200), "room comes back with the connections that end");
}
