//! A connection that can end with a reset: on drop it closes abruptly (RST) when it has been told to, else as usual.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Whether connections end with a reset; shared by a connection and whoever decides.
pub(crate) type ResetFlag = Rc<Cell<bool>>;

/// A TCP connection with its own flag and that of the whole listener.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    own: ResetFlag,
    everyone: ResetFlag,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, own: ResetFlag, everyone: ResetFlag) -> Self {
        Self { stream, own, everyone }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.own.get() || self.everyone.get() {
            // A lingering time of zero throws away what was not sent and resets. It fails only on a socket that
            // is gone already.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
