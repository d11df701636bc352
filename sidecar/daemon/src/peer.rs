//! Who is at the other end of a socket, by the kernel's word, and whether we serve them.
//!
//! Owns the allow-list. Never looks at a pid: across pid namespaces it is 0. Must not know what the peer wants.

use crate::config::Config;
use crate::handle::Peer;
use crate::problem::Problem;
use sidelock_wire::Code;
use std::io;
use std::os::fd::AsRawFd;
use tokio::net::UnixStream;

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allow {
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl Allow {
    /// What the configuration says, else our own uid, root, and members of the group that owns the socket.
    pub(crate) fn new(config: &Config, socket_gid: u32) -> Allow {
        if config.allow_uid.is_empty() && config.allow_gid.is_empty() {
            return Allow { uids: own_and_root(), gids: vec![socket_gid] };
        }
        Allow { uids: config.allow_uid.clone(), gids: config.allow_gid.clone() }
    }

    /// Who may run the sidecar may operate it: our own uid and root.
    pub(crate) fn operators() -> Allow {
        Allow { uids: own_and_root(), gids: Vec::new() }
    }

    /// The peer if we serve it, else what it is told.
    pub(crate) fn admit(&self, stream: &UnixStream) -> io::Result<Result<Peer, Problem>> {
        let cred = stream.peer_cred()?;
        let peer = Peer { uid: cred.uid(), gid: cred.gid() };
        let listed = self.uids.contains(&peer.uid)
            || self.gids.contains(&peer.gid)
            || !self.gids.is_empty() && groups(stream)?.iter().any(|group| self.gids.contains(group));
        Ok(if listed { Ok(peer) } else { Err(refusal(peer.uid)) })
    }
}

fn own_and_root() -> Vec<u32> {
    vec![rustix::process::geteuid().as_raw(), 0]
}

fn refusal(uid: u32) -> Problem {
    let message =
        format!("uid {uid} is not served here; start the sidecar with --allow-uid {uid} to change that");
    Problem::new(Code::PeerRefused, message)
}

/// The peer's supplementary groups (`SO_PEERGROUPS`, unix(7)).
fn groups(stream: &UnixStream) -> io::Result<Vec<libc::gid_t>> {
    const GROUP_BYTES: usize = size_of::<libc::gid_t>();
    // Enough for nearly everybody; the kernel says how much it takes otherwise.
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length = (groups.len() * GROUP_BYTES) as libc::socklen_t;
        // SAFETY: `groups` is valid for `length` bytes, and the kernel writes no more and says how much it wrote.
        let failed = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / GROUP_BYTES;
        if failed == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn admitted(allow: &Allow) -> Result<Peer, Problem> {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        allow.admit(&ours).unwrap()
    }

    fn own() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    #[tokio::test]
    async fn by_default_our_own_user_is_served() {
        let (uid, gid) = own();
        let allow = Allow::new(&Config::default(), u32::MAX);
        assert_eq!(admitted(&allow).await, Ok(Peer { uid, gid }));
        assert_eq!(admitted(&Allow::operators()).await, Ok(Peer { uid, gid }));
    }

    #[tokio::test]
    async fn flags_replace_the_list_and_a_refusal_names_the_flag() {
        let (uid, gid) = own();
        let allow = Allow::new(&Config { allow_uid: vec![uid + 1], ..Config::default() }, gid);
        let problem = admitted(&allow).await.unwrap_err();
        assert_eq!(problem.code, Code::PeerRefused);
        assert!(problem.message.contains(&format!("--allow-uid {uid}")), "{problem:?}");
        let allow = Allow::new(&Config { allow_gid: vec![gid], ..Config::default() }, u32::MAX);
        assert!(admitted(&allow).await.is_ok());
    }

    #[tokio::test]
    async fn supplementary_groups_are_the_kernels() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut told = groups(&ours).unwrap();
        let mut known: Vec<u32> =
            rustix::process::getgroups().unwrap().into_iter().map(rustix::process::Gid::as_raw).collect();
        told.sort_unstable();
        known.sort_unstable();
        assert_eq!(told, known);
    }
}
