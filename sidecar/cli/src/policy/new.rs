//! `policy new`: a policy to start from, which builds and passes its own tests.
//!
//! Owns the templates. They say the same in each language: keys that begin with `private/` are for one app.

use super::project::{Language, cannot_write, check_name};
use crate::failure::Failure;
use crate::output::say;
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

/// Arguments of `policy new`.
#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// What to write it in
    #[arg(long, value_enum)]
    lang: Language,
    /// What to call it; the folder is called so, too
    name: String,
    /// Where to make the folder
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    into: PathBuf,
}

/// A file of a template: where, and what. `{{name}}` and such are filled in, in both.
type File = (&'static str, &'static str);

const COMMON: [File; 5] = [
    ("policy.toml", include_str!("templates/common/policy.toml")),
    ("{{name}}.case.toml", include_str!("templates/common/case.toml")),
    ("README.md", include_str!("templates/common/README.md")),
    (".gitignore", include_str!("templates/common/gitignore")),
    ("wit/policy.wit", sidelock_policy::WIT),
];

const RUST: &[File] = &[
    ("Cargo.toml", include_str!("templates/rust/Cargo.toml.in")),
    ("src/lib.rs", include_str!("templates/rust/src/lib.rs")),
];
const C: &[File] = &[("main.c", include_str!("templates/c/main.c"))];
const JS: &[File] = &[("main.js", include_str!("templates/js/main.js"))];
const PYTHON: &[File] = &[("main.py", include_str!("templates/python/main.py"))];

/// The name of a language in `policy.toml`, its template, and where the policy itself is in it.
fn template(language: Language) -> (&'static str, &'static [File], &'static str) {
    match language {
        Language::Rust => ("rust", RUST, "src/lib.rs"),
        Language::C => ("c", C, "main.c"),
        Language::Js => ("js", JS, "main.js"),
        Language::Python => ("python", PYTHON, "main.py"),
    }
}

/// Makes the folder.
pub(crate) fn new(args: &NewArgs) -> Result<(), Failure> {
    check_name(&args.name)?;
    let folder = args.into.join(&args.name);
    if folder.exists() {
        return Err(Failure::usage(format!("{} is there already", folder.display())));
    }
    let (language, files, source) = template(args.lang);
    let filled = |text: &str| {
        text.replace("{{name}}", &args.name).replace("{{language}}", language).replace("{{source}}", source)
    };
    for (path, text) in COMMON.iter().chain(files) {
        write(&folder.join(filled(path)), &filled(text))?;
    }
    let folder = folder.display();
    let quoted = quoted(&folder.to_string());
    say(&format!(
        "{folder} is made; {folder}/{source} is the policy\n\n    cd {quoted} && sidelock policy build && sidelock policy test\n"
    ))
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./-+".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| cannot_write(path, &error))
}

#[cfg(test)]
mod tests {
    use super::super::project::Project;
    use super::*;
    use clap::ValueEnum;
    use sidelock_policy::cases::Suite;

    #[test]
    fn a_folder_is_one_word_of_a_shell() {
        for (word, shown) in [("a/my-acl", "a/my-acl"), ("my dir/a", "'my dir/a'"), ("it's", r"'it'\''s'")] {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn each_language_has_a_whole_policy() {
        for &lang in Language::value_variants() {
            let into = tempfile::tempdir().unwrap();
            let args = NewArgs { lang, name: "my-acl".into(), into: into.path().to_owned() };
            new(&args).unwrap();
            let project = Project::open(&into.path().join("my-acl"), None).unwrap();
            assert_eq!((project.name.as_str(), project.language), ("my-acl", lang));
            assert!(project.folder.join(template(lang).2).is_file(), "{lang:?}");
            for file in project.files("").unwrap() {
                assert!(!fs::read_to_string(&file).unwrap().contains("{{"), "{file:?}");
            }
            let cases = fs::read_to_string(project.folder.join("my-acl.case.toml")).unwrap();
            assert!(Suite::parse("my-acl", &cases).is_ok());
            assert!(new(&args).unwrap_err().to_string().contains("is there already"));
        }
    }

    #[test]
    fn a_bad_name_makes_nothing() {
        let into = tempfile::tempdir().unwrap();
        for name in ["", "../x", "My", "1a", "a b"] {
            let args = NewArgs { lang: Language::C, name: name.into(), into: into.path().to_owned() };
            assert!(new(&args).is_err(), "{name}");
        }
        assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0);
    }
}
