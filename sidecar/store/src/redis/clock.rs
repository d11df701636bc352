//! What Redis' clock shows.
//!
//! Owns what it shows now, by what it showed when it was heard last: between the two lies the rest of making a connection, and
//! in a cluster the time until enough of its nodes are there.

use sidelock_engine::StoreTime;
use std::time::Duration;
use tokio::time::Instant;

/// How long it takes at most until enough of a cluster's nodes are there.
const OLD: Duration = Duration::from_secs(60);

/// A clock, as it was heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    showed: StoreTime,
    heard: Instant,
}

impl Clock {
    /// It showed this when it answered, just now.
    pub(super) fn heard(showed: StoreTime) -> Clock {
        Clock { showed, heard: Instant::now() }
    }

    /// Whether it may be off by now, as this host's clock and Redis' run apart, and either may have been set.
    pub(super) fn is_old(self) -> bool {
        self.heard.elapsed() > OLD
    }

    /// Behind, if anything, by what the answer travelled.
    pub(super) fn now(self) -> StoreTime {
        self.showed + self.heard.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_while_a_connection_is_made() {
        let heard = Instant::now() - Duration::from_secs(1);
        let clock = Clock { showed: StoreTime(5), heard };
        assert!(clock.now() >= StoreTime(1_000_005) && !clock.is_old());
        assert!(Clock { heard: heard - OLD, ..clock }.is_old());
    }
}
