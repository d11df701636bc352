//! For which sidecar an order on an admin socket is.
//!
//! Owns where that socket is if nobody says, and how a sidecar is named: by its socket for clients, as the file system has it. Two
//! sidecars may share a folder, whose admin socket is the first one's. Must not know orders.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The header that names the sidecar. Absent: whoever hears it is meant.
pub const HEADER: &str = "sidelock-socket";

/// The admin socket, if nobody says where it is: beside the one for clients.
pub fn admin_socket(socket: &Path) -> PathBuf {
    socket.with_file_name("admin.sock")
}

/// The name of the sidecar that serves at this socket: device and inode, `8:1234`. A path would be another one in another mount.
///
/// # Errors
/// There is no such file, or it can not be looked at.
pub fn name(socket: &Path) -> io::Result<String> {
    socket.metadata().map(|file| format!("{}:{}", file.dev(), file.ino()))
}
