//! Each limit stops its own kind of guest, and is told by its name.

use crate::guest::{Guest, component_of, store, store8};
use crate::support::{Shelf, alone, decide, fault, load, request};
use sidelock_policy::model::Request;
use sidelock_policy::{Chain, Fault, Settings, Unfit, WIT, Why};
use std::sync::Arc;
use std::time::Duration;

const LOOP: &str = "(loop $again (br $again))";

fn as_they_are(_: &mut Settings) {}

/// What stops this guest: here, on its lane, and where it is explained, the same.
fn stopped_by(guest: &Guest, change: impl FnOnce(&mut Settings)) -> Fault {
    let chain = alone(guest, change);
    let outcome = decide(&chain, request("k"));
    let met = fault(&outcome);
    assert_eq!(fault(&chain.explain(request("k"))), met);
    let denied = outcome.denied.unwrap();
    assert_eq!((&*denied.policy, &*denied.denial.reason_code), ("guest", "policy-failed"));
    assert!(denied.denial.message.contains(met.limit()), "{denied:?}");
    met
}

#[test]
fn an_endless_loop_meets_its_deadline() {
    let guest = Guest::new().admit(LOOP);
    assert_eq!(stopped_by(&guest, as_they_are), Fault::Deadline(Duration::from_millis(2)));
    let longer = Duration::from_millis(5);
    assert_eq!(stopped_by(&guest, |settings| settings.deadline = Some(longer)), Fault::Deadline(longer));
}

#[test]
fn endless_recursion_that_comes_back_meets_its_deadline() {
    let guest = Guest::new()
        .with(
            "(func $double (param i32) (if (local.get 0) (then
                 (call $double (i32.sub (local.get 0) (i32.const 1)))
                 (call $double (i32.sub (local.get 0) (i32.const 1))))))",
        )
        .admit("(call $double (i32.const 64))");
    assert!(matches!(stopped_by(&guest, as_they_are), Fault::Deadline(_)));
}

#[test]
fn an_endless_loop_of_calls_to_the_host_meets_its_deadline() {
    let mut guest = Guest::new();
    let (text, len) = guest.text("table");
    let lookup = format!(
        "(loop $again (call $lookup (i32.const {text}) (i32.const {len}) (i32.const {text}) (i32.const {len})
           (i32.const 800)) (br $again))"
    );
    assert!(matches!(stopped_by(&guest.admit(&lookup), as_they_are), Fault::Deadline(_)));
}

#[test]
fn a_guest_that_loops_before_it_is_asked_is_not_loaded() {
    for guest in [Guest::new().configure(LOOP), Guest::new().validate(LOOP)] {
        let shelf = Shelf::new();
        let why = load(vec![shelf.put("guest", &guest.policy())]).err().unwrap().why;
        assert!(matches!(why, Why::Unfit(Unfit::Fault(Fault::Deadline(_)))), "{why}");
    }
}

#[test]
fn a_memory_bomb_meets_the_limit_of_its_memory() {
    let page = "(drop (memory.grow (i32.const 1)))";
    let guest = Guest::new().admit(&format!("(loop $again {page} (br $again))"));
    let (wanted, allowed) = ((8 << 20) + 65_536, 8 << 20);
    assert_eq!(stopped_by(&guest, as_they_are), Fault::Memory { wanted, allowed });
    let allowed = 131_072;
    let change = |settings: &mut Settings| settings.memory = Some(allowed);
    assert_eq!(stopped_by(&Guest::new().admit(page), change), Fault::Memory { wanted: 196_608, allowed });
    // Where nothing is said, a guest that begins with much may have as much again.
    let large = Guest::new().pages(100).admit(&format!("(loop $again {page} (br $again))"));
    let (wanted, allowed) = (201 << 16, 200 << 16);
    assert_eq!(stopped_by(&large, as_they_are), Fault::Memory { wanted, allowed });
    let all = Guest::new().admit("(drop (memory.grow (i32.const 65534)))");
    assert!(matches!(stopped_by(&all, as_they_are), Fault::Memory { wanted: 4_294_967_296, .. }));
}

#[test]
fn a_table_bomb_meets_the_limit_of_its_tables() {
    let guest = Guest::new()
        .with("(table $t 1 funcref)")
        .admit("(loop $again (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $again))");
    // A component has a few elements of its own.
    let Fault::Table { wanted, allowed: 20_000 } = stopped_by(&guest, as_they_are) else {
        panic!("another fault")
    };
    assert!((20_001..=20_010).contains(&wanted), "{wanted}");
}

#[test]
fn deep_recursion_meets_the_end_of_the_stack() {
    let guest = Guest::new().with("(func $deep (result i32) (i32.add (call $deep) (i32.const 1)))");
    assert_eq!(stopped_by(&guest.admit("(drop (call $deep))"), as_they_are), Fault::Stack);
}

#[test]
fn a_trap_is_told_with_its_name_and_its_place() {
    let trap = |code: &str| match stopped_by(&Guest::new().admit(code), as_they_are) {
        Fault::Trap(text) => text,
        other => panic!("{other:?}"),
    };
    assert!(trap("unreachable").contains("unreachable"));
    assert!(trap("(drop (i32.div_s (i32.const 1) (i32.const 0)))").contains("divide by zero"));
    assert!(trap("(drop (i32.load (i32.const -1)))").contains("out of bounds"));
    let named = Guest::new().with("(func $assert_fails unreachable)").admit("(call $assert_fails)");
    let Fault::Trap(text) = stopped_by(&named, as_they_are) else { panic!("another fault") };
    assert!(text.contains("in `assert_fails`"), "{text}");
}

#[test]
fn what_is_no_value_of_its_type_is_a_wrong_answer() {
    let wrong = |guest: Guest| match stopped_by(&guest, as_they_are) {
        Fault::Answer(text) => text,
        other => panic!("{other:?}"),
    };
    wrong(Guest::new().admit(&store8(0, 4)));
    wrong(Guest::new().admit(&(store8(0, 1) + &store8(8, 2))));
    // A key that is not UTF-8, and one that is not in memory.
    let (mut bytes, far) = (Guest::new(), Guest::new());
    let (text, _) = bytes.text("k");
    let key = |at: u32| store8(0, 1) + &store8(8, 1) + &store(12, at) + &store(16, 1);
    wrong(bytes.admit(&format!("(i32.store8 (i32.const {text}) (i32.const 255))")).admit(&key(text)));
    wrong(far.admit(&key(u32::MAX)));
    wrong(Guest::new().admit("(return (i32.const -8))"));
    wrong(Guest::new().admit("(return (i32.const 513))"));
    // Priorities end at 100.
    let priority = store8(0, 1) + &store8(72, 1) + &store(76, 101);
    assert!(wrong(Guest::new().admit(&priority)).contains("-100 to 100"));
    assert!(wrong(Guest::new().denies("No Entry", "no")).contains("a-z"));
    assert!(wrong(Guest::new().counts("nothing")).contains("`nothing`"));
}

#[test]
fn giant_texts_and_lists_are_not_carried_over() {
    let large = |settings: &mut Settings| settings.memory = Some(16 << 20);
    let key = |len: u32| store8(0, 1) + &store8(8, 1) + &store(12, 0) + &store(16, len);
    let text = Guest::new().pages(128).admit(&key(8 << 20));
    assert_eq!(stopped_by(&text, large), Fault::Lists { allowed: 1 << 20 });
    let list = Guest::new().pages(128).admit(&(store(88, 0) + &store(92, 1 << 20)));
    assert_eq!(stopped_by(&list, large), Fault::Lists { allowed: 1 << 20 });
    let line = "(call $log (i32.const 1) (i32.const 0) (i32.const 8388608))";
    assert_eq!(stopped_by(&Guest::new().pages(128).admit(line), large), Fault::Lists { allowed: 1 << 20 });
}

#[test]
fn a_guest_that_asks_what_time_it_is_is_told_that_it_has_no_clock() {
    let chain = wasi_guest("(drop (call $now))");
    assert_eq!(
        fault(&decide(&chain, request("k"))),
        Fault::Forbidden("wasi:clocks/wall-clock@0.2.0#now".into())
    );
    let imports = &chain.inspect()[0].imports;
    assert!(imports.iter().any(|import| import == "wasi:clocks/wall-clock@0.2.0"), "{imports:?}");
    assert!(decide(&wasi_guest(""), request("k")).denied.is_none(), "who does not call it needs none");
}

/// A policy whose toolchain dragged a clock in.
fn wasi_guest(admit: &str) -> Arc<Chain> {
    let import = r#"(import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (result i64)))"#;
    let module = Guest::new().imports(import).admit(admit).policy_module();
    let clock = "package wasi:clocks@0.2.0; interface wall-clock { now: func() -> u64; }";
    let world = "include sidelock:policy/policy@0.1.0; import wasi:clocks/wall-clock@0.2.0;";
    let shelf = Shelf::new();
    load(vec![shelf.put("guest", &component_of(&module, &[WIT, clock], world))]).unwrap()
}

#[test]
fn what_one_call_leaves_behind_the_next_one_does_not_find() {
    // Denies if its memory, a global or a table is not as it was at the beginning.
    let changed =
        "(i32.or (i32.load (i32.const 8)) (i32.or (global.get $g) (i32.ne (table.size $t) (i32.const 1))))";
    let mut guest = Guest::new().with("(global $g (mut i32) (i32.const 0)) (table $t 1 funcref)");
    let (code, code_len) = guest.text("changed");
    let deny = store8(0, 2) + &store(8, code) + &store(12, code_len);
    let guest = guest.admit(&format!(
        "(if {changed} (then {deny}))
         (i32.store (i32.const 8) (i32.const 1)) (global.set $g (i32.const 1))
         (drop (table.grow $t (ref.null func) (i32.const 1)))
         (drop (memory.grow (i32.const 1)))"
    ));
    for prepared in [0, 2] {
        let chain = alone(&guest, |settings| settings.prepared = Some(prepared));
        for n in 0..100 {
            assert_eq!(decide(&chain, request("k")).denied, None, "call {n}, {prepared} prepared");
        }
    }
}

#[test]
fn a_giant_request_is_a_request() {
    let keys: Vec<_> = (0..64).map(|n| format!("{n:0>512}").into()).collect();
    let meta = (0..64).map(|n| (format!("n{n}").into(), "v".repeat(1024).into())).collect();
    let held = (0..256).map(|n| format!("{n:0>512}").into()).collect();
    let chain = alone(&Guest::new().pages(16), as_they_are);
    let outcome = decide(&chain, Request { keys, meta, held, ..request("k") });
    assert_eq!(outcome.denied, None);
}
