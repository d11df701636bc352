//! Where a case is played: at a sidecar that all cases share, or at one of its own.
//!
//! Owns sidecars and Redis servers, what happens to them, and the look at a key's holders and waiters. Must not know cases.

use crate::guest::Guest;
use crate::script::{Case, RedisAct, SidecarAct, Store};
use rustix::process::Signal;
use sidelock_e2e::process::{Process, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_e2e::{PATIENCE, folder, http};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A sidecar for all cases that need none of their own.
pub struct Common {
    /// Where its tenures live.
    pub store: Store,
    sidecar: Sidecar,
    _redis: Option<Redis>,
}

impl Common {
    /// Over this store.
    pub fn over(store: Store) -> Common {
        match store {
            Store::Memory => Common { store, sidecar: Sidecar::on_memory(), _redis: None },
            Store::Redis => {
                let redis = Redis::start();
                Common { store, sidecar: Sidecar::connected_to(&redis), _redis: Some(redis) }
            }
        }
    }
}

/// Leases and waiters of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Leases.
    pub held: usize,
    /// Waiters.
    pub waiting: usize,
}

/// See the module.
pub struct Place<'a> {
    common: &'a Common,
    own: Option<Own>,
}

/// A sidecar of a case's own.
struct Own {
    folder: TempDir,
    redis: Option<Redis>,
    sidecar: Option<Sidecar>,
}

impl<'a> Place<'a> {
    /// The place that this case needs.
    pub fn of(case: &Case, common: &'a Common) -> Place<'a> {
        let own = case.needs_own_sidecar().then(|| Own::start(case, common.store));
        Place { common, own }
    }

    /// Where actors connect.
    pub fn socket(&self) -> PathBuf {
        match &self.own {
            Some(own) => own.socket(),
            None => self.common.sidecar.socket().to_owned(),
        }
    }

    /// Whether there is a sidecar at the moment.
    pub fn is_served(&self) -> bool {
        self.own.as_ref().is_none_or(|own| own.sidecar.is_some())
    }

    /// Leases and waiters of all keys that begin so.
    pub fn crowd(&self, prefix: &str, exactly: bool) -> Crowd {
        let encoded: String = prefix.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = http::request(&self.socket(), "GET", &format!("/v1/locks?prefix={encoded}"), "").json();
        let length = |list: &serde_json::Value| list.as_array().map_or(0, Vec::len);
        let mut crowd = Crowd::default();
        for key in answer["keys"].as_array().into_iter().flatten() {
            if !exactly || key["key"] == prefix {
                crowd.held += length(&key["holders"]);
                crowd.waiting += length(&key["queue"]);
            }
        }
        crowd
    }

    /// Waits until leases and waiters are so many.
    ///
    /// # Errors
    /// If they never are.
    pub fn until_crowd(&self, prefix: &str, exactly: bool, wanted: Crowd) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let crowd = self.crowd(prefix, exactly);
            if crowd == wanted {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{crowd:?} of {prefix:?}, never {wanted:?}"));
            }
            // Nothing tells of this.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// An operator takes a key.
    ///
    /// # Errors
    /// If the sidecar refuses.
    pub fn force(&self, key: &str) -> Result<(), String> {
        let admin = self.socket().with_file_name("admin.sock");
        let answer = http::request(
            &admin,
            "POST",
            &format!("/v1/force-unlock/{key}"),
            r#"{"reason":"the case says so"}"#,
        );
        if answer.status == 200 { Ok(()) } else { Err(format!("the order is refused: {answer:?}")) }
    }

    /// Something happens to the sidecar.
    ///
    /// # Panics
    /// If the case has no sidecar of its own, or it does not start or end.
    pub fn sidecar(&mut self, act: SidecarAct) {
        let own = self.own.as_mut().expect("a case that does this has a sidecar of its own");
        match act {
            SidecarAct::Start => own.serve(),
            SidecarAct::Kill => own.sidecar = None,
            SidecarAct::Stop => {
                let mut sidecar = own.sidecar.take().expect("there is a sidecar to stop");
                Process::signal(&sidecar, Signal::TERM);
                assert_eq!(Process::code(&mut sidecar), 0, "it ends: {}", sidecar.output());
            }
        }
    }

    /// Something happens to Redis; returns when the sidecar knows.
    ///
    /// # Panics
    /// If the case has no Redis of its own.
    pub fn redis(&mut self, act: RedisAct) {
        let own = self.own.as_mut().expect("a case that does this has a sidecar of its own");
        let redis = own.redis.as_mut().expect("it is only played over Redis");
        match act {
            RedisAct::Down => redis.down(),
            RedisAct::Up => redis.up(),
        }
        let ready = act == RedisAct::Up;
        let sidecar = own.sidecar.as_ref().expect("it serves");
        until(PATIENCE, "the sidecar knows", || {
            ((sidecar.get("/readyz/store").status == 200) == ready).then_some(())
        });
    }
}

/// A path with something at it that is no sidecar.
pub struct NoSidecar {
    path: PathBuf,
    _redis: Option<Redis>,
    _folder: TempDir,
}

impl NoSidecar {
    /// `absent`: nothing; `file`: a plain file; `redis`: a Redis.
    ///
    /// # Panics
    /// If it can not be made.
    pub fn new(what: &str) -> NoSidecar {
        let folder = folder();
        let path = folder.path().join("s.sock");
        let redis = (what == "redis").then(Redis::start);
        if what == "file" {
            std::fs::write(&path, "no socket").expect("our folder");
        }
        NoSidecar { path: redis.as_ref().map_or(path, Redis::socket), _redis: redis, _folder: folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A policy that denies what it is asked about, until Monday.
fn frozen() -> Vec<u8> {
    Guest::new().denies_after("frozen", "until Monday", Some(90_000)).policy()
}

impl Own {
    fn start(case: &Case, store: Store) -> Own {
        let folder = folder();
        std::fs::write(folder.path().join("frozen.wasm"), frozen()).expect("our folder");
        let settings = case.settings.join("\n").replace("FOLDER", &folder.path().to_string_lossy());
        std::fs::write(folder.path().join("sidelock.toml"), settings).expect("our folder");
        let redis = (store == Store::Redis).then(Redis::start);
        let mut own = Own { folder, redis, sidecar: None };
        own.serve();
        own
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("sidelock.sock")
    }

    fn serve(&mut self) {
        let config = self.folder.path().join("sidelock.toml");
        let config = config.to_string_lossy();
        let url = self.redis.as_ref().map(Redis::url);
        let store = match &url {
            Some(url) => ["--redis", url],
            None => ["--store", "memory"],
        };
        let sidecar = Sidecar::at(&self.socket(), &[&["--config", config.as_ref()], &store[..]].concat());
        if self.redis.is_some() {
            sidecar.await_store();
        }
        self.sidecar = Some(sidecar);
    }
}
