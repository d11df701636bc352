//! Inquiries of one engine: how many it makes, whom it asks, what it takes for an answer, and how often it answers.

use super::*;
use crate::config::Config;
use crate::effect::Effect;
use crate::input::Input;
use crate::model::StoreTime;
use crate::store::{CallId, Outcome, Peeked, PeekedEntry, PeekedTenure, Push, Reply};
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

fn declare(inquire: &Inquire) -> Declare {
    let stand = Stand::default().encode().into();
    Declare { key: inquire.key.clone(), inquiry: inquire.inquiry, from: inquire.to, stand }
}

fn hear(engine: &mut Engine, declare: Declare) -> Option<Vec<Incarnation>> {
    engine.handle(Time(1), Input::Pushed(Push::Declared(Box::new(declare))));
    let (_, mut surveys) = effects(engine);
    surveys.pop().map(|survey| survey.stands.into_keys().collect())
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
    assert_eq!(asked.len(), INQUIRED_MAX);
    assert!(holders.iter().all(|holder| asked.contains(holder)), "{asked:?}");
}

#[test]
fn only_who_was_asked_is_heard_once_and_about_this() {
    let mut engine = engine();
    let asked = look(&mut engine, &[2, 3], &[]);
    let answer = declare(&asked[0]);
    let other_number = AskId { seq: answer.inquiry.seq + 1, ..answer.inquiry };
    let other_asker = AskId { incarnation: Incarnation(9), ..answer.inquiry };
    for wrong in [
        Declare { inquiry: other_number, ..answer.clone() },
        Declare { inquiry: other_asker, ..answer.clone() },
        Declare { key: Key::new("other").unwrap(), ..answer.clone() },
        Declare { from: Incarnation(4), ..answer.clone() },
        Declare { stand: Arc::from(*b"nonsense"), ..answer.clone() },
    ] {
        assert_eq!(hear(&mut engine, wrong), None);
    }
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
    let known: Vec<&Incarnation> = surveys[0].stands.keys().collect();
    assert_eq!(known, [&ME, &asked[0].to]);
    assert_eq!(hear(&mut engine, declare(&asked[1])), None, "too late");
}

#[test]
fn a_look_too_many_inquires_nothing() {
    let mut engine = engine();
    for _ in 0..INQUIRIES_MAX {
        assert_eq!(look(&mut engine, &[2], &[]).len(), 1);
    }
    let record = engine.inquiries.open.values().next().unwrap().look.clone();
    engine.inquire(Time(0), 2, key(), record);
    let (ops, surveys) = effects(&mut engine);
    assert!(ops.is_empty(), "{ops:?}");
    assert_eq!((surveys.len(), surveys[0].stands.len(), surveys[0].records.len()), (1, 1, 1));
}

#[test]
fn questions_are_answered_so_often_in_a_second() {
    let mut engine = engine();
    let inquiry = AskId { incarnation: Incarnation(2), seq: 7 };
    let mut answers_at = |at: Time| {
        for _ in 0..DECLARED_PER_SECOND * 2 {
            engine.handle(at, Input::Pushed(Push::Inquired { key: key(), inquiry }));
        }
        let (ops, _) = effects(&mut engine);
        assert!(
            ops.iter()
                .all(|(_, op)| matches!(op, Op::Declare(one) if one.inquiry == inquiry && one.from == ME))
        );
        ops.len() as u32
    };
    let first = Time(0) + SECOND;
    assert_eq!(answers_at(first), DECLARED_PER_SECOND);
    assert_eq!(answers_at(first + SECOND - Duration::from_nanos(1)), 0);
    assert_eq!(answers_at(first + SECOND), DECLARED_PER_SECOND);
}
