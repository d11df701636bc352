//! What Prometheus sees.
//!
//! Owns names, labels and buckets. A key is never a label: the operator's classes are, at most
//! [`crate::config::CLASSES_MAX`]. Must not decide anything.

use crate::clock::boottime;
use crate::identity::Identity;
use crate::memory::resident_bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use sidelock_engine::view::Counts;
use sidelock_engine::{LostReason, Path, Time};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Counters of requests kept at hand: a handful of outcomes, in each of a few classes.
const LATELY_MAX: usize = 64;

/// What a request was, and how it ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// `acquire`, `once`, `lock_all`, `renew`, `release`, `change`, `finish`, `register`, `force`; `admission` and `connect`
    /// for what came no further.
    pub(crate) op: &'static str,
    /// `exclusive`, `shared`, `permits`; empty where the answer does not say.
    pub(crate) mode: &'static str,
    /// The key's class; empty without one.
    pub(crate) class: Arc<str>,
    /// `granted`, `renewed`, `released`, `cancelled`, or a code of the error table.
    pub(crate) outcome: &'static str,
}

impl RequestLabels {
    /// Whether these are the same texts in the same places. Equal texts elsewhere are another's, which costs a look-up.
    fn is_very(&self, other: &RequestLabels) -> bool {
        let same = |a: &str, b: &str| std::ptr::eq(a, b);
        same(self.op, other.op)
            && same(self.mode, other.mode)
            && same(self.outcome, other.outcome)
            && Arc::ptr_eq(&self.class, &other.class)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PathLabels {
    path: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// All of it. Written by the driver, read by a scrape.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    /// Counters of `requests` that were found lately.
    lately: RefCell<Vec<(RequestLabels, Counter)>>,
    unclassed: Arc<str>,
    acquire_wait: Histogram,
    hold: Histogram,
    handoffs: Counter,
    retained: Counter,
    from_store: Counter,
    lost: Family<ReasonLabels, Counter>,
    deadlocks: Counter,
    #[cfg(feature = "redis")]
    store: StoreMetrics,
    #[cfg(feature = "policy")]
    policies: crate::policies::Counts,
    leases: Gauge,
    waiters: Gauge,
    oldest_waiter: Gauge<f64, AtomicU64>,
    sessions: Gauge,
    store_up: Gauge,
    resident_bytes: Gauge,
    uptime: Gauge<f64, AtomicU64>,
    started: Time,
}

/// The part that the store's connection writes.
#[derive(Clone)]
pub(crate) struct StoreMetrics {
    /// From sending a batch until its last answer.
    pub(crate) roundtrip: Histogram,
    /// Operations that left together.
    pub(crate) batch_size: Histogram,
    /// Operations sent.
    pub(crate) commands: Counter,
}

/// What the store is. One of these facts may change, so they are read when somebody looks.
#[derive(Debug)]
struct StoreFacts(Identity);

impl Collector for StoreFacts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Identity { store, scope, .. } = &self.0;
        let facts =
            [("kind", store.name()), ("scope", scope.name()), ("guarantee", self.0.guarantee().name())];
        let info = Info::new(facts.to_vec());
        let described =
            encoder.encode_descriptor("store", "This sidecar's store", None, info.metric_type())?;
        info.encode(described)
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub(crate) fn new(identity: &Identity) -> Metrics {
        let mut registry = Registry::with_prefix("sidelock");
        let requests = Family::default();
        let acquire_wait = seconds();
        let hold = seconds();
        let grants = Family::<PathLabels, Counter>::default();
        let by = |path: Path| grants.get_or_create_owned(&PathLabels { path: path.name() });
        let (handoffs, retained, from_store) = (by(Path::Handoff), by(Path::Retained), by(Path::Store));
        let lost = Family::<ReasonLabels, Counter>::default();
        // From the start: what appears with its first loss has not risen, to whoever watches for a rise.
        for reason in LostReason::ALL {
            drop(lost.get_or_create(&ReasonLabels { reason: reason.name() }));
        }
        let deadlocks = Counter::default();
        let store = StoreMetrics {
            roundtrip: seconds(),
            batch_size: Histogram::new(exponential_buckets(1.0, 4.0, 7)),
            commands: Counter::default(),
        };
        let (leases, waiters, sessions, store_up, resident_bytes) = Default::default();
        let (oldest_waiter, uptime) = Default::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("requests", "Requests by how they ended", Family::clone(&requests));
        registry.register(
            "acquire_wait_seconds",
            "How long granted requests waited",
            Histogram::clone(&acquire_wait),
        );
        registry.register("hold_seconds", "How long leases were held", Histogram::clone(&hold));
        registry.register("grants", "Grants by where they came from", grants);
        registry.register("leases_lost", "Leases lost by reason", Family::clone(&lost));
        registry.register("deadlocks", "Requests refused because of a deadlock", Counter::clone(&deadlocks));
        registry.register(
            "store_roundtrip_seconds",
            "Time from a batch to its answers",
            store.roundtrip.clone(),
        );
        registry.register(
            "store_batch_size",
            "Store operations that left together",
            store.batch_size.clone(),
        );
        registry.register("store_commands", "Store operations sent", store.commands.clone());
        registry.register("leases", "Live leases", Gauge::clone(&leases));
        registry.register("waiters", "Queued acquires", Gauge::clone(&waiters));
        registry.register(
            "oldest_waiter_seconds",
            "Age of the oldest queued acquire",
            Gauge::clone(&oldest_waiter),
        );
        registry.register("sessions", "Sessions, cut-off ones included", Gauge::clone(&sessions));
        registry.register("store_up", "Whether the store can be talked to", Gauge::clone(&store_up));
        registry.register(
            "resident_memory_bytes",
            "Memory of this sidecar's process, 0 where the system does not say",
            Gauge::clone(&resident_bytes),
        );
        registry.register("uptime_seconds", "Age of this sidecar", Gauge::clone(&uptime));
        registry.register("build", "This build", build);
        registry.register_collector(Box::new(StoreFacts(identity.clone())));
        #[cfg(feature = "policy")]
        let policies = crate::policies::Counts::new(&mut registry);
        Metrics {
            registry,
            requests,
            lately: RefCell::default(),
            unclassed: Arc::from(""),
            acquire_wait,
            hold,
            handoffs,
            retained,
            from_store,
            lost,
            deadlocks,
            #[cfg(feature = "redis")]
            store,
            #[cfg(feature = "policy")]
            policies,
            leases,
            waiters,
            oldest_waiter,
            sessions,
            store_up,
            resident_bytes,
            uptime,
            started: boottime(),
        }
    }

    /// Counts one. Finding its counter by the text of its labels costs more than the engine's whole work on a request,
    /// so the few that a sidecar uses are kept at hand, to be known by the addresses of their texts.
    pub(crate) fn request(&self, labels: RequestLabels) {
        let mut lately = self.lately.borrow_mut();
        if let Some((_, counter)) = lately.iter().find(|(known, _)| known.is_very(&labels)) {
            counter.inc();
            return;
        }
        let counter = self.requests.get_or_create_owned(&labels);
        counter.inc();
        if lately.len() == LATELY_MAX {
            lately.clear();
        }
        lately.push((labels, counter));
    }

    /// A request whose answer says nothing of mode and class.
    pub(crate) fn bare_request(&self, op: &'static str, outcome: &'static str) {
        let class = self.unclassed.clone();
        self.request(RequestLabels { op, mode: "", class, outcome });
    }

    pub(crate) fn granted(&self, path: Path, waited: Duration) {
        let counter = match path {
            Path::Handoff => &self.handoffs,
            Path::Retained => &self.retained,
            Path::Store => &self.from_store,
        };
        counter.inc();
        self.acquire_wait.observe(waited.as_secs_f64());
    }

    pub(crate) fn held(&self, held: Duration) {
        self.hold.observe(held.as_secs_f64());
    }

    pub(crate) fn lost(&self, reason: LostReason) {
        let reason = reason.name();
        self.lost.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn deadlock(&self) {
        self.deadlocks.inc();
    }

    /// For the store's connection.
    #[cfg(feature = "redis")]
    pub(crate) fn store(&self) -> StoreMetrics {
        self.store.clone()
    }

    /// For the policies.
    #[cfg(feature = "policy")]
    pub(crate) fn policies(&self) -> &crate::policies::Counts {
        &self.policies
    }

    /// The page, with the gauges as of `now`.
    pub(crate) fn page(
        &self,
        now: Time,
        counts: &Counts,
        oldest_waiter: Option<Time>,
        store_up: bool,
    ) -> String {
        let size = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.leases.set(size(counts.leases));
        self.waiters.set(size(counts.waiters));
        self.sessions.set(size(counts.sessions));
        self.store_up.set(store_up.into());
        let age = oldest_waiter.map_or(Duration::ZERO, |since| now.since(since));
        self.oldest_waiter.set(age.as_secs_f64());
        self.resident_bytes.set(resident_bytes().and_then(|bytes| bytes.try_into().ok()).unwrap_or_default());
        self.uptime.set(now.since(self.started).as_secs_f64());
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("a String takes every write");
        page
    }
}

/// 50 µs to 52 s: below is a local handoff, above is an incident.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 4.0, 11))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreKind;

    #[test]
    fn the_published_names_are_on_the_page() {
        let metrics = Metrics::new(&Identity::new(StoreKind::Memory, "default", false));
        let class: Arc<str> = Arc::from("pay");
        for class in [class.clone(), class, Arc::from("pay")] {
            metrics.request(RequestLabels { op: "acquire", mode: "exclusive", class, outcome: "granted" });
        }
        metrics.granted(Path::Handoff, Duration::from_millis(1));
        metrics.lost(LostReason::Store);
        let counts = Counts { leases: 3, ..Counts::default() };
        let page = metrics.page(Time(3_000_000_000), &counts, Some(Time(1_000_000_000)), true);
        for line in [
            r#"sidelock_requests_total{op="acquire",mode="exclusive",class="pay",outcome="granted"} 3"#,
            r#"sidelock_grants_total{path="handoff"} 1"#,
            r#"sidelock_leases_lost_total{reason="store"} 1"#,
            r#"sidelock_leases_lost_total{reason="session"} 0"#,
            "sidelock_leases 3",
            "sidelock_waiters 0",
            "sidelock_sessions 0",
            "sidelock_oldest_waiter_seconds 2",
            "sidelock_store_up 1",
            "sidelock_store_commands_total 0",
            "sidelock_acquire_wait_seconds_count 1",
            "sidelock_hold_seconds_count 0",
            "sidelock_store_roundtrip_seconds_count 0",
            "sidelock_store_batch_size_count 0",
            r#"sidelock_store_info{kind="memory",scope="host",guarantee="local"} 1"#,
            concat!("sidelock_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
        let gauge = |name: &str| {
            let value = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            value.unwrap_or_else(|| panic!("{name} is missing in\n{page}"))
        };
        assert!(gauge("sidelock_resident_memory_bytes ") > 100_000.0, "a process takes more than that");
        assert!(gauge("sidelock_uptime_seconds ") >= 0.0);
    }
}
