//! A no, with its reason: what every door tells when it refuses.
//!
//! Owns the shape. Codes and their meaning are the wire crate's table; must not know who refused.

use sidelock_engine::store::Version;
use sidelock_wire::{Code, Detail};
use std::borrow::Cow;

/// Why something was refused, and what to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The row of the error table.
    pub(crate) code: Code,
    /// For people: what is wrong, and what is allowed.
    pub(crate) message: Cow<'static, str>,
    /// The field of the request that is wrong, if it is one.
    pub(crate) field: Option<&'static str>,
    /// Numbers that go with it.
    pub(crate) detail: Detail,
    /// What is there, where a write's condition failed.
    pub(crate) register: Option<Box<Version>>,
}

impl Problem {
    /// A refusal that needs no numbers.
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, message: message.into(), field: None, detail: Detail::default(), register: None }
    }

    /// A field that is wrong; `allowed` says what would be right.
    pub(crate) fn field(field: &'static str, allowed: impl std::fmt::Display) -> Problem {
        Problem { field: Some(field), ..Problem::new(Code::BadRequest, format!("`{field}`: {allowed}")) }
    }

    /// With the limit that was hit.
    #[must_use]
    pub(crate) fn limited(mut self, limit: u32) -> Problem {
        self.detail.limit = Some(limit);
        self
    }
}
