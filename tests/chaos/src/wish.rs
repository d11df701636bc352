//! What clients wish for: keys, modes, waits, lives, and how they treat what they get.
//!
//! Owns the mix. Must not know how anything is asked for.

use fastrand::Rng;
use sidelock_sim::checker::history::{Acquire, Wait};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Keys of a round that anybody may want.
pub const KEYS: u32 = DOZED + 1;
/// Those, and one for each host of which only its own clients want it.
pub const ALL_KEYS: u32 = KEYS + HOSTS_MAX;
/// Hosts of a round, at most.
pub const HOSTS_MAX: u32 = 8;
/// The first of those keys that holders cling to for seconds, up to the last moment of a tenure that nobody renews. They are
/// often held with every right, so nobody can demand that they are granted soon.
pub const CLUNG: u32 = 8;
/// The key whose holders are stopped for longer than their leases live: each has a `ttl`, and nobody renews it.
pub const DOZED: u32 = CLUNG + 2;
/// The longest that anybody clings, in milliseconds: beyond the tenures of a short round.
const CLING_MAX_MS: u64 = 8_000;
/// How long leases on [`DOZED`] live, in milliseconds.
const DOZED_TTL_MS: RangeInclusive<u64> = 500..=800;
/// The longest timed lease.
pub const TIMED_MAX: Duration = Duration::from_millis(900);
/// The longest that anybody keeps a lease on purpose, in milliseconds: what the next one may have to wait for.
const HOLD_MAX_MS: u64 = 250;
/// Units of a lock.
const ALL: u32 = u32::MAX;

/// How a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Exclusively.
    Lock,
    /// Mostly by readers.
    ReadersWriter,
    /// By holders of permits, of so many.
    Semaphore(u32),
}

/// How a key of this number is used.
pub fn kind(key: u32) -> Kind {
    match key {
        4 | 5 => Kind::ReadersWriter,
        6 => Kind::Semaphore(2),
        7 => Kind::Semaphore(5),
        _ => Kind::Lock,
    }
}

/// The name of a key of this number.
pub fn name(key: u32) -> String {
    format!("chaos/{key}")
}

/// How long a lease lives.
#[derive(Clone, Copy, Debug)]
pub enum Life {
    /// As long as the session.
    Session,
    /// So long after its grant or renewal, and no longer than the session.
    Ttl(Duration),
    /// So long from the grant on.
    MaxHold(Duration),
    /// So long, whatever becomes of the session.
    Timed(Duration),
}

/// How a holder ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Released, and the answer awaited.
    Release,
    /// Dropped: released without listening.
    Drop,
}

/// One wish.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Of which key.
    pub key: u32,
    /// Units wanted.
    pub units: u32,
    /// Units that exist.
    pub limit: u32,
    /// How long to wait.
    pub wait: Wait,
    /// How long the lease lives.
    pub life: Life,
    /// The wish is given up after so long, if it is not answered.
    pub patience: Option<Duration>,
    /// How long to hold it.
    pub hold: Duration,
    /// Renew it half-way, if its life can be renewed.
    pub renews: bool,
    /// Write without looking whether the lease is still valid, and even if it is known to be lost.
    pub reckless: bool,
    /// How to end it.
    pub end: End,
}

impl Wish {
    /// A wish, by dice.
    pub fn draw(dice: &mut Rng) -> Wish {
        match dice.u8(..80) {
            0 | 1 => Wish::clinging(dice),
            2..=5 => Wish::dozing(dice),
            _ => Wish::usual(dice),
        }
    }

    /// The key that only clients of this host want: nobody elsewhere is ever in the way.
    pub fn own(host: u32) -> Wish {
        Wish {
            key: KEYS + host,
            units: ALL,
            limit: ALL,
            wait: Wait::Forever,
            life: Life::Session,
            patience: None,
            hold: Duration::ZERO,
            renews: false,
            reckless: false,
            end: End::Release,
        }
    }

    /// To keep it for long, and to look at it all the time.
    fn clinging(dice: &mut Rng) -> Wish {
        Wish {
            key: dice.u32(CLUNG..DOZED),
            units: ALL,
            limit: ALL,
            wait: Wait::AtMost(millis(dice, 5, 2_500)),
            life: Life::Session,
            patience: None,
            hold: millis(dice, 0, CLING_MAX_MS),
            renews: false,
            reckless: dice.bool(),
            end: End::Release,
        }
    }

    /// To keep it until it runs out, or nearly so.
    fn dozing(dice: &mut Rng) -> Wish {
        Wish {
            key: DOZED,
            life: Life::Ttl(Duration::from_millis(dice.u64(DOZED_TTL_MS))),
            hold: millis(dice, 300, *DOZED_TTL_MS.end()),
            ..Wish::clinging(dice)
        }
    }

    fn usual(dice: &mut Rng) -> Wish {
        let key = dice.u32(..CLUNG);
        let (units, limit) = match kind(key) {
            Kind::Lock => (ALL, ALL),
            Kind::ReadersWriter if dice.u8(..10) < 7 => (1, ALL),
            Kind::ReadersWriter => (ALL, ALL),
            Kind::Semaphore(limit) => (dice.u32(1..=limit), limit),
        };
        let wait = match dice.u8(..10) {
            0 | 1 => Wait::Try,
            2..=6 => Wait::AtMost(millis(dice, 5, 800)),
            _ => Wait::Forever,
        };
        let life = match dice.u8(..20) {
            0..=3 => Life::Ttl(millis(dice, 100, 1500)),
            4 => Life::MaxHold(millis(dice, 5, 300)),
            5 | 6 => Life::Timed(millis(dice, 50, 900)),
            _ => Life::Session,
        };
        // Some stay on long after their lease is over, and write.
        let overstays = dice.u8(..30) == 0;
        let life = if overstays { Life::Ttl(Duration::from_millis(100)) } else { life };
        let hold = match dice.u8(..50) {
            _ if overstays => millis(dice, 90, HOLD_MAX_MS),
            0 => millis(dice, 20, HOLD_MAX_MS),
            1..=25 => Duration::ZERO,
            _ => millis(dice, 0, 6),
        };
        Wish {
            key,
            units,
            limit,
            wait,
            life,
            patience: (dice.u8(..8) == 0).then(|| millis(dice, 0, 25)),
            hold,
            renews: !overstays && dice.bool(),
            reckless: overstays || dice.u8(..4) == 0,
            end: if dice.u8(..8) == 0 { End::Drop } else { End::Release },
        }
    }

    /// As the history tells it.
    pub fn asked(&self) -> Acquire {
        Acquire {
            key: self.key,
            units: self.units,
            limit: self.limit,
            wait: self.wait,
            priority: 0,
            timed: matches!(self.life, Life::Timed(_)),
            owner: None,
            per: None,
            max_hold: None,
            watched: true,
            upgrades: None,
            group: None,
            turn: false,
        }
    }

    /// Nobody else may hold the key beside it.
    pub fn is_exclusive(&self) -> bool {
        self.units == self.limit
    }
}

fn millis(dice: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(dice.u64(from..=to))
}
