//! The scripted peer.

use crate::clock;
use crate::{Builder, Client, Lease};
use sidelock_wire::{
    Acquire, Decoder, FRAME_BYTES_MAX, Granted, Guarantee, Hello, LeaseName, Limits, Register, RegisterAct,
    Resume, Scope, Secret, ToClient, ToSidecar, Welcome,
};
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// No case takes so long unless something hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The session's secret in every welcome.
pub(super) const SECRET: Secret = Secret(0x5ec3e7);
/// How long a granted lease lasts in these cases: well within the session's ttl.
pub(super) const LEASE: Duration = Duration::from_secs(20);

/// Listens where clients are told to connect.
pub(super) struct Place {
    listener: UnixListener,
    dir: TempDir,
}

/// One accepted connection.
pub(super) struct Peer {
    stream: UnixStream,
    decoder: Decoder,
    pub(super) resume: Option<Resume>,
}

impl Place {
    pub(super) fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        Place { listener, dir }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub(super) fn builder(&self) -> Builder {
        Client::builder().app("test").socket(self.path())
    }

    /// A client and its peer, past the welcome.
    pub(super) async fn meet(&self, scope: Scope) -> (Client, Peer) {
        self.meet_with(self.builder(), scope).await
    }

    pub(super) async fn meet_with(&self, builder: Builder, scope: Scope) -> (Client, Peer) {
        let (client, peer) = tokio::join!(builder.connect(), self.accept_and_welcome(welcome(scope)));
        (client.unwrap(), peer)
    }

    /// The next connection, its hello read.
    pub(super) async fn accept(&self) -> Peer {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        let decoder = Decoder::with_magic(FRAME_BYTES_MAX);
        let mut peer = Peer { stream, decoder, resume: None };
        peer.resume = peer
            .next(|message| match message {
                ToSidecar::Hello(Hello { app: "test", resume, .. }) => resume,
                other => panic!("a hello was due, got {other:?}"),
            })
            .await;
        peer
    }

    pub(super) async fn accept_and_welcome(&self, mut welcome: Welcome<'static>) -> Peer {
        let mut peer = self.accept().await;
        welcome.boottime_ns = clock::boottime_ns();
        peer.say(&ToClient::Welcome(welcome)).await;
        peer
    }
}

impl Peer {
    /// Waits for the client's next message; pings are skipped.
    pub(super) async fn next<T>(&mut self, read: impl FnOnce(ToSidecar<'_>) -> T) -> T {
        loop {
            while let Some(payload) = self.decoder.next_frame().unwrap() {
                match ToSidecar::decode(payload).unwrap().unwrap() {
                    ToSidecar::Ping => {}
                    message => return read(message),
                }
            }
            let read = self.stream.read_buf(self.decoder.space());
            let count = tokio::time::timeout(PATIENCE, read).await.expect("the client says nothing").unwrap();
            assert_ne!(count, 0, "the client hung up");
        }
    }

    /// The number of the acquire that is due, and its wait.
    pub(super) async fn acquire(&mut self, key: &str) -> (u64, Option<Duration>) {
        self.next(|message| acquire_of(message, key)).await
    }

    /// The same of one that has arrived, without letting anybody run meanwhile.
    pub(super) fn acquire_already_here(&mut self, key: &str) -> (u64, Option<Duration>) {
        self.take_in_already_here();
        let payload = self.decoder.next_frame().unwrap().expect("nothing has arrived");
        acquire_of(ToSidecar::decode(payload).unwrap().unwrap(), key)
    }

    /// Takes in what has arrived, without letting anybody run meanwhile; tells how many bytes.
    pub(super) fn take_in_already_here(&mut self) -> usize {
        let mut stream = StdStream::from(self.stream.as_fd().try_clone_to_owned().unwrap());
        let mut bytes = vec![0; 1 << 22];
        let count = match stream.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            read => read.unwrap(),
        };
        self.decoder.space().extend_from_slice(&bytes[..count]);
        count
    }

    /// The number of the acquire whose cancel is due.
    pub(super) async fn cancel(&mut self) -> u64 {
        self.next(|message| match message {
            ToSidecar::Cancel { request } => request,
            other => panic!("a cancel was due, got {other:?}"),
        })
        .await
    }

    /// The release that is due: its own number and the acquire's.
    pub(super) async fn release(&mut self) -> (u64, u64) {
        self.next(|message| match message {
            ToSidecar::Release { request, lease: LeaseName::Session(acquire) } => (request, acquire),
            other => panic!("a release was due, got {other:?}"),
        })
        .await
    }

    /// The renewal that is due: its own number, the acquire's and the ttl.
    pub(super) async fn renew(&mut self) -> (u64, u64, Duration) {
        self.next(|message| match message {
            ToSidecar::Renew { request, lease: LeaseName::Session(acquire), ttl } => (request, acquire, ttl),
            other => panic!("a renewal was due, got {other:?}"),
        })
        .await
    }

    /// The finish that is due: its own number, the acquire's and the result.
    pub(super) async fn finish(&mut self) -> (u64, u64, Vec<u8>) {
        self.next(|message| match message {
            ToSidecar::Finish { request, lease: LeaseName::Session(acquire), result } => {
                (request, acquire, result.to_vec())
            }
            other => panic!("a finish was due, got {other:?}"),
        })
        .await
    }

    /// The number of the request about a register that is due: for `act`.
    pub(super) async fn register(&mut self, key: &str, act: RegisterAct<'_>) -> u64 {
        self.next(|message| match message {
            ToSidecar::Register(asked) => {
                let due = Register { request: asked.request, key: key.as_bytes(), lease: None, act };
                assert_eq!(asked, due);
                asked.request
            }
            other => panic!("something of a register was due, got {other:?}"),
        })
        .await
    }

    /// Waits for a ping, and answers it.
    pub(super) async fn ping(&mut self) {
        loop {
            if let Some(payload) = self.decoder.next_frame().unwrap() {
                assert_eq!(ToSidecar::decode(payload).unwrap(), Some(ToSidecar::Ping));
                return self.say(&ToClient::Pong { boottime_ns: clock::boottime_ns() }).await;
            }
            self.stream.read_buf(self.decoder.space()).await.unwrap();
        }
    }

    /// Waits until the client hangs up; nothing but pings may come before.
    pub(super) async fn hung_up(&mut self) {
        loop {
            while let Some(payload) = self.decoder.next_frame().unwrap() {
                assert_eq!(ToSidecar::decode(payload).unwrap(), Some(ToSidecar::Ping));
            }
            let read = self.stream.read_buf(self.decoder.space());
            let read = tokio::time::timeout(PATIENCE, read).await.expect("the client does not hang up");
            // A reset: it hung up before it read all that was said.
            if matches!(read, Ok(0) | Err(_)) {
                return;
            }
        }
    }

    pub(super) async fn say(&mut self, message: &ToClient<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.say_bytes(&bytes).await;
    }

    pub(super) async fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Grants for [`LEASE`].
    pub(super) async fn grant(&mut self, request: u64, fence: u64) {
        self.grant_until(request, fence, clock::after(clock::boottime_ns(), LEASE), None).await;
    }

    pub(super) async fn grant_until(
        &mut self,
        request: u64,
        fence: u64,
        deadline_ns: u64,
        cap_ns: Option<u64>,
    ) {
        self.say(&ToClient::Granted(Granted { request, fence, deadline_ns, cap_ns, secret: None })).await;
    }

    /// Returns once the client has taken in all that was said so far: it answers a request's refusal in order.
    pub(super) async fn settled(&mut self, client: &Client) {
        let probe = tokio::spawn(client.lock("probe").acquire());
        let (request, _) = self.acquire("probe").await;
        self.grant(request, 1).await;
        drop(probe.await.unwrap().unwrap());
        assert_eq!(self.release().await.1, request);
    }
}

fn acquire_of(message: ToSidecar<'_>, key: &str) -> (u64, Option<Duration>) {
    match message {
        ToSidecar::Acquire(Acquire { request, key: asked, wait, .. }) => {
            assert_eq!(asked, key.as_bytes());
            (request, wait)
        }
        other => panic!("an acquire was due, got {other:?}"),
    }
}

/// What a sidecar says first.
pub(super) fn welcome(scope: Scope) -> Welcome<'static> {
    Welcome {
        version: 1,
        features: 0,
        session: 77,
        secret: SECRET,
        session_ttl: Duration::from_secs(30),
        boottime_ns: 0,
        incarnation: 1,
        scope,
        guarantee: if scope == Scope::Fleet { Guarantee::Bounded } else { Guarantee::Local },
        limits: Limits { frame_bytes_max: 4096, key_bytes_max: 512, in_flight_max: 64 },
        namespace: "default".into(),
        resumed: None,
    }
}

/// What it says first to a client whose session goes on, with these leases.
pub(super) fn resumed(held: Vec<u64>) -> Welcome<'static> {
    Welcome { resumed: Some(held), ..welcome(Scope::Fleet) }
}

/// What another one says first.
pub(super) fn restarted(scope: Scope) -> Welcome<'static> {
    Welcome { incarnation: 2, ..welcome(scope) }
}

/// A lease, and the number of its acquire.
pub(super) async fn hold(client: &Client, peer: &mut Peer, key: &str) -> (Lease, u64) {
    let asking = tokio::spawn(client.lock(key).acquire());
    let (request, _) = peer.acquire(key).await;
    peer.grant(request, 7).await;
    (asking.await.unwrap().unwrap(), request)
}

/// Requests and leases in the client's table.
pub(super) fn open(client: &Client) -> usize {
    client.handle.shared.lock().slots.len()
}
