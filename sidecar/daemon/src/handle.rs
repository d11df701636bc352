//! How doors speak with the driver: a mailbox, and sessions that end when they are dropped.
//!
//! Owns the mailbox's messages and the life of a session id. Must not know the engine's rules or any wire.
//!
//! Everything here lives on the one thread of the sidecar. The mailbox is unbounded and can not be filled by a client:
//! a door hands over at most [`Session::batch`] inputs of a session, then yields, and the driver takes all there is in
//! every turn.

use crate::batches::Batches;
use crate::clock::boottime;
use crate::config::Config;
use crate::gate::{Admitted, Gate};
use crate::health::Health;
use crate::outlet::Outlet;
use crate::policies::Policies;
use crate::watch::Watch;
use sidelock_engine::store::Success;
use sidelock_engine::survey::{Around, Survey};
use sidelock_engine::view::{Counts, HolderView, KeyView};
use sidelock_engine::{
    EndedBy, Engine, Input, Key, LeaseSecret, Refusal, RequestId, SessionId, SessionOpened, Time,
};
use sidelock_store::listing::Listing;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

/// A look at the engine, taken between two inputs.
pub(crate) type Query = Box<dyn FnOnce(&Engine)>;

/// What reaches the driver.
pub(crate) enum Mail {
    /// A session begins, or one that was cut off goes on, and this is its way out.
    Open {
        /// [`Input::SessionOpened`] or [`Input::SessionResumed`]: a session begins, or goes on.
        input: Input,
        /// Which.
        session: SessionId,
        /// The group id that the kernel told us of its peer.
        gid: u32,
        /// Where its answers go.
        outlet: Rc<dyn Outlet>,
    },
    /// Something a session wants.
    Input(Admitted),
    /// A session's connection is over.
    End {
        /// Which.
        session: SessionId,
        /// Who hung up.
        by: EndedBy,
    },
    /// A question about the state.
    Query(Query),
    /// Who waits for whom in the fleet.
    Survey {
        /// Where to look.
        around: Around,
        /// Where what was seen goes.
        answer: oneshot::Sender<Box<Survey>>,
    },
    /// What all sidecars of the store hold and wait for.
    List {
        /// Only keys that begin with this.
        prefix: String,
        /// Where the listing goes, or why there is none.
        answer: oneshot::Sender<Result<Listing, String>>,
    },
    /// New settings; the driver takes those of the store that may change in a life.
    Reload(Box<Config>),
    /// Grant nothing more.
    Drain {
        /// Told when nothing is left.
        done: oneshot::Sender<()>,
    },
}

/// The driver's mailbox. Cheap to clone; lives on the sidecar's thread.
#[derive(Clone)]
pub(crate) struct Handle {
    mail: mpsc::UnboundedSender<Mail>,
    gate: Gate,
    events: broadcast::Sender<Watch>,
    health: Rc<Health>,
    policies: Rc<Policies>,
    sessions: Rc<Cell<u64>>,
    batches: Rc<Batches>,
    /// Looks at all that there is happen one by one: the driver sees to what is due between them (H15).
    long_looks: Rc<Semaphore>,
    /// The same for looks at one key, which may have a crowd.
    key_looks: Rc<Semaphore>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The user id that the kernel told us.
    pub(crate) uid: u32,
    /// The group id that the kernel told us.
    pub(crate) gid: u32,
}

impl Handle {
    /// A handle and the end of the mailbox that the driver reads.
    pub(crate) fn new(
        gate: Gate,
        events: broadcast::Sender<Watch>,
        health: Rc<Health>,
        policies: Rc<Policies>,
    ) -> (Handle, mpsc::UnboundedReceiver<Mail>) {
        let (mail, inbox) = mpsc::unbounded_channel();
        let sessions = Rc::default();
        let batches = Rc::new(Batches::new());
        let [long_looks, key_looks] = [(); 2].map(|()| Rc::new(Semaphore::new(1)));
        (Handle { mail, gate, events, health, policies, sessions, batches, long_looks, key_looks }, inbox)
    }

    /// What checks requests before they are sent.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Opens a session for one request of `peer`, whose answers go to `outlet`. `app` is what the client calls itself. The
    /// connection alone decides how long it lives, and an owner's name means the same in all such sessions of a user.
    pub(crate) fn open(&self, peer: Peer, app: &str, outlet: Rc<dyn Outlet>) -> Session {
        let id = self.next_session();
        let opened = SessionOpened {
            session: id,
            uid: peer.uid,
            app: Arc::from(app),
            ping_within: None,
            owners_by_uid: true,
        };
        self.bind(id, peer, Input::SessionOpened(opened), outlet)
    }

    /// An id that no session of this life had before.
    pub(crate) fn next_session(&self) -> SessionId {
        self.sessions.set(self.sessions.get() + 1);
        SessionId(self.sessions.get())
    }

    /// Opens a session for a connection of `peer`, with an id from [`Handle::next_session`]. With `ping_within` its leases
    /// are lost after so long without a sign of life; without, the connection alone decides.
    pub(crate) fn open_as(
        &self,
        id: SessionId,
        peer: Peer,
        app: &str,
        ping_within: Option<Duration>,
        outlet: Rc<dyn Outlet>,
    ) -> Session {
        self.bind(id, peer, Input::SessionOpened(opened(id, peer, app, ping_within)), outlet)
    }

    /// The acquires whose leases a session still has; `None` inside: it is over.
    pub(crate) async fn held_by(&self, id: SessionId) -> Option<Option<Vec<RequestId>>> {
        self.query(move |engine| engine.held_by(id)).await
    }

    /// Goes on with a session that the sidecar had cut off; should it be over by now, it begins anew under the same id. The
    /// caller has checked the session's secret, and told the client that it still has the leases of `held`.
    pub(crate) fn resume(
        &self,
        (id, held): (SessionId, Vec<RequestId>),
        peer: Peer,
        app: &str,
        ping_within: Option<Duration>,
        outlet: Rc<dyn Outlet>,
    ) -> Session {
        let session = opened(id, peer, app, ping_within);
        self.bind(id, peer, Input::SessionResumed { session, held }, outlet)
    }

    fn bind(&self, id: SessionId, peer: Peer, input: Input, outlet: Rc<dyn Outlet>) -> Session {
        self.post(Mail::Open { input, session: id, gid: peer.gid, outlet });
        Session { id, handle: self.clone(), ended: false }
    }

    /// Keys that begin with `prefix`, in order, at most `limit`; of all of them at most `shown` holders, and waiters. `None`: the
    /// sidecar is shutting down.
    pub(crate) async fn list(&self, prefix: &str, limit: usize, shown: usize) -> Option<Vec<KeyView>> {
        let prefix = prefix.to_owned();
        let _turn = self.long_looks.acquire().await.ok()?;
        self.query(move |engine| engine.list(&prefix, limit, shown)).await
    }

    /// One key, if this sidecar knows it, with at most `shown` holders, and waiters. The outer `None`: the sidecar is shutting
    /// down.
    pub(crate) async fn look(&self, key: &Key, shown: usize) -> Option<Option<KeyView>> {
        let key = key.clone();
        let _turn = self.key_looks.acquire().await.ok()?;
        self.query(move |engine| engine.look(&key, shown)).await
    }

    /// What is known to be done of a once key. The outer `None`: the sidecar is shutting down.
    pub(crate) async fn done(&self, key: Key) -> Option<Option<Success>> {
        self.query(move |engine| engine.done(boottime(), &key)).await
    }

    /// Who holds and who waits for whom in the fleet. `None`: the sidecar is shutting down.
    pub(crate) async fn survey(&self, around: Around) -> Option<Box<Survey>> {
        let (answer, asked) = oneshot::channel();
        self.post(Mail::Survey { around, answer });
        asked.await.ok()
    }

    /// What all sidecars of the store hold and wait for, or why that can not be said. `None`: the store is away, or the
    /// sidecar is shutting down.
    pub(crate) async fn list_fleet(&self, prefix: &str) -> Option<Result<Listing, String>> {
        let (answer, asked) = oneshot::channel();
        self.post(Mail::List { prefix: prefix.to_owned(), answer });
        asked.await.ok()
    }

    /// A timed lease as it stands, for the bearer of its secret with this uid. `None`: the sidecar is shutting down.
    pub(crate) async fn timed(
        &self,
        uid: u32,
        secret: LeaseSecret,
    ) -> Option<Result<(Key, HolderView), Refusal>> {
        self.query(move |engine| engine.look_timed(uid, secret)).await
    }

    /// Sizes. `None`: the sidecar is shutting down.
    pub(crate) async fn counts(&self) -> Option<Counts> {
        self.query(Engine::counts).await
    }

    /// Sizes, and since when the oldest waiter waits: a look at every waiter. `None`: the sidecar is shutting down.
    pub(crate) async fn gauges(&self) -> Option<(Counts, Option<Time>)> {
        let _turn = self.long_looks.acquire().await.ok()?;
        self.query(|engine| (engine.counts(), engine.oldest_waiter())).await
    }

    async fn query<T: 'static>(&self, look: impl FnOnce(&Engine) -> T + 'static) -> Option<T> {
        let (answer, asked) = oneshot::channel();
        self.post(Mail::Query(Box::new(move |engine| {
            // A caller that no longer waits is no failure.
            let _ = answer.send(look(engine));
        })));
        asked.await.ok()
    }

    /// Every event from now on. A reader that falls behind is told how many it missed.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Watch> {
        self.events.subscribe()
    }

    /// How the sidecar is.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// The policies in force.
    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// New settings for the store's connection.
    pub(crate) fn reload(&self, config: Config) {
        self.post(Mail::Reload(Box::new(config)));
    }

    /// Grants nothing more; idle tenures go back, sessions are told (H26). Done when nothing is held, waits, or is on its
    /// way to the store; with leases that nobody releases that may be never. Saying it twice does no harm.
    pub(crate) async fn drain(&self) {
        self.health.set_draining();
        let (done, drained) = oneshot::channel();
        self.post(Mail::Drain { done });
        // That the driver is gone is as good.
        let _ = drained.await;
    }

    fn post(&self, mail: Mail) {
        // After the driver has gone the process is about to end; what clients still want is moot.
        let _ = self.mail.send(mail);
    }
}

fn opened(id: SessionId, peer: Peer, app: &str, ping_within: Option<Duration>) -> SessionOpened {
    SessionOpened { session: id, uid: peer.uid, app: Arc::from(app), ping_within, owners_by_uid: false }
}

/// An open session. Dropping it means that the client hung up: its waiters are cancelled and its session leases freed.
#[must_use = "dropping a session ends it"]
pub(crate) struct Session {
    id: SessionId,
    handle: Handle,
    ended: bool,
}

impl Session {
    /// Its id: goes into every input that the gate admits for it.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// How many requests its door may hand over now before it yields.
    pub(crate) fn batch(&self) -> usize {
        self.handle.batches.batch(self.id)
    }

    /// Hands a request over. Its answer goes to the session's outlet.
    pub(crate) fn send(&self, admitted: Admitted) {
        self.handle.batches.heard(self.id);
        self.handle.post(Mail::Input(admitted));
    }

    /// Ends it because the sidecar hangs up: leases stay reserved until the last deadline told (P6).
    pub(crate) fn cut_off(mut self) {
        self.end(EndedBy::Sidecar);
    }

    fn end(&mut self, by: EndedBy) {
        if !std::mem::replace(&mut self.ended, true) {
            self.handle.post(Mail::End { session: self.id, by });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end(EndedBy::Peer);
    }
}
