//! One HTTP/2 connection to the Cloud API: a task that carries many requests at once, each as a stream, and tells apart
//! what was certainly not begun or not looked at from what nobody knows.
//!
//! ```text
//!  not one byte of its HEADERS was written, and the connection is dead  ─► never begun
//!  RST_STREAM with REFUSED_STREAM; GOAWAY whose last stream is before it ─► never begun: the other side says so
//!  any other reset, a dead connection, no answer in time                 ─► nobody knows
//! ```
//!
//! A request whose time is over is given up as unknown even if it has not begun: its frames may still leave.

mod begun;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Ping, Reason};
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue, RETRY_AFTER};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Uri};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use self::begun::{Followed, Frames};
use super::connection::{Answer, Ended, Gate, Job, News, Wire};
use super::wire::{self, REPLY_MAX_BYTES};
use crate::policy::classify::Local;

/// An HTTP/2 connection that has agreed on its terms.
pub struct Streams {
    sender: SendRequest<Bytes>,
    /// None: nothing is written any more.
    connection: Option<Connection<Followed, Bytes>>,
    frames: Rc<RefCell<Frames>>,
    authority: Authority,
    slots: usize,
}

/// How a stream ended.
enum Lost {
    /// The other side certainly did not look at it.
    Refused,
    /// The other side ended it; the connection goes on.
    Reset,
    /// With the connection.
    Broken,
    /// No answer in time.
    Late,
}

/// The task of a connection.
struct Carrier<I, T, F> {
    streams: Streams,
    jobs: Receiver<Job<I>>,
    flights: FuturesUnordered<F>,
    limit: Duration,
    tell: T,
    /// It takes no further request.
    closing: bool,
}

impl Streams {
    /// Agrees with the other side on a connection for requests to `host`. It answers a ping, so that its settings are
    /// known: at most `max` requests at once, or fewer if it wants so.
    ///
    /// # Errors
    /// When the other side speaks no HTTP/2, or wants no request at all.
    pub async fn open(wire: Wire, host: &HeaderValue, max: usize, gate: Gate) -> io::Result<Self> {
        let authority = Authority::try_from(host.as_bytes()).map_err(io::Error::other)?;
        let frames = Rc::new(RefCell::new(Frames::new()));
        let followed = Followed { wire, frames: frames.clone(), gate };
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).initial_max_send_streams(max);
        let (sender, mut connection) = builder.handshake(followed).await.map_err(io::Error::other)?;
        let mut ping = connection.ping_pong().ok_or_else(|| io::Error::other("no ping"))?;
        ping.send_ping(Ping::opaque()).map_err(io::Error::other)?;
        let answered = poll_fn(|cx| {
            if Pin::new(&mut connection).poll(cx).is_ready() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
            }
            ping.poll_pong(cx).map_err(io::Error::other).map_ok(drop)
        });
        answered.await?;
        let slots = sender.current_max_send_streams().min(max);
        if slots == 0 {
            return Err(io::Error::other("the other side allows no request"));
        }
        Ok(Self { sender, connection: Some(connection), frames, authority, slots })
    }

    /// Requests at once.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Carries requests until the connection ends or `jobs` is closed. `tell` gets all news: of each request its end,
    /// and once that no further one is taken.
    pub async fn carry<I>(self, jobs: Receiver<Job<I>>, limit: Duration, tell: impl Fn(News<I>)) {
        let flights = FuturesUnordered::new();
        let mut carrier = Carrier { streams: self, jobs, flights, limit, tell, closing: false };
        // What was handed over has to leave in the same turn: whoever waits for a barrier relies on it.
        tokio::task::unconstrained(poll_fn(|cx| carrier.poll(cx, fly))).await;
    }
}

impl<I, T: Fn(News<I>), F: Future<Output = (I, u32, Result<Answer, Lost>)>> Carrier<I, T, F> {
    fn poll(&mut self, cx: &mut Context<'_>, fly: impl Fn(I, ResponseFuture, Duration) -> F) -> Poll<()> {
        loop {
            let mut moved = false;
            let mut abandoned = false;
            while !self.closing && !abandoned {
                match self.jobs.poll_recv(cx) {
                    Poll::Ready(Some(job)) => {
                        self.begin(job, &fly);
                        moved = true;
                    }
                    Poll::Ready(None) => abandoned = true,
                    Poll::Pending => break,
                }
            }
            self.streams.drive(cx);
            while let Poll::Ready(Some((id, stream, result))) = self.flights.poll_next_unpin(cx) {
                self.end(id, stream, result);
                moved = true;
            }
            let refuses = matches!(self.streams.sender.poll_ready(cx), Poll::Ready(Err(_)));
            if refuses || self.streams.is_dead() {
                self.close();
            }
            if self.flights.is_empty() && (self.closing || abandoned) {
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Hands a request to the connection, or back if that takes none.
    fn begin(&mut self, job: Job<I>, fly: &impl Fn(I, ResponseFuture, Duration) -> F) {
        let Job { id, request } = job;
        let busy = self.flights.len() >= self.streams.sender.current_max_send_streams();
        let handed = if busy { None } else { self.streams.hand(request) };
        match handed {
            Some(response) => self.flights.push(fly(id, response, self.limit)),
            None => (self.tell)(News::Ended(id, Ended::Without(Local::NeverBegun), false)),
        }
    }

    fn end(&mut self, id: I, stream: u32, result: Result<Answer, Lost>) {
        let unbegun = self.streams.is_dead() && !self.streams.frames.borrow().may_have_begun(stream);
        let ended = match result {
            Ok((reply, wamid)) => Ended::Replied(reply, wamid),
            Err(Lost::Refused) => Ended::Without(Local::NeverBegun),
            Err(_) if unbegun => Ended::Without(Local::NeverBegun),
            Err(Lost::Late) => {
                // Like a connection of one request, it is not trusted any further.
                self.close();
                Ended::Without(Local::Timeout)
            }
            Err(Lost::Reset | Lost::Broken) => Ended::Without(Local::ResetAfterBegin),
        };
        (self.tell)(News::Ended(id, ended, !self.closing && !self.streams.is_dead()));
    }

    /// Takes no further request: those that wait were never begun.
    fn close(&mut self) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            (self.tell)(News::Ended(job.id, Ended::Without(Local::NeverBegun), false));
        }
        (self.tell)(News::Closed);
    }
}

impl Streams {
    /// Reads and writes. A connection that has ended is let go of at once: only then do its streams hear of it.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.connection.as_mut().is_some_and(|connection| Pin::new(connection).poll(cx).is_ready()) {
            self.connection = None;
        }
    }

    fn is_dead(&self) -> bool {
        self.connection.is_none()
    }

    /// Queues a request with its body; None: the connection takes none any more.
    fn hand(&mut self, request: Request<Full<Bytes>>) -> Option<ResponseFuture> {
        let (mut head, body) = request.into_parts();
        // What is sent is always one piece that is there already.
        let body = futures_util::FutureExt::now_or_never(body.collect())?.ok()?.to_bytes();
        let path = head.uri.into_parts().path_and_query?;
        let uri = Uri::builder().scheme(Scheme::HTTPS).authority(self.authority.clone()).path_and_query(path);
        head.uri = uri.build().ok()?;
        head.headers.remove(HOST);
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let (response, mut stream) = self.sender.send_request(Request::from_parts(head, ()), false).ok()?;
        self.frames.borrow_mut().hand(response.stream_id().into());
        // An error would mean that the stream has ended meanwhile; the response says how.
        let _ended = stream.send_data(body, true);
        Some(response)
    }
}

/// Waits for the answer of a stream.
async fn fly<I>(id: I, response: ResponseFuture, limit: Duration) -> (I, u32, Result<Answer, Lost>) {
    let stream = response.stream_id().into();
    let answer = timeout(limit, answer(response)).await.unwrap_or(Err(Lost::Late));
    (id, stream, answer)
}

async fn answer(response: ResponseFuture) -> Result<Answer, Lost> {
    let response = response.await.map_err(|error| lost(&error, true))?;
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = response.into_body();
    let mut bytes = Bytes::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| lost(&error, false))?;
        let _closed = body.flow_control().release_capacity(data.len());
        if bytes.is_empty() {
            bytes = data;
        } else if bytes.len() + data.len() <= REPLY_MAX_BYTES {
            bytes = [bytes, data].concat().into();
        } else {
            break;
        }
    }
    Ok(wire::read_with_id(status, retry_after.as_deref(), &bytes))
}

/// What an error says of its stream. Streams up to the last of a GOAWAY are answered as if it had not come, so that its
/// error is only ever that of a later one.
fn lost(error: &h2::Error, unanswered: bool) -> Lost {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    match error.is_remote() {
        true if unanswered && (refused || error.is_go_away()) => Lost::Refused,
        true if error.is_reset() => Lost::Reset,
        _ => Lost::Broken,
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("slots", &self.slots).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
