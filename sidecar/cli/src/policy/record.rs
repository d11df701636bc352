//! The record of a sidecar (`policy_log`), as files.
//!
//! Owns the order of its lines, and what is told of lines that are none. Must not know what is done with them.

use crate::failure::Failure;
use serde::Deserialize;
use sidelock_policy::Recorded;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One line, where it stands.
pub(crate) struct Line<'a> {
    pub(crate) file: &'a Path,
    pub(crate) number: usize,
    text: &'a str,
    unix_ms: u64,
}

/// Where there is something that is no line, and why it is none.
pub(crate) struct Unreadable {
    pub(crate) place: String,
    pub(crate) why: String,
}

/// All of a line that its order depends on: the rest is read when its turn comes.
#[derive(Deserialize)]
struct Timed {
    request: TimedRequest,
}

#[derive(Deserialize)]
struct TimedRequest {
    clock: TimedClock,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TimedClock {
    unix_ms: u64,
}

/// The files' text. `-` is standard input.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<(PathBuf, String)>, Failure> {
    let read = |file: &PathBuf| {
        let from = if file == Path::new("-") { Path::new("/dev/stdin") } else { file };
        let unreadable = |error| Failure::usage(format!("{} can not be read: {error}", file.display()));
        let bytes = fs::read(from).map_err(unreadable)?;
        // What is no text shows as a line that is none.
        Ok((file.clone(), String::from_utf8_lossy(&bytes).into_owned()))
    };
    files.iter().map(read).collect()
}

/// Their lines in the order of their time, those of one moment as they stand; and what is none.
pub(crate) fn lines(texts: &[(PathBuf, String)]) -> (Vec<Line<'_>>, Vec<Unreadable>) {
    let (mut lines, mut unreadable) = (Vec::new(), Vec::new());
    for (file, text) in texts {
        for (text, number) in text.lines().zip(1..).filter(|(text, _)| !text.is_empty()) {
            match serde_json::from_str::<Timed>(text) {
                Ok(timed) => {
                    lines.push(Line { file, number, text, unix_ms: timed.request.clock.unix_ms });
                }
                Err(error) => {
                    unreadable.push(Unreadable { place: place(file, number), why: error.to_string() });
                }
            }
        }
    }
    lines.sort_by_key(|line| line.unix_ms);
    (lines, unreadable)
}

impl Line<'_> {
    /// The request on this line.
    pub(crate) fn read(&self) -> Result<Recorded, Unreadable> {
        Recorded::parse(self.text).map_err(|why| Unreadable { place: self.place(), why })
    }

    /// `FILE:NUMBER`.
    pub(crate) fn place(&self) -> String {
        place(self.file, self.number)
    }
}

fn place(file: &Path, number: usize) -> String {
    format!("{}:{number}", file.display())
}

/// Lines that a sidecar could not write, by the gaps in the numbers of those that it did.
#[derive(Default)]
pub(crate) struct Gaps(BTreeMap<String, (u64, u64, u64)>);

impl Gaps {
    /// Takes notice of a line.
    pub(crate) fn saw(&mut self, recorded: &Recorded) {
        let seq = recorded.seq;
        let life = self.0.entry(recorded.request.peer.sidecar.to_string()).or_insert((seq, seq, 0));
        *life = (life.0.min(seq), life.1.max(seq), life.2 + 1);
    }

    /// How many are missing between those that were seen.
    pub(crate) fn missing(&self) -> u64 {
        self.0.values().map(|(first, last, seen)| (last - first + 1).saturating_sub(*seen)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, sidecar: &str, unix_ms: u64) -> String {
        format!(
            r#"{{"seq":{seq},"decided":"admitted","request":{{"keys":["k"],"peer":{{"sidecar":"{sidecar}"}},"clock":{{"unix-ms":{unix_ms}}}}}}}"#
        )
    }

    #[test]
    fn lines_of_several_files_come_in_the_order_of_their_time() {
        let one = [line(1, "a", 10), "no line".into(), String::new(), line(2, "a", 30)].join("\n");
        let texts = [(PathBuf::from("one"), one), (PathBuf::from("two"), line(1, "b", 20))];
        let (lines, unreadable) = lines(&texts);
        let places: Vec<_> = lines.iter().map(Line::place).collect();
        assert_eq!(places, ["one:1", "two:1", "one:4"]);
        assert!(lines.iter().all(|line| line.read().is_ok()));
        assert_eq!((unreadable.len(), &*unreadable[0].place), (1, "one:2"));
    }

    #[test]
    fn a_line_with_a_time_and_nothing_else_is_told_when_its_turn_comes() {
        let texts = [(PathBuf::from("f"), r#"{"request":{"clock":{"unix-ms":1}}}"#.to_owned())];
        let (lines, _) = lines(&texts);
        let Err(unreadable) = lines[0].read() else { panic!("it has no number") };
        assert!(unreadable.place == "f:1" && unreadable.why.contains("seq"), "{}", unreadable.why);
    }

    #[test]
    fn what_is_missing_shows_in_each_life_of_a_sidecar() {
        let mut gaps = Gaps::default();
        for text in [line(3, "a", 1), line(4, "a", 1), line(7, "a", 1), line(1, "b", 1), line(2, "b", 1)] {
            gaps.saw(&Recorded::parse(&text).unwrap());
        }
        assert_eq!(gaps.missing(), 2);
    }
}
