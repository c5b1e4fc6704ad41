//! A way from one process to another that can be disturbed: a TCP proxy that stalls, swallows, refuses, resets and tears.
//!
//! It knows nothing of what it carries. Two threads carry each connection; they end with it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use socket2::SockRef;

/// Where a way leads.
#[derive(Clone, Debug)]
pub(crate) enum Far {
    /// A socket of Redis.
    Unix(PathBuf),
    /// A server.
    Tcp(String),
    /// The first of these ports of this machine that answers, in turn; None has no process now.
    OneOf(Arc<Mutex<Vec<Option<u16>>>>),
}

/// What happens to everything on a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It gets through.
    Open,
    /// It waits until the way is open again.
    Stalled,
    /// It is lost, as on a network that drops everything.
    Swallowing,
    /// Nobody gets a connection; those that stand stay.
    Refusing,
}

/// One way.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    far: Far,
    mode: Mutex<Mode>,
    changed: Condvar,
    open: Mutex<Vec<Arc<Pair>>>,
    turn: AtomicUsize,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection with both its ends.
struct Pair {
    near: TcpStream,
    far: Stream,
    /// Something of it was swallowed: it is good for nothing any more.
    maimed: AtomicBool,
    /// It ends in the middle of what comes next.
    torn: AtomicBool,
    reset: AtomicBool,
}

impl Way {
    pub(crate) fn to(far: Far) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            far,
            mode: Mutex::new(Mode::Open),
            changed: Condvar::new(),
            open: Mutex::default(),
            turn: AtomicUsize::new(0),
        });
        let way = Self { port, inner: inner.clone() };
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let inner = inner.clone();
                std::thread::spawn(move || inner.carry_both(near));
            }
        });
        way
    }

    /// From now on. Connections of which something was swallowed end when the way opens again.
    pub(crate) fn set(&self, mode: Mode) {
        *self.inner.mode.lock().unwrap() = mode;
        self.inner.changed.notify_all();
        if mode == Mode::Open {
            self.each(|pair| pair.maimed.load(Ordering::SeqCst), Pair::reset);
        }
    }

    /// Resets the connections that `chosen` picks.
    pub(crate) fn reset(&self, mut chosen: impl FnMut() -> bool) {
        self.each(|_| chosen(), Pair::reset);
        self.inner.changed.notify_all();
    }

    /// Has them end in the middle of what comes next.
    pub(crate) fn tear(&self, mut chosen: impl FnMut() -> bool) {
        self.each(|_| chosen(), |pair| pair.torn.store(true, Ordering::SeqCst));
    }

    fn each(&self, mut chosen: impl FnMut(&Pair) -> bool, act: impl Fn(&Pair)) {
        let open: Vec<Arc<Pair>> = self.inner.open.lock().unwrap().clone();
        open.iter().filter(|pair| chosen(pair)).for_each(|pair| act(pair));
    }
}

impl Far {
    fn connect(&self, turn: usize) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Self::Tcp(address) => tcp(address),
            Self::OneOf(ports) => {
                let ports: Vec<u16> = ports.lock().unwrap().iter().flatten().copied().collect();
                let all = (0..ports.len()).map(|at| ports[(turn + at) % ports.len()]);
                let mut found = all.map(|port| tcp(&format!("127.0.0.1:{port}"))).filter_map(Result::ok);
                found.next().ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))
            }
        }
    }
}

fn tcp(address: &str) -> io::Result<Stream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}

impl Inner {
    fn carry_both(self: Arc<Self>, near: TcpStream) {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        if *self.mode.lock().unwrap() == Mode::Refusing {
            return;
        }
        let (Ok(()), Ok(far)) = (near.set_nodelay(true), self.far.connect(turn)) else { return };
        let (maimed, torn, reset) = Default::default();
        let pair = Arc::new(Pair { near, far, maimed, torn, reset });
        self.open.lock().unwrap().push(pair.clone());
        let (inner, back) = (self.clone(), pair.clone());
        let returning = std::thread::spawn(move || inner.carry(&back, false));
        self.carry(&pair, true);
        let _panicked = returning.join();
        self.open.lock().unwrap().retain(|one| !Arc::ptr_eq(one, &pair));
    }

    /// Carries one direction until its end.
    fn carry(&self, pair: &Pair, outward: bool) {
        let mut buffer = [0; 65_536];
        loop {
            let read = if outward { (&pair.near).read(&mut buffer) } else { pair.far.read(&mut buffer) };
            let Ok(read @ 1..) = read else { break };
            if !self.may_pass(pair) {
                continue;
            }
            let torn = outward && pair.torn.load(Ordering::SeqCst);
            let part = &buffer[..if torn { read / 2 } else { read }];
            let written = if outward { pair.far.write_all(part) } else { (&pair.near).write_all(part) };
            if written.is_err() || torn {
                pair.reset();
                break;
            }
        }
        if !pair.reset.load(Ordering::SeqCst) {
            // What the other side still has to say gets through.
            let _gone = if outward {
                pair.far.shutdown(Shutdown::Write)
            } else {
                pair.near.shutdown(Shutdown::Write)
            };
        }
    }

    /// Waits while the way is stalled. False: what came is lost.
    fn may_pass(&self, pair: &Pair) -> bool {
        let mut mode = self.mode.lock().unwrap();
        while *mode == Mode::Stalled && !pair.reset.load(Ordering::SeqCst) {
            mode = self.changed.wait_timeout(mode, Duration::from_millis(200)).unwrap().0;
        }
        let lost = *mode == Mode::Swallowing || pair.maimed.load(Ordering::SeqCst);
        if lost {
            pair.maimed.store(true, Ordering::SeqCst);
        }
        !lost && !pair.reset.load(Ordering::SeqCst)
    }
}

impl Pair {
    /// Ends it without a farewell: a peer that waits for an answer sees a reset.
    fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
        let _gone = SockRef::from(&self.near).set_linger(Some(Duration::ZERO));
        // Only the reading side: that ends the threads, and the reset goes out when the last of them lets go.
        let _gone = self.near.shutdown(Shutdown::Read);
        match &self.far {
            Stream::Tcp(far) => {
                let _gone = SockRef::from(far).set_linger(Some(Duration::ZERO));
                let _gone = far.shutdown(Shutdown::Read);
            }
            Stream::Unix(far) => drop(far.shutdown(Shutdown::Both)),
        }
    }
}

impl Stream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).read(buffer),
            Self::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }

    fn write_all(&self, part: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).write_all(part),
            Self::Unix(stream) => (&mut &*stream).write_all(part),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }
}
