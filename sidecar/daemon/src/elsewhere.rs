//! What other sidecars have of a key, and of whom: its record beside what they said when they were asked.
//!
//! Owns what follows from both. A sidecar's own word goes before the record's, which was looked at first: it may keep the
//! key at hand for nobody, or have passed it on since. Of one that said nothing the record is all that is known. Must not
//! know how any of that is shown.

use sidelock_engine::declaration::{Declaration, DeclaredHolder, DeclaredWaiter};
use sidelock_engine::store::{Peeked, PeekedEntry, PeekedTenure};
use sidelock_engine::survey::Survey;
use sidelock_engine::{Incarnation, Key, Mode, StoreTime};
use std::time::Duration;

/// Another sidecar that a key's record names.
pub(crate) struct Elsewhere<'a> {
    /// Which.
    pub(crate) sidecar: Incarnation,
    /// What it has, by the record.
    pub(crate) tenure: Option<&'a PeekedTenure>,
    /// Its place in the store's queue.
    pub(crate) entry: Option<&'a PeekedEntry>,
    /// What it said. `None`: nothing, in time.
    pub(crate) said: Option<&'a Declaration>,
    record: &'a Peeked,
}

/// One who holds a key at another sidecar.
pub(crate) enum Held<'a> {
    /// A client, and in which mode.
    By(Mode, &'a DeclaredHolder),
    /// Its sidecar did not say who: in which mode that has the key, and how long at least.
    Unknown(Mode, Duration),
}

/// One who waits at another sidecar.
pub(crate) enum Waits<'a> {
    /// A client, and for which mode.
    Who(Mode, &'a DeclaredWaiter),
    /// Its sidecar did not say who.
    Unknown(Mode),
}

/// The other sidecars that the record of this key names: who has it, then who waits for it in the store's order.
pub(crate) fn elsewhere<'a>(survey: &'a Survey, key: &Key) -> Vec<Elsewhere<'a>> {
    let Some(record) = survey.records.get(key) else { return Vec::new() };
    let mut found: Vec<Elsewhere<'a>> = Vec::new();
    let named = |id: Incarnation| (id != survey.sidecar).then_some(id);
    let said = |sidecar| survey.declarations.get(key).and_then(|said| said.get(&sidecar));
    for tenure in &record.tenures {
        found.extend(named(tenure.id.incarnation).map(|sidecar| Elsewhere {
            sidecar,
            tenure: Some(tenure),
            entry: None,
            said: said(sidecar),
            record,
        }));
    }
    for entry in &record.queue {
        let Some(sidecar) = named(entry.id.incarnation) else { continue };
        match found.iter_mut().find(|other| other.sidecar == sidecar) {
            Some(other) => other.entry = Some(entry),
            None => found.push(Elsewhere {
                sidecar,
                tenure: None,
                entry: Some(entry),
                said: said(sidecar),
                record,
            }),
        }
    }
    found
}

impl<'a> Elsewhere<'a> {
    /// Who holds the key there, oldest first.
    pub(crate) fn holders(&self) -> Vec<Held<'a>> {
        match (self.said, self.tenure) {
            (Some(declaration), _) => {
                declaration.holders.iter().map(|one| Held::By(declaration.mode(one.who.units), one)).collect()
            }
            (None, Some(held)) => {
                vec![Held::Unknown(Mode::of(self.record.limit, held.units), held.remaining)]
            }
            (None, None) => Vec::new(),
        }
    }

    /// Who waits for it there, in the order of grant.
    pub(crate) fn waiters(&self) -> Vec<Waits<'a>> {
        match (self.said, self.entry) {
            (Some(declaration), _) => declaration
                .waiters
                .iter()
                .map(|one| Waits::Who(declaration.mode(one.who.units), one))
                .collect(),
            (None, Some(entry)) => vec![Waits::Unknown(Mode::of(self.record.limit, entry.units))],
            (None, None) => Vec::new(),
        }
    }
}

/// How long ago that was.
pub(crate) fn ago(now: StoreTime, then: StoreTime) -> Duration {
    Duration::from_micros(now.0.saturating_sub(then.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::declaration::Party;
    use sidelock_engine::{AskId, WHOLE};
    use std::collections::BTreeMap;

    const ME: Incarnation = Incarnation(1);

    fn id(sidecar: u128) -> AskId {
        AskId { incarnation: Incarnation(sidecar), seq: 1 }
    }

    /// A look at a key whose record names these as holders and as waiting, of whom some said something.
    fn survey(holders: &[u128], queue: &[u128], said: &[(u128, Declaration)]) -> (Key, Survey) {
        let key = Key::new("k").expect("is a key");
        let remaining = Duration::from_secs(9);
        let tenures = holders.iter().map(|one| PeekedTenure { id: id(*one), units: WHOLE, remaining });
        let queue = queue.iter().map(|one| PeekedEntry { id: id(*one), units: WHOLE, offered: false });
        let record = Peeked { limit: WHOLE, tenures: tenures.collect(), queue: queue.collect() };
        let said = said.iter().map(|(one, declaration)| (Incarnation(*one), declaration.clone())).collect();
        let survey = Survey {
            sidecar: ME,
            at: StoreTime(0),
            boards: BTreeMap::new(),
            records: BTreeMap::from([(key.clone(), record)]),
            edges: Vec::new(),
            declarations: BTreeMap::from([(key.clone(), said)]),
            store_away: false,
        };
        (key, survey)
    }

    fn held_by(app: &str) -> Declaration {
        let since = StoreTime(0);
        let who = Party { app: app.into(), uid: 1000, owner: None, units: WHOLE, since };
        let (reserved, upgrades, reference) = (false, false, None);
        let holder = DeclaredHolder { who, reserved, upgrades, reference, fence: 7, until: since };
        Declaration { holders: vec![holder], ..Declaration::default() }
    }

    /// Each sidecar, its holders and how many wait there.
    fn shown(survey: &Survey, key: &Key) -> Vec<(u128, Vec<String>, usize)> {
        let name = |held: &Held<'_>| match held {
            Held::By(Mode::Exclusive, holder) => holder.who.app.to_string(),
            Held::Unknown(Mode::Exclusive, _) => "unknown".to_owned(),
            _ => panic!("another mode"),
        };
        let row = |other: &Elsewhere<'_>| {
            (other.sidecar.0, other.holders().iter().map(name).collect(), other.waiters().len())
        };
        elsewhere(survey, key).iter().map(row).collect()
    }

    #[test]
    fn each_sidecar_but_this_one_is_there_once_and_silence_is_not_left_out() {
        let (key, survey) = survey(&[1, 2], &[2, 3, 1, 4], &[(4, Declaration::default())]);
        let unknown = vec!["unknown".to_owned()];
        assert_eq!(shown(&survey, &key), [(2, unknown, 1), (3, vec![], 1), (4, vec![], 0)]);
        assert!(shown(&survey, &Key::new("other").expect("is a key")).is_empty());
    }

    /// The record was looked at first: by the time they are asked, the key may have passed from one to the other.
    #[test]
    fn what_a_sidecar_says_itself_goes_before_the_record() {
        let (key, survey) = survey(&[2], &[3], &[(2, Declaration::default()), (3, held_by("billing"))]);
        assert_eq!(shown(&survey, &key), [(2, vec![], 0), (3, vec!["billing".to_owned()], 0)]);
    }
}
