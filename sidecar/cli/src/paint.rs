//! Colours: whether, and which.
//!
//! Owns the decision (a terminal, and nobody said NO_COLOR) and the escape codes. Must not know what is painted.

use std::io::IsTerminal;

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Dim,
    Bold,
    Green,
    Yellow,
    Red,
    Cyan,
    Magenta,
}

impl Style {
    /// Its SGR parameter (ECMA-48).
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "0",
            Style::Dim => "2",
            Style::Bold => "1",
            Style::Green => "32",
            Style::Yellow => "33",
            Style::Red => "31",
            Style::Cyan => "36",
            Style::Magenta => "35",
        }
    }

    /// The text in this style, if there are colours.
    pub(crate) fn paint(self, text: &str, colours: bool) -> String {
        match colours && self != Style::Plain {
            true => format!("\u{1b}[{}m{text}\u{1b}[0m", self.code()),
            false => text.to_owned(),
        }
    }
}

/// Whether standard output shows colours (no-color.org).
pub(crate) fn colours() -> bool {
    let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    std::io::stdout().is_terminal()
        && said("NO_COLOR").is_none()
        && said("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_a_text_is_itself() {
        assert_eq!(Style::Red.paint("x", false), "x");
        assert_eq!(Style::Red.paint("x", true), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Style::Plain.paint("x", true), "x");
    }
}
