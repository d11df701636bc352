//! The operator's verbs speak HTTP over the sidecar's own socket: one connection, one request.
//!
//! Owns the exchange and the reading of problem documents. Must not know which verb asks, or print anything.

use crate::failure::Failure;
use crate::socket::Socket;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;
use sidelock_daemon::addressee;
use std::time::Duration;
use tokio::time::timeout;

/// A sidecar that takes longer to begin an answer that needs no waiting has a problem.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// … and one that the store has to carry something out for.
pub(crate) const ORDER_TIME_MAX: Duration = Duration::from_secs(10);
/// … and one that the store is looked through for: some hundred round trips.
pub(crate) const FLEET_TIME_MAX: Duration = Duration::from_secs(60);
/// What has a meaning of its own in a request line, or no place in one.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'+')
    .add(b'&')
    .add(b'?')
    .add(b'<')
    .add(b'>')
    .add(b'`');

/// A key or prefix, written so that it can stand in a path or a query.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Sends one request and waits for the head of its answer.
async fn exchange(
    socket: &Socket,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Response<Incoming>, Failure> {
    let stream = socket.connect().await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the connection, and what goes wrong on it is the answer's error.
    tokio::spawn(connection);
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut request = Request::builder();
    if let Some(sidecar) = socket.addressee()? {
        request = request.header(addressee::HEADER, sidecar);
    }
    let request = request
        .method(method)
        .uri(path)
        .header(HOST, "sidelock")
        .header(ACCEPT, "application/json, application/x-ndjson")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| Failure::usage(format!("{path:?} can not be asked for: {e}")))?;
    Ok(sender.send_request(request).await?)
}

/// Sends one request; a refusal is the failure it stands for. An empty answer is [`Value::Null`].
pub(crate) async fn ask(
    socket: &Socket,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let (status, bytes) = fetch(socket, method, path, body).await?;
    if !status.is_success() {
        return Err(Failure::from_problem(status, &bytes));
    }
    match bytes.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&bytes)
            .map_err(|e| Failure::broken(format!("the sidecar's answer to {path} is not JSON: {e}"))),
    }
}

/// Sends one request and takes whatever is answered.
pub(crate) async fn fetch(
    socket: &Socket,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), Failure> {
    let answer = exchange(socket, method, path, body).await?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

/// An answer that needs no waiting, or the failure to give one in time.
pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    within(ANSWER_TIME_MAX, answer).await
}

/// An answer, or the failure to give one within so long.
pub(crate) async fn within<T>(
    span: Duration,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(span, answer).await.unwrap_or_else(|_| {
        // What was left of a time limit, without its nanoseconds.
        let millis = span.as_nanos().div_ceil(1_000_000);
        let span = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        Err(Failure::broken(format!(
            "the sidecar does not answer within {span:?}: it is stopped, or far too busy"
        )))
    })
}

/// An answer that comes line by line, without end.
pub(crate) struct Lines {
    body: Incoming,
    pending: Vec<u8>,
}

/// Asks for an answer that comes line by line.
pub(crate) async fn lines(socket: &Socket, path: &str) -> Result<Lines, Failure> {
    let answer = exchange(socket, Method::GET, path, None).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    if !status.is_success() {
        let bytes = (&mut body).collect().await?.to_bytes();
        return Err(Failure::from_problem(status, &bytes));
    }
    Ok(Lines { body, pending: Vec::new() })
}

impl Lines {
    /// The next line, without its end; `None` when the sidecar ended the answer.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            match self.body.frame().await {
                Some(frame) => self.pending.extend(frame?.data_ref().map_or(&[][..], |data| data)),
                None => return Ok(None),
            }
        }
    }
}
