//! Finding deadlocks across sidecars (P15): whoever could be the victim of one goes and looks.
//!
//! Owns the rounds: when one begins, what it looks at, and that what it found stood at one instant. Must not know how a
//! graph is made of that. Nothing here waits for a push, and no two sidecars need to agree: the victim is the same for
//! all who see the deadlock, and only its own sidecar tells it. That one has an owner that holds and waits, the victim, and
//! one that waits at the store; so it makes rounds.

use crate::board::{Board, Line, board_key};
use crate::cycle::Cycle;
use crate::effect::Refusal;
use crate::engine::Engine;
use crate::fleet_graph::{FleetKnot, Look};
use crate::model::{Incarnation, Key, Time};
use crate::mutant::Mutant;
use crate::publish::{BOARD_AFTER, BOARD_EVERY, Publication};
use crate::store::{CallId, Op, Outcome, Peeked, Reply};
use crate::survey::Person;
use crate::timers::Timer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// An owner that waits at the store for so long makes its sidecar look, and again after as much.
const ROUND_EVERY: Duration = Duration::from_millis(500);
/// Rounds of several sidecars are spread by as much.
const JITTER_MS: u128 = 64;
/// A round asks so many times at most for what the last answers named.
pub(crate) const HOPS_MAX: u32 = 16;
/// Records and boards that a round looks at. Beyond it, it misses deadlocks.
const LOOKED_AT_MAX: usize = 128;
/// Keys that a round begins with: half, so that there is room for what they lead to. Of more, rounds take turns.
const BEGUN_WITH_MAX: usize = LOOKED_AT_MAX / 2;
/// Rounds under way: one that walks, others that make sure of what they found.
const ROUNDS_MAX: usize = 4;
/// A board that is not there yet is looked for again after this long …
const CONFIRM_EVERY: Duration = Duration::from_millis(50);
/// … until so long after the first time.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);
/// Boards that have not come after this long are of a sidecar that is stopped, or away.
const OVERDUE: Duration = Duration::from_millis(600);

/// What a sidecar does to find deadlocks.
pub(crate) struct Patrol {
    pub(crate) publication: Publication,
    rounds: Vec<Round>,
    /// When the next round begins; `MAX` while nobody waits.
    round_at: Time,
    last_round: u64,
    calls: BTreeMap<CallId, (u64, Asked)>,
    armed: Time,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Board(Incarnation),
    Record(Key),
}

/// One round.
struct Round {
    number: u64,
    stage: Stage,
    /// What this stage has seen.
    look: Look,
    asked: BTreeSet<Asked>,
    unanswered: usize,
    /// When it goes on by itself; `MAX` while it waits for answers.
    due: Time,
}

enum Stage {
    /// From record to board to record; for a person, if there is one.
    Walk { from: BTreeSet<Key>, hops_left: u32, person: Option<Person> },
    /// All that there is to see was seen; now the versions of the boards are.
    Mark(Suspicion),
    /// Waiting for boards of at least these versions: those were composed after that.
    Confirm { suspicion: Suspicion, least: BTreeMap<Incarnation, u64>, until: Time },
}

/// What a walk found.
struct Suspicion {
    seen: Look,
    sidecars: BTreeSet<Incarnation>,
    keys: BTreeSet<Key>,
    victims: BTreeSet<u64>,
    /// Of those, who is told only if a board stays away for too long: with it, somebody else is enough.
    spare: BTreeSet<u64>,
}

impl Default for Patrol {
    fn default() -> Patrol {
        Patrol {
            publication: Publication::default(),
            rounds: Vec::new(),
            round_at: Time::MAX,
            last_round: 0,
            calls: BTreeMap::new(),
            armed: Time::MAX,
        }
    }
}

impl Engine {
    /// An owner waits. Where there are other sidecars it may wait for one of theirs.
    pub(crate) fn patrol_for_owners(&mut self, now: Time) {
        if !self.config.shares_its_store() {
            return;
        }
        let patrol = &mut self.patrol;
        patrol.publication.due = patrol.publication.due.min(now + BOARD_AFTER);
        patrol.round_at = patrol.round_at.min(now + ROUND_EVERY);
        self.arm_patrol();
    }

    fn arm_patrol(&mut self) {
        let patrol = &mut self.patrol;
        let rounds = patrol.rounds.iter().map(|round| round.due).min().unwrap_or(Time::MAX);
        let due = patrol.publication.due.min(patrol.round_at).min(rounds);
        if due != patrol.armed {
            self.timers.disarm(patrol.armed, Timer::Patrol);
            self.timers.arm(due, Timer::Patrol);
            patrol.armed = due;
        }
    }

    /// The patrol's timer fired.
    pub(crate) fn patrol_due(&mut self, now: Time) {
        self.patrol.armed = Time::MAX;
        if self.patrol.publication.due <= now {
            self.publish_board(now);
        }
        if self.patrol.round_at <= now {
            self.begin_round(now);
        }
        let due: Vec<u64> =
            self.patrol.rounds.iter().filter(|round| round.due <= now).map(|round| round.number).collect();
        for round in due {
            self.look_for_proof(now, round);
        }
        self.arm_patrol();
    }

    /// An answer from the store that is about owners.
    pub(crate) fn patrol_answered(&mut self, now: Time, call: CallId, outcome: Outcome) {
        if !self.board_answered(call, &outcome)
            && let Some((number, asked)) = self.patrol.calls.remove(&call)
        {
            if let (Asked::Record(key), Outcome::Applied { reply: Reply::Record(record), .. }) =
                (&asked, &outcome)
            {
                self.learn_from_record(now, key, record);
            }
            self.round_answered(now, number, asked, outcome);
        }
        self.arm_patrol();
    }

    fn round_answered(&mut self, now: Time, number: u64, asked: Asked, outcome: Outcome) {
        let Some(round) = self.patrol.rounds.iter_mut().find(|round| round.number == number) else { return };
        round.unanswered -= 1;
        match (asked, outcome) {
            (Asked::Board(sidecar), Outcome::Applied { reply: Reply::Board(Some(body)), .. }) => {
                round.look.boards.extend(Board::decode(&body).map(|board| (sidecar, board)));
            }
            (Asked::Record(key), Outcome::Applied { reply: Reply::Record(record), .. }) => {
                round.look.records.insert(key, record);
            }
            // Whatever it was, it is not seen.
            _ => {}
        }
        if round.unanswered == 0 {
            self.go_on(now, number);
        }
    }

    /// That others wait for a key of ours may be news, where pushes are lost.
    fn learn_from_record(&mut self, now: Time, key: &Key, record: &Peeked) {
        let me = self.config.incarnation;
        let others_wait = record.queue.iter().any(|entry| entry.id.incarnation != me && !entry.offered);
        if let Some(resource) = self.resource_of(key).filter(|_| others_wait) {
            self.learn_interest(now, resource);
            self.serve(now, resource);
        }
    }

    fn begin_round(&mut self, now: Time) {
        let jitter = Duration::from_millis((self.config.incarnation.0 % JITTER_MS) as u64);
        let every = ROUND_EVERY - jitter;
        self.patrol.round_at = self.next_look(now, every, every);
        // Those for people do not count: however many look, somebody looks for deadlocks.
        let is_for_people = |round: &Round| matches!(round.stage, Stage::Walk { person: Some(_), .. });
        let rounds = || self.patrol.rounds.iter().filter(|&round| !is_for_people(round));
        if rounds().any(|round| matches!(round.stage, Stage::Walk { .. }))
            || rounds().count() >= ROUNDS_MAX
            || self.owners.entangled() == 0
            || !self.link.is_up()
            || !self.has_waited_at_the_store(now, every)
            || Mutant::DeadlocksIgnored.is(self.config.mutant)
        {
            return;
        }
        let board = self.compose_board(now);
        // A ring goes through those who hold something; a crowd of others may wait for as long as it likes.
        let holds = |line: &&Line| line.waits.iter().any(|wait| !wait.holds.is_empty());
        let stuck: Vec<&Key> = board.lines.iter().filter(holds).map(|line| &line.key).collect();
        let skipped = self.patrol.last_round as usize * BEGUN_WITH_MAX % stuck.len().max(1);
        let turn = stuck.iter().cycle().skip(skipped).take(stuck.len().min(BEGUN_WITH_MAX));
        let from = turn.map(|&key| key.clone()).collect();
        let look = self.look_with(now, board);
        self.begin_walk(now, look, from, HOPS_MAX, None);
    }

    pub(crate) fn begin_walk(
        &mut self,
        now: Time,
        look: Look,
        from: BTreeSet<Key>,
        hops_left: u32,
        person: Option<Person>,
    ) {
        self.patrol.last_round += 1;
        let number = self.patrol.last_round;
        let stage = Stage::Walk { from, hops_left, person };
        let round = Round { number, stage, look, asked: BTreeSet::new(), unanswered: 0, due: Time::MAX };
        self.patrol.rounds.push(round);
        self.go_on(now, number);
    }

    pub(crate) fn look_with(&self, now: Time, own: Board) -> Look {
        let boards = BTreeMap::from([(self.config.incarnation, own)]);
        Look { boards, records: BTreeMap::new(), at: self.link.store_time(now) }
    }

    /// All that was asked in a round is answered.
    fn go_on(&mut self, now: Time, number: u64) {
        let Some(index) = self.patrol.rounds.iter().position(|round| round.number == number) else { return };
        let round = self.patrol.rounds.swap_remove(index);
        match round.stage {
            Stage::Walk { .. } => self.walk_on(now, round),
            Stage::Mark(suspicion) => {
                let boards = round.look.boards.iter().map(|(sidecar, board)| (*sidecar, board.version + 2));
                let (least, until) = (boards.collect(), now + CONFIRM_WITHIN);
                let stage = Stage::Confirm { suspicion, least, until };
                self.patrol.rounds.push(Round { stage, due: now + BOARD_EVERY, ..round });
            }
            Stage::Confirm { suspicion, least, until } => {
                let mut later = round.look;
                later
                    .boards
                    .retain(|sidecar, board| least.get(sidecar).is_some_and(|least| board.version >= *least));
                let all = later.boards.len() == least.len();
                let is_overdue = now + CONFIRM_WITHIN >= until + OVERDUE;
                self.conclude(now, &suspicion, later, is_overdue);
                if !all && now < until {
                    let stage = Stage::Confirm { suspicion, least, until };
                    let due = now + CONFIRM_EVERY;
                    self.patrol.rounds.push(Round { stage, due, look: Look::default(), ..round });
                }
            }
        }
    }

    /// Asks for what the last answers named, until there is nothing new.
    fn walk_on(&mut self, now: Time, mut round: Round) {
        let Stage::Walk { from, hops_left, person } = &mut round.stage else { return };
        let me = self.config.incarnation;
        let keys = round.look.keys_to_see(from.iter().cloned()).into_iter().map(Asked::Record);
        let sidecars = round.look.sidecars_to_see().into_iter().filter(|sidecar| *sidecar != me);
        // Boards first: without them records lead nowhere.
        let wanted = sidecars.map(Asked::Board).chain(keys).filter(|asked| !round.asked.contains(asked));
        let room = LOOKED_AT_MAX.saturating_sub(round.asked.len());
        let wanted: Vec<Asked> = wanted.take(room).collect();
        if !wanted.is_empty() && *hops_left > 0 {
            *hops_left -= 1;
            return self.ask_for(now, round, wanted);
        }
        if let Some(person) = person.take() {
            return self.walked(now, person, round.look);
        }
        self.suspect(now, round);
    }

    /// A walk is over: those of its victims that are ours are told once it is sure that they are.
    fn suspect(&mut self, now: Time, mut round: Round) {
        let me = self.config.incarnation;
        let knots = round.look.knots(self.config.mutant);
        let spare = self.spare_knots(&round.look, &knots);
        let mut mine: Vec<FleetKnot> = knots.into_iter().filter(|knot| knot.victim.0 == me).collect();
        if Mutant::BoardsUnverified.is(self.config.mutant) {
            return mine.into_iter().for_each(|knot| self.tell_victim(now, knot.victim.1, knot.cycle));
        }
        let named = |knots: &[FleetKnot]| knots.iter().map(|knot| knot.victim.1).collect::<BTreeSet<u64>>();
        let first = named(&mine);
        mine.extend(spare);
        let victims = named(&mine);
        let spare = victims.difference(&first).copied().collect();
        let others = mine.iter().flat_map(|knot| knot.sidecars.iter().copied());
        let sidecars: BTreeSet<Incarnation> = others.filter(|sidecar| *sidecar != me).collect();
        if victims.iter().all(|victim| self.is_suspected(*victim, &sidecars)) {
            return;
        }
        let keys = mine.iter().flat_map(|knot| knot.keys.iter().cloned()).collect();
        let wanted: Vec<Asked> = sidecars.iter().copied().map(Asked::Board).collect();
        let seen = std::mem::take(&mut round.look);
        round.stage = Stage::Mark(Suspicion { seen, sidecars, keys, victims, spare });
        self.ask_for(now, round, wanted);
    }

    /// Deadlocks with a victim of ours that are left if one of the other sidecars is not there: should it be stopped, nobody
    /// can make sure of those that it is in, and they hide what does not need it. Its board is waited for nonetheless.
    fn spare_knots(&self, look: &Look, knots: &[FleetKnot]) -> Vec<FleetKnot> {
        let me = self.config.incarnation;
        let others: BTreeSet<Incarnation> = knots.iter().flat_map(|knot| knot.sidecars.clone()).collect();
        let without = others.into_iter().filter(|sidecar| *sidecar != me).flat_map(|sidecar| {
            let mut rest = look.clone();
            rest.boards.remove(&sidecar);
            let mut left = rest.knots(self.config.mutant);
            for knot in &mut left {
                knot.sidecars.insert(sidecar);
            }
            left
        });
        without.filter(|knot| knot.victim.0 == me).collect()
    }

    /// A round makes sure of this victim already, and needs no other sidecars for it: of those one may have died since.
    fn is_suspected(&self, victim: u64, sidecars: &BTreeSet<Incarnation>) -> bool {
        self.patrol.rounds.iter().any(|round| match &round.stage {
            Stage::Walk { .. } => false,
            Stage::Mark(suspicion) | Stage::Confirm { suspicion, .. } => {
                suspicion.victims.contains(&victim) && suspicion.sidecars.is_subset(sidecars)
            }
        })
    }

    /// It is time for the boards that prove or disprove what a walk found.
    fn look_for_proof(&mut self, now: Time, number: u64) {
        let Some(index) = self.patrol.rounds.iter().position(|round| round.number == number) else { return };
        let mut round = self.patrol.rounds.swap_remove(index);
        let Stage::Confirm { suspicion, .. } = &round.stage else { return };
        let boards = suspicion.sidecars.iter().copied().map(Asked::Board);
        let wanted: Vec<Asked> = boards.chain(suspicion.keys.iter().cloned().map(Asked::Record)).collect();
        round.look = Look::default();
        self.ask_for(now, round, wanted);
    }

    fn ask_for(&mut self, now: Time, mut round: Round, wanted: Vec<Asked>) {
        round.due = Time::MAX;
        round.unanswered = wanted.len();
        let number = round.number;
        for asked in wanted {
            let op = match &asked {
                Asked::Board(sidecar) => Op::ReadBoard { board: board_key(*sidecar) },
                Asked::Record(key) => Op::Peek { key: key.clone() },
            };
            let call = self.send_for_patrol(now, op);
            round.asked.insert(asked.clone());
            self.patrol.calls.insert(call, (number, asked));
        }
        let nothing = round.unanswered == 0;
        self.patrol.rounds.push(round);
        if nothing {
            self.go_on(now, number);
        }
    }

    /// Boards that were composed after everything was seen are there: what is on both stood at one instant. Victims of ours
    /// that still wait are told.
    fn conclude(&mut self, now: Time, suspicion: &Suspicion, mut later: Look, is_overdue: bool) {
        let own = self.look_with(now, self.compose_board(now));
        later.boards.extend(own.boards);
        later.at = own.at;
        for knot in suspicion.seen.standing(&later).knots(self.config.mutant) {
            let (sidecar, wait) = knot.victim;
            if sidecar == self.config.incarnation && (is_overdue || !suspicion.spare.contains(&wait)) {
                self.tell_victim(now, wait, knot.cycle);
            }
        }
    }

    fn tell_victim(&mut self, now: Time, wait: u64, cycle: Cycle) {
        let waiters = self.owners.waiting().filter_map(|owner| self.waiter_of(owner));
        let victim = waiters.into_iter().find(|&waiter| self.waiters[waiter].place.arrival == wait);
        if let Some(victim) = victim {
            let resource = self.waiters[victim].resource;
            self.refuse_waiter(now, victim, Refusal::Deadlock(Arc::new(cycle)));
            self.serve(now, resource);
        }
    }
}
