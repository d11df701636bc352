//! The lines of the table: which figure stands where, what it is compared with, and how good it should be.
//!
//! Owns names, units and goals (they come from the project's performance plan). Must not know how figures are measured.

/// How good a value should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// One figure, and its comparisons.
pub(crate) struct Line {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) goal: Option<Goal>,
    pub(crate) against: Vec<Comparison>,
}

/// A ratio of two figures of the same round.
pub(crate) struct Comparison {
    /// In words: `× the floor`.
    pub(crate) words: &'static str,
    pub(crate) over: &'static str,
    pub(crate) under: &'static str,
    pub(crate) goal: Option<Goal>,
}

impl Line {
    /// This figure over that one.
    fn over(mut self, words: &'static str, other: &'static str, goal: Option<Goal>) -> Line {
        self.against.push(Comparison { words, over: self.figure, under: other, goal });
        self
    }

    /// That figure over this one: so many times faster, for figures of which less is better.
    fn faster(mut self, words: &'static str, other: &'static str, goal: Option<Goal>) -> Line {
        self.against.push(Comparison { words, over: other, under: self.figure, goal });
        self
    }

    fn goal(mut self, goal: Goal) -> Line {
        self.goal = Some(goal);
        self
    }
}

fn line(id: &'static str, what: &'static str, figure: &'static str, unit: &'static str) -> Line {
    Line { id, what, figure, unit, goal: None, against: Vec::new() }
}

fn at_most(value: f64) -> Option<Goal> {
    Some(Goal::AtMost(value))
}

fn at_least(value: f64) -> Option<Goal> {
    Some(Goal::AtLeast(value))
}

/// All of them.
pub(crate) fn lines() -> Vec<Line> {
    let families = [
        floor_and_peers(),
        uncontended(),
        contended(),
        fleet(),
        across(),
        weight(),
        policies(),
        languages(),
        modes(),
        values(),
    ];
    families.into_iter().flatten().collect()
}

fn floor_and_peers() -> Vec<Line> {
    vec![
        line("floor", "Unix socket ping-pong, p50", "b1.floor.p50", "µs"),
        line("floor", "… p99", "b1.floor.p99", "µs"),
        line("floor", "… as grants", "b3.floor.rate", "/s"),
        line("peer", "`redis` crate, alone, whole cycle, p50", "b1.redis.p50", "µs"),
        line("peer", "`rslock`, alone, p50", "b1.rslock.p50", "µs"),
        line("peer", "redis-py `Lock`, alone, p50", "b1.redis_py.p50", "µs"),
        line("peer", "node `redlock`, alone, p50", "b1.redlock.p50", "µs"),
        line("peer", "redis-py, 16 processes, one key", "one.redis_py", "/s"),
        line("peer", "… Jain's index", "one.redis_py.jain", ""),
        line("peer", "… worst wait", "one.redis_py.worst", "µs"),
        line("peer", "redlock, 16 processes, one key", "one.redlock", "/s"),
        line("peer", "… Jain's index", "one.redlock.jain", ""),
        line("peer", "… worst wait", "one.redlock.worst", "µs"),
    ]
}

fn uncontended() -> Vec<Line> {
    vec![
        line("B1", "one client, one key, whole cycle, p50", "b1.ours.p50", "µs")
            .over("× the floor", "b1.floor.p50", at_most(1.3))
            .faster("× faster than `redis`", "b1.redis.p50", at_least(2.5))
            .faster("× faster than `rslock`", "b1.rslock.p50", None)
            .faster("× faster than redis-py", "b1.redis_py.p50", None)
            .faster("× faster than redlock", "b1.redlock.p50", None),
        line("B1", "… p99", "b1.ours.p99", "µs").over("× the floor's", "b1.floor.p99", None),
        line("B1", "Redis 0.5 ms away, p50", "b1.far.ours.p50", "µs").faster(
            "× faster than `redis`",
            "b1.far.redis.p50",
            at_least(20.0),
        ),
        line("B1", "… p99", "b1.far.ours.p99", "µs"),
        line("B2", "64 tasks, own keys, one connection", "b2.ours@64", "/s").over(
            "× `redis`",
            "b2.redis@64",
            at_least(5.0),
        ),
        line("B5", "64 in flight, every key new", "b5.ours@64", "/s").over(
            "× `redis`",
            "b5.redis@64",
            at_least(0.6),
        ),
        line("B5", "… requests to Redis per cycle", "b5.requests@64", "").goal(Goal::AtMost(2.0)),
        line("B5", "… commands in Redis per cycle", "b5.commands@64", ""),
    ]
}

fn contended() -> Vec<Line> {
    vec![
        line("B3", "64 tasks, one key, one sidecar", "b3.ours@64", "/s")
            .over("× the floor", "b3.floor.rate", at_least(0.9))
            .over("× the best peer", "b3.best", at_least(2.0))
            .over("× `redis`, polling", "b3.redis@64", None)
            .over("× `rslock`", "b3.rslock@64", None)
            .over("× redis-py", "one.redis_py", None)
            .over("× redlock", "one.redlock", None),
        line("B3", "… out of order", "b3.overtaken", "").goal(Goal::AtMost(0.0)),
        line("B3", "… Jain's index", "b3.ours.jain@64", ""),
        line("B3", "… worst wait", "b3.ours.worst@64", "µs"),
        line("B3", "`redis` polling: Jain's index", "b3.redis.jain@64", ""),
        line("B3", "… worst wait", "b3.redis.worst@64", "µs"),
        line("B3", "`rslock`: Jain's index", "b3.rslock.jain@64", ""),
        line("B3", "… worst wait", "b3.rslock.worst@64", "µs"),
    ]
}

fn fleet() -> Vec<Line> {
    vec![
        line("B4", "4 sidecars × 16 clients, one key", "b4.ours@64", "/s")
            .over("× the best peer", "b4.best", at_least(2.0))
            .over("× the floor", "b4.floor.rate", at_least(0.5))
            .over("× `redis`, polling", "b4.redis@64", None)
            .over("× `rslock`", "b4.rslock@64", None),
        line("B4", "… Jain's index", "b4.ours.jain@64", "").goal(Goal::AtLeast(0.99)),
        line("B4", "… wait, p99.9", "b4.ours.p999@64", "µs").over(
            "× the mean",
            "b4.ours.mean@64",
            at_most(3.0),
        ),
        line("B4", "… worst wait", "b4.ours.worst@64", "µs").over("× the mean", "b4.ours.mean@64", None),
        line("B4", "… grants watched", "b4.ours@64.grants", "").goal(Goal::AtLeast(20_000.0)),
        line("B4", "… requests to Redis per grant", "b4.ours@64.requests", "").goal(Goal::AtMost(0.25)),
        line("B4", "… commands in Redis per grant", "b4.ours@64.commands", ""),
        line("B4", "held 1 ms", "b4.held", "/s"),
        line("B4", "… Jain's index", "b4.held.jain", "").goal(Goal::AtLeast(0.99)),
        line("B4", "… wait, p99.9", "b4.held.p999", "µs").over("× the mean", "b4.held.mean", at_most(3.0)),
        line("B4", "… requests to Redis per grant", "b4.held.requests", ""),
        line("B4", "requests per waiting sidecar and second", "b4.waiting", "").goal(Goal::AtMost(1.0)),
        line("B4", "`redis` polling: Jain's index", "b4.redis.jain@64", ""),
        line("B4", "… worst wait", "b4.redis.worst@64", "µs"),
        line("B4", "`rslock`: Jain's index", "b4.rslock.jain@64", ""),
        line("B4", "… worst wait", "b4.rslock.worst@64", "µs"),
    ]
}

fn across() -> Vec<Line> {
    vec![
        line("B6", "released here, granted there, p50", "b6.p50", "µs").over(
            "× two Redis round trips and a ping-pong",
            "b6.bound",
            at_most(1.0),
        ),
        line("B6", "… p99", "b6.p99", "µs"),
        line("B6", "a Redis round trip, p50", "b6.round_trip", "µs"),
        line("B7", "killed, next grant on the same sidecar, p50", "b7.local.p50", "ms"),
        line("B7", "… p99", "b7.local.p99", "ms").goal(Goal::AtMost(5.0)),
        line("B7", "… worst", "b7.local.worst", "ms"),
        line("B7", "killed, next grant on another sidecar, p50", "b7.remote.p50", "ms"),
        line("B7", "… p99", "b7.remote.p99", "ms").goal(Goal::AtMost(10.0)),
        line("B7", "… worst", "b7.remote.worst", "ms"),
    ]
}

fn weight() -> Vec<Line> {
    vec![
        line("B8", "idle, memory store", "b8.idle.memory", "MiB").goal(Goal::AtMost(12.0)),
        line("B8", "idle, Redis store", "b8.idle.redis", "MiB").goal(Goal::AtMost(12.0)),
        line("B8", "idle, memory store, of a processor", "b8.cpu.memory", "%").goal(Goal::AtMost(0.2)),
        line("B8", "idle, Redis store, of a processor", "b8.cpu.redis", "%").goal(Goal::AtMost(0.2)),
        // A sign of life a second.
        line("B8", "… requests to Redis", "b8.idle.requests", "/s").goal(Goal::AtMost(1.0)),
        line("B8", "a held lease, of 1 000 000", "b8.lease@1000000", "B").goal(Goal::AtMost(250.0)),
        line("B8", "a waiter, of 100 000 on one key", "b8.waiter@100000", "B").goal(Goal::AtMost(300.0)),
        line("B8", "a connection, of 10 000", "b8.connection@10000", "B").goal(Goal::AtMost(8192.0)),
        line("B8", "a held lease on Redis, of 100 000", "b8.redis.lease", "B").goal(Goal::AtMost(250.0)),
        line("B8", "… taken", "b8.redis.taken", "/s"),
        line("B8", "… requests to Redis to keep them", "b8.redis.requests", "/s"),
        line("B8", "… commands in Redis to keep them", "b8.redis.commands", "/s"),
        line("B8", "… of a processor", "b8.redis.cpu", "%"),
        line("B8", "… lost", "b8.redis.lost", "").goal(Goal::AtMost(0.0)),
        line("B11", "start to ready", "b11.ready", "ms").goal(Goal::AtMost(50.0)),
        line("B11", "the binary, stripped", "b11.binary", "MiB").goal(Goal::AtMost(25.0)),
    ]
}

fn languages() -> Vec<Line> {
    vec![
        line("peer", "redis-py `Lock`, on one processor, p50", "b10.redis_py.p50", "µs"),
        line("peer", "… its asyncio lock", "b10.redis_aio.p50", "µs"),
        line("B10", "Python, whole cycle, release answered, p50", "b10.python.p50", "µs").faster(
            "× faster than redis-py",
            "b10.redis_py.p50",
            at_least(4.0),
        ),
        line("B10", "… p99", "b10.python.p99", "µs").faster(
            "× faster than redis-py",
            "b10.redis_py.p99",
            None,
        ),
        line("B10", "… memory store, p50", "b10.python.memory.p50", "µs"),
        line("B10", "Python, asyncio, p50", "b10.aio.p50", "µs").faster(
            "× faster than redis-py's asyncio lock",
            "b10.redis_aio.p50",
            at_least(2.0),
        ),
        line("B10", "… p99", "b10.aio.p99", "µs").faster("× faster than redis-py", "b10.redis_aio.p99", None),
        line("B10", "… memory store, p50", "b10.aio.memory.p50", "µs"),
        line("B10", "Swift, p50", "b10.swift.p50", "µs"),
        line("B10", "… memory store, p50", "b10.swift.memory.p50", "µs"),
        line("B10", "Kotlin, p50", "b10.kotlin.p50", "µs"),
        line("B10", "… memory store, p50", "b10.kotlin.memory.p50", "µs"),
    ]
}

fn policies() -> Vec<Line> {
    vec![
        line("B9", "acquires in a row, without policies, p50", "b9.none.p50", "µs"),
        line("B9", "… a policy for other keys adds, p50", "b9.unmatched.p50", "µs").goal(Goal::AtMost(0.5)),
        line("B9", "… one in C, an instance made for it", "b9.fresh.p50", "µs").goal(Goal::AtMost(15.0)),
        line("B9", "… … p99", "b9.fresh.p99", "µs"),
        line("B9", "… one in C, an instance made before", "b9.prepared.p50", "µs").goal(Goal::AtMost(5.0)),
        line("B9", "… … p99", "b9.prepared.p99", "µs"),
        line("B9", "… one in JavaScript", "b9.script.p50", "µs").goal(Goal::AtMost(60.0)),
        line("B9", "… … p99", "b9.script.p99", "µs"),
        line("B9", "one acquire a millisecond, without policies, p50", "b9.apart.none.p50", "µs"),
        line("B9", "… a policy for other keys adds, p50", "b9.apart.unmatched.p50", "µs"),
        line("B9", "… one in C, an instance made for it", "b9.apart.fresh.p50", "µs"),
        line("B9", "… one in C, an instance made before", "b9.apart.prepared.p50", "µs"),
        line("B9", "… one in JavaScript", "b9.apart.script.p50", "µs"),
    ]
}

fn modes() -> Vec<Line> {
    vec![
        line("B12", "semaphore of 10, 64 tasks", "b12.semaphore", "/s").over(
            "× the floor",
            "b12.floor.rate",
            None,
        ),
        line("B12", "63 readers and a writer", "b12.readers", "/s").over(
            "× the floor",
            "b12.floor.rate",
            None,
        ),
        line("B12", "… the writer's grants", "b12.writer", "/s"),
    ]
}

fn values() -> Vec<Line> {
    vec![
        line("B13", "a register put and got, 64 in flight", "b13.ours@64", "/s").over(
            "× SET and GET of `redis`",
            "b13.redis@64",
            at_least(0.5),
        ),
        line("B13", "… 512 in flight", "b13.ours@512", "/s").over(
            "× SET and GET of `redis`",
            "b13.redis@512",
            None,
        ),
        line("B13", "… alone, p50", "b13.ours.p50", "µs").over(
            "× SET and GET of `redis`",
            "b13.redis.p50",
            at_most(2.0),
        ),
        line("B14", "a turn that was done before, skipped, p50", "b14.ours.p50", "µs").over(
            "× the floor",
            "b14.floor.p50",
            at_most(1.3),
        ),
        line("B14", "… p99", "b14.ours.p99", "µs"),
        line("B14", "… requests to Redis per skip", "b14.requests", "").goal(Goal::AtMost(0.01)),
        line("B15", "every key new, on a cluster of three, 64 in flight", "b15.cluster@64", "/s").over(
            "× one Redis",
            "b15.single@64",
            None,
        ),
        line("B15", "… 512 in flight", "b15.cluster@512", "/s").over("× one Redis", "b15.single@512", None),
        line("B15", "… alone", "b15.cluster@1", "/s").over("× one Redis", "b15.single@1", None),
        line("B16", "Redis' memory for an idle sidecar, of 10 000", "b16.connection@10000", "B"),
        line("B16", "… its commands a second for one", "b16.idle.commands@10000", "/s"),
        line("B16", "… of a processor for 1 000", "b16.idle.cpu@1000", "%"),
        line("B16", "… of a processor for 10 000", "b16.idle.cpu@10000", "%"),
        line("B16", "… memory for a held key", "b16.key@10000", "B"),
        line("B16", "… commands a second for a sidecar with one", "b16.holding.commands@10000", "/s"),
        line("B16", "… of a processor for 10 000 with one each", "b16.holding.cpu@10000", "%"),
    ]
}
