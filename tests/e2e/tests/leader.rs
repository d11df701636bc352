//! Leader election, after the tests of etcd's `concurrency.Election` and Curator's `LeaderLatch` and `LeaderSelector`; each
//! names the one it is taken from. A sidecar stands for a host of theirs.

use sidelock_client::{Client, LostReason};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::process::{Process, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);

/// One sidecar on memory; two on one Redis.
fn fleets() -> Vec<(Option<Redis>, Vec<Sidecar>)> {
    let redis = Redis::start();
    let two = vec![Sidecar::connected_to(&redis), Sidecar::connected_to(&redis)];
    vec![(None, vec![Sidecar::on_memory()]), (Some(redis), two)]
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

async fn client(fleet: &[Sidecar], index: usize) -> Client {
    Client::connect(fleet[index % fleet.len()].socket()).await.expect("the sidecar listens")
}

// origin: etcd, v3_election_test.go: TestElectionWait
/// Followers are elected one after the other as each leader resigns.
#[test]
fn candidates_lead_one_after_the_other_in_rising_terms() {
    for (_redis, fleet) in fleets() {
        block_on(async {
            let mut tasks = Vec::new();
            for index in 0..6 {
                let leader = client(&fleet, index).await.leader("e").wait(SOON * 2);
                tasks.push(tokio::task::spawn(async move {
                    let leadership = leader.campaign().await.expect("elected");
                    let term = leadership.term();
                    assert!(leadership.is_valid());
                    leadership.resign().await.expect("resigned");
                    term
                }));
            }
            let mut terms = Vec::new();
            for task in tasks {
                terms.push(task.await.expect("no panic"));
            }
            terms.sort_unstable();
            terms.dedup();
            assert_eq!(terms.len(), 6, "nobody shares a term: {terms:?}");
        });
    }
}

// origin: etcd, v3_election_test.go: TestElectionFailover
/// When the leader's session is over, another candidate leads.
#[test]
fn a_leader_whose_connection_ends_is_followed_at_once() {
    for (_redis, fleet) in fleets() {
        block_on(async {
            let first = client(&fleet, 0).await;
            let leadership = first.leader("e").campaign().await.expect("elected");
            let follower = client(&fleet, 1).await.leader("e").wait(SOON);
            assert!(follower.clone().wait(Duration::ZERO).try_campaign().await.expect("no error").is_none());
            let term = leadership.term();
            let next = tokio::task::spawn(async move { follower.campaign().await });
            tokio::task::yield_now().await;
            let start = Instant::now();
            // As a process ends: nobody resigns, the connection does.
            drop((leadership, first));
            let next = next.await.expect("no panic").expect("elected");
            assert!(next.term() > term && start.elapsed() < SOON, "after {:?}", start.elapsed());
        });
    }
}

// origin: etcd, v3_election_test.go: TestElectionSessionRecampaign
/// Who led and resigned can be elected again, in a higher term.
#[test]
fn who_resigned_can_be_elected_again() {
    for (_redis, fleet) in fleets() {
        block_on(async {
            let leader = client(&fleet, 0).await.leader("e");
            let mut last = 0;
            for _ in 0..3 {
                let leadership = leader.try_campaign().await.expect("no error").expect("nobody else stands");
                assert!(leadership.term() > last);
                last = leadership.term();
                leadership.resign().await.expect("resigned");
            }
        });
    }
}

// origin: etcd, v3_election_test.go: TestElectionOnPrefixOfExistingKey
/// Names of which one begins with another are different elections.
#[test]
fn a_name_that_begins_with_another_is_another_election() {
    for (_redis, fleet) in fleets() {
        block_on(async {
            let long = client(&fleet, 0).await.leader("testa").campaign().await.expect("elected");
            let short = client(&fleet, 1).await.leader("test").wait(SOON).campaign().await.expect("elected");
            assert!(long.is_valid() && short.is_valid());
        });
    }
}

// origin: Curator, TestLeaderLatch: testWaiting
/// Of many who stand at a time, one leads at a time.
#[test]
fn no_two_lead_at_a_time() {
    for (_redis, fleet) in fleets() {
        block_on(async {
            let leading = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
            let mut tasks = Vec::new();
            for index in 0..10 {
                let (leader, leading) =
                    (client(&fleet, index).await.leader("e").wait(SOON * 4), leading.clone());
                tasks.push(tokio::task::spawn(async move {
                    let leadership = leader.campaign().await.expect("elected");
                    let others = leading.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    leading.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    leadership.resign().await.expect("resigned");
                    others
                }));
            }
            for task in tasks {
                assert_eq!(task.await.expect("no panic"), 0);
            }
        });
    }
}

// origin: Curator, TestLeaderLatch: testBasic
// origin: Curator, TestLeaderLatch: testLostConnection
/// A leader that was deposed hears of it.
#[test]
fn a_deposed_leader_hears_that_it_was() {
    for (_redis, fleet) in fleets() {
        block_on(async {
            let leadership = client(&fleet, 0).await.leader("e").campaign().await.expect("elected");
            let last = fleet.last().expect("a fleet has a sidecar");
            let (code, said) = last.verb(["force-unlock", "leader/e", "--reason", "a coup"]);
            assert_eq!(code, 0, "{said}");
            assert_eq!(leadership.lost().await, LostReason::Forced);
            assert!(!leadership.is_valid());
            let next = client(&fleet, 1).await.leader("e").wait(SOON).campaign().await.expect("elected");
            assert!(next.term() > leadership.term());
        });
    }
}

// origin: Curator, TestLeaderSelector: testAutoRequeue
/// With a bound on the term: the turn goes round by itself.
#[test]
fn a_term_with_a_bound_ends_by_itself() {
    for (_redis, fleet) in fleets() {
        block_on(async {
            let leader = client(&fleet, 0).await.leader("e").max_term(Duration::from_millis(300));
            let leadership = leader.campaign().await.expect("elected");
            let next = client(&fleet, 1).await.leader("e").wait(SOON).campaign().await.expect("elected");
            assert!(!leadership.is_valid() && next.term() > leadership.term());
        });
    }
}

// origin: Curator, TestLeaderLatch: testInterruption
/// Who withdraws is not elected, and nobody waits for it.
#[test]
fn a_candidate_that_withdrew_is_passed_over() {
    for (_redis, fleet) in fleets() {
        block_on(async {
            let leadership = client(&fleet, 0).await.leader("e").campaign().await.expect("elected");
            let impatient = client(&fleet, 1).await.leader("e").wait(Duration::from_millis(50));
            assert!(impatient.campaign().await.is_err());
            let last = client(&fleet, 1).await.leader("e").wait(SOON);
            let elected = tokio::task::spawn(async move { last.campaign().await });
            tokio::task::yield_now().await;
            leadership.resign().await.expect("resigned");
            assert!(elected.await.expect("no panic").expect("elected").is_valid());
        });
    }
}

/// The verb: the command runs while its process leads, its code is passed on, and the next one leads after it.
#[test]
fn the_command_line_runs_a_command_as_leader() {
    for (_redis, fleet) in fleets() {
        let (here, there) = (&fleet[0], fleet.last().expect("a fleet has a sidecar"));
        let mut leading =
            command(["run", "--leader", "job", "--", "sh", "-c", "echo $SIDELOCK_KEY; read _; exit 7"]);
        leading.env("SIDELOCK_SOCKET", here.socket());
        let mut leading = Process::spawn(leading);
        leading.line("which key it holds", |line| line == "leader/job");
        let (code, said) = there.verb(["run", "--wait", "0", "--leader", "job", "--", "true"]);
        assert_eq!(code, 3, "{said}");
        leading.say("done");
        assert_eq!(leading.code(), 7);
        let (code, said) = there.verb(["run", "--wait", "5s", "--leader", "job", "--", "true"]);
        assert_eq!(code, 0, "{said}");
        let (code, said) = there.verb(["run", "--leader", "job", "key", "--", "true"]);
        assert_eq!(code, 2, "{said}");
    }
}

/// etcd `TestElectionObserve`: who looks on is told who leads, and of the next; so is who asks at the command line.
#[test]
fn who_looks_on_sees_the_leader_go_and_the_next_come() {
    for (_redis, fleet) in fleets() {
        block_on(async {
            let named = |index: usize| {
                Client::builder().app("scheduler").socket(fleet[index % fleet.len()].socket()).connect()
            };
            let (first, second) = (named(0).await.expect("listens"), named(1).await.expect("listens"));
            let mut observer = first.leader("e").observe();
            assert!(observer.changed().await.expect("an answer").is_none(), "told at once that nobody leads");
            let (code, said) = fleet[0].verb(["leader", "e"]);
            assert_eq!((code, said.contains("nobody leads e")), (3, true), "{said}");
            let leadership = first.leader("e").campaign().await.expect("elected");
            let seen = observer.changed().await.expect("an answer").expect("somebody leads");
            assert_eq!((seen.local, seen.fence), (true, Some(leadership.term())));
            let last = fleet.last().expect("a fleet has a sidecar");
            let (said, _) = until(PATIENCE, "the leader's sidecar names it", || {
                let (code, said) = last.verb(["leader", "e"]);
                assert_eq!(code, 0, "{said}");
                (!said.contains("does not say whom")).then_some(said)
            });
            let told = format!("scheduler leads e, term {}, at ", leadership.term());
            assert!(said.starts_with(&told), "{said}");
            leadership.resign().await.expect("resigned");
            let next = second.leader("e").wait(SOON).campaign().await.expect("elected");
            let mut seen = observer.changed().await.expect("an answer").expect("somebody leads");
            // A busy machine may keep the leader's sidecar from answering in time: then it is told without its name first.
            while !seen.known {
                let named = tokio::time::timeout(PATIENCE, observer.changed()).await.expect("it is named");
                seen = named.expect("an answer").expect("somebody leads");
            }
            assert_eq!(seen.sidecar, second.sidecar().expect("is connected").incarnation);
            assert_eq!((seen.local, seen.app.as_str()), (fleet.len() == 1, "scheduler"));
            assert_eq!(
                (seen.known, seen.fence),
                (true, Some(next.term())),
                "a leader elsewhere has a name and a term"
            );
            next.resign().await.expect("resigned");
            let again = second.leader("e").wait(SOON).campaign().await.expect("elected");
            let seen = observer.changed().await.expect("an answer").expect("somebody leads");
            assert_eq!(seen.fence, Some(again.term()), "another term at the same sidecar is seen too");
            let (code, said) = fleet[0].verb(["leader", "e", "-o", "json"]);
            assert_eq!((code, said.contains("\"term\"")), (0, true), "{said}");
        });
    }
}

/// Who goes on looking is told of every change.
#[test]
fn the_command_line_goes_on_looking() {
    for (_redis, fleet) in fleets() {
        let mut looking = command(["leader", "e", "--watch"]);
        looking.env("SIDELOCK_SOCKET", fleet[0].socket());
        let looking = Process::spawn(looking);
        looking.line("that nobody leads", |line| line.contains("nobody leads e"));
        block_on(async {
            let leadership = client(&fleet, 1).await.leader("e").campaign().await.expect("elected");
            looking.line("that somebody does", |line| line.contains(" leads e") && !line.contains("nobody"));
            leadership.resign().await.expect("resigned");
        });
    }
}
