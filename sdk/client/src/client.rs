//! The client: one connection to the sidecar, shared by all tasks of a program.
//!
//! Owns how a client is made and when its connection ends: with the last clone, request and lease.

use crate::clock;
use crate::discover::Target;
use crate::error::{Error, Result};
use crate::handshake::{self, Introduction, Welcomed};
use crate::link;
use crate::shared::{Phase, Session, Shared};
#[cfg(feature = "embedded")]
use sidelock_daemon::Embedded;
use sidelock_wire::{Code, Guarantee, Scope};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The variable that demands a scope: `process`, `host` or `fleet`.
const SCOPE_VARIABLE: &str = "SIDELOCK_REQUIRE_SCOPE";
/// A sidecar that restarts is back long before; one that is not is an outage that callers should hear of.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(30);

/// A connection to the sidecar. Cheap to clone; all clones share it. It comes back by itself when the sidecar restarts.
///
/// ```no_run
/// # async fn f() -> sidelock_client::Result<()> {
/// let sl = sidelock_client::Client::connect_default().await?;
/// if let Some(lease) = sl.lock("nightly-report").try_acquire().await? {
///     // … do it, and tell the database `lease.fence()` …
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) handle: Arc<Handle>,
}

/// What keeps the connection: whoever has one of these.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) default_wait: Option<Duration>,
    /// The sidecar in this process, which lives as long as its client.
    #[cfg(feature = "embedded")]
    embedded: Option<Arc<Embedded>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let is_own_process = self.shared.is_own_process();
        if is_own_process {
            self.shared.closing.notify_one();
        }
        #[cfg(feature = "embedded")]
        if !is_own_process {
            // To end it is to wait for its thread, which a forked child does not have.
            std::mem::forget(self.embedded.take());
        }
    }
}

/// How a client is made.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct Builder {
    target: Option<PathBuf>,
    app: Option<String>,
    default_wait: Option<Duration>,
    require_scope: Option<Scope>,
    unreachable_after: Duration,
    write_through: bool,
}

/// What the sidecar says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// How far its locks reach.
    pub scope: Scope,
    /// What holds through a loss of the store's data.
    pub guarantee: Guarantee,
    /// The part of the store that it works in.
    pub namespace: String,
    /// Its life: another one after each start.
    pub incarnation: u128,
}

impl Client {
    /// Connects to the sidecar that `SIDELOCK_SOCKET` names, or to the first socket that exists in the usual places.
    ///
    /// # Errors
    /// [`Error::SidecarUnreachable`] with the places tried, [`Error::Invalid`] if it can not do what is demanded.
    pub async fn connect_default() -> Result<Client> {
        Builder::new().connect().await
    }

    /// Connects to the sidecar that listens at `path`.
    ///
    /// # Errors
    /// As [`Client::connect_default`].
    pub async fn connect(path: impl AsRef<Path>) -> Result<Client> {
        Builder::new().socket(path).connect().await
    }

    /// Starts a sidecar inside this process and connects to it: locks between the tasks and threads of one program, on
    /// the memory store. It ends with the last clone, request and lease of this client.
    ///
    /// # Errors
    /// [`Error::SidecarUnreachable`] if the system gives no thread, [`Error::Invalid`] if the environment demands a
    /// larger scope than `process`.
    #[cfg(feature = "embedded")]
    pub async fn embedded() -> Result<Client> {
        Builder::new().embedded().await
    }

    /// Options before connecting.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// What the sidecar said of itself last. `None` while there is no connection, and in a forked child.
    pub fn sidecar(&self) -> Option<Sidecar> {
        if !self.handle.shared.is_own_process() {
            return None;
        }
        match &self.handle.shared.lock().phase {
            Phase::Up(Session { scope, guarantee, namespace, incarnation, .. }) => Some(Sidecar {
                scope: *scope,
                guarantee: *guarantee,
                namespace: namespace.clone(),
                incarnation: *incarnation,
            }),
            Phase::Away { .. } | Phase::Closed(_) => None,
        }
    }

    /// Ends it for all clones, at once: its leases are lost, what waits and whatever is asked from now on is told so, and the
    /// connection closes, so that others can have what was held. Doing it again does nothing, nor does it in a forked child.
    pub fn close(&self) {
        if self.handle.shared.is_own_process() {
            self.handle.shared.close();
        }
    }
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            target: None,
            app: None,
            default_wait: None,
            require_scope: None,
            unreachable_after: UNREACHABLE_AFTER,
            write_through: false,
        }
    }

    /// Where the sidecar listens. Without this: `SIDELOCK_SOCKET`, then the usual places.
    pub fn socket(mut self, path: impl AsRef<Path>) -> Builder {
        self.target = Some(path.as_ref().to_owned());
        self
    }

    /// What this program calls itself, for people who ask who holds a lock. Without this: the executable's name.
    pub fn app(mut self, app: impl Into<String>) -> Builder {
        self.app = Some(app.into());
        self
    }

    /// How long requests wait that do not say. Without this: for ever.
    pub fn default_wait(mut self, wait: Duration) -> Builder {
        self.default_wait = Some(wait);
        self
    }

    /// Refuses to work with a sidecar whose locks reach less far. Without this: what `SIDELOCK_REQUIRE_SCOPE` says.
    pub fn require_scope(mut self, scope: Scope) -> Builder {
        self.require_scope = Some(scope);
        self
    }

    /// Requests fail when there was no connection for so long, even if their wait is longer. Without this: 30 s.
    pub fn unreachable_after(mut self, span: Duration) -> Builder {
        self.unreachable_after = span;
        self
    }

    /// Requests are written by the thread that makes them, a system call each, instead of by the connection's task, as many
    /// at a time as there are. For threads that are not the runtime's: to wake a thread costs more than to write.
    pub fn write_through(mut self) -> Builder {
        self.write_through = true;
        self
    }

    /// Connects. The connection lives on the runtime that this is called on.
    ///
    /// # Errors
    /// As [`Client::connect_default`].
    pub async fn connect(self) -> Result<Client> {
        let target = self.target.clone().map_or_else(Target::from_environment, Target::Path);
        let introduction = self.introduction()?;
        let welcomed = handshake::connect(&target, &introduction, None).await?;
        Ok(Client { handle: Arc::new(self.start(target, introduction, welcomed)) })
    }

    /// Starts a sidecar inside this process and connects to it, as [`Client::embedded`].
    ///
    /// # Errors
    /// As [`Client::embedded`].
    #[cfg(feature = "embedded")]
    pub async fn embedded(self) -> Result<Client> {
        let introduction = self.introduction()?;
        let embedded = sidelock_daemon::embedded().map_err(|error| Error::unreachable(Vec::new(), error))?;
        let embedded = Arc::new(embedded);
        let target = Target::Embedded(Arc::downgrade(&embedded));
        let welcomed = handshake::connect(&target, &introduction, None).await?;
        let mut handle = self.start(target, introduction, welcomed);
        handle.embedded = Some(embedded);
        Ok(Client { handle: Arc::new(handle) })
    }

    fn introduction(&self) -> Result<Introduction> {
        let require_scope = match self.require_scope {
            Some(scope) => Some(scope),
            None => scope_from_environment()?,
        };
        Ok(Introduction { app: self.app.clone().unwrap_or_else(executable_name), require_scope })
    }

    fn start(&self, target: Target, introduction: Introduction, welcomed: Welcomed) -> Handle {
        let alive_until_ns = clock::after(welcomed.said_hello_ns, welcomed.session.session_ttl);
        let shared = Arc::new(Shared::new(
            welcomed.session.clone(),
            alive_until_ns,
            self.unreachable_after,
            self.write_through,
        ));
        tokio::spawn(link::keep(shared.clone(), target, introduction, welcomed));
        Handle {
            shared,
            default_wait: self.default_wait,
            #[cfg(feature = "embedded")]
            embedded: None,
        }
    }
}

fn scope_from_environment() -> Result<Option<Scope>> {
    let Some(name) = std::env::var_os(SCOPE_VARIABLE).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    match name.to_str().and_then(Scope::from_name) {
        Some(scope) => Ok(Some(scope)),
        None => {
            let message = format!("{SCOPE_VARIABLE} is {name:?}; it can be process, host or fleet");
            Err(Error::plain(Code::BadRequest, Arc::from(""), message))
        }
    }
}

fn executable_name() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_default()
}
