//! Scenario files: stories of sidecars, clients and one store, with what must come of them.
//!
//! A line that begins with `> ` is done; the lines under it are what followed, word for word. `BLESS=1 cargo test -p
//! sidelock-engine --test scenarios` writes what follows now into the files, for a person to read in the diff.
//!
//! Every message between a sidecar and the store takes half a millisecond; times are shown since the start.

#![allow(clippy::unwrap_used, reason = "a story that can not be read ends the test, as it should")]

mod story;

use std::path::Path;

#[test]
fn every_story_ends_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scenario found");
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for path in paths {
        let written = std::fs::read_to_string(&path).unwrap();
        let told = story::tell(&written);
        if bless {
            std::fs::write(&path, told).unwrap();
        } else if told != written {
            wrong.push(format!("{}:\n{}", path.display(), first_difference(&written, &told)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn first_difference(written: &str, told: &str) -> String {
    let mut lines = written.lines().zip(told.lines().chain(std::iter::repeat("(nothing)"))).enumerate();
    match lines.find(|(_, (written, told))| written != told) {
        Some((number, (written, told))) => {
            format!("  line {}\n  written: {written}\n  told:    {told}", number + 1)
        }
        None => "  one is longer than the other".into(),
    }
}
