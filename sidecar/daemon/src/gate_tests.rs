use super::*;
use crate::config::{Config, Guarantee, StoreKind};

fn gate(config: &Config) -> Gate {
    let identity = Identity::new(StoreKind::Memory, "default", false);
    let metrics = Rc::new(Metrics::new(&identity));
    Gate::new(InForce::new(config), Rc::new(identity), metrics)
}

fn ask(key: &[u8]) -> wire::Acquire<'_> {
    wire::Acquire {
        request: 1,
        key,
        mode: wire::Mode::Exclusive,
        wait: None,
        life: wire::Life::Session { ttl: None },
        max_hold: None,
        owner: None,
        priority: 0,
        notify_queued: false,
        per: None,
        once: None,
        reentrant: false,
    }
}

fn admitted(gate: &Gate, ask: &wire::Acquire<'_>) -> engine::Acquire {
    match gate.acquire(SessionId(7), ask).expect("admitted").into_parts().0 {
        Input::Acquire(acquire) => acquire,
        other => panic!("{other:?}"),
    }
}

/// Every refusal names the field and says what is allowed.
#[test]
fn what_is_out_of_range_is_refused_by_name() {
    let gate = gate(&Config::default());
    let long = [b'k'; 513];
    let owner = "o".repeat(OWNER_BYTES_MAX + 1);
    let permits =
        |permits, limit| wire::Acquire { mode: wire::Mode::Permits { permits, limit }, ..ask(b"k") };
    let ttl = |ttl| wire::Acquire { life: wire::Life::Session { ttl: Some(ttl) }, ..ask(b"k") };
    let timed = |ttl| wire::Acquire { life: wire::Life::Timed { ttl }, ..ask(b"k") };
    let (minute, year) = (Duration::from_secs(60), Duration::from_secs(365 * 86_400));
    let rate = |per| wire::Acquire { per: Some(per), ..permits(1, 3) };
    let day = wire::Window { per: Duration::from_secs(86_400), align: wire::Align::Utc };
    let cases = [
        (ask(b""), "key", Code::BadRequest, "1 to 512"),
        (ask(&long), "key", Code::TooLarge, "1 to 512"),
        (ask(b"\xff\xfe"), "key", Code::BadRequest, "UTF-8"),
        (permits(1, 0), "limit", Code::BadRequest, "1 to 1000000"),
        (permits(1, u32::MAX), "limit", Code::BadRequest, "1 to 1000000"),
        (permits(0, 3), "permits", Code::BadRequest, "1 to 3"),
        (permits(4, 3), "permits", Code::BadRequest, "1 to 3"),
        (ttl(Duration::ZERO), "ttl", Code::BadRequest, "100ms to 1h"),
        (ttl(year), "ttl", Code::BadRequest, "100ms to 1h"),
        (timed(Duration::ZERO), "ttl", Code::BadRequest, "100ms to 1h"),
        (timed(year), "ttl", Code::BadRequest, "100ms to 1h"),
        (rate(Duration::from_millis(99)), "per", Code::BadRequest, "100ms (ttl_min) to 1h (rate_per_max)"),
        (rate(year), "per", Code::BadRequest, "100ms (ttl_min) to 1h (rate_per_max)"),
        (wire::Acquire { per: Some(minute), ..ask(b"k") }, "per", Code::BadRequest, "is for permits"),
        (
            wire::Acquire { max_hold: Some(Duration::ZERO), ..ask(b"k") },
            "max_hold",
            Code::BadRequest,
            "longer than 0",
        ),
        (wire::Acquire { priority: 101, ..ask(b"k") }, "priority", Code::BadRequest, "-100 to 100"),
        (wire::Acquire { priority: i32::MIN, ..ask(b"k") }, "priority", Code::BadRequest, "-100 to 100"),
        (
            wire::Acquire { reentrant: true, owner: Some("o"), once: Some(day), ..ask(b"k") },
            "reentrant",
            Code::BadRequest,
            "a turn comes once",
        ),
        (wire::Acquire { reentrant: true, ..ask(b"k") }, "owner", Code::BadRequest, "say who"),
        (
            wire::Acquire { reentrant: true, owner: Some("o"), ..permits(1, 3) },
            "reentrant",
            Code::BadRequest,
            "is for locks",
        ),
        (wire::Acquire { owner: Some(""), ..ask(b"k") }, "owner", Code::BadRequest, "1 to 128"),
        (wire::Acquire { owner: Some(&owner), ..ask(b"k") }, "owner", Code::BadRequest, "1 to 128"),
    ];
    for (ask, field, code, allowed) in cases {
        let problem = gate.acquire(SessionId(7), &ask).expect_err(field);
        assert_eq!((problem.field, problem.code), (Some(field), code), "{problem:?}");
        assert!(problem.message.contains(field) && problem.message.contains(allowed), "{problem:?}");
    }
    let problem = gate.renew(SessionId(7), 1, wire::LeaseName::Session(1), year).expect_err("a year");
    assert_eq!(problem.field, Some("ttl"));
    let page = gate.metrics.page(engine::Time::ZERO, &engine::view::Counts::default(), None, true);
    for (op, count) in [("acquire", 21), ("renew", 1)] {
        let line = format!(r#"{{op="{op}",mode="",class="",outcome="bad_request"}} {count}"#);
        assert!(page.contains(&line), "{line} is missing in\n{page}");
    }
}

#[test]
fn what_is_just_within_its_limit_passes() {
    let gate = gate(&Config::default());
    let owner = "o".repeat(OWNER_BYTES_MAX);
    let acquire = admitted(
        &gate,
        &wire::Acquire {
            mode: wire::Mode::Permits { permits: PERMITS_LIMIT_MAX, limit: PERMITS_LIMIT_MAX },
            life: wire::Life::Timed { ttl: Duration::from_secs(3600) },
            owner: Some(&owner),
            priority: -PRIORITY_MAX,
            ..ask(&[b'k'; 512])
        },
    );
    assert_eq!(acquire.session, SessionId(7));
    assert!(matches!(acquire.life, engine::Life::Timed { .. }));
}

#[test]
fn a_class_adds_its_defaults_and_bounds() {
    let config: Config = toml::from_str(
        "[[class]]\nname='a'\nmatch='pay/**'\nlimit=3\ndefault_wait='5s'\nmax_hold='1m'\n\
         [[class]]\nname='b'\nmatch='**'\nmax_hold='1h'\n",
    )
    .unwrap();
    let gate = gate(&config);
    let minute = Some(Duration::from_secs(60));
    let mode = |permits| wire::Mode::Permits { permits, limit: 10 };

    let acquire = admitted(&gate, &ask(b"pay/1"));
    assert_eq!((acquire.wait, acquire.max_hold), (Some(Duration::from_secs(5)), minute));
    let acquire = admitted(
        &gate,
        &wire::Acquire {
            wait: Some(Duration::ZERO),
            max_hold: Some(Duration::from_secs(1)),
            mode: mode(3),
            ..ask(b"pay/1")
        },
    );
    assert_eq!((acquire.wait, acquire.max_hold), (Some(Duration::ZERO), Some(Duration::from_secs(1))));
    assert_eq!(acquire.mode, engine::Mode::Permits { permits: 3, limit: 3 });
    let longer = wire::Acquire { max_hold: Some(Duration::from_secs(600)), ..ask(b"pay/1") };
    assert_eq!(admitted(&gate, &longer).max_hold, minute, "askers may want less, not more");
    let wide = wire::Acquire { mode: mode(4), ..ask(b"pay/1") };
    let problem = gate.acquire(SessionId(7), &wide).expect_err("above the class's limit");
    assert_eq!((problem.field, problem.detail.limit), (Some("permits"), Some(3)));
    assert_eq!(admitted(&gate, &ask(b"other")).wait, None, "for ever");
}

#[test]
fn a_reload_changes_what_applies_but_not_what_the_engine_was_built_with() {
    let mut config = Config::default();
    let in_force = InForce::new(&config);
    let identity = Rc::new(Identity::new(StoreKind::Memory, "default", true));
    let metrics = Rc::new(Metrics::new(&identity));
    let gate = Gate::new(in_force.clone(), identity, metrics);
    config.limits.ttl_max = Duration::from_secs(1);
    config.limits.waiters_per_key_max = 1;
    assert_eq!(in_force.replace(&mut config), ["waiters_per_key_max"]);
    let lease = wire::LeaseName::Session(1);
    assert!(gate.renew(SessionId(1), 1, lease, Duration::from_secs(2)).is_err());
    assert_eq!(gate.rules().limits.waiters_per_key_max, 100_000);
}

/// A strict store was told how long leases are; a longer one would be asked for, and never granted.
#[test]
fn a_reload_does_not_make_leases_longer_than_a_strict_store_was_told() {
    let mut config = Config::default();
    config.redis.url = vec!["redis://h".into()];
    config.redis.guarantee = Guarantee::Strict;
    config.limits.ttl_max = Duration::from_secs(60);
    let in_force = InForce::new(&config);
    let mut next = config.clone();
    next.limits.ttl_max = Duration::from_secs(600);
    next.limits.rate_per_max = Duration::from_secs(1);
    assert_eq!(in_force.replace(&mut next), ["ttl_max"]);
    assert_eq!(in_force.now().limits.ttl_max, config.limits.ttl_max);
    assert_eq!(next.limits.ttl_max, config.limits.ttl_max, "nor may a policy");
    assert_eq!(in_force.now().limits.rate_per_max, Duration::from_secs(1));
    assert!(in_force.replace(&mut config).is_empty(), "up to where it was");
}

#[test]
fn a_demanded_scope_must_be_reached() {
    let gate = gate(&Config::default());
    assert_eq!(gate.reaches(None), Ok(()));
    assert_eq!(gate.reaches(Some(wire::Scope::Host)), Ok(()));
    let problem = gate.reaches(Some(wire::Scope::Fleet)).unwrap_err();
    assert_eq!(problem.code, Code::ScopeTooSmall);
}

#[test]
fn a_turn_of_a_once_key_is_exclusive_and_has_a_window_within_bounds() {
    let gate = gate(&Config::default());
    let turn = |per| {
        let once = Some(wire::Window { per, align: wire::Align::Utc });
        wire::Acquire { once, ..ask(b"k") }
    };
    let shared = wire::Acquire { mode: wire::Mode::Shared, ..turn(Duration::from_secs(1)) };
    let cases = [
        (turn(Duration::ZERO), "per", "1ms to 366d"),
        (turn(Duration::from_secs(367 * 86_400)), "per", "1ms to 366d"),
        (shared, "mode", "exclusive"),
    ];
    for (ask, field, allowed) in cases {
        let problem = gate.acquire(SessionId(7), &ask).expect_err(allowed);
        assert_eq!((problem.code, problem.field), (Code::BadRequest, Some(field)));
        assert!(problem.message.contains(allowed), "{}", problem.message);
    }
    for days in [1, 366] {
        let per = Duration::from_secs(days * 86_400);
        let admitted = admitted(&gate, &turn(per));
        assert_eq!(admitted.key.space(), Space::Once);
        assert_eq!(admitted.once.as_deref(), Some(&engine::Window { per, align: engine::Align::Utc }));
    }
}

#[test]
fn a_result_is_as_long_as_allowed() {
    let mut config = Config::default();
    config.limits.value_bytes_max = 5;
    let gate = gate(&config);
    let finish = |result: &[u8]| gate.finish(SessionId(7), 1, wire::LeaseName::Session(2), result);
    assert!(matches!(finish(b"12345").expect("fits").into_parts().0, Input::Finish(_)));
    let problem = finish(b"123456").expect_err("is too long");
    assert_eq!(
        (problem.code, problem.field, problem.detail.limit),
        (Code::TooLarge, Some("result"), Some(5))
    );
}

fn several<'a>(keys: &[(u64, &'a str)]) -> wire::AcquireAll<'a> {
    let others = keys[1..].iter().map(|(number, key)| (*number, key.as_bytes())).collect();
    wire::AcquireAll { first: wire::Acquire { request: keys[0].0, ..ask(keys[0].1.as_bytes()) }, others }
}

#[test]
fn several_keys_are_put_in_order_and_none_is_there_twice() {
    let gate = gate(&Config::default());
    let asked = several(&[(5, "b"), (6, "c"), (7, "a"), (8, "b")]);
    match gate.acquire_all(SessionId(7), &asked).expect("admitted").into_parts().0 {
        Input::AcquireAll(all) => {
            let keys: Vec<(u64, &str)> =
                all.keys.iter().map(|(number, key)| (number.0, key.as_str())).collect();
            assert_eq!(keys, [(7, "a"), (5, "b"), (6, "c")]);
            assert_eq!((all.wish.request, all.secrets.len()), (RequestId(5), 0));
        }
        other => panic!("{other:?}"),
    }
    let mut timed = several(&[(1, "a"), (2, "b")]);
    timed.first.life = wire::Life::Timed { ttl: Duration::from_secs(1) };
    match gate.acquire_all(SessionId(7), &timed).expect("admitted").into_parts().0 {
        Input::AcquireAll(all) => assert!(all.secrets.len() == 2 && all.secrets[0] != all.secrets[1]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_keys_that_are_too_many_or_wrong_are_refused_by_name() {
    let gate = gate(&Config::default());
    let many: Vec<(u64, String)> = (0..65).map(|number| (number, format!("k{number}"))).collect();
    let many: Vec<(u64, &str)> = many.iter().map(|(number, key)| (*number, key.as_str())).collect();
    let problem = gate.acquire_all(SessionId(7), &several(&many)).expect_err("65");
    assert_eq!((problem.code, problem.field, problem.detail.limit), (Code::TooLarge, Some("keys"), Some(64)));
    assert!(gate.acquire_all(SessionId(7), &several(&many[1..])).is_ok());
    let mut permits = several(&[(1, "a"), (2, "b")]);
    permits.first.mode = wire::Mode::Permits { permits: 1, limit: 2 };
    assert_eq!(gate.acquire_all(SessionId(7), &permits).expect_err("permits").field, Some("mode"));
    let mut reentrant = several(&[(1, "a"), (2, "b")]);
    (reentrant.first.owner, reentrant.first.reentrant) = (Some("o"), true);
    assert_eq!(gate.acquire_all(SessionId(7), &reentrant).expect_err("nested").field, Some("reentrant"));
    let problem = gate.acquire_all(SessionId(7), &several(&[(1, "a"), (2, "")])).expect_err("empty");
    assert_eq!((problem.code, problem.field), (Code::BadRequest, Some("key")));
}

#[test]
fn the_least_that_the_classes_of_several_keys_say_holds_for_all() {
    let config: Config = toml::from_str(
        "[[class]]\nname='a'\nmatch='a/**'\ndefault_wait='5s'\nmax_hold='1m'\n\
         [[class]]\nname='b'\nmatch='b/**'\ndefault_wait='2s'\nmax_hold='1h'\n",
    )
    .unwrap();
    match gate(&config)
        .acquire_all(SessionId(7), &several(&[(1, "b/1"), (2, "a/1")]))
        .expect("fine")
        .into_parts()
        .0
    {
        Input::AcquireAll(all) => {
            assert_eq!(all.wish.wait, Some(Duration::from_secs(2)));
            assert_eq!(all.wish.max_hold, Some(Duration::from_secs(60)));
        }
        other => panic!("{other:?}"),
    }
}
