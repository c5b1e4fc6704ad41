//! The server loop: one thread, one runtime; accepts, ticks, goes down and comes back as the plan has it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Once;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::config::{SimConfig, SimError};
use super::hash::Keys;
use super::hours::Civil;
use super::judge::Judge;
use super::ledger::LedgerReport;
use super::service::{self, Line, SharedJudge};
use super::socket::{ResetFlag, Socket};
use super::streams;
use super::tls::TlsIdentity;
use super::webhook::Outbox;
use crate::clock;

/// Connections at most, on top of what the limit of open files allows; further ones are closed at once.
pub(crate) const CONNECTIONS_MAX: usize = 60_000;

/// Connections the kernel holds for us at most before they are accepted.
const BACKLOG: u32 = 4_096;

/// How often the loop looks at the clock: measures its own lag, begins and ends outages.
const TICK: Duration = Duration::from_millis(2);

/// A TLS handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What another thread may ask of a running server.
#[derive(Debug)]
pub(crate) enum Command {
    Ledger(SyncSender<LedgerReport>),
    Reset(SyncSender<()>),
    Stop,
}

/// A server that listens already.
#[derive(Debug)]
pub(crate) struct Listening {
    door: Door,
    control: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) control_address: SocketAddr,
}

/// Whether anybody answers at the address.
#[derive(Debug)]
enum Door {
    Open(TcpListener),
    /// Bound, so that nobody else gets the port, but not listening: connects are refused.
    Shut(TcpSocket),
}

/// What every connection needs.
#[derive(Clone)]
struct Shared {
    judge: SharedJudge,
    /// All connections end with a reset.
    resetting: ResetFlag,
    tls: Option<TlsAcceptor>,
}

/// Binds both addresses.
pub(crate) fn listen(config: &SimConfig) -> Result<Listening, SimError> {
    let listen = config.listen;
    let bound = |address| bind(address).and_then(|socket| socket.listen(BACKLOG));
    let failed = |source| SimError::Listen { listen, source };
    let main = bound(listen).map_err(failed)?;
    let control = bound(SocketAddr::new(listen.ip(), 0)).map_err(failed)?;
    Ok(Listening {
        address: main.local_addr().map_err(failed)?,
        control_address: control.local_addr().map_err(failed)?,
        door: Door::Open(main),
        control,
    })
}

/// Serves until told to stop; `commands` closed means stop, too.
pub(crate) async fn serve(
    listening: Listening,
    config: SimConfig,
    tls: Option<TlsIdentity>,
    mut commands: UnboundedReceiver<Command>,
) -> Result<(), SimError> {
    let webhook = config.webhook.clone();
    let outbox = webhook.map(|webhook| {
        Outbox::start(webhook, config.plan.webhooks.clone(), Keys(config.seed), config.time_scale)
    });
    let civil = Civil { mono: clock::mono(), wall: config.clock_at.unwrap_or_else(clock::wall) };
    let mut judge = Judge::new(config, civil);
    if let Some(outbox) = outbox.transpose()? {
        judge.tell(outbox);
    }
    let shared = Shared {
        judge: Rc::new(RefCell::new(judge)),
        resetting: ResetFlag::default(),
        tls: tls.map(|identity| TlsAcceptor::from(identity.config)),
    };
    let Listening { mut door, control, address, .. } = listening;
    let mut connections = JoinSet::new();
    let mut control_connections = JoinSet::new();
    let mut tick = clock::mono().after(TICK);
    loop {
        tokio::select! {
            accepted = door.accept() => {
                if let Some(stream) = survive(accepted).await {
                    spawn_connection(&shared, stream, &mut connections);
                }
            }
            accepted = control.accept() => {
                if let Some(stream) = survive(accepted).await {
                    control_connections.spawn_local(serve_control(Rc::clone(&shared.judge), stream));
                }
            }
            () = tokio::time::sleep_until(tick.to_tokio()) => {
                let now = clock::mono();
                shared.judge.borrow_mut().record_lag(now.since(tick));
                tick = now.after(TICK);
                let outage = shared.judge.borrow().in_outage(now);
                door = turn(door, outage, address, &shared, &mut connections).await?;
            }
            Some(_) = connections.join_next() => {}
            Some(_) = control_connections.join_next() => {}
            command = commands.recv() => match command {
                // Nobody may wait for the answer any more; that is no failure.
                Some(Command::Ledger(to)) => {
                    let _ = to.send(shared.judge.borrow().report_at(clock::mono()));
                }
                Some(Command::Reset(to)) => {
                    shared.judge.borrow_mut().reset(clock::mono());
                    let _ = to.send(());
                }
                Some(Command::Stop) | None => return Ok(()),
            }
        }
    }
}

impl Door {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Self::Open(listener) => listener.accept().await,
            Self::Shut(_) => std::future::pending().await,
        }
    }
}

/// Opens or shuts the door as the plan has it. Shutting resets every connection; the port stays ours.
async fn turn(
    door: Door,
    outage: bool,
    address: SocketAddr,
    shared: &Shared,
    connections: &mut JoinSet<()>,
) -> Result<Door, SimError> {
    let failed = |source| SimError::Listen { listen: address, source };
    match (door, outage) {
        (Door::Open(listener), true) => {
            drop(listener);
            let socket = bind(address).map_err(failed)?;
            shared.resetting.set(true);
            connections.shutdown().await;
            shared.resetting.set(false);
            Ok(Door::Shut(socket))
        }
        (Door::Shut(socket), false) => Ok(Door::Open(socket.listen(BACKLOG).map_err(failed)?)),
        (door, _) => Ok(door),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of an earlier life on this port must not keep us from it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// A failed accept concerns one connection, or the limit of open files: then wait a little, do not spin.
async fn survive(accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<TcpStream> {
    match accepted {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            static SAID: Once = Once::new();
            SAID.call_once(|| tracing::warn!(%error, "cannot accept a connection, trying again (said once)"));
            tokio::time::sleep(TICK).await;
            None
        }
    }
}

fn spawn_connection(shared: &Shared, stream: TcpStream, connections: &mut JoinSet<()>) {
    if connections.len() >= CONNECTIONS_MAX {
        return;
    }
    let open = OpenConnection::new(&shared.judge);
    // Without it answers would wait for acknowledgements; a socket that refuses is gone already.
    let _ = stream.set_nodelay(true);
    let reset = ResetFlag::default();
    let socket = Socket::new(stream, Rc::clone(&reset), Rc::clone(&shared.resetting));
    let (judge, tls) = (Rc::clone(&shared.judge), shared.tls.clone());
    connections.spawn_local(async move {
        let _open = open;
        match tls {
            None => serve_connection(judge, reset, socket).await,
            Some(tls) => {
                let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(socket)).await;
                match handshake {
                    Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(streams::H2) => {
                        streams::serve(judge, stream).await;
                    }
                    Ok(Ok(stream)) => serve_connection(judge, reset, stream).await,
                    _ => {}
                }
            }
        }
    });
}

async fn serve_connection<I>(judge: SharedJudge, reset: ResetFlag, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let answer =
        service_fn(move |request| service::answer(Rc::clone(&judge), Line::One(Rc::clone(&reset)), request));
    // How a connection ends is the client's business or our own plan.
    let _ = http().serve_connection(TokioIo::new(io), answer).await;
}

async fn serve_control(judge: SharedJudge, stream: TcpStream) {
    let answer = service_fn(move |request| service::answer_control(Rc::clone(&judge), request));
    let _ = http().serve_connection(TokioIo::new(stream), answer).await;
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // The date costs more than it tells here; one short buffer is written faster than a list of two.
    http.keep_alive(true)
        .pipeline_flush(false)
        .auto_date_header(false)
        .writev(false)
        .max_buf_size(2 * service::BODY_MAX_BYTES);
    http
}

/// Counts a connection as long as it lives.
struct OpenConnection(SharedJudge);

impl OpenConnection {
    fn new(judge: &SharedJudge) -> Self {
        judge.borrow_mut().connection_opened();
        Self(Rc::clone(judge))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.borrow_mut().connection_closed();
    }
}
