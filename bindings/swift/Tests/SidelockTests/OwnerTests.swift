// Owners: who is in a circle, and who is not.

import Sidelock
import Testing

@Suite(.timeLimit(.minutes(2)))
struct OwnerTests {
    let sl = try! Place.shared.client()
    let other = try! Place.shared.client(app: "other")

    @Test func aBodyThatWantsWhatItHoldsIsTold() async throws {
        let (key, sl) = (key(), sl)
        try await sl.withLock(key) { _ in
            let told = await refusal { try await sl.withLock(key) { _ in } }
            guard case .deadlock(let details, let cycle) = told else { throw told ?? SidelockErrorIsMissing() }
            #expect(details.key == key && cycle.map(\.key) == [key] && cycle[0].heldFor != nil)
            try await sl.withLock(key, options: .init(reentrant: true)) { inner in #expect(inner.isValid) }
            // By hand it is the same owner.
            #expect(await refusal { _ = try await sl.lock(key) }?.code == "deadlock")
        }
    }

    @Test func twoTasksInACircle() async throws {
        let (a, b, sl) = (key() + "/a", key() + "/b", sl)
        let both = Meeting()
        let work: @Sendable (String, String) async throws -> Int = { first, second in
            try await sl.withLock(first) { _ in
                await both.meet()
                do {
                    return try await sl.withLock(second, wait: .seconds(10)) { _ in 0 }
                } catch SidelockError.deadlock(_, let cycle) {
                    return cycle.count
                }
            }
        }
        async let one = work(a, b)
        async let two = work(b, a)
        #expect(try await [one, two].sorted() == [0, 2])
    }

    /// The parent holds A, two children wait for B and C, a stranger waits for A: nobody waits in a circle.
    @Test func childrenOfATaskThatHoldsSomethingAreOthers() async throws {
        let (a, b, c) = (key() + "/a", key() + "/b", key() + "/c")
        let (sl, other) = (sl, other)
        let (heldB, heldC) = (try await other.lock(b), try await other.lock(c))
        let stranger = try await sl.withLock(a) { _ in
            let stranger = Task { try await withOwner("stranger") { try await other.lock(a, wait: .seconds(60)) } }
            async let one = sl.withLock(b, wait: .seconds(60)) { _ in true }
            async let two = sl.lock(c, wait: .seconds(60))
            for key in [a, b, c] { try await Place.shared.until(waiters: 1, key) }
            // Longer than a circle stands that is found.
            try await Task.sleep(for: .seconds(1))
            for key in [a, b, c] { try await Place.shared.until(waiters: 1, key) }
            try await heldB.release()
            try await heldC.release()
            _ = try await one
            try await two.release()
            return stranger
        }
        try await stranger.value.release()
    }

    @Test func anInheritedNameIsNobodys() async throws {
        let (key, sl) = (key(), sl)
        try await sl.withLock(key) { _ in
            let child = Task { await refusal { _ = try await sl.lock(key, wait: .milliseconds(50)) } }
            #expect(await child.value?.code == "wait_timeout")
            async let other = refusal { _ = try await sl.lock(key, wait: .milliseconds(50)) }
            #expect(await other?.code == "wait_timeout")
        }
    }

    @Test func aNameIsOverWithItsCode() async throws {
        let (key, sl) = (key(), sl)
        let later = AsyncStream<Void>.makeStream()
        // The task that the name is for goes on, and so does one that inherited it.
        let (lease, heir) = try await withOwner("ann") {
            let heir = Task {
                for await _ in later.stream {}
                return await refusal { _ = try await sl.lock(key, wait: .milliseconds(50)) }?.code
            }
            return (try await sl.lock(key), heir)
        }
        #expect(await refusal { _ = try await sl.lock(key, wait: .milliseconds(50)) }?.code == "wait_timeout")
        later.continuation.finish()
        #expect(await heir.value == "wait_timeout")
        try await lease.release()
    }

    @Test func aNameJoinsTasksOnPurpose() async throws {
        let (key, sl) = (key(), sl)
        try await withOwner("transfer 7") {
            let lease = try await sl.lock(key)
            let told = await Task { await withOwner("transfer 7") { await refusal { _ = try await sl.lock(key) } } }.value
            guard case .deadlock(_, let cycle) = told else { throw told ?? SidelockErrorIsMissing() }
            #expect(cycle[0].owner == "transfer 7")
            try await lease.release()
        }
    }

    @MainActor @Test func aNameDoesNotLeaveItsActor() async throws {
        var seen = 0
        try await withOwner("main") {
            // Not sendable, and on the main actor before and after.
            seen += 1
            try await sl.withLock(key()) { _ in }
            seen += 1
        }
        #expect(seen == 2)
    }
}

/// Two who wait for each other.
actor Meeting {
    private var first: CheckedContinuation<Void, Never>?

    func meet() async {
        if let first { return first.resume() }
        await withCheckedContinuation { first = $0 }
    }
}
