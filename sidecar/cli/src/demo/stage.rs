//! How the demo looks: a line for everything that happens, with a column for each process.
//!
//! Owns columns, colours and pace, and remembers what was shown. Must not know the story.

use crate::failure::Failure;
use crate::output::try_say;
use crate::paint::{Style, colours};
use std::time::{Duration, Instant};

/// The processes, each with its colour.
pub(super) const NAMES: [(&str, Style); 3] =
    [("ana", Style::Cyan), ("ben", Style::Yellow), ("cleo", Style::Magenta)];
/// Columns of one process.
const LANE: usize = 6;

/// What a process is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Idle,
    Waits,
    Holds,
    Frozen,
    Dead,
}

impl Part {
    fn sign(self) -> &'static str {
        match self {
            Part::Idle => " ",
            Part::Waits => "○",
            Part::Holds => "●",
            Part::Frozen => "‖",
            Part::Dead => "✗",
        }
    }
}

/// A piece of a line, all in one style.
pub(super) type Span = (Style, String);

/// A line that was shown, and when.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at: Duration,
    pub(super) spans: Vec<Span>,
}

/// See the module.
pub(super) struct Stage {
    begun: Instant,
    pace: f64,
    colours: bool,
    parts: [Part; NAMES.len()],
    lines: Vec<Line>,
    /// Nobody reads it any more.
    unread: bool,
}

impl Stage {
    pub(super) fn new(pace: f64) -> Stage {
        Stage {
            begun: Instant::now(),
            pace,
            colours: colours(),
            parts: [Part::Idle; NAMES.len()],
            lines: Vec::new(),
            unread: false,
        }
    }

    /// All that was shown.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether its reader has gone, which ends the demo and is no failure.
    pub(super) fn is_unread(&self) -> bool {
        self.unread
    }

    /// From now on, this process is at that.
    pub(super) fn part(&mut self, actor: usize, part: Part) {
        self.parts[actor] = part;
    }

    /// Time to read.
    pub(super) async fn pause(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis).mul_f64(self.pace)).await;
    }

    /// A line of prose.
    pub(super) fn prose(&mut self, style: Style, text: impl Into<String>) -> Result<(), Failure> {
        self.show(vec![(style, text.into())])
    }

    /// The name of a part of the story, and of the processes above their columns.
    pub(super) fn chapter(&mut self, title: &str) -> Result<(), Failure> {
        self.show(Vec::new())?;
        let mut spans = vec![(Style::Plain, " ".repeat(9))];
        spans.extend(NAMES.map(|(name, style)| (style, format!("{name:<LANE$}"))));
        spans.push((Style::Bold, title.to_owned()));
        self.show(spans)
    }

    /// Something that happened: the time, who is at what, and words.
    pub(super) fn happens(&mut self, words: Vec<Span>) -> Result<(), Failure> {
        let mut spans = vec![(Style::Dim, format!("{:6.2}s  ", self.begun.elapsed().as_secs_f64()))];
        for (part, (_, style)) in self.parts.iter().zip(NAMES) {
            let style = if matches!(part, Part::Dead | Part::Frozen) { Style::Red } else { style };
            spans.push((style, format!(" {}{}", part.sign(), " ".repeat(LANE - 2))));
        }
        spans.extend(words);
        self.show(spans)
    }

    /// A line, as it is.
    pub(super) fn show(&mut self, spans: Vec<Span>) -> Result<(), Failure> {
        let text: String = spans.iter().map(|(style, text)| style.paint(text, self.colours)).collect();
        try_say(&(text.trim_end().to_owned() + "\n")).map_err(|error| {
            self.unread = true;
            Failure::broken(format!("can not write: {error}"))
        })?;
        self.lines.push(Line { at: self.begun.elapsed(), spans });
        Ok(())
    }
}

/// The name of a process, in its colour.
pub(super) fn name(actor: usize) -> Span {
    let (name, style) = NAMES[actor];
    (style, name.to_owned())
}

/// Words without a colour.
pub(super) fn words(text: impl Into<String>) -> Span {
    (Style::Plain, text.into())
}
