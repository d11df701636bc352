//! A line between the driver and a player: words, then `name=value`, with one space between.
//!
//! Values are percent-encoded, so that a player needs neither JSON nor quoting. A list is its values with commas between.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use std::fmt;

/// What would be read as something else. `+` too: form decoders make a space of it.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'=').add(b',').add(b'+');

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    words: Vec<String>,
    /// Values as they are written.
    fields: Vec<(String, String)>,
}

impl Line {
    /// A line of these words.
    pub fn new<W: ToString>(words: impl IntoIterator<Item = W>) -> Line {
        Line { words: words.into_iter().map(|word| word.to_string()).collect(), fields: Vec::new() }
    }

    /// The same with a field more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Line {
        self.fields.push((name.to_owned(), encode(&value.to_string())));
        self
    }

    /// The same with a list more.
    #[must_use]
    pub fn with_list<V: AsRef<str>>(mut self, name: &str, values: impl IntoIterator<Item = V>) -> Line {
        let values: Vec<_> = values.into_iter().map(|value| encode(value.as_ref())).collect();
        self.fields.push((name.to_owned(), values.join(",")));
        self
    }

    /// Reads a line. Anything can be read.
    pub fn parse(text: &str) -> Line {
        let mut line = Line::default();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                Some((name, value)) => line.fields.push((name.to_owned(), value.to_owned())),
                None => line.words.push(word.to_owned()),
            }
        }
        line
    }

    /// The word in this place; nothing if there is none.
    pub fn word(&self, place: usize) -> &str {
        self.words.get(place).map_or("", String::as_str)
    }

    /// A field's value.
    pub fn get(&self, name: &str) -> Option<String> {
        self.raw(name).map(decode)
    }

    /// A field that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// A field that is a list; none is an empty one.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.raw(name)
            .filter(|raw| !raw.is_empty())
            .into_iter()
            .flat_map(|raw| raw.split(','))
            .map(decode)
            .collect()
    }

    /// Whether there is such a field, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let line = Line::new(["7", "ann", "put"])
            .with("key", "a b/ü=1")
            .with("value", "50%,\n+")
            .with_list("keys", ["a,b", "c"])
            .with("wait", 250);
        let text = line.to_string();
        assert_eq!(text, "7 ann put key=a%20b/%C3%BC%3D1 value=50%25%2C%0A%2B keys=a%2Cb,c wait=250");
        let read = Line::parse(&text);
        assert_eq!(read, line);
        assert_eq!((read.word(2), read.word(3)), ("put", ""));
        assert_eq!(read.get("value").as_deref(), Some("50%,\n+"));
        assert_eq!(read.list("keys"), ["a,b", "c"]);
        assert_eq!((read.number("wait"), read.number("key")), (Some(250), None));
        assert!(read.list("none").is_empty() && !read.has("none"));
    }
}
