//! One life of a sidecar process: start, signals, drain.
//!
//! Owns the order of beginning and end (H26). Must not know requests.

use crate::addressee;
use crate::config::{self, Config, ConfigError, Sources, StoreKind};
use crate::handle::Handle;
use crate::identity::Identity;
use crate::listener::{self, Listener, SocketError, beside};
use crate::memory;
use crate::notify::Manager;
use crate::peer::Allow;
use crate::policies;
use crate::rules::InForce;
use crate::sidecar::{Home, Sidecar};
use crate::socket::{Doors, Entrance, fds_for_connections};
use crate::store_link::{self, HighWater};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep_until, timeout};

/// After the last answer was handed to the sockets: long enough for writers to be woken once more.
const LAST_WRITES: Duration = Duration::from_millis(20);

/// What a service manager is asked for beyond the grace of a drain, before it loses patience.
const MANAGER_PATIENCE: Duration = Duration::from_secs(5);

/// Why a sidecar did not start, or stopped on its own.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// In a cluster of hosts a lock of one host is most likely a mistake.
    #[error(
        "inside Kubernetes the memory store has to be asked for by name, because its locks reach one pod only; give --redis URL, or --store memory"
    )]
    MemoryInKubernetes,
    /// The probes' address can not be had.
    #[error("can not listen on {address} for probes: {error}")]
    Probe {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// The store's settings make no sense to its driver.
    #[error("the store can not be set up: {0}")]
    Store(String),
    /// A policy can not be loaded, and to serve without it would let pass what it is there to stop.
    #[error("{0}")]
    Policies(String),
    /// The driver is gone. Leases end at their deadlines, as after a kill.
    #[error("a bug ended the sidecar; what it says above is worth a report")]
    Broken,
    /// The system refused.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

/// A sidecar that serves, as it introduces itself.
#[derive(Clone, Debug)]
pub struct Started {
    /// Where clients connect.
    pub socket: PathBuf,
    /// Where operators connect, if it has such a place.
    pub admin_socket: Option<PathBuf>,
    /// What it is.
    pub identity: Identity,
}

/// Runs a sidecar on this thread until a signal or an operator ends it. `started` is called once it serves.
///
/// SIGTERM and SIGINT drain it; a second one ends it now. SIGHUP reads the same sources again and takes limits, classes,
/// policies, the store's credentials and who may connect from them; who is connected stays.
///
/// # Errors
/// It did not start. A sidecar that started ends well.
pub fn serve(sources: &Sources, started: impl FnOnce(&Started)) -> Result<(), ServeError> {
    let loaded = config::load(sources)?;
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let ended = runtime.block_on(live(&loaded.config, sources, started));
    // Sessions end with the process; their tasks have nothing left to do.
    runtime.shutdown_background();
    ended
}

async fn live(config: &Config, sources: &Sources, started: impl FnOnce(&Started)) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    check(config)?;
    let listener = Listener::open(config.socket.as_deref())?;
    let socket = listener.path().to_owned();
    let admin_listener = open_admin(config, &socket)?;
    let admin_socket = admin_listener.as_ref().map(|listener| listener.path().to_owned());
    let mut sidecar = Sidecar::start(config, Home::Host(mark(config, &socket))).map_err(ServeError::Store)?;
    sidecar.policies.keep_record(config.policy_log.as_deref()).map_err(ServeError::Policies)?;
    let loader = policies::start(&sidecar.policies, config).await.map_err(ServeError::Policies)?;
    let changed = Rc::new(Notify::new());
    let (again, in_force) = (sources.clone(), sidecar.in_force.clone());
    let settings = move || {
        let mut config = config::load(&again).ok()?.config;
        in_force.bound(&mut config.limits);
        Some(config)
    };
    spawn_local(policies::watch(loader, changed.clone(), settings));
    let leave = Rc::new(Notify::new());
    let (leaving, is_leaving) = tokio::sync::watch::channel(false);
    let doors = Doors::open(config, &sidecar, &leave, is_leaving, &socket).await?;
    let fds_max = fds_for_connections();
    warn_of_few_descriptors(fds_max, config.limits.sessions_max);
    let entrance =
        |doors, allow| Entrance::new(doors, allow, sidecar.handle.clone(), sidecar.metrics.clone());
    let gid = listener.gid();
    let clients = entrance(doors.clients, Allow::new(config, gid));
    spawn_local(clients.clone().run(listener, fds_max));
    if let (Some(operators), Some(listener)) = (doors.operators, admin_listener) {
        spawn_local(entrance(operators, Allow::operators()).run(listener, fds_max));
    }
    spawn_local(memory::give_back(sidecar.handle.clone()));
    sidecar.handle.health().set_started();
    if config.store() == StoreKind::Memory {
        tracing::warn!(
            "memory store: locks reach this host only, and end with this process; --redis URL for more"
        );
    }
    let identity = sidecar.handle.gate().identity().clone();
    tracing::info!(socket = %socket.display(), store = identity.store.name(), scope = %identity.scope,
        guarantee = %identity.guarantee(), incarnation = %identity.incarnation, "serving");
    let manager = Manager::find().map(Rc::new);
    if let Some(manager) = manager.clone() {
        let handle = sidecar.handle.clone();
        // Asked through the driver: a sidecar whose doors answer and whose driver does not is none.
        spawn_local(async move { manager.follow(async || handle.counts().await.is_some()).await });
    }
    started(&Started { socket, admin_socket, identity });

    let Sidecar { handle, in_force, driver, .. } = &mut sidecar;
    let reload = || {
        let Some(wanted) = reload(config, sources, in_force, handle) else { return };
        clients.allow(Allow::new(&wanted, gid));
        changed.notify_one();
    };
    let by = tokio::select! {
        by = signals.until_leaving(&leave, reload) => by,
        _ = driver => return Err(ServeError::Broken),
    };
    leaving.send_replace(true);
    if let Some(manager) = manager {
        manager.stopping(config.drain_grace + MANAGER_PATIENCE);
    }
    drain(handle, config.drain_grace, &mut signals, by).await;
    handle.policies().flush();
    handle.policies().end_record();
    Ok(())
}

/// Whether a sidecar could start with these settings, as far as that shows without touching anything. `serve` asks the
/// same first, so that what `config check` passes is not refused later for how it is written.
///
/// # Errors
/// What `serve` would refuse.
pub fn check(config: &Config) -> Result<(), ServeError> {
    memory_is_meant(config)?;
    let beside_it = config.socket.as_deref().map(addressee::admin_socket);
    let sockets = [config.socket.as_ref(), config.admin_socket.as_ref().or(beside_it.as_ref())];
    sockets.into_iter().flatten().try_for_each(|path| listener::fits(path))?;
    store_link::check(config).map_err(ServeError::Store)
}

/// Inside a cluster of hosts, locks of one pod are most likely a mistake.
fn memory_is_meant(config: &Config) -> Result<(), ServeError> {
    let unsaid = config.store.is_none() && config.store() == StoreKind::Memory;
    if unsaid && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Err(ServeError::MemoryInKubernetes);
    }
    Ok(())
}

/// A limit that will not be reached is a surprise at the worst moment (H13).
fn warn_of_few_descriptors(fds_max: u64, sessions_max: u32) {
    if fds_max < u64::from(sessions_max) {
        tracing::warn!(
            connections = fds_max,
            sessions_max,
            "the limit of open files has no room for sessions_max connections; raise it (`ulimit -Hn`, LimitNOFILE= in systemd), or lower sessions_max"
        );
    }
}

/// The admin socket: where it was asked for, or beside the other one. There a second sidecar of the same folder goes
/// without: signals do what its admin socket would.
fn open_admin(config: &Config, socket: &Path) -> Result<Option<Listener>, SocketError> {
    if let Some(path) = &config.admin_socket {
        return Listener::bind(path).map(Some);
    }
    match Listener::bind(&addressee::admin_socket(socket)) {
        Ok(listener) => Ok(Some(listener)),
        Err(SocketError::Taken { path }) => {
            tracing::warn!(path = %path.display(), "another sidecar has its admin socket here; --admin-socket gives us one too");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The memory store's mark beside the socket.
fn mark(config: &Config, socket: &Path) -> Option<HighWater> {
    if config.store() != StoreKind::Memory {
        return None;
    }
    let path = beside(socket, ".fences");
    HighWater::open(&path)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "no fence mark; fences may repeat if the wall clock goes back across a restart"))
        .ok()
}

/// Takes over what may change in a life, and says what does not. What is wanted now, if that can be read.
fn reload(started: &Config, sources: &Sources, in_force: &InForce, handle: &Handle) -> Option<Config> {
    let loaded = config::load(sources);
    let config::Loaded { mut config, warnings } =
        loaded.inspect_err(|error| tracing::error!(%error, "the old settings stay in force")).ok()?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    for setting in config::kept(started, &config) {
        tracing::warn!("{setting} stays as it was: that needs a restart");
    }
    for limit in in_force.replace(&mut config) {
        tracing::warn!("limits.{limit} stays as it was: that needs a restart");
    }
    if let Err(error) = handle.policies().keep_record(config.policy_log.as_deref()) {
        tracing::error!(%error, "the record of requests stays where it is");
    }
    handle.reload(config.clone());
    tracing::info!("who may connect, limits, classes and credentials reloaded");
    Some(config)
}

/// Grants nothing more, and waits until nothing is held, the grace is over, or a second signal says now. The first may come
/// after an operator's order: a pod is drained, then deleted, and its holders have their grace all the same.
async fn drain(handle: &Handle, grace: Duration, signals: &mut Signals, by: By) {
    tracing::info!(?grace, "draining; a second signal ends it now");
    let second = async {
        if by == By::Order {
            signals.terminated().await;
            tracing::info!("draining already; a second signal ends it now");
        }
        signals.terminated().await;
    };
    tokio::select! {
        biased;
        () = second => tracing::warn!("ended by a second signal"),
        drained = timeout(grace, handle.drain()) => match drained {
            Ok(()) => tracing::info!("drained"),
            Err(_) => tracing::warn!("the grace is over; what is still held ends at its deadline"),
        },
    }
    tokio::time::sleep(LAST_WRITES).await;
}

/// What began a drain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Signal,
    Order,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn terminated(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Reloads at every SIGHUP, until something says to leave.
    async fn until_leaving(&mut self, leave: &Notify, reload: impl Fn()) -> By {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return By::Signal,
                _ = self.interrupt.recv() => return By::Signal,
                () = leave.notified() => return By::Order,
                _ = self.hang_up.recv() => reload(),
            }
        }
    }
}

/// The doors of a process: those for clients, those for operators where HTTP is built in.
struct AllDoors {
    clients: Doors,
    operators: Option<Doors>,
}

#[cfg(feature = "http")]
impl Doors {
    async fn open(
        config: &Config,
        sidecar: &Sidecar,
        leave: &Rc<Notify>,
        leaving: tokio::sync::watch::Receiver<bool>,
        socket: &Path,
    ) -> Result<AllDoors, ServeError> {
        let handle = sidecar.handle.clone();
        let http = crate::http::Door::new(handle.clone(), handle.gate().clone(), sidecar.metrics.clone());
        if let Some(address) = config.probe_listen {
            let at = |error| ServeError::Probe { address, error };
            let listener = tokio::net::TcpListener::bind(address).await.map_err(at)?;
            spawn_local(probes(listener, http.clone()));
        }
        let admin = crate::http::admin::AdminDoor::new(leave.clone(), http.clone(), socket.to_owned());
        let operators = Doors::Operators(admin);
        let clients = Doors::Clients { frames: sidecar.frames(), http, leaving };
        Ok(AllDoors { clients, operators: Some(operators) })
    }
}

#[cfg(not(feature = "http"))]
impl Doors {
    async fn open(
        config: &Config,
        sidecar: &Sidecar,
        _leave: &Rc<Notify>,
        _leaving: tokio::sync::watch::Receiver<bool>,
        _socket: &Path,
    ) -> Result<AllDoors, ServeError> {
        if let Some(address) = config.probe_listen {
            let error = std::io::Error::other("this build has no HTTP door");
            return Err(ServeError::Probe { address, error });
        }
        Ok(AllDoors { clients: Doors::Clients { frames: sidecar.frames() }, operators: None })
    }
}

/// Health and metrics over TCP, a connection for each request.
#[cfg(feature = "http")]
async fn probes(listener: tokio::net::TcpListener, http: Rc<crate::http::Door>) {
    /// Probers at a time: a kubelet and a few scrapers.
    const PROBERS_MAX: usize = 32;
    /// Each has so long, however many come after it.
    const PLACE_KEPT_MIN: Duration = Duration::from_millis(100);
    // The oldest first. It makes room for who comes when there is none: who says nothing keeps no kubelet out.
    let mut probers = VecDeque::with_capacity(PROBERS_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                probers.retain(|(_, prober): &(Instant, JoinHandle<()>)| !prober.is_finished());
                if probers.len() == PROBERS_MAX
                    && let Some((came, oldest)) = probers.pop_front()
                {
                    sleep_until(came + PLACE_KEPT_MIN).await;
                    oldest.abort();
                }
                let http = http.clone();
                let prober = spawn_local(async move { http.serve_probe(stream).await });
                probers.push_back((Instant::now(), prober));
            }
            Err(error) => {
                tracing::warn!(%error, "can not take a prober's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
