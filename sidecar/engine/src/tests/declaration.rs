//! Declarations as bytes: they come back, no part of one does, and nothing that anybody sends does harm.

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

fn declaration(most: usize) -> impl Strategy<Value = Declaration> {
    let flags = (any::<bool>(), any::<bool>(), prop::option::of(any::<u32>()));
    let holder = (party(), flags, any::<(u64, u64)>()).prop_map(
        |(who, (reserved, upgrades, reference), (fence, until))| {
            let until = StoreTime(until);
            DeclaredHolder { who, reserved, upgrades, reference, fence, until }
        },
    );
    let waiter = (party(), any::<bool>(), any::<i32>())
        .prop_map(|(who, upgrades, priority)| DeclaredWaiter { who, upgrades, priority });
    let parties = (prop::collection::vec(holder, 0..most), prop::collection::vec(waiter, 0..most));
    let cooling = prop::option::of((1..u32::MAX, any::<u64>().prop_map(StoreTime)));
    (parties, (any::<bool>(), cooling), any::<u32>(), any::<(u16, u16)>()).prop_map(
        |((holders, waiters), (idle, cooling), limit, more)| {
            let (holders_left_out, waiters_left_out) = (more.0.into(), more.1.into());
            Declaration { idle, cooling, limit, holders, waiters, holders_left_out, waiters_left_out }
        },
    )
}

proptest! {
    #[test]
    fn a_declaration_comes_back_and_no_part_of_it_does(declaration in declaration(6)) {
        let bytes = declaration.encode();
        for cut in 0..bytes.len() {
            prop_assert_eq!(Declaration::decode(&bytes[..cut]), None, "cut after {} bytes", cut);
        }
        prop_assert_eq!(Declaration::decode(&bytes), Some(declaration));
    }

    #[test]
    fn whom_there_is_no_room_for_is_counted(declaration in declaration(100)) {
        let bytes = declaration.encode();
        prop_assert!(bytes.len() <= DECLARATION_BYTES_MAX);
        let read = Declaration::decode(&bytes).expect("what was written can be read");
        let (holders, waiters) = (read.holders.len(), read.waiters.len());
        prop_assert_eq!(&read.holders[..], &declaration.holders[..holders]);
        prop_assert_eq!(&read.waiters[..], &declaration.waiters[..waiters]);
        prop_assert_eq!(
            (holders as u32 + read.holders_left_out, waiters as u32 + read.waiters_left_out),
            (
                declaration.holders.len() as u32 + declaration.holders_left_out,
                declaration.waiters.len() as u32 + declaration.waiters_left_out
            )
        );
        let fits = bytes.len() + 200 <= DECLARATION_BYTES_MAX;
        prop_assert!(!fits || holders == declaration.holders.len().min(DECLARED_HOLDERS_MAX));
        prop_assert!(!fits || waiters == declaration.waiters.len().min(DECLARED_WAITERS_MAX));
    }

    #[test]
    fn an_answer_about_one_key_says_as_much_as_a_declaration_can(declaration in declaration(40)) {
        let read = decode_all(&encode_all(std::slice::from_ref(&declaration))).expect("can be read");
        prop_assert_eq!(read, vec![Declaration::decode(&declaration.encode()).expect("can be read")]);
    }

    #[test]
    fn bytes_of_anybody_are_a_declaration_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [&[b'S', b'S', FORMAT][..], &bytes].concat();
        if let Some(declaration) = Declaration::decode(&bytes) {
            prop_assert_eq!(Declaration::decode(&declaration.encode()), Some(declaration));
        }
    }

    #[test]
    fn a_declaration_with_a_byte_changed_is_one_or_none(declaration in declaration(4), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = declaration.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(declaration) = Declaration::decode(&bytes) {
            prop_assert_eq!(Declaration::decode(&declaration.encode()), Some(declaration));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_answer_has_a_declaration_for_each_key_whatever_they_are(declarations in prop::collection::vec(declaration(6), 0..KEYS_ASKED_MAX)) {
        let bytes = encode_all(&declarations);
        prop_assert!(bytes.len() <= ANSWER_BYTES_MAX);
        let read = decode_all(&bytes).expect("what was written can be read");
        prop_assert_eq!(read.len(), declarations.len());
        for (read, declaration) in read.iter().zip(&declarations) {
            prop_assert_eq!(read.idle, declaration.idle);
            prop_assert_eq!(
                read.holders.len() as u32 + read.holders_left_out,
                declaration.holders.len() as u32 + declaration.holders_left_out
            );
            prop_assert_eq!(
                read.waiters.len() as u32 + read.waiters_left_out,
                declaration.waiters.len() as u32 + declaration.waiters_left_out
            );
        }
    }
}

/// What the first keys do not need is there for the last one.
#[test]
fn room_that_is_left_goes_to_those_after() {
    let who = Party { app: "billing".into(), uid: 1, owner: None, units: 1, since: StoreTime(1) };
    let holder = DeclaredHolder {
        who,
        reserved: false,
        upgrades: false,
        reference: None,
        fence: 1,
        until: StoreTime(2),
    };
    let crowded = Declaration { holders: vec![holder; DECLARED_HOLDERS_MAX], ..Declaration::default() };
    let declarations = [vec![Declaration::default(); KEYS_ASKED_MAX - 1], vec![crowded.clone()]].concat();
    let read = decode_all(&encode_all(&declarations)).expect("can be read");
    assert_eq!(read.last(), Some(&crowded));
    let all = decode_all(&encode_all(&vec![crowded; KEYS_ASKED_MAX])).expect("can be read");
    assert!(all.iter().all(|declaration| (1..=3).contains(&declaration.holders.len())), "each has its share");
}

#[test]
fn an_answer_that_is_too_long_or_cut_is_none() {
    let bytes = encode_all(&[Declaration::default(), Declaration::default()]);
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
    let bytes = Declaration::default().encode();
    assert_eq!(Declaration::decode(&bytes), Some(Declaration::default()));
    let too_long = [&bytes[..], &[0; DECLARATION_BYTES_MAX]].concat();
    let (counts_at, empty_holder) = (16, [0; 36]);
    let many = |count: u8| {
        [&bytes[..counts_at], &[count, 0], &bytes[counts_at + 2..], &empty_holder.repeat(count.into())]
            .concat()
    };
    assert!(Declaration::decode(&many(32)).is_some());
    let too_many = many(33);
    let of_later = [&b"SS\x02"[..], &bytes[3..]].concat();
    for nonsense in [&too_long[..], &too_many, &of_later, b"", b"SS"] {
        assert_eq!(Declaration::decode(nonsense), None);
    }
}
