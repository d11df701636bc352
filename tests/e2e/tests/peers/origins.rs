//! The table of origins in `main.rs` is what the cases say of themselves, in this test and in the others.
//!
//! A case says `origin: SUITE, FILE: CASE` in a comment of its own.

use std::collections::BTreeMap;
use std::path::Path;

/// Cases that were promised to be translated at least.
const CASES_MIN: usize = 40;
const MARK: &str = "// origin: ";

/// Cases by suite, of all sources in this folder and below.
fn count(folder: &Path, cases: &mut BTreeMap<String, usize>) {
    for entry in std::fs::read_dir(folder).expect("a folder of tests") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            count(&path, cases);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            for origin in text.lines().filter_map(|line| line.trim_start().strip_prefix(MARK)) {
                let suite = origin.split_once(", ").map(|(suite, _)| suite.to_owned());
                *cases.entry(suite.unwrap_or_else(|| panic!("{path:?}: {origin:?}"))).or_default() += 1;
            }
        }
    }
}

#[test]
fn the_table_of_origins_is_right() {
    let mut cases = BTreeMap::new();
    count(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut cases);
    let rows = cases.iter().map(|(suite, number)| format!("//! | {suite} | {number} |\n"));
    let table = rows.collect::<String>();
    assert!(include_str!("main.rs").contains(&table), "in main.rs it should be:\n{table}");
    assert!(cases.values().sum::<usize>() >= CASES_MIN, "{cases:?}");
}
