//! What clients were told, and what must be true of it.
//!
//! Owns the clients' side of the story: who asked what under which number, who believes to hold what until when. Knows
//! nothing of the engine's state, so that it can not repeat its mistakes. One clock for all, without drift: a lease counts
//! as held until the last deadline told, to the nanosecond, unless its client gave it back or heard that it is lost.

use crate::Marks;
use sidelock_engine::{
    Acquire, Fence, Grant, Key, LeaseName, LeaseSecret, LostReason, Mode, NewMode, Notice, Owner, Refusal,
    Reply, RequestId, SessionId, Time,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// A session's leases are lost after so long without a sign of life.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of one number of one session.
#[derive(Default)]
struct Asked {
    sent: u32,
    answers: u32,
    acquires: Vec<Wanted>,
    /// Leases that an upgrade under this number named.
    upgrades: Vec<LeaseName>,
    /// Leases that a renewal, a release or a change under this number named, and whether they were the speaker's own.
    named: Vec<(LeaseName, bool)>,
    cancels: u32,
    /// Its last acquire was cancelled, and that was acknowledged.
    cancelled: bool,
}

/// What an acquire asked for.
struct Wanted {
    key: Key,
    mode: Mode,
    owner: Option<Owner>,
    reentrant: bool,
}

/// A lease by one of its names: an owner that entered what it held has it once more, with the same token.
struct Lease {
    session: SessionId,
    request: RequestId,
    key: Key,
    /// As whom its session asked, if it said so: one of these.
    owners: Vec<Owner>,
    mode: Mode,
    fence: Fence,
    until: Time,
    cap: Time,
    secret: Option<LeaseSecret>,
    /// The share that it was before it was upgraded: what a cancel leaves of it.
    share: Option<Box<Lease>>,
}

/// A session, as its client sees it.
pub(super) struct Client {
    pub(super) uid: u32,
    pub(super) is_connected: bool,
    /// It was cut off once: what it had asked may be unanswered for ever.
    was_cut: bool,
    seen: Time,
}

/// The account.
#[derive(Default)]
pub(super) struct Book {
    pub(super) clients: HashMap<SessionId, Client>,
    asked: BTreeMap<(SessionId, RequestId), Asked>,
    leases: Vec<Lease>,
    /// For each key and number of units, the highest token; and all tokens.
    highest: HashMap<Key, Vec<(Mode, Fence)>>,
    tokens: HashMap<Key, BTreeSet<Fence>>,
    owners: HashMap<LeaseSecret, u32>,
}

impl Book {
    pub(super) fn opened(&mut self, session: SessionId, uid: u32, now: Time) {
        self.clients.insert(session, Client { uid, is_connected: true, was_cut: false, seen: now });
    }

    /// The client hung up: what ends with the session ends.
    pub(super) fn left(&mut self, session: SessionId) {
        self.leases.retain(|lease| lease.session != session || lease.secret.is_some());
        self.disconnected(session);
    }

    /// The sidecar hung up, or died: what was told last stands.
    pub(super) fn disconnected(&mut self, session: SessionId) {
        let client = self.clients.get_mut(&session).expect("a client of this story");
        client.is_connected = false;
        client.was_cut = true;
    }

    pub(super) fn resumed(&mut self, session: SessionId, now: Time) {
        let client = self.clients.get_mut(&session).expect("a client of this story");
        client.is_connected = true;
        client.seen = now;
    }

    pub(super) fn seen(&mut self, session: SessionId, now: Time) {
        self.clients.get_mut(&session).expect("a client of this story").seen = now;
    }

    fn asked(&mut self, session: SessionId, request: RequestId) -> &mut Asked {
        let asked = self.asked.entry((session, request)).or_default();
        asked.sent += 1;
        asked
    }

    pub(super) fn acquires(&mut self, acquire: &Acquire) {
        let Acquire { key, mode, owner, reentrant, .. } = acquire;
        let (key, mode, owner, reentrant) = (key.clone(), *mode, owner.clone(), *reentrant);
        let asked = self.asked(acquire.session, acquire.request);
        asked.acquires.push(Wanted { key, mode, owner, reentrant });
        asked.cancelled = false;
    }

    /// From here on its client uses no lease of that acquire, and expects none.
    pub(super) fn cancels(&mut self, session: SessionId, request: RequestId) {
        self.asked(session, request).cancels += 1;
        self.void(session, request);
    }

    /// A grant under this number counts as none; of an upgrade the share stays.
    fn void(&mut self, session: SessionId, request: RequestId) {
        let granted = |lease: &Lease| (lease.session, lease.request) == (session, request);
        while let Some(index) = self.leases.iter().position(granted) {
            let lease = self.leases.swap_remove(index);
            self.leases.extend(lease.share.map(|share| Lease {
                until: lease.until,
                cap: lease.cap,
                ..*share
            }));
        }
    }

    /// A downgrade counts from here on, an upgrade once it is granted.
    pub(super) fn changes(&mut self, session: SessionId, request: RequestId, name: LeaseName, to: NewMode) {
        let own = self.may_speak(session, name);
        let asked = self.asked(session, request);
        asked.named.push((name, own));
        match to {
            NewMode::Exclusive { .. } => asked.upgrades.push(name),
            NewMode::Shared => {
                let named = self.leases.iter().position(|lease| own && lease.is(session, name));
                // What was entered more than once stays as it is.
                if let Some(index) = named.filter(|&index| self.handles(index).count() == 1) {
                    let lease = &mut self.leases[index];
                    if lease.mode == Mode::Exclusive {
                        lease.mode = Mode::Shared;
                        lease.share = None;
                    }
                }
            }
        }
    }

    pub(super) fn renews(&mut self, session: SessionId, request: RequestId, name: LeaseName) {
        let own = self.may_speak(session, name);
        self.asked(session, request).named.push((name, own));
    }

    /// From here on its holder, if it is that, uses the lease no more.
    pub(super) fn releases(&mut self, session: SessionId, request: RequestId, name: LeaseName) {
        let own = self.may_speak(session, name);
        self.asked(session, request).named.push((name, own));
        if own {
            self.leases.retain(|lease| !lease.is(session, name));
        }
    }

    /// All names of this lease.
    fn handles(&self, of: usize) -> impl Iterator<Item = usize> + '_ {
        let of = &self.leases[of];
        (0..self.leases.len()).filter(move |&index| self.leases[index].is_same(of))
    }

    /// Whether the lease of that name is, or was, the speaker's (S4).
    fn may_speak(&self, session: SessionId, name: LeaseName) -> bool {
        match name {
            LeaseName::Session(_) => true,
            LeaseName::Timed(secret) => self.owners.get(&secret) == Some(&self.clients[&session].uid),
        }
    }

    /// The gate refused a request.
    pub(super) fn refused_at_the_gate(&mut self, session: SessionId, request: RequestId) {
        self.asked(session, request).answers += 1;
    }

    /// An answer of the engine. `confirmed`: until when the store gave the sidecar a tenure of that key.
    pub(super) fn answered(
        &mut self,
        session: SessionId,
        request: RequestId,
        reply: &Reply,
        now: Time,
        confirmed: impl Fn(&Key) -> Time,
        marks: &mut Marks,
    ) {
        let who = format!("session {} request {}: {reply:?}", session.0, request.0);
        let asked = self.asked.get_mut(&(session, request)).unwrap_or_else(|| panic!("nobody asked: {who}"));
        asked.answers += 1;
        assert!(asked.answers <= asked.sent, "answered more often than asked: {who}");
        let trespass =
            !asked.named.is_empty() && asked.acquires.is_empty() && asked.named.iter().all(|(_, own)| !own);
        match reply {
            Reply::Granted(grant)
                if self.leases.iter().any(|lease| lease.is_granted_again(session, grant)) =>
            {
                assert!(!asked.cancelled, "after its cancel: {who}");
                assert!(grant.deadline <= confirmed(&grant.key), "longer than the store confirmed: {who}");
                self.entered(session, request, grant, now);
                marks.saw(format!("entered {} again", grant.mode.name()));
            }
            Reply::Granted(grant) => {
                let names = asked.upgrades.clone();
                let is_share = |lease: &Lease| {
                    lease.key == grant.key
                        && lease.mode == Mode::Shared
                        && names.iter().any(|name| lease.is(session, *name))
                };
                let share = self.leases.iter().position(is_share).filter(|_| grant.mode == Mode::Exclusive);
                let asked_for = asked.acquires.iter().any(|wanted| wanted.is(grant));
                assert!(asked_for || share.is_some(), "never asked for: {who}");
                assert!(!asked.cancelled, "after its cancel: {who}");
                assert!(grant.deadline <= confirmed(&grant.key), "longer than the store confirmed: {who}");
                let share = share.map(|index| Box::new(self.leases.swap_remove(index)));
                self.granted(session, request, grant, share, now);
                marks.saw(format!("granted {} by {:?}", grant.mode.name(), grant.path));
            }
            Reply::GrantedAll(_) => panic!("nobody asks for several keys: {who}"),
            Reply::Cancelled => {
                asked.cancelled = true;
                // Granted in the same breath, before the cancel was looked at: it is void.
                self.void(session, request);
                marks.saw("cancelled");
            }
            Reply::Refused(refusal) => marks.saw(refused(refusal)),
            Reply::Unlocked(_) => panic!("no frame orders it: {who}"),
            Reply::Register(_) | Reply::Unchanged => marks.saw("register read"),
            Reply::Written(_) | Reply::Deleted => marks.saw("register written"),
            Reply::Done(_) => marks.saw("done"),
            Reply::Finished(_) => {
                assert!(!trespass, "somebody else's turn: {who}");
                let named: Vec<_> =
                    asked.named.iter().filter(|(_, own)| *own).map(|(name, _)| *name).collect();
                self.leases.retain(|lease| !named.iter().any(|name| lease.is(session, *name)));
                marks.saw("finished");
            }
            Reply::Released => {
                assert!(!trespass, "somebody else's lease: {who}");
                let named: Vec<_> =
                    asked.named.iter().filter(|(_, own)| *own).map(|(name, _)| *name).collect();
                self.leases.retain(|lease| !named.iter().any(|name| lease.is(session, *name)));
                marks.saw("released");
            }
            Reply::Downgraded { fence, .. } => {
                assert!(!trespass, "somebody else's lease: {who}");
                let names: Vec<LeaseName> = asked.named.iter().map(|(name, _)| *name).collect();
                let own = |lease: &&Lease| names.iter().any(|name| lease.is(session, *name));
                let kept = self.leases.iter().filter(own).all(|lease| lease.fence == *fence);
                assert!(kept || names.len() > 1, "another fence: {who}");
                marks.saw("downgraded");
            }
            Reply::Renewed { deadline, cap, fence } => {
                assert!(!trespass, "somebody else's lease: {who}");
                assert!(*deadline > now, "renewed to the past: {who}");
                let names: Vec<LeaseName> = asked.named.iter().map(|(name, _)| *name).collect();
                let named = |lease: &Lease| {
                    lease.fence == *fence && names.iter().any(|name| lease.is(session, *name))
                };
                let named: Vec<usize> =
                    (0..self.leases.len()).filter(|&index| named(&self.leases[index])).collect();
                let handles: BTreeSet<usize> =
                    named.into_iter().flat_map(|index| self.handles(index).collect::<Vec<_>>()).collect();
                for index in handles {
                    let lease = &mut self.leases[index];
                    assert!(*deadline <= confirmed(&lease.key), "longer than the store confirmed: {who}");
                    (lease.until, lease.cap) = (*deadline, cap.unwrap_or(Time::MAX));
                }
                marks.saw("renewed");
            }
        }
    }

    fn granted(
        &mut self,
        session: SessionId,
        request: RequestId,
        grant: &Grant,
        share: Option<Box<Lease>>,
        now: Time,
    ) {
        let Grant { key, mode, fence, deadline, cap, secret, .. } = grant;
        let client = &self.clients[&session];
        assert!(client.is_connected, "granted to nobody: {grant:?}");
        assert!(*deadline > now, "granted without time: {grant:?}");
        assert!(*fence < 1 << 53, "a token that a double can not hold: {grant:?}");
        assert!(self.tokens.entry(key.clone()).or_default().insert(*fence), "a token twice: {grant:?}");
        let others = self.leases.iter().filter(|lease| lease.key == *key && lease.until > now);
        let tokens = others.clone().map(|lease| (lease.fence, u64::from(lease.mode.units())));
        let held: u64 = tokens.collect::<BTreeMap<_, _>>().values().sum();
        let limits_agree = others.clone().all(|lease| lease.mode.limit() == mode.limit());
        assert!(
            limits_agree && held + u64::from(mode.units()) <= u64::from(mode.limit()),
            "{grant:?} beside {:?}",
            others.map(|lease| (lease.mode, lease.fence, lease.until, lease.session)).collect::<Vec<_>>()
        );
        let highest = self.highest.entry(key.clone()).or_default();
        let conflicts = |earlier: Mode| {
            earlier.limit() != mode.limit()
                || u64::from(earlier.units()) + u64::from(mode.units()) > u64::from(mode.limit())
        };
        let above = highest.iter().filter(|(earlier, _)| conflicts(*earlier)).map(|(_, fence)| *fence).max();
        assert!(above.is_none_or(|above| *fence > above), "{grant:?} after {above:?}");
        match highest.iter_mut().find(|(earlier, _)| earlier == mode) {
            Some((_, highest)) => *highest = (*highest).max(*fence),
            None => highest.push((*mode, *fence)),
        }
        if let Some(secret) = secret {
            self.owners.insert(*secret, client.uid);
        }
        let (key, cap) = (key.clone(), cap.unwrap_or(Time::MAX));
        let asked = self.asked[&(session, request)].acquires.iter().filter(|wanted| wanted.is(grant));
        let owners = match &share {
            Some(share) => share.owners.clone(),
            None => asked.filter_map(|wanted| wanted.owner.clone()).collect(),
        };
        let lease = Lease {
            session,
            request,
            key,
            owners,
            mode: *mode,
            fence: *fence,
            until: *deadline,
            cap,
            secret: *secret,
            share,
        };
        self.leases.push(lease);
    }

    /// A token that was given out before: one more name of that lease, for its owner, who asked with leave (P16).
    fn entered(&mut self, session: SessionId, request: RequestId, grant: &Grant, now: Time) {
        let first = self.leases.iter().find(|lease| lease.is_granted_again(session, grant));
        let first = first.expect("a lease that was entered");
        assert!(self.clients[&session].is_connected, "granted to nobody: {grant:?}");
        assert!(first.until > now && grant.deadline > now, "entered, but it is over: {grant:?}");
        assert!(first.mode == grant.mode, "entered as {:?}: {grant:?}", first.mode);
        let has_leave = |wanted: &Wanted| {
            let is_owner = wanted.owner.as_ref().is_some_and(|owner| first.owners.contains(owner));
            let is_enough = wanted.mode == first.mode || wanted.mode == Mode::Shared;
            wanted.reentrant && wanted.key == first.key && is_owner && is_enough
        };
        assert!(
            self.asked[&(session, request)].acquires.iter().any(has_leave),
            "a token twice, without leave: {grant:?}"
        );
        assert!(first.secret.is_some() == grant.secret.is_some(), "it lives in another way: {grant:?}");
        assert!(first.cap == grant.cap.unwrap_or(Time::MAX), "another end than {:?}: {grant:?}", first.cap);
        let lease = Lease {
            session,
            request,
            key: first.key.clone(),
            owners: first.owners.clone(),
            mode: first.mode,
            fence: first.fence,
            until: grant.deadline,
            cap: first.cap,
            secret: grant.secret,
            share: None,
        };
        if let Some(secret) = grant.secret {
            self.owners.insert(secret, self.clients[&session].uid);
        }
        for handle in self.leases.iter_mut().filter(|other| other.is_same(&lease)) {
            // An upgrade that was entered is not taken back any more.
            (handle.until, handle.share) = (handle.until.max(grant.deadline), None);
        }
        self.leases.push(lease);
    }

    /// Something that a session is told unasked.
    pub(super) fn noticed(
        &mut self,
        session: SessionId,
        notice: &Notice,
        confirmed: impl Fn(&Key) -> Time,
        marks: &mut Marks,
    ) {
        let Some(client) = self.clients.get(&session).filter(|client| client.is_connected) else { return };
        let alive_until = client.seen + PATIENCE;
        let of_session = |lease: &&mut Lease| lease.session == session && lease.secret.is_none();
        match notice {
            Notice::Queued { .. } => marks.saw("queued"),
            Notice::Extended { until, except } => {
                assert!(*until <= alive_until, "{notice:?} to a client last heard at {:?}", client.seen);
                for lease in self.leases.iter_mut().filter(of_session) {
                    if !except.contains(&lease.request) {
                        let told = (*until).min(lease.cap);
                        assert!(
                            told <= confirmed(&lease.key).max(lease.until),
                            "{notice:?} for {:?}",
                            lease.key
                        );
                        lease.until = lease.until.max(told);
                    }
                }
                marks.saw(if except.is_empty() { "extended" } else { "extended, not all" });
            }
            Notice::AtRisk { .. } => marks.saw("at risk"),
            Notice::Lost { request, reason } => {
                self.leases.retain(|lease| {
                    lease.session != session || lease.request != *request || lease.secret.is_some()
                });
                marks.saw(lost(*reason));
            }
            Notice::Draining => marks.saw("draining"),
        }
    }

    /// Numbers of this session that have fewer answers than they were sent.
    pub(super) fn unanswered(&self, session: SessionId) -> Vec<RequestId> {
        let numbers = self.asked.range((session, RequestId(0))..=(session, RequestId(u64::MAX)));
        numbers.filter(|(_, asked)| asked.answers < asked.sent).map(|((_, request), _)| *request).collect()
    }

    /// Everybody who was never sent away has been answered; an acquire and its cancel may have had one answer together.
    pub(super) fn is_settled(&self, session: SessionId) {
        if self.clients[&session].was_cut {
            return;
        }
        for request in self.unanswered(session) {
            let asked = &self.asked[&(session, request)];
            assert!(
                asked.answers + asked.cancels >= asked.sent,
                "session {} request {}: no answer",
                session.0,
                request.0
            );
        }
    }
}

impl Wanted {
    fn is(&self, grant: &Grant) -> bool {
        (&self.key, self.mode) == (&grant.key, grant.mode)
    }
}

impl Lease {
    /// Whether this is another name of it.
    fn is_same(&self, other: &Lease) -> bool {
        self.fence == other.fence && self.key == other.key
    }

    /// Whether this grant is of what its session has already.
    fn is_granted_again(&self, session: SessionId, grant: &Grant) -> bool {
        self.session == session && self.fence == grant.fence && self.key == grant.key
    }

    /// Whether this session means it by this name.
    fn is(&self, session: SessionId, name: LeaseName) -> bool {
        match name {
            LeaseName::Session(request) => (self.session, self.request) == (session, request),
            LeaseName::Timed(secret) => self.secret == Some(secret),
        }
    }
}

fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::LeaseLost(reason) => format!("refused: {}", lost(*reason)),
        Refusal::BadRequest(text) => format!("refused: {text}"),
        other => format!("refused: {}", format!("{other:?}").split(' ').next().unwrap_or_default()),
    }
}

fn lost(reason: LostReason) -> String {
    format!("lost by {}", reason.name())
}
