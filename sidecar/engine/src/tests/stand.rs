//! Stands as bytes: they come back, no part of one does, and nothing that anybody sends does harm.

use super::*;
use crate::store::KEYS_ASKED_MAX;
use proptest::prelude::*;

fn party() -> impl Strategy<Value = Party> {
    let who = ("[a-zß]{0,40}", any::<u32>(), prop::option::of("[a-zß ]{0,40}"), any::<u32>(), any::<u64>());
    who.prop_map(|(app, uid, owner, units, since)| {
        let owner = owner.map(|owner| Owner(owner.into()));
        Party { app: app.into(), uid, owner, units, since: StoreTime(since) }
    })
}

fn stand(most: usize) -> impl Strategy<Value = Stand> {
    let flags = (any::<bool>(), any::<bool>(), prop::option::of(any::<u32>()));
    let holder = (party(), flags, any::<(u64, u64)>()).prop_map(
        |(who, (reserved, upgrades, reference), (fence, until))| {
            let until = StoreTime(until);
            StandHolder { who, reserved, upgrades, reference, fence, until }
        },
    );
    let waiter = (party(), any::<bool>(), any::<i32>()).prop_map(|(who, upgrades, priority)| StandWaiter {
        who,
        upgrades,
        priority,
    });
    let parties = (prop::collection::vec(holder, 0..most), prop::collection::vec(waiter, 0..most));
    let cooling = prop::option::of((1..u32::MAX, any::<u64>().prop_map(StoreTime)));
    (parties, (any::<bool>(), cooling), any::<u32>(), any::<(u16, u16)>()).prop_map(
        |((holders, waiters), (idle, cooling), limit, more)| {
            let (holders_left_out, waiters_left_out) = (more.0.into(), more.1.into());
            Stand { idle, cooling, limit, holders, waiters, holders_left_out, waiters_left_out }
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
    fn an_answer_about_one_key_says_as_much_as_a_stand_can(stand in stand(40)) {
        let read = decode_all(&encode_all(std::slice::from_ref(&stand))).expect("can be read");
        prop_assert_eq!(read, vec![Stand::decode(&stand.encode()).expect("can be read")]);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_answer_has_a_stand_for_each_key_whatever_they_are(stands in prop::collection::vec(stand(6), 0..KEYS_ASKED_MAX)) {
        let bytes = encode_all(&stands);
        prop_assert!(bytes.len() <= ANSWER_BYTES_MAX);
        let read = decode_all(&bytes).expect("what was written can be read");
        prop_assert_eq!(read.len(), stands.len());
        for (read, stand) in read.iter().zip(&stands) {
            prop_assert_eq!(read.idle, stand.idle);
            prop_assert_eq!(
                read.holders.len() as u32 + read.holders_left_out,
                stand.holders.len() as u32 + stand.holders_left_out
            );
            prop_assert_eq!(
                read.waiters.len() as u32 + read.waiters_left_out,
                stand.waiters.len() as u32 + stand.waiters_left_out
            );
        }
    }
}

/// What the first keys do not need is there for the last one.
#[test]
fn room_that_is_left_goes_to_those_after() {
    let who = Party { app: "billing".into(), uid: 1, owner: None, units: 1, since: StoreTime(1) };
    let holder =
        StandHolder { who, reserved: false, upgrades: false, reference: None, fence: 1, until: StoreTime(2) };
    let crowded = Stand { holders: vec![holder; STAND_HOLDERS_MAX], ..Stand::default() };
    let stands = [vec![Stand::default(); KEYS_ASKED_MAX - 1], vec![crowded.clone()]].concat();
    let read = decode_all(&encode_all(&stands)).expect("can be read");
    assert_eq!(read.last(), Some(&crowded));
    let all = decode_all(&encode_all(&vec![crowded; KEYS_ASKED_MAX])).expect("can be read");
    assert!(all.iter().all(|stand| (1..=3).contains(&stand.holders.len())), "each has its share");
}

#[test]
fn an_answer_that_is_too_long_or_cut_is_none() {
    let bytes = encode_all(&[Stand::default(), Stand::default()]);
    for cut in 1..bytes.len() {
        assert_eq!(decode_all(&bytes[..cut]).is_some(), cut == bytes.len() / 2, "cut after {cut} bytes");
    }
    let many: Vec<u8> =
        bytes.iter().copied().cycle().take(ANSWER_BYTES_MAX / bytes.len() * bytes.len()).collect();
    assert!(decode_all(&many).is_some());
    assert_eq!(decode_all(&[many, bytes].concat()), None);
}

#[test]
fn more_than_there_may_be_is_no_stand() {
    let bytes = Stand::default().encode();
    assert_eq!(Stand::decode(&bytes), Some(Stand::default()));
    let too_long = [&bytes[..], &[0; STAND_BYTES_MAX]].concat();
    let (counts_at, empty_holder) = (16, [0; 36]);
    let many = |count: u8| {
        [&bytes[..counts_at], &[count, 0], &bytes[counts_at + 2..], &empty_holder.repeat(count.into())]
            .concat()
    };
    assert!(Stand::decode(&many(32)).is_some());
    let too_many = many(33);
    let of_later = [&b"SS\x02"[..], &bytes[3..]].concat();
    for nonsense in [&too_long[..], &too_many, &of_later, b"", b"SS"] {
        assert_eq!(Stand::decode(nonsense), None);
    }
}
