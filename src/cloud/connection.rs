//! One connection to the Cloud API: a task that carries one request at a time and tells apart "not one byte left"
//! from "nobody knows".
//!
//! hyper speaks HTTP/1.1; the bytes that it writes are counted, because that is the only way to say with
//! certainty that a request was never begun.

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

use super::endpoint::Endpoint;
use super::wire::{self, REPLY_MAX_BYTES};
use crate::policy::classify::{Local, Reply};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a reply.
    Replied(Reply),
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

/// Connects; TLS included.
pub async fn connect(endpoint: &Endpoint, limit: Duration) -> io::Result<Wire> {
    let connecting = async {
        let stream = TcpStream::connect(&endpoint.authority).await?;
        stream.set_nodelay(true)?;
        Ok(match &endpoint.tls {
            None => Wire::Plain(stream),
            Some((config, name)) => {
                let connector = tokio_rustls::TlsConnector::from(config.clone());
                Wire::Tls(Box::new(connector.connect(name.clone(), stream).await?))
            }
        })
    };
    timeout(limit, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Carries requests over `wire` until it breaks or `jobs` is closed. `tell` gets all news.
pub async fn carry<I>(wire: Wire, mut jobs: Receiver<Job<I>>, limit: Duration, tell: impl Fn(News<I>)) {
    let written = Rc::new(Cell::new(0));
    let counted = Counted { wire, written: written.clone() };
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
        let Some(Job { id, request }) = job else { return };
        let before = written.get();
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
            Ok(Ok((reply, kept))) => (Ended::Replied(reply), kept && !broken && !sender.is_closed()),
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

/// The reply, and whether the other side keeps the connection.
async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<(Reply, bool)> {
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    read(response).await
}

async fn read(response: Response<Incoming>) -> hyper::Result<(Reply, bool)> {
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
    Ok((wire::read(status, retry_after.as_deref(), &bytes), !closing))
}

/// Plain TCP or TLS.
#[derive(Debug)]
pub enum Wire {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// A wire that counts the bytes handed to it.
struct Counted {
    wire: Wire,
    written: Rc<Cell<u64>>,
}

impl Counted {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.written.set(self.written.get() + *bytes as u64);
        }
        result
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
