// A lease: what you hold.
//
// Owns that it is given back once, and tells whether it is still there.

internal import SidelockNative

/// A lease: what you hold. Given back by ``release()``, and when nobody refers to it any more.
public final class Lease: Sendable {
    /// What is locked; of several keys all, with commas between.
    public let key: String
    /// The fence token: strictly rising per key, below 2^53. Send it along with every write to what the lock protects, and let
    /// the receiver refuse a lower one than it has seen: that holds even while a process is paused beyond its lease. Of several
    /// keys: that of the first in the order of their bytes; see ``fences``. Another one after ``upgrade(wait:)``.
    public var fence: UInt64 { native.fence() }

    let native: SidelockNative.Lease
    let losses: Losses

    init(_ native: SidelockNative.Lease, _ key: String, _ losses: Losses) {
        self.native = native
        self.key = key
        self.losses = losses
    }

    /// The fence token of each key. Keys are bytes: two of them that are one text to Swift, an `é` written in two ways for example,
    /// have one entry here, the higher.
    public var fences: [String: UInt64] {
        Dictionary(native.fences().map { ($0.key, $0.fence) }, uniquingKeysWith: max)
    }

    /// Whether it is still yours, by a look at the clock, without asking anybody. False after its release.
    public var isValid: Bool { native.isValid() }

    /// Whether the sidecar fails to extend it at the moment: it will be lost at its deadline unless that succeeds.
    public var isAtRisk: Bool { native.isAtRisk() }

    /// When it ends unless extended, as told last: the time since boot, suspension included (`CLOCK_BOOTTIME`).
    public var deadline: Duration { .nanoseconds(native.deadlineNs()) }

    /// Waits until it is over, and tells why it was lost; `nil`: it was given back.
    ///
    /// A body of ``Sidelock/withLock(_:wait:options:_:)`` needs nothing of this: it is cancelled.
    ///
    /// - Throws: `CancellationError`.
    public func lost() async throws -> LossReason? {
        let native = native
        return try await call { try await native.ended(cancel: $0) }.map(LossReason.init)
    }

    /// What becomes of a lease.
    public enum Event: Sendable, Hashable {
        /// It is gone: stop what it protected.
        case lost(LossReason)
        /// It was given back.
        case released
    }

    /// What becomes of it, from now on; ends with its end. As long as somebody iterates, the lease is not given back by itself.
    public var events: AsyncStream<Event> {
        AsyncStream { continuation in
            let task = Task {
                if let reason = try? await self.end() { continuation.yield(reason) }
                continuation.finish()
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    private func end() async throws -> Event {
        try await lost().map(Event.lost) ?? .released
    }

    /// Makes it last for `ttl` from now: for leases acquired with a ``LeaseOptions/ttl``, which nothing else renews.
    /// Of a lease that its owner entered again it moves the end of all handles.
    ///
    /// - Throws: ``SidelockError/leaseLost(_:reason:)`` if it is gone, ``SidelockError/invalid(_:)`` if it was acquired without.
    public func renew(_ ttl: Duration) async throws {
        let (native, ttl) = (native, try milliseconds(ttl, of: "ttl"))
        try await call { try await native.renew(ttlMs: ttl, cancel: $0) }
    }

    /// Makes a share the whole: waits until the other shares of the key are gone, before all who wait for it. The fence is then a
    /// higher one. Whatever goes wrong, it is the share that it was.
    ///
    /// - Parameter wait: Waits so long at most; without this as long as the client's `defaultWait`.
    /// - Throws: ``SidelockError/deadlock(_:cycle:)`` if another share of the key waits to be upgraded: release this one.
    ///   ``SidelockError/conflict(_:current:)`` if it is no share. ``SidelockError/waitTimeout(_:)``.
    public func upgrade(wait: Duration? = nil) async throws {
        let (native, wait) = (native, try waitMilliseconds(wait))
        try await call { try await native.upgrade(waitMs: wait, cancel: $0) }
    }

    /// Makes the whole a share: readers come in beside it, and no writer in between.
    public func downgrade() async throws {
        let native = native
        try await call { try await native.downgrade(cancel: $0) }
    }

    /// Gives it back; returns when others can have it, also if the task is cancelled. Doing it again does nothing.
    ///
    /// - Throws: ``SidelockError/leaseLost(_:reason:)`` if it was lost before. ``SidelockError/outcomeUnknown(_:)`` if the
    ///   connection broke: it is then free when its deadline passes, at the latest.
    public func release() async throws {
        try await shielded { try await self.native.release() }
    }

    func lossError(_ reason: LossReason) -> SidelockError {
        .leaseLost(
            .init(
                code: "lease_lost",
                message: "the lease of \"\(key)\" is lost (\(reason.rawValue)): stop what it protected, acquire again to go on",
                key: key),
            reason: reason)
    }
}
