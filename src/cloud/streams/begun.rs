//! Which requests of an HTTP/2 connection have begun to leave: the frames that are handed to the wire are followed by
//! their heads, and a request has begun with the first byte of its HEADERS. That is the only way to say with certainty
//! that one has not.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::cloud::connection::{Gate, Wire, lapsed};

/// What a client says first, before any frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of the head of a frame: length, kind, flags, stream.
const HEAD_BYTES: usize = 9;

/// The kind of frame that opens a stream.
const HEADERS: u8 = 1;

/// Follows frames as they are written.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes until the next head.
    skip: usize,
    head: [u8; HEAD_BYTES],
    /// Bytes of the head that were written.
    have: usize,
    /// The highest stream whose HEADERS have begun to leave; streams open in order.
    begun: u32,
    /// The highest stream that was handed over.
    handed: u32,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { skip: PREFACE.len(), head: [0; HEAD_BYTES], have: 0, begun: 0, handed: 0 }
    }

    /// A request was handed over as this stream.
    pub(super) fn hand(&mut self, stream: u32) {
        self.handed = self.handed.max(stream);
    }

    /// Whether a byte of it may have left. A head that is written in part may be anybody's.
    pub(super) fn may_have_begun(&self, stream: u32) -> bool {
        stream <= self.begun || self.have > 0
    }

    /// Whether a request was handed over that has not begun.
    fn waits(&self) -> bool {
        self.handed > self.begun
    }

    /// These bytes were written.
    fn written(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let take = (HEAD_BYTES - self.have).min(bytes.len());
            self.head[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have == HEAD_BYTES {
                self.have = 0;
                let [high, middle, low, kind, _, stream @ ..] = self.head;
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                if kind == HEADERS {
                    self.begun = self.begun.max(u32::from_be_bytes(stream) & 0x7fff_ffff);
                }
            }
        }
    }
}

/// A wire whose frames are followed, and that lets no request begin when the gate is shut.
pub(super) struct Followed {
    pub(super) wire: Wire,
    pub(super) frames: Rc<RefCell<Frames>>,
    pub(super) gate: Gate,
}

impl Followed {
    fn may_not_begin(&self) -> bool {
        self.frames.borrow().waits() && self.gate.shut()
    }
}

impl AsyncRead for Followed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for Followed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.may_not_begin() {
            return lapsed();
        }
        let result = Pin::new(&mut self.wire).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &result {
            self.frames.borrow_mut().written(&buf[..*bytes]);
        }
        result
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
        if let Poll::Ready(Ok(bytes)) = &result {
            let (mut frames, mut left) = (self.frames.borrow_mut(), *bytes);
            for buf in bufs {
                let take = left.min(buf.len());
                frames.written(&buf[..take]);
                left -= take;
            }
        }
        result
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
    use proptest::prelude::*;

    fn frame(kind: u8, stream: u32, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, 0];
        bytes.extend(stream.to_be_bytes());
        // What looks like heads inside is none.
        bytes.extend([0, 0, 0, HEADERS, 0, 0, 0, 0, 99].iter().cycle().take(payload));
        bytes
    }

    #[test]
    fn a_request_begins_with_the_first_byte_of_its_headers() {
        let mut frames = Frames::new();
        frames.hand(1);
        frames.hand(3);
        frames.written(PREFACE);
        frames.written(&frame(4, 0, 18));
        assert!(frames.waits() && !frames.may_have_begun(1));
        let headers = frame(HEADERS, 1, 200);
        frames.written(&headers[..1]);
        assert!(frames.may_have_begun(1) && frames.may_have_begun(3), "nobody knows yet whose byte it is");
        frames.written(&headers[1..40]);
        assert!(frames.may_have_begun(1) && !frames.may_have_begun(3) && frames.waits());
        frames.written(&headers[40..]);
        frames.written(&frame(0, 1, 450));
        assert!(!frames.may_have_begun(3));
        frames.written(&frame(HEADERS, 3, 20)[..9]);
        assert!(frames.may_have_begun(3) && !frames.waits());
    }

    proptest! {
        #[test]
        fn however_frames_are_cut_the_same_have_begun(
            all in prop::collection::vec((0u8..10, 0usize..60), 1..20), cuts in prop::collection::vec(1usize..40, 1..40)
        ) {
            let mut bytes = PREFACE.to_vec();
            let (mut opened, mut next) = (0, 1);
            for (kind, payload) in all {
                bytes.extend(frame(kind, next, payload));
                if kind == HEADERS {
                    (opened, next) = (next, next + 2);
                }
            }
            let mut frames = Frames::new();
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                frames.written(now);
                rest = later;
            }
            prop_assert_eq!((frames.begun, frames.have, frames.skip), (opened, 0, 0));
        }

        #[test]
        fn any_bytes_are_followed(bytes: Vec<u8>) {
            Frames::new().written(&bytes);
        }
    }
}
