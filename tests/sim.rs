//! The simulator over real sockets: what its clients see of limits, faults, outages and TLS, and what the ledger
//! says afterwards. The arithmetic itself is tested by virtual time beside the code.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use carteiro::sim::{FaultPlan, LedgerReport, Server, SimConfig, WebhookConfig};
use serde_json::{Value, json};

/// Long enough for any answer on a busy machine; a test that runs into it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(change: impl FnOnce(&mut SimConfig)) -> Server {
    let mut config = SimConfig { rate_per_s: 0, ..SimConfig::default() };
    change(&mut config);
    Server::start(config).unwrap()
}

fn with_plan(text: &str) -> Server {
    start(|config| config.plan = FaultPlan::parse(text).unwrap())
}

/// One keep-alive connection that speaks bytes, so that resets and silence are seen as they are.
struct Client(BufReader<TcpStream>);

/// What came back: HTTP status and body.
type Answer = std::io::Result<(u16, Vec<u8>)>;

impl Client {
    fn connect(url: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn to(server: &Server) -> Self {
        Self::connect(&server.url).unwrap()
    }

    fn write(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: sim\r\nauthorization: Bearer t\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(head.as_bytes())
    }

    fn read(&mut self) -> Answer {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, body))
    }

    fn call(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.write(method, path, body)?;
        self.read()
    }

    fn send(&mut self, n: u32) -> Answer {
        self.call("POST", "/v26.0/7/messages", &message(n))
    }

    fn get(&mut self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, "").unwrap();
        assert_eq!(status, 200, "{path}");
        serde_json::from_slice(&body).unwrap()
    }
}

fn message(n: u32) -> String {
    let text = json!([{"type": "text", "text": "Ana"}]);
    json!({
        "messaging_product": "whatsapp", "to": format!("+55319{:08}", 60_000_000 + n), "type": "template",
        "template": {"name": "n", "language": {"code": "pt_BR"}, "components": [{"type": "body", "parameters": text}]},
        "biz_opaque_callback_data": format!("ct1.a.1.0.{n}.0"),
    })
    .to_string()
}

fn code(answer: Answer) -> (u16, i64) {
    let (status, body) = answer.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    (status, body["error"]["code"].as_i64().unwrap())
}

fn assert_reset(answer: Answer) {
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn messages_probes_and_the_ledger_on_one_connection() {
    let server = start(|config| config.keep_ids = true);
    let mut client = Client::to(&server);
    for n in [0, 1, 1] {
        let (status, body) = client.send(n).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["contacts"][0]["wa_id"]), (200, &json!(format!("55316000000{n}"))));
    }
    let probe = client.get("/v26.0/7");
    assert_eq!((&probe["id"], &probe["status"]), (&json!("7"), &json!("CONNECTED")));
    let ledger = client.get("/_sim/ledger");
    assert_eq!(
        (&ledger["schema"], &ledger["taken"], &ledger["duplicate_ids"]),
        (&json!(1), &json!(3), &json!(1))
    );
    assert_eq!(client.get("/_sim/taken?id=ct1.a.1.0.1")["taken"], 2);
    let (_, ids) = client.call("GET", "/_sim/taken_ids", "").unwrap();
    assert_eq!(ids, b"ct1.a.1.0.0\nct1.a.1.0.1\n");
    assert_eq!(client.get("/_sim/health")["status"], "ok");
    assert_eq!(Client::connect(&server.control_url).unwrap().get("/_sim/ledger")["taken"], 3);
    assert_eq!(client.call("POST", "/_sim/reset", "").unwrap().0, 200);
    let ledger = client.get("/_sim/ledger");
    assert_eq!((&ledger["requests"], &ledger["connections_open_max"]), (&json!(0), &json!(1)));
    let ledger = server.stop().unwrap();
    assert_eq!((ledger.requests, ledger.connections_open_max), (0, 1));
}

#[test]
fn what_is_no_request_is_refused_and_the_connection_lives_on() {
    let server = start(|_| {});
    let mut client = Client::to(&server);
    assert_eq!(code(client.call("POST", "/v26.0/7/messages", "{")), (400, 100));
    assert_eq!(code(client.call("GET", "/v26.0/7/messages", "")), (404, 100));
    assert_eq!(code(client.call("GET", "/", "")), (404, 100));
    assert_eq!(code(client.call("GET", "/_sim/taken_ids", "")), (404, 100));
    let huge = format!("{{\"to\":\"{}\"}}", "5".repeat(1 << 20));
    assert_eq!(code(client.call("POST", "/v26.0/7/messages", &huge)), (400, 100));
    assert_eq!(client.send(0).unwrap().0, 200);
    let control = &mut Client::connect(&server.control_url).unwrap();
    assert_eq!(code(control.call("GET", "/v26.0/7", "")), (404, 100));
    let ledger = server.stop().unwrap();
    assert_eq!((ledger.requests, ledger.refused[&100], ledger.taken), (3, 2, 1));
}

#[test]
fn a_body_that_comes_in_pieces_is_one_body() {
    let server = start(|_| {});
    let mut client = Client::to(&server);
    let body = message(0);
    let head = format!(
        "POST /v26.0/7/messages HTTP/1.1\r\nauthorization: Bearer t\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let stream = client.0.get_mut();
    stream.set_nodelay(true).unwrap();
    for piece in [head.as_bytes(), &body.as_bytes()[..50], &body.as_bytes()[50..51], &body.as_bytes()[51..]] {
        stream.write_all(piece).unwrap();
    }
    assert_eq!(client.read().unwrap().0, 200);
}

#[test]
fn the_rate_is_enforced_on_the_wire() {
    let server = start(|config| config.rate_per_s = 5);
    let mut client = Client::to(&server);
    let statuses: Vec<u16> = (0..6).map(|n| client.send(n).unwrap().0).collect();
    // Six round trips on loopback take far less than a second.
    assert_eq!(statuses, [200, 200, 200, 200, 200, 400]);
    let ledger = server.stop().unwrap();
    assert_eq!((ledger.over_rate, ledger.worst_second_max, ledger.taken), (1, 6, 5));
}

/// Sends one message under a fault that strikes always, and hands the ledger on.
fn struck(fault: &str, check: impl FnOnce(Answer)) -> LedgerReport {
    let server = with_plan(&format!("[[fault]]\nshare = 1.0\n{fault}"));
    check(Client::to(&server).send(0));
    let ledger = server.stop().unwrap();
    let refused: u64 = ledger.refused.values().sum();
    assert_eq!(ledger.requests, 1);
    assert_eq!(ledger.taken + refused + ledger.reset_before, 1, "{fault}");
    ledger
}

#[test]
fn faults_are_seen_by_the_client_as_they_are_named() {
    let ledger = struck("kind = \"reset_before\"", assert_reset);
    assert_eq!((ledger.taken, ledger.reset_before), (0, 1));
    let ledger = struck("kind = \"reset_after\"", assert_reset);
    assert_eq!((ledger.taken, ledger.taken_unanswered), (1, 1));
    let ledger = struck("kind = \"http_5xx_empty\"\nstatus = 504", |answer| {
        assert_eq!(answer.unwrap(), (504, Vec::new()));
    });
    assert_eq!((ledger.taken, ledger.empty_5xx), (1, 1));
    let ledger = struck("kind = \"http_5xx_before\"", |answer| assert_eq!(code(answer), (503, 2)));
    assert_eq!(ledger.taken, 0);
    let ledger = struck("kind = \"error\"\ncode = 131026", |answer| assert_eq!(code(answer), (400, 131_026)));
    assert_eq!(ledger.refused[&131_026], 1);
    let ledger = struck("kind = \"throttle\"", |answer| assert_eq!(code(answer), (400, 130_429)));
    assert_eq!((ledger.over_rate, ledger.refused[&130_429]), (0, 1));
    let ledger = struck("kind = \"error_after_taking\"\ncode = 131000", |answer| {
        assert_eq!(code(answer), (500, 131_000));
    });
    assert_eq!((ledger.taken, ledger.taken_unanswered), (1, 1));
    let text = |answer: Answer| String::from_utf8(answer.unwrap().1).unwrap();
    struck("kind = \"held\"", |answer| assert!(text(answer).contains("held_for_quality_assessment")));
    struck("kind = \"success_without_wamid\"", |answer| assert!(!text(answer).contains("wamid")));
    let ledger = struck("kind = \"stall\"\nfor = \"10ms\"", |answer| assert_eq!(answer.unwrap().0, 200));
    assert_eq!((ledger.stalled, ledger.accepted), (1, 1));
}

#[test]
fn a_stall_lasts_until_the_client_gives_up() {
    let server = with_plan("[[fault]]\nkind = \"stall\"\nshare = 1.0");
    let mut client = Client::to(&server);
    client.0.get_mut().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let error = client.send(0).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    let ledger = server.stop().unwrap();
    assert_eq!((ledger.taken, ledger.stalled, ledger.taken_unanswered, ledger.answering), (1, 1, 1, 0));
}

/// Asks the ledger until it says so; every round trip gives the simulator a turn.
fn wait_for(server: &Server, said: impl Fn(&LedgerReport) -> bool) -> LedgerReport {
    loop {
        let ledger = server.ledger().unwrap();
        if said(&ledger) {
            return ledger;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_leaves_before_its_latency_is_over_was_not_answered() {
    let server = start(|config| config.latency = Duration::from_secs(300));
    let mut client = Client::to(&server);
    client.write("POST", "/v26.0/7/messages", &message(0)).unwrap();
    let ledger = wait_for(&server, |ledger| ledger.taken == 1);
    assert_eq!((ledger.answering, ledger.taken_unanswered), (1, 0));
    drop(client);
    let ledger = wait_for(&server, |ledger| ledger.answering == 0);
    assert_eq!((ledger.accepted, ledger.taken_unanswered), (0, 1));
}

#[test]
fn latency_and_plan_are_divided_by_the_time_scale() {
    let server = start(|config| {
        config.latency = Duration::from_secs(100);
        config.time_scale = 1_000;
    });
    let (status, _) = Client::to(&server).send(0).unwrap();
    assert_eq!(status, 200);
}

#[test]
fn an_outage_refuses_connects_resets_connections_and_ends_on_the_same_port() {
    let server = start(|config| {
        let plan = "[[fault]]\nkind = \"outage\"\nfrom = \"2s\"\nto = \"8s\"\n[[fault]]\nkind = \"stall\"\nshare = 1.0\nto = \"1s\"";
        config.plan = FaultPlan::parse(plan).unwrap();
        config.time_scale = 10;
    });
    let mut idle = Client::to(&server);
    assert_eq!(idle.get("/v26.0/7")["id"], "7");
    // Its body is read and it waits for an answer when the outage begins: taken.
    assert_reset(Client::to(&server).send(0));
    assert_reset(idle.read());
    let refused = Client::connect(&server.url).err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
    // The ledger can be asked all the same.
    let mut control = Client::connect(&server.control_url).unwrap();
    assert_eq!(control.get("/_sim/ledger")["taken_unanswered"], 1);
    let mut after = loop {
        match Client::connect(&server.url) {
            Ok(client) => break client,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        }
    };
    assert_eq!(after.send(1).unwrap().0, 200);
    let ledger = server.stop().unwrap();
    assert_eq!((ledger.requests, ledger.taken, ledger.accepted), (2, 2, 1));
}

#[test]
fn an_address_in_use_or_open_to_all_is_refused() {
    let server = start(|_| {});
    let listen = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let taken = Server::start(SimConfig { listen, ..SimConfig::default() });
    assert!(taken.unwrap_err().to_string().contains("cannot listen on"));
    let open = Server::start(SimConfig { listen: "0.0.0.0:0".parse().unwrap(), ..SimConfig::default() });
    assert!(open.unwrap_err().is_usage());
}

#[tokio::test]
async fn tls_is_trusted_through_its_own_authority_only() {
    let server = start(|config| config.tls = true);
    let provider = rustls::crypto::ring::default_provider();
    let _ = provider.install_default();
    let ca = reqwest::Certificate::from_pem(server.ca_pem.as_ref().unwrap().as_bytes()).unwrap();
    let trusting = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    let url = format!("{}/v26.0/7/messages", server.url);
    let post = |client: &reqwest::Client| client.post(&url).bearer_auth("t").body(message(0)).send();
    assert_eq!(post(&trusting).await.unwrap().status(), 200);
    let stranger = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    assert!(post(&stranger).await.is_err());
    assert_eq!(server.stop().unwrap().accepted, 1);
}

fn carteiro() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carteiro"));
    command.arg("sim").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn the_command_says_where_it_listens_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let mut child = carteiro().args(["--tls", "--tls-ca-out"]).arg(&ca).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["schema"], &line["tls_ca"]), (&json!(1), &json!(ca)));
    assert!(line["url"].as_str().unwrap().starts_with("https://127.0.0.1:"));
    assert!(std::fs::read_to_string(&ca).unwrap().contains("BEGIN CERTIFICATE"));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_command_ends_with_its_parent_when_asked_to() {
    let mut child = carteiro().args(["--until-stdin-closes", "--rate", "20/s"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_wrong_command_line_or_plan_ends_with_2_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, "[[fault]]\nkind = \"held\"\nshare = 7.0").unwrap();
    let check = |args: &[&str], expect: &str| {
        let output = carteiro().args(args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(expect), "{args:?}: {error}");
        assert!(output.stdout.is_empty());
    };
    check(&["--faults", plan.to_str().unwrap()], "fault 1 (held) of the plan: `share` is 7");
    check(&["--faults", "/nowhere.toml"], "/nowhere.toml");
    check(&["--listen", "0.0.0.0:0"], "loopback");
    check(&["--latency", "soon"], "300ms");
    check(&["--tls"], "--tls-ca-out");
    check(&["--time-scale", "0"], "--time-scale is 0");
}

/// Takes webhooks, refuses the first ones, and tells of each its signature and body.
fn hook(refuse: usize) -> (String, std::sync::mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length, mut signature) = (String::new(), 0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                match line.trim_end().split_once(": ") {
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    Some(("x-hub-signature-256", value)) => value.clone_into(&mut signature),
                    _ => {}
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let status = if at < refuse { "503 Busy" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            if tell.send((signature, body)).is_err() {
                return;
            }
        }
    });
    (url, told)
}

#[test]
fn a_webhook_that_is_not_answered_200_is_posted_again() {
    let (url, told) = hook(3);
    let server = start(|config| {
        config.time_scale = 20;
        config.plan = FaultPlan::parse("[webhooks]\nsent_after = \"0s\"\ndelivered = 0.0\n").unwrap();
        let (app_secret, account) = ("secret".into(), "100".to_owned());
        config.webhook = Some(WebhookConfig { url, app_secret, account });
    });
    assert_eq!(Client::to(&server).send(0).unwrap().0, 200);
    let posts: Vec<_> = (0..4).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(posts.iter().all(|post| *post == posts[0]), "the same body with the same signature");
    assert!(posts[0].0.starts_with("sha256="), "{}", posts[0].0);
    let body: Value = serde_json::from_slice(&posts[0].1).unwrap();
    let status = &body["entry"][0]["changes"][0]["value"]["statuses"][0];
    assert_eq!(
        (&status["status"], &status["biz_opaque_callback_data"]),
        (&json!("sent"), &json!("ct1.a.1.0.0.0"))
    );
    let begun = carteiro::clock::mono();
    while server.ledger().unwrap().webhooks.acknowledged == 0 {
        assert!(carteiro::clock::mono().since(begun) < PATIENCE);
        std::thread::yield_now();
    }
    let webhooks = server.stop().unwrap().webhooks;
    assert_eq!((webhooks.requests, webhooks.refused, webhooks.acknowledged, webhooks.pending), (4, 3, 1, 0));
}
