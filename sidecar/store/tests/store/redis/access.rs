//! Who we are to Redis, and what is said if it does not believe it.

use super::link::{Link, command, granted};
use super::server::Server;
use sidelock_engine::Incarnation;
use sidelock_store::redis::{
    Access, Credentials, Party, RedisConfig, RedisConfigError, RedisStore, StoreEvent, TlsFiles,
};
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A password in a file.
struct Password {
    dir: TempDir,
}

impl Password {
    fn new(text: &str) -> Password {
        let password = Password { dir: tempfile::tempdir().unwrap() };
        password.becomes(text);
        password
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("password")
    }

    fn becomes(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn of(&self, user: Option<&str>) -> Access {
        let credentials = Credentials {
            party: Party::Server,
            username: user.map(ToOwned::to_owned),
            password_file: Some(self.path()),
        };
        Access { credentials, tls: TlsFiles::default() }
    }
}

/// What came of new credentials.
async fn renewed(link: &mut Link) -> Result<(), String> {
    loop {
        match link.event().await {
            StoreEvent::Renewed(outcome) => return outcome,
            StoreEvent::Down { reason } => panic!("the connection is gone: {reason}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_without_telling_it() {
    let server = Server::start(&["--requirepass", "right-one"]);
    let mut config = RedisConfig::new(server.url());
    let reason = Link::start(config.clone(), 1).await_down().await;
    assert!(reason.contains("password"), "{reason}");
    let password = Password::new("wrong-one");
    config.access = password.of(None);
    let mut link = Link::start(config.clone(), 2);
    let reason = link.await_down().await;
    assert!(reason.contains("password") && !reason.contains("wrong-one"), "{reason}");
    // The next attempt reads it anew.
    password.becomes("right-one");
    link.await_up().await;
    assert!(!format!("{config:?}").contains("one"));
}

#[tokio::test]
async fn a_user_without_rights_is_told_which() {
    let server = Server::start(&[]);
    let () = command(&server, "ACL SETUSER weak on >pw ~* &* +@all -evalsha -script").await;
    let mut config = RedisConfig::new(server.url());
    let password = Password::new("pw");
    config.access = password.of(Some("weak"));
    let reason = Link::start(config, 1).await_down().await;
    assert!(reason.contains("script"), "{reason}");
}

#[tokio::test]
async fn a_rotated_password_is_followed_on_the_connection_that_stands() {
    let server = Server::start(&[]);
    let () = command(&server, "ACL SETUSER u on >first ~* &* +@all").await;
    let password = Password::new("first");
    let config = RedisConfig { access: password.of(Some("u")), ..RedisConfig::new(server.url()) };
    let mut link = Link::start(config, 1);
    link.await_up().await;

    // Not known to Redis yet: it is told, and everything goes on.
    password.becomes("second");
    link.handle.renew(password.of(Some("u")));
    let refused = renewed(&mut link).await.unwrap_err();
    assert!(refused.contains("WRONGPASS") && !refused.contains("second"), "{refused}");
    let ask = link.ask("k");
    assert!(granted(&link.one(ask).await));

    let () = command(&server, "ACL SETUSER u resetpass >second").await;
    link.handle.renew(password.of(Some("u")));
    assert_eq!(renewed(&mut link).await, Ok(()));
    let log: Vec<::redis::Value> = command(&server, "ACL LOG").await;
    assert_eq!(log.len(), 1, "the one that was refused above: {log:?}");

    // Another user is another password too.
    let () = command(&server, "ACL SETUSER v on >second ~* &* +@all").await;
    link.handle.renew(password.of(Some("v")));
    assert_eq!(renewed(&mut link).await, Ok(()));
    let clients: String = command(&server, "CLIENT LIST").await;
    assert!(
        clients.lines().any(|client| client.contains("user=v ") && client.contains("sub=1")),
        "{clients}"
    );
    let ask = link.ask("k2");
    assert!(granted(&link.one(ask).await));

    std::fs::remove_file(password.path()).unwrap();
    link.handle.renew(password.of(Some("v")));
    assert!(renewed(&mut link).await.unwrap_err().contains("redis.password_file"));
    let ask = link.ask("k3");
    assert!(granted(&link.one(ask).await));
}

#[tokio::test]
async fn urls_that_can_not_work_are_refused_without_repeating_them() {
    let refused = |url: &str, access: &Access| {
        let (events, _) = mpsc::channel(1);
        let config = RedisConfig { access: access.clone(), ..RedisConfig::new(url) };
        RedisStore::start(config, Incarnation(1), events).unwrap_err()
    };
    let nothing = Access::default();
    assert_eq!(refused("rediss://:secret@host/#insecure", &nothing), RedisConfigError::Insecure);
    for url in ["http://:secret@host", "redis://:secret@", "redis://:secret@host/x", "nonsense secret"] {
        let error = refused(url, &nothing).to_string();
        assert!(error.contains("redis://") && !error.contains("secret"), "{error}");
    }
    let named = Access { tls: TlsFiles { ca_file: Some("/ca".into()), ..TlsFiles::default() }, ..nothing };
    assert_eq!(refused("redis://host", &named), RedisConfigError::NoTls { setting: "ca_file" });
}
