//! Whole stories: the bytes choose who says which frame when, what the store and the network do meanwhile, and how time
//! passes; two sidecars live through it.
//!
//! A frame takes the road it takes in the daemon, which the daemon lends for it: it is written as bytes (and sometimes
//! damaged), cut by the decoder, decoded, and admitted by the real gate; what passes goes to the engine. Connections and
//! the driver are left out, for time: here an hour passes at once. Unlike the simulator's clients, which keep to the
//! protocol, these use numbers twice, name leases of others, and go on after they were sent away.
//!
//! What must hold after each step: no panic, the engine's own assertions included; what `book.rs` keeps account of (one
//! answer for each request, rising fences, never more units than there are, no deadline that nobody confirmed); and at
//! the end, when everybody has gone and time has passed, nothing is left.

mod book;
mod network;
mod step;
mod world;

use crate::Marks;
use step::{STEP_BYTES, Step};
use world::World;

/// Steps of a story at most: more tell no more.
const STEPS_MAX: usize = 400;

pub(crate) use step::seeds;

pub(crate) fn check(bytes: &[u8], marks: &mut Marks) {
    let mut world = World::new(marks);
    let (steps, _) = bytes.as_chunks::<STEP_BYTES>();
    for step in steps.iter().take(STEPS_MAX) {
        world.take(&Step::read(step));
        world.look();
    }
    world.end();
}
