//! Keys, holders and queues as `ls` and `why` show them.
//!
//! Owns the JSON of a key, as this sidecar knows it or as all of its fleet does, and the sentence that says why it is not
//! free. Must not change anything.

use super::parties::{Cooling, Holder, Waiter, Who};
use super::policies::RulingDocument;
use crate::clock::boottime;
use crate::elsewhere::{Elsewhere, elsewhere};
use crate::rulings::Ruling;
use serde::Serialize;
use sidelock_engine::survey::Survey;
use sidelock_engine::view::{AskView, KeyView, TenureView};
use sidelock_engine::{Incarnation, Key, Time, WHOLE};
use sidelock_wire::Scope;
use utoipa::ToSchema;

/// Keys of one listing at most. More are cut, and the answer says so.
pub(crate) const LIST_MAX: usize = 1000;
/// Holders of this sidecar's that one answer shows at most, and waiters. The rest is counted. All of a crowd may look at the same
/// time: who wants fewer says so.
pub(crate) const SHOWN_MAX: usize = 10_000;

/// What `GET /v1/locks` answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Listing {
    /// The keys in use, in the order of their bytes.
    keys: Vec<KeyState>,
    /// There are more: ask with a longer prefix.
    truncated: bool,
}

/// What `GET /v1/locks/{key}` answers: who has a key, at whatever sidecar.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyLook {
    /// Who holds it and who waits are those of the whole fleet: first this sidecar's, then others', by sidecar.
    #[serde(flatten)]
    state: KeyState,
    /// The sidecar that looked.
    sidecar: String,
    /// Sidecars that keep it for their next request. Nobody holds it there, and each gives way to others at once.
    kept_by: Vec<String>,
    /// The store is away: what other sidecars have of the key is not known, and nobody of theirs is shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    store_away: bool,
    /// What policies of this sidecar did to requests for it lately, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<RulingDocument>,
}

/// A key as this sidecar knows it.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyState {
    /// The key.
    key: String,
    /// What it names: `lock` (a semaphore and a rate are locks too) or `once`.
    space: &'static str,
    /// Units of a semaphore; null for a lock.
    limit: Option<u32>,
    /// Live leases, oldest first.
    holders: Vec<Holder>,
    /// Holders that there are besides.
    holders_left_out: u64,
    /// Those who wait, in the order of grant.
    queue: Vec<Waiter>,
    /// Waiters that there are besides.
    waiters_left_out: u64,
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
    pub(crate) fn new(me: Incarnation, mut views: Vec<KeyView>, now: Time) -> Listing {
        let truncated = views.len() > LIST_MAX;
        views.truncate(LIST_MAX);
        let keys = views.into_iter().map(|view| KeyState::new(me, view, now)).collect();
        Listing { keys, truncated }
    }
}

impl KeyLook {
    /// A key as the fleet of a sidecar with this scope knows it: its own view of it, and what others said.
    pub(crate) fn new(key: &Key, view: Option<KeyView>, survey: &Survey, scope: Scope) -> KeyLook {
        let store_away = scope == Scope::Fleet && !survey.records.contains_key(key);
        let (me, now, others) = (survey.sidecar, boottime(), elsewhere(survey, key));
        let mut state = view.map_or_else(|| KeyState::free(key), |view| KeyState::new(me, view, now));
        for other in &others {
            state.add(other, survey);
        }
        let record = survey.records.get(key).filter(|_| !others.is_empty());
        let limit = record.map(|record| (record.limit != WHOLE).then_some(record.limit));
        state.limit = limit.unwrap_or(state.limit);
        let kept = others.iter().filter(|other| other.said.is_some_and(|declaration| declaration.idle));
        let kept_by: Vec<String> = kept.map(|other| other.sidecar.to_string()).collect();
        let mine = me.to_string();
        state.why = why(
            &state,
            &match scope {
                Scope::Fleet if store_away => Reach::HereAlone,
                Scope::Fleet => Reach::Fleet { me: &mine, kept_by: kept_by.first() },
                Scope::Host | Scope::Process => Reach::Here,
            },
        );
        KeyLook { state, sidecar: mine, kept_by, store_away, policies: Vec::new() }
    }

    /// With what policies did to requests for it.
    pub(crate) fn with_rulings(self, rulings: Vec<Ruling>) -> KeyLook {
        let now = boottime();
        let policies = rulings.into_iter().map(|ruling| RulingDocument::new(ruling, now)).collect();
        KeyLook { policies, ..self }
    }
}

impl KeyState {
    /// A key's state at `now`, at this sidecar.
    pub(crate) fn new(me: Incarnation, view: KeyView, now: Time) -> KeyState {
        let mut state = KeyState {
            limit: (view.limit != WHOLE).then_some(view.limit),
            holders: view.holders.into_iter().map(|holder| Holder::here(me, holder, now)).collect(),
            holders_left_out: view.holders_left_out as u64,
            waiters_left_out: view.waiters_left_out as u64,
            queue: view.waiters.into_iter().map(|waiter| Waiter::here(me, waiter, now)).collect(),
            cooling: view.cooling.map(|cooling| Cooling::here(cooling, now)),
            tenure: view.tenure.map(|tenure| Tenure::new(&tenure, now)),
            ask: view.ask.map(|ask| Ask::new(&ask, now)),
            ..KeyState::free(&view.key)
        };
        state.why = why(&state, &Reach::Here);
        state
    }

    /// The state of a key that this sidecar knows nothing about.
    fn free(key: &Key) -> KeyState {
        KeyState {
            key: key.as_str().to_owned(),
            space: key.space().name(),
            limit: None,
            holders: Vec::new(),
            holders_left_out: 0,
            queue: Vec::new(),
            waiters_left_out: 0,
            cooling: None,
            tenure: None,
            ask: None,
            why: String::new(),
        }
    }

    /// Those of another sidecar, too.
    fn add(&mut self, other: &Elsewhere<'_>, survey: &Survey) {
        let held = other.holders().into_iter().map(|held| Holder::there(other.sidecar, held, survey.at));
        self.holders.extend(held);
        let waits = other.waiters().into_iter().map(|waits| Waiter::there(other.sidecar, waits, survey.at));
        self.queue.extend(waits);
        self.holders_left_out += other.said.map_or(0, |declaration| declaration.holders_left_out.into());
        self.waiters_left_out += other.said.map_or(0, |declaration| declaration.waiters_left_out.into());
        let there = other.said.and_then(|declaration| declaration.cooling);
        let there = there.map(|cooling| Cooling::there(cooling, survey.at));
        self.cooling = match (self.cooling, there) {
            (Some(here), Some(there)) => Some(Cooling {
                permits: here.permits.saturating_add(there.permits),
                next_in: here.next_in.min(there.next_in),
            }),
            (here, there) => here.or(there),
        };
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

/// Whose holders and waiters a state shows.
enum Reach<'a> {
    /// This sidecar's: there are no others, or nobody asked about them.
    Here,
    /// This sidecar's; those of others are not known.
    HereAlone,
    /// Those of all, `me` among them; and one of the others that keeps the key at hand.
    Fleet { me: &'a str, kept_by: Option<&'a String> },
}

/// One sentence for the person who waits. A retained tenure is no holder (P10).
fn why(state: &KeyState, reach: &Reach<'_>) -> String {
    let waiting = match state.queue.len() as u64 + state.waiters_left_out {
        0 => String::new(),
        1 => "; one waits".to_owned(),
        n => format!("; {n} wait"),
    };
    let known = state.holders.iter().find(|holder| holder.who.known);
    if let Some(first) = known.or(state.holders.first()) {
        let others = match state.holders.len() as u64 - 1 + state.holders_left_out {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let (who, mode) = (&first.who, first.who.mode);
        let Some(span) = first.held_for else {
            let sidecar = &who.sidecar;
            return format!(
                "the sidecar {sidecar:.8}{others} has it ({mode}) and did not say for whom{waiting}"
            );
        };
        let how = if first.reserved { "reserved for lock_all" } else { "held" };
        return format!("{how} ({mode}) by {}{others} for {span:.1} s{waiting}", name_of(who, reach));
    }
    if state.holders_left_out > 0 {
        return format!("{} hold it{waiting}", state.holders_left_out);
    }
    if let Some(Cooling { permits, next_in }) = state.cooling {
        let limit = state.limit.unwrap_or(permits);
        return format!(
            "{permits} of {limit} permits come back by the clock, the next in {next_in:.1} s{waiting}"
        );
    }
    if let Some(ask) = &state.ask {
        return format!("{}{waiting}", asked(ask, reach));
    }
    match (&state.tenure, reach) {
        (Some(tenure), _) if tenure.idle => {
            "free; this sidecar keeps it at hand for its next request".to_owned()
        }
        (_, Reach::Fleet { kept_by: Some(sidecar), .. }) => {
            format!("free; the sidecar {sidecar:.8} keeps it at hand for its next request{waiting}")
        }
        (_, Reach::Fleet { kept_by: None, .. }) => format!("nobody holds it{waiting}"),
        (_, Reach::Here) => format!("nobody holds it at this sidecar{waiting}"),
        (_, Reach::HereAlone) => {
            format!("nobody holds it at this sidecar; the store is away, so others are not known{waiting}")
        }
    }
}

/// Nobody is known to hold it, and the sidecar waits for it.
fn asked(ask: &Ask, reach: &Reach<'_>) -> String {
    let queue = match ask.ahead {
        Some(0) => ", and this sidecar is next in the store's queue".to_owned(),
        Some(n) => format!(", and {n} are ahead of this sidecar in the store's queue"),
        None => String::new(),
    };
    match (&ask.holder, reach) {
        // It was in the way when the store was asked, and has said since that it is not.
        (_, Reach::Fleet { .. }) | (None, _) => {
            format!("asked of the store, which has not granted it yet{queue}")
        }
        (Some(holder), _) => format!("the sidecar {holder} holds it{queue}"),
    }
}

fn name_of(who: &Who, reach: &Reach<'_>) -> String {
    let at = match reach {
        Reach::Fleet { me, .. } if *me != who.sidecar => format!(" at the sidecar {:.8}", who.sidecar),
        _ => String::new(),
    };
    let app = who.app.as_deref().filter(|app| !app.is_empty()).unwrap_or("a client");
    let uid = who.uid.unwrap_or_default();
    match &who.owner {
        Some(owner) => format!("{app} (uid {uid}, owner {owner}){at}"),
        None => format!("{app} (uid {uid}){at}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::view::HolderView;
    use sidelock_engine::{Mode, SessionId};
    use std::time::Duration;

    const ME: Incarnation = Incarnation(1);

    fn free() -> KeyView {
        KeyView {
            key: Key::new("orders/42").expect("is a key"),
            limit: WHOLE,
            holders: Vec::new(),
            holders_left_out: 0,
            waiters: Vec::new(),
            waiters_left_out: 0,
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
        let json = serde_json::to_value(KeyState::new(ME, held(), now)).expect("is plain data");
        assert_eq!(json["holders"][0]["ref"], "000000ab");
        assert_eq!(json["holders"][0]["held_for"], 4.0);
        assert_eq!(json["holders"][0]["expires_in"], 6.0);
        assert_eq!(json["limit"], serde_json::Value::Null);
        assert_eq!(json["why"], "held (exclusive) by billing (uid 1000) for 4.0 s");
    }

    #[test]
    fn a_crowd_is_counted_where_it_is_not_shown() {
        let view = KeyView { holders_left_out: 7, waiters_left_out: 9, ..held() };
        let json = serde_json::to_value(KeyState::new(ME, view, Time::ZERO)).expect("is plain data");
        assert_eq!((&json["holders_left_out"], &json["waiters_left_out"]), (&7.into(), &9.into()));
        let why = json["why"].as_str().expect("a sentence");
        assert!(why.contains("and 7 more") && why.ends_with("; 9 wait"), "{why}");
    }

    #[test]
    fn a_retained_tenure_is_no_holder() {
        let id = sidelock_engine::AskId { incarnation: Incarnation(1), seq: 1 };
        let tenure = TenureView { id, units: WHOLE, deadline: Time::ZERO, idle: true, recalled: false };
        let state = KeyState::new(ME, KeyView { tenure: Some(tenure), ..free() }, Time::ZERO);
        assert!(state.holders.is_empty());
        assert!(state.why.starts_with("free"), "{}", state.why);
    }

    #[test]
    fn a_reservation_is_shown_as_one() {
        let mut view = held();
        view.holders[0].reserved = true;
        let json = serde_json::to_value(KeyState::new(ME, view, Time::ZERO)).expect("is plain data");
        assert_eq!(json["holders"][0]["reserved"], true);
        assert!(
            json["why"].as_str().expect("a sentence").starts_with("reserved for lock_all (exclusive) by")
        );
    }

    #[test]
    fn units_of_a_rate_are_shown_on_their_way_back() {
        let next = Time::ZERO + Duration::from_secs(5);
        let view = KeyView { limit: 9, cooling: Some((3, next)), ..free() };
        let json = serde_json::to_value(KeyState::new(ME, view, Time::ZERO)).expect("is plain data");
        assert_eq!(json["cooling"], serde_json::json!({"permits": 3, "next_in": 5.0}));
        assert_eq!(json["why"], "3 of 9 permits come back by the clock, the next in 5.0 s");
    }

    #[test]
    fn a_remote_holder_is_named() {
        let id = sidelock_engine::AskId { incarnation: Incarnation(1), seq: 1 };
        let ask = AskView { id, ahead: Some(2), holder: Some(Incarnation(0xbeef)), since: Time::ZERO };
        let why = KeyState::new(ME, KeyView { ask: Some(ask), ..free() }, Time::ZERO).why;
        assert!(why.contains("beef holds it") && why.contains("2 are ahead"), "{why}");
    }
}
