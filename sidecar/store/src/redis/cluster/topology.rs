//! Whose slots are whose, as the nodes say it.
//!
//! Owns asking them, the next one when the one before fails or takes its time, and reading the answer. Must not know calls.

use super::slots::{SLOTS, Slot};
use crate::redis::Request;
use crate::redis::address::Address;
use crate::redis::connect::{Connection, reason};
use crate::redis::dial::Dialer;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value, cmd};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Whoever has not answered by then is asked beside the next.
const NEXT_AFTER: Duration = Duration::from_millis(100);

/// Ranges of slots: the first, the last, and whose they are.
pub(crate) type Ranges = Vec<(Slot, Slot, Address)>;

/// Somebody who can be asked.
#[derive(Debug)]
pub(crate) enum Witness {
    /// Over the link that there is.
    Linked(Address, mpsc::UnboundedSender<Request>),
    /// Over a connection that is made for it.
    Other(Address),
}

/// Asks them until one of them knows. Why, if none does.
pub(crate) async fn ask(
    dialer: Arc<Dialer>,
    witnesses: Vec<Witness>,
    patience: Duration,
) -> Result<Ranges, String> {
    let (mut asked, mut failures) = (JoinSet::new(), Vec::new());
    let mut witnesses = witnesses.into_iter();
    loop {
        match witnesses.next() {
            Some(witness) => drop(asked.spawn(witness.say(dialer.clone(), patience))),
            None if asked.is_empty() => break,
            None => {}
        }
        match timeout(NEXT_AFTER, asked.join_next()).await {
            Ok(Some(Ok(Ok(ranges)))) => return Ok(ranges),
            Ok(Some(Ok(Err(why)))) => failures.push(why),
            Ok(Some(Err(ended))) => failures.push(ended.to_string()),
            Ok(None) | Err(_) => {}
        }
    }
    Err(format!("no node of the cluster says whose slots are whose ({})", failures.join("; ")))
}

impl Witness {
    async fn say(self, dialer: Arc<Dialer>, patience: Duration) -> Result<Ranges, String> {
        let (node, said) = match self {
            Witness::Linked(node, link) => {
                let (answer, said) = oneshot::channel();
                // Dropped where the node is away.
                let _ = link.send(Request::Slots(answer));
                (node, said.await.unwrap_or_else(|_| Err("is away".into())))
            }
            Witness::Other(node) => {
                let said = visit(&dialer, &node, patience).await;
                (node, said)
            }
        };
        let ranges = said.and_then(|said| match read(&node, &said) {
            Some(ranges) if ranges.is_empty() => Err("knows of no slots".into()),
            Some(ranges) => Ok(ranges),
            None => Err("its CLUSTER SLOTS can not be read".into()),
        });
        ranges.map_err(|why| format!("{node}: {why}"))
    }
}

async fn visit(dialer: &Dialer, node: &Address, patience: Duration) -> Result<Value, String> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(patience));
    let wire = dialer.dial(node, config, dialer.deadline()).await?;
    question(wire.commands.clone()).await
}

/// Asks over a link's connection, beside all else that it does.
pub(in crate::redis) fn start(connection: &Connection, answer: oneshot::Sender<Result<Value, String>>) {
    let wire = connection.wire.clone();
    // Who does not wait any more has heard it from somebody else.
    tokio::spawn(async move { drop(answer.send(question(wire).await)) });
}

pub(super) async fn question(mut wire: MultiplexedConnection) -> Result<Value, String> {
    cmd("CLUSTER").arg("SLOTS").query_async(&mut wire).await.map_err(|error| reason(&error))
}

/// Reads the answer of CLUSTER SLOTS. Ranges whose node has no known address yet are left out.
fn read(asked: &Address, said: &Value) -> Option<Ranges> {
    let mut read = Vec::new();
    for (first, last, nodes) in ranges(said)? {
        let primary = address(asked, nodes.first()?)?;
        read.extend(primary.map(|primary| (first, last, primary)));
    }
    Some(read)
}

/// All primaries that it names, and all replicas.
pub(super) fn members(asked: &Address, said: &Value) -> Option<[BTreeSet<Address>; 2]> {
    let mut members = [BTreeSet::new(), BTreeSet::new()];
    for (.., nodes) in ranges(said)? {
        for (place, node) in nodes.iter().enumerate() {
            members[place.min(1)].extend(address(asked, node)?);
        }
    }
    Some(members)
}

/// From which slot to which, and who has them: a primary, then its replicas.
fn ranges(said: &Value) -> Option<Vec<(Slot, Slot, &[Value])>> {
    let Value::Array(ranges) = said else { return None };
    let mut read = Vec::new();
    for range in ranges {
        let Value::Array(fields) = range else { return None };
        let [Value::Int(first), Value::Int(last), nodes @ ..] = fields.as_slice() else { return None };
        let (first, last) = (Slot::try_from(*first).ok()?, Slot::try_from(*last).ok()?);
        if first > last || last >= SLOTS {
            return None;
        }
        read.push((first, last, nodes));
    }
    Some(read)
}

/// Where a node is, if that is known yet.
fn address(asked: &Address, node: &Value) -> Option<Option<Address>> {
    let Value::Array(fields) = node else { return None };
    let [host, Value::Int(port), ..] = fields.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        _ => "",
    };
    let port = u16::try_from(*port).ok()?;
    Some((host != "?").then(|| asked.sibling(host, port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::address;
    use crate::redis::dial::Access;

    /// CLUSTER SLOTS of a cluster of one.
    fn all_at(port: i64) -> Value {
        let primary = Value::Array(vec![Value::BulkString(b"h".into()), Value::Int(port)]);
        Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(16_383), primary])])
    }

    fn asked(witnesses: Vec<Witness>) -> Result<Ranges, String> {
        let dialer = Dialer::new(address::plain(0), Access::default(), Duration::from_secs(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ask(Arc::new(dialer), witnesses, Duration::from_secs(1)))
    }

    fn node(port: u16) -> Address {
        Address::Tcp { host: "h".into(), port, tls: false }
    }

    #[test]
    fn a_node_that_never_answers_holds_nobody_up() {
        let (silent, _kept) = mpsc::unbounded_channel();
        let (prompt, mut requests) = mpsc::unbounded_channel();
        let answering = std::thread::spawn(move || {
            let Some(Request::Slots(answer)) = requests.blocking_recv() else { panic!("it is asked") };
            answer.send(Ok(all_at(7))).unwrap();
        });
        let said = asked(vec![Witness::Linked(node(1), silent), Witness::Linked(node(2), prompt)]);
        assert_eq!(said, Ok(vec![(0, 16_383, node(7))]));
        answering.join().unwrap();
    }

    #[test]
    fn what_each_of_them_says_is_told_if_none_knows() {
        let (away, _) = mpsc::unbounded_channel();
        let hole = Address::Unix("/nowhere/at/all".into());
        let why = asked(vec![Witness::Linked(node(1), away), Witness::Other(hole)]).unwrap_err();
        assert!(why.contains("h:1: is away") && why.contains("/nowhere/at/all: "), "{why}");
    }

    #[test]
    fn ranges_name_their_primaries() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let node =
            |host, port| Value::Array(vec![host, Value::Int(port), bulk("id"), Value::Array(Vec::new())]);
        let range = |first, last, primary| {
            Value::Array(vec![Value::Int(first), Value::Int(last), primary, node(bulk("replica"), 9)])
        };
        let asked = Address::Tcp { host: "h".into(), port: 1, tls: false };
        let said = vec![
            range(0, 99, node(bulk("a"), 7)),
            range(100, 199, node(Value::Nil, 8)),
            range(200, 16_383, node(bulk("?"), 0)),
        ];
        let said = Value::Array(said);
        let expected = vec![(0, 99, asked.sibling("a", 7)), (100, 199, asked.sibling("h", 8))];
        assert_eq!(read(&asked, &said), Some(expected));
        let replicas = [asked.sibling("replica", 9)].into();
        let primaries = [asked.sibling("a", 7), asked.sibling("h", 8)].into();
        assert_eq!(members(&asked, &said), Some([primaries, replicas]));
        for nonsense in [range(5, 4, node(bulk("a"), 7)), range(0, 16_384, node(bulk("a"), 7)), Value::Okay] {
            assert_eq!(read(&asked, &Value::Array(vec![nonsense])), None);
        }
        assert_eq!(read(&asked, &Value::Okay), None);
    }
}
