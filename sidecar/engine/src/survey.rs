//! A look at the fleet for people: who waits for whom, at which sidecar.
//!
//! Owns what is shown of it. Read-only but for the looks themselves, which are a round's. What a sidecar did not say is
//! not there, and that it did not say anything can be seen: its record names it, and there is no board, or no stand.

use crate::board::Board;
use crate::effect::Effect;
use crate::engine::Engine;
use crate::fleet_graph::Look;
use crate::model::{Incarnation, Key, StoreTime, Time};
use crate::patrol::HOPS_MAX;
use crate::stand::Stand;
use crate::store::Peeked;
use std::collections::{BTreeMap, BTreeSet};

/// Where a look begins, and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Around {
    /// Whatever owners of this sidecar wait for, and on from there.
    Waits,
    /// This key, and on from there. The other sidecars that its record names are asked who has it there, or waits.
    Key(Key),
    /// What the store knows of this key, and nothing else: one look at its record.
    Record(Key),
}

/// A part of the fleet, as far as one look showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// Who looked.
    pub sidecar: Incarnation,
    /// The store's clock then.
    pub at: StoreTime,
    /// What sidecars wrote down: their named owners that wait.
    pub boards: BTreeMap<Incarnation, Board>,
    /// What the store knows.
    pub records: BTreeMap<Key, Peeked>,
    /// Who waits for whom.
    pub edges: Vec<SurveyEdge>,
    /// The key that sidecars were asked about.
    pub key: Option<Key>,
    /// What they said of it in time, this one among them. Of the others that its record names nothing is known.
    pub stands: BTreeMap<Incarnation, Stand>,
}

/// An owner waits for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyEdge {
    /// Who waits: its sidecar, and [`crate::board::BoardWait::wait`] there.
    pub from: (Incarnation, u64),
    /// For whom.
    pub to: (Incarnation, u64),
    /// For which key.
    pub key: Key,
    /// The other does not hold it, but waits ahead.
    pub ahead: bool,
}

/// A person who looks.
pub(crate) struct Person {
    pub(crate) ticket: u64,
    /// What to ask other sidecars about.
    pub(crate) about: Option<Key>,
}

impl Engine {
    /// Somebody wants to see who holds a key and who waits for whom.
    pub(crate) fn survey(&mut self, now: Time, ticket: u64, around: Around) {
        let board = self.compose_board(now);
        let (from, about): (BTreeSet<Key>, Option<Key>) = match around {
            Around::Waits => (board.lines.iter().map(|line| line.key.clone()).collect(), None),
            Around::Key(key) => (BTreeSet::from([key.clone()]), Some(key)),
            Around::Record(key) => {
                // With no board to begin with, one hop leads to this record only.
                let look = Look { at: self.link.store_time(now), ..Look::default() };
                return self.set_out(now, look, BTreeSet::from([key]), 1, Person { ticket, about: None });
            }
        };
        let look = self.look_with(now, board);
        self.set_out(now, look, from, HOPS_MAX, Person { ticket, about });
    }

    /// A store with one sidecar knows nothing that this one does not; one that is away says nothing.
    fn set_out(&mut self, now: Time, look: Look, from: BTreeSet<Key>, hops: u32, person: Person) {
        match self.config.contact_every.is_some() && self.link.is_up() {
            true => self.begin_walk(now, look, from, hops, Some(person)),
            false => self.surveyed(person.ticket, look, None, BTreeMap::new()),
        }
    }

    /// A person's walk is over.
    pub(crate) fn walked(&mut self, now: Time, person: Person, look: Look) {
        match person.about {
            Some(key) => self.inquire(now, person.ticket, key, look),
            None => self.surveyed(person.ticket, look, None, BTreeMap::new()),
        }
    }

    pub(crate) fn surveyed(
        &mut self,
        ticket: u64,
        look: Look,
        key: Option<Key>,
        stands: BTreeMap<Incarnation, Stand>,
    ) {
        let edges = look.edges();
        let Look { boards, records, at } = look;
        let survey =
            Box::new(Survey { sidecar: self.config.incarnation, at, boards, records, edges, key, stands });
        self.effects.push_back(Effect::Surveyed { ticket, survey });
    }
}
