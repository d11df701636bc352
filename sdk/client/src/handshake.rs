//! From a path to a welcomed connection.
//!
//! Owns the first words on a connection and the reasons to give up on it. Must not know what happens on it later.

use crate::clock;
use crate::discover::Target;
use crate::error::Error;
use crate::shared::Session;
use sidelock_wire::{
    Code, Decoder, FEATURES, FRAME_BYTES_MAX, Hello, MAGIC, Resume, Scope, ToClient, ToSidecar, VERSION_MAX,
    VERSION_MIN, Welcome,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A sidecar answers a hello at once; one that does not within so long is stopped or not one.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);
/// Boottimes that differ by more are of different hosts or time namespaces, and deadlines would mean nothing.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_millis(100);

/// How this client introduces itself, each time.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) app: String,
    pub(crate) require_scope: Option<Scope>,
}

/// A connection on which the sidecar said welcome.
#[derive(Debug)]
pub(crate) struct Welcomed {
    pub(crate) stream: UnixStream,
    /// Holds what came right behind the welcome.
    pub(crate) decoder: Decoder,
    pub(crate) session: Session,
    /// The acquires whose leases the old session still has, if it goes on.
    pub(crate) resumed: Option<Vec<u64>>,
    /// When the hello left: a sign of life.
    pub(crate) said_hello_ns: u64,
}

/// Finds the socket, connects, and introduces itself.
pub(crate) async fn connect(
    target: &Target,
    introduction: &Introduction,
    resume: Option<Resume>,
) -> Result<Welcomed, Error> {
    let stream = target.open().await?;
    introduce(stream, introduction, resume).await.map_err(|error| match error {
        Error::SidecarUnreachable { cause, code, .. } => {
            Error::SidecarUnreachable { tried: target.tried(), cause, code }
        }
        other => other,
    })
}

/// Says hello on a fresh connection and waits for the welcome.
async fn introduce(
    mut stream: UnixStream,
    introduction: &Introduction,
    resume: Option<Resume>,
) -> Result<Welcomed, Error> {
    let said_hello_ns = clock::boottime_ns();
    let hello = Hello {
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        features: FEATURES,
        boottime_ns: said_hello_ns,
        app: &introduction.app,
        require_scope: introduction.require_scope,
        resume,
    };
    let mut bytes = MAGIC.to_vec();
    ToSidecar::Hello(hello).encode(&mut bytes);
    // A sidecar that refuses this peer may close before it read all. What it said is still there to be read, and tells
    // more than a broken pipe does.
    let _ = stream.write_all(&bytes).await;

    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let answer = tokio::time::timeout(WELCOME_WITHIN, welcome(&mut stream, &mut decoder)).await;
    let silent =
        |_| unreachable(format!("no welcome within {} s; is the sidecar stopped?", WELCOME_WITHIN.as_secs()));
    let (session, resumed) = answer.map_err(silent)??;
    Ok(Welcomed { stream, decoder, session, resumed, said_hello_ns })
}

/// Reads until the welcome is there.
async fn welcome(
    stream: &mut UnixStream,
    decoder: &mut Decoder,
) -> Result<(Session, Option<Vec<u64>>), Error> {
    let asked_ns = clock::boottime_ns();
    loop {
        while let Some(payload) = decoder.next_frame().map_err(not_a_sidecar)? {
            match ToClient::decode(payload).map_err(not_a_sidecar)? {
                Some(ToClient::Welcome(welcome)) => {
                    check(&welcome, asked_ns)?;
                    return Ok((Session::of(&welcome), welcome.resumed));
                }
                Some(ToClient::Goodbye { code, message }) => {
                    return Err(Error::plain(code, Arc::from(""), message));
                }
                Some(other) => {
                    return Err(unreachable(format!("a sidecar begins with welcome, this said {other:?}")));
                }
                None => {}
            }
        }
        if stream.read_buf(decoder.space()).await.map_err(unreachable)? == 0 {
            return Err(unreachable("it closed the connection without a word"));
        }
    }
}

fn check(welcome: &Welcome<'_>, asked_ns: u64) -> Result<(), Error> {
    if !(VERSION_MIN..=VERSION_MAX).contains(&welcome.version) {
        return Err(unreachable(format!(
            "the sidecar speaks version {} of the protocol, this client {VERSION_MIN} to {VERSION_MAX}; bring them closer",
            welcome.version
        )));
    }
    let earliest = asked_ns.saturating_sub(CLOCK_DIFFERENCE_MAX.as_nanos() as u64);
    let latest = clock::after(clock::boottime_ns(), CLOCK_DIFFERENCE_MAX);
    if !(earliest..=latest).contains(&welcome.boottime_ns) {
        return Err(Error::plain(
            Code::ClockMismatch,
            Arc::from(""),
            "the sidecar's CLOCK_BOOTTIME differs from this process's",
        ));
    }
    Ok(())
}

fn unreachable(cause: impl std::fmt::Display) -> Error {
    Error::unreachable(Vec::new(), cause)
}

fn not_a_sidecar(error: sidelock_wire::FrameError) -> Error {
    unreachable(format!("what listens there does not speak frames as a sidecar does: {error}"))
}
