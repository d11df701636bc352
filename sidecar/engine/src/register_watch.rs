//! Watching registers: answers that wait for a change.
//!
//! Owns one look at the store per watched register and second, however many clients watch it, and more at every push: a push
//! is a hint (P3), the look is what tells. The look is also what keeps the sidecar among those that are pushed to. Must not
//! know how a request comes or what else is done with registers.

use crate::effect::{Refusal, Reply};
use crate::engine::Engine;
use crate::link::{Sent, SentKind};
use crate::model::{Key, Time};
use crate::mutant::Mutant;
use crate::register::{Act, REGISTER_RETRY, Registers};
use crate::store::{self, Known, Op, Outcome, ReadRegister, Watch};
use crate::timers::Timer;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// A change is known after this long though every push is lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The store pushes to us for so long after a look. It refreshes the entry when half of it is over, so that most looks write
/// nothing; a sidecar that no longer watches is pushed to for as long in vain.
const WATCH_TTL: Duration = Duration::from_secs(10);

/// One client's wish to hear of a change.
pub(crate) struct Watcher {
    known: Known,
    /// It wants the answer of the first look.
    looks_once: bool,
    /// In the look that is under way.
    is_asked: bool,
    /// A look that began after it came was answered: nothing had changed.
    has_looked: bool,
    /// No look that began after it came was answered, or failed.
    is_new: bool,
}

impl Watcher {
    pub(crate) fn new(known: Known, wait: Option<Duration>) -> Watcher {
        let looks_once = wait == Some(Duration::ZERO);
        Watcher { known, looks_once, is_asked: false, has_looked: false, is_new: true }
    }

    /// The answer when its wait is over. None yet: a wait may be shorter than a round trip, and a store that was asked a moment ago
    /// is not away. `may_answer`: that is so.
    pub(crate) fn at_its_end(&mut self, store_is_up: bool, may_answer: bool) -> Option<Reply> {
        if self.is_new && store_is_up && may_answer {
            self.looks_once = true;
            return None;
        }
        Some(match self.has_looked && store_is_up {
            true => Reply::Unchanged,
            false => Reply::Refused(Refusal::StoreUnavailable),
        })
    }
}

impl Registers {
    /// The store is away: what was seen says nothing of what is written meanwhile.
    pub(crate) fn forget_looks(&mut self) {
        for operation in self.operations.values_mut() {
            if let Act::Watch(watcher) = &mut operation.act {
                watcher.has_looked = false;
            }
        }
    }
}

/// All watched registers.
#[derive(Default)]
pub(crate) struct Watches {
    by_number: BTreeMap<u64, Watched>,
    by_key: HashMap<Key, u64>,
    next: u64,
}

/// One register that somebody watches.
struct Watched {
    key: Key,
    /// Operations, in the order in which they came.
    watchers: Vec<u64>,
    is_looking: bool,
    /// Somebody came, or a push, after the look began.
    look_again: bool,
    next: Time,
    armed: Time,
}

impl Engine {
    /// A client watches.
    pub(crate) fn watch_register(&mut self, now: Time, key: Key, operation: u64) {
        let watches = &mut self.registers.watches;
        let number = match watches.by_key.get(&key) {
            Some(&number) => number,
            None => {
                let number = watches.next;
                watches.next += 1;
                watches.by_key.insert(key.clone(), number);
                let (next, armed) = (Time::MAX, Time::MAX);
                let watched =
                    Watched { key, watchers: Vec::new(), is_looking: false, look_again: false, next, armed };
                watches.by_number.insert(number, watched);
                number
            }
        };
        if let Some(watched) = watches.by_number.get_mut(&number) {
            watched.watchers.push(operation);
        }
        self.look_at_register(now, number);
    }

    /// A client no longer watches.
    pub(crate) fn unwatch_register(&mut self, key: &Key, operation: u64) {
        let watches = &mut self.registers.watches;
        let Some(&number) = watches.by_key.get(key) else { return };
        let Some(watched) = watches.by_number.get_mut(&number) else { return };
        watched.watchers.retain(|other| *other != operation);
        if watched.watchers.is_empty() {
            let armed = watched.armed;
            watches.by_number.remove(&number);
            watches.by_key.remove(key);
            self.timers.disarm(armed, Timer::Watch(number));
        }
    }

    /// It is said that a register changed.
    pub(crate) fn register_changed(&mut self, now: Time, key: &Key) {
        if let Some(&number) = self.registers.watches.by_key.get(key) {
            self.look_at_register(now, number);
        }
    }

    pub(crate) fn watches_reconnected(&mut self, now: Time) {
        let all: Vec<u64> = self.registers.watches.by_number.keys().copied().collect();
        for number in all {
            self.look_at_register(now, number);
        }
    }

    /// A watched register's timer fired.
    pub(crate) fn watch_due(&mut self, now: Time, number: u64) {
        let Some(watched) = self.registers.watches.by_number.get_mut(&number) else { return };
        if watched.armed > now {
            return;
        }
        watched.armed = Time::MAX;
        match watched.next <= now {
            true => self.look_at_register(now, number),
            // Something else made it look before its time, and the next look is later.
            false => self.arm_watch(number),
        }
    }

    fn arm_watch(&mut self, number: u64) {
        let Some(watched) = self.registers.watches.by_number.get_mut(&number) else { return };
        if watched.next < watched.armed {
            self.timers.disarm(watched.armed, Timer::Watch(number));
            self.timers.arm(watched.next, Timer::Watch(number));
            watched.armed = watched.next;
        }
    }

    /// Reads the register, and has the store push its next change.
    fn look_at_register(&mut self, now: Time, number: u64) {
        let Some(watched) = self.registers.watches.by_number.get_mut(&number) else { return };
        if watched.is_looking || !self.link.is_up() {
            watched.look_again = true;
            return;
        }
        (watched.is_looking, watched.look_again, watched.next) = (true, false, Time::MAX);
        let mut known = None;
        for operation in &watched.watchers {
            if let Some(Act::Watch(watcher)) =
                self.registers.operations.get_mut(operation).map(|operation| &mut operation.act)
            {
                watcher.is_asked = true;
                // What all of them know need not be sent again.
                known = Some(known.map_or(watcher.known, |known| match known == watcher.known {
                    true => known,
                    false => Known::Nothing,
                }));
            }
        }
        let watch = Some(Watch { incarnation: self.config.incarnation, ttl: WATCH_TTL });
        let (key, known) = (watched.key.clone(), known.unwrap_or(Known::Nothing));
        let sent = Sent { kind: SentKind::Watch, resource: usize::MAX, seq: number, at: now };
        let call = self.link.send(sent);
        self.emit_call(call, Op::ReadRegister(ReadRegister { key, known, watch, bound: None }));
    }

    /// The answer to a look.
    pub(crate) fn watch_answered(&mut self, now: Time, number: u64, outcome: Outcome) {
        let Some(watched) = self.registers.watches.by_number.get_mut(&number) else { return };
        watched.is_looking = false;
        let watchers = watched.watchers.clone();
        let answered = match outcome {
            Outcome::Applied { reply: store::Reply::Unchanged, .. } => {
                self.answer_watchers(now, &watchers, |_| None);
                true
            }
            Outcome::Applied { reply: store::Reply::Register(current), .. } => {
                self.answer_watchers(now, &watchers, |known| {
                    let is_known = match &current {
                        None => known == Known::Absent,
                        Some(version) => known == Known::Version(version.etag),
                    };
                    (!is_known).then(|| Reply::Register(current.clone()))
                });
                true
            }
            Outcome::Applied { .. } | Outcome::NotApplied(_) | Outcome::Unknown(_) => false,
        };
        let Some(watched) = self.registers.watches.by_number.get_mut(&number) else { return };
        if watched.look_again && answered {
            return self.look_at_register(now, number);
        }
        // All looks of a sidecar fall on the same instants, so that they leave as one pipeline.
        let every = LOOK_EVERY.as_nanos() as u64;
        watched.next = if answered { Time((now.0 / every + 1) * every) } else { now + REGISTER_RETRY };
        if answered && Mutant::NoLooks.is(self.config.mutant) {
            watched.next = Time::MAX;
        }
        self.arm_watch(number);
        if !answered {
            // Whether it is still as it was is not known now.
            for operation in watchers {
                if let Some(Act::Watch(watcher)) =
                    self.registers.operations.get_mut(&operation).map(|operation| &mut operation.act)
                {
                    watcher.has_looked &= !watcher.is_asked;
                    watcher.is_new &= !watcher.is_asked;
                }
            }
        }
    }

    /// Answers those of the look whom `news` tells something, by what they know.
    fn answer_watchers(&mut self, now: Time, watchers: &[u64], news: impl Fn(Known) -> Option<Reply>) {
        for &number in watchers {
            let operation = self.registers.operations.get_mut(&number);
            let Some(Act::Watch(watcher)) = operation.map(|operation| &mut operation.act) else { continue };
            if !std::mem::take(&mut watcher.is_asked) {
                continue;
            }
            (watcher.has_looked, watcher.is_new) = (true, false);
            let nothing_new = watcher.looks_once.then_some(Reply::Unchanged);
            if let Some(answer) = news(watcher.known).or(nothing_new) {
                self.finish_operation(now, number, Some(answer));
            }
        }
    }
}
