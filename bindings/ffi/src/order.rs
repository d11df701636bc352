//! What to ask for, as bytes: a [`Wish`] that crosses in one piece, made once and used for many acquires.
//!
//! Owns the encoding: little-endian, without gaps: units (u8: 0 exclusive, 1 shared, 2 permits, 3 rate), reentrant (u8),
//! priority (i32), permits and limit (u32 each), per, ttl and max_hold in milliseconds (u64 each, all bits set: absent); then
//! for each key its length (u32) and its bytes. Who waits, and how long, comes beside it.

use crate::error::{Failure, Result};
use crate::wish::{Units, Wish};

/// A wait that was not said: as the client's default says.
const AS_DEFAULT_MS: u64 = u64::MAX - 1;

/// Reads an order. No bytes of an owner: there is none.
pub(crate) fn read(order: &[u8], owner: &[u8], wait_ms: u64) -> Result<Wish> {
    let wish = Reader(order).wish();
    let owner = std::str::from_utf8(owner).ok();
    let (Some(wish), Some(owner)) = (wish, owner) else {
        return Err(Failure::invalid("", "this is no order that this version understands"));
    };
    Ok(Wish {
        wait_ms: Some(wait_ms).filter(|wait| *wait != AS_DEFAULT_MS),
        owner: Some(owner.to_owned()).filter(|owner| !owner.is_empty()),
        ..wish
    })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn wish(&mut self) -> Option<Wish> {
        let [units, reentrant] = self.take()?;
        let priority = i32::from_le_bytes(self.take()?);
        let (permits, limit) = (u32::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?));
        let (per_ms, ttl_ms, max_hold_ms) = (self.number()?, self.number()?, self.number()?);
        let present = |ms: u64| Some(ms).filter(|ms| *ms != u64::MAX);
        Some(Wish {
            units: match units {
                0 => Units::Exclusive,
                1 => Units::Shared,
                2 => Units::Permits { permits, limit },
                3 => Units::Rate { permits, limit, per_ms },
                _ => return None,
            },
            reentrant: reentrant != 0,
            priority,
            ttl_ms: present(ttl_ms),
            max_hold_ms: present(max_hold_ms),
            wait_ms: None,
            owner: None,
            keys: self.keys()?,
        })
    }

    fn keys(&mut self) -> Option<Vec<String>> {
        let mut keys = Vec::new();
        while !self.0.is_empty() {
            let length = usize::try_from(u32::from_le_bytes(self.take()?)).ok()?;
            let (key, rest) = self.0.split_at_checked(length)?;
            keys.push(std::str::from_utf8(key).ok()?.to_owned());
            self.0 = rest;
        }
        Some(keys)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}
