//! Names that steps give: of leases and of versions.
//!
//! Owns that each is given before it is used, is used, and means one thing.

use super::{Act, Case, Kind, Mistake, NOBODY, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// All mistakes with names of a case.
pub(super) fn check(case: &Case, mistakes: &mut Vec<Mistake>) {
    let mut names = Names::default();
    for step in &case.steps {
        let found = match &step.act {
            Act::Do { actor, values, outcome, .. } => {
                let used = values.iter().try_for_each(|(name, words)| match Kind::of(name) {
                    Kind::Lease => names.uses_lease(&words[0], Some(actor)),
                    Kind::Etag if words[0] != "absent" => names.uses_etag(&words[0]),
                    _ => Ok(()),
                });
                used.and_then(|()| outcome.as_ref().map_or(Ok(()), |outcome| names.come(actor, outcome)))
            }
            Act::Comes { actor, outcome } => names.come(actor, outcome),
            Act::Fences { left, right, .. } => {
                [left, right].into_iter().try_for_each(|fence| names.uses_lease(&fence.lease, None))
            }
            _ => Ok(()),
        };
        if let Err(what) = found {
            mistakes.push(Mistake::at(case, step, &what));
        }
    }
    for (name, lease) in names.leases.iter().filter(|(_, lease)| !lease.used) {
        let what = format!(
            "{} names a lease {name:?} and does nothing with it; say {NOBODY:?} if that is all",
            lease.actor
        );
        mistakes.push(Mistake(format!("{}: case {}: {what}", case.place, case.name)));
    }
}

#[derive(Default)]
struct Names {
    leases: BTreeMap<String, Lease>,
    etags: BTreeSet<String>,
}

struct Lease {
    actor: String,
    used: bool,
}

impl Names {
    fn come(&mut self, actor: &str, outcome: &Outcome) -> Result<(), String> {
        if let Some(name) = outcome.get("as").filter(|name| *name != NOBODY) {
            let lease = Lease { actor: actor.to_owned(), used: false };
            if self.leases.insert(name.to_owned(), lease).is_some() {
                return Err(format!("there is a lease {name:?} already"));
            }
        }
        if let Some(name) = outcome.get("etag").filter(|name| *name != NOBODY) {
            self.etags.insert(name.to_owned());
        }
        Ok(())
    }

    fn uses_lease(&mut self, name: &str, by: Option<&String>) -> Result<(), String> {
        let lease = self.leases.get_mut(name).ok_or_else(|| format!("there is no lease {name:?} yet"))?;
        lease.used = true;
        match by {
            Some(actor) if *actor != lease.actor => Err(format!("the lease {name:?} is {}'s", lease.actor)),
            _ => Ok(()),
        }
    }

    fn uses_etag(&self, name: &str) -> Result<(), String> {
        match self.etags.contains(name) {
            true => Ok(()),
            false => Err(format!("there is no version {name:?} yet")),
        }
    }
}
