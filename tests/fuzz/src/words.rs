//! Small languages: durations, and patterns over keys. A pattern and a key stand on two lines; each is also read as a
//! duration.
//!
//! What must hold: no panic; a duration that was understood is written so that it is understood as the same; and a
//! pattern covers exactly the keys that it covers by the words of its documentation, taken literally.

use crate::Marks;
use sidelock_daemon::config::{Class, Deadlock, format_duration, parse_duration};

/// Pieces of both languages.
pub(crate) const WORDS: &[&str] =
    &["ms", "s", "m", "h", "d", "*", "**", "?", "/", "a", "é", "€", "18446744073709551615"];

/// Characters of a pattern and of a key, so that the literal reading stays quick. A key has 512 bytes.
const CHARACTERS_MAX: usize = 512;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "500ms",
        "1m30s\n24h",
        "7d12h30m15s500ms",
        "pay/**\npay/eu/42",
        "**/b*/c\nb/a/bx/c",
        "a?c/*/x*y\nabc/d/xzzy",
        "*a*b\nxxaxxab",
        "?€*\né€ab",
    ];
    seeds.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub(crate) fn check(bytes: &[u8], marks: &mut Marks) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, key) = text.split_once('\n').unwrap_or((&text, ""));
    for text in [pattern, key] {
        check_duration(text, marks);
    }
    let cut = |text: &str| text.chars().take(CHARACTERS_MAX).collect::<String>();
    check_pattern(&cut(pattern), &cut(key), marks);
}

fn check_duration(text: &str, marks: &mut Marks) {
    match parse_duration(text) {
        Ok(span) => {
            let written = format_duration(span);
            marks.saw(format!("duration in {}", written.trim_start_matches(|c: char| c.is_ascii_digit())));
            assert_eq!(parse_duration(&written), Ok(span), "{text} is written as {written}");
        }
        Err(error) => assert!(error.contains("500ms"), "the remedy is said: {error}"),
    }
}

fn check_pattern(pattern: &str, key: &str, marks: &mut Marks) {
    let class = Class {
        name: "fuzz".into(),
        pattern: pattern.to_owned(),
        limit: None,
        default_wait: None,
        max_hold: None,
        deadlock: Deadlock::Detect,
    };
    let covers = class.matches(key);
    let pieces = pieces(pattern);
    if pieces.len() > 1 {
        let kinds = pieces.iter().filter(|piece| !matches!(piece, Piece::Just(_))).count();
        marks.saw(format!("{} of {} pieces: {covers}", kinds.min(6), pieces.len().min(6)));
    }
    assert_eq!(covers, covers_literally(&pieces, key), "{pattern:?} and {key:?}");
}

/// What a pattern is made of.
enum Piece {
    /// `**`: anything.
    Anything,
    /// `*`: anything but `/`.
    Run,
    /// `?`: one character but `/`.
    One,
    /// Itself.
    Just(char),
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        pieces.push(match c {
            '*' if rest.next_if_eq(&'*').is_some() => Piece::Anything,
            '*' => Piece::Run,
            '?' => Piece::One,
            c => Piece::Just(c),
        });
    }
    pieces
}

/// Keeps every place of the key that the pieces so far can reach.
fn covers_literally(pieces: &[Piece], key: &str) -> bool {
    let key: Vec<char> = key.chars().collect();
    let mut reached = vec![false; key.len() + 1];
    reached[0] = true;
    for piece in pieces {
        let mut next = vec![false; key.len() + 1];
        for at in (0..=key.len()).filter(|at| reached[*at]) {
            let end = match piece {
                Piece::Anything => key.len(),
                Piece::Run => at + key[at..].iter().take_while(|c| **c != '/').count(),
                Piece::One | Piece::Just(_) => at,
            };
            match piece {
                Piece::Anything | Piece::Run => next[at..=end].fill(true),
                Piece::One => drop(key.get(at).filter(|c| **c != '/').map(|_| next[at + 1] = true)),
                Piece::Just(c) => drop(key.get(at).filter(|k| *k == c).map(|_| next[at + 1] = true)),
            }
        }
        reached = next;
    }
    reached[key.len()]
}
