//! Whether what runs for long stays as it is.
//!
//! Owns what is looked at between the parts of a round that lasts (memory and descriptors of each sidecar, keys of the store), and
//! how much more of it is none. Must not know what strikes meanwhile.

use crate::fleet::Fleet;
use crate::measure::Measured;

/// Looks at a round. A part is long enough for caches and pools to have filled up when the second quarter begins.
pub const LOOKS: u32 = 16;

/// How much more there may be in the last quarter than there was in the second one.
const MEMORY_MORE: f64 = 1.1;
/// KiB that are no growth, whatever their share.
const MEMORY_KIB_MORE: u64 = 1024;
/// Connections come and go: so many more, or fewer, may be open at the moment of a look.
const DESCRIPTORS_MORE: u64 = 8;
const KEYS_MORE: u64 = 8;

/// What there was at one moment: the most that one of the sidecars had, and what the store had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// KiB resident.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Keys of the store.
    pub keys: u64,
}

impl Look {
    /// Now. Redis must be up.
    pub fn at(fleet: &Fleet) -> Look {
        let sidecars = || (0..fleet.hosts()).map(|host| fleet.sidecar(host));
        let keys = fleet.redis(&["DBSIZE"]);
        Look {
            memory: sidecars().map(|sidecar| sidecar.resident_kib()).max().unwrap_or_default(),
            descriptors: sidecars().map(|sidecar| sidecar.descriptors()).max().unwrap_or_default(),
            keys: keys.iter().filter_map(|count| count.trim().parse::<u64>().ok()).sum(),
        }
    }

    fn most(looks: &[Look]) -> Look {
        looks.iter().fold(Look::default(), |most, look| Look {
            memory: most.memory.max(look.memory),
            descriptors: most.descriptors.max(look.descriptors),
            keys: most.keys.max(look.keys),
        })
    }
}

/// Whether the last quarter of a round had more than the second.
pub fn judge(looks: &[Look]) -> Measured {
    let quarter = looks.len() / 4;
    let early = Look::most(&looks[quarter..quarter * 2]);
    let late = Look::most(&looks[looks.len() - quarter..]);
    let memory = (early.memory as f64 * MEMORY_MORE) as u64 + MEMORY_KIB_MORE;
    let kept = late.memory <= memory
        && late.descriptors <= early.descriptors + DESCRIPTORS_MORE
        && late.keys <= early.keys + KEYS_MORE;
    let text = format!(
        "in the second quarter and in the last: {} and {} KiB resident, {} and {} descriptors, {} and {} keys in the store",
        early.memory, late.memory, early.descriptors, late.descriptors, early.keys, late.keys
    );
    Measured { text, kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round whose looks are `early` and then `late`.
    fn kept(early: Look, late: Look) -> bool {
        let half = LOOKS as usize / 2;
        judge(&[vec![early; half], vec![late; half]].concat()).kept
    }

    #[test]
    fn what_grows_is_found_and_what_comes_and_goes_is_not() {
        let calm = Look { memory: 10_000, descriptors: 40, keys: 12 };
        assert!(kept(calm, calm));
        assert!(kept(calm, Look { memory: 12_000, descriptors: 48, keys: 20 }));
        assert!(!kept(calm, Look { memory: 12_100, ..calm }));
        assert!(!kept(calm, Look { descriptors: 49, ..calm }));
        assert!(!kept(calm, Look { keys: 21, ..calm }));
        let first = Look { memory: 90_000, descriptors: 400, keys: 900 };
        let looks: Vec<Look> = [vec![first; 2], vec![calm; 14]].concat();
        assert!(judge(&looks).kept, "the beginning does not count");
        let spike = [vec![calm; 15], vec![first; 1]].concat();
        assert!(!judge(&spike).kept, "one look is enough");
    }
}
