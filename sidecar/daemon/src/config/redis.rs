//! How to reach Redis.
//!
//! Owns the settings and the care that no secret is printed. Must not connect to anything.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// The `[redis]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// Where: `redis://host:port/db`, `rediss://…` with TLS, or `unix:///path`. One server, all sentinels, or some
    /// nodes of a cluster.
    pub url: Vec<Url>,
    /// What is there.
    pub mode: Mode,
    /// What sentinels call the primary that they watch.
    pub service: String,
    /// The ACL user at the sentinels; `username` is the one at the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// A file whose first line is the password at the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password_file: Option<PathBuf>,
    /// Every name in the store begins with it.
    pub prefix: String,
    /// The ACL user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file whose first line is the password. Read anew for each connection, and on SIGHUP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// For TLS: authorities that the server's certificate must come from, PEM. Not said: those that the system trusts. This
    /// and the two below are read anew for each connection, and on SIGHUP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// For TLS: our own certificate, PEM, if the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// What a failover of the store may do to exclusion.
    pub guarantee: Guarantee,
}

/// What kind of Redis it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One server.
    #[default]
    Single,
    /// Watched by sentinels, who say where the primary is.
    Sentinel,
    /// A cluster, whose nodes know each other.
    Cluster,
}

/// What a failover of the store may do to exclusion (S6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Guarantee {
    /// Two holders may overlap for at most one lease; fences tell them apart.
    #[default]
    Bounded,
    /// Nothing is granted until the longest old lease has run out.
    Strict,
}

impl Default for Redis {
    fn default() -> Redis {
        Redis {
            url: Vec::new(),
            mode: Mode::default(),
            service: "mymaster".into(),
            sentinel_username: None,
            sentinel_password_file: None,
            prefix: "sl".into(),
            username: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            guarantee: Guarantee::default(),
        }
    }
}

/// The address of a server. Shown without its password, whoever shows it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Url(String);

impl Url {
    /// As given, password included: for the connection alone.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it carries a password, which is a warning: arguments and files like these are read by many.
    pub fn has_password(&self) -> bool {
        !self.passwords().is_empty()
    }

    /// Where passwords stand in it, in order.
    fn passwords(&self) -> Vec<Range<usize>> {
        let Some(start) = self.0.find("://").map(|at| at + 3) else { return Vec::new() };
        self.before_host(start).into_iter().chain(self.in_query(start)).collect()
    }

    /// Between `scheme://user:` and the last `@` before the path.
    fn before_host(&self, start: usize) -> Option<Range<usize>> {
        let end = self.0[start..].find(['/', '?', '#']).map_or(self.0.len(), |at| start + at);
        // A password may hold a raw slash against the rules: better to hide too much.
        let at = match self.0[start..end].rfind('@') {
            Some(at) => start + at,
            None => start + self.0[start..].rfind('@')?,
        };
        let colon = start + self.0[start..at].find(':')?;
        Some(colon + 1..at)
    }

    /// `pass=…` after the question mark, where a socket's URL has it.
    fn in_query(&self, start: usize) -> Option<Range<usize>> {
        let query = start + self.0[start..].find('?')? + 1;
        let name = self.0[query..].split('&').scan(query, |at, pair| {
            let here = *at;
            *at += pair.len() + 1;
            Some((here, pair))
        });
        let (at, pair) = name.into_iter().find(|(_, pair)| pair.starts_with("pass"))?;
        let value = at + pair.find('=')? + 1;
        Some(value..at + pair.len())
    }
}

impl From<&str> for Url {
    fn from(url: &str) -> Url {
        Url(url.into())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = 0;
        for secret in self.passwords() {
            write!(f, "{}***", &self.0[shown..secret.start])?;
            shown = secret.end;
        }
        f.write_str(&self.0[shown..])
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (given, shown) in [
            ("redis://:hunter2@h:1/0", "redis://:***@h:1/0"),
            ("redis://u:hunter2@h", "redis://u:***@h"),
            ("redis://u:hunt/er@2@h/0", "redis://u:***@h/0"),
            ("redis://u:p@hunter2@h/0", "redis://u:***@h/0"),
            ("rediss://u:hunter2@h:6379/0", "rediss://u:***@h:6379/0"),
            ("unix:///run/r.sock?user=u&pass=hunter2&db=1", "unix:///run/r.sock?user=u&pass=***&db=1"),
            ("unix:///run/r.sock?pass=hunter2", "unix:///run/r.sock?pass=***"),
            ("redis://h:6379/0", "redis://h:6379/0"),
            ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ] {
            let url = Url::from(given);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("\"{shown}\""));
            assert_eq!(url.has_password(), given != shown);
            assert_eq!(url.expose(), given);
        }
    }
}
