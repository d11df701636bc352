//! The host from outside: guests of every kind, through [`sidelock_policy::Chain`].

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod guest;
mod limits;
mod load;
mod observers;
mod replay;
mod slow;
mod support;
mod verdicts;
