//! Whom a link tells what happens.
//!
//! Owns the difference between the store of one server, which tells its driver, and a node of a cluster, which tells the
//! router. Must not know what is told.

use super::StoreEvent;
use super::pipeline::Message;
use std::ops::ControlFlow;
use tokio::sync::mpsc;

/// What a node tells its router.
#[derive(Debug)]
pub(super) enum Heard {
    Event(StoreEvent),
    /// For inboxes that may be heard at other nodes (P21).
    Messages(Vec<Message>),
    /// Sent here, though other nodes have their inboxes now, as it says.
    Astray(Vec<(Message, String)>),
}

/// A link of a router: to which node, and the how manieth of all it is, since a node may have had one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkId {
    pub(super) node: usize,
    pub(super) number: usize,
}

/// The listener.
#[derive(Clone, Debug)]
pub(super) enum Outlet {
    Driver(mpsc::Sender<StoreEvent>),
    Router(LinkId, mpsc::Sender<(LinkId, Heard)>),
}

impl Outlet {
    /// Waits for room. Breaks if nobody listens any more.
    pub(super) async fn tell(&self, event: StoreEvent) -> ControlFlow<()> {
        let gone = match self {
            Outlet::Driver(driver) => driver.send(event).await.is_err(),
            Outlet::Router(link, router) => router.send((*link, Heard::Event(event))).await.is_err(),
        };
        if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Tells it if there is room.
    pub(super) fn hint(&self, event: StoreEvent) {
        // With no room for it, timers carry on.
        match self {
            Outlet::Driver(driver) => drop(driver.try_send(event)),
            Outlet::Router(link, router) => drop(router.try_send((*link, Heard::Event(event)))),
        }
    }

    /// Tells what only routers have a use for.
    pub(super) async fn pass_on(&self, heard: Heard) -> ControlFlow<()> {
        match self {
            Outlet::Driver(_) => ControlFlow::Continue(()),
            Outlet::Router(link, router) => match router.send((*link, heard)).await {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            },
        }
    }
}
