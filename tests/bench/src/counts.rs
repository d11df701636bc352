//! Instructions of the hot paths, counted by valgrind, beside those of the last commit that wrote them down.
//!
//! Owns the counting and the file. Unlike time, instructions are the same on a busy machine; a hash seed or a compiler moves
//! them by parts of a percent. Informs, and never fails a build.

use crate::Outcome;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A path is run so often, and so much oftener: the difference is the path without the program around it.
const TIMES: [u64; 2] = [2_000, 12_000];
/// A change of more than this many percent is marked.
const NOTABLE: f64 = 5.0;

/// Counts all paths and compares them with the file; writes the file if asked to.
pub(crate) fn counts(bless: bool) -> Outcome<String> {
    let paths = std::env::current_exe()?.with_file_name("paths");
    let names = String::from_utf8(Command::new(&paths).output()?.stdout)?;
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("counts.txt");
    let before = read(&std::fs::read_to_string(&file).unwrap_or_default());
    let mut now = BTreeMap::new();
    for name in names.lines() {
        let [few, many] = TIMES.map(|times| instructions(&paths, name, times));
        now.insert(name.to_owned(), (many? - few?) / (TIMES[1] - TIMES[0]));
    }
    if bless {
        let lines: Vec<_> = now.iter().map(|(name, count)| format!("{count:>7} {name}\n")).collect();
        std::fs::write(&file, lines.concat())?;
    }
    Ok(table(&before, &now))
}

/// How many instructions a run of the program takes.
fn instructions(program: &Path, name: &str, times: u64) -> Outcome<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = valgrind.args([name, &times.to_string()]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    Ok(count.ok_or_else(|| format!("valgrind counted nothing: {said}"))?.1.trim().parse()?)
}

/// A file of lines `COUNT NAME`.
fn read(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (count, name) = line.trim().split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn table(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> String {
    let mut table = String::from("| path | instructions | change | |\n|---|---:|---:|---|\n");
    for (name, &count) in now {
        let (change, mark) = match before.get(name) {
            None => (String::from("new"), ""),
            Some(&before) => {
                let percent = (count as f64 / before as f64 - 1.0) * 100.0;
                let mark = if percent.abs() > NOTABLE { "**notable**" } else { "" };
                (format!("{percent:+.1} %"), mark)
            }
        };
        writeln!(table, "| {name} | {count} | {change} | {mark} |").expect("a String takes text");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_and_a_large_one_marked() {
        let before = read("   1000 one: a path\n    200 two\n");
        let now = [("one: a path", 1010), ("two", 220), ("three", 7)].map(|(name, n)| (name.to_owned(), n));
        let table = table(&before, &now.into());
        assert!(table.contains("| one: a path | 1010 | +1.0 % |  |"), "{table}");
        assert!(table.contains("| two | 220 | +10.0 % | **notable** |"), "{table}");
        assert!(table.contains("| three | 7 | new |  |"), "{table}");
    }
}
