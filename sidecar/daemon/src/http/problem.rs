//! How this door says no: RFC 9457 problem documents.
//!
//! Owns their shape, their headers, and the refusals that only HTTP has (wrong path, wrong method, bad query). Must not
//! know why the engine refuses: the codes and their statuses come from the one table in the wire crate.

use super::base64::base64;
use super::response::{Answer, json};
use crate::problem::Problem;
use hyper::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode};
use serde::{Serialize, Serializer};
use sidelock_engine::WHOLE;
use sidelock_wire::{Code, CycleEdge, Denial, LostReason, Mode};
use std::num::NonZeroU32;
use std::time::Duration;
use utoipa::ToSchema;

/// How long a client is asked to stay away for when nothing better is known.
const PAUSE: Pause = Pause(NonZeroU32::new(1_000).unwrap());

/// A refusal. Becomes an `application/problem+json` answer (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ProblemDocument {
    /// The code again, as the short text that the RFC asks for.
    title: &'static str,
    /// The HTTP status again.
    status: u16,
    /// What happened, as a word to decide on: `held`, `wait_timeout`, `bad_request`, …
    code: &'static str,
    /// The same for people, with what to do now.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// The field, parameter or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    field: Option<Box<str>>,
    /// Why the lease was lost.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "name")]
    #[schema(value_type = Option<String>)]
    reason: Option<LostReason>,
    /// The limit that was hit, or is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    /// The ring of waits that the request was chosen to break: it is the first; the owner of each edge waits for the key of
    /// the edge, which the owner of the next has or will get before it, and the last for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<CycleEdgeDocument>>)]
    cycle: Option<Box<Ring>>,
    /// Whose no it is.
    #[serde(flatten)]
    denial: Option<Box<DenialDocument>>,
    /// What is there, where a write's condition failed.
    #[serde(flatten)]
    current: Option<Box<RegisterVersion>>,
    /// Seconds after which the same may succeed; also in `Retry-After`, in whole seconds, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    retry_after: Option<Pause>,
    #[serde(skip)]
    allow: Option<Box<HeaderValue>>,
}

/// A register's version and value.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct RegisterVersion {
    /// The version; also in `ETag`.
    etag: String,
    /// The value.
    value_base64: String,
}

/// Whose no it is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct DenialDocument {
    /// The policy that said no.
    policy: Box<str>,
    /// Its reason, a word of its choice to decide on; `detail` says it for people.
    reason_code: Box<str>,
}

impl From<Denial> for DenialDocument {
    fn from(denial: Denial) -> DenialDocument {
        let Denial { policy, reason_code } = denial;
        DenialDocument { policy, reason_code }
    }
}

/// An owner waits for a key.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct CycleEdgeDocument {
    /// What is waited for.
    key: Box<str>,
    /// `exclusive`, `shared` or `permits`.
    mode: &'static str,
    /// How many permits.
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    /// Who waits.
    owner: Box<str>,
    /// What its client calls itself.
    app: Box<str>,
    /// Its sidecar's incarnation.
    sidecar: String,
    /// Seconds it has been waiting.
    waiting_for: f64,
    /// Seconds that the owner of the next edge has held the key; absent: that one waits for it too, further ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_for: Option<f64>,
}

/// What few refusals have stands apart: every answer of this door could be one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
struct Ring(Vec<CycleEdgeDocument>);

impl Ring {
    fn of(cycle: &[CycleEdge]) -> Option<Box<Ring>> {
        let ring = || Ring(cycle.iter().map(CycleEdgeDocument::from).collect());
        (!cycle.is_empty()).then(|| Box::new(ring()))
    }
}

impl From<&CycleEdge> for CycleEdgeDocument {
    fn from(edge: &CycleEdge) -> CycleEdgeDocument {
        CycleEdgeDocument {
            key: edge.key.as_str().into(),
            mode: edge.mode.name(),
            permits: if let Mode::Permits { permits, .. } = edge.mode { Some(permits) } else { None },
            owner: edge.owner.as_str().into(),
            app: edge.app.as_str().into(),
            sidecar: format!("{:032x}", edge.sidecar),
            waiting_for: edge.waiting_for.as_secs_f64(),
            held_for: edge.held_for.map(|span| span.as_secs_f64()),
        }
    }
}

impl ProblemDocument {
    /// A refusal by `code`: `detail` says what happened, the code's advice is added.
    pub(crate) fn new(code: Code, detail: &str) -> ProblemDocument {
        ProblemDocument {
            title: code.name(),
            status: code.http_status(),
            code: code.name(),
            detail: format!("{detail}; {}", code.advice()).into(),
            field: None,
            reason: None,
            limit: None,
            cycle: None,
            denial: None,
            current: None,
            retry_after: code.retry_after().then_some(PAUSE),
            allow: None,
        }
    }

    /// `field` is wrong; `what` completes the sentence.
    pub(crate) fn bad_field(field: &str, what: &str) -> ProblemDocument {
        ProblemDocument {
            detail: format!("{field}: {what}").into(),
            field: Some(field.into()),
            ..ProblemDocument::new(Code::BadRequest, "")
        }
    }

    /// A field that does not exist here, with the one that was probably meant.
    pub(crate) fn unknown_field(field: &str, known: &[&str]) -> ProblemDocument {
        let what = match crate::spelling::nearest(field, known) {
            Some(meant) => format!("is not known; did you mean {meant:?}?"),
            None => format!("is not known; there are {}", known.join(", ")),
        };
        ProblemDocument::bad_field(field, &what)
    }

    /// A parameter that does not exist here, with the one that was probably meant; or it was meant for the body.
    pub(crate) fn unknown_parameter(name: &str, method: &Method, known: &[&str]) -> ProblemDocument {
        let body = match *method {
            Method::POST => r#"; what is asked for goes into the body, as in -d '{"wait":"5s"}'"#,
            _ => "",
        };
        let what = match (crate::spelling::nearest(name, known), known) {
            (Some(meant), _) => format!("is no parameter; did you mean {meant:?}?"),
            (None, []) => format!("is no parameter, and there are none here{body}"),
            (None, _) => format!("is no parameter here, there is {}{body}", known.join(", ")),
        };
        ProblemDocument::bad_field(name, &what)
    }

    /// Nothing is at `path`.
    pub(crate) fn no_such_path(path: &str) -> ProblemDocument {
        let detail = format!("there is nothing at {path}; GET /v1/openapi.json lists what there is");
        ProblemDocument { detail: detail.into(), ..ProblemDocument::new(Code::NotFound, "") }
    }

    /// What is at `path` is on another socket.
    pub(crate) fn operators_only(path: &str) -> ProblemDocument {
        let detail = format!(
            "{path} is an operator's order: POST it to the admin socket (admin.sock beside this one, or --admin-socket)"
        );
        ProblemDocument { detail: detail.into(), ..ProblemDocument::new(Code::NotFound, "") }
    }

    /// The id is none that this sidecar could have given out.
    pub(crate) fn no_such_lease() -> ProblemDocument {
        ProblemDocument::new(Code::NotFound, "there is no such lease")
    }

    /// The resource exists and has other methods.
    pub(crate) fn wrong_method(method: &Method, allow: &'static [Method]) -> ProblemDocument {
        let mut detail = format!("{method} is not possible here; there is {}", names(allow));
        if method == Method::DELETE && allow.contains(&Method::POST) {
            detail.push_str("; a lease is given back by DELETE /v1/leases/{its id}");
        }
        let detail = detail.into();
        let status = StatusCode::METHOD_NOT_ALLOWED.as_u16();
        let allow = names(allow).parse().ok().map(Box::new);
        ProblemDocument { status, detail, allow, ..ProblemDocument::new(Code::BadRequest, "") }
    }

    /// The body is compressed, or otherwise not plain.
    pub(crate) fn encoded_body(encoding: &str) -> ProblemDocument {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16();
        let what = format!("{encoding:?} is not understood; send the JSON as it is");
        ProblemDocument { status, ..ProblemDocument::bad_field("Content-Encoding", &what) }
    }

    /// The body did not arrive in time.
    pub(crate) fn slow_body(max: Duration) -> ProblemDocument {
        ProblemDocument::bad_field("body", &format!("did not arrive within {max:?}; send it at once"))
    }

    /// The sidecar ends before it could answer.
    pub(crate) fn shutting_down() -> ProblemDocument {
        ProblemDocument::new(Code::Draining, "the sidecar has stopped")
    }

    /// The answer to a client. `instance` of the RFC is left out: keys and lease ids belong in no log of errors.
    pub(crate) fn into_answer(self) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = json(status, &self);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(pause) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(pause.whole_seconds()));
        }
        if let Some(etag) = self.current.and_then(|current| super::register::header(&current.etag).ok()) {
            headers.insert(ETAG, etag);
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, *allow);
        }
        answer
    }
}

impl From<Problem> for ProblemDocument {
    fn from(problem: Problem) -> ProblemDocument {
        let base = ProblemDocument::new(problem.code, "");
        let current = problem.register.as_ref();
        ProblemDocument {
            current: current.map(|version| {
                let (etag, value_base64) = (version.etag.to_string(), base64(&version.value));
                Box::new(RegisterVersion { etag, value_base64 })
            }),
            detail: problem.message.into(),
            field: problem.field.map(Box::from),
            reason: problem.detail.reason,
            // A lock has no limit that a person would know; the message says that it is one.
            cycle: Ring::of(&problem.detail.cycle),
            limit: problem.detail.limit.filter(|limit| *limit != WHOLE),
            denial: problem.detail.denial.map(|no| Box::new(DenialDocument::from(*no))),
            retry_after: problem.detail.retry_after.map(Pause::of).or(base.retry_after),
            ..base
        }
    }
}

/// How long to stay away, in milliseconds. All is rounded up: coming back too early is only refused again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause(NonZeroU32);

impl Pause {
    fn of(span: Duration) -> Pause {
        let millis = u32::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        Pause(NonZeroU32::new(millis).unwrap_or(NonZeroU32::MIN))
    }

    fn whole_seconds(self) -> u32 {
        self.0.get().div_ceil(1_000)
    }
}

impl Serialize for Pause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0.get()) / 1e3)
    }
}

fn name<S: Serializer>(reason: &Option<LostReason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(LostReason::name).serialize(serializer)
}

fn names(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_becomes_its_row_of_the_table() {
        for code in Code::all() {
            let answer = ProblemDocument::new(code, "something happened").into_answer();
            assert_eq!(answer.status().as_u16(), code.http_status(), "{code}");
            assert_eq!(answer.headers().contains_key(RETRY_AFTER), code.retry_after(), "{code}");
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
        }
    }

    #[test]
    fn retry_after_is_rounded_up_to_seconds() {
        let mut problem = Problem::new(Code::Held, "held");
        problem.detail.retry_after = Some(Duration::from_millis(2001));
        let answer = ProblemDocument::from(problem).into_answer();
        assert_eq!(answer.headers()[RETRY_AFTER], "3");
        let document = |nanos| {
            let retry_after = Some(Pause::of(Duration::from_nanos(nanos)));
            serde_json::to_value(ProblemDocument { retry_after, ..ProblemDocument::new(Code::Held, "") })
                .unwrap()
        };
        assert_eq!(document(2_001_000_001)["retry_after"], 2.002);
        assert_eq!(document(0)["retry_after"], 0.001);
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let answer = ProblemDocument::wrong_method(&Method::PATCH, &[Method::GET, Method::PUT]).into_answer();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()[ALLOW], "GET, PUT");
        let release = ProblemDocument::wrong_method(&Method::DELETE, &[Method::GET, Method::POST]);
        assert!(release.detail.contains("DELETE /v1/leases/"), "{}", release.detail);
    }

    #[test]
    fn what_belongs_into_the_body_is_sent_there() {
        for known in [&[][..], &["stream"]] {
            let told = |method: Method| ProblemDocument::unknown_parameter("wait", &method, known).detail;
            assert!(told(Method::POST).contains("goes into the body"), "{}", told(Method::POST));
            // A register's body is its value.
            assert!(!told(Method::PUT).contains("body"), "{}", told(Method::PUT));
        }
        let near = ProblemDocument::unknown_parameter("steam", &Method::POST, &["stream"]);
        assert!(near.detail.contains("did you mean \"stream\""), "{}", near.detail);
    }

    #[test]
    fn unknown_fields_come_with_a_suggestion() {
        let near = ProblemDocument::unknown_field("wiat", &["wait", "ttl"]);
        assert!(near.detail.contains("did you mean \"wait\""), "{}", near.detail);
        let far = ProblemDocument::unknown_field("colour", &["wait", "ttl"]);
        assert!(far.detail.contains("wait, ttl"), "{}", far.detail);
        assert_eq!(far.field.as_deref(), Some("colour"));
    }
}
