//! Format 1 is what it was, and what is no record is an error.

use super::*;
use proptest::prelude::*;

const GOLDEN: &str = include_str!("../../tests/golden/record-1.txt");

fn id(n: u128, seq: u64) -> AskId {
    AskId { incarnation: Incarnation(n << 64 | n), seq }
}

/// The records of the golden file, by name.
fn golden() -> Vec<(&'static str, Record)> {
    let tenure = |n, units| Tenure {
        id: id(n, 7),
        units,
        until: StoreTime(1_700_000_010_000_000),
        range: FenceRange { first: 1_700_000_000_100_002, last: 1_700_000_000_104_097 },
    };
    let until = StoreTime(1_700_000_003_000_000);
    let entry = |n, offered| Entry { id: id(n, 3), units: 2, offered, upgrade: false, until };
    let done = Done { incarnation: Incarnation(5), seq: 1 << 52, until: StoreTime(1_700_000_002_000_000) };
    let base = Record { last: 1_700_000_000_104_097, limit: 4, ..Record::default() };
    vec![
        ("one tenure", Record { limit: u32::MAX, tenures: [tenure(1, u32::MAX)].into(), ..base.clone() }),
        (
            "everything",
            Record {
                tenures: [tenure(1, 1), tenure(2, 1)].into_iter().collect(),
                queue: [entry(3, true), entry(4, false)].into(),
                done: [done].into(),
                ..base.clone()
            },
        ),
        ("only a tombstone", Record { last: 0, limit: 0, done: [done].into(), ..base.clone() }),
        (
            "upgrades",
            Record {
                tenures: [tenure(1, 1)].into(),
                queue: [
                    Entry { upgrade: true, ..entry(1, false) },
                    Entry { upgrade: true, ..entry(2, true) },
                ]
                .into(),
                ..base
            },
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn format_1_is_the_golden_file() {
    let written: Vec<String> =
        golden().into_iter().map(|(name, record)| format!("{name}: {}", hex(&record.encode()))).collect();
    let wanted: Vec<&str> =
        GOLDEN.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(written, wanted);
}

#[test]
fn golden_records_are_read() {
    for (name, record) in golden() {
        assert_eq!(Record::decode(&record.encode()), Ok(record), "{name}");
    }
}

#[test]
fn what_is_cut_or_longer_is_corrupt() {
    for (_, record) in golden() {
        let bytes = record.encode();
        for cut in 0..bytes.len() {
            assert!(matches!(Record::decode(&bytes[..cut]), Err(RecordError::Corrupt(_))));
        }
        assert!(matches!(Record::decode(&[bytes, vec![0]].concat()), Err(RecordError::Corrupt(_))));
    }
}

#[test]
fn a_newer_format_is_told_apart() {
    let mut bytes = golden().remove(0).1.encode();
    bytes[2] = 2;
    assert_eq!(Record::decode(&bytes), Err(RecordError::TooNew(2)));
    bytes[2] = 0;
    assert!(matches!(Record::decode(&bytes), Err(RecordError::Corrupt(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [b"SL\x01", body.as_slice()].concat();
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(record.encode().len(), bytes.len());
        }
    }
}
