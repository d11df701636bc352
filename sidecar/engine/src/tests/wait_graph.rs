//! The search against hand-made cases, and against all subsets of small random graphs.

use super::*;
use crate::model::WHOLE;

fn rank(priority: i32, since: u64) -> Rank {
    Rank::new(true, priority, since, Incarnation(1), format!("o{since}"))
}

fn rings(graph: &WaitGraph) -> Vec<Ring> {
    graph.knots().into_iter().map(|knot| knot.ring).collect()
}

/// One queue for each of some lock keys.
fn locks(count: usize) -> WaitGraph {
    let mut graph = WaitGraph::default();
    for key in 0..count {
        assert_eq!(graph.key(WHOLE), key);
        graph.lane(key, 0);
    }
    graph
}

#[test]
fn a_ring_is_found_and_its_youngest_is_told() {
    let mut graph = locks(3);
    for owner in 0..3 {
        graph.waits(rank(0, owner as u64), ((owner + 1) % 3, 0), WHOLE, true, false);
        graph.holds(owner, owner, WHOLE);
    }
    assert_eq!(rings(&graph), [[(2, Why::Held), (0, Why::Held), (1, Why::Held)]]);
}

#[test]
fn the_lowest_priority_is_told_before_the_youngest() {
    let mut graph = locks(2);
    for owner in 0..2 {
        graph.waits(rank(owner as i32, owner as u64), (1 - owner, 0), WHOLE, true, false);
        graph.holds(owner, owner, WHOLE);
    }
    assert_eq!(rings(&graph)[0][0].0, 0);
}

#[test]
fn who_holds_what_it_waits_for_is_a_ring_of_one() {
    let mut graph = locks(1);
    graph.waits(rank(0, 0), (0, 0), WHOLE, true, false);
    graph.holds(0, 0, 1);
    assert_eq!(rings(&graph), [[(0, Why::Held)]]);
}

#[test]
fn one_upgrade_waits_for_readers_and_two_wait_for_each_other() {
    let mut graph = locks(1);
    graph.waits(rank(0, 0), (0, 0), WHOLE, true, true);
    graph.holds(0, 0, 1);
    assert!(rings(&graph).is_empty());
    graph.waits(rank(0, 1), (0, 0), WHOLE, false, true);
    graph.holds(1, 0, 1);
    assert_eq!(rings(&graph), [[(1, Why::Held), (0, Why::Held)]]);
}

#[test]
fn a_ring_is_not_enough_where_there_are_units() {
    let mut graph = locks(1);
    let permits = graph.key(2);
    graph.lane(permits, 0);
    // Owner 0 has one of two permits and waits for the lock; owner 1 has the lock and waits for one permit, of which
    // somebody who does not wait has the other.
    graph.waits(rank(0, 0), (0, 0), WHOLE, true, false);
    graph.holds(0, permits, 1);
    graph.waits(rank(0, 1), (permits, 0), 1, true, false);
    graph.holds(1, 0, WHOLE);
    assert!(rings(&graph).is_empty());
    let mut graph = locks(1);
    let permits = graph.key(2);
    graph.lane(permits, 0);
    graph.waits(rank(0, 0), (0, 0), WHOLE, true, false);
    graph.holds(0, permits, 1);
    graph.waits(rank(0, 1), (permits, 0), 2, true, false);
    graph.holds(1, 0, WHOLE);
    assert_eq!(rings(&graph).len(), 1, "it wants both permits");
}

#[test]
fn a_reader_waits_for_the_writer_in_line_before_it() {
    let mut graph = locks(2);
    // Owner 0 reads key 0 and wants key 1; owner 1 wants to write key 0; owner 2 has key 1 and wants to read key 0.
    graph.waits(rank(0, 0), (1, 0), WHOLE, true, false);
    graph.holds(0, 0, 1);
    graph.waits(rank(0, 1), (0, 0), WHOLE, true, false);
    graph.waits(rank(0, 2), (0, 0), 1, false, false);
    graph.holds(2, 1, WHOLE);
    assert_eq!(rings(&graph), [[(2, Why::Ahead), (1, Why::Held), (0, Why::Held)]]);
}

#[test]
fn only_the_head_of_another_queue_is_ahead() {
    for head in [true, false] {
        let mut graph = WaitGraph::default();
        let (read, lock) = (graph.key(WHOLE), graph.key(WHOLE));
        graph.lane(read, 0);
        graph.lane(read, 1);
        graph.lane(lock, 0);
        graph.waits(rank(0, 0), (lock, 0), WHOLE, true, false);
        graph.holds(0, read, 1);
        graph.waits(rank(0, 1), (read, 0), WHOLE, head, false);
        graph.waits(rank(0, 2), (read, 1), 1, true, false);
        graph.holds(2, lock, WHOLE);
        assert_eq!(rings(&graph).len(), usize::from(head));
    }
}

#[test]
fn two_rings_have_two_victims_and_who_waits_for_a_ring_is_none() {
    let mut graph = locks(4);
    for owner in 0..4 {
        graph.waits(rank(0, owner as u64), (owner ^ 1, 0), WHOLE, true, false);
        graph.holds(owner, owner, WHOLE);
    }
    graph.waits(rank(0, 9), (0, 0), WHOLE, false, false);
    let mut victims: Vec<usize> = rings(&graph).iter().map(|ring| ring[0].0).collect();
    victims.sort_unstable();
    assert_eq!(victims, [1, 3]);
}

#[test]
fn who_is_in_a_ring_only_as_a_detour_is_not_told() {
    let mut graph = locks(2);
    // Owners 0 and 2 want each other's key. Owner 1 is in line for key 0 before owner 2, and is the youngest: it waits for
    // owner 0 and owner 2 for it, but would help nobody by leaving.
    graph.waits(rank(0, 0), (1, 0), WHOLE, true, false);
    graph.holds(0, 0, WHOLE);
    graph.waits(rank(1, 9), (0, 0), WHOLE, true, false);
    graph.waits(rank(0, 1), (0, 0), WHOLE, false, false);
    graph.holds(2, 1, WHOLE);
    assert_eq!(rings(&graph), [[(2, Why::Held), (0, Why::Held)]]);
    graph.owners[1].rank = rank(-1, 9);
    assert_eq!(rings(&graph), [[(2, Why::Held), (0, Why::Held)]]);
}

/// The definition, word for word: whether none of the set could be granted if there were only the set.
fn is_deadlocked(graph: &WaitGraph, set: &[bool]) -> bool {
    let member_could_be_granted = |owner: usize| {
        let waiting = &graph.owners[owner];
        let key = &graph.keys[waiting.key];
        let held: u64 = (0..graph.owners.len())
            .filter(|&other| set[other] && !(other == owner && waiting.upgrades))
            .flat_map(|other| graph.owners[other].holds.iter())
            .filter(|(held, _)| *held == waiting.key)
            .map(|(_, units)| u64::from(*units))
            .sum();
        let lane = &key.lanes[waiting.lane];
        let in_line = lane.waiters.iter().take_while(|&&other| other != owner).any(|&other| set[other]);
        let heads = key.lanes[..lane.behind].iter().any(|lane| lane.head.is_some_and(|head| set[head]));
        held + u64::from(waiting.units) <= u64::from(key.limit) && !in_line && !heads
    };
    (0..graph.owners.len()).all(|owner| !set[owner] || !member_could_be_granted(owner))
}

/// The union of all deadlocked sets, which is one itself.
fn greatest(graph: &WaitGraph) -> Vec<bool> {
    let count = graph.owners.len();
    let mut all = vec![false; count];
    for bits in 0..1_u32 << count {
        let set: Vec<bool> = (0..count).map(|owner| bits >> owner & 1 == 1).collect();
        if is_deadlocked(graph, &set) {
            set.iter().enumerate().for_each(|(owner, member)| all[owner] |= member);
        }
    }
    all
}

/// A small generator (Knuth's MMIX constants): what it draws depends on the seed alone.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn random(seed: u64) -> WaitGraph {
    let mut dice = Dice(seed);
    let mut graph = WaitGraph::default();
    let keys = 1 + dice.below(3) as usize;
    for key in 0..keys {
        let limit = [WHOLE, 2, 3][dice.below(3) as usize];
        graph.key(limit);
        for lane in 0..1 + dice.below(2) as usize {
            let behind = dice.below(lane as u64 + 1) as usize;
            graph.lane(key, behind);
        }
    }
    for owner in 0..1 + dice.below(6) {
        let key = dice.below(keys as u64) as usize;
        let lane = dice.below(graph.keys[key].lanes.len() as u64) as usize;
        let limit = graph.keys[key].limit;
        let units = if limit == WHOLE {
            [1, WHOLE][dice.below(2) as usize]
        } else {
            1 + dice.below(limit.into()) as u32
        };
        let first = graph.keys[key].lanes[lane].waiters.is_empty();
        let head = first && dice.below(4) > 0;
        let owner =
            graph.waits(rank(dice.below(2) as i32, owner), (key, lane), units, head, dice.below(6) == 0);
        for key in 0..keys {
            if dice.below(2) == 0 {
                let units =
                    if graph.keys[key].limit == WHOLE { [1, WHOLE][dice.below(2) as usize] } else { 1 };
                graph.holds(owner, key, units);
            }
        }
    }
    graph
}

#[test]
fn the_search_agrees_with_the_definition_on_all_subsets() {
    let mut with_rings = 0;
    for seed in 0..20_000 {
        let graph = random(seed);
        assert_eq!(graph.stuck(), greatest(&graph), "seed {seed}");
        let stuck = graph.stuck();
        let knots = graph.knots();
        assert_eq!(knots.is_empty(), !stuck.contains(&true), "seed {seed}");
        for Knot { members, ring } in &knots {
            with_rings += 1;
            check_ring(&graph, &stuck, ring, seed);
            assert!(is_needed(&graph, ring[0].0), "seed {seed}");
            let knot: Vec<bool> = (0..stuck.len()).map(|owner| members.contains(&owner)).collect();
            assert!(is_deadlocked(&graph, &knot), "seed {seed}: it needs others");
            let victim = members.iter().max_by_key(|&&owner| &graph.owners[owner].rank);
            assert_eq!(victim, Some(&ring[0].0), "seed {seed}");
        }
        let told = |owner: usize| knots.iter().any(|knot| knot.ring[0].0 == owner);
        let rest = graph.stuck_among((0..stuck.len()).map(|owner| !told(owner)).collect());
        assert!(!rest.contains(&true), "seed {seed}: somebody is stuck and not told");
    }
    assert!(with_rings > 5_000, "only {with_rings} rings: the graphs are too tame");
}

/// Whether an owner is in a deadlocked set of whom all others could go on without it.
fn is_needed(graph: &WaitGraph, owner: usize) -> bool {
    let count = graph.owners.len();
    let subset = |bits: u32| (0..count).map(|owner| bits >> owner & 1 == 1).collect::<Vec<_>>();
    let deadlocks: Vec<u32> =
        (1..1_u32 << count).filter(|&bits| is_deadlocked(graph, &subset(bits))).collect();
    deadlocks.iter().any(|&whole| {
        let others = whole & !(1 << owner);
        whole != others && deadlocks.iter().all(|&part| part & others != part)
    })
}

/// A ring is of stuck owners, none twice, and each waits for the next.
fn check_ring(graph: &WaitGraph, stuck: &[bool], ring: &Ring, seed: u64) {
    let next = ring.iter().cycle().skip(1);
    for ((owner, why), (blocker, _)) in ring.iter().zip(next) {
        assert!(stuck[*owner], "seed {seed}");
        assert!(graph.blockers(*owner, stuck).contains(&(*blocker, *why)), "seed {seed}");
    }
    let mut owners: Vec<usize> = ring.iter().map(|(owner, _)| *owner).collect();
    owners.sort_unstable();
    owners.dedup();
    assert_eq!(owners.len(), ring.len(), "seed {seed}");
}
