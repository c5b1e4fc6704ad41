//! What a running engine says over HTTP: `/metrics` for Prometheus, `/livez` and `/readyz` for whoever starts and
//! stops it. Read only and without secrets; it listens on this machine unless told otherwise.

pub mod webhooks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// How long a stop waits for a reader that is slow to take its answer.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Content type of Prometheus' text form.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is taken or not of this machine.
    #[error("cannot listen on {address} (http.listen): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address of the webhooks is taken or not of this machine.
    #[error("cannot take webhooks on {address} (webhooks.listen): {source}")]
    Webhooks {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended by itself.
    #[error("the HTTP server ended: {source}")]
    Serve {
        /// What the system said.
        source: std::io::Error,
    },
}

/// What keeps the engine from being ready, by part. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

/// What the server shows.
#[derive(Clone, Debug)]
pub struct HttpState {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether it is ready.
    pub readiness: Readiness,
}

impl Readiness {
    /// Not ready, since `part` is starting.
    pub fn starting(part: &'static str) -> Self {
        let readiness = Self(Arc::default());
        readiness.not_ready(part, "starting");
        readiness
    }

    /// A part is not ready, and why.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.parts().insert(part, reason.into());
    }

    /// A part is ready.
    pub fn ready(&self, part: &'static str) {
        self.parts().remove(part);
    }

    /// What is not ready, a line each; None if everything is.
    pub fn reason(&self) -> Option<String> {
        let parts = self.parts();
        let lines: Vec<String> = parts.iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the listener; port 0 picks a free one.
///
/// # Errors
/// If the address is taken or not of this machine.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address).await.map_err(|source| HttpError::Bind { address, source })
}

/// The routes.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(state)
}

/// Serves until `shutdown` ends, then lets answers under way finish.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    state: HttpState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), HttpError> {
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let stopping = async move {
        shutdown.await;
        drop(tell);
    };
    let serving = axum::serve(listener, router(state)).with_graceful_shutdown(stopping).into_future();
    let too_late = async {
        let _ = told.await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        served = serving => served.map_err(|source| HttpError::Serve { source }),
        () = too_late => Ok(()),
    }
}

async fn metrics(State(state): State<HttpState>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], state.metrics.render()).into_response()
}

async fn readyz(State(state): State<HttpState>) -> Response {
    match state.readiness.reason() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}
