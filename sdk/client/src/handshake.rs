//! From a path to a welcomed connection.
//!
//! Owns the first words on a connection and the reasons to give up on it. Must not know what happens on it later.

use crate::clock;
use crate::discover::Target;
use crate::error::Error;
use crate::fork::{LetGoInChild, Opened};
use crate::shared::{Ended, Session};
use sidelock_socket::Socket;
use sidelock_wire::{
    Code, Decoder, FEATURES, FRAME_BYTES_MAX, Hello, MAGIC, Resume, Scope, ToClient, ToSidecar, VERSION_MAX,
    VERSION_MIN, Welcome,
};
use std::sync::Arc;
use std::time::Duration;

/// A sidecar answers a hello at once; one that does not within so long is stopped or not one.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);
/// Boottimes that differ by more are of different hosts or time namespaces, and deadlines would mean nothing.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_millis(100);
/// Hellos sent when each was so long on its way that the sidecar took it for one of another host.
const CLOCK_ATTEMPTS_MAX: u32 = 5;

/// How this client introduces itself, each time.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) app: String,
    pub(crate) require_scope: Option<Scope>,
}

/// A connection on which the sidecar said welcome.
#[derive(Debug)]
pub(crate) struct Welcomed {
    /// Before the stream, so that it is dropped first.
    pub(crate) let_go: LetGoInChild,
    pub(crate) stream: Socket,
    /// Holds what came right behind the welcome.
    pub(crate) decoder: Decoder,
    pub(crate) session: Session,
    /// The acquires whose leases the old session still has, if it goes on.
    pub(crate) resumed: Option<Vec<u64>>,
    /// When the hello left: a sign of life.
    pub(crate) said_hello_ns: u64,
}

/// Why there is no welcome. To be dropped only when it is settled what becomes of the leases of the session that was asked
/// for: it holds the connection, and to the sidecar, which may have resumed the session on it, hanging up gives them back.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) ended: Ended,
    _connection: Option<Opened<Socket>>,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        failure.ended.into_error()
    }
}

/// Finds the socket, connects, and introduces itself.
pub(crate) async fn connect(
    target: &Target,
    introduction: &Introduction,
    resume: Option<Resume>,
) -> Result<Welcomed, Failure> {
    let mut attempts = 1..CLOCK_ATTEMPTS_MAX;
    loop {
        let failed = |error| Failure { ended: Ended::BySidecar(error), _connection: None };
        let mut opened = target.open().map_err(failed)?;
        let stream = &mut opened.connection;
        let said_hello_ns = clock::boottime_ns();
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        let said = say_hello(stream, introduction, resume, said_hello_ns).await;
        let answer = tokio::time::timeout(WELCOME_WITHIN, welcome(stream, &mut decoder, said_hello_ns));
        match answer.await.unwrap_or_else(|_| Err(Ended::ByUs(silent()))) {
            Ok((session, resumed)) => {
                let Opened { let_go, connection: stream } = opened;
                return Ok(Welcomed { let_go, stream, decoder, session, resumed, said_hello_ns });
            }
            // The hello was on its way for longer than clocks may differ: it proves nothing.
            Err(Ended::BySidecar(error))
                if error.code() == Some(Code::ClockMismatch)
                    && clock::boottime_ns() > clock::after(said_hello_ns, CLOCK_DIFFERENCE_MAX)
                    && attempts.next().is_some() => {}
            Err(ended) => {
                let ended = ended.map(|error| with_place(error, target, said));
                return Err(Failure { ended, _connection: Some(opened) });
            }
        }
    }
}

/// Says hello on a fresh connection.
async fn say_hello(
    stream: &mut Socket,
    introduction: &Introduction,
    resume: Option<Resume>,
    boottime_ns: u64,
) -> std::io::Result<()> {
    let hello = Hello {
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        features: FEATURES,
        boottime_ns,
        app: &introduction.app,
        require_scope: introduction.require_scope,
        resume,
    };
    let mut bytes = MAGIC.to_vec();
    ToSidecar::Hello(hello).encode(&mut bytes);
    stream.write_all(&bytes).await
}

/// Reads until the welcome is there.
async fn welcome(
    stream: &mut Socket,
    decoder: &mut Decoder,
    said_hello_ns: u64,
) -> Result<(Session, Option<Vec<u64>>), Ended> {
    let not_a_sidecar = |error| {
        Ended::ByUs(unreachable(format!(
            "what listens there does not speak frames as a sidecar does: {error}"
        )))
    };
    loop {
        while let Some(payload) = decoder.next_frame().map_err(not_a_sidecar)? {
            match ToClient::decode(payload).map_err(not_a_sidecar)? {
                Some(ToClient::Welcome(welcome)) => {
                    check(&welcome, said_hello_ns, clock::boottime_ns()).map_err(Ended::ByUs)?;
                    return Ok((Session::of(&welcome), welcome.resumed));
                }
                Some(ToClient::Goodbye { code, message }) => {
                    return Err(Ended::BySidecar(Error::plain(code, Arc::from(""), message)));
                }
                Some(other) => {
                    let cause = format!("a sidecar begins with welcome, this said {other:?}");
                    return Err(Ended::ByUs(unreachable(cause)));
                }
                None => {}
            }
        }
        match stream.read(decoder.space()).await {
            Ok(0) => return Err(Ended::BySidecar(unreachable("it closed the connection without a word"))),
            Ok(_) => {}
            Err(error) => return Err(Ended::BySidecar(unreachable(error))),
        }
    }
}

fn silent() -> Error {
    unreachable(format!(
        "no welcome within {} s; the sidecar is stopped, or it is no sidecar that listens there",
        WELCOME_WITHIN.as_secs()
    ))
}

/// Names the place that was tried, and a hello that could not be sent if that is all there is to say.
fn with_place(error: Error, target: &Target, said: std::io::Result<()>) -> Error {
    match (error, said) {
        (Error::SidecarUnreachable { code: None, .. }, Err(unsaid)) => {
            Error::unreachable(target.tried(), unsaid)
        }
        (Error::SidecarUnreachable { cause, code, .. }, _) => {
            Error::SidecarUnreachable { tried: target.tried(), cause, code }
        }
        (other, _) => other,
    }
}

/// Whether one who was said hello to at that time, and whose welcome was heard at this, can be spoken with.
pub(crate) fn check(welcome: &Welcome<'_>, said_hello_ns: u64, heard_ns: u64) -> Result<(), Error> {
    if !(VERSION_MIN..=VERSION_MAX).contains(&welcome.version) {
        return Err(unreachable(format!(
            "the sidecar speaks version {} of the protocol, this client {VERSION_MIN} to {VERSION_MAX}; bring them closer",
            welcome.version
        )));
    }
    let earliest = said_hello_ns.saturating_sub(CLOCK_DIFFERENCE_MAX.as_nanos() as u64);
    let latest = clock::after(heard_ns, CLOCK_DIFFERENCE_MAX);
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
