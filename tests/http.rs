//! `/metrics`, `/livez` and `/readyz` as Prometheus and a service manager ask for them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use carteiro::domain::ids::NumberId;
use carteiro::http::{HttpError, HttpState, Readiness, bind, serve};
use carteiro::metrics::Metrics;
use carteiro::policy::classify::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String, String) {
    let reply = carteiro_get(&format!("http://{address}{path}")).await.unwrap();
    let kind =
        reply.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    (reply.status().as_u16(), kind, reply.text().await.unwrap())
}

async fn carteiro_get(url: &str) -> reqwest::Result<reqwest::Response> {
    carteiro::tls::install_default();
    reqwest::Client::builder().no_proxy().build()?.get(url).send().await
}

#[tokio::test]
async fn it_tells_life_readiness_and_metrics_and_stops_when_told() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, readiness) = (Metrics::new(), Readiness::starting("redis"));
    metrics.number(&NumberId::from("10")).attempt(Kind::Accepted);
    metrics.set_campaign("a", vec![("queued", 7)], std::time::Duration::ZERO);
    let state = HttpState { metrics, readiness: readiness.clone() };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, state, async {
        let _ = stopped.await;
    }));

    assert_eq!(get(address, "/livez").await, (200, "text/plain; charset=utf-8".into(), "ok\n".into()));
    let (status, _, body) = get(address, "/readyz").await;
    assert_eq!((status, body.as_str()), (503, "redis: starting\n"));
    readiness.not_ready("numbers", "none is owned yet");
    assert_eq!(get(address, "/readyz").await.2, "numbers: none is owned yet\nredis: starting\n");
    readiness.ready("redis");
    readiness.ready("numbers");
    let (status, _, body) = get(address, "/readyz").await;
    assert_eq!((status, body.as_str()), (200, "ready\n"));

    let (status, kind, body) = get(address, "/metrics").await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "carteiro_attempts_total{number=\"10\",outcome=\"accepted\"} 1",
        "carteiro_messages{campaign=\"a\",state=\"queued\"} 7",
        &format!("carteiro_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is not in\n{body}");
    }
    assert_eq!(get(address, "/nothing").await.0, 404);

    // A client that keeps its connection open does not hold up the stop.
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).await.unwrap();
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = bind(address).await.unwrap_err();
    assert!(matches!(error, HttpError::Bind { .. }));
    assert!(error.to_string().starts_with(&format!("cannot listen on {address} (http.listen): ")), "{error}");
}
