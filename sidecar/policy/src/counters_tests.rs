use super::*;
use crate::model::Peer;

fn wanted(texts: &[&str]) -> Vec<Wanted> {
    Wanted::read_all(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn request(uid: u32, key: &str, unix_ms: u64) -> Request {
    let mut request = Request { keys: vec![key.into()], ..Request::default() };
    request.peer = Peer { uid, app: "shop".into(), ..Peer::default() };
    request.clock.unix_ms = unix_ms;
    request
}

fn add(counters: &Counters, wanted: &[Wanted], request: &Request) -> Result<(), Fault> {
    let names: Vec<_> = wanted.iter().map(|wanted| wanted.name.to_string()).collect();
    let changed = counters.add(&mut Counters::counted(wanted, &names, request)?, request.clock.unix_ms)?;
    assert_eq!(changed, 0, "it has seen none");
    Ok(())
}

#[test]
fn what_is_taken_back_is_of_the_window_in_which_it_was_added() {
    let (counters, wanted) = (Counters::default(), wanted(&["all"]));
    let added = |unix_ms| {
        let mut counted = Counters::counted(&wanted, &["all".to_owned()], &request(1, "k", unix_ms)).unwrap();
        counters.add(&mut counted, unix_ms).unwrap();
        counted
    };
    let value = |unix_ms| values(&counters, &wanted, &request(1, "k", unix_ms))[0].0;
    let (one, _other) = (added(10), added(10));
    counters.take_back(&one);
    assert_eq!(value(10), 1);
    let late = added(20);
    let _next = added(60_000);
    counters.take_back(&late);
    assert_eq!(value(60_000), 1, "its window is over");
    // The clock steps back: it is counted where the others are.
    counters.take_back(&added(30));
    assert_eq!(value(60_000), 1);
}

fn values(counters: &Counters, wanted: &[Wanted], request: &Request) -> Vec<(u64, u64)> {
    counters.read(wanted, request).iter().map(|counter| (counter.value, counter.resets_in_ms)).collect()
}

#[test]
fn a_counter_counts_within_its_window() {
    let counters = Counters::default();
    let wanted = wanted(&["all", "hour/1h"]);
    assert_eq!(values(&counters, &wanted, &request(1, "k", 30_000)), [(0, 0), (0, 0)]);
    for _ in 0..3 {
        add(&counters, &wanted, &request(1, "k", 30_000)).unwrap();
    }
    assert_eq!(values(&counters, &wanted, &request(2, "l", 59_999)), [(3, 1), (3, 3_540_001)]);
    assert_eq!(values(&counters, &wanted, &request(2, "l", 60_000)), [(0, 0), (3, 3_540_000)]);
    add(&counters, &wanted[..1], &request(1, "k", 60_000)).unwrap();
    assert_eq!(values(&counters, &wanted, &request(2, "l", 60_000)), [(1, 60_000), (3, 3_540_000)]);
    // The clock steps back: what was counted stands.
    add(&counters, &wanted[..1], &request(1, "k", 10)).unwrap();
    assert_eq!(values(&counters, &wanted[..1], &request(1, "k", 10)), [(2, 119_990)]);
    // It had been a day ahead.
    let (counters, minute) = (Counters::default(), &wanted[..1]);
    add(&counters, minute, &request(1, "k", 86_400_000)).unwrap();
    let ends = 2 * 60_000 + LATE_MS_MAX;
    assert_eq!(values(&counters, minute, &request(1, "k", 10)), [(1, ends - 10)]);
    assert_eq!(values(&counters, minute, &request(1, "k", ends)), [(0, 0)]);
}

/// It waited for a slow policy before this one.
#[test]
fn who_is_asked_about_late_changes_no_window() {
    let (counters, second) = (Counters::default(), wanted(&["all/1s"]));
    add(&counters, &second, &request(1, "k", 10_000)).unwrap();
    assert_eq!(values(&counters, &second, &request(2, "k", 0)), [(1, 11_000)], "it came ten seconds ago");
    assert_eq!(values(&counters, &second, &request(1, "k", 10_500)), [(1, 500)]);
}

/// Each of them would have it looked through otherwise, and the next window would find it full.
#[test]
fn a_full_table_has_room_again_when_windows_are_over() {
    let (counters, by_key) = (Counters::default(), wanted(&["{key}/1m", "long:{key}/2m"]));
    let (minute, two) = (&by_key[..1], &by_key[1..]);
    for name in 0..NAMES_MAX - 1 {
        add(&counters, two, &request(1, &name.to_string(), 0)).unwrap();
    }
    let add_at = |name: &str, now| add(&counters, minute, &request(1, name, now));
    add_at("a", 0).unwrap();
    assert_eq!(add_at("b", 59_990), Err(Fault::Counters(NAMES_MAX)));
    assert_eq!(add_at("b", 60_989), Err(Fault::Counters(NAMES_MAX)), "it was looked through a moment ago");
    assert_eq!(add_at("b", 60_990), Ok(()), "the window of one is over");
}

/// Whoever chooses its own name could otherwise use up what another may have.
#[test]
fn what_a_client_is_called_is_not_taken_for_anything_else() {
    let counters = Counters::default();
    let all = wanted(&["requests:{uid}", "requests:{app}", "{app}:{owner}", "{owner}:{app}"]);
    let of = |uid, app: &str, owner: &str| {
        let mut request = request(uid, "k", 0);
        (request.peer.app, request.owner) = (app.into(), Some(owner.into()));
        request
    };
    add(&counters, &all, &of(2000, "1000", "a:b")).unwrap();
    for other in [
        of(1000, "shop", "x"),
        of(1, "1000:a", "b"),
        of(1, "2000", "a"),
        of(1, "0:", "1000"),
        of(1, "a:b", "1000"),
    ] {
        let values = values(&counters, &all, &other);
        assert!(values.iter().all(|(value, _)| *value == 0), "{values:?}");
    }
    assert_eq!(values(&counters, &all, &of(2000, "1000", "a:b"))[..2], [(1, 60_000), (1, 60_000)]);
}

#[test]
fn what_others_counted_since_it_was_seen_is_told() {
    let (counters, wanted) = (Counters::default(), wanted(&["all", "own {uid}"]));
    let mut first = request(1, "k", 0);
    first.counters = counters.read(&wanted, &first);
    let names = ["all".to_owned(), "own {uid}".to_owned()];
    let mut counted = Counters::counted(&wanted, &names, &first).unwrap();
    let mut repeated = counted.clone();
    assert_eq!(counters.add(&mut counted, 0), Ok(0));
    assert_eq!(counters.add(&mut repeated, 0), Ok(2));
    assert_eq!(values(&counters, &wanted, &first), [(1, 60_000), (1, 60_000)], "nothing was added");
    repeated.iter_mut().for_each(Counted::forget_seen);
    assert_eq!(counters.add(&mut repeated, 0), Ok(0));
}

#[test]
fn braces_stand_for_what_the_request_has() {
    let counters = Counters::default();
    let wanted = wanted(&["of {uid} at {key}/1m", "{app}{owner}"]);
    add(&counters, &wanted, &request(7, "a/b", 0)).unwrap();
    assert_eq!(values(&counters, &wanted, &request(7, "a/b", 0)), [(1, 60_000), (1, 60_000)]);
    assert_eq!(values(&counters, &wanted, &request(8, "a/b", 0)), [(0, 0), (1, 60_000)]);
    assert_eq!(values(&counters, &wanted, &request(7, "a", 0)), [(0, 0), (1, 60_000)]);
    assert_eq!(&*counters.read(&wanted, &request(7, "a", 0))[0].name, "of {uid} at {key}");
}

#[test]
fn one_name_in_two_windows_is_two_counters() {
    let counters = Counters::default();
    let (minute, hour) = (wanted(&["n/1m"]), wanted(&["n/1h"]));
    add(&counters, &minute, &request(1, "k", 0)).unwrap();
    assert_eq!(values(&counters, &hour, &request(1, "k", 0)), [(0, 0)]);
}

#[test]
fn what_is_no_counter_is_told() {
    let read =
        |texts: &[&str]| Wanted::read_all(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    for text in ["", "/1m", "n/0s", "n/soon", "{pid}", "{uid", &"n".repeat(129)] {
        assert!(read(&[text]).is_err(), "{text}");
    }
    assert!(read(&["n/1m", "n/1h"]).unwrap_err().contains("twice"));
    assert!(read(&["x"; 17]).unwrap_err().contains("at most 16"));
    let wanted = wanted(&["n"]);
    let counted = |name: &str| Counters::counted(&wanted, &[name.to_owned()], &request(1, "k", 0));
    assert_eq!(counted("n").unwrap().len(), 1);
    assert!(matches!(counted("m"), Err(Fault::Answer(_))));
}

#[test]
fn names_are_bounded_and_those_that_are_over_make_room() {
    let counters = Counters::default();
    let wanted = wanted(&["{uid}/1m", "of {uid}/1h"]);
    let half = u32::try_from(NAMES_MAX / 2).unwrap();
    for uid in 0..half {
        add(&counters, &wanted, &request(uid, "k", 0)).unwrap();
    }
    assert_eq!(add(&counters, &wanted, &request(half, "k", 0)), Err(Fault::Counters(NAMES_MAX)));
    assert_eq!(counters.len(), NAMES_MAX, "none was added");
    add(&counters, &wanted, &request(0, "k", 0)).expect("who is known goes on");
    add(&counters, &wanted, &request(half, "k", 60_000)).unwrap();
    assert_eq!(counters.len(), NAMES_MAX / 2 + 2, "the minute is over, the hour is not");
}
