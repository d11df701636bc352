//! Registers as bytes: what a store that is not this process keeps of one.
//!
//! Owns format 1 of registers, which `scripts/register.lua` describes and writes too; `tests/golden/` holds it fast. Must not
//! know what a register means.

use crate::encoding::{Reader, RecordError, Writer};
use crate::register::{Done, Register, Watcher};
use sidelock_engine::{Etag, StoreTime};

const MAGIC: &[u8; 2] = b"SR";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 68;
const DONE_BYTES: usize = 40;
const WATCHER_BYTES: usize = 24;

impl Register {
    /// The register as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let value = self.value.as_deref().unwrap_or_default();
        let lists = self.done.len() * DONE_BYTES + self.watchers.len() * WATCHER_BYTES;
        let mut out = Writer(Vec::with_capacity(HEADER_BYTES + lists + value.len()));
        out.0.extend_from_slice(MAGIC);
        out.0.push(VERSION);
        put_etag(&mut out, self.etag);
        out.u64(self.repeats_until.0);
        out.u64(self.fence_seen);
        out.u64(self.until.0);
        out.0.push(u8::from(self.value.is_some()));
        for count in [self.done.len(), self.watchers.len()] {
            out.u32(u32::try_from(count).expect("a register of 4 billion sidecars does not fit in memory"));
        }
        for done in &self.done {
            put_etag(&mut out, done.etag);
            out.u64(done.until.0);
        }
        for watcher in &self.watchers {
            out.incarnation(watcher.incarnation);
            out.u64(watcher.until.0);
        }
        out.0.extend_from_slice(value);
        out.0
    }

    /// Reads what [`Register::encode`], or a script, wrote.
    pub fn decode(bytes: &[u8]) -> Result<Register, RecordError> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return Err(RecordError::Corrupt("it does not begin like a register"));
        }
        match bytes[MAGIC.len()] {
            VERSION => {}
            version if version > VERSION => return Err(RecordError::TooNew(version)),
            _ => return Err(RecordError::Corrupt("no such format was ever written")),
        }
        let mut from = Reader(&bytes[MAGIC.len() + 1..]);
        let etag = take_etag(&mut from);
        let (repeats_until, fence_seen, until) = (StoreTime(from.u64()), from.u64(), StoreTime(from.u64()));
        let [is_present] = from.take::<1>();
        let [done, watchers] = [from.u32(), from.u32()].map(|count| count as usize);
        let lists = done as u128 * DONE_BYTES as u128 + watchers as u128 * WATCHER_BYTES as u128;
        let value_bytes = (from.0.len() as u128).checked_sub(lists);
        let is_whole = value_bytes.is_some_and(|bytes| is_present == 1 || is_present == 0 && bytes == 0);
        if !is_whole {
            return Err(RecordError::Corrupt("its length does not match what it says it contains"));
        }
        let over = |from: &mut Reader| Done { etag: take_etag(from), until: StoreTime(from.u64()) };
        let watcher =
            |from: &mut Reader| Watcher { incarnation: from.incarnation(), until: StoreTime(from.u64()) };
        let done = (0..done).map(|_| over(&mut from)).collect();
        let watchers = (0..watchers).map(|_| watcher(&mut from)).collect();
        let value = (is_present == 1).then(|| from.0.into());
        Ok(Register { etag, repeats_until, fence_seen, until, value, done, watchers })
    }
}

fn put_etag(out: &mut Writer, etag: Etag) {
    out.u64(etag.number);
    out.id(etag.writer.incarnation, etag.writer.seq);
}

fn take_etag(from: &mut Reader) -> Etag {
    Etag { number: from.u64(), writer: from.id() }
}

#[cfg(test)]
#[path = "tests/register_encoding.rs"]
mod tests;
