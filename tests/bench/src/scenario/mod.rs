//! The scenarios, B1 to B16, one file for each family. Each puts its figures under names that begin with its id; sizes
//! stand behind an `@`. Which figures are compared with which, and the goals, stand in `report/lines.rs`.

pub(crate) mod uncontended;
pub(crate) mod contended;
pub(crate) mod fleet;
pub(crate) mod across;
pub(crate) mod death;
pub(crate) mod weight;
pub(crate) mod languages;
pub(crate) mod start;
pub(crate) mod modes;
pub(crate) mod values;
pub(crate) mod policies;
pub(crate) mod cluster;
pub(crate) mod crowd;

use crate::Outcome;
use crate::figures::Figures;
use crate::lab::Lab;

/// Users at once, where the growth of the cost is measured.
pub(crate) const SIZES: [usize; 4] = [1, 8, 64, 512];

/// Slices of a latency's measurement, in turn with what it is compared with.
const SLICES: u32 = 8;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    B8,
    B9,
    B10,
    B11,
    B12,
    B13,
    B14,
    B15,
    B16,
}

impl Scenario {
    /// All, in the order in which a round runs them.
    pub(crate) const ALL: [Scenario; 16] = [
        Scenario::B1,
        Scenario::B2,
        Scenario::B3,
        Scenario::B4,
        Scenario::B5,
        Scenario::B6,
        Scenario::B9,
        Scenario::B10,
        Scenario::B11,
        Scenario::B12,
        Scenario::B13,
        Scenario::B14,
        Scenario::B15,
        Scenario::B7,
        Scenario::B8,
        Scenario::B16,
    ];

    /// The one with this name, whatever its case.
    pub(crate) fn named(name: &str) -> Option<Scenario> {
        Scenario::ALL.into_iter().find(|one| format!("{one:?}").eq_ignore_ascii_case(name))
    }

    /// Those that weigh memory or count deaths: they have no ratio to lose to a drifting machine, and run once.
    pub(crate) fn runs_once(self) -> bool {
        matches!(self, Scenario::B7 | Scenario::B8 | Scenario::B16)
    }

    /// Measures it.
    pub(crate) async fn run(self, lab: &mut Lab, figures: &mut Figures) -> Outcome {
        match self {
            Scenario::B1 => uncontended::alone(lab, figures).await,
            Scenario::B2 => uncontended::own_keys(lab, figures).await,
            Scenario::B3 => contended::one_sidecar(lab, figures).await,
            Scenario::B4 => fleet::one_key(lab, figures).await,
            Scenario::B5 => uncontended::cold_keys(lab, figures).await,
            Scenario::B6 => across::handover(lab, figures).await,
            Scenario::B7 => death::next_grant(lab, figures).await,
            Scenario::B8 => weight::memory(lab, figures).await,
            Scenario::B9 => policies::added(lab, figures).await,
            Scenario::B10 => languages::cycle(lab, figures),
            Scenario::B11 => start::ready(figures),
            Scenario::B12 => modes::permits_and_readers(lab, figures).await,
            Scenario::B13 => values::registers(lab, figures).await,
            Scenario::B14 => values::skips(lab, figures).await,
            Scenario::B15 => cluster::cold_keys(lab, figures).await,
            Scenario::B16 => crowd::idle(figures).await,
        }
    }
}
