//! Registers for programs without async.

use super::{Client, Lease, Thread};
use crate::error::Result;
use crate::register::{self, Etag, Fencing, Value};
use std::future::IntoFuture;
use std::sync::Arc;

/// A register; see [`crate::Register`].
#[derive(Clone, Debug)]
pub struct Register {
    register: register::Register,
    thread: Arc<Thread>,
}

/// An operation on a register, done by [`Operation::send`].
#[derive(Clone, Debug)]
#[must_use = "an operation does nothing until it is sent"]
pub struct Operation<T> {
    operation: T,
    thread: Arc<Thread>,
}

/// A register's changes; see [`crate::Watch`].
#[derive(Clone, Debug)]
pub struct Watch {
    watch: register::Watch,
    thread: Arc<Thread>,
}

impl From<&Lease> for Fencing {
    fn from(lease: &Lease) -> Fencing {
        Fencing::from(&lease.lease)
    }
}

impl Client {
    /// See [`crate::Client::register`].
    pub fn register(&self, key: impl AsRef<str>) -> Register {
        Register { register: self.client.register(key), thread: self.thread.clone() }
    }
}

impl Register {
    fn operation<T>(&self, operation: T) -> Operation<T> {
        Operation { operation, thread: self.thread.clone() }
    }

    /// See [`crate::Register::get`].
    pub fn get(&self) -> Operation<register::Get> {
        self.operation(self.register.get())
    }

    /// See [`crate::Register::put`].
    pub fn put(&self, value: impl Into<Vec<u8>>) -> Operation<register::Put> {
        self.operation(self.register.put(value))
    }

    /// See [`crate::Register::delete`].
    pub fn delete(&self) -> Operation<register::Delete> {
        self.operation(self.register.delete())
    }

    /// See [`crate::Register::watch`].
    pub fn watch(&self) -> Watch {
        Watch { watch: self.register.watch(), thread: self.thread.clone() }
    }
}

impl<T> Operation<T> {
    fn map(self, change: impl FnOnce(T) -> T) -> Operation<T> {
        Operation { operation: change(self.operation), thread: self.thread }
    }
}

impl Operation<register::Get> {
    /// See [`crate::Get::fenced`].
    pub fn fenced(self, lease: impl Into<Fencing>) -> Operation<register::Get> {
        self.map(|get| get.fenced(lease))
    }

    /// Reads.
    ///
    /// # Errors
    /// As the async one.
    pub fn send(self) -> Result<Value> {
        self.thread.wait(self.operation.into_future())
    }
}

impl Operation<register::Put> {
    /// See [`crate::Put::if_match`].
    pub fn if_match(self, etag: impl AsRef<str>) -> Operation<register::Put> {
        self.map(|put| put.if_match(etag))
    }

    /// See [`crate::Put::if_absent`].
    pub fn if_absent(self) -> Operation<register::Put> {
        self.map(register::Put::if_absent)
    }

    /// See [`crate::Put::if_present`].
    pub fn if_present(self) -> Operation<register::Put> {
        self.map(register::Put::if_present)
    }

    /// See [`crate::Put::fenced`].
    pub fn fenced(self, lease: impl Into<Fencing>) -> Operation<register::Put> {
        self.map(|put| put.fenced(lease))
    }

    /// Writes; the version that it made.
    ///
    /// # Errors
    /// As the async one.
    pub fn send(self) -> Result<Etag> {
        self.thread.wait(self.operation.into_future())
    }
}

impl Operation<register::Delete> {
    /// See [`crate::Delete::if_match`].
    pub fn if_match(self, etag: impl AsRef<str>) -> Operation<register::Delete> {
        self.map(|delete| delete.if_match(etag))
    }

    /// See [`crate::Delete::fenced`].
    pub fn fenced(self, lease: impl Into<Fencing>) -> Operation<register::Delete> {
        self.map(|delete| delete.fenced(lease))
    }

    /// Deletes.
    ///
    /// # Errors
    /// As the async one.
    pub fn send(self) -> Result<()> {
        self.thread.wait(self.operation.into_future())
    }
}

impl Watch {
    /// See [`crate::Watch::after`].
    pub fn after(self, etag: impl AsRef<str>) -> Watch {
        Watch { watch: self.watch.after(etag), ..self }
    }

    /// See [`crate::Watch::next`]. Blocks until there is a change.
    ///
    /// # Errors
    /// As there.
    #[expect(
        clippy::should_implement_trait,
        reason = "called as the async one is; a failure does not end it"
    )]
    pub fn next(&mut self) -> Result<Option<Value>> {
        self.thread.wait(self.watch.next())
    }
}
