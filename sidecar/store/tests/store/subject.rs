//! What a store looks like to a case, and short words for operations and expectations.

use sidelock_engine::store::{
    Ask, GiveBack, Op, Push, Queued, REFUSE_AFTER, Renew, Reply, Return, Tenancy, Wake, Withdraw,
};
use sidelock_engine::{AskId, Incarnation, Key, StoreTime, WHOLE};
use sidelock_store::Memory;
use sidelock_store::strict::Terms;
use std::time::Duration;

/// A case: its name and what it does.
pub(crate) type Case = (&'static str, fn(&mut dyn Subject));

/// Makes a list of cases out of functions.
#[macro_export]
macro_rules! cases {
    ($($case:ident),* $(,)?) => { &[$((stringify!($case), $case)),*] };
}

/// An operation that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub at: StoreTime,
    pub reply: Reply,
    pub wakes: Vec<Wake>,
}

/// A store under test.
pub(crate) trait Subject {
    fn apply(&mut self, op: &Op) -> Done;
    /// The store's clock now.
    fn now(&mut self) -> StoreTime;
    /// Lets the store's clock run.
    fn wait(&mut self, span: Duration);
    fn flush(&mut self);
    /// Keys with a record.
    fn keys(&mut self) -> usize;
}

/// The memory store on a clock that only runs when told.
pub(crate) struct MemorySubject {
    pub(crate) store: Memory,
    /// Where it is strict.
    terms: Option<Terms>,
    now: StoreTime,
}

impl MemorySubject {
    pub(crate) fn new(terms: Option<Terms>) -> MemorySubject {
        MemorySubject { store: Memory::default(), terms, now: StoreTime(1_700_000_000_000_000) }
    }
}

impl Subject for MemorySubject {
    fn apply(&mut self, op: &Op) -> Done {
        self.now = self.now + Duration::from_micros(40);
        let (reply, wakes) = match &self.terms {
            None => self.store.apply(self.now, op),
            Some(terms) => self.store.apply_strictly(self.now, op, terms),
        };
        Done { at: self.now, reply, wakes }
    }

    fn now(&mut self) -> StoreTime {
        self.now
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    fn flush(&mut self) {
        self.store.flush();
    }

    fn keys(&mut self) -> usize {
        self.store.keys()
    }
}

pub(crate) const TTL: Duration = Duration::from_secs(10);
pub(crate) const ENTRY_TTL: Duration = Duration::from_secs(3);
/// Short enough to wait for, where nothing is asked of it before it is over.
pub(crate) const SHORT: Duration = Duration::from_millis(40);
pub(crate) const AFTER_SHORT: Duration = Duration::from_millis(50);
/// Long enough to be there for the next operations on a busy machine too; exact instants are `instants.rs`' business.
pub(crate) const BRIEF: Duration = Duration::from_millis(250);
pub(crate) const AFTER_BRIEF: Duration = Duration::from_millis(260);

pub(crate) const A: Incarnation = Incarnation(0xa << 124 | 0xa);
pub(crate) const B: Incarnation = Incarnation(0xb << 124 | 0xb);
pub(crate) const C: Incarnation = Incarnation(0xc << 124 | 0xc);
pub(crate) const D: Incarnation = Incarnation(0xd << 124 | 0xd);

/// Every case uses one key, with all that a name may contain.
pub(crate) fn key() -> Key {
    Key::new("orders/{42}:50% off/ключ").unwrap()
}

pub(crate) fn id(incarnation: Incarnation, seq: u64) -> AskId {
    AskId { incarnation, seq }
}

/// An ask for a whole lock; cases change what they are about.
pub(crate) fn ask(store: &mut dyn Subject, incarnation: Incarnation, seq: u64) -> Ask {
    Ask {
        key: key(),
        id: id(incarnation, seq),
        units: WHOLE,
        limit: WHOLE,
        ttl: TTL,
        entry_ttl: ENTRY_TTL,
        floor: 0,
        refuse_after: store.now() + REFUSE_AFTER,
        give_back: None,
        upgrade: false,
        waiting_since: None,
    }
}

/// An ask for permits of a semaphore with `limit` units.
pub(crate) fn permits(
    store: &mut dyn Subject,
    incarnation: Incarnation,
    seq: u64,
    units: u32,
    limit: u32,
) -> Ask {
    Ask { units, limit, ..ask(store, incarnation, seq) }
}

/// An ask of one who has a share for all, keeping it.
pub(crate) fn upgrade(store: &mut dyn Subject, incarnation: Incarnation, seq: u64) -> Ask {
    Ask { upgrade: true, ..ask(store, incarnation, seq) }
}

pub(crate) fn giving_back(ask: Ask, seq: u64, keep: u32) -> Ask {
    Ask { give_back: Some(GiveBack { seq, keep, issued: 0 }), ..ask }
}

pub(crate) fn renewal(incarnation: Incarnation, seq: u64) -> Renew {
    Renew { key: key(), tenure: id(incarnation, seq), ttl: TTL, floor: 0, top_up: false }
}

/// A return of everything, after every fence was handed out.
pub(crate) fn ret(incarnation: Incarnation, seq: u64) -> Return {
    Return { key: key(), tenure: id(incarnation, seq), keep: 0, issued: u64::MAX >> 11, tombstone: None }
}

pub(crate) fn withdrawal(incarnation: Incarnation, seq: u64) -> Withdraw {
    Withdraw { key: key(), id: id(incarnation, seq), keep: 0, tombstone: None }
}

impl dyn Subject + '_ {
    pub(crate) fn ask(&mut self, ask: Ask) -> Done {
        self.apply(&Op::Ask(ask))
    }

    pub(crate) fn renew(&mut self, renew: Renew) -> Done {
        self.apply(&Op::Renew(renew))
    }

    pub(crate) fn give(&mut self, back: Return) -> Done {
        self.apply(&Op::Return(back))
    }

    pub(crate) fn withdraw(&mut self, withdraw: Withdraw) -> Done {
        self.apply(&Op::Withdraw(withdraw))
    }

    /// A lock asked for in the plain way.
    pub(crate) fn lock(&mut self, incarnation: Incarnation, seq: u64) -> Done {
        let ask = ask(self, incarnation, seq);
        self.ask(ask)
    }

    /// Units of a semaphore asked for in the plain way.
    pub(crate) fn take(&mut self, incarnation: Incarnation, seq: u64, units: u32, limit: u32) -> Done {
        let ask = permits(self, incarnation, seq, units, limit);
        self.ask(ask)
    }

    /// All of a lock asked for by one who has a share of it.
    pub(crate) fn upgrade(&mut self, incarnation: Incarnation, seq: u64) -> Done {
        let ask = upgrade(self, incarnation, seq);
        self.ask(ask)
    }

    /// A share of a lock asked for in the plain way.
    pub(crate) fn share(&mut self, incarnation: Incarnation, seq: u64) -> Done {
        self.take(incarnation, seq, 1, WHOLE)
    }
}

impl Done {
    #[track_caller]
    pub(crate) fn granted(&self) -> Tenancy {
        match &self.reply {
            Reply::Granted(tenancy) => *tenancy,
            other => panic!("not granted: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn queued(&self) -> Queued {
        match &self.reply {
            Reply::Queued(queued) => *queued,
            other => panic!("not queued: {other:?}"),
        }
    }

    /// The answer, nobody woken.
    #[track_caller]
    pub(crate) fn quietly(&self, reply: Reply) {
        assert_eq!((&self.reply, self.wakes.as_slice()), (&reply, &[][..]));
    }

    #[track_caller]
    pub(crate) fn wakes(&self, wakes: &[Wake]) {
        assert_eq!(self.wakes, wakes);
    }
}

pub(crate) fn offer(to: Incarnation, seq: u64) -> Wake {
    Wake { to, push: Push::Offer { key: key(), ask: id(to, seq) } }
}

pub(crate) fn recall(to: Incarnation, asker: Incarnation, seq: u64) -> Wake {
    Wake { to, push: Push::Recall { key: key(), ask: id(asker, seq) } }
}
