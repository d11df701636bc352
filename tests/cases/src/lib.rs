//! One set of cases for all languages, in `bindings/cases`: what is written there, and how it is played.
//!
//! A *player* is a program that does, in its language, what it is told line by line; this crate knows everything else: the
//! cases, the sidecars, what must come of each step. So what is checked is the same in every language, and a player is
//! small. Must not know any language: `bindings/cases/README.md` is all that the two sides have in common.

/// Guests of the policy host's own tests.
#[path = "../../../sidecar/policy/tests/host/guest.rs"]
#[expect(dead_code, reason = "the host's own tests need more of it")]
mod guest;

pub mod check;
pub mod line;
pub mod place;
pub mod player;
pub mod script;
pub mod stage;
pub mod table;
