//! What a client says, and its bytes.
//!
//! Owns the layout of each message: fields in order, optional ones behind a word of flags. Must not know what the
//! sidecar makes of them.

use crate::fields::{Fields, millis, put};
use crate::frame::FrameError;
use crate::holder::{self, AskHolders};
use crate::message::{Align, LeaseName, Life, Mode, Resume, Scope, Secret, Window};
use crate::register::{self, Register};
use std::time::Duration;

/// A message from a client to its sidecar. Texts are borrowed from the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToSidecar<'a> {
    /// Once, first.
    Hello(Hello<'a>),
    /// Wants a lease.
    Acquire(Acquire<'a>),
    /// Wants a lease of each of several keys, all or nothing.
    AcquireAll(AcquireAll<'a>),
    /// No longer wants the lease of this acquire. Answered by `Cancelled` always, under the acquire's number.
    Cancel {
        /// The acquire.
        request: u64,
    },
    /// Extends a lease that has a `ttl`.
    Renew {
        /// Number of this renewal, for its answer.
        request: u64,
        /// The lease.
        lease: LeaseName,
        /// New time to live, from its arrival.
        ttl: Duration,
    },
    /// Gives a lease back.
    Release {
        /// Number of this release, for its answer.
        request: u64,
        /// The lease.
        lease: LeaseName,
    },
    /// Makes a lease shared or exclusive.
    Change(Change),
    /// Wants something of a register.
    Register(Register<'a>),
    /// A turn of a once key succeeded.
    Finish {
        /// Number of this finish, for its answer.
        request: u64,
        /// The turn.
        lease: LeaseName,
        /// What those get who waited, or come before the window ends.
        result: &'a [u8],
    },
    /// Wants to know who has a key.
    Holders(AskHolders<'a>),
    /// A sign of life, at least every tenth of the session's ttl.
    Ping,
}

/// How a client introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Oldest version it speaks.
    pub version_min: u16,
    /// Newest version it speaks.
    pub version_max: u16,
    /// Feature bits it understands.
    pub features: u64,
    /// Its `CLOCK_BOOTTIME` in nanoseconds, read just before the send.
    pub boottime_ns: u64,
    /// What it calls itself; for people to read.
    pub app: &'a str,
    /// Refuse me rather than lock less far than this.
    pub require_scope: Option<Scope>,
    /// The session it wants back.
    pub resume: Option<Resume>,
}

/// A request for a lease. Durations travel as whole milliseconds, rounded up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire<'a> {
    /// Its number, unique in the session; the session lease is known by it.
    pub request: u64,
    /// The key, as the client sent it: the sidecar checks that it is one.
    pub key: &'a [u8],
    /// How much of it.
    pub mode: Mode,
    /// How long to wait: `None` for ever, zero is a try.
    pub wait: Option<Duration>,
    /// What keeps the lease alive.
    pub life: Life,
    /// The lease is lost this long after its grant, whatever keeps it alive.
    pub max_hold: Option<Duration>,
    /// The sequential actor that asks.
    pub owner: Option<&'a str>,
    /// Ahead of lower ones; one point is worth a second of waiting.
    pub priority: i32,
    /// Say `Queued` if it has to wait.
    pub notify_queued: bool,
    /// If its owner holds the key, it is to be one more handle of that lease.
    pub reentrant: bool,
    /// Permits of a rate: their units come back this long after the grant, and the lease ends then.
    pub per: Option<Duration>,
    /// It is about a once key, and wants a turn that fills this window.
    pub once: Option<Window>,
}

/// Another mode for a lease. To shared: answered by `Renewed`, the lease stays. To exclusive: answered by `Granted`, and
/// the lease is known by this request's number, or by the grant's secret, from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number, unique in the session.
    pub request: u64,
    /// The lease.
    pub lease: LeaseName,
    /// What it shall be. A lease is not changed to or from permits.
    pub mode: Mode,
    /// How long to wait for the others to go: `None` for ever, zero is a try. Means nothing for a change to shared.
    pub wait: Option<Duration>,
}

/// A request for leases of several keys, all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquireAll<'a> {
    /// The first key, and what is asked of each; exclusive or shared. The answer comes under its number.
    pub first: Acquire<'a>,
    /// The other keys, in any order, each with the number that its lease is known by. A key that is there twice counts
    /// once, under the number that stands first.
    pub others: Vec<(u64, &'a [u8])>,
}

mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const ACQUIRE: u8 = 0x02;
    pub(super) const CANCEL: u8 = 0x03;
    pub(super) const RENEW: u8 = 0x04;
    pub(super) const RELEASE: u8 = 0x05;
    pub(super) const PING: u8 = 0x06;
    pub(super) const ACQUIRE_ALL: u8 = 0x07;
    pub(super) const CHANGE: u8 = 0x08;
    pub(super) const FINISH: u8 = 0x09;
}

/// Flags of a hello, in the order in which the fields they announce follow.
mod hello_flag {
    pub(super) const REQUIRE_SCOPE: u16 = 1;
    pub(super) const RESUME: u16 = 1 << 1;
}

/// Flags of a change.
mod change_flag {
    pub(super) const WAIT: u16 = 1;
}

/// Flags of an acquire; the fields they announce follow in this order.
mod acquire_flag {
    pub(super) const WAIT: u16 = 1;
    pub(super) const TTL: u16 = 1 << 1;
    pub(super) const MAX_HOLD: u16 = 1 << 2;
    pub(super) const OWNER: u16 = 1 << 3;
    pub(super) const PRIORITY: u16 = 1 << 4;
    pub(super) const TIMED: u16 = 1 << 5;
    pub(super) const NOTIFY_QUEUED: u16 = 1 << 6;
    pub(super) const REENTRANT: u16 = 1 << 7;
    pub(super) const PER: u16 = 1 << 8;
    pub(super) const ONCE: u16 = 1 << 9;
}

impl<'a> ToSidecar<'a> {
    /// Appends the message as one frame, its length included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put::frame(out, |out| match self {
            ToSidecar::Hello(hello) => hello.encode(out),
            ToSidecar::Acquire(acquire) => acquire.encode(out),
            ToSidecar::AcquireAll(all) => all.encode(out),
            ToSidecar::Cancel { request } => {
                out.push(kind::CANCEL);
                put::u64(out, *request);
            }
            ToSidecar::Renew { request, lease, ttl } => {
                out.push(kind::RENEW);
                put::u64(out, *request);
                put_lease(out, *lease);
                put::u64(out, millis(*ttl));
            }
            ToSidecar::Release { request, lease } => {
                out.push(kind::RELEASE);
                put::u64(out, *request);
                put_lease(out, *lease);
            }
            ToSidecar::Change(change) => change.encode(out),
            ToSidecar::Holders(ask) => ask.encode(out),
            ToSidecar::Register(register) => register.encode(out),
            ToSidecar::Finish { request, lease, result } => {
                out.push(kind::FINISH);
                put::u64(out, *request);
                put_lease(out, *lease);
                put::bytes(out, result);
            }
            ToSidecar::Ping => out.push(kind::PING),
        });
    }

    /// Reads a frame's payload, as [`crate::Decoder::next_frame`] yields it. `None`: a kind that a later version added
    /// and that may be skipped.
    pub fn decode(payload: &'a [u8]) -> Result<Option<Self>, FrameError> {
        let (kind, mut fields) = Fields::of(payload)?;
        let message = match kind {
            kind::HELLO => ToSidecar::Hello(Hello::decode(&mut fields)?),
            kind::ACQUIRE => ToSidecar::Acquire(Acquire::decode(&mut fields)?),
            kind::ACQUIRE_ALL => ToSidecar::AcquireAll(AcquireAll::decode(&mut fields)?),
            kind::CANCEL => ToSidecar::Cancel { request: fields.u64("request")? },
            kind::RENEW => ToSidecar::Renew {
                request: fields.u64("request")?,
                lease: lease(&mut fields)?,
                ttl: fields.millis("ttl")?,
            },
            kind::RELEASE => {
                ToSidecar::Release { request: fields.u64("request")?, lease: lease(&mut fields)? }
            }
            kind::CHANGE => ToSidecar::Change(Change::decode(&mut fields)?),
            kind::FINISH => ToSidecar::Finish {
                request: fields.u64("request")?,
                lease: lease(&mut fields)?,
                result: fields.bytes("result")?,
            },
            holder::ASK => ToSidecar::Holders(AskHolders::decode(&mut fields)?),
            kind::PING => ToSidecar::Ping,
            register::kind::GET | register::kind::PUT | register::kind::DELETE | register::kind::WATCH => {
                ToSidecar::Register(Register::decode(kind, &mut fields)?)
            }
            unknown => return FrameError::unknown_kind(unknown),
        };
        Ok(Some(message))
    }
}

impl<'a> Hello<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        use hello_flag::{REQUIRE_SCOPE, RESUME};
        out.push(kind::HELLO);
        put::u16(out, self.version_min);
        put::u16(out, self.version_max);
        put::u64(out, self.features);
        put::u64(out, self.boottime_ns);
        let flags =
            put::flag(self.require_scope.is_some(), REQUIRE_SCOPE) | put::flag(self.resume.is_some(), RESUME);
        put::u16(out, flags);
        put::text(out, self.app);
        if let Some(scope) = self.require_scope {
            out.push(scope.number());
        }
        if let Some(resume) = self.resume {
            put::u64(out, resume.session);
            put::u128(out, resume.secret.0);
        }
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        let version_min = fields.u16("version_min")?;
        let version_max = fields.u16("version_max")?;
        let features = fields.u64("features")?;
        let boottime_ns = fields.u64("boottime_ns")?;
        let flags = fields.u16("flags")?;
        let app = fields.text("app")?;
        let require_scope = match flags & hello_flag::REQUIRE_SCOPE {
            0 => None,
            _ => Some(fields.known("require_scope", Scope::from_number)?),
        };
        let resume = match flags & hello_flag::RESUME {
            0 => None,
            _ => {
                let session = fields.u64("session")?;
                Some(Resume { session, secret: Secret(fields.u128("secret")?) })
            }
        };
        Ok(Hello { version_min, version_max, features, boottime_ns, app, require_scope, resume })
    }
}

impl<'a> Acquire<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.encode_as(kind::ACQUIRE, |out| put::bytes(out, self.key), out);
    }

    fn encode_as(&self, kind: u8, put_keys: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        let (ttl, timed) = match self.life {
            Life::Session { ttl } => (ttl, false),
            Life::Timed { ttl } => (Some(ttl), true),
        };
        out.push(kind);
        put::u64(out, self.request);
        put::u16(out, self.flags(ttl, timed));
        put_mode(out, self.mode);
        put_keys(out);
        for span in [self.wait, ttl, self.max_hold].into_iter().flatten() {
            put::u64(out, millis(span));
        }
        if let Some(owner) = self.owner {
            put::text(out, owner);
        }
        if self.priority != 0 {
            put::i32(out, self.priority);
        }
        if let Some(per) = self.per {
            put::u64(out, millis(per));
        }
        if let Some(window) = self.once {
            put::u64(out, millis(window.per));
            out.push(window.align.number());
        }
    }

    fn flags(&self, ttl: Option<Duration>, timed: bool) -> u16 {
        use acquire_flag::*;
        put::flag(self.wait.is_some(), WAIT)
            | put::flag(ttl.is_some(), TTL)
            | put::flag(self.max_hold.is_some(), MAX_HOLD)
            | put::flag(self.owner.is_some(), OWNER)
            | put::flag(self.priority != 0, PRIORITY)
            | put::flag(timed, TIMED)
            | put::flag(self.notify_queued, NOTIFY_QUEUED)
            | put::flag(self.reentrant, REENTRANT)
            | put::flag(self.per.is_some(), PER)
            | put::flag(self.once.is_some(), ONCE)
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        let (key, acquire) = Acquire::decode_as(fields, |fields| fields.bytes("key"))?;
        Ok(Acquire { key, ..acquire })
    }

    /// One or more keys, and the acquire without them.
    fn decode_as<K>(
        fields: &mut Fields<'a>,
        keys: impl FnOnce(&mut Fields<'a>) -> Result<K, FrameError>,
    ) -> Result<(K, Self), FrameError> {
        use acquire_flag::*;
        let request = fields.u64("request")?;
        let flags = fields.u16("flags")?;
        let has = |flag| flags & flag != 0;
        let mode = mode(fields)?;
        let keys = keys(fields)?;
        let wait = fields.optional(has(WAIT), |f| f.millis("wait"))?;
        let ttl = fields.optional(has(TTL), |f| f.millis("ttl"))?;
        let max_hold = fields.optional(has(MAX_HOLD), |f| f.millis("max_hold"))?;
        let owner = fields.optional(has(OWNER), |f| f.text("owner"))?;
        let priority = fields.optional(has(PRIORITY), |f| f.i32("priority"))?.unwrap_or(0);
        let life = match (has(TIMED), ttl) {
            (false, ttl) => Life::Session { ttl },
            (true, Some(ttl)) => Life::Timed { ttl },
            (true, None) => return Err(fields.missing("ttl")),
        };
        let (notify_queued, reentrant) = (has(NOTIFY_QUEUED), has(REENTRANT));
        let per = fields.optional(has(PER), |f| f.millis("per"))?;
        let once = fields.optional(has(ONCE), window)?;
        let key = &[];
        Ok((
            keys,
            Acquire {
                request,
                key,
                mode,
                wait,
                life,
                max_hold,
                owner,
                priority,
                notify_queued,
                reentrant,
                per,
                once,
            },
        ))
    }
}

impl<'a> AcquireAll<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        let put_keys = |out: &mut Vec<u8>| {
            put::bytes(out, self.first.key);
            put::u32(out, self.others.len() as u32);
            for (number, key) in &self.others {
                put::u64(out, *number);
                put::bytes(out, key);
            }
        };
        self.first.encode_as(kind::ACQUIRE_ALL, put_keys, out);
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        let ((key, others), first) = Acquire::decode_as(fields, |fields| {
            let key = fields.bytes("key")?;
            let count = fields.u32("others")?;
            let others = (0..count).map(|_| Ok((fields.u64("number")?, fields.bytes("key")?)));
            Ok((key, others.collect::<Result<_, FrameError>>()?))
        })?;
        Ok(AcquireAll { first: Acquire { key, ..first }, others })
    }
}

impl Change {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(kind::CHANGE);
        put::u64(out, self.request);
        put::u16(out, put::flag(self.wait.is_some(), change_flag::WAIT));
        put_lease(out, self.lease);
        put_mode(out, self.mode);
        if let Some(wait) = self.wait {
            put::u64(out, millis(wait));
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let request = fields.u64("request")?;
        let flags = fields.u16("flags")?;
        let lease = lease(fields)?;
        let mode = mode(fields)?;
        let wait = fields.optional(flags & change_flag::WAIT != 0, |f| f.millis("wait"))?;
        Ok(Change { request, lease, mode, wait })
    }
}

fn window(fields: &mut Fields<'_>) -> Result<Window, FrameError> {
    Ok(Window { per: fields.millis("per")?, align: fields.known("align", Align::from_number)? })
}

pub(crate) fn put_mode(out: &mut Vec<u8>, mode: Mode) {
    match mode {
        Mode::Exclusive => out.push(0),
        Mode::Shared => out.push(1),
        Mode::Permits { permits, limit } => {
            out.push(2);
            put::u32(out, permits);
            put::u32(out, limit);
        }
    }
}

pub(crate) fn mode(fields: &mut Fields<'_>) -> Result<Mode, FrameError> {
    match fields.u8("mode")? {
        0 => Ok(Mode::Exclusive),
        1 => Ok(Mode::Shared),
        2 => Ok(Mode::Permits { permits: fields.u32("permits")?, limit: fields.u32("limit")? }),
        other => Err(fields.bad("mode", other)),
    }
}

pub(crate) fn put_lease(out: &mut Vec<u8>, lease: LeaseName) {
    match lease {
        LeaseName::Session(acquire) => {
            out.push(0);
            put::u64(out, acquire);
        }
        LeaseName::Timed(secret) => {
            out.push(1);
            put::u128(out, secret.0);
        }
    }
}

pub(crate) fn lease(fields: &mut Fields<'_>) -> Result<LeaseName, FrameError> {
    match fields.u8("lease")? {
        0 => Ok(LeaseName::Session(fields.u64("acquire")?)),
        1 => Ok(LeaseName::Timed(Secret(fields.u128("secret")?))),
        other => Err(fields.bad("lease", other)),
    }
}
