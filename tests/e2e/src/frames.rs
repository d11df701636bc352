//! A frame peer without manners: it says what a test tells it to, byte for byte if need be.
//!
//! Owns one connection. Must not know what good behaviour is: the SDK does.

use crate::PATIENCE;
use sidelock_wire::{
    Acquire, Decoder, FRAME_BYTES_MAX, Hello, Life, LostReason, MAGIC, Mode, ToClient, ToSidecar, VERSION_MAX,
};
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Requests under way at a time in [`Peer::batches`].
const BATCH: u64 = 512;

/// A connection that speaks frames.
pub struct Peer {
    stream: UnixStream,
    decoder: Decoder,
}

impl Peer {
    /// Connected, and nothing said yet.
    pub fn connect(socket: &Path) -> Peer {
        let stream = UnixStream::connect(socket).expect("the sidecar listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        Peer { stream, decoder: Decoder::new(FRAME_BYTES_MAX) }
    }

    /// Connected, introduced and welcomed.
    pub fn greeted(socket: &Path) -> Peer {
        Peer::admitted(socket).unwrap_or_else(|(code, message)| panic!("sent away: {code}: {message}"))
    }

    /// Connected, introduced and welcomed; or the code and message with which the sidecar sent it away.
    pub fn admitted(socket: &Path) -> Result<Peer, (String, String)> {
        let mut peer = Peer::connect(socket);
        peer.bytes(&MAGIC);
        peer.say(&ToSidecar::Hello(hello()));
        let mut said = Err((String::from("no goodbye"), String::new()));
        peer.hears("a welcome or a goodbye", |message| {
            said = match message {
                ToClient::Welcome(_) => Ok(()),
                ToClient::Goodbye { code, message } => Err((code.name().to_owned(), message.to_string())),
                _ => return false,
            };
            true
        });
        said.map(|()| peer)
    }

    /// The bare connection.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Sends bytes. That the other side has hung up is found out by listening.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a message.
    pub fn say(&mut self, message: &ToSidecar<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.bytes(&bytes);
    }

    /// Listens until a message satisfies `wanted`; false if the sidecar hangs up first.
    ///
    /// # Panics
    /// If neither happens within [`PATIENCE`].
    pub fn hears(&mut self, what: &str, mut wanted: impl FnMut(&ToClient<'_>) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nothing is heard of {what}");
            while let Some(payload) = self.decoder.next_frame().expect("the sidecar speaks frames") {
                let message = ToClient::decode(payload).expect("the sidecar speaks frames");
                if message.is_some_and(|message| wanted(&message)) {
                    return true;
                }
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(read) => self.decoder.space().extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("waiting for {what}: {error}"),
            }
        }
    }

    /// Says one message for each number and hears their answers, a batch at a time, so that neither side ever has more
    /// unread than a socket takes. `say` appends the message, `is_answer` says what counts as one.
    pub fn batches(
        &mut self,
        numbers: Range<u64>,
        mut say: impl FnMut(u64, &mut Vec<u8>),
        mut is_answer: impl FnMut(&ToClient<'_>) -> bool,
    ) {
        let mut bytes = Vec::new();
        let mut next = numbers.start;
        while next < numbers.end {
            let end = numbers.end.min(next + BATCH);
            bytes.clear();
            (next..end).for_each(|number| say(number, &mut bytes));
            self.bytes(&bytes);
            let mut missing = end - next;
            let all = self.hears("the answers to a batch", |message| {
                missing -= u64::from(is_answer(message));
                missing == 0
            });
            assert!(all, "the sidecar hung up, {missing} answers before the end of a batch");
            next = end;
        }
    }

    /// Waits until it hears that this lease is lost: why.
    pub fn lost(&mut self, lease: u64) -> LostReason {
        let mut lost = None;
        self.hears("that its lease is lost", |message| {
            if let ToClient::Lost { request, reason } = message
                && *request == lease
            {
                lost = Some(*reason);
            }
            lost.is_some()
        });
        lost.expect("the sidecar did not hang up")
    }

    /// The code of the sidecar's goodbye, and then the end of the connection.
    pub fn goodbye(&mut self) -> String {
        self.farewell().0
    }

    /// Code and message of the sidecar's goodbye, and then the end of the connection.
    pub fn farewell(&mut self) -> (String, String) {
        let mut said = (String::from("no goodbye"), String::new());
        let hung_up = !self.hears("a goodbye and the end", |heard| {
            if let ToClient::Goodbye { code, message } = heard {
                said = (code.name().to_owned(), message.to_string());
            }
            false
        });
        assert!(hung_up, "a goodbye is followed by the end");
        said
    }

    /// The code with which this acquire is refused, or `granted`.
    pub fn acquires(&mut self, acquire: Acquire<'_>) -> String {
        self.answer(acquire).0
    }

    /// Code and message with which this acquire is refused, or `granted` and nothing.
    pub fn answer(&mut self, acquire: Acquire<'_>) -> (String, String) {
        let request = acquire.request;
        self.say(&ToSidecar::Acquire(acquire));
        self.refusal(request)
    }

    /// Code and message with which this request is refused, or `granted` and nothing.
    pub fn refusal(&mut self, request: u64) -> (String, String) {
        let mut outcome = (String::from("no answer"), String::new());
        self.hears("an answer", |message| match message {
            ToClient::Granted(granted) if granted.request == request => {
                outcome.0 = String::from("granted");
                true
            }
            ToClient::Refused(refused) if refused.request == request => {
                outcome = (refused.code.name().to_owned(), refused.message.to_string());
                true
            }
            _ => false,
        });
        outcome
    }
}

/// An introduction as it should be.
pub fn hello() -> Hello<'static> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let boottime = Duration::try_from(now).expect("boottime is not negative");
    Hello {
        version_min: 1,
        version_max: VERSION_MAX,
        features: 0,
        boottime_ns: u64::try_from(boottime.as_nanos()).expect("a few centuries fit"),
        app: "e2e",
        require_scope: None,
        resume: None,
    }
}

/// A try for a session lease of this lock.
pub fn try_lock(request: u64, key: &str) -> Acquire<'_> {
    Acquire {
        request,
        key: key.as_bytes(),
        mode: Mode::Exclusive,
        wait: Some(Duration::ZERO),
        life: Life::Session { ttl: None },
        max_hold: None,
        owner: None,
        priority: 0,
        notify_queued: false,
        per: None,
        once: None,
        reentrant: false,
    }
}
