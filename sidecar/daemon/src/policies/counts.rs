//! What Prometheus sees of policies.
//!
//! Owns names, labels and buckets. The name of a policy is a label: an operator gives it, and there are few.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use sidelock_policy::{Effect, Outcome, Step};
use std::sync::Arc;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Decided {
    policy: Arc<str>,
    verdict: &'static str,
    /// `enforce`, or `monitor` if nothing came of it.
    mode: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    policy: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Failed {
    policy: Arc<str>,
    limit: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Loaded {
    result: &'static str,
}

type Histograms = Family<Asked, Histogram, fn() -> Histogram>;

/// See the module.
pub(crate) struct Counts {
    decisions: Family<Decided, Counter>,
    eval: Histograms,
    errors: Family<Failed, Counter>,
    loads: Family<Loaded, Counter>,
    not_recorded: Counter,
}

impl Counts {
    /// Nothing counted yet.
    pub(crate) fn new(registry: &mut Registry) -> Counts {
        let counts = Counts {
            decisions: Family::default(),
            eval: Family::new_with_constructor(buckets),
            errors: Family::default(),
            loads: Family::default(),
            not_recorded: Counter::default(),
        };
        registry.register("policy_decisions", "What policies said, by policy", counts.decisions.clone());
        registry.register("policy_eval_seconds", "How long a policy took to say it", counts.eval.clone());
        registry.register(
            "policy_errors",
            "Policies that could not decide, by the limit met",
            counts.errors.clone(),
        );
        registry.register("policy_loads", "Sets of policies put into force, or not", counts.loads.clone());
        registry.register(
            "policy_log_dropped",
            "Requests that are missing in `policy_log`: the disk was too slow, or failed",
            counts.not_recorded.clone(),
        );
        counts
    }

    pub(super) fn decided(&self, outcome: &Outcome) {
        for step in &outcome.steps {
            let Step { policy, ruling, effect, repeated, took, .. } = step;
            let verdict = step.verdict();
            let mode = if *effect == Effect::Watched { "monitor" } else { "enforce" };
            self.decisions.get_or_create(&Decided { policy: policy.clone(), verdict, mode }).inc();
            if let Err(fault) = ruling {
                let failed = Failed { policy: policy.clone(), limit: fault.limit() };
                self.errors.get_or_create(&failed).inc();
            }
            if !repeated {
                self.eval.get_or_create(&Asked { policy: policy.clone() }).observe(took.as_secs_f64());
            }
        }
    }

    /// For who writes the record.
    pub(super) fn not_recorded(&self) -> Counter {
        self.not_recorded.clone()
    }

    pub(super) fn loaded(&self, well: bool) {
        let result = if well { "loaded" } else { "refused" };
        self.loads.get_or_create(&Loaded { result }).inc();
    }
}

/// 1 µs to 260 ms: a policy that is prepared takes a few microseconds, one that is stopped its deadline.
fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_001, 4.0, 10))
}
