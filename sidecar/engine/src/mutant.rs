//! Seeded bugs: each breaks one rule of the protocol, and the simulator must notice.
//!
//! Owns the list. Chosen at run time; without the feature `mutants` (as in every released build) none can be switched
//! on and the checks compile to nothing. A rule without a mutant here is a rule that nobody proved to matter.

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// P1, store: a fresh record's fences start at the clock, with a full range, as the obvious rule would have it.
    FenceFromClock,
    /// P1, engine: a handoff repeats the last token.
    HandoffRepeatsFence,
    /// P2, store: a return writes the tenures but loses the queue's part of the record.
    HalfWrite,
    /// P3, engine: an offer that arrives by push is taken for a tenure.
    PushInstalls,
    /// P4, engine: deadlines count from the reply, without margin.
    DeadlineFromReply,
    /// P5, engine: a timed lease is granted before the store confirmed its time.
    TimedUnconfirmed,
    /// P6, engine: a connection that the sidecar closed frees its leases.
    CutOffFrees,
    /// P7, store: renew, return and give-back match the incarnation, not the tenure.
    MatchByIncarnation,
    /// P7, engine: a withdraw of unknown outcome is not sent again.
    WithdrawOnce,
    /// P7, store: nothing remembers `done_upto`, so that a late ask brings back what was released.
    NoTombstones,
    /// P7, engine: a tombstone hangs on a tenure and is forgotten when that grows or is given back with an ask.
    TombstoneOnTenure,
    /// P8, engine: the input is looked at before what is due expires.
    InputBeforeExpiry,
    /// P8, engine: a tenure still serves after its return was sent.
    ClosedTenureServes,
    /// P8, engine: what is granted, or renewed, in the place of a tenure that ended is taken for its growth.
    EndedGrew,
    /// P9, store: an ask takes free units though another entry is ahead.
    AskJumpsQueue,
    /// P9, engine: local waiters are served without end while another sidecar waits.
    NoBudget,
    /// P9, engine: the first grant after learning of another sidecar is free, whatever the tenure served before.
    FreeFirstGrant,
    /// P16, engine: who waits for an upgrade gives its share up meanwhile.
    UpgradeDropsShare,
    /// P16, engine: the release of one of several handles ends the lease.
    InnerReleaseFrees,
    /// P10, engine: a try that meets a remote tenure fails at once.
    TryFailsAtOnce,
    /// P11, engine: a busy tenure never contacts the store on its own.
    NoContact,
    /// P12, engine: a queued ask waits for its push alone.
    NoReask,
    /// P17, store: a fenced write is not held against the lease's tenure, nor against later fences.
    FencedWriteUnchecked,
    /// P17, store: a write that ran before runs again.
    RepeatedWriteRuns,
    /// P18, store: a finish counts whoever sends it.
    FinishUnchecked,
    /// P18, engine: a turn whose finish is under way is passed on as any other.
    TurnFreedBeforeAck,
    /// H16, engine: a cut-off session whose leases are lost with their tenure is never forgotten.
    SessionOutlivesLeases,
    /// P19, engine: a group that gives up keeps what it had reserved.
    GroupLeaksReservation,
    /// Rates, engine: the units are free when the lease is over, not when their time is.
    RateForgetsSpent,
    /// Rates, engine: a grant does not wait until the store confirmed the time of its units.
    RateUnconfirmed,
    /// P5, engine: under a tenure that timed leases left without renewals, a session's lease has none either.
    RenewalsNotResumed,
    /// S8, engine: a lease goes on when its `max_hold` is over.
    MaxHoldIgnored,
    /// L3, engine: the end of its process frees nothing before the deadline told.
    DeathIgnored,
    /// S7, engine: who waits does so for twice as long as it wanted to.
    PatienceIgnored,
    /// S7, engine: a wait that is over ends with the store's being away, whatever it waited for.
    StoreBlamed,
    /// S7, engine: a wait that is over is told so though the store is away.
    StoreNeverBlamed,
    /// P17, engine: that nothing changed is said by who has not looked.
    UnseenUnchanged,
    /// P17, engine: a watched register is looked at once, and then only when it is pushed to.
    NoLooks,
    /// H26, engine: a sidecar that goes takes newcomers in.
    DrainIgnored,
    /// H9, engine: a wall clock that ran ahead of boottime casts no doubt on deadlines.
    ClockStepTrusted,
    /// P19, store: what a sidecar asks for is given to it before it has shown to know what was taken from it.
    ForceForgetsVictims,
    /// P19, store: nobody is told that their tenure was taken by force; they find it gone.
    ForceUntold,
    /// P20, engine: a tenure in doubt is put back too where the store forgot it.
    UnprovenReasserts,
    /// P20, store: nothing follows from the loss of its data.
    NoQuarantine,
    /// P20, store: the quarantine does not last as long as the longest tenure.
    QuarantineTooShort,
    /// P20, store: the time in which an isolated primary still grants is left out of the quarantine.
    IsolationForgotten,
    /// P20, store: a missing marker means nothing.
    MarkerIgnored,
    /// P20, store: another replication id means nothing.
    ReplicationIgnored,
    /// P20, store: renewals are not held against the incarnation.
    RenewalsUnchecked,
    /// P20, store: a tenure is extended while an isolated primary may still grant what it stands for.
    ExtendedTooSoon,
    /// P20, store: fences are reserved in a quarantine as at any time.
    QuarantineReserves,
    /// P14, engine: nobody looks for deadlocks.
    DeadlocksIgnored,
    /// P14, engine: who waits ahead blocks nobody.
    AheadIgnored,
    /// P14, engine: everybody waits for everybody who holds, whatever units are left.
    AnyHolderBlocks,
    /// P14, engine: whoever is in a knot may be its victim, needed or not.
    DetourTold,
    /// P14, engine: who waits for a turn of a once key waits for nobody.
    FollowersIgnored,
    /// P14, engine: a turn whose finish is under way counts as held.
    FinishingBinds,
    /// P14, engine: what is reserved on the way to several keys binds nobody.
    ReservationsIgnored,
    /// P15, engine: what one look at records and boards showed is believed without proof.
    BoardsUnverified,
    /// P15, engine: a board is written once.
    BoardOnce,
    /// P15, engine: who is told depends on who looks, and when.
    VictimByChance,
    /// P15, engine: a board does not say that what a sidecar has is kept for the first of its queue.
    KeptUnsaid,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 62] = [
        Mutant::FenceFromClock,
        Mutant::HandoffRepeatsFence,
        Mutant::HalfWrite,
        Mutant::PushInstalls,
        Mutant::DeadlineFromReply,
        Mutant::TimedUnconfirmed,
        Mutant::CutOffFrees,
        Mutant::MatchByIncarnation,
        Mutant::WithdrawOnce,
        Mutant::NoTombstones,
        Mutant::TombstoneOnTenure,
        Mutant::InputBeforeExpiry,
        Mutant::ClosedTenureServes,
        Mutant::EndedGrew,
        Mutant::AskJumpsQueue,
        Mutant::NoBudget,
        Mutant::FreeFirstGrant,
        Mutant::UpgradeDropsShare,
        Mutant::InnerReleaseFrees,
        Mutant::TryFailsAtOnce,
        Mutant::NoContact,
        Mutant::NoReask,
        Mutant::FencedWriteUnchecked,
        Mutant::RepeatedWriteRuns,
        Mutant::FinishUnchecked,
        Mutant::TurnFreedBeforeAck,
        Mutant::SessionOutlivesLeases,
        Mutant::GroupLeaksReservation,
        Mutant::RateForgetsSpent,
        Mutant::RateUnconfirmed,
        Mutant::RenewalsNotResumed,
        Mutant::MaxHoldIgnored,
        Mutant::DeathIgnored,
        Mutant::PatienceIgnored,
        Mutant::StoreBlamed,
        Mutant::StoreNeverBlamed,
        Mutant::UnseenUnchanged,
        Mutant::NoLooks,
        Mutant::DrainIgnored,
        Mutant::ClockStepTrusted,
        Mutant::ForceForgetsVictims,
        Mutant::ForceUntold,
        Mutant::UnprovenReasserts,
        Mutant::NoQuarantine,
        Mutant::QuarantineTooShort,
        Mutant::IsolationForgotten,
        Mutant::MarkerIgnored,
        Mutant::ReplicationIgnored,
        Mutant::RenewalsUnchecked,
        Mutant::ExtendedTooSoon,
        Mutant::QuarantineReserves,
        Mutant::DeadlocksIgnored,
        Mutant::AheadIgnored,
        Mutant::AnyHolderBlocks,
        Mutant::DetourTold,
        Mutant::FollowersIgnored,
        Mutant::FinishingBinds,
        Mutant::ReservationsIgnored,
        Mutant::BoardsUnverified,
        Mutant::BoardOnce,
        Mutant::VictimByChance,
        Mutant::KeptUnsaid,
    ];

    /// Whether `chosen` is this one, in a build that has mutants.
    #[inline]
    pub fn is(self, chosen: Option<Mutant>) -> bool {
        cfg!(feature = "mutants") && chosen == Some(self)
    }
}
