//! `cases [--language rust]… [--store redis]… [--case NAME]…`: one set of cases, played in every language.
//!
//! Starts the sidecars and each language's player, plays every case over memory and over Redis, several at a time, prints a
//! table language × case, and closes with `N passed, M failed`. Languages beyond Rust and raw HTTP join by
//! `--player NAME=COMMAND`.

use clap::Parser;
use sidelock_cases::place::{Common, Place};
use sidelock_cases::player::{Language, Troupe};
use sidelock_cases::script::{self, Case, LANGUAGES, Store};
use sidelock_cases::stage::Stage;
use sidelock_cases::table::{self, Verdict};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

#[derive(Parser)]
#[command(name = "cases", about = "One set of cases, played in every language")]
struct Args {
    /// Only these languages
    #[arg(long = "language", value_name = "NAME")]
    languages: Vec<String>,
    /// Only over this store: memory or redis
    #[arg(long = "store", value_name = "NAME", value_parser = store)]
    stores: Vec<Store>,
    /// Only these cases
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// How another language's player is started, its words separated by spaces
    #[arg(long = "player", value_name = "NAME=COMMAND", value_parser = player)]
    players: Vec<Language>,
    /// Where the cases are written
    #[arg(long, default_value = "bindings/cases")]
    folder: PathBuf,
    /// So many cases at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: u8,
}

/// A case to be played.
struct Job<'a> {
    case: &'a Case,
    language: &'a Language,
    common: &'a Common,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let cases = match script::read(&args.folder) {
        Ok(cases) => cases,
        Err(mistakes) => {
            let said = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect::<String>();
            return tell(&format!("{said}\n0 passed, {} failed\n", mistakes.len()), false);
        }
    };
    let languages = languages(&args);
    let wanted = |name: &String| args.cases.is_empty() || args.cases.contains(name);
    let cases: Vec<&Case> = cases.iter().filter(|case| wanted(&case.name)).collect();
    if let Some(name) = unknown(&args, &cases, &languages) {
        return tell(&format!("there is no {name}\n\n0 passed, 1 failed\n"), false);
    }
    let stores = if args.stores.is_empty() { &[Store::Memory, Store::Redis][..] } else { &args.stores };
    let started = Instant::now();
    let commons: Vec<_> = stores.iter().map(|store| Common::over(*store)).collect();
    let results = play_all(&cases, &languages, &commons, args.at_once);
    let names: Vec<_> = languages.iter().map(|language| language.name.clone()).collect();
    let failed = results.iter().filter(|result| matches!(result.verdict, Verdict::Failed(_))).count();
    let passed = results.iter().filter(|result| matches!(result.verdict, Verdict::Ok)).count();
    let shown = table::show(&cases, &names, &results);
    let sum = format!("{} cases, {:.1} s", cases.len(), started.elapsed().as_secs_f64());
    tell(&format!("{shown}{sum}\n\n{passed} passed, {failed} failed\n"), failed == 0 && passed > 0)
}

fn play_all(cases: &[&Case], languages: &[Language], commons: &[Common], at_once: u8) -> Vec<table::Result> {
    let mut results = Vec::new();
    let mut jobs = VecDeque::new();
    for language in languages {
        for common in commons {
            for case in cases.iter().filter(|case| case.only.is_none_or(|only| only == common.store)) {
                match case.why_not_in(&language.name) {
                    None => jobs.push_back(Job { case, language, common }),
                    Some(_) => results.push(result(case, language, common.store, Verdict::NotPossible)),
                }
            }
        }
    }
    let (jobs, results) = (Mutex::new(jobs), Mutex::new(results));
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                // Processes live as long as the thread that starts them, so each stage has its own.
                let mut troupes = BTreeMap::new();
                loop {
                    let Some(job) = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
                        return;
                    };
                    let troupe =
                        troupes.entry(&job.language.name).or_insert_with(|| Troupe::new(job.language));
                    let played = result(job.case, job.language, job.common.store, play(&job, troupe));
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(played);
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by(|a, b| (&a.case, &a.language, a.store).cmp(&(&b.case, &b.language, b.store)));
    results
}

fn play<'a>(job: &Job<'a>, troupe: &mut Troupe<'a>) -> Verdict {
    // The rig says what it can not do by panicking.
    let played = catch_unwind(AssertUnwindSafe(|| {
        Stage::new(job.case, Place::of(job.case, job.common), troupe).play()
    }));
    let verdict = match played {
        Ok(Ok(())) => Verdict::Ok,
        Ok(Err(why)) => Verdict::Failed(why),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            Verdict::Failed(said.unwrap_or_else(|| "the rig panicked; see above".to_owned()))
        }
    };
    troupe.leave(matches!(verdict, Verdict::Failed(_)));
    verdict
}

fn result(case: &Case, language: &Language, store: Store, verdict: Verdict) -> table::Result {
    table::Result { case: case.name.clone(), language: language.name.clone(), store, verdict }
}

/// Rust and HTTP, whose players were built with this program, and those that were named.
fn languages(args: &Args) -> Vec<Language> {
    let beside = |name: &str, command: &[&str]| {
        let this = std::env::current_exe().unwrap_or_default();
        let program = this.with_file_name(command[0]).to_string_lossy().into_owned();
        let rest = command[1..].iter().map(|&word| word.to_owned());
        Language { name: name.to_owned(), command: std::iter::once(program).chain(rest).collect() }
    };
    let mut languages = vec![
        beside("rust", &["player-rust"]),
        beside("rust-blocking", &["player-rust", "blocking"]),
        beside("http", &["player-http"]),
    ];
    languages.extend(args.players.iter().cloned());
    languages.retain(|language| args.languages.is_empty() || args.languages.contains(&language.name));
    languages
}

/// A name that was given and means nothing.
fn unknown(args: &Args, cases: &[&Case], languages: &[Language]) -> Option<String> {
    let case = args.cases.iter().find(|name| cases.iter().all(|case| case.name != **name));
    let language =
        args.languages.iter().find(|name| languages.iter().all(|language| language.name != **name));
    let case = case.map(|name| format!("case {name:?}"));
    case.or_else(|| language.map(|name| format!("player of {name:?}; name it: --player {name}=COMMAND")))
}

fn store(name: &str) -> Result<Store, String> {
    match name {
        "memory" => Ok(Store::Memory),
        "redis" => Ok(Store::Redis),
        _ => Err("there are memory and redis".to_owned()),
    }
}

fn player(text: &str) -> Result<Language, String> {
    let (name, command) = text.split_once('=').ok_or("say NAME=COMMAND")?;
    let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
    match LANGUAGES.contains(&name) && !command.is_empty() {
        true => Ok(Language { name: name.to_owned(), command }),
        false => Err(format!("NAME is one of {}, and COMMAND is something", LANGUAGES.join(", "))),
    }
}

fn tell(text: &str, good: bool) -> ExitCode {
    // Who does not read the table has the exit code.
    let _ = io::stdout().write_all(text.as_bytes());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
