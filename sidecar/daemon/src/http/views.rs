//! Keys, holders and queues as `ls` and `why` show them.
//!
//! Owns the JSON of the engine's views, and the sentence that says why a key is not free. Must not change anything, and
//! shows no secret: a timed lease appears under its short public reference.

use serde::Serialize;
use sidelock_engine::view::{AskView, HolderView, KeyView, TenureView, WaiterView};
use sidelock_engine::{Key, Mode, Time, WHOLE};
use utoipa::ToSchema;

/// Keys of one listing at most. More are cut, and the answer says so.
pub(crate) const LIST_MAX: usize = 1000;

/// What `GET /v1/locks` answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Listing {
    /// The keys in use, in the order of their bytes.
    keys: Vec<KeyState>,
    /// There are more: ask with a longer prefix.
    truncated: bool,
}

/// A key as this sidecar knows it: what `GET /v1/locks/{key}` answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyState {
    /// The key.
    key: String,
    /// What it names: `lock` (a semaphore and a rate are locks too) or `once`.
    space: &'static str,
    /// Units of a semaphore; null for a lock.
    limit: Option<u32>,
    /// Live leases of this sidecar, oldest first.
    holders: Vec<Holder>,
    /// Those who wait at this sidecar, in the order of grant.
    queue: Vec<Waiter>,
    /// Units of a rate that nobody holds and that are not free yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    cooling: Option<Cooling>,
    /// What the sidecar itself holds in the store.
    tenure: Option<Tenure>,
    /// What the sidecar itself waits for in the store.
    ask: Option<Ask>,
    /// Why it is not free, or that it is.
    why: String,
}

/// A live lease.
#[derive(Serialize, ToSchema)]
struct Holder {
    #[serde(flatten)]
    who: Who,
    /// Its fence token; 0 while it is reserved.
    fence: u64,
    /// Reserved for lock_all: a request for several keys has this one and waits for others. No lease yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reserved: bool,
    /// For how many seconds it has been held.
    held_for: f64,
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
    pub(super) who: Who,
    /// Ahead of lower ones.
    pub(super) priority: i32,
    /// For how many seconds it has waited.
    pub(super) waiting_for: f64,
}

/// What holder and waiter have in common.
#[derive(Serialize, ToSchema)]
pub(super) struct Who {
    /// `exclusive`, `shared` or `permits`.
    pub(super) mode: &'static str,
    /// Units of a semaphore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) permits: Option<u32>,
    /// The process's user id, from the kernel.
    pub(super) uid: u32,
    /// What the client calls itself.
    pub(super) app: String,
    /// The sequential actor inside the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// Its session, while it lives; not of clients of another sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<u64>,
}

/// Units of a rate on their way back.
#[derive(Serialize, ToSchema)]
struct Cooling {
    /// So many.
    permits: u32,
    /// Seconds until the next of them are free.
    next_in: f64,
}

/// What the sidecar holds in the store.
#[derive(Serialize, ToSchema)]
struct Tenure {
    /// Kept for the next request here; gives way to another sidecar at once.
    idle: bool,
    /// Another sidecar wants it.
    recalled: bool,
    /// Seconds that the store has confirmed.
    expires_in: f64,
}

/// What the sidecar waits for in the store.
#[derive(Serialize, ToSchema)]
struct Ask {
    /// Sidecars ahead, once known.
    ahead: Option<u32>,
    /// The life of a sidecar in the way, once known.
    holder: Option<String>,
    /// For how many seconds it has waited.
    waiting_for: f64,
}

impl Listing {
    /// A listing of `views`, which are one more than [`LIST_MAX`] if there are too many.
    pub(crate) fn new(mut views: Vec<KeyView>, now: Time) -> Listing {
        let truncated = views.len() > LIST_MAX;
        views.truncate(LIST_MAX);
        let keys = views.into_iter().map(|view| KeyState::new(view, now)).collect();
        Listing { keys, truncated }
    }
}

impl KeyState {
    /// A key's state at `now`.
    pub(crate) fn new(view: KeyView, now: Time) -> KeyState {
        KeyState {
            why: why(&view, now),
            key: view.key.as_str().to_owned(),
            space: view.key.space().name(),
            limit: (view.limit != WHOLE).then_some(view.limit),
            holders: view.holders.into_iter().map(|holder| Holder::new(holder, now)).collect(),
            queue: view.waiters.into_iter().map(|waiter| Waiter::new(waiter, now)).collect(),
            cooling: view
                .cooling
                .map(|(permits, next)| Cooling { permits, next_in: next.since(now).as_secs_f64() }),
            tenure: view.tenure.map(|tenure| Tenure::new(&tenure, now)),
            ask: view.ask.map(|ask| Ask::new(&ask, now)),
        }
    }

    /// The state of a key that this sidecar knows nothing about.
    pub(crate) fn unknown(key: &Key) -> KeyState {
        KeyState {
            key: key.as_str().to_owned(),
            space: key.space().name(),
            limit: None,
            holders: Vec::new(),
            queue: Vec::new(),
            cooling: None,
            tenure: None,
            ask: None,
            why: "nobody holds it or waits for it at this sidecar".to_owned(),
        }
    }
}

impl Holder {
    fn new(view: HolderView, now: Time) -> Holder {
        Holder {
            fence: view.fence,
            reserved: view.reserved,
            held_for: now.since(view.since).as_secs_f64(),
            expires_in: view.deadline.since(now).as_secs_f64(),
            reference: view.reference.map(reference),
            who: Who {
                mode: view.mode.name(),
                permits: permits(view.mode),
                uid: view.uid,
                app: view.app,
                owner: view.owner.map(|owner| owner.0.to_string()),
                session: view.session.map(|session| session.0),
            },
        }
    }
}

impl Waiter {
    fn new(view: WaiterView, now: Time) -> Waiter {
        Waiter {
            priority: view.priority,
            waiting_for: now.since(view.since).as_secs_f64(),
            who: Who {
                mode: view.mode.name(),
                permits: permits(view.mode),
                uid: view.uid,
                app: view.app,
                owner: view.owner.map(|owner| owner.0.to_string()),
                session: Some(view.session.0),
            },
        }
    }
}

impl Tenure {
    fn new(view: &TenureView, now: Time) -> Tenure {
        Tenure {
            idle: view.idle,
            recalled: view.recalled,
            expires_in: view.deadline.since(now).as_secs_f64(),
        }
    }
}

impl Ask {
    fn new(view: &AskView, now: Time) -> Ask {
        Ask {
            ahead: view.ahead,
            holder: view.holder.map(|incarnation| incarnation.to_string()),
            waiting_for: now.since(view.since).as_secs_f64(),
        }
    }
}

/// The short public name of a timed lease.
pub(super) fn reference(number: u32) -> String {
    format!("{number:08x}")
}

pub(super) fn permits(mode: Mode) -> Option<u32> {
    match mode {
        Mode::Permits { permits, .. } => Some(permits),
        Mode::Exclusive | Mode::Shared => None,
    }
}

/// One sentence for the person who waits. A retained tenure is no holder (P10).
fn why(view: &KeyView, now: Time) -> String {
    let waiting = match view.waiters.len() {
        0 => String::new(),
        1 => "; one waits".to_owned(),
        n => format!("; {n} wait"),
    };
    if let Some(first) = view.holders.first() {
        let others = match view.holders.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let span = now.since(first.since).as_secs_f64();
        let how = if first.reserved { "reserved for lock_all" } else { "held" };
        return format!(
            "{how} ({}) by {}{others} for {span:.1} s{waiting}",
            first.mode.name(),
            name_of(first)
        );
    }
    if let Some((permits, next)) = view.cooling {
        let span = next.since(now).as_secs_f64();
        return format!(
            "{permits} of {} permits come back by the clock, the next in {span:.1} s{waiting}",
            view.limit
        );
    }
    if let Some(ask) = &view.ask {
        let place = match ask.ahead {
            Some(0) => ", and this sidecar is next in the store's queue".to_owned(),
            Some(n) => format!(", and {n} are ahead of this sidecar in the store's queue"),
            None => String::new(),
        };
        return match ask.holder {
            Some(holder) => format!("the sidecar {holder} holds it{place}{waiting}"),
            None => format!("asked of the store, which has not granted it yet{place}{waiting}"),
        };
    }
    match &view.tenure {
        Some(tenure) if tenure.idle => "free; this sidecar keeps it at hand for its next request".to_owned(),
        _ => format!("nobody holds it at this sidecar{waiting}"),
    }
}

fn name_of(holder: &HolderView) -> String {
    let app = if holder.app.is_empty() { "a client" } else { &holder.app };
    match &holder.owner {
        Some(owner) => format!("{app} (uid {}, owner {})", holder.uid, owner.0),
        None => format!("{app} (uid {})", holder.uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::{Incarnation, SessionId};
    use std::time::Duration;

    fn free() -> KeyView {
        KeyView {
            key: Key::new("orders/42").expect("is a key"),
            limit: WHOLE,
            holders: Vec::new(),
            waiters: Vec::new(),
            cooling: None,
            tenure: None,
            ask: None,
        }
    }

    fn held() -> KeyView {
        let holder = HolderView {
            mode: Mode::Exclusive,
            fence: 7,
            reserved: false,
            session: Some(SessionId(3)),
            uid: 1000,
            app: "billing".into(),
            owner: None,
            since: Time::ZERO,
            deadline: Time::ZERO + Duration::from_secs(10),
            reference: Some(0xab),
        };
        KeyView { holders: vec![holder], ..free() }
    }

    #[test]
    fn a_holder_is_shown_without_its_secret() {
        let now = Time::ZERO + Duration::from_secs(4);
        let json = serde_json::to_value(KeyState::new(held(), now)).expect("is plain data");
        assert_eq!(json["holders"][0]["ref"], "000000ab");
        assert_eq!(json["holders"][0]["held_for"], 4.0);
        assert_eq!(json["holders"][0]["expires_in"], 6.0);
        assert_eq!(json["limit"], serde_json::Value::Null);
        assert_eq!(json["why"], "held (exclusive) by billing (uid 1000) for 4.0 s");
    }

    #[test]
    fn a_retained_tenure_is_no_holder() {
        let id = sidelock_engine::AskId { incarnation: Incarnation(1), seq: 1 };
        let tenure = TenureView { id, units: WHOLE, deadline: Time::ZERO, idle: true, recalled: false };
        let state = KeyState::new(KeyView { tenure: Some(tenure), ..free() }, Time::ZERO);
        assert!(state.holders.is_empty());
        assert!(state.why.starts_with("free"), "{}", state.why);
    }

    #[test]
    fn a_reservation_is_shown_as_one() {
        let mut view = held();
        view.holders[0].reserved = true;
        let json = serde_json::to_value(KeyState::new(view, Time::ZERO)).expect("is plain data");
        assert_eq!(json["holders"][0]["reserved"], true);
        assert!(
            json["why"].as_str().expect("a sentence").starts_with("reserved for lock_all (exclusive) by")
        );
    }

    #[test]
    fn units_of_a_rate_are_shown_on_their_way_back() {
        let next = Time::ZERO + Duration::from_secs(5);
        let view = KeyView { limit: 9, cooling: Some((3, next)), ..free() };
        let json = serde_json::to_value(KeyState::new(view, Time::ZERO)).expect("is plain data");
        assert_eq!(json["cooling"], serde_json::json!({"permits": 3, "next_in": 5.0}));
        assert_eq!(json["why"], "3 of 9 permits come back by the clock, the next in 5.0 s");
    }

    #[test]
    fn a_remote_holder_is_named() {
        let id = sidelock_engine::AskId { incarnation: Incarnation(1), seq: 1 };
        let ask = AskView { id, ahead: Some(2), holder: Some(Incarnation(0xbeef)), since: Time::ZERO };
        let why = why(&KeyView { ask: Some(ask), ..free() }, Time::ZERO);
        assert!(why.contains("beef holds it") && why.contains("2 are ahead"), "{why}");
    }
}
