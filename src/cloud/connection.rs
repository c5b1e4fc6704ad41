//! One connection to the Cloud API: a task that carries one request at a time and tells apart "not one byte left"
//! from "nobody knows". Where both sides want HTTP/2, [`Streams`] does so for many at once.
//!
//! hyper speaks HTTP/1.1; the bytes that it writes are counted, because that is the only way to say with
//! certainty that a request was never begun.

mod socket;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, RETRY_AFTER};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

pub(crate) use self::socket::H2;
pub use self::socket::Wire;
use super::endpoint::Endpoint;
use super::proxy::{self, Forward, ProxyError};
use super::streams::Streams;
use super::wire::{self, REPLY_MAX_BYTES};
use crate::clock::{self, Mono};
use crate::policy::classify::{Local, Reply};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a reply, and Meta's id of the message where it took one.
    Replied(Reply, Option<Box<str>>),
    /// Without one.
    Without(Local),
}

/// A request and what names it to the caller.
#[derive(Debug)]
pub struct Job<I> {
    /// The caller's name for it.
    pub id: I,
    /// The request.
    pub request: Request<Full<Bytes>>,
}

/// What a connection tells its owner.
#[derive(Debug)]
pub enum News<I> {
    /// A request ended; the connection is or is not ready for the next.
    Ended(I, Ended, bool),
    /// The connection ended while idle.
    Closed,
}

/// A connection that is ready for requests.
#[derive(Debug)]
pub enum Opened {
    /// HTTP/1.1: one at a time.
    One(Wire),
    /// HTTP/2: many at once.
    Many(Box<Streams>),
}

/// Connects, and agrees on the protocol: HTTP/2 with at most `max_streams` requests at once where both sides want it.
pub async fn open(
    endpoint: &Endpoint,
    limit: Duration,
    max_streams: usize,
    gate: &Gate,
) -> io::Result<Opened> {
    let wire = connect(endpoint, limit).await?;
    if !wire.speaks_h2() {
        return Ok(Opened::One(wire));
    }
    let agreed = timeout(limit, Streams::open(wire, &endpoint.host, max_streams, gate.clone())).await;
    agreed
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .map(|streams| Opened::Many(Box::new(streams)))
}

/// Connects; TLS included.
async fn connect(endpoint: &Endpoint, limit: Duration) -> io::Result<Wire> {
    let connecting = async {
        let mut stream = match &endpoint.proxy {
            None => TcpStream::connect(&endpoint.authority).await?,
            Some(proxy) => proxy::reach(proxy).await.map_err(through_proxy)?,
        };
        stream.set_nodelay(true)?;
        Ok(match (&endpoint.tls, &endpoint.proxy) {
            (None, None) => Wire::Plain(stream),
            (None, Some(proxy)) => Wire::Forwarded(stream, Forward::new(proxy, &endpoint.authority)),
            (Some((config, name)), proxy) => {
                if let Some(proxy) = proxy {
                    proxy::tunnel(&mut stream, proxy, &endpoint.authority).await.map_err(through_proxy)?;
                }
                let config = endpoint.tls_for_streams.as_ref().unwrap_or(config);
                let connector = tokio_rustls::TlsConnector::from(config.clone());
                Wire::Tls(Box::new(connector.connect(name.clone(), stream).await?))
            }
        })
    };
    timeout(limit, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn through_proxy(error: ProxyError) -> io::Error {
    proxy::warn(&error);
    io::Error::other(error)
}

/// Until when requests may leave this thread. It is looked at when the first byte of each is about to be written: a
/// process that was frozen in between must not go on as if no time had passed.
#[derive(Clone, Debug, Default)]
pub struct Gate(Rc<Cell<Option<Mono>>>);

impl Gate {
    /// Lets requests leave until then.
    pub fn open_until(&self, until: Mono) {
        self.0.set(Some(until));
    }

    pub(super) fn shut(&self) -> bool {
        self.0.get().is_some_and(|until| until <= clock::mono())
    }
}

impl Opened {
    /// Requests that it takes at once.
    pub fn slots(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(streams) => streams.slots(),
        }
    }

    /// Carries requests until the connection breaks or `jobs` is closed, each through the gate that it was opened with.
    /// `tell` gets all news.
    pub async fn carry<I>(self, jobs: Receiver<Job<I>>, limit: Duration, tell: impl Fn(News<I>), gate: Gate) {
        match self {
            Self::One(wire) => carry_through(wire, jobs, limit, tell, gate).await,
            Self::Many(streams) => streams.carry(jobs, limit, tell).await,
        }
    }
}

/// Carries one request at a time over `wire`.
async fn carry_through<I>(
    wire: Wire,
    mut jobs: Receiver<Job<I>>,
    limit: Duration,
    tell: impl Fn(News<I>),
    gate: Gate,
) {
    let forward = if let Wire::Forwarded(_, forward) = &wire { Some(forward.clone()) } else { None };
    let (written, begins_at) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let counted = Counted { wire, written: written.clone(), begins_at: begins_at.clone(), gate };
    let Ok((mut sender, connection)) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(counted)).await else {
        return lose(&mut jobs, &tell);
    };
    tokio::pin!(connection);
    loop {
        let job = tokio::select! {
            biased;
            job = jobs.recv() => job,
            _ = &mut connection => return lose(&mut jobs, &tell),
        };
        // The owner let go of an idle connection.
        let Some(Job { id, mut request }) = job else { return };
        if let Some(forward) = &forward {
            forward.apply(&mut request);
        }
        let before = written.get();
        begins_at.set(before);
        let (result, broken) = {
            let exchange = timeout(limit, exchange(&mut sender, request));
            tokio::pin!(exchange);
            let mut broken = false;
            loop {
                tokio::select! {
                    biased;
                    result = &mut exchange => break (result, broken),
                    _ = &mut connection, if !broken => broken = true,
                }
            }
        };
        let (ended, reusable) = match result {
            // Only a proxy says so, and it has handed nothing on.
            Ok(Ok(((Reply { http_status: 407, .. }, _), _))) => (Ended::Without(Local::NeverBegun), false),
            Ok(Ok(((reply, wamid), kept))) => {
                (Ended::Replied(reply, wamid), kept && !broken && !sender.is_closed())
            }
            _ if written.get() == before => (Ended::Without(Local::NeverBegun), false),
            Ok(Err(_)) => (Ended::Without(Local::ResetAfterBegin), false),
            Err(_) => (Ended::Without(Local::Timeout), false),
        };
        tell(News::Ended(id, ended, reusable));
        if !reusable {
            return;
        }
    }
}

/// The connection is gone: a request that was handed over meanwhile was never begun.
fn lose<I>(jobs: &mut Receiver<Job<I>>, tell: &impl Fn(News<I>)) {
    jobs.close();
    match jobs.try_recv() {
        Ok(job) => tell(News::Ended(job.id, Ended::Without(Local::NeverBegun), false)),
        Err(_) => tell(News::Closed),
    }
}

/// A reply, and Meta's id of the message where it took one.
pub(super) type Answer = (Reply, Option<Box<str>>);

/// The reply, and whether the other side keeps the connection.
async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<(Answer, bool)> {
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    read(response).await
}

async fn read(response: Response<Incoming>) -> hyper::Result<(Answer, bool)> {
    let status = response.status().as_u16();
    // A connection that the other side is about to close must not take another request: it would be in doubt.
    let closing = response
        .headers()
        .get(CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = response.into_body();
    let mut bytes = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.is_empty() {
            bytes = data;
        } else if bytes.len() + data.len() <= REPLY_MAX_BYTES {
            bytes = [bytes, data].concat().into();
        } else {
            break;
        }
    }
    Ok((wire::read_with_id(status, retry_after.as_deref(), &bytes), !closing))
}

/// A wire that counts the bytes handed to it.
struct Counted {
    wire: Wire,
    written: Rc<Cell<u64>>,
    /// What was written before the request under way.
    begins_at: Rc<Cell<u64>>,
    gate: Gate,
}

impl Counted {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.written.set(self.written.get() + *bytes as u64);
        }
        result
    }

    /// Nothing of the request under way has left, and nothing may.
    fn may_not_begin(&self) -> bool {
        self.written.get() == self.begins_at.get() && self.gate.shut()
    }
}

/// What the writer of a request hears that may not begin.
pub(super) fn lapsed() -> Poll<io::Result<usize>> {
    Poll::Ready(Err(io::Error::other("the lease on the number has ended")))
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.may_not_begin() {
            return lapsed();
        }
        let result = Pin::new(&mut self.wire).poll_write(cx, buf);
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.may_not_begin() {
            return lapsed();
        }
        let result = Pin::new(&mut self.wire).poll_write_vectored(cx, bufs);
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls;
    use tokio::io::AsyncReadExt as _;
    use tokio::sync::mpsc;

    /// Carries one request through a gate; how it ended, and what arrived.
    async fn carried(gate: Gate) -> (Ended, String) {
        tls::install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Wire::Plain(TcpStream::connect(address).await.unwrap());
        let (mut far, _) = listener.accept().await.unwrap();
        let (jobs, incoming) = mpsc::channel(1);
        let request = Request::post("/x").header("host", "y").body(Full::new(Bytes::from_static(b"hello")));
        jobs.send(Job { id: 1, request: request.unwrap() }).await.unwrap();
        drop(jobs);
        let (tell, mut told) = mpsc::unbounded_channel();
        let limit = Duration::from_millis(200);
        carry_through(wire, incoming, limit, |news| tell.send(news).unwrap(), gate).await;
        let Some(News::Ended(1, ended, _)) = told.recv().await else { panic!("no end") };
        let mut arrived = String::new();
        far.read_to_string(&mut arrived).await.unwrap();
        (ended, arrived)
    }

    #[tokio::test]
    async fn a_shut_gate_lets_not_one_byte_out() {
        let gate = Gate::default();
        gate.open_until(clock::mono());
        let (ended, arrived) = carried(gate).await;
        assert_eq!((ended, arrived.as_str()), (Ended::Without(Local::NeverBegun), ""));
    }

    #[tokio::test]
    async fn an_open_gate_lets_everything_out() {
        let gate = Gate::default();
        gate.open_until(clock::mono().after(Duration::from_secs(60)));
        for gate in [gate, Gate::default()] {
            let (ended, arrived) = carried(gate).await;
            assert_eq!(ended, Ended::Without(Local::Timeout));
            assert!(arrived.starts_with("POST /x HTTP/1.1") && arrived.ends_with("hello"), "{arrived}");
        }
    }
}
