//! A frame client for tests: blocking, without manners, one message at a time.

#![allow(clippy::unwrap_used, reason = "helpers of a test are a test")]
#![allow(dead_code, reason = "each test file uses its part")]

use sidelock_daemon::{Embedded, boottime};
use sidelock_wire::{
    Acquire, Code, Decoder, FRAME_BYTES_MAX, Hello, LeaseName, Life, LostReason, MAGIC, Mode, ToClient,
    ToSidecar,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What a test waits at most for something that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    decoder: Decoder,
}

/// An answer, freed from its frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Welcome { session: u64, secret: sidelock_wire::Secret, resumed: Option<Vec<u64>> },
    Granted(u64, u64),
    Refused(u64, Code, String),
    Released(u64),
    Done(u64, Vec<u8>),
    Finished(u64),
    Cancelled(u64),
    Queued(u64),
    Lost(u64, LostReason),
    Goodbye(Code, String),
    Other(String),
    End,
}

impl Client {
    pub(crate) fn connect(sidecar: &Embedded) -> Client {
        let stream = sidecar.connect().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { stream, decoder: Decoder::new(FRAME_BYTES_MAX) };
        client.bytes(&MAGIC);
        client
    }

    pub(crate) fn greeted(sidecar: &Embedded) -> Client {
        let mut client = Client::connect(sidecar);
        client.say(&ToSidecar::Hello(hello()));
        assert!(matches!(client.hear(), Heard::Welcome { resumed: None, .. }));
        client
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        // A sidecar that has hung up is noticed by listening.
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn say(&mut self, message: &ToSidecar<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.bytes(&bytes);
    }

    pub(crate) fn acquire(&mut self, request: u64, key: &str, wait: Option<Duration>) {
        self.say(&ToSidecar::Acquire(Acquire { wait, ..ask(request, key) }));
    }

    pub(crate) fn release(&mut self, request: u64, lease: u64) {
        self.say(&ToSidecar::Release { request, lease: LeaseName::Session(lease) });
    }

    pub(crate) fn hear(&mut self) -> Heard {
        loop {
            if let Some(payload) = self.decoder.next_frame().unwrap() {
                let message = ToClient::decode(payload).unwrap().expect("nothing is newer than this test");
                // State that may come at any time; no test here is about it.
                if !matches!(message, ToClient::Extended { .. } | ToClient::Pong { .. }) {
                    return heard(message);
                }
                continue;
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Heard::End,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Heard::End,
                Ok(count) => self.decoder.space().extend_from_slice(&chunk[..count]),
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    pub(crate) fn granted(&mut self, request: u64) -> u64 {
        match self.hear() {
            Heard::Granted(which, fence) if which == request => fence,
            other => panic!("{other:?}"),
        }
    }
}

fn heard(message: ToClient<'_>) -> Heard {
    match message {
        ToClient::Welcome(w) => Heard::Welcome { session: w.session, secret: w.secret, resumed: w.resumed },
        ToClient::Granted(granted) => Heard::Granted(granted.request, granted.fence),
        ToClient::GrantedAll { request, leases } => Heard::Granted(request, leases[0].fence),
        ToClient::Refused(r) => Heard::Refused(r.request, r.code, r.message.into_owned()),
        ToClient::Released { request } => Heard::Released(request),
        ToClient::Done(done) => Heard::Done(done.request, done.result.into_owned()),
        ToClient::Finished { request } => Heard::Finished(request),
        ToClient::Cancelled { request } => Heard::Cancelled(request),
        ToClient::Queued { request, .. } => Heard::Queued(request),
        ToClient::Lost { request, reason } => Heard::Lost(request, reason),
        ToClient::Goodbye { code, message } => Heard::Goodbye(code, message.into_owned()),
        other => Heard::Other(format!("{other:?}")),
    }
}

pub(crate) fn hello() -> Hello<'static> {
    Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        boottime_ns: boottime().0,
        app: "test",
        require_scope: None,
        resume: None,
    }
}

pub(crate) fn ask(request: u64, key: &str) -> Acquire<'_> {
    Acquire {
        request,
        key: key.as_bytes(),
        mode: Mode::Exclusive,
        wait: None,
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
