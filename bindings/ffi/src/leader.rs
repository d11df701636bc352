//! Leader election, in another language's hands: a lease by another name.
//!
//! Owns who looks on. Being the leader is a lease, and ends as one does: resigned by its release, or lost.

use crate::blocking;
use crate::cancel::{self, Cancel};
use crate::client::{Client, Holder};
use crate::each_process::EachProcess;
use crate::error::Result;
use crate::lease::Lease;
use crate::wish::{Units, Wish};
use sidelock_client as sdk;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::Mutex;

/// How to stand in an election.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Candidacy {
    /// See [`Wish::wait_ms`].
    #[uniffi(default = None)]
    pub wait_ms: Option<u64>,
    /// Leads for so long at most, in milliseconds, so that the turn goes round.
    #[uniffi(default = None)]
    pub max_term_ms: Option<u64>,
    /// See [`Wish::owner`].
    #[uniffi(default = None)]
    pub owner: Option<String>,
}

/// The election of who leads something.
#[derive(uniffi::Object)]
pub struct Leader {
    client: Arc<Client>,
    name: String,
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("name", &self.name).finish_non_exhaustive()
    }
}

#[uniffi::export]
impl Leader {
    /// Waits to be elected, in the order of arrival. The lease is the leadership: its fence is the term, which rises with every
    /// leader of this name; its release resigns.
    pub async fn campaign(&self, candidacy: Candidacy, cancel: Option<Arc<Cancel>>) -> Result<Arc<Lease>> {
        cancel::run(cancel, self.campaigning(candidacy)).await
    }

    /// The same, blocking the thread.
    pub fn campaign_blocking(&self, candidacy: Candidacy, ticket: u64) -> Result<Arc<Lease>> {
        blocking::wait(ticket, || self.campaigning(candidacy))
    }

    /// Looks on without standing.
    pub fn observe(&self) -> Arc<Observer> {
        Arc::new(Observer {
            client: self.client.clone(),
            name: self.name.clone(),
            looking: EachProcess::new(),
        })
    }
}

/// Who leads, seen from outside.
#[derive(uniffi::Object)]
pub struct Observer {
    client: Arc<Client>,
    name: String,
    /// Made on first use; one look at a time. A forked child begins anew.
    looking: Arc<EachProcess<Mutex<Option<sdk::Observer>>>>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("name", &self.name).finish_non_exhaustive()
    }
}

#[uniffi::export]
impl Observer {
    /// Who leads now; absent: nobody.
    pub async fn current(&self, cancel: Option<Arc<Cancel>>) -> Result<Option<Holder>> {
        cancel::run(cancel, self.looking()).await
    }

    /// The same, blocking the thread.
    pub fn current_blocking(&self, ticket: u64) -> Result<Option<Holder>> {
        blocking::wait(ticket, || self.looking())
    }

    /// Waits until it is another leader, another term or nobody, and says who: the first time, at once. It looks once a second,
    /// so a term between two looks is not seen.
    pub async fn changed(&self, cancel: Option<Arc<Cancel>>) -> Result<Option<Holder>> {
        cancel::run(cancel, self.changing()).await
    }

    /// The same, blocking the thread.
    pub fn changed_blocking(&self, ticket: u64) -> Result<Option<Holder>> {
        blocking::wait(ticket, || self.changing())
    }
}

impl Leader {
    pub(crate) fn new(client: Arc<Client>, name: String) -> Arc<Leader> {
        Arc::new(Leader { client, name })
    }

    fn campaigning(&self, candidacy: Candidacy) -> impl Future<Output = Result<Arc<Lease>>> + Send + use<> {
        let (sdk, name, listener) = (self.client.sdk(), self.name.clone(), self.client.listener());
        async move {
            let sdk = sdk.await?;
            let wish = candidacy.wish(sdk.leader(name).key());
            Ok(Lease::one(wish.single(&sdk, &wish.keys[0]).await?, listener))
        }
    }
}

impl Observer {
    fn looking(&self) -> impl Future<Output = Result<Option<Holder>>> + Send + use<> {
        let (sdk, name) = (self.client.sdk(), self.name.clone());
        async move {
            let observer = sdk.await?.leader(name).observe();
            Ok(observer.current().await?.map(Holder::from))
        }
    }

    fn changing(&self) -> impl Future<Output = Result<Option<Holder>>> + Send + use<> {
        let (sdk, name, looking) = (self.client.sdk(), self.name.clone(), self.looking.here());
        async move {
            let sdk = sdk.await?;
            let mut looking = looking.get().lock().await;
            let observer = looking.get_or_insert_with(|| sdk.leader(name).observe());
            Ok(observer.changed().await?.map(Holder::from))
        }
    }
}

impl Candidacy {
    fn wish(self, key: &str) -> Wish {
        Wish {
            keys: vec![key.to_owned()],
            units: Units::Exclusive,
            wait_ms: self.wait_ms,
            ttl_ms: None,
            max_hold_ms: self.max_term_ms,
            owner: self.owner,
            priority: 0,
            reentrant: false,
        }
    }
}
