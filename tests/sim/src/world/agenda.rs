//! What will happen next in a simulated world.
//!
//! Owns the order of events: by time, and among equals by who was put down first. Must not know what they mean.

use crate::checker::history::At;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Things to come. Bodies lie in a slab, so that the heap moves three words at a time.
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Reverse<(At, u64, u32)>>,
    bodies: Vec<Option<T>>,
    free: Vec<u32>,
    next: u64,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Agenda<T> {
        Agenda { heap: BinaryHeap::new(), bodies: Vec::new(), free: Vec::new(), next: 0 }
    }

    pub(crate) fn put(&mut self, at: At, body: T) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.bodies.push(None);
            u32::try_from(self.bodies.len() - 1).expect("fewer than 2^32 things to come")
        });
        self.bodies[index as usize] = Some(body);
        self.heap.push(Reverse((at, self.next, index)));
        self.next += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<(At, T)> {
        let Reverse((at, _, index)) = self.heap.pop()?;
        self.free.push(index);
        let body = self.bodies[index as usize].take();
        Some((at, body.expect("every entry of the heap has a body")))
    }
}
