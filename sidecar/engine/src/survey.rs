//! A look at the fleet for people: who waits for whom, at which sidecar.
//!
//! Owns what is shown of it. Read-only but for the looks themselves, which are a round's. What a sidecar did not say is
//! not there, and that it did not say anything can be seen: its record names it, and there is no board, or no declaration.

use crate::board::Board;
use crate::declaration::Declaration;
use crate::effect::Effect;
use crate::engine::Engine;
use crate::fleet_graph::Look;
use crate::model::{Incarnation, Key, StoreTime, Time};
use crate::patrol::HOPS_MAX;
use crate::store::Peeked;
use std::collections::{BTreeMap, BTreeSet};

/// Where a look begins, and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Around {
    /// Whatever owners of this sidecar wait for, and on from there.
    Waits,
    /// This key, and on from there. The other sidecars that its record names are asked who has it there, or waits.
    Key(Key),
    /// This key, and nothing beyond it: its record is looked at, and those that it names are asked.
    Alone(Key),
    /// These keys, whose records were looked at already: those that they name are asked.
    Listed(BTreeMap<Key, Peeked>),
}

/// What sidecars said of the keys that they were asked about.
pub type Declarations = BTreeMap<Key, BTreeMap<Incarnation, Declaration>>;

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
    /// The keys that sidecars were asked about, and what they said of them in time, this one among them. Of others that a
    /// record names nothing is known.
    pub declarations: Declarations,
    /// The store was away when the look ended: what others hold and wait for may be missing.
    pub store_away: bool,
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
    pub(crate) about: Vec<Key>,
}

impl Engine {
    /// Somebody wants to see who holds a key and who waits for whom.
    pub(crate) fn survey(&mut self, now: Time, ticket: u64, around: Around) {
        let at = self.link.store_time(now);
        match around {
            Around::Waits => {
                let board = self.compose_board(now);
                let from = board.lines.iter().map(|line| line.key.clone()).collect();
                let look = self.look_with(now, board);
                self.set_out(now, look, from, HOPS_MAX, Person { ticket, about: Vec::new() });
            }
            Around::Key(key) => {
                let board = self.compose_board(now);
                let look = self.look_with(now, board);
                let about = vec![key.clone()];
                self.set_out(now, look, BTreeSet::from([key]), HOPS_MAX, Person { ticket, about });
            }
            Around::Alone(key) => {
                // With no board to begin with, one hop leads to this record only.
                let (look, about) = (Look { at, ..Look::default() }, vec![key.clone()]);
                self.set_out(now, look, BTreeSet::from([key]), 1, Person { ticket, about });
            }
            Around::Listed(records) => {
                let about = records.keys().cloned().collect();
                self.inquire_around(now, ticket, Look { at, records, ..Look::default() }, about);
            }
        }
    }

    /// A store with one sidecar knows nothing that this one does not; one that is away says nothing.
    fn set_out(&mut self, now: Time, look: Look, from: BTreeSet<Key>, hops: u32, person: Person) {
        match self.config.shares_its_store() && self.link.is_up() {
            true => self.begin_walk(now, look, from, hops, Some(person)),
            false => self.walked(now, person, look),
        }
    }

    /// A person's walk is over.
    pub(crate) fn walked(&mut self, now: Time, person: Person, look: Look) {
        match person.about.is_empty() {
            true => self.surveyed(now, person.ticket, look, Declarations::new()),
            false => self.inquire_around(now, person.ticket, look, person.about),
        }
    }

    pub(crate) fn surveyed(&mut self, now: Time, ticket: u64, look: Look, mut declarations: Declarations) {
        let me = self.config.incarnation;
        for (key, said) in &mut declarations {
            said.insert(me, self.compose_declaration(now, key));
        }
        let edges = look.edges();
        let Look { boards, records, at } = look;
        let store_away = self.config.shares_its_store() && !self.link.is_up();
        let survey = Box::new(Survey { sidecar: me, at, boards, records, edges, declarations, store_away });
        self.effects.push_back(Effect::Surveyed { ticket, survey });
    }
}
