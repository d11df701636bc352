//! The client object: where every operation begins.
//!
//! Owns its options, its end and the two faces of each operation. What a lease, a turn or a register can do is theirs.

use crate::blocking;
use crate::cancel::{self, Cancel};
use crate::connection::{Connection, Recipe};
use crate::each_process::EachProcess;
use crate::error::{Failure, Result};
use crate::leader::Leader;
use crate::lease::{Lease, LossListener};
use crate::register::Register;
use crate::turn::{Entered, Turn};
use crate::wish::{Guarantee, Scope, TurnWish, Wish, in_ms};
use sidelock_client as sdk;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a client is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, uniffi::Record)]
pub struct Options {
    /// The path of the sidecar's socket. Absent: `SIDELOCK_SOCKET`, then the usual places.
    #[uniffi(default = None)]
    pub socket: Option<String>,
    /// What this program calls itself, for people who ask who holds a lock. Absent: the executable's name.
    #[uniffi(default = None)]
    pub app: Option<String>,
    /// How long requests wait that do not say, in milliseconds. Absent: without end.
    #[uniffi(default = None)]
    pub default_wait_ms: Option<u64>,
    /// Refuses a sidecar whose locks reach less far. Absent: what `SIDELOCK_REQUIRE_SCOPE` says.
    #[uniffi(default = None)]
    pub require_scope: Option<Scope>,
}

/// What the sidecar says of itself.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Sidecar {
    /// How far its locks reach.
    pub scope: Scope,
    /// What holds through a loss of the store's data.
    pub guarantee: Guarantee,
    /// The part of the store that it works in.
    pub namespace: String,
}

/// One of those who have a key.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Holder {
    /// How much of the key: `exclusive`, `shared` or `permits`.
    pub mode: String,
    /// It is a lease of the sidecar that this client talks to.
    pub local: bool,
    /// Its sidecar said whose the lease is. If not, because it is stopped or busy, no more is known than that it has the key.
    pub known: bool,
    /// What the program with the lease calls itself; empty if that is not known.
    pub app: String,
    /// The user id of that program, if that is known.
    pub uid: Option<u32>,
    /// The owner that asked for it, if one was named and is known.
    pub owner: Option<String>,
    /// The lease's fence token, if it is known. What is only reserved for a request for several keys has none yet.
    pub fence: Option<u64>,
    /// Since its grant, in milliseconds, if that is known.
    pub held_for_ms: Option<u64>,
    /// Until it ends, unless it is extended before, in milliseconds.
    pub expires_in_ms: u64,
}

/// A client: one connection to the sidecar, made on first use, shared by all threads and tasks of the process. A forked
/// child has its own, and none of its parent's leases.
#[derive(uniffi::Object)]
pub struct Client {
    connection: Arc<EachProcess<Connection>>,
    recipe: Arc<Recipe>,
    listener: Option<Arc<dyn LossListener>>,
    closed: Arc<AtomicBool>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("recipe", &self.recipe).finish_non_exhaustive()
    }
}

#[uniffi::export]
impl Client {
    /// A client of the sidecar on this host. Connects when it is first used. The listener hears of the losses of leases
    /// that are watched.
    #[uniffi::constructor]
    pub fn new(options: Options, listener: Option<Arc<dyn LossListener>>) -> Arc<Client> {
        Client::with(&options, false, listener)
    }

    /// A client with a sidecar of its own inside this process, on the memory store: for tests.
    #[uniffi::constructor]
    pub fn embedded(options: Options, listener: Option<Arc<dyn LossListener>>) -> Arc<Client> {
        Client::with(&options, true, listener)
    }

    /// Acquires what is wished for.
    pub async fn acquire(&self, wish: Wish, cancel: Option<Arc<Cancel>>) -> Result<Arc<Lease>> {
        cancel::run(cancel, self.acquiring(wish)).await
    }

    /// The same, blocking the thread. `ticket` is a number of the caller's choice, another one for each call; a call that a signal
    /// interrupted goes on with the same.
    pub fn acquire_blocking(&self, wish: Wish, ticket: u64) -> Result<Arc<Lease>> {
        blocking::wait(ticket, || self.acquiring(wish))
    }

    /// Enters a once key: the turn, or what another one's turn left.
    pub async fn enter(&self, wish: TurnWish, cancel: Option<Arc<Cancel>>) -> Result<Entered> {
        cancel::run(cancel, self.entering(wish)).await
    }

    /// The same, blocking the thread.
    pub fn enter_blocking(&self, wish: TurnWish, ticket: u64) -> Result<Entered> {
        blocking::wait(ticket, || self.entering(wish))
    }

    /// Who has a key now, a hundred at most; nobody: it is free. Disturbs nobody.
    pub async fn holders(&self, key: String, cancel: Option<Arc<Cancel>>) -> Result<Vec<Holder>> {
        cancel::run(cancel, self.looking(key)).await
    }

    /// The same, blocking the thread.
    pub fn holders_blocking(&self, key: String, ticket: u64) -> Result<Vec<Holder>> {
        blocking::wait(ticket, || self.looking(key))
    }

    /// Connects, if that is not done, and tells what the sidecar says of itself; nothing while the connection is broken.
    pub async fn connect(&self, cancel: Option<Arc<Cancel>>) -> Result<Option<Sidecar>> {
        cancel::run(cancel, self.connecting()).await
    }

    /// The same, blocking the thread.
    pub fn connect_blocking(&self, ticket: u64) -> Result<Option<Sidecar>> {
        blocking::wait(ticket, || self.connecting())
    }

    /// Good while this object is; for `plain`.
    pub fn address(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }

    /// The register of this key.
    pub fn register(self: Arc<Self>, key: String) -> Arc<Register> {
        Register::new(self, key)
    }

    /// The election of who leads this.
    pub fn leader(self: Arc<Self>, name: String) -> Arc<Leader> {
        Leader::new(self, name)
    }

    /// Ends it, at once: its leases are lost ([`crate::LossReason::Session`]), and what waits or is asked from now on is refused
    /// ([`crate::Refusal::Invalid`]). Doing it again does nothing. Of a forked child it is the child's own connection that ends.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some(client) = self.connection.here().get().connected() {
            client.close();
        }
    }
}

impl Client {
    fn with(options: &Options, embedded: bool, listener: Option<Arc<dyn LossListener>>) -> Arc<Client> {
        // An event loop's thread, or one that blocks: none of them the runtime's.
        let mut builder = sdk::Client::builder().write_through();
        if let Some(socket) = &options.socket {
            builder = builder.socket(socket);
        }
        if let Some(app) = &options.app {
            builder = builder.app(app);
        }
        if let Some(wait) = options.default_wait_ms {
            builder = builder.default_wait(Duration::from_millis(wait));
        }
        if let Some(scope) = options.require_scope {
            builder = builder.require_scope(scope.into());
        }
        let recipe = Arc::new(Recipe { builder, embedded });
        Arc::new(Client { connection: EachProcess::new(), recipe, listener, closed: Arc::default() })
    }

    /// Who hears of losses.
    pub(crate) fn listener(&self) -> Option<Arc<dyn LossListener>> {
        self.listener.clone()
    }

    /// The SDK's client of this process, to be awaited by an operation that outlives the call.
    pub(crate) fn sdk(&self) -> impl Future<Output = Result<sdk::Client>> + Send + use<> {
        let (connection, recipe, closed) = (self.connection.here(), self.recipe.clone(), self.closed.clone());
        async move {
            if let Some(client) = connection.get().connected() {
                // Of a closed one it is the SDK's client that says so.
                return Ok(client.clone());
            }
            if closed.load(Ordering::Acquire) {
                return Err(Failure::closed());
            }
            let client = connection.get().client(&recipe).await?;
            if closed.load(Ordering::Acquire) {
                // It was closed before there was anything to close.
                client.close();
            }
            Ok(client)
        }
    }

    pub(crate) fn acquiring(&self, wish: Wish) -> impl Future<Output = Result<Arc<Lease>>> + Send + use<> {
        let (client, listener) = (self.sdk(), self.listener());
        async move {
            let client = client.await?;
            match wish.keys.as_slice() {
                [key] => Ok(Lease::one(wish.single(&client, key).await?, listener)),
                _ => Ok(Lease::several(wish.several(&client)?.await?, listener)),
            }
        }
    }

    fn entering(&self, wish: TurnWish) -> impl Future<Output = Result<Entered>> + Send + use<> {
        let (client, listener) = (self.sdk(), self.listener());
        async move {
            Ok(match wish.request(&client.await?).await? {
                sdk::Entered::Won(turn) => Entered::Won { turn: Turn::new(turn, listener) },
                sdk::Entered::Done(outcome) => Entered::done(outcome),
            })
        }
    }

    fn looking(&self, key: String) -> impl Future<Output = Result<Vec<Holder>>> + Send + use<> {
        let client = self.sdk();
        async move { Ok(client.await?.holders(key).await?.into_iter().map(Holder::from).collect()) }
    }

    fn connecting(&self) -> impl Future<Output = Result<Option<Sidecar>>> + Send + use<> {
        let client = self.sdk();
        async move { Ok(client.await?.sidecar().map(Sidecar::from)) }
    }
}

impl From<sdk::Sidecar> for Sidecar {
    fn from(sidecar: sdk::Sidecar) -> Sidecar {
        let sdk::Sidecar { scope, guarantee, namespace, incarnation: _ } = sidecar;
        Sidecar { scope: scope.into(), guarantee: guarantee.into(), namespace }
    }
}

impl From<sdk::Holder> for Holder {
    fn from(holder: sdk::Holder) -> Holder {
        Holder {
            mode: holder.mode.name().to_owned(),
            local: holder.local,
            known: holder.known,
            app: holder.app,
            uid: holder.uid,
            owner: holder.owner,
            fence: holder.fence,
            held_for_ms: holder.held_for.map(in_ms),
            expires_in_ms: in_ms(holder.expires_in),
        }
    }
}
