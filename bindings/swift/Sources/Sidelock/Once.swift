// What is done once per window.
//
// Owns turns: their end is a finish, or the way back of any lease.

internal import SidelockNative

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// What came of something that is done once per window.
public enum Once<Won: Sendable>: Sendable {
    /// The turn was ours.
    case won(Won)
    /// Somebody else's turn is done, and this is what it left.
    case done(Data)
}

/// Where a window begins.
public enum Align: Sendable, Hashable {
    /// With the grant of the turn that succeeds.
    case rolling
    /// At whole multiples of its length since 1970: a day ends at midnight UTC.
    case utc
}

/// The turn of something that is done once per window. Given back when nobody refers to it any more.
public final class Turn: Sendable {
    /// The lease that it is: to be looked at, renewed, or waited for.
    public let lease: Lease

    let native: SidelockNative.Turn
    private let isOver = Locked(false)

    init(_ native: SidelockNative.Turn, _ key: String, _ losses: Losses) {
        self.native = native
        lease = Lease(native.lease(), key, losses)
    }

    /// It is done: nobody runs again before the window ends, and `result`, at most 64 KiB, is what the others get. Whatever comes
    /// of this, the turn is over.
    ///
    /// - Throws: ``SidelockError/leaseLost(_:reason:)``: it was not counted, somebody else may run.
    ///   ``SidelockError/outcomeUnknown(_:)``: it was counted or not. ``SidelockError/conflict(_:current:)``: it is over.
    public func finish(_ result: Data = Data()) async throws {
        isOver.with { $0 = true }
        let native = native
        try await call { try await native.finish(result: result, cancel: $0) }
    }

    /// Gives it back undone; the next who waits has it. Nothing happens if it is over.
    public func giveBack() async throws {
        isOver.with { $0 = true }
        try await lease.release()
    }

    /// Finishes it unless its body did. Whoever is cancelled meanwhile has done it all the same.
    func finishUnlessOver(_ result: Data) async throws {
        if isOver.with({ over in defer { over = true }; return over }) { return }
        let native = native
        try await shielded { try await native.finish(result: result, cancel: nil) }
    }
}

extension Sidelock {
    /// Runs `body` once per window of `per` under the name `key`; returns what it returned, or what somebody else's run left.
    ///
    /// Whoever comes first is given the turn; the others wait for it, and get its result when it is finished, as does everybody
    /// who comes before the window ends. Promised is at most one *successful finish* per window: a body may run again if its
    /// runner dies, loses its lease, or fails.
    ///
    /// A body that returns has finished, with nothing as the result unless it called ``Turn/finish(_:)``; one that throws gives
    /// the turn back. If the turn is lost, `body` is cancelled, and ``SidelockError/leaseLost(_:reason:)`` is thrown.
    ///
    /// - Parameters:
    ///   - key: In a name space of its own.
    ///   - per: How long a window is.
    ///   - align: Where it begins.
    ///   - wait: Waits so long at most for whoever has the turn; without this as long as the client's `defaultWait`.
    ///   - options: What else a request may say.
    ///   - body: Runs in a task of its own, as the body of a lock does.
    public func once<Result: Sendable>(
        _ key: String, per: Duration, align: Align = .rolling, wait: Duration? = nil, options: LeaseOptions = .init(),
        _ body: @escaping @Sendable (Turn) async throws -> Result
    ) async throws -> Once<Result> {
        try await once(key, per, align, wait, options, body) { _ in Data() }
    }

    /// The same for a body whose data is the result that the others get.
    public func once(
        _ key: String, per: Duration, align: Align = .rolling, wait: Duration? = nil, options: LeaseOptions = .init(),
        _ body: @escaping @Sendable () async throws -> Data
    ) async throws -> Once<Data> {
        try await once(key, per, align, wait, options, { _ in try await body() }) { $0 }
    }

    /// The same for a body that has no result.
    public func once(
        _ key: String, per: Duration, align: Align = .rolling, wait: Duration? = nil, options: LeaseOptions = .init(),
        _ body: @escaping @Sendable () async throws -> Void
    ) async throws -> Once<Void> {
        try await once(key, per, align, wait, options, { _ in try await body() }) { Data() }
    }

    /// The turn, to be finished or given back by hand, or what another one left. `once` with a body does
    /// that by itself.
    ///
    /// - Throws: ``SidelockError/waitTimeout(_:)`` if somebody still has the turn when the wait is over.
    public func enter(
        _ key: String, per: Duration, align: Align = .rolling, wait: Duration? = nil, options: LeaseOptions = .init()
    ) async throws -> Once<Turn> {
        try await enter(key, per, align, wait, options, owner: Owner.name)
    }

    /// As ``enter(_:per:align:wait:options:)``; `nil`: somebody has the turn and is at it.
    public func tryEnter(
        _ key: String, per: Duration, align: Align = .rolling, wait: Duration = .zero, options: LeaseOptions = .init()
    ) async throws -> Once<Turn>? {
        try await unlessBusy { try await enter(key, per: per, align: align, wait: wait, options: options) }
    }

    private func once<Result: Sendable>(
        _ key: String, _ per: Duration, _ align: Align, _ wait: Duration?, _ options: LeaseOptions,
        _ body: @escaping @Sendable (Turn) async throws -> Result, left: (Result) -> Data
    ) async throws -> Once<Result> {
        let owner = Owner.name ?? Owner.newName()
        let turn: Turn
        switch try await enter(key, per, align, wait, options, owner: owner) {
        case .done(let result): return .done(result)
        case .won(let won): turn = won
        }
        switch await turn.lease.run(owner, { _ in try await body(turn) }) {
        case .success(let result):
            try await turn.finishUnlessOver(left(result))
            return .won(result)
        case .failure(let error):
            // What the body threw is what to hear of; the turn is given back, or runs out.
            try? await turn.giveBack()
            throw error
        }
    }

    private func enter(
        _ key: String, _ per: Duration, _ align: Align, _ wait: Duration?, _ options: LeaseOptions, owner: String?
    ) async throws -> Once<Turn> {
        if options.reentrant {
            throw SidelockError.badRequest("a turn can not be entered again by who has it; leave out `reentrant`")
        }
        let wish = SidelockNative.TurnWish(
            key: key, perMs: try milliseconds(per, of: "per"), align: align == .utc ? .utc : .rolling,
            waitMs: try waitMilliseconds(wait), ttlMs: try options.ttl.map { try milliseconds($0, of: "ttl") },
            maxHoldMs: try options.maxHold.map { try milliseconds($0, of: "maxHold") }, owner: owner,
            priority: try number(options.priority, of: "priority"))
        let native = native
        switch try await call({ try await native.enter(wish: wish, cancel: $0) }) {
        case .won(let turn): return .won(Turn(turn, key, losses))
        case .done(let result, _): return .done(result)
        }
    }
}
