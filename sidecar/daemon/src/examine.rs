//! Looking at a sidecar's surroundings from outside: its socket, its store.
//!
//! Owns what is right and wrong about the socket's place. What a Redis must be like is the store crate's knowledge. Must
//! not change anything: a sidecar may be about to start there.

use crate::config::{Config, StoreKind};
use crate::listener::{SocketError, beside, fits, is_open, is_shared, is_sticky, probe};
use rustix::io::Errno;
use sidelock_store::finding::Finding;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What was found of a store.
#[derive(Clone, Debug)]
pub struct Examination {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
    /// A command for an operator of the store: it makes a user with the rights that Sidelock needs, and no others.
    pub acl_rule: Option<String>,
}

/// Looks at a socket's path, its folder and its lock. The last finding says whether somebody listens.
pub fn examine_socket(path: &Path) -> Vec<Finding> {
    let shown = path.display();
    if let Err(error) = fits(path) {
        return vec![Finding::fail("socket", error.to_string(), "name another path")];
    }
    let link = std::fs::symlink_metadata(path);
    let (link, found) = match link.and_then(|link| Ok((link, std::fs::metadata(path)?))) {
        Ok(found) => found,
        Err(error) => return vec![unseen(path, &error)],
    };
    if !found.file_type().is_socket() {
        return vec![Finding::fail(
            "socket",
            format!("{shown} is no socket"),
            "move it away, or name another path",
        )];
    }
    if !link.is_symlink() {
        return vec![folder(path, &found), listens(path)];
    }
    // Who can put another link here decides as much as who can put another socket there.
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    vec![folder(path, &link), folder(&real, &found), listens(&real)]
}

fn unseen(path: &Path, error: &io::Error) -> Finding {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Finding::fail(
            "socket",
            format!("there is nothing at {shown}"),
            "start a sidecar there with `sidelock serve`, or name its socket in SIDELOCK_SOCKET",
        ),
        io::ErrorKind::PermissionDenied => Finding::fail(
            "socket",
            format!("uid {} may not look into the folder of {shown}", rustix::process::geteuid().as_raw()),
            "add this user to the folder's group, or make the folder searchable (chmod o+x)",
        ),
        _ => Finding::fail("socket", format!("{shown}: {error}"), "name another path"),
    }
}

/// Whether somebody else could put another socket, or another link to one, in the place of what is there.
fn folder(path: &Path, there: &Metadata) -> Finding {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::metadata(folder) {
        Ok(found) if is_open(found.mode()) => {
            let error = SocketError::FolderOpen { folder: folder.into() };
            Finding::fail("folder", error.to_string(), "nobody but the sidecar's user may write there")
        }
        Ok(found) => who_decides(folder, &found, path, there),
        Err(error) => {
            Finding::warn("folder", format!("{}: {error}", folder.display()), "look at its permissions")
        }
    }
}

/// Who could, in a folder that not everybody may write to.
fn who_decides(folder: &Path, found: &Metadata, path: &Path, there: &Metadata) -> Finding {
    let (folder, path) = (folder.display(), path.display());
    let (owner, group, other) = (found.uid(), found.gid(), there.uid());
    if owner != 0 && owner != other {
        return Finding::fail(
            "folder",
            format!(
                "{folder} belongs to uid {owner}, {path} to uid {other}: either may have replaced the other's"
            ),
            "give the sidecar a folder of its own",
        );
    }
    if is_shared(found.mode()) {
        return Finding::warn(
            "folder",
            format!("uid {owner} and all of gid {group} can put another socket in the place of {path}"),
            format!("unless all of them are trusted: chmod g-w {folder}"),
        );
    }
    let owners = match is_sticky(found.mode()) && other != owner {
        true => format!("uid {owner} and uid {other}"),
        false => format!("uid {owner}"),
    };
    Finding::ok("folder", format!("only {owners} can put another socket in the place of {path}"))
}

/// Whether a connection is taken.
fn listens(path: &Path) -> Finding {
    let shown = path.display();
    match probe(path) {
        Ok(()) => Finding::ok("socket", format!("somebody listens at {shown}")),
        Err(Errno::AGAIN) => Finding::fail(
            "socket",
            format!("{shown} has no room for another connection: its sidecar is stopped, or far too busy"),
            "look at the sidecar's process and its log",
        ),
        Err(Errno::ACCESS) => Finding::fail(
            "socket",
            format!("uid {} may not connect to {shown}", rustix::process::geteuid().as_raw()),
            "the sidecar makes it writable for all and decides itself: restore that with chmod 666",
        ),
        Err(Errno::CONNREFUSED) if is_locked(&beside(path, ".lock")) => Finding::fail(
            "socket",
            format!("nobody listens at {shown}, but a sidecar holds its lock: it is starting, or stuck"),
            "look at the sidecar's process and its log",
        ),
        Err(Errno::CONNREFUSED) => Finding::fail(
            "socket",
            format!("{shown} is stale: the sidecar that made it is gone"),
            "start `sidelock serve`, which replaces it",
        ),
        Err(error) => Finding::fail("socket", format!("{shown}: {error}"), "look at the sidecar's log"),
    }
}

/// Whether somebody holds a lock on this file, by the kernel's list (proc_locks(5)): trying to take it would get in the way
/// of a sidecar that starts. Holders in other pid namespaces are not listed.
fn is_locked(path: &Path) -> bool {
    let Ok(inode) = std::fs::metadata(path).map(|file| file.ino().to_string()) else { return false };
    // One read gets a page of it, the next goes on at a number: when an earlier lock went in between, one is passed over.
    // Whoever holds its lock for long is not passed over each time.
    (0..4).any(|_| is_listed(&inode).unwrap_or(false))
}

/// Whether the list names a lock on the file of this number. Read a page at a time, so that a list of up to some seventy
/// locks is that of one instant.
fn is_listed(inode: &str) -> io::Result<bool> {
    let of = |line: &str| {
        let (_, rest) = line.split_once("FLOCK")?;
        rest.split_whitespace().find_map(|word| word.rsplit_once(':')).map(|(_, inode)| inode.to_owned())
    };
    for line in BufReader::with_capacity(64 * 1024, File::open("/proc/locks")?).lines() {
        if of(&line?).as_deref() == Some(inode) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks at the store that these settings name.
pub async fn examine_store(config: &Config) -> Examination {
    match config.store() {
        StoreKind::Memory => Examination {
            findings: vec![Finding::warn(
                "scope",
                "memory store: locks reach this host only, and end with the sidecar",
                "if they have to reach further, give every sidecar the same Redis: --redis URL",
            )],
            acl_rule: None,
        },
        StoreKind::Redis => redis(config).await,
    }
}

#[cfg(feature = "redis")]
async fn redis(config: &Config) -> Examination {
    match crate::store_link::survey(config).await {
        Ok(survey) => Examination { findings: survey.findings, acl_rule: Some(survey.acl_rule) },
        Err(why) => refused(why),
    }
}

#[cfg(not(feature = "redis"))]
async fn redis(config: &Config) -> Examination {
    refused(crate::store_link::check(config).err().unwrap_or_default())
}

fn refused(why: String) -> Examination {
    Examination {
        findings: vec![Finding::fail(
            "settings",
            why,
            "correct it; `sidelock config check` tells when it is right",
        )],
        acl_rule: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Listener;
    use sidelock_store::finding::Verdict;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    /// The worst that is found of `name` in a folder of this mode.
    fn worst(dir: &tempfile::TempDir, name: &str) -> Finding {
        let findings = examine_socket(&dir.path().join(name));
        findings.into_iter().max_by_key(|finding| finding.verdict).expect("something is always found")
    }

    #[tokio::test]
    async fn a_served_socket_is_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let _listener = Listener::bind(&dir.path().join("s.sock")).unwrap();
        assert_eq!(worst(&dir, "s.sock").verdict, Verdict::Ok);
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_path_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(worst(&dir, "absent").says.contains("nothing"), "{:?}", worst(&dir, "absent"));
        let long = worst(&dir, &"x".repeat(108));
        assert!(long.says.contains("at most 107"), "{long:?}");
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(worst(&dir, "file").says.contains("no socket"));
        drop(UnixListener::bind(dir.path().join("stale")).unwrap());
        assert!(worst(&dir, "stale").says.contains("stale"), "{:?}", worst(&dir, "stale"));

        // A sidecar between taking its lock and listening.
        let held = Listener::bind(&dir.path().join("held")).unwrap();
        std::fs::remove_file(dir.path().join("held")).unwrap();
        drop(UnixListener::bind(dir.path().join("held")).unwrap());
        assert!(worst(&dir, "held").says.contains("holds its lock"), "{:?}", worst(&dir, "held"));
        drop(held);

        let _open = UnixListener::bind(dir.path().join("open")).unwrap();
        for (mode, verdict, says) in [
            (0o755, Verdict::Ok, ""),
            (0o1777, Verdict::Ok, ""),
            (0o1775, Verdict::Ok, ""),
            (0o775, Verdict::Warn, "all of gid"),
            (0o777, Verdict::Fail, "chmod o-w"),
        ] {
            std::fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let finding = worst(&dir, "open");
            assert!(finding.verdict == verdict && finding.says.contains(says), "{mode:o}: {finding:?}");
        }
    }

    #[test]
    fn a_lock_is_seen_however_many_others_come_and_go() {
        use rustix::fs::{FlockOperation, flock};
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        let dir = tempfile::tempdir().unwrap();
        let locked = |name: &str| {
            let file = File::create(dir.path().join(name)).unwrap();
            flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
            file
        };
        let held = locked("held");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for name in ["one", "another"] {
                let (locked, done) = (&locked, &done);
                scope.spawn(move || {
                    while !done.load(Relaxed) {
                        drop(locked(name))
                    }
                });
            }
            let missed = (0..2_000).filter(|_| !is_locked(&dir.path().join("held"))).count();
            done.store(true, Relaxed);
            assert_eq!(missed, 0);
        });
        drop(held);
        assert!(!is_locked(&dir.path().join("held")));
    }

    #[tokio::test]
    async fn a_link_leads_to_the_socket_and_is_no_safer_than_its_own_folder() {
        let (dir, links) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let listener = Listener::bind(&dir.path().join("s.sock")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("s.sock"), links.path().join("link")).unwrap();
        assert_eq!(worst(&links, "link").verdict, Verdict::Ok, "{:?}", worst(&links, "link"));
        std::fs::set_permissions(links.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(worst(&links, "link").says.contains("chmod o-w"), "{:?}", worst(&links, "link"));
        std::fs::set_permissions(links.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::remove_file(dir.path().join("s.sock")).unwrap();
        assert!(worst(&links, "link").says.contains("nothing"), "{:?}", worst(&links, "link"));
        drop(UnixListener::bind(dir.path().join("s.sock")).unwrap());
        let held = worst(&links, "link");
        assert!(held.says.contains("holds its lock"), "the lock is beside the socket: {held:?}");
        drop(listener);
    }
}
