//! Chaos on real processes: clients, sidecars and Redis, with the network between them in our hands.
//!
//! Clients are processes of their own that use the Rust SDK and write down what they ask, get and give back. A round
//! ([`rounds`]) plagues them with one kind of fault; then everything is healed, progress is demanded, and the simulator's
//! history checker judges what was written down. Before any round is believed the checker is shown forged histories
//! ([`forge`]) and must refuse each.
//!
//! The road of a round: [`rounds`] says what goes wrong → [`round`] runs it on a [`fleet`] → [`trouble`] strikes → [`probe`]
//! demands progress → [`merge`] makes one history of all diaries → the checker.

pub mod client;
pub mod clock;
pub mod diary;
pub mod endurance;
pub mod fleet;
pub mod forge;
pub mod measure;
pub mod merge;
pub mod overslept;
pub mod pods;
pub mod probe;
pub mod proxy;
pub mod register;
pub mod resp;
pub mod round;
pub mod rounds;
pub mod size;
pub mod store;
pub mod trouble;
pub mod wish;
