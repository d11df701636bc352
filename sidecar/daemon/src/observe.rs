//! What is made of the engine's events: metrics, log lines, the watchers' stream, what observing policies are told.
//!
//! Owns what is counted and what is worth a line. A key is any text that a client likes: lines show it as a string, in which
//! line breaks and escapes are written out. Must not change anything.

use crate::metrics::{Metrics, RequestLabels};
use crate::policies::Policies;
use crate::reply;
use crate::rules::InForce;
use crate::watch::Watch;
use sidelock_engine::store::Order;
use sidelock_engine::view::HolderView;
use sidelock_engine::{Engine, Event, EventKind, Key, Refusal, Reply, RequestId, SessionId, Space, Time};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::broadcast;

/// A wait longer than this gets a line that names who is in the way.
const SLOW_WAIT: Duration = Duration::from_secs(1);
/// A hold longer than this gets a line.
const SLOW_HOLD: Duration = Duration::from_secs(60);
/// Waits looked after at a time. A crowd on one key needs no line each: the first few name the holder.
const WAITS_WATCHED_MAX: usize = 64;

/// See the module.
pub(crate) struct Observer {
    metrics: Rc<Metrics>,
    in_force: InForce,
    events: broadcast::Sender<Watch>,
    policies: Rc<Policies>,
    waits: BTreeMap<(SessionId, RequestId), Wait>,
    /// None of them becomes slow before.
    look_at: Time,
}

/// A wait that may become slow.
struct Wait {
    key: Key,
    since: Time,
}

impl Observer {
    pub(crate) fn new(
        metrics: Rc<Metrics>,
        in_force: InForce,
        events: broadcast::Sender<Watch>,
        policies: Rc<Policies>,
    ) -> Observer {
        Observer { metrics, in_force, events, policies, waits: BTreeMap::new(), look_at: Time::MAX }
    }

    /// Counts what no event tells: answers to renewals, releases and changes, and who found no place to wait in. Acquires and
    /// upgrades have their events otherwise.
    pub(crate) fn replied(&self, reply: &Reply) {
        let (op, outcome) = match reply {
            // Its leases are counted one by one, besides.
            Reply::GrantedAll(_) => ("lock_all", "granted"),
            Reply::Refused(Refusal::Deadlock(_) | Refusal::UpgradeConflict { .. }) => {
                return self.metrics.deadlock();
            }
            Reply::Refused(
                no @ (Refusal::QueueFull { .. }
                | Refusal::QueueFullByPolicy { .. }
                | Refusal::TooMany { .. }
                | Refusal::TooDeep { .. }),
            ) => ("admission", reply::code(no).name()),
            Reply::Renewed { .. } => ("renew", "renewed"),
            Reply::Refused(no @ Refusal::NotUpgradable(_)) => ("change", reply::code(no).name()),
            Reply::Register(_) => ("register", "read"),
            Reply::Unchanged => ("register", "unchanged"),
            Reply::Written(_) => ("register", "written"),
            Reply::Deleted => ("register", "deleted"),
            // Only who speaks of a register can be told these.
            Reply::Refused(
                no @ (Refusal::Absent
                | Refusal::Exists(_)
                | Refusal::Conflict(_)
                | Refusal::StaleFence
                | Refusal::OutcomeUnknown),
            ) => ("register", reply::code(no).name()),
            Reply::Refused(no @ Refusal::TurnClosed) => ("finish", reply::code(no).name()),
            // Only who speaks of a lease can be told these.
            Reply::Refused(no @ (Refusal::NotHeld | Refusal::NotFound | Refusal::LeaseLost(_))) => {
                ("renew_or_release", reply::code(no).name())
            }
            _ => return,
        };
        self.metrics.bare_request(op, outcome);
    }

    pub(crate) fn happened(&mut self, now: Time, event: Event) {
        self.count(&event);
        match &event.kind {
            EventKind::Queued => self.watch_wait(now, &event),
            EventKind::Granted { .. }
            | EventKind::Refused { .. }
            | EventKind::Cancelled { .. }
            | EventKind::Skipped { .. } => {
                self.waits.remove(&(event.session, event.request));
            }
            EventKind::Released { held, .. } | EventKind::Finished { held, .. } if *held > SLOW_HOLD => {
                tracing::info!(key = event.key.as_str(), session = event.session.0, ?held, "slow_hold");
            }
            EventKind::Lost { reason, held, fence } => {
                let reason = reason.name();
                tracing::warn!(
                    key = event.key.as_str(),
                    session = event.session.0,
                    fence,
                    reason,
                    ?held,
                    "lease_lost"
                );
            }
            EventKind::Forced { victims, order } => {
                let reason = &*order.reason;
                let (key, by) = (event.key.as_str(), order.by);
                match victims {
                    0 => tracing::warn!(key, by, reason, victims, "forced_unlock: nobody held the key"),
                    _ => {
                        tracing::warn!(
                            key,
                            by,
                            reason,
                            victims,
                            "forced_unlock: the key was taken from its holders"
                        )
                    }
                }
            }
            EventKind::Released { .. } | EventKind::Downgraded { .. } | EventKind::Finished { .. } => {}
        }
        self.policies.happened(&event);
        if self.events.receiver_count() > 0 {
            let event = Rc::new(event);
            // The last watcher may have left just now.
            let _ = self.events.send(Watch { at: now, event });
        }
    }

    /// An operator's order reached leases of this sidecar; each of them had its own line.
    pub(crate) fn taken_by_force(&self, key: &Key, order: &Order) {
        tracing::warn!(
            key = key.as_str(),
            by = order.by,
            reason = &*order.reason,
            "forced_unlock: a tenure of this sidecar was taken"
        );
    }

    /// Fences go on above the old ones, but A1 is broken: somebody has to see to the store's time service.
    pub(crate) fn alarm_store_clock(&self, key: &Key) {
        tracing::error!(
            key = key.as_str(),
            "store_clock_regressed: the store's clock went back; see to its time service"
        );
    }

    /// Nothing helps but to wait; what is held goes on.
    pub(crate) fn quarantined(&self, left: Duration) {
        tracing::warn!(
            ?left,
            "store_quarantine: the store lost its data, or may have; strict grants nothing until all earlier leases have run out"
        );
    }

    fn count(&self, event: &Event) {
        let (op, outcome) = match &event.kind {
            EventKind::Granted { path, waited, .. } => {
                self.metrics.granted(*path, *waited);
                ("acquire", "granted")
            }
            EventKind::Refused { refusal, .. } => ("acquire", reply::code(refusal).name()),
            EventKind::Cancelled { .. } => ("acquire", "cancelled"),
            EventKind::Released { held, .. } => {
                self.metrics.held(*held);
                ("release", "released")
            }
            EventKind::Skipped { .. } => ("acquire", "skipped"),
            EventKind::Finished { held, .. } => {
                self.metrics.held(*held);
                ("finish", "finished")
            }
            EventKind::Lost { held, reason, .. } => {
                self.metrics.held(*held);
                return self.metrics.lost(*reason);
            }
            EventKind::Downgraded { .. } => ("change", "downgraded"),
            EventKind::Forced { .. } => ("force", "unlocked"),
            EventKind::Queued => return,
        };
        let is_turn = op == "acquire" && event.key.space() == Space::Once;
        self.metrics.request(RequestLabels {
            op: if is_turn { "once" } else { op },
            mode: event.mode.name(),
            class: self.in_force.label(event.key.as_str()),
            outcome,
        });
    }

    fn watch_wait(&mut self, now: Time, event: &Event) {
        if self.waits.len() < WAITS_WATCHED_MAX {
            let wait = Wait { key: event.key.clone(), since: now };
            self.waits.insert((event.session, event.request), wait);
            self.look_at = self.look_at.min(now + SLOW_WAIT);
        }
    }

    /// When the next look at waits is due, if any is watched.
    pub(crate) fn next_look(&self) -> Option<Time> {
        (self.look_at != Time::MAX && !self.waits.is_empty()).then(|| self.look_at + Duration::from_nanos(1))
    }

    /// One line for each watched wait that has become slow, and who is in its way.
    pub(crate) fn look_at_slow_waits(&mut self, now: Time, engine: &Engine) {
        if now <= self.look_at {
            return;
        }
        // A crowd on one key becomes slow at the same time.
        let mut seen = HashMap::new();
        self.waits.retain(|(session, _), wait| {
            let slow = now.since(wait.since) > SLOW_WAIT;
            if slow {
                let by = seen.entry(wait.key.clone()).or_insert_with_key(|key| in_the_way(engine, key));
                tracing::warn!(
                    key = wait.key.as_str(),
                    session = session.0,
                    by = &**by,
                    "slow_wait: still waiting after 1 s"
                );
            }
            !slow
        });
        self.look_at = self.waits.values().map(|wait| wait.since + SLOW_WAIT).min().unwrap_or(Time::MAX);
    }
}

fn in_the_way(engine: &Engine, key: &Key) -> String {
    match engine.in_the_way(key) {
        (Some(HolderView { app, uid, owner, fence, .. }), _) => {
            let owner = owner.as_ref().map_or("", |owner| &owner.0);
            format!("app {app:?} uid {uid} owner {owner:?} fence {fence}")
        }
        (None, Some(incarnation)) => format!("sidecar {incarnation}"),
        (None, None) => "the store, or another sidecar that it does not name".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, StoreKind};
    use crate::identity::Identity;
    use sidelock_engine::Mode;

    #[test]
    fn a_wait_is_looked_at_when_it_is_slow_and_not_before() {
        let identity = Identity::new(StoreKind::Memory, "default", false);
        let config = Config::default();
        let metrics = Rc::new(Metrics::new(&identity));
        let policies = Rc::new(Policies::new(metrics.clone(), &identity));
        let (events, _) = broadcast::channel(1);
        let mut observer = Observer::new(metrics, InForce::new(&config), events, policies);
        assert_eq!(observer.next_look(), None, "nobody waits");
        let (key, mode) = (Key::new("k").expect("is one"), Mode::Exclusive);
        let (session, request) = (SessionId(1), RequestId(1));
        let event = |kind| Event { kind, key: key.clone(), mode, session, request, client: None };
        let now = Time(5_000_000_000);
        observer.happened(now, event(EventKind::Queued));
        let due = observer.next_look().expect("somebody waits");
        assert!(due > now + SLOW_WAIT && due < now + SLOW_WAIT * 2, "{due:?}");
        observer.happened(now, event(EventKind::Cancelled { waited: Duration::ZERO }));
        assert_eq!(observer.next_look(), None, "nobody waits any more");
    }
}
