//! `sidelock serve`: from flags to a running sidecar.
//!
//! Owns the flags, and what a person sees at the start. Must not know how a sidecar works:
//! that is the daemon library.

use crate::failure::Failure;
use crate::log;
use crate::output::try_say;
use clap::Args;
use sidelock_daemon::config::Sources;
use sidelock_daemon::{ServeError, SocketError, Started};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Flags of `serve`. Each wins over its environment variable, which wins over the file. `config` takes them too.
#[derive(Args, Debug, Default)]
pub(crate) struct ServeArgs {
    /// Where locks live; redis if --redis is given, else memory: this host only
    #[arg(long, value_name = "memory|redis")]
    store: Option<String>,
    /// Redis to share locks through: redis://HOST:6379/0, rediss://… (TLS) or unix:///PATH; or all sentinels, or nodes of a cluster
    #[arg(long, value_name = "URL", num_args = 1..)]
    redis: Vec<String>,
    /// What is there
    #[arg(long, value_name = "single|sentinel|cluster")]
    redis_mode: Option<String>,
    /// What sentinels call the primary that they watch [default: mymaster]
    #[arg(long, value_name = "NAME")]
    redis_service: Option<String>,
    /// ACL user at the sentinels
    #[arg(long, value_name = "NAME")]
    redis_sentinel_username: Option<String>,
    /// File whose first line is the password for the sentinels
    #[arg(long, value_name = "FILE")]
    redis_sentinel_password_file: Option<String>,
    /// ACL user at Redis
    #[arg(long, value_name = "NAME")]
    redis_username: Option<String>,
    /// File whose first line is the password for Redis; read anew for each connection
    #[arg(long, value_name = "FILE")]
    redis_password_file: Option<String>,
    /// For TLS: authorities that the certificate of Redis must come from, PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    redis_ca_file: Option<String>,
    /// For TLS: our own certificate, PEM, if Redis asks for one
    #[arg(long, value_name = "FILE")]
    redis_cert_file: Option<String>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE")]
    redis_key_file: Option<String>,
    /// Where clients connect
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// Where operators connect [default: admin.sock beside the socket]
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<String>,
    /// User ids that may connect, instead of our own, root and the socket's group
    #[arg(long, value_name = "UID", num_args = 1..)]
    allow_uid: Vec<u32>,
    /// Group ids whose members may connect, likewise
    #[arg(long, value_name = "GID", num_args = 1..)]
    allow_gid: Vec<u32>,
    /// Serve health and metrics on this address too, and nothing else there
    #[arg(long, value_name = "ADDR:PORT")]
    probe_listen: Option<SocketAddr>,
    /// Sidecars of one namespace share their locks
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// Ask these policies about every lock and once key; more can be said of them in the file, as `[[policy]]`
    #[arg(long, value_name = "FILE.wasm", num_args = 1..)]
    policy: Vec<PathBuf>,
    /// Settings, TOML; `sidelock config print --default` shows all of them [env: SIDELOCK_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ServeArgs {
    /// Whether the command line itself says which Redis.
    pub(crate) fn names_redis(&self) -> bool {
        !self.redis.is_empty()
    }

    /// Whether the command line itself says where a sidecar is.
    pub(crate) fn names_a_sidecar(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| std::path::Path::new(socket).exists())
    }

    /// Everything that settings come from: these flags, the environment, the file.
    pub(crate) fn sources(&self) -> Sources {
        let mut flags = Vec::new();
        let mut set =
            |name: &'static str, value: Option<String>| flags.extend(value.map(|value| (name, value)));
        set("store", self.store.clone());
        set("redis.mode", self.redis_mode.clone());
        set("redis.service", self.redis_service.clone());
        set("redis.sentinel_username", self.redis_sentinel_username.clone());
        set("redis.sentinel_password_file", self.redis_sentinel_password_file.clone());
        set("redis.username", self.redis_username.clone());
        set("redis.password_file", self.redis_password_file.clone());
        set("redis.ca_file", self.redis_ca_file.clone());
        set("redis.cert_file", self.redis_cert_file.clone());
        set("redis.key_file", self.redis_key_file.clone());
        set("socket", self.socket.clone());
        set("admin_socket", self.admin_socket.clone());
        set("probe_listen", self.probe_listen.map(|address| address.to_string()));
        set("namespace", self.namespace.clone());
        self.redis.iter().for_each(|url| set("redis.url", Some(url.clone())));
        self.policy.iter().for_each(|file| set("policy", Some(file.to_string_lossy().into_owned())));
        self.allow_uid.iter().for_each(|uid| set("allow_uid", Some(uid.to_string())));
        self.allow_gid.iter().for_each(|gid| set("allow_gid", Some(gid.to_string())));
        // Not clap's: to it, empty is a mistake, and here it is unset, as for settings.
        let named = std::env::var_os("SIDELOCK_CONFIG").filter(|file| !file.is_empty());
        let file = self.config.clone().or_else(|| named.map(PathBuf::from));
        Sources { file, environment: environment(), flags }
    }
}

/// The environment, as far as it is text: the rest can name no setting.
fn environment() -> Vec<(String, String)> {
    let text = |value: std::ffi::OsString| value.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// What the flags do not say.
pub(crate) const AFTER_HELP: &str = "\
Settings have environment variables, such as SIDELOCK_NAMESPACE or SIDELOCK_TENURE_TTL, and lines in the file;
classes and the details of policies have lines only.
SIDELOCK_LOG says what is logged (info, debug, TARGET=LEVEL), SIDELOCK_LOG_FORMAT=json how. SIGTERM drains, a second
one ends it now, SIGHUP reloads most limits, classes, policies, secrets and who may connect.";

/// Serves until a signal or an operator ends it.
pub(crate) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let _log = log::start()?;
    sidelock_daemon::serve(&args.sources(), introduce).map_err(|error| match &error {
        // What the caller said is wrong; everything else is how things are.
        ServeError::Config(_)
        | ServeError::Socket(SocketError::TooLong { .. })
        | ServeError::Store(_)
        | ServeError::Policies(_)
        | ServeError::MemoryInKubernetes => Failure::usage(error.to_string()),
        _ => Failure::broken(error.to_string()),
    })
}

/// What a person sees once it serves: where, and a line to try it with.
fn introduce(started: &Started) {
    let socket = started.socket.display();
    let (store, scope) = (started.identity.store.name(), started.identity.scope);
    let greeting = format!(
        "sidelock serves at {socket} (store {store}, scope {scope}). To take a lease, paste:\n  \
         curl --unix-socket {} -X POST http://sidelock/v1/locks/orders/42\n",
        quoted(&started.socket)
    );
    // Serving goes on if nobody reads this.
    let _ = try_say(&greeting);
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    match text.bytes().all(plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(quoted(Path::new("/run/s.sock")), "/run/s.sock");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn flags_name_settings_that_exist() {
        let args = ServeArgs {
            redis: vec!["redis://h".into()],
            redis_mode: Some("sentinel".into()),
            redis_service: Some("s".into()),
            redis_sentinel_username: Some("su".into()),
            redis_sentinel_password_file: Some("/sp".into()),
            redis_username: Some("u".into()),
            redis_password_file: Some("/p".into()),
            redis_ca_file: Some("/ca".into()),
            redis_cert_file: Some("/cert".into()),
            redis_key_file: Some("/key".into()),
            store: Some("redis".into()),
            socket: Some("/s".into()),
            admin_socket: Some("/a".into()),
            allow_uid: vec![1, 2],
            allow_gid: vec![3],
            probe_listen: "127.0.0.1:9".parse().ok(),
            namespace: Some("n".into()),
            policy: vec!["/a.wasm".into(), "/b.wasm".into()],
            config: None,
        };
        let sources = Sources { environment: Vec::new(), ..args.sources() };
        let config = sidelock_daemon::config::load(&sources).expect("is all right").config;
        assert_eq!(config.redis.url.len(), 1);
        assert_eq!(config.redis.username.as_deref(), Some("u"));
        assert_eq!(config.redis.key_file.as_deref(), Some(Path::new("/key")));
        assert_eq!((config.allow_uid, config.allow_gid), (vec![1, 2], vec![3]));
        assert_eq!(config.admin_socket.as_deref(), Some(Path::new("/a")));
        assert_eq!(config.probe_listen, args.probe_listen);
        assert_eq!(config.namespace, "n");
        let policies: Vec<_> = config.policies.iter().map(|policy| policy.path.as_path()).collect();
        assert_eq!(policies, [Path::new("/a.wasm"), Path::new("/b.wasm")]);
    }
}
