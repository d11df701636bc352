//! Pauses are what they are said to be, in a time that only runs when nobody has anything to do.

use super::*;
use sidelock_wire::Code;
use std::cell::RefCell;
use std::sync::Arc;

fn error(code: Code) -> Error {
    Error::plain(code, Arc::from("k"), "")
}

fn told(code: Code, retry_after: Duration) -> Error {
    match error(code) {
        Error::WaitTimeout(refusal) => {
            Error::WaitTimeout(crate::Refusal { retry_after: Some(retry_after), ..refusal })
        }
        other => other,
    }
}

/// Runs what fails with these errors, one after the other, and then succeeds: the outcome, and when each attempt began.
async fn run(retry: Retry, errors: &[Error]) -> (Result<usize>, Vec<u128>) {
    let (start, begun) = (Instant::now(), RefCell::new(Vec::new()));
    let attempt = || {
        let number = begun.borrow().len();
        begun.borrow_mut().push(start.elapsed().as_millis());
        std::future::ready(errors.get(number).map_or(Ok(number), |error| Err(error.clone())))
    };
    let outcome = retry.run(attempt).await;
    (outcome, begun.into_inner())
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_up_to_their_bound_and_attempts_are_counted() {
    let held = || error(Code::StoreUnavailable);
    let retry = Retry::new().jitter(0.0).attempts(6).delay_max(Duration::from_millis(500));
    let (outcome, begun) = run(retry, &[held(), held(), held(), held(), held()]).await;
    assert_eq!((outcome.expect("the sixth succeeds"), begun), (5, vec![0, 100, 300, 700, 1_200, 1_700]));
    let (outcome, begun) = run(retry.attempts(2), &[held(), held()]).await;
    assert!(matches!(outcome, Err(Error::StoreUnavailable(_))));
    assert_eq!(begun.len(), 2);
    assert_eq!(run(retry.attempts(0), &[held()]).await.1.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_says_when_is_believed() {
    let later = told(Code::WaitTimeout, Duration::from_secs(3));
    for retry in [Retry::new(), Retry::new().delay_max(Duration::from_secs(1))] {
        let (outcome, begun) = run(retry.jitter(0.0), std::slice::from_ref(&later)).await;
        assert!(outcome.is_ok());
        assert_eq!(begun, [0, 3_000]);
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_deadline() {
    let held = || error(Code::Held);
    let retry = Retry::new().jitter(0.0).attempts(9).deadline(Duration::from_millis(350));
    let (outcome, begun) = run(retry, &[held(), held(), held(), held()]).await;
    assert!(matches!(outcome, Err(Error::WaitTimeout(_))), "the last error, at once");
    assert_eq!(begun, [0, 100, 300]);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_pass_is_told_at_once() {
    for code in Code::all() {
        let passes = error(code).remedy() != Remedy::Never;
        let (outcome, begun) = run(Retry::new(), &[error(code)]).await;
        assert_eq!((outcome.is_ok(), begun.len()), (passes, if passes { 2 } else { 1 }), "{code}");
    }
}

#[test]
fn jitter_only_shortens() {
    let retry = Retry::new().delay(Duration::from_secs(1)).jitter(0.25);
    let millis = |random| retry.backoff(1, random).as_millis();
    assert_eq!([millis(0.0), millis(0.5), millis(1.0)], [1_000, 875, 750]);
    assert!((0..100).map(|_| random()).all(|random| (0.0..=1.0).contains(&random)));
    assert_eq!(retry.jitter(7.0).backoff(1, 0.5), Duration::from_millis(500), "above 1 counts as 1");
    assert_eq!(retry.factor(f64::NAN).backoff(9, 0.0), Duration::from_secs(1));
    assert_eq!(retry.backoff(u32::MAX, 0.0), Duration::from_secs(10));
}

#[test]
fn no_pause_stays_none_and_one_without_end_is_no_panic() {
    let at_once = Retry::new().delay(Duration::ZERO);
    assert_eq!([at_once.backoff(2, 0.0), at_once.backoff(u32::MAX, 0.0)], [Duration::ZERO; 2]);
    let endless = Retry::new().delay(Duration::MAX).delay_max(Duration::MAX).deadline(Duration::MAX);
    assert_eq!(endless.backoff(1, 0.0), Duration::MAX);
    assert!(endless.jitter(1.0).backoff(u32::MAX, 1.0) <= Duration::MAX);
    assert!(endless.pause(1, &error(Code::Held), Duration::from_secs(1)).is_some());
}

#[test]
fn blocking_programs_try_again_too() {
    let mut errors = vec![error(Code::Held)];
    let retry = Retry::new().delay(Duration::from_millis(10)).jitter(0.0);
    let start = std::time::Instant::now();
    let outcome = retry.run_blocking(|| errors.pop().map_or(Ok(7), Err));
    assert_eq!(outcome.expect("the second succeeds"), 7);
    assert!(start.elapsed() >= Duration::from_millis(10), "after a pause");
}
