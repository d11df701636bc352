// Who wants to hear of the loss of which lease.
//
// Owns the numbers under which leases are watched. Must not keep a lease alive: one that nobody refers to is given back.

internal import SidelockNative

import Foundation

/// The listener of one client. Called by the native library, once per watched lease at most, on a thread that it may use.
final class Losses: SidelockNative.LossListener {
    private typealias Watchers = [UInt64: @Sendable (LossReason) -> Void]

    private let watchers = Locked<(next: UInt64, watchers: Watchers)>((1, [:]))

    /// Calls `told` when the lease is lost; at once if it is already. The number ends that.
    func watch(
        _ lease: SidelockNative.Lease, _ told: @escaping @Sendable (LossReason) -> Void
    ) throws -> UInt64 {
        let number = watchers.with { state in
            defer { state.next += 1 }
            state.watchers[state.next] = told
            return state.next
        }
        do {
            try lease.watch(number: number)
        } catch let failure as SidelockNative.Failure {
            forget(number)
            throw SidelockError(failure)
        }
        return number
    }

    func forget(_ number: UInt64) {
        _ = watchers.with { $0.watchers.removeValue(forKey: number) }
    }

    func lost(number: UInt64, reason: SidelockNative.LossReason) {
        watchers.with { $0.watchers.removeValue(forKey: number) }?(LossReason(reason))
    }
}

/// A value that several threads change, one at a time. (`Synchronization.Mutex` wants newer Apple systems than this package.)
final class Locked<Value>: @unchecked Sendable {
    private let lock = NSLock()
    private var value: Value

    init(_ value: Value) { self.value = value }

    func with<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
        try lock.withLock { try body(&value) }
    }
}
