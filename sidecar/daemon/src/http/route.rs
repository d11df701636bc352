//! From a request to who answers it.
//!
//! Owns the order of checks: path, method, body, headers. Must not know how anything is answered.

use super::Door;
use super::acquire::{self, Wish};
use super::body::{self, LockBody, LocksBody, SemaphoreBody};
use super::call::Caller;
use super::once::{self, OnceBody};
use super::path::{Query, Resource};
use super::problem::ProblemDocument;
use super::repeat::{self, IDEMPOTENCY_KEY};
use super::response::Answer;
use super::{graph, lease, openapi, pages, policies, register, watch};
use crate::gate::Gate;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Request};
use sidelock_wire::{Code, Scope};
use std::time::Duration;
use tokio::time::timeout;

/// From the end of a request's head to the end of its body: all of it is a few hundred bytes over a local socket.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Answers a request from the socket.
pub(super) async fn answer(caller: Caller, request: Request<Incoming>) -> Answer {
    serve(&caller, request).await.unwrap_or_else(ProblemDocument::into_answer)
}

/// Answers a request to the probe listener, where nothing but health and metrics exists.
pub(super) async fn answer_probe(door: &Door, request: &Request<Incoming>) -> Answer {
    let path = request.uri().path();
    let answered = match Resource::parse(path) {
        Ok(Resource::Probe(probe)) => match allowed(request.method(), &Resource::Probe(probe)) {
            Ok(()) => pages::probe(door, probe).await,
            Err(problem) => Err(problem),
        },
        _ => Err(ProblemDocument::no_such_path(path)),
    };
    answered.unwrap_or_else(ProblemDocument::into_answer)
}

async fn serve(caller: &Caller, request: Request<Incoming>) -> Result<Answer, ProblemDocument> {
    let (head, body) = request.into_parts();
    let resource = Resource::parse(head.uri.path())?;
    allowed(&head.method, &resource)?;
    let query = match resource.parameters(&head.method) {
        Some(known) => Query::parse(head.uri.query(), &head.method, known)?,
        None => Query::default(),
    };
    let bytes = read(&caller.door.gate, &head.headers, body).await?;
    match resource {
        Resource::Lock(key) if head.method == Method::POST => {
            let wish = Wish::try_from(body::parse::<LockBody>(&bytes)?)?;
            acquire(caller, &head, &query, &bytes, &key, &wish).await
        }
        Resource::Semaphore(key) => {
            let wish = Wish::try_from(body::parse::<SemaphoreBody>(&bytes)?)?;
            acquire(caller, &head, &query, &bytes, &key, &wish).await
        }
        Resource::Once(key) => {
            let wish = Wish::try_from(body::parse::<OnceBody>(&bytes)?)?;
            caller.door.gate.reaches(required_scope(&head.headers)?)?;
            once::enter(caller, &key, &wish, ticket(caller, &head, &bytes)?).await
        }
        Resource::Finish(id) => once::finish(caller, id, &bytes).await,
        Resource::Locks if head.method == Method::POST => {
            let several = body::parse::<LocksBody>(&bytes)?;
            caller.door.gate.reaches(required_scope(&head.headers)?)?;
            acquire::several(caller, several, ticket(caller, &head, &bytes)?).await
        }
        Resource::Lock(key) => pages::look(caller, &key, &query).await,
        Resource::Locks => pages::list(caller, &query).await,
        Resource::Lease(id) if head.method == Method::PUT => lease::renew(caller, id, &bytes).await,
        Resource::Lease(id) if head.method == Method::POST => {
            if head.headers.contains_key(IDEMPOTENCY_KEY) {
                let what = "is for acquires; an upgrade whose answer was lost ends with its ttl";
                return Err(ProblemDocument::bad_field(IDEMPOTENCY_KEY, what));
            }
            lease::change(caller, id, &bytes).await
        }
        Resource::Lease(id) if head.method == Method::DELETE => lease::release(caller, id).await,
        Resource::Lease(id) => lease::look(caller, id).await,
        Resource::Register(key) => {
            caller.door.gate.reaches(required_scope(&head.headers)?)?;
            match head.method {
                Method::PUT => register::put(caller, &head.headers, &key, &bytes).await,
                Method::DELETE => register::delete(caller, &head.headers, &key).await,
                _ => register::get(caller, &head.headers, &query, &key).await,
            }
        }
        Resource::Graph => graph::graph(caller, &query).await,
        Resource::Watch => Ok(watch::watch(caller, &query, &head.headers)),
        Resource::Policies => policies::list(caller),
        Resource::Info => pages::info(caller).await,
        Resource::OpenApi => Ok(openapi::answer()),
        Resource::Probe(probe) => pages::probe(&caller.door, probe).await,
    }
}

async fn acquire(
    caller: &Caller,
    head: &Parts,
    query: &Query,
    body: &Bytes,
    key: &[u8],
    wish: &Wish,
) -> Result<Answer, ProblemDocument> {
    caller.door.gate.reaches(required_scope(&head.headers)?)?;
    match query.switch("stream")? {
        false => acquire::timed(caller, key, wish, ticket(caller, head, body)?).await,
        true if head.headers.contains_key(IDEMPOTENCY_KEY) => {
            let what = "makes no sense with stream=1, whose lease belongs to the connection";
            Err(ProblemDocument::bad_field(IDEMPOTENCY_KEY, what))
        }
        true => acquire::streamed(caller, key, wish).await,
    }
}

/// What this request is remembered by, if its client wants to be able to repeat it.
fn ticket(caller: &Caller, head: &Parts, body: &Bytes) -> Result<Option<repeat::Ticket>, ProblemDocument> {
    let name = text(&head.headers, IDEMPOTENCY_KEY)?;
    let asked = (head.uri.path(), body);
    name.map(|name| caller.door.repeats.ticket(caller.peer.uid, name, asked)).transpose()
}

fn allowed(method: &Method, resource: &Resource) -> Result<(), ProblemDocument> {
    let methods = resource.methods();
    match methods.contains(method) {
        true => Ok(()),
        false => Err(ProblemDocument::wrong_method(method, methods)),
    }
}

/// The whole body, within its limits of bytes and time. Its `Content-Type` does not matter, its encoding does.
pub(super) async fn read(gate: &Gate, headers: &HeaderMap, body: Incoming) -> Result<Bytes, ProblemDocument> {
    match text(headers, CONTENT_ENCODING.as_str())? {
        None | Some("identity") => {}
        Some(encoding) => return Err(ProblemDocument::encoded_body(encoding)),
    }
    let max = gate.rules().limits.frame_bytes_max;
    let collected = timeout(BODY_TIME_MAX, Limited::new(body, max as usize).collect()).await;
    match collected.map_err(|_| ProblemDocument::slow_body(BODY_TIME_MAX))? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ProblemDocument::new(
            Code::TooLarge,
            &format!("the body exceeds {max} bytes (frame_bytes_max)"),
        )),
        Err(error) => Err(ProblemDocument::bad_field("body", &format!("broke off: {error}"))),
    }
}

/// The scope that the client demands, if it demands one.
fn required_scope(headers: &HeaderMap) -> Result<Option<Scope>, ProblemDocument> {
    const NAME: &str = "Sidelock-Require-Scope";
    let Some(name) = text(headers, NAME)? else { return Ok(None) };
    let scope = Scope::from_name(name);
    scope.map(Some).ok_or_else(|| ProblemDocument::bad_field(NAME, "process, host and fleet are allowed"))
}

/// A header's value as text. One that is said twice is none: whichever was taken, a demand might go unseen.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ProblemDocument> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str());
    if values.next().is_some() {
        return Err(ProblemDocument::bad_field(name, "is there twice"));
    }
    value.transpose().map_err(|_| ProblemDocument::bad_field(name, "is not plain ASCII text"))
}
