//! Connections to the Cloud API over TLS: only to a server whose authority is known, and nothing leaves otherwise.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use carteiro::cloud::connection::{Ended, Gate, Job, News, Opened, open};
use carteiro::cloud::endpoint::Endpoint;
use carteiro::cloud::probe;
use carteiro::config::{CloudConfig, Secret};
use carteiro::policy::classify::{Reply, ReplyBody};
use carteiro::sim::{Server, SimConfig};
use http_body_util::Full;
use hyper::Request;

fn config(url: &str, ca_file: Option<PathBuf>) -> CloudConfig {
    CloudConfig {
        url: url.to_owned(),
        version: "v26.0".to_owned(),
        connect_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(10),
        ca_file,
        proxy: None,
        errors_file: None,
        max_connections: 4,
        http2: true,
        max_streams: 100,
        max_request_usage: 0.75,
    }
}

fn start() -> (Server, tempfile::TempDir, PathBuf) {
    carteiro::tls::install_default();
    let sim = Server::start(SimConfig { tls: true, ..SimConfig::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, sim.ca_pem.as_ref().unwrap()).unwrap();
    (sim, folder, path)
}

#[tokio::test]
async fn a_message_and_a_probe_reach_a_server_whose_authority_is_known() {
    for http2 in [true, false] {
        reaches(http2).await;
    }
}

async fn reaches(http2: bool) {
    let (sim, _folder, ca_file) = start();
    let config = CloudConfig { http2, ..config(&sim.url, Some(ca_file)) };
    let endpoint = Endpoint::new(&config).unwrap();
    let gate = Gate::default();
    let opened = open(&endpoint, config.connect_timeout, config.max_streams, &gate).await.unwrap();
    assert_eq!(
        (matches!(opened, Opened::Many(_)), opened.slots()),
        if http2 { (true, 100) } else { (false, 1) }
    );
    let body = r#"{"messaging_product":"whatsapp","to":"+5531960000001","type":"template","template":{"name":"n","language":{"code":"pt_BR"}},"biz_opaque_callback_data":"ct1.a.1.0.1.1"}"#;
    let request = Request::post(endpoint.messages_path("7").unwrap())
        .header("host", endpoint.host.clone())
        .header("authorization", "Bearer t")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap();
    let (jobs, incoming) = tokio::sync::mpsc::channel(1);
    let news = RefCell::new(Vec::new());
    let (ended, seen) = tokio::sync::oneshot::channel();
    let ended = RefCell::new(Some(ended));
    let tell = |one| {
        news.borrow_mut().push(one);
        ended.borrow_mut().take().unwrap().send(()).unwrap();
    };
    jobs.send(Job { id: 3, request }).await.unwrap();
    let close = async {
        seen.await.unwrap();
        drop(jobs);
    };
    tokio::join!(opened.carry(incoming, config.timeout, tell, gate), close);
    let news = news.into_inner();
    let accepted = Reply { http_status: 200, body: ReplyBody::Accepted { held: false }, retry_after: None };
    assert!(
        matches!(&news[..], [News::Ended(3, Ended::Replied(reply, Some(_)), true)] if *reply == accepted),
        "{news:?}"
    );
    let client = probe::client(&config, &endpoint).unwrap();
    assert!(probe::probe(&client, &endpoint, "7", &Secret("t".into())).await);
    let ledger = sim.ledger().unwrap();
    assert_eq!((ledger.taken, ledger.probes["7"]), (1, 1));
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_gets_nothing() {
    let (sim, _folder, _) = start();
    let config = config(&sim.url, None);
    let endpoint = Endpoint::new(&config).unwrap();
    assert!(open(&endpoint, config.connect_timeout, 1, &Gate::default()).await.is_err());
    let client = probe::client(&config, &endpoint).unwrap();
    assert!(!probe::probe(&client, &endpoint, "7", &Secret("t".into())).await);
    let ledger = sim.ledger().unwrap();
    assert_eq!((ledger.requests, ledger.probes.len()), (0, 0));
}

#[tokio::test]
async fn a_server_that_only_listens_is_given_up() {
    carteiro::tls::install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let endpoint = Endpoint::new(&config(&url, None)).unwrap();
    let error = open(&endpoint, Duration::from_millis(50), 1, &Gate::default()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
