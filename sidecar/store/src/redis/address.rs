//! Where Redis is, and what its URL says besides.
//!
//! Owns what schemes there are. Must not print a URL: it may hold a password.

use super::RedisConfigError;
use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError,
};
use std::fmt;
use std::path::PathBuf;

/// Schemes that ask for TLS, each with the one that says the same without.
const WITH_TLS: [(&str, &str); 2] = [("rediss://", "redis://"), ("valkeys://", "valkey://")];

/// One server, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp { host: String, port: u16, tls: bool },
}

impl Address {
    pub(super) fn has_tls(&self) -> bool {
        matches!(self, Address::Tcp { tls: true, .. })
    }

    /// Another node of the same cluster, as this one says it: with no host, on this one's.
    pub(super) fn sibling(&self, said: &str, port: u16) -> Address {
        let own = match self {
            Address::Unix(_) => "localhost",
            Address::Tcp { host, .. } => host,
        };
        let host = if said.is_empty() { own } else { said };
        Address::Tcp { host: host.to_owned(), port, tls: self.has_tls() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => path.display().fmt(f),
            Address::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// What a URL says: the address, and how a connection introduces itself.
pub(super) fn read(url: &str) -> Result<(Address, RedisConnectionInfo), RedisConfigError> {
    let stripped = WITH_TLS.iter().find_map(|(with, without)| Some((url.strip_prefix(with)?, without)));
    let (plain, tls) = match stripped {
        Some((rest, _)) if rest.contains('#') => return Err(RedisConfigError::Insecure),
        Some((rest, without)) => (format!("{without}{rest}"), true),
        None => (url.to_owned(), false),
    };
    let misunderstood = |error: RedisError| RedisConfigError::Url(error.to_string());
    let info: ConnectionInfo = plain.as_str().into_connection_info().map_err(misunderstood)?;
    let address = match info.addr() {
        ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
        ConnectionAddr::Tcp(host, port) => Address::Tcp { host: host.clone(), port: *port, tls },
        _ => return Err(RedisConfigError::Url("this scheme is not known here".into())),
    };
    Ok((address, settled(info.redis_settings().clone())))
}

/// How a connection to this database introduces itself that nothing else is known of.
pub(super) fn plain(db: i64) -> RedisConnectionInfo {
    settled(RedisConnectionInfo::default().set_db(db))
}

fn settled(settings: RedisConnectionInfo) -> RedisConnectionInfo {
    // CLIENT SETINFO is a right that a server before 7.2 can not give: `connect` says our name with HELLO, which needs none.
    settings.set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_names_others_as_it_sees_them() {
        let (address, _) = read("rediss://h:1").unwrap();
        assert_eq!(address.sibling("i", 2).to_string(), "i:2");
        assert_eq!(address.sibling("", 2).to_string(), "h:2");
        assert!(address.sibling("i", 2).has_tls());
    }

    #[test]
    fn schemes_say_how_it_is_spoken_to() {
        let tcp = |host: &str, port, tls| Address::Tcp { host: host.into(), port, tls };
        for (url, expected) in [
            ("redis://h", tcp("h", 6379, false)),
            ("valkey://h:1/2", tcp("h", 1, false)),
            ("rediss://u:p@h", tcp("h", 6379, true)),
            ("valkeys://[::1]:2", tcp("::1", 2, true)),
            ("unix:///run/redis.sock", Address::Unix("/run/redis.sock".into())),
        ] {
            assert_eq!(read(url).unwrap().0, expected, "{url}");
        }
        let (_, settings) = read("rediss://u:p%40ss@h/3").unwrap();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("u"), Some("p@ss"), 3));
        assert_eq!(read("rediss://h/#insecure").unwrap_err(), RedisConfigError::Insecure);
    }
}
