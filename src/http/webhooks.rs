//! Meta's webhooks: `GET /webhooks/whatsapp` is the handshake, `POST` takes what happened to messages and accounts.
//!
//! ```text
//!  body ─ signature over the raw bytes ─► cloud::webhook ─► gathered for 15 ms ─► by lane ─► queue::receipt ─► 200
//! ```
//!
//! Nothing is read before its signature holds, and 200 is said only when Redis has everything; otherwise 503, and Meta
//! sends it again. It runs on a thread of its own, so that a flood of receipts never slows who sends. It speaks plain
//! HTTP: in front of it stands something with a public certificate.

mod apply;
mod asked;
mod intake;
mod known;
mod notes;
mod plan;
mod secrets;
mod stops;
mod times;

use std::error::Error as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use self::intake::{Delivery, Intake};
pub use self::notes::Noted;
use self::secrets::{Secrets, Signature};
use super::HttpError;
use crate::clock;
use crate::cloud::webhook::{BODY_MAX_BYTES, Parsed};
use crate::config::{AccountConfig, NumberConfig, Secret};
use crate::domain::receipt::Heard;
use crate::metrics::{Metrics, RequestOutcome, WebhookMetrics};
use crate::policy::classify::ErrorTable;
use crate::policy::stop_words::StopWords;
use crate::queue::link::Timeouts;
use crate::queue::stops::StopList;

/// Where Meta calls.
pub const PATH: &str = "/webhooks/whatsapp";

/// The header with the signature.
pub const SIGNATURE: &str = "x-hub-signature-256";

/// Bytes of bodies under way at most: twenty of the largest.
pub const BYTES_IN_FLIGHT_MAX: usize = 20 * BODY_MAX_BYTES;

/// Requests that wait for the intake at most.
const WAITING_MAX: usize = 1_024;

/// A body that takes longer to come is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a body that is too large which are read all the same, so that its sender hears why.
const REFUSED_MAX_BYTES: usize = 4 * BODY_MAX_BYTES;

/// How long a stop waits for requests under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A challenge is a number of a few digits; a longer one is nobody's.
const CHALLENGE_MAX: usize = 256;

/// What Redis has, for the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Receipts of messages.
    pub receipts: Vec<Heard>,
    /// What people and Meta said beside them.
    pub notes: Vec<Noted>,
}

/// Where news go besides Redis, in batches: the journal.
pub type Sink = Box<dyn Fn(News) + Send>;

/// What is meant by what Meta and people say.
#[derive(Clone, Debug)]
pub struct Meaning {
    /// What failures mean.
    pub table: Arc<ErrorTable>,
    /// What people write to hear no more.
    pub words: Arc<StopWords>,
}

/// Everything that webhooks are started with.
pub struct WebhooksStart {
    /// What the handshake must say.
    pub verify_token: Secret,
    /// Accounts, with the secrets of their apps.
    pub accounts: Vec<AccountConfig>,
    /// Our numbers.
    pub numbers: Vec<NumberConfig>,
    /// Redis.
    pub redis: crate::queue::client::Client,
    /// How long to wait for it.
    pub timeouts: Timeouts,
    /// Name of the installation: receipts of another are ignored.
    pub installation: String,
    /// What is meant, as of now.
    pub meaning: watch::Receiver<Meaning>,
    /// The stop list of this process.
    pub stops: Arc<StopList>,
    /// Every wait is divided by this.
    pub time_scale: u32,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where news go besides Redis.
    pub sink: Sink,
}

/// A port that is open for webhooks, whose connections wait until they are taken.
#[derive(Debug)]
pub struct Bound {
    address: SocketAddr,
    listener: TcpListener,
}

/// Running webhooks.
#[derive(Debug)]
pub struct Webhooks {
    /// Where they are taken.
    pub address: SocketAddr,
    stop: Arc<Notify>,
    thread: JoinHandle<()>,
}

/// What a request needs.
struct Door {
    secrets: Secrets,
    verify_token: Secret,
    deliveries: mpsc::Sender<Delivery>,
    /// Bytes that may still be under way.
    room: Arc<Semaphore>,
    all: Arc<Metrics>,
    metrics: WebhookMetrics,
}

impl Bound {
    /// Opens it; port 0 picks a free one.
    ///
    /// # Errors
    /// If the address is taken or not of this machine.
    pub fn open(address: SocketAddr) -> Result<Self, HttpError> {
        let opened = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(Self { address: listener.local_addr()?, listener })
        });
        opened.map_err(|source| HttpError::Webhooks { address, source })
    }
}

impl Webhooks {
    /// Takes webhooks on a thread of its own.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(Bound { address, listener }: Bound, start: WebhooksStart) -> Result<Self, HttpError> {
        let failed = |source| HttpError::Webhooks { address, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let stop = Arc::new(Notify::new());
        let told = stop.clone();
        let run = move || {
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                if let Err(source) = serve(start, listener, address, told).await {
                    tracing::error!(%source, "webhooks are not taken any more");
                }
            });
        };
        let named = std::thread::Builder::new().name("webhooks".to_owned());
        let thread = named.spawn(run).map_err(failed)?;
        Ok(Self { address, stop, thread })
    }

    /// Lets requests under way finish, and ends.
    pub fn stop(self) {
        self.stop.notify_one();
        let _panicked = self.thread.join();
    }
}

async fn serve(
    start: WebhooksStart,
    listener: TcpListener,
    address: SocketAddr,
    stop: Arc<Notify>,
) -> std::io::Result<()> {
    let (deliveries, incoming) = mpsc::channel(WAITING_MAX);
    let door = Door {
        secrets: Secrets::new(&start.accounts),
        verify_token: start.verify_token.clone(),
        deliveries,
        room: Arc::new(Semaphore::new(BYTES_IN_FLIGHT_MAX)),
        metrics: start.metrics.webhooks(),
        all: start.metrics.clone(),
    };
    tokio::task::spawn_local(Intake::new(start, address).run(incoming));
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (tell, told) = oneshot::channel::<()>();
    let stopping = async move {
        stop.notified().await;
        drop(tell);
    };
    let serving = axum::serve(listener, router(door)).with_graceful_shutdown(stopping).into_future();
    let too_late = async {
        let _ = told.await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        served = serving => served,
        () = too_late => Ok(()),
    }
}

fn router(door: Door) -> Router {
    Router::new().route(PATH, get(handshake).post(receive)).with_state(Arc::new(door))
}

/// Meta asks whether this is us: the challenge comes back if the token is right.
async fn handshake(State(door): State<Arc<Door>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    // The host is of no meaning: only the query is read.
    let url = reqwest::Url::parse(&format!("http://webhook/?{query}")).ok();
    let value = |key: &str| {
        let mut pairs = url.as_ref()?.query_pairs();
        pairs.find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
    };
    let token = value("hub.verify_token").unwrap_or_default();
    let challenge = value("hub.challenge").filter(|text| text.len() <= CHALLENGE_MAX);
    let right = secrets::same(&door.verify_token.0, &token);
    match challenge.filter(|_| right && value("hub.mode").as_deref() == Some("subscribe")) {
        Some(challenge) => {
            door.metrics.request(RequestOutcome::Handshake);
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], challenge).into_response()
        }
        None => {
            door.metrics.request(RequestOutcome::HandshakeRefused);
            StatusCode::FORBIDDEN.into_response()
        }
    }
}

async fn receive(State(door): State<Arc<Door>>, request: Request) -> StatusCode {
    let began = clock::mono();
    let outcome = match door.take(request).await {
        Ok(()) => RequestOutcome::Taken,
        Err(outcome) => outcome,
    };
    door.metrics.request(outcome);
    door.metrics.seconds.record(clock::mono().since(began).as_secs_f64());
    match outcome {
        RequestOutcome::Unsigned => StatusCode::UNAUTHORIZED,
        RequestOutcome::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RequestOutcome::Broken => StatusCode::BAD_REQUEST,
        RequestOutcome::Busy | RequestOutcome::Redis => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    }
}

impl Door {
    async fn take(&self, request: Request) -> Result<(), RequestOutcome> {
        let (head, body) = request.into_parts();
        let signature = head.headers.get(SIGNATURE).and_then(|value| Signature::read(value.as_bytes()));
        let Some(signature) = signature else {
            drain(body).await;
            return Err(RequestOutcome::Unsigned);
        };
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|text| text.to_str().ok()).and_then(|text| text.parse::<usize>().ok());
        if length.is_some_and(|length| length > BODY_MAX_BYTES) {
            drain(body).await;
            return Err(RequestOutcome::TooLarge);
        }
        let bytes = u32::try_from(length.unwrap_or(BODY_MAX_BYTES)).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| RequestOutcome::Busy)?;
        let body = timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_MAX_BYTES)).await;
        let body = body.map_err(|_| RequestOutcome::Broken)?.map_err(|error| {
            let large = error.source().is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
            if large { RequestOutcome::TooLarge } else { RequestOutcome::Broken }
        })?;
        let accounts = self.secrets.signer(&signature, &body).ok_or(RequestOutcome::Unsigned)?;
        let parsed = Parsed::read(&body);
        drop(body);
        self.count(&parsed);
        let (done, told) = oneshot::channel();
        let delivery =
            Delivery { events: parsed.events, accounts, heard_at_ms: clock::wall().0, done, _room: room };
        self.deliveries.try_send(delivery).map_err(|_| RequestOutcome::Busy)?;
        if told.await == Ok(true) { Ok(()) } else { Err(RequestOutcome::Redis) }
    }

    fn count(&self, parsed: &Parsed) {
        let mut kinds = std::collections::BTreeMap::new();
        for event in &parsed.events {
            *kinds.entry(event.kind()).or_insert(0) += 1;
        }
        for (kind, count) in kinds {
            self.all.webhook_updates(kind, count);
        }
        for (why, count) in &parsed.skipped {
            self.all.webhook_updates(&format!("skipped_{}", why.as_str()), *count);
            tracing::warn!(kind = why.as_str(), count, "updates of a signed webhook cannot be read");
        }
    }
}

/// Reads what is refused unseen to its end, within reason: who is cut off while writing never hears the answer.
async fn drain(body: Body) {
    let mut rest = body.into_data_stream();
    let mut read = 0;
    let reading = async {
        while let Some(Ok(bytes)) = rest.next().await {
            read += bytes.len();
            if read > REFUSED_MAX_BYTES {
                break;
            }
        }
    };
    let _too_slow = timeout(BODY_TIMEOUT, reading).await;
}

impl std::fmt::Debug for WebhooksStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhooksStart").field("installation", &self.installation).finish_non_exhaustive()
    }
}
