//! Tenures that ended at the store while we believed in them (D37).
//!
//! Owns that judgement. That a tenure stands since a later fence than ours says that ours ended; that the store does not know it says
//! so too, unless it may have grown into another name of which we have not heard. Must not know what is done with a tenure that
//! ended.

use crate::effect::LostReason;
use crate::engine::Engine;
use crate::model::{Fence, Time};
use crate::mutant::Mutant;
use crate::store::{CallId, Outcome, Reply};
use crate::tenure::RENEW_RETRY;

/// Whether the store says what became of a tenure that was to be renewed.
pub(crate) fn is_word_of_it(outcome: &Outcome) -> bool {
    use Reply::{Forced, Forgotten, Gone, Renewed};
    let Outcome::Applied { reply, .. } = outcome else { return false };
    matches!(reply, Renewed { .. } | Gone | Forced { .. } | Forgotten)
}

impl Engine {
    /// The store has a tenure of ours that stands since this fence. Whether the one that we have here had ended before.
    pub(crate) fn ended_before(&mut self, now: Time, resource: usize, origin: Fence) -> bool {
        let ours = self.resources[resource].tenure.as_ref();
        let ended =
            ours.is_some_and(|ours| ours.origin < origin) && !Mutant::EndedGrew.is(self.config.mutant);
        if ended {
            self.kill_tenure(now, resource, LostReason::Store);
        }
        ended
    }

    /// The store does not know this tenure, it answered to this call. That is its end, unless it may have grown.
    pub(crate) fn tenure_gone(&mut self, now: Time, resource: usize, seq: u64, call: CallId) {
        let r = &mut self.resources[resource];
        let Some(tenure) = r.tenure.as_mut().filter(|tenure| tenure.seq == seq) else { return };
        // Into the id of an ask whose answer is still to come, or with a debt into something else: that answer will tell, or the
        // next renewal, which is sent whether more time is wanted or not.
        let unheard = r.ask.as_ref().is_some_and(|ask| ask.copies.may_be_granted_before(call));
        if !unheard && r.debts.is_empty() {
            return self.kill_tenure(now, resource, LostReason::Store);
        }
        tenure.retry_after(now, RENEW_RETRY);
        tenure.contact_at = now + RENEW_RETRY;
    }
}
