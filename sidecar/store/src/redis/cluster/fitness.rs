//! What a cluster must be like to hold locks, beyond what each of its nodes must be like.
//!
//! Owns the words for that, each a pure function of what a node says. Must not talk to Redis.

use crate::finding::{Finding, Verdict};
use crate::redis::fitness::Info;

/// A majority of as many stands the loss of one.
const PRIMARIES_MIN: usize = 3;

/// Whether the cluster serves all keys, by its CLUSTER INFO.
pub(super) fn slots(info: &Info) -> Finding {
    let (state, slots) = (info.text("cluster_state"), info.text("cluster_slots_ok"));
    let says =
        format!("state {state}, {slots} of 16384 slots served by {} primaries", info.text("cluster_size"));
    match (state, slots) {
        ("ok", "16384") => Finding::ok("cluster", says),
        _ => Finding::fail("cluster", says, "`redis-cli --cluster check` says which nodes are missing"),
    }
}

/// Whether others could take the primaries' places, by their number.
pub(super) fn nodes(primaries: usize, replicas: usize) -> Finding {
    let says = format!("{primaries} primaries, {replicas} replicas");
    match (primaries >= PRIMARIES_MIN, replicas >= primaries) {
        (true, true) => Finding::ok("nodes", says),
        (false, _) => Finding::warn(
            "nodes",
            says,
            "a majority of primaries has to agree on a replica that takes the place of one: have three at least",
        ),
        (true, false) => Finding::warn(
            "nodes",
            says,
            "give each primary a replica: the keys of one that is lost without wait until it is back",
        ),
    }
}

/// For a node that others name and that does not let us in.
pub(super) fn silent(why: &str) -> Finding {
    Finding::fail("node", format!("can not be used: {why}"), "its keys wait, or will when it is a primary")
}

/// What was found at each node, as one list: once what all say alike, and by node what is not well.
pub(super) fn together(looks: Vec<(String, Vec<Finding>)>) -> Vec<Finding> {
    let nodes = looks.len();
    let mut by_check: Vec<(&'static str, Vec<(String, Finding)>)> = Vec::new();
    for (node, found) in looks {
        for finding in found {
            let same = by_check.iter_mut().find(|(check, _)| *check == finding.check);
            let said = (node.clone(), finding);
            match same {
                Some((_, all)) => all.push(said),
                None => by_check.push((said.1.check, vec![said])),
            }
        }
    }
    by_check.into_iter().flat_map(|(_, all)| alike(all, nodes)).collect()
}

/// What nodes say of one thing: all of them, or some.
fn alike(mut all: Vec<(String, Finding)>, nodes: usize) -> Vec<Finding> {
    let Some((node, first)) = all.first().cloned() else { return Vec::new() };
    let is_well = all.iter().all(|(_, other)| other.verdict == Verdict::Ok);
    if all.iter().all(|(_, other)| *other == first) && (is_well || all.len() == nodes) {
        return vec![Finding { says: format!("{} (each of {} nodes)", first.says, all.len()), ..first }];
    }
    if is_well {
        let says = format!("{node}: {} (the other {} are well, too)", first.says, all.len() - 1);
        return vec![Finding { says, ..first }];
    }
    all.retain(|(_, found)| found.verdict != Verdict::Ok);
    let by_node =
        |(node, found): (String, Finding)| Finding { says: format!("{node}: {}", found.says), ..found };
    all.into_iter().map(by_node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_nodes_say_alike_is_said_once_and_what_is_not_well_by_node() {
        let says = |looks: &[(&str, Vec<Finding>)]| {
            let looks = looks.iter().map(|(node, found)| ((*node).to_owned(), found.clone())).collect();
            together(looks).into_iter().map(|found| found.says).collect::<Vec<_>>()
        };
        let (ok, warn) =
            (|says: &str| Finding::ok("a", says), |says: &str| Finding::warn("b", says, "do not"));
        let same = [("h:1", vec![ok("7"), warn("evicts")]), ("h:2", vec![ok("7"), warn("evicts")])];
        assert_eq!(says(&same), ["7 (each of 2 nodes)", "evicts (each of 2 nodes)"]);
        let different = [("h:1", vec![ok("7"), warn("x")]), ("h:2", vec![ok("8"), Finding::ok("b", "y")])];
        assert_eq!(says(&different), ["h:1: 7 (the other 1 are well, too)", "h:1: x"]);
        let one_is_silent = [("h:1", vec![silent("refused")]), ("h:2", vec![ok("7")])];
        assert_eq!(says(&one_is_silent), ["h:1: can not be used: refused", "7 (each of 1 nodes)"]);
    }

    #[test]
    fn a_cluster_has_three_primaries_and_a_replica_for_each() {
        assert_eq!(nodes(3, 3).verdict, Verdict::Ok);
        assert!(nodes(2, 4).remedy.is_some_and(|remedy| remedy.contains("have three")));
        assert!(nodes(3, 2).remedy.is_some_and(|remedy| remedy.contains("give each primary a replica")));
    }

    #[test]
    fn a_cluster_serves_every_slot() {
        let verdict = |said| slots(&Info::read(said)).verdict;
        let said = "cluster_state:ok\r\ncluster_slots_ok:16384\r\ncluster_size:3\r\n";
        assert_eq!(verdict(said), Verdict::Ok);
        for broken in
            ["cluster_state:fail\ncluster_slots_ok:16384", "cluster_state:ok\ncluster_slots_ok:16383", ""]
        {
            assert_eq!(verdict(broken), Verdict::Fail, "{broken}");
        }
    }
}
