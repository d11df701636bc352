//! The socket file: finding its place, making it, and keeping it there (H12).
//!
//! Owns path, folder, lock and stale files. Must not know who connects.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Bytes of a socket's path: `sun_path` less its end (unix(7)).
const PATH_BYTES_MAX: usize = 107;
/// Who may connect is decided by the kernel's word about the peer, so that who may not can be told why.
const SOCKET_MODE: u32 = 0o666;
/// The first descriptor that a service manager passes (sd_listen_fds(3)).
const PASSED_FD: i32 = 3;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel has no room for the path.
    #[error(
        "the socket path {path} has {length} bytes, at most {PATH_BYTES_MAX} are possible; choose a shorter --socket"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        length: usize,
    },
    /// Anybody could put another socket in its place.
    #[error(
        "the folder {folder} can be written by everybody; `chmod o-w {folder}`, or choose another --socket (a folder of its own is made if it is missing)"
    )]
    FolderOpen {
        /// The folder.
        folder: PathBuf,
    },
    /// Its owner could put another socket in its place.
    #[error("the folder {folder} belongs to uid {uid}, neither us nor root; choose another --socket")]
    FolderForeign {
        /// The folder.
        folder: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A second sidecar.
    #[error("another sidecar serves {path}; stop it, or choose another --socket")]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// Something else than a socket is there.
    #[error("{path} exists and is no socket; move it away, or choose another --socket")]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// A socket of another kind is there.
    #[error("{path} is a socket of another kind; move it away, or choose another --socket")]
    OtherKind {
        /// The path.
        path: PathBuf,
    },
    /// None of the usual places can be used.
    #[error("no usable place for the socket; choose one with --socket. Tried:{tried}")]
    Nowhere {
        /// A line for each place.
        tried: String,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// What was being made.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// A listening socket. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// The file that is ours, by device and inode. `None`: a service manager made it, and keeps it.
    file: Option<(u64, u64)>,
    /// Held as long as we serve the path.
    _lock: Option<File>,
}

impl Listener {
    /// Listens at `path` if it is given, else on the socket that a service manager passed, else at the first usable of
    /// the well-known places.
    pub(crate) fn open(path: Option<&Path>) -> Result<Listener, SocketError> {
        if let Some(path) = path {
            return Listener::bind(path);
        }
        if let Some(passed) = passed() {
            return passed;
        }
        let mut tried = String::new();
        for path in places() {
            match Listener::bind(&path) {
                Ok(listener) => return Ok(listener),
                // That a sidecar is there already is no reason to hide a second one elsewhere.
                Err(taken @ SocketError::Taken { .. }) => return Err(taken),
                Err(error) => tried = format!("{tried}\n  {}: {error}", path.display()),
            }
        }
        Err(SocketError::Nowhere { tried })
    }

    /// Listens at `path`, whose last folder is made if it is missing.
    pub(crate) fn bind(path: &Path) -> Result<Listener, SocketError> {
        fits(path)?;
        prepare_folder(path)?;
        let lock = lock(path)?;
        clear(path)?;
        let (listener, file) = listen(path)?;
        Ok(Listener { listener, path: path.into(), file: Some(file), _lock: Some(lock) })
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The group that owns the socket: its members may connect.
    pub(crate) fn gid(&self) -> u32 {
        std::fs::metadata(&self.path).map_or_else(|_| rustix::process::getegid().as_raw(), |file| file.gid())
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<tokio::net::UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Listens again if somebody deleted or replaced the file: clients find a sidecar by its path. Connections that stand
    /// are not touched. Whether it had to.
    pub(crate) fn heal(&mut self) -> Result<bool, SocketError> {
        let Some(ours) = self.file else { return Ok(false) };
        if identity(&self.path).is_ok_and(|there| there == ours) {
            return Ok(false);
        }
        prepare_folder(&self.path)?;
        clear(&self.path)?;
        let (listener, file) = listen(&self.path)?;
        (self.listener, self.file) = (listener, Some(file));
        Ok(true)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.file.is_some_and(|ours| identity(&self.path).is_ok_and(|there| there == ours)) {
            // What can not be removed is stale, and the next sidecar finds that out.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether the kernel takes this path for a socket.
pub(crate) fn fits(path: &Path) -> Result<(), SocketError> {
    match path.as_os_str().len() {
        0..=PATH_BYTES_MAX => Ok(()),
        length => Err(SocketError::TooLong { path: path.into(), length }),
    }
}

/// Where a sidecar listens if nobody says: the same places that clients look at.
fn places() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let own = format!("/tmp/sidelock-{}", rustix::process::geteuid().as_raw());
    let folders =
        [Some("/run/sidelock".into()), runtime.map(|dir| Path::new(&dir).join("sidelock")), Some(own.into())];
    folders.into_iter().flatten().map(|folder: PathBuf| folder.join("sidelock.sock")).collect()
}

/// The socket that a service manager passed us, if it did.
fn passed() -> Option<Result<Listener, SocketError>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID")? != std::process::id() || number("LISTEN_FDS")? < 1 {
        return None;
    }
    // SAFETY: numbers go in. That it fails if there is no such descriptor is what it is called for.
    let open = unsafe { libc::fcntl(PASSED_FD, libc::F_SETFD, libc::FD_CLOEXEC) } != -1;
    // SAFETY: it is open, and nobody closes it while it is asked what it is. It may be another part's, if none was passed.
    let listens = open && socket_acceptconn(unsafe { BorrowedFd::borrow_raw(PASSED_FD) }) == Ok(true);
    if !listens {
        let error = io::Error::other("LISTEN_FDS says that it is a listening socket, and it is none");
        return Some(Err(SocketError::Io { path: "descriptor 3".into(), error }));
    }
    // SAFETY: it listens, as nothing else in this process does yet, so it is what was passed to us to own.
    let listener = unsafe { StdListener::from_raw_fd(PASSED_FD) };
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    let path = path.unwrap_or_default();
    let listener = asynchronous(listener).map_err(|error| SocketError::Io { path: path.clone(), error });
    Some(listener.map(|listener| Listener { listener, path, file: None, _lock: None }))
}

/// Makes the last folder of the path if it is missing, and sees to it that nobody else decides what is in it.
fn prepare_folder(path: &Path) -> Result<(), SocketError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let at = |error| SocketError::Io { path: folder.into(), error };
    match DirBuilder::new().mode(0o750).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(error)),
        _ => {}
    }
    let found = std::fs::metadata(folder).map_err(at)?;
    let uid = found.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(SocketError::FolderForeign { folder: folder.into(), uid });
    }
    match is_open(found.mode()) {
        true => Err(SocketError::FolderOpen { folder: folder.into() }),
        false => Ok(()),
    }
}

/// Whether a folder of this mode lets everybody replace what is in it.
pub(crate) fn is_open(mode: u32) -> bool {
    mode & 0o002 != 0 && !is_sticky(mode)
}

/// Whether a folder of this mode lets its group replace what is in it.
pub(crate) fn is_shared(mode: u32) -> bool {
    mode & 0o020 != 0 && !is_sticky(mode)
}

/// Whether what is in a folder of this mode is safe from all but its own owner and the folder's.
pub(crate) fn is_sticky(mode: u32) -> bool {
    mode & 0o1000 != 0
}

/// One sidecar per path, also while both start.
fn lock(path: &Path) -> Result<File, SocketError> {
    let lock_path = beside(path, ".lock");
    let at = |error: io::Error| SocketError::Io { path: lock_path.clone(), error };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(at)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(SocketError::Taken { path: path.into() }),
        Err(error) => Err(at(error.into())),
    }
}

/// The path with something appended to its last part.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a socket that nobody serves. Somebody may, without our lock: an older version, or the folder was made anew.
fn clear(path: &Path) -> Result<(), SocketError> {
    let at = |error| SocketError::Io { path: path.into(), error };
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NoSocket { path: path.into() });
    }
    match probe(path) {
        // Who has no room for another connection listens, too.
        Ok(()) | Err(Errno::AGAIN) => Err(SocketError::Taken { path: path.into() }),
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(at),
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::PROTOTYPE) => Err(SocketError::OtherKind { path: path.into() }),
        // Of somebody who does not let us ask: it is not for us to remove.
        Err(error) => Err(at(error.into())),
    }
}

/// Connects and hangs up, without waiting: whoever is there may not accept, and we have one thread.
pub(crate) fn probe(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

fn listen(path: &Path) -> Result<(UnixListener, (u64, u64)), SocketError> {
    let at = |error| SocketError::Io { path: path.into(), error };
    let listener = StdListener::bind(path).and_then(asynchronous).map_err(at)?;
    std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(at)?;
    Ok((listener, identity(path).map_err(at)?))
}

fn asynchronous(listener: StdListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn folder(mode: u32) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        dir
    }

    #[tokio::test]
    async fn a_socket_of_another_kind_is_not_ours_to_replace() {
        let dir = folder(0o755);
        let path = dir.path().join("notify");
        let _datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let Err(refused) = Listener::bind(&path) else { panic!("somebody else serves it") };
        assert!(refused.to_string().contains("notify is a socket of another kind"), "{refused}");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_missing_last_folder_is_made_and_a_stale_socket_replaced() {
        let dir = folder(0o755);
        let path = dir.path().join("s").join("sidelock.sock");
        drop(Listener::bind(&path).unwrap());
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o750);
        assert!(!path.exists(), "its file goes with it");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists(), "as after a kill");
        let _listener = Listener::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn two_sidecars_on_one_path_are_one_too_many() {
        let dir = folder(0o755);
        let path = dir.path().join("sidelock.sock");
        let _first = Listener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(SocketError::Taken { .. })), "by the lock");
        std::fs::remove_file(beside(&path, ".lock")).unwrap();
        assert!(matches!(Listener::bind(&path), Err(SocketError::Taken { .. })), "by the probe");
    }

    #[test]
    fn a_listener_without_room_is_there_and_not_waited_for() {
        let dir = folder(0o755);
        let path = dir.path().join("sidelock.sock");
        let busy = StdListener::bind(&path).unwrap();
        rustix::net::listen(&busy, 0).unwrap();
        let mut crowd = 0;
        while probe(&path).is_ok() {
            crowd += 1;
            assert!(crowd < 10_000, "a queue of none has no end");
        }
        assert_eq!(probe(&path), Err(Errno::AGAIN));
        assert!(matches!(clear(&path), Err(SocketError::Taken { .. })));
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_deleted_file_comes_back_and_the_lock_stays() {
        let dir = folder(0o755);
        let path = dir.path().join("sidelock.sock");
        let mut listener = Listener::bind(&path).unwrap();
        assert!(!listener.heal().unwrap(), "nothing to do");
        std::fs::remove_file(&path).unwrap();
        assert!(listener.heal().unwrap());
        UnixStream::connect(&path).unwrap();
        listener.accept().await.unwrap();
        assert!(matches!(Listener::bind(&path), Err(SocketError::Taken { .. })));
    }

    #[tokio::test]
    async fn what_can_not_be_safe_is_refused_with_the_remedy() {
        let open = folder(0o777);
        let error = Listener::bind(&open.path().join("x.sock")).unwrap_err();
        assert!(
            matches!(error, SocketError::FolderOpen { .. }) && error.to_string().contains("chmod o-w"),
            "{error}"
        );
        Listener::bind(&open.path().join("s").join("x.sock")).expect("a folder of its own inside is fine");
        Listener::bind(&folder(0o1777).path().join("x.sock")).expect("sticky protects");

        let long = open.path().join("x".repeat(200));
        let error = Listener::bind(&long).unwrap_err();
        assert!(matches!(error, SocketError::TooLong { length, .. } if length > 200), "{error}");
        assert!(error.to_string().contains("107"), "{error}");

        let dir = folder(0o755);
        let path = dir.path().join("file");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path), Err(SocketError::NoSocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
