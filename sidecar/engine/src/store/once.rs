//! The part of the contract that once keys have besides: a turn's finish, and the success that it leaves (P18).
//!
//! Owns both, and where a window ends. Must not know how a record keeps a success.

use crate::model::{Align, AskId, Fence, Key, StoreTime, Window};
use std::sync::Arc;
use std::time::Duration;

/// A result is kept at least so long after its finish, however short the window (P18): who waited for it must hear of it.
pub const RESULT_KEPT_MIN: Duration = Duration::from_secs(60);

/// End a turn of a once key with success (P18).
///
/// After settle: `refuse_after` passed → [`super::Reply::TooLate`]. The kept success has this very writer →
/// [`super::Reply::Finished`], nothing changed. Not exactly this tenure, or a fence that it never reserved → [`super::Reply::Gone`],
/// or [`super::Reply::Forced`] where it was taken.
/// Otherwise the success is kept, the tenure ends, and the queue is cleared: every entry of another incarnation is woken
/// with [`super::Push::Offer`], and its ask hears of the success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The key.
    pub key: Key,
    /// Exactly the turn's tenure, or [`super::Reply::Gone`].
    pub tenure: AskId,
    /// The turn's token. Together with the tenure it names the writer, so that a repetition is known as one.
    pub fence: Fence,
    /// When the turn was granted: a rolling window begins there, an aligned one contains it. Never later than the
    /// store's clock.
    pub granted_at: StoreTime,
    /// The window of the winner counts, whatever others ask for.
    pub window: Window,
    /// What the others get.
    pub result: Arc<[u8]>,
    /// As in [`super::Ask`].
    pub refuse_after: StoreTime,
}

/// A once key was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// When the store learned of it.
    pub finished_at: StoreTime,
    /// Nobody runs before this instant.
    pub window_end: StoreTime,
    /// What the runner left for the others.
    pub result: Arc<[u8]>,
}

impl Success {
    /// Of a turn that was granted at `granted` and finished `now`.
    pub fn new(now: StoreTime, granted: StoreTime, window: Window, result: Arc<[u8]>) -> Success {
        let granted = granted.min(now);
        let window_end = match window.align {
            Align::Rolling => granted + window.per,
            Align::Utc => {
                let per = (StoreTime(0) + window.per).0.max(1);
                StoreTime((granted.0 / per + 1).saturating_mul(per))
            }
        };
        Success { finished_at: now, window_end, result }
    }

    /// Past this instant nobody can want to know of it.
    pub fn kept_until(&self) -> StoreTime {
        self.window_end.max(self.finished_at + RESULT_KEPT_MIN)
    }

    /// Whether it is the answer to somebody who asks `now` and has waited since `since`.
    pub fn answers(&self, now: StoreTime, since: StoreTime) -> bool {
        now < self.window_end || since <= self.finished_at
    }
}
