//! Declarations: what a sidecar says of one key to another that inquires (who has it, in which app, since when).
//!
//! Owns the shape, its bytes and its bounds. Must not know who asks, or when. A declaration may name fewer than there are,
//! and then says how many it left out; never anything that was not so when it was composed.
//!
//! Its bytes are format 1, little endian, see `packed.rs`:
//! ```text
//!   'SS' format:1 flags:1 (1 idle) limit:4 holders_left_out:4 waiters_left_out:4 holders:2 waiters:2 cooling:4 next:8
//!   holder   party flags:1 (1 reserved, 2 timed, 4 upgrades) [ reference:4 ] fence:8 until:8
//!   waiter   party flags:1 (1 upgrades) priority:4
//!   party    app flags:1 (1 owner) [ owner ] uid:4 units:4 since:8
//! ```
//! An answer has a declaration for each key that was asked about, in their order, each behind its length in two bytes.

use crate::engine::Engine;
use crate::model::{Fence, Key, Mode, Owner, StoreTime, Time, WHOLE};
use crate::packed::{Reader, put_text};
use crate::view::HolderView;
use std::sync::Arc;

/// Most bytes of a declaration.
pub const DECLARATION_BYTES_MAX: usize = 4096;
/// Most bytes of an answer. Of many keys it says less of each: there is room for a holder or two of 128 keys.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Holders that a declaration names at most: the oldest ones.
pub const DECLARED_HOLDERS_MAX: usize = 32;
/// Waiters that a declaration names at most: the next to be served.
pub const DECLARED_WAITERS_MAX: usize = 32;

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 32;

/// What a sidecar says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Nobody holds it there: it is kept for the next request.
    pub idle: bool,
    /// Units of rates that no lease stands on and that are not free yet, and when the next of them are.
    pub cooling: Option<(u32, StoreTime)>,
    /// Units that the key has; [`WHOLE`] for a lock.
    pub limit: u32,
    /// Who holds it, oldest first.
    pub holders: Vec<DeclaredHolder>,
    /// Who waits, in the order of grant.
    pub waiters: Vec<DeclaredWaiter>,
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
pub struct DeclaredHolder {
    /// Who.
    pub who: Party,
    /// It is no lease yet: a request for several keys has this one and waits for others.
    pub reserved: bool,
    /// It is a share that its holder keeps while it waits for all: it is among the waiters too.
    pub upgrades: bool,
    /// A timed lease's short public name: not its secret.
    pub reference: Option<u32>,
    /// Its token; 0 while it is reserved.
    pub fence: Fence,
    /// The deadline last told.
    pub until: StoreTime,
}

/// Who waits for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredWaiter {
    /// Who.
    pub who: Party,
    /// It has a share, keeps it, and wants all.
    pub upgrades: bool,
    /// The priority of its request.
    pub priority: i32,
}

/// That of a sidecar where nobody has the key or wants it.
impl Default for Declaration {
    fn default() -> Declaration {
        Declaration {
            idle: false,
            cooling: None,
            limit: WHOLE,
            holders: Vec::new(),
            waiters: Vec::new(),
            holders_left_out: 0,
            waiters_left_out: 0,
        }
    }
}

impl Declaration {
    /// How much of the key this many units are.
    pub fn mode(&self, units: u32) -> Mode {
        Mode::of(self.limit, units)
    }

    /// The declaration as bytes: the holders that fit, then as many of the waiters.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_within(DECLARATION_BYTES_MAX)
    }

    /// … into so many bytes, of which there are always enough for the counts.
    fn encode_within(&self, most: usize) -> Vec<u8> {
        let mut parties = Vec::new();
        let room = most.saturating_sub(HEADER_BYTES);
        let holders =
            put_first(&mut parties, room, &self.holders, DECLARED_HOLDERS_MAX, DeclaredHolder::encode);
        let waiters =
            put_first(&mut parties, room, &self.waiters, DECLARED_WAITERS_MAX, DeclaredWaiter::encode);
        let left_out = |before: u32, all: usize, put: u16| {
            before.saturating_add(u32::try_from(all - usize::from(put)).unwrap_or(u32::MAX))
        };
        let mut out = vec![b'S', b'S', FORMAT, u8::from(self.idle)];
        out.extend_from_slice(&self.limit.to_le_bytes());
        out.extend_from_slice(&left_out(self.holders_left_out, self.holders.len(), holders).to_le_bytes());
        out.extend_from_slice(&left_out(self.waiters_left_out, self.waiters.len(), waiters).to_le_bytes());
        out.extend_from_slice(&holders.to_le_bytes());
        out.extend_from_slice(&waiters.to_le_bytes());
        let (cooling, next) = self.cooling.unwrap_or_default();
        out.extend_from_slice(&cooling.to_le_bytes());
        out.extend_from_slice(&next.0.to_le_bytes());
        debug_assert_eq!(out.len(), HEADER_BYTES);
        out.extend_from_slice(&parties);
        out
    }

    /// Reads a declaration; nothing if these bytes are none, or too many.
    pub fn decode(bytes: &[u8]) -> Option<Declaration> {
        let bytes = Some(bytes).filter(|bytes| bytes.len() <= DECLARATION_BYTES_MAX)?;
        let mut from = Reader::new(bytes.strip_prefix(&[b'S', b'S', FORMAT])?);
        let (flags, limit) = (from.u8()?, from.u32()?);
        let (holders_left_out, waiters_left_out) = (from.u32()?, from.u32()?);
        let (holders, waiters) = (usize::from(from.u16()?), usize::from(from.u16()?));
        let cooling = Some((from.u32()?, StoreTime(from.u64()?))).filter(|(units, _)| *units > 0);
        if holders > DECLARED_HOLDERS_MAX || waiters > DECLARED_WAITERS_MAX {
            return None;
        }
        let holders = (0..holders).map(|_| DeclaredHolder::decode(&mut from)).collect::<Option<_>>()?;
        let waiters = (0..waiters).map(|_| DeclaredWaiter::decode(&mut from)).collect::<Option<_>>()?;
        let idle = flags & 1 != 0;
        let declaration =
            Declaration { idle, cooling, limit, holders, waiters, holders_left_out, waiters_left_out };
        from.is_empty().then_some(declaration)
    }
}

/// An answer about several keys, as bytes. What one declaration does not need is there for those after it.
pub fn encode_all(declarations: &[Declaration]) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, declaration) in declarations.iter().enumerate() {
        let share = (ANSWER_BYTES_MAX - out.len()) / (declarations.len() - place);
        let bytes = declaration.encode_within(share.saturating_sub(2).min(DECLARATION_BYTES_MAX));
        out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        out.extend_from_slice(&bytes);
    }
    out
}

/// Reads an answer; nothing if these bytes are none, or too many.
pub fn decode_all(bytes: &[u8]) -> Option<Vec<Declaration>> {
    let mut from = Reader::new(Some(bytes).filter(|bytes| bytes.len() <= ANSWER_BYTES_MAX)?);
    let mut declarations = Vec::new();
    while !from.is_empty() {
        declarations.push(Declaration::decode(from.bytes()?)?);
    }
    Some(declarations)
}

/// Writes the first of `all` until `out` has `room` bytes; how many those are.
fn put_first<T>(
    out: &mut Vec<u8>,
    room: usize,
    all: &[T],
    most: usize,
    encode: impl Fn(&T, &mut Vec<u8>),
) -> u16 {
    let mut written = 0;
    for one in all.iter().take(most) {
        let begin = out.len();
        encode(one, out);
        if out.len() > room {
            out.truncate(begin);
            break;
        }
        written += 1;
    }
    written
}

impl DeclaredHolder {
    fn encode(&self, out: &mut Vec<u8>) {
        self.who.encode(out);
        let flags = [self.reserved, self.reference.is_some(), self.upgrades];
        out.push(flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
        out.extend(self.reference.iter().flat_map(|reference| reference.to_le_bytes()));
        out.extend_from_slice(&self.fence.to_le_bytes());
        out.extend_from_slice(&self.until.0.to_le_bytes());
    }

    fn decode(from: &mut Reader<'_>) -> Option<DeclaredHolder> {
        let (who, flags) = (Party::decode(from)?, from.u8()?);
        let reference = if flags & 2 != 0 { Some(from.u32()?) } else { None };
        let (fence, until) = (from.u64()?, StoreTime(from.u64()?));
        let (reserved, upgrades) = (flags & 1 != 0, flags & 4 != 0);
        Some(DeclaredHolder { who, reserved, upgrades, reference, fence, until })
    }
}

impl DeclaredWaiter {
    fn encode(&self, out: &mut Vec<u8>) {
        self.who.encode(out);
        out.push(u8::from(self.upgrades));
        out.extend_from_slice(&self.priority.to_le_bytes());
    }

    fn decode(from: &mut Reader<'_>) -> Option<DeclaredWaiter> {
        let (who, flags) = (Party::decode(from)?, from.u8()?);
        Some(DeclaredWaiter { who, upgrades: flags & 1 != 0, priority: from.u32()?.cast_signed() })
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
    pub(crate) fn compose_declaration(&self, now: Time, key: &Key) -> Declaration {
        let Some(r) = self.resource_of(key).map(|resource| &self.resources[resource]) else {
            return Declaration::default();
        };
        let oldest = self.oldest(r.live.iter());
        let holders: Vec<DeclaredHolder> = oldest.into_iter().map(|lease| self.holder(now, lease)).collect();
        let next = r.queue.iter().take(DECLARED_WAITERS_MAX);
        let waiters: Vec<DeclaredWaiter> = next.map(|waiter| self.waiter(now, waiter)).collect();
        let left_out = |all: usize, named: usize| u32::try_from(all - named).unwrap_or(u32::MAX);
        let cooling = r.cooling().map(|(units, next)| (units, self.store_time_at(now, next)));
        Declaration {
            idle: r.tenure.is_some() && r.live.is_empty() && cooling.is_none(),
            cooling,
            limit: r.limit,
            holders_left_out: left_out(r.live.len(), holders.len()),
            waiters_left_out: left_out(r.queue.len(), waiters.len()),
            holders,
            waiters,
        }
    }

    /// The oldest of these leases, in their order: as many as a declaration names.
    fn oldest(&self, leases: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut leases: Vec<(Time, usize)> = leases.map(|lease| (self.leases[lease].since, lease)).collect();
        if leases.len() > DECLARED_HOLDERS_MAX {
            leases.select_nth_unstable(DECLARED_HOLDERS_MAX);
            leases.truncate(DECLARED_HOLDERS_MAX);
        }
        leases.sort_unstable();
        leases.into_iter().map(|(_, lease)| lease).collect()
    }

    fn holder(&self, now: Time, lease: usize) -> DeclaredHolder {
        let view = self.view_lease(lease);
        let who = Party {
            app: view.app.into(),
            uid: view.uid,
            owner: view.owner,
            units: view.mode.units(),
            since: self.store_time_of(now, view.since),
        };
        let HolderView { reserved, reference, fence, deadline, .. } = view;
        let until = self.store_time_at(now, deadline);
        let upgrades = self.is_being_upgraded(self.leases[lease].resource, lease);
        DeclaredHolder { who, reserved, upgrades, reference, fence, until }
    }

    /// The store's clock, as we would guess it, at an instant that is to come.
    fn store_time_at(&self, now: Time, then: Time) -> StoreTime {
        let left = u64::try_from(then.since(now).as_micros()).unwrap_or(u64::MAX);
        StoreTime(self.link.store_time(now).0.saturating_add(left))
    }

    fn waiter(&self, now: Time, waiter: usize) -> DeclaredWaiter {
        let (who, priority) = (self.waiter_party(now, waiter), self.waiters[waiter].priority);
        DeclaredWaiter { who, upgrades: self.is_upgrade(waiter), priority }
    }

    /// Who waits here.
    pub(crate) fn waiter_party(&self, now: Time, waiter: usize) -> Party {
        let view = self.view_waiter(waiter);
        Party {
            app: view.app.into(),
            uid: view.uid,
            owner: view.owner,
            units: view.mode.units(),
            since: self.store_time_of(now, view.since),
        }
    }
}

#[cfg(test)]
#[path = "tests/declaration.rs"]
mod tests;
