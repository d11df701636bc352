// A migration guard: an app's instances start together, one of them brings the schema up to date, the others wait for that.
//
//     SIDELOCK_SOCKET=… swift run sample-migration
//
// An instance that dies in the middle is followed by the next one, so the migration itself has to stand being begun again.

import Foundation
import Sidelock

/// The database.
actor Database {
    private(set) var version = 41
    private(set) var attempts = 0

    func migrate(failing: Bool) throws {
        attempts += 1
        if failing { throw POSIXError(.EIO) }
        version += 1
    }
}

let database = Database()
let run = UUID()

/// An instance starts; the version that it starts with.
@Sendable func start(_ name: String, failing: Bool) async throws -> String {
    let sl = try Sidelock(app: name)
    let outcome = try await sl.once("\(run)/migrate", per: .seconds(3600), wait: .seconds(60)) {
        try await Task.sleep(for: .milliseconds(50))
        try await database.migrate(failing: failing)
        return Data("version \(await database.version)".utf8)
    }
    switch outcome {
    case .won(let mine): return "migrated to " + String(decoding: mine, as: UTF8.self)
    case .done(let theirs): return "found " + String(decoding: theirs, as: UTF8.self)
    }
}

// The first one has the turn, and fails in it.
let first = Task { try await start("instance 1", failing: true) }
let rest = try await withThrowingTaskGroup(of: String.self, returning: [String].self) { group in
    _ = await first.result
    for number in 2...5 { group.addTask { try await start("instance \(number)", failing: false) } }
    var starts: [String] = []
    for try await start in group { starts.append(start) }
    return starts
}
precondition(rest.sorted() == Array(repeating: "found version 42", count: 3) + ["migrated to version 42"], "\(rest)")
let (version, attempts) = (await database.version, await database.attempts)
precondition(version == 42 && attempts == 2, "version \(version) after \(attempts) attempts")
print("1 failure, 1 migration, 3 who found it done: as it should be")
