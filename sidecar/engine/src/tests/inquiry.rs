//! Inquiries of one engine: how many it makes, whom it asks, what it takes for an answer, and how often it answers.

use super::*;
use crate::config::Config;
use crate::effect::Effect;
use crate::input::Input;
use crate::model::StoreTime;
use crate::store::{CallId, KEYS_ASKED_MAX, Outcome, Peeked, PeekedEntry, PeekedTenure, Push, Reply};
use crate::survey::{Around, Survey};
use std::sync::Arc;

const ME: Incarnation = Incarnation(1);
const SECOND: Duration = Duration::from_secs(1);

fn engine() -> Engine {
    let mut engine = Engine::new(Config::new(ME));
    engine.handle(Time(0), Input::StoreUp { at: StoreTime(1_000_000) });
    engine
}

fn key() -> Key {
    Key::new("k").unwrap()
}

/// What it wants done: operations, and surveys that are over.
fn effects(engine: &mut Engine) -> (Vec<(CallId, Op)>, Vec<Survey>) {
    let (mut ops, mut surveys) = (Vec::new(), Vec::new());
    while let Some(effect) = engine.poll_effect() {
        match effect {
            Effect::Store(call) => ops.push((call.id, call.op)),
            Effect::Surveyed { survey, .. } => surveys.push(*survey),
            other => panic!("{other:?}"),
        }
    }
    (ops, surveys)
}

/// Looks at the key, whose record names these sidecars; whom it inquires of.
fn look(engine: &mut Engine, holders: &[u128], queue: &[u128]) -> Vec<Inquire> {
    engine.handle(Time(0), Input::Survey { ticket: 1, around: Around::Key(key()) });
    let id = |sidecar: &u128| AskId { incarnation: Incarnation(*sidecar), seq: 1 };
    let tenures = holders.iter().map(|sidecar| PeekedTenure { id: id(sidecar), units: 1, remaining: SECOND });
    let queue = queue.iter().map(|sidecar| PeekedEntry { id: id(sidecar), units: 1, offered: false });
    let record = Peeked { limit: 500, tenures: tenures.collect(), queue: queue.collect() };
    let mut inquiries = Vec::new();
    let (mut ops, _) = effects(engine);
    while let Some((call, op)) = ops.pop() {
        let reply = match op {
            Op::Peek { .. } => Reply::Record(record.clone()),
            Op::ReadBoard { .. } => Reply::Board(None),
            Op::Inquire(inquire) => {
                inquiries.push(inquire);
                continue;
            }
            other => panic!("{other:?}"),
        };
        engine.handle(
            Time(0),
            Input::Store { call, outcome: Outcome::Applied { at: StoreTime(1_000_000), reply } },
        );
        ops.extend(ops_of(engine));
    }
    inquiries
}

fn ops_of(engine: &mut Engine) -> Vec<(CallId, Op)> {
    let (ops, surveys) = effects(engine);
    assert!(surveys.is_empty(), "{surveys:?}");
    ops
}

/// An answer that says of as many keys as were asked about that nobody has them.
fn declare(inquire: &Inquire) -> Declare {
    let keys = keys_of(inquire.key.clone(), &inquire.more).unwrap();
    let declarations = encode_all(&vec![Declaration::default(); keys.len()]).into();
    Declare { key: inquire.key.clone(), inquiry: inquire.inquiry, from: inquire.to, declarations }
}

/// Keys with records that name these sidecars.
fn records(keys: impl Iterator<Item = String>, holders: &[u128]) -> BTreeMap<Key, Peeked> {
    let id = |sidecar: &u128| AskId { incarnation: Incarnation(*sidecar), seq: 1 };
    let held = |sidecar| PeekedTenure { id: id(sidecar), units: 1, remaining: SECOND };
    let record = Peeked { limit: 500, tenures: holders.iter().map(held).collect(), queue: Vec::new() };
    keys.map(|key| (Key::new(&key).unwrap(), record.clone())).collect()
}

/// Lists these; what it asks.
fn list(engine: &mut Engine, records: BTreeMap<Key, Peeked>) -> Vec<Inquire> {
    engine.handle(Time(0), Input::Survey { ticket: 1, around: Around::Listed(records) });
    let (ops, _) = effects(engine);
    let inquire = |op| match op {
        Op::Inquire(inquire) => inquire,
        other => panic!("{other:?}"),
    };
    ops.into_iter().map(|(_, op)| inquire(op)).collect()
}

fn hear(engine: &mut Engine, declare: Declare) -> Option<Vec<Incarnation>> {
    engine.handle(Time(1), Input::Pushed(Push::Declared(Box::new(declare))));
    let (_, mut surveys) = effects(engine);
    surveys.pop().map(|mut survey| survey.declarations.remove(&key()).unwrap().into_keys().collect())
}

/// Nobody takes it for a fleet in which nobody waits.
#[test]
fn a_look_without_the_store_says_so() {
    let mut engine = engine();
    let mut away = |up: Input| {
        engine.handle(Time(0), up);
        engine.handle(Time(0), Input::Survey { ticket: 1, around: Around::Waits });
        let (_, surveys) = effects(&mut engine);
        surveys.into_iter().map(|survey| survey.store_away).collect::<Vec<_>>()
    };
    assert_eq!(away(Input::StoreUp { at: StoreTime(1_000_000) }), [false]);
    assert_eq!(away(Input::StoreDown), [true]);
}

#[test]
fn each_sidecar_is_asked_once_and_this_one_not_at_all() {
    let mut engine = engine();
    let mut asked: Vec<u128> = look(&mut engine, &[1, 2, 3], &[3, 1, 4]).iter().map(|one| one.to.0).collect();
    asked.sort_unstable();
    assert_eq!(asked, [2, 3, 4]);
}

#[test]
fn no_more_are_asked_than_the_limit_and_holders_come_first() {
    let mut engine = engine();
    let (holders, queue): (Vec<u128>, Vec<u128>) = ((200..250).collect(), (100..150).collect());
    let asked: BTreeSet<u128> = look(&mut engine, &holders, &queue).iter().map(|one| one.to.0).collect();
    assert_eq!(asked.len(), QUESTIONS_MAX);
    assert!(holders.iter().all(|holder| asked.contains(holder)), "{asked:?}");
}

#[test]
fn only_who_was_asked_is_heard_and_about_this() {
    let wrongs: [fn(Declare) -> Declare; 7] = [
        |right| Declare { inquiry: AskId { seq: right.inquiry.seq + 1, ..right.inquiry }, ..right },
        |right| Declare { inquiry: AskId { incarnation: Incarnation(9), ..right.inquiry }, ..right },
        |right| Declare { key: Key::new("other").unwrap(), ..right },
        |right| Declare { from: Incarnation(4), ..right },
        |right| Declare { declarations: Arc::from(*b"nonsense"), ..right },
        |right| Declare { declarations: Arc::default(), ..right },
        |right| Declare {
            declarations: encode_all(&[Declaration::default(), Declaration::default()]).into(),
            ..right
        },
    ];
    for (number, wrong) in wrongs.into_iter().enumerate() {
        let mut engine = engine();
        // Nobody else is waited for: an answer that is taken ends it.
        let asked = look(&mut engine, &[2], &[]);
        let right = declare(&asked[0]);
        assert_eq!(hear(&mut engine, wrong(right.clone())), None, "wrong answer {number}");
        assert_eq!(hear(&mut engine, right), Some(vec![ME, Incarnation(2)]), "after wrong answer {number}");
    }
}

#[test]
fn everybody_asked_is_waited_for_and_heard_once() {
    let mut engine = engine();
    let asked = look(&mut engine, &[2, 3], &[]);
    let answer = declare(&asked[0]);
    assert_eq!(hear(&mut engine, answer.clone()), None);
    assert_eq!(hear(&mut engine, answer), None, "the other one is still waited for");
    let known = hear(&mut engine, declare(&asked[1]));
    assert_eq!(known, Some(vec![ME, Incarnation(2), Incarnation(3)]));
    assert_eq!(engine.next_deadline(), None, "nothing is waited for any more");
}

#[test]
fn who_is_silent_is_unknown_after_a_while() {
    let mut engine = engine();
    let asked = look(&mut engine, &[2, 3], &[]);
    assert_eq!(hear(&mut engine, declare(&asked[0])), None);
    assert_eq!(engine.next_deadline(), Some(Time(0) + PATIENCE));
    engine.handle(Time(0) + PATIENCE, Input::Tick);
    let (_, surveys) = effects(&mut engine);
    let known: Vec<&Incarnation> = surveys[0].declarations[&key()].keys().collect();
    assert_eq!(known, [&ME, &asked[0].to]);
    assert_eq!(hear(&mut engine, declare(&asked[1])), None, "too late");
}

#[test]
fn a_look_too_many_inquires_nothing() {
    let mut engine = engine();
    for _ in 0..INQUIRIES_MAX {
        assert_eq!(look(&mut engine, &[2], &[]).len(), 1);
    }
    let look = Look { records: records(["k".to_owned()].into_iter(), &[2]), ..Look::default() };
    engine.inquire_around(Time(0), 2, look, vec![key()]);
    let (ops, surveys) = effects(&mut engine);
    assert!(ops.is_empty(), "{ops:?}");
    assert_eq!((surveys.len(), surveys[0].declarations[&key()].len(), surveys[0].records.len()), (1, 1, 1));
}

#[test]
fn many_keys_are_asked_about_in_one_question_to_each_sidecar() {
    let mut engine = engine();
    let keys = || (0..KEYS_ASKED_MAX).map(|number| format!("k{number}"));
    let asked = list(&mut engine, records(keys(), &[2, 1, 3]));
    assert_eq!(asked.iter().map(|one| one.to.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(keys_of(asked[0].key.clone(), &asked[0].more).unwrap().len(), KEYS_ASKED_MAX);
    engine.handle(Time(1), Input::Pushed(Push::Declared(Box::new(declare(&asked[1])))));
    engine.handle(Time(1), Input::Pushed(Push::Declared(Box::new(declare(&asked[0])))));
    let (_, surveys) = effects(&mut engine);
    let said =
        |key: String| surveys[0].declarations[&Key::new(&key).unwrap()].keys().map(|one| one.0).collect();
    for key in keys() {
        let said: Vec<u128> = said(key);
        assert_eq!(said, [1, 2, 3]);
    }
    assert_eq!(engine.next_deadline(), None, "nothing is waited for any more");
}

#[test]
fn a_question_has_so_many_keys_and_bytes_and_a_listing_so_many_questions() {
    let count = |asked: &[Inquire]| -> Vec<usize> {
        asked.iter().map(|one| keys_of(one.key.clone(), &one.more).unwrap().len()).collect()
    };
    let long = (0..100).map(|number| format!("{number:0512}"));
    let asked = list(&mut engine(), records(long, &[2]));
    // Each is 512 bytes, a letter and a length; the first of a question is no part of those bytes.
    assert_eq!(count(&asked), [32, 32, 32, 4]);
    let asked = list(&mut engine(), records((0..1000).map(|number| format!("k{number}")), &[2]));
    assert_eq!(count(&asked), [128, 128, 128, 128, 128, 128, 128, 104]);
    let sidecars: Vec<u128> = (100..110).collect();
    let asked = list(&mut engine(), records((0..1000).map(|number| format!("k{number}")), &sidecars));
    assert_eq!(asked.len(), QUESTIONS_MAX);
    let mut engine = engine();
    let asked = list(&mut engine, records((0..1000).map(|number| format!("k{number}")), &[2]));
    for one in &asked[1..] {
        engine.handle(Time(1), Input::Pushed(Push::Declared(Box::new(declare(one)))));
    }
    engine.handle(Time(0) + PATIENCE, Input::Tick);
    let (_, surveys) = effects(&mut engine);
    let known = surveys[0].declarations.values().filter(|said| said.contains_key(&Incarnation(2))).count();
    assert_eq!(known, 1000 - KEYS_ASKED_MAX, "what was not answered is unknown, the rest is not");
}

#[test]
fn a_question_with_too_many_keys_is_none() {
    let keys: Vec<Key> = (0..200).map(|number| Key::new(&format!("k{number}")).unwrap()).collect();
    let (most, count) = put_keys(&keys);
    assert_eq!(count, KEYS_ASKED_MAX - 1);
    assert_eq!(keys_of(key(), &most).map(|keys| keys.len()), Some(KEYS_ASKED_MAX));
    let one_more = [&most[..], b"\x02\0lx"].concat();
    for nonsense in [&one_more[..], &most[1..], b"\x02\0?x", b"\x01\0l", &[0; 16 * 1024 + 1]] {
        assert_eq!(keys_of(key(), nonsense), None);
    }
}

/// By keys: who asks about many uses as much of what there is.
#[test]
fn questions_are_answered_so_often_in_a_second() {
    let mut engine = engine();
    let inquiry = AskId { incarnation: Incarnation(2), seq: 7 };
    let mut answers_at = |at: Time, questions: u32, more: &Arc<[u8]>| {
        for _ in 0..questions {
            let more = more.clone();
            engine.handle(at, Input::Pushed(Push::Inquired { key: key(), more, inquiry }));
        }
        let (ops, _) = effects(&mut engine);
        assert!(
            ops.iter()
                .all(|(_, op)| matches!(op, Op::Declare(one) if one.inquiry == inquiry && one.from == ME))
        );
        ops.len() as u32
    };
    let (none, three) = (Arc::default(), put_keys(&[key(), key(), key()]).0);
    let first = Time(0) + SECOND;
    assert_eq!(answers_at(first, DECLARED_PER_SECOND * 2, &none), DECLARED_PER_SECOND);
    assert_eq!(answers_at(first + SECOND - Duration::from_nanos(1), 1, &none), 0);
    assert_eq!(answers_at(first + SECOND, DECLARED_PER_SECOND, &three), DECLARED_PER_SECOND / 4);
}
