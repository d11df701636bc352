//! What a chain of policies comes to.

use crate::guest::{Guest, request as at, store8};
use crate::support::{Shelf, alone, decide, fault, host, load, request};
use sidelock_policy::model::{Counter, Denial, Level, Mode, Operation, Request, Verdict};
use sidelock_policy::{
    Bounds, Chain, Decided, Effect, Enforcement, Fault, OnError, Outcome, Settings, parse_moment,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is said of a guest's settings.
type Change = fn(&mut Settings);

/// A chain of guests named `a`, `b`, …, with their settings changed.
fn chain(guests: Vec<(Guest, Change)>) -> Arc<Chain> {
    let shelf = Shelf::new();
    let named = guests.iter().zip('a'..).map(|((guest, change), name)| {
        let mut settings = shelf.put(&name.to_string(), &guest.policy());
        change(&mut settings);
        settings
    });
    load(named.collect()).unwrap()
}

fn as_it_is(_: &mut Settings) {}

fn monitored(settings: &mut Settings) {
    settings.enforcement = Enforcement::Monitor;
}

/// Who was asked, and what came of it.
fn effects(outcome: &Outcome) -> Vec<(&str, Effect)> {
    outcome.steps.iter().map(|step| (&*step.policy, step.effect)).collect()
}

/// A guest that denies all keys but this one, which has one byte.
fn only(key: u8) -> Guest {
    let guest = Guest::new().denies("not-mine", "another key");
    let list = format!("(i32.load offset={} (local.get $r))", at::KEYS);
    guest.admit(&format!(
        "(if (i32.eq (i32.load8_u (i32.load {list})) (i32.const {key})) (then {}))",
        store8(0, 0)
    ))
}

#[test]
fn the_first_denial_ends_it_and_is_told_in_full() {
    let chain = chain(vec![
        (Guest::new(), as_it_is),
        (Guest::new().abstains(), as_it_is),
        (Guest::new().denies_after("frozen", "until Monday", Some(60_000)), as_it_is),
        (Guest::new().denies("later", "never asked"), as_it_is),
    ]);
    let outcome = decide(&chain, request("k"));
    let denied = outcome.denied.as_ref().unwrap();
    assert_eq!((&*denied.policy, denied.fault.as_ref()), ("c", None));
    let denial =
        Denial { reason_code: "frozen".into(), message: "until Monday".into(), retry_after_ms: Some(60_000) };
    assert_eq!(denied.denial, denial);
    assert_eq!(effects(&outcome), [("a", Effect::Next), ("b", Effect::Next), ("c", Effect::Ended)]);
    assert_eq!(outcome.steps[1].ruling, Ok(Verdict::Abstain));
}

#[test]
fn an_edit_is_what_the_next_policy_sees() {
    let chain = chain(vec![
        (only(b'k').edits_key("m"), as_it_is),
        (only(b'm').edits_max_waiters(7), as_it_is),
        (Guest::new().edits_max_waiters(3), as_it_is),
        (Guest::new().edits_wait(9), as_it_is),
        (Guest::new().edits_ttl(2_000), as_it_is),
    ]);
    let outcome = decide(&chain, Request { ttl_ms: Some(9_000), ..request("k") });
    assert_eq!(outcome.denied, None, "{outcome:?}");
    assert_eq!(
        (&*outcome.request.keys[0], outcome.request.wait_ms, outcome.max_waiters, outcome.request.ttl_ms),
        ("m", Some(9), Some(3), Some(2_000))
    );
    let names: Vec<_> = outcome.edited_by().map(|name| &**name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

#[test]
fn an_edited_key_is_matched_anew() {
    fn of_k(settings: &mut Settings) {
        settings.matches = vec!["k".into()];
    }
    fn of_m(settings: &mut Settings) {
        settings.matches = vec!["m".into()];
    }
    let no = || Guest::new().denies("no", "no");
    let chain = chain(vec![(Guest::new().edits_key("m"), as_it_is), (no(), of_k), (no(), of_m)]);
    assert_eq!(&*decide(&chain, request("k")).denied.unwrap().policy, "c");
}

#[test]
fn who_is_not_asked_costs_nothing_and_says_nothing() {
    let chain = alone(&Guest::new().denies("no", "no"), |settings| {
        settings.matches = vec!["pay/**".into(), "ship/*".into()];
        settings.operations = vec![Operation::Acquire, Operation::Force];
    });
    for (operation, keys, applies) in [
        (Operation::Acquire, &["pay/eu/1"][..], true),
        (Operation::Acquire, &["ship/1"], true),
        (Operation::Acquire, &["ship/eu/1"], false),
        (Operation::Force, &["pay/1"], true),
        (Operation::Once, &["pay/1"], false),
        (Operation::Acquire, &["a", "b", "pay/1"], true),
        (Operation::Acquire, &["a", "b"], false),
    ] {
        let keys: Vec<Arc<str>> = keys.iter().map(|key| (*key).into()).collect();
        let all = || keys.iter().map(|key| &**key);
        assert_eq!(chain.applies(operation, all()), applies, "{operation:?} {keys:?}");
        let outcome = decide(&chain, Request { operation, keys, ..request("k") });
        assert_eq!((outcome.denied.is_some(), outcome.steps.len()), (applies, usize::from(applies)));
    }
    assert!(!load(Vec::new()).unwrap().applies(Operation::Acquire, ["k"].into_iter()));
}

#[test]
fn a_policy_that_is_only_watched_changes_nothing_and_is_told() {
    let chain = chain(vec![
        (Guest::new().denies("no", "no"), monitored),
        (Guest::new().edits_key("m").counts("n").wants(&["n"]), monitored),
        (Guest::new().admit("unreachable"), monitored),
        (Guest::new(), as_it_is),
    ]);
    let outcome = decide(&chain, request("k"));
    assert_eq!((&outcome.denied, &*outcome.request.keys[0]), (&None, "k"));
    let watched =
        [("a", Effect::Watched), ("b", Effect::Watched), ("c", Effect::Watched), ("d", Effect::Next)];
    assert_eq!(effects(&outcome), watched);
    assert!(matches!(outcome.steps[0].ruling, Ok(Verdict::Deny(_))) && outcome.steps[2].ruling.is_err());
    assert_eq!(chain.inspect()[1].counting, 1, "it counts, so that what it would do can be watched");
}

#[test]
fn a_fault_denies_or_is_passed_over_as_the_operator_says() {
    fn abstain(settings: &mut Settings) {
        settings.on_error = OnError::Abstain;
    }
    let trap = || Guest::new().admit("unreachable");
    let denied = decide(&chain(vec![(trap(), as_it_is), (Guest::new(), as_it_is)]), request("k"));
    assert!(matches!(fault(&denied), Fault::Trap(_)));
    let passed =
        decide(&chain(vec![(trap(), abstain), (Guest::new().edits_key("m"), as_it_is)]), request("k"));
    assert_eq!((&passed.denied, &*passed.request.keys[0]), (&None, "m"));
    assert_eq!(effects(&passed), [("a", Effect::Next), ("b", Effect::Changed)]);
}

#[test]
fn a_count_is_added_only_when_the_whole_chain_admits() {
    let counting = || Guest::new().wants(&["all/1h"]).counts("all");
    let chain = chain(vec![(counting(), as_it_is), (only(b'k'), as_it_is)]);
    let counted = |chain: &Arc<Chain>| chain.inspect()[0].counting;
    decide(&chain, request("x"));
    assert_eq!(counted(&chain), 0, "the other policy denied");
    decide(&chain, request("k"));
    assert_eq!(counted(&chain), 1);
    chain.explain(request("k"));
    // Denies from the third request on.
    let value = format!("(i64.load offset=8 (i32.load offset={} (local.get $r)))", at::COUNTERS);
    let mut guest = Guest::new().wants(&["{uid}/1h"]).counts("{uid}");
    let (code, len) = guest.text("quota");
    let deny = store8(0, 2) + &crate::guest::store(8, code) + &crate::guest::store(12, len);
    let guest = guest.admit(&format!("(if (i64.ge_u {value} (i64.const 2)) (then {deny}))"));
    let quota = alone(&guest, as_it_is);
    let by = |uid: u32, unix_ms: u64| {
        let mut request = request("k");
        (request.peer.uid, request.clock.unix_ms) = (uid, unix_ms);
        decide(&quota, request).denied.is_none()
    };
    assert_eq!([by(1, 0), by(1, 0), by(1, 0), by(1, 0)], [true, true, false, false]);
    assert!(by(2, 0), "another user");
    assert!(!by(1, 3_599_999) && by(1, 3_600_000), "another hour");
    let mut given = request("k");
    given.counters = vec![Counter { name: "{uid}".into(), value: 2, resets_in_ms: 5 }];
    assert!(quota.explain(given).denied.is_some(), "what is explained may bring its own");
    assert!(
        quota.explain(request("k")).denied.is_none(),
        "else it has what stands, which is nothing for uid 0"
    );
}

#[test]
fn counters_outlive_a_reload() {
    let shelf = Shelf::new();
    let settings = shelf.put("quota", &Guest::new().wants(&["all"]).counts("all").policy());
    let before = load(vec![settings.clone()]).unwrap();
    decide(&before, request("k"));
    shelf.put("quota", &Guest::new().wants(&["all", "more"]).counts("all").policy());
    let after = Chain::load(host(), vec![settings], Bounds::default(), Some(&before)).unwrap();
    assert_ne!(after.inspect()[0].sha256, before.inspect()[0].sha256);
    assert_eq!(after.inspect()[0].counting, 1);
}

#[test]
fn an_answer_that_may_be_repeated_is() {
    // Decides by the wait, and allows a repetition for a minute.
    let guest = Guest::new().denies("impatient", "no").caches(60_000);
    let wait = format!("(i64.gt_u (i64.load offset={} (local.get $r)) (i64.const 99))", at::WAIT_MS + 8);
    let chain = alone(&guest.admit(&format!("(if {wait} (then {}))", store8(0, 0))), as_it_is);
    let ask = |wait_ms: u64, uid: u32| {
        let mut request = Request { wait_ms: Some(wait_ms), ..request("k") };
        request.peer.uid = uid;
        let outcome = decide(&chain, request);
        (outcome.denied.is_none(), outcome.steps[0].repeated)
    };
    assert_eq!([ask(1_000, 1), ask(1_000, 1)], [(true, false), (true, true)]);
    assert_eq!([ask(50, 1), ask(50, 1)], [(false, false), (false, true)], "another question");
    assert_eq!(ask(1_000, 2), (true, false), "another user");
    assert!(!chain.explain(Request { wait_ms: Some(1_000), ..request("k") }).steps[0].repeated);
    let counting = alone(&Guest::new().wants(&["n"]).counts("n").caches(60_000), as_it_is);
    decide(&counting, request("k"));
    assert!(!decide(&counting, request("k")).steps[0].repeated, "each request counts");
}

#[test]
fn who_fails_again_and_again_is_left_alone_and_asked_again_later() {
    let chain = alone(&Guest::new().admit("unreachable"), as_it_is);
    let rest = Duration::from_millis(100);
    let (mut traps, mut begun) = (0, Instant::now());
    let (left_alone, retry_after_ms) = loop {
        let asked = Instant::now();
        let outcome = decide(&chain, request("k"));
        match fault(&outcome) {
            // It rests from the eighth on. Who comes when a rest is over meets one more, and the next rest is longer.
            Fault::Trap(_) => assert!(traps < 8 || traps < 30 && begun.elapsed() >= rest, "{traps}"),
            other => break (other, outcome.denied.and_then(|denied| denied.denial.retry_after_ms)),
        }
        // Its rest begins after this, however long it takes to look at it.
        (traps, begun) = (traps + 1, asked);
    };
    assert_eq!(left_alone, Fault::Resting(traps));
    assert!(retry_after_ms.is_some(), "it is not left alone for ever");
    assert!(traps >= 8, "{traps}");
    assert!(chain.inspect()[0].rests || begun.elapsed() >= rest);
    assert!(matches!(fault(&chain.explain(request("k"))), Fault::Trap(_)), "who explains is always told");
    while !matches!(fault(&decide(&chain, request("k"))), Fault::Trap(_)) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is never asked again");
        std::thread::yield_now();
    }
    assert!(begun.elapsed() >= Duration::from_millis(90), "it rests for a tenth of a second");
}

#[test]
fn a_clock_shows_the_zone_of_its_policy() {
    // Abstains on a Sunday at 03:00.
    let (weekday, minute) = (at::WEEKDAY, at::MINUTE_OF_DAY);
    let sunday = format!(
        "(i32.and (i32.eq (i32.load8_u offset={weekday} (local.get $r)) (i32.const 6))
                  (i32.eq (i32.load16_u offset={minute} (local.get $r)) (i32.const 180)))"
    );
    let guest = || Guest::new().admit(&format!("(if {sunday} (then {}))", store8(0, 3)));
    fn berlin(settings: &mut Settings) {
        settings.timezone = "Europe/Berlin".into();
    }
    let chain = chain(vec![(guest(), as_it_is), (guest(), berlin), (guest(), as_it_is)]);
    let verdicts = |moment: &str| {
        let mut request = request("k");
        request.clock.unix_ms = parse_moment(moment).unwrap();
        let outcome = decide(&chain, request);
        outcome.steps.into_iter().map(|step| step.ruling == Ok(Verdict::Abstain)).collect::<Vec<_>>()
    };
    assert_eq!(verdicts("2026-03-29T01:00:00Z"), [false, true, false]);
    assert_eq!(verdicts("2026-03-29T03:00:00Z"), [true, false, true]);
}

#[test]
fn tables_are_looked_up_and_lines_reach_who_explains() {
    // Logs what it finds under the key `k` of the table `t`; 800 is where the answer goes.
    let mut guest = Guest::new();
    let (table, key) = (guest.text("t"), guest.text("k"));
    let guest = guest.admit(&format!(
        "(call $lookup (i32.const {}) (i32.const 1) (i32.const {}) (i32.const 1) (i32.const 800))
         (if (i32.load8_u (i32.const 800)) (then
           (call $log (i32.const 2) (i32.load (i32.const 804)) (i32.load (i32.const 808)))))",
        table.0, key.0
    ));
    let found = alone(&guest, |settings| {
        settings.tables.entry("t".into()).or_default().insert("k".into(), "two\nlines".into());
    });
    let lines = found.explain(request("k")).steps.remove(0).lines;
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].level, &*lines[0].text), (Level::Warn, "two lines"), "a guest can not forge a line");
    assert_eq!(alone(&guest, as_it_is).explain(request("k")).steps[0].lines, []);
    let shout = "(loop $again (call $log (i32.const 0) (i32.const 65536) (i32.const 4096))
        (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.lt_u (local.get $i) (i32.const 100))))";
    let lines = alone(&Guest::new().admit(shout), as_it_is).explain(request("k")).steps.remove(0).lines;
    assert!(lines.len() == 16 && lines.iter().all(|line| line.text.len() == 1024));
}

#[test]
fn all_of_a_request_arrives() {
    // The guest sees what is at these places.
    let uid = format!("(i32.ne (i32.load offset={} (local.get $r)) (i32.const 1000))", at::UID);
    let count = format!("(i32.ne (i32.load offset={} (local.get $r)) (i32.const 2))", at::KEYS + 4);
    let chain =
        alone(&Guest::new().admit(&format!("(if (i32.or {uid} {count}) (then unreachable))")), as_it_is);
    let mut request = Request { keys: vec!["a".into(), "b".into()], mode: Mode::Shared, ..request("k") };
    request.peer.uid = 1000;
    assert_eq!(decide(&chain, request).denied, None);
}

#[test]
fn an_explanation_is_what_was_decided() {
    let chain = chain(vec![
        (Guest::new().edits_wait(9), as_it_is),
        (Guest::new().abstains(), monitored),
        (only(b'k'), as_it_is),
    ]);
    for key in ["k", "x"] {
        let (decided, explained) = (decide(&chain, request(key)), chain.explain(request(key)));
        assert_eq!((&decided.request, &decided.denied), (&explained.request, &explained.denied));
        let rulings = |outcome: Outcome| {
            outcome.steps.into_iter().map(|step| (step.ruling, step.effect)).collect::<Vec<_>>()
        };
        assert_eq!(rulings(decided), rulings(explained));
    }
}

#[test]
fn a_quick_policy_is_asked_at_once() {
    let chain = alone(&Guest::new(), |settings| settings.prepared = Some(0));
    let now = (0..1000).filter(|_| matches!(chain.decide(request("k")), Decided::Now(_))).count();
    // A busy machine may take the processor away in the middle of a call: that one is made anew elsewhere.
    assert!(now > 500, "{now} of 1000");
}
