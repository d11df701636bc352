//! One of each message in each of its shapes, with a name; and how a message reads as JSON in the golden files.

use serde_json::{Value, json};
use sidelock_wire::{
    Acquire, AcquireAll, Align, AskHolders, Change, Code, Condition, Current, CycleEdge, Denial, Detail,
    Done, Granted, Guarantee, Hello, Holder, HolderClient, Holders, Known, LeaseName, Life, Limits,
    LostReason, Mode, Refused, Register, RegisterAct, Renewed, Resume, Scope, Secret, ToClient, ToSidecar,
    Version, Welcome, Window,
};
use std::time::Duration;

const SECRET: Secret = Secret(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

pub(crate) fn to_sidecar() -> Vec<(&'static str, ToSidecar<'static>)> {
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        boottime_ns: 86_400_000_000_123,
        app: "billing",
        require_scope: None,
        resume: None,
    };
    let resume = Some(Resume { session: 7, secret: SECRET });
    let plain = Acquire {
        request: 16_777_216,
        key: b"orders/42",
        mode: Mode::Exclusive,
        wait: None,
        life: Life::Session { ttl: None },
        max_hold: None,
        owner: None,
        priority: 0,
        notify_queued: false,
        per: None,
        once: None,
        reentrant: false,
    };
    let full = Acquire {
        request: u64::MAX - 1,
        key: "schlüssel/🔑".as_bytes(),
        mode: Mode::Permits { permits: 2, limit: 10 },
        wait: Some(Duration::from_secs(5)),
        life: Life::Session { ttl: Some(Duration::from_secs(30)) },
        max_hold: Some(Duration::from_secs(60)),
        owner: Some("task 3"),
        priority: -100,
        notify_queued: true,
        per: None,
        once: None,
        reentrant: false,
    };
    let rate = Acquire {
        mode: Mode::Permits { permits: 1, limit: 100 },
        per: Some(Duration::from_secs(60)),
        ..plain.clone()
    };
    let day = Window { per: Duration::from_secs(86_400), align: Align::Utc };
    let turn = Acquire { once: Some(day), ..plain.clone() };
    let all = Acquire { wait: Some(Duration::from_secs(5)), ..plain.clone() };
    let others = vec![(33_554_433, &b"orders/41"[..]), (50_331_650, &b"orders/43"[..])];
    let reentrant = Acquire { owner: Some("task 3"), reentrant: true, ..plain.clone() };
    let timed = Acquire { life: Life::Timed { ttl: Duration::from_secs(30) }, ..plain.clone() };
    let ttl = Duration::from_millis(1500);
    let change = |lease, mode, wait| ToSidecar::Change(Change { request: 33_554_433, lease, mode, wait });
    let (session, secret) = (LeaseName::Session(16_777_216), LeaseName::Timed(SECRET));
    vec![
        ("hello", ToSidecar::Hello(hello.clone())),
        ("hello_full", ToSidecar::Hello(Hello { require_scope: Some(Scope::Fleet), resume, ..hello })),
        ("acquire", ToSidecar::Acquire(plain.clone())),
        ("acquire_try", ToSidecar::Acquire(Acquire { wait: Some(Duration::ZERO), ..plain.clone() })),
        ("acquire_shared", ToSidecar::Acquire(Acquire { mode: Mode::Shared, ..plain })),
        ("acquire_timed", ToSidecar::Acquire(timed)),
        ("acquire_full", ToSidecar::Acquire(full)),
        ("acquire_rate", ToSidecar::Acquire(rate)),
        ("acquire_once", ToSidecar::Acquire(turn)),
        ("acquire_all", ToSidecar::AcquireAll(AcquireAll { first: all.clone(), others: vec![] })),
        ("acquire_all_full", ToSidecar::AcquireAll(AcquireAll { first: all, others })),
        ("acquire_reentrant", ToSidecar::Acquire(reentrant)),
        ("cancel", ToSidecar::Cancel { request: 16_777_216 }),
        ("renew_session", ToSidecar::Renew { request: 33_554_433, lease: session, ttl }),
        ("renew_timed", ToSidecar::Renew { request: 33_554_433, lease: secret, ttl }),
        ("release_session", ToSidecar::Release { request: u64::MAX, lease: session }),
        ("release_timed", ToSidecar::Release { request: 50_331_650, lease: secret }),
        ("ping", ToSidecar::Ping),
        ("holders", ToSidecar::Holders(AskHolders { request: 83_886_084, key: b"orders/42" })),
        ("change_to_shared", change(session, Mode::Shared, None)),
        ("change_to_exclusive", change(session, Mode::Exclusive, Some(Duration::from_secs(5)))),
        ("change_timed", change(secret, Mode::Exclusive, None)),
        ("finish", ToSidecar::Finish { request: 50_331_650, lease: session, result: b"paid" }),
        ("finish_timed", ToSidecar::Finish { request: 50_331_650, lease: secret, result: b"" }),
    ]
    .into_iter()
    .chain(registers().map(|(name, register)| (name, ToSidecar::Register(register))))
    .collect()
}

const ETAG: &str = "644590c5b0001-feedfacecafebeef0123456789abcdef-2a";

fn registers() -> impl Iterator<Item = (&'static str, Register<'static>)> {
    let lease = Some(LeaseName::Session(16_777_216));
    let put = |condition| RegisterAct::Put { condition, value: b"4711" };
    let delete = |condition| RegisterAct::Delete { condition };
    let watch = |known, wait: Option<u64>| RegisterAct::Watch { known, wait: wait.map(Duration::from_secs) };
    [
        ("register_get", RegisterAct::Get, None),
        ("register_get_fenced", RegisterAct::Get, lease),
        ("register_put", put(Condition::Any), None),
        ("register_put_if_match_fenced", put(Condition::Match(ETAG)), lease),
        ("register_put_if_absent", put(Condition::Absent), Some(LeaseName::Timed(SECRET))),
        ("register_put_if_present", put(Condition::Present), None),
        ("register_delete", delete(Condition::Any), None),
        ("register_delete_if_match", delete(Condition::Match(ETAG)), None),
        ("register_watch", watch(Known::Nothing, None), None),
        ("register_watch_absent", watch(Known::Absent, Some(0)), None),
        ("register_watch_known", watch(Known::Etag(ETAG), Some(60)), None),
    ]
    .into_iter()
    .map(|(name, act, lease)| (name, Register { request: 67_108_867, key: b"config", lease, act }))
}

pub(crate) fn to_client() -> Vec<(&'static str, ToClient<'static>)> {
    let welcome = Welcome {
        version: 1,
        features: 0,
        session: 7,
        secret: SECRET,
        session_ttl: Duration::from_secs(30),
        boottime_ns: 86_400_000_456_789,
        incarnation: 0xfeed_face_cafe_beef_0123_4567_89ab_cdef,
        scope: Scope::Host,
        guarantee: Guarantee::Local,
        limits: Limits { frame_bytes_max: 131_072, key_bytes_max: 512, in_flight_max: 4096 },
        namespace: "default".into(),
        resumed: None,
    };
    let resumed = Welcome {
        scope: Scope::Fleet,
        guarantee: Guarantee::Bounded,
        resumed: Some(vec![16_777_216, 33_554_433]),
        ..welcome.clone()
    };
    let granted = Granted {
        request: 16_777_216,
        fence: 1_764_000_000_000_001,
        deadline_ns: 86_410_000_000_123,
        cap_ns: None,
        secret: None,
    };
    let second = Granted { request: 33_554_433, fence: 1_764_000_000_000_777, ..granted };
    let renewed = Renewed {
        request: 33_554_433,
        fence: 1_764_000_000_000_001,
        deadline_ns: 86_411_000_000_000,
        cap_ns: None,
    };
    let refused = |code, message: &'static str, detail| {
        let register = None;
        ToClient::Refused(Refused { request: 16_777_216, code, message: message.into(), detail, register })
    };
    let version = Version { etag: ETAG.into(), value: b"4711"[..].into() };
    let conflict = ToClient::Refused(Refused {
        request: 67_108_867,
        code: Code::Conflict,
        message: "another version".into(),
        detail: Detail::default(),
        register: Some(version.clone()),
    });
    let register = |current| ToClient::RegisterValue { request: 67_108_867, current };
    let none = Detail::default();
    let retry = Detail { limit: Some(100_000), retry_after: Some(Duration::from_secs(1)), ..none.clone() };
    let lost = Detail { reason: Some(LostReason::SidecarRestarted), ..none.clone() };
    let deadlock = Detail { cycle: cycle(), ..none.clone() };
    let denial = Denial { policy: "tenant-acl".into(), reason_code: "not_yours".into() };
    let denied = Detail { denial: Some(Box::new(denial)), ..none.clone() };
    let cap_ns = Some(86_412_000_000_000);
    vec![
        ("welcome", ToClient::Welcome(welcome)),
        ("welcome_resumed", ToClient::Welcome(resumed)),
        ("granted", ToClient::Granted(granted)),
        ("granted_capped", ToClient::Granted(Granted { cap_ns, ..granted })),
        ("granted_timed", ToClient::Granted(Granted { cap_ns, secret: Some(SECRET), ..granted })),
        ("granted_all", ToClient::GrantedAll { request: 16_777_216, leases: vec![granted, second] }),
        ("cancelled", ToClient::Cancelled { request: 16_777_216 }),
        ("renewed", ToClient::Renewed(renewed)),
        ("renewed_capped", ToClient::Renewed(Renewed { cap_ns, ..renewed })),
        ("released", ToClient::Released { request: 50_331_650 }),
        ("pong", ToClient::Pong { boottime_ns: 86_403_000_000_000 }),
        ("refused", refused(Code::Held, "held by another session", none)),
        ("refused_with_limit", refused(Code::QueueFull, "100000 wait already", retry)),
        ("refused_lost", refused(Code::LeaseLost, "the sidecar restarted", lost)),
        ("refused_deadlock", refused(Code::Deadlock, "a ring of 2 waits", deadlock)),
        ("refused_denied", refused(Code::Denied, "keys of billing/ are for billing", denied)),
        ("queued", ToClient::Queued { request: 16_777_216, ahead: 3 }),
        ("extended", ToClient::Extended { until_ns: 86_413_000_000_000, except: vec![] }),
        (
            "extended_except",
            ToClient::Extended { until_ns: 86_413_000_000_000, except: vec![16_777_216, 33_554_433] },
        ),
        ("at_risk", ToClient::AtRisk { request: 16_777_216 }),
        ("lost", ToClient::Lost { request: 16_777_216, reason: LostReason::Store }),
        ("draining", ToClient::Draining),
        (
            "done",
            ToClient::Done(Done {
                request: 16_777_216,
                finished_at_ms: 1_764_000_000_123,
                result: b"paid".as_slice().into(),
            }),
        ),
        ("finished", ToClient::Finished { request: 50_331_650 }),
        (
            "goodbye",
            ToClient::Goodbye { code: Code::PeerRefused, message: "uid 1000: --allow-uid 1000".into() },
        ),
        ("register_value", register(Current::Value(version))),
        ("register_absent", register(Current::Absent)),
        ("register_unchanged", register(Current::Unchanged)),
        ("register_written", ToClient::RegisterWritten { request: 67_108_867, etag: Some(ETAG.into()) }),
        ("register_deleted", ToClient::RegisterWritten { request: 67_108_867, etag: None }),
        ("refused_conflict", conflict),
        ("holders_none", holders(Vec::new())),
        ("holders", holders(holder_of_each_kind())),
    ]
}

fn holders(named: Vec<Holder>) -> ToClient<'static> {
    ToClient::Holders(Holders { request: 83_886_084, count: named.len() as u32, named })
}

fn holder_of_each_kind() -> Vec<Holder> {
    let unknown = Holder {
        mode: Mode::Permits { permits: 3, limit: 10 },
        sidecar: 0xfeed_face_cafe_beef_0123_4567_89ab_cdef,
        local: false,
        expires_in: Duration::from_secs(9),
        fence: None,
        client: None,
    };
    let client =
        HolderClient { uid: 1000, held_for: Duration::from_millis(1500), app: "billing".into(), owner: None };
    let mode = Mode::Permits { permits: 1, limit: 10 };
    let fence = Some(1_764_000_000_000_001);
    let remote = Holder { mode, fence, client: Some(client.clone()), ..unknown.clone() };
    let local = Holder { sidecar: 1, local: true, ..remote.clone() };
    let owned = HolderClient { owner: Some("task 3".into()), ..client };
    let reserved = Holder { fence: None, ..local.clone() };
    vec![Holder { client: Some(owned), ..local.clone() }, local, reserved, remote, unknown]
}

fn describe_holder(holder: &Holder) -> Value {
    let client = |client: &HolderClient| json!({ "uid": client.uid, "held_for_ms": millis(client.held_for), "app": client.app, "owner": client.owner });
    json!({
        "mode": mode(holder.mode), "sidecar": wide(holder.sidecar), "local": holder.local,
        "expires_in_ms": millis(holder.expires_in), "fence": holder.fence,
        "client": holder.client.as_ref().map(client),
    })
}

fn millis(span: Duration) -> Value {
    json!(span.as_millis() as u64)
}

fn wide(number: u128) -> Value {
    json!(format!("{number:032x}"))
}

fn lease(name: LeaseName) -> Value {
    match name {
        LeaseName::Session(acquire) => json!({ "acquire": acquire }),
        LeaseName::Timed(secret) => json!({ "secret": wide(secret.0) }),
    }
}

fn mode(mode: Mode) -> Value {
    match mode {
        Mode::Exclusive => json!("exclusive"),
        Mode::Shared => json!("shared"),
        Mode::Permits { permits, limit } => json!({ "permits": permits, "limit": limit }),
    }
}

fn describe_register(register: &Register<'_>) -> Value {
    let condition = |condition: &Condition<'_>| match condition {
        Condition::Any => json!(null),
        Condition::Absent => json!("absent"),
        Condition::Present => json!("present"),
        Condition::Match(etag) => json!({ "match": etag }),
    };
    let (name, mut fields) = match &register.act {
        RegisterAct::Get => ("register_get", json!({})),
        RegisterAct::Put { condition: only_if, value } => {
            ("register_put", json!({ "if": condition(only_if), "value": String::from_utf8_lossy(value) }))
        }
        RegisterAct::Delete { condition: only_if } => {
            ("register_delete", json!({ "if": condition(only_if) }))
        }
        RegisterAct::Watch { known, wait } => {
            let known = match known {
                Known::Nothing => json!(null),
                Known::Absent => json!("absent"),
                Known::Etag(etag) => json!({ "etag": etag }),
            };
            ("register_watch", json!({ "known": known, "wait_ms": wait.map(millis) }))
        }
    };
    fields["request"] = json!(register.request);
    fields["key"] = json!(String::from_utf8_lossy(register.key));
    fields["lease"] = json!(register.lease.map(lease));
    json!({ name: fields })
}

fn describe_version(version: &Version<'_>) -> Value {
    json!({ "etag": version.etag, "value": String::from_utf8_lossy(&version.value) })
}

/// An acquire, as the golden files show it.
fn describe_acquire(acquire: &Acquire<'_>) -> Value {
    let (ttl, timed) = match acquire.life {
        Life::Session { ttl } => (ttl, false),
        Life::Timed { ttl } => (Some(ttl), true),
    };
    let mut described = json!({
        "request": acquire.request, "key": String::from_utf8_lossy(acquire.key), "mode": mode(acquire.mode),
        "wait_ms": acquire.wait.map(millis), "ttl_ms": ttl.map(millis), "timed": timed,
        "max_hold_ms": acquire.max_hold.map(millis), "owner": acquire.owner, "priority": acquire.priority,
        "notify_queued": acquire.notify_queued, "per_ms": acquire.per.map(millis),
    });
    if acquire.reentrant {
        described["reentrant"] = json!(true);
    }
    if let Some(window) = acquire.once {
        described["once"] = json!({ "per_ms": millis(window.per), "align": window.align.name() });
    }
    described
}

/// As the golden files show it: one object with the message's name.
pub(crate) fn describe_to_sidecar(message: &ToSidecar<'_>) -> Value {
    match message {
        ToSidecar::Hello(hello) => json!({ "hello": {
            "version_min": hello.version_min, "version_max": hello.version_max, "features": hello.features,
            "boottime_ns": hello.boottime_ns, "app": hello.app,
            "require_scope": hello.require_scope.map(Scope::name),
            "resume": hello.resume.map(|r| json!({ "session": r.session, "secret": wide(r.secret.0) })),
        }}),
        ToSidecar::Acquire(acquire) => json!({ "acquire": describe_acquire(acquire) }),
        ToSidecar::AcquireAll(all) => {
            let others = all.others.iter();
            let others =
                others.map(|(number, key)| json!({ "number": number, "key": String::from_utf8_lossy(key) }));
            let others: Vec<Value> = others.collect();
            json!({ "acquire_all": { "first": describe_acquire(&all.first), "others": others } })
        }
        ToSidecar::Cancel { request } => json!({ "cancel": { "request": request } }),
        ToSidecar::Renew { request, lease: name, ttl } => {
            json!({ "renew": { "request": request, "lease": lease(*name), "ttl_ms": millis(*ttl) } })
        }
        ToSidecar::Release { request, lease: name } => {
            json!({ "release": { "request": request, "lease": lease(*name) } })
        }
        ToSidecar::Change(change) => json!({ "change": {
            "request": change.request, "lease": lease(change.lease), "mode": mode(change.mode),
            "wait_ms": change.wait.map(millis),
        }}),
        ToSidecar::Register(register) => describe_register(register),
        ToSidecar::Holders(ask) => {
            json!({ "holders": { "request": ask.request, "key": String::from_utf8_lossy(ask.key) } })
        }
        ToSidecar::Finish { request, lease: name, result } => json!({ "finish": {
            "request": request, "lease": lease(*name), "result": String::from_utf8_lossy(result),
        }}),
        ToSidecar::Ping => json!({ "ping": {} }),
    }
}

/// A lease, as the golden files show it.
fn describe_granted(granted: &Granted) -> Value {
    json!({
        "request": granted.request, "fence": granted.fence, "deadline_ns": granted.deadline_ns, "cap_ns": granted.cap_ns,
        "secret": granted.secret.map(|secret| wide(secret.0)),
    })
}

/// As the golden files show it: one object with the message's name.
pub(crate) fn describe_to_client(message: &ToClient<'_>) -> Value {
    match message {
        ToClient::Welcome(w) => json!({ "welcome": {
            "version": w.version, "features": w.features, "session": w.session, "secret": wide(w.secret.0),
            "session_ttl_ms": millis(w.session_ttl), "boottime_ns": w.boottime_ns, "incarnation": wide(w.incarnation),
            "scope": w.scope.name(), "guarantee": w.guarantee.name(), "frame_bytes_max": w.limits.frame_bytes_max,
            "key_bytes_max": w.limits.key_bytes_max, "in_flight_max": w.limits.in_flight_max,
            "namespace": w.namespace, "resumed": w.resumed,
        }}),
        ToClient::Granted(granted) => json!({ "granted": describe_granted(granted) }),
        ToClient::GrantedAll { request, leases } => json!({ "granted_all": {
            "request": request, "leases": leases.iter().map(describe_granted).collect::<Vec<_>>(),
        }}),
        ToClient::Cancelled { request } => json!({ "cancelled": { "request": request } }),
        ToClient::Renewed(r) => json!({ "renewed": {
            "request": r.request, "fence": r.fence, "deadline_ns": r.deadline_ns, "cap_ns": r.cap_ns,
        }}),
        ToClient::Released { request } => json!({ "released": { "request": request } }),
        ToClient::Done(d) => json!({ "done": {
            "request": d.request, "finished_at_ms": d.finished_at_ms, "result": String::from_utf8_lossy(&d.result),
        }}),
        ToClient::Holders(h) => {
            let named: Vec<_> = h.named.iter().map(describe_holder).collect();
            json!({ "holders": { "request": h.request, "count": h.count, "named": named } })
        }
        ToClient::Finished { request } => json!({ "finished": { "request": request } }),
        ToClient::Pong { boottime_ns } => json!({ "pong": { "boottime_ns": boottime_ns } }),
        ToClient::RegisterValue { request, current } => {
            let current = match current {
                Current::Unchanged => json!("unchanged"),
                Current::Absent => json!("absent"),
                Current::Value(version) => describe_version(version),
            };
            json!({ "register_value": { "request": request, "current": current } })
        }
        ToClient::RegisterWritten { request, etag } => {
            json!({ "register_written": { "request": request, "etag": etag } })
        }
        ToClient::Refused(r) => {
            let mut described = json!({ "refused": {
                "request": r.request, "code": r.code.name(), "message": r.message, "limit": r.detail.limit,
                "retry_after_ms": r.detail.retry_after.map(millis),
                "reason": r.detail.reason.map(LostReason::name),
            }});
            if !r.detail.cycle.is_empty() {
                described["refused"]["cycle"] = r.detail.cycle.iter().map(describe_edge).collect();
            }
            if let Some(version) = &r.register {
                described["refused"]["register"] = describe_version(version);
            }
            described
        }
        ToClient::Queued { request, ahead } => json!({ "queued": { "request": request, "ahead": ahead } }),
        ToClient::Extended { until_ns, except } => {
            json!({ "extended": { "until_ns": until_ns, "except": except } })
        }
        ToClient::AtRisk { request } => json!({ "at_risk": { "request": request } }),
        ToClient::Lost { request, reason } => {
            json!({ "lost": { "request": request, "reason": reason.name() } })
        }
        ToClient::Draining => json!({ "draining": {} }),
        ToClient::Goodbye { code, message } => {
            json!({ "goodbye": { "code": code.name(), "message": message } })
        }
    }
}

/// Two owners who wait for each other.
fn cycle() -> Vec<CycleEdge> {
    let edge = CycleEdge {
        key: "orders/42".into(),
        mode: Mode::Exclusive,
        owner: "task 1".into(),
        app: "billing".into(),
        sidecar: 0xfeed_face_cafe_beef_0123_4567_89ab_cdef,
        waiting_for: Duration::from_millis(1500),
        held_for: Some(Duration::from_millis(2500)),
    };
    let permits = Mode::Permits { permits: 2, limit: 5 };
    let other = CycleEdge {
        key: "api".into(),
        mode: permits,
        owner: "task 2".into(),
        held_for: None,
        ..edge.clone()
    };
    vec![edge, other]
}

fn describe_edge(edge: &CycleEdge) -> Value {
    json!({
        "key": edge.key, "mode": mode(edge.mode), "owner": edge.owner, "app": edge.app,
        "sidecar": wide(edge.sidecar), "waiting_ms": millis(edge.waiting_for), "held_ms": edge.held_for.map(millis),
    })
}
