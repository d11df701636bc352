//! Who can not go on whatever the others do: the search for deadlocks, as a value (P14).
//!
//! Owns the graph and what is read off it. Must not know where its facts come from: those of one sidecar and those of a
//! fleet are searched alike.
//!
//! Only owners that wait are in it; whoever does not wait will let go one day. A deadlock is a set of them of whom none
//! could be granted though everybody else let go of everything and left every queue. Where all is exclusive that is a
//! ring; where there are units a ring is not enough. Two things bind a waiter: what members hold of its key, if it does
//! not fit beside that, and members in line before it.

use crate::model::Incarnation;
use crate::mutant::Mutant;
use std::cmp::Reverse;
use std::collections::VecDeque;

/// Who is told, of those who wait for each other: one that has something to let go, of those the lowest priority, then
/// whoever came last. Greater means sooner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    holds: bool,
    priority: Reverse<i32>,
    /// When its wait began, by a clock that all of the graph share.
    since: u64,
    incarnation: Incarnation,
    owner: String,
}

impl Rank {
    pub(crate) fn new(
        holds: bool,
        priority: i32,
        since: u64,
        incarnation: Incarnation,
        owner: String,
    ) -> Rank {
        Rank { holds, priority: Reverse(priority), since, incarnation, owner }
    }
}

/// A waiting owner.
struct Waiting {
    rank: Rank,
    key: usize,
    lane: usize,
    units: u32,
    /// What it holds of the key already makes room for what it wants: it exchanges the one for the other.
    upgrades: bool,
    /// Keys that it holds units of.
    holds: Vec<(usize, u32)>,
}

struct KeyNode {
    limit: u32,
    /// Waiting owners that hold units of it.
    holders: Vec<(usize, u32)>,
    lanes: Vec<Lane>,
}

/// The queue of one sidecar for a key.
struct Lane {
    /// In the order of grant.
    waiters: Vec<usize>,
    /// Lanes from the first on whose heads will be granted before anybody here.
    behind: usize,
    /// The first of the queue, if that is an owner of the graph; everybody of a lane behind waits for it.
    head: Option<usize>,
}

/// The graph.
#[derive(Default)]
pub(crate) struct WaitGraph {
    owners: Vec<Waiting>,
    keys: Vec<KeyNode>,
    mutant: Option<Mutant>,
}

/// What an owner of a ring waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// What the next one holds.
    Held,
    /// The next one is in line before it.
    Ahead,
}

/// Greater deadlocks are not searched for a smaller one within: their victim may be one too many.
const CORE_SEARCHED_MAX: usize = 64;

/// A deadlock that has none of its own within: everybody in it is needed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Knot {
    /// All of them.
    pub(crate) members: Vec<usize>,
    /// Some of them, the one to tell first: each waits for the next, and the last for the first.
    pub(crate) ring: Ring,
}

/// Owners, each with why it waits for the next.
pub(crate) type Ring = Vec<(usize, Why)>;

impl WaitGraph {
    /// An empty graph that is searched with a deliberate bug; without the feature `mutants`, honestly.
    pub(crate) fn new(mutant: Option<Mutant>) -> WaitGraph {
        WaitGraph { mutant, ..WaitGraph::default() }
    }

    /// A key; its number.
    pub(crate) fn key(&mut self, limit: u32) -> usize {
        self.keys.push(KeyNode { limit, holders: Vec::new(), lanes: Vec::new() });
        self.keys.len() - 1
    }

    /// A queue for the key, behind the heads of the first `behind` queues there; its number.
    pub(crate) fn lane(&mut self, key: usize, behind: usize) -> usize {
        let lanes = &mut self.keys[key].lanes;
        debug_assert!(behind <= lanes.len(), "a queue can only be behind queues that are there");
        lanes.push(Lane { waiters: Vec::new(), behind, head: None });
        lanes.len() - 1
    }

    /// An owner that waits at the end of this queue, as its `head` or behind somebody; its number.
    pub(crate) fn waits(
        &mut self,
        rank: Rank,
        (key, lane): (usize, usize),
        units: u32,
        head: bool,
        upgrades: bool,
    ) -> usize {
        let owner = self.owners.len();
        self.owners.push(Waiting { rank, key, lane, units, upgrades, holds: Vec::new() });
        let lane = &mut self.keys[key].lanes[lane];
        lane.waiters.push(owner);
        if head {
            lane.head = Some(owner);
        }
        owner
    }

    /// An owner of the graph holds so many units of a key besides.
    pub(crate) fn holds(&mut self, owner: usize, key: usize, units: u32) {
        self.owners[owner].holds.push((key, units));
        self.keys[key].holders.push((owner, units));
    }

    /// Deadlocks, of whom one each is told, until nobody is left stuck: each is one without those who are told before it.
    pub(crate) fn knots(&self) -> Vec<Knot> {
        let mut stuck = self.stuck();
        let mut knots = Vec::new();
        while let Some(knot) = self.sink(&stuck) {
            let core = self.core(&knot);
            let Some(victim) = self.by_rank(&core).pop() else { break };
            knots.push(Knot { members: members(&core), ring: self.ring(victim, &core) });
            stuck[victim] = false;
            stuck = self.stuck_among(stuck);
        }
        knots
    }

    /// A deadlock in this one that has none of its own within: everybody in it is needed for it. Others of the knot may
    /// wait in line behind one of these and before another, and their going would help nobody. Who is told last is left out
    /// first, so that it does not depend on who looks.
    fn core(&self, knot: &[bool]) -> Vec<bool> {
        let mut core = knot.to_vec();
        let by_rank = self.by_rank(knot);
        if by_rank.len() > CORE_SEARCHED_MAX || Mutant::DetourTold.is(self.mutant) {
            return core;
        }
        for owner in by_rank {
            let mut rest = core.clone();
            rest[owner] = false;
            let rest = self.stuck_among(rest);
            if core[owner] && rest.contains(&true) {
                core = rest;
            }
        }
        core
    }

    /// Who is told last comes first.
    fn by_rank(&self, among: &[bool]) -> Vec<usize> {
        let mut members = members(among);
        members.sort_by_key(|&owner| &self.owners[owner].rank);
        members
    }

    /// The greatest deadlocked set.
    fn stuck(&self) -> Vec<bool> {
        self.stuck_among(vec![true; self.owners.len()])
    }

    /// The greatest deadlocked set of these: takes out whoever could be granted, until nobody can.
    fn stuck_among(&self, mut stuck: Vec<bool>) -> Vec<bool> {
        let mut dirty: Vec<usize> = (0..self.keys.len()).collect();
        while let Some(key) = dirty.pop() {
            while let Some(owner) = self.grantable(key, &stuck) {
                stuck[owner] = false;
                dirty.extend(self.owners[owner].holds.iter().map(|(held, _)| *held));
            }
        }
        stuck
    }

    /// Somebody who would be granted this key if there were only these.
    fn grantable(&self, key: usize, among: &[bool]) -> Option<usize> {
        if Mutant::AheadIgnored.is(self.mutant) {
            let mut waiters = self.keys[key].lanes.iter().flat_map(|lane| &lane.waiters).copied();
            return waiters.find(|&owner| among[owner] && self.fits(owner, among));
        }
        let first = |lane: &Lane| lane.waiters.iter().copied().find(|&owner| among[owner]);
        let firsts = self.keys[key].lanes.iter().filter_map(first);
        firsts
            .into_iter()
            .find(|&owner| self.heads_before(owner, among).next().is_none() && self.fits(owner, among))
    }

    fn heads_before<'a>(&'a self, owner: usize, among: &'a [bool]) -> impl Iterator<Item = usize> + 'a {
        let lanes = &self.keys[self.owners[owner].key].lanes;
        lanes[..lanes[self.owners[owner].lane].behind]
            .iter()
            .filter_map(|lane| lane.head)
            .filter(|&head| among[head])
    }

    /// Who holds what it waits for, those who do not count aside.
    fn holders<'a>(&'a self, owner: usize, among: &'a [bool]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let waiting = &self.owners[owner];
        let counts = move |holder: usize| among[holder] && !(holder == owner && waiting.upgrades);
        self.keys[waiting.key].holders.iter().copied().filter(move |(holder, _)| counts(*holder))
    }

    /// Whether what it wants fits beside what these hold.
    fn fits(&self, owner: usize, among: &[bool]) -> bool {
        self.fits_beside(owner, |holder| among[holder])
    }

    fn fits_beside(&self, owner: usize, counts: impl Fn(usize) -> bool) -> bool {
        let Waiting { key, units, upgrades, .. } = self.owners[owner];
        let holders = self.keys[key].holders.iter().filter(|(holder, _)| counts(*holder));
        let held =
            holders.filter(|(holder, _)| !(upgrades && *holder == owner)).map(|(_, units)| u64::from(*units));
        if Mutant::AnyHolderBlocks.is(self.mutant) {
            return held.sum::<u64>() == 0;
        }
        held.sum::<u64>() + u64::from(units) <= u64::from(self.keys[key].limit)
    }

    /// Whom it waits for directly.
    fn blockers(&self, owner: usize, among: &[bool]) -> Vec<(usize, Why)> {
        let Waiting { key, lane, .. } = self.owners[owner];
        let mut blockers = Vec::new();
        if !self.fits(owner, among) {
            // It stands in its own way only if what it has and wants is too much by itself.
            let itself = self.fits_beside(owner, |holder| holder == owner);
            let others = self.holders(owner, among).filter(|(holder, _)| *holder != owner || !itself);
            blockers.extend(others.map(|(holder, _)| (holder, Why::Held)));
        }
        if Mutant::AheadIgnored.is(self.mutant) {
            return blockers;
        }
        let before = self.keys[key].lanes[lane].waiters.iter().copied().take_while(|&other| other != owner);
        blockers.extend(before.filter(|&other| among[other]).map(|other| (other, Why::Ahead)));
        blockers.extend(self.heads_before(owner, among).map(|head| (head, Why::Ahead)));
        blockers
    }

    /// Who waits for whom directly, and why.
    pub(crate) fn edges(&self) -> Vec<(usize, usize, Why)> {
        let all = vec![true; self.owners.len()];
        let of =
            |owner| self.blockers(owner, &all).into_iter().map(move |(blocker, why)| (owner, blocker, why));
        (0..self.owners.len()).flat_map(of).collect()
    }

    /// Who waits for whom, the other way round: one edge per wait in line is enough to know who is reached.
    fn reversed(&self, among: &[bool]) -> Vec<Vec<usize>> {
        let mut waits_for_it = vec![Vec::new(); self.owners.len()];
        for owner in (0..self.owners.len()).filter(|&owner| among[owner]) {
            for (blocker, _) in self.blockers(owner, among) {
                waits_for_it[blocker].push(owner);
            }
        }
        waits_for_it
    }

    /// All that can be reached from these, themselves included.
    fn reach(&self, from: &[usize], among: &[bool], edges: &[Vec<usize>]) -> Vec<usize> {
        let mut seen = vec![false; self.owners.len()];
        let mut reached: Vec<usize> = from.to_vec();
        from.iter().for_each(|&owner| seen[owner] = true);
        let mut next = 0;
        while let Some(&owner) = reached.get(next) {
            next += 1;
            for &other in &edges[owner] {
                if among[other] && !std::mem::replace(&mut seen[other], true) {
                    reached.push(other);
                }
            }
        }
        reached
    }

    /// A set of these who all wait for each other, directly or not, and for nobody else; nothing if there is nobody.
    ///
    /// Everybody waits for somebody. Of a walk against the edges, the one who is left last is in such a set (Kosaraju),
    /// and the set is whom that one waits for.
    fn sink(&self, among: &[bool]) -> Option<Vec<bool>> {
        let reversed = self.reversed(among);
        let mut seen = vec![false; self.owners.len()];
        let mut last = None;
        for start in (0..self.owners.len()).filter(|&owner| among[owner]) {
            if std::mem::replace(&mut seen[start], true) {
                continue;
            }
            let mut walk = vec![(start, 0)];
            while let Some((owner, next)) = walk.last_mut() {
                let owner = *owner;
                match reversed[owner].get(*next) {
                    Some(&other) => {
                        *next += 1;
                        if !std::mem::replace(&mut seen[other], true) {
                            walk.push((other, 0));
                        }
                    }
                    None => {
                        walk.pop();
                        last = Some(owner);
                    }
                }
            }
        }
        let mut edges = vec![Vec::new(); self.owners.len()];
        for (blocker, waiters) in reversed.iter().enumerate() {
            waiters.iter().for_each(|&waiter| edges[waiter].push(blocker));
        }
        let mut knot = vec![false; self.owners.len()];
        self.reach(&[last?], among, &edges).into_iter().for_each(|owner| knot[owner] = true);
        Some(knot)
    }

    /// A shortest way round from the victim back to it.
    fn ring(&self, victim: usize, among: &[bool]) -> Ring {
        let mut from: Vec<Option<(usize, Why)>> = vec![None; self.owners.len()];
        let mut queue = VecDeque::from([victim]);
        while let Some(owner) = queue.pop_front() {
            for (blocker, why) in self.blockers(owner, among) {
                if blocker == victim {
                    let mut ring = vec![(owner, why)];
                    while let Some((before, why)) = from[ring[ring.len() - 1].0] {
                        ring.push((before, why));
                    }
                    ring.reverse();
                    return ring;
                }
                if from[blocker].is_none() {
                    from[blocker] = Some((owner, why));
                    queue.push_back(blocker);
                }
            }
        }
        unreachable!("all of a knot wait for each other")
    }
}

fn members(set: &[bool]) -> Vec<usize> {
    (0..set.len()).filter(|&owner| set[owner]).collect()
}

#[cfg(test)]
#[path = "tests/wait_graph.rs"]
mod tests;
