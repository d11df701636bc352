//! Where the sidecar's socket is.
//!
//! Owns the order in which places are looked at: what the program says, `SIDELOCK_SOCKET`, then the first existing one
//! of the usual places.

use crate::error::Error;
use std::path::{Path, PathBuf};

/// The variable that names the socket, for sidecar, command line and SDKs alike.
pub(crate) const SOCKET_VARIABLE: &str = "SIDELOCK_SOCKET";

/// Where to look for the sidecar, each time anew.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// There, and nowhere else.
    Path(PathBuf),
    /// In the first of the usual places that exists.
    UsualPlaces,
    /// Nowhere: the one connection that was handed in is all there will be.
    #[cfg_attr(not(feature = "embedded"), allow(dead_code, reason = "only the embedded sidecar has no path"))]
    Given,
}

impl Target {
    /// What the environment says.
    pub(crate) fn from_environment() -> Target {
        match std::env::var_os(SOCKET_VARIABLE) {
            Some(path) if !path.is_empty() => Target::Path(path.into()),
            _ => Target::UsualPlaces,
        }
    }

    /// The path to connect to now.
    pub(crate) fn find(&self) -> Result<PathBuf, Error> {
        match self {
            Target::Path(path) => Ok(path.clone()),
            Target::UsualPlaces => first_existing(usual_places()),
            Target::Given => Err(Error::unreachable(Vec::new(), "the embedded sidecar has ended")),
        }
    }
}

/// The socket that [`crate::Client::connect_default`] would connect to now: for programs that speak HTTP to it.
///
/// # Errors
/// [`Error::SidecarUnreachable`] with the places that were looked at.
pub fn socket_path() -> Result<PathBuf, Error> {
    Target::from_environment().find()
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
