// What a lock costs in Swift: cycles of acquire and release, one after the other, of a key that nobody else wants.
//
//     sidelock serve --socket /tmp/s & SIDELOCK_SOCKET=/tmp/s taskset -c 0 bench [cycles]

import Sidelock

let cycles = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 10_000
let sl = try Sidelock()

/// The median and the 99th percentile of how long a cycle takes, in microseconds, after a tenth as many to warm up.
func measure(_ cycle: () async throws -> Void) async throws -> String {
    for _ in 0..<cycles / 10 { try await cycle() }
    let clock = ContinuousClock()
    var took: [Duration] = []
    took.reserveCapacity(cycles)
    for _ in 0..<cycles { took.append(try await clock.measure { try await cycle() }) }
    took.sort()
    let shown = [cycles / 2, cycles * 99 / 100].map { "\((took[$0] / .microseconds(1) * 10).rounded() / 10)" }
    return "p50 \(shown[0]) µs, p99 \(shown[1]) µs"
}

let byHand = try await measure { try await sl.lock("bench").release() }
print("swift: lock and release: \(byHand)")
let guarded = try await measure { try await sl.withLock("bench") { _ in } }
print("swift: withLock: \(guarded)")
