//! The words of the scenario files: how what is done is read, and what followed is written.

use super::{STORE_EPOCH, World, registers};
use sidelock_engine::declaration::{Declaration, Party, decode_all};
use sidelock_engine::store::{Call, Op, Order, Outcome, Push, Reply as StoreReply, Success};
use sidelock_engine::survey::Around;
use sidelock_engine::{
    Acquire, AcquireAll, Align, Change, Cycle, Edge, EndedBy, Finish, Force, Grant, Input, Key, LeaseName,
    LeaseSecret, Life, Mode, NewMode, Notice, Owner, Refusal, Release, Renew, Reply, RequestId, SessionId,
    SessionOpened, Space, Time, WHOLE, Window,
};
use sidelock_store::strict::Terms;
use std::time::Duration;

/// Does one line.
pub(super) fn act(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["sidecars", names @ ..] => names.iter().for_each(|name| world.add_sidecar(name)),
        ["wait", span] => {
            let until = world.now + duration(span);
            world.advance_to(until);
        }
        ["flushall"] => world.store.flush(),
        ["a", "strict", "store,", longest, isolation] => {
            world.terms = Some(Terms { longest: duration(longest), isolation: duration(isolation) });
        }
        ["a", "replica", "takes", "over"] => world.store.replicate(world.now.0),
        ["tell", "of", "clients", "only"] => world.clients_only = true,
        ["lose", "pushes"] => world.pushes_lost = true,
        ["keys", "in", "the", "store"] => {
            let keys = world.store.keys();
            world.say(format!("{keys} keys"));
        }
        [sidecar, rest @ ..] => {
            let name = sidecar.trim_end_matches(':');
            let index = world.sidecars.iter().position(|sidecar| sidecar.name == name);
            let index = index.unwrap_or_else(|| panic!("no sidecar called {name}: {line}"));
            act_at(world, index, rest, line);
        }
        [] => {}
    }
}

fn act_at(world: &mut World, sidecar: usize, words: &[&str], line: &str) {
    match words {
        ["goes", "deaf"] => world.sidecars[sidecar].deaf = true,
        ["hears", "again"] => world.sidecars[sidecar].deaf = false,
        ["loses", "the", "store"] => {
            world.sidecars[sidecar].connected = false;
            world.input(sidecar, Input::StoreDown);
        }
        ["finds", "the", "store"] => {
            world.sidecars[sidecar].connected = true;
            let at = world.store_time();
            world.input(sidecar, Input::StoreUp { at });
        }
        ["clock", "steps"] => world.input(sidecar, Input::ClockStepped),
        ["looks", "around"] => world.input(sidecar, Input::Survey { ticket: 1, around: Around::Waits }),
        ["looks", "around", key] => {
            world.input(sidecar, Input::Survey { ticket: 1, around: Around::Key(Key::new(key).unwrap()) });
        }
        ["looks", "at", key] => {
            world.input(sidecar, Input::Survey { ticket: 1, around: Around::Alone(Key::new(key).unwrap()) });
        }
        ["lists", keys] => {
            let records = keys.split(',').map(|key| world.peek(Key::new(key).unwrap())).collect();
            world.input(sidecar, Input::Survey { ticket: 1, around: Around::Listed(records) });
        }
        ["drains"] => world.input(sidecar, Input::Drain),
        ["counts"] => {
            let counts = world.sidecars[sidecar].engine.counts();
            world.say(format!(
                "{} leases, {} waiters, {} owners, {} keys, {} tenures",
                counts.leases, counts.waiters, counts.owners, counts.keys, counts.tenures
            ));
        }
        [client, verb, rest @ ..] => {
            let session = session(world, sidecar, client);
            client_acts(world, sidecar, session, verb, rest, line);
        }
        _ => panic!("not understood: {line}"),
    }
}

fn session(world: &mut World, sidecar: usize, client: &str) -> SessionId {
    let clients = &mut world.sidecars[sidecar].clients;
    if let Some(index) = clients.iter().position(|known| known == client) {
        return SessionId(index as u64);
    }
    clients.push(client.into());
    let session = SessionId(clients.len() as u64 - 1);
    world.input(sidecar, Input::SessionOpened(opened(session, client)));
    session
}

fn opened(session: SessionId, client: &str) -> SessionOpened {
    let ping_within = Some(Duration::from_secs(30));
    SessionOpened { session, uid: 1000, app: client.into(), ping_within, owners_by_uid: false }
}

fn client_acts(world: &mut World, sidecar: usize, session: SessionId, verb: &str, rest: &[&str], line: &str) {
    let number =
        |at: usize| RequestId(rest.get(at).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line}")));
    let input = match verb {
        "acquires" => Input::Acquire(acquire(session, number(0), &rest[1..], line)),
        "acquires-all" => Input::AcquireAll(acquire_all(session, number(0), &rest[1..], line)),
        "cancels" => Input::Cancel { session, request: number(0) },
        "releases" => {
            let request = if rest.get(1) == Some(&"unheard") { RequestId::NOBODY } else { RequestId(0) };
            Input::Release(Release { session, request, lease: lease(rest[0]) })
        }
        "renews" => Input::Renew(Renew {
            session,
            request: RequestId(0),
            lease: lease(rest[0]),
            ttl: duration(rest[1]),
        }),
        "upgrades" => Input::Change(upgrade(session, number(1), lease(rest[0]), &rest[2..])),
        "downgrades" => {
            let (request, lease) = (RequestId(0), lease(rest[0]));
            Input::Change(Change { session, request, lease, to: NewMode::Shared })
        }
        "forces" => Input::Force(Force {
            session,
            request: number(0),
            key: match rest[1].strip_prefix("once:") {
                Some(key) => Key::of(Space::Once, key).unwrap(),
                None => Key::new(rest[1]).unwrap(),
            },
            order: Order { by: 0, reason: rest[2..].join(" ").into() },
        }),
        "gets" | "puts" | "deletes" | "watches" => registers::request(world, session, verb, rest, line),
        "enters" => Input::Acquire(enter(acquire(session, number(0), &rest[1..], line))),
        "finishes" => {
            let (request, lease) = (RequestId(0), lease(rest[0]));
            let result = rest.get(1).copied().unwrap_or_default().as_bytes().into();
            Input::Finish(Finish { session, request, lease, result })
        }
        "pings" => Input::SessionPinged(session),
        "dies" => Input::SessionEnded { session, by: EndedBy::Peer },
        "is" => Input::SessionEnded { session, by: EndedBy::Sidecar },
        "resumes" => Input::SessionResumed { session: opened(session, "back"), held: numbers(rest) },
        _ => panic!("not understood: {line}"),
    };
    world.input(sidecar, input);
}

/// What a client was told that it still has.
fn numbers(words: &[&str]) -> Vec<RequestId> {
    words.iter().map(|word| RequestId(word.parse().unwrap())).collect()
}

/// A turn of a once key: `window=SPAN` or `utc=SPAN` besides the words of an acquire.
fn enter(acquire: Acquire) -> Acquire {
    let hour = Window { per: Duration::from_secs(3600), align: Align::Rolling };
    let once = acquire.once.or_else(|| Some(Box::new(hour)));
    Acquire { key: acquire.key.in_space(Space::Once), once, ..acquire }
}

/// `NUMBER KEY [shared] [permits=N/LIMIT] [try|wait=SPAN] [ttl=SPAN] [timed=SPAN] [max_hold=SPAN] [per=SPAN] [priority=N]
/// [owner=NAME] [reentrant] [ignored]`
fn acquire(session: SessionId, request: RequestId, words: &[&str], line: &str) -> Acquire {
    let mut acquire = Acquire {
        session,
        request,
        key: Key::new(words[0]).unwrap(),
        mode: Mode::Exclusive,
        wait: None,
        life: Life::Session { ttl: None },
        max_hold: None,
        per: None,
        reentrant: false,
        owner: None,
        find_deadlocks: true,
        priority: 0,
        notify_queued: false,
        once: None,
    };
    for word in &words[1..] {
        match word.split_once('=').unwrap_or((word, "")) {
            ("shared", _) => acquire.mode = Mode::Shared,
            ("permits", units) => {
                let (permits, limit) = units.split_once('/').unwrap();
                acquire.mode =
                    Mode::Permits { permits: permits.parse().unwrap(), limit: limit.parse().unwrap() };
            }
            ("try", _) => acquire.wait = Some(Duration::ZERO),
            ("wait", span) => acquire.wait = Some(duration(span)),
            ("ttl", span) => acquire.life = Life::Session { ttl: Some(duration(span)) },
            ("timed", span) => {
                acquire.life = Life::Timed { secret: LeaseSecret(request.0.into()), ttl: duration(span) };
            }
            (word @ ("window" | "utc"), span) => {
                let align = if word == "utc" { Align::Utc } else { Align::Rolling };
                acquire.once = Some(Box::new(Window { per: duration(span), align }));
            }
            ("max_hold", span) => acquire.max_hold = Some(duration(span)),
            ("owner", name) => acquire.owner = Some(Owner(name.into())),
            ("reentrant", _) => acquire.reentrant = true,
            ("per", span) => acquire.per = Some(duration(span)),
            ("ignored", _) => acquire.find_deadlocks = false,
            ("priority", n) => acquire.priority = n.parse().unwrap(),
            _ => panic!("not understood: {word} in {line}"),
        }
    }
    acquire
}

/// `LEASE NUMBER [try|wait=SPAN]`
fn upgrade(session: SessionId, request: RequestId, lease: LeaseName, words: &[&str]) -> Change {
    let wait = match words {
        [] => None,
        ["try"] => Some(Duration::ZERO),
        [word, ..] => Some(duration(word.strip_prefix("wait=").unwrap())),
    };
    let to = NewMode::Exclusive { wait, secret: LeaseSecret(request.0.into()) };
    Change { session, request, lease, to }
}

/// `NUMBER KEY,KEY… …`: the keys in their order, the rest as for an acquire.
fn acquire_all(session: SessionId, request: RequestId, words: &[&str], line: &str) -> AcquireAll {
    let keys: Vec<Key> = words[0].split(',').map(|key| Key::new(key).unwrap()).collect();
    let wish = acquire(session, request, &[&[keys[0].as_str()], &words[1..]].concat(), line);
    let numbers = (request.0..).map(RequestId);
    let secrets = match wish.life {
        Life::Timed { .. } => {
            (0..keys.len()).map(|more| LeaseSecret((request.0 + more as u64).into())).collect()
        }
        Life::Session { .. } => Vec::new(),
    };
    AcquireAll { wish, keys: numbers.zip(keys).collect(), secrets }
}

/// A session lease by its number, a timed one by `timed:` and its number.
pub(super) fn lease(word: &str) -> LeaseName {
    match word.strip_prefix("timed:") {
        Some(secret) => LeaseName::Timed(LeaseSecret(secret.parse().unwrap())),
        None => LeaseName::Session(RequestId(word.parse().unwrap())),
    }
}

pub(super) fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(ms) => Duration::from_micros((ms.parse::<f64>().unwrap() * 1e3) as u64),
        None => Duration::from_secs_f64(text.strip_suffix('s').unwrap().parse().unwrap()),
    }
}

fn at(time: Time) -> String {
    format!("{:.1}ms", time.since(Time(1_000_000_000)).as_secs_f64() * 1e3)
}

pub(super) fn span(span: Duration) -> String {
    format!("{:.1}ms", span.as_secs_f64() * 1e3)
}

fn units(units: u32) -> String {
    if units == WHOLE { "all".into() } else { units.to_string() }
}

pub(super) fn reply(reply: &Reply, now: Time) -> String {
    match reply {
        Reply::Granted(grant) => format!("granted {}", granted(grant, now)),
        Reply::GrantedAll(grants) => {
            let grants: Vec<_> = grants.iter().map(|(_, grant)| granted(grant, now)).collect();
            format!("granted all: {}", grants.join(", "))
        }
        Reply::Renewed { deadline, .. } => format!("renewed until {}", at(*deadline)),
        Reply::Downgraded { deadline, .. } => format!("shared, until {} as before", at(*deadline)),
        Reply::Released => "released".into(),
        Reply::Done(success) => format!("done already, {}", left(success)),
        Reply::Finished(success) => format!("finished, {}", left(success)),
        Reply::Cancelled => "cancelled".into(),
        Reply::Register(_)
        | Reply::Unchanged
        | Reply::Written(_)
        | Reply::Deleted
        | Reply::Refused(Refusal::Exists(_) | Refusal::Conflict(_)) => registers::reply(reply),
        Reply::Refused(Refusal::Deadlock(cycle)) => format!("refused deadlock: {}", ring(cycle)),
        Reply::Refused(Refusal::UpgradeConflict { upgrader, who, ring: None }) => {
            let who = who.as_ref().map_or(String::new(), |who| format!("{} at ", who.app));
            format!("refused, {who}sidecar {} upgrades", { upgrader.0 })
        }
        Reply::Refused(Refusal::UpgradeConflict { ring: Some(cycle), .. }) => {
            format!("refused, another upgrades: {}", ring(cycle))
        }
        Reply::Unlocked(unlocked) => format!(
            "unlocked, {} had it, fenced until {}",
            unlocked.victims.len(),
            unlocked.fenced_until().map_or_else(|| "now".into(), at)
        ),
        Reply::Refused(Refusal::Quarantined { left }) => {
            format!("refused, nothing is granted for {}", span(*left))
        }
        Reply::Refused(refusal) => format!("refused {refusal:?}"),
    }
}

fn ring(cycle: &Cycle) -> String {
    let edge = |edge: &Edge| {
        let held = edge.held_for.map_or("ahead".into(), |held| format!("held {}", span(held)));
        let (owner, mode, key) = (&edge.owner, edge.mode.name(), &edge.key);
        format!("{owner}@{} → {mode} {key} {} ({held})", { edge.sidecar.0 }, span(edge.waiting_for))
    };
    cycle.edges.iter().map(edge).collect::<Vec<_>>().join("; ")
}

fn left(success: &Success) -> String {
    let closed = success.window_end.0 as i64 - STORE_EPOCH as i64 - 1_000_000;
    format!("{:?} until {:.1}ms", String::from_utf8_lossy(&success.result), closed as f64 / 1e3)
}

fn granted(grant: &Grant, now: Time) -> String {
    format!(
        "{} {} fence={} until {} ({:?}, after {:?})",
        grant.mode.name(),
        grant.key,
        fence(grant.fence, now),
        at(grant.deadline),
        grant.path,
        grant.waited
    )
}

fn fence(fence: u64, _now: Time) -> i64 {
    fence as i64 - STORE_EPOCH as i64 - 1_000_000
}

pub(super) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::Queued { request, ahead } => format!("{} queued behind {ahead}", request.0),
        Notice::Extended { until, except } => format!("extended until {} except {except:?}", at(*until)),
        Notice::AtRisk { request } => format!("{} at risk", request.0),
        Notice::Lost { request, reason } => format!("{} lost ({})", request.0, reason.name()),
        Notice::Draining => "draining".into(),
    }
}

pub(super) fn call(name: &str, call: &Call) -> String {
    let what = match &call.op {
        Op::Ask(ask) => {
            let back = ask.give_back.map_or(String::new(), |back| {
                format!(", giving back #{} but {}", back.seq, units(back.keep))
            });
            let first = if ask.upgrade { ", as an upgrade" } else { "" };
            format!("ask #{} for {} of {}{first}{back}", ask.id.seq, units(ask.units), units(ask.limit))
        }
        Op::Renew(renew) => {
            format!("renew #{}{}", renew.tenure.seq, if renew.top_up { " with fences" } else { "" })
        }
        Op::Reassert(reassert) => format!("put #{} back", reassert.tenure.seq),
        Op::Return(back) => format!("return #{} but {}", back.tenure.seq, units(back.keep)),
        Op::Withdraw(withdraw) => format!("withdraw #{} but {}", withdraw.id.seq, units(withdraw.keep)),
        Op::Publish(board) => {
            format!("board {} of {} bytes", board.version, board.body.len())
        }
        Op::ReadBoard { board } => format!("read the board of {}", board.as_str().trim_start_matches('0')),
        Op::Peek { .. } => "look at the record".into(),
        Op::Finish(finish) => format!("finish #{}", finish.tenure.seq),
        Op::Tell(tell) => format!("tell {} busy", { tell.ask.incarnation.0 }),
        Op::Inquire(inquire) => {
            let more = if inquire.more.is_empty() { "" } else { ", and more" };
            format!("ask {} how it stands{more}", { inquire.to.0 })
        }
        Op::Declare(declare) => {
            let declarations = decode_all(&declare.declarations).unwrap();
            let declarations: Vec<String> = declarations.iter().map(declaration).collect();
            format!("declare to {}: {}", { declare.inquiry.incarnation.0 }, declarations.join("; "))
        }
        Op::Force(force) => format!("force, because {}", force.order.reason),
        Op::ReadRegister(_) | Op::WriteRegister(_) => registers::call(&call.op),
    };
    match call.op.key().space() {
        Space::Board => format!("{name} → store: {what}"),
        _ => format!("{name} → store: {what} ({})", call.op.key()),
    }
}

pub(super) fn answer(name: &str, outcome: &Outcome) -> String {
    let what = match outcome {
        Outcome::Applied { reply, .. } => match reply {
            StoreReply::Granted(tenancy) => format!(
                "granted {}{}",
                units(tenancy.units),
                if tenancy.contended { ", others wait" } else { "" }
            ),
            StoreReply::Queued(queued) => format!("queued behind {}", queued.ahead),
            StoreReply::Quarantined { ahead, left } => {
                format!("behind {ahead}, and nothing for {}", span(*left))
            }
            StoreReply::Renewed { contended, .. } => {
                format!("renewed{}", if *contended { ", others wait" } else { "" })
            }
            StoreReply::Board(body) => {
                body.as_ref().map_or("no board".into(), |body| format!("a board of {} bytes", body.len()))
            }
            StoreReply::Record(record) => {
                format!("{} hold, {} wait", record.tenures.len(), record.queue.len())
            }
            StoreReply::Forced { seq, .. } => format!("#{seq} was taken"),
            StoreReply::Unlocked(taken) => format!("unlocked, {} had it", taken.len()),
            StoreReply::Finished(success) => format!("finished, {}", left(success)),
            other => registers::answer(other),
        },
        Outcome::NotApplied(fault) => format!("not done: {fault:?}"),
        Outcome::Unknown(_) => "no answer".into(),
    };
    format!("store → {name}: {what}")
}

/// Who holds and who waits.
pub(super) fn declaration(declaration: &Declaration) -> String {
    let party = |who: &Party| {
        let owner = who.owner.as_ref().map_or(String::new(), |owner| format!(" for {}", owner.0));
        let since = who.since.0.saturating_sub(STORE_EPOCH + 1_000_000) as f64 / 1e3;
        format!(
            "{}{owner} ({}, uid {}, since {since:.1}ms)",
            who.app,
            declaration.mode(who.units).name(),
            who.uid
        )
    };
    let holders = declaration.holders.iter().map(|holder| {
        let reserved = if holder.reserved { ", reserved" } else { "" };
        format!("{} holds{reserved}", party(&holder.who))
    });
    let waiters = declaration.waiters.iter().map(|waiter| {
        let what = if waiter.upgrades { "upgrades" } else { "waits" };
        format!("{} {what}", party(&waiter.who))
    });
    let kept = if declaration.idle { Some("kept".to_owned()) } else { None };
    let all: Vec<String> = kept.into_iter().chain(holders).chain(waiters).collect();
    if all.is_empty() { "nobody".into() } else { all.join(", ") }
}

pub(super) fn push(push: &Push) -> String {
    match push {
        Push::Offer { key, ask } => format!("#{} is next ({key})", ask.seq),
        Push::Recall { key, ask } => format!("sidecar {} waits ({key})", { ask.incarnation.0 }),
        Push::Forced { key, tenure } => format!("#{} was taken ({key})", tenure.seq),
        Push::Changed { key } => format!("{key} changed"),
        Push::Inquired { key, inquiry, .. } => {
            format!("{} asks how it stands ({key})", { inquiry.incarnation.0 })
        }
        Push::Declared(declare) => format!("how {} stands ({})", { declare.from.0 }, declare.key),
        Push::Busy { key, ask, free_in: None } => format!("#{} has to wait ({key})", ask.seq),
        Push::Busy { key, ask, free_in: Some(span) } => {
            format!("#{} has to wait, a unit is back in {span:?} ({key})", ask.seq)
        }
    }
}
