//! The words about registers.

use super::World;
use super::words::{duration, lease};
use sidelock_engine::store::{Condition, Known, Op, Reply as StoreReply, Version};
use sidelock_engine::{
    Etag, Input, Key, Refusal, RegisterAct, RegisterRequest, Reply, RequestId, SessionId, Space,
};
use std::time::Duration;

/// `NUMBER KEY [VALUE] [match=current|match=other|absent|present] [under=LEASE] [wait=SPAN] [knowing=current|absent]`
pub(super) fn request(world: &World, session: SessionId, verb: &str, words: &[&str], line: &str) -> Input {
    let request = RequestId(words[0].parse().unwrap());
    let key = Key::of(Space::Register, words[1]).unwrap();
    let current = world.store.register(&key).map_or(Etag::NEVER, |register| register.etag);
    let (mut condition, mut known, mut wait, mut under) = (Condition::Any, Known::Nothing, None, None);
    let mut value = Vec::new();
    for word in &words[2..] {
        match word.split_once('=').unwrap_or((word, "")) {
            ("match", "current") => condition = Condition::Match(current),
            ("match", _) => condition = Condition::Match(Etag::NEVER),
            ("absent", _) => condition = Condition::Absent,
            ("present", _) => condition = Condition::Present,
            ("under", name) => under = Some(lease(name)),
            ("wait", span) => wait = Some(duration(span)),
            ("once", _) => wait = Some(Duration::ZERO),
            ("knowing", "absent") => known = Known::Absent,
            ("knowing", _) => known = Known::Version(current),
            (plain, "") => value = plain.into(),
            _ => panic!("not understood: {word} in {line}"),
        }
    }
    let act = match verb {
        "gets" => RegisterAct::Get,
        "puts" => RegisterAct::Put { condition, value: value.into() },
        "deletes" => RegisterAct::Delete { condition },
        _ => RegisterAct::Watch { known, wait },
    };
    Input::Register(RegisterRequest { session, request, key, lease: under, act })
}

fn etag(etag: Etag) -> String {
    format!("by #{} of {}", etag.writer.seq, { etag.writer.incarnation.0 })
}

fn version(version: &Version) -> String {
    format!("{:?} {}", String::from_utf8_lossy(&version.value), etag(version.etag))
}

pub(super) fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Register(Some(there)) => version(there),
        Reply::Register(None) => "nothing".into(),
        Reply::Unchanged => "unchanged".into(),
        Reply::Written(written) => format!("written {}", etag(*written)),
        Reply::Refused(Refusal::Exists(there) | Refusal::Conflict(Some(there))) => {
            format!("refused, there is {}", version(there))
        }
        Reply::Refused(_) => "refused, there is nothing".into(),
        _ => "deleted".into(),
    }
}

pub(super) fn answer(reply: &StoreReply) -> String {
    match reply {
        StoreReply::Register(Some(there)) => version(there),
        StoreReply::Register(None) => "nothing".into(),
        StoreReply::Written(written) => format!("written {}", etag(*written)),
        StoreReply::Conflict(Some(there)) => format!("conflict with {}", version(there)),
        other => format!("{other:?}").to_lowercase(),
    }
}

pub(super) fn call(op: &Op) -> String {
    match op {
        Op::ReadRegister(read) => {
            let under = read.bound.map_or(String::new(), |bound| format!(" under #{}", bound.tenure.seq));
            format!("read{under}{}", if read.watch.is_some() { " and watch" } else { "" })
        }
        Op::WriteRegister(write) => {
            let under = write.bound.map_or(String::new(), |bound| format!(" under #{}", bound.tenure.seq));
            let what = match &write.value {
                Some(value) => format!("{:?}", String::from_utf8_lossy(value)),
                None => "nothing".into(),
            };
            format!("write #{} {what}{under}", write.id.seq)
        }
        other => format!("{other:?}"),
    }
}
