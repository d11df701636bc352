//! What the benchmarks are told on the command line.

use crate::Outcome;
use crate::scenario::Scenario;
use std::path::PathBuf;
use std::time::Duration;

/// How to call it.
pub(crate) const USAGE: &str = "bench [--rounds N] [--span MILLISECONDS] [--only b3,b4] [--out FOLDER]";

/// What to measure, how often, how long, and where to write it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) rounds: u32,
    /// How long one measurement takes.
    pub(crate) span: Duration,
    pub(crate) scenarios: Vec<Scenario>,
    /// A folder besides the one in the target folder.
    pub(crate) out: Option<PathBuf>,
}

impl Options {
    /// Reads them.
    pub(crate) fn read(words: impl IntoIterator<Item = String>) -> Outcome<Options> {
        let mut options = Options {
            rounds: 5,
            span: Duration::from_millis(400),
            scenarios: Scenario::ALL.to_vec(),
            out: None,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value; {USAGE}"));
            match word.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--span" => options.span = Duration::from_millis(value()?.parse()?),
                "--only" => options.scenarios = scenarios(&value()?)?,
                "--out" => options.out = Some(value()?.into()),
                _ => return Err(format!("what is {word}? {USAGE}").into()),
            }
        }
        Ok(options)
    }
}

/// In the order of a round, whatever the order they were named in.
fn scenarios(names: &str) -> Outcome<Vec<Scenario>> {
    let known = |name| Scenario::named(name).ok_or_else(|| format!("there is no scenario {name}"));
    let wanted = names.split(',').map(known).collect::<Result<Vec<_>, _>>()?;
    Ok(Scenario::ALL.into_iter().filter(|one| wanted.contains(one)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Outcome<Options> {
        Options::read(line.split(' ').filter(|word| !word.is_empty()).map(String::from))
    }

    #[test]
    fn nothing_said_is_everything() {
        assert_eq!(read("").unwrap().scenarios, Scenario::ALL);
    }

    #[test]
    fn scenarios_are_chosen_by_name() {
        let options = read("--only b4,B3 --rounds 2 --span 50").unwrap();
        assert_eq!(options.scenarios, [Scenario::B3, Scenario::B4]);
        assert_eq!((options.rounds, options.span), (2, Duration::from_millis(50)));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["--only b99", "--rounds", "--rounds many", "5"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
