//! Who holds a key and who waits for it, as JSON: clients of this sidecar, and of others as far as those said.
//!
//! Owns one shape for all of them, wherever they are shown. No secret is in it: a timed lease appears under its short public
//! reference. Must not know which key, nor why it is not free.

use crate::elsewhere::{Held, Waits, ago};
use serde::Serialize;
use sidelock_engine::declaration::{Declaration, Party};
use sidelock_engine::view::{HolderView, WaiterView};
use sidelock_engine::{Incarnation, Mode, StoreTime, Time};
use utoipa::ToSchema;

/// Who holds a key.
#[derive(Serialize, ToSchema)]
pub(super) struct Holder {
    #[serde(flatten)]
    pub(super) who: Who,
    /// Its fence token; 0 while it is reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
    /// Reserved for lock_all: a request for several keys has this one and waits for others. No lease yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) reserved: bool,
    /// For how many seconds it has been held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) held_for: Option<f64>,
    /// Seconds until its deadline, unless it is extended.
    expires_in: f64,
    /// A timed lease's short public name. Its id is a secret and appears nowhere.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
}

/// One who waits.
#[derive(Serialize, ToSchema)]
pub(super) struct Waiter {
    #[serde(flatten)]
    who: Who,
    /// It has a share, keeps it, and wants all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    upgrades: bool,
    /// Ahead of lower ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    /// For how many seconds it has waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<f64>,
}

/// What holder and waiter have in common.
#[derive(Serialize, ToSchema)]
pub(super) struct Who {
    /// Its sidecar's incarnation.
    pub(super) sidecar: String,
    /// `false`: that sidecar has the key, or waits for it, and did not say for whom. It may be stopped.
    pub(super) known: bool,
    /// `exclusive`, `shared` or `permits`.
    pub(super) mode: &'static str,
    /// Units of a semaphore.
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    /// The process's user id, from the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<String>,
    /// The sequential actor inside the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// Its session, while it lives; not of clients of another sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
}

/// Units of a rate on their way back.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(super) struct Cooling {
    /// So many.
    pub(super) permits: u32,
    /// Seconds until the next of them are free.
    pub(super) next_in: f64,
}

/// What a sidecar says of a key.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct Said {
    /// It says who of its clients holds and waits; of a key that nobody asked about, which of its owners wait. `false`: who
    /// holds or waits there is unknown here.
    pub(super) known: bool,
    /// Nobody holds it there: the sidecar keeps it for the next request, and gives way to another sidecar at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    idle: bool,
    /// Units of a rate that nobody there holds and that are not free yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    cooling: Option<Cooling>,
    /// Who of its clients holds it, oldest first.
    holders: Vec<Holder>,
    /// Who of its clients waits for it, in the order of grant.
    waiters: Vec<Waiter>,
    /// Holders that there are besides.
    holders_left_out: u32,
    /// Waiters behind those.
    waiters_left_out: u32,
}

impl Holder {
    /// A lease of this sidecar.
    pub(super) fn here(me: Incarnation, view: HolderView, now: Time) -> Holder {
        Holder {
            fence: Some(view.fence),
            reserved: view.reserved,
            held_for: Some(now.since(view.since).as_secs_f64()),
            expires_in: view.deadline.since(now).as_secs_f64(),
            reference: view.reference.map(reference),
            who: Who {
                sidecar: me.to_string(),
                known: true,
                mode: view.mode.name(),
                permits: permits(view.mode),
                uid: Some(view.uid),
                app: Some(view.app),
                owner: view.owner.map(|owner| owner.0.to_string()),
                session: view.session.map(|session| session.0),
            },
        }
    }

    /// One of another sidecar.
    pub(super) fn there(sidecar: Incarnation, held: Held<'_>, now: StoreTime) -> Holder {
        match held {
            Held::By(mode, holder) => Holder {
                fence: Some(holder.fence),
                reserved: holder.reserved,
                held_for: Some(seconds(now, holder.who.since)),
                expires_in: seconds(holder.until, now),
                reference: holder.reference.map(reference),
                who: Who::there(sidecar, mode, Some(&holder.who)),
            },
            Held::Unknown(mode, remaining) => Holder {
                fence: None,
                reserved: false,
                held_for: None,
                expires_in: remaining.as_secs_f64(),
                reference: None,
                who: Who::there(sidecar, mode, None),
            },
        }
    }
}

impl Waiter {
    /// One of this sidecar.
    pub(super) fn here(me: Incarnation, view: WaiterView, now: Time) -> Waiter {
        Waiter {
            upgrades: view.upgrades,
            priority: Some(view.priority),
            waiting_for: Some(now.since(view.since).as_secs_f64()),
            who: Who {
                sidecar: me.to_string(),
                known: true,
                mode: view.mode.name(),
                permits: permits(view.mode),
                uid: Some(view.uid),
                app: Some(view.app),
                owner: view.owner.map(|owner| owner.0.to_string()),
                session: Some(view.session.0),
            },
        }
    }

    /// One of another sidecar.
    pub(super) fn there(sidecar: Incarnation, waits: Waits<'_>, now: StoreTime) -> Waiter {
        match waits {
            Waits::Who(mode, waiter) => Waiter {
                upgrades: waiter.upgrades,
                priority: Some(waiter.priority),
                waiting_for: Some(seconds(now, waiter.who.since)),
                who: Who::there(sidecar, mode, Some(&waiter.who)),
            },
            Waits::Unknown(mode) => Waiter {
                upgrades: false,
                priority: None,
                waiting_for: None,
                who: Who::there(sidecar, mode, None),
            },
        }
    }
}

impl Who {
    fn there(sidecar: Incarnation, mode: Mode, party: Option<&Party>) -> Who {
        Who {
            sidecar: sidecar.to_string(),
            known: party.is_some(),
            mode: mode.name(),
            permits: permits(mode),
            uid: party.map(|party| party.uid),
            app: party.map(|party| party.app.to_string()),
            owner: party.and_then(|party| party.owner.as_ref()).map(|owner| owner.0.to_string()),
            session: None,
        }
    }
}

impl Said {
    /// What a sidecar said of a key, or that it said nothing.
    pub(super) fn new(sidecar: Incarnation, declaration: Option<&Declaration>, now: StoreTime) -> Said {
        let Some(declaration) = declaration else { return Said::default() };
        let holders = declaration.holders.iter().map(|one| Held::By(declaration.mode(one.who.units), one));
        let waiters = declaration.waiters.iter().map(|one| Waits::Who(declaration.mode(one.who.units), one));
        Said {
            known: true,
            idle: declaration.idle,
            cooling: declaration.cooling.map(|cooling| Cooling::there(cooling, now)),
            holders: holders.map(|one| Holder::there(sidecar, one, now)).collect(),
            waiters: waiters.map(|one| Waiter::there(sidecar, one, now)).collect(),
            holders_left_out: declaration.holders_left_out,
            waiters_left_out: declaration.waiters_left_out,
        }
    }
}

impl Cooling {
    pub(super) fn here((permits, next): (u32, Time), now: Time) -> Cooling {
        Cooling { permits, next_in: next.since(now).as_secs_f64() }
    }

    pub(super) fn there((permits, next): (u32, StoreTime), now: StoreTime) -> Cooling {
        Cooling { permits, next_in: seconds(next, now) }
    }
}

/// The short public name of a timed lease.
fn reference(number: u32) -> String {
    format!("{number:08x}")
}

pub(super) fn permits(mode: Mode) -> Option<u32> {
    match mode {
        Mode::Permits { permits, .. } => Some(permits),
        Mode::Exclusive | Mode::Shared => None,
    }
}

/// From then until `now`.
pub(super) fn seconds(now: StoreTime, then: StoreTime) -> f64 {
    ago(now, then).as_secs_f64()
}
