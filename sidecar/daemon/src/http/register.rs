//! Registers: opaque bytes with the conditional headers of HTTP (RFC 9110, section 13).
//!
//! Owns how conditions, versions and values stand in headers and bodies. A watch is a long poll: `GET ?watch=1` with the
//! version that the client has in `If-None-Match` waits until there is another, and 304 says that the wait is over. Must not
//! know how registers are kept.

use super::call::{Call, Caller};
use super::lease::unexpected;
use super::path::{LeaseId, Query};
use super::problem::ProblemDocument;
use super::response::{Answer, no_content, with_type};
use super::route::text;
use crate::config::{format_duration, parse_duration};
use crate::reply;
use hyper::StatusCode;
use hyper::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use sidelock_engine::store::Version;
use sidelock_engine::{Refusal, Reply};
use sidelock_wire::{Condition, Known, LeaseName, Register, RegisterAct};
use std::time::Duration;

/// How long a watch waits unless the client says otherwise: less than proxies and clients wait by default.
pub(super) const WATCH_WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// `GET`: the value, and its version in `ETag`. 304 if `If-None-Match` has that version; with `watch=1`, if it still has
/// it when the wait is over.
pub(crate) async fn get(
    caller: &Caller,
    headers: &HeaderMap,
    query: &Query,
    key: &[u8],
) -> Result<Answer, ProblemDocument> {
    none_of(headers, IF_MATCH.as_str(), "is for PUT and DELETE")?;
    let seen = tag(headers, IF_NONE_MATCH.as_str())?;
    let etag = match seen {
        Some(Tag::Any) => {
            return Err(ProblemDocument::bad_field(
                "If-None-Match",
                "* is for PUT; give the ETag that you have",
            ));
        }
        Some(Tag::Version(etag)) => Some(etag),
        None => None,
    };
    let lease = lease(caller, headers)?;
    let watches = query.switch("watch")?;
    let act = match (watches, etag) {
        (true, etag) => {
            let wait = Some(admit_wait(caller, query)?);
            RegisterAct::Watch { known: etag.map_or(Known::Absent, Known::Etag), wait }
        }
        (false, Some(etag)) if lease.is_none() => {
            RegisterAct::Watch { known: Known::Etag(etag), wait: Some(Duration::ZERO) }
        }
        (false, _) => RegisterAct::Get,
    };
    if let Some(wait) = query.get("wait").filter(|_| !watches) {
        return Err(ProblemDocument::bad_field("wait", &format!("{wait:?} makes no sense without watch=1")));
    }
    match ask(caller, key, lease, act)?.answer().await? {
        Reply::Register(Some(version)) if etag == Some(version.etag.to_string().as_str()) => {
            Ok(not_modified(&version.etag.to_string()))
        }
        Reply::Register(Some(version)) => Ok(value(&version)),
        // A watch that began with nothing and found nothing, or the end of what was there.
        Reply::Register(None) => Err(reply::problem(&Refusal::Absent).into()),
        Reply::Unchanged => match etag {
            Some(etag) => Ok(not_modified(etag)),
            None => Err(reply::problem(&Refusal::Absent).into()),
        },
        other => Err(unexpected(&other)),
    }
}

/// `PUT`: this value, if `If-Match` or `If-None-Match: *` hold. 204 with the new version.
pub(crate) async fn put(
    caller: &Caller,
    headers: &HeaderMap,
    key: &[u8],
    value: &[u8],
) -> Result<Answer, ProblemDocument> {
    let act = RegisterAct::Put { condition: condition(headers)?, value };
    match ask(caller, key, lease(caller, headers)?, act)?.answer().await? {
        Reply::Written(etag) => Ok(tagged(no_content(), &etag.to_string())),
        other => Err(unexpected(&other)),
    }
}

/// `DELETE`: no value, if `If-Match` holds.
pub(crate) async fn delete(
    caller: &Caller,
    headers: &HeaderMap,
    key: &[u8],
) -> Result<Answer, ProblemDocument> {
    none_of(headers, IF_NONE_MATCH.as_str(), "is for GET and PUT")?;
    let act = RegisterAct::Delete { condition: condition(headers)? };
    match ask(caller, key, lease(caller, headers)?, act)?.answer().await? {
        Reply::Deleted => Ok(no_content()),
        other => Err(unexpected(&other)),
    }
}

fn ask(
    caller: &Caller,
    key: &[u8],
    lease: Option<LeaseName>,
    act: RegisterAct<'_>,
) -> Result<Call, ProblemDocument> {
    let call = caller.call();
    let asked = Register { request: call.request(), key, lease, act };
    call.send(caller.door.gate.register(call.session(), &asked)?);
    Ok(call)
}

fn admit_wait(caller: &Caller, query: &Query) -> Result<Duration, ProblemDocument> {
    let max = caller.door.gate.rules().limits.http_wait_max;
    let Some(said) = query.get("wait") else { return Ok(WATCH_WAIT_DEFAULT.min(max)) };
    let wait =
        parse_duration(said).map_err(|error| ProblemDocument::bad_field("wait", &error.to_string()))?;
    match wait {
        wait if wait > max => {
            Err(ProblemDocument::bad_field("wait", &format!("0s to {} are allowed", format_duration(max))))
        }
        wait => Ok(wait),
    }
}

/// The lease of `Sidelock-Lease`. One of an earlier life of the sidecar does not stand any more.
fn lease(caller: &Caller, headers: &HeaderMap) -> Result<Option<LeaseName>, ProblemDocument> {
    const NAME: &str = "Sidelock-Lease";
    let Some(id) = text(headers, NAME)? else { return Ok(None) };
    let id = LeaseId::parse(id).ok_or_else(|| ProblemDocument::bad_field(NAME, "is no lease id"))?;
    match id.is_of(caller.door.gate.identity().incarnation) {
        true => Ok(Some(LeaseName::Timed(id.secret))),
        false => Err(reply::problem(&Refusal::StaleFence).into()),
    }
}

/// An entity tag, or any.
enum Tag<'a> {
    Any,
    Version(&'a str),
}

/// The one tag of a conditional header. Quotes may be left out; a list is not understood.
fn tag<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<Tag<'a>>, ProblemDocument> {
    let Some(said) = text(headers, name)? else { return Ok(None) };
    let said = said.trim();
    let bare = said.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(said);
    if headers.get_all(name).iter().count() > 1 || said.contains(',') {
        return Err(ProblemDocument::bad_field(name, "give one ETag: a register has one version at a time"));
    }
    Ok(Some(if said == "*" { Tag::Any } else { Tag::Version(bare) }))
}

fn condition(headers: &HeaderMap) -> Result<Condition<'_>, ProblemDocument> {
    match (tag(headers, IF_MATCH.as_str())?, tag(headers, IF_NONE_MATCH.as_str())?) {
        (None, None) => Ok(Condition::Any),
        (Some(Tag::Version(etag)), None) => Ok(Condition::Match(etag)),
        (Some(Tag::Any), None) => Ok(Condition::Present),
        (None, Some(Tag::Any)) => Ok(Condition::Absent),
        (None, Some(Tag::Version(_))) => Err(ProblemDocument::bad_field(
            "If-None-Match",
            "only * is possible here: write what is not there yet",
        )),
        (Some(_), Some(_)) => {
            Err(ProblemDocument::bad_field("If-None-Match", "contradicts If-Match; give one of the two"))
        }
    }
}

fn none_of(headers: &HeaderMap, name: &str, what: &str) -> Result<(), ProblemDocument> {
    match headers.contains_key(name) {
        true => Err(ProblemDocument::bad_field(name, what)),
        false => Ok(()),
    }
}

fn value(version: &Version) -> Answer {
    let bytes = version.value.to_vec().into();
    tagged(with_type(StatusCode::OK, "application/octet-stream", bytes), &version.etag.to_string())
}

fn not_modified(etag: &str) -> Answer {
    let mut answer = no_content();
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    tagged(answer, etag)
}

fn tagged(mut answer: Answer, etag: &str) -> Answer {
    if let Ok(value) = header(etag) {
        answer.headers_mut().insert(ETAG, value);
    }
    answer
}

/// A version as an entity tag.
pub(crate) fn header(etag: &str) -> Result<HeaderValue, hyper::header::InvalidHeaderValue> {
    HeaderValue::try_from(format!("\"{etag}\""))
}
