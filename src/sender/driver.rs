//! The driver of one shard: a loop over a closed set of events.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};

use super::meters::Meters;
use super::orders::{Orders, Payload, Timed};
use super::pool::{ConnectionId, Pool, Ready};
use super::report::Report;
use super::turn::{Turn, Waiting, Written};
use crate::clock::{self, Mono};
use crate::cloud::body::Body;
use crate::cloud::connection::{self, Ended, Gate, Job, News};
use crate::cloud::endpoint::Endpoint;
use crate::cloud::probe;
use crate::config::{CloudConfig, Secret};
use crate::domain::ids::{CampaignSeq, LaneId, MessageId, NumberId, WireId};
use crate::domain::person::Pii;
use crate::journal::Entry;
use crate::policy::classify::{ErrorTable, Local};
use crate::policy::shard::{FlightId, Input, Message, Now, NumberView, Output, Shard};
use crate::queue::budget::Budgets;
use crate::queue::link::{self, LinkNews};

/// Events handled between two looks at the clock for idle connections.
const EVENTS_MAX: usize = 256;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// From control, or an answer of Redis: goes to the machine as it is.
    Input(Input<Payload>),
    /// An answer of Redis, and how long it took.
    Timed(Input<Payload>, Timed),
    /// A connection was made or not.
    Connected(Option<Made>),
    /// News of a connection.
    Connection(ConnectionId, News<FlightId>),
    /// Redis went or came.
    Link(LinkNews),
    /// A campaign's request.
    Body(CampaignSeq, Arc<Body>),
    /// How a number is reached: its token.
    Number(NumberId, Secret),
    /// A newer fencing token: lanes are adopted under it from now on.
    Token(u64),
    /// The budgets of accounts from now on.
    Budgets(Arc<Budgets>),
    /// What replies mean from now on.
    Table(Arc<ErrorTable>),
    /// Say what the numbers are doing.
    View(tokio::sync::oneshot::Sender<ShardView>),
    /// Stop at once.
    Stop,
}

/// A connection that was made.
#[derive(Debug)]
pub struct Made {
    id: ConnectionId,
    jobs: mpsc::Sender<Job<FlightId>>,
    /// Requests that it takes at once.
    slots: usize,
}

/// What a shard is doing.
#[derive(Clone, Debug, Default)]
pub struct ShardView {
    /// Its numbers.
    pub numbers: Vec<NumberView>,
    /// How long the earliest retry is overdue.
    pub oldest_due: Duration,
}

/// What a driver is made of.
pub(super) struct Driver {
    pub(super) shard: usize,
    pub(super) machine: Shard<Payload>,
    pub(super) orders: Orders,
    pub(super) endpoint: Rc<Endpoint>,
    pub(super) cloud: CloudConfig,
    pub(super) probes: reqwest::Client,
    pub(super) table: Arc<ErrorTable>,
    pub(super) installation: String,
    pub(super) events: UnboundedSender<Event>,
    pub(super) reports: UnboundedSender<Report>,
    pub(super) meters: Meters,
    pub(super) routes: HashMap<NumberId, Route>,
    pub(super) bodies: HashMap<CampaignSeq, Arc<Body>>,
    pub(super) pool: Pool<FlightId>,
    /// What every request must pass on its way out.
    pub(super) gate: Gate,
    /// Connections that carry a request, by flight: they come back with its end.
    pub(super) busy: HashMap<FlightId, Flying>,
    /// What this turn of the loop sends and heard.
    pub(super) turn: Turn,
    pub(super) last_connection: u64,
}

/// A request on its way.
pub(super) struct Flying {
    connection: ConnectionId,
    jobs: mpsc::Sender<Job<FlightId>>,
    slots: usize,
    number: NumberId,
    message: MessageId,
    generation: u8,
    /// Whom it is for, as chunks hold it.
    to: u64,
    began: Mono,
}

/// How a number is reached.
pub(super) struct Route {
    uri: Uri,
    authorization: HeaderValue,
    token: Secret,
}

impl Driver {
    /// Runs until drained or told to stop.
    pub(super) async fn run(mut self, mut incoming: UnboundedReceiver<Event>) {
        loop {
            let wake = self.carry_out();
            let idle = self.pool.next_idle(self.cloud.idle_timeout);
            let deadline = [wake, idle, self.turn.retry_at()].into_iter().flatten().min();
            let sleep = sleep_until(deadline.map_or_else(far_away, Mono::to_tokio));
            tokio::select! {
                biased;
                event = incoming.recv() => {
                    let Some(event) = event else { return };
                    if !self.on_event(event) {
                        return;
                    }
                    for _ in 0..EVENTS_MAX {
                        let Ok(event) = incoming.try_recv() else { break };
                        if !self.on_event(event) {
                            return;
                        }
                    }
                }
                () = sleep, if deadline.is_some() => self.input(Input::Time),
            }
            let dropped = self.pool.drop_idle(clock::mono(), self.cloud.idle_timeout);
            for _ in 0..dropped {
                self.input(Input::Closed);
            }
            if self.turn.retry(clock::mono()) {
                tracing::info!(shard = self.shard, "the journal takes writes again; claiming goes on");
                self.input(Input::Journal(true));
            }
        }
    }

    fn input(&mut self, input: Input<Payload>) {
        self.machine.handle(Now { mono: clock::mono(), wall: clock::wall() }, input);
    }

    /// False: stop.
    fn on_event(&mut self, event: Event) -> bool {
        match event {
            Event::Input(Input::Forget(seq)) => {
                self.bodies.remove(&seq);
                self.orders.forget_campaign(seq);
                self.input(Input::Forget(seq));
            }
            Event::Input(Input::Budget(portfolio, changes)) => {
                self.orders.admission.note_changes(&portfolio, changes);
                self.input(Input::Budget(portfolio, changes));
            }
            Event::Input(Input::Lease(until)) => {
                self.gate.open_until(until);
                self.input(Input::Lease(until));
            }
            Event::Input(input) => self.input(input),
            Event::Timed(input, took) => {
                match took {
                    Timed::Claim(took) => self.meters.claim_took(took),
                    Timed::Settle(took) => self.meters.settle_took(took),
                }
                self.input(input);
            }
            Event::Connected(Some(made)) => self.on_connected(made),
            Event::Connected(None) => self.input(Input::ConnectFailed),
            Event::Connection(id, News::Closed) => {
                for _ in 0..self.pool.remove(id) {
                    self.input(Input::Closed);
                }
            }
            Event::Connection(_, News::Ended(flight, ended, reusable)) => {
                self.on_ended(flight, ended, reusable)
            }
            Event::Link(LinkNews::Up) => {
                self.input(Input::RolledBack(false));
                self.input(Input::Redis(true));
            }
            Event::Link(LinkNews::Down(kind)) => {
                self.meters.redis_error();
                self.input(Input::Redis(false));
                self.input(Input::RolledBack(kind == link::ROLLED_BACK));
            }
            Event::Body(seq, body) => {
                self.orders.know(seq, &body);
                self.bodies.insert(seq, body);
            }
            Event::Number(id, token) => self.route(id, token),
            Event::Token(token) => self.orders.set_token(token),
            Event::Budgets(budgets) => self.orders.admission.set_budgets(budgets),
            Event::Table(table) => self.table = table,
            Event::View(reply) => {
                let _gone = reply.send(self.view());
            }
            Event::Stop => return false,
        }
        true
    }

    fn on_connected(&mut self, Made { id, jobs, slots }: Made) {
        let more = slots.saturating_sub(1).min(self.machine.room());
        self.pool.add(Ready { id, jobs, since: clock::mono(), slots: 1 + more });
        self.input(Input::Connected);
        if more > 0 {
            self.input(Input::Widened(more));
        }
    }

    fn route(&mut self, id: NumberId, token: Secret) {
        let (Ok(uri), Ok(mut authorization)) =
            (self.endpoint.messages_path(&id.0), HeaderValue::from_str(&format!("Bearer {}", token.0)))
        else {
            tracing::error!(number = %id, "the number's id or token cannot stand in a request; it sends nothing");
            return;
        };
        authorization.set_sensitive(true);
        self.meters.number(&id);
        self.routes.insert(id, Route { uri, authorization, token });
    }

    fn view(&self) -> ShardView {
        let now = clock::mono();
        let oldest_due = self.machine.oldest_due().map_or(Duration::ZERO, |due| now.since(due));
        ShardView { numbers: self.machine.numbers().collect(), oldest_due }
    }

    fn on_ended(&mut self, flight: FlightId, ended: Ended, reusable: bool) {
        let Some(flying) = self.busy.remove(&flight) else {
            return;
        };
        let (verdict, wamid) = match ended {
            Ended::Replied(reply, wamid) => (self.table.classify(&reply), wamid),
            Ended::Without(local) => (self.table.local(local), None),
        };
        if self.turn.is_journaled() {
            self.turn.replied(Entry::Reply {
                message: flying.message,
                generation: flying.generation,
                at_ms: clock::wall().0,
                outcome: verdict.kind.into(),
                reason: verdict.reason,
                code: verdict.code,
                wamid,
            });
        }
        if let Some(kind) = self.table.reason(verdict.reason).and_then(|row| row.suppress) {
            let (campaign, phone) = (flying.message.lane.campaign, Pii::new(flying.to));
            self.report(Report::Suppress { campaign, phone, kind });
        }
        let Flying { connection, jobs, slots, number, began, .. } = flying;
        let now = clock::mono();
        self.meters.ended(&number, &verdict, &self.table, now.since(began));
        if reusable {
            self.pool.put(Ready { id: connection, jobs, since: now, slots });
        }
        self.input(Input::Replied(flight, verdict, reusable));
    }

    /// Carries out orders until there is nothing to do. Returns when to look again.
    fn carry_out(&mut self) -> Option<Mono> {
        loop {
            match self.machine.poll() {
                Output::Sleep(until) => {
                    self.end_turn();
                    return until;
                }
                Output::Send { flight, number, lane, message } => self.send(flight, number, lane, &message),
                Output::Adopt { lane, sweep } => {
                    self.order(async move |orders| orders.adopt(lane, sweep).await)
                }
                Output::Claim { lane: id, number, request: at, fresh, due } => {
                    self.order_timed(async move |orders| orders.claim((id, &number), at, (fresh, due)).await);
                }
                Output::Release { lane, request, messages } => {
                    self.order(async move |orders| orders.release(lane, request, messages).await);
                }
                Output::Settle { lane, settlements } => {
                    self.order_timed(async move |orders| orders.settle(lane, settlements).await);
                }
                Output::Connect(count) => (0..count).for_each(|_| self.connect()),
                Output::Probe(number) => self.probe(number),
                Output::Halt { verdict, number, account, template } => {
                    self.report(Report::Halt { verdict, number, account, template });
                }
                Output::Throttle(throttled) => self.report(Report::Throttle(self.shard, throttled)),
                Output::Dry(number) => self.report(Report::Dry(number)),
                Output::Dropped(lane) => {
                    self.orders.forget(lane);
                    self.report(Report::Dropped(lane));
                }
                Output::NumberDropped(number, next) => self.report(Report::NumberDropped(number, next)),
                Output::Reached(version) => {
                    self.end_turn();
                    self.reached(version);
                }
                Output::Drained => self.report(Report::Drained(self.shard)),
            }
        }
    }

    /// Writes down what this turn sends, and then lets it leave. A message that was not written down is given back.
    fn end_turn(&mut self) {
        let now = clock::mono();
        let written = self.turn.write(now);
        if let Written::No(Some(error)) = &written {
            tracing::error!(shard = self.shard, %error, "nothing is claimed until the journal can be written again");
            let _gone = self.events.send(Event::Input(Input::Journal(false)));
        }
        for Waiting { connection, job } in self.turn.take() {
            let flight = job.id;
            if let Written::No(_) = written {
                if let Some(Flying { jobs, slots, .. }) = self.busy.remove(&flight) {
                    self.pool.put(Ready { id: connection, jobs, since: now, slots });
                }
                let _gone = self.events.send(Event::Input(Input::Unbegun(flight)));
                continue;
            }
            let sent = self.busy.get(&flight).is_some_and(|flying| flying.jobs.try_send(job).is_ok());
            if !sent {
                // The connection ended before it could take the request: not a byte has left.
                let news = News::Ended(flight, Ended::Without(Local::NeverBegun), false);
                let _gone = self.events.send(Event::Connection(connection, news));
            }
        }
    }

    /// Requests that were handed to their connections before the barrier are written first: their tasks were woken
    /// earlier than this one, and tasks of one thread run in the order in which they were woken.
    fn reached(&self, version: u64) {
        let (shard, reports) = (self.shard, self.reports.clone());
        tokio::task::spawn_local(async move {
            tokio::task::yield_now().await;
            let _gone = reports.send(Report::Reached(shard, version));
        });
    }

    fn report(&self, report: Report) {
        // Control is gone only when the process ends.
        let _gone = self.reports.send(report);
    }

    fn order(&self, order: impl AsyncFnOnce(Orders) -> Input<Payload> + 'static) {
        let (orders, events) = (self.orders.clone(), self.events.clone());
        tokio::task::spawn_local(async move {
            let _gone = events.send(Event::Input(order(orders).await));
        });
    }

    fn order_timed(&self, order: impl AsyncFnOnce(Orders) -> (Input<Payload>, Timed) + 'static) {
        let (orders, events) = (self.orders.clone(), self.events.clone());
        tokio::task::spawn_local(async move {
            let (input, took) = order(orders).await;
            let _gone = events.send(Event::Timed(input, took));
        });
    }

    fn connect(&mut self) {
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
        let (endpoint, events) = (self.endpoint.clone(), self.events.clone());
        let (connect_timeout, limit) = (self.cloud.connect_timeout, self.cloud.timeout);
        let (gate, max_streams) = (self.gate.clone(), self.cloud.max_streams);
        tokio::task::spawn_local(async move {
            match connection::open(&endpoint, connect_timeout, max_streams, &gate).await {
                Ok(opened) => {
                    let slots = opened.slots();
                    let (jobs, incoming) = mpsc::channel(slots);
                    let _gone = events.send(Event::Connected(Some(Made { id, jobs, slots })));
                    let tell = |news| drop(events.send(Event::Connection(id, news)));
                    opened.carry(incoming, limit, tell, gate).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "no connection to the Cloud API");
                    let _gone = events.send(Event::Connected(None));
                }
            }
        });
    }

    fn probe(&self, number: NumberId) {
        let token = self.routes.get(&number).map(|route| route.token.clone());
        let (client, endpoint, events) = (self.probes.clone(), self.endpoint.clone(), self.events.clone());
        tokio::task::spawn_local(async move {
            let ok = match token {
                Some(token) => probe::probe(&client, &endpoint, &number.0, &token).await,
                None => false,
            };
            tracing::info!(%number, ok, "probed");
            let _gone = events.send(Event::Input(Input::Probed(number, ok)));
        });
    }

    /// Prepares a request; it leaves at the end of the turn.
    fn send(&mut self, flight: FlightId, number: NumberId, lane: LaneId, message: &Message<Payload>) {
        if let Some(reason) = self.stopped(lane, message) {
            let _gone = self.events.send(Event::Input(Input::Stopped(flight, reason)));
            return;
        }
        let request = self.request(&number, lane, message);
        let (Some(request), Some(Ready { id, jobs, slots, .. })) = (request, self.pool.take()) else {
            // Without a route or a body nothing may leave; the message is given back.
            let verdict = self.table.local(Local::NeverBegun);
            let _gone = self.events.send(Event::Input(Input::Replied(flight, verdict, false)));
            return;
        };
        let Message { index, generation, attempt, .. } = *message;
        let to = message.payload.chunk.phone(message.payload.row);
        self.meters.begun(attempt);
        let message = MessageId { lane, index };
        let begun = self.turn.is_journaled().then(|| {
            let at_ms = clock::wall().0;
            Entry::Begun { message, generation, attempt, number: number.clone(), at_ms }
        });
        self.turn.add(Waiting { connection: id, job: Job { id: flight, request } }, begun);
        let began = clock::mono();
        let flying = Flying { connection: id, jobs, slots, number, message, generation, to, began };
        self.busy.insert(flight, flying);
    }

    /// The last look at the stop list, if it has changed since the message was claimed.
    fn stopped(&self, lane: LaneId, message: &Message<Payload>) -> Option<u8> {
        let (stops, Payload { chunk, row, looked_up }) = (&self.orders.stops, &message.payload);
        let changed = stops.version() != *looked_up;
        changed.then(|| stops.look(lane.campaign, chunk, *row, clock::wall())).flatten()
    }

    fn request(
        &self,
        number: &NumberId,
        lane: LaneId,
        message: &Message<Payload>,
    ) -> Option<Request<Full<Bytes>>> {
        let (route, body) = (self.routes.get(number)?, self.bodies.get(&lane.campaign)?);
        let id = WireId {
            installation: self.installation.clone(),
            message: crate::domain::ids::MessageId { lane, index: message.index },
            generation: message.generation,
        };
        let Payload { chunk, row, .. } = &message.payload;
        let written = body.render(chunk.phone(*row), &id, |variable| chunk.value(*row, variable));
        Request::builder()
            .method(Method::POST)
            .uri(route.uri.clone())
            .header(HOST, self.endpoint.host.clone())
            .header(AUTHORIZATION, route.authorization.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(Bytes::from(written)))
            .ok()
    }
}

fn far_away() -> Instant {
    clock::mono().after(Duration::from_secs(3600)).to_tokio()
}
