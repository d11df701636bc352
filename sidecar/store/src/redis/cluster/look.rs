//! When nodes are asked whose slots are whose.
//!
//! Owns the pace. A slot that moves is told by who had it, so a look is only in a hurry where somebody died; and a node that stays
//! dead must not have thousands of sidecars ask all others for ever. Must not know nodes.

use std::time::Duration;
use tokio::time::Instant;

/// Between two looks, as long as they find something: a failover is followed within this.
const REST_MIN: Duration = Duration::from_millis(250);
/// Between two that find nothing new. Grants go on within two seconds of a failover (L6).
const REST_MAX: Duration = Duration::from_millis(500);

/// The pace.
pub(crate) struct Looks {
    wanted: bool,
    last: Option<Instant>,
    rest: Duration,
}

impl Default for Looks {
    /// There was none yet, and somebody has to look.
    fn default() -> Looks {
        Looks { wanted: true, last: None, rest: REST_MIN }
    }
}

impl Looks {
    /// Somebody has to look, soon.
    pub(crate) fn want(&mut self, wanted: bool) {
        self.wanted |= wanted;
    }

    /// When the look that is wanted, if one is, may begin. It counts as begun.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Instant> {
        let wanted = std::mem::take(&mut self.wanted);
        wanted.then(|| self.last.map_or(now, |last| now.max(last + self.rest)))
    }

    /// One is over, and has found something new or not.
    pub(crate) fn done(&mut self, now: Instant, news: bool) {
        self.last = Some(now);
        self.rest = if news { REST_MIN } else { (self.rest * 2).min(REST_MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_find_nothing_new_get_rarer_up_to_two_a_second() {
        let (mut looks, mut now, mut rests) = (Looks::default(), Instant::now(), Vec::new());
        assert_eq!(looks.begin(now), Some(now), "the first at once");
        for news in [true, false, false, false, true, false] {
            looks.done(now, news);
            assert_eq!(looks.begin(now), None, "nobody wants one");
            looks.want(true);
            looks.want(false);
            let next = looks.begin(now).unwrap();
            rests.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(rests, [250, 500, 500, 500, 250, 500]);
    }

    #[test]
    fn a_look_that_is_wanted_late_begins_at_once() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        looks.done(now, true);
        looks.want(true);
        let late = now + Duration::from_secs(5);
        assert_eq!(looks.begin(late), Some(late));
    }
}
