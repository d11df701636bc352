//! One pipeline: its requests, and what its answers say about each call.
//!
//! Owns the way from calls to script calls and back. Must not know when pipelines are sent or what follows from them.

use super::codec::{self, Answer};
use super::connect::{Scripts, reason};
use super::fault;
use super::names::Names;
use super::plain_read;
use super::script::programs;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline as Requests, ServerError, Value};
use sidelock_engine::Key;
use sidelock_engine::store::{Call, CallId, Fault, Op, Outcome};
use std::sync::Arc;

/// Operations in one script call. Redis does nothing else meanwhile: about 0.3 ms.
const CALLS_PER_SCRIPT: usize = 64;

/// Something for an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) inbox: Vec<u8>,
    pub(super) push: Vec<u8>,
    /// A node to which it was sent has the inbox no longer: it is sent once more, and no third time.
    pub(super) again: bool,
}

/// Calls that travel together. No calls: a sign of life is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipeline {
    pub(super) calls: Arc<[Call]>,
    /// The scripts are sent along, because Redis has forgotten them.
    pub(super) reload: bool,
    /// These calls were sent before and did not run; they are not sent a third time.
    pub(super) again: bool,
    /// Goes to a node of a cluster, where a script call has one key and hands its messages over.
    pub(super) sharded: bool,
    /// Each call says ASKING first: its slot is on its way to this node.
    pub(super) asking: bool,
    /// For inboxes that are heard at this node. Nobody asks what became of them.
    pub(super) messages: Arc<[Message]>,
}

/// What became of a pipeline.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) outcomes: Vec<(CallId, Outcome)>,
    /// Did not run, and will if sent again.
    pub(super) again: Vec<Call>,
    pub(super) reload: bool,
    /// The connection is of no more use, and why.
    pub(super) lost: Option<String>,
    /// Why whoever answers can not keep locks for us as it is. Another server may be in its place, or the same be set up
    /// otherwise: the next connection shows.
    pub(super) unfit: Option<String>,
    /// For inboxes, wherever they are heard.
    pub(super) messages: Vec<Message>,
    /// Those that were sent with this pipeline to a node that says that another one has their inbox, and its words.
    pub(super) astray: Vec<(Message, String)>,
}

impl Pipeline {
    /// Requests on the wire.
    pub(super) fn requests(&self) -> usize {
        let scripts = self.of_scripts().len();
        let reads = plain_read::requests(self.calls.len() - scripts);
        let asking = if self.asking { self.calls.len() } else { 0 };
        let others = scripts.div_ceil(self.calls_per_script()) + reads + asking + self.messages.len();
        others.max(1) + if self.reload { 2 } else { 0 }
    }

    fn calls_per_script(&self) -> usize {
        if self.sharded { 1 } else { CALLS_PER_SCRIPT }
    }

    /// The calls that go through a script.
    fn of_scripts(&self) -> Vec<&Call> {
        self.calls.iter().filter(|call| plain_read::plain(&call.op).is_none()).collect()
    }

    /// Sends the pipeline and waits for its answers.
    pub(super) async fn send(
        self,
        mut wire: MultiplexedConnection,
        names: Names,
        scripts: Arc<Scripts>,
    ) -> Answered {
        let requests = self.requested(&names, &scripts);
        match wire.send_packed_commands(&requests, 0, requests.len()).await {
            Ok(values) => self.read(values),
            Err(error) => {
                let unknown = |call: &Call| (call.id, Outcome::Unknown(Fault::Down));
                Answered {
                    outcomes: self.calls.iter().map(unknown).collect(),
                    lost: Some(reason(&error)),
                    ..Answered::default()
                }
            }
        }
    }

    fn requested(&self, names: &Names, scripts: &Scripts) -> Requests {
        let mut requests = redis::pipe();
        if self.reload {
            for program in programs(self.sharded, scripts.strict.is_some()) {
                requests.cmd("SCRIPT").arg("LOAD").arg(program);
            }
        }
        if self.calls.is_empty() && self.messages.is_empty() {
            requests.cmd("PING");
        }
        for calls in self.of_scripts().chunks(self.calls_per_script()) {
            if self.asking {
                requests.cmd("ASKING");
            }
            let script =
                if calls.iter().any(|call| grows(call)) { &scripts.turn } else { &scripts.turn_under_oom };
            let locks: Vec<Key> = calls.iter().filter_map(|call| call.op.bound_to()).collect();
            let strict = scripts.strict.as_ref();
            let keys = calls.len() + locks.len() + usize::from(strict.is_some());
            requests.cmd("EVALSHA").arg(script).arg(keys);
            for key in calls.iter().map(|call| call.op.key()).chain(&locks) {
                requests.arg(names.record(key));
            }
            if let Some(strict) = strict {
                requests.arg(&strict.marker);
            }
            for call in calls {
                requests.arg(match strict {
                    Some(strict) => codec::argument(&strict.terms.bound(&call.op)),
                    None => codec::argument(&call.op),
                });
            }
            if let Some(strict) = strict {
                requests.arg(&strict.argument);
            }
        }
        plain_read::add(&mut requests, names, &self.calls, self.asking);
        for Message { inbox, push, .. } in self.messages.iter() {
            requests.cmd("SPUBLISH").arg(inbox.as_slice()).arg(push.as_slice());
        }
        requests
    }

    /// What the answers to the pipeline, one for each of its [`Pipeline::requests`], say about each call.
    pub(super) fn read(&self, mut values: Vec<Value>) -> Answered {
        let published = values.split_off(values.len().saturating_sub(self.messages.len()));
        let mut answered = Answered { astray: self.astray(published), ..Answered::default() };
        if self.calls.is_empty() {
            return answered;
        }
        let mut values = values.into_iter().skip(if self.reload { 2 } else { 0 });
        for calls in self.of_scripts().chunks(self.calls_per_script()) {
            if self.asking {
                values.next();
            }
            match values.next().unwrap_or(Value::Nil) {
                Value::ServerError(error) => self.refused(calls, &error, &mut answered),
                Value::Array(mut answers) => {
                    if self.sharded {
                        answered.messages.extend(messages(answers.pop()));
                    }
                    read_answers(calls, answers, &mut answered);
                }
                other => unreadable(calls, &format!("{other:?}"), &mut answered),
            }
        }
        answered.outcomes.extend(plain_read::read(&self.calls, values, self.asking));
        answered
    }

    fn astray(&self, published: Vec<Value>) -> Vec<(Message, String)> {
        let moved = |(message, said): (&Message, Value)| match said {
            Value::ServerError(error) if error.code() == "MOVED" => {
                Some((message.clone(), format!("MOVED {}", error.details().unwrap_or_default())))
            }
            // Whatever else is wrong: a push is a hint, and timers carry on.
            _ => None,
        };
        self.messages.iter().zip(published).filter_map(moved).collect()
    }

    fn refused(&self, calls: &[&Call], error: &ServerError, answered: &mut Answered) {
        let outcome = fault::of_script(error.code(), error.details());
        for call in calls {
            // Out of memory concerns only what grows; a script that is not there, all.
            let would_run = match error.code() {
                "NOSCRIPT" => true,
                "OOM" => !grows(call),
                _ => false,
            };
            if would_run && !self.again {
                answered.again.push((*call).clone());
            } else {
                answered.outcomes.push((call.id, outcome.clone()));
            }
        }
        answered.reload |= error.code() == "NOSCRIPT";
        answered.unfit = fault::unfit(error.code(), error.details()).or(answered.unfit.take());
    }
}

/// Whether it makes what the store keeps larger: that is refused while memory is short.
fn grows(call: &Call) -> bool {
    match &call.op {
        Op::Ask(_) => true,
        Op::WriteRegister(write) => write.value.is_some(),
        _ => false,
    }
}

/// The clock and one answer per call, see `scripts/turn.lua`.
fn read_answers(calls: &[&Call], answers: Vec<Value>, answered: &mut Answered) {
    let mut answers = answers.into_iter();
    let at = match answers.next() {
        Some(Value::Int(micros)) => codec::store_time(micros),
        _ => None,
    };
    let Some(at) = at.filter(|_| answers.len() == calls.len()) else {
        return unreadable(calls, "not the clock and one answer per call", answered);
    };
    for (call, value) in calls.iter().zip(answers) {
        let answer = match &value {
            Value::BulkString(bytes) => codec::answer(bytes),
            _ => None,
        };
        let outcome = match answer {
            Some(Answer::Reply(reply)) => Outcome::Applied { at, reply },
            Some(Answer::Fault(text)) => fault::of_step(text),
            None => Outcome::Unknown(Fault::Corrupt(format!("no answer that can be read: {value:?}"))),
        };
        answered.outcomes.push((call.id, outcome));
    }
}

/// What a script hands over for inboxes, see `scripts/hand_over.lua`. A push is a hint: what can not be read is none.
fn messages(handed: Option<Value>) -> Vec<Message> {
    let Some(Value::Array(parts)) = handed else { return Vec::new() };
    let mut parts = parts.into_iter();
    let mut messages = Vec::new();
    while let (Some(Value::BulkString(inbox)), Some(Value::BulkString(push))) = (parts.next(), parts.next()) {
        messages.push(Message { inbox, push, again: false });
    }
    messages
}

/// Something that is not Sidelock's script answered.
fn unreadable(calls: &[&Call], what: &str, answered: &mut Answered) {
    let fault = Fault::Corrupt(format!("the script's answer can not be read: {what}"));
    answered.outcomes.extend(calls.iter().map(|call| (call.id, Outcome::Unknown(fault.clone()))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::store::{Known, REFUSE_AFTER, ReadRegister, Reply, Tell};
    use sidelock_engine::{AskId, Incarnation, Space, StoreTime, WHOLE};

    const ID: AskId = AskId { incarnation: Incarnation(1), seq: 1 };

    fn calls() -> Vec<Call> {
        let key = Key::new("k").unwrap();
        let ask = sidelock_engine::store::Ask {
            key: key.clone(),
            id: ID,
            units: WHOLE,
            limit: WHOLE,
            ttl: REFUSE_AFTER,
            entry_ttl: REFUSE_AFTER,
            floor: 0,
            refuse_after: StoreTime(1),
            give_back: None,
            upgrade: false,
            waiting_since: None,
        };
        let tell = Op::Tell(Tell { key, ask: ID, free_in: None });
        vec![Call { id: CallId(1), op: Op::Ask(ask) }, Call { id: CallId(2), op: tell }]
    }

    fn pipeline(again: bool) -> Pipeline {
        Pipeline { calls: calls().into(), again, ..Pipeline::default() }
    }

    fn message(inbox: &str, push: &str) -> Message {
        Message { inbox: inbox.into(), push: push.into(), again: false }
    }

    /// An error of Redis, as it comes off the wire.
    fn error(line: &str) -> Value {
        ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
    }

    fn refused(answered: &Answered, call: u64, code: &str) -> bool {
        answered.outcomes.iter().any(|(id, outcome)| {
            *id == CallId(call)
                && matches!(outcome, Outcome::NotApplied(Fault::Unready(text)) if text.starts_with(code))
        })
    }

    #[test]
    fn what_met_no_script_is_sent_once_more() {
        let answered = pipeline(false).read(vec![error("NOSCRIPT No matching script.")]);
        assert_eq!((answered.again, answered.reload, answered.outcomes.len()), (calls(), true, 0));
        let answered = pipeline(true).read(vec![error("NOSCRIPT No matching script.")]);
        assert!(
            answered.again.is_empty()
                && refused(&answered, 1, "NOSCRIPT")
                && refused(&answered, 2, "NOSCRIPT")
        );
    }

    #[test]
    fn a_node_of_a_cluster_answers_each_call_alone_and_hands_messages_over() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let script = |answer: u8, handed: Value| {
            Value::Array(vec![Value::Int(5), Value::BulkString(vec![answer]), handed])
        };
        let sharded = Pipeline { sharded: true, ..pipeline(false) };
        assert_eq!(sharded.requests(), 2);
        let handed = Value::Array(vec![bulk("inbox"), bulk("m"), bulk("other"), bulk("n")]);
        let answered = sharded.read(vec![script(4, handed), error("MOVED 7 h:1")]);
        let messages = vec![message("inbox", "m"), message("other", "n")];
        assert_eq!(answered.messages, messages);
        let applied = Outcome::Applied { at: StoreTime(5), reply: Reply::TooLate };
        let moved = Outcome::NotApplied(Fault::Unready("MOVED 7 h:1".into()));
        assert_eq!(answered.outcomes, [(CallId(1), applied.clone()), (CallId(2), moved)]);
        let asking = Pipeline { asking: true, ..sharded };
        assert_eq!(asking.requests(), 4);
        let none = || Value::Array(Vec::new());
        let answered = asking.read(vec![Value::Okay, script(4, none()), Value::Okay, script(11, none())]);
        let told = Outcome::Applied { at: StoreTime(5), reply: Reply::Told };
        assert_eq!(answered.outcomes, [(CallId(1), applied), (CallId(2), told)]);
    }

    #[test]
    fn a_message_comes_back_where_its_inbox_moved() {
        let messages = vec![message("inbox", "m"), message("other", "n"), message("third", "o")];
        let told =
            || Value::Array(vec![Value::Int(5), Value::BulkString(vec![11]), Value::Array(Vec::new())]);
        let published =
            || vec![Value::Int(1), error("MOVED 7 h:1"), error("CLUSTERDOWN The cluster is down")];
        for (calls, answers) in [(vec![], vec![]), (vec![calls().remove(1)], vec![told()])] {
            let pipeline = Pipeline {
                sharded: true,
                calls: calls.into(),
                messages: messages.clone().into(),
                ..Pipeline::default()
            };
            assert_eq!(pipeline.requests(), answers.len() + 3);
            let outcomes = answers.len();
            let answered = pipeline.read([answers, published()].concat());
            assert_eq!(answered.astray, [(message("other", "n"), "MOVED 7 h:1".to_owned())]);
            assert_eq!(answered.outcomes.len(), outcomes);
        }
    }

    #[test]
    fn whoever_can_not_keep_locks_as_it_is_is_noticed() {
        let unfit = |line| pipeline(false).read(vec![error(line)]).unfit;
        assert!(unfit("READONLY You can't write").unwrap().contains("a replica now"));
        assert_eq!(unfit("LOADING Redis is loading"), None);
        assert_eq!(unfit("NOREPLICAS Not enough good replicas to write."), None);
        let script = include_str!("../../scripts/strict.lua");
        assert!(script.contains("NOREPLICAS min-replicas-to-write is "), "the words that are looked for");
        let ours = unfit("NOREPLICAS min-replicas-to-write is 1 and there are 2 replicas").unwrap();
        assert!(ours.starts_with("min-replicas-to-write is 1"), "{ours}");
    }

    #[test]
    fn out_of_memory_is_the_answer_to_asks_alone() {
        let answered = pipeline(false).read(vec![error("OOM command not allowed")]);
        assert_eq!((answered.again.as_slice(), answered.reload), (&calls()[1..], false));
        assert!(refused(&answered, 1, "OOM"));
    }

    #[test]
    fn an_error_in_the_middle_leaves_everything_unknown() {
        let answered = pipeline(false).read(vec![error("ERR Error running script")]);
        assert!(answered.again.is_empty());
        assert!(answered.outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Unknown(_))));
    }

    #[test]
    fn reads_of_registers_stand_behind_the_script() {
        let mut calls = calls();
        let key = Key::of(Space::Register, "r").unwrap();
        let read = ReadRegister { key, known: Known::Nothing, watch: None, bound: None };
        calls.insert(1, Call { id: CallId(3), op: Op::ReadRegister(read) });
        let pipeline = Pipeline { calls: calls.into(), ..Pipeline::default() };
        let script =
            Value::Array(vec![Value::Int(5), Value::BulkString(vec![4]), Value::BulkString(vec![11])]);
        let clock = Value::Array(vec![Value::BulkString(b"0".into()), Value::BulkString(b"7".into())]);
        assert_eq!(pipeline.requests(), 3);
        let outcomes = pipeline.read(vec![script, clock, Value::Nil]).outcomes;
        let applied = |id, at, reply| (CallId(id), Outcome::Applied { at: StoreTime(at), reply });
        let expected =
            [applied(1, 5, Reply::TooLate), applied(2, 5, Reply::Told), applied(3, 7, Reply::Register(None))];
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn answers_that_do_not_fit_the_calls_leave_them_unknown() {
        let told = Value::BulkString(vec![11]);
        let read = |value| pipeline(false).read(vec![value]).outcomes;
        let fitting = read(Value::Array(vec![Value::Int(5), Value::BulkString(vec![4]), told.clone()]));
        let applied = |reply| Outcome::Applied { at: StoreTime(5), reply };
        assert_eq!(fitting, [(CallId(1), applied(Reply::TooLate)), (CallId(2), applied(Reply::Told))]);
        let nonsense = Value::BulkString(vec![99]);
        let one_of_them = read(Value::Array(vec![Value::Int(5), nonsense, told.clone()]));
        assert!(matches!(one_of_them[0].1, Outcome::Unknown(Fault::Corrupt(_))));
        assert_eq!(one_of_them[1].1, applied(Reply::Told));
        let no_clock = Value::Array(vec![told.clone(), told.clone(), told.clone()]);
        for value in [Value::Okay, Value::Array(vec![Value::Int(5), told]), no_clock] {
            let outcomes = read(value);
            assert_eq!(outcomes.len(), 2);
            assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Unknown(_))));
        }
    }
}
