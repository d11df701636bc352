use super::*;
use sidelock_engine::store::{Op, Reply, Tell};
use sidelock_engine::{AskId, Incarnation, Key, StoreTime};

const SLOT: Slot = 7;

fn address(port: u16) -> Address {
    Address::Tcp { host: "h".into(), port, tls: false }
}

/// Nodes 0, 1 and 2 at ports 10, 11 and 12; the first has all slots.
fn routes() -> Routes {
    let mut routes = Routes::default();
    for port in [10, 11, 12] {
        let _ = routes.learn(vec![(0, SLOTS - 1, address(port))]);
    }
    let _ = routes.learn(vec![(0, SLOTS - 1, address(10))]);
    routes
}

fn call(id: u64, key: &str) -> Call {
    let ask = AskId { incarnation: Incarnation(1), seq: 1 };
    Call { id: CallId(id), op: Op::Tell(Tell { key: Key::new(key).unwrap(), ask, free_in: None }) }
}

fn ran() -> Outcome {
    Outcome::Applied { at: StoreTime(1), reply: Reply::Told }
}

fn said(text: &str) -> Outcome {
    Outcome::NotApplied(Fault::Unready(text.into()))
}

/// Who was sent what, with or without ASKING.
fn sent(todo: &Todo) -> Vec<(Node, bool, Vec<u64>)> {
    let ids = |calls: &Vec<Call>| calls.iter().map(|call| call.id.0).collect();
    todo.send.iter().map(|((node, asking), calls)| (*node, *asking, ids(calls))).collect()
}

fn answers(todo: &Todo) -> Vec<(u64, Outcome)> {
    todo.answers.iter().map(|(id, outcome)| (id.0, outcome.clone())).collect()
}

#[test]
fn calls_go_to_the_owner_of_their_slot() {
    let mut routes = routes();
    let _ = routes.learn(vec![(100, 200, address(11))]);
    for (id, slot) in [(1, 99), (2, 100), (3, 200), (4, 201)] {
        routes.call(slot, call(id, "k"));
    }
    let todo = routes.take();
    assert_eq!(sent(&todo), [(0, false, vec![1, 4]), (1, false, vec![2, 3])]);
    assert_eq!((routes.owners(), todo.look), (vec![0, 1], false));
}

#[test]
fn a_moved_slot_takes_all_that_follows_with_it_in_order() {
    let mut routes = routes();
    routes.call(SLOT, call(1, "a"));
    routes.call(SLOT, call(2, "a"));
    assert_eq!(sent(&routes.take()), [(0, false, vec![1, 2])]);
    routes.answered(0, CallId(1), said("MOVED 7 h:11"));
    routes.call(SLOT, call(3, "a"));
    let todo = routes.take();
    assert!(sent(&todo).is_empty() && todo.look, "call 2 is still under way at the old node");
    routes.answered(0, CallId(2), said("MOVED 7 h:11"));
    assert_eq!(sent(&routes.take()), [(1, false, vec![1, 2, 3])]);
    for id in [1, 2, 3] {
        routes.answered(1, CallId(id), ran());
    }
    let todo = routes.take();
    assert_eq!(answers(&todo), [(1, ran()), (2, ran()), (3, ran())]);
    routes.call(SLOT, call(4, "a"));
    assert_eq!(sent(&routes.take()), [(1, false, vec![4])]);
}

#[test]
fn what_a_node_says_of_a_slot_is_believed_though_no_call_was_for_it() {
    let mut routes = routes();
    routes.take();
    routes.told(&address(10), "MOVED 7 :12");
    let Todo { look, moved, .. } = routes.take();
    assert_eq!((routes.owner(7), routes.owner(8), look, moved), (Some(2), Some(0), true, true));
    for other in ["ASK 8 h:11", "Redis closed the connection", "MOVED 8 ?:11"] {
        routes.told(&address(10), other);
        assert_eq!((routes.take(), routes.owner(8)), (Todo::default(), Some(0)), "{other}");
    }
}

#[test]
fn what_a_later_call_on_the_key_overtook_is_not_sent_again() {
    let mut routes = routes();
    for (id, key) in [(1, "a"), (2, "b"), (3, "a")] {
        routes.call(SLOT, call(id, key));
    }
    routes.take();
    routes.answered(0, CallId(1), said("ASK 7 h:11"));
    routes.answered(0, CallId(2), said("ASK 7 h:11"));
    // The slot's move was given up in between.
    routes.answered(0, CallId(3), ran());
    let todo = routes.take();
    assert_eq!(answers(&todo), [(1, said("MOVED")), (3, ran())]);
    assert_eq!(sent(&todo), [(1, true, vec![2])]);
}

#[test]
fn a_call_that_is_asked_for_elsewhere_leaves_the_slot_where_it_is() {
    let mut routes = routes();
    routes.call(SLOT, call(1, "a"));
    routes.take();
    routes.answered(0, CallId(1), said("ASK 7 :11"));
    assert_eq!(sent(&routes.take()), [(1, true, vec![1])]);
    routes.call(SLOT, call(2, "a"));
    assert!(sent(&routes.take()).is_empty(), "it must not overtake the first");
    routes.answered(1, CallId(1), ran());
    assert_eq!(sent(&routes.take()), [(0, false, vec![2])]);
}

#[test]
fn what_goes_to_different_nodes_leaves_one_after_another() {
    let mut routes = routes();
    for (id, key) in [(1, "a"), (2, "b"), (3, "c")] {
        routes.call(SLOT, call(id, key));
    }
    routes.take();
    routes.answered(0, CallId(1), said("ASK 7 h:11"));
    routes.answered(0, CallId(2), ran());
    routes.answered(0, CallId(3), said("MOVED 7 h:12"));
    assert_eq!(sent(&routes.take()), [(1, true, vec![1])]);
    routes.answered(1, CallId(1), ran());
    assert_eq!(sent(&routes.take()), [(2, false, vec![3])]);
}

#[test]
fn nodes_that_do_not_agree_are_not_asked_for_ever() {
    let mut routes = routes();
    routes.call(SLOT, call(1, "a"));
    let mut hops = 0;
    let told = loop {
        let todo = routes.take();
        let Some(((node, _), _)) = todo.send.into_iter().next() else { break todo.answers };
        routes.answered(node, CallId(1), said(if node == 0 { "MOVED 7 h:11" } else { "MOVED 7 h:10" }));
        hops += 1;
        assert!(hops < 20);
    };
    assert!(
        matches!(&told[..], [(CallId(1), Outcome::NotApplied(Fault::Unready(text)))] if text.starts_with("MOVED"))
    );
}

#[test]
fn what_may_have_run_is_told_and_not_sent_again() {
    let mut routes = routes();
    routes.call(SLOT, call(1, "a"));
    routes.take();
    routes.answered(0, CallId(1), Outcome::Unknown(Fault::Down));
    let todo = routes.take();
    assert_eq!(answers(&todo), [(1, Outcome::Unknown(Fault::Down))]);
    assert!(todo.send.is_empty() && todo.look);
}

#[test]
fn a_slot_that_nobody_has_is_a_cluster_that_is_down() {
    let mut routes = Routes::default();
    routes.call(SLOT, call(1, "a"));
    let todo = routes.take();
    assert_eq!(answers(&todo), [(1, said("CLUSTERDOWN nobody has slot 7"))]);
    assert!(todo.look);
}
