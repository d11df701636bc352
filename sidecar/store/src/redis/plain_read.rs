//! Reads of registers that need no script.
//!
//! Who reads on no condition and under no lease, and watches nothing, changes nothing: a GET does for that, at a fifth of what a
//! script's step costs Redis. Owns the commands for it and what their answers say. Must not know the rule of a read: that is
//! `register.rs`, the same for both stores.

use super::codec;
use super::fault;
use super::names::Names;
use crate::encoding::RecordError;
use crate::register::{Register, Step};
use redis::{Pipeline, Value};
use sidelock_engine::StoreTime;
use sidelock_engine::store::{Call, CallId, Fault, Op, Outcome, ReadRegister};

/// The read, where the operation is one of these.
pub(super) fn plain(op: &Op) -> Option<&ReadRegister> {
    match op {
        Op::ReadRegister(read) => (read.bound.is_none() && read.watch.is_none()).then_some(read),
        _ => None,
    }
}

/// Commands for as many reads.
pub(super) fn requests(reads: usize) -> usize {
    if reads == 0 { 0 } else { reads + 1 }
}

/// Puts the reads among `calls` into the pipeline, behind the clock, each behind an ASKING if so.
pub(super) fn add(pipeline: &mut Pipeline, names: &Names, calls: &[Call], asking: bool) {
    for (place, read) in calls.iter().filter_map(|call| plain(&call.op)).enumerate() {
        if place == 0 {
            pipeline.cmd("TIME");
        }
        if asking {
            pipeline.cmd("ASKING");
        }
        pipeline.cmd("GET").arg(names.record(&read.key));
    }
}

/// What the answers say about the reads among `calls`.
pub(super) fn read(
    calls: &[Call],
    values: impl IntoIterator<Item = Value>,
    asking: bool,
) -> Vec<(CallId, Outcome)> {
    let mut values = values.into_iter();
    let clock = values.next().unwrap_or(Value::Nil);
    let (skipped, step) = if asking { (1, 2) } else { (0, 1) };
    let values = values.skip(skipped).step_by(step);
    let at = time(&clock);
    let reads = calls.iter().filter_map(|call| Some((call.id, plain(&call.op)?)));
    reads
        .zip(values)
        .map(|((id, read), value)| {
            let outcome = match at {
                Some(at) => answer(at, read, &value),
                None => not_read(&clock),
            };
            (id, outcome)
        })
        .collect()
}

fn time(value: &Value) -> Option<StoreTime> {
    let (seconds, micros): (i64, i64) = redis::from_redis_value(value.clone()).ok()?;
    codec::store_time(seconds.checked_mul(1_000_000)?.checked_add(micros)?)
}

fn answer(at: StoreTime, read: &ReadRegister, value: &Value) -> Outcome {
    let stored = match value {
        Value::Nil => None,
        Value::BulkString(bytes) => match Register::decode(bytes) {
            Ok(register) => Some(register),
            Err(error) => return Outcome::NotApplied(Fault::Corrupt(complaint(error))),
        },
        other => return not_read(other),
    };
    let (reply, ..) = Step::new(at, stored.as_ref(), None, None).read(read);
    Outcome::Applied { at, reply }
}

/// As the scripts put it.
fn complaint(error: RecordError) -> String {
    match error {
        RecordError::Corrupt(what) => format!("corrupt: {what}"),
        RecordError::TooNew(version) => {
            format!("record_too_new: it has format {version}, this version reads up to 1")
        }
    }
}

/// It was no answer to a GET, or an error: nothing is known, and nothing was changed.
fn not_read(value: &Value) -> Outcome {
    match value {
        Value::ServerError(error) => {
            fault::of_step(format!("{} {}", error.code(), error.details().unwrap_or_default()))
        }
        other => Outcome::NotApplied(Fault::Corrupt(format!("no register that can be read: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::store::{Known, Reply, Version};
    use sidelock_engine::{AskId, Etag, Incarnation, Key, Space};

    const ETAG: Etag = Etag { number: 7, writer: AskId { incarnation: Incarnation(1), seq: 1 } };

    fn reads(known: &[Known]) -> Vec<Call> {
        let key = Key::of(Space::Register, "r").unwrap();
        let read = |known| ReadRegister { key: key.clone(), known, watch: None, bound: None };
        let call =
            |(id, known): (usize, &Known)| Call { id: CallId(id as u64), op: Op::ReadRegister(read(*known)) };
        known.iter().enumerate().map(call).collect()
    }

    fn clock() -> Value {
        Value::Array(vec![Value::BulkString(b"5".into()), Value::BulkString(b"17".into())])
    }

    fn error(line: &str) -> Value {
        redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
    }

    fn outcomes(known: &[Known], values: Vec<Value>) -> Vec<Outcome> {
        read(&reads(known), values, false).into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn stored() -> Value {
        let register = Register { etag: ETAG, value: Some(b"v"[..].into()), ..Register::default() };
        Value::BulkString(register.encode())
    }

    #[test]
    fn a_read_is_answered_with_what_is_there_as_the_rules_have_it() {
        let known = [Known::Nothing, Known::Version(ETAG), Known::Nothing, Known::Absent];
        let read = outcomes(&known, vec![clock(), stored(), stored(), Value::Nil, Value::Nil]);
        let version = Version { etag: ETAG, value: b"v"[..].into() };
        let replies =
            [Reply::Register(Some(version)), Reply::Unchanged, Reply::Register(None), Reply::Unchanged];
        let applied = |reply| Outcome::Applied { at: StoreTime(5_000_017), reply };
        assert_eq!(read, replies.map(applied));
    }

    #[test]
    fn reads_that_ask_first_are_answered_behind_what_their_asking_says() {
        let calls = reads(&[Known::Nothing, Known::Nothing]);
        let values = vec![clock(), Value::Okay, stored(), Value::Okay, Value::Nil];
        let version = Version { etag: ETAG, value: b"v"[..].into() };
        let applied = |reply| Outcome::Applied { at: StoreTime(5_000_017), reply };
        let expected = [applied(Reply::Register(Some(version))), applied(Reply::Register(None))];
        let told: Vec<_> = read(&calls, values, true).into_iter().map(|(_, outcome)| outcome).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_can_not_be_read_is_told_as_the_scripts_tell_it() {
        let mut newer = vec![b'S', b'R', 2];
        newer.resize(68, 0);
        for (value, fault) in [
            (Value::BulkString(b"nonsense".into()), "corrupt: it does not begin like a register"),
            (Value::BulkString(newer), "record_too_new: it has format 2, this version reads up to 1"),
            (error("WRONGTYPE Operation against a key"), "WRONGTYPE Operation against a key"),
            (Value::Okay, "no register that can be read: ok"),
        ] {
            let told = outcomes(&[Known::Nothing], vec![clock(), value]);
            assert_eq!(told, [Outcome::NotApplied(Fault::Corrupt(fault.into()))]);
        }
    }

    #[test]
    fn a_redis_that_refuses_is_not_ready() {
        let loading = || error("LOADING Redis is loading");
        for values in [vec![clock(), loading()], vec![loading(), stored()]] {
            let told = outcomes(&[Known::Nothing], values);
            assert_eq!(told, [Outcome::NotApplied(Fault::Unready("LOADING Redis is loading".into()))]);
        }
    }
}
