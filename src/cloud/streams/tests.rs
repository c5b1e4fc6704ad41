//! Streams against a far side that speaks frames by hand, so that it can say what no well-behaved server says.

use std::cell::RefCell;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::clock;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// The other side.
struct Far(TcpStream);

impl Far {
    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame: kind, flags and stream; settings and pings are answered on the way. None: the end.
    async fn next(&mut self) -> Option<(u8, u8, u32)> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let [high, middle, low, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            match (kind, flags & ACK) {
                (SETTINGS, 0) => self.write(SETTINGS, ACK, 0, &[]).await,
                (PING, 0) => self.write(PING, ACK, 0, &payload).await,
                (SETTINGS | PING, _) => {}
                _ => return Some((kind, flags, u32::from_be_bytes(stream))),
            }
            if kind == PING {
                return Some((PING, flags, 0));
            }
        }
    }

    /// Says how many requests it takes, and answers until the client is content.
    async fn agree(&mut self, streams: u32) {
        let mut preface = [0; 24];
        self.0.read_exact(&mut preface).await.unwrap();
        let mut setting = vec![0, 3];
        setting.extend(streams.to_be_bytes());
        self.write(SETTINGS, 0, 0, &setting).await;
        while self.next().await.unwrap().0 != PING {}
    }

    /// Waits until so many requests have come whole; their streams.
    async fn requests(&mut self, count: usize) -> Vec<u32> {
        let (mut opened, mut whole) = (Vec::new(), 0);
        while whole < count {
            let (kind, flags, stream) = self.next().await.unwrap();
            if kind == HEADERS {
                opened.push(stream);
            }
            whole += usize::from(matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0);
        }
        opened
    }

    async fn answer(&mut self, stream: u32) {
        // 0x88 is `:status: 200` of the static table.
        self.write(HEADERS, END_HEADERS, stream, &[0x88]).await;
        self.write(DATA, END_STREAM, stream, br#"{"messages":[{"id":"wamid.x"}]}"#).await;
    }

    async fn reset(&mut self, stream: u32, reason: u32) {
        self.write(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }

    async fn go_away(&mut self, last: u32) {
        self.write(GO_AWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }
}

/// Carries so many requests while the far side follows a script; the news in order, and how many at once.
async fn carried(
    count: usize,
    gate: Gate,
    limit: Duration,
    script: impl AsyncFnOnce(&mut Far),
) -> (Vec<String>, usize) {
    crate::tls::install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::Plain(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
    let mut far = Far(listener.accept().await.unwrap().0);
    let host = HeaderValue::from_static("graph.example");
    let (streams, ()) = tokio::join!(Streams::open(wire, &host, 5, gate), far.agree(3));
    let streams = streams.unwrap();
    let slots = streams.slots();
    let (jobs, incoming) = mpsc::channel(count);
    for id in 0..count {
        let body = Full::new(Bytes::from_static(b"{\"to\":1}"));
        let request = Request::post("/v26.0/201/messages").header("host", "graph.example").body(body);
        jobs.send(Job { id, request: request.unwrap() }).await.unwrap();
    }
    let news = RefCell::new(Vec::new());
    let tell = |one: News<usize>| {
        news.borrow_mut().push(match one {
            News::Ended(id, Ended::Replied(reply, Some(wamid)), kept) => {
                format!("{id} {} {wamid} {kept}", reply.http_status)
            }
            News::Ended(id, Ended::Without(local), kept) => format!("{id} {local:?} {kept}"),
            News::Ended(id, other, _) => panic!("{id} {other:?}"),
            News::Closed => "closed".to_owned(),
        });
    };
    let scripted = async {
        script(&mut far).await;
        drop(jobs);
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(streams.carry(incoming, limit, tell), scripted) })
        .await
        .unwrap();
    (news.into_inner(), slots)
}

#[tokio::test]
async fn many_at_once_are_answered_in_any_order() {
    let (news, slots) = carried(3, Gate::default(), PATIENCE, async |far| {
        assert_eq!(far.requests(3).await, [1, 3, 5]);
        for stream in [5, 1, 3] {
            far.answer(stream).await;
        }
    })
    .await;
    assert_eq!(slots, 3, "what the far side allows");
    assert_eq!(news, ["2 200 wamid.x true", "0 200 wamid.x true", "1 200 wamid.x true"]);
}

#[tokio::test]
async fn a_refused_stream_was_never_begun_and_a_reset_one_is_unknown() {
    let (news, _) = carried(3, Gate::default(), PATIENCE, async |far| {
        far.requests(3).await;
        far.reset(1, REFUSED_STREAM).await;
        far.reset(3, INTERNAL_ERROR).await;
        far.answer(5).await;
    })
    .await;
    assert_eq!(news, ["0 NeverBegun true", "1 ResetAfterBegin true", "2 200 wamid.x true"]);
}

#[tokio::test]
async fn a_refusal_after_the_answer_began_is_unknown() {
    let (news, _) = carried(1, Gate::default(), PATIENCE, async |far| {
        far.requests(1).await;
        far.write(HEADERS, END_HEADERS, 1, &[0x88]).await;
        far.reset(1, REFUSED_STREAM).await;
    })
    .await;
    assert_eq!(news, ["0 ResetAfterBegin true"]);
}

#[tokio::test]
async fn going_away_leaves_out_only_what_is_past_the_last() {
    let (news, _) = carried(3, Gate::default(), PATIENCE, async |far| {
        far.requests(3).await;
        far.go_away(3).await;
        far.answer(1).await;
        // Stream 3 may have been looked at, and gets no answer any more.
        far.0.shutdown().await.unwrap();
    })
    .await;
    let mut sorted = news.clone();
    sorted.sort();
    assert_eq!(sorted, ["0 200 wamid.x false", "1 ResetAfterBegin false", "2 NeverBegun false", "closed"]);
    assert_eq!(news.iter().filter(|one| *one == "closed").count(), 1, "{news:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_what_was_written_unknown() {
    let (news, _) = carried(2, Gate::default(), PATIENCE, async |far| {
        far.requests(2).await;
        far.0.shutdown().await.unwrap();
    })
    .await;
    let mut sorted = news;
    sorted.sort();
    assert_eq!(sorted, ["0 ResetAfterBegin false", "1 ResetAfterBegin false", "closed"]);
}

#[tokio::test]
async fn what_is_not_answered_in_time_is_unknown_and_ends_the_connection() {
    let (news, _) =
        carried(
            1,
            Gate::default(),
            Duration::from_millis(50),
            async |far| {
                while far.next().await.is_some() {}
            },
        )
        .await;
    assert_eq!(news, ["closed", "0 Timeout false"]);
}

#[tokio::test]
async fn a_shut_gate_lets_no_request_begin() {
    let gate = Gate::default();
    gate.open_until(clock::mono());
    let (news, _) = carried(2, gate, PATIENCE, async |far| {
        while let Some((kind, ..)) = far.next().await {
            assert_ne!(kind, HEADERS);
        }
    })
    .await;
    let mut sorted = news;
    sorted.sort();
    assert_eq!(sorted, ["0 NeverBegun false", "1 NeverBegun false", "closed"]);
}
