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

/// One of those who have a key: a lease, at whatever sidecar, or a sidecar that did not say whose leases it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// How much of it.
    pub mode: Mode,
    /// The life of the sidecar that has it, or whose client has.
    pub sidecar: u128,
    /// That is the sidecar that was asked.
    pub local: bool,
    /// Until it ends, unless it is extended before.
    pub expires_in: Duration,
    /// Its token. `None`: it is no lease yet but reserved for a request for several keys, or nobody said.
    pub fence: Option<u64>,
    /// Whose it is. `None`: the other sidecar did not say in time.
    pub client: Option<HolderClient>,
}

/// What a sidecar says about a lease of a client of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderClient {
    /// The client's user, from the kernel.
    pub uid: u32,
    /// Since its grant.
    pub held_for: Duration,
    /// What its client calls itself; empty if that has gone.
    pub app: String,
    /// The sequential actor that asked, if it was named.
    pub owner: Option<String>,
}

/// Flags of a holder, in the order in which the fields they announce follow.
mod flag {
    pub(super) const CLIENT: u8 = 1;
    pub(super) const OWNER: u8 = 1 << 1;
    pub(super) const FENCE: u8 = 1 << 2;
    /// Announces no field.
    pub(super) const LOCAL: u8 = 1 << 3;
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
        let owner = self.client.as_ref().and_then(|client| client.owner.as_ref());
        let flags = [
            put::flag(self.client.is_some(), flag::CLIENT),
            put::flag(owner.is_some(), flag::OWNER),
            put::flag(self.fence.is_some(), flag::FENCE),
            put::flag(self.local, flag::LOCAL),
        ];
        out.push(flags.iter().fold(0, |all, flag| all | flag));
        put_mode(out, self.mode);
        put::u128(out, self.sidecar);
        put::u64(out, millis(self.expires_in));
        if let Some(client) = &self.client {
            put::u32(out, client.uid);
            put::u64(out, millis(client.held_for));
            put::text(out, &client.app);
        }
        if let Some(owner) = owner {
            put::text(out, owner);
        }
        if let Some(fence) = self.fence {
            put::u64(out, fence);
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let flags = fields.u8("flags")?;
        let mode = mode(fields)?;
        let sidecar = fields.u128("sidecar")?;
        let expires_in = fields.millis("expires_in")?;
        let client = fields.optional(flags & flag::CLIENT != 0, |f| {
            let (uid, held_for) = (f.u32("uid")?, f.millis("held_for")?);
            Ok(HolderClient { uid, held_for, app: f.text("app")?.to_owned(), owner: None })
        })?;
        let owner = fields.optional(flags & flag::OWNER != 0, |f| f.text("owner").map(str::to_owned))?;
        let fence = fields.optional(flags & flag::FENCE != 0, |f| f.u64("fence"))?;
        let client = client.map(|client| HolderClient { owner, ..client });
        Ok(Holder { mode, sidecar, local: flags & flag::LOCAL != 0, expires_in, fence, client })
    }
}
