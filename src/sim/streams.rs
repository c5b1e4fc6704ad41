//! HTTP/2 of the simulator, over TLS only. Its requests are told apart by their streams, so that a fault can refuse one, or
//! let the connection go away before it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::service::{self, Line, SharedJudge};

/// Its name in a TLS handshake.
pub(super) const H2: &[u8] = b"h2";

/// Requests at once on a connection: what servers commonly allow.
const STREAMS_MAX: u32 = 128;

/// Bytes of a GOAWAY: the head of a frame, the last stream, the reason.
const GO_AWAY_BYTES: usize = 17;

/// Whether a connection goes away, and what it looked at.
#[derive(Debug, Default)]
pub(crate) struct GoAway {
    /// The last stream that counts; None: it stays.
    last: Cell<Option<u32>>,
    /// The highest stream that was looked at.
    looked_at: Cell<u32>,
    /// Whoever writes.
    writer: RefCell<Option<Waker>>,
}

/// Runs the streams of a connection on its own thread.
#[derive(Clone, Copy, Debug)]
struct Here;

/// A connection that says when it goes away.
struct Leaving<I> {
    io: I,
    away: Rc<GoAway>,
    /// Bytes of the GOAWAY that were written.
    said: usize,
}

/// Serves one connection.
pub(super) async fn serve<I>(judge: SharedJudge, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let away = Rc::new(GoAway::default());
    let io = Leaving { io, away: away.clone(), said: 0 };
    let next = Cell::new(1);
    let answer = service_fn(move |request| {
        // Requests are handed on in the order of their streams, and a client's have odd numbers.
        let stream = next.get();
        next.set(stream + 2);
        service::answer(Rc::clone(&judge), Line::Many(Rc::clone(&away), stream), request)
    });
    let mut http = http2::Builder::new(Here);
    http.max_concurrent_streams(STREAMS_MAX).auto_date_header(false);
    // How a connection ends is the client's business or our own plan.
    let _ = http.serve_connection(TokioIo::new(io), answer).await;
}

impl GoAway {
    /// Whether a request comes after the last that counts.
    pub(crate) fn is_past(&self, stream: u32) -> bool {
        self.last.get().is_some_and(|last| stream > last)
    }

    /// A request was looked at.
    pub(crate) fn looked_at(&self, stream: u32) {
        self.looked_at.set(self.looked_at.get().max(stream));
    }

    /// Lets the connection go away before a request; false if a later one was looked at already.
    pub(crate) fn leave_before(&self, stream: u32) -> bool {
        if self.looked_at.get() >= stream {
            return false;
        }
        if self.last.get().is_none() {
            self.last.set(Some(self.looked_at.get()));
        }
        self.writer.borrow_mut().take().into_iter().for_each(Waker::wake);
        true
    }

    fn frame(&self) -> Option<[u8; GO_AWAY_BYTES]> {
        let last = self.last.get()?.to_be_bytes();
        let mut frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        frame[9..13].copy_from_slice(&last);
        Some(frame)
    }
}

impl<F> hyper::rt::Executor<F> for Here
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Leaving<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        *self.away.writer.borrow_mut() = Some(cx.waker().clone());
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Leaving<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// Whoever flushes has written whole frames: here another one fits in.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(frame) = this.away.frame() {
            while this.said < GO_AWAY_BYTES {
                this.said += ready!(Pin::new(&mut this.io).poll_write(cx, &frame[this.said..]))?;
            }
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
