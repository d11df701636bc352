//! The rounds: each a function that says what goes wrong in it.
//!
//! Owns the mix of troubles of each round and how soon after it a free key must be granted again. GUARANTEES.md names these
//! functions as `chaos::NAME`, and that they exist is tested.

use crate::store::Shape;
use crate::trouble::{ASLEEP, DOZING, Network, Trouble};
use std::time::Duration;

/// Clients that compete while a primary is replaced.
const CONTENDERS: usize = 16;

/// How long rounds in pods last at least: long enough that networks are mended in them, and stay so for a time.
const PODS_SPAN: Duration = Duration::from_secs(8);

/// How long a strict round lasts at least: long enough that something is granted between quarantines.
const STRICT_SPAN: Duration = Duration::from_secs(12);

/// What a round wants.
#[derive(Debug)]
pub struct Plan {
    /// How long it lasts.
    pub span: Duration,
    /// What strikes, and about how often.
    pub troubles: Vec<(Duration, Trouble)>,
    /// What the sidecars share.
    pub shape: Shape,
    /// So many clients at least.
    pub clients_min: usize,
    /// Nobody arbitrates between the sidecars.
    pub divided: bool,
    /// No loss of data excuses an overlap; it costs a quarantine.
    pub strict: bool,
    /// Sidecars die, or are cut off: keys come back when tenures have run out, and not before.
    pub tenures_run_out: bool,
    /// A client must have lost a lease to somebody else while it was stopped.
    pub oversleeps: bool,
    /// The sidecars live as long as the round, and must stay as they are.
    pub endures: bool,
    /// What is measured once everything is healed.
    pub measure: Option<Measure>,
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// From the death of a holder to the next grant. There are no other clients.
    Handover,
    /// From the death of a sidecar to the next grant elsewhere.
    SidecarDeath,
    /// The longest time without a grant of a sidecar whose network was mended, until it is struck again.
    Recovery,
}

impl Plan {
    /// Nothing goes wrong for so long.
    pub fn new(span: Duration) -> Plan {
        let troubles = Vec::new();
        Plan {
            span,
            troubles,
            shape: Shape::Single { durable: false },
            clients_min: 0,
            divided: false,
            strict: false,
            tenures_run_out: false,
            oversleeps: false,
            endures: false,
            measure: None,
        }
    }

    /// This happens about every so many milliseconds; in a short round more often, so that it happens at all.
    fn every(&mut self, millis: u64, trouble: Trouble) {
        self.troubles.push((Duration::from_millis(millis).min(self.span / 3), trouble));
    }
}

/// A round: its name, and what makes its plan.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Its name.
    pub name: &'static str,
    /// Says what goes wrong.
    pub plan: fn(&mut Plan),
}

impl Round {
    /// Its plan, where trouble is to last for so long.
    pub fn planned(&self, span: Duration) -> Plan {
        let mut plan = Plan::new(span);
        (self.plan)(&mut plan);
        plan
    }
}

macro_rules! rounds {
    ($($name:ident)*) => {
        /// All rounds.
        pub const ROUNDS: &[Round] = &[$(Round { name: stringify!($name), plan: $name }),*];
    };
}

rounds! {
    calm
    client_killed
    client_stopped
    sidecar_killed
    sidecar_stopped
    redis_stopped
    redis_killed_with_data
    redis_killed_without_data
    flushall
    strict_flushall
    strict_redis_lost
    script_flush
    connections_killed
    pushes_lost
    black_hole
    fading_network
    delays
    one_way_loss
    connections_cut
    sentinels_fail_over
    sentinels_primary_killed
    cluster_slots_move
    cluster_hands_over
    cluster_primary_killed
    pods_unplugged
    pods_one_way
    mix
    holder_killed
}

/// What the forgeries are made of.
pub const CALM: Round = Round { name: "calm", plan: calm };

/// Not a trouble that Sidelock should withstand, but a broken lock: a rig that finds nothing here finds nothing anywhere.
pub const DIVIDED: Round = Round { name: "divided", plan: divided };

/// For long rounds only: in a short one everything grows.
pub const ENDURANCE: Round = Round { name: "endurance", plan: endurance };

fn calm(_: &mut Plan) {}

fn divided(plan: &mut Plan) {
    plan.divided = true;
}

fn client_killed(plan: &mut Plan) {
    plan.every(1_000, Trouble::ClientKilled);
}

fn client_stopped(plan: &mut Plan) {
    plan.every(1_000, Trouble::ClientStopped);
    plan.every(300, Trouble::HolderDozing);
    // In a shorter round it would never wake.
    if plan.span > ASLEEP {
        plan.every(15_000, Trouble::ClientAsleep);
    }
    plan.oversleeps = plan.span > DOZING;
}

fn sidecar_killed(plan: &mut Plan) {
    plan.every(10_000, Trouble::SidecarKilled);
    plan.tenures_run_out = true;
    plan.measure = Some(Measure::SidecarDeath);
}

fn sidecar_stopped(plan: &mut Plan) {
    plan.every(8_000, Trouble::SidecarStopped);
    plan.tenures_run_out = true;
}

fn redis_stopped(plan: &mut Plan) {
    plan.every(6_000, Trouble::RedisStopped);
}

fn redis_killed_with_data(plan: &mut Plan) {
    plan.shape = Shape::Single { durable: true };
    plan.every(4_000, Trouble::RedisKilled);
}

fn redis_killed_without_data(plan: &mut Plan) {
    plan.every(4_000, Trouble::RedisLost);
}

fn flushall(plan: &mut Plan) {
    plan.every(700, Trouble::Flushed);
}

fn strict_flushall(plan: &mut Plan) {
    strictly(plan);
    plan.every(4_000, Trouble::Flushed);
}

fn strict_redis_lost(plan: &mut Plan) {
    strictly(plan);
    plan.every(4_000, Trouble::RedisLost);
}

fn strictly(plan: &mut Plan) {
    plan.strict = true;
    plan.span = plan.span.max(STRICT_SPAN);
}

fn script_flush(plan: &mut Plan) {
    plan.every(50, Trouble::ScriptsFlushed);
}

fn connections_killed(plan: &mut Plan) {
    plan.every(400, Trouble::ConnectionsKilled("normal"));
    plan.every(400, Trouble::ConnectionsKilled("pubsub"));
}

fn pushes_lost(plan: &mut Plan) {
    plan.every(200, Trouble::Network(Network::Deaf));
}

fn black_hole(plan: &mut Plan) {
    plan.every(5_000, Trouble::Network(Network::Hole));
    plan.every(7_000, Trouble::Network(Network::Swallowed));
}

fn fading_network(plan: &mut Plan) {
    plan.every(3_500, Trouble::Network(Network::Fading));
}

fn delays(plan: &mut Plan) {
    plan.every(1_500, Trouble::Network(Network::Late));
}

fn one_way_loss(plan: &mut Plan) {
    plan.every(5_000, Trouble::Network(Network::AsksHeld));
    plan.every(5_000, Trouble::Network(Network::AnswersHeld));
    plan.every(7_000, Trouble::Network(Network::AnswersSwallowed));
}

fn connections_cut(plan: &mut Plan) {
    plan.every(3_000, Trouble::Network(Network::Cut));
}

fn sentinels_fail_over(plan: &mut Plan) {
    plan.shape = Shape::Watched;
    plan.clients_min = CONTENDERS;
    plan.every(5_000, Trouble::FailedOver);
}

fn sentinels_primary_killed(plan: &mut Plan) {
    plan.shape = Shape::Watched;
    plan.clients_min = CONTENDERS;
    plan.every(5_000, Trouble::PrimaryKilled);
}

fn cluster_slots_move(plan: &mut Plan) {
    plan.shape = Shape::Sharded;
    plan.clients_min = CONTENDERS;
    plan.every(30, Trouble::SlotMoved);
}

fn cluster_hands_over(plan: &mut Plan) {
    plan.shape = Shape::Sharded;
    plan.clients_min = CONTENDERS;
    plan.every(3_000, Trouble::FailedOver);
}

fn cluster_primary_killed(plan: &mut Plan) {
    plan.shape = Shape::Sharded;
    plan.clients_min = CONTENDERS;
    plan.every(5_000, Trouble::PrimaryKilled);
}

fn pods_unplugged(plan: &mut Plan) {
    in_pods(plan);
    plan.every(2_500, Trouble::Network(Network::Unplugged));
    plan.every(5_000, Trouble::ClientKilled);
}

fn pods_one_way(plan: &mut Plan) {
    in_pods(plan);
    plan.every(4_000, Trouble::Network(Network::AsksHeld));
    plan.every(4_000, Trouble::Network(Network::AnswersHeld));
    plan.every(5_000, Trouble::Network(Network::AnswersSwallowed));
}

fn in_pods(plan: &mut Plan) {
    plan.shape = Shape::Linked;
    plan.span = plan.span.max(PODS_SPAN);
    plan.measure = Some(Measure::Recovery);
}

/// Troubles of all kinds that a sidecar outlives.
fn outlived(plan: &mut Plan) {
    plan.shape = Shape::Single { durable: true };
    plan.tenures_run_out = true;
    client_killed(plan);
    client_stopped(plan);
    sidecar_stopped(plan);
    connections_killed(plan);
    delays(plan);
    black_hole(plan);
    connections_cut(plan);
    redis_stopped(plan);
    redis_killed_with_data(plan);
    plan.every(3_000, Trouble::ScriptsFlushed);
    // Likely, but whoever holds may be killed before it oversleeps.
    plan.oversleeps = false;
}

fn mix(plan: &mut Plan) {
    outlived(plan);
    sidecar_killed(plan);
    fading_network(plan);
    one_way_loss(plan);
    plan.every(20_000, Trouble::RedisLost);
    plan.every(10_000, Trouble::Flushed);
    plan.every(9_000, Trouble::Network(Network::Deaf));
    plan.measure = None;
}

fn endurance(plan: &mut Plan) {
    outlived(plan);
    plan.endures = true;
    plan.every(60_000, Trouble::RedisLost);
    plan.every(30_000, Trouble::Flushed);
}

fn holder_killed(plan: &mut Plan) {
    plan.measure = Some(Measure::Handover);
}
