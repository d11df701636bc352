//! What a record does about a once key: the success that is kept, and the finish that keeps it (P18).
//!
//! Owns those two rules. Must not know locks: tenures, offers and the queue of a once key are those of any key.
//! `scripts/once.lua` and `scripts/finish.lua` say the same for Redis.

use crate::record::{Kept, Step};
use sidelock_engine::mutant::Mutant;
use sidelock_engine::store::{Ask, Finish, Push, Reply, Success, Wake};
use std::sync::Arc;

impl Step<'_> {
    /// The success that answers this ask, if there is one. Then nothing of the ask stays in the queue.
    pub(crate) fn already_done(&mut self, op: &Ask) -> Option<Success> {
        let kept = self.record.kept.as_deref()?;
        let success = kept.success.answers(self.now, op.waiting_since?).then(|| kept.success.clone())?;
        self.record.queue.retain(|entry| entry.id.incarnation != op.id.incarnation);
        self.offer_on();
        Some(success)
    }

    pub(crate) fn finish(&mut self, op: &Finish) -> Reply {
        if self.now > op.refuse_after {
            return Reply::TooLate;
        }
        let writer = (op.tenure, op.fence);
        if let Some(kept) = self.record.kept.as_deref().filter(|kept| (kept.tenure, kept.fence) == writer) {
            return Reply::Finished(kept.success.clone());
        }
        let unchecked = Mutant::FinishUnchecked.is(self.mutant);
        // A range that was topped up begins later than the first token of its tenure.
        let turn = self.find(op.tenure).filter(|&i| op.fence <= self.record.tenures[i].range.last);
        match turn {
            Some(i) => drop(self.keep(i, 0, Some(op.fence))),
            None if unchecked => self.record.tenures.clear(),
            None => return self.forced_or_gone(op.tenure),
        }
        for entry in std::mem::take(&mut self.record.queue) {
            if entry.id.incarnation != op.tenure.incarnation {
                let push = Push::Offer { key: self.key.clone(), ask: entry.id };
                self.wakes.push(Wake { to: entry.id.incarnation, push });
            }
        }
        let success = Success::new(self.now, op.granted_at, op.window, Arc::clone(&op.result));
        let kept = Kept { tenure: op.tenure, fence: op.fence, success: success.clone() };
        self.record.kept = Some(Box::new(kept));
        Reply::Finished(success)
    }
}

#[cfg(test)]
mod tests {
    use crate::Memory;
    use sidelock_engine::store::{Ask, Finish, Op, RESULT_KEPT_MIN, Reply};
    use sidelock_engine::{Align, AskId, Incarnation, Key, Space, StoreTime, WHOLE, Window};
    use std::time::Duration;

    const START: StoreTime = StoreTime(1_700_000_000_000_000);

    /// Nobody asks for most of them again: payments, messages.
    #[test]
    fn what_was_done_is_forgotten_when_nobody_can_want_to_know() {
        let mut store = Memory::default();
        let key = |number: u32| Key::of(Space::Once, &number.to_string()).unwrap();
        let window = Window { per: Duration::from_millis(1), align: Align::Rolling };
        for number in 0..1_000 {
            let Op::Ask(ask) = ask(START, START) else { unreachable!("it is one") };
            let id = AskId { incarnation: Incarnation(1), seq: number.into() };
            let (reply, _) = store.apply(START, &Op::Ask(Ask { key: key(number), id, ..ask }));
            let Reply::Granted(tenancy) = reply else { panic!("{reply:?}") };
            let (fence, result, refuse_after) = (tenancy.range.first, b"r"[..].into(), START);
            let (key, granted_at) = (key(number), START);
            let finish =
                Box::new(Finish { key, tenure: id, fence, granted_at, window, result, refuse_after });
            assert!(matches!(store.apply(START, &Op::Finish(finish)), (Reply::Finished(_), _)));
        }
        let until = START + RESULT_KEPT_MIN;
        store.forget_lapsed(until);
        assert_eq!(store.keys(), 1_000, "who waited may ask until then");
        store.forget_lapsed(StoreTime(until.0 + 1));
        assert_eq!(store.keys(), 0);
    }

    fn ask(now: StoreTime, since: StoreTime) -> Op {
        let (ttl, floor, give_back) = (Duration::from_secs(1), 0, None);
        Op::Ask(Ask {
            key: Key::of(Space::Once, "k").unwrap(),
            id: AskId { incarnation: Incarnation(1), seq: 1 },
            units: WHOLE,
            limit: WHOLE,
            ttl,
            entry_ttl: ttl,
            floor,
            refuse_after: now + ttl,
            give_back,
            upgrade: false,
            waiting_since: Some(since),
        })
    }

    #[test]
    fn a_success_is_forgotten_when_nobody_can_want_to_know_of_it() {
        let mut store = Memory::default();
        let Reply::Granted(tenancy) = store.apply(START, &ask(START, START)).0 else { panic!("not granted") };
        let finish = Finish {
            key: Key::of(Space::Once, "k").unwrap(),
            tenure: AskId { incarnation: Incarnation(1), seq: 1 },
            fence: tenancy.range.first,
            granted_at: START,
            window: Window { per: Duration::from_millis(1), align: Align::Rolling },
            result: [7].into(),
            refuse_after: START,
        };
        let (done, _) = store.apply(START, &Op::Finish(Box::new(finish)));
        assert!(matches!(done, Reply::Finished(_)));
        let last = StoreTime((START + RESULT_KEPT_MIN).0 - 1);
        assert_eq!(store.apply(last, &ask(last, START)).0, done);
        let over = START + RESULT_KEPT_MIN;
        assert!(matches!(store.apply(over, &ask(over, START)).0, Reply::Granted(_)));
        let later = over + Duration::from_secs(2);
        let back = sidelock_engine::store::Withdraw {
            key: Key::of(Space::Once, "k").unwrap(),
            id: AskId { incarnation: Incarnation(1), seq: 1 },
            keep: 0,
            tombstone: None,
        };
        store.apply(later, &Op::Withdraw(back));
        assert_eq!(store.keys(), 0);
    }
}
