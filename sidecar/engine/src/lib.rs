//! Sidelock's rules as a value: queues, leases and tenures of one sidecar.
//!
//! [`Engine`] has three verbs: [`Engine::handle`], [`Engine::poll_effect`], [`Engine::next_deadline`]. Time, randomness
//! and identifiers are arguments; the same inputs give the same effects. It does no I/O, reads no clock and knows neither
//! frames nor Redis. Read the files in the order of the `mod` lines.
#![forbid(unsafe_code)]

pub mod model;
pub mod input;
pub mod effect;
pub mod store;
pub mod config;
mod engine;
mod acquire;
mod serve;
mod queue;
mod rate;
mod resource;
mod resources;
mod lease;
mod renewal;
mod ended;
mod owners;
mod cycle;
mod wait_graph;
mod packed;
pub mod board;
mod fleet_graph;
mod publish;
mod patrol;
pub mod survey;
pub mod declaration;
mod inquiry;
mod deadlock;
mod pin;
mod upgrade;
mod conflict;
mod reentry;
mod register;
mod register_watch;
mod session;
mod tenure;
mod fence;
mod interest;
mod ask;
mod copies;
mod debt;
mod quarantine;
mod once;
mod gone;
mod grant;
mod group;
mod hint;
mod force;
mod link;
mod timers;
mod certainty;
pub mod circumstances;
pub mod view;
pub mod mutant;

pub use certainty::tenure_covering;
pub use config::Config;
pub use cycle::{Cycle, Edge};
pub use effect::{
    Client, Denial, Effect, Event, EventKind, Grant, LostReason, Notice, Path, Refusal, Reply, Reserving,
    Unlocked, Victim,
};
pub use engine::Engine;
pub use input::{
    Acquire, AcquireAll, Change, EndedBy, Finish, Force, Input, LeaseName, Life, NewMode, RegisterAct,
    RegisterRequest, Release, Renew, SessionOpened,
};
pub use model::*;
pub use reentry::INNER_HANDLES_MAX;
