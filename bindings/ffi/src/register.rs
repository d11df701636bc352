//! Registers, in another language's hands: thin, as they are stateless.

use crate::blocking::{self, Delivery};
use crate::cancel::{self, Cancel};
use crate::client::Client;
use crate::each_process::EachProcess;
use crate::error::Result;
use crate::lease::Lease;
use sidelock_client as sdk;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::Mutex;

/// What a register holds.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Value {
    /// The bytes, at most 64 KiB.
    pub value: Vec<u8>,
    /// Their version: a text to be kept and given back.
    pub etag: String,
}

/// When a write happens.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Condition {
    /// In any case.
    Always,
    /// Only if there is no value.
    IfAbsent,
    /// Only if there is one.
    IfPresent,
    /// Only if this version is there.
    IfMatch {
        /// The version.
        etag: String,
    },
}

/// A register: a small value with a version, under a key of its own space.
#[derive(uniffi::Object)]
pub struct Register {
    client: Arc<Client>,
    key: String,
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register").field("key", &self.key).finish_non_exhaustive()
    }
}

#[uniffi::export]
impl Register {
    /// Its value. With a lease: only under that live exclusive lease of the lock of this name, after which no earlier
    /// holder's write gets in any more.
    pub async fn get(&self, lease: Option<Arc<Lease>>, cancel: Option<Arc<Cancel>>) -> Result<Value> {
        cancel::run(cancel, self.getting(lease)).await
    }

    /// The same, blocking the thread.
    pub fn get_blocking(&self, lease: Option<Arc<Lease>>, ticket: u64) -> Result<Value> {
        blocking::wait(ticket, || self.getting(lease))
    }

    /// Gives it another value, under a condition; the version that this made. With a lease as in `get`.
    pub async fn put(
        &self,
        value: Vec<u8>,
        condition: Condition,
        lease: Option<Arc<Lease>>,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<String> {
        cancel::run(cancel, self.putting(value, condition, lease)).await
    }

    /// The same, blocking the thread.
    pub fn put_blocking(
        &self,
        value: Vec<u8>,
        condition: Condition,
        lease: Option<Arc<Lease>>,
        ticket: u64,
    ) -> Result<String> {
        blocking::wait(ticket, || self.putting(value, condition, lease))
    }

    /// Takes its value away, if it is this version. With a lease as in `get`.
    pub async fn delete(
        &self,
        if_match: Option<String>,
        lease: Option<Arc<Lease>>,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<()> {
        cancel::run(cancel, self.deleting(if_match, lease)).await
    }

    /// The same, blocking the thread.
    pub fn delete_blocking(
        &self,
        if_match: Option<String>,
        lease: Option<Arc<Lease>>,
        ticket: u64,
    ) -> Result<()> {
        blocking::wait(ticket, || self.deleting(if_match, lease))
    }

    /// Its changes, beginning with what it holds, or with what differs from this version.
    pub fn watch(&self, after: Option<String>) -> Arc<Watch> {
        Arc::new(Watch {
            client: self.client.clone(),
            key: self.key.clone(),
            after,
            changes: EachProcess::new(),
        })
    }
}

/// A register's changes, one after the other.
#[derive(uniffi::Object)]
pub struct Watch {
    client: Arc<Client>,
    key: String,
    after: Option<String>,
    /// Made on first use; one `next` at a time. A forked child begins anew.
    changes: Arc<EachProcess<Mutex<Option<sdk::Watch>>>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("key", &self.key).finish_non_exhaustive()
    }
}

#[uniffi::export]
impl Watch {
    /// The value as soon as it is another than was told last; absent: there is none now. Values between two calls may be
    /// missed, the last one never.
    pub async fn next(&self, cancel: Option<Arc<Cancel>>) -> Result<Option<Value>> {
        cancel::run(cancel, self.changing()).await
    }

    /// The same, blocking the thread.
    pub fn next_blocking(&self, ticket: u64) -> Result<Option<Value>> {
        blocking::wait(ticket, || self.changing())
    }
}

impl Register {
    pub(crate) fn new(client: Arc<Client>, key: String) -> Arc<Register> {
        Arc::new(Register { client, key })
    }

    fn getting(&self, lease: Option<Arc<Lease>>) -> impl Future<Output = Result<Value>> + Send + use<> {
        let (client, key) = (self.client.sdk(), self.key.clone());
        async move {
            let mut get = client.await?.register(key).get();
            if let Some(lease) = lease {
                get = get.fenced(lease.view()?);
            }
            Ok(Value::from(&get.await?))
        }
    }

    fn putting(
        &self,
        value: Vec<u8>,
        condition: Condition,
        lease: Option<Arc<Lease>>,
    ) -> impl Future<Output = Result<String>> + Send + use<> {
        let (client, key) = (self.client.sdk(), self.key.clone());
        async move {
            let mut put = client.await?.register(key).put(value);
            put = match condition {
                Condition::Always => put,
                Condition::IfAbsent => put.if_absent(),
                Condition::IfPresent => put.if_present(),
                Condition::IfMatch { etag } => put.if_match(etag),
            };
            if let Some(lease) = lease {
                put = put.fenced(lease.view()?);
            }
            Ok(put.await?.to_string())
        }
    }

    fn deleting(
        &self,
        if_match: Option<String>,
        lease: Option<Arc<Lease>>,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let (client, key) = (self.client.sdk(), self.key.clone());
        async move {
            let mut delete = client.await?.register(key).delete();
            if let Some(etag) = if_match {
                delete = delete.if_match(etag);
            }
            if let Some(lease) = lease {
                delete = delete.fenced(lease.view()?);
            }
            Ok(delete.await?)
        }
    }
}

impl Watch {
    fn changing(&self) -> impl Future<Output = Result<Option<Value>>> + Send + use<> {
        let (client, changes) = (self.client.sdk(), self.changes.here());
        let (key, after) = (self.key.clone(), self.after.clone());
        async move {
            let client = client.await?;
            let mut changes = changes.get().lock().await;
            let changes = changes.get_or_insert_with(|| {
                let watch = client.register(key).watch();
                after.into_iter().fold(watch, sdk::Watch::after)
            });
            Ok(changes.next().await?.as_ref().map(Value::from))
        }
    }
}

impl Delivery for Value {}

impl From<&sdk::Value> for Value {
    fn from(value: &sdk::Value) -> Value {
        Value { value: value.value.to_vec(), etag: value.etag.to_string() }
    }
}
