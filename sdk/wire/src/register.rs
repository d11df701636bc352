//! Messages about registers, and their bytes.
//!
//! Owns what a client may ask of a register and how its versions travel: as texts that nobody but the sidecar reads.

use crate::fields::{Fields, millis, put};
use crate::frame::FrameError;
use crate::message::LeaseName;
use crate::to_sidecar::{lease, put_lease};
use std::borrow::Cow;
use std::time::Duration;

/// A request about a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register<'a> {
    /// Its number, unique in the session.
    pub request: u64,
    /// The register, as the client sent it: the sidecar checks that it is a key.
    pub key: &'a [u8],
    /// Only under this lease: live, exclusive, of the lock with the same text. A watch has none.
    pub lease: Option<LeaseName>,
    /// What is wanted.
    pub act: RegisterAct<'a>,
}

/// What is wanted of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterAct<'a> {
    /// Its value and version.
    Get,
    /// Another value.
    Put {
        /// Only if this is so.
        condition: Condition<'a>,
        /// The value.
        value: &'a [u8],
    },
    /// No value.
    Delete {
        /// Only if this is so.
        condition: Condition<'a>,
    },
    /// Its value and version as soon as they are other than known. Ends like any waiting request, by `Cancel`.
    Watch {
        /// What the client has.
        known: Known<'a>,
        /// For how long: `None` for ever, zero looks once.
        wait: Option<Duration>,
    },
}

/// What must be so for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Nothing.
    Any,
    /// There is no value.
    Absent,
    /// There is a value.
    Present,
    /// There is this very version.
    Match(&'a str),
}

/// What a watcher has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// Nothing.
    Nothing,
    /// That there is no value.
    Absent,
    /// This version.
    Etag(&'a str),
}

/// What a register is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Current<'a> {
    /// As the client knows it.
    Unchanged,
    /// Without a value.
    Absent,
    /// With one.
    Value(Version<'a>),
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// The version: a text of visible ASCII without quotes, at most 80 bytes.
    pub etag: Cow<'a, str>,
    /// The value.
    pub value: Cow<'a, [u8]>,
}

pub(crate) mod kind {
    pub(crate) const GET: u8 = 0x0a;
    pub(crate) const PUT: u8 = 0x0b;
    pub(crate) const DELETE: u8 = 0x0c;
    pub(crate) const WATCH: u8 = 0x0d;
}

/// Flags of a request; the fields they announce follow in this order.
mod flag {
    pub(super) const ETAG: u8 = 1;
    pub(super) const ABSENT: u8 = 1 << 1;
    pub(super) const PRESENT: u8 = 1 << 2;
    pub(super) const LEASE: u8 = 1 << 3;
    pub(super) const WAIT: u8 = 1 << 4;
}

/// Flags of what a register is.
mod current_flag {
    pub(super) const VALUE: u8 = 1;
    pub(super) const UNCHANGED: u8 = 1 << 1;
}

impl<'a> Register<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, (version, etag), wait) = match &self.act {
            RegisterAct::Get => (kind::GET, (0, None), None),
            RegisterAct::Put { condition, .. } => (kind::PUT, condition.flagged(), None),
            RegisterAct::Delete { condition } => (kind::DELETE, condition.flagged(), None),
            RegisterAct::Watch { known, wait } => (kind::WATCH, known.flagged(), *wait),
        };
        out.push(kind);
        put::u64(out, self.request);
        let rest = put::flag(self.lease.is_some(), flag::LEASE) | put::flag(wait.is_some(), flag::WAIT);
        out.push(version | rest);
        put::bytes(out, self.key);
        if let Some(etag) = etag {
            put::text(out, etag);
        }
        if let Some(name) = self.lease {
            put_lease(out, name);
        }
        if let Some(wait) = wait {
            put::u64(out, millis(wait));
        }
        if let RegisterAct::Put { value, .. } = &self.act {
            put::bytes(out, value);
        }
    }

    pub(crate) fn decode(kind: u8, fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        let request = fields.u64("request")?;
        let flags = fields.u8("flags")?;
        let has = |flag| flags & flag != 0;
        let key = fields.bytes("key")?;
        let etag = fields.optional(has(flag::ETAG), |f| f.text("etag"))?;
        let name = fields.optional(has(flag::LEASE), lease)?;
        let wait = fields.optional(has(flag::WAIT), |f| f.millis("wait"))?;
        let condition = match etag {
            Some(etag) => Condition::Match(etag),
            None if has(flag::ABSENT) => Condition::Absent,
            None if has(flag::PRESENT) => Condition::Present,
            None => Condition::Any,
        };
        let known = match etag {
            Some(etag) => Known::Etag(etag),
            None if has(flag::ABSENT) => Known::Absent,
            None => Known::Nothing,
        };
        let act = match kind {
            kind::GET => RegisterAct::Get,
            kind::PUT => RegisterAct::Put { condition, value: fields.bytes("value")? },
            kind::DELETE => RegisterAct::Delete { condition },
            _ => RegisterAct::Watch { known, wait },
        };
        Ok(Register { request, key, lease: name, act })
    }
}

impl<'a> Condition<'a> {
    /// Its flag, and the version that it names.
    fn flagged(self) -> (u8, Option<&'a str>) {
        match self {
            Condition::Any => (0, None),
            Condition::Absent => (flag::ABSENT, None),
            Condition::Present => (flag::PRESENT, None),
            Condition::Match(etag) => (flag::ETAG, Some(etag)),
        }
    }
}

impl<'a> Known<'a> {
    /// Its flag, and the version that it names.
    fn flagged(self) -> (u8, Option<&'a str>) {
        match self {
            Known::Nothing => (0, None),
            Known::Absent => (flag::ABSENT, None),
            Known::Etag(etag) => (flag::ETAG, Some(etag)),
        }
    }
}

impl<'a> Current<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Current::Unchanged => out.push(current_flag::UNCHANGED),
            Current::Absent => out.push(0),
            Current::Value(version) => {
                out.push(current_flag::VALUE);
                version.encode(out);
            }
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        Ok(match fields.u8("flags")? {
            flags if flags & current_flag::VALUE != 0 => Current::Value(Version::decode(fields)?),
            flags if flags & current_flag::UNCHANGED != 0 => Current::Unchanged,
            _ => Current::Absent,
        })
    }
}

impl<'a> Version<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put::text(out, &self.etag);
        put::bytes(out, &self.value);
    }

    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        Ok(Version { etag: fields.text("etag")?.into(), value: fields.bytes("value")?.into() })
    }
}
