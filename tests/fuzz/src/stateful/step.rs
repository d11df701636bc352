//! Steps: what eight bytes mean.
//!
//! Owns the reading. Every eight bytes mean something, and a damaged byte changes one choice of one step. Must not know
//! what comes of a step.

use sidelock_wire::{Acquire, LeaseName, Life, Mode, Secret, ToSidecar};
use std::time::Duration;

/// Bytes of a step.
pub(super) const STEP_BYTES: usize = 8;

/// Keys that the stories are about. One is none: the gate must see to it.
const KEYS: [&[u8]; 5] = [b"a", b"b", "orders/€".as_bytes(), b"%7B{}", b"\xff"];
/// Waits and times to live, chosen to lie around what the engine's own times are.
const SPANS_MS: [u64; 12] = [0, 50, 100, 500, 1_000, 2_500, 5_000, 9_000, 12_000, 31_000, 600_000, 3_600_000];

/// One thing that happens.
#[derive(Debug)]
pub(super) enum Step {
    /// A client comes, in the place of the one that was there.
    Open { place: u8, sidecar: u8, uid: u8 },
    /// A client says something.
    Say { place: u8, says: Says, damage: Option<(u8, u8)> },
    /// A client hangs up.
    Leave { place: u8 },
    /// The sidecar hangs up on a client.
    CutOff { place: u8 },
    /// A client that was cut off comes back.
    Resume { place: u8 },
    /// Time passes. Sidecars in `stopped`, bit by bit, do not notice until it has passed.
    Pass { time: Duration, stopped: u8 },
    /// Something about a sidecar's way to the store.
    Network { sidecar: u8, change: Change },
    /// The wall clock of the host was set.
    ClockStepped { sidecar: u8 },
    /// A sidecar dies, and another takes its place.
    Restart { sidecar: u8 },
    /// A sidecar is told to go.
    Drain { sidecar: u8 },
}

/// What a client says. Numbers and names are choices among those there are: see `world.rs`.
#[derive(Debug)]
pub(super) enum Says {
    Acquire(Wish),
    Cancel { number: u8 },
    Renew { name: Name, ttl: Duration, number: u8 },
    Release { name: Name, number: u8 },
    Change { name: Name, mode: Mode, wait: Option<Duration>, number: u8 },
    Ping,
}

/// An acquire.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) key: &'static [u8],
    pub(super) mode: Mode,
    wait: Option<Duration>,
    life: Life,
    max_hold: Option<Duration>,
    owner: Option<&'static str>,
    priority: i32,
    notify_queued: bool,
    per: Option<Duration>,
    reentrant: bool,
    pub(super) number: u8,
}

/// How a client names a lease.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    /// By one of its numbers.
    Number(u8),
    /// By one of the secrets that were ever given out, whoever's.
    Secret(u8),
}

/// What the network does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// Everything arrives at once.
    Prompt,
    /// Nothing arrives until it is delivered.
    Held,
    /// The next so many arrive.
    Deliver(u8),
    /// The connection breaks. What was on its way to the store: ran, runs later, or never runs, by two bits each.
    Break(u8),
    /// A new connection.
    Connect,
    /// The store refuses the next so many calls, before it runs them.
    Refuse(u8),
    /// Pushes are lost from now on, or no longer.
    PushesLost(bool),
    /// What a broken connection had kept runs now.
    RunLate,
}

impl Step {
    pub(super) fn read(bytes: &[u8; STEP_BYTES]) -> Step {
        let [kind, place, a, b, c, d, e, f] = *bytes;
        match kind % 24 {
            0..8 => Step::Say { place, says: Says::Acquire(Wish::read([a, b, c, d, e, f])), damage: None },
            8..11 => {
                Step::Say { place, says: Says::Release { name: Name::read(a, b), number: c }, damage: None }
            }
            11 => Step::Say { place, says: Says::Cancel { number: a }, damage: None },
            12 => {
                let says = Says::Renew { name: Name::read(a, b), ttl: span(c), number: d };
                Step::Say { place, says, damage: None }
            }
            13 if a < 32 => Step::Say { place, says: Says::Ping, damage: None },
            13 => {
                let mode = if a % 3 == 0 { Mode::Shared } else { Mode::Exclusive };
                let wait = (d < 224).then(|| span(d));
                Step::Say {
                    place,
                    says: Says::Change { name: Name::read(b, c), mode, wait, number: e },
                    damage: None,
                }
            }
            14 => {
                let says = Says::Acquire(Wish::read([a, b, c, 0, 0, d]));
                Step::Say { place, says, damage: Some((e, f)) }
            }
            15 => Step::Open { place, sidecar: a, uid: b },
            16 if a < 128 => Step::Leave { place },
            16 if a < 192 => Step::CutOff { place },
            16 => Step::Resume { place },
            17..20 => Step::Pass {
                time: span(place) + Duration::from_millis(a.into()),
                stopped: if b < 192 { 0 } else { b },
            },
            20..22 => Step::Network { sidecar: place, change: Change::read(a, b) },
            22 => Step::ClockStepped { sidecar: place },
            _ if a < 200 => Step::Restart { sidecar: place },
            _ => Step::Drain { sidecar: place },
        }
    }
}

fn span(choice: u8) -> Duration {
    Duration::from_millis(SPANS_MS[usize::from(choice) % SPANS_MS.len()])
}

impl Wish {
    fn read([key, mode, wait, life, extra, number]: [u8; 6]) -> Wish {
        let limit = u32::from(mode >> 4);
        Wish {
            key: KEYS[usize::from(key) % KEYS.len()],
            mode: match mode % 4 {
                0 => Mode::Exclusive,
                1 => Mode::Shared,
                2 => Mode::Permits { permits: u32::from(mode >> 2 & 3), limit },
                _ => Mode::Permits { permits: 1, limit: 3 },
            },
            wait: (wait < 224).then(|| span(wait)),
            life: match life % 3 {
                0 => Life::Session { ttl: None },
                1 => Life::Session { ttl: Some(span(life / 3)) },
                _ => Life::Timed { ttl: span(life / 3) },
            },
            max_hold: (extra & 3 == 3).then(|| span(extra >> 2)),
            owner: (extra & 4 != 0).then_some("owner"),
            priority: if extra & 8 != 0 { i32::from(extra) - 128 } else { 0 },
            notify_queued: extra & 16 != 0,
            per: (extra & 96 == 96).then(|| span(extra >> 2)),
            reentrant: extra & 36 == 36,
            number,
        }
    }

    /// As a message, under this number.
    pub(super) fn message(&self, request: u64) -> ToSidecar<'static> {
        ToSidecar::Acquire(Acquire {
            request,
            key: self.key,
            mode: self.mode,
            wait: self.wait,
            life: self.life,
            max_hold: self.max_hold,
            owner: self.owner,
            priority: self.priority,
            notify_queued: self.notify_queued,
            per: self.per,
            once: None,
            reentrant: self.reentrant,
        })
    }
}

impl Name {
    fn read(kind: u8, choice: u8) -> Name {
        if kind < 160 { Name::Number(choice) } else { Name::Secret(choice) }
    }

    /// The name itself: among the numbers of the session and the secrets that were given out.
    pub(super) fn choose(self, newest: u64, secrets: u64) -> LeaseName {
        match self {
            Name::Number(back) => LeaseName::Session(newest.saturating_sub(u64::from(back) % 8)),
            Name::Secret(back) => {
                LeaseName::Timed(Secret(secrets.saturating_sub(u64::from(back) % 8).into()))
            }
        }
    }
}

impl Change {
    fn read(kind: u8, how: u8) -> Change {
        match kind % 10 {
            0 | 1 => Change::Prompt,
            2 => Change::Held,
            3 | 4 => Change::Deliver(how % 8),
            5 => Change::Break(how),
            6 => Change::Connect,
            7 => Change::Refuse(how % 4),
            8 => Change::PushesLost(how < 128),
            _ => Change::RunLate,
        }
    }
}

/// Stories that people would tell.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    const OPEN: u8 = 15;
    const ACQUIRE: u8 = 0;
    const RELEASE: u8 = 8;
    const PASS: u8 = 17;
    const NETWORK: u8 = 20;
    // Places 0 to 2 are on the first sidecar, 3 to 5 on the second.
    let open: Vec<[u8; 8]> = (0..6).map(|place| [OPEN, place, place / 3, 0, 0, 0, 0, 0]).collect();
    let wants = |place, key, mode, wait| [ACQUIRE, place, key, mode, wait, 0, 16, 0];
    let enters = |place, key, mode| [ACQUIRE, place, key, mode, 255, 0, 36, 0];
    let timed = |place: u8, key: u8, ttl: u8| [ACQUIRE, place, key, 0, 6, 2 + 3 * ttl, 0, 0];
    let changes = |place, mode, wait| [13, place, mode, 0, 0, wait, 0, 0];
    let releases = |place| [RELEASE, place, 0, 0, 0, 0, 0, 0];
    let pass = |span| [PASS, span, 0, 0, 0, 0, 0, 0];
    let network = |sidecar, change, how| [NETWORK, sidecar, change, how, 0, 0, 0, 0];
    let story = |steps: &[&[[u8; 8]]]| steps.concat().concat();
    vec![
        story(&[&open, &[wants(0, 0, 0, 255), wants(1, 0, 0, 255), releases(0), pass(1), releases(1)]]),
        story(&[
            &open,
            &[wants(0, 0, 0, 255), wants(3, 0, 0, 255), pass(3), releases(0), pass(3), releases(3)],
        ]),
        story(&[
            &open,
            &[wants(0, 1, 1, 0), wants(3, 1, 1, 0), wants(1, 1, 0, 5), pass(6), wants(4, 1, 0, 255)],
        ]),
        // An owner enters what it holds; it leaves, the first handle first, and only then the next one is served.
        story(&[
            &open,
            &[
                enters(0, 0, 0),
                enters(0, 0, 1),
                wants(3, 0, 0, 255),
                [RELEASE, 0, 0, 1, 0, 0, 0, 0],
                pass(5),
                changes(0, 33, 0),
                releases(0),
                pass(5),
                enters(3, 0, 0),
            ],
        ]),
        // Two upgrades that meet, one that is served, and a downgrade.
        story(&[
            &open,
            &[
                wants(0, 1, 1, 0),
                wants(3, 1, 1, 0),
                changes(0, 32, 255),
                changes(3, 32, 255),
                releases(3),
                pass(2),
                changes(0, 33, 0),
                wants(4, 1, 1, 5),
                pass(4),
            ],
        ]),
        story(&[
            &open,
            &[
                wants(0, 2, 3, 0),
                wants(1, 2, 3, 0),
                wants(3, 2, 3, 0),
                wants(4, 2, 3, 255),
                wants(0, 2, 0x52, 0),
            ],
        ]),
        story(&[
            &open,
            &[
                timed(0, 0, 7),
                timed(3, 0, 2),
                // Another connection of the same user speaks for the first of the two.
                [12, 1, 200, 1, 8, 0, 0, 0],
                [10, 1, 200, 1, 0, 0, 0, 0],
                pass(8),
            ],
        ]),
        story(&[
            &open,
            &[wants(0, 0, 0, 255), network(0, 5, 27), pass(5), network(0, 6, 0), network(0, 9, 0), pass(8)],
        ]),
        story(&[
            &open,
            &[network(0, 2, 0), wants(0, 0, 0, 255), network(0, 3, 2), pass(9), network(0, 0, 0), pass(4)],
        ]),
        story(&[
            &open,
            &[wants(0, 0, 0, 255), [23, 0, 0, 0, 0, 0, 0, 0], wants(3, 0, 0, 255), pass(8), pass(9)],
        ]),
        story(&[
            &open,
            &[
                wants(0, 0, 0, 255),
                [16, 0, 150, 0, 0, 0, 0, 0],
                pass(5),
                [16, 0, 255, 0, 0, 0, 0, 0],
                pass(7),
            ],
        ]),
        story(&[
            &open,
            &[wants(0, 0, 0, 255), wants(3, 0, 0, 255), [17, 9, 0, 193, 0, 0, 0, 0], pass(1), releases(0)],
        ]),
        story(&[
            &open,
            &[
                wants(0, 0, 0, 255),
                wants(1, 0, 0, 255),
                [11, 1, 0, 0, 0, 0, 0, 0],
                [23, 0, 255, 0, 0, 0, 0, 0],
                pass(9),
            ],
        ]),
        story(&[
            &open,
            &[
                wants(0, 0, 0, 255),
                [14, 0, 0, 0, 0, 0, 3, 9],
                [22, 0, 0, 0, 0, 0, 0, 0],
                pass(7),
                [13, 0, 0, 0, 0, 0, 0, 0],
            ],
        ]),
    ]
}
