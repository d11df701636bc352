//! Sidelock's frames: the protocol between a client's SDK and its sidecar.
//!
//! Owns the messages, their bytes ([`Decoder`], [`ToSidecar::encode`], [`ToClient::encode`]) and the one table of error
//! codes ([`Code`]). Must not know sockets, clocks, the engine or anybody else of ours. `PROTOCOL.md` beside this crate
//! specifies the bytes for other implementations, and `vectors/` holds golden frames to test against.
#![forbid(unsafe_code)]

mod code;
mod cycle;
mod fields;
mod frame;
mod granted;
mod holder;
mod message;
mod register;
mod to_client;
mod to_sidecar;

pub use code::{Code, Kind};
pub use cycle::{CYCLE_EDGES_MAX, CycleEdge};
pub use frame::{Decoder, FRAME_BYTES_MAX, FrameError, MAGIC};
pub use granted::Granted;
pub use holder::{AskHolders, HOLDERS_MAX, Holder, HolderClient, Holders};
pub use message::{
    Align, Denial, Detail, FEATURES, Guarantee, LeaseName, Life, LostReason, Mode, NOBODY, Resume, Scope,
    Secret, VERSION_MAX, VERSION_MIN, Window,
};
pub use register::{Condition, Current, Known, Register, RegisterAct, Version};
pub use to_client::{Done, Limits, Refused, Renewed, ToClient, Welcome};
pub use to_sidecar::{Acquire, AcquireAll, Change, Hello, ToSidecar};
