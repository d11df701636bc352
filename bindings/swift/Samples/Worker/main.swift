// Workers: each job is done by one of them, two at a time talk to the mail server, and all of them together keep to its rate.
//
//     SIDELOCK_SOCKET=… swift run sample-worker
//
// The workers are tasks here; on other hosts they would be written alike.

import Foundation
import Sidelock

/// What happened.
actor Journal {
    private(set) var done: [String] = []
    private(set) var mostAtATime = 0
    private var atWork = 0

    func begin() {
        atWork += 1
        mostAtATime = max(mostAtATime, atWork)
    }

    func end(_ job: String) {
        atWork -= 1
        done.append(job)
    }
}

let run = UUID()
let jobs = (1...12).map { "mail \($0)" }
let journal = Journal()

@Sendable func work(_ name: String) async throws {
    let sl = try Sidelock(app: name)
    for job in jobs {
        // Somebody has it, or had it: the next one. The lock says who does it now; the register, that it was done.
        _ = try await sl.tryLock("\(run)/\(job)") { lease in
            let done = sl.register("\(run)/\(job)")
            do {
                _ = try await done.get()
            } catch SidelockError.notFound {
                try await sl.withRate("\(run)/mail-rate", limit: 20, per: .milliseconds(500)) {
                    try await sl.withPermit("\(run)/mail", limit: 2) {
                        await journal.begin()
                        try await Task.sleep(for: .milliseconds(10))
                        await journal.end(job)
                    }
                }
                // With a lease, a late write of an earlier holder is refused.
                try await done.put(Data(name.utf8), lease: lease)
            }
        }
    }
}

try await withThrowingTaskGroup(of: Void.self) { group in
    for number in 1...4 { group.addTask { try await work("worker \(number)") } }
    try await group.waitForAll()
}
let (done, most) = (await journal.done, await journal.mostAtATime)
precondition(done.sorted() == jobs.sorted() && most <= 2, "each once, two at a time: \(done), \(most)")
print("\(done.count) jobs, \(most) at a time: as it should be")
