//! What a policy counts: so many requests of a user, in an hour.
//!
//! Owns names, windows and values. A window begins at a whole multiple of its length since 1970, so that a counter needs no
//! beginning of its own and two sidecars count in the same hour. Time comes with the request; a clock that steps back resets
//! nothing. Must not know when a request counts.

use crate::edits::shown;
use crate::fault::Fault;
use crate::lane::JOBS_MAX;
use crate::model::{Counter, Request};
use crate::settings::DEADLINE_MAX;
use sidelock_notation::parse_duration;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Counters that a policy may want, and bytes in a name of one.
const WANTED_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 128;
/// Names in use at a time: one for each user, say, if a name has `{uid}` in it.
pub(crate) const NAMES_MAX: usize = 65_536;
/// Names before those whose window is over are looked for.
const TIDY_FROM: usize = 1_024;
const WINDOW_MS_DEFAULT: u64 = 60_000;
/// A request may be asked about so long after the time that it says: when all that wait for a lane take as long as they may, and no
/// question is asked again.
const LATE_MS_MAX: u64 = JOBS_MAX as u64 * DEADLINE_MAX.as_millis() as u64;
/// Who finds the names in use up looks for windows that are over this often at most.
const TIDY_MS: u64 = 1_000;

/// A counter that a policy wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// As the policy writes it, without the window.
    pub(crate) name: Arc<str>,
    /// Those in it.
    placeholders: Vec<Placeholder>,
    window_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Uid,
    Gid,
    App,
    Session,
    Owner,
    Key,
}

const PLACEHOLDERS: [(&str, Placeholder); 6] = [
    ("uid", Placeholder::Uid),
    ("gid", Placeholder::Gid),
    ("app", Placeholder::App),
    ("session", Placeholder::Session),
    ("owner", Placeholder::Owner),
    ("key", Placeholder::Key),
];

impl Wanted {
    /// What `configure` returned.
    pub(crate) fn read_all(texts: &[String]) -> Result<Vec<Wanted>, String> {
        if texts.len() > WANTED_MAX {
            return Err(format!("wants {} counters; at most {WANTED_MAX}", texts.len()));
        }
        let mut all: Vec<Wanted> = Vec::with_capacity(texts.len());
        for text in texts {
            let wanted = Wanted::read(text)?;
            if all.iter().any(|other| other.name == wanted.name) {
                return Err(format!("wants the counter `{}` twice", shown(&wanted.name)));
            }
            all.push(wanted);
        }
        Ok(all)
    }

    /// `name` or `name/window`.
    fn read(text: &str) -> Result<Wanted, String> {
        let (name, window_ms) = match text.rsplit_once('/') {
            None => (text, WINDOW_MS_DEFAULT),
            Some((name, window)) => {
                let window =
                    parse_duration(window).map_err(|error| format!("counter `{}`: {error}", shown(text)))?;
                (name, u64::try_from(window.as_millis()).unwrap_or(u64::MAX))
            }
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || window_ms == 0 {
            return Err(format!(
                "counter `{}`: a name of 1 to {NAME_BYTES_MAX} bytes, a window longer than 0",
                shown(text)
            ));
        }
        Ok(Wanted { name: name.into(), placeholders: placeholders(name)?, window_ms })
    }

    /// What its value for this request is kept under. Clients choose their texts: so each stands with its length behind the name as
    /// the policy writes it, and none can be taken for a part of another, or for another counter's.
    fn of(&self, request: &Request) -> String {
        let mut name = String::with_capacity(self.name.len() + 32);
        // The same name in windows of different lengths is not the same counter. A string takes all that is written to it.
        let _ = write!(name, "{}\0{}", self.name, self.window_ms);
        for placeholder in &self.placeholders {
            let text = |text: Option<&Arc<str>>| text.map_or(String::new(), ToString::to_string);
            let value = match placeholder {
                Placeholder::Uid => request.peer.uid.to_string(),
                Placeholder::Gid => request.peer.gid.to_string(),
                Placeholder::App => request.peer.app.to_string(),
                Placeholder::Session => request.peer.session.to_string(),
                Placeholder::Owner => text(request.owner.as_ref()),
                Placeholder::Key => text(request.keys.first()),
            };
            let _ = write!(name, "\0{}:{value}", value.len());
        }
        name
    }
}

/// A counter of one request, to which 1 is added unless the request is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    name: String,
    window_ms: u64,
    /// What the policy saw in it.
    seen: Option<u64>,
    /// The end of the window in which it was added.
    added_until: u64,
}

impl Counted {
    /// It counts whatever others do meanwhile.
    pub(crate) fn forget_seen(&mut self) {
        self.seen = None;
    }
}

fn placeholders(name: &str) -> Result<Vec<Placeholder>, String> {
    let mut found = Vec::new();
    let mut rest = name;
    while let Some((_, after)) = rest.split_once('{') {
        let known = || PLACEHOLDERS.map(|(name, _)| format!("{{{name}}}")).join(" ");
        let wrong = || format!("counter `{}`: braces stand for one of {}", shown(name), known());
        let (placeholder, after) = after.split_once('}').ok_or_else(wrong)?;
        let (_, placeholder) =
            PLACEHOLDERS.iter().find(|(name, _)| *name == placeholder).ok_or_else(wrong)?;
        found.push(*placeholder);
        rest = after;
    }
    Ok(found)
}

/// The values of one policy's counters: they outlive a reload.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Values>);

#[derive(Debug)]
struct Values {
    of: HashMap<String, Value>,
    tidy_at: usize,
    /// When windows that are over were looked for last among as many names as there may be.
    looked_at: Option<u64>,
}

impl Default for Values {
    fn default() -> Values {
        Values { of: HashMap::new(), tidy_at: TIDY_FROM, looked_at: None }
    }
}

#[derive(Clone, Copy, Debug)]
struct Value {
    count: u64,
    ends_ms: u64,
    window_ms: u64,
}

impl Value {
    fn new(now: u64, window_ms: u64) -> Value {
        Value { count: 0, ends_ms: end_of_window(now, window_ms), window_ms }
    }

    /// When its window ends, as seen at this instant. A clock that stepped back changes no count, nor does a request that is asked
    /// about late; but a clock that was days ahead does not keep a quota full for days.
    fn ends(self, now: u64) -> u64 {
        let late = self.window_ms.saturating_add(LATE_MS_MAX);
        self.ends_ms.min(end_of_window(now, self.window_ms).saturating_add(late))
    }

    /// The value at this instant, if its window is not over.
    fn at(&mut self, now: u64) -> Option<Value> {
        self.ends_ms = self.ends(now);
        (now < self.ends_ms).then_some(*self)
    }
}

fn end_of_window(now: u64, window_ms: u64) -> u64 {
    (now / window_ms).saturating_add(1).saturating_mul(window_ms)
}

impl Counters {
    /// The values before this request.
    pub(crate) fn read(&self, wanted: &[Wanted], request: &Request) -> Vec<Counter> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let now = request.clock.unix_ms;
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |wanted: &Wanted| {
            let value = values.of.get_mut(&wanted.of(request));
            let value = value.and_then(|value| value.at(now));
            Counter {
                name: wanted.name.clone(),
                value: value.map_or(0, |value| value.count),
                resets_in_ms: value.map_or(0, |value| value.ends_ms - now),
            }
        };
        wanted.iter().map(read).collect()
    }

    /// What a decision counts. A name that is not wanted is a fault.
    pub(crate) fn counted(
        wanted: &[Wanted],
        names: &[String],
        request: &Request,
    ) -> Result<Vec<Counted>, Fault> {
        let find = |name: &String| {
            let found = wanted.iter().find(|wanted| *wanted.name == **name);
            let found = found.map(|wanted| Counted {
                name: wanted.of(request),
                window_ms: wanted.window_ms,
                seen: request.counters.iter().find(|seen| seen.name == wanted.name).map(|seen| seen.value),
                added_until: 0,
            });
            found.ok_or_else(|| {
                Fault::Answer(format!("counts `{}`, which `configure` did not ask for", shown(name)))
            })
        };
        names.iter().map(find).collect()
    }

    /// Adds 1 to each, or to none; the number of those that others have changed since the policy saw them.
    pub(crate) fn add(&self, counted: &mut [Counted], now: u64) -> Result<usize, Fault> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = counted.iter().filter(|counted| values.has_changed(counted, now)).count();
        if stale > 0 {
            return Ok(stale);
        }
        let new = counted.iter().filter(|counted| !values.of.contains_key(&counted.name)).count();
        if new > 0 {
            values.make_room(new, now)?;
        }
        for Counted { name, window_ms, added_until, .. } in counted {
            let value = values.of.entry(name.clone()).or_insert(Value::new(now, *window_ms));
            if value.at(now).is_none() {
                *value = Value::new(now, *window_ms);
            }
            value.count = value.count.saturating_add(1);
            *added_until = value.ends_ms;
        }
        Ok(0)
    }

    /// What was added for a request that was denied in the end.
    pub(crate) fn take_back(&self, counted: &[Counted]) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Counted { name, added_until, .. } in counted {
            // Another window began with 0.
            if let Some(value) = values.of.get_mut(name).filter(|value| value.ends_ms == *added_until) {
                value.count = value.count.saturating_sub(1);
                if value.count == 0 {
                    values.of.remove(name);
                }
            }
        }
    }

    /// Names in use.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).of.len()
    }
}

impl Values {
    /// Whether the policy that counts here decided by another value than this.
    fn has_changed(&mut self, counted: &Counted, now: u64) -> bool {
        let value = self.of.get_mut(&counted.name).and_then(|value| value.at(now));
        counted.seen.is_some_and(|seen| seen != value.map_or(0, |value| value.count))
    }

    /// Whoever finds it full looks for windows that are over; the next look is when it has doubled, or a moment later, so that it
    /// costs each name little. Requests that are asked about late have not come that moment later.
    fn make_room(&mut self, more: usize, now: u64) -> Result<(), Fault> {
        let lately = |at: u64| now < at.saturating_add(TIDY_MS) && at < now.saturating_add(LATE_MS_MAX);
        let looked = self.looked_at.is_some_and(lately);
        if self.of.len() + more > self.tidy_at && !looked {
            self.of.retain(|_, value| now < value.ends(now));
            self.tidy_at = (self.of.len() * 2).clamp(TIDY_FROM, NAMES_MAX);
            self.looked_at = (self.tidy_at == NAMES_MAX).then_some(now);
        }
        match self.of.len() + more > NAMES_MAX {
            true => Err(Fault::Counters(NAMES_MAX)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
