//! `policy test`: a policy is asked its cases.
//!
//! Owns which cases are asked of which component, and how results are told.

use super::project::{Project, files_in};
use super::subject::{compile, host};
use super::{read_component, read_text, say_what_can_be};
use crate::failure::Failure;
use clap::Args;
use sidelock_policy::cases::{Judged, Suite, embedded, judge, junit};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `policy test`.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// A policy's folder, whose `*.case.toml` are asked; or a component, which brings its own
    #[arg(default_value = ".", value_name = "FOLDER|FILE.wasm")]
    what: PathBuf,
    /// Ask these cases instead
    #[arg(long = "case", value_name = "FILE.case.toml")]
    cases: Vec<PathBuf>,
    /// Where the component of the folder is, if `policy build` was told so
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write the results for a build server
    #[arg(long, value_name = "FILE.xml")]
    junit: Option<PathBuf>,
}

/// Asks all cases; exit 1 if an answer is not as expected.
pub(crate) fn test(args: &TestArgs) -> Result<u8, Failure> {
    let (component, files) = subject_and_cases(args)?;
    let bytes = read_component(&component)?;
    let suites = match files {
        Some(files) => files
            .iter()
            .map(|file| Ok((file_name(file), read_text(file)?)))
            .collect::<Result<_, Failure>>()?,
        None => embedded(&bytes),
    };
    if suites.is_empty() {
        return Err(Failure::usage(format!(
            "there are no cases for {}: write a *.case.toml",
            component.display()
        )));
    }
    let subject = compile(&host()?, &component, &bytes)?;
    let mut all = Vec::new();
    for (name, text) in suites {
        let suite = Suite::parse(&name, &text).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        for case in &suite.cases {
            let begun = Instant::now();
            let differences = judge(&case.expect, &subject.ask(&suite, case));
            all.push(Judged {
                suite: suite.name.clone(),
                name: case.name.clone(),
                differences,
                took: begun.elapsed(),
            });
        }
    }
    say_what_can_be(&told(&all))?;
    if let Some(file) = &args.junit {
        fs::write(file, junit(&all)).map_err(|error| super::project::cannot_write(file, &error))?;
    }
    Ok(u8::from(all.iter().any(|judged| !judged.differences.is_empty())))
}

/// The component, and the files of its cases, unless it brings them along.
fn subject_and_cases(args: &TestArgs) -> Result<(PathBuf, Option<Vec<PathBuf>>), Failure> {
    let said = (!args.cases.is_empty()).then(|| args.cases.clone());
    if !args.what.is_dir() {
        return Ok((args.what.clone(), said));
    }
    let project = Project::open(&args.what, args.out.as_deref())?;
    let files = match said {
        Some(files) => files,
        None => files_in(&project.folder, ".case.toml")?,
    };
    Ok((project.component(), Some(files)))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A line for each case, and what is wrong with those that failed; the last line counts.
fn told(all: &[Judged]) -> String {
    let mut text = String::new();
    for judged in all {
        let verdict = if judged.differences.is_empty() { "ok    " } else { "FAILED" };
        text += &format!("{verdict}  {}: {}\n", judged.suite, judged.name);
        for difference in &judged.differences {
            text += &format!("        {}\n", difference.replace('\n', "\n        "));
        }
    }
    let failed = all.iter().filter(|judged| !judged.differences.is_empty()).count();
    text + &format!("{} passed, {failed} failed\n", all.len() - failed)
}
