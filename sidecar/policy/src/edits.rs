//! What a policy may change, and what it may answer.
//!
//! Owns the rules for answers: an edit has to leave a request that a client could have made, a denial has to have a reason that
//! programs can read. What breaks them is a fault of the policy, and is told as one. Only a message is made fit to be printed:
//! clients write keys into it, and a no stays one. Must not know which policy answered.

use crate::fault::Fault;
use crate::inside::one_line;
use crate::model::{Decision, Denial, Edits, Operation, Request, Verdict};

/// Bytes of a reason code, and of a message.
const REASON_CODE_BYTES_MAX: usize = 64;
const MESSAGE_BYTES_MAX: usize = 1024;
/// Names that one decision may count.
pub(crate) const COUNT_MAX: usize = 16;

/// What the sidecar takes from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a key.
    pub key_bytes_max: usize,
    /// Shortest life of a timed lease, in milliseconds.
    pub ttl_ms_min: u64,
    /// Longest life of a timed lease, in milliseconds.
    pub ttl_ms_max: u64,
    /// Priorities reach from `-priority_max` to `priority_max`.
    pub priority_max: i32,
}

impl Default for Bounds {
    /// Those of a sidecar whose limits nobody changed.
    fn default() -> Bounds {
        Bounds { key_bytes_max: 512, ttl_ms_min: 100, ttl_ms_max: 3_600_000, priority_max: 100 }
    }
}

/// Takes this for an answer to that request, if it is one.
pub(crate) fn accept(mut decision: Decision, request: &Request, bounds: &Bounds) -> Result<Decision, Fault> {
    if decision.count.len() > COUNT_MAX {
        return Err(Fault::Answer(format!("counts {} names; at most {COUNT_MAX}", decision.count.len())));
    }
    let wrong = match &decision.verdict {
        Verdict::Allow | Verdict::Abstain => None,
        Verdict::Edit(edits) => wrong_edit(edits, request, bounds),
        Verdict::Deny(denial) => wrong_denial(denial),
    };
    if let Verdict::Deny(denial) = &mut decision.verdict {
        denial.message = one_line(std::mem::take(&mut denial.message), MESSAGE_BYTES_MAX);
    }
    wrong.map_or(Ok(decision), |wrong| Err(Fault::Answer(wrong)))
}

fn wrong_edit(edits: &Edits, request: &Request, bounds: &Bounds) -> Option<String> {
    let Edits { key, ttl_ms, max_hold_ms, wait_ms, priority, max_waiters } = edits;
    let asks = matches!(request.operation, Operation::Acquire | Operation::Once);
    let others = key.is_some()
        || max_hold_ms.is_some()
        || wait_ms.is_some()
        || priority.is_some()
        || max_waiters.is_some();
    if !asks && (others || request.operation != Operation::Renew && ttl_ms.is_some()) {
        return Some(format!("an edit of {:?} that it has no use for", request.operation).to_lowercase());
    }
    if let Some(key) = key {
        if request.keys.len() != 1 {
            return Some(format!("another key for a request with {} keys", request.keys.len()));
        }
        if key.is_empty() || key.len() > bounds.key_bytes_max {
            return Some(format!("a key of {} bytes; 1 to {}", key.len(), bounds.key_bytes_max));
        }
    }
    if let Some(ttl) = *ttl_ms {
        if request.ttl_ms.is_none() {
            return Some("a ttl for a lease that lives as long as its session".into());
        }
        if !(bounds.ttl_ms_min..=bounds.ttl_ms_max).contains(&ttl) {
            return Some(format!("a ttl of {ttl} ms; {} to {}", bounds.ttl_ms_min, bounds.ttl_ms_max));
        }
    }
    if *max_hold_ms == Some(0) {
        return Some("a longest hold of 0".into());
    }
    let priority_max = bounds.priority_max;
    priority
        .filter(|priority| !(-priority_max..=priority_max).contains(priority))
        .map(|priority| format!("a priority of {priority}; -{priority_max} to {priority_max}"))
}

fn wrong_denial(denial: &Denial) -> Option<String> {
    let code = &denial.reason_code;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    let fits = (1..=REASON_CODE_BYTES_MAX).contains(&code.len()) && code.bytes().all(plain);
    (!fits)
        .then(|| format!("the reason code `{}`; 1 to {REASON_CODE_BYTES_MAX} of a-z 0-9 _ - .", shown(code)))
}

/// The beginning of a text of unknown length.
pub(crate) fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(80);
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The request as it is changed.
pub(crate) fn apply(edits: &Edits, request: &mut Request) {
    if let (Some(key), [only]) = (&edits.key, &mut request.keys[..]) {
        *only = key.clone();
    }
    request.ttl_ms = edits.ttl_ms.or(request.ttl_ms);
    request.max_hold_ms = edits.max_hold_ms.or(request.max_hold_ms);
    request.wait_ms = edits.wait_ms.or(request.wait_ms);
    request.priority = edits.priority.unwrap_or(request.priority);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: Operation, keys: &[&str], ttl_ms: Option<u64>) -> Request {
        Request {
            operation,
            keys: keys.iter().map(|key| (*key).into()).collect(),
            ttl_ms,
            ..Request::default()
        }
    }

    fn fault(verdict: Verdict, request: &Request) -> Option<String> {
        let decision = Decision { verdict, count: Vec::new(), cache_ms: 0 };
        accept(decision, request, &Bounds::default()).err().map(|fault| fault.to_string())
    }

    #[test]
    fn an_edit_that_no_client_could_ask_for_is_refused_with_the_bound() {
        let one = request(Operation::Acquire, &["k"], Some(1_000));
        let two = request(Operation::Acquire, &["a", "b"], None);
        let edit = |edits: Edits, request: &Request| fault(Verdict::Edit(edits), request);
        let key = |key: &str| Edits { key: Some(key.into()), ..Edits::default() };
        assert_eq!(edit(key("other"), &one), None);
        assert!(edit(key(""), &one).unwrap().contains("1 to 512"));
        assert!(edit(key(&"k".repeat(513)), &one).unwrap().contains("513 bytes"));
        assert!(edit(key("other"), &two).unwrap().contains("2 keys"));
        let ttl = |ttl| Edits { ttl_ms: Some(ttl), ..Edits::default() };
        assert_eq!(edit(ttl(100), &one), None);
        assert!(edit(ttl(99), &one).unwrap().contains("100 to 3600000"));
        assert!(edit(ttl(3_600_001), &one).is_some());
        assert!(edit(ttl(100), &two).unwrap().contains("session"));
        assert!(edit(Edits { max_hold_ms: Some(0), ..Edits::default() }, &one).is_some());
        let priority = |priority| Edits { priority: Some(priority), ..Edits::default() };
        assert_eq!(edit(priority(-100), &one), None);
        assert!(edit(priority(101), &one).is_some() && edit(priority(i32::MIN), &one).is_some());
        assert_eq!(edit(Edits { wait_ms: Some(0), max_waiters: Some(0), ..Edits::default() }, &two), None);
    }

    #[test]
    fn an_operation_is_edited_in_what_it_has() {
        let ttl = Edits { ttl_ms: Some(500), ..Edits::default() };
        let wait = Edits { wait_ms: Some(500), ..Edits::default() };
        for (operation, of_ttl, of_wait) in [
            (Operation::Acquire, true, true),
            (Operation::Once, true, true),
            (Operation::Renew, true, false),
            (Operation::Release, false, false),
            (Operation::Force, false, false),
            (Operation::RegisterWrite, false, false),
        ] {
            let request = request(operation, &["k"], Some(1_000));
            assert_eq!(fault(Verdict::Edit(ttl.clone()), &request).is_none(), of_ttl, "{operation:?}");
            assert_eq!(fault(Verdict::Edit(wait.clone()), &request).is_none(), of_wait, "{operation:?}");
            assert_eq!(fault(Verdict::Edit(Edits::default()), &request), None, "nothing is changed");
        }
    }

    #[test]
    fn a_denial_can_be_printed_and_is_one_whatever_a_client_wrote_into_its_message() {
        let any = request(Operation::Acquire, &["k"], None);
        let deny = |reason_code: &str, message: &str| {
            Verdict::Deny(Denial {
                reason_code: reason_code.into(),
                message: message.into(),
                retry_after_ms: None,
            })
        };
        assert_eq!(fault(deny("over-quota.v2_x", "no"), &any), None);
        for code in ["", "Over", "over quota", "é", &"x".repeat(65), "a\nb"] {
            assert!(fault(deny(code, "no"), &any).unwrap().contains("a-z 0-9"), "{code}");
        }
        let long = "é".repeat(MESSAGE_BYTES_MAX);
        for (message, printed) in [("two\nli\u{9b}nes", "two li nes"), (&long, &long[..MESSAGE_BYTES_MAX])] {
            let decision = Decision { verdict: deny("x", message), count: Vec::new(), cache_ms: 0 };
            let accepted = accept(decision, &any, &Bounds::default()).unwrap();
            assert_eq!(accepted.verdict, deny("x", printed));
        }
    }

    #[test]
    fn what_an_edit_leaves_out_stays() {
        let mut request =
            Request { wait_ms: Some(5), priority: 3, ..request(Operation::Acquire, &["k"], Some(1)) };
        apply(&Edits { ttl_ms: Some(7), key: Some("l".into()), ..Edits::default() }, &mut request);
        assert_eq!(
            (request.ttl_ms, request.wait_ms, request.priority, &*request.keys[0]),
            (Some(7), Some(5), 3, "l")
        );
    }
}
