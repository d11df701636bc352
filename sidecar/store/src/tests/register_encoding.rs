//! Format 1 of registers is what it was, and what is no register is an error.

use super::*;
use proptest::prelude::*;
use sidelock_engine::{AskId, Incarnation};

const GOLDEN: &str = include_str!("../../tests/golden/register-1.txt");

fn etag(n: u128) -> Etag {
    let writer = AskId { incarnation: Incarnation(n << 64 | n), seq: 7 };
    Etag { number: 1_700_000_000_000_000, writer }
}

/// The registers of the golden file, by name.
fn golden() -> Vec<(&'static str, Register)> {
    let until = StoreTime(1_700_000_002_000_000);
    let plain = Register {
        etag: etag(1),
        repeats_until: until,
        value: Some(b"value"[..].into()),
        ..Register::default()
    };
    let done = Done { etag: etag(2), until };
    let watcher = Watcher { incarnation: Incarnation(5), until };
    let everything = Register {
        fence_seen: 1 << 52,
        value: Some(b""[..].into()),
        done: vec![done, Done { etag: etag(3), until }],
        watchers: vec![watcher],
        ..plain.clone()
    };
    let deleted = Register { until: StoreTime(1_700_000_010_000_000), value: None, ..plain.clone() };
    let watched = Register { until, watchers: vec![watcher], ..Register::default() };
    vec![("plain", plain), ("everything", everything), ("deleted", deleted), ("only watched", watched)]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn format_1_is_the_golden_file() {
    let written: Vec<String> =
        golden().into_iter().map(|(name, register)| format!("{name}: {}", hex(&register.encode()))).collect();
    let wanted: Vec<&str> =
        GOLDEN.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(written, wanted);
}

#[test]
fn golden_registers_are_read() {
    for (name, register) in golden() {
        assert_eq!(Register::decode(&register.encode()), Ok(register), "{name}");
    }
}

#[test]
fn what_is_cut_within_its_lists_or_newer_is_an_error() {
    let bytes = golden().remove(1).1.encode();
    for cut in 0..bytes.len() {
        assert!(matches!(Register::decode(&bytes[..cut]), Err(RecordError::Corrupt(_))), "{cut}");
    }
    let deleted = [golden().remove(2).1.encode(), vec![0]].concat();
    assert!(matches!(Register::decode(&deleted), Err(RecordError::Corrupt(_))), "a value that is not there");
    let mut newer = bytes;
    newer[2] = 2;
    assert_eq!(Register::decode(&newer), Err(RecordError::TooNew(2)));
}

proptest! {
    #[test]
    fn any_bytes_are_a_register_or_an_error(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [b"SR\x01", body.as_slice()].concat();
        if let Ok(register) = Register::decode(&bytes) {
            prop_assert_eq!(register.encode(), bytes);
        }
    }
}
