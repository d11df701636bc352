//! Stands: what a sidecar says of one key to another that inquires (who has it, in which app, since when).
//!
//! Owns the shape, its bytes and its bounds. Must not know who asks, or when. A stand may name fewer than there are,
//! and then says how many it left out; never anything that was not so when it was composed.
//!
//! Its bytes are format 1, little endian, see `packed.rs`:
//! ```text
//!   'SS' format:1 flags:1 (1 idle) limit:4 holders_left_out:4 waiters_left_out:4 holders:2 waiters:2
//!   holder   party flags:1 (1 reserved, 2 timed) [ reference:4 ]
//!   waiter   party priority:4
//!   party    app flags:1 (1 owner) [ owner ] uid:4 units:4 since:8
//! ```

use crate::engine::Engine;
use crate::model::{Key, Mode, Owner, StoreTime, Time, WHOLE};
use crate::packed::{Reader, put_text};
use std::sync::Arc;

/// Most bytes of a stand.
pub const STAND_BYTES_MAX: usize = 4096;
/// Holders that a stand names at most: the oldest ones.
pub const STAND_HOLDERS_MAX: usize = 32;
/// Waiters that a stand names at most: the next to be served.
pub const STAND_WAITERS_MAX: usize = 32;

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 20;

/// What a sidecar says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Nobody holds it there: it is kept for the next request.
    pub idle: bool,
    /// Units that the key has; [`WHOLE`] for a lock.
    pub limit: u32,
    /// Who holds it, oldest first.
    pub holders: Vec<StandHolder>,
    /// Who waits, in the order of grant.
    pub waiters: Vec<StandWaiter>,
    /// Holders that there are besides.
    pub holders_left_out: u32,
    /// Waiters behind those.
    pub waiters_left_out: u32,
}

/// Who holds or waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// What the client calls itself.
    pub app: Arc<str>,
    /// Its user.
    pub uid: u32,
    /// The owner, if it named one.
    pub owner: Option<Owner>,
    /// Units held or wanted.
    pub units: u32,
    /// Since when.
    pub since: StoreTime,
}

/// Who holds a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandHolder {
    /// Who.
    pub who: Party,
    /// It is no lease yet: a request for several keys has this one and waits for others.
    pub reserved: bool,
    /// A timed lease's short public name: not its secret.
    pub reference: Option<u32>,
}

/// Who waits for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandWaiter {
    /// Who.
    pub who: Party,
    /// The priority of its request.
    pub priority: i32,
}

/// That of a sidecar where nobody has the key or wants it.
impl Default for Stand {
    fn default() -> Stand {
        Stand {
            idle: false,
            limit: WHOLE,
            holders: Vec::new(),
            waiters: Vec::new(),
            holders_left_out: 0,
            waiters_left_out: 0,
        }
    }
}

impl Stand {
    /// How much of the key this many units are.
    pub fn mode(&self, units: u32) -> Mode {
        Mode::of(self.limit, units)
    }

    /// The stand as bytes: the holders that fit, then as many of the waiters.
    pub fn encode(&self) -> Vec<u8> {
        let mut parties = Vec::new();
        let holders = put_first(&mut parties, &self.holders, STAND_HOLDERS_MAX, StandHolder::encode);
        let waiters = put_first(&mut parties, &self.waiters, STAND_WAITERS_MAX, StandWaiter::encode);
        let left_out = |before: u32, all: usize, put: u16| {
            before.saturating_add(u32::try_from(all - usize::from(put)).unwrap_or(u32::MAX))
        };
        let mut out = vec![b'S', b'S', FORMAT, u8::from(self.idle)];
        out.extend_from_slice(&self.limit.to_le_bytes());
        out.extend_from_slice(&left_out(self.holders_left_out, self.holders.len(), holders).to_le_bytes());
        out.extend_from_slice(&left_out(self.waiters_left_out, self.waiters.len(), waiters).to_le_bytes());
        out.extend_from_slice(&holders.to_le_bytes());
        out.extend_from_slice(&waiters.to_le_bytes());
        debug_assert_eq!(out.len(), HEADER_BYTES);
        out.extend_from_slice(&parties);
        out
    }

    /// Reads a stand; nothing if these bytes are none, or too many.
    pub fn decode(bytes: &[u8]) -> Option<Stand> {
        let bytes = Some(bytes).filter(|bytes| bytes.len() <= STAND_BYTES_MAX)?;
        let mut from = Reader::new(bytes.strip_prefix(&[b'S', b'S', FORMAT])?);
        let (flags, limit) = (from.u8()?, from.u32()?);
        let (holders_left_out, waiters_left_out) = (from.u32()?, from.u32()?);
        let (holders, waiters) = (usize::from(from.u16()?), usize::from(from.u16()?));
        if holders > STAND_HOLDERS_MAX || waiters > STAND_WAITERS_MAX {
            return None;
        }
        let holders = (0..holders).map(|_| StandHolder::decode(&mut from)).collect::<Option<_>>()?;
        let waiters = (0..waiters).map(|_| StandWaiter::decode(&mut from)).collect::<Option<_>>()?;
        let idle = flags & 1 != 0;
        let stand = Stand { idle, limit, holders, waiters, holders_left_out, waiters_left_out };
        from.is_empty().then_some(stand)
    }
}

/// Writes the first of `all` that there is room for; how many those are.
fn put_first<T>(out: &mut Vec<u8>, all: &[T], most: usize, encode: impl Fn(&T, &mut Vec<u8>)) -> u16 {
    let mut written = 0;
    for one in all.iter().take(most) {
        let begin = out.len();
        encode(one, out);
        if out.len() > STAND_BYTES_MAX - HEADER_BYTES {
            out.truncate(begin);
            break;
        }
        written += 1;
    }
    written
}

impl StandHolder {
    fn encode(&self, out: &mut Vec<u8>) {
        self.who.encode(out);
        out.push(u8::from(self.reserved) | u8::from(self.reference.is_some()) << 1);
        out.extend(self.reference.iter().flat_map(|reference| reference.to_le_bytes()));
    }

    fn decode(from: &mut Reader<'_>) -> Option<StandHolder> {
        let (who, flags) = (Party::decode(from)?, from.u8()?);
        let reference = if flags & 2 != 0 { Some(from.u32()?) } else { None };
        Some(StandHolder { who, reserved: flags & 1 != 0, reference })
    }
}

impl StandWaiter {
    fn encode(&self, out: &mut Vec<u8>) {
        self.who.encode(out);
        out.extend_from_slice(&self.priority.to_le_bytes());
    }

    fn decode(from: &mut Reader<'_>) -> Option<StandWaiter> {
        Some(StandWaiter { who: Party::decode(from)?, priority: from.u32()?.cast_signed() })
    }
}

impl Party {
    fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, &self.app);
        out.push(u8::from(self.owner.is_some()));
        self.owner.iter().for_each(|owner| put_text(out, &owner.0));
        out.extend_from_slice(&self.uid.to_le_bytes());
        out.extend_from_slice(&self.units.to_le_bytes());
        out.extend_from_slice(&self.since.0.to_le_bytes());
    }

    fn decode(from: &mut Reader<'_>) -> Option<Party> {
        let (app, flags) = (from.text()?, from.u8()?);
        let owner = if flags & 1 != 0 { Some(Owner(from.text()?)) } else { None };
        Some(Party { app, owner, uid: from.u32()?, units: from.u32()?, since: StoreTime(from.u64()?) })
    }
}

impl Engine {
    /// What is to say of a key as of now.
    pub(crate) fn compose_stand(&self, now: Time, key: &Key) -> Stand {
        let Some(r) = self.resource_of(key).map(|resource| &self.resources[resource]) else {
            return Stand::default();
        };
        let oldest = self.oldest(r.live.iter());
        let holders: Vec<StandHolder> = oldest.into_iter().map(|lease| self.holder(now, lease)).collect();
        let next = r.queue.iter().take(STAND_WAITERS_MAX);
        let waiters: Vec<StandWaiter> = next.map(|waiter| self.waiter(now, waiter)).collect();
        let left_out = |all: usize, named: usize| u32::try_from(all - named).unwrap_or(u32::MAX);
        Stand {
            idle: r.tenure.is_some() && r.live.is_empty(),
            limit: r.limit,
            holders_left_out: left_out(r.live.len(), holders.len()),
            waiters_left_out: left_out(r.queue.len(), waiters.len()),
            holders,
            waiters,
        }
    }

    /// The oldest of these leases, in their order: as many as a stand names.
    fn oldest(&self, leases: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut leases: Vec<(Time, usize)> = leases.map(|lease| (self.leases[lease].since, lease)).collect();
        if leases.len() > STAND_HOLDERS_MAX {
            leases.select_nth_unstable(STAND_HOLDERS_MAX);
            leases.truncate(STAND_HOLDERS_MAX);
        }
        leases.sort_unstable();
        leases.into_iter().map(|(_, lease)| lease).collect()
    }

    fn holder(&self, now: Time, lease: usize) -> StandHolder {
        let view = self.view_lease(lease);
        let who = Party {
            app: view.app.into(),
            uid: view.uid,
            owner: view.owner,
            units: view.mode.units(),
            since: self.store_time_of(now, view.since),
        };
        StandHolder { who, reserved: view.reserved, reference: view.reference }
    }

    fn waiter(&self, now: Time, waiter: usize) -> StandWaiter {
        let view = self.view_waiter(waiter);
        let who = Party {
            app: view.app.into(),
            uid: view.uid,
            owner: view.owner,
            units: view.mode.units(),
            since: self.store_time_of(now, view.since),
        };
        StandWaiter { who, priority: view.priority }
    }
}

#[cfg(test)]
#[path = "tests/stand.rs"]
mod tests;
