//! What must hold for every message and every byte.

use crate::support;
use proptest::option;
use proptest::prelude::*;
use sidelock_wire::{
    Acquire, AcquireAll, Align, AskHolders, CYCLE_EDGES_MAX, Change, Code, Condition, Current, CycleEdge,
    Decoder, Denial, Detail, Done, FRAME_BYTES_MAX, FrameError, Granted, Guarantee, HOLDERS_MAX, Hello,
    Holder, HolderClient, Holders, Known, LeaseName, Life, Limits, LostReason, MAGIC, Mode, Refused,
    Register, RegisterAct, Renewed, Resume, Scope, Secret, ToClient, ToSidecar, Version, Welcome, Window,
};
use std::time::Duration;

fn payload(frame: &[u8]) -> &[u8] {
    &frame[4..]
}

fn encoded_to_sidecar(message: &ToSidecar<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn encoded_to_client(message: &ToClient<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// Durations as they travel.
fn span() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Exclusive),
        Just(Mode::Shared),
        any::<(u32, u32)>().prop_map(|(permits, limit)| Mode::Permits { permits, limit }),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        option::of(span()).prop_map(|ttl| Life::Session { ttl }),
        span().prop_map(|ttl| Life::Timed { ttl })
    ]
}

fn lease() -> impl Strategy<Value = LeaseName> {
    prop_oneof![
        any::<u64>().prop_map(LeaseName::Session),
        any::<u128>().prop_map(|secret| LeaseName::Timed(Secret(secret)))
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![Just(Scope::Process), Just(Scope::Host), Just(Scope::Fleet)]
}

fn reason() -> impl Strategy<Value = LostReason> {
    use LostReason::*;
    prop::sample::select(vec![Other, Expired, MaxHold, Store, Session, Forced, SidecarRestarted])
}

fn code() -> impl Strategy<Value = Code> {
    prop::sample::select(Code::all().collect::<Vec<_>>())
}

/// Texts live as long as the test program: a message borrows them, and a few megabytes once are cheap.
fn text() -> impl Strategy<Value = &'static str> {
    any::<String>().prop_map(|text| &*text.leak())
}

fn hello() -> impl Strategy<Value = ToSidecar<'static>> {
    let resume = option::of(any::<(u64, u128)>());
    (any::<(u16, u16, u64, u64)>(), text(), option::of(scope()), resume).prop_map(
        |((version_min, version_max, features, boottime_ns), app, require_scope, resume)| {
            let resume = resume.map(|(session, secret)| Resume { session, secret: Secret(secret) });
            ToSidecar::Hello(Hello {
                version_min,
                version_max,
                features,
                boottime_ns,
                app,
                require_scope,
                resume,
            })
        },
    )
}

fn acquire() -> impl Strategy<Value = ToSidecar<'static>> {
    let key = any::<Vec<u8>>().prop_map(|key| &*key.leak());
    let spans = (option::of(span()), option::of(span()), option::of(span()));
    let align = prop_oneof![Just(Align::Rolling), Just(Align::Utc)];
    let once = option::of((span(), align).prop_map(|(per, align)| Window { per, align }));
    let plain = any::<(u64, i32, bool, bool)>();
    (plain, key, mode(), life(), spans, option::of(text()), once).prop_map(
        |(plain, key, mode, life, (wait, max_hold, per), owner, once)| {
            let (request, priority, notify_queued, reentrant) = plain;
            ToSidecar::Acquire(Acquire {
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
            })
        },
    )
}

fn acquire_all() -> impl Strategy<Value = ToSidecar<'static>> {
    let other = any::<(u64, Vec<u8>)>().prop_map(|(number, key)| (number, &*key.leak()));
    (acquire(), prop::collection::vec(other, 0..5)).prop_map(|(first, others)| match first {
        ToSidecar::Acquire(first) => ToSidecar::AcquireAll(AcquireAll { first, others }),
        other => other,
    })
}

fn to_sidecar() -> impl Strategy<Value = ToSidecar<'static>> {
    prop_oneof![
        hello(),
        acquire(),
        acquire_all(),
        any::<u64>().prop_map(|request| ToSidecar::Cancel { request }),
        (any::<u64>(), lease(), span()).prop_map(|(request, lease, ttl)| ToSidecar::Renew {
            request,
            lease,
            ttl
        }),
        (any::<u64>(), lease()).prop_map(|(request, lease)| ToSidecar::Release { request, lease }),
        (any::<u64>(), lease(), mode(), option::of(span())).prop_map(|(request, lease, mode, wait)| {
            ToSidecar::Change(Change { request, lease, mode, wait })
        }),
        register(),
        (any::<u64>(), lease(), any::<Vec<u8>>()).prop_map(|(request, lease, result)| {
            ToSidecar::Finish { request, lease, result: result.leak() }
        }),
        Just(ToSidecar::Ping),
        (any::<u64>(), any::<Vec<u8>>())
            .prop_map(|(request, key)| ToSidecar::Holders(AskHolders { request, key: key.leak() })),
    ]
}

fn register() -> impl Strategy<Value = ToSidecar<'static>> {
    let condition = || {
        let other = prop_oneof![Just(Condition::Any), Just(Condition::Absent), Just(Condition::Present)];
        prop_oneof![text().prop_map(Condition::Match), other]
    };
    let known = prop_oneof![Just(Known::Nothing), Just(Known::Absent), text().prop_map(Known::Etag)];
    let act = prop_oneof![
        Just(RegisterAct::Get),
        (condition(), any::<Vec<u8>>())
            .prop_map(|(condition, value)| RegisterAct::Put { condition, value: value.leak() }),
        condition().prop_map(|condition| RegisterAct::Delete { condition }),
        (known, option::of(span())).prop_map(|(known, wait)| RegisterAct::Watch { known, wait }),
    ];
    (any::<u64>(), any::<Vec<u8>>(), option::of(lease()), act).prop_map(|(request, key, lease, act)| {
        ToSidecar::Register(Register { request, key: key.leak(), lease, act })
    })
}

fn welcome() -> impl Strategy<Value = ToClient<'static>> {
    let numbers = any::<(u16, u64, u64, u128, u64, u128)>();
    let guarantee = prop_oneof![Just(Guarantee::Local), Just(Guarantee::Bounded), Just(Guarantee::Strict)];
    let limits = any::<(u32, u32, u32)>();
    let resumed = option::of(any::<Vec<u64>>());
    (numbers, span(), scope(), guarantee, limits, text(), resumed).prop_map(
        |(numbers, session_ttl, scope, guarantee, limits, namespace, resumed)| {
            let (version, features, session, secret, boottime_ns, incarnation) = numbers;
            let (frame_bytes_max, key_bytes_max, in_flight_max) = limits;
            ToClient::Welcome(Welcome {
                version,
                features,
                session,
                secret: Secret(secret),
                session_ttl,
                boottime_ns,
                incarnation,
                scope,
                guarantee,
                limits: Limits { frame_bytes_max, key_bytes_max, in_flight_max },
                namespace: namespace.into(),
                resumed,
            })
        },
    )
}

fn version() -> impl Strategy<Value = Version<'static>> {
    (text(), any::<Vec<u8>>()).prop_map(|(etag, value)| Version { etag: etag.into(), value: value.into() })
}

fn current() -> impl Strategy<Value = Current<'static>> {
    prop_oneof![Just(Current::Unchanged), Just(Current::Absent), version().prop_map(Current::Value)]
}

fn answer() -> impl Strategy<Value = ToClient<'static>> {
    let cycle = prop::collection::vec(edge(), 0..4);
    let detail = (option::of(any::<u32>()), option::of(span()), option::of(reason()), cycle);
    let cap = || option::of(any::<u64>());
    let granted = || {
        (any::<(u64, u64, u64)>(), cap(), option::of(any::<u128>())).prop_map(
            |((request, fence, deadline_ns), cap_ns, secret)| {
                let secret = secret.map(Secret);
                Granted { request, fence, deadline_ns, cap_ns, secret }
            },
        )
    };
    prop_oneof![
        granted().prop_map(ToClient::Granted),
        (any::<u64>(), prop::collection::vec(granted(), 0..5))
            .prop_map(|(request, leases)| ToClient::GrantedAll { request, leases }),
        (any::<(u64, u64, u64)>(), cap()).prop_map(|((request, fence, deadline_ns), cap_ns)| {
            ToClient::Renewed(Renewed { request, fence, deadline_ns, cap_ns })
        }),
        any::<u64>().prop_map(|request| ToClient::Cancelled { request }),
        any::<u64>().prop_map(|request| ToClient::Released { request }),
        any::<u64>().prop_map(|request| ToClient::Finished { request }),
        (any::<(u64, u32)>(), prop::collection::vec(holder(), 0..4))
            .prop_map(|((request, count), named)| { ToClient::Holders(Holders { request, count, named }) }),
        any::<(u64, u64, Vec<u8>)>().prop_map(|(request, finished_at_ms, result)| {
            ToClient::Done(Done { request, finished_at_ms, result: result.into() })
        }),
        (any::<u64>(), code(), text(), detail).prop_map(
            |(request, code, message, (limit, retry_after, reason, cycle))| {
                let detail = Detail { limit, retry_after, reason, cycle, denial: None };
                ToClient::Refused(Refused { request, code, message: message.into(), detail, register: None })
            }
        ),
        (any::<u64>(), code(), text(), option::of(version()), option::of((text(), text()))).prop_map(
            |(request, code, message, register, denial)| {
                let denial = denial.map(|(policy, reason_code)| {
                    Box::new(Denial { policy: policy.into(), reason_code: reason_code.into() })
                });
                let detail = Detail { denial, ..Detail::default() };
                ToClient::Refused(Refused { request, code, message: message.into(), detail, register })
            }
        ),
        (any::<u64>(), current()).prop_map(|(request, current)| ToClient::RegisterValue { request, current }),
        (any::<u64>(), option::of(text())).prop_map(|(request, etag)| {
            ToClient::RegisterWritten { request, etag: etag.map(Into::into) }
        }),
    ]
}

fn edge() -> impl Strategy<Value = CycleEdge> {
    let texts = (text(), text(), text());
    (texts, mode(), any::<u128>(), span(), option::of(span())).prop_map(
        |((key, owner, app), mode, sidecar, waiting_for, held_for)| CycleEdge {
            key: key.into(),
            mode,
            owner: owner.into(),
            app: app.into(),
            sidecar,
            waiting_for,
            held_for,
        },
    )
}

fn holder() -> impl Strategy<Value = Holder> {
    let client = (any::<u32>(), span(), any::<String>(), option::of(any::<String>()))
        .prop_map(|(uid, held_for, app, owner)| HolderClient { uid, held_for, app, owner });
    let place = (any::<u128>(), any::<bool>());
    (mode(), place, span(), option::of(any::<u64>()), option::of(client)).prop_map(
        |(mode, (sidecar, local), expires_in, fence, client)| Holder {
            mode,
            sidecar,
            local,
            expires_in,
            fence,
            client,
        },
    )
}

fn push() -> impl Strategy<Value = ToClient<'static>> {
    prop_oneof![
        any::<u64>().prop_map(|boottime_ns| ToClient::Pong { boottime_ns }),
        any::<(u64, u32)>().prop_map(|(request, ahead)| ToClient::Queued { request, ahead }),
        any::<(u64, Vec<u64>)>().prop_map(|(until_ns, except)| ToClient::Extended { until_ns, except }),
        any::<u64>().prop_map(|request| ToClient::AtRisk { request }),
        (any::<u64>(), reason()).prop_map(|(request, reason)| ToClient::Lost { request, reason }),
        Just(ToClient::Draining),
        (code(), text()).prop_map(|(code, message)| ToClient::Goodbye { code, message: message.into() }),
    ]
}

fn to_client() -> impl Strategy<Value = ToClient<'static>> {
    prop_oneof![welcome(), answer(), push()]
}

proptest! {
    #[test]
    fn messages_to_the_sidecar_come_back_as_they_went(message in to_sidecar()) {
        let bytes = encoded_to_sidecar(&message);
        prop_assert_eq!(ToSidecar::decode(payload(&bytes)), Ok(Some(message)));
    }

    #[test]
    fn messages_to_the_client_come_back_as_they_went(message in to_client()) {
        let bytes = encoded_to_client(&message);
        prop_assert_eq!(ToClient::decode(payload(&bytes)), Ok(Some(message)));
    }

    #[test]
    fn what_a_later_version_appends_is_ignored(message in to_client(), more in any::<Vec<u8>>()) {
        let mut bytes = encoded_to_client(&message);
        bytes.extend(more);
        prop_assert_eq!(ToClient::decode(payload(&bytes)), Ok(Some(message)));
    }

    #[test]
    fn any_chunking_yields_the_same_frames(
        messages in prop::collection::vec(to_sidecar(), 1..8),
        cuts in prop::collection::vec(1usize..40, 1..40),
    ) {
        let mut bytes = MAGIC.to_vec();
        messages.iter().for_each(|message| message.encode(&mut bytes));
        let mut decoder = Decoder::with_magic(FRAME_BYTES_MAX);
        let mut seen = 0;
        let mut cuts = cuts.into_iter().cycle();
        let mut rest = &bytes[..];
        while let Some(size) = cuts.next().filter(|_| !rest.is_empty()) {
            let (chunk, later) = rest.split_at(size.min(rest.len()));
            decoder.space().extend_from_slice(chunk);
            rest = later;
            while let Some(payload) = decoder.next_frame().unwrap() {
                prop_assert_eq!(ToSidecar::decode(payload).unwrap(), Some(messages[seen].clone()));
                seen += 1;
            }
        }
        prop_assert_eq!(seen, messages.len());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
        let _ = ToSidecar::decode(&bytes);
        let _ = ToClient::decode(&bytes);
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        decoder.space().extend_from_slice(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
    }
}

/// Cut anywhere, a message is an error that names the field; nothing is made up.
#[test]
fn a_frame_cut_at_any_byte_is_truncated() {
    let check = |name: &str, bytes: &[u8], result: Result<bool, FrameError>| match result {
        Err(FrameError::Empty) => assert!(bytes.is_empty(), "{name}"),
        Err(FrameError::Truncated { .. }) => {}
        other => panic!("{name} cut to {} bytes: {other:?}", bytes.len()),
    };
    for (name, message) in support::to_sidecar() {
        let bytes = encoded_to_sidecar(&message);
        let whole = payload(&bytes);
        for length in 0..whole.len() {
            check(name, &whole[..length], ToSidecar::decode(&whole[..length]).map(|m| m.is_some()));
        }
    }
    for (name, message) in support::to_client() {
        let bytes = encoded_to_client(&message);
        let whole = payload(&bytes);
        for length in 0..whole.len() {
            check(name, &whole[..length], ToClient::decode(&whole[..length]).map(|m| m.is_some()));
        }
    }
}

/// As many as an answer names, with the longest names that the sidecar takes, fit into a frame; what is more is not named.
#[test]
fn holders_fit_into_a_frame() {
    let client = HolderClient {
        uid: u32::MAX,
        held_for: Duration::from_secs(1),
        app: "a".repeat(128),
        owner: Some("o".repeat(512)),
    };
    let mode = Mode::Permits { permits: 1, limit: 200 };
    let holder = Holder {
        mode,
        sidecar: u128::MAX,
        local: true,
        expires_in: Duration::from_secs(1),
        fence: Some(u64::MAX),
        client: Some(client),
    };
    let named = vec![holder; HOLDERS_MAX + 1];
    let bytes =
        encoded_to_client(&ToClient::Holders(Holders { request: 1, count: named.len() as u32, named }));
    assert!(bytes.len() <= FRAME_BYTES_MAX, "{}", bytes.len());
    match ToClient::decode(payload(&bytes)) {
        Ok(Some(ToClient::Holders(holders))) => {
            assert_eq!((holders.count as usize, holders.named.len()), (HOLDERS_MAX + 1, HOLDERS_MAX));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn flags_of_a_later_version_are_ignored_with_their_fields() {
    for (name, message) in support::to_sidecar() {
        let ToSidecar::Acquire(_) = message else { continue };
        let mut bytes = encoded_to_sidecar(&message);
        // The high byte of the flags, behind length, kind and number.
        bytes[4 + 1 + 8 + 1] |= 0x80;
        bytes.extend_from_slice(b"what the flag announces");
        assert_eq!(ToSidecar::decode(payload(&bytes)), Ok(Some(message)), "{name}");
    }
}

#[test]
fn kinds_from_0x80_on_may_be_skipped_and_others_may_not() {
    assert_eq!(ToSidecar::decode(&[0x80, 1, 2]), Ok(None));
    assert_eq!(ToClient::decode(&[0xff]), Ok(None));
    assert_eq!(ToSidecar::decode(&[0x7f]), Err(FrameError::UnknownKind(0x7f)));
    assert_eq!(ToClient::decode(&[0x01]), Err(FrameError::UnknownKind(0x01)));
}

#[test]
fn codes_and_reasons_of_a_later_version_still_refuse_and_lose() {
    let detail = Detail { reason: Some(LostReason::Store), ..Detail::default() };
    let message = ToClient::Refused(Refused {
        request: 1,
        code: Code::LeaseLost,
        message: "".into(),
        detail,
        register: None,
    });
    let mut bytes = encoded_to_client(&message);
    bytes[4 + 1 + 8] = 0xee;
    *bytes.last_mut().unwrap() = 0xee;
    match ToClient::decode(payload(&bytes)) {
        Ok(Some(ToClient::Refused(refused))) => {
            assert_eq!(refused.code, Code::Internal);
            assert_eq!(refused.detail.reason, Some(LostReason::Other));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ring_of_more_edges_than_travel_is_cut_by_who_writes_and_refused_by_who_reads() {
    let edge = CycleEdge {
        key: "k".into(),
        mode: Mode::Exclusive,
        owner: "o".into(),
        app: "a".into(),
        sidecar: 1,
        waiting_for: Duration::ZERO,
        held_for: None,
    };
    let refused = |edges| {
        let detail = Detail { cycle: vec![edge.clone(); edges], ..Detail::default() };
        let (code, message) = (Code::Deadlock, "".into());
        encoded_to_client(&ToClient::Refused(Refused { request: 1, code, message, detail, register: None }))
    };
    let most = refused(CYCLE_EDGES_MAX);
    assert_eq!(refused(CYCLE_EDGES_MAX + 1), most);
    // One more of the same, with its count.
    let edge_bytes = most.len() - refused(CYCLE_EDGES_MAX - 1).len();
    let mut more = [&most[..], &most[most.len() - edge_bytes..]].concat();
    let count_at = 4 + 1 + 8 + 2 + 1 + 4;
    more[count_at..count_at + 4].copy_from_slice(&65u32.to_le_bytes());
    let bad = FrameError::BadField { kind: 0x47, field: "cycle", value: 65 };
    assert_eq!(ToClient::decode(payload(&more)), Err(bad));
}

#[test]
fn durations_are_rounded_up_to_milliseconds() {
    let sent = ToSidecar::Renew { request: 1, lease: LeaseName::Session(2), ttl: Duration::from_nanos(1) };
    let bytes = encoded_to_sidecar(&sent);
    match ToSidecar::decode(payload(&bytes)) {
        Ok(Some(ToSidecar::Renew { ttl, .. })) => assert_eq!(ttl, Duration::from_millis(1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
    let mut decoder = Decoder::new(10);
    decoder.space().extend_from_slice(&11u32.to_le_bytes());
    assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge { length: 11, max: 10 }));
    let mut decoder = Decoder::new(10);
    decoder.space().extend_from_slice(&10u32.to_le_bytes());
    assert_eq!(decoder.next_frame(), Ok(None));
    assert!(decoder.space().capacity() < 64 * 1024, "nothing is reserved for what was only announced");
}
