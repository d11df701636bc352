//! From the text of a case file to cases.
//!
//! Owns how steps are written. Whatever is not understood is a mistake: a step that is skipped silently would be a case
//! that passes without being played.

use super::verb::{self, ERROR_FIELDS};
use super::{Act, Case, Fence, Kind, LANGUAGES, Outcome, RedisAct, SidecarAct, Step, Store, names};
use std::fmt;

/// Something wrong in a case file, with its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake(pub String);

impl Mistake {
    pub(super) fn at(case: &Case, step: &Step, what: &str) -> Mistake {
        let file = case.place.split(':').next().unwrap_or_default();
        Mistake(format!("{file}:{}: {what}: `{}`", step.line, step.text))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The cases of a file.
///
/// # Errors
/// Every mistake in it.
pub fn parse(file: &str, text: &str) -> Result<Vec<Case>, Vec<Mistake>> {
    let mut cases: Vec<Case> = Vec::new();
    let mut mistakes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (number, words) = (index + 1, line.trim());
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        let read = match (line.strip_prefix("case "), cases.last_mut()) {
            (Some(head), _) => begin(file, number, head).map(|case| cases.push(case)),
            (None, Some(case)) if line.starts_with(' ') => go_on(case, number, words),
            _ => Err("steps are indented and stand under a line `case NAME: WHAT IT SHOWS`".to_owned()),
        };
        mistakes.extend(read.err().map(|what| Mistake(format!("{file}:{number}: {what}: `{words}`"))));
    }
    for case in &cases {
        whole(case, &mut mistakes);
        names::check(case, &mut mistakes);
    }
    if mistakes.is_empty() { Ok(cases) } else { Err(mistakes) }
}

fn begin(file: &str, number: usize, head: &str) -> Result<Case, String> {
    let (name, shows) = head.split_once(": ").ok_or("say what the case shows: `case NAME: WHAT`")?;
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        return Err(format!("{name:?} is no name: small letters, digits and hyphens"));
    }
    Ok(Case {
        place: format!("{file}:{number}"),
        name: name.to_owned(),
        shows: shows.trim().to_owned(),
        not_in: Vec::new(),
        only: None,
        settings: Vec::new(),
        together: Vec::new(),
        steps: Vec::new(),
    })
}

/// A line of a case: what it needs, or a step.
fn go_on(case: &mut Case, number: usize, text: &str) -> Result<(), String> {
    if let Some(rest) = text.strip_prefix("not in ") {
        let (language, reason) = rest.split_once(": ").ok_or("give the reason: `not in LANGUAGE: REASON`")?;
        if !LANGUAGES.contains(&language) {
            return Err(format!("{language:?} is none of {}", LANGUAGES.join(", ")));
        }
        case.not_in.push((language.to_owned(), reason.to_owned()));
    } else if let Some(rest) = text.strip_prefix("only over ") {
        case.only =
            Some(match rest.split_once(": ").ok_or("give the reason: `only over STORE: REASON`")?.0 {
                "memory" => Store::Memory,
                "redis" => Store::Redis,
                other => return Err(format!("{other:?} is no store; there are memory and redis")),
            });
    } else if let Some(rest) = text.strip_prefix("settings: ") {
        case.settings.push(rest.to_owned());
    } else if let Some(rest) = text.strip_prefix("together: ") {
        case.together.push(rest.split(' ').map(str::to_owned).collect());
    } else {
        let act = act(text)?;
        case.steps.push(Step { line: number, text: text.to_owned(), act });
    }
    Ok(())
}

/// What can only be seen of a whole case.
fn whole(case: &Case, mistakes: &mut Vec<Mistake>) {
    let mut say = |what: &str| mistakes.push(Mistake(format!("{}: case {}: {what}", case.place, case.name)));
    if case.steps.is_empty() {
        say("nothing happens in it");
    }
    let moves_redis = case.steps.iter().any(|step| matches!(step.act, Act::Redis(_)));
    if moves_redis && case.only != Some(Store::Redis) {
        say("something happens to Redis, so say `only over redis: …`");
    }
    let mut waits: Vec<&str> = Vec::new();
    for step in &case.steps {
        match &step.act {
            Act::Do { actor, verb, outcome, .. } => {
                let waiting = waits.contains(&actor.as_str());
                match (waiting, verb.name == "cancel") {
                    (true, false) => {
                        mistakes.push(Mistake::at(
                            case,
                            step,
                            &format!("{actor} waits and can do nothing else"),
                        ));
                    }
                    (false, true) => {
                        mistakes.push(Mistake::at(
                            case,
                            step,
                            &format!("{actor} does not wait for anything"),
                        ));
                    }
                    _ => {}
                }
                waits.retain(|waiting| waiting != actor);
                if outcome.is_none() {
                    waits.push(actor);
                }
            }
            Act::Comes { actor, .. } => {
                if !waits.contains(&actor.as_str()) {
                    mistakes.push(Mistake::at(case, step, &format!("{actor} does not wait for anything")));
                }
                waits.retain(|waiting| waiting != actor);
            }
            Act::Kill(actor) => waits.retain(|waiting| waiting != actor),
            _ => {}
        }
    }
    for actor in waits {
        let what = format!("case {}: nothing comes of what {actor} waits for", case.name);
        mistakes.push(Mistake(format!("{}: {what}", case.place)));
    }
}

fn act(text: &str) -> Result<Act, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["kill", actor] => Ok(Act::Kill((*actor).to_owned())),
        ["force", key] => Ok(Act::Force((*key).to_owned())),
        ["sidecar", "kill"] => Ok(Act::Sidecar(SidecarAct::Kill)),
        ["sidecar", "stop"] => Ok(Act::Sidecar(SidecarAct::Stop)),
        ["sidecar", "start"] => Ok(Act::Sidecar(SidecarAct::Start)),
        ["redis", "down"] => Ok(Act::Redis(RedisAct::Down)),
        ["redis", "up"] => Ok(Act::Redis(RedisAct::Up)),
        ["fence", left, order @ ("<" | "="), right] => {
            Ok(Act::Fences { left: fence(left), equal: *order == "=", right: fence(right) })
        }
        ["crowd", key, held, waiting] => Ok(Act::Crowd {
            key: (*key).to_owned(),
            held: count(held, "held=")?,
            waiting: count(waiting, "waiting=")?,
        }),
        [actor, "->", outcome @ ..] if actor.ends_with(':') => Ok(Act::Comes {
            actor: actor.trim_end_matches(':').to_owned(),
            outcome: self::outcome(outcome, None)?,
        }),
        [actor, verb, rest @ ..] if actor.ends_with(':') => does(actor.trim_end_matches(':'), verb, rest),
        _ => Err("is no step: `ACTOR: VERB …`, kill, force, sidecar, redis, fence or crowd".to_owned()),
    }
}

fn fence(text: &str) -> Fence {
    let (lease, key) =
        text.split_once(':').map_or((text, None), |(lease, key)| (lease, Some(key.to_owned())));
    Fence { lease: lease.to_owned(), key }
}

fn count(word: &str, name: &str) -> Result<usize, String> {
    let number = word.strip_prefix(name).and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("{word:?} is not {name}NUMBER"))
}

fn does(actor: &str, name: &str, words: &[&str]) -> Result<Act, String> {
    let verb = verb::find(name).ok_or_else(|| format!("nobody can {name:?}"))?;
    let (words, outcome) = match words.iter().position(|word| *word == "->") {
        Some(arrow) => (&words[..arrow], Some(self::outcome(&words[arrow + 1..], Some(verb))?)),
        None if words.last() == Some(&"&") => (&words[..words.len() - 1], None),
        None if verb.answers.len() > 1 || !verb::said(verb.answers[0]).is_empty() => {
            return Err(format!(
                "say what comes of it: `-> {}` or `-> error CODE`",
                verb.answers.join("` or `-> ")
            ));
        }
        None => (words, Some(Outcome { word: verb.answers[0].to_owned(), fields: Vec::new() })),
    };
    let mut values = Vec::new();
    let mut words = words;
    for argument in verb.arguments {
        let plain = words.iter().take_while(|word| !verb.options.contains(&option(word))).count();
        let given = if Kind::of(argument) == Kind::Keys { plain } else { plain.min(1) };
        if given == 0 {
            return Err(format!("{name} wants: {}", verb.arguments.join(", ")));
        }
        values.push((*argument, checked(argument, words[..given].to_vec())?));
        words = &words[given..];
    }
    for word in words {
        let known = verb.options.iter().find(|known| **known == option(word));
        let known = *known.ok_or_else(|| format!("{name} has no option {word:?}"))?;
        values.push((
            known,
            checked(known, word.split_once('=').map(|(_, value)| value).into_iter().collect())?,
        ));
    }
    Ok(Act::Do { actor: actor.to_owned(), verb, values, outcome })
}

fn option(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

/// The words of a value, if they are of its kind.
fn checked(name: &str, words: Vec<&str>) -> Result<Vec<String>, String> {
    let fits = |word: &&str| match Kind::of(name) {
        Kind::Flag => false,
        Kind::Span => verb::milliseconds(word).is_some(),
        Kind::Number => word.parse::<i64>().is_ok(),
        Kind::Place => ["absent", "file", "redis"].contains(word),
        _ => !word.is_empty(),
    };
    let flag = Kind::of(name) == Kind::Flag;
    match words.iter().all(fits) && words.is_empty() == flag {
        true => Ok(words.into_iter().map(str::to_owned).collect()),
        false => Err(format!("{} is no {name}", words.join(" "))),
    }
}

/// What stands behind an arrow. Without a verb anything may come.
fn outcome(words: &[&str], verb: Option<&'static verb::Verb>) -> Result<Outcome, String> {
    let [word, rest @ ..] = words else { return Err("nothing stands behind the arrow".to_owned()) };
    let mut fields = Vec::new();
    if *word == "error" {
        let [code, rest @ ..] = rest else { return Err("say which error".to_owned()) };
        if *code != "unreachable" && sidelock_wire::Code::from_name(code).is_none() {
            return Err(format!("{code:?} is no code"));
        }
        fields.push(("code".to_owned(), (*code).to_owned()));
        for word in rest {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not NAME=VALUE"))?;
            if !ERROR_FIELDS.contains(&name) {
                return Err(format!("an error has no {name:?}; it has {}", ERROR_FIELDS.join(", ")));
            }
            fields.push((name.to_owned(), value.to_owned()));
        }
        return Ok(Outcome { word: "error".to_owned(), fields });
    }
    let known = match verb {
        Some(verb) => verb.answers.contains(word),
        None => verb::VERBS.iter().any(|verb| verb.answers.contains(word)),
    };
    let says = verb::said(word);
    match known && rest.len() == says.len() {
        true => {
            let said = says.iter().zip(rest).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Ok(Outcome { word: (*word).to_owned(), fields: said.collect() })
        }
        false if known => Err(format!("{word} says: {}", says.join(", "))),
        false => Err(format!("{word:?} can not come of it")),
    }
}
