//! Stored records: what a store, or somebody with a Redis shell, says that a key's state is.
//!
//! What must hold: no panic, and a record that was understood reads the same when it is written again.

use crate::Marks;
use sidelock_engine::store::Order;
use sidelock_engine::{AskId, FenceRange, Incarnation, StoreTime};
use sidelock_store::record::{Done, Entry, Forced, Record, Tenure};

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let id = |seq| AskId { incarnation: Incarnation(0x0123_4567_89ab_cdef), seq };
    let until = StoreTime(1_764_000_000_000_000);
    let range = FenceRange { first: 100, last: 200 };
    let tenure = |seq| Tenure { id: id(seq), units: 2, until, origin: 100, range };
    let entry = |seq, offered| Entry { id: id(seq), units: 1, offered, upgrade: seq == 4, until };
    let done = |seq| Done { incarnation: Incarnation(7), seq, until };
    let bare = Record { last: 99, limit: u32::MAX, ..Record::default() };
    let held = Record { last: 200, tenures: [tenure(1)].into(), ..bare.clone() };
    let busy = Record {
        limit: 10,
        tenures: [1, 2].map(tenure).into_iter().collect(),
        queue: [entry(3, true), entry(4, false), entry(5, false)].into(),
        done: [done(6)].into(),
        ..held.clone()
    };
    let order = |reason: &str| Order { by: 1000, reason: reason.into() };
    let forced = |seq, reason| Forced { id: id(seq), until, order: order(reason) };
    let taken = Record { forced: [forced(7, "stuck"), forced(8, "")].into(), ..busy.clone() };
    let grown = |record: &Record| Record {
        tenures: record.tenures.iter().map(|tenure| Tenure { origin: 90, ..*tenure }).collect(),
        ..record.clone()
    };
    let (one, all) = (grown(&held), grown(&taken));
    [bare, held, busy, taken, one, all].iter().map(Record::encode).collect()
}

pub(crate) fn check(bytes: &[u8], marks: &mut Marks) {
    match Record::decode(bytes) {
        Ok(record) => {
            let Record { tenures, queue, done, forced, .. } = &record;
            let few = |count: usize| count.min(4);
            let counts = [tenures.len(), queue.len(), done.len(), forced.len()];
            marks.saw(format!("{:?}", counts.map(few)));
            assert_eq!(Record::decode(&record.encode()), Ok(record), "written again");
        }
        Err(error) => marks.saw(format!("{error:?}")),
    }
}
