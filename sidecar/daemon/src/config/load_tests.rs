use super::*;
use std::time::Duration;

fn file(text: &str) -> (Sources, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidelock.toml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources { file: Some(path), ..Sources::default() };
    (sources, dir)
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let (mut sources, _dir) = file("namespace = \"file\"\nallow_gid = [7]\n[tenure]\nttl = \"20s\"\n");
    let loaded = load(&sources).unwrap().config;
    assert_eq!((loaded.namespace.as_str(), loaded.tenure.ttl), ("file", Duration::from_secs(20)));
    assert_eq!(loaded.tenure.retention, Duration::from_secs(1), "the rest of the section keeps its defaults");

    sources.environment = vec![
        ("SIDELOCK_NAMESPACE".into(), "env".into()),
        ("SIDELOCK_TENURE_TTL".into(), "30s".into()),
        ("SIDELOCK_ALLOW_GID".into(), "8,9".into()),
        ("SIDELOCK_LEASE".into(), "not a setting".into()),
    ];
    sources.flags = vec![
        ("namespace", "flag".into()),
        ("redis.url", "redis://a".into()),
        ("redis.url", "redis://b".into()),
    ];
    let loaded = load(&sources).unwrap().config;
    assert_eq!(loaded.namespace, "flag");
    assert_eq!(loaded.tenure.ttl, Duration::from_secs(30));
    assert_eq!(loaded.allow_gid, [8, 9]);
    assert_eq!(loaded.redis.url.len(), 2);
    assert_eq!(loaded.store(), crate::config::StoreKind::Redis);
}

#[test]
fn every_setting_of_the_commented_file_can_be_named() {
    let uncommented: String = crate::config::DEFAULT_TOML
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let table: Table = toml::from_str(&uncommented).unwrap();
    Config::deserialize(Value::Table(table.clone())).expect("its examples are valid settings");
    let mut names = Vec::new();
    for (name, value) in &table {
        match value {
            Value::Table(section) => names.extend(section.keys().map(|key| format!("{name}.{key}"))),
            _ if name == "class" || name == "policy" => {}
            _ => names.push(name.clone()),
        }
    }
    let mut known: Vec<_> = SETTINGS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    known.sort();
    assert_eq!(names, known);
}

#[test]
fn an_unknown_key_is_an_error_with_place_and_suggestion() {
    let (sources, _dir) = file("namespace = \"x\"\n[tenure]\nretension = \"1s\"\n");
    let error = load(&sources).unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("did you mean `retention`?"), "{error}");
    let (sources, _dir) = file("store = \"reddis\"\n");
    let error = load(&sources).unwrap_err().to_string();
    assert!(error.contains("did you mean `redis`?"), "{error}");
    let (sources, _dir) = file("entirely_else = 1\n");
    let error = load(&sources).unwrap_err().to_string();
    assert!(error.contains("unknown field") && !error.contains("did you mean"), "{error}");
}

#[test]
fn wrong_values_name_their_place_and_what_is_allowed() {
    let sources = Sources { flags: vec![("tenure.ttl", "soon".into())], ..Sources::default() };
    assert!(load(&sources).unwrap_err().to_string().contains("500ms 30s"));
    let sources = Sources {
        environment: vec![("SIDELOCK_LIMITS_SESSIONS_MAX".into(), "many".into())],
        ..Sources::default()
    };
    let error = load(&sources).unwrap_err().to_string();
    assert!(error.contains("SIDELOCK_LIMITS_SESSIONS_MAX") && error.contains("whole number"), "{error}");
    let unset = ["SIDELOCK_SOCKET", "SIDELOCK_STORE", "SIDELOCK_REDIS", "SIDELOCK_LIMITS_SESSIONS_MAX"];
    let environment = unset.map(|name| (name.to_owned(), String::new())).to_vec();
    let sources = Sources { environment, ..Sources::default() };
    assert_eq!(load(&sources).unwrap().config, Config::default(), "empty is unset");
    let sources = Sources { flags: vec![("limits.key_bytes_max", "513".into())], ..Sources::default() };
    assert!(load(&sources).unwrap_err().to_string().contains("1 to 512"));
    for (line, says) in [
        ("deadlock = \"ignore\"", "ignore"),
        ("limit = 0", "`class a: limit` is 0; allowed are 1 to 1000000"),
        ("limit = 1000001", "`class a: limit` is 1000001; allowed are 1 to 1000000"),
        ("max_hold = \"0s\"", "`class a: max_hold` is 0"),
    ] {
        let (sources, _dir) = file(&format!("[[class]]\nname = \"a\"\nmatch = \"**\"\n{line}\n"));
        let error = load(&sources).unwrap_err().to_string();
        assert!(error.contains(says), "{line}: {error}");
    }
}

#[test]
fn a_password_in_an_address_is_warned_about_and_not_repeated() {
    let sources = Sources { flags: vec![("redis.url", "redis://:hunter2@h".into())], ..Sources::default() };
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    let shown = format!("{:?} {}", loaded, toml::to_string(&loaded.config).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

fn environment(pairs: &[(&str, &str)]) -> Sources {
    let environment = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Sources { environment, ..Sources::default() }
}

#[test]
fn redis_is_named_by_either_variable_but_not_by_two_that_differ() {
    for variable in ["SIDELOCK_REDIS", "SIDELOCK_REDIS_URL"] {
        let loaded = load(&environment(&[(variable, "redis://a")])).unwrap();
        assert_eq!(loaded.config.store(), crate::config::StoreKind::Redis, "{variable}");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
    let both = environment(&[("SIDELOCK_REDIS", "redis://a"), ("SIDELOCK_REDIS_URL", "redis://b")]);
    assert!(load(&both).unwrap_err().to_string().contains("different"));
}

#[test]
fn a_variable_that_is_almost_a_setting_is_an_error_and_a_stranger_is_a_warning() {
    for (typo, meant) in [("SIDELOCK_STOR", "SIDELOCK_STORE"), ("SIDELOCK_TENUR_TTL", "SIDELOCK_TENURE_TTL")]
    {
        let error = load(&environment(&[(typo, "x")])).unwrap_err().to_string();
        assert!(error.contains(typo) && error.contains(meant), "{error}");
    }
    let of_a_service = environment(&[("SIDELOCK_SERVICE_HOST", "10.0.0.1"), ("SIDELOCK_PORT_6379_TCP", "x")]);
    assert_eq!(load(&of_a_service).unwrap().warnings.len(), 2);
}

#[test]
fn memory_and_an_address_of_redis_contradict_each_other() {
    let sources = environment(&[("SIDELOCK_STORE", "memory"), ("SIDELOCK_REDIS", "redis://a")]);
    assert!(load(&sources).unwrap_err().to_string().contains("drop one"));
}
