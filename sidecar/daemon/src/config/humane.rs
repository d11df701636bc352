//! Durations in settings, as people write them: for serde.
//!
//! Owns the adapters. How a duration is written is `sidelock-notation`'s.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use sidelock_notation::{format_duration, parse_duration};
use std::time::Duration;

/// For serde: a duration that is always there. A type and no module, so that it can have a schema.
pub(super) enum Span {}

impl Span {
    pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(*span))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// For serde: a duration that may be missing.
pub(super) enum MaybeSpan {}

impl MaybeSpan {
    pub(super) fn serialize<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => Span::serialize(span, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Span::deserialize(from).map(Some)
    }
}
