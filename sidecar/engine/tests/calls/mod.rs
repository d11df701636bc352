//! The calls of an engine, one kind at a time, for tests that look at few of them.

use super::world::World;
use sidelock_engine::store::{Call, Op};

/// The call of this kind that it sends next; others are left out.
pub(crate) fn next(world: &mut World, is_it: fn(&Op) -> bool) -> Call {
    loop {
        let call = world.calls.pop_front().expect("there is such a call");
        if is_it(&call.op) {
            return call;
        }
    }
}

pub(crate) fn ask(world: &mut World) -> Call {
    next(world, |op| matches!(op, Op::Ask(_)))
}
