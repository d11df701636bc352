// Something to acquire, and the ways to have it.
//
// Owns the request as it travels, and the end of a body: its cancellation on loss, and the release.

internal import SidelockNative

/// Something to acquire: a lock, a share, permits of a semaphore or a rate, several keys. Made by ``Sidelock/writer(_:options:)``,
/// ``Sidelock/reader(_:options:)``, ``Sidelock/semaphore(_:limit:permits:options:)``,
/// ``Sidelock/rate(_:limit:per:permits:options:)`` and ``Sidelock/locks(_:shared:options:)``.
///
/// It has no state: every acquire gives a new lease, and any number of tasks can use the same value.
public struct Lock: Sendable {
    enum Units {
        case exclusive, shared
        case permits(Int, limit: Int)
        case rate(Int, limit: Int, per: Duration)
    }

    private let client: Sidelock
    private let keys: [String]
    private let units: Units
    private let options: LeaseOptions

    init(_ client: Sidelock, _ keys: [String], _ units: Units, _ options: LeaseOptions) {
        self.client = client
        self.keys = keys
        self.units = units
        self.options = options
    }

    /// Acquires it, to be released by hand. Given back also when nobody refers to the lease any more, which may be before the
    /// end of the function that has it in a variable.
    ///
    /// - Parameter wait: Waits so long at most; without this as long as the client's `defaultWait`; `.forever`
    ///   without end.
    /// - Throws: ``SidelockError/waitTimeout(_:)`` when the wait is over, any other ``SidelockError``, or
    ///   `CancellationError`.
    public func acquire(wait: Duration? = nil) async throws -> Lease {
        try await acquire(wait: wait, owner: Owner.name)
    }

    /// Acquires it if it is free, or becomes free within `wait`; else `nil`.
    public func tryAcquire(wait: Duration = .zero) async throws -> Lease? {
        try await unlessBusy { try await acquire(wait: wait) }
    }

    /// Acquires it, runs `body`, and gives it back. See ``Sidelock/withLock(_:wait:options:_:)``.
    public func withLease<Result: Sendable>(
        wait: Duration? = nil, _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result {
        let owner = Owner.name ?? Owner.newName()
        return try await acquire(wait: wait, owner: owner).guarding(owner, body)
    }

    /// Runs `body` under it if it is free, or becomes free within `wait`; else `nil`.
    public func tryAcquire<Result: Sendable>(
        wait: Duration = .zero, _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result? {
        let owner = Owner.name ?? Owner.newName()
        let lease = try await unlessBusy { try await acquire(wait: wait, owner: owner) }
        return try await lease?.guarding(owner, body)
    }

    private func acquire(wait: Duration?, owner: String?) async throws -> Lease {
        let wish = try wish(wait: wait, owner: owner)
        let native = client.native
        let lease = try await call { try await native.acquire(wish: wish, cancel: $0) }
        return Lease(lease, keys.joined(separator: ", "), client.losses)
    }

    private func wish(wait: Duration?, owner: String?) throws -> SidelockNative.Wish {
        SidelockNative.Wish(
            keys: keys, units: try units.native, waitMs: try waitMilliseconds(wait),
            ttlMs: try options.ttl.map { try milliseconds($0, of: "ttl") },
            maxHoldMs: try options.maxHold.map { try milliseconds($0, of: "maxHold") },
            owner: owner, priority: try number(options.priority, of: "priority"), reentrant: options.reentrant)
    }
}

extension Lock.Units {
    fileprivate var native: SidelockNative.Units {
        get throws {
            switch self {
            case .exclusive: .exclusive
            case .shared: .shared
            case .permits(let permits, let limit):
                .permits(permits: try number(permits, of: "permits"), limit: try number(limit, of: "limit"))
            case .rate(let permits, let limit, let per):
                .rate(
                    permits: try number(permits, of: "permits"), limit: try number(limit, of: "limit"),
                    perMs: try milliseconds(per, of: "per"))
            }
        }
    }
}

/// A number that fits what is sent; whether it makes sense is the sidecar's to say.
func number<Sent: FixedWidthInteger>(_ value: Int, of name: String) throws -> Sent {
    guard let sent = Sent(exactly: value) else {
        throw SidelockError.badRequest("\(name) is \(value); it has to be between \(Sent.min) and \(Sent.max)")
    }
    return sent
}

/// `nil` if somebody else has it when the wait is over.
func unlessBusy<Result>(_ acquire: () async throws -> Result) async throws -> Result? {
    do {
        return try await acquire()
    } catch SidelockError.waitTimeout {
        return nil
    }
}

extension Lease {
    /// Runs `body` as `owner` and releases the lease, however that ends. A loss cancels `body`, and is what is thrown.
    ///
    /// The body has a task of its own, because a task can not be cancelled and go on afterwards.
    func guarding<Result: Sendable>(
        _ owner: String, _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result {
        switch await run(owner, body) {
        case .success(let result):
            do {
                try await release()
            } catch SidelockError.outcomeUnknown, SidelockError.sidecarUnreachable {
                // It was valid while the body ran, and runs out by itself.
            }
            return result
        case .failure(let error):
            // What the body threw is what to hear of; the lease is given back, or runs out by itself.
            try? await release()
            throw error
        }
    }

    /// Runs `body` until it ends. That it was lost meanwhile is its failure.
    func run<Outcome: Sendable>(
        _ owner: String, _ body: @escaping @Sendable (Lease) async throws -> Outcome
    ) async -> Result<Outcome, any Error> {
        let task = Task { try await Owner.with(owner) { try await body(self) } }
        let loss = Locked<LossReason?>(nil)
        let watch: UInt64
        do {
            watch = try losses.watch(native) { reason in
                loss.with { $0 = reason }
                task.cancel()
            }
        } catch {
            // Nobody would stop it.
            task.cancel()
            _ = await task.result
            return .failure(error)
        }
        let result = await withTaskCancellationHandler {
            await task.result
        } onCancel: {
            task.cancel()
        }
        losses.forget(watch)
        if case .failure = result, !Task.isCancelled, let reason = loss.with({ $0 }) {
            return .failure(lossError(reason))
        }
        return result
    }
}
