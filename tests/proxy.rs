//! Requests through an egress proxy: a tunnel for https, forwarding for http, and what a proxy's refusals are taken
//! for. The proxy is a real one, small, in this test.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use carteiro::cloud::connection::{Ended, Gate, Job, News, open};
use carteiro::cloud::endpoint::Endpoint;
use carteiro::cloud::manage::{Content, Manage};
use carteiro::cloud::probe;
use carteiro::config::{CloudConfig, ProxyConfig, Secret};
use carteiro::policy::classify::{Local, ReplyBody};
use carteiro::sim::{Server, SimConfig};
use http_body_util::Full;
use hyper::Request;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const USER: &str = "Basic dXNlcjpwYXNzd29yZA==";

/// What the proxy does with a request.
#[derive(Clone, Copy)]
enum Manner {
    /// Lets those through that say who they are.
    Asks,
    /// Answers everything so.
    Says(&'static str),
}

/// A proxy, and the first line of every request it got.
struct Proxy {
    authority: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner, told.clone()));
            }
        });
        Self { authority, seen }
    }

    fn config(&self, user: Option<&str>) -> ProxyConfig {
        let authorization = user.map(|user| Secret(user.into()));
        ProxyConfig { authority: self.authority.clone(), authorization }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// One connection. Forwarding is byte for byte: the simulator takes the address in full as well.
async fn serve(stream: TcpStream, manner: Manner, seen: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let line = head.lines().next().unwrap().to_owned();
    seen.lock().unwrap().push(line.clone());
    let known =
        head.to_ascii_lowercase().contains(&format!("proxy-authorization: {USER}").to_ascii_lowercase());
    let refusal = match manner {
        Manner::Says(answer) => Some(answer),
        Manner::Asks if !known => {
            Some("HTTP/1.1 407 Who are you\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        }
        Manner::Asks => None,
    };
    if let Some(refusal) = refusal {
        client.get_mut().write_all(refusal.as_bytes()).await.unwrap();
        // Read on until the client leaves, or a reset could overtake the answer.
        let _ = client.read_to_end(&mut Vec::new()).await;
        return;
    }
    let target = line.split(' ').nth(1).unwrap();
    if line.starts_with("CONNECT ") {
        let mut upstream = TcpStream::connect(target).await.unwrap();
        client.get_mut().write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut upstream).await;
    } else {
        let (host, path) = target.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut upstream = TcpStream::connect(host).await.unwrap();
        let head = head.replacen(target, &format!("/{path}"), 1);
        upstream.write_all(head.as_bytes()).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut upstream).await;
    }
}

fn config(url: &str, ca_file: Option<PathBuf>, proxy: ProxyConfig) -> CloudConfig {
    CloudConfig {
        url: url.to_owned(),
        version: "v26.0".to_owned(),
        connect_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(10),
        ca_file,
        proxy: Some(proxy),
        errors_file: None,
        max_connections: 4,
        http2: true,
        max_streams: 100,
        max_request_usage: 0.75,
    }
}

struct Meta {
    sim: Server,
    _folder: tempfile::TempDir,
    ca_file: Option<PathBuf>,
}

fn meta(tls: bool) -> Meta {
    carteiro::tls::install_default();
    let sim = Server::start(SimConfig { tls, ..SimConfig::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = sim.ca_pem.as_ref().map(|pem| {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, pem).unwrap();
        path
    });
    Meta { sim, _folder: folder, ca_file }
}

/// Sends a message over a connection as the engine does; how it ended.
async fn send(config: &CloudConfig) -> std::io::Result<Ended> {
    let endpoint = Endpoint::new(config).unwrap();
    let gate = Gate::default();
    let opened = open(&endpoint, config.connect_timeout, config.max_streams, &gate).await?;
    let body = r#"{"messaging_product":"whatsapp","to":"+5531960000001","type":"template","template":{"name":"n","language":{"code":"pt_BR"}},"biz_opaque_callback_data":"ct1.a.1.0.1.1"}"#;
    let request = Request::post(endpoint.messages_path("7").unwrap())
        .header("host", endpoint.host.clone())
        .header("authorization", "Bearer t")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap();
    let (jobs, incoming) = tokio::sync::mpsc::channel(1);
    jobs.send(Job { id: 3, request }).await.unwrap();
    let (ended, seen) = tokio::sync::oneshot::channel();
    let ended = RefCell::new(Some(ended));
    let tell = |one| {
        if let (News::Ended(_, how, _), Some(ended)) = (one, ended.borrow_mut().take()) {
            ended.send(how).unwrap();
        }
    };
    let wait = async {
        let how = seen.await.unwrap();
        drop(jobs);
        how
    };
    let ((), how) = tokio::join!(opened.carry(incoming, config.timeout, tell, gate), wait);
    Ok(how)
}

fn accepted(ended: &Ended) -> bool {
    matches!(ended, Ended::Replied(reply, _) if matches!(reply.body, ReplyBody::Accepted { held: false }))
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_http_is_forwarded() {
    for tls in [true, false] {
        let (meta, proxy) = (meta(tls), Proxy::start(Manner::Asks).await);
        let config = config(&meta.sim.url, meta.ca_file.clone(), proxy.config(Some(USER)));
        assert!(accepted(&send(&config).await.unwrap()), "tls {tls}");
        let endpoint = Endpoint::new(&config).unwrap();
        let token = Secret("t".into());
        assert!(probe::probe(&probe::client(&config, &endpoint).unwrap(), &endpoint, "7", &token).await);
        let manage = Manage::new(&config, &token).unwrap();
        assert_eq!(manage.templates("1", None).await.unwrap().len(), 5);
        manage.upload("7", "a.pdf", "application/pdf", &Content::Bytes("%PDF-".into())).await.unwrap();
        let ledger = meta.sim.ledger().unwrap();
        assert_eq!((ledger.taken, ledger.probes["7"], ledger.uploads), (1, 1, 1), "tls {tls}");
        let begin = if tls { "CONNECT 127.0.0.1:" } else { "POST http://127.0.0.1:" };
        assert!(proxy.seen()[0].starts_with(begin), "{:?}", proxy.seen());
        assert!(proxy.seen().len() >= 3, "{:?}", proxy.seen());
    }
}

#[tokio::test]
async fn a_proxy_that_wants_another_user_got_no_message() {
    let (meta, proxy) = (meta(true), Proxy::start(Manner::Asks).await);
    let config = config(&meta.sim.url, meta.ca_file.clone(), proxy.config(Some("Basic c2VjcmV0")));
    let error = send(&config).await.unwrap_err().to_string();
    assert!(
        error.contains(&proxy.authority) && error.contains("407") && error.contains("cloud.proxy"),
        "{error}"
    );
    let endpoint = Endpoint::new(&config).unwrap();
    let token = Secret("t".into());
    assert!(!probe::probe(&probe::client(&config, &endpoint).unwrap(), &endpoint, "7", &token).await);
    let error = Manage::new(&config, &token).unwrap().number("7").await.unwrap_err();
    assert!(error.to_string().contains(&proxy.authority), "{error}");
    for shown in [format!("{error} {error:?}"), format!("{config:?} {endpoint:?}")] {
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }
    assert_eq!(meta.sim.ledger().unwrap().requests, 0);
}

#[tokio::test]
async fn forwarding_refused_is_a_request_never_begun() {
    let (meta, proxy) = (meta(false), Proxy::start(Manner::Asks).await);
    let config = config(&meta.sim.url, None, proxy.config(None));
    assert_eq!(send(&config).await.unwrap(), Ended::Without(Local::NeverBegun));
    let token = Secret("t".into());
    let endpoint = Endpoint::new(&config).unwrap();
    assert!(!probe::probe(&probe::client(&config, &endpoint).unwrap(), &endpoint, "7", &token).await);
    let error = Manage::new(&config, &token).unwrap().number("7").await.unwrap_err().to_string();
    assert!(error.contains(&proxy.authority) && error.contains("407"), "{error}");
    assert_eq!(meta.sim.ledger().unwrap().requests, 0);
}

#[tokio::test]
async fn what_a_proxy_answers_in_place_of_a_tunnel_is_said() {
    let check = async |answer: &'static str, expect: &str| {
        let (meta, proxy) = (meta(true), Proxy::start(Manner::Says(answer)).await);
        let config = config(&meta.sim.url, meta.ca_file.clone(), proxy.config(None));
        let error = send(&config).await.unwrap_err().to_string();
        assert!(error.contains(expect) && error.contains(&proxy.authority), "{error}");
    };
    check("HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnono", "makes no tunnel").await;
    check("HTTP/1.0 502 Bad Gateway\r\n\r\n", "HTTP 502").await;
    check("SSH-2.0-OpenSSH\r\n\r\n", "something else than HTTP").await;
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    drop(listener);
    let meta = meta(true);
    let proxy = ProxyConfig { authority: authority.clone(), authorization: None };
    let config = config(&meta.sim.url, meta.ca_file.clone(), proxy);
    let error = send(&config).await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains(&authority), "{error}");
}
