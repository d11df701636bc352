//! Slow guests hold nobody up, and no call is lost, whatever is replaced meanwhile.

use crate::guest::Guest;
use crate::support::{Shelf, alone, decide, fault, host, load, request};
use sidelock_policy::{Bounds, Chain, Decided, Fault, Settings};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Works for a while, and allows.
fn busy(turns: u32) -> Guest {
    Guest::new().admit(&format!(
        "(local.set $i (i32.const {turns}))
         (loop $again (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br_if $again (local.get $i)))"
    ))
}

/// Takes so many turns to begin: where none is ready, it is made on its lane.
fn dear(turns: u32) -> Guest {
    let again = "(global.set $i (i32.sub (global.get $i) (i32.const 1))) (br_if $again (global.get $i))";
    Guest::new()
        .with(&format!("(global $i (mut i32) (i32.const {turns}))"))
        .configure(&format!("(loop $again {again})"))
}

const LOOP: &str = "(loop $again (br $again))";

#[test]
fn a_call_that_is_not_done_in_a_moment_goes_on_elsewhere() {
    let chain = alone(&busy(50_000_000), |settings| settings.deadline = Some(Duration::from_secs(10)));
    let Decided::Later(later) = chain.decide(request("k")) else {
        panic!("no such thing is done in a moment")
    };
    assert_eq!(later.wait().unwrap().denied, None);
}

#[test]
fn the_calling_thread_is_never_held_up_for_long() {
    let chain = alone(&Guest::new().admit(LOOP), |settings| settings.deadline = Some(Duration::from_secs(1)));
    let begun = Instant::now();
    let waiting: Vec<_> = (0..50).map(|_| chain.decide(request("k"))).collect();
    // Each call takes a second, and eight would before the policy is left alone. The bound is that of a very busy machine.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(waiting.iter().all(|decided| matches!(decided, Decided::Later(_))));
}

#[test]
fn a_slow_policy_holds_up_only_those_who_ask_it() {
    fn of_slow(settings: &mut Settings) {
        settings.matches = vec!["slow".into()];
        settings.deadline = Some(Duration::from_secs(10));
    }
    let shelf = Shelf::new();
    let mut slow = shelf.put("slow", &Guest::new().admit(LOOP).policy());
    of_slow(&mut slow);
    // Made on its own lane each time: the slow one's is another.
    let other = Settings { prepared: Some(1), ..shelf.put("other", &dear(200_000).policy()) };
    let chain = load(vec![slow, other]).unwrap();
    let Decided::Later(slow) = chain.decide(request("slow")) else { panic!("not in a moment") };
    for _ in 0..200 {
        assert_eq!(decide(&chain, request("k")).denied, None);
    }
    assert!(!slow.is_known(), "they waited for it");
}

#[test]
fn too_many_that_wait_for_a_slow_policy_are_told_so() {
    let deadline = Some(Duration::from_millis(200));
    let chain = alone(&Guest::new().admit(LOOP), |settings| settings.deadline = deadline);
    let all: Vec<_> = (0..300).map(|_| chain.decide(request("k"))).collect();
    let (now, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|decided| match decided {
        Decided::Now(_) => true,
        Decided::Later(later) => later.is_known(),
    });
    assert!(now.len() >= 300 - 256 - 2, "{} of 300 were told at once", now.len());
    assert_eq!(fault(&now.into_iter().next_back().unwrap().wait().unwrap()), Fault::Busy(256));
    let faults: Vec<_> = later.into_iter().map(|decided| fault(&decided.wait().unwrap())).collect();
    // The first ones met their deadline; then the policy is left alone, and the rest need not wait for theirs.
    assert!(
        matches!(faults[0], Fault::Deadline(_)) && matches!(faults[faults.len() - 1], Fault::Resting(_)),
        "{faults:?}"
    );
}

/// Requests are asked about while others wait for a slow policy further down.
#[test]
fn a_quota_holds_before_a_slow_policy() {
    let shelf = Shelf::new();
    let quota = shelf.put("quota", &Guest::quota(5).policy());
    let slow =
        Settings { deadline: Some(Duration::from_secs(10)), ..shelf.put("slow", &busy(5_000_000).policy()) };
    let chain = load(vec![quota, slow]).unwrap();
    let asked: Vec<_> = (0..50).map(|_| chain.decide(request("k"))).collect();
    let admitted = asked
        .into_iter()
        .filter_map(|decided| decided.wait().unwrap().denied.is_none().then_some(()))
        .count();
    assert_eq!(admitted, 5);
}

/// Who asked for it of a slow policy before goes on, on that one's thread, while the calling thread asks for others.
#[test]
fn a_quota_holds_behind_a_slow_policy_and_beside_it() {
    const OF: u32 = 40;
    let shelf = Shelf::new();
    let slow = Settings {
        deadline: Some(Duration::from_secs(10)),
        matches: vec!["slow".into()],
        ..shelf.put("slow", &busy(200_000).policy())
    };
    let chain = load(vec![slow, shelf.put("quota", &Guest::quota_by("{uid}", OF).policy())]).unwrap();
    let asked = |key, uid| {
        let mut request = request(key);
        request.peer.uid = uid;
        chain.decide(request)
    };
    for uid in 0..500 {
        let behind: Vec<_> = (0..4).map(|_| asked("slow", uid)).collect();
        let beside: Vec<_> = (0..OF * 4).map(|_| asked("quick", uid)).collect();
        let all = behind.into_iter().chain(beside);
        let admitted =
            all.filter_map(|decided| decided.wait().unwrap().denied.is_none().then_some(())).count();
        assert_eq!(admitted, OF as usize, "of user {uid}");
    }
}

/// A slow one and a quick one share their counters: the quick one counts all the time.
#[test]
fn a_policy_whose_counters_change_whenever_it_is_asked_can_not_decide() {
    let shelf = Shelf::new();
    let counting = |guest: Guest| guest.wants(&["all/1h"]).counts("all").policy();
    let quick = load(vec![shelf.put("p", &counting(Guest::new()))]).unwrap();
    // It takes so long that something is counted each of the 64 times that it is asked, on a busy machine too.
    let slow =
        Settings { deadline: Some(Duration::from_secs(10)), ..shelf.put("p", &counting(busy(20_000_000))) };
    let slow = Chain::load(host(), vec![slow], Bounds::default(), Some(&quick)).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                assert_eq!(decide(&quick, request("k")).denied, None);
            }
        });
        // It decides where the machine let the quick one count nothing meanwhile.
        let told = (0..100).map(|_| decide(&slow, request("k"))).find(|told| told.denied.is_some());
        over.store(true, SeqCst);
        assert_eq!(fault(&told.expect("sooner or later")), Fault::Contended(64));
    });
    assert_eq!(decide(&slow, request("k")).denied, None, "nobody else counts now");
}

#[test]
fn prepared_instances_are_used_once_and_made_anew() {
    let chain = alone(&dear(200_000), |settings| settings.prepared = Some(3));
    let mut at_once = 0;
    for _ in 0..300 {
        let decided = chain.decide(request("k"));
        at_once += usize::from(matches!(decided, Decided::Now(_)));
        assert_eq!(decided.wait().unwrap().denied, None);
    }
    assert!(at_once >= 3, "{at_once}");
    // They are made when half of them are gone: whatever was taken last, more than that are ready in the end.
    let begun = Instant::now();
    while chain.inspect()[0].prepared.1 < 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", chain.inspect());
        std::thread::yield_now();
    }
}

#[test]
fn whoever_waits_goes_before_what_is_prepared() {
    // All of them together would take a quarter of a second.
    let wanted = 96;
    let chain = alone(&dear(6_000_000), |settings| settings.prepared = Some(wanted as u32));
    let later = (0..10 * wanted).find_map(|_| match chain.decide(request("k")) {
        Decided::Later(later) => Some(later),
        Decided::Now(_) => None,
    });
    let later = later.expect("they are not made so fast");
    let (begun, mut ready) = (Instant::now(), 0);
    loop {
        let seen = chain.inspect()[0].prepared.1;
        // What is made once it is known came after it.
        if later.is_known() {
            break;
        }
        ready = seen;
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", chain.inspect());
        std::thread::yield_now();
    }
    assert_eq!(later.wait().unwrap().denied, None);
    assert!(ready < wanted / 2, "{ready} were made first");
}

#[test]
fn who_goes_away_does_not_stop_a_call() {
    let chain = alone(&busy(5_000_000), |settings| settings.deadline = Some(Duration::from_secs(10)));
    for _ in 0..20 {
        drop(chain.decide(request("k")));
    }
    assert_eq!(decide(&chain, request("k")).denied, None);
}

#[test]
fn a_chain_that_is_replaced_twenty_times_a_second_loses_no_call() {
    let shelf = Shelf::new();
    let settings = || {
        vec![Settings::at(shelf.path("p")), Settings { prepared: Some(2), ..Settings::at(shelf.path("q")) }]
    };
    let versions =
        [("one", "v1"), ("two", "v2")].map(|(code, text)| dear(200_000).denies(code, text).policy());
    shelf.put("p", &Guest::new().policy());
    shelf.put("q", &versions[0]);
    let chain = std::sync::Mutex::new(load(settings()).unwrap());
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    let current = chain.lock().unwrap().clone();
                    let denied = decide(&current, request("k")).denied.unwrap();
                    assert!(
                        denied.fault.is_none() && ["one", "two"].contains(&&*denied.denial.reason_code),
                        "{denied:?}"
                    );
                    calls.fetch_add(1, SeqCst);
                }
            });
        }
        for n in 0..40 {
            let begun = calls.load(SeqCst);
            shelf.put("q", &versions[n % 2]);
            let current = chain.lock().unwrap().clone();
            let next = Chain::load(host(), settings(), Bounds::default(), Some(&current)).unwrap();
            *chain.lock().unwrap() = next;
            while calls.load(SeqCst) < begun + 10 {
                std::thread::yield_now();
            }
        }
        over.store(true, SeqCst);
    });
    let last = chain.into_inner().unwrap();
    assert_eq!(decide(&last, request("k")).denied.unwrap().denial.reason_code, "two");
}

#[test]
fn a_bad_new_version_keeps_the_old_one() {
    let shelf = Shelf::new();
    let settings = shelf.put("p", &Guest::new().denies("old", "old").policy());
    let old = load(vec![settings.clone()]).unwrap();
    shelf.put("p", &Guest::new().configure("unreachable").policy());
    assert!(Chain::load(host(), vec![settings], Bounds::default(), Some(&old)).is_err());
    assert_eq!(decide(&old, request("k")).denied.unwrap().denial.reason_code, "old");
}

#[test]
fn calls_from_many_threads_at_once_all_have_an_answer() {
    let chain = alone(&busy(1_000), |_| {});
    let (told, answers) = channel();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (chain, told) = (chain.clone(), told.clone());
            scope.spawn(move || {
                (0..500).for_each(|_| told.send(decide(&chain, request("k")).denied).unwrap())
            });
        }
        drop(told);
        let answers: Vec<_> = answers.iter().collect();
        assert!(answers.len() == 4_000 && answers.iter().all(Option::is_none));
    });
}
