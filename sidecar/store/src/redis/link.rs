//! The task that keeps the connection and sends what gathers.
//!
//! Owns reconnecting, natural batching, the sign of life, and that every call gets exactly one outcome. Must not know
//! what calls mean.

use super::connect::{Connection, Connector, News};
use super::outbox::Outbox;
use super::turn::{Answered, Turn};
use super::{RedisConfig, StoreEvent};
use sidelock_engine::store::{Call, CallId, Fault, Outcome};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Pipelines in flight. With one, Redis idles while answers are read; with more, batches get small.
const IN_FLIGHT_MAX: usize = 2;
/// Waits between attempts to connect: grants must resume within 2 s of Redis' return (L6).
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// Runs until every handle is dropped and answered, or nobody listens to events.
pub(super) async fn run(
    config: RedisConfig,
    connector: Connector,
    calls: mpsc::UnboundedReceiver<Vec<Call>>,
    events: mpsc::Sender<StoreEvent>,
) {
    let mut link = Link { ping_interval: config.ping_interval, calls, events, last_reason: None };
    let mut backoff = BACKOFF_MIN;
    // Breaks where nobody is left to serve.
    while let ControlFlow::Continue(attempt) = link.connect(&connector).await {
        let served = match attempt {
            Ok(connection) => {
                backoff = BACKOFF_MIN;
                link.serve(connection).await
            }
            Err(reason) => link.down(reason).await,
        };
        if served.is_break() || link.pause(backoff).await.is_break() {
            return;
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

struct Link {
    ping_interval: Duration,
    calls: mpsc::UnboundedReceiver<Vec<Call>>,
    events: mpsc::Sender<StoreEvent>,
    /// Why it is down, as last told.
    last_reason: Option<String>,
}

impl Link {
    /// Connects; calls that come meanwhile are refused.
    async fn connect(&mut self, connector: &Connector) -> ControlFlow<(), Result<Connection, String>> {
        let attempt = connector.connect();
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                connected = &mut attempt => return ControlFlow::Continue(connected),
                calls = self.calls.recv() => self.refuse(calls).await?,
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
                calls = self.calls.recv() => self.refuse(calls).await?,
            }
        }
    }

    async fn refuse(&mut self, calls: Option<Vec<Call>>) -> ControlFlow<()> {
        let Some(calls) = calls else { return ControlFlow::Break(()) };
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
        match self.events.send(event).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Uses a connection until it is lost. Breaks if there is nothing left to serve.
    async fn serve(&mut self, mut connection: Connection) -> ControlFlow<()> {
        self.last_reason = None;
        if let Some(warning) = connection.warning.take() {
            self.tell(StoreEvent::Warning(warning)).await?;
        }
        self.tell(StoreEvent::Up { at: connection.at }).await?;
        self.tell(StoreEvent::Subscribed).await?;
        let (mut outbox, mut flight, mut open) = (Outbox::default(), Flight::default(), true);
        let reason = loop {
            while flight.turns.len() < IN_FLIGHT_MAX && !outbox.is_empty() {
                flight.launch(&connection, Turn { calls: outbox.take().into(), reload: false, again: false });
            }
            if flight.turns.is_empty() && !open {
                return ControlFlow::Break(());
            }
            tokio::select! {
                biased;
                Some(landed) = flight.tasks.join_next() => {
                    let (number, took, answered) = landed.expect("a turn is neither cancelled nor panics");
                    if let Some(reason) = self.land(&connection, &mut flight, number, took, answered).await? {
                        break reason;
                    }
                }
                Some(news) = connection.pushes.recv() => match news {
                    // A hint: with no room for it, the timers carry on.
                    News::Push(push) => drop(self.events.try_send(StoreEvent::Push(push))),
                    News::Closed => break "Redis closed the connection".into(),
                },
                calls = self.calls.recv(), if open => {
                    open = calls.is_some();
                    outbox.extend(calls.unwrap_or_default());
                    while let Ok(calls) = self.calls.try_recv() {
                        outbox.extend(calls);
                    }
                }
                () = tokio::time::sleep_until(flight.heard + self.ping_interval), if flight.turns.is_empty() => {
                    flight.launch(&connection, Turn { calls: [].into(), reload: false, again: false });
                }
            }
        };
        // Down first: the engine must not answer an outcome with another call to this connection.
        self.down(reason).await?;
        let unknown = |call: &Call| (call.id, Outcome::Unknown(Fault::Down));
        self.answer(flight.turns.iter().flat_map(|turn| turn.calls.iter().map(unknown)).collect()).await?;
        let refused = |call: Call| (call.id, Outcome::NotApplied(Fault::Down));
        self.answer(outbox.take_all().map(refused).collect()).await
    }

    /// A turn is answered. Why the connection is lost, if it is.
    async fn land(
        &mut self,
        connection: &Connection,
        flight: &mut Flight,
        number: u64,
        took: Duration,
        answered: Answered,
    ) -> ControlFlow<(), Option<String>> {
        if answered.lost.is_some() {
            return ControlFlow::Continue(answered.lost);
        }
        let Answered { mut outcomes, again, reload, .. } = answered;
        let turn = flight.remove(number);
        let (calls, requests) = (turn.calls.len(), turn.requests());
        let (again, overtaken): (Vec<_>, Vec<_>) =
            again.into_iter().partition(|call| !flight.carries_key_of(call, number));
        // Sent again they would run after a later call on their key.
        let refused = |call: Call| (call.id, Outcome::NotApplied(Fault::Unready("NOSCRIPT".into())));
        outcomes.extend(overtaken.into_iter().map(refused));
        if !again.is_empty() {
            flight.launch(connection, Turn { calls: again.into(), reload, again: true });
        }
        if calls > 0 {
            self.tell(StoreEvent::Pipeline { calls, requests, took }).await?;
        }
        self.answer(outcomes).await?;
        ControlFlow::Continue(None)
    }
}

/// Turns under way, in the order in which they were sent. Dropped, it gives them up.
struct Flight {
    tasks: JoinSet<(u64, Duration, Answered)>,
    turns: VecDeque<Sent>,
    next: u64,
    /// When Redis last gave a sign of life.
    heard: Instant,
}

struct Sent {
    number: u64,
    turn: Turn,
}

impl std::ops::Deref for Sent {
    type Target = Turn;
    fn deref(&self) -> &Turn {
        &self.turn
    }
}

impl Default for Flight {
    fn default() -> Flight {
        Flight { tasks: JoinSet::new(), turns: VecDeque::new(), next: 0, heard: Instant::now() }
    }
}

impl Flight {
    fn launch(&mut self, connection: &Connection, turn: Turn) {
        let number = self.next;
        self.next += 1;
        let (wire, names, scripts) =
            (connection.wire.clone(), connection.names.clone(), connection.scripts.clone());
        self.turns.push_back(Sent { number, turn: turn.clone() });
        self.tasks.spawn(async move {
            let sent = Instant::now();
            let answered = turn.send(wire, names, scripts).await;
            (number, sent.elapsed(), answered)
        });
    }

    fn remove(&mut self, number: u64) -> Turn {
        self.heard = Instant::now();
        let i = self.turns.iter().position(|sent| sent.number == number).expect("a turn lands once");
        self.turns.remove(i).expect("the place was just found").turn
    }

    /// Whether a turn that was sent after turn `number` has a call on the same key.
    fn carries_key_of(&self, call: &Call, number: u64) -> bool {
        let later = self.turns.iter().filter(|sent| sent.number > number);
        later.flat_map(|sent| sent.calls.iter()).any(|other| other.op.key() == call.op.key())
    }
}
