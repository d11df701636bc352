//! Deadlocks among the owners of a fleet, as far as one look at it shows (P14, P15).
//!
//! Owns how records and boards become one graph, and which of it stood between two looks. Must not know when one looks.
//!
//! Nothing is in the graph that does not bind: of a sidecar whose entry waits ahead at the store only the head, because
//! those behind it may be served after whoever waits at the store; of an entry that is offered nobody; and where two
//! queues have no known order, none.

use crate::board::{Board, BoardWait, Holding, Line};
use crate::cycle::{Cycle, Edge};
use crate::model::{Incarnation, Key, StoreTime, WHOLE};
use crate::mutant::Mutant;
use crate::store::{Peeked, PeekedEntry};
use crate::survey::SurveyEdge;
use crate::wait_graph::{Knot, Rank, Ring, WaitGraph, Why};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What one look at a part of the fleet showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub(crate) boards: BTreeMap<Incarnation, Board>,
    pub(crate) records: BTreeMap<Key, Peeked>,
    /// The store's clock when one looked.
    pub(crate) at: StoreTime,
}

/// Owners of some sidecars who wait for each other and for nobody else.
pub(crate) struct FleetKnot {
    /// Where they are.
    pub(crate) sidecars: BTreeSet<Incarnation>,
    /// What they wait for.
    pub(crate) keys: BTreeSet<Key>,
    /// Who is told: its sidecar, and which of its waits ([`BoardWait::wait`]).
    pub(crate) victim: (Incarnation, u64),
    /// What it is told.
    pub(crate) cycle: Cycle,
}

impl Look {
    /// Waits of the fleet: sidecar, its queue, the wait.
    fn waits(&self) -> impl Iterator<Item = (Incarnation, &Line, &BoardWait)> {
        self.boards.iter().flat_map(|(sidecar, board)| {
            board.lines.iter().flat_map(move |line| line.waits.iter().map(move |wait| (*sidecar, line, wait)))
        })
    }

    /// Keys that must be looked at: those that owners wait for who hold, or are in line for, what was looked at so far.
    pub(crate) fn keys_to_see(&self, from: impl IntoIterator<Item = Key>) -> BTreeSet<Key> {
        let mut seen: BTreeSet<Key> = from.into_iter().collect();
        loop {
            let matters = |line: &Line, wait: &BoardWait| {
                seen.contains(&line.key) || wait.holds.iter().any(|holding| seen.contains(&holding.key))
            };
            let more =
                self.waits().filter(|(_, line, wait)| !seen.contains(&line.key) && matters(line, wait));
            let more: Vec<Key> = more.map(|(_, line, _)| line.key.clone()).collect();
            if more.is_empty() {
                return seen;
            }
            seen.extend(more);
        }
    }

    /// Sidecars that the records name: they hold or wait.
    pub(crate) fn sidecars_to_see(&self) -> BTreeSet<Incarnation> {
        let ids = self.records.values().flat_map(|record| {
            let queue = record.queue.iter().map(|entry| entry.id.incarnation);
            record.tenures.iter().map(|tenure| tenure.id.incarnation).chain(queue)
        });
        ids.collect()
    }

    /// Who waits for whom, directly.
    pub(crate) fn edges(&self) -> Vec<SurveyEdge> {
        let graph = FleetGraph::of(self, None);
        let name = |owner: usize| (graph.owners[owner].0, graph.owners[owner].2.wait);
        let edges = graph.search.edges().into_iter().map(|(owner, blocker, why)| SurveyEdge {
            from: name(owner),
            to: name(blocker),
            key: graph.owners[owner].1.key.clone(),
            ahead: why == Why::Ahead,
        });
        edges.collect()
    }

    /// All knots, and those that are left when the victims of the former are gone: each is a deadlock whatever becomes of
    /// the others, so nobody has to wait for a verdict that another sidecar gives.
    pub(crate) fn knots(&self, mutant: Option<Mutant>) -> Vec<FleetKnot> {
        let mut left = self.clone();
        let mut all = Vec::new();
        loop {
            let graph = FleetGraph::of(&left, mutant);
            let knots: Vec<FleetKnot> = graph.search.knots().iter().map(|knot| graph.tell(knot)).collect();
            if knots.is_empty() {
                return all;
            }
            knots.iter().for_each(|knot| left.forget(knot.victim));
            all.extend(knots);
        }
    }

    /// It waits no longer.
    fn forget(&mut self, (sidecar, wait): (Incarnation, u64)) {
        let board = self.boards.get_mut(&sidecar);
        let lines = board.map_or(&mut [][..], |board| &mut board.lines);
        lines.iter_mut().for_each(|line| line.waits.retain(|other| other.wait != wait));
    }

    /// What both looks showed, and so was so all the time between them: a wait, a lease and a place in line have names
    /// that are never used again.
    pub(crate) fn standing(&self, later: &Look) -> Look {
        let mut both = Look { at: later.at, ..Look::default() };
        for (sidecar, board) in &later.boards {
            let Some(before) = self.boards.get(sidecar) else { continue };
            let lines = board.lines.iter().filter_map(|line| {
                let before = before.lines.iter().find(|before| before.key == line.key)?;
                Some(standing_line(before, line))
            });
            both.boards.insert(*sidecar, Board { version: board.version, lines: lines.collect() });
        }
        for (key, record) in &later.records {
            let Some(before) = self.records.get(key) else { continue };
            both.records
                .insert(key.clone(), Peeked { queue: standing_queue(before, record), ..record.clone() });
        }
        both
    }
}

fn standing_line(before: &Line, line: &Line) -> Line {
    let waits = line.waits.iter().filter_map(|wait| {
        let before = before.waits.iter().find(|before| before.wait == wait.wait)?;
        let held = |holding: &Holding| {
            before.holds.iter().any(|other| other.key == holding.key && other.lease == holding.lease)
        };
        let holds = wait.holds.iter().filter(|holding| held(holding)).cloned().collect();
        Some(BoardWait { holds, head: wait.head && before.head, ..wait.clone() })
    });
    Line {
        ask: line.ask.filter(|_| line.ask == before.ask),
        yields: line.yields && before.yields,
        keeps: line.keeps && before.keeps,
        waits: waits.collect(),
        ..line.clone()
    }
}

/// Entries that kept their order; of two that did not, the one that was ahead later.
fn standing_queue(before: &Peeked, record: &Peeked) -> Vec<PeekedEntry> {
    let mut reached = 0;
    let mut standing = Vec::new();
    for entry in &record.queue {
        let place = before.queue.iter().position(|other| other.id == entry.id);
        if let Some(place) = place.filter(|&place| place >= reached && !before.queue[place].offered) {
            reached = place;
            standing.push(*entry);
        }
    }
    standing
}

/// The graph, and who its owners are.
struct FleetGraph<'a> {
    search: WaitGraph,
    /// By their number in the search.
    owners: Vec<(Incarnation, &'a Line, &'a BoardWait)>,
    now: StoreTime,
    mutant: Option<Mutant>,
}

impl<'a> FleetGraph<'a> {
    fn of(look: &'a Look, mutant: Option<Mutant>) -> FleetGraph<'a> {
        let search = WaitGraph::new(mutant);
        let mut graph = FleetGraph { search, owners: Vec::new(), now: look.at, mutant };
        let mut keys: BTreeMap<&Key, usize> = BTreeMap::new();
        for (_, line, _) in look.waits() {
            keys.entry(&line.key).or_insert_with(|| graph.search.key(line.limit));
        }
        for (key, number) in &keys {
            graph.add_lines(look, key, *number);
        }
        for (number, (_, _, wait)) in graph.owners.iter().enumerate() {
            for holding in &wait.holds {
                if let Some(&key) = keys.get(&holding.key) {
                    graph.search.holds(number, key, holding.units);
                }
            }
        }
        graph
    }

    /// The queues of all sidecars for a key: first those whose turn has come already, then those that wait at the store,
    /// in the order there.
    fn add_lines(&mut self, look: &'a Look, key: &Key, number: usize) {
        let lines = look.boards.iter().flat_map(|(sidecar, board)| {
            board.lines.iter().filter(|line| line.key == *key).map(|line| (*sidecar, line))
        });
        let entries = look.records.get(key).map_or(&[][..], |record| &record.queue);
        let place = |sidecar: Incarnation, line: &Line| {
            let ask = line.ask?;
            entries
                .iter()
                .position(|entry| !entry.offered && entry.id.incarnation == sidecar && entry.id.seq == ask)
        };
        let mut placed: Vec<_> =
            lines.clone().filter_map(|(s, line)| Some((place(s, line)?, s, line))).collect();
        placed.sort_by_key(|(place, ..)| *place);
        // What is kept of a lock is all of it. Of a semaphore nothing is kept from those who wait at the store.
        let keeps = |line: &Line| line.keeps && line.limit == WHOLE;
        let mut ahead = 0;
        for (sidecar, line) in lines.clone().filter(|(_, line)| keeps(line)) {
            let lane = self.search.lane(number, 0);
            self.add_line(sidecar, line, (number, lane));
            ahead += 1;
        }
        for (_, sidecar, line) in placed {
            let lane = self.search.lane(number, ahead);
            self.add_line(sidecar, line, (number, lane));
            ahead += 1;
        }
        for (sidecar, line) in lines.filter(|(sidecar, line)| !keeps(line) && place(*sidecar, line).is_none())
        {
            let lane = self.search.lane(number, if line.yields { ahead } else { 0 });
            self.add_line(sidecar, line, (number, lane));
        }
    }

    fn add_line(&mut self, sidecar: Incarnation, line: &'a Line, place: (usize, usize)) {
        for wait in &line.waits {
            let since = match Mutant::VictimByChance.is(self.mutant) {
                true => wait.since.0.wrapping_mul(self.now.0 | 1),
                false => wait.since.0,
            };
            let holds = !wait.holds.is_empty();
            let rank = Rank::new(holds, wait.priority, since, sidecar, wait.id.to_string());
            self.search.waits(rank, place, wait.units, wait.head, wait.upgrades);
            self.owners.push((sidecar, line, wait));
        }
    }

    fn tell(&self, knot: &Knot) -> FleetKnot {
        let members = || knot.members.iter().map(|&owner| self.owners[owner]);
        let (sidecar, _, wait) = self.owners[knot.ring[0].0];
        FleetKnot {
            sidecars: members().map(|(sidecar, _, _)| sidecar).collect(),
            keys: members().map(|(_, line, _)| line.key.clone()).collect(),
            victim: (sidecar, wait.wait),
            cycle: self.cycle(&knot.ring),
        }
    }

    fn cycle(&self, ring: &Ring) -> Cycle {
        let since = |then: StoreTime| Duration::from_micros(self.now.0.saturating_sub(then.0));
        let next = ring.iter().cycle().skip(1);
        let edges = ring.iter().zip(next).map(|(&(owner, why), &(blocker, _))| {
            let (sidecar, line, wait) = self.owners[owner];
            let holdings = self.owners[blocker].2.holds.iter().filter(|holding| holding.key == line.key);
            let held_for = holdings.map(|holding| since(holding.since)).max().filter(|_| why == Why::Held);
            Edge {
                key: line.key.clone(),
                mode: line.mode(wait.units),
                owner: wait.name.clone(),
                app: wait.app.clone(),
                sidecar,
                waiting_for: since(wait.since),
                held_for,
            }
        });
        Cycle { edges: edges.collect() }
    }
}

#[cfg(test)]
#[path = "tests/fleet_graph.rs"]
mod tests;
