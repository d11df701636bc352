use super::*;
use crate::clock::boottime;
use crate::config::Config;
use crate::listener::Listener;
use crate::sidecar::{Home, Sidecar};
use sidelock_wire::{Decoder, Hello, MAGIC, ToSidecar, VERSION_MAX, VERSION_MIN};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::task::LocalSet;

/// Descriptors are the process's: who counts them and who opens many take turns.
static DESCRIPTORS: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn what_a_peer_begins_with_is_seen_and_left() {
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = UnixStream::from_std(ours).unwrap();
    theirs.write_all(b"GET").unwrap();
    for _ in 0..2 {
        assert_eq!(peek(&ours).await.unwrap(), Opening::Http);
    }
    drop(theirs);
    let mut rest = [0; 8];
    assert_eq!(ours.try_read(&mut rest).unwrap(), 3);
    assert_eq!(peek(&ours).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_first_line_that_is_no_request_is_told_apart() {
    for (opening, text) in [
        (Opening::Http, "GET /v1/info HTTP/1.1\r\n"),
        (Opening::Http, "GET / HTTP/1.0\nmore"),
        (Opening::Http, "GET /v1/in"),
        (Opening::Http, "hello"),
        (Opening::Frames, "\u{1}hello\n"),
        (Opening::Text, "hello\n"),
        (Opening::Text, "GET\r\n\r\n"),
        (Opening::Text, "PRI * HTTP/2.0\r\n\r\n"),
        (Opening::Text, "EHLO example.org\r\nGET / HTTP/1.1\r\n"),
    ] {
        assert_eq!(Opening::of(text.as_bytes()), opening, "{text:?}");
    }
}

#[tokio::test]
async fn who_is_sent_away_is_told_in_their_own_protocol() {
    let problem =
        Problem::new(Code::PeerRefused, "uid 7 is not served here; start the sidecar with --allow-uid 7");
    for first in [b'G', 0xf5] {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = UnixStream::from_std(ours).unwrap();
        ours.writable().await.unwrap();
        send_away(&ours, &problem, Opening::of(&[first]));
        drop(ours);
        let mut told = Vec::new();
        theirs.read_to_end(&mut told).unwrap();
        let text = String::from_utf8_lossy(&told);
        assert!(text.contains("--allow-uid 7"), "{text}");
        assert_eq!(text.starts_with("HTTP/1.1 403 peer_refused\r\n"), first == b'G', "{text}");
    }
}

/// An entrance that runs, with these settings, and where it is.
struct Running {
    folder: tempfile::TempDir,
    entrance: Rc<Entrance>,
}

impl Running {
    fn start(config: &Config, fds_max: u64) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&folder.path().join("s")).unwrap();
        let sidecar = Sidecar::start(config, Home::Embedded).unwrap();
        let frames = sidecar.frames();
        #[cfg(not(feature = "http"))]
        let doors = Doors::Clients { frames };
        #[cfg(feature = "http")]
        let doors = {
            let handle = sidecar.handle.clone();
            let http = crate::http::Door::new(handle.clone(), handle.gate().clone(), sidecar.metrics.clone());
            Doors::Clients { frames, http, leaving: tokio::sync::watch::channel(false).1 }
        };
        let entrance =
            Entrance::new(doors, Allow::new(config, listener.gid()), sidecar.handle, sidecar.metrics);
        spawn_local(entrance.clone().run(listener, fds_max));
        Running { folder, entrance }
    }

    async fn connect(&self, first: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(self.folder.path().join("s")).await.unwrap();
        // That we were hung up on is noticed by listening.
        let _ = stream.write_all(first).await;
        stream
    }

    /// A connection, and whether it was welcomed: else a goodbye's code, or nothing but the end.
    async fn greet(&self) -> Result<Guest, Option<Code>> {
        let hello = Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            features: 0,
            boottime_ns: boottime().0,
            app: "test",
            require_scope: None,
            resume: None,
        };
        let mut bytes = MAGIC.to_vec();
        ToSidecar::Hello(hello).encode(&mut bytes);
        let mut guest =
            Guest { stream: self.connect(&bytes).await, decoder: Decoder::new(1024), frame: Vec::new() };
        match guest.hear().await {
            Some(ToClient::Welcome(_)) => Ok(guest),
            Some(ToClient::Goodbye { code, .. }) => Err(Some(code)),
            None => Err(None),
            Some(other) => panic!("{other:?}"),
        }
    }
}

struct Guest {
    stream: UnixStream,
    decoder: Decoder,
    /// The last message's.
    frame: Vec<u8>,
}

impl Guest {
    /// The next message; `None`: the end.
    async fn hear(&mut self) -> Option<ToClient<'_>> {
        let mut frame = self.decoder.next_frame().unwrap().map(<[u8]>::to_vec);
        while frame.is_none() {
            if matches!(self.stream.read_buf(self.decoder.space()).await, Ok(0) | Err(_)) {
                return None;
            }
            frame = self.decoder.next_frame().unwrap().map(<[u8]>::to_vec);
        }
        self.frame = frame.unwrap_or_default();
        ToClient::decode(&self.frame).unwrap()
    }

    async fn is_served(&mut self) -> bool {
        let mut ping = Vec::new();
        ToSidecar::Ping.encode(&mut ping);
        self.stream.write_all(&ping).await.unwrap();
        matches!(self.hear().await, Some(ToClient::Pong { .. }))
    }
}

/// H22.
#[tokio::test]
async fn a_user_who_is_not_allowed_is_told_so_after_one_byte() {
    let own = rustix::process::geteuid().as_raw();
    let config = Config { allow_uid: vec![own + 1], ..Config::default() };
    let refused = async {
        let running = Running::start(&config, u64::MAX);
        assert_eq!(running.greet().await.err(), Some(Some(Code::PeerRefused)));
        let mut told = Vec::new();
        running.connect(b"G").await.read_to_end(&mut told).await.unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with("HTTP/1.1 403") && told.contains("peer_refused"), "{told}");
        assert!(told.contains(&format!("--allow-uid {own}")), "{told}");
    };
    LocalSet::new().run_until(refused).await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_those_inside_stay() {
    let mut config = Config::default();
    config.limits.sessions_max = 2;
    let full = async {
        let running = Running::start(&config, u64::MAX);
        let mut first = running.greet().await.ok().unwrap();
        let second = running.greet().await.ok().unwrap();
        assert_eq!(running.greet().await.err(), Some(Some(Code::TooMany)));
        assert!(first.is_served().await);
        drop(second);
        // Its end is noticed when it is, not at once.
        while running.greet().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    LocalSet::new().run_until(full).await;
}

/// Anybody may connect to a socket that is open to all, and say nothing.
#[tokio::test]
async fn who_is_not_allowed_takes_nobodys_place() {
    let _turn = DESCRIPTORS.lock().await;
    let own = rustix::process::geteuid().as_raw();
    let mut config = Config { allow_uid: vec![own + 1], ..Config::default() };
    config.limits.sessions_max = 1;
    let crowded = async {
        let running = Running::start(&config, u64::MAX);
        let mut silent = Vec::new();
        for _ in 0..SENT_AWAY_MAX {
            silent.push(running.connect(b"").await);
        }
        // One more is hung up on without a word: those before it are still being asked what they speak.
        let mut told = Vec::new();
        running.connect(b"").await.read_to_end(&mut told).await.unwrap();
        assert_eq!(told, b"");
        config.allow_uid = vec![own];
        running.entrance.allow(Allow::new(&config, rustix::process::getgid().as_raw()));
        assert!(running.greet().await.is_ok(), "the only place is free");
    };
    LocalSet::new().run_until(crowded).await;
}

/// H13. Descriptors that are short are kept from newcomers, and given to them again when there are some.
#[tokio::test]
async fn short_of_descriptors_newcomers_are_hung_up_on_and_those_inside_stay() {
    let _turn = DESCRIPTORS.lock().await;
    let short = async {
        // Each connection of this test takes two, its own end and the sidecar's.
        let next = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
        let running = Running::start(&Config::default(), next + 100);
        let mut inside = running.greet().await.ok().unwrap();
        let mut served = Vec::new();
        let refused = loop {
            match running.greet().await {
                Ok(guest) => served.push(guest),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, None, "no goodbye: that would take the descriptor longer");
        assert!((10..=100).contains(&served.len()), "after {}", served.len());
        assert!(inside.is_served().await);
        served.clear();
        while running.greet().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    LocalSet::new().run_until(short).await;
}
