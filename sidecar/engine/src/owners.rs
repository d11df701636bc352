//! Owners: the sequential actors that requests name, and what each of them holds and waits for.
//!
//! Owns who is an owner, and that an owner does one thing after another (P14). An owner is known as long as it holds or
//! waits. A request that names nobody never comes here. Must not know who blocks whom: that is `deadlock`.

use crate::effect::Refusal;
use crate::engine::{Engine, give_empty_room_back, give_room_back};
use crate::input::Acquire;
use crate::lease::Lease;
use crate::model::{Owner, SessionId, StoreTime};
use crate::mutant::Mutant;
use foldhash::fast::RandomState;
use slab::Slab;
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::num::NonZeroU32;

/// Who an owner is: a name means something within one connection, or within one user where connections mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum OwnerId {
    Session(SessionId, Owner),
    Uid(u32, Owner),
}

impl OwnerId {
    pub(crate) fn name(&self) -> &Owner {
        let (OwnerId::Session(_, name) | OwnerId::Uid(_, name)) = self;
        name
    }
}

/// Unlike any other of this sidecar.
impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnerId::Session(session, name) => write!(f, "{}@{}", name.0, session.0),
            OwnerId::Uid(uid, name) => write!(f, "{}@uid {uid}", name.0),
        }
    }
}

/// Stands for an owner as long as it holds or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OwnerNo(NonZeroU32);

impl OwnerNo {
    fn new(index: usize) -> OwnerNo {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        OwnerNo(number.expect("memory ends before the numbers do"))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// What an owner waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// This waiter.
    Request(usize),
}

/// One owner.
pub(crate) struct Actor {
    pub(crate) id: OwnerId,
    pub(crate) leases: Belongings,
    pub(crate) wait: Option<Wait>,
    /// When its wait began, by the store's clock: the same wherever it is told. Later than any wait before it here.
    pub(crate) since: StoreTime,
}

impl Actor {
    /// It holds and waits: only then can anybody wait for it in a circle.
    fn is_entangled(&self) -> bool {
        self.wait.is_some() && !self.leases.is_empty()
    }
}

/// The leases of an owner, in no order. Most have one or two; a thread that guards a table has one for each row.
#[derive(Default)]
pub(crate) struct Belongings {
    few: SmallVec<[usize; 2]>,
    many: BTreeSet<usize>,
}

/// Beyond so many, leases are found by their number instead of being looked through.
const FEW_MAX: usize = 32;

impl Belongings {
    fn add(&mut self, lease: usize) {
        match self.few.len() < FEW_MAX {
            true => self.few.push(lease),
            false => drop(self.many.insert(lease)),
        }
    }

    fn remove(&mut self, lease: usize) {
        match self.few.iter().position(|held| *held == lease) {
            Some(at) => drop(self.few.swap_remove(at)),
            None => drop(self.many.remove(&lease)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.few.iter().chain(&self.many).copied()
    }
}

/// All owners.
#[derive(Default)]
pub(crate) struct Owners {
    by_id: HashMap<OwnerId, OwnerNo, RandomState>,
    all: Slab<Actor>,
    waiting: BTreeSet<OwnerNo>,
    entangled: usize,
    /// Of the last wait.
    latest: StoreTime,
}

impl Owners {
    pub(crate) fn find(&self, id: &OwnerId) -> Option<OwnerNo> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn get(&self, owner: OwnerNo) -> &Actor {
        &self.all[owner.index()]
    }

    pub(crate) fn name(&self, owner: OwnerNo) -> &Owner {
        self.get(owner).id.name()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Owners that wait, in no order that means anything.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = OwnerNo> + '_ {
        self.waiting.iter().copied()
    }

    /// Owners that hold something and wait for something else.
    pub(crate) fn entangled(&self) -> usize {
        self.entangled
    }

    /// It begins to wait, by our guess at the store's clock. It does not wait already.
    ///
    /// The guess goes back when an answer travelled longer than the one before; whoever came last must not.
    pub(crate) fn waits(&mut self, id: OwnerId, wait: Wait, guess: StoreTime) -> OwnerNo {
        let since = guess.max(StoreTime(self.latest.0 + 1));
        self.latest = since;
        let owner = match self.find(&id) {
            Some(owner) => owner,
            None => {
                let actor = Actor { id: id.clone(), leases: Belongings::default(), wait: None, since };
                let owner = OwnerNo::new(self.all.insert(actor));
                self.by_id.insert(id, owner);
                owner
            }
        };
        self.change(owner, |actor| (actor.wait, actor.since) = (Some(wait), since));
        owner
    }

    /// It has this lease now.
    pub(crate) fn holds(&mut self, owner: OwnerNo, lease: usize) {
        self.change(owner, |actor| actor.leases.add(lease));
    }

    /// It got what it waited for, or gave up. Said after [`Owners::holds`], or it might be forgotten in between.
    pub(crate) fn stops_waiting(&mut self, owner: OwnerNo) {
        self.change(owner, |actor| actor.wait = None);
    }

    /// It has this lease no longer.
    pub(crate) fn lets_go(&mut self, owner: OwnerNo, lease: usize) {
        self.change(owner, |actor| actor.leases.remove(lease));
    }

    /// Every change ends here: who neither holds nor waits is forgotten.
    fn change(&mut self, owner: OwnerNo, change: impl FnOnce(&mut Actor)) {
        let actor = &mut self.all[owner.index()];
        let before = actor.is_entangled();
        change(actor);
        self.entangled -= usize::from(before);
        self.entangled += usize::from(actor.is_entangled());
        match actor.wait {
            Some(_) => self.waiting.insert(owner),
            None => self.waiting.remove(&owner),
        };
        if actor.wait.is_none() && actor.leases.is_empty() {
            let actor = self.all.remove(owner.index());
            self.by_id.remove(&actor.id);
        }
    }

    /// What a crowd needed goes back when the crowd is gone (H16).
    pub(crate) fn give_room_back(&mut self) {
        give_room_back(&mut self.by_id);
        give_empty_room_back(&mut self.all);
    }
}

impl Engine {
    /// What an owner holds that others may have to wait for. Units of a rate come back in time, whatever it does, and so
    /// does a turn whose finish is under way.
    pub(crate) fn bound_by(&self, owner: OwnerNo) -> impl Iterator<Item = &Lease> {
        self.bound(self.owners.get(owner).leases.iter())
    }

    /// The same of one key.
    pub(crate) fn bound_there(&self, owner: OwnerNo, resource: usize) -> impl Iterator<Item = &Lease> {
        self.bound(self.held_there(owner, resource))
    }

    /// Leases of this owner for this key: looked for among its own, or among all of the key, whichever are fewer.
    pub(crate) fn held_there(&self, owner: OwnerNo, resource: usize) -> impl Iterator<Item = usize> {
        let (own, all) = (&self.owners.get(owner).leases, &self.resources[resource].live);
        let few = own.len() <= all.len();
        let own = own.iter().take(if few { usize::MAX } else { 0 });
        let all = all.iter().take(if few { 0 } else { usize::MAX });
        let (own, all) = (
            own.filter(move |&lease| self.leases[lease].resource == resource),
            all.filter(move |&lease| self.leases[lease].owner() == Some(owner)),
        );
        own.chain(all)
    }

    fn bound<'a>(&'a self, leases: impl Iterator<Item = usize> + 'a) -> impl Iterator<Item = &'a Lease> + 'a {
        let ignored = Mutant::ReservationsIgnored.is(self.config.mutant);
        let leases = leases.filter(|&lease| !self.is_finishing(lease)).map(|lease| &self.leases[lease]);
        leases.filter(move |lease| lease.rate().is_none() && !(ignored && lease.group().is_some()))
    }

    /// On whose behalf a request comes, if it says so. One that waits already can not ask for more.
    pub(crate) fn owner_of(&self, acquire: &Acquire) -> Result<Option<OwnerId>, Refusal> {
        let id = self.idle_owner(acquire)?;
        // It has all that it asked for at once but the store's word: it waits for that.
        match id.as_ref().is_some_and(|id| self.has_reserved_all(id)) {
            true => Err(it_waits()),
            false => Ok(id),
        }
    }

    /// … as far as it stands in no queue.
    pub(crate) fn idle_owner(&self, acquire: &Acquire) -> Result<Option<OwnerId>, Refusal> {
        let Some(name) = acquire.owner.clone() else { return Ok(None) };
        let session = self.sessions.get(&acquire.session);
        let id = match session {
            Some(session) => session.owner_id(acquire.session, name),
            None => OwnerId::Session(acquire.session, name),
        };
        match self.owners.find(&id).map(|owner| self.owners.get(owner)) {
            Some(actor) if actor.wait.is_some() => Err(it_waits()),
            _ => Ok(Some(id)),
        }
    }
}

fn it_waits() -> Refusal {
    Refusal::BadRequest(
        "`owner`: it waits already, and an owner does one thing after another: let it, or name another owner",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> OwnerId {
        OwnerId::Session(SessionId(1), Owner(name.into()))
    }

    #[test]
    fn an_owner_is_known_as_long_as_it_holds_or_waits() {
        let mut owners = Owners::default();
        let owner = owners.waits(id("a"), Wait::Request(7), StoreTime(1));
        assert_eq!((owners.find(&id("a")), owners.entangled()), (Some(owner), 0));
        owners.holds(owner, 1);
        owners.stops_waiting(owner);
        assert_eq!(owners.waits(id("a"), Wait::Request(8), StoreTime(2)), owner);
        assert_eq!(owners.entangled(), 1);
        owners.lets_go(owner, 1);
        assert_eq!((owners.entangled(), owners.get(owner).wait), (0, Some(Wait::Request(8))));
        owners.stops_waiting(owner);
        assert_eq!((owners.find(&id("a")), owners.all.len()), (None, 0));
    }

    #[test]
    fn who_comes_later_has_waited_since_later_whatever_the_guess_at_the_clock() {
        let mut owners = Owners::default();
        let since = [StoreTime(50), StoreTime(20), StoreTime(50), StoreTime(90)].map(|guess| {
            let owner = owners.waits(id(&guess.0.to_string()), Wait::Request(0), guess);
            let since = owners.get(owner).since;
            owners.stops_waiting(owner);
            since
        });
        assert_eq!(since, [50, 51, 52, 90].map(StoreTime));
    }

    #[test]
    fn a_name_means_something_else_in_every_session_and_for_every_user() {
        let mut owners = Owners::default();
        let name = || Owner("same".into());
        let ids = [
            OwnerId::Session(SessionId(1), name()),
            OwnerId::Session(SessionId(2), name()),
            OwnerId::Uid(1, name()),
        ];
        let numbers = ids.map(|id| owners.waits(id, Wait::Request(0), StoreTime(1)));
        assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2] && numbers[0] != numbers[2]);
        assert_eq!(owners.name(numbers[2]), &name());
    }
}
