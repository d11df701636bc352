//! Fuzzing of what reads bytes from strangers.
//!
//! Owns the targets, a mutator that starts from valid bytes so that inputs get past the first check, and the hunt: an
//! input that leads somewhere new becomes a seed of the next ones. It needs no special compiler: a bounded number of
//! rounds runs with every test run, and `fuzz TARGET --seconds 3600` for as long as wanted.
//!
//! What "somewhere new" means is each target's own: its check writes down what an input led to (a refusal's code, the kind
//! of a notice after another) as [`Marks`]. They are also how a test knows that a target reaches deep: a harness
//! that only makes garbage finds nothing.
//!
//! `corpus/<target>/` holds seeds that a hunt found or that once failed. To keep an input that fails: copy the file that
//! the hunt names there. To let a hunt look for more: `fuzz TARGET --seconds 600 --grow FOLDER` writes each input that led
//! somewhere new, and is smaller than others that did, into FOLDER.

mod config;
mod corpus;
mod frames;
mod http;
mod hunt;
mod marks;
mod mutate;
mod records;
mod replies;
mod stateful;
mod words;

pub use hunt::{Failure, Hunt};
pub use marks::Marks;

/// One thing that reads bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Valid inputs to start from, besides those in its corpus.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its language, for the mutator to put in.
    pub words: &'static [&'static str],
    /// Reads an input, writes down where it led, and panics if anything does not hold.
    pub check: fn(&[u8], &mut Marks),
}

/// All targets.
pub const TARGETS: [Target; 8] = [
    Target { name: "frames", seeds: frames::streams, words: &[], check: frames::check_stream },
    Target { name: "messages", seeds: frames::payloads, words: &[], check: frames::check_payload },
    Target { name: "records", seeds: records::seeds, words: &[], check: records::check },
    Target { name: "replies", seeds: replies::seeds, words: replies::WORDS, check: replies::check },
    Target { name: "config", seeds: config::seeds, words: config::WORDS, check: config::check },
    Target { name: "words", seeds: words::seeds, words: words::WORDS, check: words::check },
    Target { name: "http", seeds: http::seeds, words: http::WORDS, check: http::check },
    Target { name: "stateful", seeds: stateful::seeds, words: &[], check: stateful::check },
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
