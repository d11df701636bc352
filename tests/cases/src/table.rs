//! What came of every case in every language, and how it is shown.

use crate::script::{Case, Store};
use std::fmt::Write;

/// A case that was played, or that can not be.
#[derive(Debug)]
pub struct Result {
    /// Its name.
    pub case: String,
    /// In which language.
    pub language: String,
    /// Over which store.
    pub store: Store,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a case.
#[derive(Debug)]
pub enum Verdict {
    /// All of it was as the case says.
    Ok,
    /// Something was not.
    Failed(String),
    /// The language can not express it.
    NotPossible,
}

/// A table with a row for each case and a column for each language, then what went wrong, and why what is not possible.
pub fn show(cases: &[&Case], languages: &[String], results: &[Result]) -> String {
    let mut text = String::new();
    let wide = cases.iter().map(|case| case.name.len()).max().unwrap_or(0).max(4);
    let mut row = |name: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("  {cell:<16}")).collect();
        let _ = writeln!(text, "{}", format!("{name:<wide$}{cells}").trim_end());
    };
    row("case", languages);
    for case in cases {
        let cells: Vec<_> = languages.iter().map(|language| cell(case, language, results)).collect();
        row(&case.name, &cells);
    }
    for case in cases {
        for (language, reason) in case.not_in.iter().filter(|(language, _)| languages.contains(language)) {
            let _ = writeln!(text, "n/a: {} in {language}: {reason}", case.name);
        }
    }
    for result in results {
        if let Verdict::Failed(why) = &result.verdict {
            let _ = writeln!(
                text,
                "FAILED: {} in {} over {:?}: {why}",
                result.case, result.language, result.store
            );
        }
    }
    text
}

fn cell(case: &Case, language: &str, results: &[Result]) -> String {
    let of_this = results.iter().filter(|result| result.case == case.name && result.language == language);
    let mut failed = Vec::new();
    let mut played = 0;
    for result in of_this {
        match &result.verdict {
            Verdict::NotPossible => return "n/a".to_owned(),
            Verdict::Failed(_) => failed.push(format!("{:?}", result.store).to_lowercase()),
            Verdict::Ok => played += 1,
        }
    }
    match (played, failed.is_empty()) {
        (_, false) => format!("FAILED ({})", failed.join(", ")),
        (0, true) => "not played".to_owned(),
        _ => "ok".to_owned(),
    }
}
