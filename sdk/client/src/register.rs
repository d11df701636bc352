//! Registers: small values with versions, beside the locks of the same names.
//!
//! Owns what a program may do with one, and what a broken connection means for each: a read is asked again, a write may or
//! may not have happened.

use crate::acquire::forked;
use crate::client::{Client, Handle};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::lease::{Lease, LeaseView, out_of_turn};
use crate::slots::Answer;
use crate::timed::{LeaseId, TimedLease};
use sidelock_wire::{
    Code, Condition, Current, Known, LeaseName, Register as Message, RegisterAct, ToSidecar, Version,
};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

/// A register. Made by [`Client::register`].
///
/// ```no_run
/// # async fn f(sl: sidelock_client::Client) -> sidelock_client::Result<()> {
/// let stock = sl.register("stock/42");
/// let left = stock.get().await?;
/// stock.put(&b"6"[..]).if_match(&left.etag).await?; // Err(Conflict), with what is there, if somebody wrote meanwhile
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Register {
    handle: Arc<Handle>,
    key: Arc<str>,
}

/// What a register holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes.
    pub value: Arc<[u8]>,
    /// Their version: no other value of this register had it or will have it.
    pub etag: Etag,
}

/// A version of a register: a text to be kept and given back, nothing to be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Etag(Arc<str>);

impl Etag {
    /// A version that was kept as text.
    pub fn new(text: &str) -> Etag {
        Etag(Arc::from(text))
    }
}

impl AsRef<str> for Etag {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value {
    pub(crate) fn of(version: &Version<'_>) -> Value {
        Value { value: Arc::from(&*version.value), etag: Etag::new(&version.etag) }
    }
}

/// The lease that an operation on a register is bound to.
#[derive(Clone, Debug)]
pub struct Fencing(Bond);

#[derive(Clone, Debug)]
enum Bond {
    Session(LeaseView),
    Timed(LeaseId),
}

impl From<&Lease> for Fencing {
    fn from(lease: &Lease) -> Fencing {
        Fencing(Bond::Session(lease.view()))
    }
}

impl From<LeaseView> for Fencing {
    fn from(lease: LeaseView) -> Fencing {
        Fencing(Bond::Session(lease))
    }
}

impl From<&TimedLease> for Fencing {
    fn from(lease: &TimedLease) -> Fencing {
        Fencing(Bond::Timed(lease.id))
    }
}

impl From<LeaseId> for Fencing {
    fn from(lease: LeaseId) -> Fencing {
        Fencing(Bond::Timed(lease))
    }
}

impl Fencing {
    /// Its name in this client's session, if it still means anything there.
    fn name(&self, handle: &Handle, key: &Arc<str>) -> Result<LeaseName> {
        match &self.0 {
            Bond::Timed(id) => Ok(LeaseName::Timed(id.0)),
            Bond::Session(lease) => {
                if !lease.is_of(handle) {
                    let message = "the lease was acquired by another client; use that one's register";
                    return Err(Error::plain(Code::BadRequest, key.clone(), message));
                }
                lease.name().map_err(|_| {
                    let message = "the lease is over; acquire the lock again, then read before you write";
                    Error::plain(Code::StaleFence, key.clone(), message)
                })
            }
        }
    }
}

impl Client {
    /// The register `key`: 1 to 512 bytes. The lock of the same name protects it if its users want that; see
    /// [`Put::fenced`].
    pub fn register(&self, key: impl AsRef<str>) -> Register {
        Register { handle: self.handle.clone(), key: Arc::from(key.as_ref()) }
    }
}

impl Register {
    /// Its value. [`Error::NotFound`] if it has none.
    pub fn get(&self) -> Get {
        Get { register: self.clone(), fencing: None }
    }

    /// Gives it another value, at most 64 KiB.
    pub fn put(&self, value: impl Into<Vec<u8>>) -> Put {
        Put { register: self.clone(), value: value.into(), only: Only::Any, fencing: None }
    }

    /// Takes its value away. [`Error::NotFound`] if it has none.
    pub fn delete(&self) -> Delete {
        Delete { register: self.clone(), only: Only::Any, fencing: None }
    }

    /// Its value now, and then each time that it is another one.
    pub fn watch(&self) -> Watch {
        Watch { register: self.clone(), known: Seen::Nothing }
    }

    fn send(&self, fencing: Option<&Fencing>, act: RegisterAct<'_>, cancels: bool) -> Result<Command> {
        if !self.handle.shared.is_own_process() {
            return Err(forked(&self.key));
        }
        let lease = fencing.map(|fencing| fencing.name(&self.handle, &self.key)).transpose()?;
        let key = self.key.as_bytes();
        let message = |request| ToSidecar::Register(Message { request, key, lease, act });
        Ok(Command::register(&self.handle.shared, cancels, message))
    }

    /// Reads, as often as it takes.
    async fn read(&self, fencing: Option<&Fencing>, act: RegisterAct<'_>) -> Result<Current<'static>> {
        let is_watch = matches!(act, RegisterAct::Watch { .. });
        loop {
            match self.send(fencing, act.clone(), is_watch)?.await {
                Answer::Register(current) => return Ok(current),
                Answer::Interrupted | Answer::Reconnected => {}
                other => return Err(self.refusal(other)),
            }
        }
    }

    async fn write(&self, fencing: Option<&Fencing>, act: RegisterAct<'_>) -> Result<Option<Etag>> {
        loop {
            match self.send(fencing, act.clone(), false)?.await {
                Answer::Written(etag) => return Ok(etag.map(|etag| Etag::new(&etag))),
                Answer::Reconnected => {}
                Answer::Interrupted => {
                    return Err(Error::OutcomeUnknown {
                        what: "the write",
                        key: self.key.clone(),
                        advice: "it may have happened; read the register before you repeat it",
                    });
                }
                other => return Err(self.refusal(other)),
            }
        }
    }

    fn refusal(&self, answer: Answer) -> Error {
        match answer {
            Answer::Refused(refused) => Error::refused(&self.key, refused),
            Answer::Failed(error) => error,
            other => out_of_turn(&self.key, &other),
        }
    }
}

/// When a write happens.
#[derive(Clone, Debug)]
enum Only {
    Any,
    Absent,
    Present,
    Match(Etag),
}

impl Only {
    fn condition(&self) -> Condition<'_> {
        match self {
            Only::Any => Condition::Any,
            Only::Absent => Condition::Absent,
            Only::Present => Condition::Present,
            Only::Match(etag) => Condition::Match(etag.as_ref()),
        }
    }
}

/// A read, to be awaited.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Get {
    register: Register,
    fencing: Option<Fencing>,
}

/// A write, to be awaited. Its output is the version that it made.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Put {
    register: Register,
    value: Vec<u8>,
    only: Only,
    fencing: Option<Fencing>,
}

/// A deletion, to be awaited.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Delete {
    register: Register,
    only: Only,
    fencing: Option<Fencing>,
}

/// A register's changes, one after the other.
#[derive(Clone, Debug)]
pub struct Watch {
    register: Register,
    known: Seen,
}

#[derive(Clone, Debug)]
enum Seen {
    Nothing,
    Absent,
    Version(Etag),
}

/// A future of this module.
pub type Answering<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

impl Get {
    /// Only under this lease; see [`Put::fenced`]. From then on no earlier holder's write gets in any more.
    pub fn fenced(mut self, lease: impl Into<Fencing>) -> Get {
        self.fencing = Some(lease.into());
        self
    }
}

impl IntoFuture for Get {
    type Output = Result<Value>;
    type IntoFuture = Answering<Value>;

    fn into_future(self) -> Answering<Value> {
        Box::pin(async move {
            let Get { register, fencing } = self;
            match register.read(fencing.as_ref(), RegisterAct::Get).await? {
                Current::Value(version) => Ok(Value::of(&version)),
                Current::Absent | Current::Unchanged => {
                    Err(out_of_turn(&register.key, &Answer::Register(Current::Absent)))
                }
            }
        })
    }
}

impl Put {
    /// Only if this is the version that is there; else [`Error::Conflict`], with what is there in
    /// [`crate::Refusal::current`].
    pub fn if_match(mut self, etag: impl AsRef<str>) -> Put {
        self.only = Only::Match(Etag::new(etag.as_ref()));
        self
    }

    /// Only if there is no value; else [`Error::Conflict`].
    pub fn if_absent(mut self) -> Put {
        self.only = Only::Absent;
        self
    }

    /// Only if there is a value; else [`Error::Conflict`].
    pub fn if_present(mut self) -> Put {
        self.only = Only::Present;
        self
    }

    /// Only under this lease: a live exclusive one of the lock with the register's name, checked in the very step that
    /// writes. [`Error::Conflict`] (`stale_fence`) if it is gone, or if somebody read or wrote under a later one. While the
    /// write is under way the lock passes to nobody else, whatever becomes of the lease.
    pub fn fenced(mut self, lease: impl Into<Fencing>) -> Put {
        self.fencing = Some(lease.into());
        self
    }
}

impl IntoFuture for Put {
    type Output = Result<Etag>;
    type IntoFuture = Answering<Etag>;

    fn into_future(self) -> Answering<Etag> {
        Box::pin(async move {
            let Put { register, value, only, fencing } = self;
            let act = RegisterAct::Put { condition: only.condition(), value: &value };
            let etag = register.write(fencing.as_ref(), act).await?;
            etag.ok_or_else(|| out_of_turn(&register.key, &Answer::Written(None)))
        })
    }
}

impl Delete {
    /// Only if this is the version that is there; else [`Error::Conflict`].
    pub fn if_match(mut self, etag: impl AsRef<str>) -> Delete {
        self.only = Only::Match(Etag::new(etag.as_ref()));
        self
    }

    /// Only under this lease; see [`Put::fenced`].
    pub fn fenced(mut self, lease: impl Into<Fencing>) -> Delete {
        self.fencing = Some(lease.into());
        self
    }
}

impl IntoFuture for Delete {
    type Output = Result<()>;
    type IntoFuture = Answering<()>;

    fn into_future(self) -> Answering<()> {
        Box::pin(async move {
            let Delete { register, only, fencing } = self;
            let act = RegisterAct::Delete { condition: only.condition() };
            register.write(fencing.as_ref(), act).await.map(drop)
        })
    }
}

impl Watch {
    /// Goes on after this version: the first answer is another one.
    pub fn after(mut self, etag: impl AsRef<str>) -> Watch {
        self.known = Seen::Version(Etag::new(etag.as_ref()));
        self
    }

    /// The value as soon as it is another than this watch told last; the first time, as it is. `None`: there is none now.
    /// Values between two calls may be missed, the last one never. Dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`Error`]; the next call goes on where this one failed.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        let known = match &self.known {
            Seen::Nothing => Known::Nothing,
            Seen::Absent => Known::Absent,
            Seen::Version(etag) => Known::Etag(etag.as_ref()),
        };
        loop {
            let act = RegisterAct::Watch { known, wait: None };
            match self.register.read(None, act).await? {
                Current::Unchanged => {}
                Current::Absent => {
                    self.known = Seen::Absent;
                    return Ok(None);
                }
                Current::Value(version) => {
                    let value = Value::of(&version);
                    self.known = Seen::Version(value.etag.clone());
                    return Ok(Some(value));
                }
            }
        }
    }
}
