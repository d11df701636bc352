//! Copies of an ask: it is sent anew until it is answered, and whatever was sent may still run.
//!
//! Owns until when any of them may run, so that whoever ends the ask knows what tombstone to leave (P7), and whether one may have
//! been granted without our having heard (D37). Must not know what is asked for.

use crate::model::StoreTime;
use crate::store::CallId;
use smallvec::SmallVec;

/// See the module.
#[derive(Default)]
pub(crate) struct Copies {
    sent: u32,
    /// Calls that are not answered yet.
    open: SmallVec<[CallId; 2]>,
    /// What became of one of them was not heard, and will not be.
    is_unheard: bool,
    /// None runs later.
    void_after: StoreTime,
    /// One of which nothing was heard may be applied until then: it may have been granted.
    granted_until: StoreTime,
}

impl Copies {
    /// Another one, which is void after that. After a connection that was told late our guess of the store's time goes back, and
    /// an earlier one may run longer.
    pub(crate) fn send_until(&mut self, void_after: StoreTime) {
        self.sent += 1;
        self.void_after = self.void_after.max(void_after);
    }

    /// … is this call.
    pub(crate) fn sent_as(&mut self, call: CallId) {
        self.open.push(call);
    }

    /// There is an outcome, whichever.
    pub(crate) fn answered(&mut self, call: CallId) {
        self.open.retain(|open| *open != call);
    }

    /// … and it is not known.
    pub(crate) fn not_heard_of(&mut self) {
        self.is_unheard = true;
        self.granted_until = self.void_after;
    }

    /// The store said so `at` its time: what ran until then was not granted.
    pub(crate) fn not_granted_by(&mut self, at: StoreTime) {
        if at > self.granted_until {
            self.granted_until = StoreTime(0);
        }
    }

    pub(crate) fn were_sent(&self) -> bool {
        self.sent > 0
    }

    /// None of those that were sent runs later, whether they were answered or not.
    pub(crate) fn void_after(&self) -> StoreTime {
        self.void_after
    }

    /// Beside one that was answered others may run until then.
    pub(crate) fn may_run_until(&self) -> Option<StoreTime> {
        (self.sent > 1 || self.is_unheard).then_some(self.void_after)
    }

    /// … at that instant, or later.
    pub(crate) fn may_run_after(&self, instant: StoreTime) -> bool {
        self.may_run_until().is_some_and(|until| until >= instant)
    }

    /// One may have been granted before this call ran, without our having heard so. Answers come in the order in which the store
    /// ran what they answer.
    pub(crate) fn may_be_granted_before(&self, call: CallId) -> bool {
        self.granted_until > StoreTime(0) || self.open.iter().any(|open| *open < call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_answered_leaves_none_behind_and_two_do() {
        let mut copies = Copies::default();
        assert!(!copies.were_sent());
        copies.send_until(StoreTime(9));
        copies.sent_as(CallId(1));
        copies.answered(CallId(1));
        assert_eq!((copies.may_run_until(), copies.void_after()), (None, StoreTime(9)));
        copies.send_until(StoreTime(7));
        assert_eq!(copies.may_run_until(), Some(StoreTime(9)), "the first runs as long as it did");
        assert!(copies.may_run_after(StoreTime(9)) && !copies.may_run_after(StoreTime(10)));
    }

    #[test]
    fn what_was_not_heard_of_may_have_been_granted_until_it_is_known_to_wait() {
        let mut copies = Copies::default();
        copies.send_until(StoreTime(9));
        copies.sent_as(CallId(1));
        assert!(copies.may_be_granted_before(CallId(2)) && !copies.may_be_granted_before(CallId(1)));
        copies.answered(CallId(1));
        assert!(!copies.may_be_granted_before(CallId(2)));
        copies.not_heard_of();
        assert!(copies.may_be_granted_before(CallId(2)) && copies.may_run_until().is_some());
        copies.not_granted_by(StoreTime(9));
        assert!(copies.may_be_granted_before(CallId(2)), "one may run at that very instant");
        copies.not_granted_by(StoreTime(10));
        assert!(!copies.may_be_granted_before(CallId(2)));
    }
}
