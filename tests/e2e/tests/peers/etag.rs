//! Values with ETags: Dapr's conformance tests of state stores.

use crate::stage::{Stage, by_turns, play};
use sidelock_client::{Code, Error, Etag};

play![
    a_value_comes_back_byte_for_byte,
    a_key_that_was_never_set_has_nothing,
    a_value_that_was_set_has_an_etag,
    an_update_with_a_wrong_etag_fails_and_changes_nothing,
    an_update_with_the_right_etag_makes_another,
    a_deletion_with_a_wrong_etag_fails_and_one_with_the_right_etag_does_not,
    of_two_first_writes_the_second_fails,
    a_first_write_with_an_etag_works_once,
    a_first_write_works_again_after_a_deletion,
];

fn is_conflict<T: std::fmt::Debug>(outcome: sidelock_client::Result<T>) -> Option<Vec<u8>> {
    match outcome {
        Err(Error::Conflict(refusal)) if refusal.code == Code::Conflict => {
            refusal.current.map(|current| current.value.to_vec())
        }
        other => panic!("no conflict: {other:?}"),
    }
}

// origin: dapr/components-contrib, tests/conformance/state/state.go: set, get
async fn a_value_comes_back_byte_for_byte(stage: &Stage) {
    let (here, there) = stage.two().await;
    let values: [&[u8]; 5] =
        [b"", b"hello world", b"\"a string\"", b"{\"message\":\"a nested thing\"}", &[0, 255, 13, 10]];
    for (number, value) in values.iter().enumerate() {
        here.register(format!("set/{number}")).put(*value).await.expect("it is written");
        assert_eq!(&*there.register(format!("set/{number}")).get().await.expect("it is there").value, *value);
    }
}

// origin: dapr/components-contrib, tests/conformance/state/state.go: get, delete
async fn a_key_that_was_never_set_has_nothing(stage: &Stage) {
    let client = stage.client(0).await;
    assert!(matches!(client.register("never").get().await, Err(Error::NotFound(_))));
    client.register("once").put("x").await.expect("it is written");
    client.register("once").delete().await.expect("it is there");
    assert!(matches!(client.register("once").get().await, Err(Error::NotFound(_))));
}

// origin: dapr/components-contrib, tests/conformance/state/state.go: etag (validate set)
async fn a_value_that_was_set_has_an_etag(stage: &Stage) {
    let (here, there) = stage.two().await;
    let etag = here.register("etag").put("testValue1").await.expect("it is written");
    let found = there.register("etag").get().await.expect("it is there");
    assert_eq!((&*found.value, &found.etag), (&b"testValue1"[..], &etag));
    assert!(!etag.as_ref().is_empty());
}

// origin: dapr/components-contrib, tests/conformance/state/state.go: etag (update with wrong ETag)
async fn an_update_with_a_wrong_etag_fails_and_changes_nothing(stage: &Stage) {
    let (here, there) = stage.two().await;
    let etag = here.register("etag").put("testValue1").await.expect("it is written");
    for wrong in ["not-an-etag", "", "\"", &etag.to_string()[1..]] {
        let update = there.register("etag").put("testValue2").if_match(wrong).await;
        assert_eq!(is_conflict(update).as_deref(), Some(&b"testValue1"[..]));
    }
    assert_eq!(here.register("etag").get().await.expect("it is there").etag, etag);
}

// origin: dapr/components-contrib, tests/conformance/state/state.go: etag (update with correct ETag)
async fn an_update_with_the_right_etag_makes_another(stage: &Stage) {
    let clients = stage.two().await;
    let mut etag = clients.0.register("etag").put("0").await.expect("it is written");
    for number in 1..6usize {
        let register = by_turns(&clients, number).register("etag");
        let newer = register.put(number.to_string()).if_match(&etag).await.expect("the ETag is right");
        assert_ne!(newer, etag);
        let found = register.get().await.expect("it is there");
        assert_eq!((&*found.value, &found.etag), (number.to_string().as_bytes(), &newer));
        etag = newer;
    }
}

// origin: dapr/components-contrib, tests/conformance/state/state.go: etag (delete with wrong, correct ETag)
async fn a_deletion_with_a_wrong_etag_fails_and_one_with_the_right_etag_does_not(stage: &Stage) {
    let (here, there) = stage.two().await;
    let etag = here.register("etag").put("testValue1").await.expect("it is written");
    let deletion = there.register("etag").delete().if_match("not-an-etag").await;
    assert_eq!(is_conflict(deletion).as_deref(), Some(&b"testValue1"[..]));
    there.register("etag").delete().if_match(&etag).await.expect("the ETag is right");
    assert!(matches!(here.register("etag").get().await, Err(Error::NotFound(_))));
    assert_eq!(is_conflict(there.register("etag").delete().if_match(&etag).await), None, "nothing is there");
}

// origin: dapr/components-contrib, tests/conformance/state/state.go: first-write without etag
async fn of_two_first_writes_the_second_fails(stage: &Stage) {
    let (here, there) = stage.two().await;
    here.register("first").put("testValue1").if_absent().await.expect("nothing is there");
    for client in [&here, &there] {
        let second = client.register("first").put("testValue2").if_absent().await;
        assert_eq!(is_conflict(second).as_deref(), Some(&b"testValue1"[..]));
    }
    assert_eq!(&*there.register("first").get().await.expect("it is there").value, b"testValue1");
}

// origin: dapr/components-contrib, tests/conformance/state/state.go: first-write with etag
async fn a_first_write_with_an_etag_works_once(stage: &Stage) {
    let (here, there) = stage.two().await;
    here.register("first").put("testValue1").await.expect("it is written");
    let etag: Etag = there.register("first").get().await.expect("it is there").etag;
    there.register("first").put("testValue2").if_match(&etag).await.expect("the ETag is right");
    let found = here.register("first").get().await.expect("it is there");
    assert_eq!(&*found.value, b"testValue2");
    assert_ne!(found.etag, etag);
    for client in [&here, &there] {
        let second = client.register("first").put("testValue3").if_match(&etag).await;
        assert_eq!(is_conflict(second).as_deref(), Some(&b"testValue2"[..]));
    }
}

// origin: dapr/components-contrib, tests/conformance/state/state.go: first-write without etag (from a clean slate)
async fn a_first_write_works_again_after_a_deletion(stage: &Stage) {
    let clients = stage.two().await;
    let mut seen = Vec::new();
    for number in 0..4usize {
        let register = by_turns(&clients, number).register("first");
        let etag = register.put("testValue1").if_absent().await.expect("nothing is there");
        assert!(!seen.contains(&etag), "a version comes back");
        seen.push(etag);
        register.delete().await.expect("it is there");
    }
}
