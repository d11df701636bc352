//! The players for Rust: do with the SDK what they are told on standard input, and say what came of it.
//!
//! `player-rust` is for async programs, `player-rust blocking` for those that block. What both say in the same words is
//! here; `bindings/cases/README.md` describes the lines.

mod order;
mod say;
mod tasks;
mod threads;

fn main() -> std::io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        None => tasks::play(),
        Some("blocking") => threads::play(),
        Some(other) => Err(std::io::Error::other(format!("there is no player {other:?}"))),
    }
}
