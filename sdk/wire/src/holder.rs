//! Who has a key: the question, and one of those who have it.
//!
//! Owns their bytes. Must not know how a sidecar finds out.

use crate::fields::{Fields, millis, put};
use crate::frame::FrameError;
use crate::message::Mode;
use crate::to_sidecar::{mode, put_mode};
use std::time::Duration;

/// The kind of the question.
pub(crate) const ASK: u8 = 0x0f;
/// The kind of the answer.
pub(crate) const ANSWER: u8 = 0x54;
/// Holders that an answer names at most; of more, the first. It fits into a frame with the longest names there are.
pub const HOLDERS_MAX: usize = 100;

/// Who has a key. It changes nothing; answered by `Holders`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskHolders<'a> {
    /// Its number, unique in the session.
    pub request: u64,
    /// The key, as the client sent it: the sidecar checks that it is one.
    pub key: &'a [u8],
}

/// Who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holders {
    /// The request.
    pub request: u64,
    /// How many there are; more than are named, if there are more than [`HOLDERS_MAX`].
    pub count: u32,
    /// Who they are.
    pub named: Vec<Holder>,
}

/// One of those who have a key: a lease of the asked sidecar, or another sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// How much of it.
    pub mode: Mode,
    /// The life of the sidecar that has it, or whose client has.
    pub sidecar: u128,
    /// Until it ends, unless it is extended before.
    pub expires_in: Duration,
    /// Of a lease of the asked sidecar. `None`: what the other sidecar does with the key only it knows.
    pub lease: Option<HolderLease>,
}

/// What a sidecar knows about a lease of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderLease {
    /// Its token.
    pub fence: u64,
    /// Since its grant.
    pub held_for: Duration,
    /// What its client calls itself; empty if that has gone.
    pub app: String,
    /// The sequential actor that asked, if it was named.
    pub owner: Option<String>,
}

/// Flags of a holder, in the order in which the fields they announce follow.
mod flag {
    pub(super) const LEASE: u8 = 1;
    pub(super) const OWNER: u8 = 1 << 1;
}

impl<'a> AskHolders<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(ASK);
        put::u64(out, self.request);
        put::bytes(out, self.key);
    }

    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        Ok(AskHolders { request: fields.u64("request")?, key: fields.bytes("key")? })
    }
}

impl Holders {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(ANSWER);
        put::u64(out, self.request);
        put::u32(out, self.count);
        let named = &self.named[..self.named.len().min(HOLDERS_MAX)];
        put::u32(out, named.len() as u32);
        named.iter().for_each(|holder| holder.encode(out));
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let (request, count) = (fields.u64("request")?, fields.u32("count")?);
        let mut named: Vec<_> =
            (0..fields.u32("named")?).map(|_| Holder::decode(fields)).collect::<Result<_, _>>()?;
        named.truncate(HOLDERS_MAX);
        Ok(Holders { request, count, named })
    }
}

impl Holder {
    fn encode(&self, out: &mut Vec<u8>) {
        let owner = self.lease.as_ref().and_then(|lease| lease.owner.as_ref());
        out.push(put::flag(self.lease.is_some(), flag::LEASE) | put::flag(owner.is_some(), flag::OWNER));
        put_mode(out, self.mode);
        put::u128(out, self.sidecar);
        put::u64(out, millis(self.expires_in));
        if let Some(lease) = &self.lease {
            put::u64(out, lease.fence);
            put::u64(out, millis(lease.held_for));
            put::text(out, &lease.app);
        }
        if let Some(owner) = owner {
            put::text(out, owner);
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let flags = fields.u8("flags")?;
        let mode = mode(fields)?;
        let sidecar = fields.u128("sidecar")?;
        let expires_in = fields.millis("expires_in")?;
        let lease = fields.optional(flags & flag::LEASE != 0, |f| {
            let (fence, held_for) = (f.u64("fence")?, f.millis("held_for")?);
            Ok(HolderLease { fence, held_for, app: f.text("app")?.to_owned(), owner: None })
        })?;
        let owner = fields.optional(flags & flag::OWNER != 0, |f| f.text("owner").map(str::to_owned))?;
        Ok(Holder { mode, sidecar, expires_in, lease: lease.map(|lease| HolderLease { owner, ..lease }) })
    }
}
