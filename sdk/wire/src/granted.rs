//! A new lease, and its bytes: alone in its own message, or one of several that were granted at once.
//!
//! Owns its layout. Must not know which message it is in.

use crate::fields::{Fields, put};
use crate::frame::FrameError;
use crate::message::Secret;

/// Flags, in the order in which the fields they announce follow.
const CAP: u8 = 1;
const SECRET: u8 = 1 << 1;

/// A new lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The acquire.
    pub request: u64,
    /// Strictly rising per key, below 2^53.
    pub fence: u64,
    /// Valid until then unless extended, in nanoseconds of `CLOCK_BOOTTIME`.
    pub deadline_ns: u64,
    /// No extension reaches past this.
    pub cap_ns: Option<u64>,
    /// The name of a timed lease, and the right to it.
    pub secret: Option<Secret>,
}

impl Granted {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put::u64(out, self.request);
        put::u64(out, self.fence);
        put::u64(out, self.deadline_ns);
        let flags = put::flag(self.cap_ns.is_some(), CAP) | put::flag(self.secret.is_some(), SECRET);
        out.push(flags);
        if let Some(cap) = self.cap_ns {
            put::u64(out, cap);
        }
        if let Some(secret) = self.secret {
            put::u128(out, secret.0);
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let request = fields.u64("request")?;
        let fence = fields.u64("fence")?;
        let deadline_ns = fields.u64("deadline_ns")?;
        let flags = fields.u8("flags")?;
        let cap_ns = fields.optional(flags & CAP != 0, |f| f.u64("cap_ns"))?;
        let secret = fields.optional(flags & SECRET != 0, |f| f.u128("secret"))?;
        Ok(Granted { request, fence, deadline_ns, cap_ns, secret: secret.map(Secret) })
    }
}
