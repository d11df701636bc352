//! How costs grow: which figures stand in which plot.
//!
//! Owns names and titles. Must not know how figures are measured, or how a plot is drawn.

use super::chart::{Series, svg};
use crate::figures::Figures;

/// One plot.
struct Plot {
    file: &'static str,
    title: &'static str,
    x: &'static str,
    /// Labels, and figures that have a value for each size. The first is ours.
    series: &'static [(&'static str, &'static str)],
}

const PLOTS: [Plot; 6] = [
    Plot {
        file: "b2-own-keys.svg",
        title: "A key each: cycles a second",
        x: "tasks on one connection",
        series: &[("Sidelock", "b2.ours"), ("redis crate", "b2.redis")],
    },
    Plot {
        file: "b3-one-key.svg",
        title: "One key, one sidecar: grants a second",
        x: "tasks",
        series: &[
            ("Sidelock, in order", "b3.ours"),
            ("redis crate, polling", "b3.redis"),
            ("rslock", "b3.rslock"),
        ],
    },
    Plot {
        file: "b4-fleet.svg",
        title: "One key, four sidecars on one Redis: grants a second",
        x: "clients",
        series: &[
            ("Sidelock, in order", "b4.ours"),
            ("redis crate, polling", "b4.redis"),
            ("rslock", "b4.rslock"),
        ],
    },
    Plot {
        file: "b4-worst-wait.svg",
        title: "The same: the longest that anybody waited, µs",
        x: "clients",
        series: &[
            ("Sidelock, in order", "b4.ours.worst"),
            ("redis crate, polling", "b4.redis.worst"),
            ("rslock", "b4.rslock.worst"),
        ],
    },
    Plot {
        file: "b5-cold-keys.svg",
        title: "Every key new: cycles a second",
        x: "in flight",
        series: &[("Sidelock", "b5.ours"), ("redis crate", "b5.redis")],
    },
    Plot {
        file: "b8-memory.svg",
        title: "What a sidecar's memory grows by, MiB",
        x: "how many",
        series: &[
            ("held leases", "b8.lease.total"),
            ("waiters on one key", "b8.waiter.total"),
            ("connections", "b8.connection.total"),
        ],
    },
];

/// File names and what to write into them; what was not measured has no plot.
pub(crate) fn plots(figures: &Figures) -> Vec<(&'static str, String)> {
    let drawn = PLOTS.iter().filter_map(|plot| {
        let series =
            plot.series.iter().map(|&(label, figure)| Series { label, points: figures.curve(figure) });
        Some((plot.file, svg(plot.title, plot.x, &series.collect::<Vec<_>>())?))
    });
    drawn.collect()
}
