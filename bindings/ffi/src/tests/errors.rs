//! Every error of the SDK has its place among the failures, with all that a program decides on.

use super::{embedded, lock, without_waiting};
use crate::{Busy, Condition, Denial, Failure, LossReason, Refusal, TurnWish, Units, Wish};
use sidelock_client::{self as sdk, Code};
use std::sync::Arc;
use std::time::Duration;

fn refusal(code: Code) -> sdk::Refusal {
    sdk::Refusal {
        code,
        key: Arc::from("k"),
        message: "why".into(),
        limit: Some(4),
        retry_after: Some(Duration::from_millis(1500)),
        cycle: Vec::new(),
        current: None,
        denial: None,
    }
}

#[test]
fn kinds_keep_their_codes_and_texts() {
    let busy = |kind, code: &str| Failure::Busy {
        kind,
        code: code.into(),
        text: format!("\"k\": why ({code})"),
        key: "k".into(),
        retry_after_ms: Some(1500),
        limit: Some(4),
    };
    let refused = |kind, code: &str| Failure::Refused {
        kind,
        code: code.into(),
        text: format!("\"k\": why ({code})"),
        key: "k".into(),
        limit: Some(4),
        // Only a policy's no may become a yes.
        retry_after_ms: (code == "denied").then_some(1500),
        denial: None,
    };
    let cases = [
        (sdk::Error::WaitTimeout(refusal(Code::Held)), busy(Busy::WaitTimeout, "held")),
        (sdk::Error::QueueFull(refusal(Code::TooMany)), busy(Busy::QueueFull, "too_many")),
        (sdk::Error::StoreUnavailable(refusal(Code::Draining)), busy(Busy::StoreUnavailable, "draining")),
        (sdk::Error::Denied(refusal(Code::Denied)), refused(Refusal::Denied, "denied")),
        (sdk::Error::NotHeld(refusal(Code::NotHeld)), refused(Refusal::NotHeld, "not_held")),
        (sdk::Error::NotFound(refusal(Code::NotFound)), refused(Refusal::NotFound, "not_found")),
        (sdk::Error::Invalid(refusal(Code::TooLarge)), refused(Refusal::Invalid, "too_large")),
        (sdk::Error::Internal(refusal(Code::Internal)), refused(Refusal::Internal, "internal")),
    ];
    for (error, failure) in cases {
        assert_eq!(Failure::from(error), failure);
    }
}

#[test]
fn a_denial_says_whose_it_is() {
    let denial = sdk::Denial { policy: "freeze".into(), reason_code: "frozen".into() };
    let refusal = sdk::Refusal { denial: Some(Box::new(denial)), ..refusal(Code::Denied) };
    let failure = Failure::from(sdk::Error::Denied(refusal));
    let Failure::Refused { denial: Some(denial), .. } = failure else { panic!("{failure}") };
    assert_eq!(*denial, Denial { policy: "freeze".into(), reason_code: "frozen".into() });
}

#[test]
fn a_loss_keeps_its_reason() {
    let error = sdk::Error::LeaseLost { key: Arc::from("k"), reason: sdk::LostReason::Forced };
    let Failure::LeaseLost { reason, key, text } = Failure::from(error) else { panic!("another kind") };
    assert_eq!((reason, key.as_str()), (LossReason::Forced, "k"));
    assert!(text.contains("stop what it protected"), "{text}");
}

#[test]
fn a_refused_peer_keeps_its_code_and_an_absent_sidecar_has_none() {
    let cause = || "why".to_owned();
    let refused =
        sdk::Error::SidecarUnreachable { tried: vec![], cause: cause(), code: Some(Code::PeerRefused) };
    assert!(
        matches!(Failure::from(refused), Failure::Unreachable { code: Some(code), .. } if code == "peer_refused")
    );
    let absent =
        sdk::Error::SidecarUnreachable { tried: vec!["/nowhere".into()], cause: cause(), code: None };
    let Failure::Unreachable { code: None, text } = Failure::from(absent) else { panic!("another kind") };
    assert!(text.contains("/nowhere"), "{text}");
}

#[test]
fn a_key_that_is_held_says_so() {
    let client = embedded();
    let _held = lock(&client, "k");
    let failure = client.acquire_blocking(without_waiting("k"), 2).unwrap_err();
    assert!(
        matches!(failure, Failure::Busy { kind: Busy::WaitTimeout, ref code, .. } if code == "held"),
        "{failure}"
    );
}

#[test]
fn a_failed_condition_brings_what_is_there() {
    let register = embedded().register("r".into());
    let etag = register.put_blocking(b"1".to_vec(), Condition::IfAbsent, None, 1).unwrap();
    let failure = register.put_blocking(b"2".to_vec(), Condition::IfAbsent, None, 2).unwrap_err();
    let Failure::Conflict { current: Some(current), .. } = failure else { panic!("{failure}") };
    assert_eq!((current.value.as_slice(), &current.etag), (&b"1"[..], &etag));
}

#[test]
fn another_limit_than_that_in_force_is_told_which_that_is() {
    let client = embedded();
    let of = |limit| Wish { units: Units::Permits { permits: 1, limit }, ..without_waiting("k") };
    let _held = client.acquire_blocking(of(4), 1).unwrap();
    let failure = client.acquire_blocking(of(5), 2).unwrap_err();
    assert!(matches!(failure, Failure::Conflict { limit: Some(4), .. }), "{failure}");
    let _lock = lock(&client, "l");
    let failure = client.acquire_blocking(Wish { keys: vec!["l".into()], ..of(5) }, 3).unwrap_err();
    assert!(matches!(failure, Failure::Conflict { limit: None, .. }), "{failure}");
}

#[test]
fn a_window_of_no_length_is_invalid() {
    let wish = TurnWish {
        key: "o".into(),
        per_ms: 0,
        align: crate::Align::Rolling,
        wait_ms: None,
        ttl_ms: None,
        max_hold_ms: None,
        owner: None,
        priority: 0,
    };
    let failure = embedded().enter_blocking(wish, 1).unwrap_err();
    assert!(matches!(failure, Failure::Refused { kind: Refusal::Invalid, .. }), "{failure}");
}
