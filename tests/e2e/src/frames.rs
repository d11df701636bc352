//! A frame peer without manners: it says what a test tells it to, byte for byte if need be.
//!
//! Owns one connection. Must not know what good behaviour is: the SDK does.

use crate::PATIENCE;
use sidelock_wire::{
    Acquire, Decoder, FRAME_BYTES_MAX, Hello, Life, MAGIC, Mode, ToClient, ToSidecar, VERSION_MAX,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

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
        let mut peer = Peer::connect(socket);
        peer.bytes(&MAGIC);
        peer.say(&ToSidecar::Hello(hello()));
        assert!(peer.hears("a welcome", |message| matches!(message, ToClient::Welcome(_))));
        peer
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

    /// The code of the sidecar's goodbye, and then the end of the connection.
    pub fn goodbye(&mut self) -> String {
        let mut code = String::from("no goodbye");
        let hung_up = !self.hears("a goodbye and the end", |message| {
            if let ToClient::Goodbye { code: said, .. } = message {
                code = said.name().to_owned();
            }
            false
        });
        assert!(hung_up, "a goodbye is followed by the end");
        code
    }

    /// The code with which this acquire is refused, or `granted`.
    pub fn acquires(&mut self, acquire: Acquire<'_>) -> String {
        let wanted = acquire.request;
        self.say(&ToSidecar::Acquire(acquire));
        let mut outcome = String::from("no answer");
        self.hears("an answer", |message| match message {
            ToClient::Granted(granted) if granted.request == wanted => {
                outcome = String::from("granted");
                true
            }
            ToClient::Refused(refused) if refused.request == wanted => {
                outcome = refused.code.name().to_owned();
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
    }
}
