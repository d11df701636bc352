//! The task that keeps the connection and sends what gathers.
//!
//! Owns reconnecting, natural batching, the sign of life, and that every call gets exactly one outcome. Must not know
//! what calls mean.

use super::cluster::slots::redirect_of;
use super::cluster::topology;
use super::connect::{Connection, Connector, News, Replaced, reason};
use super::dial::Access;
use super::outbox::{Load, Outbox};
use super::outlet::{Heard, Outlet};
use super::pipeline::{Answered, Pipeline};
use super::{RedisConfig, Request, StoreEvent, listing};
use sidelock_engine::store::{Call, CallId, Fault, Outcome};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Pipelines in flight. With one, Redis idles while answers are read; with more, batches get small.
const IN_FLIGHT_MAX: usize = 2;
/// Waits between attempts to connect: grants must resume within 2 s of Redis' return (L6).
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(250);
/// Between two words about what Redis refuses.
const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Runs until every handle is dropped and answered, or nobody listens to events.
pub(super) async fn run(
    config: RedisConfig,
    connector: Connector,
    requests: mpsc::UnboundedReceiver<Request>,
    events: Outlet,
) {
    let connector = Arc::new(connector);
    let mut link = Link {
        ping_interval: config.ping_interval,
        connector,
        requests,
        events,
        last_reason: None,
        refusals: BTreeMap::new(),
        promised_strict: false,
    };
    let mut backoff = BACKOFF_MIN;
    // Breaks where nobody is left to serve.
    while let ControlFlow::Continue(attempt) = link.connect().await {
        let served = match attempt {
            Ok((connection, replaced)) => {
                let begun = Instant::now();
                let served = link.serve(connection, replaced).await;
                // One that is given up at once is no better than none.
                if begun.elapsed() >= BACKOFF_MAX {
                    backoff = BACKOFF_MIN;
                }
                served
            }
            Err(reason) => link.down(reason).await,
        };
        // Not all sidecars of a Redis that comes back are to come at the same time, again and again.
        let pause = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
        if served.is_break() || link.pause(pause).await.is_break() {
            return;
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

struct Link {
    ping_interval: Duration,
    connector: Arc<Connector>,
    requests: mpsc::UnboundedReceiver<Request>,
    events: Outlet,
    /// Why it is down, as last told.
    last_reason: Option<String>,
    /// The codes with which Redis refused calls, and when that was told.
    refusals: BTreeMap<String, Instant>,
    /// What was granted is strict, and stays so.
    promised_strict: bool,
}

impl Link {
    /// Connects; calls that come meanwhile are refused.
    async fn connect(&mut self) -> ControlFlow<(), Result<(Connection, Replaced), String>> {
        let connector = self.connector.clone();
        let attempt = connector.connect();
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                connected = &mut attempt => return ControlFlow::Continue(connected),
                request = self.requests.recv() => self.refuse(request).await?,
            }
        }
    }

    /// Waits; calls that come meanwhile are refused.
    async fn pause(&mut self, span: Duration) -> ControlFlow<()> {
        let end = tokio::time::sleep(span);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return ControlFlow::Continue(()),
                request = self.requests.recv() => self.refuse(request).await?,
            }
        }
    }

    async fn refuse(&mut self, request: Option<Request>) -> ControlFlow<()> {
        let calls = match request {
            None => return ControlFlow::Break(()),
            // Dropped, which is their answer.
            Some(Request::List(_) | Request::Slots(_)) => return ControlFlow::Continue(()),
            Some(Request::Renew(access)) => {
                let renewed = self.connector.renew(*access).map(drop);
                return self.tell(StoreEvent::Renewed(renewed)).await;
            }
            // Hints, to somebody whose timers carry on.
            Some(Request::Messages(_)) => return ControlFlow::Continue(()),
            Some(Request::Calls(calls) | Request::Asking(calls)) => calls,
        };
        let refused = |call: Call| (call.id, Outcome::NotApplied(Fault::Down));
        self.answer(calls.into_iter().map(refused).collect()).await
    }

    async fn answer(&mut self, outcomes: Vec<(CallId, Outcome)>) -> ControlFlow<()> {
        for (call, outcome) in outcomes {
            self.tell(StoreEvent::Answer { call, outcome }).await?;
        }
        ControlFlow::Continue(())
    }

    async fn down(&mut self, reason: String) -> ControlFlow<()> {
        if self.last_reason.as_ref() == Some(&reason) {
            return ControlFlow::Continue(());
        }
        self.last_reason = Some(reason.clone());
        self.tell(StoreEvent::Down { reason }).await
    }

    async fn tell(&mut self, event: StoreEvent) -> ControlFlow<()> {
        self.events.tell(event).await
    }

    /// Uses a connection until it is lost. Breaks if there is nothing left to serve.
    async fn serve(&mut self, mut connection: Connection, mut replaced: Replaced) -> ControlFlow<()> {
        match connection.strictness.take() {
            Some(Err(why)) if self.promised_strict => {
                let why = format!("grants say strict, and this Redis can not keep that: {why}");
                return self.down(why).await;
            }
            Some(strictness) => {
                self.promised_strict |= strictness.is_ok();
                self.tell(StoreEvent::Strict(strictness)).await?;
            }
            None => {}
        }
        self.last_reason = None;
        if let Some(warning) = connection.warning.take() {
            self.tell(StoreEvent::Warning(warning)).await?;
        }
        self.tell(StoreEvent::Up { at: connection.clock.now() }).await?;
        if !connection.sharded {
            self.tell(StoreEvent::Subscribed).await?;
        }
        let (mut outbox, mut flight, mut open) = (Outbox::default(), Flight::default(), true);
        let reason = loop {
            while flight.pipelines.len() < IN_FLIGHT_MAX && !outbox.is_empty() {
                let Load { calls, asking, messages } = outbox.load();
                let pipeline = Pipeline {
                    calls: calls.into(),
                    asking,
                    messages: messages.into(),
                    ..Pipeline::default()
                };
                flight.launch(&connection, pipeline);
            }
            if !open && flight.pipelines.is_empty() {
                return ControlFlow::Break(());
            }
            let (quiet, ping_at) = (flight.pipelines.is_empty(), flight.heard + self.ping_interval);
            tokio::select! {
                biased;
                (sent, answered) = flight.landed(), if !quiet => {
                    if let Some(reason) = self.land(&connection, &mut flight, sent, answered).await? {
                        break reason;
                    }
                }
                Some(news) = connection.pushes.recv() => match news {
                    // A hint: with no room for it, the timers carry on.
                    News::Push(push) => self.events.hint(StoreEvent::Push(push)),
                    News::Closed => break "Redis closed the connection".into(),
                },
                other = &mut replaced => break other,
                request = self.requests.recv(), if open => {
                    open = request.is_some();
                    let mut next = request;
                    while let Some(request) = next {
                        match request {
                            Request::Calls(calls) => outbox.extend(calls),
                            Request::Asking(calls) => outbox.extend_asking(calls),
                            Request::Messages(messages) => outbox.extend_messages(messages),
                            Request::List(wish) => listing::start(&connection, wish),
                            Request::Slots(answer) => topology::start(&connection, answer),
                            Request::Renew(access) => self.renew(&connection, *access),
                        }
                        next = self.requests.try_recv().ok();
                    }
                }
                () = tokio::time::sleep_until(ping_at), if quiet => {
                    flight.launch(&connection, Pipeline::default());
                }
            }
        };
        // Down first: the engine must not answer an outcome with another call to this connection.
        self.down(reason).await?;
        let unknown = |call: &Call| (call.id, Outcome::Unknown(Fault::Down));
        self.answer(
            flight.pipelines.iter().flat_map(|sent| sent.pipeline.calls.iter().map(unknown)).collect(),
        )
        .await?;
        let refused = |call: Call| (call.id, Outcome::NotApplied(Fault::Down));
        self.answer(outbox.take_all().map(refused).collect()).await
    }

    /// Clients hear that the store is away; why it is, in spite of its connection, somebody has to be told.
    async fn tell_refusal(&mut self, calls: &[Call], outcomes: &[(CallId, Outcome)]) -> ControlFlow<()> {
        let Some((code, text)) = outcomes.iter().find_map(|(id, outcome)| why_refused(calls, *id, outcome))
        else {
            return ControlFlow::Continue(());
        };
        self.refusals.retain(|_, at| at.elapsed() < REFUSALS_TOLD_EVERY);
        if self.refusals.contains_key(&code) {
            return ControlFlow::Continue(());
        }
        self.refusals.insert(code, Instant::now());
        self.tell(StoreEvent::Warning(text)).await
    }

    /// Takes a new access, and says the password of it on this connection, beside all else that it does.
    fn renew(&self, connection: &Connection, access: Access) {
        let (introduction, events) = (self.connector.renew(access), self.events.clone());
        let mut wire = connection.wire.clone();
        tokio::spawn(async move {
            let renewed = match introduction {
                Ok(Some(auth)) => auth.query_async(&mut wire).await.map_err(|error| reason(&error)),
                Ok(None) => Ok(()),
                Err(why) => Err(why),
            };
            // Who no longer listens need not know.
            let _ = events.tell(StoreEvent::Renewed(renewed)).await;
        });
    }

    /// A pipeline is answered. Why the connection is lost, if it is.
    async fn land(
        &mut self,
        connection: &Connection,
        flight: &mut Flight,
        sent: Sent,
        answered: Answered,
    ) -> ControlFlow<(), Option<String>> {
        let Answered { mut outcomes, again, reload, lost, unfit, messages, astray } = answered;
        if lost.is_some() {
            flight.pipelines.push_front(sent);
            return ControlFlow::Continue(lost);
        }
        let (again, overtaken): (Vec<_>, Vec<_>) =
            again.into_iter().partition(|call| !flight.carries_key_of(call, sent.number));
        // Sent again they would run after a later call on their key.
        let refused = |call: Call| (call.id, Outcome::NotApplied(Fault::Unready("NOSCRIPT".into())));
        outcomes.extend(overtaken.into_iter().map(refused));
        if !again.is_empty() {
            let (calls, asking) = (again.into(), sent.pipeline.asking);
            flight.launch(connection, Pipeline { calls, reload, again: true, asking, ..Pipeline::default() });
        }
        if !sent.pipeline.calls.is_empty() {
            let (calls, requests) = (sent.pipeline.calls.len(), sent.pipeline.requests());
            self.tell(StoreEvent::Pipeline { calls, requests, took: sent.at.elapsed() }).await?;
        }
        self.tell_refusal(&sent.pipeline.calls, &outcomes).await?;
        if !messages.is_empty() {
            self.events.pass_on(Heard::Messages(messages)).await?;
        }
        if !astray.is_empty() {
            self.events.pass_on(Heard::Astray(astray)).await?;
        }
        self.answer(outcomes).await?;
        // In a cluster, the other nodes say who is in its place.
        ControlFlow::Continue(unfit.filter(|_| !connection.sharded))
    }
}

/// Why a call was refused, and that for people. That another node of a cluster has its slot now is no reason to tell anybody.
fn why_refused(calls: &[Call], id: CallId, outcome: &Outcome) -> Option<(String, String)> {
    match outcome {
        Outcome::NotApplied(Fault::Unready(text)) if redirect_of(text).is_none() => {
            let code = text.split(' ').next().unwrap_or_default();
            Some((code.to_owned(), format!("Redis refuses calls: {text}")))
        }
        Outcome::NotApplied(Fault::Corrupt(what)) => {
            let key = calls.iter().find(|call| call.id == id)?.op.key();
            Some(("corrupt".to_owned(), format!("what Redis has of {key:?} can not be used: {what}")))
        }
        _ => None,
    }
}

/// Pipelines under way, in the order in which they were sent. Dropped, it gives them up.
struct Flight {
    pipelines: VecDeque<Sent>,
    next: u64,
    /// When Redis last gave a sign of life.
    heard: Instant,
}

struct Sent {
    number: u64,
    at: Instant,
    pipeline: Pipeline,
    answered: Pin<Box<dyn Future<Output = Answered> + Send>>,
}

impl Default for Flight {
    fn default() -> Flight {
        Flight { pipelines: VecDeque::new(), next: 0, heard: Instant::now() }
    }
}

impl Flight {
    fn launch(&mut self, connection: &Connection, pipeline: Pipeline) {
        let pipeline = Pipeline { sharded: connection.sharded, ..pipeline };
        let answered = pipeline.clone().send(
            connection.wire.clone(),
            connection.names.clone(),
            connection.scripts.clone(),
        );
        self.pipelines.push_back(Sent {
            number: self.next,
            at: Instant::now(),
            pipeline,
            answered: Box::pin(answered),
        });
        self.next += 1;
    }

    /// The next pipeline to be answered. All are polled: the first poll is what sends them.
    async fn landed(&mut self) -> (Sent, Answered) {
        poll_fn(|cx| {
            for i in 0..self.pipelines.len() {
                if let Poll::Ready(answered) = self.pipelines[i].answered.as_mut().poll(cx) {
                    self.heard = Instant::now();
                    let sent = self.pipelines.remove(i).expect("the place was just looked at");
                    return Poll::Ready((sent, answered));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether a pipeline that was sent after pipeline `number` has a call on the same key.
    fn carries_key_of(&self, call: &Call, number: u64) -> bool {
        let later = self.pipelines.iter().filter(|sent| sent.number > number);
        later.flat_map(|sent| sent.pipeline.calls.iter()).any(|other| other.op.key() == call.op.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::store::{Op, Tell};
    use sidelock_engine::{AskId, Incarnation, Key};

    fn call(key: &str) -> Call {
        let ask = AskId { incarnation: Incarnation(1), seq: 1 };
        Call { id: CallId(1), op: Op::Tell(Tell { key: Key::new(key).unwrap(), ask, free_in: None }) }
    }

    fn sent(number: u64, key: &str) -> Sent {
        let pipeline = Pipeline { calls: [call(key)].into(), ..Pipeline::default() };
        Sent { number, at: Instant::now(), pipeline, answered: Box::pin(std::future::pending()) }
    }

    #[test]
    fn only_a_later_turn_keeps_a_call_from_being_sent_again() {
        let flight = Flight { pipelines: [sent(3, "a"), sent(5, "b")].into(), ..Flight::default() };
        assert!(flight.carries_key_of(&call("b"), 4));
        assert!(!flight.carries_key_of(&call("a"), 4), "that one was sent before");
        assert!(!flight.carries_key_of(&call("c"), 4));
    }
}
