//! A no, with its reason: what every door tells when it refuses.
//!
//! Owns the shape. Codes and their meaning are the wire crate's table; must not know who refused.

use sidelock_wire::{Code, Detail};
use std::borrow::Cow;

/// Why something was refused, and what to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The row of the error table.
    pub code: Code,
    /// For people: what is wrong, and what is allowed.
    pub message: Cow<'static, str>,
    /// The field of the request that is wrong, if it is one.
    pub field: Option<&'static str>,
    /// Numbers that go with it.
    pub detail: Detail,
}

impl Problem {
    /// A refusal that needs no numbers.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, message: message.into(), field: None, detail: Detail::default() }
    }

    /// A field that is wrong; `allowed` says what would be right.
    pub fn field(field: &'static str, allowed: impl std::fmt::Display) -> Problem {
        Problem { field: Some(field), ..Problem::new(Code::BadRequest, format!("`{field}`: {allowed}")) }
    }

    /// With the limit that was hit.
    #[must_use]
    pub(crate) fn limited(mut self, limit: u32) -> Problem {
        self.detail.limit = Some(limit);
        self
    }
}
