//! `/v1/openapi.json`: this door described, built from the types that it reads and writes.
//!
//! Owns one row per operation. Bodies' schemas come from the types themselves, and a test holds the rows against the
//! routes. Must not answer anything else.

use super::body::{ChangeBody, LockBody, LockMode, LocksBody, RenewBody, SemaphoreBody};
use super::fleet::{AnyListing, FleetListing};
use super::graph::Graph;
use super::lease::{Lease, Leases};
use super::once::{Finished, Once, OnceBody};
use super::pages::Info;
use super::policies::PolicyListing;
use super::problem::{ProblemDocument, RegisterVersion};
use super::repeat::IDEMPOTENCY_KEY;
use super::response::{Answer, with_type};
use super::stream::StreamEvent;
use super::views::{KeyLook, KeyState, Listing};
use super::watch::WatchEvent;
use hyper::StatusCode;
use sidelock_wire::Code;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::OpenApi;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, Ref, Required};

/// One operation.
struct Row {
    method: HttpMethod,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [(&'static str, ParameterIn, &'static str)],
    /// Schema of the body.
    body: Option<&'static str>,
    /// What a good answer is.
    status: u16,
    /// Media types of it, each with its schema if it has one.
    content: &'static [(&'static str, Option<&'static str>)],
    /// How it can be refused.
    codes: &'static [Code],
}

const KEY: (&str, ParameterIn, &str) = (
    "key",
    ParameterIn::Path,
    "Everything after the resource's name, 1 to 512 bytes of UTF-8; / and %2F mean the same.",
);
const ID: (&str, ParameterIn, &str) =
    ("id", ParameterIn::Path, "A timed lease's id, which is the right to it.");
const FLEET: (&str, ParameterIn, &str) = (
    "fleet",
    ParameterIn::Query,
    "1: the keys in use at all sidecars of the store; answered as FleetListing.",
);
const PREFIX: (&str, ParameterIn, &str) = ("prefix", ParameterIn::Query, "Only keys that begin with this.");
const AROUND: (&str, ParameterIn, &str) =
    ("key", ParameterIn::Query, "Around this key; without, around whatever owners of this sidecar wait for.");
const SPACE: (&str, ParameterIn, &str) =
    ("space", ParameterIn::Query, "`lock`, or `once`: the key as what is done once.");
const STREAM: (&str, ParameterIn, &str) = (
    "stream",
    ParameterIn::Query,
    "1: the lease lives as long as the connection, and is told line by line. A client that is stopped keeps it: bound it by max_hold.",
);
const SHOWN: (&str, ParameterIn, &str) = (
    "shown",
    ParameterIn::Query,
    "So many holders of this sidecar's and waiters at most, 0 to 10000 (the default); others are counted.",
);
const SCOPE: (&str, ParameterIn, &str) = (
    "Sidelock-Require-Scope",
    ParameterIn::Header,
    "process, host or fleet: refuse me rather than lock less far than this.",
);
const WATCH: (&str, ParameterIn, &str) = (
    "watch",
    ParameterIn::Query,
    "1: wait until the value is another than If-None-Match says, or until there is one. 304 when the wait is over.",
);
const WAIT: (&str, ParameterIn, &str) =
    ("wait", ParameterIn::Query, "How long a watch waits, at most 10m. Default 30s.");
const IF_MATCH: (&str, ParameterIn, &str) =
    ("If-Match", ParameterIn::Header, "Only if this is the version; *: only if there is a value.");
const IF_ABSENT: (&str, ParameterIn, &str) =
    ("If-None-Match", ParameterIn::Header, "*: only if there is no value.");
const IF_NONE_MATCH: (&str, ParameterIn, &str) =
    ("If-None-Match", ParameterIn::Header, "The version that you have: 304 if it is the one that is there.");
const LEASE: (&str, ParameterIn, &str) = (
    "Sidelock-Lease",
    ParameterIn::Header,
    "The id of a live exclusive lease of the same key: only under it, checked in the same step.",
);
const IDEMPOTENCY: (&str, ParameterIn, &str) = (
    IDEMPOTENCY_KEY,
    ParameterIn::Header,
    "A repeated request with the same value gets the same lease; once that is over, 404 or 410, or a turn's result.",
);

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const BYTES: &str = "application/octet-stream";
/// A body of opaque bytes.
const VALUE: &str = "";
const TEXT: &str = "text/plain";
const ACQUIRED: &[(&str, Option<&str>)] = &[(JSON, Some("Lease")), (LINES, Some("StreamEvent"))];
const ACQUIRE_CODES: &[Code] = &[
    Code::BadRequest,
    Code::ScopeTooSmall,
    Code::TooLarge,
    Code::Held,
    Code::WaitTimeout,
    Code::NotUpgradable,
    Code::Deadlock,
    Code::LimitMismatch,
    Code::QueueFull,
    Code::TooMany,
    Code::Denied,
    Code::NotFound,
    Code::LeaseLost,
    Code::StoreUnavailable,
    Code::Draining,
];
const LEASE_CODES: &[Code] = &[
    Code::BadRequest,
    Code::NotFound,
    Code::NotHeld,
    Code::LeaseLost,
    Code::StoreUnavailable,
    Code::Draining,
];
const RENEW_CODES: &[Code] = &[
    Code::BadRequest,
    Code::NotFound,
    Code::NotHeld,
    Code::LeaseLost,
    Code::Denied,
    Code::StoreUnavailable,
    Code::Draining,
];
const CHANGE_CODES: &[Code] = &[
    Code::BadRequest,
    Code::NotFound,
    Code::NotHeld,
    Code::LeaseLost,
    Code::Held,
    Code::WaitTimeout,
    Code::NotUpgradable,
    Code::Deadlock,
    Code::Denied,
    Code::StoreUnavailable,
    Code::Draining,
];
const REGISTER_CODES: &[Code] = &[
    Code::BadRequest,
    Code::ScopeTooSmall,
    Code::NotHeld,
    Code::NotFound,
    Code::StaleFence,
    Code::TooLarge,
    Code::TooMany,
    Code::StoreUnavailable,
    Code::Draining,
];
const REGISTER_WRITE_CODES: &[Code] = &[
    Code::BadRequest,
    Code::ScopeTooSmall,
    Code::NotHeld,
    Code::NotFound,
    Code::Conflict,
    Code::StaleFence,
    Code::TooLarge,
    Code::TooMany,
    Code::Denied,
    Code::StoreUnavailable,
    Code::OutcomeUnknown,
    Code::Draining,
];
const FINISH_CODES: &[Code] = &[
    Code::BadRequest,
    Code::TooLarge,
    Code::NotFound,
    Code::NotHeld,
    Code::TurnClosed,
    Code::LeaseLost,
    Code::StoreUnavailable,
    Code::OutcomeUnknown,
    Code::Draining,
];
const LOOK_CODES: &[Code] = &[Code::BadRequest, Code::TooLarge, Code::Draining];
const LIST_CODES: &[Code] =
    &[Code::BadRequest, Code::TooLarge, Code::TooMany, Code::StoreUnavailable, Code::Draining];

/// A page that says one thing.
const fn page(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    content: &'static [(&'static str, Option<&'static str>)],
) -> Row {
    Row {
        method: HttpMethod::Get,
        path,
        id,
        summary,
        parameters: &[],
        body: None,
        status: 200,
        content,
        codes: &[],
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { method: HttpMethod::Post, path: "/v1/locks/{key}", id: "acquireLock", summary: "Acquire a lock, alone or shared.",
        parameters: &[KEY, STREAM, SCOPE, IDEMPOTENCY], body: Some("LockBody"), status: 200, content: ACQUIRED, codes: ACQUIRE_CODES },
    Row { method: HttpMethod::Post, path: "/v1/locks", id: "acquireAll", summary: "Acquire several locks, all or nothing.",
        parameters: &[SCOPE, IDEMPOTENCY], body: Some("LocksBody"), status: 200, content: &[(JSON, Some("Leases"))], codes: ACQUIRE_CODES },
    Row { method: HttpMethod::Post, path: "/v1/semaphores/{key}", id: "acquireSemaphore", summary: "Acquire permits of a semaphore.",
        parameters: &[KEY, STREAM, SCOPE, IDEMPOTENCY], body: Some("SemaphoreBody"), status: 200, content: ACQUIRED, codes: ACQUIRE_CODES },
    Row { method: HttpMethod::Post, path: "/v1/once/{key}", id: "enterOnce", summary: "The turn of a key that is done once per window, or what another turn left.",
        parameters: &[KEY, SCOPE, IDEMPOTENCY], body: Some("OnceBody"), status: 200, content: &[(JSON, Some("Once"))], codes: ACQUIRE_CODES },
    Row { method: HttpMethod::Put, path: "/v1/leases/{id}/result", id: "finishTurn", summary: "The turn succeeded; the body, whatever it is, is its result.",
        parameters: &[ID], body: Some(VALUE), status: 200, content: &[(JSON, Some("Finished"))], codes: FINISH_CODES },
    Row { method: HttpMethod::Get, path: "/v1/leases/{id}", id: "lookAtLease", summary: "A timed lease as it stands.",
        parameters: &[ID], body: None, status: 200, content: &[(JSON, Some("Lease"))], codes: LEASE_CODES },
    Row { method: HttpMethod::Put, path: "/v1/leases/{id}", id: "renewLease", summary: "Let a timed lease live for so long from now.",
        parameters: &[ID], body: Some("RenewBody"), status: 200, content: &[(JSON, Some("Lease"))], codes: RENEW_CODES },
    Row { method: HttpMethod::Post, path: "/v1/leases/{id}", id: "changeLease", summary: "Make a timed lease shared (the same id), or exclusive (a new id and fence).",
        parameters: &[ID], body: Some("ChangeBody"), status: 200, content: &[(JSON, Some("Lease"))], codes: CHANGE_CODES },
    Row { method: HttpMethod::Delete, path: "/v1/leases/{id}", id: "releaseLease", summary: "Give a timed lease back. Twice is no error.",
        parameters: &[ID], body: None, status: 204, content: &[], codes: LEASE_CODES },
    Row { method: HttpMethod::Get, path: "/v1/registers/{key}", id: "getRegister", summary: "A register's value, its version in ETag.",
        parameters: &[KEY, WATCH, WAIT, IF_NONE_MATCH, LEASE, SCOPE], body: None, status: 200, content: &[(BYTES, None)], codes: REGISTER_CODES },
    Row { method: HttpMethod::Put, path: "/v1/registers/{key}", id: "putRegister", summary: "Another value. The body is the value; ETag is its version.",
        parameters: &[KEY, IF_MATCH, IF_ABSENT, LEASE, SCOPE], body: Some(VALUE), status: 204, content: &[], codes: REGISTER_WRITE_CODES },
    Row { method: HttpMethod::Delete, path: "/v1/registers/{key}", id: "deleteRegister", summary: "No value.",
        parameters: &[KEY, IF_MATCH, LEASE, SCOPE], body: None, status: 204, content: &[], codes: REGISTER_WRITE_CODES },
    Row { method: HttpMethod::Get, path: "/v1/locks", id: "listKeys", summary: "The keys in use at this sidecar, or in its fleet.",
        parameters: &[PREFIX, FLEET], body: None, status: 200, content: &[(JSON, Some("AnyListing"))], codes: LIST_CODES },
    Row { method: HttpMethod::Get, path: "/v1/locks/{key}", id: "lookAtKey", summary: "Who has a key and who waits for it, at all sidecars of the store, and why it is not free.",
        parameters: &[KEY, SPACE, SHOWN], body: None, status: 200, content: &[(JSON, Some("KeyLook"))], codes: LOOK_CODES },
    Row { method: HttpMethod::Get, path: "/v1/graph", id: "graph", summary: "Who waits for whom, in the fleet.",
        parameters: &[AROUND, SPACE], body: None, status: 200, content: &[(JSON, Some("Graph"))], codes: LOOK_CODES },
    Row { method: HttpMethod::Get, path: "/v1/watch", id: "watch", summary: "What happens from now on, as lines or as server-sent events.",
        parameters: &[PREFIX], body: None, status: 200, content: &[(LINES, Some("WatchEvent")), ("text/event-stream", Some("WatchEvent"))],
        codes: &[Code::BadRequest] },
    page("/v1/policies", "policies", "The policies in force.", &[(JSON, Some("PolicyListing"))]),
    page("/v1/info", "info", "Who answers here.", &[(JSON, Some("Info"))]),
    page("/v1/openapi.json", "openapi", "This document.", &[(JSON, None)]),
    page("/livez", "livez", "The process turns.", &[(TEXT, None)]),
    page("/readyz", "readyz", "It takes requests; else 503.", &[(TEXT, None)]),
    page("/readyz/store", "readyzStore", "It takes requests and its store answers; else 503.", &[(TEXT, None)]),
    page("/startupz", "startupz", "It listens; else 503.", &[(TEXT, None)]),
    page("/metrics", "metrics", "Numbers for Prometheus.", &[("application/openmetrics-text", None)]),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sidelock",
        description = "Locks beside the app. HTTP/1.1 over the sidecar's Unix socket. A key is 1 to 512 bytes of UTF-8; a lock is taken \
                       exclusive (the default) or shared, a semaphore by permits; durations are written 500ms, 30s, 5m, 24h, 7d. A \
                       refusal is a problem document whose code says why; each operation lists its own."
    ),
    components(schemas(
        LockBody,
        LocksBody,
        LockMode,
        SemaphoreBody,
        RenewBody,
        ChangeBody,
        OnceBody,
        Once,
        Finished,
        Lease,
        Leases,
        StreamEvent,
        AnyListing,
        Listing,
        FleetListing,
        KeyLook,
        KeyState,
        Graph,
        WatchEvent,
        Info,
        PolicyListing,
        ProblemDocument,
        RegisterVersion
    ))
)]
struct Schemas;

/// The document; the same for the life of the process.
static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| document().to_json().expect("our own types have string keys and no failing serializer"));

/// The document.
pub(crate) fn answer() -> Answer {
    with_type(StatusCode::OK, JSON, DOCUMENT.as_str().into())
}

fn document() -> utoipa::openapi::OpenApi {
    let mut document = Schemas::openapi();
    for row in ROWS {
        document.paths.add_path_operation(row.path, vec![row.method.clone()], row.operation());
    }
    document
}

impl Row {
    fn operation(&self) -> Operation {
        let mut operation = OperationBuilder::new().operation_id(Some(self.id)).summary(Some(self.summary));
        for (name, place, description) in self.parameters {
            operation = operation.parameter(parameter(name, place.clone(), description));
        }
        if let Some(schema) = self.body {
            let (media_type, schema) = if schema == VALUE { (BYTES, None) } else { (JSON, Some(schema)) };
            let body = RequestBodyBuilder::new()
                .content(media_type, content(schema))
                .required(Some(Required::False));
            operation = operation.request_body(Some(body.build()));
        }
        let mut good = ResponseBuilder::new().description("Done.");
        for (media_type, schema) in self.content {
            good = good.content(*media_type, content(*schema));
        }
        operation = operation.response(self.status.to_string(), good.build());
        if let Some((status, what)) = self.other_answer() {
            operation = operation.response(status, ResponseBuilder::new().description(what).build());
        }
        for (status, names) in self.refusals() {
            let refusal = ResponseBuilder::new().description(names.join(", "));
            let refusal = refusal.content("application/problem+json", content(Some("ProblemDocument")));
            operation = operation.response(status.to_string(), refusal.build());
        }
        operation.build()
    }

    /// An answer that is neither the good one nor a refusal.
    fn other_answer(&self) -> Option<(&'static str, &'static str)> {
        match self.id {
            "getRegister" => Some(("304", "The version that you have is the one that is there.")),
            "readyz" | "readyzStore" | "startupz" => Some(("503", "Not now; the text says why.")),
            _ => None,
        }
    }

    /// The refusals' codes by HTTP status.
    fn refusals(&self) -> BTreeMap<u16, Vec<&'static str>> {
        let mut by_status: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
        for code in self.codes {
            by_status.entry(code.http_status()).or_default().push(code.name());
        }
        by_status
    }
}

fn parameter(name: &str, place: ParameterIn, description: &str) -> Parameter {
    let required = if matches!(place, ParameterIn::Path) { Required::True } else { Required::False };
    let text = ObjectBuilder::new().schema_type(Type::String);
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(text.build()))
        .build()
}

fn content(schema: Option<&str>) -> Content {
    Content::new(schema.map(Ref::from_schema_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::path::Resource;
    use hyper::Method;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn published() -> Value {
        serde_json::from_str(&DOCUMENT).expect("is JSON")
    }

    fn method(row: &Row) -> Method {
        match row.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Delete => Method::DELETE,
            _ => panic!("{} has a method that no route has", row.path),
        }
    }

    /// A path as a client would write it.
    fn example(path: &str) -> String {
        path.replace("{key}", "orders/42").replace("{id}", &"0".repeat(40))
    }

    #[test]
    fn every_operation_is_a_route_and_takes_the_same_parameters() {
        for row in ROWS {
            let resource = Resource::parse(&example(row.path)).expect(row.path);
            let method = method(row);
            assert!(resource.methods().contains(&method), "{method} {}", row.path);
            let query = row.parameters.iter().filter(|(_, place, _)| matches!(place, ParameterIn::Query));
            let names: Vec<_> = query.map(|(name, ..)| *name).collect();
            assert_eq!(resource.parameters(&method).unwrap_or_default(), names, "{method} {}", row.path);
        }
    }

    #[test]
    fn every_route_is_an_operation() {
        for row in ROWS {
            let resource = Resource::parse(&example(row.path)).expect(row.path);
            for method in resource.methods().iter().filter(|method| **method != Method::HEAD) {
                let operation = &published()["paths"][row.path][method.as_str().to_lowercase()];
                assert!(operation.is_object(), "{method} {} is not described", row.path);
            }
        }
        for path in Resource::PATHS {
            assert!(ROWS.iter().any(|row| row.path == *path), "{path} is not described");
        }
    }

    #[test]
    fn answers_that_are_neither_good_nor_refusals_are_described() {
        let answers = |path: &str| published()["paths"][path]["get"]["responses"].clone();
        assert!(answers("/v1/registers/{key}")["304"].is_object());
        for probe in ["/readyz", "/readyz/store", "/startupz"] {
            assert!(answers(probe)["503"].is_object(), "{probe}");
        }
        assert!(answers("/livez")["503"].is_null(), "who answers is alive");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = published();
        let known: BTreeSet<String> =
            document["components"]["schemas"].as_object().expect("an object").keys().cloned().collect();
        let text = document.to_string();
        let mut seen = 0;
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            assert!(known.contains(name), "{name} is referred to and not described");
            seen += 1;
        }
        assert!(seen >= ROWS.len(), "the document refers to its schemas");
    }
}
