//! Machine code of components compiled before, kept in a folder.
//!
//! Machine code is run as it is: whoever can write such a file can do what the sidecar can. So this module owns one rule:
//! only what this user wrote, in a folder that only this user can write to, is ever loaded; and a file is found by the
//! digest of the component it was made from and by what the engine is like, so it can never stand for another one. All
//! else is compiled anew. Must not know policies.

use crate::digest::Sha256;
use rustix::fs::{Mode, OFlags, fstat};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Files kept: the oldest goes when one more comes.
const FILES_MAX: usize = 64;
const EXTENSION: &str = "cwasm";

/// See the module.
#[derive(Debug)]
pub(crate) struct Precompiled {
    folder: PathBuf,
    /// What makes machine code fit: wasmtime's version, its settings, this processor.
    kind: String,
}

impl Precompiled {
    /// In `folder`, which is made if it is missing. An error says why nothing can be kept there.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> io::Result<Precompiled> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut kind = ByDigest(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut kind);
        let kind = kind.0.finish().to_string()[..16].to_owned();
        let kept = Precompiled { folder: folder.to_owned(), kind };
        kept.folder_is_ours()?;
        Ok(kept)
    }

    /// The machine code of the component with this digest, if it is there and ours.
    pub(crate) fn load(&self, engine: &Engine, digest: &crate::Digest) -> Option<Component> {
        let path = self.path(digest);
        self.folder_is_ours().ok()?;
        file_is_ours(&path).inspect_err(|error| tell(&path, error)).ok()?;
        #[expect(unsafe_code, reason = "see SAFETY")]
        // SAFETY: wasmtime asks that the file was made by `Component::serialize` and not changed since. `store` alone makes
        // files of this name; they appear complete, by a rename; they and their folder belong to this user, and nobody else
        // may write to either, which was looked at just now. Whether it fits the engine wasmtime checks by itself.
        let loaded = unsafe { Component::deserialize_file(engine, &path) };
        loaded
            .inspect_err(
                |error| tracing::debug!(path = %path.display(), %error, "precompiled policy not used"),
            )
            .ok()
    }

    /// Keeps the machine code of a component. What fails here costs a compilation later, and nothing else.
    pub(crate) fn store(&self, digest: &crate::Digest, component: &Component) {
        let path = self.path(digest);
        if let Err(error) = self.write(&path, component) {
            tell(&path, &error);
        }
    }

    fn write(&self, path: &Path, component: &Component) -> io::Result<()> {
        self.folder_is_ours()?;
        let code = component.serialize().map_err(io::Error::other)?;
        let unfinished = path.with_extension(format!("{:016x}", fastrand::u64(..)));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let written =
            file.write_all(&code).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&unfinished, path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written.and_then(|()| self.tidy())
    }

    /// Only the latest files stay.
    fn tidy(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = fs::read_dir(&self.folder)?
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == EXTENSION))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(FILES_MAX);
        files[..surplus].iter().try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn path(&self, digest: &crate::Digest) -> PathBuf {
        self.folder.join(format!("{digest}-{}.{EXTENSION}", self.kind))
    }

    fn folder_is_ours(&self) -> io::Result<()> {
        let about = fs::symlink_metadata(&self.folder)?;
        match about.is_dir() {
            true => is_ours(about.uid(), about.mode()),
            false => Err(io::Error::other("is no folder")),
        }
    }
}

fn file_is_ours(path: &Path) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let about = fstat(&file)?;
    is_ours(about.st_uid, about.st_mode)
}

fn is_ours(uid: u32, mode: u32) -> io::Result<()> {
    match uid == geteuid().as_raw() && mode & 0o022 == 0 {
        true => Ok(()),
        false => Err(io::Error::other("somebody else could have written it")),
    }
}

fn tell(path: &Path, error: &io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        tracing::warn!(path = %path.display(), %error, "precompiled policy not used");
    }
}

/// A hash that is the same in every process.
struct ByDigest(Sha256);

impl Hasher for ByDigest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest is asked, not the hasher")
    }
}
