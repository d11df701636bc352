//! Operations, answers and pushes as the scripts speak them.
//!
//! Owns the packed fields that the headers of `scripts/*.lua` list. Must not know connections or scripts' names.

use super::names::unescape;
use sidelock_engine::store::{
    Ask, Bound, Condition, Declare, Finish, Force, Inquire, Known, Op, Order, Peeked, PeekedEntry,
    PeekedTenure, Publish, Push, Queued, ReadRegister, Reassert, Renew, Reply, Return, Success, Taken,
    Tenancy, Version, Withdraw, WriteRegister,
};
use sidelock_engine::{Align, AskId, Etag, FenceRange, Incarnation, Key, Space, StoreTime};
use std::sync::Arc;
use std::time::Duration;

/// Kinds of pushes that have fields more, see `scripts/turn.lua`.
const BUSY: u8 = 3;
const INQUIRED: u8 = 6;
const DECLARED: u8 = 7;

/// One operation as the script's argument: a verb and its fields, little endian, times in microseconds.
pub(super) fn argument(op: &Op) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    match op {
        Op::Ask(Ask {
            id,
            units,
            limit,
            ttl,
            entry_ttl,
            floor,
            refuse_after,
            give_back,
            upgrade,
            waiting_since,
            key: _,
        }) => {
            begin(&mut out, 1, id);
            put32(&mut out, &[*units, *limit]);
            put64(&mut out, &[micros(*ttl), micros(*entry_ttl), *floor, refuse_after.0]);
            out.push(u8::from(*upgrade));
            if let Some(back) = give_back {
                put64(&mut out, &[back.seq]);
                put32(&mut out, &[back.keep]);
                put64(&mut out, &[back.issued]);
            }
            if let Some(since) = waiting_since {
                put64(&mut out, &[since.0]);
            }
        }
        Op::Renew(Renew { tenure, ttl, floor, top_up, key: _ }) => {
            begin(&mut out, 2, tenure);
            put64(&mut out, &[micros(*ttl), *floor]);
            out.push(u8::from(*top_up));
        }
        Op::Reassert(Reassert { tenure, units, limit, origin, range, ttl, refuse_after, key: _ }) => {
            begin(&mut out, 9, tenure);
            put32(&mut out, &[*units, *limit]);
            put64(&mut out, &[*origin, range.first, range.last, micros(*ttl), refuse_after.0]);
        }
        Op::Return(Return { tenure, keep, issued, tombstone, key: _ }) => {
            begin(&mut out, 3, tenure);
            put32(&mut out, &[*keep]);
            put64(&mut out, &[*issued, tombstone.unwrap_or_default().0]);
        }
        Op::Withdraw(Withdraw { id, keep, tombstone, key: _ }) => {
            begin(&mut out, 4, id);
            put32(&mut out, &[*keep]);
            put64(&mut out, &[tombstone.unwrap_or_default().0]);
        }
        Op::Tell(tell) => {
            begin(&mut out, 5, &tell.ask);
            put64(&mut out, &[micros(tell.free_in.unwrap_or_default())]);
        }
        Op::Publish(Publish { version, body, ttl, refuse_after, board: _ }) => {
            out.push(10);
            put64(&mut out, &[*version, micros(*ttl), refuse_after.0]);
            out.extend_from_slice(body);
        }
        Op::ReadBoard { board: _ } => out.push(11),
        Op::Peek { key: _ } => out.push(12),
        Op::Force(Force { from, order, refuse_after, key: _ }) => {
            begin(&mut out, 13, &AskId { incarnation: *from, seq: 0 });
            put64(&mut out, &[refuse_after.0]);
            put32(&mut out, &[order.by]);
            out.extend_from_slice(order.reason.as_bytes());
        }
        Op::Inquire(Inquire { more, inquiry, to, key: _ }) => {
            begin(&mut out, 14, inquiry);
            out.extend_from_slice(&to.0.to_be_bytes());
            out.extend_from_slice(more);
        }
        Op::Declare(declare) => {
            begin(&mut out, 15, &declare.inquiry);
            out.extend_from_slice(&declare.from.0.to_be_bytes());
            out.extend_from_slice(&declare.declarations);
        }
        Op::ReadRegister(read) => put_read(&mut out, read),
        Op::WriteRegister(write) => put_write(&mut out, write),
        Op::Finish(finish) => put_finish(&mut out, finish),
    }
    out
}

fn put_read(out: &mut Vec<u8>, read: &ReadRegister) {
    let (known, etag) = match read.known {
        Known::Nothing => (0, Etag::NEVER),
        Known::Absent => (1, Etag::NEVER),
        Known::Version(etag) => (2, etag),
    };
    out.extend_from_slice(&[7, known]);
    put_etag(out, &etag);
    out.push(u8::from(read.watch.is_some()));
    let (watcher, ttl) =
        read.watch.map_or((Incarnation(0), 0), |watch| (watch.incarnation, micros(watch.ttl)));
    out.extend_from_slice(&watcher.0.to_be_bytes());
    put64(out, &[ttl]);
    put_bound(out, read.bound);
}

fn put_write(out: &mut Vec<u8>, write: &WriteRegister) {
    let (condition, etag) = match write.condition {
        Condition::Any => (0, Etag::NEVER),
        Condition::Absent => (1, Etag::NEVER),
        Condition::Present => (2, Etag::NEVER),
        Condition::Match(etag) => (3, etag),
    };
    begin(out, 8, &write.id);
    put64(out, &[write.refuse_after.0]);
    out.push(condition);
    put_etag(out, &etag);
    put_bound(out, write.bound);
    out.push(u8::from(write.value.is_some()));
    out.extend_from_slice(write.value.as_deref().unwrap_or_default());
}

fn put_bound(out: &mut Vec<u8>, bound: Option<Bound>) {
    match bound {
        None => out.push(0),
        Some(Bound { tenure, fence }) => {
            begin(out, 1, &tenure);
            put64(out, &[fence]);
        }
    }
}

fn put_etag(out: &mut Vec<u8>, etag: &Etag) {
    put64(out, &[etag.number]);
    out.extend_from_slice(&etag.writer.incarnation.0.to_be_bytes());
    put64(out, &[etag.writer.seq]);
}

fn put_finish(out: &mut Vec<u8>, finish: &Finish) {
    let Finish { tenure, fence, granted_at, window, result, refuse_after, key: _ } = finish;
    begin(out, 6, tenure);
    put64(out, &[*fence, granted_at.0, micros(window.per)]);
    out.push(match window.align {
        Align::Rolling => 0,
        Align::Utc => 1,
    });
    put64(out, &[refuse_after.0]);
    out.extend_from_slice(result);
}

fn begin(out: &mut Vec<u8>, verb: u8, id: &AskId) {
    out.push(verb);
    out.extend_from_slice(&id.incarnation.0.to_be_bytes());
    put64(out, &[id.seq]);
}

fn put32(out: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

fn put64(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// What a script answered to one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It ran.
    Reply(Reply),
    /// It wrote nothing: the record can not be read, or Redis refused.
    Fault(String),
}

/// Reads one answer; nothing if it is none.
pub(super) fn answer(bytes: &[u8]) -> Option<Answer> {
    let (code, fields) = bytes.split_first()?;
    let mut from = Fields(fields);
    let reply = match code {
        1 => Reply::Granted(Tenancy {
            units: from.u32()?,
            remaining: Duration::from_millis(from.u64()?),
            origin: from.u64()?,
            range: FenceRange { first: from.u64()?, last: from.u64()? },
            contended: from.flag()?,
        }),
        2 => Reply::Queued(Queued {
            ahead: from.u32()?,
            retry: Duration::from_micros(from.u64()?),
            holder: if from.0.is_empty() { None } else { Some(from.incarnation()?) },
        }),
        3 => Reply::Stale,
        4 => Reply::TooLate,
        5 => Reply::LimitMismatch { limit: from.u32()? },
        6 => Reply::ClockRegressed,
        7 => Reply::Renewed {
            remaining: Duration::from_millis(from.u64()?),
            origin: from.u64()?,
            contended: from.flag()?,
            range: match from.0 {
                [] => None,
                _ => Some(FenceRange { first: from.u64()?, last: from.u64()? }),
            },
        },
        8 => Reply::Gone,
        16 => Reply::Quarantined { ahead: from.u32()?, left: Duration::from_micros(from.u64()?) },
        17 => Reply::Forgotten,
        9 => Reply::Returned,
        10 => Reply::Withdrawn,
        11 => Reply::Told,
        30 => Reply::Published,
        31 => Reply::Board(Some(from.rest()).filter(|body| !body.is_empty()).map(Arc::from)),
        32 => Reply::Record(peeked(&mut from)?),
        15 => Reply::UpgradeConflict { upgrader: from.incarnation()? },
        40 => {
            Reply::Forced { seq: from.u64()?, order: Order { by: from.u32()?, reason: from.text()?.into() } }
        }
        41 => Reply::Unlocked(from.taken()?),
        20 => Reply::Register(Some(from.version()?)),
        21 => Reply::Register(None),
        22 => Reply::Unchanged,
        23 => Reply::Written(from.etag()?),
        24 if from.0.is_empty() => Reply::Conflict(None),
        24 => Reply::Conflict(Some(from.version()?)),
        25 => Reply::StaleFence,
        13 => Reply::Finished(Success {
            finished_at: StoreTime(from.u64()?),
            window_end: StoreTime(from.u64()?),
            result: from.rest().into(),
        }),
        12 => return Some(Answer::Fault(String::from_utf8_lossy(fields).into_owned())),
        _ => return None,
    };
    from.0.is_empty().then_some(Answer::Reply(reply))
}

fn peeked(from: &mut Fields<'_>) -> Option<Peeked> {
    let (limit, tenures, queue) = (from.u32()?, from.u32()?, from.u32()?);
    let id = |from: &mut Fields<'_>| Some(AskId { incarnation: from.incarnation()?, seq: from.u64()? });
    let tenure = |from: &mut Fields<'_>| {
        let (id, units) = (id(from)?, from.u32()?);
        Some(PeekedTenure { id, units, remaining: Duration::from_millis(from.u64()?) })
    };
    let entry = |from: &mut Fields<'_>| {
        Some(PeekedEntry { id: id(from)?, units: from.u32()?, offered: from.flag()? })
    };
    Some(Peeked {
        limit,
        tenures: (0..tenures).map(|_| tenure(from)).collect::<Option<_>>()?,
        queue: (0..queue).map(|_| entry(from)).collect::<Option<_>>()?,
    })
}

/// Reads a message of the inbox; nothing if it is none of ours.
pub(super) fn push(message: &[u8]) -> Option<Push> {
    let (kind, fields) = message.split_first()?;
    let mut from = Fields(fields);
    let ask = AskId { incarnation: from.incarnation()?, seq: from.u64()? };
    let free_in = if *kind == BUSY { Some(Duration::from_micros(from.u64()?)) } else { None };
    let declares = if *kind == DECLARED { Some(from.incarnation()?) } else { None };
    let more = if matches!(*kind, INQUIRED | DECLARED) { from.lengthy()? } else { Arc::default() };
    let [letter] = from.take()?;
    let escaped = std::str::from_utf8(from.0).ok()?;
    let key = Key::of(Space::from_letter(letter)?, &unescape(escaped)?).ok()?;
    match *kind {
        1 => Some(Push::Offer { key, ask }),
        2 => Some(Push::Recall { key, ask }),
        BUSY => Some(Push::Busy { key, ask, free_in: free_in.filter(|span| !span.is_zero()) }),
        5 => Some(Push::Forced { key, tenure: ask }),
        4 => Some(Push::Changed { key }),
        INQUIRED => Some(Push::Inquired { key, more, inquiry: ask }),
        DECLARED => declares
            .map(|from| Push::Declared(Box::new(Declare { key, inquiry: ask, from, declarations: more }))),
        _ => None,
    }
}

/// The clock beside an answer: microseconds, as `TIME` has it.
pub(super) fn store_time(micros: i64) -> Option<StoreTime> {
    u64::try_from(micros).ok().map(StoreTime)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn rest(&mut self) -> &[u8] {
        std::mem::take(&mut self.0)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        self.take::<1>().map(|[flag]| flag != 0)
    }

    fn incarnation(&mut self) -> Option<Incarnation> {
        self.take().map(u128::from_be_bytes).map(Incarnation)
    }

    /// Bytes behind their length.
    fn lengthy(&mut self) -> Option<Arc<[u8]>> {
        let length = self.take().map(u16::from_le_bytes)?;
        let (bytes, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some(bytes.into())
    }

    /// All that is left, as text.
    fn text(&mut self) -> Option<&str> {
        std::str::from_utf8(std::mem::take(&mut self.0)).ok()
    }

    /// All that is left, as tenures that were taken.
    fn taken(&mut self) -> Option<Vec<Taken>> {
        let mut all = Vec::new();
        while !self.0.is_empty() {
            let id = AskId { incarnation: self.incarnation()?, seq: self.u64()? };
            all.push(Taken { id, units: self.u32()?, remaining: Duration::from_micros(self.u64()?) });
        }
        Some(all)
    }

    fn etag(&mut self) -> Option<Etag> {
        let number = self.u64()?;
        Some(Etag { number, writer: AskId { incarnation: self.incarnation()?, seq: self.u64()? } })
    }

    /// All that is left.
    fn version(&mut self) -> Option<Version> {
        let etag = self.etag()?;
        Some(Version { etag, value: std::mem::take(&mut self.0).into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_read_and_nonsense_is_not() {
        let message = |kind: u8, key: &str| {
            [&[kind][..], &7u128.to_be_bytes(), &9u64.to_le_bytes(), b"l", key.as_bytes()].concat()
        };
        let ask = AskId { incarnation: Incarnation(7), seq: 9 };
        let key = Key::new("a:b").unwrap();
        assert_eq!(push(&message(1, "a%3Ab")), Some(Push::Offer { key: key.clone(), ask }));
        assert_eq!(push(&message(2, "a%3Ab")), Some(Push::Recall { key: key.clone(), ask }));
        let busy = |free_in: u64| {
            let message = message(BUSY, "");
            [&message[..25], &free_in.to_le_bytes(), b"la%3Ab"].concat()
        };
        assert_eq!(push(&busy(0)), Some(Push::Busy { key: key.clone(), ask, free_in: None }));
        let free_in = Some(Duration::from_micros(1_500));
        assert_eq!(push(&busy(1_500)), Some(Push::Busy { key: key.clone(), ask, free_in }));
        assert_eq!(push(&busy(0)[..33]), None, "cut before its key");
        let declared = [&message(DECLARED, "")[..25], &8u128.to_be_bytes(), b"\x02\0SSla%3Ab"].concat();
        let (inquiry, from) = (ask, Incarnation(8));
        let declare = Declare { key: key.clone(), inquiry, from, declarations: Arc::from(*b"SS") };
        assert_eq!(push(&declared), Some(Push::Declared(Box::new(declare))));
        for cut in 0..=declared.len() - b"a%3Ab".len() {
            assert_eq!(push(&declared[..cut]), None, "cut after {cut} bytes");
        }
        let inquired = |more: &[u8]| {
            let length = (more.len() as u16).to_le_bytes();
            [&message(INQUIRED, "")[..25], &length, more, b"la%3Ab"].concat()
        };
        for more in [&b""[..], b"\x02\0lk"] {
            let inquired = inquired(more);
            let heard = Push::Inquired { key: key.clone(), more: more.into(), inquiry };
            assert_eq!(push(&inquired), Some(heard));
            for cut in 0..=inquired.len() - b"a%3Ab".len() {
                assert_eq!(push(&inquired[..cut]), None, "cut after {cut} bytes");
            }
        }
        let whole = message(1, "k");
        for cut in 0..whole.len() {
            assert_eq!(push(&whole[..cut]), None, "cut after {cut} bytes");
        }
        for nonsense in [message(99, "k"), message(1, "%zz"), message(1, &"k".repeat(513))] {
            assert_eq!(push(&nonsense), None);
        }
    }

    #[test]
    fn an_answer_is_exactly_its_fields() {
        assert_eq!(answer(&[10]), Some(Answer::Reply(Reply::Withdrawn)));
        assert_eq!(answer(&[5, 4, 0, 0, 0]), Some(Answer::Reply(Reply::LimitMismatch { limit: 4 })));
        assert_eq!(answer(b"\x0ccorrupt"), Some(Answer::Fault("corrupt".into())));
        for nonsense in [&[][..], &[0], &[13], &[99], &[10, 0], &[5, 4, 0, 0], &[5, 4, 0, 0, 0, 0], &[1, 1]] {
            assert_eq!(answer(nonsense), None, "{nonsense:?}");
        }
    }
}
