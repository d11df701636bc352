//! A ring of waits, as the one who was chosen to break it is told.
//!
//! Owns its shape and its bytes. Must not know how rings are found.

use crate::fields::{Fields, millis, put};
use crate::frame::FrameError;
use crate::message::Mode;
use crate::to_sidecar::{mode, put_mode};
use std::fmt;
use std::time::Duration;

/// Edges of a ring that travel at most; of a longer one, the first.
pub const CYCLE_EDGES_MAX: usize = 64;

/// An owner waits for a key that the owner of the next edge holds, or will get before it. After the last comes the first,
/// which is the owner of the refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleEdge {
    /// What is waited for.
    pub key: String,
    /// How much of it.
    pub mode: Mode,
    /// Who waits.
    pub owner: String,
    /// What its client calls itself.
    pub app: String,
    /// The life of its sidecar.
    pub sidecar: u128,
    /// For how long.
    pub waiting_for: Duration,
    /// How long the owner of the next edge has held the key; `None`: it waits for the key too, further ahead.
    pub held_for: Option<Duration>,
}

/// For people, to be followed by the owner of the next edge.
impl fmt::Display for CycleEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CycleEdge { key, mode, owner, app, sidecar, waiting_for, held_for } = self;
        let (mode, sidecar) = (mode.name(), sidecar >> 96);
        let waiting = waiting_for.as_secs_f64();
        write!(f, "{owner} ({app}, sidecar {sidecar:08x}) has waited {waiting:.1} s for {key} ({mode}), ")?;
        match held_for.map(|span| span.as_secs_f64()) {
            Some(held) => write!(f, "held for {held:.1} s by"),
            None => f.write_str("where it comes after"),
        }
    }
}

impl CycleEdge {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_mode(out, self.mode);
        [&self.key, &self.owner, &self.app].into_iter().for_each(|text| put::text(out, text));
        put::u128(out, self.sidecar);
        put::u64(out, millis(self.waiting_for));
        out.push(u8::from(self.held_for.is_some()));
        if let Some(span) = self.held_for {
            put::u64(out, millis(span));
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<CycleEdge, FrameError> {
        let mode = mode(fields)?;
        let mut text = |name| fields.text(name).map(str::to_owned);
        let (key, owner, app) = (text("key")?, text("owner")?, text("app")?);
        let sidecar = fields.u128("sidecar")?;
        let waiting_for = fields.millis("waiting_for")?;
        let flags = fields.u8("flags")?;
        let held_for = fields.optional(flags & 1 != 0, |f| f.millis("held_for"))?;
        Ok(CycleEdge { key, mode, owner, app, sidecar, waiting_for, held_for })
    }
}
