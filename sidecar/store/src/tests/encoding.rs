//! The formats are what they were, and what is no record is an error.

use super::*;
use proptest::prelude::*;

const GOLDEN_1: &str = include_str!("../../tests/golden/record-1.txt");
const GOLDEN_2: &str = include_str!("../../tests/golden/record-2.txt");

fn id(n: u128, seq: u64) -> AskId {
    AskId { incarnation: Incarnation(n << 64 | n), seq }
}

/// The records of both golden files, by name.
fn golden() -> Vec<(&'static str, Record)> {
    [golden_1(), golden_2()].concat()
}

fn golden_1() -> Vec<(&'static str, Record)> {
    let tenure = |n, units| Tenure {
        id: id(n, 7),
        units,
        until: StoreTime(1_700_000_010_000_000),
        origin: 1_700_000_000_100_002,
        range: FenceRange { first: 1_700_000_000_100_002, last: 1_700_000_000_104_097 },
    };
    let grown = |tenure: Tenure| Tenure { origin: tenure.origin - 1_000, ..tenure };
    let until = StoreTime(1_700_000_003_000_000);
    let entry = |n, offered| Entry { id: id(n, 3), units: 2, offered, upgrade: false, until };
    let done = Done { incarnation: Incarnation(5), seq: 1 << 52, until: StoreTime(1_700_000_002_000_000) };
    let kept = |result: &[u8]| Kept {
        tenure: id(1, 6),
        fence: 1_700_000_000_000_001,
        success: Success {
            finished_at: StoreTime(1_700_000_000_500_000),
            window_end: StoreTime(1_700_086_400_000_000),
            result: result.into(),
        },
    };
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
                ..base.clone()
            },
        ),
        ("only a success", Record { last: 0, limit: 0, kept: Some(kept(b"paid").into()), ..base.clone() }),
        (
            "a success without a result, and the next turn",
            Record { tenures: [tenure(1, u32::MAX)].into(), kept: Some(kept(b"").into()), ..base.clone() },
        ),
        (
            "one tenure that grew",
            Record { limit: u32::MAX, tenures: [grown(tenure(1, u32::MAX))].into(), ..base.clone() },
        ),
        (
            "one of two that grew, and a tombstone",
            Record {
                tenures: [tenure(1, 1), grown(tenure(2, 1))].into_iter().collect(),
                done: [done].into(),
                ..base
            },
        ),
    ]
}

/// What only format 2 can say.
fn golden_2() -> Vec<(&'static str, Record)> {
    let forced = |n, reason: &str| Forced {
        id: id(n, 9),
        until: StoreTime(1_700_000_009_000_000),
        order: Order { by: 1000, reason: reason.into() },
    };
    let everything = golden_1().remove(1).1;
    let last = everything.last;
    let taken = [forced(6, "stuck since noon"), forced(7, "ß")];
    vec![
        ("only what was taken", Record { last, limit: 4, forced: taken[..1].into(), ..Record::default() }),
        ("everything, and what was taken", Record { forced: taken.into(), ..everything }),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_formats_are_the_golden_files() {
    for (version, records, golden) in [(1, golden_1(), GOLDEN_1), (2, golden_2(), GOLDEN_2)] {
        let line = |(name, record): (&str, Record)| format!("{name}: {}", hex(&record.encode()));
        assert!(records.iter().all(|(_, record)| record.encode()[2] == version), "format {version}");
        let written: Vec<String> = records.into_iter().map(line).collect();
        let wanted: Vec<&str> =
            golden.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(written, wanted);
    }
}

#[test]
fn golden_records_are_read() {
    for (name, record) in golden() {
        assert_eq!(Record::decode(&record.encode()), Ok(record), "{name}");
    }
}

/// A version that knows none ended the tenure, and left it.
#[test]
fn the_origin_of_another_tenure_is_not_taken_for_that_of_one_who_comes_after() {
    let mut record = golden_1().remove(0).1;
    let seq = record.tenures[0].origin - 5_000;
    let stale = Done { incarnation: alias(&record.tenures[0]), seq, until: StoreTime(1_700_000_004_000_000) };
    let alone = record.clone();
    record.done.push(stale);
    assert_eq!(Record::decode(&record.encode()), Ok(alone));
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
fn format_2_without_what_makes_it_one_is_corrupt_and_so_is_format_1_with_it() {
    for (records, version) in [(golden_1(), 2), (golden_2(), 1)] {
        for (name, record) in records {
            let mut bytes = record.encode();
            let before = record.kept.as_ref().map_or(0, |kept| KEPT_BYTES + kept.success.result.len());
            bytes[before + 2] = version;
            assert!(matches!(Record::decode(&bytes), Err(RecordError::Corrupt(_))), "{name}");
        }
    }
}

#[test]
fn a_newer_format_is_told_apart() {
    let mut bytes = golden().remove(0).1.encode();
    bytes[2] = 3;
    assert_eq!(Record::decode(&bytes), Err(RecordError::TooNew(3)));
    bytes[2] = 0;
    assert!(matches!(Record::decode(&bytes), Err(RecordError::Corrupt(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(version in 1..=RECORD_VERSION, body in prop::collection::vec(any::<u8>(), 0..300)) {
        for magic in [[b'S', b'L', version], *b"SO\x01"] {
            let bytes = [&magic[..], body.as_slice()].concat();
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode().len(), bytes.len());
                prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
            }
        }
    }
}
