//! Which node a call goes to, and in which order.
//!
//! Owns the map of slots and what is under way of each slot. Keeps for each key the order in which its calls were handed over,
//! whatever is redirected: the calls of a slot are under way at one node at a time, and what was redirected leaves again when
//! the last of them is answered, unless a later call on its key ran before. A value: it does nothing itself.

use super::slots::{Redirect, SLOTS, Slot, redirect, redirect_of};
use crate::redis::address::Address;
use sidelock_engine::store::{Call, CallId, Fault, Outcome};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How often a call is redirected before the engine hears of it: nodes that do not agree soon will.
const HOPS_MAX: u8 = 5;

/// A node, numbered by when it was first heard of.
pub(crate) type Node = usize;

/// Where calls go, and what is known of them.
#[derive(Debug)]
pub(crate) struct Routes {
    nodes: Vec<Address>,
    owners: Vec<Option<Node>>,
    lanes: HashMap<Slot, Lane>,
    /// Calls under way.
    flying: HashMap<CallId, Flying>,
    /// What is to be done, for [`Routes::take`].
    todo: Todo,
}

/// What follows.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Todo {
    /// Calls for a node; those with `true` say ASKING first.
    pub(crate) send: BTreeMap<(Node, bool), Vec<Call>>,
    /// Outcomes for the engine.
    pub(crate) answers: Vec<(CallId, Outcome)>,
    /// The map of slots is not what it should be.
    pub(crate) look: bool,
    /// Slots have another owner than before.
    pub(crate) moved: bool,
}

/// A call, and how often it was redirected.
#[derive(Clone, Debug)]
struct Trip {
    call: Call,
    hops: u8,
}

#[derive(Debug)]
struct Flying {
    trip: Trip,
    slot: Slot,
}

/// What is under way of a slot, all at one node.
#[derive(Debug)]
struct Lane {
    to: (Node, bool),
    flying: usize,
    /// Redirected, and where to if only this once.
    again: Vec<(Trip, Option<Node>)>,
    /// Came since, or could not leave with what they came with.
    waiting: VecDeque<Trip>,
}

impl Default for Routes {
    fn default() -> Routes {
        Routes {
            nodes: Vec::new(),
            owners: vec![None; SLOTS.into()],
            lanes: HashMap::new(),
            flying: HashMap::new(),
            todo: Todo::default(),
        }
    }
}

impl Routes {
    /// What is to be done since it was last taken.
    pub(crate) fn take(&mut self) -> Todo {
        std::mem::take(&mut self.todo)
    }

    /// Where a node is.
    pub(crate) fn address(&self, node: Node) -> &Address {
        &self.nodes[node]
    }

    /// The node that has the slot.
    pub(crate) fn owner(&self, slot: Slot) -> Option<Node> {
        self.owners[usize::from(slot)]
    }

    /// All nodes that have slots, in the order of their numbers.
    pub(crate) fn owners(&self) -> Vec<Node> {
        let mut owners: Vec<Node> = self.owners.iter().copied().flatten().collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Takes a new map: ranges of slots and whose they are. Slots that are not in it keep their owner. Whether something is new in
    /// it.
    pub(crate) fn learn(&mut self, ranges: Vec<(Slot, Slot, Address)>) -> bool {
        let moved = std::mem::take(&mut self.todo.moved);
        for (first, last, address) in ranges {
            let node = self.node(address);
            for slot in first..=last.min(SLOTS - 1) {
                self.own(slot, node);
            }
        }
        let news = self.todo.moved;
        self.todo.moved |= moved;
        news
    }

    /// A node has said, if it has, that a slot is another one's.
    pub(crate) fn told(&mut self, by: &Address, text: &str) {
        if let Some(Redirect { slot, host, port, asking: false }) = redirect_of(text) {
            let owner = self.node(by.sibling(host, port));
            self.own(slot, owner);
            self.todo.look = true;
        }
    }

    fn own(&mut self, slot: Slot, node: Node) {
        self.todo.moved |= self.owners[usize::from(slot)].replace(node) != Some(node);
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.is_empty()
    }

    fn node(&mut self, address: Address) -> Node {
        self.nodes.iter().position(|known| *known == address).unwrap_or_else(|| {
            self.nodes.push(address);
            self.nodes.len() - 1
        })
    }

    /// A call of the engine.
    pub(crate) fn call(&mut self, slot: Slot, call: Call) {
        let (trip, owner) = (Trip { call, hops: 0 }, self.owner(slot));
        match self.lanes.get_mut(&slot) {
            Some(lane) if !lane.takes(owner) => lane.waiting.push_back(trip),
            _ => self.launch(slot, owner.map(|owner| (owner, false)), vec![trip]),
        }
    }

    /// What became of a call at a node.
    pub(crate) fn answered(&mut self, node: Node, id: CallId, outcome: Outcome) {
        let Some(Flying { mut trip, slot }) = self.flying.remove(&id) else { return };
        let Some(lane) = self.lanes.get_mut(&slot) else { return };
        lane.flying -= 1;
        let redirected = redirect(&outcome).filter(|_| trip.hops < HOPS_MAX);
        match redirected.map(|to| (to.asking, self.nodes[node].sibling(to.host, to.port))) {
            Some((asking, address)) => {
                trip.hops += 1;
                let target = self.node(address);
                if !asking {
                    self.own(slot, target);
                    self.todo.look = true;
                }
                if let Some(lane) = self.lanes.get_mut(&slot) {
                    lane.again.push((trip, asking.then_some(target)));
                }
            }
            None => {
                self.todo.look |= is_lost(&outcome);
                let key = trip.call.op.key();
                // Sent again they would run after this one, which came after them.
                for (overtaken, _) in lane.again.extract_if(.., |(other, _)| other.call.op.key() == key) {
                    let refused = Outcome::NotApplied(Fault::Unready("MOVED".into()));
                    self.todo.answers.push((overtaken.call.id, refused));
                }
                self.todo.answers.push((id, outcome));
            }
        }
        self.go_on(slot);
    }

    /// If nothing of the slot is under way any more, what waited for that leaves, as far as it goes to one node.
    fn go_on(&mut self, slot: Slot) {
        if self.lanes.get(&slot).is_none_or(|lane| lane.flying > 0) {
            return;
        }
        let Some(Lane { mut again, waiting, .. }) = self.lanes.remove(&slot) else { return };
        again.sort_by_key(|(trip, _)| trip.call.id);
        let mut queue: VecDeque<(Trip, Option<Node>)> = again.into();
        queue.extend(waiting.into_iter().map(|trip| (trip, None)));
        let owner = self.owner(slot);
        let place = |asked: Option<Node>| match asked {
            Some(node) => Some((node, true)),
            None => owner.map(|owner| (owner, false)),
        };
        while let Some((_, asked)) = queue.front().filter(|_| !self.lanes.contains_key(&slot)) {
            let to = place(*asked);
            let together = queue.iter().take_while(|(_, asked)| place(*asked) == to).count();
            let leaving = queue.drain(..together).map(|(trip, _)| trip).collect();
            self.launch(slot, to, leaving);
        }
        if let Some(lane) = self.lanes.get_mut(&slot) {
            // Those were redirected for once: they ask the owner again, and are told again.
            lane.waiting.extend(queue.into_iter().map(|(trip, _)| trip));
        }
    }

    fn launch(&mut self, slot: Slot, to: Option<(Node, bool)>, trips: Vec<Trip>) {
        let Some(to) = to else {
            self.todo.look = true;
            let nobody = Fault::Unready(format!("CLUSTERDOWN nobody has slot {slot}"));
            let refused = |trip: Trip| (trip.call.id, Outcome::NotApplied(nobody.clone()));
            return self.todo.answers.extend(trips.into_iter().map(refused));
        };
        let lane = self.lanes.entry(slot).or_insert_with(|| Lane::to(to));
        lane.flying += trips.len();
        let sent = self.todo.send.entry(to).or_default();
        for trip in trips {
            sent.push(trip.call.clone());
            self.flying.insert(trip.call.id, Flying { trip, slot });
        }
    }
}

impl Lane {
    fn to(to: (Node, bool)) -> Lane {
        Lane { to, flying: 0, again: Vec::new(), waiting: VecDeque::new() }
    }

    /// Whether a call for the slot's owner may follow those under way.
    fn takes(&self, owner: Option<Node>) -> bool {
        owner == Some(self.to.0) && !self.to.1 && self.again.is_empty() && self.waiting.is_empty()
    }
}

/// Whether it says that the map is not what it was.
fn is_lost(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Applied { .. } => false,
        Outcome::NotApplied(Fault::Down) | Outcome::Unknown(_) => true,
        Outcome::NotApplied(Fault::Unready(text)) => {
            ["MOVED", "CLUSTERDOWN", "READONLY"].iter().any(|code| text.starts_with(code))
        }
        Outcome::NotApplied(_) => false,
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
