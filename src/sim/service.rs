//! HTTP on one connection: takes requests apart, asks the judge, carries out what it decides.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::codes;
use super::judge::{Action, Decision, Judge};
use super::reply::{self, Reply};
use super::request::Refusal;
use super::socket::ResetFlag;
use super::streams::GoAway;
use super::upload;
use crate::clock;

/// Bytes of a request body at most. (Meta's own limits end far below.)
pub(crate) const BODY_MAX_BYTES: usize = 64 << 10;

/// The judge as all connections of the one thread share it.
pub(crate) type SharedJudge = Rc<RefCell<Judge>>;

/// The connection, or its stream, has to end without an answer.
#[derive(Debug, Default, thiserror::Error)]
#[error("reset by plan")]
pub(crate) struct Reset(#[source] Option<h2::Error>);

/// How a request came, and so how one ends that gets no answer.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// Alone on its connection.
    One(ResetFlag),
    /// As a stream among others.
    Many(Rc<GoAway>, u32),
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// One piece, or none.
    One(Option<Bytes>),
    /// Pieces in order.
    Many(std::vec::IntoIter<Bytes>),
}

/// A success that has not gone out yet; dropped early, it tells the judge so.
struct Pending {
    judge: SharedJudge,
    life: u64,
    answered: bool,
}

/// Answers one request of the Cloud API or about the simulator.
pub(crate) async fn answer(
    judge: SharedJudge,
    line: Line,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Reset> {
    let (head, body) = request.into_parts();
    let token = head.headers.get(AUTHORIZATION).and_then(|header| header.as_bytes().strip_prefix(b"Bearer "));
    let route = Route::of(&head.method, head.uri.path());
    let object = route.managed().map(str::to_owned);
    let decision = match route {
        Route::Messages(number) => {
            // A body over the limit is judged as an empty one: refused as invalid JSON.
            let body = read_body(body).await.map_err(|_| Reset(None))?.unwrap_or_default();
            line.look().await;
            judge.borrow_mut().message(clock::mono(), number, token, &body)
        }
        Route::Node(id) => judge.borrow_mut().node(clock::mono(), id, token, head.uri.query()),
        Route::Delete(id) => judge.borrow_mut().delete_media(clock::mono(), id, token),
        Route::Templates(account) => {
            let here = address(&head);
            judge.borrow_mut().templates(clock::mono(), account, token, head.uri.query(), &here)
        }
        Route::Media(number) => {
            let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let upload = upload::read(kind, body).await;
            judge.borrow_mut().upload(clock::mono(), number, token, upload.as_ref())
        }
        Route::Own(path) => return Ok(about(&judge, &head.method, path, head.uri.query()).await),
        Route::None => return Ok(response(no_such_path())),
    };
    let usage = object.and_then(|object| judge.borrow_mut().usage(&object, clock::mono()));
    let mut response = carry_out(judge, line, decision).await?;
    for (name, value) in usage.into_iter().flatten() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Answers only what concerns the simulator itself: the control address, which outages leave alone.
pub(crate) async fn answer_control(
    judge: SharedJudge,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    Ok(match Route::of(request.method(), request.uri().path()) {
        Route::Own(path) => about(&judge, request.method(), path, request.uri().query()).await,
        _ => response(no_such_path()),
    })
}

enum Route<'a> {
    Messages(&'a str),
    /// A number or a medium.
    Node(&'a str),
    Delete(&'a str),
    Templates(&'a str),
    Media(&'a str),
    Own(&'a str),
    None,
}

impl<'a> Route<'a> {
    /// The object of a management request that Meta counts.
    fn managed(&self) -> Option<&'a str> {
        match self {
            Self::Node(object) | Self::Templates(object) => Some(object),
            _ => None,
        }
    }

    fn of(method: &Method, path: &'a str) -> Self {
        if let Some(own) = path.strip_prefix("/_sim/") {
            return Self::Own(own);
        }
        let mut parts = path.splitn(4, '/').skip(1);
        let (version, number, rest) = (parts.next(), parts.next(), parts.next());
        let versioned =
            version.is_some_and(|v| v.starts_with('v') && v[1..].starts_with(|c: char| c.is_ascii_digit()));
        match (number, rest) {
            (Some(number), Some("messages")) if versioned && method == Method::POST => Self::Messages(number),
            (Some(number), Some("media")) if versioned && method == Method::POST => Self::Media(number),
            (Some(account), Some("message_templates")) if versioned && method == Method::GET => {
                Self::Templates(account)
            }
            (Some(id), None) if versioned && method == Method::GET => Self::Node(id),
            (Some(id), None) if versioned && method == Method::DELETE => Self::Delete(id),
            _ => Self::None,
        }
    }
}

/// Where a request went to, as its client wrote it; whether by TLS is not known here, and no client needs it.
fn address(head: &hyper::http::request::Parts) -> String {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("sim");
    format!("http://{host}{}", head.uri.path())
}

/// Waits as long as decided, then answers, resets or stays silent.
async fn carry_out(judge: SharedJudge, line: Line, decision: Decision) -> Result<Response<ReplyBody>, Reset> {
    if !matches!(decision.action, Action::Refuse | Action::GoAway) {
        line.looked();
    }
    let pending = decision.accepts.then(|| Pending::new(&judge));
    if !decision.delay.is_zero() {
        tokio::time::sleep(decision.delay).await;
    }
    match decision.action {
        Action::Answer(reply) => {
            if let Some(pending) = pending {
                pending.answered();
            }
            Ok(response(reply))
        }
        Action::Reset => Err(line.reset(Reason::INTERNAL_ERROR)),
        Action::Refuse => Err(line.reset(Reason::REFUSED_STREAM)),
        Action::GoAway => match &line {
            Line::Many(away, stream) if away.leave_before(*stream) => std::future::pending().await,
            _ => Err(line.reset(Reason::REFUSED_STREAM)),
        },
        // The client's own timeout ends the connection, and this future with it.
        Action::Silence => std::future::pending().await,
    }
}

impl Line {
    /// A request past the last one is never looked at.
    async fn look(&self) {
        if let Self::Many(away, stream) = self
            && away.is_past(*stream)
        {
            std::future::pending().await
        }
    }

    /// It was looked at, so that no GOAWAY may leave it out.
    fn looked(&self) {
        if let Self::Many(away, stream) = self {
            away.looked_at(*stream);
        }
    }

    fn reset(&self, reason: Reason) -> Reset {
        match self {
            Self::One(reset) => {
                reset.set(true);
                Reset(None)
            }
            Self::Many(..) => Reset(Some(reason.into())),
        }
    }
}

/// Has a person ask to hear no more; whether the webhook was answered 200.
async fn say(judge: &SharedJudge, query: &str) -> Option<bool> {
    // The host is of no meaning: only the query is read.
    let url = reqwest::Url::parse(&format!("http://sim/?{query}")).ok()?;
    let value =
        |key: &str| url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
    let text = value("text").unwrap_or_else(|| "PARE".to_owned());
    let told = judge.borrow().say(&value("to")?, value("number").as_deref(), &text)?;
    Some(told.await.unwrap_or(false))
}

/// `/_sim/…`
async fn about(judge: &SharedJudge, method: &Method, path: &str, query: Option<&str>) -> Response<ReplyBody> {
    let json = |value: serde_json::Value| response(Reply { status: 200, body: value.to_string().into() });
    match (method, path) {
        (&Method::GET, "health") => json(serde_json::json!({"schema": 1, "status": "ok"})),
        (&Method::GET, "ledger") => {
            let report = serde_json::to_vec(&judge.borrow().report_at(clock::mono()));
            let body = report.expect("a report has string keys and plain numbers only").into();
            response(Reply { status: 200, body })
        }
        (&Method::POST, "reset") => {
            judge.borrow_mut().reset(clock::mono());
            json(serde_json::json!({"schema": 1, "status": "reset"}))
        }
        (&Method::POST, "people_per_day") => match query.and_then(people) {
            Some(most) => {
                judge.borrow_mut().limit_people(most);
                json(serde_json::json!({"schema": 1, "people_per_day": most}))
            }
            None => response(no_such_path()),
        },
        (&Method::POST, "stop") => match say(judge, query.unwrap_or_default()).await {
            Some(answered) => json(serde_json::json!({"schema": 1, "answered": answered})),
            None => response(reply::error(
                Refusal {
                    code: codes::BAD_PARAMETER,
                    details: "needs --webhook and stop?to=PHONE[&number=ID][&text=TEXT]",
                },
                Some(400),
                0,
            )),
        },
        (&Method::GET, "taken") => match query.and_then(|query| query.strip_prefix("id=")) {
            Some(id) => json(serde_json::json!({"schema": 1, "taken": judge.borrow().takings(id)})),
            None => response(no_such_path()),
        },
        (&Method::GET, "taken_ids") => match judge.borrow().taken_ids() {
            Some(ids) => {
                let mut response = Response::new(ReplyBody::Many(ids.segments().into_iter()));
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, text);
                response
            }
            None => response(reply::error(
                Refusal { code: codes::BAD_PARAMETER, details: "the ids are kept only with --keep-ids" },
                Some(404),
                0,
            )),
        },
        _ => response(no_such_path()),
    }
}

/// `people=2000`
fn people(query: &str) -> Option<u64> {
    query.strip_prefix("people=")?.parse().ok()
}

fn no_such_path() -> Reply {
    let refusal = Refusal { code: codes::BAD_PARAMETER, details: "unknown path or method" };
    reply::error(refusal, Some(404), 0)
}

fn response(reply: Reply) -> Response<ReplyBody> {
    let empty = reply.body.is_empty();
    let mut response = Response::new(ReplyBody::One((!empty).then_some(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !empty {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// The body, None when it is over the limit. Usually it came with the head and is handed on as it is.
async fn read_body(mut body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len();
        if length > BODY_MAX_BYTES {
            // Keep reading, or the client would see a reset in place of the refusal; but keep nothing.
            continue;
        }
        if whole.is_empty() && joined.is_empty() {
            whole = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&whole);
            }
            joined.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(match (length > BODY_MAX_BYTES, joined.is_empty()) {
        (true, _) => None,
        (false, true) => Some(whole),
        (false, false) => Some(joined.freeze()),
    })
}

impl Pending {
    fn new(judge: &SharedJudge) -> Self {
        Self { life: judge.borrow().life(), judge: Rc::clone(judge), answered: false }
    }

    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut judge = self.judge.borrow_mut();
        match self.answered {
            true => judge.answered(self.life),
            false => judge.abandoned(self.life),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::One(piece) => piece.take(),
            Self::Many(pieces) => pieces.next(),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::One(piece) => piece.is_none(),
            Self::Many(pieces) => pieces.len() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let length = match self {
            Self::One(piece) => piece.as_ref().map_or(0, Bytes::len),
            Self::Many(pieces) => pieces.as_slice().iter().map(Bytes::len).sum(),
        };
        SizeHint::with_exact(length as u64)
    }
}
