//! The frame door: one connection of a client that speaks frames.
//!
//! Owns the greeting, and turning frames into requests and back. Must not know what the engine makes of them.

use crate::clock::boottime;
use crate::frame_outlet::FrameOutlet;
use crate::handle::{Handle, Peer, Session};
use crate::holders::Questions;
use crate::identity::Identity;
use crate::outbound::Outbound;
use crate::outlet::{Outlet, Overflow};
use crate::problem::Problem;
use crate::reply;
use crate::resume::Resumable;
use sidelock_engine::{RequestId, SessionId};
use sidelock_socket::{Socket, is_hang_up};
use sidelock_wire::{
    Code, Decoder, FEATURES, FrameError, Hello, Limits, Resume, Secret, ToClient, ToSidecar, VERSION_MAX,
    VERSION_MIN, Welcome,
};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A client that has not introduced itself within this is sent away: a connection costs a place among `sessions_max`.
pub(crate) const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Without a message for so long a session's leases are lost; SDKs ping ten times as often.
pub(crate) const SESSION_TTL: Duration = Duration::from_secs(30);
/// A boottime further ahead of ours than this does not come from this host (A5).
const CLOCK_MISMATCH_MAX: Duration = Duration::from_millis(100);
/// Bytes read at a time: a batch of some hundred requests.
const READ_BYTES: usize = 16 * 1024;
/// Leases that a session may have and still come back: a frame has room for the list of as many.
const RESUMED_MAX: usize = 16_000;
/// What a client calls itself is cut to this.
const APP_BYTES_MAX: usize = 128;

/// What every frame connection needs.
pub(crate) struct FrameDoor {
    /// The driver.
    pub(crate) handle: Handle,
    /// Sessions that may come back.
    resumable: Resumable,
    /// What any connection reads into: thousands of them are idle, and a buffer each would be most of what they cost.
    scratch: Rc<RefCell<Vec<u8>>>,
}

/// Why a connection ended.
enum End {
    /// The client hung up.
    Peer,
    /// We did, or should, and this is what is said about it.
    Sidecar(Option<Problem>),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> End {
        End::Sidecar(Some(Problem::new(error.code(), error.to_string())))
    }
}

impl From<Overflow> for End {
    /// Nothing is said about it: it would not be read either.
    fn from(_: Overflow) -> End {
        tracing::warn!("slow_reader: unread answers exceed outbound_bytes_max; cut off");
        End::Sidecar(None)
    }
}

impl From<Problem> for End {
    fn from(problem: Problem) -> End {
        End::Sidecar(Some(problem))
    }
}

impl FrameDoor {
    /// A door that remembers a session it had to cut off for so long.
    pub(crate) fn new(handle: Handle, resume_within: Duration) -> FrameDoor {
        let scratch = Rc::new(RefCell::new(Vec::with_capacity(READ_BYTES)));
        FrameDoor { handle, resumable: Resumable::new(resume_within), scratch }
    }

    /// Serves a connection to its end.
    pub(crate) async fn serve(&self, stream: UnixStream, peer: Peer) {
        let limits = self.handle.gate().rules().limits.clone();
        let socket = match stream.into_std().and_then(Socket::new) {
            Ok(socket) => Rc::new(socket),
            Err(error) => return tracing::error!(%error, "a connection can not be watched"),
        };
        let out = Outbound::new(
            limits.outbound_bytes_max as usize,
            // A value is read by who asked for it, and nobody waits for more answers than this.
            limits.in_flight_per_session_max as usize,
        );
        let outlet = Rc::new(FrameOutlet::new(socket.clone(), out));
        let decoder = Decoder::with_magic(limits.frame_bytes_max as usize);
        let scratch = self.scratch.clone();
        let questions = Questions::new(outlet.clone());
        let mut frames = Frames { socket, decoder, outlet, questions, scratch };
        let greeted = match timeout(HELLO_WITHIN, self.greet(&mut frames, peer)).await {
            Ok(greeted) => greeted,
            Err(_) => Err(Problem::new(Code::BadRequest, "no hello came in time").into()),
        };
        let (session, secret) = match greeted {
            Ok(greeted) => greeted,
            Err(End::Peer | End::Sidecar(None)) => return,
            Err(End::Sidecar(Some(problem))) => return frames.goodbye(&problem),
        };
        match self.exchange(&mut frames, &session).await {
            End::Peer => drop(session),
            End::Sidecar(problem) => {
                let id = session.id();
                session.cut_off();
                self.resumable.keep(boottime(), id, secret, peer.uid);
                if let Some(problem) = problem {
                    tracing::warn!(session = id.0, uid = peer.uid, problem = %problem.message, "closing a connection");
                    frames.goodbye(&problem);
                }
            }
        }
    }

    /// The hello, checked, and the welcome.
    async fn greet(&self, frames: &mut Frames, peer: Peer) -> Result<(Session, Secret), End> {
        loop {
            if let Some(payload) = frames.decoder.next_frame()? {
                let Some(ToSidecar::Hello(hello)) = ToSidecar::decode(payload)? else {
                    return Err(Problem::new(Code::BadRequest, "the first frame has to be a hello").into());
                };
                let version = self.check(&hello)?;
                let app = shortened(hello.app).to_owned();
                let (features, resume) = (hello.features & FEATURES, hello.resume);
                return self.welcome(&frames.outlet, peer, version, features, &app, resume).await;
            }
            frames.read().await?;
        }
    }

    /// The version to speak, if we can work together.
    fn check(&self, hello: &Hello<'_>) -> Result<u16, Problem> {
        let version = hello.version_max.min(VERSION_MAX);
        if version < hello.version_min.max(VERSION_MIN) {
            let (theirs, ours) = (hello.version_min..=hello.version_max, VERSION_MIN..=VERSION_MAX);
            let message = format!("no common version: the client speaks {theirs:?}, this sidecar {ours:?}");
            return Err(Problem::new(Code::BadRequest, message));
        }
        let apart = Duration::from_nanos(hello.boottime_ns.abs_diff(boottime().0));
        // A stamp from the past may be a hello that waited for us, on a busy host or after a pause. The client knows better:
        // it compares our clock with its own of before and after.
        let allowed = if hello.boottime_ns > boottime().0 { CLOCK_MISMATCH_MAX } else { HELLO_WITHIN };
        if apart > allowed {
            let message = format!("boottimes differ by {apart:?}; {}", Code::ClockMismatch.advice());
            return Err(Problem::new(Code::ClockMismatch, message));
        }
        self.handle.gate().reaches(hello.require_scope)?;
        Ok(version)
    }

    async fn welcome(
        &self,
        outlet: &Rc<FrameOutlet>,
        peer: Peer,
        version: u16,
        features: u64,
        app: &str,
        resume: Option<Resume>,
    ) -> Result<(Session, Secret), End> {
        let secret = self.resumable.secret();
        let old = match resume {
            Some(resume) => self.come_back(resume, peer).await,
            None => None,
        };
        let session = match &old {
            Some((id, _)) => *id,
            None => self.handle.next_session(),
        };
        let gate = self.handle.gate();
        let Identity { incarnation, scope, namespace, .. } = gate.identity();
        let limits = &gate.rules().limits;
        outlet.say(&ToClient::Welcome(Welcome {
            version,
            features,
            session: session.0,
            secret,
            session_ttl: SESSION_TTL,
            boottime_ns: boottime().0,
            incarnation: incarnation.0,
            scope: *scope,
            guarantee: gate.identity().guarantee(),
            limits: Limits {
                frame_bytes_max: limits.frame_bytes_max,
                key_bytes_max: limits.key_bytes_max,
                in_flight_max: limits.in_flight_per_session_max,
            },
            namespace: namespace.into(),
            resumed: old.as_ref().map(|(_, held)| held.iter().map(|request| request.0).collect()),
        }))?;
        outlet.flush();
        let session = match old {
            Some(old) => self.handle.resume(old, peer, app, Some(SESSION_TTL), outlet.clone()),
            None => self.handle.open_as(session, peer, app, Some(SESSION_TTL), outlet.clone()),
        };
        Ok((session, secret))
    }

    /// The old session and what it still holds, if the client may have it back and it is not over.
    async fn come_back(&self, resume: Resume, peer: Peer) -> Option<(SessionId, Vec<RequestId>)> {
        let id = self.resumable.take(boottime(), resume, peer.uid)?;
        let held = self.handle.held_by(id).await??;
        (held.len() <= RESUMED_MAX).then_some((id, held))
    }

    /// Requests in, until somebody hangs up. Answers leave by the outlet.
    async fn exchange(&self, frames: &mut Frames, session: &Session) -> End {
        loop {
            let batch = session.batch();
            match self.take_batch(frames, session, batch) {
                Ok(taken) if taken == batch => tokio::task::yield_now().await,
                Ok(_) => {
                    if let Err(end) = frames.more().await {
                        return end;
                    }
                }
                Err(end) => return end,
            }
            if frames.outlet.is_closed() {
                return End::Sidecar(None);
            }
        }
    }

    /// Hands over what has been read, at most a batch; how many frames it were.
    fn take_batch(&self, frames: &mut Frames, session: &Session, batch: usize) -> Result<usize, End> {
        let mut taken = 0;
        let mut answered = false;
        while taken < batch
            && let Some(payload) = frames.decoder.next_frame()?
        {
            taken += 1;
            let Some(message) = ToSidecar::decode(payload)? else { continue };
            if let Some(answer) = self.take(session, &frames.questions, &message)? {
                frames.outlet.say(&answer)?;
                answered = true;
            }
        }
        if answered {
            frames.outlet.flush();
        }
        Ok(taken)
    }

    /// Hands a request to the driver, or answers it right here.
    fn take(
        &self,
        session: &Session,
        questions: &Questions,
        message: &ToSidecar<'_>,
    ) -> Result<Option<ToClient<'static>>, Problem> {
        let gate = self.handle.gate();
        let id = session.id();
        let (request, admitted) = match message {
            ToSidecar::Acquire(ask) => (ask.request, gate.acquire(id, ask)),
            ToSidecar::AcquireAll(ask) => (ask.first.request, gate.acquire_all(id, ask)),
            ToSidecar::Renew { request, lease, ttl } => (*request, gate.renew(id, *request, *lease, *ttl)),
            ToSidecar::Release { request, lease } => (*request, Ok(gate.release(id, *request, *lease))),
            ToSidecar::Register(asked) => (asked.request, gate.register(id, asked)),
            ToSidecar::Finish { request, lease, result } => {
                (*request, gate.finish(id, *request, *lease, result))
            }
            ToSidecar::Cancel { request } => (*request, Ok(gate.cancel(id, *request))),
            ToSidecar::Change(change) => (change.request, gate.change(id, change)),
            ToSidecar::Ping => {
                session.send(gate.ping(id));
                return Ok(Some(ToClient::Pong { boottime_ns: boottime().0 }));
            }
            ToSidecar::Holders(ask) => return Ok(questions.ask(&self.handle, ask)),
            ToSidecar::Hello(_) => return Err(Problem::new(Code::BadRequest, "a second hello")),
        };
        Ok(match admitted {
            Ok(admitted) => {
                session.send(admitted);
                None
            }
            Err(problem) => Some(reply::refused(request, problem)),
        })
    }
}

/// A connection cut into frames.
struct Frames {
    socket: Rc<Socket>,
    decoder: Decoder,
    outlet: Rc<FrameOutlet>,
    questions: Questions,
    scratch: Rc<RefCell<Vec<u8>>>,
}

impl Frames {
    /// Until something came in, or something else is to be seen to.
    async fn more(&mut self) -> Result<(), End> {
        let outlet = self.outlet.clone();
        tokio::select! {
            biased;
            read = self.read() => read,
            progress = outlet.progress() => progress.map_err(|error| broken(&error)),
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        self.decoder.rest();
        let Frames { socket, decoder, scratch, .. } = self;
        let read = poll_fn(|cx| {
            let scratch = &mut *scratch.borrow_mut();
            scratch.clear();
            let read = ready!(socket.poll_read(cx, scratch));
            decoder.push(scratch);
            Poll::Ready(read)
        });
        match read.await {
            Ok(0) => Err(End::Peer),
            Ok(_) => Ok(()),
            Err(error) => Err(broken(&error)),
        }
    }

    /// Says why, as far as the socket takes it, and lets the connection drop.
    fn goodbye(&self, problem: &Problem) {
        let said =
            self.outlet.say(&ToClient::Goodbye { code: problem.code, message: problem.message.clone() });
        // The client is sent away whether it listens or not.
        let _ = said.map(|()| self.outlet.write());
    }
}

/// A connection that does not work any more: unless it is the peer who has hung up, it is us who do (P6).
fn broken(error: &io::Error) -> End {
    if is_hang_up(error) {
        return End::Peer;
    }
    tracing::error!(%error, "a connection broke");
    End::Sidecar(None)
}

fn shortened(app: &str) -> &str {
    let end = (0..=APP_BYTES_MAX).rev().find(|end| app.is_char_boundary(*end));
    if app.len() <= APP_BYTES_MAX { app } else { &app[..end.unwrap_or(0)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::BATCH_IN_COMPANY;
    use crate::config::Config;
    use crate::sidecar::{Home, Sidecar};
    use sidelock_wire::MAGIC;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::{LocalSet, spawn_local};

    const PEER: Peer = Peer { uid: 0, gid: 0 };

    /// A client that was greeted, and everything it says after that already in its socket.
    async fn client(door: &Rc<FrameDoor>, says: &[u8]) -> UnixStream {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let door = door.clone();
        spawn_local(async move { door.serve(theirs, PEER).await });
        let mut bytes = MAGIC.to_vec();
        let hello = Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            features: 0,
            boottime_ns: boottime().0,
            app: "test",
            require_scope: None,
            resume: None,
        };
        ToSidecar::Hello(hello).encode(&mut bytes);
        bytes.extend(says);
        ours.write_all(&bytes).await.unwrap();
        ours
    }

    /// H15. A flood already in the socket is served in batches, between which everybody else has a turn.
    #[tokio::test]
    async fn a_flood_does_not_starve_others() {
        const FLOOD: usize = 5_000;
        let flooded = async {
            let sidecar = Sidecar::start(&Config::default(), Home::Embedded).unwrap();
            let door = Rc::new(sidecar.frames());
            let (mut pings, mut ping) = (Vec::new(), Vec::new());
            (0..FLOOD).for_each(|_| ToSidecar::Ping.encode(&mut pings));
            ToSidecar::Ping.encode(&mut ping);
            let flooder = client(&door, &pings).await;
            let mut other = client(&door, &ping).await;
            let mut decoder = Decoder::new(1024);
            let mut heard = 0;
            while heard < 2 {
                other.read_buf(decoder.space()).await.unwrap();
                while decoder.next_frame().unwrap().is_some() {
                    heard += 1;
                }
            }
            let mut answers = vec![0; 1 << 20];
            let mut answered = 0;
            while let Ok(count) = flooder.try_read(&mut answers) {
                answered += count;
            }
            let mut pong = Vec::new();
            ToClient::Pong { boottime_ns: 0 }.encode(&mut pong);
            answered / pong.len()
        };
        let answered = LocalSet::new().run_until(flooded).await;
        assert!(answered < 8 * BATCH_IN_COMPANY, "{answered} of the flood went first");
    }
}
