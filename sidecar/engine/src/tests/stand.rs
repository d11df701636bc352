//! Stands as bytes: they come back, no part of one does, and nothing that anybody sends does harm.

use super::*;
use proptest::prelude::*;

fn party() -> impl Strategy<Value = Party> {
    let who = ("[a-zß]{0,40}", any::<u32>(), prop::option::of("[a-zß ]{0,40}"), any::<u32>(), any::<u64>());
    who.prop_map(|(app, uid, owner, units, since)| {
        let owner = owner.map(|owner| Owner(owner.into()));
        Party { app: app.into(), uid, owner, units, since: StoreTime(since) }
    })
}

fn stand(most: usize) -> impl Strategy<Value = Stand> {
    let holder = (party(), any::<bool>(), prop::option::of(any::<u32>()))
        .prop_map(|(who, reserved, reference)| StandHolder { who, reserved, reference });
    let waiter = (party(), any::<i32>()).prop_map(|(who, priority)| StandWaiter { who, priority });
    let parties = (prop::collection::vec(holder, 0..most), prop::collection::vec(waiter, 0..most));
    (parties, any::<bool>(), any::<u32>(), any::<(u16, u16)>()).prop_map(
        |((holders, waiters), idle, limit, more)| {
            let (holders_left_out, waiters_left_out) = (more.0.into(), more.1.into());
            Stand { idle, limit, holders, waiters, holders_left_out, waiters_left_out }
        },
    )
}

proptest! {
    #[test]
    fn a_stand_comes_back_and_no_part_of_it_does(stand in stand(6)) {
        let bytes = stand.encode();
        for cut in 0..bytes.len() {
            prop_assert_eq!(Stand::decode(&bytes[..cut]), None, "cut after {} bytes", cut);
        }
        prop_assert_eq!(Stand::decode(&bytes), Some(stand));
    }

    #[test]
    fn whom_there_is_no_room_for_is_counted(stand in stand(100)) {
        let bytes = stand.encode();
        prop_assert!(bytes.len() <= STAND_BYTES_MAX);
        let read = Stand::decode(&bytes).expect("what was written can be read");
        let (holders, waiters) = (read.holders.len(), read.waiters.len());
        prop_assert_eq!(&read.holders[..], &stand.holders[..holders]);
        prop_assert_eq!(&read.waiters[..], &stand.waiters[..waiters]);
        prop_assert_eq!(
            (holders as u32 + read.holders_left_out, waiters as u32 + read.waiters_left_out),
            (
                stand.holders.len() as u32 + stand.holders_left_out,
                stand.waiters.len() as u32 + stand.waiters_left_out
            )
        );
        let fits = bytes.len() + 200 <= STAND_BYTES_MAX;
        prop_assert!(!fits || holders == stand.holders.len().min(STAND_HOLDERS_MAX));
        prop_assert!(!fits || waiters == stand.waiters.len().min(STAND_WAITERS_MAX));
    }

    #[test]
    fn bytes_of_anybody_are_a_stand_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [&[b'S', b'S', FORMAT][..], &bytes].concat();
        if let Some(stand) = Stand::decode(&bytes) {
            prop_assert_eq!(Stand::decode(&stand.encode()), Some(stand));
        }
    }

    #[test]
    fn a_stand_with_a_byte_changed_is_a_stand_or_none(stand in stand(4), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = stand.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(stand) = Stand::decode(&bytes) {
            prop_assert_eq!(Stand::decode(&stand.encode()), Some(stand));
        }
    }
}

#[test]
fn more_than_there_may_be_is_no_stand() {
    let bytes = Stand::default().encode();
    assert_eq!(Stand::decode(&bytes), Some(Stand::default()));
    let too_long = [&bytes[..], &[0; STAND_BYTES_MAX]].concat();
    let too_many = [&bytes[..HEADER_BYTES - 4], &[33, 0, 0, 0], &[0; 33 * 20]].concat();
    let of_later = [&b"SS\x02"[..], &bytes[3..]].concat();
    for nonsense in [&too_long[..], &too_many, &of_later, b"", b"SS"] {
        assert_eq!(Stand::decode(nonsense), None);
    }
}
