// How waits and leases end that nobody ended by hand: by cancellation, by loss, by being forgotten.

import Foundation
import Sidelock
import Testing

@Suite(.timeLimit(.minutes(2)))
struct EndTests {
    let sl = try! Place.shared.client()
    let other = try! Place.shared.client(app: "other")

    @Test func aCancelledWaitLeavesTheQueue() async throws {
        let (key, other) = (key(), other)
        let lease = try await sl.lock(key)
        let wait = Task { try await other.lock(key) }
        try await Place.shared.until(waiters: 1, key)
        wait.cancel()
        await #expect(throws: CancellationError.self) { try await wait.value }
        try await Place.shared.until(waiters: 0, key)
        try await lease.release()
        try await sl.withLock(key, wait: .zero) { _ in }
    }

    @Test func whatIsCancelledBeforeItBeginsDoesNotBegin() async throws {
        let (key, sl) = (key(), sl)
        let never = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            try await sl.withLock(key) { _ in _ = Issue.record("it did not get it") }
        }
        await #expect(throws: CancellationError.self) { try await never.value }
        try await other.withLock(key, wait: .zero) { _ in }
    }

    @Test func aThousandCancelledWaitsLeaveNothing() async throws {
        let (key, other) = (key(), other)
        let lease = try await sl.lock(key)
        let waits = (0..<1000).map { _ in Task { try await other.lock(key) } }
        try await Place.shared.until(waiters: 1000, key)
        for wait in waits { wait.cancel() }
        for wait in waits { await #expect(throws: CancellationError.self) { try await wait.value } }
        try await Place.shared.until(waiters: 0, key)
        try await lease.release()
        try await sl.withLock(key, wait: .zero) { _ in }
    }

    @Test func waitsThatAreCancelledAsTheyAreGrantedLeaveNothing() async throws {
        let (key, sl) = (key(), sl)
        let tasks = (0..<200).map { _ in Task { try await sl.withLock(key) { _ in } } }
        for (number, task) in tasks.enumerated() {
            if number % 3 != 0 { await Task.yield() }
            task.cancel()
        }
        for task in tasks { _ = await task.result }
        try await other.withLock(key, wait: .seconds(5)) { _ in }
    }

    @Test func aReleaseIsNotStoppedByACancellation() async throws {
        let (key, sl) = (key(), sl)
        for _ in 0..<50 {
            let lease = try await sl.lock(key, wait: .seconds(10))
            let release = Task { try await lease.release() }
            release.cancel()
            try await release.value
            #expect(!lease.isValid)
            try await other.withLock(key, wait: .zero) { _ in }
        }
    }

    @Test func aBodyIsCancelledWithItsTaskAndItsLockIsFree() async throws {
        let (key, sl, entered) = (key(), sl, AsyncStream<Void>.makeStream())
        let task = Task {
            try await sl.withLock(key) { _ in
                entered.continuation.finish()
                try await Task.sleep(for: .seconds(60))
            }
        }
        for await _ in entered.stream {}
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        try await other.withLock(key, wait: .zero) { _ in }
    }

    @Test func aBodyIsCancelledWhenItsLeaseIsLost() async throws {
        let lost = await refusal {
            try await sl.withLock(key(), options: .init(ttl: .milliseconds(100))) { lease in
                do {
                    try await Task.sleep(for: .seconds(60))
                } catch {
                    #expect(error is CancellationError && !lease.isValid)
                    throw error
                }
            }
        }
        guard case .leaseLost(let details, .expired) = lost else { throw lost ?? SidelockErrorIsMissing() }
        #expect(details.code == "lease_lost" && details.key == key())
        #expect(!Task.isCancelled)
    }

    @Test func aBodyThatGoesOnBeyondItsLeaseIsToldInTheEnd() async throws {
        let lost = await refusal {
            try await sl.withLock(key(), options: .init(maxHold: .milliseconds(100))) { lease in
                // It has heard of it, or was cancelled while it waited for that.
                _ = try? await lease.lost()
            }
        }
        guard case .leaseLost(_, .maxHold) = lost else { throw lost ?? SidelockErrorIsMissing() }
    }

    @Test func aBodyUnderARateGoesOnWhenItsPermitsAreBack() async throws {
        let isDone = try await sl.withRate(key(), limit: 1, per: .milliseconds(300)) { () -> Bool in
            try await Task.sleep(for: .milliseconds(600))
            return true
        }
        #expect(isDone)
    }

    @Test func whoWaitsForTheEndOfALeaseHearsOfIt() async throws {
        let lease = try await sl.lock(key(), options: .init(ttl: .milliseconds(100)))
        var events: [Lease.Event] = []
        for await event in lease.events { events.append(event) }
        #expect(events == [.lost(.expired)])
        #expect(try await lease.lost() == .expired)
        let late = await refusal { try await lease.release() }
        #expect(late?.code == "lease_lost")
        let released = try await sl.lock(key())
        async let end = released.lost()
        try await released.release()
        #expect(try await end == nil)
        for await event in released.events { #expect(event == .released) }
    }

    @Test func aTurnThatIsLostIsTheNextOnes() async throws {
        let lost = await refusal {
            _ = try await sl.once(key(), per: .seconds(60), options: .init(ttl: .milliseconds(100))) {
                try await Task.sleep(for: .seconds(60))
            }
        }
        #expect(lost?.code == "lease_lost")
        guard case .won = try await other.once(key(), per: .seconds(60), wait: .seconds(5), {}) else {
            throw SidelockErrorIsMissing()
        }
    }

    @Test func aLeaseThatIsForgottenIsGivenBack() async throws {
        var lease: Lease? = try await sl.lock(key())
        #expect(try await other.tryLock(key()) == nil)
        withExtendedLifetime(lease) {}
        lease = nil
        try await other.withLock(key(), wait: .seconds(5)) { _ in }
    }
}
