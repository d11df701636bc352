//! What a seed draws before a world of owners begins: who takes which keys in which order, and what goes wrong meanwhile.
//!
//! Owns the distributions of worlds in which deadlocks are frequent. Half of them are *rings*: every owner takes a key of
//! its own and then its neighbour's, at about the same time, which makes circles of a chosen length. In the others
//! everybody takes what comes, as it comes. Pushes are lost in most.

use super::dice::Dice;
use super::plan::{CallFaults, Habits, KeyKind, Plan, Trouble};
use crate::checker::history::{At, Bounds};
use sidelock_engine::{Align, Window};
use std::time::Duration;

const FAULTY: Duration = Duration::from_secs(16);
const HEALED: Duration = Duration::from_secs(8);
/// Owners of a world, so that more than a circle of six can come about.
const OWNERS_MAX: usize = 10;

/// How owners behave; each a probability per round or request.
#[derive(Clone, Debug)]
pub(crate) struct Tangle {
    /// Of each client.
    pub(crate) owners: usize,
    /// So many owners take two neighbouring keys each, at the same time.
    pub(crate) ring: Option<usize>,
    /// A ring begins anew so often.
    pub(crate) every: Duration,
    /// From one key to the next.
    pub(crate) between: Duration,
    /// Keys that an owner takes at most.
    pub(crate) keys_max: usize,
    /// It asks for locks together.
    pub(crate) several: f64,
    /// It has succeeded, and goes on without waiting to hear that this counts.
    pub(crate) hasty: f64,
    /// It asks for a key that it has.
    pub(crate) again: f64,
    /// It enters what it got once more.
    pub(crate) enters: f64,
    /// It wants all of what it has a share of.
    pub(crate) upgrades: f64,
    /// What it gets ends by itself.
    pub(crate) ends: f64,
    pub(crate) anonymous: f64,
    /// It does not want to hear of deadlocks.
    pub(crate) unwatched: f64,
    pub(crate) tries: f64,
    pub(crate) timeouts: f64,
    pub(crate) cancels: f64,
    /// Refused, it keeps what it has and asks for the next.
    pub(crate) stubborn: f64,
    pub(crate) priority: f64,
    pub(crate) dies: f64,
}

impl Plan {
    /// A world of owners.
    pub(crate) fn draw_tangle(dice: &mut Dice) -> Plan {
        let hosts = dice.one_of(&[1, 2, 2, 2, 3, 3, 4]);
        let ring = dice.chance(0.5).then(|| dice.one_of(&[2, 2, 3, 3, 4, 4, 5, 5, 6, 6]));
        let wanted = ring.unwrap_or_else(|| dice.one_of(&[3, 4, 5, 6, 8, OWNERS_MAX]));
        let clients = hosts * dice.one_of(&[1, 1, 2]);
        let keys = match ring {
            Some(length) => {
                let once = dice.one_of(&[0.0, 0.0, 0.4]);
                (0..length).map(|_| ring_key(dice, once)).collect()
            }
            None => (0..dice.one_of(&[2, 2, 3, 3, 4, 6])).map(|_| key(dice)).collect(),
        };
        let one_way = dice.span(Duration::from_micros(50), Duration::from_millis(2));
        let calm = dice.chance(0.5);
        let mut plan = Plan {
            hosts,
            clients,
            keys,
            habits: habits(dice),
            one_way,
            jitter: one_way,
            call_timeout: dice.span(Duration::from_millis(300), Duration::from_secs(1)),
            calls: if calm { CallFaults::default() } else { call_faults(dice) },
            storms: Vec::new(),
            push_lost: dice.one_of(&[0.0, 0.3, 1.0, 1.0]),
            push_late: dice.one_of(&[0.0, 0.0, 0.3]),
            push_twice: dice.one_of(&[0.0, 0.0, 0.2]),
            late_timers: dice.chance(0.2),
            troubles: if calm { Vec::new() } else { troubles(dice) },
            strict: None,
            faulty: FAULTY,
            healed: HEALED,
            tangle: Some(tangle(dice, wanted.div_ceil(clients), ring)),
            bounds: Bounds::default(),
        };
        if !calm && dice.chance(0.5) {
            let from = At(0) + dice.span(Duration::ZERO, FAULTY);
            plan.storms.push((from, from + dice.span(Duration::from_secs(1), Duration::from_secs(4))));
        }
        plan.bounds = bounds(&plan);
        plan
    }
}

fn key(dice: &mut Dice) -> KeyKind {
    match () {
        () if dice.chance(0.4) => KeyKind::Semaphore {
            limit: u32::try_from(dice.between(1, 4)).expect("a small number"),
            per: None,
        },
        () if dice.chance(0.25) => KeyKind::Once(window(dice)),
        () => KeyKind::Lock { shared: dice.one_of(&[0.0, 0.0, 0.5, 0.8]) },
    }
}

fn ring_key(dice: &mut Dice, once: f64) -> KeyKind {
    match dice.chance(once) {
        true => KeyKind::Once(window(dice)),
        false => KeyKind::Lock { shared: 0.0 },
    }
}

/// Windows that are over soon, or nobody would have a turn for long.
fn window(dice: &mut Dice) -> Window {
    let align = if dice.chance(0.3) { Align::Utc } else { Align::Rolling };
    Window { per: dice.span(Duration::from_millis(1), Duration::from_millis(300)), align }
}

fn tangle(dice: &mut Dice, owners: usize, ring: Option<usize>) -> Tangle {
    let often = |dice: &mut Dice, p: f64, high: f64| if dice.chance(p) { high } else { 0.0 };
    // A ring closes only if nobody spoils it.
    let spoil = if ring.is_some() { 0.1 } else { 0.4 };
    Tangle {
        owners,
        ring,
        every: Duration::from_millis(dice.between(2_500, 4_000)),
        between: Duration::from_millis(dice.one_of(&[1, 10, 50, 200])),
        keys_max: dice.one_of(&[2, 2, 3, 4]),
        several: often(dice, 0.4, 0.5),
        hasty: often(dice, 0.5, 0.3),
        again: often(dice, spoil, 0.1),
        enters: often(dice, 0.4, 0.5),
        upgrades: often(dice, 0.5, 0.5),
        ends: dice.one_of(&[0.0, 0.0, 0.0, 0.3]),
        anonymous: often(dice, spoil, 0.2),
        unwatched: often(dice, spoil, 0.1),
        tries: often(dice, spoil, 0.1),
        timeouts: often(dice, spoil, 0.3),
        cancels: often(dice, spoil, 0.1),
        stubborn: often(dice, 0.5, 0.5),
        priority: often(dice, 0.4, 0.4),
        dies: often(dice, spoil, 0.03),
    }
}

/// Only what owners have in common with tasks.
fn habits(dice: &mut Dice) -> Habits {
    Habits {
        several: 0.0,
        think: Duration::from_millis(dice.one_of(&[50, 200, 600])),
        hold: Duration::from_millis(dice.one_of(&[1, 20, 100])),
        tries: 0.0,
        patient: 0.0,
        cancels: 0.0,
        timed: 0.0,
        ttl: 0.0,
        max_hold: 0.0,
        other_limit: 0.0,
        priority: 0.0,
        overstays: 0.0,
        renews: 0.0,
        upgrades: 0.0,
        downgrades: 0.0,
        replays: 0.0,
        trespasses: 0.0,
        counts: 0.0,
        dies: 0.0,
        pings: dice.chance(0.4),
    }
}

fn call_faults(dice: &mut Dice) -> CallFaults {
    let some = |dice: &mut Dice| if dice.chance(0.5) { dice.one_of(&[0.01, 0.05]) } else { 0.0 };
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
    let kinds = [
        (Trouble::Crash, 0.3),
        (Trouble::Drain, 0.1),
        (Trouble::Pause, 0.3),
        (Trouble::Disconnect, 0.4),
        (Trouble::ClientPause, 0.2),
        (Trouble::CutOff, 0.3),
        (Trouble::StoreAway, 0.1),
        (Trouble::Flush, 0.1),
    ];
    let drawn: Vec<Trouble> =
        kinds.into_iter().filter(|(_, likely)| dice.chance(*likely)).map(|(trouble, _)| trouble).collect();
    drawn.into_iter().map(|trouble| (At(0) + dice.span(Duration::ZERO, FAULTY), trouble)).collect()
}

fn bounds(plan: &Plan) -> Bounds {
    let tenure_ttl = Duration::from_secs(5);
    Bounds {
        pushes_arrive: plan.push_lost == 0.0 && plan.push_late == 0.0,
        tenure_ttl,
        longest: tenure_ttl,
        round_trip: 4 * (plan.one_way + plan.jitter),
        slack: Duration::from_millis(if plan.late_timers { 40 } else { 10 }),
        ..Bounds::default()
    }
}
