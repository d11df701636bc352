//! A policy that is asked what others were asked.

use crate::guest::Guest;
use crate::support::{Shelf, decide, load, request};
use sidelock_policy::model::Request;
use sidelock_policy::{Chain, Counting, Difference, Outcome, Recorded, Replay, Replayed, Settings};
use std::sync::Arc;

/// What a chain decides about a request each second, on record.
fn on_record(chain: &Arc<Chain>, keys: &[&str]) -> Vec<Recorded> {
    let one = |(key, seq): (&&str, u64)| {
        let mut asked = request(key);
        asked.clock.unix_ms = seq * 1_000;
        let outcome = decide(chain, asked.clone());
        Recorded::new(seq, asked, Some(&outcome))
    };
    keys.iter().zip(1..).map(one).collect()
}

fn replay(settings: Settings, counting: Counting, record: &[Recorded]) -> Vec<Replayed> {
    let policy = settings.name.clone();
    let replay = Replay::new(load(vec![settings]).unwrap(), policy, counting);
    record.iter().map(|recorded| replay.ask(recorded)).collect()
}

fn differences(replayed: &[Replayed]) -> Vec<Option<Difference>> {
    replayed.iter().map(|one| one.difference).collect()
}

#[test]
fn a_quota_that_is_replayed_fills_up_as_it_would_have() {
    let shelf = Shelf::new();
    let two = load(vec![shelf.put("quota", &Guest::quota(2).policy())]).unwrap();
    let record = on_record(&two, &["k"; 6]);
    let same = replay(shelf.put("quota", &Guest::quota(2).policy()), Counting::Anew, &record);
    assert_eq!(differences(&same), [None; 6]);
    let mut admitted = [None; 6];
    admitted[2..4].fill(Some(Difference::Admitted));
    let more = replay(shelf.put("quota", &Guest::quota(4).policy()), Counting::Anew, &record);
    assert_eq!(differences(&more), admitted, "what it would have admitted counts, though it was denied then");
    let mut denied = [None; 6];
    denied[1] = Some(Difference::Denied);
    let fewer = replay(shelf.put("quota", &Guest::quota(1).policy()), Counting::Anew, &record);
    assert_eq!(differences(&fewer), denied);
    let recorded = replay(shelf.put("quota", &Guest::quota(4).policy()), Counting::Recorded, &record);
    let mut admitted = [None; 6];
    admitted[2..].fill(Some(Difference::Admitted));
    assert_eq!(differences(&recorded), admitted, "those on record stand at 2 from then on");
}

#[test]
fn who_was_denied_by_another_stays_so_and_does_not_count() {
    let shelf = Shelf::new();
    let wall = shelf.put("wall", &Guest::new().denies("closed", "no").policy());
    let wall = Settings { matches: vec!["shut".into()], ..wall };
    let record = on_record(&load(vec![wall]).unwrap(), &["shut", "shut", "k", "k", "k"]);
    let new = replay(shelf.put("quota", &Guest::quota(2).policy()), Counting::Anew, &record);
    assert_eq!(differences(&new), [None, None, None, None, Some(Difference::Denied)]);
    let by_another: Vec<_> = new.iter().map(|one| one.denied_by_another).collect();
    assert_eq!(by_another, [true, true, false, false, false]);
    let open = replay(shelf.put("wall", &Guest::new().policy()), Counting::Anew, &record);
    assert_eq!(differences(&open)[..3], [Some(Difference::Admitted), Some(Difference::Admitted), None]);
}

#[test]
fn it_is_asked_what_the_one_in_its_place_was_asked() {
    let shelf = Shelf::new();
    let lane = shelf.put("lane", &Guest::new().edits_key("real").policy());
    let shut = Settings {
        matches: vec!["real".into()],
        ..shelf.put("shut", &Guest::new().denies("shut", "no").policy())
    };
    let record = on_record(&load(vec![lane, shut.clone()]).unwrap(), &["alias"]);
    assert_eq!(differences(&replay(shut.clone(), Counting::Anew, &record)), [None], "it sees `real` again");
    let stranger = Settings { name: "stranger".into(), ..shut };
    let asked = replay(stranger, Counting::Anew, &record);
    assert_eq!(asked[0].step, None, "what the client asked for is not its business");
}

#[test]
fn an_edit_is_a_difference_if_it_is_another() {
    let shelf = Shelf::new();
    let patient = load(vec![shelf.put("p", &Guest::new().edits_wait(10).policy())]).unwrap();
    let record = on_record(&patient, &["k"]);
    let of = |guest: Guest| differences(&replay(shelf.put("p", &guest.policy()), Counting::Anew, &record));
    assert_eq!(of(Guest::new().edits_wait(10)), [None]);
    assert_eq!(of(Guest::new().edits_wait(11)), [Some(Difference::Edited)]);
    assert_eq!(of(Guest::new()), [Some(Difference::Edited)]);
    assert_eq!(of(Guest::new().denies("no", "")), [Some(Difference::Denied)]);
}

/// What policies saw, and only that, is on record.
#[test]
fn counters_are_on_record_with_the_policy_that_saw_them() {
    let shelf = Shelf::new();
    let chain =
        load(vec![shelf.put("quota", &Guest::quota(9).policy()), shelf.put("open", &Guest::new().policy())]);
    let record = on_record(&chain.unwrap(), &["k", "k"]);
    let seen = |recorded: &Recorded, policy: &str| {
        let counters = &recorded.step(policy).unwrap().counters;
        counters.iter().map(|counter| counter.value).collect::<Vec<_>>()
    };
    assert_eq!([seen(&record[0], "quota"), seen(&record[1], "quota")], [[0], [1]]);
    assert_eq!(seen(&record[1], "open"), [0; 0]);
    let Outcome { request: Request { counters, .. }, .. } =
        decide(&load(vec![shelf.put("quota", &Guest::quota(9).policy())]).unwrap(), request("k"));
    assert_eq!(counters, [], "a request itself has none");
}
