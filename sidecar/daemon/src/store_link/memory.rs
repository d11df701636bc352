//! The memory store's clock and its answers.
//!
//! Owns the store time of the memory store: realtime at its start plus elapsed boottime, so that no step of the wall clock
//! reaches fences, and never below what an earlier life on the same socket had reached ([`HighWater`]). Must not know what
//! an operation does.

use crate::clock;
use sidelock_engine::store::{Call, FENCE_LEAD_MAX_US, Outcome};
use sidelock_engine::{Incarnation, Input, StoreTime, Time};
use sidelock_store::Memory;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// The mark on disk runs ahead of the clock by up to this, so that it is written seldom. A life that ends without
/// warning costs its successor's store clock as much, which nobody notices: fences need order, not truth.
const MARK_LEAD: Duration = Duration::from_secs(10);
/// Fences run ahead of the store's clock by at most this many microseconds (P1).
const FENCE_LEAD_US: u64 = FENCE_LEAD_MAX_US + 2;

/// The memory store and its clock.
pub(crate) struct MemoryLink {
    store: Memory,
    incarnation: Incarnation,
    started: Time,
    base: StoreTime,
    mark: Option<HighWater>,
    announced: bool,
}

impl MemoryLink {
    /// An empty store for this life. Without a mark (embedded) no earlier life can have handed out fences.
    pub(crate) fn new(incarnation: Incarnation, mark: Option<HighWater>) -> MemoryLink {
        let reached = mark.as_ref().map_or(0, |mark| mark.reached);
        MemoryLink {
            store: Memory::default(),
            incarnation,
            started: clock::boottime(),
            base: StoreTime(clock::realtime_us().max(reached)),
            mark,
            announced: false,
        }
    }

    pub(super) async fn news(&mut self) -> Input {
        if self.announced {
            return std::future::pending().await;
        }
        self.announced = true;
        let at = self.at(clock::boottime());
        Input::StoreUp { at }
    }

    pub(super) fn send(&mut self, now: Time, call: &Call) -> Vec<Input> {
        let at = self.at(now);
        if let Some(mark) = &mut self.mark {
            mark.cover(at.0 + FENCE_LEAD_US);
        }
        self.store.forget_lapsed(at);
        let (reply, wakes) = self.store.apply(at, &call.op);
        let outcome = Outcome::Applied { at, reply };
        let mut inputs = vec![Input::Store { call: call.id, outcome }];
        let own = wakes.into_iter().filter(|wake| wake.to == self.incarnation);
        inputs.extend(own.map(|wake| Input::Pushed(wake.push)));
        inputs
    }

    fn at(&self, now: Time) -> StoreTime {
        self.base + now.since(self.started)
    }
}

/// A file that holds a time above every fence handed out so far, in microseconds.
pub(crate) struct HighWater {
    file: std::fs::File,
    reached: u64,
    failing: bool,
}

impl HighWater {
    /// Opens or makes the file. What is no number counts as nothing reached: realtime then has to do.
    pub(crate) fn open(path: &Path) -> io::Result<HighWater> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(HighWater { file, reached: text.trim().parse().unwrap_or(0), failing: false })
    }

    /// Sees to it that the file holds at least `needed`.
    fn cover(&mut self, needed: u64) {
        if self.reached >= needed {
            return;
        }
        let mark = needed + u64::try_from(MARK_LEAD.as_micros()).unwrap_or(u64::MAX);
        match self.write(mark) {
            Ok(()) => self.failing = false,
            // Not worth refusing locks for: it only matters if the wall clock goes back across a restart.
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(%error, "can not write the fence mark beside the socket; fences may repeat if the wall clock goes back across a restart");
            }
            Err(_) => {}
        }
        self.reached = mark;
    }

    /// A fixed width, so that one write replaces all of it.
    fn write(&mut self, mark: u64) -> io::Result<()> {
        self.file.write_all_at(format!("{mark:020}\n").as_bytes(), 0)?;
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::store::{Ask, CallId, Op, REFUSE_AFTER, Reply};
    use sidelock_engine::{AskId, Key, WHOLE};

    fn fence(link: &mut MemoryLink, now: Time) -> u64 {
        let ask = Ask {
            key: Key::new("k").unwrap(),
            id: AskId { incarnation: link.incarnation, seq: 1 },
            units: WHOLE,
            limit: WHOLE,
            ttl: Duration::from_secs(10),
            entry_ttl: Duration::from_secs(3),
            floor: 0,
            refuse_after: link.at(now) + REFUSE_AFTER,
            give_back: None,
            upgrade: false,
            waiting_since: None,
        };
        let call = Call { id: CallId(1), op: Op::Ask(ask) };
        match link.send(now, &call).remove(0) {
            Input::Store { outcome: Outcome::Applied { reply: Reply::Granted(tenancy), .. }, .. } => {
                tenancy.range.last
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fences_rise_across_a_restart_though_the_wall_clock_went_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let open = || Some(HighWater::open(&path).unwrap());
        let mut first = MemoryLink::new(Incarnation(1), open());
        // As if the wall clock had been an hour ahead in the first life.
        first.base = first.base + Duration::from_secs(3600);
        let now = clock::boottime();
        let before = fence(&mut first, now);
        let mut second = MemoryLink::new(Incarnation(2), open());
        assert!(fence(&mut second, clock::boottime()) > before);
    }

    #[test]
    fn a_spoilt_mark_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        std::fs::write(&path, "soon\n").unwrap();
        let mut mark = HighWater::open(&path).unwrap();
        assert_eq!(mark.reached, 0);
        mark.cover(5);
        assert!(HighWater::open(&path).unwrap().reached > 5);
    }
}
