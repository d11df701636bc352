// What a lock costs a Swift program: acquired and released by one user, while nobody else wants it.
//
// Says `ready`; reads lines `NUMBER SOCKET KEY SECONDS TASKS`, the last of which is 1; does it for that long and answers
// `NUMBER WAIT:CYCLE …`: for each grant, microseconds from asking to having and until it was given back. With the argument
// `withLock`, through that. By hand, with the sidecar on the same processor:
//
//     taskset -c 0 sidelock serve --socket /tmp/s & echo 1 /tmp/s k 3 1 | taskset -c 0 bench median

import Foundation
import Sidelock

let (guarded, median) = (CommandLine.arguments.contains("withLock"), CommandLine.arguments.contains("median"))
let clock = ContinuousClock()

func microseconds(_ span: Duration) -> Double { (span / .microseconds(1) * 10).rounded() / 10 }

/// The spans of all cycles, after a tenth of that time to warm up.
func cycles(_ sl: Sidelock, _ key: String, for span: Duration) async throws -> [(wait: Duration, whole: Duration)] {
    var took: [(wait: Duration, whole: Duration)] = []
    let warm = clock.now + span / 10
    let end = warm + span
    while true {
        let start = clock.now
        let having: ContinuousClock.Instant
        if guarded {
            having = try await sl.withLock(key) { _ in clock.now }
        } else {
            let lease = try await sl.lock(key)
            having = clock.now
            try await lease.release()
        }
        if having >= end { return took }
        if start >= warm { took.append((having - start, clock.now - start)) }
    }
}

func say(_ line: String) { FileHandle.standardOutput.write(Data("\(line)\n".utf8)) }

say("ready")
while let line = readLine() {
    let words = line.split(separator: " ").map(String.init)
    let took = try await cycles(try Sidelock(socket: words[1]), words[2], for: .seconds(Double(words[3])!))
    if median {
        let wholes = took.map(\.whole).sorted()
        let (p50, p99) = (wholes[wholes.count / 2], wholes[wholes.count * 99 / 100])
        say("\(wholes.count) cycles, p50 \(microseconds(p50)) µs, p99 \(microseconds(p99)) µs")
    } else {
        say(took.reduce(into: words[0]) { $0 += " \(microseconds($1.wait)):\(microseconds($1.whole))" })
    }
}
