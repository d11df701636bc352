//! The Redis store as a strict subject, and what it takes for a loss.

use super::subject::RedisSubject;
use crate::strict::{StrictSubject, TERMS};
use crate::subject::{Done, Subject};
use sidelock_engine::StoreTime;
use sidelock_engine::store::{Op, Reply};
use std::time::Duration;

pub(super) const MARKER: &str = "sl:1:default:{}:marker";

pub(crate) struct StrictRedis {
    inner: RedisSubject,
}

impl StrictRedis {
    pub(crate) fn start() -> StrictRedis {
        let inner = RedisSubject::with(&["--enable-debug-command", "yes"], |config| {
            config.strict = Some(TERMS.longest);
        });
        StrictRedis { inner }
    }

    fn keys_but_for_the_marker(&mut self) -> usize {
        let marked: usize = self.inner.command(&[b"EXISTS", MARKER.as_bytes()]);
        self.inner.keys() - marked
    }
}

impl Subject for StrictRedis {
    fn apply(&mut self, op: &Op) -> Done {
        self.inner.apply(op)
    }

    fn now(&mut self) -> StoreTime {
        self.inner.now()
    }

    fn wait(&mut self, span: Duration) {
        self.inner.wait(span);
    }

    fn flush(&mut self) {
        self.lose();
    }

    fn keys(&mut self) -> usize {
        self.keys_but_for_the_marker()
    }
}

impl StrictSubject for StrictRedis {
    /// A server without replicas knows of no isolation. Terms only widen, so it is told by the marker of some earlier replication.
    fn lose(&mut self) {
        let _: String = self.inner.command(&[b"FLUSHALL"]);
        let micros = |span: Duration| (span.as_micros() as u64).to_le_bytes();
        let (longest, isolation) = (micros(TERMS.longest), micros(TERMS.isolation));
        let marker = [b"SM\x01", &[b'0'; 40][..], &[0; 8], &longest, &isolation].concat();
        let _: String = self.inner.command(&[b"SET", MARKER.as_bytes(), &marker]);
    }

    fn promote(&mut self) {
        let _: String = self.inner.command(&[b"DEBUG", b"CHANGE-REPL-ID"]);
    }
}

#[test]
fn what_loses_the_data_loses_the_marker() {
    let mut redis = RedisSubject::with(&[], |config| config.strict = Some(TERMS.longest));
    let store: &mut dyn Subject = &mut redis;
    store.wait(TERMS.quarantine());
    store.lock(crate::subject::A, 1).granted();
    let _: String = redis.command(&[b"FLUSHALL"]);
    let store: &mut dyn Subject = &mut redis;
    let Reply::Quarantined { left, .. } = store.lock(crate::subject::B, 1).reply else { panic!("granted") };
    assert!(left <= TERMS.quarantine() - TERMS.isolation, "it has no replicas: {left:?}");
    assert!(left > TERMS.longest, "{left:?}");
    // Nonsense is no marker.
    store.wait(left);
    store.lock(crate::subject::B, 1).granted();
    let _: String = redis.command(&[b"SET", MARKER.as_bytes(), b"nonsense"]);
    let store: &mut dyn Subject = &mut redis;
    assert!(matches!(store.lock(crate::subject::C, 1).reply, Reply::Quarantined { .. }));
}
