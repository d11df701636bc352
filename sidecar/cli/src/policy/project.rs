//! A policy's folder: what it is called, what it is written in, where its parts are.
//!
//! Owns `policy.toml` and the names of files. Must not know how any language is built.

use crate::failure::Failure;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that makes a folder a policy's.
pub(crate) const MANIFEST: &str = "policy.toml";

/// A language that policies can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    /// Rust, by cargo
    Rust,
    /// C, by clang and wasi-libc
    C,
    /// JavaScript, by componentize-qjs
    Js,
    /// Python, by componentize-py
    Python,
}

/// What it does: one of the two worlds of the WIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum World {
    /// Admits, edits, denies.
    #[default]
    Policy,
    /// Is told afterwards.
    Observer,
}

impl World {
    /// Its name in the WIT.
    pub(crate) fn name(self) -> &'static str {
        match self {
            World::Policy => "policy",
            World::Observer => "observer",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    language: Language,
    #[serde(default)]
    world: World,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Project {
    /// Where its source is.
    pub(crate) folder: PathBuf,
    /// Where the component goes, and what is made on the way to it.
    out: PathBuf,
    pub(crate) name: String,
    pub(crate) language: Language,
    pub(crate) world: World,
}

impl Project {
    /// The policy in `folder`, which is built into `out`, or where it is.
    pub(crate) fn open(folder: &Path, out: Option<&Path>) -> Result<Project, Failure> {
        let manifest = folder.join(MANIFEST);
        let text = fs::read_to_string(&manifest).map_err(|error| {
            Failure::usage(format!(
                "{} can not be read ({error}); name the folder of a policy, or make one with `sidelock policy new`",
                manifest.display()
            ))
        })?;
        let Manifest { name, language, world } = toml::from_str(&text).map_err(|error| {
            Failure::usage(format!("{}: {}", manifest.display(), error.to_string().trim_end()))
        })?;
        check_name(&name)?;
        let out = out.unwrap_or(folder).to_owned();
        Ok(Project { folder: folder.to_owned(), out, name, language, world })
    }

    /// The component.
    pub(crate) fn component(&self) -> PathBuf {
        self.out.join(format!("{}.wasm", self.name))
    }

    /// A folder for what is made on the way; it is there when this returns.
    pub(crate) fn build_folder(&self) -> Result<PathBuf, Failure> {
        let folder = if self.out == self.folder {
            self.out.join("build")
        } else {
            self.out.join("build").join(&self.name)
        };
        fs::create_dir_all(&folder).map_err(|error| cannot_write(&folder, &error))?;
        Ok(folder)
    }

    /// A folder with the WIT, made anew: what is built is built against the WIT of this very program.
    pub(crate) fn wit_folder(&self) -> Result<PathBuf, Failure> {
        let folder = self.build_folder()?.join("wit");
        fs::create_dir_all(&folder).map_err(|error| cannot_write(&folder, &error))?;
        let file = folder.join("policy.wit");
        fs::write(&file, sidelock_policy::WIT).map_err(|error| cannot_write(&file, &error))?;
        Ok(folder)
    }

    /// Its files that end in `suffix`, in order.
    pub(crate) fn files(&self, suffix: &str) -> Result<Vec<PathBuf>, Failure> {
        files_in(&self.folder, suffix)
    }
}

/// The files of a folder that end in `suffix`, in order.
pub(crate) fn files_in(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error| Failure::broken(format!("{} can not be read: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() && path.to_string_lossy().ends_with(suffix) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A name that is good in every language, in file names and in TOML.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 64 && name.chars().all(good) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{name:?} is no name of a policy: use a-z, 0-9 and -, a letter first, such as my-acl"
    )))
}

/// Says that a file could not be written.
pub(crate) fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::broken(format!("{} can not be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(manifest: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), manifest).unwrap();
        folder
    }

    #[test]
    fn a_folder_says_what_it_is() {
        let at = folder("name = 'my-acl'\nlanguage = 'js'");
        let project = Project::open(at.path(), None).unwrap();
        assert_eq!((project.language, project.world), (Language::Js, World::Policy));
        assert_eq!(project.component(), at.path().join("my-acl.wasm"));
        assert_eq!(project.build_folder().unwrap(), at.path().join("build"));
        let elsewhere = tempfile::tempdir().unwrap();
        let project = Project::open(at.path(), Some(elsewhere.path())).unwrap();
        assert_eq!(project.component(), elsewhere.path().join("my-acl.wasm"));
        assert_eq!(project.build_folder().unwrap(), elsewhere.path().join("build/my-acl"));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file() {
        for (manifest, words) in [
            ("name = 'a'", "missing field `language`"),
            ("name = 'a'\nlanguage = 'cobol'", "unknown variant `cobol`"),
            ("name = 'a'\nlanguage = 'c'\nword = 'x'", "unknown field `word`"),
            ("name = 'A b'\nlanguage = 'c'", "\"A b\" is no name"),
        ] {
            let error = Project::open(folder(manifest).path(), None).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(
            Project::open(Path::new("/nonexistent"), None).unwrap_err().to_string().contains("policy new")
        );
    }
}
