//! How answers are written: for people or for programs.
//!
//! Owns the flag and standard output. Must not know what the answers say.

use crate::failure::Failure;
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::{self, Write};

/// How a reading verb writes its answer.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct Output {
    /// How to write the answer
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// For people or for programs.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Table,
    Json,
}

impl Output {
    /// For programs?
    pub(crate) fn is_json(self) -> bool {
        self.output == Format::Json
    }

    /// Writes an answer: as it came, or as `table` shows it.
    pub(crate) fn write(self, answer: &Value, table: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        say(&self.text(answer, table))
    }

    /// The same, to be written by who can not leave it unwritten.
    pub(crate) fn text(self, answer: &Value, table: impl FnOnce(&Value) -> String) -> String {
        match self.output {
            Format::Json => format!("{answer:#}\n"),
            Format::Table => table(answer),
        }
    }
}

/// Writes to standard output. A reader that has gone ends the verb without a word, as the pipe's rules are.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    try_say(text).or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => std::process::exit(0),
        _ => Err(Failure::broken(format!("can not write the answer: {error}"))),
    })
}

/// Writes to standard output: for who has to clean up when its reader has gone.
pub(crate) fn try_say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Tells a person something on standard error. What was to be done is done if nobody listens, too.
pub(crate) fn tell(message: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "sidelock: {message}");
}
