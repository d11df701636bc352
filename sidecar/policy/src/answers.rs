//! Decisions that a policy allows to be repeated.
//!
//! Owns which questions are the same: all of the request, except what changes from one to the next (when, how busy, which
//! attempt, which connection). Must not know whether an answer may be repeated; who puts it in does.

use crate::model::{Peer, Request, Verdict};
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Answers kept for a policy.
const ANSWERS_MAX: usize = 1_024;
/// Bytes of texts in a question that is kept.
const QUESTION_BYTES_MAX: usize = 4_096;
/// Longest time that an answer is repeated.
const REPEATED_MAX: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    kept: Mutex<HashTable<Kept>>,
    // Keyed by chance: nobody can choose requests that all fall into one place.
    hasher: RandomState,
}

#[derive(Debug)]
struct Kept {
    hash: u64,
    question: Request,
    verdict: Verdict,
    until: Instant,
}

impl Answers {
    /// The answer to the same question, if one may still be repeated.
    pub(crate) fn get(&self, question: &Request, now: Instant) -> Option<Verdict> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() {
            return None;
        }
        let hash = self.hash(question);
        let found = kept.find(hash, |kept| kept.hash == hash && same(&kept.question, question))?;
        (now < found.until).then(|| found.verdict.clone())
    }

    /// Keeps an answer for `cache_ms`.
    pub(crate) fn put(&self, question: &Request, verdict: &Verdict, cache_ms: u32, now: Instant) {
        if size(question) > QUESTION_BYTES_MAX {
            return;
        }
        let until = now + Duration::from_millis(cache_ms.into()).min(REPEATED_MAX);
        let hash = self.hash(question);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.find_mut(hash, |kept| kept.hash == hash && same(&kept.question, question)) {
            (found.verdict, found.until) = (verdict.clone(), until);
            return;
        }
        if kept.len() == ANSWERS_MAX {
            kept.retain(|kept| now < kept.until);
        }
        if kept.len() == ANSWERS_MAX {
            kept.clear();
        }
        let new = Kept { hash, question: question.clone(), verdict: verdict.clone(), until };
        kept.insert_unique(hash, new, |kept| kept.hash);
    }

    fn hash(&self, question: &Request) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let Request {
            operation,
            keys,
            mode,
            permits,
            limit,
            ttl_ms,
            max_hold_ms,
            wait_ms,
            per_ms,
            priority,
            ..
        } = question;
        (operation, keys, mode, permits, limit, ttl_ms, max_hold_ms, wait_ms, per_ms, priority)
            .hash(&mut hasher);
        (&question.owner, &question.meta, &question.held, question.peer.uid, &question.peer.app)
            .hash(&mut hasher);
        hasher.finish()
    }
}

/// Whether both ask the same. Named field by field, so that a new one is thought of.
fn same(a: &Request, b: &Request) -> bool {
    let Request { operation, keys, mode, permits, limit, ttl_ms, max_hold_ms, wait_ms, per_ms, .. } = a;
    let Request { priority, attempt: _, owner, meta, peer, clock: _, load: _, held, counters: _, .. } = a;
    let Peer { uid, gid, session: _, app, namespace, sidecar } = peer;
    (*operation, *mode, *permits, *limit, *priority) == (b.operation, b.mode, b.permits, b.limit, b.priority)
        && (*ttl_ms, *max_hold_ms, *wait_ms, *per_ms) == (b.ttl_ms, b.max_hold_ms, b.wait_ms, b.per_ms)
        && (keys, owner, meta, held) == (&b.keys, &b.owner, &b.meta, &b.held)
        && (*uid, *gid, app, namespace, sidecar)
            == (b.peer.uid, b.peer.gid, &b.peer.app, &b.peer.namespace, &b.peer.sidecar)
}

fn size(question: &Request) -> usize {
    let texts = question.keys.iter().chain(&question.held).chain(&question.owner);
    let meta = question.meta.iter().flat_map(|(name, value)| [name, value]);
    texts.chain(meta).map(|text| text.len() + size_of::<&str>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Load, Operation};

    fn question(key: &str) -> Request {
        Request { keys: vec![key.into()], ..Request::default() }
    }

    #[test]
    fn an_answer_is_repeated_for_as_long_as_it_may_be() {
        let (answers, now) = (Answers::default(), Instant::now());
        assert_eq!(answers.get(&question("k"), now), None);
        answers.put(&question("k"), &Verdict::Allow, 100, now);
        let end = now + Duration::from_millis(100);
        assert_eq!(answers.get(&question("k"), end - Duration::from_nanos(1)), Some(Verdict::Allow));
        assert_eq!(answers.get(&question("k"), end), None);
        answers.put(&question("k"), &Verdict::Abstain, u32::MAX, end);
        assert_eq!(
            answers.get(&question("k"), end + REPEATED_MAX - Duration::from_nanos(1)),
            Some(Verdict::Abstain)
        );
        assert_eq!(answers.get(&question("k"), end + REPEATED_MAX), None, "a minute at most");
    }

    #[test]
    fn time_load_attempt_and_connection_make_no_other_question() {
        let (answers, now) = (Answers::default(), Instant::now());
        answers.put(&question("k"), &Verdict::Allow, 100, now);
        let mut same = question("k");
        same.clock.unix_ms = 5;
        same.load = Load { held: 1, ..Load::default() };
        (same.attempt, same.peer.session) = (2, 9);
        assert_eq!(answers.get(&same, now), Some(Verdict::Allow));
    }

    #[test]
    fn all_else_does() {
        let (answers, now) = (Answers::default(), Instant::now());
        answers.put(&question("k"), &Verdict::Allow, 100, now);
        let changes: [fn(&mut Request); 19] = [
            |r| r.operation = Operation::Once,
            |r| r.keys[0] = "l".into(),
            |r| r.keys.push("l".into()),
            |r| r.mode = crate::model::Mode::Shared,
            |r| r.permits = 2,
            |r| r.limit = 2,
            |r| r.ttl_ms = Some(1),
            |r| r.max_hold_ms = Some(1),
            |r| r.wait_ms = Some(1),
            |r| r.per_ms = Some(1),
            |r| r.priority = 1,
            |r| r.owner = Some("o".into()),
            |r| r.meta.push(("a".into(), "b".into())),
            |r| r.held.push("h".into()),
            |r| r.peer.uid = 1,
            |r| r.peer.gid = 1,
            |r| r.peer.app = "a".into(),
            |r| r.peer.namespace = "n".into(),
            |r| r.peer.sidecar = "s".into(),
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut other = question("k");
            change(&mut other);
            assert_eq!(answers.get(&other, now), None, "change {n}");
        }
    }

    #[test]
    fn answers_are_bounded() {
        let (answers, now) = (Answers::default(), Instant::now());
        for n in 0..3 * ANSWERS_MAX {
            answers.put(&question(&format!("k{n}")), &Verdict::Allow, 1_000, now);
        }
        assert!(answers.kept.lock().unwrap().len() <= ANSWERS_MAX);
        answers.put(&question(&"k".repeat(QUESTION_BYTES_MAX)), &Verdict::Allow, 1_000, now);
        assert_eq!(answers.get(&question(&"k".repeat(QUESTION_BYTES_MAX)), now), None, "too large to keep");
    }
}
