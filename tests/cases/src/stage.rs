//! A case, step by step.
//!
//! Owns who does what in which order, and that nothing is left of it in the sidecar. Must not know how an answer is judged;
//! that is `check`.

use crate::check::{Names, check, text};
use crate::line::Line;
use crate::place::{Crowd, NoSidecar, Place};
use crate::player::{Order, Troupe};
use crate::script::{Act, Case, Fence, Kind, Outcome, Step, Verb, milliseconds};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Between two looks at a queue.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Clocks and their rounding: a wait that is said in whole milliseconds may end so much before the driver's clock says so.
const EARLY_MAX: Duration = Duration::from_millis(2);

/// A case in one language, at one place.
pub struct Stage<'a, 'b> {
    case: &'a Case,
    prefix: String,
    place: Place<'a>,
    troupe: &'b mut Troupe<'a>,
    names: Names,
    /// Actors that have a client, and those who had one.
    clients: BTreeSet<String>,
    /// Children by whom they play with.
    parents: BTreeMap<String, String>,
    waiting: BTreeMap<String, Asked>,
    /// Kept until the end: actors were sent there.
    no_sidecars: Vec<NoSidecar>,
}

/// What an actor asked for.
struct Asked {
    order: Order,
    keys: Vec<String>,
    wait: Option<Duration>,
}

impl<'a, 'b> Stage<'a, 'b> {
    /// Everything is ready.
    pub fn new(case: &'a Case, place: Place<'a>, troupe: &'b mut Troupe<'a>) -> Stage<'a, 'b> {
        Stage {
            prefix: format!("{}.{}", case.name, troupe.language().name),
            case,
            place,
            troupe,
            names: Names::default(),
            clients: BTreeSet::new(),
            parents: BTreeMap::new(),
            waiting: BTreeMap::new(),
            no_sidecars: Vec::new(),
        }
    }

    /// Plays all steps.
    ///
    /// # Errors
    /// The step that went wrong, and how.
    pub fn play(mut self) -> Result<(), String> {
        for (number, step) in self.case.steps.iter().enumerate() {
            self.step(number, step).map_err(|what| format!("line {}, `{}`: {what}", step.line, step.text))?;
        }
        self.end().map_err(|what| format!("after the last step: {what}"))
    }

    fn step(&mut self, number: usize, step: &Step) -> Result<(), String> {
        match &step.act {
            Act::Do { actor, verb, .. } if verb.name == "cancel" => self.cancel(actor),
            Act::Do { actor, verb, values, outcome } => {
                self.enter(actor, verb)?;
                let name = outcome
                    .as_ref()
                    .or_else(|| self.comes_later(number, actor))
                    .and_then(|came| came.get("as"));
                let line = self.line(actor, verb, values, name)?;
                match outcome {
                    None => self.begins(actor, verb, values, &line),
                    Some(outcome) => {
                        let asked = self.ask(actor, values, &line);
                        let player = self.player(actor);
                        let answer = player.answers(asked.order)?;
                        self.judge(&asked, outcome, &answer)?;
                        self.left(actor, verb, values, outcome);
                        Ok(())
                    }
                }
            }
            Act::Comes { actor, outcome } => {
                let asked = self.waiting.remove(actor).ok_or("it does not wait")?;
                let answer = self.player(actor).answers(asked.order)?;
                self.judge(&asked, outcome, &answer)
            }
            Act::Kill(actor) => {
                self.troupe.kill(actor);
                self.waiting.remove(actor);
                self.clients.remove(actor);
                Ok(())
            }
            Act::Force(key) => self.place.force(&self.key(key)),
            Act::Sidecar(act) => {
                self.place.sidecar(*act);
                Ok(())
            }
            Act::Redis(act) => {
                self.place.redis(*act);
                Ok(())
            }
            Act::Fences { left, equal, right } => {
                let (lower, higher) = (self.fence(left)?, self.fence(right)?);
                let right = if *equal { lower == higher } else { lower < higher };
                if right { Ok(()) } else { Err(format!("they are {lower} and {higher}")) }
            }
            Act::Crowd { key, held, waiting } => {
                self.place.until_crowd(&self.key(key), true, Crowd { held: *held, waiting: *waiting })
            }
        }
    }

    /// Nobody stays, and nothing is left of the case.
    fn end(mut self) -> Result<(), String> {
        let clients = std::mem::take(&mut self.clients);
        for actor in &clients {
            let order = self.player(actor).tell(&Line::new([actor.as_str(), "close"]));
            let answer = self.player(actor).answers(order)?;
            if answer.word(0) != "ok" {
                return Err(format!("{actor} does not close: `{answer}`"));
            }
        }
        match clients.is_empty() || !self.place.is_served() {
            true => Ok(()),
            false => self.place.until_crowd(&self.prefix, false, Crowd::default()),
        }
    }

    /// Whoever acts first connects first, unless that is what it does.
    fn enter(&mut self, actor: &str, verb: &Verb) -> Result<(), String> {
        if self.clients.contains(actor) || verb.name == "connect" {
            return Ok(());
        }
        let line = Line::new([actor, "connect"]).with("socket", self.place.socket().display());
        let line = line.with("client", self.client(actor));
        let order = self.player(actor).tell(&line);
        let answer = self.player(actor).answers(order)?;
        self.clients.insert(actor.to_owned());
        if answer.word(0) == "ok" { Ok(()) } else { Err(format!("{actor} can not connect: `{answer}`")) }
    }

    /// What follows from a step for who is there.
    fn left(&mut self, actor: &str, verb: &Verb, values: &[(&str, Vec<String>)], outcome: &Outcome) {
        match verb.name {
            "connect" if outcome.word == "ok" => {
                self.clients.insert(actor.to_owned());
            }
            "close" => {
                self.clients.remove(actor);
            }
            "spawn" => {
                let child = &values[0].1[0];
                self.clients.insert(child.clone());
                self.parents.insert(child.clone(), actor.to_owned());
            }
            _ => {}
        }
    }

    /// An actor begins to wait: seen in the queue, where its waiting can be seen.
    fn begins(
        &mut self,
        actor: &str,
        verb: &Verb,
        values: &[(&str, Vec<String>)],
        line: &Line,
    ) -> Result<(), String> {
        let keys = self.keys(values);
        let before = self.waiters(verb, &keys);
        let asked = self.ask(actor, values, line);
        let (order, start) = (asked.order, Instant::now());
        while verb.queues && self.waiters(verb, &keys) <= before {
            if let Some(answer) = self.player(actor).answer(order, LOOK_EVERY) {
                return Err(format!("it does not wait: `{answer}` came"));
            }
            if start.elapsed() > sidelock_e2e::PATIENCE {
                return Err("it is not in the queue, and no answer came".to_owned());
            }
        }
        self.waiting.insert(actor.to_owned(), asked);
        Ok(())
    }

    fn waiters(&self, verb: &Verb, keys: &[String]) -> usize {
        match verb.queues {
            true => keys.iter().map(|key| self.place.crowd(key, true).waiting).sum(),
            false => 0,
        }
    }

    fn cancel(&mut self, actor: &str) -> Result<(), String> {
        let asked = self.waiting.remove(actor).ok_or("it does not wait")?;
        let player = self.player(actor);
        player.tell(&Line::new([actor, "cancel"]));
        let answer = player.answers(asked.order)?;
        match answer.word(0) {
            "cancelled" => Ok(()),
            _ => Err(format!("`{answer}` came instead")),
        }
    }

    fn ask(&mut self, actor: &str, values: &[(&str, Vec<String>)], line: &Line) -> Asked {
        let keys = self.keys(values);
        let wait = value(values, "wait").and_then(milliseconds).map(Duration::from_millis);
        Asked { order: self.player(actor).tell(line), keys, wait }
    }

    fn judge(&mut self, asked: &Asked, outcome: &Outcome, answer: &Line) -> Result<(), String> {
        check(outcome, answer, &asked.keys, &self.prefix, &mut self.names)?;
        let waited_in_vain = outcome.get("code") == Some("wait_timeout") || outcome.word == "none";
        match asked.wait {
            Some(wait) if waited_in_vain && asked.order.at.elapsed() + EARLY_MAX < wait => {
                Err(format!("after {:?}: the wait is not over", asked.order.at.elapsed()))
            }
            _ => Ok(()),
        }
    }

    /// An order as the player reads it, without its number.
    fn line(
        &mut self,
        actor: &str,
        verb: &Verb,
        values: &[(&'static str, Vec<String>)],
        name: Option<&str>,
    ) -> Result<Line, String> {
        let mut line = Line::new([actor, verb.name]);
        if verb.name == "connect" {
            line = line.with("client", self.client(actor));
            if value(values, "socket").is_none() {
                line = line.with("socket", self.place.socket().display());
            }
        }
        for (field, words) in values {
            let word = words.first().map_or("", String::as_str);
            line = match Kind::of(field) {
                Kind::Flag => line.with(field, "yes"),
                Kind::Span => line.with(field, milliseconds(word).unwrap_or_default()),
                Kind::Key => line.with(field, self.key(word)),
                Kind::Keys => line.with_list(field, words.iter().map(|word| self.key(word))),
                Kind::Owner => line.with(field, self.key(word)),
                Kind::Text => line.with(field, text(word)),
                Kind::Etag if word != "absent" => {
                    line.with(field, self.names.etags.get(word).ok_or("there is no such version")?)
                }
                Kind::Place => {
                    self.no_sidecars.push(NoSidecar::new(word));
                    let made = self.no_sidecars.last().map(|place| place.path().to_owned());
                    line.with(field, made.unwrap_or_default().display())
                }
                _ => line.with(field, word),
            };
        }
        Ok(name.map_or(line.clone(), |name| line.with("as", name)))
    }

    /// What comes of what this actor begins in this step.
    fn comes_later(&self, number: usize, actor: &str) -> Option<&'a Outcome> {
        self.case.steps[number + 1..].iter().find_map(|step| match &step.act {
            Act::Comes { actor: who, outcome } if who == actor => Some(outcome),
            _ => None,
        })
    }

    /// A key or an owner's name, in the case's own part of the name space.
    fn key(&self, written: &str) -> String {
        let size = written.strip_prefix("size:").and_then(|size| size.parse::<usize>().ok());
        match (size, written) {
            (Some(size), _) => {
                let start = format!("{}/", self.prefix);
                format!("{start}{}", "k".repeat(size.saturating_sub(start.len())))
            }
            (None, "empty") => String::new(),
            (None, name) => format!("{}/{name}", self.prefix),
        }
    }

    /// The keys that an order is about.
    fn keys(&self, values: &[(&str, Vec<String>)]) -> Vec<String> {
        let mut keys = Vec::new();
        for (field, words) in values {
            match Kind::of(field) {
                Kind::Key | Kind::Keys => keys.extend(words.iter().map(|word| self.key(word))),
                Kind::Lease => {
                    let fences = self.names.leases.get(&words[0]).into_iter().flatten();
                    keys.extend(fences.map(|(key, _)| key.clone()));
                }
                _ => {}
            }
        }
        keys
    }

    fn fence(&self, fence: &Fence) -> Result<u64, String> {
        let fences = self.names.leases.get(&fence.lease).ok_or("there is no such lease")?;
        let wanted = fence.key.as_ref().map(|key| self.key(key));
        let found = fences.iter().find(|(key, _)| wanted.as_ref().is_none_or(|wanted| wanted == key));
        found.map(|(_, fence)| *fence).ok_or_else(|| format!("{} has no such key", fence.lease))
    }

    /// Those who share a client say the same name.
    fn client(&self, actor: &str) -> String {
        let shared = self.case.together.iter().find(|actors| actors.iter().any(|other| other == actor));
        shared.map_or_else(|| actor.to_owned(), |actors| actors.join("+"))
    }

    /// The process that plays this actor.
    fn player(&mut self, actor: &str) -> &mut crate::player::Player {
        let mut who = actor;
        while let Some(parent) = self.parents.get(who) {
            who = parent;
        }
        let alone = self.case.killed().contains(who).then_some(who);
        self.troupe.player(alone)
    }
}

fn value<'v>(values: &'v [(&str, Vec<String>)], name: &str) -> Option<&'v str> {
    values.iter().find(|(known, _)| *known == name).and_then(|(_, words)| words.first()).map(String::as_str)
}
