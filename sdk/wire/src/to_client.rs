//! What a sidecar says, and its bytes.
//!
//! Owns the layout of each message: fields in order, optional ones behind a byte of flags. Must not know what the client
//! makes of them.

use crate::code::Code;
use crate::cycle::{CYCLE_EDGES_MAX, CycleEdge};
use crate::fields::{Fields, millis, put};
use crate::frame::FrameError;
use crate::granted::Granted;
use crate::holder::{self, Holders};
use crate::message::{Denial, Detail, Guarantee, LostReason, Scope, Secret};
use crate::register::{Current, Version};
use std::borrow::Cow;
use std::time::Duration;

/// A message from a sidecar to a client. Answers name the request they belong to and come in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient<'a> {
    /// To the hello.
    Welcome(Welcome<'a>),
    /// To acquire, and to a change to exclusive: a lease.
    Granted(Granted),
    /// To acquire_all: a lease of each key.
    GrantedAll {
        /// The request.
        request: u64,
        /// In the order of the keys' bytes, each under its own number.
        leases: Vec<Granted>,
    },
    /// To cancel, under the number of the acquire, which gets no other answer after this.
    Cancelled {
        /// The acquire.
        request: u64,
    },
    /// To renew: valid until then. To a change to shared: still valid until then.
    Renewed(Renewed),
    /// To release: it is free. Also for a lease that this session released before.
    Released {
        /// The release.
        request: u64,
    },
    /// To acquire of a once key: somebody did it already.
    Done(Done<'a>),
    /// To finish: the store knows of it, and the turn is over.
    Finished {
        /// The finish.
        request: u64,
    },
    /// To ping.
    Pong {
        /// The sidecar's `CLOCK_BOOTTIME` in nanoseconds.
        boottime_ns: u64,
    },
    /// To acquire, renew, release, change, finish, holders: no, and why.
    Refused(Refused<'a>),
    /// To get and watch: what the register is.
    RegisterValue {
        /// The request.
        request: u64,
        /// What it is.
        current: Current<'a>,
    },
    /// To put and delete: done.
    RegisterWritten {
        /// The request.
        request: u64,
        /// The version that a put made.
        etag: Option<Cow<'a, str>>,
    },
    /// To holders.
    Holders(Holders),
    /// The acquire waits, as it asked to be told.
    Queued {
        /// The acquire.
        request: u64,
        /// Waiters of this sidecar ahead of it.
        ahead: u32,
    },
    /// All session leases of this session are valid until then, or until their cap if that is sooner. State, not an
    /// event: a later one replaces an earlier one.
    Extended {
        /// The new deadline, in nanoseconds of `CLOCK_BOOTTIME`.
        until_ns: u64,
        /// Acquires whose leases are not extended: their last told deadline stands.
        except: Vec<u64>,
    },
    /// The lease could not be extended so far; it ends at its deadline unless an extension comes.
    AtRisk {
        /// Its acquire.
        request: u64,
    },
    /// The lease is gone.
    Lost {
        /// Its acquire.
        request: u64,
        /// Why.
        reason: LostReason,
    },
    /// The sidecar is about to go: finish what you hold, acquire elsewhere.
    Draining,
    /// The sidecar closes the connection after this.
    Goodbye {
        /// Why.
        code: Code,
        /// The same for people, with what to do.
        message: Cow<'a, str>,
    },
}

/// How a sidecar introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The version that both speak from here on: the highest that both know.
    pub version: u16,
    /// Feature bits that both understand.
    pub features: u64,
    /// The session's id.
    pub session: u64,
    /// The right to resume it.
    pub secret: Secret,
    /// Without a message from the client for so long, the session's leases are lost.
    pub session_ttl: Duration,
    /// The sidecar's `CLOCK_BOOTTIME` in nanoseconds, read just before the send.
    pub boottime_ns: u64,
    /// The sidecar's life: a lease of another one can not be extended.
    pub incarnation: u128,
    /// How far its locks reach.
    pub scope: Scope,
    /// What holds through a loss of the store's data.
    pub guarantee: Guarantee,
    /// What it allows.
    pub limits: Limits,
    /// The part of the store that it works in.
    pub namespace: Cow<'a, str>,
    /// `None`: a new session. Else the old one goes on, and these are the acquires whose leases it still has: all others
    /// are lost or were never granted, and nothing of it waits any more. State, so that notices lost with the old
    /// connection do not matter.
    pub resumed: Option<Vec<u64>>,
}

/// What a sidecar allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes a frame's payload may have, in both directions.
    pub frame_bytes_max: u32,
    /// Most bytes a key may have.
    pub key_bytes_max: u32,
    /// Most requests of a session that may wait at a time.
    pub in_flight_max: u32,
}

/// What somebody else did, in place of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<'a> {
    /// The acquire.
    pub request: u64,
    /// When, in milliseconds since the Unix epoch, by the store's clock.
    pub finished_at_ms: u64,
    /// What it left.
    pub result: Cow<'a, [u8]>,
}

/// An extended lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The renewal.
    pub request: u64,
    /// As granted.
    pub fence: u64,
    /// Valid until then unless extended, in nanoseconds of `CLOCK_BOOTTIME`.
    pub deadline_ns: u64,
    /// No extension reaches past this, from now on.
    pub cap_ns: Option<u64>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The request.
    pub request: u64,
    /// Why. A code that this version does not know reads as [`Code::Internal`]; the message tells more.
    pub code: Code,
    /// The same for people.
    pub message: Cow<'a, str>,
    /// Numbers that go with it.
    pub detail: Detail,
    /// What is there, where a write's condition failed; `None` with [`Code::Conflict`]: nothing is.
    pub register: Option<Version<'a>>,
}

mod kind {
    pub(super) const WELCOME: u8 = 0x41;
    pub(super) const GRANTED: u8 = 0x42;
    pub(super) const CANCELLED: u8 = 0x43;
    pub(super) const RENEWED: u8 = 0x44;
    pub(super) const RELEASED: u8 = 0x45;
    pub(super) const PONG: u8 = 0x46;
    pub(super) const REFUSED: u8 = 0x47;
    pub(super) const QUEUED: u8 = 0x48;
    pub(super) const EXTENDED: u8 = 0x49;
    pub(super) const AT_RISK: u8 = 0x4a;
    pub(super) const LOST: u8 = 0x4b;
    pub(super) const DRAINING: u8 = 0x4c;
    pub(super) const GOODBYE: u8 = 0x4d;
    pub(super) const DONE: u8 = 0x4e;
    pub(super) const FINISHED: u8 = 0x4f;
    pub(super) const REGISTER_VALUE: u8 = 0x50;
    pub(super) const REGISTER_WRITTEN: u8 = 0x51;
    pub(super) const GRANTED_ALL: u8 = 0x53;
}

/// The first optional field of a message, the second, the third: in the order in which they follow.
mod flag {
    pub(super) const FIRST: u8 = 1;
    pub(super) const SECOND: u8 = 1 << 1;
    pub(super) const THIRD: u8 = 1 << 2;
    pub(super) const FOURTH: u8 = 1 << 3;
    /// Of a refusal.
    pub(super) const REGISTER: u8 = 1 << 4;
    /// Of a refusal.
    pub(super) const DENIAL: u8 = 1 << 5;
}

impl<'a> ToClient<'a> {
    /// Appends the message as one frame, its length included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put::frame(out, |out| match self {
            ToClient::Welcome(welcome) => welcome.encode(out),
            ToClient::Granted(granted) => {
                out.push(kind::GRANTED);
                granted.encode(out);
            }
            ToClient::GrantedAll { request, leases } => {
                put_numbered(out, kind::GRANTED_ALL, *request);
                put::u32(out, leases.len() as u32);
                leases.iter().for_each(|granted| granted.encode(out));
            }
            ToClient::Cancelled { request } => put_numbered(out, kind::CANCELLED, *request),
            ToClient::Renewed(renewed) => renewed.encode(out),
            ToClient::Released { request } => put_numbered(out, kind::RELEASED, *request),
            ToClient::Done(done) => {
                put_numbered(out, kind::DONE, done.request);
                put::u64(out, done.finished_at_ms);
                put::bytes(out, &done.result);
            }
            ToClient::Finished { request } => put_numbered(out, kind::FINISHED, *request),
            ToClient::Pong { boottime_ns } => put_numbered(out, kind::PONG, *boottime_ns),
            ToClient::Refused(refused) => refused.encode(out),
            ToClient::Holders(holders) => holders.encode(out),
            ToClient::RegisterValue { request, current } => {
                put_numbered(out, kind::REGISTER_VALUE, *request);
                current.encode(out);
            }
            ToClient::RegisterWritten { request, etag } => {
                put_numbered(out, kind::REGISTER_WRITTEN, *request);
                out.push(put::flag(etag.is_some(), flag::FIRST));
                if let Some(etag) = etag {
                    put::text(out, etag);
                }
            }
            ToClient::Queued { request, ahead } => {
                put_numbered(out, kind::QUEUED, *request);
                put::u32(out, *ahead);
            }
            ToClient::Extended { until_ns, except } => {
                put_numbered(out, kind::EXTENDED, *until_ns);
                put::list(out, except);
            }
            ToClient::AtRisk { request } => put_numbered(out, kind::AT_RISK, *request),
            ToClient::Lost { request, reason } => {
                put_numbered(out, kind::LOST, *request);
                out.push(reason.number());
            }
            ToClient::Draining => out.push(kind::DRAINING),
            ToClient::Goodbye { code, message } => {
                out.push(kind::GOODBYE);
                put::u16(out, code.number());
                put::text(out, message);
            }
        });
    }

    /// Reads a frame's payload, as [`crate::Decoder::next_frame`] yields it. `None`: a kind that a later version added
    /// and that may be skipped.
    pub fn decode(payload: &'a [u8]) -> Result<Option<Self>, FrameError> {
        let (kind, mut fields) = Fields::of(payload)?;
        let fields = &mut fields;
        let message = match kind {
            kind::WELCOME => ToClient::Welcome(Welcome::decode(fields)?),
            kind::GRANTED => ToClient::Granted(Granted::decode(fields)?),
            kind::GRANTED_ALL => {
                let request = fields.u64("request")?;
                let count = fields.u32("leases")?;
                let leases = (0..count).map(|_| Granted::decode(fields)).collect::<Result<_, _>>()?;
                ToClient::GrantedAll { request, leases }
            }
            kind::CANCELLED => ToClient::Cancelled { request: fields.u64("request")? },
            kind::RENEWED => ToClient::Renewed(Renewed::decode(fields)?),
            kind::RELEASED => ToClient::Released { request: fields.u64("request")? },
            kind::DONE => ToClient::Done(Done {
                request: fields.u64("request")?,
                finished_at_ms: fields.u64("finished_at_ms")?,
                result: fields.bytes("result")?.into(),
            }),
            kind::FINISHED => ToClient::Finished { request: fields.u64("request")? },
            kind::PONG => ToClient::Pong { boottime_ns: fields.u64("boottime_ns")? },
            kind::REFUSED => ToClient::Refused(Refused::decode(fields)?),
            holder::ANSWER => ToClient::Holders(Holders::decode(fields)?),
            kind::REGISTER_VALUE => {
                ToClient::RegisterValue { request: fields.u64("request")?, current: Current::decode(fields)? }
            }
            kind::REGISTER_WRITTEN => {
                let request = fields.u64("request")?;
                let flags = fields.u8("flags")?;
                let etag = fields.optional(flags & flag::FIRST != 0, |f| f.text("etag"))?;
                ToClient::RegisterWritten { request, etag: etag.map(Cow::from) }
            }
            kind::QUEUED => ToClient::Queued { request: fields.u64("request")?, ahead: fields.u32("ahead")? },
            kind::EXTENDED => {
                ToClient::Extended { until_ns: fields.u64("until_ns")?, except: fields.list("except")? }
            }
            kind::AT_RISK => ToClient::AtRisk { request: fields.u64("request")? },
            kind::LOST => {
                let request = fields.u64("request")?;
                ToClient::Lost { request, reason: LostReason::from_number(fields.u8("reason")?) }
            }
            kind::DRAINING => ToClient::Draining,
            kind::GOODBYE => {
                ToClient::Goodbye { code: code(fields)?, message: fields.text("message")?.into() }
            }
            unknown => return FrameError::unknown_kind(unknown),
        };
        Ok(Some(message))
    }
}

impl<'a> Welcome<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(kind::WELCOME);
        put::u16(out, self.version);
        put::u64(out, self.features);
        put::u64(out, self.session);
        put::u128(out, self.secret.0);
        put::u64(out, millis(self.session_ttl));
        put::u64(out, self.boottime_ns);
        put::u128(out, self.incarnation);
        out.push(self.scope.number());
        out.push(self.guarantee.number());
        put::u32(out, self.limits.frame_bytes_max);
        put::u32(out, self.limits.key_bytes_max);
        put::u32(out, self.limits.in_flight_max);
        out.push(put::flag(self.resumed.is_some(), flag::FIRST));
        put::text(out, &self.namespace);
        if let Some(held) = &self.resumed {
            put::list(out, held);
        }
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        let version = fields.u16("version")?;
        let features = fields.u64("features")?;
        let session = fields.u64("session")?;
        let secret = Secret(fields.u128("secret")?);
        let session_ttl = fields.millis("session_ttl")?;
        let boottime_ns = fields.u64("boottime_ns")?;
        let incarnation = fields.u128("incarnation")?;
        let scope = fields.known("scope", Scope::from_number)?;
        let guarantee = fields.known("guarantee", Guarantee::from_number)?;
        let limits = Limits {
            frame_bytes_max: fields.u32("frame_bytes_max")?,
            key_bytes_max: fields.u32("key_bytes_max")?,
            in_flight_max: fields.u32("in_flight_max")?,
        };
        let flags = fields.u8("flags")?;
        let namespace = fields.text("namespace")?.into();
        let resumed = fields.optional(flags & flag::FIRST != 0, |f| f.list("resumed"))?;
        Ok(Welcome {
            version,
            features,
            session,
            secret,
            session_ttl,
            boottime_ns,
            incarnation,
            scope,
            guarantee,
            limits,
            namespace,
            resumed,
        })
    }
}

impl Renewed {
    fn encode(&self, out: &mut Vec<u8>) {
        put_numbered(out, kind::RENEWED, self.request);
        put::u64(out, self.fence);
        put::u64(out, self.deadline_ns);
        out.push(put::flag(self.cap_ns.is_some(), flag::FIRST));
        if let Some(cap) = self.cap_ns {
            put::u64(out, cap);
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let request = fields.u64("request")?;
        let fence = fields.u64("fence")?;
        let deadline_ns = fields.u64("deadline_ns")?;
        let flags = fields.u8("flags")?;
        let cap_ns = fields.optional(flags & flag::FIRST != 0, |f| f.u64("cap_ns"))?;
        Ok(Renewed { request, fence, deadline_ns, cap_ns })
    }
}

impl<'a> Refused<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_numbered(out, kind::REFUSED, self.request);
        put::u16(out, self.code.number());
        let Detail { limit, retry_after, reason, cycle, denial } = &self.detail;
        let flags = put::flag(limit.is_some(), flag::FIRST)
            | put::flag(retry_after.is_some(), flag::SECOND)
            | put::flag(reason.is_some(), flag::THIRD)
            | put::flag(!cycle.is_empty(), flag::FOURTH)
            | put::flag(self.register.is_some(), flag::REGISTER)
            | put::flag(denial.is_some(), flag::DENIAL);
        out.push(flags);
        put::text(out, &self.message);
        if let Some(limit) = limit {
            put::u32(out, *limit);
        }
        if let Some(span) = retry_after {
            put::u64(out, millis(*span));
        }
        if let Some(reason) = reason {
            out.push(reason.number());
        }
        if !cycle.is_empty() {
            let edges = &cycle[..cycle.len().min(CYCLE_EDGES_MAX)];
            put::u32(out, edges.len() as u32);
            edges.iter().for_each(|edge| edge.encode(out));
        }
        if let Some(version) = &self.register {
            version.encode(out);
        }
        if let Some(Denial { policy, reason_code }) = denial.as_deref() {
            put::text(out, policy);
            put::text(out, reason_code);
        }
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, FrameError> {
        let request = fields.u64("request")?;
        let code = code(fields)?;
        let flags = fields.u8("flags")?;
        let message = fields.text("message")?.into();
        let limit = fields.optional(flags & flag::FIRST != 0, |f| f.u32("limit"))?;
        let retry_after = fields.optional(flags & flag::SECOND != 0, |f| f.millis("retry_after"))?;
        let reason = fields.optional(flags & flag::THIRD != 0, |f| f.u8("reason"))?;
        let cycle = fields.optional(flags & flag::FOURTH != 0, |f| {
            let edges = f.u32("cycle")?;
            if edges as usize > CYCLE_EDGES_MAX {
                return Err(f.bad("cycle", u8::try_from(edges).unwrap_or(u8::MAX)));
            }
            (0..edges).map(|_| CycleEdge::decode(f)).collect()
        })?;
        let reason = reason.map(LostReason::from_number);
        let register = fields.optional(flags & flag::REGISTER != 0, Version::decode)?;
        let denial = fields.optional(flags & flag::DENIAL != 0, |f| {
            let (policy, reason_code) = (f.text("policy")?.into(), f.text("reason_code")?.into());
            Ok(Box::new(Denial { policy, reason_code }))
        })?;
        let detail = Detail { limit, retry_after, reason, cycle: cycle.unwrap_or_default(), denial };
        Ok(Refused { request, code, message, detail, register })
    }
}

fn put_numbered(out: &mut Vec<u8>, kind: u8, number: u64) {
    out.push(kind);
    put::u64(out, number);
}

fn code(fields: &mut Fields<'_>) -> Result<Code, FrameError> {
    Ok(Code::from_number(fields.u16("code")?).unwrap_or(Code::Internal))
}
