//! Many readers or one writer: .NET DistributedLock's, Curator's InterProcessReadWriteLock, Redisson's RReadWriteLock
//! and etcd's cases.

use crate::stage::{Crowd, Stage, by_turns, can_get, gets_a_turn, granted, play, soon};
use sidelock_client::{Client, Error, Lease, LostReason, Result};
use sidelock_e2e::PATIENCE;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

play![
    many_readers_or_a_single_writer,
    a_waiting_writer_is_ahead_of_new_readers,
    turns_are_in_the_order_of_arrival,
    a_writer_gets_through_constant_readers,
    readers_and_writers_at_random_never_meet,
    twenty_readers_and_eight_writers_are_listed,
    a_reader_does_not_become_a_writer_by_asking,
    readers_behind_a_writer_come_all_at_once,
    the_last_reader_lets_the_writer_in,
    a_reader_whose_time_is_over_lets_the_writer_in,
    a_writer_whose_time_is_over_can_not_unlock,
    the_longest_reader_counts,
    those_of_another_kind_wait,
];

const NOT_LONG: Duration = Duration::from_millis(200);
const KEY: &str = "lock";

fn reads(client: &Client) -> JoinHandle<Result<Lease>> {
    tokio::spawn(client.rwlock(KEY).read().acquire())
}

fn writes(client: &Client) -> JoinHandle<Result<Lease>> {
    tokio::spawn(client.rwlock(KEY).write().acquire())
}

async fn read(client: &Client) -> Lease {
    granted(reads(client)).await
}

async fn write(client: &Client) -> Lease {
    granted(writes(client)).await
}

async fn can_write(client: &Client) -> bool {
    can_get(client.rwlock(KEY).write()).await
}

async fn can_read(client: &Client) -> bool {
    can_get(client.rwlock(KEY).read()).await
}

// origin: .NET DistributedLock, DistributedReaderWriterLockCoreTestCases: TestMultipleReadersSingleWriter
async fn many_readers_or_a_single_writer(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (first, second) = (read(&here).await, read(&there).await);
    assert!(!can_write(&here).await);
    let writer = writes(&here);
    stage.until_crowd(KEY, 2, 1).await;
    first.release().await.expect("held");
    stage.until_crowd(KEY, 1, 1).await;
    assert!(!writer.is_finished(), "one still reads");
    second.release().await.expect("held");
    let writer = granted(writer).await;
    assert!(!can_write(&there).await);
    writer.release().await.expect("held");
    assert!(can_write(&there).await);
}

// origin: .NET DistributedLock, DistributedReaderWriterLockCoreTestCases: TestWriterTrumpsReader
async fn a_waiting_writer_is_ahead_of_new_readers(stage: &Stage) {
    let (here, there) = stage.two().await;
    let reader = read(&here).await;
    let writer = writes(&here);
    stage.until_crowd(KEY, 1, 1).await;
    assert!(!can_read(&here).await && !can_read(&there).await, "a writer waits");
    reader.release().await.expect("held");
    gets_a_turn(writer).await;
}

// origin: Curator, TestInterProcessReadWriteLockBase: testOrdering
async fn turns_are_in_the_order_of_arrival(stage: &Stage) {
    // The order is kept within a sidecar; between sidecars the store keeps it, which batches a sidecar's waiters (P9).
    let client = stage.client(0).await;
    let readers = [read(&client).await, read(&client).await, read(&client).await];
    let first_writer = writes(&client);
    stage.until_crowd(KEY, 3, 1).await;
    assert!(!first_writer.is_finished());
    drop(readers);
    let first_writer = granted(first_writer).await;

    let mut waiting = Vec::new();
    for (ahead, writer) in [false, false, true, false].into_iter().enumerate() {
        waiting.push(if writer { writes(&client) } else { reads(&client) });
        stage.until_crowd(KEY, 1, ahead + 1).await;
    }
    let [fifth, sixth, seventh, eighth] = waiting.try_into().expect("four wait");
    first_writer.release().await.expect("held");
    let readers = [granted(fifth).await, granted(sixth).await];
    stage.until_crowd(KEY, 2, 2).await;
    assert!(!seventh.is_finished() && !eighth.is_finished(), "only the two readers come next");
    drop(readers);
    let writer = granted(seventh).await;
    stage.until_crowd(KEY, 1, 1).await;
    assert!(!eighth.is_finished(), "the writer was ahead");
    drop(writer);
    gets_a_turn(eighth).await;
}

// origin: Curator, TestInterProcessReadWriteLockBase: testWriterAgainstConstantReaders
async fn a_writer_gets_through_constant_readers(stage: &Stage) {
    let over = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for number in 0..8 {
        let (lock, over) = (stage.client(number).await.rwlock(KEY), over.clone());
        readers.push(tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let _lease = lock.read().await.expect("granted in turn");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
    }
    let writer = stage.client(1).await;
    for _ in 0..10 {
        let lease = write(&writer).await;
        assert_eq!(stage.crowd(KEY).holders, 1, "alone");
        lease.release().await.expect("held");
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        soon(reader).await.expect("no task fails");
    }
}

// origin: Curator, TestInterProcessReadWriteLock: testBasic
// origin: Redisson, RedissonReadWriteLockTest: testConcurrencyLoop_MultiInstance
async fn readers_and_writers_at_random_never_meet(stage: &Stage) {
    const WRITING: u32 = 1000;
    let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = Vec::new();
    for number in 0..8 {
        let lock = stage.client(number).await.rwlock(KEY);
        let (inside, most) = (inside.clone(), most.clone());
        let mut dice = fastrand::Rng::with_seed(number as u64);
        tasks.push(tokio::spawn(async move {
            for _ in 0..50 {
                let writes = dice.u32(0..10) == 0;
                let (lease, weight) = if writes { (lock.write(), WRITING) } else { (lock.read(), 1) };
                let _lease = lease.await.expect("granted in turn");
                let before = inside.fetch_add(weight, Ordering::SeqCst);
                assert!(before == 0 || (!writes && before < WRITING), "{before} are inside");
                most.fetch_max(before + weight, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(dice.u64(1..4))).await;
                inside.fetch_sub(weight, Ordering::SeqCst);
            }
        }));
    }
    for task in tasks {
        soon(task).await.expect("no task fails");
    }
    assert_eq!(inside.load(Ordering::SeqCst), 0);
    assert!(most.load(Ordering::SeqCst) >= WRITING, "somebody wrote");
}

// origin: Curator, TestInterProcessReadWriteLock: testGetParticipantNodes
async fn twenty_readers_and_eight_writers_are_listed(stage: &Stage) {
    let clients = stage.two().await;
    let mut readers = Vec::new();
    for number in 0..20 {
        readers.push(read(by_turns(&clients, number)).await);
    }
    let writers: Vec<_> =
        (0..8).map(|number| tokio::spawn(gets_a_turn(writes(by_turns(&clients, number))))).collect();
    stage.until_crowd(KEY, 20, 8).await;
    drop(readers);
    for writer in writers {
        soon(writer).await.expect("each gets its turn");
    }
}

// origin: Curator, TestInterProcessReadWriteLock: testThatUpgradingIsDisallowed
async fn a_reader_does_not_become_a_writer_by_asking(stage: &Stage) {
    let client = stage.client(0).await;
    let reader = read(&client).await;
    assert!(!can_get(client.rwlock(KEY).write().wait(NOT_LONG)).await);
    assert!(reader.is_valid());
    reader.release().await.expect("held");
    assert!(can_write(&client).await);
}

// origin: Redisson, RedissonReadWriteLockTest: testWriteRead
async fn readers_behind_a_writer_come_all_at_once(stage: &Stage) {
    let clients = stage.two().await;
    let writer = write(&clients.0).await;
    let mut readers = Vec::new();
    for number in 0..20 {
        readers.push(reads(by_turns(&clients, number)));
    }
    stage.until_crowd(KEY, 1, 20).await;
    writer.release().await.expect("held");
    // None of them leaves before all have come.
    let mut shares = Vec::new();
    for reader in readers {
        shares.push(granted(reader).await);
    }
    assert_eq!(stage.crowd(KEY), Crowd { holders: 20, waiters: 0 });
}

// origin: Redisson, RedissonReadWriteLockTest: testMultiRead
async fn the_last_reader_lets_the_writer_in(stage: &Stage) {
    let (here, there) = stage.two().await;
    let first = read(&here).await;
    assert!(!can_write(&there).await);
    let second = read(&there).await;
    first.release().await.expect("held");
    assert!(!can_write(&here).await, "the second still reads");
    second.release().await.expect("held");
    assert!(can_write(&here).await && can_write(&there).await);
}

// origin: Redisson, RedissonReadWriteLockTest: testReadLockLeaseTimeout
async fn a_reader_whose_time_is_over_lets_the_writer_in(stage: &Stage) {
    let (here, there) = stage.two().await;
    let first = here.rwlock(KEY).read().ttl(NOT_LONG).await.expect("free");
    read(&there).await.release().await.expect("held");
    let writer = write(&there).await;
    assert!(!first.is_valid() && writer.is_valid());
}

// origin: Redisson, RedissonReadWriteLockTest: testExpireWrite
async fn a_writer_whose_time_is_over_can_not_unlock(stage: &Stage) {
    let (here, there) = stage.two().await;
    let first = here.rwlock(KEY).write().ttl(NOT_LONG).await.expect("free");
    let second = write(&there).await;
    let refused = first.release().await;
    assert!(matches!(refused, Err(Error::LeaseLost { reason: LostReason::Expired, .. })), "{refused:?}");
    assert!(second.is_valid() && !can_read(&here).await, "the second's is untouched");
}

// origin: Redisson, RedissonReadWriteLockTest: testReadLockExpiration
async fn the_longest_reader_counts(stage: &Stage) {
    let (here, there) = stage.two().await;
    let long = here.rwlock(KEY).read().ttl(PATIENCE).await.expect("free");
    let short = there.rwlock(KEY).read().ttl(NOT_LONG).await.expect("shared");
    let writer = writes(&there);
    assert_eq!(soon(short.lost()).await, LostReason::Expired);
    assert!(long.is_valid() && !writer.is_finished(), "the long one still reads");
    long.renew(NOT_LONG).await.expect("held");
    gets_a_turn(writer).await;
    assert!(!long.is_valid());
}

// origin: etcd, v3_lock_test.go: TestRWMutexMultiNode
async fn those_of_another_kind_wait(stage: &Stage) {
    let (sender, mut locked) = tokio::sync::mpsc::channel(10);
    for number in 0..10 {
        let writes = fastrand::Rng::with_seed(number as u64).bool();
        let lock = stage.client(number).await.rwlock(KEY);
        let (request, sender) = (if writes { lock.write() } else { lock.read() }, sender.clone());
        tokio::spawn(async move { sender.send((writes, request.await.expect("granted in turn"))).await });
    }
    let mut held: VecDeque<(bool, Lease)> = VecDeque::new();
    for _ in 0..10 {
        if held.is_empty() {
            held.push_back(soon(locked.recv()).await.expect("one of the ten"));
        }
        held.extend(std::iter::from_fn(|| locked.try_recv().ok()));
        assert!(held.len() == 1 || held.iter().all(|(writes, _)| !writes), "{held:?}");
        let (_, lease) = held.pop_front().expect("one is held");
        lease.release().await.expect("held");
    }
}
