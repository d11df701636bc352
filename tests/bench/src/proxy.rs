//! A network that takes its time: every byte arrives on the other side a fixed delay after it was sent.
//!
//! Owns a Unix socket and the threads behind it; they end with the connections that use them. Threads that sleep, because
//! an async runtime's timers count whole milliseconds.

use sidelock_e2e::folder;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A socket that leads to another one.
pub(crate) struct Proxy {
    folder: TempDir,
}

impl Proxy {
    /// Leads to `target`, `delay` each way.
    pub(crate) fn to(target: &Path, delay: Duration) -> io::Result<Proxy> {
        let proxy = Proxy { folder: folder() };
        let listener = UnixListener::bind(proxy.socket())?;
        let target = target.to_owned();
        thread::spawn(move || {
            for near in listener.incoming() {
                // That the target is gone is seen by who connected: the connection ends.
                let _ = near.and_then(|near| join(near, UnixStream::connect(&target)?, delay));
            }
        });
        Ok(proxy)
    }

    /// What `--redis` wants to hear.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("far.sock")
    }
}

fn join(near: UnixStream, far: UnixStream, delay: Duration) -> io::Result<()> {
    carry(near.try_clone()?, far.try_clone()?, delay);
    carry(far, near, delay);
    Ok(())
}

/// One direction: one thread notes when bytes came, another sends them on when they are due.
fn carry(mut from: UnixStream, mut to: UnixStream, delay: Duration) {
    let (sender, receiver) = channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut chunk = [0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut chunk) {
            if sender.send((Instant::now() + delay, chunk[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // The other direction of a connection that has ended ends too.
        let _ = to.shutdown(Shutdown::Both);
    });
}
