//! Records as bytes: what a store that is not this process keeps of a key.
//!
//! Owns the formats, which `scripts/format.lua` describes and writes too; `tests/golden/` holds them fast. Format 2 is format
//! 1 and, after it, what was taken by force; a record is written in the oldest format that can say it, so that an older
//! version stumbles for as long as it must and no longer; origins of tenures stand where one keeps what it does not know (D41). Must
//! not know what a record means. Bytes that are no record, or a newer one, are a typed error: whoever reads them must not write.

use crate::record::{Done, Entry, Forced, Kept, Record, Tenure};
use sidelock_engine::store::{Order, Success};
use sidelock_engine::{AskId, FenceRange, Incarnation, StoreTime};
use thin_vec::ThinVec;

/// The newest format that this version writes and reads.
pub const RECORD_VERSION: u8 = 2;

/// The format of a record of which nothing was taken by force.
const PLAIN: u8 = 1;

const MAGIC: &[u8; 2] = b"SL";
/// Before the record proper, where a success is kept.
const KEPT_MAGIC: &[u8; 2] = b"SO";
const KEPT_VERSION: u8 = 1;
const KEPT_BYTES: usize = 55;
const HEADER_BYTES: usize = 39;
const TENURE_BYTES: usize = 52;
const ENTRY_BYTES: usize = 37;
const DONE_BYTES: usize = 32;
/// Flags of an entry.
const OFFERED: u8 = 1;
const UPGRADE: u8 = 1 << 1;
const COUNT_BYTES: usize = 4;
/// Without the reason.
const FORCED_BYTES: usize = 38;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Somebody else wrote or edited them.
    Corrupt(&'static str),
    /// A newer version of Sidelock wrote them, in this format.
    TooNew(u8),
}

impl Record {
    /// The record as bytes. An empty record is not stored at all. The success of a once key stands before the rest.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        if let Some(kept) = self.kept.as_deref() {
            let Success { finished_at, window_end, result } = &kept.success;
            out.0.extend_from_slice(KEPT_MAGIC);
            out.0.push(KEPT_VERSION);
            out.id(kept.tenure.incarnation, kept.tenure.seq);
            [kept.fence, finished_at.0, window_end.0].iter().for_each(|&number| out.u64(number));
            out.u32(u32::try_from(result.len()).expect("a result is small"));
            out.0.extend_from_slice(result);
        }
        self.encode_rest(&mut out);
        out.0
    }

    /// What is over, and the origins that are not the first fences of their tenures.
    fn with_origins(&self) -> Vec<Done> {
        // That of a tenure before, which was ended by a version that knows no origins, is not this one's.
        let of_tenure = |done: &Done| self.tenures.iter().any(|tenure| alias(tenure) == done.incarnation);
        let over = self.done.iter().copied().filter(|done| !of_tenure(done));
        let grown = self.tenures.iter().filter(|tenure| tenure.origin != tenure.range.first);
        let origin = |tenure: &Tenure| {
            // That is over at its instant, and a tombstone after its own.
            let until = StoreTime(tenure.until.0.saturating_sub(1));
            Done { incarnation: alias(tenure), seq: tenure.origin, until }
        };
        over.chain(grown.map(origin)).collect()
    }

    fn encode_rest(&self, out: &mut Writer) {
        let (tenures, queue, done) = (&self.tenures, &self.queue, &self.with_origins());
        let dues = (tenures.iter().map(|tenure| tenure.until))
            .chain(queue.iter().map(|entry| entry.until))
            .chain(done.iter().map(|done| done.until))
            .chain(self.forced.iter().map(|forced| forced.until));
        out.0.reserve_exact(
            HEADER_BYTES + tenures.len() * TENURE_BYTES + queue.len() * ENTRY_BYTES + done.len() * DONE_BYTES,
        );
        out.0.extend_from_slice(MAGIC);
        out.0.push(if self.forced.is_empty() { PLAIN } else { RECORD_VERSION });
        out.u64(dues.min().unwrap_or_default().0);
        out.u64(self.last);
        out.u32(self.limit);
        let offers = queue.iter().filter(|entry| entry.offered).count();
        for count in [tenures.len(), queue.len(), offers, done.len()] {
            out.u32(u32::try_from(count).expect("a record of 4 billion sidecars does not fit in memory"));
        }
        for tenure in tenures {
            out.id(tenure.id.incarnation, tenure.id.seq);
            out.u32(tenure.units);
            out.u64(tenure.until.0);
            out.u64(tenure.range.first);
            out.u64(tenure.range.last);
        }
        for entry in queue {
            out.id(entry.id.incarnation, entry.id.seq);
            out.u32(entry.units);
            out.u64(entry.until.0);
            let offered = if entry.offered { OFFERED } else { 0 };
            out.0.push(offered | if entry.upgrade { UPGRADE } else { 0 });
        }
        for done in done {
            out.id(done.incarnation, done.seq);
            out.u64(done.until.0);
        }
        if !self.forced.is_empty() {
            out.u32(u32::try_from(self.forced.len()).expect("as many as there were tenures"));
        }
        for forced in &self.forced {
            out.forced(forced);
        }
    }

    /// Reads what [`Record::encode`], or a script, wrote.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        if !bytes.starts_with(KEPT_MAGIC) {
            return Record::decode_rest(bytes);
        }
        let (kept, rest) = decode_kept(bytes)?;
        Ok(Record { kept: Some(Box::new(kept)), ..Record::decode_rest(rest)? })
    }

    /// Those that stand among what is over.
    fn take_origins(&mut self) {
        let tenures = &mut self.tenures;
        self.done.retain(|done| match tenures.iter_mut().find(|tenure| alias(tenure) == done.incarnation) {
            Some(tenure) => {
                tenure.origin = done.seq;
                false
            }
            None => true,
        });
    }

    fn decode_rest(bytes: &[u8]) -> Result<Record, RecordError> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return Err(RecordError::Corrupt("it does not begin like a record"));
        }
        let version = bytes[MAGIC.len()];
        check_version(version, RECORD_VERSION)?;
        let mut from = Reader(&bytes[MAGIC.len() + 1..]);
        let _next_due = from.u64();
        let (last, limit) = (from.u64(), from.u32());
        let [tenures, queue, _offers, done] =
            [from.u32(), from.u32(), from.u32(), from.u32()].map(|count| count as usize);
        let body = [(tenures, TENURE_BYTES), (queue, ENTRY_BYTES), (done, DONE_BYTES)];
        let wanted: u128 = body.iter().map(|(count, bytes)| *count as u128 * *bytes as u128).sum();
        let rest = (from.0.len() as u128).checked_sub(wanted);
        if rest.is_none_or(|rest| (rest > 0) != (version > PLAIN)) {
            return Err(RecordError::Corrupt("its length does not match what it says it contains"));
        }
        let tenure = |from: &mut Reader| {
            let (id, units, until) = (from.id(), from.u32(), StoreTime(from.u64()));
            let range = FenceRange { first: from.u64(), last: from.u64() };
            Tenure { id, units, until, origin: range.first, range }
        };
        let entry = |from: &mut Reader| {
            let (id, units, until) = (from.id(), from.u32(), StoreTime(from.u64()));
            let [flags] = from.take();
            Entry { id, units, until, offered: flags & OFFERED != 0, upgrade: flags & UPGRADE != 0 }
        };
        let over = |from: &mut Reader| {
            let AskId { incarnation, seq } = from.id();
            Done { incarnation, seq, until: StoreTime(from.u64()) }
        };
        let mut record = Record {
            last,
            limit,
            tenures: (0..tenures).map(|_| tenure(&mut from)).collect(),
            queue: (0..queue).map(|_| entry(&mut from)).collect(),
            done: (0..done).map(|_| over(&mut from)).collect(),
            forced: if version > PLAIN { from.forced()? } else { ThinVec::new() },
            kept: None,
        };
        record.take_origins();
        Ok(record)
    }
}

/// The name under which `done` has the origin of a tenure: that of its incarnation, with the first bit flipped.
fn alias(tenure: &Tenure) -> Incarnation {
    Incarnation(tenure.id.incarnation.0 ^ (1 << 127))
}

fn check_version(version: u8, newest: u8) -> Result<(), RecordError> {
    match version {
        0 => Err(RecordError::Corrupt("no such format was ever written")),
        version if version > newest => Err(RecordError::TooNew(version)),
        _ => Ok(()),
    }
}

/// The success at the beginning, and what follows it.
fn decode_kept(bytes: &[u8]) -> Result<(Kept, &[u8]), RecordError> {
    if bytes.len() < KEPT_BYTES {
        return Err(RecordError::Corrupt("it ends within a success"));
    }
    check_version(bytes[KEPT_MAGIC.len()], KEPT_VERSION)?;
    let mut from = Reader(&bytes[KEPT_MAGIC.len() + 1..]);
    let (tenure, fence) = (from.id(), from.u64());
    let (finished_at, window_end) = (StoreTime(from.u64()), StoreTime(from.u64()));
    let result_bytes = from.u32() as usize;
    if from.0.len() < result_bytes {
        return Err(RecordError::Corrupt("it ends within a result"));
    }
    let (result, rest) = from.0.split_at(result_bytes);
    let success = Success { finished_at, window_end, result: result.into() };
    Ok((Kept { tenure, fence, success }, rest))
}

/// Little endian, as `struct.pack('<…')`.
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn incarnation(&mut self, incarnation: Incarnation) {
        self.0.extend_from_slice(&incarnation.0.to_be_bytes());
    }

    pub(crate) fn id(&mut self, incarnation: Incarnation, seq: u64) {
        self.incarnation(incarnation);
        self.u64(seq);
    }

    fn forced(&mut self, forced: &Forced) {
        let reason = forced.order.reason.as_bytes();
        self.id(forced.id.incarnation, forced.id.seq);
        self.u64(forced.until.0);
        self.u32(forced.order.by);
        let length = u16::try_from(reason.len()).expect("the gate checked it against REASON_BYTES_MAX");
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(reason);
    }
}

/// What is left to read, its length checked beforehand, but for what was taken by force.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) =
            self.0.split_first_chunk().expect("the length was checked before anything was read");
        self.0 = rest;
        *head
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    pub(crate) fn incarnation(&mut self) -> Incarnation {
        Incarnation(u128::from_be_bytes(self.take()))
    }

    pub(crate) fn id(&mut self) -> AskId {
        AskId { incarnation: self.incarnation(), seq: self.u64() }
    }

    /// All that is left: how many, and each with a text of its own length.
    fn forced(&mut self) -> Result<ThinVec<Forced>, RecordError> {
        const CUT: RecordError = RecordError::Corrupt("what was taken by force is not as long as it says");
        let mut all = ThinVec::new();
        let count = if self.0.len() < COUNT_BYTES { return Err(CUT) } else { self.u32() };
        for _ in 0..count {
            if self.0.len() < FORCED_BYTES {
                return Err(CUT);
            }
            let (id, until, by) = (self.id(), StoreTime(self.u64()), self.u32());
            let length = usize::from(u16::from_le_bytes(self.take()));
            let (reason, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
            self.0 = rest;
            let reason = std::str::from_utf8(reason)
                .map_err(|_| RecordError::Corrupt("the reason of a forced unlock is not UTF-8"))?;
            all.push(Forced { id, until, order: Order { by, reason: reason.into() } });
        }
        if all.is_empty() || !self.0.is_empty() { Err(CUT) } else { Ok(all) }
    }
}

#[cfg(test)]
#[path = "tests/encoding.rs"]
mod tests;
