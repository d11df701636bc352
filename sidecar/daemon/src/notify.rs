//! What a service manager hears of us: sd_notify(3), which is a datagram, without its library.
//!
//! Owns the words and how often they are said. Must not know when a sidecar is ready or whether it turns: it is told.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::time::sleep;

/// A socket, if somebody wants to hear.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// Microseconds without a sign of life after which we are ended and started again.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
/// The process that the watchdog is for; every one, if it is not said.
const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";

/// Whoever started us and wants to know how we are: systemd, for a unit with `Type=notify`.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: UnixDatagram,
    /// How often it wants a sign of life, if it does.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names. One that can not be reached is as good as none: locks come first.
    pub(crate) fn find() -> Option<Manager> {
        let name = env::var(SOCKET_VARIABLE).ok()?;
        let meant = env::var(WATCHDOG_PID_VARIABLE).map_or(true, |pid| pid == std::process::id().to_string());
        let period = env::var(WATCHDOG_VARIABLE).ok().filter(|_| meant);
        let watchdog = period.and_then(|period| period.parse().ok()).map(Duration::from_micros);
        Manager::at(&name, watchdog)
            .inspect_err(|error| tracing::warn!(socket = name, %error, "the service manager can not be told how we are"))
            .ok()
    }

    fn at(name: &str, watchdog: Option<Duration>) -> io::Result<Manager> {
        let address = match name.strip_prefix('@') {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = StdDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Manager { socket: UnixDatagram::from_std(socket)?, watchdog })
    }

    /// Says that we serve, and from then on twice in a period that we still do, until `turns` does not answer or says no.
    pub(crate) async fn follow(&self, turns: impl AsyncFn() -> bool) {
        self.tell("READY=1").await;
        let Some(period) = self.watchdog else { return };
        while turns().await {
            self.tell("WATCHDOG=1").await;
            sleep(period / 2).await;
        }
    }

    /// Says that we go, and how long that takes at most, in case it would be less patient.
    pub(crate) fn stopping(&self, within: Duration) {
        let words = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", within.as_micros());
        // It sees our end in any case; we do not wait for one that does not read.
        if let Err(error) = self.socket.try_send(words.as_bytes()) {
            tracing::debug!(%error, "the service manager was not told that we go");
        }
    }

    async fn tell(&self, words: &str) {
        if let Err(error) = self.socket.send(words.as_bytes()).await {
            tracing::warn!(%error, words, "the service manager was not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn heard(manager: &StdDatagram) -> String {
        let mut words = [0; 200];
        let length = manager.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_manager_with_a_name_of_either_kind_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = StdDatagram::bind(&path).unwrap();
        let name = format!("sidelock-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = StdDatagram::bind_addr(&address).unwrap();
        for (manager, name) in [(by_path, path.to_string_lossy().into_owned()), (by_name, format!("@{name}"))]
        {
            let told = Manager::at(&name, None).unwrap();
            told.follow(async || panic!("without a watchdog nobody asks")).await;
            assert_eq!(heard(&manager), "READY=1");
            told.stopping(Duration::from_secs(3));
            assert_eq!(heard(&manager), "STOPPING=1\nEXTEND_TIMEOUT_USEC=3000000");
        }
    }

    #[tokio::test]
    async fn signs_of_life_end_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = StdDatagram::bind(&path).unwrap();
        let told = Manager::at(&path.to_string_lossy(), Some(Duration::from_millis(2))).unwrap();
        let left = Cell::new(3);
        told.follow(async || left.replace(left.get() - 1) > 0).await;
        assert_eq!(heard(&manager), "READY=1");
        for _ in 0..3 {
            assert_eq!(heard(&manager), "WATCHDOG=1");
        }
        manager.set_nonblocking(true).unwrap();
        assert!(manager.recv(&mut [0; 1]).is_err(), "and no more");
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_none() {
        assert!(Manager::at("/nowhere/notify", None).is_err());
    }
}
