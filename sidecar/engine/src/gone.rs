//! Tenures that the store does not know: they ended, or grew into another name (D37).
//!
//! Owns that judgement, by what was asked and not heard of. Must not know what is done with a tenure that ended.

use crate::effect::LostReason;
use crate::engine::Engine;
use crate::model::{StoreTime, Time};
use crate::store::CallId;
use crate::tenure::RENEW_RETRY;

impl Engine {
    /// The store does not know this tenure, it answered to this call. That is its end, unless it may have grown (D37).
    pub(crate) fn tenure_gone(&mut self, now: Time, resource: usize, seq: u64, call: CallId) {
        // The floor may be ahead of the store's time, and fences with it.
        let by = StoreTime(self.link.floor());
        let r = &mut self.resources[resource];
        let Some(tenure) = r.tenure.as_mut().filter(|tenure| tenure.seq == seq) else { return };
        // Into the id of an ask whose answer is still to come, …
        let unheard = r.ask.as_mut().filter(|ask| ask.copies.may_be_granted_before(call));
        if unheard.is_none() && r.debts.is_empty() {
            return self.kill_tenure(now, resource, LostReason::Store);
        }
        tenure.retry_after(now, RENEW_RETRY);
        // … or with a debt into something else.
        if let Some(ask) = unheard.filter(|_| r.debts.is_empty()) {
            ask.note_gone(seq, by);
        }
    }
}
