//! What Redis says: the answers to a pipeline as RESP, and messages of the inbox. The first byte says which, and what the
//! pipeline was.
//!
//! What must hold: no panic, whoever answers in Redis' place; every call of a pipeline that was answered has exactly one
//! outcome or is sent again, and none is sent a third time; and nothing that is not an answer counts as applied.

use crate::Marks;
use sidelock_engine::declaration::{
    Declaration, DeclaredHolder, DeclaredWaiter, Party, decode_all, encode_all,
};
use sidelock_engine::store::{
    Ask, Bound, Call, CallId, Condition, Declare, Fault, Force, Inquire, Known, Op, Order, Outcome, Publish,
    Push, ReadRegister, Renew, Return, Tell, Withdraw, WriteRegister,
};
use sidelock_engine::{AskId, Incarnation, Key, Owner, Space, StoreTime, WHOLE};
use sidelock_store::redis::fuzz::{Answers, answers, push};
use std::sync::Arc;
use std::time::Duration;

/// What Redis says besides what the scripts do.
pub(crate) const WORDS: &[&str] = &[
    "\r\n",
    "-NOSCRIPT No matching script.\r\n",
    "-OOM command not allowed\r\n",
    "-ERR Error running script\r\n",
    "-MISCONF x\r\n",
    "-MASTERDOWN x\r\n",
    "*2\r\n",
    "*0\r\n",
    "$1\r\n",
    "$-1\r\n",
    "_\r\n",
    ":1764000000000000\r\n",
    ":-1\r\n",
    "%1\r\n",
    "=5\r\ntxt:x\r\n",
    ">2\r\n",
];

/// First bytes: messages of the inbox, and pipelines of so many calls; the top bit says that they were sent before.
const PUSH: u8 = 0;
const CALLS_MAX: u8 = 0x7f;
const AGAIN: u8 = 0x80;

const ID: AskId = AskId { incarnation: Incarnation(7), seq: 9 };

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let message = |kind: u8, key: &str| {
        [&[PUSH, kind][..], &ID.incarnation.0.to_be_bytes(), &ID.seq.to_le_bytes(), key.as_bytes()].concat()
    };
    // Time left, origin, range.
    let tenure = [9_000_u64, 4, 5, 9].map(u64::to_le_bytes).concat();
    let granted = [&[1, 1, 0, 0, 0][..], &tenure, &[1]];
    let queued = [&[2, 3, 0, 0, 0][..], &7_u64.to_le_bytes(), &ID.incarnation.0.to_be_bytes()];
    let renewed = [&[7][..], &tenure[..16], &[0], &tenure[16..]];
    let etag = |code: u8, value: &[u8]| {
        [&[code][..], &9_u64.to_le_bytes(), &ID.incarnation.0.to_be_bytes(), &ID.seq.to_le_bytes(), value]
            .concat()
    };
    let one = |answer: &[u8]| pipeline(&[answer]);
    vec![
        message(1, "lorders/42"),
        message(2, "la%3Ab"),
        message(3, "\x01\0\0\0\0\0\0\0l%7Bx%7D%25"),
        message(5, "lk"),
        message(6, "\0\0lorders/42"),
        message(6, "\x04\0\x02\0olorders/42"),
        declared(),
        one(&granted.concat()),
        one(&queued.concat()),
        one(&renewed.concat()),
        one(&[5, 4, 0, 0, 0]),
        one(&[&[15][..], &ID.incarnation.0.to_be_bytes()].concat()),
        one(&[&[40][..], &9_u64.to_le_bytes(), &7_u32.to_le_bytes(), b"stuck"].concat()),
        one(&[
            &[41][..],
            &ID.incarnation.0.to_be_bytes(),
            &[9, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0],
            &7_u64.to_le_bytes(),
        ]
        .concat()),
        one(b"\x0ccorrupt: no record"),
        one(b"\x0cREADONLY x"),
        pipeline(&[&[3], &[4], &[6], &[8], &[9], &[10], &[11]]),
        pipeline(&[&etag(20, b"value"), &etag(23, b""), &etag(24, b""), &[21], &[22], &[24], &[25]]),
        message(4, "rorders/42"),
        pipeline(&vec![&[4][..]; 70]),
        b"\x02-NOSCRIPT No matching script.\r\n".to_vec(),
        b"\x82-OOM command not allowed\r\n".to_vec(),
        b"\x03-ERR Error running script\r\n".to_vec(),
    ]
}

/// A push with a declaration.
fn declared() -> Vec<u8> {
    let who = Party {
        app: "billing".into(),
        uid: 1000,
        owner: Some(Owner("task 3".into())),
        units: WHOLE,
        since: StoreTime(9),
    };
    let (reserved, upgrades, reference) = (true, true, Some(7));
    let holder =
        DeclaredHolder { who: who.clone(), reserved, upgrades, reference, fence: 9, until: StoreTime(99) };
    let waiters = vec![DeclaredWaiter { who: Party { owner: None, ..who }, upgrades, priority: -1 }];
    let declaration =
        Declaration { holders: vec![holder], waiters, waiters_left_out: 3, ..Declaration::default() };
    let declarations = encode_all(&[declaration, Declaration::default()]);
    let (id, from) = (ID.incarnation.0.to_be_bytes(), 8_u128.to_be_bytes());
    let length = (declarations.len() as u16).to_le_bytes();
    [&[PUSH, 7][..], &id, &ID.seq.to_le_bytes(), &from, &length, &declarations, b"lorders/42"].concat()
}

/// The calls' count, then their answers in arrays that begin with the clock, 64 to a script call.
fn pipeline(answers: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![answers.len() as u8];
    for answers in answers.chunks(64) {
        bytes.extend(format!("*{}\r\n:1764000000000000\r\n", answers.len() + 1).into_bytes());
        for answer in answers {
            bytes.extend(format!("${}\r\n", answer.len()).into_bytes());
            bytes.extend([answer, &b"\r\n"[..]].concat());
        }
    }
    bytes
}

/// One of each operation in turn.
fn call(index: u8) -> Call {
    let key = Key::new("k").expect("a key");
    let register = key.in_space(Space::Register);
    let op = match index % 13 {
        0 => Op::Ask(Ask {
            key,
            id: ID,
            units: WHOLE,
            limit: WHOLE,
            ttl: Duration::from_secs(10),
            entry_ttl: Duration::from_secs(3),
            floor: 0,
            refuse_after: StoreTime(1),
            give_back: None,
            upgrade: false,
            waiting_since: None,
        }),
        1 => Op::Renew(Renew { key, tenure: ID, ttl: Duration::from_secs(10), floor: 0, top_up: true }),
        2 => Op::Return(Return { key, tenure: ID, keep: 0, issued: 1, tombstone: None }),
        3 => Op::Withdraw(Withdraw { key, id: ID, keep: 0, tombstone: None }),
        4 => Op::Publish(Publish {
            board: key.in_space(Space::Board),
            version: 1,
            body: Arc::from(*b"SB"),
            ttl: Duration::from_secs(3),
            refuse_after: StoreTime(1),
        }),
        5 => Op::ReadBoard { board: key.in_space(Space::Board) },
        6 => Op::Peek { key },
        9 => {
            let order = Order { by: 7, reason: "stuck".into() };
            Op::Force(Force { key, from: ID.incarnation, order, refuse_after: StoreTime(1) })
        }
        7 => Op::ReadRegister(ReadRegister {
            key: register,
            known: Known::Nothing,
            watch: None,
            bound: Some(Bound { tenure: ID, fence: 1 }),
        }),
        8 => Op::WriteRegister(WriteRegister {
            key: register,
            id: ID,
            condition: Condition::Any,
            value: Some(b"v"[..].into()),
            refuse_after: StoreTime(1),
            bound: None,
        }),
        10 => {
            let more = Arc::from(*b"\x02\0lx");
            Op::Inquire(Inquire { key, more, inquiry: ID, to: ID.incarnation })
        }
        11 => {
            let declarations = Arc::from(*b"SS");
            Op::Declare(Box::new(Declare { key, inquiry: ID, from: ID.incarnation, declarations }))
        }
        _ => Op::Tell(Tell { key, ask: ID, free_in: None }),
    };
    Call { id: CallId(index.into()), op }
}

/// A stand that was read is written so that it is read as the same.
fn check_stands(bytes: &[u8], marks: &mut Marks) {
    let Some(declarations) = decode_all(bytes) else { return marks.saw("no declarations") };
    for declaration in declarations {
        let written = declaration.encode();
        assert!(written.len() <= bytes.len(), "{declaration:?}");
        assert_eq!(Declaration::decode(&written).as_ref(), Some(&declaration));
        marks.saw(format!(
            "a declaration of {} and {}",
            declaration.holders.len().min(2),
            declaration.waiters.len().min(2)
        ));
    }
}

pub(crate) fn check(bytes: &[u8], marks: &mut Marks) {
    let Some((first, stream)) = bytes.split_first() else { return };
    if *first == PUSH {
        match push(stream) {
            Some(Push::Declared(declare)) => check_stands(&declare.declarations, marks),
            Some(_) => marks.saw(format!("push {}", stream[0])),
            None => marks.saw("no push"),
        }
        return;
    }
    let calls: Vec<Call> = (0..first & CALLS_MAX).map(call).collect();
    let again = first & AGAIN != 0;
    let Some(Answers { outcomes, again: resent }) = answers(&calls, again, stream) else {
        return marks.saw("not answered");
    };
    let mut settled: Vec<CallId> =
        outcomes.iter().map(|(call, _)| *call).chain(resent.iter().map(|c| c.id)).collect();
    settled.sort();
    assert!(settled.iter().eq(calls.iter().map(|call| &call.id)), "{settled:?} of {} calls", calls.len());
    assert!(!again || resent.is_empty(), "sent a third time");
    if !resent.is_empty() {
        marks.saw("sent again");
    }
    for (_, outcome) in outcomes {
        marks.saw(match outcome {
            Outcome::Applied { reply, .. } => kind(&reply),
            Outcome::NotApplied(fault) => format!("not applied: {}", fault_kind(&fault)),
            Outcome::Unknown(fault) => format!("unknown: {}", fault_kind(&fault)),
        });
    }
}

/// The name of the variant.
fn kind(reply: &impl std::fmt::Debug) -> String {
    let text = format!("{reply:?}");
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn fault_kind(fault: &Fault) -> String {
    match fault {
        Fault::Unready(text) if WORDS.iter().any(|word| word.starts_with(&format!("-{} ", code(text)))) => {
            code(text).into()
        }
        fault => kind(fault),
    }
}

fn code(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}
