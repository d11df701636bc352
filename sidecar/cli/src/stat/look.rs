//! Two looks at a sidecar, and what happened between them.
//!
//! Owns which metrics matter and the arithmetic. Must not know how any of it is shown.

use super::openmetrics::Page;
use crate::door::{ask, fetch, in_time};
use crate::failure::Failure;
use crate::socket::Socket;
use hyper::Method;
use serde_json::{Map, Value, json};
use std::time::Instant;

const GRANTS: &str = "sidelock_grants_total";
const LOST: &str = "sidelock_leases_lost_total";
/// Where grants come from, quickest first.
pub(super) const PATHS: [&str; 3] = ["handoff", "retained", "store"];

/// What a sidecar says of itself at one moment.
pub(super) struct Look {
    at: Instant,
    info: Value,
    page: Page,
}

impl Look {
    /// Looks once.
    pub(super) async fn take(socket: &Socket) -> Result<Look, Failure> {
        let info = in_time(ask(socket, Method::GET, "/v1/info", None)).await?;
        let (status, page) = in_time(fetch(socket, Method::GET, "/metrics", None)).await?;
        if !status.is_success() {
            return Err(Failure::from_problem(status, &page));
        }
        Ok(Look { at: Instant::now(), info, page: Page::read(&String::from_utf8_lossy(&page)) })
    }

    /// Whether both are of the same life of the sidecar: another one counts from nothing.
    pub(super) fn same_life(&self, other: &Look) -> bool {
        self.info["incarnation"] == other.info["incarnation"]
    }

    /// What is so now, and what happened since `earlier`.
    pub(super) fn since(&self, earlier: &Look) -> Value {
        let (page, info) = (&self.page, &self.info);
        let span = Span { seconds: (self.at - earlier.at).as_secs_f64(), from: &earlier.page, to: page };
        let count = |name: &str| page.value(name) as u64;
        let facts = [
            "version",
            "incarnation",
            "store",
            "scope",
            "guarantee",
            "namespace",
            "draining",
            "store_up",
            "keys",
        ];
        let mut answer: Map<String, Value> =
            facts.into_iter().map(|name| (name.to_owned(), info[name].clone())).collect();
        let now = json!({
            "uptime": page.value("sidelock_uptime_seconds"),
            "memory_bytes": count("sidelock_resident_memory_bytes"),
            "sessions": count("sidelock_sessions"),
            "leases": count("sidelock_leases"),
            "waiters": count("sidelock_waiters"),
            "oldest_wait": page.value("sidelock_oldest_waiter_seconds"),
            "grants": by_name(PATHS.map(|path| (path, page.of(GRANTS, "path", path))).into_iter()),
            "lost": by_name(page.by(LOST, "reason").into_iter()),
            "last": span.summary(),
        });
        answer.extend(now.as_object().cloned().unwrap_or_default());
        Value::Object(answer)
    }
}

/// Counters as an object of whole numbers.
fn by_name<'a>(counters: impl Iterator<Item = (&'a str, f64)>) -> Value {
    Value::Object(counters.map(|(name, count)| (name.to_owned(), json!(count as u64))).collect())
}

/// The time between two looks.
struct Span<'a> {
    seconds: f64,
    from: &'a Page,
    to: &'a Page,
}

impl Span<'_> {
    fn summary(&self) -> Value {
        let grants = |path: &str| self.to.of(GRANTS, "path", path) - self.from.of(GRANTS, "path", path);
        let lost = |page: &Page| page.by(LOST, "reason").into_iter().map(|(_, count)| count).sum::<f64>();
        json!({
            "seconds": self.seconds,
            "grants_per_second": by_rate(PATHS.map(|path| (path, self.rate(grants(path))))),
            "lost_per_second": self.rate(lost(self.to) - lost(self.from)),
            "wait_mean": self.mean("sidelock_acquire_wait_seconds"),
            "hold_mean": self.mean("sidelock_hold_seconds"),
            "store_commands_per_second": self.rate(self.counted("sidelock_store_commands_total")),
            "store_roundtrip_mean": self.mean("sidelock_store_roundtrip_seconds"),
            "store_batch_mean": self.mean("sidelock_store_batch_size"),
        })
    }

    fn counted(&self, name: &str) -> f64 {
        self.to.value(name) - self.from.value(name)
    }

    fn rate(&self, count: f64) -> f64 {
        if self.seconds > 0.0 { count / self.seconds } else { 0.0 }
    }

    /// Of what a histogram saw in this time; null if it saw nothing.
    fn mean(&self, histogram: &str) -> Option<f64> {
        let count = self.counted(&format!("{histogram}_count"));
        (count > 0.0).then(|| self.counted(&format!("{histogram}_sum")) / count)
    }
}

fn by_rate(rates: [(&str, f64); 3]) -> Value {
    Value::Object(rates.into_iter().map(|(name, rate)| (name.to_owned(), json!(rate))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn look(at: Instant, page: &str) -> Look {
        Look { at, info: json!({"incarnation": "a", "store": "memory"}), page: Page::read(page) }
    }

    #[test]
    fn rates_and_means_are_those_of_the_time_between() {
        let start = Instant::now();
        let earlier = look(
            start,
            "sidelock_grants_total{path=\"store\"} 10\nsidelock_hold_seconds_sum 5\nsidelock_hold_seconds_count 5\n",
        );
        let later = look(
            start + Duration::from_secs(2),
            "sidelock_grants_total{path=\"store\"} 30\nsidelock_grants_total{path=\"handoff\"} 4\n\
             sidelock_hold_seconds_sum 6\nsidelock_hold_seconds_count 9\nsidelock_leases 3\n\
             sidelock_leases_lost_total{reason=\"session\"} 1\n",
        );
        let now = later.since(&earlier);
        assert_eq!(now["grants"], json!({"handoff": 4, "retained": 0, "store": 30}));
        assert_eq!(now["last"]["grants_per_second"], json!({"handoff": 2.0, "retained": 0.0, "store": 10.0}));
        assert_eq!(now["last"]["hold_mean"], 0.25);
        assert_eq!(now["last"]["wait_mean"], Value::Null, "nothing was granted that could have waited");
        assert_eq!(
            (&now["leases"], &now["store"], &now["lost"]["session"]),
            (&json!(3), &json!("memory"), &json!(1))
        );
        assert_eq!(now["last"]["lost_per_second"], 0.5);
    }
}
