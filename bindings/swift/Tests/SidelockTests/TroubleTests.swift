// What happens when programs end, and when a sidecar is not there.

import Foundation
import Sidelock
import Testing

@Suite(.timeLimit(.minutes(2)))
struct TroubleTests {
    let sl = try! Place.shared.client()

    /// Another program, connected: the player of `bindings/cases`.
    private func stranger() -> Program {
        let player = Program(programs.appendingPathComponent("player"))
        player.say("1 ann connect client=stranger socket=\(Place.shared.socket)")
        #expect(player.line() == "1 ok")
        return player
    }

    @Test func aKilledHolderHandsOver() async throws {
        let player = stranger()
        player.say("2 ann acquire key=\(key()) as=x")
        #expect(player.line().hasPrefix("2 lease fence="))
        #expect(try await sl.tryLock(key()) == nil)
        player.kill()
        try await sl.withLock(key(), wait: .seconds(5)) { _ in }
    }

    @Test func aProcessThatEndsWhileItWaitsLeavesNothing() async throws {
        let lease = try await sl.lock(key())
        let player = stranger()
        player.say("2 ann acquire key=\(key()) as=x")
        try await Place.shared.until(waiters: 1, key())
        player.closeInput()
        #expect(player.wait() == 0)
        try await Place.shared.until(waiters: 0, key())
        try await lease.release()
        try await sl.withLock(key(), wait: .zero) { _ in }
    }

    @Test func twoProcessesTakeTurns() throws {
        let arguments = [Place.shared.socket, key(), "50"]
        let turns = (1...2).map { _ in Program(programs.appendingPathComponent("turns"), arguments) }
        let fences = turns.map { String(decoding: $0.rest(), as: UTF8.self).split(separator: "\n").map { UInt64($0.split(separator: " ")[1])! } }
        #expect(fences.allSatisfy { $0.count == 50 && $0 == $0.sorted() })
        #expect(Set(fences.joined()).count == 100)
    }

    @Test func withoutASidecarItSaysWhereItLooked() async throws {
        let nowhere = newFolder() + "/nothing.sock"
        let sl = try Sidelock(socket: nowhere)
        let nobody = await refusal { _ = try await sl.lock("k") }
        guard case .sidecarUnreachable(let details) = nobody else { throw nobody ?? SidelockErrorIsMissing() }
        #expect(details.code == "unreachable")
        #expect(details.message.contains(nowhere) && details.message.contains("sidelock serve"))
        #expect(nobody?.localizedDescription == details.message && "\(nobody!)" == details.message)
    }

    @Test func whatIsNoSidecarIsSaid() async throws {
        let file = newFolder() + "/plain"
        try Data().write(to: URL(fileURLWithPath: file))
        let sl = try Sidelock(socket: file)
        let nobody = await refusal { _ = try await sl.lock("k") }
        guard case .sidecarUnreachable(let details) = nobody else { throw nobody ?? SidelockErrorIsMissing() }
        #expect(details.message.contains(file))
    }

    @Test func aClientOutlivesItsSidecar() async throws {
        let folder = newFolder()
        let first = Place(folder: folder)
        let sl = try first.client()
        let lease = try await sl.lock("k")
        let entered = AsyncStream<Void>.makeStream()
        let body = Task {
            await refusal {
                try await sl.withLock("body") { _ in
                    entered.continuation.finish()
                    try await Task.sleep(for: .seconds(60))
                }
            }
        }
        for await _ in entered.stream {}
        first.kill()
        #expect(try await lease.lost() != nil)
        #expect(await body.value?.code == "lease_lost")
        let second = Place(folder: folder)
        try await sl.withLock("k", wait: .seconds(10)) { again in #expect(again.isValid) }
        second.kill()
    }
}
