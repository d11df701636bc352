// Everything that a client can be asked for.

import Foundation
import Sidelock
import Testing

@Suite(.timeLimit(.minutes(2)))
struct LockTests {
    let sl = try! Place.shared.client()
    let other = try! Place.shared.client(app: "other")

    @Test func aLockExcludesAndItsFenceRises() async throws {
        let (key, other) = (key(), other)
        let first = try await sl.withLock(key, wait: .seconds(5)) { lease in
            #expect(lease.isValid && lease.key == key)
            let none = try await other.tryLock(key)
            #expect(none == nil)
            return lease.fence
        }
        let second = try #require(try await other.tryLock(key, { $0.fence }))
        #expect(second > first)
    }

    @Test func aLeaseIsReleasedByHandAndOnce() async throws {
        let lease = try await sl.lock(key())
        #expect(lease.fences == [key(): lease.fence])
        #expect(lease.deadline > .zero && !lease.isAtRisk)
        try await lease.release()
        try await lease.release()
        #expect(!lease.isValid)
        #expect(try await lease.lost() == nil)
        try await other.withLock(key(), wait: .zero) { _ in }
    }

    @Test func aBodyThatThrowsGivesItsLockBack() async throws {
        struct Odd: Error {}
        await #expect(throws: Odd.self) { try await sl.withLock(key()) { _ in throw Odd() } }
        try await other.withLock(key(), wait: .zero) { _ in }
    }

    @Test func waitsAreOverWhenTheyWereSaidToBe() async throws {
        let lease = try await sl.lock(key())
        let held = await refusal { _ = try await other.lock(key(), wait: .zero) }
        #expect(held?.code == "held")
        let patient = try Place.shared.client(defaultWait: .milliseconds(100))
        let late = await refusal { _ = try await patient.lock(key()) }
        guard case .waitTimeout(let details) = late else { throw late ?? SidelockErrorIsMissing() }
        #expect(details.code == "wait_timeout" && details.key == key() && details.retryAfter != nil)
        async let forever = patient.lock(key(), wait: .forever)
        try await Place.shared.until(waiters: 1, key())
        try await lease.release()
        let got = try await forever
        #expect(got.isValid)
    }

    @Test func readersShareAndAWriterDoesNot() async throws {
        let (key, other) = (key(), other)
        try await sl.withReadLock(key) { _ in
            try await other.withReadLock(key, wait: .zero) { _ in }
            let none = try await other.writer(key).tryAcquire()
            #expect(none == nil)
        }
        try await sl.withWriteLock(key) { _ in
            let none: Void? = try await other.reader(key).tryAcquire { _ in }
            #expect(none == nil)
        }
    }

    @Test func aShareBecomesTheWholeAndBack() async throws {
        let (share, another) = (try await sl.reader(key()).acquire(), try await other.reader(key()).acquire())
        let before = share.fence
        #expect(await refusal { try await share.upgrade(wait: .zero) }?.code == "held")
        #expect(share.isValid && share.fence == before)
        let upgrade = Task { try await share.upgrade() }
        try await Place.shared.until(waiters: 1, key())
        let second = await refusal { try await another.upgrade() }
        guard case .deadlock = second else { throw second ?? SidelockErrorIsMissing() }
        try await another.release()
        try await upgrade.value
        #expect(share.fence > before)
        #expect(try await other.reader(key()).tryAcquire() == nil)
        try await share.downgrade()
        try await other.withReadLock(key(), wait: .zero) { _ in }
        try await share.release()
    }

    @Test func oneLeadsUntilItResigns() async throws {
        let name = key()
        let first = try await sl.leader(name).campaign()
        #expect(try await other.leader(name).tryCampaign() == nil)
        #expect(try await other.leader(name).current()?.fence == first.fence)
        var seen: [UInt64?] = []
        for try await leader in other.leader(name).changes {
            seen.append(leader?.fence)
            if seen.count == 2 { break }
            try await first.release()
        }
        #expect(seen == [first.fence, nil])
        let term = try await other.leader(name).lead(wait: .zero, maxTerm: .seconds(60)) { $0.fence }
        #expect(term > first.fence)
    }

    @Test func aClientThatIsClosedHoldsNothing() async throws {
        let closing = try Place.shared.client()
        let lease = try await closing.lock(key())
        let wait = Task { await refusal { _ = try await closing.lock(key("aClientThatIsClosedHoldsNothing()")) } }
        try await Place.shared.until(waiters: 1, key())
        closing.close()
        closing.close()
        #expect(try await lease.lost() == .session)
        #expect(await wait.value?.code == "bad_request")
        #expect(await refusal { _ = try await closing.holders("k") }?.code == "bad_request")
        try await sl.withLock(key(), wait: .seconds(5)) { _ in }
    }

    @Test func permitsAndRatesAreCounted() async throws {
        let (key, other) = (key(), other)
        try await sl.withPermit(key, limit: 3, permits: 2) {
            try await other.withPermit(key, limit: 3) {}
            let none = try await other.semaphore(key, limit: 3, permits: 2).tryAcquire()
            #expect(none == nil)
        }
        try await sl.withRate(key + "/rate", limit: 1, per: .seconds(60)) {}
        let used = await refusal { try await other.withRate(key + "/rate", limit: 1, per: .seconds(60), wait: .zero) {} }
        #expect(used?.code == "held")
        let other5 = await refusal { _ = try await other.rate(key + "/rate", limit: 5, per: .seconds(60)).tryAcquire() }
        guard case .conflict = other5 else { throw other5 ?? SidelockErrorIsMissing() }
        #expect(other5?.limit == 1)
    }

    @Test func severalKeysAreHeldAllOrNone() async throws {
        let (a, b, other) = (key() + "/a", key() + "/b", other)
        try await sl.withLocks([b, a]) { lease in
            #expect(lease.fences.keys.sorted() == [a, b] && lease.fence == lease.fences[a])
            let none = try await other.locks([a]).tryAcquire()
            #expect(none == nil)
        }
    }

    @Test func whatIsDoneOnceIsDoneOnce() async throws {
        let (key, day) = (key(), Duration.seconds(86_400))
        guard case .won(let rows) = try await sl.once(key, per: day, { Data("42 rows".utf8) }) else {
            throw SidelockErrorIsMissing()
        }
        #expect(rows == Data("42 rows".utf8))
        let again = try await other.once(key, per: day) { Issue.record("it is done") }
        guard case .done(let left) = again else { throw SidelockErrorIsMissing() }
        #expect(left == rows)
        let said = try await sl.once(key + "/said", per: day) { turn in
            try await turn.finish(Data("said".utf8))
            return turn.lease.fence
        }
        guard case .won(let fence) = said, fence > 0 else { throw SidelockErrorIsMissing() }
        guard case .done(let result) = try await other.tryEnter(key + "/said", per: day, align: .rolling) else {
            throw SidelockErrorIsMissing()
        }
        #expect(result == Data("said".utf8))
    }

    @Test func aTurnThatFailsIsTheNextOnes() async throws {
        struct Odd: Error {}
        await #expect(throws: Odd.self) { _ = try await sl.once(key(), per: .seconds(60)) { _ in throw Odd() } }
        guard case .won(let turn) = try await sl.enter(key(), per: .seconds(60)) else { throw SidelockErrorIsMissing() }
        #expect(try await other.tryEnter(key(), per: .seconds(60)) == nil)
        try await turn.giveBack()
        try await turn.giveBack()
        let closed = await refusal { try await turn.finish() }
        #expect(closed?.code == "turn_closed")
        _ = try await other.once(key(), per: .seconds(60), wait: .zero) {}
    }

    @Test func aTurnWhoseBodyReturnedCountsThoughItsTaskWasCancelled() async throws {
        let (key, hour) = (key(), Duration.seconds(3_600))
        let (begun, begin) = AsyncStream<Void>.makeStream()
        let sl = sl
        let task = Task {
            try await sl.once(key, per: hour) { () -> Data in
                begin.yield()
                // The body has committed something, and is not to be stopped.
                await Task.detached { try? await Task.sleep(for: .milliseconds(100)) }.value
                return Data("committed".utf8)
            }
        }
        for await _ in begun { break }
        task.cancel()
        _ = try? await task.value
        let again = try await other.once(key, per: hour, wait: .zero) { Data("again".utf8) }
        guard case .done(let left) = again else { throw SidelockErrorIsMissing() }
        #expect(left == Data("committed".utf8))
    }

    @Test func keysThatAreOneTextToSwiftAreTwo() async throws {
        let (composed, decomposed) = (key() + "/caf\u{e9}", key() + "/cafe\u{301}")
        try await sl.withLocks([composed, decomposed]) { lease in
            #expect(lease.fences.count == 1)
            #expect(lease.fences[composed] != nil)
        }
    }

    @Test func aRegisterHasVersions() async throws {
        let register = sl.register(key())
        let none = await refusal { _ = try await register.get() }
        #expect(none?.code == "not_found")
        let first = try await register.put(Data("1".utf8), .ifAbsent)
        let (value, etag) = try await register.get()
        #expect(value == Data("1".utf8) && etag == first)
        try await register.put(Data("2".utf8), .ifMatch(etag))
        let stale = await refusal { try await register.delete(ifMatch: etag) }
        guard case .conflict(_, let current?) = stale else { throw stale ?? SidelockErrorIsMissing() }
        #expect(current.value == Data("2".utf8))
        try await sl.withLock(key()) { lease in _ = try await register.put(Data("3".utf8), lease: lease) }
        try await register.delete()
    }

    @Test func aWatchHearsOfEachChange() async throws {
        let register = sl.register(key())
        try await register.put(Data("0".utf8))
        var seen: [String?] = []
        for try await change in register.watch() {
            seen.append(change.map { String(decoding: $0.value, as: UTF8.self) })
            switch seen.count {
            case 1: try await other.register(key()).put(Data("1".utf8))
            case 2: try await other.register(key()).delete()
            default: break
            }
            if seen.count == 3 { break }
        }
        #expect(seen == ["0", "1", nil])
    }

    @Test func whoHasAKeyIsTold() async throws {
        let lease = try await withOwner("somebody") { try await other.lock(key(), options: .init(ttl: .seconds(20))) }
        try await lease.renew(.seconds(30))
        let holders = try await sl.holders(key())
        #expect(holders.map(\.fence) == [lease.fence] && holders[0].app == "other" && holders[0].owner == "somebody")
        #expect(holders[0].mode == "exclusive" && holders[0].isLocal && holders[0].expiresIn > .zero)
        #expect(holders[0].isKnown && holders[0].uid == getuid())
        try await lease.release()
        #expect(try await sl.holders(key()).isEmpty)
    }

    @Test func aSidecarSaysWhatItIsAndAScopeCanBeDemanded() async throws {
        #expect(try await sl.sidecar()?.scope == .host)
        let fleet = try Place.shared.client(requireScope: .fleet)
        let small = await refusal { _ = try await fleet.sidecar() }
        #expect(small?.code == "scope_too_small")
    }

    @Test func aClientCanHaveASidecarOfItsOwn() async throws {
        let sl = try Sidelock.embedded(defaultWait: .zero)
        try await sl.withLock("k") { _ in #expect(await refusal { _ = try await sl.lock("k") }?.code == "held") }
        #expect(try await sl.sidecar()?.scope == .process)
    }

    @Test func whatCanNotBeRightIsSaidBeforeItIsSent() async throws {
        #expect(throws: SidelockError.self) { try Sidelock(defaultWait: .seconds(-1)) }
        for wrong in [
            await refusal { _ = try await sl.lock("k", wait: .seconds(-1)) },
            await refusal { _ = try await sl.semaphore("k", limit: -1).acquire() },
            await refusal { _ = try await sl.lock("", wait: .zero) },
            await refusal { _ = try await sl.enter("k", per: .seconds(60), options: .init(reentrant: true)) },
        ] { #expect(wrong?.code == "bad_request" && wrong!.message.count > 20) }
    }
}

/// What a test did not get.
struct SidelockErrorIsMissing: Error {}
