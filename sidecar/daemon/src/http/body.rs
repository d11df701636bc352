//! Request bodies: JSON whatever the `Content-Type`, empty means defaults, and a field that does not exist is an error.
//!
//! Owns the bodies' fields, their defaults and their reading. Must not know what may be asked of a key: ranges are the
//! gate's business, save for the wait, whose bound is this door's own.

use super::problem::ProblemDocument;
use crate::config::parse_duration;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// How long a timed lease lives when its asker does not say.
pub(crate) const TTL_DEFAULT: Duration = Duration::from_secs(30);

/// A body's fields by name, so that an unknown one can be told from a misspelt one.
pub(crate) trait Fields: DeserializeOwned {
    /// All of them, as JSON names.
    const NAMES: &'static [&'static str];
}

/// What `POST /v1/locks/{key}` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub(crate) struct LockBody {
    /// How long to wait for the lease, at most 10m. Default 0s: one try.
    #[schema(value_type = Option<String>, example = "5s")]
    pub(crate) wait: Option<Span>,
    /// How long the lease lives without a renewal. Default 30s; with `stream=1` as long as the connection.
    #[schema(value_type = Option<String>, example = "30s")]
    pub(crate) ttl: Option<Span>,
    /// The lease is lost this long after its grant, whatever renews it. Default: never.
    #[schema(value_type = Option<String>, example = "10m")]
    pub(crate) max_hold: Option<Span>,
    /// Beside nobody, or beside other shared leases. Default exclusive.
    pub(crate) mode: Option<LockMode>,
    /// The sequential actor that asks, for the search for deadlocks.
    pub(crate) owner: Option<String>,
    /// Ahead of lower ones; one point is worth a second of waiting. From -100 to 100, default 0.
    pub(crate) priority: Option<i32>,
    /// Words of the asker's own: policies see them, and nobody else.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub(crate) meta: Option<BTreeMap<String, String>>,
    /// If its owner holds the key, get one more handle of that lease, with its fence, at once: `ttl`, `max_hold` and `wait`
    /// are then the lease's, which ends when all of its handles are released. Needs an owner. Default false.
    pub(crate) reentrant: Option<bool>,
}

impl Fields for LockBody {
    const NAMES: &'static [&'static str] =
        &["wait", "ttl", "max_hold", "mode", "owner", "priority", "meta", "reentrant"];
}

/// What `POST /v1/locks` takes: several keys, all or nothing.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub(crate) struct LocksBody {
    /// The keys, in any order; the same twice counts once. At most 64. Required.
    #[schema(value_type = Vec<String>, required = true, nullable = false, example = json!(["accounts/1", "accounts/2"]))]
    pub(crate) keys: Option<Vec<String>>,
    /// How long to wait for all of them, at most 10m. Default 0s: one try.
    #[schema(value_type = Option<String>, example = "5s")]
    pub(crate) wait: Option<Span>,
    /// How long the leases live without a renewal. Default 30s.
    #[schema(value_type = Option<String>, example = "30s")]
    pub(crate) ttl: Option<Span>,
    /// The leases are lost this long after their grant, whatever renews them. Default: never.
    #[schema(value_type = Option<String>, example = "10m")]
    pub(crate) max_hold: Option<Span>,
    /// Beside nobody, or beside other shared leases. Default exclusive.
    pub(crate) mode: Option<LockMode>,
    /// The sequential actor that asks, for the search for deadlocks.
    pub(crate) owner: Option<String>,
    /// Ahead of lower ones; one point is worth a second of waiting. From -100 to 100, default 0.
    pub(crate) priority: Option<i32>,
    /// Words of the asker's own: policies see them, and nobody else.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub(crate) meta: Option<BTreeMap<String, String>>,
}

impl Fields for LocksBody {
    const NAMES: &'static [&'static str] =
        &["keys", "wait", "ttl", "max_hold", "mode", "owner", "priority", "meta"];
}

/// What `POST /v1/semaphores/{key}` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub(crate) struct SemaphoreBody {
    /// Units that exist; all who use the key at a time must agree. From 1 to 1000000. Left out where the key's class, in
    /// the sidecar's settings, has a limit; that one counts in any case.
    #[schema(example = 10)]
    pub(crate) limit: Option<u32>,
    /// Units wanted, at most `limit`. Default 1.
    pub(crate) permits: Option<u32>,
    /// A rate instead of a semaphore: the units come back this long after the grant, whatever becomes of the lease, which
    /// ends then. From 100ms to 1h.
    #[schema(value_type = Option<String>, example = "1m")]
    pub(crate) per: Option<Span>,
    /// How long to wait for the lease, at most 10m. Default 0s: one try.
    #[schema(value_type = Option<String>, example = "5s")]
    pub(crate) wait: Option<Span>,
    /// How long the lease lives without a renewal. Default 30s; with `stream=1` as long as the connection.
    #[schema(value_type = Option<String>, example = "30s")]
    pub(crate) ttl: Option<Span>,
    /// The lease is lost this long after its grant, whatever renews it. Default: never.
    #[schema(value_type = Option<String>, example = "10m")]
    pub(crate) max_hold: Option<Span>,
    /// The sequential actor that asks, for the search for deadlocks.
    pub(crate) owner: Option<String>,
    /// Ahead of lower ones; one point is worth a second of waiting. From -100 to 100, default 0.
    pub(crate) priority: Option<i32>,
    /// Words of the asker's own: policies see them, and nobody else.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub(crate) meta: Option<BTreeMap<String, String>>,
    /// Only `false` is possible: permits that an owner asks for again add up.
    pub(crate) reentrant: Option<bool>,
}

impl Fields for SemaphoreBody {
    const NAMES: &'static [&'static str] =
        &["limit", "permits", "per", "wait", "ttl", "max_hold", "owner", "priority", "meta", "reentrant"];
}

/// What `PUT /v1/leases/{id}` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub(crate) struct RenewBody {
    /// How long the lease lives from now. Default 30s.
    #[schema(value_type = Option<String>, example = "30s")]
    pub(crate) ttl: Option<Span>,
}

impl Fields for RenewBody {
    const NAMES: &'static [&'static str] = &["ttl"];
}

/// What `POST /v1/leases/{id}` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub(crate) struct ChangeBody {
    /// What the lease shall be. Required.
    #[schema(required = true, nullable = false)]
    pub(crate) mode: Option<LockMode>,
    /// How long to wait for the others to go when it shall be exclusive, at most 10m. Default 0s: one try.
    #[schema(value_type = Option<String>, example = "5s")]
    pub(crate) wait: Option<Span>,
}

impl Fields for ChangeBody {
    const NAMES: &'static [&'static str] = &["mode", "wait"];
}

/// Beside whom a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LockMode {
    /// Nobody.
    Exclusive,
    /// Other shared leases.
    Shared,
}

/// A duration as people write it: `"500ms"`, `"30s"`, `"1m30s"`; `"0"` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        let Value::String(text) = Value::deserialize(from)? else {
            return Err(D::Error::custom("is no duration; write a text: \"500ms\", \"30s\", \"5m\""));
        };
        match text.as_str() {
            "0" => Ok(Span(Duration::ZERO)),
            text => parse_duration(text).map(Span).map_err(D::Error::custom),
        }
    }
}

/// Reads a body. The problem names the field that is wrong.
pub(crate) fn parse<T: Fields + Default>(bytes: &[u8]) -> Result<T, ProblemDocument> {
    if bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| ProblemDocument::bad_field("body", &format!("is not JSON: {e}")))?;
    let Value::Object(fields) = &value else {
        return Err(ProblemDocument::bad_field("body", "is no JSON object"));
    };
    if let Some(unknown) = fields.keys().find(|name| !T::NAMES.contains(&name.as_str())) {
        return Err(ProblemDocument::unknown_field(unknown, T::NAMES));
    }
    serde_path_to_error::deserialize(&value)
        .map_err(|e| ProblemDocument::bad_field(&e.path().to_string(), &e.inner().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use utoipa::PartialSchema;

    fn field_of(problem: ProblemDocument) -> String {
        let json = serde_json::to_value(problem).expect("is plain data");
        json["field"].as_str().expect("names a field").to_owned()
    }

    #[test]
    fn nothing_means_defaults() {
        for empty in ["", " \r\n", "{}"] {
            let body: LockBody = parse(empty.as_bytes()).expect("is fine");
            assert_eq!(body.wait, None);
        }
        let body: SemaphoreBody = parse(br#"{"limit":10,"per":null}"#).expect("is fine");
        assert!(body.per.is_none());
    }

    #[test]
    fn spans_are_texts() {
        let body: LockBody = parse(br#"{"wait":"1m30s","ttl":"500ms","max_hold":"0"}"#).expect("is fine");
        assert_eq!(body.wait, Some(Span(Duration::from_secs(90))));
        assert_eq!(body.ttl, Some(Span(Duration::from_millis(500))));
        assert_eq!(body.max_hold, Some(Span(Duration::ZERO)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, field) in [
            ("{", "body"),
            ("[]", "body"),
            ("\"5s\"", "body"),
            (r#"{"wiat":"5s"}"#, "wiat"),
            (r#"{"wait":5}"#, "wait"),
            (r#"{"wait":"soon"}"#, "wait"),
            (r#"{"mode":"exclusiv"}"#, "mode"),
            (r#"{"priority":"high"}"#, "priority"),
            (r#"{"priority":99999999999}"#, "priority"),
            (r#"{"meta":{"a":1}}"#, "meta.a"),
        ] {
            let problem = parse::<LockBody>(body.as_bytes()).expect_err(body);
            assert_eq!(field_of(problem), field, "{body}");
        }
    }

    #[test]
    fn the_published_schema_has_exactly_the_fields_that_are_read() {
        fn check<T: Fields + PartialSchema>() {
            let schema = serde_json::to_value(T::schema()).expect("is plain data");
            let mut published: Vec<_> = schema["properties"].as_object().expect("an object").keys().collect();
            let mut read: Vec<_> = T::NAMES.to_vec();
            published.sort();
            read.sort();
            assert_eq!(published, read);
        }
        check::<LockBody>();
        check::<LocksBody>();
        check::<SemaphoreBody>();
        check::<RenewBody>();
        check::<ChangeBody>();
        check::<crate::http::once::OnceBody>();
    }
}
