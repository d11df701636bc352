//! What a seed draws before its world begins: sizes, habits and faults.
//!
//! Owns the distributions. A swarm: every seed switches each kind of fault on or off, so that some worlds know only one
//! trouble and others all of them; and call faults come in storms, so that bounds on time can be judged in between.

use super::clients::TASKS;
use super::dice::Dice;
use super::hosts::number;
use super::tangle::Tangle;
use super::turns;
use crate::checker::history::{At, Bounds};
use sidelock_engine::{Space, Window};
use sidelock_store::strict::Terms;
use std::time::Duration;

/// How long the first phase lasts: safety under faults.
const FAULTY: Duration = Duration::from_secs(60);
/// How long clients go on asking in a healed world.
const HEALED: Duration = Duration::from_secs(2);
/// By then, after that, everybody must have been served who waits for no rate and for no quarantine.
const PROGRESS_MAX: Duration = Duration::from_secs(45);
/// Who waits for a rate may hear of its turn so late after its unit came back, with every push lost (L1).
const UNHEARD_MAX: Duration = Duration::from_secs(1);

/// Units of a rate come back after so long at most, divided among the clients, so that worlds end.
const PERS: Duration = Duration::from_secs(24);

/// What a key is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyKind {
    /// A lock; so likely is an acquire of it shared.
    Lock {
        /// 0 to 1.
        shared: f64,
    },
    /// A semaphore of so many units.
    Semaphore {
        /// Units.
        limit: u32,
        /// Most take them as those of a rate: they come back so long after the grant.
        per: Option<Duration>,
    },
    /// Something that is done once per such a window.
    Once(Window),
}

impl KeyKind {
    /// How long units of a rate stay spent.
    fn per(&self) -> Option<Duration> {
        match self {
            KeyKind::Semaphore { per, .. } => *per,
            _ => None,
        }
    }

    fn forget_rate(&mut self) {
        if let KeyKind::Semaphore { per, .. } = self {
            *per = None;
        }
    }

    /// The space of such a key.
    pub(crate) fn space(self) -> Space {
        match self {
            KeyKind::Once(_) => Space::Once,
            KeyKind::Lock { .. } | KeyKind::Semaphore { .. } => Space::Lock,
        }
    }
}

/// What clients like to do; each a probability per lease or request.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) think: Duration,
    pub(crate) hold: Duration,
    pub(crate) tries: f64,
    /// Asks for several keys at once.
    pub(crate) several: f64,
    pub(crate) patient: f64,
    pub(crate) cancels: f64,
    pub(crate) timed: f64,
    pub(crate) ttl: f64,
    pub(crate) max_hold: f64,
    /// Says another limit of a semaphore than others do.
    pub(crate) other_limit: f64,
    pub(crate) priority: f64,
    pub(crate) overstays: f64,
    pub(crate) renews: f64,
    pub(crate) upgrades: f64,
    pub(crate) downgrades: f64,
    pub(crate) replays: f64,
    pub(crate) trespasses: f64,
    /// Clients use registers; so likely is it that they do under an exclusive lease.
    pub(crate) counts: f64,
    pub(crate) dies: f64,
    pub(crate) pings: bool,
}

/// What can go wrong on the way to the store, during storms; each a probability per pipeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallFaults {
    pub(crate) request_lost: f64,
    pub(crate) reply_lost: f64,
    pub(crate) late: f64,
    pub(crate) twice: f64,
    pub(crate) unready: f64,
    /// The connection breaks in the middle of it.
    pub(crate) cut: f64,
    /// A faulty pipeline takes its whole connection with it.
    pub(crate) breaks_connection: f64,
}

/// A trouble of the whole world or of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A sidecar dies and comes back as a new incarnation.
    Crash,
    /// A sidecar drains, then dies and comes back.
    Drain,
    /// A sidecar is stopped for a while.
    Pause,
    /// A sidecar and its clients are stopped for a while, the clock goes on.
    Suspend,
    /// A sidecar and its clients are stopped for a while, and their clock with them.
    Freeze,
    /// The host's wall clock jumps.
    WallStep,
    /// The connection to the store breaks.
    Disconnect,
    /// A client is stopped for a while.
    ClientPause,
    /// A sidecar closes a client's connection.
    CutOff,
    /// The store is away for a while, for everybody.
    StoreAway,
    /// The store has no memory left for a while.
    Full,
    /// The store forgets a key.
    Evict,
    /// The store forgets everything.
    Flush,
    /// The store's clock jumps ahead.
    StoreClockAhead,
    /// The store's clock jumps back.
    StoreClockBack,
    /// All clients of a key hammer it for a while.
    Burst,
    /// An operator takes a key from its holders.
    Force,
    /// A replica that lacks the last writes takes the primary's place.
    Failover,
}

/// A seed's world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) hosts: usize,
    pub(crate) clients: usize,
    pub(crate) keys: Vec<KeyKind>,
    pub(crate) habits: Habits,
    pub(crate) one_way: Duration,
    pub(crate) jitter: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) calls: CallFaults,
    /// When call faults happen.
    pub(crate) storms: Vec<(At, At)>,
    pub(crate) push_lost: f64,
    pub(crate) push_late: f64,
    pub(crate) push_twice: f64,
    pub(crate) late_timers: bool,
    pub(crate) troubles: Vec<(At, Trouble)>,
    /// How long things go wrong …
    pub(crate) faulty: Duration,
    /// … and how long clients go on asking when nothing does.
    pub(crate) healed: Duration,
    /// Owners who hold one key and want the next, instead of tasks that hold one at a time.
    pub(crate) tangle: Option<Tangle>,
    /// The store is strict.
    pub(crate) strict: Option<Terms>,
    pub(crate) bounds: Bounds,
}

impl Plan {
    pub(crate) fn draw(dice: &mut Dice) -> Plan {
        let hosts = dice.one_of(&[1, 2, 2, 2, 3, 3, 4, 5]);
        let clients = hosts * dice.one_of(&[2, 2, 3, 3, 4, 6, 8]);
        let count = dice.one_of(&[1, 1, 2, 2, 3, 4, 6, 8]);
        let mut keys: Vec<KeyKind> =
            (0..count).map(|_| key(dice, PERS / u32::try_from(clients).expect("few"))).collect();
        if hosts == 1 {
            // Rates are counted by one clock there, and here the store has its own.
            keys.iter_mut().for_each(KeyKind::forget_rate);
        }
        let habits = habits(dice, clients);
        let slow = dice.chance(0.2);
        let one_way = match slow {
            true => dice.span(Duration::from_millis(1), Duration::from_millis(5)),
            false => dice.span(Duration::from_micros(50), Duration::from_micros(400)),
        };
        let troubles = troubles(dice);
        let push_faults = dice.chance(0.6);
        let mut plan = Plan {
            hosts,
            clients,
            keys,
            habits,
            one_way,
            jitter: one_way,
            call_timeout: dice.span(Duration::from_millis(300), Duration::from_secs(2)),
            calls: call_faults(dice),
            storms: Vec::new(),
            push_lost: if push_faults { dice.one_of(&[0.0, 0.1, 0.5, 1.0, 1.0]) } else { 0.0 },
            push_late: if push_faults { dice.one_of(&[0.0, 0.1, 0.3]) } else { 0.0 },
            push_twice: if dice.chance(0.3) { 0.2 } else { 0.0 },
            late_timers: dice.chance(0.2),
            troubles,
            faulty: FAULTY,
            healed: HEALED,
            tangle: None,
            strict: None,
            bounds: Bounds::default(),
        };
        if dice.chance(0.6) {
            for _ in 0..dice.between(1, 3) {
                let from = At(dice.between(0, FAULTY.as_nanos() as u64));
                plan.storms.push((from, from + dice.span(Duration::from_secs(1), Duration::from_secs(8))));
            }
        }
        plan.bounds = bounds(dice, &plan);
        plan
    }

    /// By then everybody must have been served: when a quarantine that began with the last trouble is over, each task of
    /// each client takes all units of the slowest rate, one after the other.
    pub(crate) fn ends_by(&self) -> At {
        let quarantine = self.strict.as_ref().map(Terms::quarantine).unwrap_or_default();
        let slowest = self.keys.iter().filter_map(KeyKind::per).max();
        let waits = number(self.clients * TASKS);
        let queue = slowest.map(|per| (per.mul_f64(1.03) + UNHEARD_MAX) * waits).unwrap_or_default();
        At(0) + self.faulty + self.healed + PROGRESS_MAX + quarantine + queue
    }

    /// The store serves one sidecar and no other, as the one inside a sidecar does.
    pub(crate) fn is_alone(&self) -> bool {
        self.hosts == 1 && self.tangle.is_none() && self.strict.is_none()
    }

    pub(crate) fn stormy(&self, at: At) -> bool {
        self.storms.iter().any(|(from, to)| (*from..*to).contains(&at))
    }
}

fn key(dice: &mut Dice, per_max: Duration) -> KeyKind {
    match () {
        () if dice.chance(0.3) => KeyKind::Semaphore {
            limit: u32::try_from(dice.between(1, 6)).expect("a small number"),
            per: dice.chance(0.4).then(|| dice.span(Duration::from_millis(100), per_max)),
        },
        () if dice.chance(0.2) => KeyKind::Once(turns::window(dice)),
        () => KeyKind::Lock { shared: dice.one_of(&[0.0, 0.0, 0.3, 0.8]) },
    }
}

fn habits(dice: &mut Dice, clients: usize) -> Habits {
    let often = |dice: &mut Dice, p: f64, high: f64| if dice.chance(p) { high } else { 0.0 };
    Habits {
        think: Duration::from_millis(dice.between(60, 200)).mul_f64(clients as f64),
        hold: Duration::from_millis(dice.one_of(&[1, 5, 20, 100, 400, 2_000])),
        tries: often(dice, 0.6, 0.3),
        several: often(dice, 0.3, 0.15),
        patient: often(dice, 0.6, 0.6),
        cancels: often(dice, 0.5, 0.2),
        timed: often(dice, 0.4, 0.3),
        ttl: often(dice, 0.3, 0.4),
        max_hold: often(dice, 0.3, 0.3),
        other_limit: often(dice, 0.2, 0.1),
        priority: often(dice, 0.4, 0.4),
        overstays: often(dice, 0.5, 0.05),
        renews: 0.6,
        upgrades: often(dice, 0.5, 0.5),
        downgrades: often(dice, 0.5, 0.3),
        replays: often(dice, 0.5, 0.1),
        trespasses: often(dice, 0.3, 0.1),
        counts: often(dice, 0.6, 0.6),
        dies: often(dice, 0.5, 0.03),
        pings: dice.chance(0.4),
    }
}

fn call_faults(dice: &mut Dice) -> CallFaults {
    let some = |dice: &mut Dice| if dice.chance(0.5) { dice.one_of(&[0.01, 0.05, 0.2]) } else { 0.0 };
    CallFaults {
        request_lost: some(dice),
        reply_lost: some(dice),
        late: some(dice),
        twice: some(dice),
        unready: some(dice),
        cut: some(dice),
        breaks_connection: dice.one_of(&[0.0, 0.3, 1.0]),
    }
}

fn troubles(dice: &mut Dice) -> Vec<(At, Trouble)> {
    // How many of a kind there are at most, where a seed has them at all, and how likely it has.
    let kinds = [
        (Trouble::Crash, 0.3, 3),
        (Trouble::Drain, 0.1, 1),
        (Trouble::Pause, 0.3, 3),
        (Trouble::Suspend, 0.1, 2),
        (Trouble::Freeze, 0.06, 1),
        (Trouble::WallStep, 0.1, 2),
        (Trouble::Disconnect, 0.3, 4),
        (Trouble::ClientPause, 0.3, 6),
        (Trouble::CutOff, 0.3, 6),
        (Trouble::StoreAway, 0.2, 2),
        (Trouble::Full, 0.15, 2),
        (Trouble::Evict, 0.1, 4),
        (Trouble::Flush, 0.25, 3),
        (Trouble::StoreClockAhead, 0.05, 2),
        (Trouble::StoreClockBack, 0.04, 1),
        (Trouble::Burst, 0.6, 2),
        (Trouble::Force, 0.25, 4),
    ];
    let mut troubles = Vec::new();
    for (trouble, likely, most) in kinds {
        if dice.chance(likely) {
            for _ in 0..dice.between(1, most) {
                troubles.push((At(dice.between(0, FAULTY.as_nanos() as u64)), trouble));
            }
        }
    }
    troubles
}

/// What the checker may assume of this world.
fn bounds(dice: &mut Dice, plan: &Plan) -> Bounds {
    let has = |kinds: &[Trouble]| plan.troubles.iter().any(|(_, trouble)| kinds.contains(trouble));
    let tenure_ttl = Duration::from_secs(dice.one_of(&[3, 3, 5, 10, 10]));
    let longest_rate = plan.keys.iter().filter_map(KeyKind::per).max().unwrap_or_default();
    let longest_timed = if plan.habits.timed > 0.0 { super::tasks::TTL_MAX } else { Duration::ZERO };
    Bounds {
        clocks_agree: !has(&[Trouble::StoreClockAhead, Trouble::StoreClockBack]),
        store_clock_monotone: !has(&[Trouble::StoreClockBack]),
        pushes_arrive: plan.push_lost == 0.0 && plan.push_late == 0.0,
        tenure_ttl,
        longest: tenure_ttl
            .max(longest_timed.mul_f64(1.02) + Duration::from_millis(10))
            .max(longest_rate.mul_f64(1.03) + Duration::from_millis(500)),
        round_trip: 4 * (plan.one_way + plan.jitter),
        slack: Duration::from_millis(if plan.late_timers { 40 } else { 10 }),
        ..Bounds::default()
    }
}
