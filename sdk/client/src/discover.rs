//! Where the sidecar's socket is.
//!
//! Owns the order in which places are looked at: what the program says, `SIDELOCK_SOCKET`, then the first existing one
//! of the usual places.

use crate::error::Error;
use crate::fork::{LetGoInChild, Opened};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
#[cfg(feature = "embedded")]
use sidelock_daemon::Embedded;
use sidelock_socket::Socket;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
#[cfg(feature = "embedded")]
use std::sync::Weak;

/// The variable that names the socket, for sidecar, command line and SDKs alike.
pub(crate) const SOCKET_VARIABLE: &str = "SIDELOCK_SOCKET";

/// Where to look for the sidecar, each time anew.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// There, and nowhere else.
    Path(PathBuf),
    /// In the first of the usual places that exists.
    UsualPlaces,
    /// In this process, for as long as the client that started it lives.
    #[cfg(feature = "embedded")]
    Embedded(Weak<Embedded>),
}

impl Target {
    /// What the environment says.
    pub(crate) fn from_environment() -> Target {
        match std::env::var_os(SOCKET_VARIABLE) {
            Some(path) if !path.is_empty() => Target::Path(path.into()),
            _ => Target::UsualPlaces,
        }
    }

    /// A new connection to it, which a forked child lets go of.
    pub(crate) fn open(&self) -> Result<Opened<Socket>, Error> {
        let path = match self {
            Target::Path(path) => path.clone(),
            Target::UsualPlaces => first_existing(usual_places())?,
            #[cfg(feature = "embedded")]
            Target::Embedded(embedded) => return open_embedded(embedded),
        };
        connect(&path).map_err(|error| {
            let cause = why_not(&path, &error);
            Error::unreachable(vec![path], cause)
        })
    }

    /// The paths to name when a connection came to nothing.
    pub(crate) fn tried(&self) -> Vec<PathBuf> {
        match self {
            Target::Path(path) => vec![path.clone()],
            Target::UsualPlaces => first_existing(usual_places()).into_iter().collect(),
            #[cfg(feature = "embedded")]
            Target::Embedded(_) => Vec::new(),
        }
    }
}

/// A Unix socket connects at once or not at all, so nothing waits here.
fn connect(path: &Path) -> io::Result<Opened<Socket>> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    LetGoInChild::open(|| {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &address)?;
        Socket::new(UnixStream::from(socket))
    })
}

/// What there is instead of a sidecar, and what to do.
fn why_not(path: &Path, error: &io::Error) -> String {
    let is_socket = || std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "there is nothing; start one with `sidelock serve`, or let {SOCKET_VARIABLE} say where it listens"
            )
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not open the socket: its owner and its group may (`ls -l`); join that group"
                .to_owned()
        }
        io::ErrorKind::ConnectionRefused if is_socket() => {
            "nobody listens there any more; start the sidecar again with `sidelock serve`".to_owned()
        }
        io::ErrorKind::ConnectionRefused => {
            format!("that is no socket; let {SOCKET_VARIABLE}, or the program's settings, name the sidecar's")
        }
        _ => format!("{error}; is `sidelock serve` running?"),
    }
}

#[cfg(feature = "embedded")]
fn open_embedded(embedded: &Weak<Embedded>) -> Result<Opened<Socket>, Error> {
    let ended = || io::Error::other("the embedded sidecar ended with its client");
    let connect = || embedded.upgrade().ok_or_else(ended)?.connect();
    let opened = LetGoInChild::open(|| Socket::new(connect()?));
    opened.map_err(|error: io::Error| Error::unreachable(Vec::new(), error))
}

/// The socket that [`crate::Client::connect_default`] would connect to now: for programs that speak HTTP to it.
///
/// # Errors
/// [`Error::SidecarUnreachable`] with the places that were looked at.
pub fn socket_path() -> Result<PathBuf, Error> {
    match Target::from_environment() {
        Target::Path(path) => Ok(path),
        _ => first_existing(usual_places()),
    }
}

fn first_existing(places: Vec<PathBuf>) -> Result<PathBuf, Error> {
    match places.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(Error::unreachable(
            places,
            format!("no socket there; start one with `sidelock serve`, or set {SOCKET_VARIABLE}"),
        )),
    }
}

/// Where `sidelock serve` puts its socket unless told otherwise, and where a pod shares it.
fn usual_places() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/run/sidelock/sidelock.sock")];
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        places.push(Path::new(&runtime).join("sidelock/sidelock.sock"));
    }
    let uid = rustix::process::getuid().as_raw();
    places.push(format!("/tmp/sidelock-{uid}/sidelock.sock").into());
    places.push("/run/sidelock/s/sidelock.sock".into());
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_existing_place_wins() {
        let dir = tempfile::tempdir().unwrap();
        let (absent, first, second) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        std::fs::write(&first, "").unwrap();
        std::fs::write(&second, "").unwrap();
        assert_eq!(first_existing(vec![absent, first.clone(), second]).unwrap(), first);
    }

    #[test]
    fn nothing_found_lists_what_was_tried() {
        let places = vec![PathBuf::from("/nonexistent/a"), PathBuf::from("/nonexistent/b")];
        let error = first_existing(places).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nonexistent/a") && text.contains("/nonexistent/b"), "{text}");
        assert!(text.contains(SOCKET_VARIABLE), "{text}");
    }
}
