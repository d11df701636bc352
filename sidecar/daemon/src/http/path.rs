//! What a request line names: path and query, decoded and checked.
//!
//! Owns percent-decoding, the list of resources and the methods each has. Must not know bodies or the driver; whether
//! bytes are a key is the gate's decision.

use super::problem::ProblemDocument;
use hyper::Method;
use percent_encoding::percent_decode_str;
use sidelock_engine::Incarnation;
use sidelock_wire::Secret;
use std::fmt;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `/v1/locks`: the keys in use, and several of them at once.
    Locks,
    /// `/v1/locks/{key}`: a key as a lock.
    Lock(Vec<u8>),
    /// `/v1/semaphores/{key}`: a key as a semaphore.
    Semaphore(Vec<u8>),
    /// `/v1/once/{key}`: a key that is done once per window.
    Once(Vec<u8>),
    /// `/v1/leases/{id}`: a timed lease.
    Lease(LeaseId),
    /// `/v1/registers/{key}`: a key's value.
    Register(Vec<u8>),
    /// `/v1/leases/{id}/result`: what a turn leaves.
    Finish(LeaseId),
    /// `/v1/graph`: who waits for whom.
    Graph,
    /// `/v1/watch`: what happens.
    Watch,
    /// `/v1/info`: who answers.
    Info,
    /// The policies in force.
    Policies,
    /// `/v1/openapi.json`: this interface, described.
    OpenApi,
    /// Health and metrics.
    Probe(Probe),
}

/// The pages that the probe listener has too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// `/livez`: the loop turns.
    Live,
    /// `/readyz`: takes requests.
    Ready,
    /// `/readyz/store`: takes requests and the store answers.
    ReadyStore,
    /// `/startupz`: has begun to serve.
    Startup,
    /// `/metrics`: numbers for Prometheus.
    Metrics,
}

/// The methods of each resource, as the `Allow` header lists them.
const LIST: &[Method] = &[Method::GET, Method::HEAD];
const LOOK_OR_ACQUIRE: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
const ACQUIRE: &[Method] = &[Method::POST];
const FINISH: &[Method] = &[Method::PUT];
const LEASE: &[Method] = &[Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];
const REGISTER: &[Method] = &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE];

impl Resource {
    /// All paths, as the published description writes them.
    #[cfg(test)]
    pub(crate) const PATHS: &[&str] = &[
        "/v1/locks",
        "/v1/locks/{key}",
        "/v1/semaphores/{key}",
        "/v1/once/{key}",
        "/v1/leases/{id}",
        "/v1/registers/{key}",
        "/v1/leases/{id}/result",
        "/v1/graph",
        "/v1/watch",
        "/v1/policies",
        "/v1/info",
        "/v1/openapi.json",
        "/livez",
        "/readyz",
        "/readyz/store",
        "/startupz",
        "/metrics",
    ];

    /// What this path names, if anything.
    pub(crate) fn parse(path: &str) -> Result<Resource, ProblemDocument> {
        if let Some(probe) = Probe::parse(path) {
            return Ok(Resource::Probe(probe));
        }
        let rest = path.strip_prefix("/v1/").ok_or_else(|| ProblemDocument::no_such_path(path))?;
        let (name, tail) = match rest.split_once('/') {
            Some((name, tail)) => (name, Some(tail)),
            None => (rest, None),
        };
        match (name, tail) {
            ("locks", None) => Ok(Resource::Locks),
            ("locks", Some(key)) => Ok(Resource::Lock(key_bytes(key))),
            ("semaphores", Some(key)) => Ok(Resource::Semaphore(key_bytes(key))),
            ("once", Some(key)) => Ok(Resource::Once(key_bytes(key))),
            ("leases", Some(id)) => {
                let (id, named) = match id.strip_suffix("/result") {
                    Some(id) => (id, Resource::Finish as fn(LeaseId) -> Resource),
                    None => (id, Resource::Lease as fn(LeaseId) -> Resource),
                };
                Ok(named(LeaseId::parse(id).ok_or_else(ProblemDocument::no_such_lease)?))
            }
            ("registers", Some(key)) => Ok(Resource::Register(key_bytes(key))),
            ("graph", None) => Ok(Resource::Graph),
            ("watch", None) => Ok(Resource::Watch),
            ("policies", None) => Ok(Resource::Policies),
            ("info", None) => Ok(Resource::Info),
            ("openapi.json", None) => Ok(Resource::OpenApi),
            ("force-unlock" | "drain", _) => Err(ProblemDocument::operators_only(path)),
            _ => Err(ProblemDocument::no_such_path(path)),
        }
    }

    /// What can be done with it.
    pub(crate) fn methods(&self) -> &'static [Method] {
        match self {
            Resource::Lock(_) | Resource::Locks => LOOK_OR_ACQUIRE,
            Resource::Semaphore(_) | Resource::Once(_) => ACQUIRE,
            Resource::Finish(_) => FINISH,
            Resource::Lease(_) => LEASE,
            Resource::Register(_) => REGISTER,
            _ => LIST,
        }
    }

    /// The query's parameters; `None`: whatever is there is ignored, as probes want it.
    pub(crate) fn parameters(&self, method: &Method) -> Option<&'static [&'static str]> {
        match self {
            Resource::Lock(_) | Resource::Semaphore(_) if *method == Method::POST => Some(&["stream"]),
            Resource::Lock(_) if *method == Method::GET || *method == Method::HEAD => {
                Some(&["space", "shown"])
            }
            Resource::Locks if *method == Method::POST => Some(&[]),
            Resource::Locks => Some(&["prefix", "fleet"]),
            Resource::Watch => Some(&["prefix"]),
            Resource::Register(_) if *method == Method::GET || *method == Method::HEAD => {
                Some(&["watch", "wait"])
            }
            Resource::Graph => Some(&["key", "space"]),
            Resource::Probe(_) => None,
            _ => Some(&[]),
        }
    }
}

impl Probe {
    /// The probe at this path.
    pub(crate) fn parse(path: &str) -> Option<Probe> {
        Some(match path {
            "/livez" => Probe::Live,
            "/readyz" => Probe::Ready,
            "/readyz/store" => Probe::ReadyStore,
            "/startupz" => Probe::Startup,
            "/metrics" => Probe::Metrics,
            _ => return None,
        })
    }
}

/// Everything after the resource's name is the key; `/` and `%2F` mean the same.
pub(crate) fn key_bytes(raw: &str) -> Vec<u8> {
    percent_decode_str(raw).collect()
}

/// The name of a timed lease at this door: 40 hexadecimal digits, the secret and then the sidecar's life.
///
/// A restarted sidecar knows by the life that a lease is gone and not merely unknown (P5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseId {
    /// The right to the lease.
    pub(crate) secret: Secret,
    /// The first 32 bits of the incarnation that granted it.
    life: u32,
}

impl LeaseId {
    /// The id of a lease that this incarnation granted.
    pub(crate) fn new(secret: Secret, incarnation: Incarnation) -> LeaseId {
        LeaseId { secret, life: life_of(incarnation) }
    }

    /// Whether this incarnation granted it.
    pub(crate) fn is_of(self, incarnation: Incarnation) -> bool {
        self.life == life_of(incarnation)
    }

    /// Reads what `Display` writes, and no other spelling.
    pub(crate) fn parse(text: &str) -> Option<LeaseId> {
        let canonical =
            text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let (secret, life) = canonical.then(|| text.split_at(32))?;
        Some(LeaseId {
            secret: Secret(u128::from_str_radix(secret, 16).ok()?),
            life: u32::from_str_radix(life, 16).ok()?,
        })
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}{:08x}", self.secret.0, self.life)
    }
}

fn life_of(incarnation: Incarnation) -> u32 {
    (incarnation.0 >> 96) as u32
}

/// The parameters after `?`, each at most once. A name that the resource does not have is an error, as in a body.
#[derive(Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query apart and holds it against the names `known` of this method.
    pub(crate) fn parse(
        query: Option<&str>,
        method: &Method,
        known: &[&str],
    ) -> Result<Query, ProblemDocument> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode_parameter(name)?;
            if !known.contains(&name.as_str()) {
                return Err(ProblemDocument::unknown_parameter(&name, method, known));
            }
            if pairs.iter().any(|(seen, _)| *seen == name) {
                return Err(ProblemDocument::bad_field(&name, "is given twice"));
            }
            pairs.push((name, decode_parameter(value)?));
        }
        Ok(Query(pairs))
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A switch: `1` and `true` are on, absence, `0` and `false` are off.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, ProblemDocument> {
        match self.get(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(other) => Err(ProblemDocument::bad_field(name, &format!("is {other:?}; it is 1 or 0"))),
        }
    }
}

fn decode_parameter(raw: &str) -> Result<String, ProblemDocument> {
    let spaced = raw.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8();
    text.map(|text| text.into_owned())
        .map_err(|_| ProblemDocument::bad_field("query", "is not UTF-8 after percent-decoding"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Vec<u8> {
        match Resource::parse(path).expect("names a lock") {
            Resource::Lock(key) => key,
            other => panic!("{path} names {other:?}"),
        }
    }

    #[test]
    fn the_key_is_everything_after_the_resource() {
        assert_eq!(key("/v1/locks/orders/42"), b"orders/42");
        assert_eq!(key("/v1/locks/orders%2F42"), b"orders/42");
        assert_eq!(key("/v1/locks/orders%2f42"), b"orders/42");
        assert_eq!(key("/v1/locks/a//b/"), b"a//b/");
        assert_eq!(key("/v1/locks/%E2%82%AC"), "€".as_bytes());
        assert_eq!(key("/v1/locks/100%"), b"100%", "a lone percent sign stands for itself");
        assert_eq!(key("/v1/locks/"), b"");
        assert_eq!(key("/v1/locks/%FF"), b"\xff");
    }

    #[test]
    fn a_lease_id_has_one_spelling() {
        let incarnation = Incarnation(u128::MAX - 1);
        let id = LeaseId::new(Secret(0x1f), incarnation);
        let text = id.to_string();
        assert_eq!(Resource::parse(&format!("/v1/leases/{text}")).ok(), Some(Resource::Lease(id)));
        assert!(id.is_of(incarnation) && !id.is_of(Incarnation(7)));
        for other in ["1f", &text.to_uppercase(), &format!("+{}", &text[1..]), &format!("{text}0"), "é", ""]
        {
            assert!(Resource::parse(&format!("/v1/leases/{other}")).is_err(), "{other}");
        }
    }

    #[test]
    fn queries_are_decoded_and_checked() {
        let known = &["prefix", "stream"];
        let query = Query::parse(Some("prefix=a%2Fb+c&stream=1"), &Method::GET, known).expect("is fine");
        assert_eq!(query.get("prefix"), Some("a/b c"));
        assert!(query.switch("stream").expect("is a switch"));
        for bad in ["prefx=a", "stream=1&stream=1", "prefix=%FF"] {
            assert!(Query::parse(Some(bad), &Method::GET, known).is_err(), "{bad}");
        }
        let odd = Query::parse(Some("stream=yes"), &Method::GET, known).expect("names are known");
        assert!(odd.switch("stream").is_err());
    }
}
