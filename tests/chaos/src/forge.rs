//! Forged histories: what really happened, with one lie in it. A checker that believes one of them is not to be believed.
//!
//! Owns the lies, and which rule each breaks.

use sidelock_sim::checker::history::{Acquire, Answer, At, Event, History, Record, Req, Sent};
use sidelock_sim::checker::{Rule, check};
use std::collections::HashMap;

/// A lie, and what must be found.
#[derive(Clone, Copy)]
pub struct Forgery {
    /// What is claimed.
    pub name: &'static str,
    /// What must be found.
    pub rule: Rule,
    /// What may be found besides, as its consequence.
    pub besides: &'static [Rule],
    /// Tells the lie; `None`: nothing happened that it could be told of.
    forge: fn(&History) -> Option<History>,
}

/// All forgeries.
#[rustfmt::skip]
pub const FORGERIES: &[Forgery] = &[
    Forgery { name: "two hold at a time", rule: Rule::Exclusion, besides: &[], forge: overlap },
    Forgery { name: "more permits than there are", rule: Rule::Exclusion, besides: &[Rule::FenceOrder], forge: crowd },
    Forgery { name: "a fence twice", rule: Rule::FenceTwice, besides: &[Rule::FenceOrder], forge: repeat_fence },
    Forgery { name: "two fences swapped", rule: Rule::FenceOrder, besides: &[], forge: swap_fences },
    Forgery { name: "an answer missing", rule: Rule::OneAnswer, besides: &[], forge: drop_answer },
    Forgery { name: "an answer twice", rule: Rule::OneAnswer, besides: &[], forge: answer_twice },
    Forgery { name: "a grant nobody asked for", rule: Rule::OneAnswer, besides: &[], forge: unasked },
    Forgery { name: "an update lost", rule: Rule::LostUpdate, besides: &[], forge: lose_update },
    Forgery { name: "an old fence accepted", rule: Rule::Recording, besides: &[Rule::LostUpdate], forge: old_fence },
    Forgery { name: "a stranger releases", rule: Rule::Trespass, besides: &[Rule::Exclusion], forge: trespass },
    Forgery { name: "another life releases", rule: Rule::OldIncarnation, besides: &[Rule::Exclusion], forge: old_life },
    Forgery { name: "a lease left over", rule: Rule::Leftovers, besides: &[], forge: leave },
    Forgery { name: "time running backwards", rule: Rule::Recording, besides: &[], forge: turn_back },
];

/// Tells every lie about this history to the checker. Those that it believed, or mistook for another.
pub fn believed(history: &History) -> Vec<String> {
    FORGERIES.iter().filter_map(|forgery| forgery.is_believed(history)).collect()
}

impl Forgery {
    /// Why the checker is not to be believed about this lie, if it is not.
    fn is_believed(&self, history: &History) -> Option<String> {
        let Some(forged) = (self.forge)(history) else {
            return Some(format!("{}: nothing happened that it could be told of", self.name));
        };
        let found = check(&forged);
        let expected = |rule: Rule| rule == self.rule || self.besides.contains(&rule);
        let right = found.iter().any(|violation| violation.rule == self.rule)
            && found.iter().all(|violation| expected(violation.rule));
        (!right).then(|| format!("{}: {:?} is expected, found is {found:?}", self.name, self.rule))
    }
}

/// A lease that its client released, of which nothing else is told.
#[derive(Clone, Copy)]
struct Lease {
    of: Req,
    acquire: Acquire,
    deadline: At,
    fence: u64,
    /// Where its acquire, its grant, its release and that one's answer stand.
    asked: usize,
    granted: usize,
    released: usize,
    answered: usize,
}

/// All such leases, in the order of their grants.
fn leases(history: &History) -> Vec<Lease> {
    let mut asked = HashMap::new();
    let mut open: HashMap<Req, Lease> = HashMap::new();
    let mut releases = HashMap::new();
    let mut done = Vec::new();
    for (index, record) in history.records.iter().enumerate() {
        match record.event {
            Event::Sent { of, what: Sent::Acquire(acquire) } => {
                asked.insert(of, (index, acquire));
            }
            Event::Answered { of, answer: Answer::Granted { fence, deadline } } if deadline > record.at => {
                let (asked, acquire) = asked[&of];
                let lease =
                    Lease { of, acquire, deadline, fence, asked, granted: index, released: 0, answered: 0 };
                open.insert(of, lease);
            }
            Event::Sent { of, what: Sent::Release { lease } } => {
                releases.insert(of, (index, lease));
            }
            Event::Answered { of, answer: Answer::Released } => {
                let (released, lease) = releases[&of];
                if let Some(lease) = open.remove(&lease) {
                    done.push(Lease { released, answered: index, ..lease });
                }
            }
            // It would have to be told of in the lie as well.
            Event::Extended { lease, .. }
            | Event::LostSeen { lease }
            | Event::Sent { what: Sent::Renew { lease }, .. } => {
                open.remove(&lease);
            }
            _ => {}
        }
    }
    done.sort_by_key(|lease| lease.granted);
    done
}

/// Two exclusive leases of a key, one after the other with none between, the first of which could have lasted longer.
fn neighbours(history: &History) -> Option<(Lease, Lease)> {
    let (leases, grants) = (leases(history), grants(history));
    leases.iter().find_map(|first| {
        let later = |(index, key): &&(usize, u32)| *index > first.granted && *key == first.acquire.key;
        let (next, _) = grants.iter().find(later)?;
        let second = leases.iter().find(|lease| lease.granted == *next)?;
        let exclusive = |lease: &Lease| lease.acquire.units == u32::MAX;
        let lasts = first.deadline > history.records[*next].at && first.answered < *next;
        (exclusive(first) && exclusive(second) && lasts).then_some((*first, *second))
    })
}

/// Where all grants stand, and of which keys.
fn grants(history: &History) -> Vec<(usize, u32)> {
    let mut keys = HashMap::new();
    let mut grants = Vec::new();
    for (index, record) in history.records.iter().enumerate() {
        match record.event {
            Event::Sent { of, what: Sent::Acquire(acquire) } => {
                keys.insert(of, acquire.key);
            }
            Event::Answered { of, answer: Answer::Granted { .. } } => grants.push((index, keys[&of])),
            _ => {}
        }
    }
    grants
}

fn without(history: &History, indices: &[usize]) -> History {
    let kept = history.records.iter().enumerate().filter(|(index, _)| !indices.contains(index));
    History { bounds: history.bounds, records: kept.map(|(_, record)| *record).collect() }
}

fn overlap(history: &History) -> Option<History> {
    let (first, _) = neighbours(history)?;
    Some(without(history, &[first.released, first.answered]))
}

/// One keeps its permits, and a later one gets all there are.
fn crowd(history: &History) -> Option<History> {
    let leases = leases(history);
    let permits = |lease: &&Lease| lease.acquire.limit != u32::MAX;
    let (first, second) = leases.iter().filter(permits).find_map(|first| {
        let beside = |second: &&Lease| {
            second.acquire.key == first.acquire.key
                && second.granted > first.granted
                && history.records[second.granted].at < first.deadline
        };
        Some((first, leases.iter().find(beside)?))
    })?;
    let mut forged = history.clone();
    let acquire = Acquire { units: second.acquire.limit, ..second.acquire };
    forged.records[second.asked].event = Event::Sent { of: second.of, what: Sent::Acquire(acquire) };
    Some(without(&forged, &[first.released, first.answered]))
}

fn set_fence(history: &mut History, lease: &Lease, fence: u64) {
    let answer = Answer::Granted { fence, deadline: lease.deadline };
    history.records[lease.granted].event = Event::Answered { of: lease.of, answer };
}

fn repeat_fence(history: &History) -> Option<History> {
    let (first, second) = neighbours(history)?;
    let mut forged = history.clone();
    set_fence(&mut forged, &second, first.fence);
    Some(forged)
}

fn swap_fences(history: &History) -> Option<History> {
    let (first, second) = neighbours(history)?;
    let mut forged = history.clone();
    set_fence(&mut forged, &first, second.fence);
    set_fence(&mut forged, &second, first.fence);
    Some(forged)
}

fn drop_answer(history: &History) -> Option<History> {
    let lease = *leases(history).first()?;
    Some(without(history, &[lease.answered]))
}

fn answer_twice(history: &History) -> Option<History> {
    let lease = *leases(history).first()?;
    let mut forged = history.clone();
    forged.records.insert(lease.answered, history.records[lease.answered]);
    Some(forged)
}

fn unasked(history: &History) -> Option<History> {
    let lease = *leases(history).first()?;
    let mut forged = history.clone();
    let of = Req { request: unused(history, lease.of.session), ..lease.of };
    let answer = Answer::Granted { fence: 1, deadline: lease.deadline };
    let record = Record { event: Event::Answered { of, answer }, ..history.records[lease.granted] };
    forged.records.insert(lease.granted, record);
    Some(forged)
}

/// A number that no request of a session has.
fn unused(history: &History, session: u32) -> u32 {
    let numbers = history.records.iter().filter_map(|record| match record.event {
        Event::Sent { of, .. } if of.session == session => Some(of.request + 1),
        _ => None,
    });
    numbers.max().unwrap_or_default()
}

fn lose_update(history: &History) -> Option<History> {
    let mut forged = history.clone();
    let base = forged.records.iter_mut().find_map(|record| match &mut record.event {
        Event::Wrote { base, accepted: true, .. } if *base > 0 => Some(base),
        _ => None,
    })?;
    *base -= 1;
    Some(forged)
}

fn old_fence(history: &History) -> Option<History> {
    let mut forged = history.clone();
    let wrote = |event: &Event| matches!(event, Event::Wrote { accepted: true, base, .. } if *base > 0);
    let index = forged.records.iter().rposition(|record| wrote(&record.event))?;
    if let Event::Wrote { fence, .. } = &mut forged.records[index].event {
        *fence = 1;
    }
    Some(forged)
}

/// The release of a lease, sent by a session that satisfies `other` than the one that holds it.
fn released_by(history: &History, other: impl Fn(u32, u32) -> bool) -> Option<History> {
    let opened = |(index, record): (usize, &Record)| match record.event {
        Event::Opened { session, sidecar, .. } => Some((session, sidecar, index)),
        _ => None,
    };
    let sessions: Vec<(u32, u32, usize)> = history.records.iter().enumerate().filter_map(opened).collect();
    let (lease, stranger) = leases(history).into_iter().find_map(|lease| {
        let (_, own, _) = *sessions.iter().find(|(session, ..)| *session == lease.of.session)?;
        let fits = |(session, sidecar, opened): &&(u32, u32, usize)| {
            *session != lease.of.session && other(own, *sidecar) && *opened < lease.released
        };
        let (stranger, ..) = sessions.iter().find(fits)?;
        (!lease.acquire.timed).then_some((lease, *stranger))
    })?;
    let of = Req { session: stranger, request: unused(history, stranger) };
    let mut forged = history.clone();
    forged.records[lease.released].event = Event::Sent { of, what: Sent::Release { lease: lease.of } };
    forged.records[lease.answered].event = Event::Answered { of, answer: Answer::Released };
    Some(forged)
}

fn trespass(history: &History) -> Option<History> {
    released_by(history, |own, other| own == other)
}

fn old_life(history: &History) -> Option<History> {
    released_by(history, |own, other| own != other)
}

fn leave(history: &History) -> Option<History> {
    let mut forged = history.clone();
    match &mut forged.records.last_mut()?.event {
        Event::Rest(rest) => rest.leases = 1,
        _ => return None,
    }
    Some(forged)
}

/// By a nanosecond, and only of what a client sent: a grant that came sooner would really be an overlap.
fn turn_back(history: &History) -> Option<History> {
    let mut forged = history.clone();
    let middle = (history.records.len() / 2).max(1);
    let sent = |record: &Record| matches!(record.event, Event::Sent { .. });
    let turned = middle + history.records.get(middle..)?.iter().position(sent)?;
    forged.records[turned].at = At(history.records[turned - 1].at.0.checked_sub(1)?);
    Some(forged)
}
