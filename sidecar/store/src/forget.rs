//! When a record may be forgotten.
//!
//! Owns what has to be remembered of a key that nobody holds or waits for. Must not forget: the stores do. Counterpart of `store` in
//! scripts/record.lua.

use crate::record::Record;
use sidelock_engine::StoreTime;
use sidelock_engine::store::FENCE_LEAD_MAX_US;

impl Record {
    /// Nothing in it that anybody could miss.
    pub fn is_empty(&self, now: StoreTime) -> bool {
        let nobody = self.tenures.is_empty() && self.queue.is_empty();
        let nothing = self.done.is_empty() && self.forced.is_empty() && self.kept.is_none();
        nobody && nothing && self.fences_kept_until() <= now
    }

    /// When all that is left of a key that nobody holds or waits for can be forgotten, if that is how it stands.
    pub(crate) fn lapses_at(&self) -> Option<StoreTime> {
        if !self.tenures.is_empty() || !self.queue.is_empty() {
            return None;
        }
        let done = self.done.iter().map(|done| done.until);
        let forced = self.forced.iter().map(|forced| forced.until);
        let kept = self.kept.iter().map(|kept| kept.success.kept_until());
        let fences = (self.last > 0).then(|| self.fences_kept_until());
        done.chain(forced).chain(kept).chain(fences).max()
    }

    /// From then on the fences of a record that nobody remembers begin above those of this one (P1). It is ahead of the clock only
    /// where that is behind one that was heard before.
    fn fences_kept_until(&self) -> StoreTime {
        StoreTime(self.last.saturating_sub(FENCE_LEAD_MAX_US + 2))
    }
}
