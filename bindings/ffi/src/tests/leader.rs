//! Elections.

use super::{drive, embedded};
use crate::{Candidacy, Client, Failure, Lease, Result};
use std::sync::Arc;

fn campaign(client: &Arc<Client>, wait_ms: Option<u64>, max_term_ms: Option<u64>) -> Result<Arc<Lease>> {
    let candidacy = Candidacy { wait_ms, max_term_ms, owner: None };
    client.clone().leader("scheduler".into()).campaign_blocking(candidacy, 1)
}

#[test]
fn one_leads_until_it_resigns_and_terms_rise() {
    let client = embedded();
    let first = campaign(&client, None, None).unwrap();
    assert!(matches!(campaign(&client, Some(0), None), Err(Failure::Busy { .. })));
    // By the name that every SDK and the command line use.
    let [holder] = &client.holders_blocking("leader/scheduler".into(), 2).unwrap()[..] else {
        panic!("nobody")
    };
    assert_eq!(holder.fence, Some(first.fence()));
    first.release_blocking(3).unwrap();
    assert!(campaign(&client, Some(0), None).unwrap().fence() > first.fence());
}

#[test]
fn who_looks_on_is_told_of_each_leader() {
    let client = embedded();
    let observer = client.clone().leader("scheduler".into()).observe();
    assert_eq!(observer.changed_blocking(1).unwrap(), None);
    let term = campaign(&client, None, None).unwrap();
    assert_eq!(observer.changed_blocking(2).unwrap().unwrap().fence, Some(term.fence()));
    assert_eq!(drive(observer.current(None)).unwrap().unwrap().fence, Some(term.fence()));
    drop(term);
    assert_eq!(drive(observer.changed(None)).unwrap(), None);
}

#[test]
fn a_term_may_have_a_longest() {
    let client = embedded();
    let term = campaign(&client, None, Some(50)).unwrap();
    assert!(drive(term.clone().ended(None)).unwrap().is_some());
    campaign(&client, None, None).unwrap();
}
